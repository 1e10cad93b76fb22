/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/launcher/fence.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"

#include <string.h>

static void expect_whole(struct fence_table *table, const char *signature, uint64_t sequence,
                         const char *expected)
{
    void *bytes = NULL;
    size_t size = 0;
    ck_assert(fence_table_take(table, signature, sequence, &bytes, &size));
    ck_assert_uint_eq(size, strlen(expected));
    ck_assert_int_eq(memcmp(bytes, expected, size), 0);
    memory_free(bytes);
}

static enum status add(struct fence_table *table, const char *signature, uint64_t sequence,
                       uint32_t rank, const char *text)
{
    return fence_table_add(table, signature, sequence, rank, text, strlen(text), NULL);
}

START_TEST(blobs_join_in_rank_order_whatever_the_order_of_arrival)
{
    struct fence_table *table = NULL;
    void *bytes = NULL;
    size_t size = 0;
    ck_assert_int_eq(fence_table_open(3, &table), STATUS_OK);
    ck_assert(!fence_table_take(table, "*", 1, &bytes, &size));
    ck_assert_int_eq(add(table, "*", 1, 2, "cc"), STATUS_OK);
    ck_assert_int_eq(add(table, "*", 2, 2, "late"), STATUS_OK); /* one fence ahead */
    ck_assert_int_eq(add(table, "*", 1, 0, "a"), STATUS_OK);
    ck_assert(!fence_table_take(table, "*", 1, &bytes, &size));
    ck_assert_int_eq(add(table, "*", 1, 1, ""), STATUS_OK);
    expect_whole(table, "*", 1, "acc");
    ck_assert(!fence_table_take(table, "*", 1, &bytes, &size));
    /* A sibling that connected anew repeats what it said. */
    ck_assert_int_eq(add(table, "*", 1, 2, "cc"), STATUS_EXISTS);
    ck_assert_int_eq(add(table, "*", 2, 1, "b"), STATUS_OK);
    ck_assert_int_eq(add(table, "*", 2, 0, ""), STATUS_OK);
    expect_whole(table, "*", 2, "blate");
    fence_table_close(table);
}
END_TEST

START_TEST(a_part_of_the_world_is_a_fence_of_its_own)
{
    struct fence_table *table = NULL;
    char signature[FENCE_SIGNATURE_SIZE];
    const uint32_t ranks[] = {2, 0};
    ck_assert_int_eq(fence_table_open(3, &table), STATUS_OK);
    ck_assert_int_eq(fence_signature(ranks, 2, signature), STATUS_OK);
    ck_assert_str_eq(signature, "0,2");
    ck_assert_int_eq(add(table, signature, 1, 2, "c"), STATUS_OK);
    ck_assert_int_eq(add(table, signature, 1, 1, "b"), STATUS_INVALID);
    ck_assert_int_eq(add(table, "*", 1, 0, "x"), STATUS_OK);
    ck_assert_int_eq(add(table, signature, 1, 0, "a"), STATUS_OK);
    expect_whole(table, signature, 1, "ac");
    fence_table_close(table);
}
END_TEST

START_TEST(what_a_sibling_may_not_say_is_refused)
{
    struct fence_table *table = NULL;
    ck_assert_int_eq(fence_table_open(2, &table), STATUS_OK);
    ck_assert_int_eq(add(table, "*", 1, 1, "b"), STATUS_OK);
    ck_assert_int_eq(add(table, "*", 1, 1, "b"), STATUS_EXISTS);
    ck_assert_int_eq(add(table, "*", 1, 2, "c"), STATUS_INVALID);
    static const char *const bad[] = {"", "0,", ",", "0,0", "5", "x", "0;1", "-1", "0,1x"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        ck_assert_int_eq(add(table, bad[i], 1, 0, "a"), STATUS_INVALID);
    char endless[FENCE_SIGNATURE_SIZE + 1];
    memset(endless, '1', sizeof(endless) - 1);
    endless[sizeof(endless) - 1] = '\0';
    ck_assert_int_eq(add(table, endless, 1, 0, "a"), STATUS_INVALID);
    ck_assert_int_eq(fence_table_add(table, "*", 9, 1, "", FENCE_BLOB_SIZE_MAX + 1, NULL),
                     STATUS_TOO_LARGE);
    for (uint64_t i = 2; i <= FENCE_PENDING_MAX; i++)
        ck_assert_int_eq(add(table, "*", i, 1, "b"), STATUS_OK);
    ck_assert_int_eq(add(table, "*", 99, 1, "b"), STATUS_TOO_LARGE);
    fence_table_close(table);
    const uint32_t twice[] = {1, 1};
    char signature[FENCE_SIGNATURE_SIZE];
    ck_assert_int_eq(fence_signature(twice, 2, signature), STATUS_INVALID);
    ck_assert_int_eq(fence_table_open(0, &table), STATUS_INVALID);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("fence");
    const TTest *const tests[] = {blobs_join_in_rank_order_whatever_the_order_of_arrival,
                                  a_part_of_the_world_is_a_fence_of_its_own,
                                  what_a_sibling_may_not_say_is_refused};
    suite_add(suite, "fence", tests, COUNT_OF(tests));
    return suite;
}
