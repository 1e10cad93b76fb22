/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows on any number of ranks, cut anywhere, give the token, the log probabilities and the failure
 * that one sampler of all rows gives, in the same bits; and rows are asked for only where a filter
 * has no bound of its own.
 */
#include "actors/runner/engine/sampler_parts.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 6000, PARTS_MAX = 8, HISTORY_MAX = 40, ROUNDS = 3000 };

struct problem {
    size_t rows;
    float logits[ROWS_MAX];
    uint32_t defined[SAMPLER_MASK_WORDS(ROWS_MAX)];
    uint32_t allowed[SAMPLER_MASK_WORDS(ROWS_MAX)];
    uint32_t prompt[HISTORY_MAX];
    uint32_t answer[HISTORY_MAX];
    struct sampling_history history;
    struct sampling sampling;
    uint32_t part_count;
    size_t ends[PARTS_MAX]; /* of each part's rows */
};

/* What came of it. */
struct outcome {
    enum status status;
    bool asked; /* for all rows */
    struct sampled sampled;
    struct reason reason;
};

static bool once_in(struct seeded *seeded, uint64_t times)
{
    return seeded_below(seeded, times) == 0;
}

static float fraction(struct seeded *seeded)
{
    return (float)seeded_below(seeded, 1000001) / 1e6F;
}

static void make_logits(struct seeded *seeded, struct problem *problem)
{
    const float spread = powf(10.0F, (float)seeded_below(seeded, 5) - 2.0F);
    const bool is_coarse = once_in(seeded, 3); /* many equals */
    const bool is_sparse = once_in(seeded, 6);
    const bool is_flat = once_in(seeded, 12);
    for (size_t id = 0; id < problem->rows; id++) {
        float logit = spread * (seeded_float(seeded) + seeded_float(seeded) + seeded_float(seeded));
        logit = is_coarse ? roundf(logit * 4.0F) / 4.0F : logit;
        logit = is_flat ? 1.5F : logit;
        problem->logits[id] = is_sparse && !once_in(seeded, 8) ? -INFINITY : logit;
    }
    if (once_in(seeded, 30))
        problem->logits[seeded_below(seeded, problem->rows)] = once_in(seeded, 2) ? NAN : INFINITY;
    if (once_in(seeded, 20))
        problem->logits[seeded_below(seeded, problem->rows)] = 3e38F;
}

static void make_masks(struct seeded *seeded, struct problem *problem)
{
    const size_t words = SAMPLER_MASK_WORDS(problem->rows);
    const uint64_t kind = seeded_below(seeded, 4);
    memset(problem->defined, 0xff, sizeof(problem->defined));
    for (size_t id = 0; once_in(seeded, 2) && id < problem->rows; id += 97)
        problem->defined[id / 32] &= ~(1U << (id % 32));
    for (size_t word = 0; word < words; word++)
        problem->allowed[word] = kind == 0   ? (uint32_t)seeded_next(seeded)
                                 : kind == 1 ? UINT32_MAX
                                             : once_in(seeded, 9) ? 1U << seeded_below(seeded, 32)
                                                                  : 0;
    problem->history.allowed = once_in(seeded, 3) ? problem->allowed : NULL;
}

static size_t make_ids(struct seeded *seeded, const struct problem *problem, uint32_t *ids_out)
{
    const size_t count = seeded_below(seeded, HISTORY_MAX + 1);
    for (size_t at = 0; at < count; at++) /* also some that are no row */
        ids_out[at] = (uint32_t)seeded_below(seeded, problem->rows + problem->rows / 8 + 1);
    return count;
}

static void make_sampling(struct seeded *seeded, struct problem *problem)
{
    static const float penalties[] = {-1.5F, 0.25F, 1.0F};
    struct sampling *sampling = &problem->sampling;
    sampling_init(sampling);
    sampling->temperature = once_in(seeded, 3) ? 0.0F : 0.05F + 3.0F * fraction(seeded);
    if (once_in(seeded, 15))
        sampling->temperature = 1e-30F;
    sampling->top_p = once_in(seeded, 2) ? fraction(seeded) : 1.0F;
    sampling->top_p = once_in(seeded, 20) ? 0.0F : sampling->top_p;
    sampling->min_p = once_in(seeded, 3) ? fraction(seeded) : 0.0F;
    sampling->min_keep = 1 + (uint32_t)seeded_below(seeded, 5);
    if (once_in(seeded, 2))
        sampling->top_k = 1 + (uint32_t)seeded_below(seeded, once_in(seeded, 2) ? 400 : 40);
    if (once_in(seeded, 3))
        sampling->repetition_penalty = once_in(seeded, 2) ? 1.3F : 0.7F;
    sampling->repetition_window = (uint32_t)seeded_below(seeded, 30);
    if (once_in(seeded, 3))
        sampling->presence_penalty = penalties[seeded_below(seeded, COUNT_OF(penalties))];
    if (once_in(seeded, 3))
        sampling->frequency_penalty = penalties[seeded_below(seeded, COUNT_OF(penalties))];
    sampling->seed = seeded_next(seeded);
    sampling->choice = (uint32_t)seeded_below(seeded, 3);
    sampling->logprobs = once_in(seeded, 2);
    sampling->top_logprobs = once_in(seeded, 2) ? (uint32_t)seeded_below(seeded, 21) : 0;
    sampling->bias_count = once_in(seeded, 3) ? (uint32_t)seeded_below(seeded, 8) : 0;
    for (uint32_t at = 0; at < sampling->bias_count; at++)
        sampling->biases[at] =
            (struct logit_bias){(uint32_t)seeded_below(seeded, problem->rows),
                                once_in(seeded, 4) ? 100.0F : 5.0F * seeded_float(seeded)};
}

static int by_size(const void *left, const void *right)
{
    const size_t one = *(const size_t *)left;
    const size_t two = *(const size_t *)right;
    return (one > two) - (one < two);
}

/* Some parts may have no rows. */
static void make_cut(struct seeded *seeded, struct problem *problem)
{
    problem->part_count = 1 + (uint32_t)seeded_below(seeded, PARTS_MAX);
    for (uint32_t part = 0; part < problem->part_count; part++)
        problem->ends[part] = seeded_below(seeded, problem->rows + 1);
    problem->ends[problem->part_count - 1] = problem->rows;
    qsort(problem->ends, problem->part_count, sizeof(problem->ends[0]), by_size);
}

static void make_problem(struct seeded *seeded, struct problem *problem)
{
    problem->rows = 1 + seeded_below(seeded, once_in(seeded, 3) ? ROWS_MAX : 700);
    make_logits(seeded, problem);
    make_masks(seeded, problem);
    problem->history.prompt = problem->prompt;
    problem->history.prompt_count = make_ids(seeded, problem, problem->prompt);
    problem->history.answer = problem->answer;
    problem->history.answer_count = make_ids(seeded, problem, problem->answer);
    make_sampling(seeded, problem);
    make_cut(seeded, problem);
}

static struct outcome draw_whole(struct problem *problem, struct sampler *sampler)
{
    struct outcome outcome = {.status = STATUS_OK};
    outcome.status = sampler_draw(sampler, &problem->sampling, problem->logits, &problem->history,
                                  &outcome.sampled, &outcome.reason);
    return outcome;
}

static void finish(const struct problem *problem, struct sampler *whole,
                   struct sampler *const *parts, const float *scores,
                   const struct sampler_top *top, struct outcome *outcome)
{
    static struct sampler_share shares[PARTS_MAX];
    static struct token_score kept[PARTS_MAX * SAMPLER_LIST_MAX];
    const struct sampling *sampling = &problem->sampling;
    const size_t answered = problem->history.answer_count;
    outcome->sampled = (struct sampled){.id = top->id};
    if (!sampling_needs_shares(sampling))
        return;
    for (uint32_t part = 0; part < problem->part_count; part++) {
        const size_t first = part > 0 ? problem->ends[part - 1] : 0;
        memset(&shares[part], 0xee, sizeof(shares[part]));
        sampler_share_make(parts[part], sampling, answered, scores + first, top->maximum,
                           &shares[part]);
        ck_assert_uint_le(shares[part].count, sampling_listed(sampling, problem->rows));
    }
    if (sampler_shares_merge(sampling, problem->rows, answered, top, shares, problem->part_count,
                             kept, &outcome->sampled))
        return;
    outcome->asked = true;
    ck_assert(sampling_may_need_rows(sampling, problem->rows));
    sampler_choose(whole, sampling, answered, scores, top, &outcome->sampled);
}

static struct outcome draw_in_parts(const struct problem *problem, struct sampler *whole)
{
    static float scores[ROWS_MAX];
    struct sampler *parts[PARTS_MAX] = {NULL};
    struct sampler_top top = {-INFINITY, 0, 0};
    struct outcome outcome = {.status = STATUS_OK};
    size_t first = 0;
    for (uint32_t part = 0; part < problem->part_count; part++) {
        struct sampler_top own;
        ck_assert_int_eq(sampler_open_part(first, problem->ends[part] - first, problem->rows,
                                           problem->defined, &parts[part], &outcome.reason),
                         STATUS_OK);
        sampler_apply(parts[part], &problem->sampling, &problem->history, problem->logits + first,
                      scores + first, &own);
        sampler_top_join(&top, &own);
        first = problem->ends[part];
    }
    outcome.status = sampler_top_check(&top, problem->rows, &outcome.reason);
    if (outcome.status == STATUS_OK)
        finish(problem, whole, parts, scores, &top, &outcome);
    for (uint32_t part = 0; part < problem->part_count; part++)
        sampler_close(parts[part]);
    return outcome;
}

static void expect_equal(const struct outcome *whole, const struct outcome *cut)
{
    ck_assert_int_eq(cut->status, whole->status);
    ck_assert_str_eq(cut->reason.text, whole->reason.text);
    if (whole->status != STATUS_OK)
        return;
    ck_assert_uint_eq(cut->sampled.id, whole->sampled.id);
    ck_assert_mem_eq(&cut->sampled.logprob, &whole->sampled.logprob, sizeof(float));
    ck_assert_uint_eq(cut->sampled.top_count, whole->sampled.top_count);
    for (uint32_t at = 0; at < whole->sampled.top_count; at++) {
        ck_assert_uint_eq(cut->sampled.top[at].id, whole->sampled.top[at].id);
        ck_assert(cut->sampled.top[at].logprob == whole->sampled.top[at].logprob);
    }
}

START_TEST(any_cut_of_the_rows_samples_as_the_whole)
{
    static struct problem problem;
    struct seeded seeded = seeded_open(20);
    unsigned failed = 0;
    unsigned asked = 0;
    unsigned decided = 0; /* by lists that might not have */
    for (int round = 0; round < ROUNDS; round++) {
        struct sampler *sampler = NULL;
        make_problem(&seeded, &problem);
        ck_assert_int_eq(sampler_open_part(0, problem.rows, problem.rows, problem.defined,
                                           &sampler, NULL), STATUS_OK);
        const struct outcome whole = draw_whole(&problem, sampler);
        const struct outcome cut = draw_in_parts(&problem, sampler);
        expect_equal(&whole, &cut);
        failed += whole.status != STATUS_OK;
        asked += cut.asked;
        decided += whole.status == STATUS_OK && !cut.asked &&
                   sampling_may_need_rows(&problem.sampling, problem.rows);
        sampler_close(sampler);
    }
    printf("# %u failed, %u asked for all rows, %u might have and did not\n", failed, asked,
           decided);
    ck_assert_uint_gt(failed, 10);
    ck_assert_uint_gt(asked, 30);
    ck_assert_uint_gt(decided, 100);
}
END_TEST

START_TEST(sums_of_weights_have_the_same_bits_in_any_order)
{
    enum { COUNT = 5000 };
    static float weights[COUNT];
    struct seeded seeded = seeded_open(21);
    for (int round = 0; round < 200; round++) {
        struct rows_sum forth = {0.0, 0.0};
        struct rows_sum back = {0.0, 0.0};
        struct rows_sum groups[7] = {{0.0, 0.0}};
        double plain = 0.0;
        for (int at = 0; at < COUNT; at++) {
            weights[at] = expf(-80.0F * fraction(&seeded) * fraction(&seeded));
            plain += (double)weights[at];
        }
        for (int at = 0; at < COUNT; at++) {
            rows_sum_add(&forth, weights[at]);
            rows_sum_add(&back, weights[COUNT - 1 - at]);
            rows_sum_add(&groups[seeded_below(&seeded, 7)], weights[at]);
        }
        for (int group = 1; group < 7; group++)
            rows_sum_join(&groups[0], &groups[group]);
        ck_assert(forth.high == back.high && forth.low == back.low);
        ck_assert(forth.high == groups[0].high && forth.low == groups[0].low);
        ck_assert_double_le(fabs(rows_sum_value(&forth) / plain - 1.0), 1e-12);
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("sampling from rows on several ranks");
    const TTest *const tests[] = {any_cut_of_the_rows_samples_as_the_whole,
                                  sums_of_weights_have_the_same_bits_in_any_order};
    suite_add(suite, "cuts", tests, COUNT_OF(tests));
    return suite;
}
