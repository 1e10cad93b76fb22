/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every family against the reference: on one rank, two pipeline ranks and two and uneven tensor
 * ranks, and the same on the portable kernels.
 *
 * The models are those of the repository, or those of TROUPE_ORACLES (tests/engine/oracle.h).
 */
#include "actors/runner/engine/local_world.h"
#include "actors/runner/engine/route.h"
#include "tests/engine/golden.h"
#include "tests/engine/oracle.h"
#include "tests/support/check_main.h"
#include "tests/support/sanitized.h"

#include <string.h>

struct row {
    const char *name;
    float logit_bound;
    float hidden_bound;
};

static const struct row rows[] = {
    {"deepseek_v3-slim__affine4-g32", GOLDEN_LOGIT_BOUND, 3e-4f},
    {"gemma3_text-slim__affine4-g32", GOLDEN_LOGIT_BOUND, GOLDEN_HIDDEN_BOUND},
    {"glm4_moe_lite-older__affine4-g32", GOLDEN_LOGIT_BOUND, 3e-4f},
    {"glm4_moe_lite-slim__affine4-g32", GOLDEN_LOGIT_BOUND, 3e-4f},
    {"gpt_oss-slim__mxfp4-q8", GOLDEN_LOGIT_BOUND, GOLDEN_HIDDEN_BOUND},
    {"llama-slim__affine4-g64", GOLDEN_LOGIT_BOUND, GOLDEN_HIDDEN_BOUND},
    {"qwen2-slim__affine4-g64", GOLDEN_LOGIT_BOUND, GOLDEN_HIDDEN_BOUND},
    {"qwen3_moe-slim__affine4-g32", GOLDEN_LOGIT_BOUND, GOLDEN_HIDDEN_BOUND},
    {"qwen3_5-slim__affine4-g32", 1e-3f, 3e-4f},
    {"qwen3_5_moe-slim__affine4-g32", 1e-3f, 3e-4f},
    {"step3p5-slim__affine4-g32", GOLDEN_LOGIT_BOUND, GOLDEN_HIDDEN_BOUND},
};

/* Where two forms of a recurrence or of latent attention are compared. */
static void bounds_of(const char *name, struct row *row)
{
    bool is_delta = strncmp(name, "qwen3_5", 7) == 0;
    bool is_latent = strncmp(name, "glm4", 4) == 0 || strncmp(name, "deepseek", 8) == 0;
    row->logit_bound = is_delta ? 1e-3f : GOLDEN_LOGIT_BOUND;
    row->hidden_bound = is_delta || is_latent ? 3e-4f : GOLDEN_HIDDEN_BOUND;
}

/* The rows to check. */
static size_t rows_to_check(struct row *found)
{
    static char names[ORACLE_NAMES_MAX][ORACLE_NAME_SIZE];
    if (!oracle_is_outside()) {
        memcpy(found, rows, sizeof rows);
        return COUNT_OF(rows);
    }
    size_t count = oracle_names(names);
    for (size_t i = 0; i < count; i++) {
        found[i].name = names[i];
        bounds_of(names[i], &found[i]);
    }
    return count;
}

static void check_all(const struct golden_run *run)
{
    struct row found[ORACLE_NAMES_MAX];
    size_t count = rows_to_check(found);
    ck_assert_uint_gt(count, 0);
    for (size_t i = 0; i < count; i++) {
        struct golden_run own = *run;
        own.logit_bound = found[i].logit_bound;
        golden_check(found[i].name, &own);
    }
}

START_TEST(one_rank_gives_the_reference)
{
    check_all(&(struct golden_run){.ranks = 1, .threads = 1, .tokens = TIMES(64, 8)});
}
END_TEST

START_TEST(the_hidden_state_after_every_layer_is_the_reference)
{
    struct row found[ORACLE_NAMES_MAX];
    size_t count = rows_to_check(found);
    for (size_t i = 0; i < count; i++)
        golden_check_hidden(found[i].name, found[i].hidden_bound);
}
END_TEST

START_TEST(portable_kernels_and_two_threads_give_it_too)
{
    check_all(&(struct golden_run){.ranks = 1, .threads = 2, .tokens = TIMES(8, 2),
                                   .kernels = kernel_set_portable()});
}
END_TEST

START_TEST(two_pipeline_ranks_give_it_too)
{
    check_all(&(struct golden_run){.sharding = SHARDING_PIPELINE, .ranks = 2, .threads = 1,
                                   .tokens = TIMES(24, 4)});
}
END_TEST

START_TEST(two_tensor_ranks_give_it_too)
{
    check_all(&(struct golden_run){.sharding = SHARDING_TENSOR, .ranks = 2, .threads = 1,
                                   .tokens = TIMES(24, 4)});
}
END_TEST

START_TEST(uneven_tensor_ranks_give_it_too)
{
    static const uint64_t shares[] = {1, 3};
    check_all(&(struct golden_run){.sharding = SHARDING_TENSOR, .ranks = 2, .threads = 1,
                                   .shares = shares, .tokens = TIMES(8, 2)});
}
END_TEST

/* --- ranks on unlike kernels choose the same experts --- */

#define CHOICES_MAX 65536u

struct chosen {
    struct route_choice choices[CHOICES_MAX];
    size_t count;
    uint32_t used;
};

static void observe_experts(void *observer, uint32_t layer, struct route_choice *choices,
                            size_t count)
{
    struct chosen *chosen = observer;
    (void)layer;
    ck_assert_uint_le(chosen->count + count * chosen->used, CHOICES_MAX);
    memcpy(chosen->choices + chosen->count, choices, count * chosen->used * sizeof *choices);
    chosen->count += count * chosen->used;
}

static void check_experts(const char *name, float logit_bound)
{
    static struct chosen chosen[3];
    const struct kernel_set *sets[3] = {kernel_set_portable(), kernel_set_avx2(),
                                        kernel_set_best()};
    struct engine_options options[3];
    struct engine_model model;
    struct oracle oracle;
    struct local_world *world = NULL;
    struct reason reason = {""};
    oracle_model_open(name, &model);
    oracle_open(name, &oracle);
    for (size_t i = 0; i < 3; i++) {
        chosen[i].count = 0;
        chosen[i].used = model.config->experts.used;
        options[i] = (struct engine_options){.mode = ENGINE_EXACT, .threads = 1, .context = 512,
                                             .kernels = sets[i] ? sets[i] : sets[0],
                                             .observe_experts = observe_experts,
                                             .observer = &chosen[i]};
    }
    enum status status = local_world_open_each(&model, SHARDING_TENSOR, NULL, 3, options, &world,
                                               &reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", name, reason.text);
    const struct golden_run run = {.tokens = 24, .logit_bound = logit_bound};
    for (unsigned prompt = 0; prompt < ORACLE_PROMPTS; prompt++)
        golden_check_prompt(name, world, &oracle, prompt, &run);
    ck_assert_uint_gt(chosen[0].count, 0);
    for (size_t i = 1; i < 3 && chosen[i].count > 0; i++) {
        ck_assert_uint_eq(chosen[i].count, chosen[0].count);
        for (size_t k = 0; k < chosen[0].count; k++) {
            ck_assert_uint_eq(chosen[i].choices[k].expert, chosen[0].choices[k].expert);
            ck_assert(chosen[i].choices[k].weight == chosen[0].choices[k].weight);
        }
    }
    local_world_close(world);
    oracle_close(&oracle);
    engine_model_close(&model);
}

START_TEST(ranks_on_unlike_kernels_choose_the_same_experts)
{
    struct row found[ORACLE_NAMES_MAX];
    size_t count = rows_to_check(found);
    for (size_t i = 0; i < count; i++) {
        struct engine_model model;
        oracle_model_open(found[i].name, &model);
        bool has_any = model.config->experts.count > 0;
        engine_model_close(&model);
        if (has_any)
            /* Of a single token DeltaNet reads k * q, which may be small beside its rounding. */
            check_experts(found[i].name, 2 * found[i].logit_bound);
    }
}
END_TEST

/* A query or key that is nearly nothing: what stands beside its length decides.  Logits of mlx-lm
 * 0.32.2 in fp32; with the epsilon beside the mean of squares they differ by 5e-4. */
START_TEST(short_keys_of_delta_net_are_the_reference)
{
    static const struct {
        size_t token;
        float logit;
    } expected[] = {{97, -2.38154f}, {58, -1.40804f}, {28, -1.59048f}, {181, 4.24491f}};
    struct engine_model model;
    struct engine *engine = NULL;
    struct reason reason = {""};
    uint32_t sequence = 0;
    float logits[256];
    const struct engine_options options = {.threads = 1, .context = 64, .sequences = 1};
    oracle_model_open("qwen3_5_moe-slim__affine4-g32", &model);
    ck_assert_int_eq(engine_open_local(&model, NULL, &options, &engine, &reason), STATUS_OK);
    ck_assert_uint_eq(engine_vocab(engine), COUNT_OF(logits));
    ck_assert_int_eq(engine_sequence_open(engine, &sequence, &reason), STATUS_OK);
    struct engine_row row = {sequence, 53, 0, true};
    struct engine_batch batch = {&row, 1, NULL, NULL, logits};
    ck_assert_int_eq(engine_forward(engine, &batch, &reason), STATUS_OK);
    for (size_t i = 0; i < COUNT_OF(expected); i++)
        ck_assert_float_eq_tol(logits[expected[i].token], expected[i].logit, 2e-4f);
    engine_close(engine);
    engine_model_close(&model);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("families");
    const TTest *const tests[] = {one_rank_gives_the_reference,
                                  the_hidden_state_after_every_layer_is_the_reference,
                                  portable_kernels_and_two_threads_give_it_too,
                                  two_pipeline_ranks_give_it_too,
                                  two_tensor_ranks_give_it_too,
                                  uneven_tensor_ranks_give_it_too,
                                  ranks_on_unlike_kernels_choose_the_same_experts,
                                  short_keys_of_delta_net_are_the_reference};
    suite_add(suite, "golden", tests, COUNT_OF(tests));
    return suite;
}
