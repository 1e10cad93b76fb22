/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The formats of the KV cache: what bf16 and int8 cost the shipped model on text in its own style,
 * and which mode has which.
 */
#include "actors/runner/engine/engine.h"
#include "actors/runner/engine/tokenizer.h"
#include "protocol/memory.h"
#include "tests/engine/oracle.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define IDS_MAX 512u

static const char text[] =
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    "The capital of France is Paris.<|im_end|>\n<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n"
    "<|im_start|>assistant\n3 + 4 = 7.<|im_end|>\n<|im_start|>user\nCount to ten.<|im_end|>\n"
    "<|im_start|>assistant\n1, 2, 3, 4, 5, 6, 7, 8, 9, 10.<|im_end|>\n<|im_start|>user\n"
    "Please tell me, what is the capital of Japan?<|im_end|>\n<|im_start|>assistant\n"
    "The capital of Japan is Tokyo.<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n"
    "<|im_start|>assistant\nI am a small model.<|im_end|>\n<|im_start|>user\n"
    "Tell me a story about a fox.<|im_end|>\n<|im_start|>assistant\n"
    "Once upon a time there was a fox who lived in a forest near a river. One day the fox met a "
    "bear, and they became friends. They walked to the hill and looked at the stars.<|im_end|>\n";

static double loss_of(const float *logits, size_t vocab, uint32_t id)
{
    double largest = -INFINITY;
    double sum = 0.0;
    for (size_t i = 0; i < vocab; i++)
        largest = fmax(largest, (double)logits[i]);
    for (size_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - largest);
    return largest + log(sum) - (double)logits[id];
}

/* Mean over the ids but the first. */
static double loss(const struct engine_model *model, const struct engine_options *options,
                   const struct token_list *list)
{
    struct engine *engine = NULL;
    struct engine_row rows[IDS_MAX];
    struct reason reason = {""};
    uint32_t sequence = 0;
    double sum = 0.0;
    ck_assert_msg(engine_open_local(model, NULL, options, &engine, &reason) == STATUS_OK, "%s",
                  reason.text);
    const size_t vocab = engine_vocab(engine);
    float *logits = memory_zeroed(list->count * vocab, sizeof *logits);
    ck_assert_int_eq(engine_sequence_open(engine, &sequence, &reason), STATUS_OK);
    for (uint32_t i = 0; i < list->count; i++)
        rows[i] = (struct engine_row){sequence, list->ids[i], i, true};
    const struct engine_batch batch = {rows, list->count, NULL, NULL, logits};
    ck_assert_int_eq(engine_forward(engine, &batch, &reason), STATUS_OK);
    for (size_t i = 0; i + 1 < list->count; i++)
        sum += loss_of(logits + i * vocab, vocab, list->ids[i + 1]);
    memory_free(logits);
    engine_close(engine);
    return sum / (double)(list->count - 1);
}

START_TEST(int8_costs_less_than_half_a_percent)
{
    char path[512];
    struct engine_model model;
    struct tokenizer *tokenizer = NULL;
    struct token_list list = {0};
    struct reason reason = {""};
    (void)source_path("scripts/demo-model/model", path);
    ck_assert_int_eq(engine_model_open(path, &model, &reason), STATUS_OK);
    ck_assert_int_eq(tokenizer_open(path, &tokenizer, &reason), STATUS_OK);
    ck_assert_int_eq(tokenizer_encode(tokenizer, text, strlen(text), 0, &list, &reason),
                     STATUS_OK);
    ck_assert_uint_gt(list.count, 150);
    ck_assert_uint_le(list.count, IDS_MAX);
    const struct engine_options exact = {.threads = 1, .context = IDS_MAX};
    const double wanted = loss(&model, &exact, &list);
    for (uint32_t format = 0; format < KV_FORMAT_END; format++) {
        if (!kv_format_is_fast(format))
            continue;
        struct engine_options fast = exact;
        fast.mode = ENGINE_FAST;
        fast.kv_format = (enum kv_format)format;
        const double got = loss(&model, &fast, &list);
        printf("# %s: loss %.5f, exact %.5f: %+.3f %%\n", kv_format_name(format), got, wanted,
               100.0 * (got / wanted - 1.0));
        ck_assert(fabs(got / wanted - 1.0) < 0.005);
    }
    memory_free(list.ids);
    tokenizer_close(tokenizer);
    engine_model_close(&model);
}
END_TEST

START_TEST(exact_mode_keeps_f32_only)
{
    struct engine_model model;
    oracle_model_open("qwen3-tied__affine4-g64", &model);
    for (uint32_t format = KV_FORMAT_NONE; format < KV_FORMAT_END; format++) {
        for (uint32_t mode = ENGINE_EXACT; mode <= ENGINE_FAST; mode++) {
            struct engine *engine = NULL;
            struct reason reason = {""};
            const struct engine_options options = {.mode = (enum engine_mode)mode,
                                                   .threads = 1,
                                                   .context = 64,
                                                   .kv_format = (enum kv_format)format};
            const bool is_right =
                format == KV_FORMAT_NONE ||
                (mode == ENGINE_EXACT ? format == KV_F32 : kv_format_is_fast(format));
            ck_assert_int_eq(engine_open_local(&model, NULL, &options, &engine, &reason),
                             is_right ? STATUS_OK : STATUS_INVALID);
            ck_assert(is_right || strstr(reason.text, kv_format_name(format)) != NULL);
            engine_close(engine);
        }
    }
    engine_model_close(&model);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("kv-formats");
    const TTest *const tests[] = {int8_costs_less_than_half_a_percent, exact_mode_keeps_f32_only};
    suite_add(suite, "formats", tests, COUNT_OF(tests));
    return suite;
}
