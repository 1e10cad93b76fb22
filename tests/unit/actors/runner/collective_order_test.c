/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks that are not in the same collective find it, and say who is where. */
#include "actors/runner/collective_order.h"

#include "actors/runner/engine/collective_threads.h"
#include "tests/support/check_main.h"

#include <pthread.h>
#include <string.h>

enum { RANKS = 3 };

START_TEST(marks_count_alike_and_agree)
{
    struct collective ranks[2] = {{.rank = 0, .size = 2}, {.rank = 1, .size = 2}};
    for (uint64_t i = 1; i <= 5; i++) {
        const struct collective_mark own =
            collective_mark_next(&ranks[0], COLLECTIVE_SUM, 4 * i, 0);
        const struct collective_mark other =
            collective_mark_next(&ranks[1], COLLECTIVE_SUM, 4 * i, 0);
        ck_assert_uint_eq(own.number, i);
        ck_assert(collective_mark_agrees(&ranks[0], &own, &other, 1));
        ck_assert(collective_mark_agrees(&ranks[1], &other, &own, 0));
    }
    ck_assert_str_eq(ranks[0].why.text, "");
}
END_TEST

START_TEST(each_difference_is_found_and_named)
{
    struct collective rank = {.rank = 0, .size = 3};
    const struct collective_mark own = collective_mark_next(&rank, COLLECTIVE_BROADCAST, 64, 2);
    struct collective_mark others[6];
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        others[i] = own;
        others[i].rank = 1;
    }
    others[0].magic ^= 1;
    others[1].kind = COLLECTIVE_GATHER;
    others[2].number++;
    others[3].size--;
    others[4].root = 1;
    others[5].rank = 2;
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        rank.why.text[0] = '\0';
        ck_assert(!collective_mark_agrees(&rank, &own, &others[i], 1));
        ck_assert_ptr_nonnull(strstr(rank.why.text, "rank 1"));
        ck_assert_ptr_nonnull(strstr(rank.why.text, "no longer do the same"));
    }
}
END_TEST

START_TEST(a_failure_is_told_by_its_own_reason_if_there_is_one)
{
    struct collective rank = {.rank = 0, .size = 2};
    struct reason reason;
    ck_assert_int_eq(collective_refuse(&rank, STATUS_IO, &reason, "lost"), STATUS_IO);
    ck_assert_str_eq(reason.text, "lost");
    ck_assert_int_eq(collective_refuse(NULL, STATUS_IO, &reason, "gone"), STATUS_IO);
    ck_assert_str_eq(reason.text, "gone");
    (void)refuse(&rank.why, STATUS_IO, "rank 1 was lost");
    ck_assert_int_eq(collective_refuse(&rank, STATUS_IO, &reason, "lost"), STATUS_IO);
    ck_assert_str_eq(reason.text, "rank 1 was lost");
}
END_TEST

struct member {
    struct collective *collective;
    enum status status;
};

/* Ten sums; rank 1 forgets one value in the eighth. */
static void *add_up(void *argument)
{
    struct member *member = argument;
    float values[8] = {1};
    for (int i = 0; i < 10 && member->status == STATUS_OK; i++)
        member->status = member->collective->ops->sum(
            member->collective, values, i == 7 && member->collective->rank == 1 ? 7 : 8);
    return NULL;
}

START_TEST(threads_that_diverge_find_it_in_that_call)
{
    struct collective_threads *world = NULL;
    struct member members[RANKS];
    pthread_t threads[RANKS];
    ck_assert_int_eq(collective_threads_open(RANKS, &world, NULL), STATUS_OK);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        members[rank] = (struct member){collective_threads_member(world, rank), STATUS_OK};
        ck_assert_int_eq(pthread_create(&threads[rank], NULL, add_up, &members[rank]), 0);
    }
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        ck_assert_int_eq(pthread_join(threads[rank], NULL), 0);
        ck_assert_int_eq(members[rank].status, STATUS_MALFORMED);
        ck_assert_uint_eq(members[rank].collective->number, 8);
        ck_assert_ptr_nonnull(strstr(members[rank].collective->why.text, "28 bytes"));
    }
    collective_threads_close(world);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        marks_count_alike_and_agree,
        each_difference_is_found_and_named,
        a_failure_is_told_by_its_own_reason_if_there_is_one,
        threads_that_diverge_find_it_in_that_call,
    };
    Suite *suite = suite_create("collective_order");
    suite_add(suite, "collective_order", tests, COUNT_OF(tests));
    return suite;
}
