/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pipeline of tensor groups gives the reference: stages of one, two and three ranks, equal and
 * unequal shares, and edges anywhere that tile.
 */
#include "actors/runner/engine/local_world.h"
#include "tests/engine/golden.h"
#include "tests/engine/oracle.h"
#include "tests/support/check_main.h"

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
    {"qwen3-tied__affine4-g64", GOLDEN_LOGIT_BOUND},
    {"qwen3_5_moe-slim__affine4-g32", 1e-3f},
    {"qwen3_moe-slim__affine4-g32", GOLDEN_LOGIT_BOUND},
    {"step3p5-slim__affine4-g32", GOLDEN_LOGIT_BOUND},
};

struct stages {
    uint32_t sizes[3];
    uint32_t count;
    uint64_t shares[4]; /* 0: equal ones */
};

static const struct stages all_stages[] = {
    {{2, 1}, 2, {0}},
    {{1, 2}, 2, {20, 55, 25}},
    {{2, 2}, 2, {35, 15, 20, 30}},
};

START_TEST(stages_of_tensor_groups_give_the_reference)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct golden_run run = {.tokens = 8, .logit_bound = rows[i].logit_bound};
        struct engine_model model;
        struct oracle oracle;
        oracle_model_open(rows[i].name, &model);
        oracle_open(rows[i].name, &oracle);
        for (size_t k = 0; k < COUNT_OF(all_stages); k++) {
            const struct stages *s = &all_stages[k];
            struct engine_options options[4];
            struct local_world *world = NULL;
            struct reason reason = {""};
            for (size_t rank = 0; rank < 4; rank++)
                options[rank] = (struct engine_options){.mode = ENGINE_EXACT, .threads = 1,
                                                        .context = 512};
            enum status status =
                local_world_open_stages(&model, s->sizes, s->count,
                                        s->shares[0] ? s->shares : NULL, options, &world, &reason);
            ck_assert_msg(status == STATUS_OK, "%s, %zu: %s", rows[i].name, k, reason.text);
            for (unsigned prompt = 0; prompt < ORACLE_PROMPTS; prompt += 2)
                golden_check_prompt(rows[i].name, world, &oracle, prompt, &run);
            local_world_close(world);
        }
        oracle_close(&oracle);
        engine_model_close(&model);
    }
}
END_TEST

/* A class with units that some ranks of a stage hold nothing of, and rows all on one rank. */
START_TEST(ranks_with_little_give_the_reference)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct golden_run run = {.tokens = 4, .logit_bound = rows[i].logit_bound};
        const struct engine_options options = {.mode = ENGINE_EXACT, .threads = 1, .context = 512};
        const uint32_t sizes[] = {2, 2};
        struct engine_model model;
        struct oracle oracle;
        struct partition parts[4];
        struct local_world *world = NULL;
        struct reason reason = {""};
        oracle_model_open(rows[i].name, &model);
        oracle_open(rows[i].name, &oracle);
        const struct partition_units *units = &model.layout->units;
        ck_assert_int_eq(partition_solve_stages(units, sizes, 2, NULL, parts, &reason), STATUS_OK);
        for (uint32_t c = 0; c < units->class_count; c++)
            for (uint32_t stage = 0; stage < 2; stage++) {
                struct partition_cut *left = &parts[2 * stage].cuts[c];
                struct partition_cut *right = &parts[2 * stage + 1].cuts[c];
                if (right->end > 0) /* else no layer of the stage has it */
                    left->end = right->first = (c + stage) % 2 ? right->end : 0;
            }
        parts[0].vocab_end = parts[1].vocab_first = i % 2 ? units->vocab : 0;
        enum status status = local_world_open_tables(&model, parts, 4, &options, &world, &reason);
        ck_assert_msg(status == STATUS_OK, "%s: %s", rows[i].name, reason.text);
        golden_check_prompt(rows[i].name, world, &oracle, 1, &run);
        local_world_close(world);
        oracle_close(&oracle);
        engine_model_close(&model);
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("stages");
    const TTest *const tests[] = {stages_of_tensor_groups_give_the_reference,
                                  ranks_with_little_give_the_reference};
    suite_add(suite, "stages", tests, COUNT_OF(tests));
    return suite;
}
