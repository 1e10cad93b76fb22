/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/golden/sampler/cases.json, made by scripts/make_sampler_cases.py: for each problem the
 * tokens drawn with several seeds and the five most likely tokens must be those of the script.
 */
#include "actors/runner/engine/sampler.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <jansson.h>
#include <math.h>

enum { ROWS_MAX = 64 };

static float number(const json_t *problem, const char *key)
{
    const json_t *value = json_object_get(problem, key);
    ck_assert_msg(json_is_number(value), "%s", key);
    return (float)json_number_value(value);
}

static size_t list_of_ids(const json_t *list, uint32_t ids_out[ROWS_MAX])
{
    size_t count = json_array_size(list);
    ck_assert_uint_le(count, ROWS_MAX);
    for (size_t at = 0; at < count; at++)
        ids_out[at] = (uint32_t)json_integer_value(json_array_get(list, at));
    return count;
}

static struct sampling sampling_of(const json_t *problem)
{
    struct sampling sampling;
    sampling_init(&sampling);
    sampling.temperature = number(problem, "temperature");
    sampling.top_p = number(problem, "top_p");
    sampling.min_p = number(problem, "min_p");
    sampling.min_keep = (uint32_t)number(problem, "min_keep");
    sampling.top_k = (uint32_t)number(problem, "top_k");
    sampling.repetition_penalty = number(problem, "repetition_penalty");
    sampling.repetition_window = (uint32_t)number(problem, "repetition_window");
    sampling.presence_penalty = number(problem, "presence_penalty");
    sampling.frequency_penalty = number(problem, "frequency_penalty");
    sampling.choice = (uint32_t)number(problem, "choice");
    const json_t *biases = json_object_get(problem, "logit_bias");
    for (size_t at = 0; at < json_array_size(biases); at++) {
        const json_t *bias = json_array_get(biases, at);
        sampling.biases[sampling.bias_count++] = (struct logit_bias){
            (uint32_t)json_integer_value(json_array_get(bias, 0)),
            (float)json_number_value(json_array_get(bias, 1))};
    }
    return sampling;
}

static void expect_top(const json_t *wanted, const struct sampled *sampled)
{
    ck_assert_uint_eq(sampled->top_count, json_array_size(wanted));
    for (size_t at = 0; at < json_array_size(wanted); at++) {
        const json_t *token = json_array_get(wanted, at);
        ck_assert_int_eq((json_int_t)sampled->top[at].id,
                         json_integer_value(json_array_get(token, 0)));
        /* fp32 log probabilities of a few dozen rows; the file has six places. */
        ck_assert_double_le(fabs((double)sampled->top[at].logprob -
                                 json_number_value(json_array_get(token, 1))), 2e-5);
        if (sampled->top[at].id == sampled->id)
            ck_assert(sampled->logprob == sampled->top[at].logprob);
    }
}

static void expect_problem(const json_t *problem)
{
    float logits[ROWS_MAX];
    uint32_t prompt[ROWS_MAX];
    uint32_t answer[ROWS_MAX];
    uint32_t wanted[ROWS_MAX];
    const json_t *list = json_object_get(problem, "logits");
    const json_t *expected = json_object_get(problem, "expected");
    size_t rows = json_array_size(list);
    ck_assert(rows > 0 && rows <= ROWS_MAX);
    for (size_t at = 0; at < rows; at++)
        logits[at] = (float)json_number_value(json_array_get(list, at));
    const struct sampling_history history = {
        .prompt = prompt,
        .prompt_count = list_of_ids(json_object_get(problem, "prompt"), prompt),
        .answer = answer,
        .answer_count = list_of_ids(json_object_get(problem, "answer"), answer),
    };
    struct sampling sampling = sampling_of(problem);
    sampling.top_logprobs = 5;
    struct reason reason = {""};
    ck_assert_msg(sampling_check(&sampling, rows, &reason) == STATUS_OK, "%s", reason.text);
    struct sampler *sampler = NULL;
    ck_assert_int_eq(sampler_open(rows, NULL, &sampler, &reason), STATUS_OK);
    size_t seeds = list_of_ids(json_object_get(expected, "ids"), wanted);
    for (size_t seed = 0; seed < seeds; seed++) {
        struct sampled sampled;
        sampling.seed = seed;
        ck_assert_int_eq(
            sampler_draw(sampler, &sampling, logits, &history, &sampled, &reason), STATUS_OK);
        ck_assert_uint_eq(sampled.id, wanted[seed]);
        expect_top(json_object_get(expected, "top"), &sampled);
    }
    sampler_close(sampler);
}

START_TEST(draws_what_the_script_draws)
{
    char path[512];
    size_t size;
    char *bytes = file_bytes(source_path("tests/golden/sampler/cases.json", path), &size);
    json_t *problems = json_loadb(bytes, size, 0, NULL);
    memory_free(bytes);
    ck_assert_uint_eq(json_array_size(problems), 160);
    for (size_t at = 0; at < json_array_size(problems); at++)
        expect_problem(json_array_get(problems, at));
    json_decref(problems);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("sampler against a script");
    const TTest *const tests[] = {draws_what_the_script_draws};
    suite_add(suite, "golden", tests, COUNT_OF(tests));
    return suite;
}
