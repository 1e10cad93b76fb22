/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Families with windows, experts, latent attention and recurrent states: the reference, every cut,
 * equal bits in any chunks and threads, sequences dropped, reused and cut back.
 *
 * The bounds are the reference's own spread between two implementations in fp32, times four.
 */
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/local_world.h"
#include "protocol/memory.h"
#include "tests/engine/oracle.h"
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"

#include <math.h>
#include <string.h>

#define ROWS_MAX 256u
#define LENGTH 100u

struct family_row {
    const char *name;
    float logit_bound;
    float hidden_bound;
};

static const struct family_row families[] = {
    {"gemma3_text__affine4-g64", 3e-4f, 1e-4f},
    {"qwen3_5__affine4-g64", 1e-3f, 3e-4f},
    {"gpt_oss-slim__mxfp4-q8", 3e-4f, 1e-4f},
    {"qwen3_moe-slim__affine4-g32", 3e-4f, 1e-4f},
    {"step3p5-slim__affine4-g32", 3e-4f, 1e-4f},
};

static uint32_t best_of(const float *logits, size_t vocab)
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

/* --- against the reference --- */

static void check_prompt(const struct family_row *family, struct local_world *world,
                         const struct oracle *oracle, unsigned prompt, size_t tokens)
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
    for (uint32_t i = 0; i < count; i++)
        rows[i] = (struct engine_row){sequence, (uint32_t)ids[i], i, i + 1 == count};
    enum status status = local_world_forward(world, rows, count, logits, &reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", family->name, reason.text);
    float worst = worst_of(logits, last, vocab);
    ck_assert_msg(worst <= family->logit_bound, "%s, prompt %u: logits differ by %g",
                  family->name, prompt, (double)worst);
    for (size_t i = 0; i < greedy_count && i < tokens; i++) {
        uint32_t id = best_of(logits, vocab);
        ck_assert_msg(id == (uint32_t)greedy[i], "%s, prompt %u: token %zu is %u, not %d",
                      family->name, prompt, i, id, greedy[i]);
        struct engine_row row = {sequence, id, (uint32_t)(count + i), true};
        status = local_world_forward(world, &row, 1, logits, &reason);
        ck_assert_msg(status == STATUS_OK, "%s: %s", family->name, reason.text);
    }
    memory_free(logits);
}

struct cut {
    enum sharding sharding;
    uint32_t ranks;
    uint64_t shares[3];
    const struct kernel_set *kernels;
    size_t tokens;
};

static void check_cut(const struct family_row *family, const struct cut *cut)
{
    struct engine_model model;
    struct oracle oracle;
    struct local_world *world = NULL;
    struct reason reason = {""};
    struct engine_options options = {.mode = ENGINE_EXACT, .threads = 1, .context = 1024,
                                     .kernels = cut->kernels};
    oracle_model_open(family->name, &model);
    oracle_open(family->name, &oracle);
    enum status status = local_world_open(&model, cut->sharding,
                                          cut->shares[0] ? cut->shares : NULL, cut->ranks,
                                          &options, &world, &reason);
    ck_assert_msg(status == STATUS_OK, "%s: %s", family->name, reason.text);
    for (unsigned prompt = 0; prompt < ORACLE_PROMPTS; prompt++)
        check_prompt(family, world, &oracle, prompt, cut->tokens);
    local_world_close(world);
    oracle_close(&oracle);
    engine_model_close(&model);
}

START_TEST(one_rank_gives_the_reference_logits_and_tokens)
{
    const struct cut cut = {SHARDING_NONE, 1, {0}, NULL, 64};
    for (size_t i = 0; i < COUNT_OF(families); i++)
        check_cut(&families[i], &cut);
}
END_TEST

START_TEST(the_portable_kernels_give_them_too)
{
    const struct cut cut = {SHARDING_NONE, 1, {0}, kernel_set_portable(), 12};
    for (size_t i = 0; i < COUNT_OF(families); i++)
        check_cut(&families[i], &cut);
}
END_TEST

START_TEST(pipelines_give_them_too)
{
    const struct cut cuts[] = {{SHARDING_PIPELINE, 2, {0}, NULL, 24},
                               {SHARDING_PIPELINE, 2, {3, 1}, NULL, 8},
                               {SHARDING_PIPELINE, 3, {1, 2, 1}, NULL, 8}};
    for (size_t i = 0; i < COUNT_OF(families); i++)
        for (size_t c = 0; c < COUNT_OF(cuts); c++)
            check_cut(&families[i], &cuts[c]);
}
END_TEST

START_TEST(tensor_cuts_give_them_too)
{
    const struct cut cuts[] = {{SHARDING_TENSOR, 2, {0}, NULL, 24},
                               {SHARDING_TENSOR, 2, {3, 1}, NULL, 12},
                               {SHARDING_TENSOR, 3, {2, 1, 1}, NULL, 8}};
    for (size_t i = 0; i < COUNT_OF(families); i++)
        for (size_t c = 0; c < COUNT_OF(cuts); c++)
            check_cut(&families[i], &cuts[c]);
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

static void check_hidden(const struct family_row *family)
{
    static struct observed observed;
    struct engine_model model;
    struct oracle oracle;
    struct engine *engine = NULL;
    struct reason reason = {""};
    struct engine_row rows[ROWS_MAX];
    uint32_t sequence = 0;
    size_t count = 0;
    size_t floats = 0;
    oracle_model_open(family->name, &model);
    oracle_open(family->name, &oracle);
    observed.width = model.config->hidden;
    struct engine_options options = {.threads = 1, .context = 256, .observe = observe,
                                     .observer = &observed};
    ck_assert_int_eq(engine_open_local(&model, NULL, &options, &engine, &reason), STATUS_OK);
    ck_assert_int_eq(engine_sequence_open(engine, &sequence, &reason), STATUS_OK);
    const int32_t *ids = oracle_ids(&oracle, "prompt", 1, &count);
    const float *hidden = oracle_floats(&oracle, "hidden", 1, &floats);
    for (uint32_t i = 0; i < count; i++)
        rows[i] = (struct engine_row){sequence, (uint32_t)ids[i], i, false};
    struct engine_batch batch = {rows, count, NULL, NULL, NULL};
    ck_assert_int_eq(engine_forward(engine, &batch, &reason), STATUS_OK);
    ck_assert_uint_eq(floats, (size_t)model.config->layers * observed.width);
    for (uint32_t layer = 0; layer < model.config->layers; layer++) {
        float worst = worst_of(observed.hidden[layer], hidden + layer * observed.width,
                               observed.width);
        ck_assert_msg(worst <= family->hidden_bound, "%s: layer %u differs by %g", family->name,
                      layer, (double)worst);
    }
    engine_close(engine);
    oracle_close(&oracle);
    engine_model_close(&model);
}

START_TEST(the_hidden_state_after_every_layer_is_the_reference)
{
    for (size_t i = 0; i < COUNT_OF(families); i++)
        check_hidden(&families[i]);
}
END_TEST

/* --- equal bits --- */

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
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        check_bits(families[i].name, ENGINE_EXACT, kernel_set_best());
        check_bits(families[i].name, ENGINE_FAST, kernel_set_best());
        check_bits(families[i].name, ENGINE_EXACT, kernel_set_portable());
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("hybrid families");
    const TTest *const tests[] = {one_rank_gives_the_reference_logits_and_tokens,
                                  the_portable_kernels_give_them_too,
                                  pipelines_give_them_too,
                                  tensor_cuts_give_them_too,
                                  the_hidden_state_after_every_layer_is_the_reference,
                                  a_row_has_the_same_bits_in_any_chunk_batch_and_place};
    suite_add(suite, "hybrids", tests, COUNT_OF(tests));
    return suite;
}
