/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/engine/golden.h"

#include "actors/runner/engine/local_world.h"
#include "protocol/memory.h"
#include "tests/engine/oracle.h"

#include <check.h>
#include <math.h>
#include <string.h>

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

void golden_check_prompt(const char *label, struct local_world *world,
                         const struct oracle *oracle, unsigned prompt,
                         const struct golden_run *run)
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
    ck_assert_msg(worst <= run->logit_bound, "%s, prompt %u: logits differ by %g", label, prompt,
                  (double)worst);
    for (size_t i = 0; i < greedy_count && i < run->tokens; i++) {
        uint32_t id = best_of(logits, (uint32_t)vocab);
        ck_assert_msg(id == (uint32_t)greedy[i], "%s, prompt %u: token %zu is %u, not %d", label,
                      prompt, i, id, greedy[i]);
        struct engine_row row = {sequence, id, (uint32_t)(count + i), true};
        status = local_world_forward(world, &row, 1, logits, &reason);
        ck_assert_msg(status == STATUS_OK, "%s: %s", label, reason.text);
    }
    memory_free(logits);
}

void golden_check(const char *name, const struct golden_run *run)
{
    struct engine_model model;
    struct oracle oracle;
    struct local_world *world = NULL;
    struct reason reason = {""};
    struct engine_options options = {.mode = ENGINE_EXACT, .threads = run->threads,
                                     .context = 1024, .kernels = run->kernels};
    oracle_model_open(name, &model);
    oracle_open(name, &oracle);
    enum status status = local_world_open(&model, run->sharding, run->shares, run->ranks, &options,
                                          &world, &reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", name, reason.text);
    for (unsigned prompt = 0; prompt < ORACLE_PROMPTS; prompt++)
        golden_check_prompt(name, world, &oracle, prompt, run);
    local_world_close(world);
    oracle_close(&oracle);
    engine_model_close(&model);
}

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

void golden_check_hidden(const char *name, float bound)
{
    struct engine_model model;
    struct oracle oracle;
    struct engine *engine = NULL;
    struct reason reason = {""};
    static struct observed observed;
    struct engine_row rows[ROWS_MAX];
    uint32_t sequence = 0;
    size_t count = 0;
    size_t floats = 0;
    oracle_model_open(name, &model);
    oracle_open(name, &oracle);
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
        ck_assert_msg(worst <= bound, "%s: layer %u differs by %g", name, layer, (double)worst);
    }
    engine_close(engine);
    oracle_close(&oracle);
    engine_model_close(&model);
}
