/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A row's logits have the same bits whatever shares its batch, however its prompt was cut into
 * chunks, however many threads computed it, whichever page it lies on, and in a pipeline.
 */
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/local_world.h"
#include "protocol/memory.h"
#include "tests/engine/oracle.h"
#include "tests/support/check_main.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeded.h"

#include <string.h>

#define LENGTH 72u

struct setting {
    enum engine_mode mode;
    const struct kernel_set *kernels;
};

static float *whole_prompt(struct engine *engine, const uint32_t *ids, size_t count, size_t chunk)
{
    struct reason reason = {""};
    size_t vocab = engine_vocab(engine);
    float *logits = memory_zeroed(count * vocab, sizeof *logits);
    struct engine_row rows[LENGTH];
    uint32_t sequence = 0;
    ck_assert_int_eq(engine_sequence_open(engine, &sequence, &reason), STATUS_OK);
    for (size_t i = 0; i < count; i++)
        rows[i] = (struct engine_row){sequence, ids[i], (uint32_t)i, true};
    for (size_t i = 0; i < count; i += chunk) {
        size_t some = count - i < chunk ? count - i : chunk;
        struct engine_batch batch = {rows + i, some, NULL, NULL, logits + i * vocab};
        enum status status = engine_forward(engine, &batch, &reason);
        ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    }
    engine_sequence_close(engine, sequence);
    return logits;
}

static struct engine *open_engine(const struct engine_model *model, const struct setting *setting,
                                  uint32_t threads)
{
    struct engine *engine = NULL;
    struct reason reason = {""};
    struct engine_options options = {.mode = setting->mode, .threads = threads, .context = 1024,
                                     .kernels = setting->kernels};
    ck_assert_int_eq(engine_open_local(model, NULL, &options, &engine, &reason), STATUS_OK);
    return engine;
}

/* Three sequences in one batch, their rows mixed, lengths unlike. */
static void check_mixed(struct engine *engine, const uint32_t *ids, const float *expected)
{
    size_t vocab = engine_vocab(engine);
    uint32_t sequences[3];
    uint32_t next[3] = {0, 0, 0};
    const uint32_t steps[3] = {1, 7, 3};
    float *logits = memory_zeroed(16 * vocab, sizeof *logits);
    struct reason reason = {""};
    for (size_t s = 0; s < 3; s++)
        ck_assert_int_eq(engine_sequence_open(engine, &sequences[s], &reason), STATUS_OK);
    for (size_t round = 0; round < LENGTH / 8; round++) {
        struct engine_row rows[16];
        size_t count = 0;
        for (size_t s = 0; s < 3; s++)
            for (uint32_t k = 0; k < steps[s]; k++, next[s]++)
                rows[count++] =
                    (struct engine_row){sequences[s], ids[next[s]], next[s], true};
        struct engine_batch batch = {rows, count, NULL, NULL, logits};
        ck_assert_int_eq(engine_forward(engine, &batch, &reason), STATUS_OK);
        for (size_t i = 0; i < count; i++)
            ck_assert_msg(memcmp(logits + i * vocab, expected + rows[i].position * vocab,
                                 vocab * sizeof *logits) == 0,
                          "row %zu of a mixed batch at position %u", i, rows[i].position);
    }
    for (size_t s = 0; s < 3; s++)
        engine_sequence_close(engine, sequences[s]);
    memory_free(logits);
}

static void check_setting(const struct engine_model *model, const struct setting *setting,
                          const uint32_t *ids)
{
    size_t floats = (size_t)LENGTH * model->config->vocab;
    struct engine *engine = open_engine(model, setting, 1);
    float *expected = whole_prompt(engine, ids, LENGTH, LENGTH);
    const size_t chunks[] = {1, 7, 71};
    for (size_t i = 0; i < COUNT_OF(chunks); i++) {
        float *logits = whole_prompt(engine, ids, LENGTH, chunks[i]);
        ck_assert_msg(memcmp(logits, expected, floats * sizeof *logits) == 0, "chunks of %zu",
                      chunks[i]);
        memory_free(logits);
    }
    check_mixed(engine, ids, expected);
    engine_close(engine);
    engine = open_engine(model, setting, 3);
    float *logits = whole_prompt(engine, ids, LENGTH, 10);
    ck_assert_msg(memcmp(logits, expected, floats * sizeof *logits) == 0, "three threads");
    memory_free(logits);
    engine_close(engine);
    memory_free(expected);
}

START_TEST(a_row_has_the_same_bits_in_any_batch)
{
    const char *const names[] = {"qwen3-untied__affine4-g64", "qwen3-slim__f16",
                                 "qwen3-short__affine8-g64", "llama-slim__affine4-g64",
                                 "qwen2-slim__affine4-g64"};
    const struct setting settings[] = {
        {ENGINE_EXACT, NULL},
        {ENGINE_FAST, NULL},
        {ENGINE_EXACT, kernel_set_portable()},
        {ENGINE_FAST, kernel_set_portable()},
    };
    struct seeded seeded = seeded_open(5);
    uint32_t ids[LENGTH];
    for (size_t i = 0; i < LENGTH; i++)
        ids[i] = (uint32_t)seeded_below(&seeded, 256);
    for (size_t m = 0; m < COUNT_OF(names); m += TIMES(1, 2)) {
        struct engine_model model;
        oracle_model_open(names[m], &model);
        /* All settings on one model, one of two on the others: sanitizers are slow. */
        for (size_t s = 0; s < COUNT_OF(settings); s++) {
            if (m == 0 || s == (m - 1) % 2)
                check_setting(&model, &settings[s], ids);
        }
        engine_model_close(&model);
    }
}
END_TEST

START_TEST(a_pipeline_has_the_same_bits_as_one_rank)
{
    struct engine_model model;
    struct reason reason = {""};
    oracle_model_open("qwen3-tied__affine4-g64", &model);
    size_t vocab = model.config->vocab;
    float *logits[2] = {memory_zeroed(40 * vocab, sizeof(float)),
                        memory_zeroed(40 * vocab, sizeof(float))};
    const uint64_t shares[] = {1, 2, 1};
    for (uint32_t k = 0; k < 2; k++) {
        struct local_world *world = NULL;
        struct engine_options options = {.mode = ENGINE_FAST, .threads = 1, .context = 64};
        struct engine_row rows[40];
        uint32_t sequence = 0;
        ck_assert_int_eq(local_world_open(&model, k ? SHARDING_PIPELINE : SHARDING_NONE,
                                          k ? shares : NULL, k ? 3 : 1, &options, &world, &reason),
                         STATUS_OK);
        ck_assert_int_eq(local_world_sequence_open(world, &sequence, &reason), STATUS_OK);
        for (uint32_t i = 0; i < 40; i++)
            rows[i] = (struct engine_row){sequence, i * 7 % 768, i, true};
        ck_assert_int_eq(local_world_forward(world, rows, 40, logits[k], &reason), STATUS_OK);
        local_world_close(world);
    }
    ck_assert_int_eq(memcmp(logits[0], logits[1], 40 * vocab * sizeof(float)), 0);
    memory_free(logits[0]);
    memory_free(logits[1]);
    engine_model_close(&model);
}
END_TEST

START_TEST(what_cannot_be_computed_is_refused_and_nothing_changes)
{
    struct engine_model model;
    struct reason reason = {""};
    struct engine *engine = NULL;
    uint32_t sequence = 0;
    oracle_model_open("qwen3-tied__affine4-g64", &model);
    struct engine_options options = {.threads = 1, .context = 128, .sequences = 2};
    ck_assert_int_eq(engine_open_local(&model, NULL, &options, &engine, &reason), STATUS_OK);
    ck_assert_int_eq(engine_sequence_open(engine, &sequence, &reason), STATUS_OK);
    const struct {
        struct engine_row row;
        enum status status;
        const char *says;
    } cases[] = {
        {{sequence, 768, 0, false}, STATUS_INVALID, "token id 768"},
        {{sequence, 1, 1, false}, STATUS_INVALID, "position 0"},
        {{sequence + 1, 1, 0, false}, STATUS_INVALID, "not open"},
        {{77, 1, 0, false}, STATUS_INVALID, "not open"},
        {{sequence, 1, 128, false}, STATUS_CONTEXT_LENGTH, "context of 128"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct engine_batch batch = {&cases[i].row, 1, NULL, NULL, NULL};
        ck_assert_int_eq(engine_forward(engine, &batch, &reason), cases[i].status);
        ck_assert_msg(strstr(reason.text, cases[i].says) != NULL, "%s", reason.text);
    }
    uint32_t other = 0;
    struct engine_row rows[100];
    ck_assert_int_eq(engine_sequence_open(engine, &other, &reason), STATUS_OK);
    for (uint32_t i = 0; i < 100; i++)
        rows[i] = (struct engine_row){i < 65 ? sequence : other, 1, i < 65 ? i : i - 65, false};
    struct engine_batch batch = {rows, 100, NULL, NULL, NULL};
    ck_assert_int_eq(engine_forward(engine, &batch, &reason), STATUS_NO_CAPACITY);
    ck_assert_uint_eq(engine_sequence_length(engine, sequence), 0);
    ck_assert_uint_eq(engine_positions_free(engine), 128);
    batch.count = 65;
    ck_assert_int_eq(engine_forward(engine, &batch, &reason), STATUS_OK);
    ck_assert_uint_eq(engine_positions_free(engine), 0);
    engine_sequence_truncate(engine, sequence, 10);
    ck_assert_uint_eq(engine_sequence_length(engine, sequence), 10);
    ck_assert_uint_eq(engine_positions_free(engine), 64);
    engine_close(engine);
    engine_model_close(&model);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("invariance");
    const TTest *const tests[] = {a_row_has_the_same_bits_in_any_batch,
                                  a_pipeline_has_the_same_bits_as_one_rank,
                                  what_cannot_be_computed_is_refused_and_nothing_changes};
    suite_add(suite, "invariance", tests, COUNT_OF(tests));
    return suite;
}
