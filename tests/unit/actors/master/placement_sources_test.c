/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_sources.h"
#include "protocol/holdings.h"
#include "tests/support/check_main.h"

#include <string.h>

#define FILES 5u
#define RANKS 3u

static struct model_record model;
static struct holder_record holders[RANKS];
static const struct holder_record *known[RANKS];
static struct source_choice choice;

/* A configuration and four weights of 1, 2, 3 and 4 MB; nobody holds anything. */
static void setup(void)
{
    memset(&model, 0, sizeof(model));
    memset(holders, 0, sizeof(holders));
    memset(known, 0, sizeof(known));
    for (uint32_t i = 0; i < FILES; i++) {
        struct file_entry *file =
            record_list_push(&file_entry_type, RECORD_LIST(model.files), NULL, FILES);
        ck_assert_ptr_nonnull(file);
        file->is_weight = i > 0;
        file->size = i * 1000000u;
    }
}

static void teardown(void)
{
    for (uint32_t i = 0; i < RANKS; i++)
        record_fini(&holder_record_type, &holders[i]);
    record_fini(&model_record_type, &model);
}

/* The files of the bits; all with 0xff. */
static void hold(uint32_t rank, uint8_t files)
{
    const struct node_id id = {{(uint8_t)(rank + 1)}};
    record_fini(&holder_record_type, &holders[rank]);
    ck_assert(holder_make(&model, &id, files == 0xff, &(struct bytes){&files, 1},
                          &holders[rank]));
    known[rank] = &holders[rank];
}

static void choose(uint32_t ranks)
{
    source_choice_make(&model, known, ranks, ranks, &choice);
}

/* The first `ranks` compute, the others are asked in their order; the places of those that send. */
static uint32_t choose_others(uint32_t ranks, uint32_t places[RANKS])
{
    return source_others_choose(&model, known, ranks, known + ranks, RANKS - ranks, RANKS, places);
}

START_TEST(what_no_rank_holds_is_sent_by_one_beside_them)
{
    uint32_t places[RANKS];
    hold(2, 0xff);
    ck_assert_uint_eq(choose_others(2, places), 1);
    ck_assert_uint_eq(places[0], 0);
    source_choice_make(&model, known, 2, 3, &choice);
    ck_assert_uint_eq(choice.unheld, FILES);
    for (uint32_t i = 1; i < FILES; i++)
        ck_assert_uint_eq(choice.ranks[i], 2);
    ck_assert_uint_eq(choice.loads[2], 2 * 10000000u); /* to the ranks, not to itself */
    /* What a rank has it sends itself. */
    hold(1, 0x10);
    ck_assert_uint_eq(choose_others(2, places), 1);
    source_choice_make(&model, known, 2, 3, &choice);
    ck_assert_uint_eq(choice.ranks[4], 1);
    ck_assert_uint_eq(choice.ranks[3], 2);
    ck_assert_uint_eq(choice.holders[4], 6);
    ck_assert_uint_eq(choice.loads[1], 4000000u);
}
END_TEST

START_TEST(nobody_beside_the_ranks_sends_what_they_hold)
{
    uint32_t places[RANKS];
    hold(0, 0x06);
    hold(1, 0x18);
    hold(2, 0xff);
    ck_assert_uint_eq(choose_others(2, places), 0);
}
END_TEST

START_TEST(the_fewest_send_and_none_when_together_they_lack_something)
{
    uint32_t places[RANKS];
    hold(1, 0x06);
    hold(2, 0xff);
    ck_assert_uint_eq(choose_others(1, places), 1); /* one has all, and that is enough */
    ck_assert_uint_eq(places[0], 1);
    hold(2, 0x18);
    ck_assert_uint_eq(choose_others(1, places), 2);
    hold(2, 0x08);
    ck_assert_uint_eq(choose_others(1, places), 0);
    hold(0, 0x10);
    ck_assert_uint_eq(choose_others(1, places), 2);
    ck_assert_uint_eq(source_others_choose(&model, known, 1, known + 1, 2, 1, places), 0);
}
END_TEST

/* Of 1 to 3 the first adds most, and is not needed once the two others are there. */
START_TEST(who_is_not_needed_in_the_end_does_not_send)
{
    struct holder_record many[4];
    const struct holder_record *others[] = {&many[0], &many[1], &many[2]};
    static const uint8_t held[] = {0x0c, 0x06, 0x18};
    uint32_t places[4];
    for (uint32_t i = 0; i < COUNT_OF(held); i++)
        ck_assert(holder_make(&model, &(struct node_id){{(uint8_t)(i + 1)}}, false,
                              &(struct bytes){(uint8_t *)(uintptr_t)&held[i], 1}, &many[i]));
    ck_assert_uint_eq(source_others_choose(&model, known, 1, others, 3, 4, places), 2);
    ck_assert_uint_eq(places[0], 1);
    ck_assert_uint_eq(places[1], 2);
    for (uint32_t i = 0; i < COUNT_OF(held); i++)
        record_fini(&holder_record_type, &many[i]);
}
END_TEST

START_TEST(a_file_is_sent_by_the_one_that_holds_it)
{
    hold(0, 0x06);
    hold(1, 0x18);
    choose(3);
    ck_assert_uint_eq(choice.unheld, FILES);
    ck_assert_uint_eq(choice.ranks[0], RANK_COUNT_MAX); /* small files have no source */
    ck_assert_uint_eq(choice.holders[0], 0);
    for (uint32_t i = 1; i < FILES; i++) {
        ck_assert_uint_eq(choice.ranks[i], i < 3 ? 0 : 1);
        ck_assert_uint_eq(choice.holders[i], i < 3 ? 1 : 2);
    }
    ck_assert_uint_eq(choice.loads[0], 2 * 3000000u); /* to two ranks each */
    ck_assert_uint_eq(choice.loads[1], 2 * 7000000u);
}
END_TEST

START_TEST(what_nobody_holds_is_named)
{
    hold(0, 0x02);
    hold(2, 0x12);
    choose(3);
    ck_assert_uint_eq(choice.unheld, 2);
    ck_assert_uint_eq(choice.ranks[2], RANK_COUNT_MAX);
    hold(1, 0x04);
    choose(3);
    ck_assert_uint_eq(choice.unheld, 3);
    hold(1, 0xff);
    choose(3);
    ck_assert_uint_eq(choice.unheld, FILES);
    choose(1); /* of the first rank alone */
    ck_assert_uint_eq(choice.unheld, 2);
}
END_TEST

START_TEST(what_several_hold_is_spread_by_bytes)
{
    hold(0, 0xff);
    hold(1, 0xff);
    choose(3); /* 4 + 1 and 3 + 2 MB, each to rank 2 */
    ck_assert_uint_eq(choice.loads[0], 5000000u);
    ck_assert_uint_eq(choice.loads[1], 5000000u);
    ck_assert_uint_eq(choice.loads[2], 0);
}
END_TEST

/* Rank 0 alone has the largest: the rest comes from rank 1, which has them, too. */
START_TEST(what_one_alone_holds_counts_first)
{
    hold(0, 0xff);
    hold(1, 0x0e);
    choose(3);
    ck_assert_uint_eq(choice.ranks[4], 0);
    ck_assert_uint_eq(choice.loads[0], 2 * 4000000u);
    ck_assert_uint_eq(choice.loads[1], 6000000u);
}
END_TEST

/* Files that nobody lacks weigh nothing. */
START_TEST(what_all_hold_is_no_work)
{
    hold(0, 0x1e);
    hold(1, 0x10);
    hold(2, 0x1c);
    choose(3);
    ck_assert_uint_eq(choice.holders[4], 7);
    ck_assert_uint_eq(choice.ranks[1], 0); /* 1 MB to two */
    ck_assert_uint_eq(choice.loads[0] + choice.loads[2], 2 * 1000000u + 2000000u + 3000000u);
    ck_assert_uint_eq(choice.loads[1], 0);
    hold(1, 0xff);
    choose(2);
    ck_assert_uint_eq(choice.loads[0] + choice.loads[1], 0);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("placement_sources");
    TCase *group = tcase_create("sources");
    const TTest *const tests[] = {
        what_no_rank_holds_is_sent_by_one_beside_them,
        nobody_beside_the_ranks_sends_what_they_hold,
        the_fewest_send_and_none_when_together_they_lack_something,
        who_is_not_needed_in_the_end_does_not_send,
        a_file_is_sent_by_the_one_that_holds_it, what_nobody_holds_is_named,
        what_several_hold_is_spread_by_bytes, what_one_alone_holds_counts_first,
        what_all_hold_is_no_work};
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
