/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every table that tiles a model gives the reference: edges anywhere, unlike in every layer, ranks
 * with nothing of a class, of all classes, of the vocabulary; key-value heads held twice.
 */
#include "actors/runner/engine/local_world.h"
#include "tests/engine/golden.h"
#include "tests/engine/oracle.h"
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"

static const struct {
    const char *name;
    float logit_bound;
} rows[] = {
    {"deepseek_v3-slim__affine4-g32", GOLDEN_LOGIT_BOUND},
    {"gemma3_text-slim__affine4-g32", GOLDEN_LOGIT_BOUND},
    {"glm4_moe_lite-older__affine4-g32", GOLDEN_LOGIT_BOUND},
    {"gpt_oss-slim__mxfp4-q8", GOLDEN_LOGIT_BOUND},
    {"llama-slim__affine4-g64", GOLDEN_LOGIT_BOUND},
    {"qwen2-slim__affine4-g64", GOLDEN_LOGIT_BOUND},
    {"qwen3-slim__f16", GOLDEN_LOGIT_BOUND},
    {"qwen3_5_moe-slim__affine4-g32", 1e-3f},
    {"qwen3_moe-slim__affine4-g32", GOLDEN_LOGIT_BOUND},
    {"step3p5-slim__affine4-g32", GOLDEN_LOGIT_BOUND},
};
#define RANKS 3u

/* An edge in [from, total], often at either. */
static uint32_t edge_after(struct seeded *seeded, uint32_t from, uint32_t total)
{
    switch (seeded_below(seeded, 4)) {
    case 0:
        return from;
    case 1:
        return total;
    default:
        return from + (uint32_t)seeded_below(seeded, total - from + 1);
    }
}

static void random_tables(struct seeded *seeded, const struct partition_units *units,
                          struct partition *parts)
{
    uint32_t vocab = 0;
    for (uint32_t i = 0; i < RANKS; i++)
        parts[i] = partition_whole(units, i, RANKS, SHARDING_TENSOR);
    for (uint32_t c = 0; c < units->class_count; c++) {
        const struct partition_class *class = &units->classes[c];
        const uint32_t step = seeded_below(seeded, 2) ? partition_group_units(class) : 1;
        const uint32_t alike = seeded_below(seeded, 2) ? class->layers : 1;
        uint32_t next = 0;
        for (uint32_t i = 0; i < RANKS; i++) {
            const uint32_t total = class->units / step * (class->layers / alike);
            const uint32_t end = i + 1 == RANKS ? total : edge_after(seeded, next, total);
            parts[i].cuts[c].step = step;
            parts[i].cuts[c].first = next * alike;
            parts[i].cuts[c].end = end * alike;
            next = end;
        }
    }
    for (uint32_t i = 0; i < RANKS; i++) {
        parts[i].vocab_first = vocab;
        vocab = i + 1 == RANKS ? units->vocab : edge_after(seeded, vocab, units->vocab);
        parts[i].vocab_end = vocab;
    }
}

static void check_tables(const char *name, const struct engine_model *model,
                         const struct oracle *oracle, const struct partition *parts,
                         const struct golden_run *run)
{
    const struct engine_options options = {.mode = ENGINE_EXACT, .threads = 1, .context = 512};
    struct local_world *world = NULL;
    struct reason reason = {""};
    enum status status = local_world_open_tables(model, parts, RANKS, &options, &world, &reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", name, reason.text);
    golden_check_prompt(name, world, oracle, 1, run);
    local_world_close(world);
}

START_TEST(every_table_gives_the_reference)
{
    struct seeded seeded = seeded_open(701);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct golden_run run = {.tokens = 6, .logit_bound = rows[i].logit_bound};
        struct engine_model model;
        struct oracle oracle;
        struct partition parts[RANKS];
        oracle_model_open(rows[i].name, &model);
        oracle_open(rows[i].name, &oracle);
        for (int round = 0; round < 5; round++) {
            random_tables(&seeded, &model.layout->units, parts);
            check_tables(rows[i].name, &model, &oracle, parts, &run);
        }
        oracle_close(&oracle);
        engine_model_close(&model);
    }
}
END_TEST

/* Everything is on one rank, each in turn; the others give zeros. */
START_TEST(ranks_with_nothing_at_all_give_the_reference)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct golden_run run = {.tokens = 3, .logit_bound = rows[i].logit_bound};
        struct engine_model model;
        struct oracle oracle;
        struct partition parts[RANKS];
        oracle_model_open(rows[i].name, &model);
        oracle_open(rows[i].name, &oracle);
        const uint32_t full = (uint32_t)i % RANKS;
        for (uint32_t rank = 0; rank < RANKS; rank++) {
            struct partition *p = &parts[rank];
            *p = partition_whole(&model.layout->units, rank, RANKS, SHARDING_TENSOR);
            p->vocab_first = rank > full ? p->vocab_end : 0;
            p->vocab_end = rank < full ? 0 : p->vocab_end;
            for (uint32_t c = 0; c < p->cut_count; c++) {
                p->cuts[c].first = rank > full ? p->cuts[c].end : 0;
                p->cuts[c].end = rank < full ? 0 : p->cuts[c].end;
            }
        }
        check_tables(rows[i].name, &model, &oracle, parts, &run);
        oracle_close(&oracle);
        engine_model_close(&model);
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("tables");
    const TTest *const tests[] = {every_table_gives_the_reference,
                                  ranks_with_nothing_at_all_give_the_reference};
    suite_add(suite, "tables", tests, COUNT_OF(tests));
    return suite;
}
