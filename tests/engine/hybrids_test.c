/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Families with windows, experts, latent attention and states: equal bits in any chunks, company
 * and number of threads, and in sequences dropped, reused and cut back.
 */
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/engine.h"
#include "protocol/memory.h"
#include "tests/engine/oracle.h"
#include "tests/support/check_main.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeded.h"

#include <string.h>

#define LENGTH 100u

/* One of each kind of layer: windows, sinks, experts, latent rows, states. */
static const char *const names[] = {
    "deepseek_v3-slim__affine4-g32",   "gemma3_text-slim__affine4-g32",
    "glm4_moe_lite-older__affine4-g32", "glm4_moe_lite-slim__affine4-g32",
    "gpt_oss-slim__mxfp4-q8",          "qwen3_5-slim__affine4-g32",
    "qwen3_5_moe-slim__affine4-g32",   "qwen3_moe-slim__affine4-g32",
    "step3p5-slim__affine4-g32",
};

static struct engine *open_engine(const struct engine_model *model, enum engine_mode mode,
                                  const struct kernel_set *kernels, uint32_t threads)
{
    struct engine *engine = NULL;
    struct reason reason = {""};
    struct engine_options options = {.mode = mode, .threads = threads, .context = 1024,
                                     .sequences = 4, .kernels = kernels};
    enum status status = engine_open_local(model, NULL, &options, &engine, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    return engine;
}

/* Logits of positions [first, LENGTH) of a sequence, in chunks. */
static void compute(struct engine *engine, const uint32_t *ids, uint32_t sequence, size_t first,
                    size_t chunk, float *logits)
{
    struct reason reason = {""};
    size_t vocab = engine_vocab(engine);
    struct engine_row rows[LENGTH];
    for (uint32_t i = 0; i < LENGTH; i++)
        rows[i] = (struct engine_row){sequence, ids[i], i, true};
    for (size_t i = first; i < LENGTH; i += chunk) {
        size_t some = LENGTH - i < chunk ? LENGTH - i : chunk;
        struct engine_batch batch = {rows + i, some, NULL, NULL, logits + i * vocab};
        enum status status = engine_forward(engine, &batch, &reason);
        ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    }
}

static void check_chunks(struct engine *engine, const char *name, const uint32_t *ids,
                         const float *expected)
{
    static const size_t chunks[] = {1, 7, 64};
    size_t floats = (size_t)LENGTH * engine_vocab(engine);
    float *logits = memory_zeroed(floats, sizeof *logits);
    struct reason reason = {""};
    uint32_t sequence = 0;
    for (size_t i = 0; i < COUNT_OF(chunks); i++) {
        ck_assert_int_eq(engine_sequence_open(engine, &sequence, &reason), STATUS_OK);
        compute(engine, ids, sequence, 0, chunks[i], logits);
        ck_assert_msg(memcmp(logits, expected, floats * sizeof *logits) == 0,
                      "%s: chunks of %zu", name, chunks[i]);
        engine_sequence_close(engine, sequence);
    }
    memory_free(logits);
}

/* Cut back, whatever is left is right; what is gone is computed again. */
static void check_cut_back(struct engine *engine, const char *name, const uint32_t *ids,
                           const float *expected)
{
    static const uint32_t lengths[] = {99, 90, 64, 33, 5, 0};
    size_t vocab = engine_vocab(engine);
    float *logits = memory_zeroed((size_t)LENGTH * vocab, sizeof *logits);
    struct reason reason = {""};
    uint32_t sequence = 0;
    ck_assert_int_eq(engine_sequence_open(engine, &sequence, &reason), STATUS_OK);
    compute(engine, ids, sequence, 0, LENGTH, logits);
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        uint32_t left = engine_sequence_truncate(engine, sequence, lengths[i]);
        ck_assert_msg(left == lengths[i] || left == 0, "%s: %u are left of %u", name, left,
                      lengths[i]);
        ck_assert_uint_eq(engine_sequence_length(engine, sequence), left);
        compute(engine, ids, sequence, left, 16, logits);
        ck_assert_msg(memcmp(logits, expected, LENGTH * vocab * sizeof *logits) == 0,
                      "%s: cut back to %u", name, lengths[i]);
    }
    engine_sequence_close(engine, sequence);
    memory_free(logits);
}

/* Three sequences whose rows share batches; the middle one is dropped half way and its place is
 * taken by another. */
static void check_company(struct engine *engine, const char *name, const uint32_t *ids,
                          const float *expected)
{
    static const uint32_t steps[] = {1, 7, 3};
    size_t vocab = engine_vocab(engine);
    uint32_t sequences[3];
    uint32_t next[3] = {0, 0, 0};
    float *logits = memory_zeroed(11 * vocab, sizeof *logits);
    struct reason reason = {""};
    for (size_t s = 0; s < 3; s++)
        ck_assert_int_eq(engine_sequence_open(engine, &sequences[s], &reason), STATUS_OK);
    for (size_t round = 0; round < 14; round++) {
        struct engine_row rows[11];
        size_t count = 0;
        if (round == 7) {
            engine_sequence_close(engine, sequences[1]);
            ck_assert_int_eq(engine_sequence_open(engine, &sequences[1], &reason), STATUS_OK);
            next[1] = 0;
        }
        for (size_t s = 0; s < 3; s++)
            for (uint32_t k = 0; k < steps[s]; k++, next[s]++)
                rows[count++] = (struct engine_row){sequences[s], ids[next[s]], next[s], true};
        struct engine_batch batch = {rows, count, NULL, NULL, logits};
        ck_assert_int_eq(engine_forward(engine, &batch, &reason), STATUS_OK);
        for (size_t i = 0; i < count; i++)
            ck_assert_msg(memcmp(logits + i * vocab, expected + rows[i].position * vocab,
                                 vocab * sizeof *logits) == 0,
                          "%s: row %zu of a batch at position %u", name, i, rows[i].position);
    }
    for (size_t s = 0; s < 3; s++)
        engine_sequence_close(engine, sequences[s]);
    memory_free(logits);
}

static void check_bits(const char *name, enum engine_mode mode, const struct kernel_set *kernels)
{
    struct engine_model model;
    struct reason reason = {""};
    struct seeded seeded = seeded_open(5);
    uint32_t ids[LENGTH];
    uint32_t sequence = 0;
    oracle_model_open(name, &model);
    for (size_t i = 0; i < LENGTH; i++)
        ids[i] = (uint32_t)seeded_below(&seeded, model.config->vocab);
    struct engine *engine = open_engine(&model, mode, kernels, 1);
    float *expected = memory_zeroed((size_t)LENGTH * model.config->vocab, sizeof *expected);
    ck_assert_int_eq(engine_sequence_open(engine, &sequence, &reason), STATUS_OK);
    compute(engine, ids, sequence, 0, LENGTH, expected);
    engine_sequence_close(engine, sequence);
    check_chunks(engine, name, ids, expected);
    check_cut_back(engine, name, ids, expected);
    check_company(engine, name, ids, expected);
    engine_close(engine);
    engine = open_engine(&model, mode, kernels, 2);
    check_chunks(engine, name, ids, expected);
    engine_close(engine);
    memory_free(expected);
    engine_model_close(&model);
}

START_TEST(a_row_has_the_same_bits_in_any_chunk_batch_and_place)
{
    for (size_t i = 0; i < COUNT_OF(names); i += TIMES(1, 3))
        check_bits(names[i], ENGINE_EXACT, NULL);
}
END_TEST

START_TEST(so_it_has_in_fast_mode)
{
    for (size_t i = TIMES(0, 1); i < COUNT_OF(names); i += TIMES(1, 3))
        check_bits(names[i], ENGINE_FAST, NULL);
}
END_TEST

START_TEST(so_it_has_with_portable_kernels)
{
    for (size_t i = TIMES(0, 2); i < COUNT_OF(names); i += TIMES(1, 3))
        check_bits(names[i], i % 2 ? ENGINE_FAST : ENGINE_EXACT, kernel_set_portable());
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("bits of every family");
    const TTest *const tests[] = {a_row_has_the_same_bits_in_any_chunk_batch_and_place,
                                  so_it_has_in_fast_mode, so_it_has_with_portable_kernels};
    suite_add(suite, "hybrids", tests, COUNT_OF(tests));
    return suite;
}
