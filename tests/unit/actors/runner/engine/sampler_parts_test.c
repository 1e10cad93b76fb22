/* SPDX-License-Identifier: Apache-2.0 */
/* When the shares of two ranks decide and when all rows are asked for, on logits made by hand. */
#include "actors/runner/engine/sampler_parts.h"
#include "tests/support/check_main.h"

#include <math.h>
#include <string.h>

enum { ROWS = 2000, FIRST_PART = 900, PARTS = 2 };

static float logits[ROWS];
static struct sampling sampling;
static struct sampling_history history;

struct answer {
    bool is_decided;
    struct sampled sampled;
    struct sampler_top top;
};

/* Two ranks; compared with one sampler where it is decided. */
static struct answer merged(void)
{
    static float scores[ROWS];
    static struct sampler_share shares[PARTS];
    static struct token_score kept[PARTS * SAMPLER_LIST_MAX];
    static const size_t firsts[PARTS + 1] = {0, FIRST_PART, ROWS};
    uint32_t defined[SAMPLER_MASK_WORDS(ROWS)];
    struct sampler *parts[PARTS];
    struct answer answer = {.top = {-INFINITY, 0, 0}};
    struct sampled whole;
    struct sampler *sampler = NULL;
    memset(defined, 0xff, sizeof(defined));
    ck_assert_int_eq(sampler_open(ROWS, NULL, &sampler, NULL), STATUS_OK);
    ck_assert_int_eq(sampler_draw(sampler, &sampling, logits, &history, &whole, NULL), STATUS_OK);
    for (size_t part = 0; part < PARTS; part++) {
        struct sampler_top own;
        ck_assert_int_eq(sampler_open_part(firsts[part], firsts[part + 1] - firsts[part], ROWS,
                                           defined, &parts[part], NULL), STATUS_OK);
        sampler_apply(parts[part], &sampling, &history, logits + firsts[part],
                      scores + firsts[part], &own);
        sampler_top_join(&answer.top, &own);
    }
    for (size_t part = 0; part < PARTS; part++) {
        sampler_share_make(parts[part], &sampling, history.answer_count, scores + firsts[part],
                           answer.top.maximum, &shares[part]);
        sampler_close(parts[part]);
    }
    answer.is_decided = sampler_shares_merge(&sampling, ROWS, history.answer_count, &answer.top,
                                             shares, PARTS, kept, &answer.sampled);
    if (answer.is_decided) {
        ck_assert_uint_eq(answer.sampled.id, whole.id);
        ck_assert(answer.sampled.logprob == whole.logprob);
        ck_assert_uint_eq(answer.sampled.top_count, whole.top_count);
    }
    sampler_close(sampler);
    return answer;
}

static void start(void)
{
    sampling_init(&sampling);
    history = (struct sampling_history){.allowed = NULL};
    for (size_t id = 0; id < ROWS; id++)
        logits[id] = 0.001F * (float)((id * 617) % ROWS);
}

START_TEST(greedy_needs_no_share_and_takes_the_lowest_id_of_equals)
{
    start();
    sampling.temperature = 0.0F;
    sampling.top_p = 0.5F; /* ignored */
    ck_assert(!sampling_needs_shares(&sampling));
    ck_assert(!sampling_may_need_rows(&sampling, ROWS));
    logits[FIRST_PART + 3] = 9.0F;
    logits[FIRST_PART + 1] = 9.0F;
    ck_assert_uint_eq(merged().top.id, FIRST_PART + 1);
    logits[FIRST_PART - 1] = 9.0F;
    ck_assert_uint_eq(merged().top.id, FIRST_PART - 1);
}
END_TEST

START_TEST(greedy_with_log_probabilities_needs_as_many_ids)
{
    start();
    sampling.temperature = 0.0F;
    sampling.logprobs = true;
    ck_assert(sampling_needs_shares(&sampling));
    ck_assert_uint_eq(sampling_listed(&sampling, ROWS), 0);
    ck_assert(merged().is_decided);
    sampling.top_logprobs = 20;
    ck_assert_uint_eq(sampling_listed(&sampling, ROWS), 20);
    const struct answer answer = merged();
    ck_assert(answer.is_decided);
    for (uint32_t at = 1; at < 20; at++)
        ck_assert(answer.sampled.top[at].logprob < answer.sampled.top[at - 1].logprob);
}
END_TEST

START_TEST(temperature_alone_is_decided_by_each_rank_for_its_rows)
{
    start();
    sampling.temperature = 1.7F;
    ck_assert(!sampling_may_need_rows(&sampling, ROWS));
    ck_assert_uint_eq(sampling_listed(&sampling, ROWS), 0);
    for (sampling.seed = 0; sampling.seed < 50; sampling.seed++)
        ck_assert(merged().is_decided);
}
END_TEST

START_TEST(top_k_up_to_256_is_decided)
{
    start();
    sampling.top_k = SAMPLER_LIST_MAX;
    sampling.top_p = 0.999F;
    sampling.min_p = 0.01F;
    ck_assert(!sampling_may_need_rows(&sampling, ROWS));
    for (sampling.seed = 0; sampling.seed < 50; sampling.seed++)
        ck_assert(merged().is_decided);
    /* All of them on one rank. */
    for (size_t id = 0; id < SAMPLER_LIST_MAX; id++)
        logits[id] = 5.0F;
    ck_assert(merged().is_decided);
    sampling.top_k = SAMPLER_LIST_MAX + 1;
    ck_assert(sampling_may_need_rows(&sampling, ROWS));
}
END_TEST

START_TEST(top_k_above_256_is_decided_when_the_lists_hold_them)
{
    start(); /* the best are on both ranks about equally */
    sampling.top_k = 300;
    ck_assert(merged().is_decided);
    sampling.top_k = 600;
    ck_assert(!merged().is_decided);
}
END_TEST

START_TEST(top_p_is_decided_when_the_best_ids_cover_it)
{
    start();
    sampling.top_p = 0.95F; /* nearly flat: of 2000 rows some 1900 are kept */
    ck_assert(sampling_may_need_rows(&sampling, ROWS));
    ck_assert(!merged().is_decided);
    for (size_t id = 100; id < 110; id++)
        logits[id] = 12.0F;
    ck_assert(merged().is_decided);
    /* As likely as the last that is kept, and more of them than a list holds. */
    for (size_t id = 0; id < ROWS; id++)
        logits[id] = id < 400 ? 12.0F : -12.0F;
    sampling.top_p = 0.1F;
    ck_assert(!merged().is_decided);
    sampling.top_p = 0.0F;
    ck_assert_uint_eq(merged().sampled.id, 0);
}
END_TEST

START_TEST(min_p_is_decided_when_the_best_ids_hold_all_it_keeps)
{
    start();
    sampling.min_p = 0.9F; /* about 100 of the rows */
    ck_assert(merged().is_decided);
    sampling.min_p = 0.2F;
    ck_assert(!merged().is_decided);
}
END_TEST

START_TEST(rows_that_are_forbidden_on_one_rank_leave_the_other)
{
    static uint32_t allowed[SAMPLER_MASK_WORDS(ROWS)];
    start();
    memset(allowed, 0, sizeof(allowed));
    allowed[1990 / 32] = 1U << (1990 % 32);
    history.allowed = allowed;
    sampling.top_logprobs = 3;
    const struct answer answer = merged();
    ck_assert(answer.is_decided);
    ck_assert_uint_eq(answer.sampled.id, 1990);
    ck_assert_uint_eq(answer.sampled.top_count, 1);
    ck_assert(answer.sampled.logprob >= 0.0F && answer.sampled.logprob <= 0.0F);
}
END_TEST

START_TEST(what_is_no_number_on_any_rank_is_counted)
{
    struct sampler_top top = {1.0F, 7, 0};
    struct reason reason = {""};
    sampler_top_join(&top, &(struct sampler_top){-INFINITY, 10, 3});
    ck_assert_int_eq(sampler_top_check(&top, ROWS, &reason), STATUS_INTERNAL);
    ck_assert_ptr_nonnull(strstr(reason.text, "3 of 2000"));
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("sampling from shares");
    const TTest *const tests[] = {
        greedy_needs_no_share_and_takes_the_lowest_id_of_equals,
        greedy_with_log_probabilities_needs_as_many_ids,
        temperature_alone_is_decided_by_each_rank_for_its_rows,
        top_k_up_to_256_is_decided,
        top_k_above_256_is_decided_when_the_lists_hold_them,
        top_p_is_decided_when_the_best_ids_cover_it,
        min_p_is_decided_when_the_best_ids_hold_all_it_keeps,
        rows_that_are_forbidden_on_one_rank_leave_the_other,
        what_is_no_number_on_any_rank_is_counted,
    };
    suite_add(suite, "shares", tests, COUNT_OF(tests));
    return suite;
}
