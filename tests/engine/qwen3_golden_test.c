/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine in exact mode against the reference.
 *
 * Bounds (from the reference's own spread between two implementations in fp32, times four): logits
 * 3e-4, hidden state after each layer 1e-4, greedy tokens equal, because every one of them wins by
 * at least 0.004.
 */
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/local_world.h"
#include "protocol/memory.h"
#include "tests/engine/oracle.h"
#include "tests/support/check_main.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LOGIT_BOUND 3e-4f
#define HIDDEN_BOUND 1e-4f
#define ROWS_MAX 256u

static uint32_t best_of(const float *logits, uint32_t vocab)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

static float worst_of(const float *left, const float *right, size_t count)
{
    float worst = 0.0f;
    for (size_t i = 0; i < count; i++)
        worst = fmaxf(worst, fabsf(left[i] - right[i]));
    return worst;
}

/* Ids from `first` on as rows; only the last wants logits. */
static size_t rows_of(const int32_t *ids, size_t count, uint32_t sequence, uint32_t first,
                      struct engine_row *rows)
{
    for (size_t i = 0; i < count; i++)
        rows[i] = (struct engine_row){sequence, (uint32_t)ids[i], first + (uint32_t)i,
                                      i + 1 == count};
    return count;
}

/* One prompt and up to 64 greedy tokens through a world. */
static void check_prompt(const char *label, struct local_world *world, const struct oracle *oracle,
                         unsigned prompt, size_t tokens)
{
    struct engine_row rows[ROWS_MAX];
    struct reason reason = {""};
    size_t count = 0;
    size_t vocab = 0;
    size_t greedy_count = 0;
    uint32_t sequence = 0;
    const int32_t *ids = oracle_ids(oracle, "prompt", prompt, &count);
    const float *last = oracle_floats(oracle, "last", prompt, &vocab);
    const int32_t *greedy = oracle_ids(oracle, "greedy", prompt, &greedy_count);
    float *logits = memory_zeroed(vocab, sizeof *logits);
    ck_assert_int_eq(local_world_sequence_open(world, &sequence, &reason), STATUS_OK);
    rows_of(ids, count, sequence, 0, rows);
    enum status status = local_world_forward(world, rows, count, logits, &reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", label, reason.text);
    float worst = worst_of(logits, last, vocab);
    ck_assert_msg(worst <= LOGIT_BOUND, "%s, prompt %u: logits differ by %g", label, prompt,
                  (double)worst);
    for (size_t i = 0; i < greedy_count && i < tokens; i++) {
        uint32_t id = best_of(logits, (uint32_t)vocab);
        ck_assert_msg(id == (uint32_t)greedy[i], "%s, prompt %u: token %zu is %u, not %d", label,
                      prompt, i, id, greedy[i]);
        struct engine_row row = {sequence, id, (uint32_t)(count + i), true};
        status = local_world_forward(world, &row, 1, logits, &reason);
        ck_assert_msg(status == STATUS_OK, "%s: %s", label, reason.text);
    }
    memory_free(logits);
}

static void check_world(const char *name, enum sharding sharding, const uint64_t *shares,
                        uint32_t ranks, const struct kernel_set *kernels, uint32_t threads)
{
    /* The whole reference for one rank; cuts and the slow portable kernels part way. */
    size_t tokens = ranks > 1 ? 24 : kernels ? 12 : 64;
    struct engine_model model;
    struct oracle oracle;
    struct local_world *world = NULL;
    struct reason reason = {""};
    struct engine_options options = {.mode = ENGINE_EXACT, .threads = threads, .context = 1024,
                                     .kernels = kernels};
    oracle_model_open(name, &model);
    oracle_open(name, &oracle);
    enum status status = local_world_open(&model, sharding, shares, ranks, &options, &world,
                                          &reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", name, reason.text);
    for (unsigned prompt = 0; prompt < ORACLE_PROMPTS; prompt++)
        check_prompt(name, world, &oracle, prompt, tokens);
    local_world_close(world);
    oracle_close(&oracle);
    engine_model_close(&model);
}

START_TEST(every_model_gives_the_reference_logits_and_tokens)
{
    for (size_t i = 0; i < oracle_model_count; i++)
        check_world(oracle_models[i], SHARDING_NONE, NULL, 1, NULL, 1);
}
END_TEST

START_TEST(the_portable_kernels_give_them_too)
{
    for (size_t i = 0; i < oracle_model_count; i++)
        check_world(oracle_models[i], SHARDING_NONE, NULL, 1, kernel_set_portable(), 1);
}
END_TEST

START_TEST(two_threads_give_them_too)
{
    check_world("qwen3-untied__affine4-g64", SHARDING_NONE, NULL, 1, NULL, 2);
}
END_TEST

static const uint64_t shares_3[] = {50, 30, 20};
static const uint64_t shares_2[] = {43, 57};
static const uint64_t shares_uneven[] = {5, 1};

START_TEST(every_pipeline_cut_gives_them_too)
{
    check_world("qwen3-untied__affine4-g64", SHARDING_PIPELINE, NULL, 2, NULL, 1);
    check_world("qwen3-untied__f16", SHARDING_PIPELINE, shares_3, 3, NULL, 1);
    check_world("qwen3-tied__affine4-g64", SHARDING_PIPELINE, NULL, 4, NULL, 1);
}
END_TEST

START_TEST(every_tensor_cut_gives_them_too)
{
    check_world("qwen3-untied__affine4-g64", SHARDING_TENSOR, NULL, 2, NULL, 1);
    check_world("qwen3-untied__affine4-g64", SHARDING_TENSOR, shares_uneven, 2, NULL, 1);
    check_world("qwen3-tied__affine4-g64", SHARDING_TENSOR, shares_3, 3, NULL, 1);
    check_world("qwen3-untied__affine3-g32", SHARDING_TENSOR, shares_2, 2, NULL, 1);
    check_world("qwen3-untied__affine6-g32", SHARDING_TENSOR, shares_3, 3, NULL, 1);
    check_world("qwen3-untied__affine8-g64", SHARDING_TENSOR, NULL, 6, NULL, 1);
    check_world("qwen3-untied__affine5-g128", SHARDING_TENSOR, NULL, 3, NULL, 1);
    check_world("qwen3-untied__f16", SHARDING_TENSOR, shares_3, 3, NULL, 1);
    check_world("qwen3-untied__mixed-false", SHARDING_TENSOR, shares_2, 2, NULL, 1);
}
END_TEST

struct observed {
    float hidden[16][512];
    size_t width;
};

static void observe(void *observer, uint32_t layer, const float *hidden, size_t count)
{
    struct observed *observed = observer;
    memcpy(observed->hidden[layer], hidden + (count - 1) * observed->width,
           observed->width * sizeof *hidden);
}

START_TEST(the_hidden_state_after_every_layer_is_the_reference)
{
    for (size_t i = 0; i < oracle_model_count; i++) {
        struct engine_model model;
        struct oracle oracle;
        struct engine *engine = NULL;
        struct reason reason = {""};
        static struct observed observed;
        struct engine_row rows[ROWS_MAX];
        uint32_t sequence = 0;
        size_t count = 0;
        size_t floats = 0;
        oracle_model_open(oracle_models[i], &model);
        oracle_open(oracle_models[i], &oracle);
        observed.width = model.config->hidden;
        struct engine_options options = {.threads = 1, .context = 256, .observe = observe,
                                         .observer = &observed};
        ck_assert_int_eq(engine_open_local(&model, NULL, &options, &engine, &reason), STATUS_OK);
        ck_assert_int_eq(engine_sequence_open(engine, &sequence, &reason), STATUS_OK);
        const int32_t *ids = oracle_ids(&oracle, "prompt", 1, &count);
        const float *hidden = oracle_floats(&oracle, "hidden", 1, &floats);
        rows_of(ids, count, sequence, 0, rows);
        struct engine_batch batch = {rows, count, NULL, NULL, NULL};
        ck_assert_int_eq(engine_forward(engine, &batch, &reason), STATUS_OK);
        for (uint32_t layer = 0; layer < model.config->layers; layer++) {
            float worst = worst_of(observed.hidden[layer], hidden + layer * observed.width,
                                   observed.width);
            ck_assert_msg(worst <= HIDDEN_BOUND, "%s: layer %u differs by %g", oracle_models[i],
                          layer, (double)worst);
        }
        engine_close(engine);
        oracle_close(&oracle);
        engine_model_close(&model);
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("qwen3 golden");
    const TTest *const tests[] = {every_model_gives_the_reference_logits_and_tokens,
                                  the_portable_kernels_give_them_too,
                                  two_threads_give_them_too,
                                  every_pipeline_cut_gives_them_too,
                                  every_tensor_cut_gives_them_too,
                                  the_hidden_state_after_every_layer_is_the_reference};
    suite_add(suite, "golden", tests, COUNT_OF(tests));
    return suite;
}
