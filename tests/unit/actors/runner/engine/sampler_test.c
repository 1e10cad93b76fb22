/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/sampler.h"
#include "actors/runner/engine/tokenizer.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"
#include "tests/support/seeded.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct sampling_history nothing = {.allowed = NULL};

static struct sampler *sampler_of(size_t rows)
{
    struct sampler *sampler = NULL;
    ck_assert_int_eq(sampler_open(rows, NULL, &sampler, NULL), STATUS_OK);
    return sampler;
}

static struct sampled drawn(struct sampler *sampler, const struct sampling *sampling,
                            const float *logits)
{
    struct sampled sampled;
    struct reason reason = {""};
    enum status status = sampler_draw(sampler, sampling, logits, &nothing, &sampled, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    return sampled;
}

/* Which of four tokens come in 2000 draws, as a sum of 1 << id. */
static unsigned drawn_set(const struct sampling *sampling, const float *logits)
{
    struct sampler *sampler = sampler_of(4);
    struct sampling copy = *sampling;
    unsigned set = 0;
    for (copy.seed = 0; copy.seed < 2000; copy.seed++)
        set |= 1u << drawn(sampler, &copy, logits).id;
    sampler_close(sampler);
    return set;
}

/* Probabilities 0.5, 0.3, 0.15, 0.05 of ids 2, 0, 3, 1. */
static const float four[4] = {-1.2039728F, -2.9957323F, -0.6931472F, -1.8971200F};

START_TEST(greedy_takes_the_lowest_id_of_equals)
{
    const float logits[5] = {1.0F, 3.0F, 2.0F, 3.0F, 3.0F};
    struct sampler *sampler = sampler_of(5);
    struct sampling sampling;
    sampling_init(&sampling);
    sampling.temperature = 0.0F;
    sampling.top_k = 1; /* ignored */
    ck_assert_uint_eq(drawn(sampler, &sampling, logits).id, 1);
    sampler_close(sampler);
}
END_TEST

START_TEST(each_filter_keeps_what_it_says)
{
    struct sampling sampling;
    sampling_init(&sampling);
    ck_assert_uint_eq(drawn_set(&sampling, four), 15);
    sampling.top_k = 2;
    ck_assert_uint_eq(drawn_set(&sampling, four), 1u << 2 | 1u << 0);
    sampling.top_k = 9;
    ck_assert_uint_eq(drawn_set(&sampling, four), 15);
    sampling_init(&sampling);
    sampling.top_p = 0.7F; /* 0.5 alone is not enough */
    ck_assert_uint_eq(drawn_set(&sampling, four), 1u << 2 | 1u << 0);
    sampling.top_p = 0.9F;
    ck_assert_uint_eq(drawn_set(&sampling, four), 1u << 2 | 1u << 0 | 1u << 3);
    sampling.top_p = 0.0F;
    ck_assert_uint_eq(drawn_set(&sampling, four), 1u << 2);
    sampling_init(&sampling);
    sampling.min_p = 0.25F; /* 0.125 and more */
    ck_assert_uint_eq(drawn_set(&sampling, four), 1u << 2 | 1u << 0 | 1u << 3);
    sampling.min_p = 0.9F;
    ck_assert_uint_eq(drawn_set(&sampling, four), 1u << 2);
    sampling.min_keep = 3;
    ck_assert_uint_eq(drawn_set(&sampling, four), 1u << 2 | 1u << 0 | 1u << 3);
}
END_TEST

enum { MANY = 3000 };

static const float *order_logits;

static int by_likelihood(const void *left, const void *right)
{
    uint32_t one = *(const uint32_t *)left;
    uint32_t two = *(const uint32_t *)right;
    if (order_logits[one] > order_logits[two])
        return -1;
    return order_logits[one] < order_logits[two] ? 1 : one < two ? -1 : 1;
}

/* How many tokens the filters keep, counted along the whole order; 0 when the answer hangs on a
 * rounding. */
static size_t kept_plainly(const struct sampling *sampling, const float *logits,
                           const uint32_t *order)
{
    double sum = 0.0;
    for (size_t at = 0; at < MANY; at++)
        sum += exp((double)logits[at] - (double)logits[order[0]]);
    double above = 0.0;
    for (size_t kept = 0; kept < MANY; kept++) {
        double weight = exp((double)logits[order[kept]] - (double)logits[order[0]]);
        if ((sampling->top_k > 0 && kept == sampling->top_k) ||
            (kept > 0 && sampling->top_p < 1.0F && above / sum >= (double)sampling->top_p) ||
            (weight < (double)sampling->min_p && kept >= sampling->min_keep))
            return kept;
        if (fabs(above / sum - (double)sampling->top_p) < 1e-5 ||
            fabs(weight / (double)sampling->min_p - 1.0) < 1e-4)
            return 0;
        above += weight;
    }
    return MANY;
}

/* The least and the most likely kept token are drawn at some seed when temperature is great. */
START_TEST(equals_stay_together_unless_they_are_counted)
{
    const float equals[4] = {1.0F, 2.0F, 1.0F, 1.0F}; /* 0.48 and three times 0.17 */
    struct sampling sampling;
    sampling_init(&sampling);
    sampling.top_p = 0.5F;
    ck_assert_uint_eq(drawn_set(&sampling, equals), 15);
    sampling.top_k = 2;
    ck_assert_uint_eq(drawn_set(&sampling, equals), 1u << 1 | 1u << 0);
    sampling_init(&sampling);
    sampling.min_p = 0.3F;
    ck_assert_uint_eq(drawn_set(&sampling, equals), 15);
    sampling.min_p = 1.0F;
    ck_assert_uint_eq(drawn_set(&sampling, equals), 1u << 1);
    sampling_init(&sampling);
    sampling.top_p = 0.0F;
    ck_assert_uint_eq(drawn_set(&sampling, (const float[4]){1.0F, 1.0F, 1.0F, 1.0F}), 1u << 0);
}
END_TEST

START_TEST(filters_cut_a_large_vocabulary_where_the_plain_order_does)
{
    static float logits[MANY];
    static uint32_t order[MANY];
    struct seeded seeded = seeded_open(8);
    struct sampler *sampler = sampler_of(MANY);
    for (int round = 0; round < 60; round++) {
        float spread = 0.2F + 6.0F * (float)seeded_below(&seeded, 100) / 100.0F;
        for (uint32_t id = 0; id < MANY; id++) {
            logits[id] = spread * (seeded_float(&seeded) + seeded_float(&seeded));
            order[id] = id;
        }
        order_logits = logits;
        qsort(order, MANY, sizeof(*order), by_likelihood);
        struct sampling sampling;
        sampling_init(&sampling);
        sampling.temperature = 100.0F;
        sampling.top_p = seeded_below(&seeded, 2) ? 0.05F + 0.1F * (float)(round % 10) : 1.0F;
        sampling.min_p = seeded_below(&seeded, 2) ? 0.3F * (float)(round % 7) / 7.0F : 0.0F;
        sampling.top_k = seeded_below(&seeded, 3) ? 0 : 1 + (uint32_t)seeded_below(&seeded, 60);
        sampling.min_keep = 1 + (uint32_t)seeded_below(&seeded, 4);
        size_t kept = kept_plainly(&sampling, logits, order);
        if (kept == 0 || kept > 60)
            continue;
        uint8_t seen[MANY] = {0};
        for (sampling.seed = 0; sampling.seed < kept * 20; sampling.seed++)
            seen[drawn(sampler, &sampling, logits).id] = 1;
        for (size_t at = 0; at < MANY; at++)
            ck_assert_int_eq(seen[order[at]], at < kept);
    }
    sampler_close(sampler);
}
END_TEST

START_TEST(filters_work_before_temperature)
{
    struct sampling sampling;
    sampling_init(&sampling);
    sampling.temperature = 50.0F; /* flat: with temperature first top_p would keep three */
    sampling.top_p = 0.7F;
    ck_assert_uint_eq(drawn_set(&sampling, four), 1u << 2 | 1u << 0);
}
END_TEST

START_TEST(draws_as_often_as_probable)
{
    enum { DRAWS = 20000 };
    static const double wanted[4] = {0.3, 0.05, 0.5, 0.15};
    struct sampler *sampler = sampler_of(4);
    struct sampling sampling;
    sampling_init(&sampling);
    for (int filtered = 0; filtered < 2; filtered++) {
        int counts[4] = {0};
        sampling.top_k = filtered ? 3 : 0;
        double kept = filtered ? 0.95 : 1.0;
        for (sampling.seed = 0; sampling.seed < DRAWS; sampling.seed++)
            counts[drawn(sampler, &sampling, four).id]++;
        for (int id = 0; id < 4; id++) {
            double share = filtered && id == 1 ? 0.0 : wanted[id] / kept;
            /* Four standard deviations of 20,000 draws are below 0.0142; the seeds are fixed. */
            ck_assert_double_le(fabs(counts[id] / (double)DRAWS - share), 0.0142);
        }
    }
    sampler_close(sampler);
}
END_TEST

START_TEST(the_random_numbers_depend_on_seed_choice_and_position_alone)
{
    const uint64_t first = sampling_position(1, 2, 3);
    ck_assert_uint_eq(first, sampling_position(1, 2, 3));
    ck_assert_uint_ne(first, sampling_position(2, 2, 3));
    ck_assert_uint_ne(first, sampling_position(1, 3, 3));
    ck_assert_uint_ne(first, sampling_position(1, 2, 4));
    double sums[2] = {0.0, 0.0};
    for (uint32_t at = 0; at < 10000; at++) {
        const double along_ids = sampling_random(first, at);
        ck_assert(along_ids > 0.0 && along_ids < 1.0);
        sums[0] += along_ids;
        sums[1] += sampling_random(sampling_position(9, 0, at), 5);
    }
    for (int i = 0; i < 2; i++)
        ck_assert_double_le(fabs(sums[i] / 10000 - 0.5), 0.012);
}
END_TEST

/* As the logits of another cut of the model do: along a sum of all weights 100 would differ. */
START_TEST(logits_that_differ_a_little_draw_the_same)
{
    enum { DRAWS = 4000 };
    static float logits[2][MANY];
    struct seeded seeded = seeded_open(9);
    struct sampler *sampler = sampler_of(MANY);
    struct sampling sampling;
    sampling_init(&sampling);
    for (int id = 0; id < MANY; id++) {
        logits[0][id] = seeded_float(&seeded);
        logits[1][id] = logits[0][id] + 1e-3F * seeded_float(&seeded);
    }
    for (sampling.top_k = 0; sampling.top_k <= MANY - 1; sampling.top_k += MANY - 1) {
        int different = 0;
        for (sampling.seed = 0; sampling.seed < DRAWS; sampling.seed++)
            different += drawn(sampler, &sampling, logits[0]).id !=
                         drawn(sampler, &sampling, logits[1]).id;
        ck_assert_int_le(different, 20);
    }
    sampler_close(sampler);
}
END_TEST

START_TEST(an_answer_resumed_goes_on_as_it_would_have)
{
    float logits[64];
    for (int id = 0; id < 64; id++)
        logits[id] = (float)((id * 37) % 64) / 20.0F;
    uint32_t answer[32];
    struct sampling sampling;
    sampling_init(&sampling);
    sampling.frequency_penalty = 0.5F;
    sampling.seed = 77;
    for (int round = 0; round < 2; round++) {
        struct sampler *sampler = sampler_of(64);
        for (size_t at = round == 0 ? 0 : 16; at < 32; at++) {
            const struct sampling_history history = {.answer = answer, .answer_count = at};
            struct sampled sampled;
            ck_assert_int_eq(
                sampler_draw(sampler, &sampling, logits, &history, &sampled, NULL), STATUS_OK);
            if (round == 0)
                answer[at] = sampled.id;
            else
                ck_assert_uint_eq(sampled.id, answer[at]);
        }
        sampler_close(sampler);
    }
}
END_TEST

START_TEST(penalties_change_the_logits_they_name)
{
    const float logits[4] = {2.0F, -2.0F, 1.0F, 0.0F};
    const uint32_t prompt[3] = {3, 0, 0};
    const uint32_t answer[3] = {1, 1, 9}; /* 9 is no row */
    const struct sampling_history history = {prompt, 3, answer, 3, NULL};
    struct sampler *sampler = sampler_of(4);
    struct sampling sampling;
    sampling_init(&sampling);
    sampling.temperature = 0.0F;
    sampling.top_logprobs = 4;
    sampling.repetition_penalty = 2.0F;
    sampling.repetition_window = 5; /* leaves the 3 out */
    sampling.presence_penalty = 0.25F;
    sampling.frequency_penalty = 0.5F;
    sampling.bias_count = 1;
    sampling.biases[0] = (struct logit_bias){2, 1.0F};
    struct sampled sampled;
    ck_assert_int_eq(sampler_draw(sampler, &sampling, logits, &history, &sampled, NULL),
                     STATUS_OK);
    /* 0: 2 / 2; 1: -2 * 2 - 0.25 - 2 * 0.5; 2: 1 + 1; 3: 0 */
    static const double processed[4] = {1.0, -5.25, 2.0, 0.0};
    double sum = exp(1.0) + exp(-5.25) + exp(2.0) + exp(0.0);
    ck_assert_uint_eq(sampled.id, 2);
    ck_assert_uint_eq(sampled.top_count, 4);
    for (size_t at = 0; at < 4; at++) {
        double wanted = processed[sampled.top[at].id] - log(sum);
        ck_assert_double_le(fabs((double)sampled.top[at].logprob - wanted), 1e-6);
    }
    sampler_close(sampler);
}
END_TEST

START_TEST(ids_without_a_token_are_never_drawn)
{
    char path[512];
    struct tokenizer *tokenizer = NULL;
    ck_assert_int_eq(tokenizer_open(source_path("tests/golden/tokenizers/qwen", path),
                                    &tokenizer, NULL), STATUS_OK);
    struct sampler *sampler = NULL;
    ck_assert_int_eq(sampler_open(2100, tokenizer, &sampler, NULL), STATUS_OK);
    tokenizer_close(tokenizer);
    float logits[2100] = {0};
    for (size_t id = 2048; id < 2100; id++)
        logits[id] = id == 2050 ? NAN : 90.0F; /* rows of padding hold anything */
    struct sampling sampling;
    sampling_init(&sampling);
    sampling.top_logprobs = 20;
    for (sampling.seed = 0; sampling.seed < 50; sampling.seed++) {
        struct sampled sampled = drawn(sampler, &sampling, logits);
        ck_assert_uint_lt(sampled.id, 2048);
        for (uint32_t at = 0; at < sampled.top_count; at++)
            ck_assert_uint_eq(sampled.top[at].id, at);
    }
    sampler_close(sampler);
}
END_TEST

START_TEST(logits_that_are_no_numbers_are_a_failure)
{
    static const float broken[4][3] = {{NAN, NAN, NAN},
                                       {0.0F, NAN, 1.0F},
                                       {0.0F, INFINITY, 1.0F},
                                       {-INFINITY, -INFINITY, -INFINITY}};
    struct sampler *sampler = sampler_of(3);
    struct sampling sampling;
    sampling_init(&sampling);
    for (int greedy = 0; greedy < 2; greedy++) {
        sampling.temperature = greedy ? 0.0F : 1.0F;
        for (size_t row = 0; row < COUNT_OF(broken); row++) {
            struct sampled sampled;
            struct reason reason = {""};
            ck_assert_int_eq(sampler_draw(sampler, &sampling, broken[row], &nothing, &sampled,
                                          &reason), STATUS_INTERNAL);
            ck_assert_ptr_nonnull(strstr(reason.text, "logit"));
        }
        const float mostly[3] = {-INFINITY, -3.0F, -INFINITY};
        ck_assert_uint_eq(drawn(sampler, &sampling, mostly).id, 1);
    }
    sampler_close(sampler);
}
END_TEST

START_TEST(extreme_parameters_still_draw)
{
    float logits[300];
    for (size_t id = 0; id < 300; id++)
        logits[id] = id % 2 ? 3e38F : -3e38F;
    struct sampler *sampler = sampler_of(300);
    struct sampling sampling;
    sampling_init(&sampling);
    sampling.temperature = 1e-30F;
    sampling.top_p = 0.999999F;
    sampling.min_p = 1.0F;
    for (sampling.seed = 0; sampling.seed < 20; sampling.seed++)
        ck_assert_uint_eq(drawn(sampler, &sampling, logits).id % 2, 1);
    sampler_close(sampler);
}
END_TEST

START_TEST(nothing_is_allocated_per_token)
{
    struct sampler *sampler = sampler_of(4);
    struct sampling sampling;
    sampling_init(&sampling);
    sampling.top_p = 0.9F;
    sampling.top_logprobs = 3;
    memory_fail_after(0);
    struct sampled sampled;
    enum status status = sampler_draw(sampler, &sampling, four, &nothing, &sampled, NULL);
    memory_fail_after(UINT64_MAX);
    ck_assert_int_eq(status, STATUS_OK);
    sampler_close(sampler);
}
END_TEST

START_TEST(a_refused_parameter_is_named)
{
    static const struct {
        const char *field;
        size_t offset;
        float value;
    } rows[] = {
        {"temperature", offsetof(struct sampling, temperature), -0.1F},
        {"temperature", offsetof(struct sampling, temperature), NAN},
        {"temperature", offsetof(struct sampling, temperature), INFINITY},
        {"top_p", offsetof(struct sampling, top_p), 1.1F},
        {"top_p", offsetof(struct sampling, top_p), NAN},
        {"min_p", offsetof(struct sampling, min_p), -1.0F},
        {"repetition_penalty", offsetof(struct sampling, repetition_penalty), 0.0F},
        {"presence_penalty", offsetof(struct sampling, presence_penalty), 101.0F},
        {"frequency_penalty", offsetof(struct sampling, frequency_penalty), NAN},
    };
    for (size_t row = 0; row < COUNT_OF(rows); row++) {
        struct sampling sampling;
        struct reason reason = {""};
        sampling_init(&sampling);
        ck_assert_int_eq(sampling_check(&sampling, 10, &reason), STATUS_OK);
        memcpy((char *)&sampling + rows[row].offset, &rows[row].value, sizeof(float));
        ck_assert_int_eq(sampling_check(&sampling, 10, &reason), STATUS_INVALID);
        ck_assert_ptr_nonnull(strstr(reason.text, rows[row].field));
    }
    struct sampling sampling;
    struct reason reason = {""};
    sampling_init(&sampling);
    sampling.top_logprobs = 21;
    ck_assert_int_eq(sampling_check(&sampling, 10, &reason), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "top_logprobs"));
    sampling_init(&sampling);
    sampling.bias_count = 1;
    sampling.biases[0].id = 10;
    ck_assert_int_eq(sampling_check(&sampling, 10, &reason), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "logit_bias"));
}
END_TEST

static enum status defaults_of(const char *json, struct sampling *sampling,
                               struct reason *reason)
{
    struct scratch scratch;
    char path[256];
    scratch_open(&scratch);
    if (json)
        file_put(scratch_path(&scratch, "generation_config.json", path), json, strlen(json));
    enum status status = sampling_defaults_read(scratch.path, sampling, reason);
    scratch_close(&scratch);
    return status;
}

START_TEST(defaults_come_from_the_model)
{
    struct sampling sampling;
    struct reason reason = {""};
    ck_assert_int_eq(defaults_of(NULL, &sampling, &reason), STATUS_OK);
    ck_assert_float_eq(sampling.temperature, 1.0F);
    ck_assert_int_eq(defaults_of("{\"temperature\":0.6,\"top_p\":0.95,\"top_k\":20,"
                                 "\"repetition_penalty\":1.05,\"min_p\":0.01,\"eos_token_id\":3}",
                                 &sampling, &reason), STATUS_OK);
    ck_assert_float_eq(sampling.temperature, 0.6F);
    ck_assert_float_eq(sampling.top_p, 0.95F);
    ck_assert_float_eq(sampling.min_p, 0.01F);
    ck_assert_float_eq(sampling.repetition_penalty, 1.05F);
    ck_assert_uint_eq(sampling.top_k, 20);
    ck_assert_int_eq(defaults_of("{\"do_sample\":false,\"temperature\":0.6,\"top_p\":null}",
                                 &sampling, &reason), STATUS_OK);
    ck_assert_float_eq(sampling.temperature, 0.0F);
    static const char *const bad[] = {"[]", "{", "{\"temperature\":\"hot\"}", "{\"top_p\":7}",
                                      "{\"top_k\":1.5}"};
    for (size_t at = 0; at < COUNT_OF(bad); at++) {
        ck_assert_int_eq(defaults_of(bad[at], &sampling, &reason), STATUS_MALFORMED);
        ck_assert_ptr_nonnull(strstr(reason.text, "generation_config.json"));
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("sampler");
    const TTest *const tests[] = {greedy_takes_the_lowest_id_of_equals,
                                  each_filter_keeps_what_it_says,
                                  equals_stay_together_unless_they_are_counted,
                                  filters_cut_a_large_vocabulary_where_the_plain_order_does,
                                  filters_work_before_temperature,
                                  draws_as_often_as_probable,
                                  the_random_numbers_depend_on_seed_choice_and_position_alone,
        logits_that_differ_a_little_draw_the_same,
                                  an_answer_resumed_goes_on_as_it_would_have,
                                  penalties_change_the_logits_they_name,
                                  ids_without_a_token_are_never_drawn,
                                  logits_that_are_no_numbers_are_a_failure,
                                  extreme_parameters_still_draw,
                                  nothing_is_allocated_per_token,
                                  a_refused_parameter_is_named,
                                  defaults_come_from_the_model};
    suite_add(suite, "sampler", tests, COUNT_OF(tests));
    return suite;
}
