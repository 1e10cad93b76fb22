/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/partition.h"
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"

#include <string.h>

START_TEST(units_are_shared_whole_and_within_one_of_their_due)
{
    struct seeded seeded = seeded_open(7);
    for (int round = 0; round < 20000; round++) {
        uint64_t shares[PARTITION_RANKS_MAX];
        uint32_t units[PARTITION_RANKS_MAX];
        uint32_t count = 1 + (uint32_t)seeded_below(&seeded, PARTITION_RANKS_MAX);
        uint32_t total = (uint32_t)seeded_below(&seeded, 2000);
        uint64_t scale = UINT64_C(1) << seeded_below(&seeded, 50);
        double sum = 0;
        for (uint32_t i = 0; i < count; i++) {
            shares[i] = 1 + seeded_below(&seeded, scale);
            sum += (double)shares[i];
        }
        bool shared = partition_share(total, shares, count, units);
        ck_assert_int_eq(shared, total >= count);
        uint64_t given = 0;
        bool has_gift = false;
        for (uint32_t i = 0; shared && i < count; i++) {
            ck_assert_uint_ge(units[i], 1);
            given += units[i];
            has_gift = has_gift || (double)shares[i] / sum * total < 1.0;
        }
        ck_assert(!shared || given == total);
        for (uint32_t i = 0; shared && !has_gift && i < count; i++) {
            double due = (double)shares[i] / sum * total;
            ck_assert_msg(units[i] > due - 1.001 && units[i] < due + 1.001, "%u of %g", units[i],
                          due);
        }
    }
}
END_TEST

START_TEST(the_worked_examples_come_out)
{
    const uint64_t two[] = {43, 57};
    const uint64_t three[] = {50, 30, 20};
    const struct {
        uint32_t total;
        uint32_t of_two[2];
        uint32_t of_three[3];
    } cases[] = {
        {16, {7, 9}, {8, 5, 3}},     {24, {10, 14}, {12, 7, 5}},  {28, {12, 16}, {14, 8, 6}},
        {45, {19, 26}, {23, 13, 9}}, {47, {20, 27}, {24, 14, 9}}, {48, {21, 27}, {24, 14, 10}},
        {8, {3, 5}, {4, 2, 2}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint32_t units[3];
        ck_assert(partition_share(cases[i].total, two, 2, units));
        ck_assert_mem_eq(units, cases[i].of_two, sizeof cases[i].of_two);
        ck_assert(partition_share(cases[i].total, three, 3, units));
        ck_assert_msg(memcmp(units, cases[i].of_three, sizeof cases[i].of_three) == 0,
                      "%u: %u %u %u", cases[i].total, units[0], units[1], units[2]);
    }
}
END_TEST

/* mlx-lm's own pipeline loses layer 23 of 47 on two ranks, and 18 and 19 of 28 on three. */
START_TEST(every_layer_is_on_exactly_one_rank_of_a_pipeline)
{
    for (uint32_t layers = 1; layers <= 128; layers++) {
        for (uint32_t ranks = 1; ranks <= 16; ranks++) {
            const struct partition_units units = {.layers = layers, .kv_groups = 2, .kv_unit = 1,
                                                  .ffn_columns = 64, .ffn_unit = 64, .vocab = 10};
            struct partition partitions[16];
            struct reason reason = {""};
            uint32_t next = 0;
            const enum status status = partition_solve(SHARDING_PIPELINE, &units, NULL, ranks,
                                                       partitions, &reason);
            ck_assert_int_eq(status, layers >= ranks ? STATUS_OK : STATUS_NO_CAPACITY);
            for (uint32_t i = 0; status == STATUS_OK && i < ranks; i++) {
                const uint32_t held = partitions[i].layer_end - partitions[i].layer_first;
                ck_assert_uint_eq(partitions[i].layer_first, next);
                ck_assert(held == layers / ranks || held == (layers + ranks - 1) / ranks);
                next = partitions[i].layer_end;
            }
            ck_assert(status != STATUS_OK || next == layers);
        }
    }
}
END_TEST

static struct partition_units random_units(struct seeded *seeded)
{
    uint32_t ffn_unit = 32u << seeded_below(seeded, 3);
    uint32_t kv_unit = 1u << seeded_below(seeded, 2);
    return (struct partition_units){
        .layers = 1 + (uint32_t)seeded_below(seeded, 64),
        .kv_groups = kv_unit * (1 + (uint32_t)seeded_below(seeded, 12)),
        .kv_unit = kv_unit,
        .ffn_columns = ffn_unit * (1 + (uint32_t)seeded_below(seeded, 100)),
        .ffn_unit = ffn_unit,
        .vocab = 1 + (uint32_t)seeded_below(seeded, 200000),
    };
}

START_TEST(what_is_solved_passes_the_check_and_what_is_changed_does_not)
{
    struct seeded seeded = seeded_open(8);
    uint32_t solved = 0;
    for (int round = 0; round < 4000; round++) {
        struct partition partitions[8];
        uint64_t shares[8];
        struct reason reason = {""};
        struct partition_units units = random_units(&seeded);
        uint32_t ranks = 2 + (uint32_t)seeded_below(&seeded, 7);
        enum sharding sharding = seeded_below(&seeded, 2) ? SHARDING_TENSOR : SHARDING_PIPELINE;
        for (uint32_t i = 0; i < ranks; i++)
            shares[i] = 1 + seeded_below(&seeded, 1000);
        enum status status = partition_solve(sharding, &units,
                                             seeded_below(&seeded, 4) ? shares : NULL, ranks,
                                             partitions, &reason);
        if (status != STATUS_OK) {
            ck_assert_int_eq(status, STATUS_NO_CAPACITY);
            ck_assert_ptr_nonnull(strstr(reason.text, "use at most"));
            continue;
        }
        solved++;
        status = partition_check(partitions, ranks, &units, &reason);
        ck_assert_msg(status == STATUS_OK, "%s", reason.text);
        struct partition *one = &partitions[seeded_below(&seeded, ranks)];
        uint32_t *fields[] = {&one->layer_first, &one->layer_end, &one->kv_first,
                              &one->kv_end,      &one->ffn_first, &one->ffn_end,
                              &one->vocab_end,   &one->rank,      &one->rank_count};
        uint32_t *field = fields[seeded_below(&seeded, COUNT_OF(fields))];
        *field += seeded_below(&seeded, 2) ? 1 : UINT32_MAX;
        ck_assert_int_eq(partition_check(partitions, ranks, &units, &reason), STATUS_INVALID);
    }
    ck_assert_uint_gt(solved, 1000);
}
END_TEST

START_TEST(one_rank_holds_everything)
{
    struct partition_units units = {28, 8, 1, 3072, 64, 151936};
    struct partition partitions[2];
    struct reason reason = {""};
    ck_assert_int_eq(partition_solve(SHARDING_NONE, &units, NULL, 1, partitions, &reason),
                     STATUS_OK);
    ck_assert_int_eq(partition_check(partitions, 1, &units, &reason), STATUS_OK);
    ck_assert(partitions[0].has_embedding && partitions[0].has_head);
    ck_assert_int_eq(partition_solve(SHARDING_NONE, &units, NULL, 2, partitions, &reason),
                     STATUS_INVALID);
    ck_assert_int_eq(partition_solve(SHARDING_TENSOR, &units, NULL, 0, partitions, &reason),
                     STATUS_INVALID);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("partition");
    const TTest *const tests[] = {units_are_shared_whole_and_within_one_of_their_due,
                                  the_worked_examples_come_out,
        every_layer_is_on_exactly_one_rank_of_a_pipeline,
                                  what_is_solved_passes_the_check_and_what_is_changed_does_not,
                                  one_rank_holds_everything};
    suite_add(suite, "partition", tests, COUNT_OF(tests));
    return suite;
}
