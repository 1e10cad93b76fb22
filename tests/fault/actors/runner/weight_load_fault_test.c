/* SPDX-License-Identifier: Apache-2.0 */
/* A rank that finds no memory for the table of tensors does not leave its siblings waiting. */
#include "actors/runner/collective.h"
#include "actors/runner/weight_load.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"

#include <string.h>

/* The other rank, which holds the files, and gives a table of 100 bytes. */
struct sibling {
    struct collective collective;
    bool takes_our_memory; /* once it told of its table */
    bool has_failed;       /* it, or another */
    unsigned broadcasts;
    unsigned complaints; /* agreements in which our rank said that it failed */
};

static enum status give_table(struct collective *collective, void *bytes, size_t size,
                              uint32_t root)
{
    struct sibling *sibling = (struct sibling *)collective;
    const uint64_t table_size = 100;
    ck_assert_uint_eq(root, 0);
    ck_assert_uint_eq(sibling->broadcasts++, 0); /* the table itself would be the second */
    ck_assert_uint_ge(size, sizeof(table_size));
    memset(bytes, 0, size);
    memcpy(bytes, &table_size, sizeof(table_size));
    if (sibling->takes_our_memory)
        memory_fail_after(0);
    return STATUS_OK;
}

static enum status sum(struct collective *collective, float *values, size_t count)
{
    struct sibling *sibling = (struct sibling *)collective;
    ck_assert_uint_eq(count, 1);
    sibling->complaints += values[0] > 0;
    values[0] += sibling->has_failed;
    return STATUS_OK;
}

static enum status load_beside(struct sibling *sibling)
{
    static const struct collective_ops ops = {.sum = sum, .broadcast = give_table};
    const bool has_files[2] = {true, false};
    const struct weight_load_request request = {
        .collective = &sibling->collective, .directory = "m", .has_files = has_files};
    struct weight_load load;
    struct reason reason = {""};
    sibling->collective.ops = &ops;
    sibling->collective.rank = 1;
    sibling->collective.size = 2;
    const enum status status = weight_load_open(&request, &load, &reason);
    memory_fail_after(UINT64_MAX);
    ck_assert_str_ne(reason.text, "");
    ck_assert_uint_eq(sibling->broadcasts, 1);
    return status;
}

START_TEST(a_rank_without_memory_says_so_before_the_table_comes)
{
    struct sibling sibling = {.takes_our_memory = true};
    ck_assert_int_eq(load_beside(&sibling), STATUS_NO_MEMORY);
    ck_assert_uint_eq(sibling.complaints, 2); /* before the table, and after all of it */
}
END_TEST

START_TEST(no_rank_waits_for_a_table_another_cannot_take)
{
    struct sibling sibling = {.has_failed = true};
    ck_assert_int_eq(load_beside(&sibling), STATUS_CANCELLED);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("runner-weight-load-fault");
    const TTest *const tests[] = {a_rank_without_memory_says_so_before_the_table_comes,
                                  no_rank_waits_for_a_table_another_cannot_take};
    suite_add(suite, "table", tests, COUNT_OF(tests));
    return suite;
}
