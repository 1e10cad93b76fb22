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
        ck_assert(shared);
        uint64_t given = 0;
        bool has_gift = false;
        for (uint32_t i = 0; shared && i < count; i++) {
            ck_assert(units[i] >= 1 || total < count);
            given += units[i];
            has_gift = has_gift || (total >= count && (double)shares[i] / sum * total < 1.0);
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
            const struct partition_units units = {
                .layers = layers,
                .vocab = 10,
                .class_count = 1,
                .classes = {{PARTITION_FFN, layers, 1, 0, 0, 0}},
            };
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
                ck_assert(partitions[i].has_embedding == (i == 0));
                ck_assert(partitions[i].has_head == (i + 1 == ranks));
                ck_assert_uint_eq(partitions[i].vocab_first, 0);
                ck_assert_uint_eq(partitions[i].vocab_end, i == 0 || i + 1 == ranks ? 10 : 0);
            }
            ck_assert(status != STATUS_OK || next == layers);
            ck_assert(status != STATUS_OK ||
                      partition_check(partitions, ranks, &units, &reason) == STATUS_OK);
        }
    }
}
END_TEST

static struct partition_units random_units(struct seeded *seeded)
{
    struct partition_units units = {
        .layers = 1 + (uint32_t)seeded_below(seeded, 64),
        .vocab = 1 + (uint32_t)seeded_below(seeded, 200000),
    };
    const uint32_t kv_heads = 1 + (uint32_t)seeded_below(seeded, 12);
    const uint32_t per_kv = 1 + (uint32_t)seeded_below(seeded, 12);
    uint32_t unit_heads = 1 + (uint32_t)seeded_below(seeded, 3);
    while (kv_heads * per_kv % unit_heads != 0)
        unit_heads--;
    const struct partition_class attention = {.kind = PARTITION_ATTENTION,
                                              .units = kv_heads * per_kv / unit_heads,
                                              .unit_heads = unit_heads,
                                              .per_kv = per_kv};
    const struct partition_class bulk = {
        .kind = seeded_below(seeded, 2) ? PARTITION_FFN : PARTITION_EXPERTS,
        .units = 1 + (uint32_t)seeded_below(seeded, seeded_below(seeded, 2) ? 200 : 20)};
    (void)partition_units_add(&units, &attention, units.layers);
    (void)partition_units_add(&units, &bulk, units.layers);
    return units;
}

/* In every layer the ranks' units follow one another, and each key-value head is where it is
 * read. */
static void check_layers(const struct partition_units *units, const struct partition *partitions,
                         uint32_t ranks)
{
    bool is_whole = true;
    for (uint32_t c = 0; c < units->class_count; c++) {
        const struct partition_class *class = &units->classes[c];
        for (uint32_t layer = 0; layer < class->layers; layer++) {
            uint32_t next = 0;
            for (uint32_t i = 0; i < ranks; i++) {
                struct partition_span span = partition_cut_in(&partitions[i].cuts[c], layer);
                struct partition_span kv = partition_kv_of(class, span);
                is_whole = is_whole && span.first == next && span.end >= span.first;
                next = span.end;
                if (class->per_kv == 0 || span.first == span.end)
                    continue;
                is_whole = is_whole &&
                           kv.first * class->per_kv <= span.first * class->unit_heads &&
                           kv.end * class->per_kv >= span.end * class->unit_heads &&
                           (kv.first + 1) * class->per_kv > span.first * class->unit_heads;
            }
            is_whole = is_whole && next == class->units;
        }
    }
    ck_assert(is_whole);
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
        if (sharding == SHARDING_TENSOR)
            check_layers(&units, partitions, ranks);
        struct partition *one = &partitions[seeded_below(&seeded, ranks)];
        uint32_t *fields[] = {&one->layer_first,   &one->layer_end,   &one->cuts[0].first,
                              &one->cuts[0].end,   &one->cuts[1].end, &one->cuts[1].first,
                              &one->cuts[1].units, &one->vocab_end,   &one->rank,
                              &one->rank_count};
        uint32_t *field = fields[seeded_below(&seeded, COUNT_OF(fields))];
        *field += seeded_below(&seeded, 2) ? 1 : UINT32_MAX;
        ck_assert_int_eq(partition_check(partitions, ranks, &units, &reason), STATUS_INVALID);
    }
    ck_assert_uint_gt(solved, 1000);
}
END_TEST

/* The table of the reference: query heads, key-value heads, columns. */
START_TEST(tables_of_known_models_come_out)
{
    static const uint64_t two[] = {43, 57};
    static const uint64_t three[] = {50, 30, 20};
    static const struct {
        struct partition_class class;
        uint32_t ranks;
        uint32_t units[3];
        struct partition_span kv[3];
    } cases[] = {
        /* Qwen3-30B: 12 groups of expert columns in 48 layers, 8 of which give the first rank 6. */
        {{PARTITION_EXPERTS, 48, 12, 0, 0, 0}, 2, {248, 328}, {{0, 0}}},
        {{PARTITION_FFN, 28, 48, 0, 0, 0}, 2, {21 * 28, 27 * 28}, {{0, 0}}},
        {{PARTITION_FFN, 16, 128, 0, 0, 0}, 3, {64 * 16, 38 * 16, 26 * 16}, {{0, 0}}},
        {{PARTITION_LATENT, 47, 20, 0, 0, 0}, 2, {9 * 47, 11 * 47}, {{0, 0}}},
        {{PARTITION_DELTA, 24, 16, 0, 0, 0}, 3, {8 * 24, 5 * 24, 3 * 24}, {{0, 0}}},
        /* Qwen3-0.6B: whole groups come near enough. */
        {{PARTITION_ATTENTION, 28, 16, 1, 2, 0}, 2, {6 * 28, 10 * 28}, {{0, 3}, {3, 8}}},
        /* Qwen3-30B with 4 key-value heads: not so, one is held twice. */
        {{PARTITION_ATTENTION, 48, 32, 1, 8, 0}, 2, {14 * 48, 18 * 48}, {{0, 2}, {1, 4}}},
        /* Qwen3.5-2B: more ranks than key-value heads. */
        {{PARTITION_ATTENTION, 6, 8, 1, 4, 0}, 3, {24, 12, 12}, {{0, 1}, {1, 2}, {1, 2}}},
        {{PARTITION_ATTENTION, 6, 8, 1, 4, 0}, 2, {3 * 6, 5 * 6}, {{0, 1}, {0, 2}}},
        /* Step-3.5, sliding. */
        {{PARTITION_ATTENTION, 33, 96, 1, 12, 0}, 3, {48 * 33, 24 * 33, 24 * 33},
         {{0, 4}, {4, 6}, {6, 8}}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct partition_units units = {.layers = 64, .vocab = 1000};
        struct partition parts[3];
        struct reason reason = {""};
        (void)partition_units_add(&units, &cases[i].class, cases[i].class.layers);
        ck_assert_int_eq(partition_solve(SHARDING_TENSOR, &units, cases[i].ranks == 2 ? two : three,
                                         cases[i].ranks, parts, &reason),
                         STATUS_OK);
        check_layers(&units, parts, cases[i].ranks);
        for (uint32_t rank = 0; rank < cases[i].ranks; rank++) {
            const struct partition_cut *cut = &parts[rank].cuts[0];
            struct partition_span kv = partition_kv_of(&units.classes[0], partition_cut_in(cut, 0));
            ck_assert_msg((cut->end - cut->first) * cut->step == cases[i].units[rank],
                          "case %zu rank %u: %u", i, rank, cut->end - cut->first);
            if (cases[i].class.per_kv == 0)
                continue;
            ck_assert_uint_eq(kv.first, cases[i].kv[rank].first);
            ck_assert_uint_eq(kv.end, cases[i].kv[rank].end);
        }
    }
}
END_TEST

START_TEST(few_units_are_cut_unlike_in_their_layers)
{
    const struct partition_cut cut = {PARTITION_EXPERTS, 48, 12, 1, 0, 248};
    uint32_t fives = 0;
    for (uint32_t layer = 0; layer < 48; layer++) {
        const uint32_t end = partition_cut_in(&cut, layer).end;
        ck_assert(end == 5 || end == 6);
        fives += end == 5;
    }
    ck_assert_uint_eq(fives, 40);
}
END_TEST

START_TEST(shares_that_are_none_are_refused_with_the_nearest)
{
    static const struct {
        uint64_t shares[4];
        uint32_t count;
        const char *words;
    } cases[] = {
        {{50, 30, 20}, 3, NULL},       {{43, 57}, 2, NULL},         {{3, 1}, 2, "75,25"},
        {{50, 30, 30}, 3, "46,27,27"}, {{100, 0}, 2, "leave that"}, {{100}, 1, "2 to 3"},
        {{25, 25, 25, 25}, 4, "2 to 3"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct reason reason = {""};
        enum status status = partition_check_shares(cases[i].shares, cases[i].count, 3, &reason);
        ck_assert_int_eq(status, cases[i].words ? STATUS_INVALID : STATUS_OK);
        ck_assert_msg(!cases[i].words || strstr(reason.text, cases[i].words), "%s", reason.text);
    }
}
END_TEST

START_TEST(tables_with_gaps_and_overlaps_are_refused_with_the_edge)
{
    struct partition_units units = {.layers = 4, .vocab = 100, .class_count = 1,
                                    .classes = {{PARTITION_FFN, 4, 8, 0, 0, 0}}};
    struct partition parts[2];
    struct reason reason = {""};
    ck_assert_int_eq(partition_solve(SHARDING_TENSOR, &units, NULL, 2, parts, &reason), STATUS_OK);
    parts[1].cuts[0].first++;
    ck_assert_int_eq(partition_check(parts, 2, &units, &reason), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "a gap of FFN columns: rank 1 begins at 17"));
    parts[1].cuts[0].first -= 2;
    ck_assert_int_eq(partition_check(parts, 2, &units, &reason), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "an overlap"));
    parts[1].cuts[0].first++;
    parts[1].cuts[0].end--;
    ck_assert_int_eq(partition_check(parts, 2, &units, &reason), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "let them end at 32"));
}
END_TEST

START_TEST(classes_beyond_the_room_for_them_are_of_one_unit)
{
    struct partition_units units = {.layers = 100};
    for (uint32_t i = 0; i < 100; i++) {
        const struct partition_class class = {.kind = 1 + i % 6, .units = 2 + i};
        const uint32_t at = partition_units_add(&units, &class, 1);
        ck_assert_uint_lt(at, PARTITION_CLASSES_MAX);
        ck_assert_int_eq(units.classes[at].kind, class.kind);
        ck_assert(units.classes[at].units == class.units || units.classes[at].units == 1);
    }
    ck_assert_uint_le(units.class_count, PARTITION_CLASSES_MAX);
}
END_TEST

START_TEST(one_rank_holds_everything)
{
    struct partition_units units = {.layers = 28, .vocab = 151936, .class_count = 1,
                                    .classes = {{PARTITION_FFN, 28, 48, 0, 0, 0}}};
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
                                  tables_of_known_models_come_out,
                                  few_units_are_cut_unlike_in_their_layers,
                                  shares_that_are_none_are_refused_with_the_nearest,
                                  tables_with_gaps_and_overlaps_are_refused_with_the_edge,
                                  classes_beyond_the_room_for_them_are_of_one_unit,
                                  every_layer_is_on_exactly_one_rank_of_a_pipeline,
                                  what_is_solved_passes_the_check_and_what_is_changed_does_not,
                                  one_rank_holds_everything};
    suite_add(suite, "partition", tests, COUNT_OF(tests));
    return suite;
}
