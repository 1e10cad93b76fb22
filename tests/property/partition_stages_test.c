/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of a pipeline of tensor groups: in every layer the ranks of its stage tile every class, no
 * other rank holds anything, every rank is within its budget, counted by other code; what is
 * changed does not pass the check.
 *
 * TROUPE_TABLES: how many cases of each kind (scripts/bars/04-tables: 10000).
 */
#include "runtime/partition_place.h"
#include "runtime/partition_record.h"
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANKS_MAX 12u
#define STAGES_MAX 6u
#define LAYERS_MAX 48u
#define CASES_DEFAULT 200u

static uint32_t cases(void)
{
    const char *text = getenv("TROUPE_TABLES");
    return text ? (uint32_t)strtoul(text, NULL, 10) : CASES_DEFAULT;
}

static uint32_t below(struct seeded *seeded, uint32_t bound)
{
    return (uint32_t)seeded_below(seeded, bound);
}

struct scene {
    struct partition_units units;
    struct partition_costs costs;
    uint64_t layer_bytes[LAYERS_MAX];
    uint64_t layer_whole[LAYERS_MAX];
    uint32_t sizes[STAGES_MAX];
    uint32_t stages;
    uint32_t ranks;
    uint64_t shares[RANKS_MAX];
    uint64_t budgets[RANKS_MAX];
};

/* Layers of two mixers and two FFNs at random, as hybrids and mixtures of experts have them. */
static void random_scene(struct scene *s, struct seeded *seeded)
{
    memset(s, 0, sizeof *s);
    const uint32_t per_kv = 1 + below(seeded, 4);
    const struct partition_class mixers[] = {
        {PARTITION_ATTENTION, 0, per_kv * (1 + below(seeded, 8)), 1, per_kv, 0},
        {PARTITION_DELTA, 0, 1 + below(seeded, 16), 0, 0, 0}};
    const struct partition_class ffns[] = {{PARTITION_FFN, 0, 1 + below(seeded, 100), 0, 0, 0},
                                           {PARTITION_EXPERTS, 0, 1 + below(seeded, 14), 0, 0, 0}};
    s->units.vocab = 1 + below(seeded, 5000);
    s->stages = 2 + below(seeded, STAGES_MAX - 1);
    s->units.layers = s->stages + below(seeded, LAYERS_MAX - STAGES_MAX);
    s->costs.vocab_bytes = 1 + below(seeded, 500);
    s->costs.rank_bytes = below(seeded, 10000);
    s->costs.layer_bytes = s->layer_bytes;
    s->costs.layer_whole = s->layer_whole;
    s->costs.first_bytes = s->costs.vocab_bytes * s->units.vocab;
    s->costs.last_bytes = below(seeded, 2) ? s->costs.first_bytes
                                           : (1 + below(seeded, 500)) * (uint64_t)s->units.vocab;
    const bool is_hybrid = below(seeded, 2) == 1;
    const bool has_experts = below(seeded, 2) == 1;
    for (uint32_t layer = 0; layer < s->units.layers; layer++) {
        const struct partition_class *parts[] = {
            &mixers[is_hybrid && below(seeded, 4) > 0],
            &ffns[has_experts && (layer > 2 || below(seeded, 2) == 1)]};
        s->layer_whole[layer] = below(seeded, 1000);
        s->layer_bytes[layer] = s->layer_whole[layer];
        for (size_t i = 0; i < COUNT_OF(parts); i++) {
            const uint32_t known = s->units.class_count;
            const uint32_t at = partition_units_add(&s->units, parts[i], 1);
            partition_units_map(&s->units, at, layer, 1);
            if (s->units.class_count > known) {
                s->costs.unit_bytes[at] = 1 + below(seeded, 5000);
                s->costs.kv_bytes[at] = parts[i]->per_kv ? below(seeded, 4000) : 0;
            }
            s->layer_bytes[layer] += s->costs.unit_bytes[at] * parts[i]->units;
            if (parts[i]->per_kv)
                s->layer_bytes[layer] += s->costs.kv_bytes[at] * (parts[i]->units / per_kv);
        }
    }
    for (uint32_t i = 0; i < s->stages; i++) {
        s->sizes[i] = 1 + below(seeded, RANKS_MAX / STAGES_MAX + 1);
        if (s->ranks + s->sizes[i] + (s->stages - 1 - i) > RANKS_MAX)
            s->sizes[i] = 1;
        s->ranks += s->sizes[i];
    }
    for (uint32_t i = 0; i < s->ranks; i++)
        s->shares[i] = 1 + seeded_below(seeded, 100);
}

/* --- by other ways than the code's --- */

static bool has_class(const struct scene *s, uint32_t layer, uint32_t class)
{
    return (s->units.layer_classes[layer] >> class & 1u) != 0;
}

static struct partition_span held(const struct scene *s, const struct partition *p,
                                  uint32_t class, uint32_t layer)
{
    const struct partition_cut *cut = &p->cuts[class];
    uint32_t ordinal = 0;
    for (uint32_t i = 0; i < layer; i++)
        ordinal += has_class(s, i, class);
    return (struct partition_span){(cut->first + ordinal) / cut->layers * cut->step,
                                   (cut->end + ordinal) / cut->layers * cut->step};
}

static uint64_t count_bytes(const struct scene *s, const struct partition *p)
{
    const uint64_t end = p->stage == 0               ? s->costs.first_bytes
                         : p->stage + 1 == s->stages ? s->costs.last_bytes
                                                     : 0;
    uint64_t bytes =
        s->costs.rank_bytes + (p->vocab_end - p->vocab_first) * (end / s->units.vocab);
    for (uint32_t layer = p->layer_first; layer < p->layer_end; layer++) {
        bytes += s->layer_whole[layer];
        for (uint32_t c = 0; c < s->units.class_count; c++) {
            const struct partition_class *class = &s->units.classes[c];
            if (!has_class(s, layer, c))
                continue;
            const struct partition_span span = held(s, p, c, layer);
            bytes += (span.end - span.first) * s->costs.unit_bytes[c];
            for (uint32_t kv = 0; class->per_kv && kv < class->units / class->per_kv; kv++)
                if (span.first < span.end && kv * class->per_kv < span.end &&
                    (kv + 1) * class->per_kv > span.first)
                    bytes += s->costs.kv_bytes[c];
        }
    }
    return bytes;
}

/* Each unit of each class is in each layer that has it on one rank, whose layer it is. */
static void check_tiles(const struct scene *s, const struct partition *parts)
{
    struct reason reason = {""};
    ck_assert_msg(partition_check(parts, s->ranks, &s->units, &reason) == STATUS_OK, "%s",
                  reason.text);
    for (uint32_t layer = 0; layer < s->units.layers; layer++) {
        for (uint32_t c = 0; c < s->units.class_count; c++) {
            uint32_t next = 0;
            uint32_t holders = 0;
            for (uint32_t i = 0; i < s->ranks && has_class(s, layer, c); i++) {
                if (layer < parts[i].layer_first || layer >= parts[i].layer_end)
                    continue;
                const struct partition_span span = held(s, &parts[i], c, layer);
                ck_assert_uint_eq(span.first, next);
                ck_assert_uint_ge(span.end, span.first);
                next = span.end;
                holders++;
            }
            ck_assert(!has_class(s, layer, c) ||
                      (holders > 0 && next == s->units.classes[c].units));
        }
    }
    uint32_t rows = 0;
    for (uint32_t i = 0, stage = 0, first = 0; i < s->ranks; i++) {
        if (i == first + s->sizes[stage]) {
            const bool has_rows = stage == 0 || stage + 1 == s->stages;
            ck_assert_uint_eq(rows, has_rows ? s->units.vocab : 0);
            rows = 0;
            first += s->sizes[stage++];
        }
        ck_assert_uint_eq(parts[i].stage, stage);
        ck_assert_uint_eq(parts[i].stage_first, first);
        ck_assert_uint_eq(parts[i].stage_ranks, s->sizes[stage]);
        ck_assert(parts[i].has_embedding == (stage == 0));
        ck_assert(parts[i].has_head == (stage + 1 == s->stages));
        ck_assert_uint_eq(parts[i].vocab_first, rows);
        rows += parts[i].vocab_end - parts[i].vocab_first;
    }
    ck_assert_uint_eq(rows, s->units.vocab);
}

START_TEST(solved_stages_tile_and_what_is_changed_is_refused)
{
    struct seeded seeded = seeded_open(611);
    uint32_t solved = 0;
    for (uint32_t round = 0; round < 4 * cases(); round++) {
        struct scene s;
        struct partition parts[RANKS_MAX];
        struct reason reason = {""};
        random_scene(&s, &seeded);
        enum status status =
            partition_solve_stages(&s.units, s.sizes, s.stages,
                                   below(&seeded, 4) ? s.shares : NULL, parts, &reason);
        if (status != STATUS_OK) {
            ck_assert_int_eq(status, STATUS_NO_CAPACITY);
            ck_assert_msg(strstr(reason.text, "use at most"), "%s", reason.text);
            continue;
        }
        solved++;
        check_tiles(&s, parts);
        for (uint32_t i = 0; i < s.ranks; i++)
            ck_assert_uint_eq(count_bytes(&s, &parts[i]),
                              partition_bytes(&s.units, &s.costs, &parts[i]));
        struct partition *one = &parts[below(&seeded, s.ranks)];
        uint32_t *fields[] = {&one->layer_first,   &one->layer_end,   &one->cuts[0].first,
                              &one->cuts[0].end,   &one->cuts[1].end, &one->cuts[1].first,
                              &one->cuts[1].units, &one->vocab_end,   &one->rank,
                              &one->rank_count,    &one->stage,       &one->stage_first,
                              &one->stage_ranks};
        uint32_t *field = fields[below(&seeded, COUNT_OF(fields))];
        *field += below(&seeded, 2) ? 1 : UINT32_MAX;
        ck_assert_int_eq(partition_check(parts, s.ranks, &s.units, &reason), STATUS_INVALID);
    }
    ck_assert_uint_gt(solved, 2 * cases());
}
END_TEST

/* `percent` of what the layers need, at random, beside what each rank keeps. */
static void random_budgets(struct scene *s, uint32_t percent)
{
    uint64_t need = 0;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->units.layers; i++)
        need += s->layer_bytes[i];
    for (uint32_t i = 0; i < s->ranks; i++)
        sum += s->shares[i];
    for (uint32_t i = 0; i < s->ranks; i++)
        s->budgets[i] = s->costs.rank_bytes + (uint64_t)((double)need * percent / 100.0 *
                                                         (double)s->shares[i] / (double)sum);
    const uint32_t last = s->sizes[s->stages - 1];
    for (uint32_t i = 0; i < s->sizes[0]; i++) /* the embedding on the first stage, */
        s->budgets[i] += s->costs.first_bytes / s->sizes[0] + s->costs.vocab_bytes;
    for (uint32_t i = 0; i < last; i++) /* the head on the last */
        s->budgets[s->ranks - 1 - i] +=
            s->costs.last_bytes / last + s->costs.last_bytes / s->units.vocab;
}

START_TEST(placed_stages_tile_and_fit)
{
    struct seeded seeded = seeded_open(612);
    uint32_t placed = 0;
    uint32_t roomy = 0;
    uint32_t roomy_placed = 0;
    for (uint32_t round = 0; round < cases(); round++) {
        struct scene s;
        struct partition parts[RANKS_MAX];
        struct reason reason = {""};
        random_scene(&s, &seeded);
        const uint32_t percent = 80 + below(&seeded, 170);
        random_budgets(&s, percent);
        enum status status = partition_place_stages(&s.units, &s.costs, s.sizes, s.stages, NULL,
                                                    s.budgets, parts, &reason);
        roomy += percent >= 200;
        if (status != STATUS_OK) {
            ck_assert_int_eq(status, STATUS_NO_CAPACITY);
            ck_assert_msg((strstr(reason.text, "rank ") && strstr(reason.text, " needs ") &&
                           strstr(reason.text, " has ")) || strstr(reason.text, "use at most"),
                          "%s", reason.text);
            continue;
        }
        placed++;
        roomy_placed += percent >= 200;
        check_tiles(&s, parts);
        for (uint32_t i = 0; i < s.ranks; i++) {
            char text[PARTITION_SENTENCE_SIZE];
            ck_assert_uint_le(count_bytes(&s, &parts[i]), s.budgets[i]);
            ck_assert_ptr_nonnull(strstr(
                partition_explain(&s.units, &parts[i], text), "in stage "));
        }
    }
    printf("# staged: %u of %u placed, %u of %u with twice the room\n", placed, cases(),
           roomy_placed, roomy);
    ck_assert_uint_gt(placed * 2, cases());
    ck_assert_uint_gt(roomy_placed * 4, roomy * 3);
    ck_assert_uint_lt(placed, cases());
}
END_TEST

/* Two machines of 24 and 8 on one switch, and one of 32 apart: as many layers on either side. */
START_TEST(stages_are_filled_alike_and_ranks_within_them)
{
    struct scene s = {.units = {.layers = 32, .vocab = 1000}, .sizes = {2, 1}, .stages = 2,
                      .ranks = 3};
    const struct partition_class classes[] = {{PARTITION_ATTENTION, 0, 32, 1, 4, 0},
                                              {PARTITION_FFN, 0, 128, 0, 0, 0}};
    struct partition parts[3];
    struct reason reason = {""};
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t at = partition_units_add(&s.units, &classes[i], 32);
        partition_units_map(&s.units, at, 0, 32);
        s.costs.unit_bytes[at] = 1000;
    }
    for (uint32_t i = 0; i < 32; i++)
        s.layer_bytes[i] = 160 * 1000;
    s.costs.layer_bytes = s.layer_bytes;
    s.costs.layer_whole = s.layer_whole;
    for (uint32_t i = 0; i < 3; i++)
        s.budgets[i] = (const uint64_t[]){2700000, 900000, 3600000}[i];
    enum status status = partition_place_stages(&s.units, &s.costs, s.sizes, 2, NULL, s.budgets,
                                                parts, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    check_tiles(&s, parts);
    ck_assert_uint_eq(parts[2].layer_first, 16);
    const uint64_t first = count_bytes(&s, &parts[0]);
    const uint64_t second = count_bytes(&s, &parts[1]);
    ck_assert_msg(first > 27 * second / 10 && first < 33 * second / 10, "%llu %llu",
                  (unsigned long long)first, (unsigned long long)second);
}
END_TEST

START_TEST(what_is_no_pipeline_of_groups_is_refused)
{
    static const uint64_t shares[] = {50, 0, 50};
    static const struct {
        uint32_t sizes[3];
        uint32_t count;
        const char *words;
    } rows[] = {{{3, 0, 0}, 1, "a pipeline has 2 to"},
                {{2, 0, 1}, 3, "stage 1 has no rank"},
                {{1, 1, 1}, 3, "3 stages cannot share 2 layers"},
                {{1, 11, 0}, 2, "11 ranks cannot share 10 units of a layer of stage 1"},
                {{63, 2, 0}, 2, "65 ranks"}};
    struct partition_units units = {.layers = 2, .vocab = 10};
    const struct partition_class class = {PARTITION_FFN, 0, 8, 0, 0, 0};
    struct partition parts[PARTITION_RANKS_MAX + 2];
    struct reason reason = {""};
    partition_units_map(&units, partition_units_add(&units, &class, 2), 0, 2);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        ck_assert_int_ne(partition_solve_stages(&units, rows[i].sizes, rows[i].count, NULL, parts,
                                                &reason), STATUS_OK);
        ck_assert_msg(strstr(reason.text, rows[i].words), "%s", reason.text);
    }
    ck_assert_int_ne(partition_solve_stages(&units, (const uint32_t[]){2, 1}, 2, shares, parts,
                                            &reason), STATUS_OK);
    ck_assert_msg(strstr(reason.text, "share of rank 1 is 0"), "%s", reason.text);
    ck_assert_int_ne(partition_solve(SHARDING_PIPELINE_TENSOR, &units, NULL, 3, parts, &reason),
                     STATUS_OK);
    units.layer_classes[1] = 0;
    ck_assert_int_ne(partition_solve_stages(&units, (const uint32_t[]){2, 1}, 2, NULL, parts,
                                            &reason), STATUS_OK);
    ck_assert_msg(strstr(reason.text, "cannot be cut into stages"), "%s", reason.text);
}
END_TEST

START_TEST(shares_by_hand_are_checked_and_the_nearest_named)
{
    static const uint64_t wrong[] = {10, 45, 45};
    struct scene s = {.units = {.layers = 20, .vocab = 10}, .sizes = {2, 1}, .stages = 2,
                      .ranks = 3, .budgets = {10000, 4000, 10000}};
    const struct partition_class class = {PARTITION_FFN, 0, 100, 0, 0, 0};
    struct partition parts[3];
    struct reason reason = {""};
    partition_units_map(&s.units, partition_units_add(&s.units, &class, 20), 0, 20);
    s.costs.unit_bytes[0] = 10;
    for (uint32_t i = 0; i < 20; i++)
        s.layer_bytes[i] = 1000;
    s.costs.layer_bytes = s.layer_bytes;
    s.costs.layer_whole = s.layer_whole;
    ck_assert_int_eq(partition_place_stages(&s.units, &s.costs, s.sizes, 2, wrong, s.budgets, parts,
                                            &reason), STATUS_NO_CAPACITY);
    ck_assert_msg(strstr(reason.text, "rank 1 needs ") && strstr(reason.text, " would fit"), "%s",
                  reason.text);
}
END_TEST

/* What is in the state makes the same tables again. */
START_TEST(tables_come_back_from_records)
{
    struct seeded seeded = seeded_open(613);
    for (uint32_t round = 0; round < 50; round++) {
        struct scene s;
        struct partition parts[RANKS_MAX];
        struct instance_record instance = {.sharding = SHARDING_PIPELINE_TENSOR};
        struct reason reason = {""};
        random_scene(&s, &seeded);
        if (partition_solve_stages(&s.units, s.sizes, s.stages, s.shares, parts, &reason) !=
            STATUS_OK)
            continue;
        for (uint32_t i = 0; i < s.ranks; i++) {
            struct rank_record *rank = record_list_push(
                &rank_record_type, RECORD_LIST(instance.ranks), NULL, RANK_COUNT_MAX);
            ck_assert_ptr_nonnull(rank);
            ck_assert_int_eq(partition_to_record(&parts[i], rank), STATUS_OK);
        }
        for (uint32_t i = 0; i < s.ranks; i++)
            parts[i] = partition_of_record(&instance, i);
        check_tiles(&s, parts);
        record_fini(&instance_record_type, &instance);
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("partition-stages");
    const TTest *const tests[] = {solved_stages_tile_and_what_is_changed_is_refused,
                                  placed_stages_tile_and_fit,
                                  stages_are_filled_alike_and_ranks_within_them,
                                  what_is_no_pipeline_of_groups_is_refused,
                                  shares_by_hand_are_checked_and_the_nearest_named,
                                  tables_come_back_from_records};
    suite_add(suite, "stages", tests, COUNT_OF(tests));
    return suite;
}
