/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/memory.h"
#include "protocol/status.h"
#include "tests/support/check_main.h"

#include <stdint.h>
#include <string.h>

START_TEST(refuses_a_product_that_overflows)
{
    ck_assert_ptr_null(memory_zeroed(SIZE_MAX / 2, 3));
    ck_assert_ptr_null(memory_resized(NULL, SIZE_MAX, 2));
}
END_TEST

START_TEST(fails_the_call_it_is_told_to_fail)
{
    memory_fail_after(1);
    void *first = memory_zeroed(1, 8);
    void *second = memory_zeroed(1, 8);
    memory_fail_after(UINT64_MAX);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(second);
    memory_free(first);
}
END_TEST

START_TEST(status_texts_are_never_null)
{
    for (int code = -1; code < 200; code++) {
        ck_assert_ptr_nonnull(status_text((enum status)code));
        ck_assert_ptr_nonnull(status_name((enum status)code));
    }
    struct reason reason = {""};
    ck_assert_int_eq(refuse(&reason, STATUS_NO_SPACE, "%s is full", "disk"), STATUS_NO_SPACE);
    ck_assert_str_eq(reason.text, "disk is full");
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("memory and status");
    const TTest *const tests[] = {refuses_a_product_that_overflows,
                                  fails_the_call_it_is_told_to_fail,
                                  status_texts_are_never_null};
    suite_add(suite, "memory", tests, COUNT_OF(tests));
    return suite;
}
