/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/sampler_inside.h"
#include "actors/runner/engine/tokenizer.h"
#include "protocol/memory.h"

#include <float.h>
#include <string.h>

/* Of `rows` rows from `first` on. */
static enum status make(size_t first, size_t rows, size_t vocab, struct sampler **sampler_out,
                        struct reason *reason)
{
    if (vocab == 0 || vocab > SAMPLER_ROWS_MAX)
        return refuse(reason, STATUS_INVALID, "a vocabulary of %zu rows is not in 1 to %d", vocab,
                      SAMPLER_ROWS_MAX);
    ASSERT(first <= vocab && rows <= vocab - first);
    struct sampler *sampler = memory_zeroed(1, sizeof(*sampler));
    if (!sampler)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the sampler");
    const size_t count = rows > 0 ? rows : 1;
    sampler->first = first;
    sampler->rows = rows;
    sampler->vocab = vocab;
    sampler->scores = memory_zeroed(count, sizeof(*sampler->scores));
    sampler->weights = memory_zeroed(count, sizeof(*sampler->weights));
    sampler->undefined = memory_zeroed(count, sizeof(*sampler->undefined));
    sampler->stamps = memory_zeroed(count, sizeof(*sampler->stamps));
    sampler->list = memory_zeroed(count, sizeof(*sampler->list));
    if (!sampler->scores || !sampler->weights || !sampler->undefined || !sampler->stamps ||
        !sampler->list) {
        sampler_close(sampler);
        return refuse(reason, STATUS_NO_MEMORY, "no memory to sample from %zu rows", rows);
    }
    *sampler_out = sampler;
    return STATUS_OK;
}

enum status sampler_open(size_t rows, const struct tokenizer *tokenizer,
                         struct sampler **sampler_out, struct reason *reason)
{
    enum status status = make(0, rows, rows, sampler_out, reason);
    for (size_t id = 0; status == STATUS_OK && tokenizer && id < rows; id++) {
        struct sampler *sampler = *sampler_out;
        struct token_piece piece;
        if (!tokenizer_piece(tokenizer, (uint32_t)id, &piece))
            sampler->undefined[sampler->undefined_count++] = (uint32_t)id;
    }
    return status;
}

enum status sampler_open_part(size_t first, size_t rows, size_t vocab, const uint32_t *defined,
                              struct sampler **sampler_out, struct reason *reason)
{
    enum status status = make(first, rows, vocab, sampler_out, reason);
    for (size_t row = 0; status == STATUS_OK && row < rows; row++) {
        struct sampler *sampler = *sampler_out;
        const size_t id = first + row;
        if (!(defined[id / 32] >> (id % 32) & 1U))
            sampler->undefined[sampler->undefined_count++] = (uint32_t)row;
    }
    return status;
}

void sampler_defined(const struct sampler *sampler, uint32_t *bits_out)
{
    ASSERT(sampler->rows == sampler->vocab);
    memset(bits_out, 0xff, SAMPLER_MASK_WORDS(sampler->rows) * sizeof(*bits_out));
    for (size_t at = 0; at < sampler->undefined_count; at++)
        bits_out[sampler->undefined[at] / 32] &= ~(1U << (sampler->undefined[at] % 32));
}

void sampler_close(struct sampler *sampler)
{
    if (!sampler)
        return;
    memory_free(sampler->scores);
    memory_free(sampler->weights);
    memory_free(sampler->undefined);
    memory_free(sampler->stamps);
    memory_free(sampler->list);
    memory_free(sampler);
}

/* ---- processors ---- */

static void forbid_rows(const struct sampler *sampler, const uint32_t *allowed, float *scores)
{
    const size_t first = sampler->first;
    const size_t end = first + sampler->rows;
    for (size_t word = first / 32; word * 32 < end; word++) {
        if (allowed[word] == UINT32_MAX)
            continue;
        const size_t from = word * 32 > first ? word * 32 : first;
        const size_t to = word * 32 + 32 < end ? word * 32 + 32 : end;
        for (size_t id = from; id < to; id++)
            if (!(allowed[word] >> (id % 32) & 1U))
                scores[id - first] = -INFINITY;
    }
}

/* The row of an id that is one of the sampler's, else NULL. */
static float *row_of(const struct sampler *sampler, float *scores, uint32_t id)
{
    return id >= sampler->first && id - sampler->first < sampler->rows
               ? &scores[id - sampler->first]
               : NULL;
}

/* Its row the first time an id is met since the stamp was changed, else NULL. */
static float *row_met_first(struct sampler *sampler, float *scores, uint32_t id)
{
    float *row = row_of(sampler, scores, id);
    if (!row || sampler->stamps[row - scores] == sampler->stamp)
        return NULL;
    sampler->stamps[row - scores] = sampler->stamp;
    return row;
}

static void stamp_next(struct sampler *sampler)
{
    if (++sampler->stamp == 0) {
        memset(sampler->stamps, 0, sampler->rows * sizeof(*sampler->stamps));
        sampler->stamp = 1;
    }
}

static void penalise_repetition(struct sampler *sampler, const struct sampling *sampling,
                                const struct sampling_history *history, float *scores)
{
    size_t total = history->prompt_count + history->answer_count;
    size_t window = sampling->repetition_window;
    size_t first = window == 0 || window > total ? 0 : total - window;
    stamp_next(sampler);
    for (size_t at = first; at < total; at++) {
        uint32_t id = at < history->prompt_count ? history->prompt[at]
                                                 : history->answer[at - history->prompt_count];
        float *score = row_met_first(sampler, scores, id);
        if (score)
            *score = *score < 0.0F ? *score * sampling->repetition_penalty
                                   : *score / sampling->repetition_penalty;
    }
}

static void process_scores(struct sampler *sampler, const struct sampling *sampling,
                           const struct sampling_history *history, float *scores)
{
    for (uint32_t at = 0; at < sampling->bias_count; at++) {
        float *score = row_of(sampler, scores, sampling->biases[at].id);
        if (score)
            *score += sampling->biases[at].bias;
    }
    if (sampling->repetition_penalty < 1.0F || sampling->repetition_penalty > 1.0F)
        penalise_repetition(sampler, sampling, history, scores);
    if (sampling->presence_penalty != 0.0F) {
        stamp_next(sampler);
        for (size_t at = 0; at < history->answer_count; at++) {
            float *score = row_met_first(sampler, scores, history->answer[at]);
            if (score)
                *score -= sampling->presence_penalty;
        }
    }
    if (sampling->frequency_penalty != 0.0F) {
        for (size_t at = 0; at < history->answer_count; at++) {
            float *score = row_of(sampler, scores, history->answer[at]);
            if (score)
                *score -= sampling->frequency_penalty;
        }
    }
}

static void find_top(const struct sampler *sampler, const float *scores,
                     struct sampler_top *top_out)
{
    const float largest = rows_largest(scores, sampler->rows);
    *top_out = (struct sampler_top){.maximum = largest, .id = (uint32_t)sampler->first};
    if (!(largest > -INFINITY))
        return;
    const float below = nextafterf(largest, -INFINITY);
    top_out->id += (uint32_t)rows_next_above(scores, sampler->rows, 0, below);
}

/* NaN or plus infinity in a row that is a token means that the forward pass broke; no token drawn
 * from such numbers would be an answer. */
void sampler_apply(struct sampler *sampler, const struct sampling *sampling,
                   const struct sampling_history *history, const float *logits, float *scores_out,
                   struct sampler_top *top_out)
{
    size_t broken = rows_take(logits, sampler->rows, scores_out);
    for (size_t at = 0; at < sampler->undefined_count; at++) {
        float *score = &scores_out[sampler->undefined[at]];
        broken -= !(*score < INFINITY);
        *score = -INFINITY;
    }
    if (broken > 0) {
        *top_out = (struct sampler_top){-INFINITY, (uint32_t)sampler->first, (uint32_t)broken};
        return;
    }
    if (history->allowed)
        forbid_rows(sampler, history->allowed, scores_out);
    process_scores(sampler, sampling, history, scores_out);
    find_top(sampler, scores_out, top_out);
}

enum status sampler_top_check(const struct sampler_top *top, size_t vocab, struct reason *reason)
{
    if (top->broken > 0)
        return refuse(reason, STATUS_INTERNAL,
                      "%u of %zu logits are not finite numbers: the model's weights are damaged "
                      "or its numbers overflow", top->broken, vocab);
    if (!(top->maximum >= -FLT_MAX && top->maximum <= FLT_MAX))
        return refuse(reason, STATUS_INTERNAL,
                      "no logit is left to choose from: all are minus infinity or too large");
    return STATUS_OK;
}

/* ---- choosing ---- */

static void report(const struct sampler *sampler, const float *scores, uint32_t wanted,
                   float offset, struct sampled *sampled)
{
    struct token_score top[SAMPLING_TOP_LOGPROBS_MAX];
    sampled->logprob = scores[sampled->id] - offset;
    sampled->top_count = (uint32_t)rows_keep_top(scores, sampler->rows, 0, wanted, top);
    for (uint32_t at = 0; at < sampled->top_count; at++)
        sampled->top[at] = (struct token_logprob){top[at].id, top[at].score - offset};
}

void sampler_choose(struct sampler *sampler, const struct sampling *sampling, size_t answer_count,
                    const float *scores, const struct sampler_top *top,
                    struct sampled *sampled_out)
{
    struct sampled sampled = {.id = top->id};
    const bool reports = sampling_reports(sampling);
    double total = 0.0;
    ASSERT(sampler->rows == sampler->vocab);
    if (reports || (!sampling_is_greedy(sampling) && sampling->top_p < 1.0F)) {
        const struct rows_sum sum =
            rows_weigh(scores, sampler->rows, top->maximum, sampler->weights);
        total = rows_sum_value(&sum);
    }
    if (!sampling_is_greedy(sampling)) {
        const uint64_t state = sampling_position(sampling->seed, sampling->choice, answer_count);
        double time = 0.0;
        if (sampling_has_filter(sampling, sampler->vocab)) {
            struct cut cut = cut_make(sampling, top->maximum, total);
            const size_t count = cut_keep(sampler, scores, &cut);
            ASSERT(count > 0);
            sampled.id = race_of_list(sampler->list, count, top->maximum, sampling->temperature,
                                      state);
        } else {
            sampled.id = race_of_rows(sampler, scores, top->maximum, sampling->temperature, state,
                                      &time);
        }
    }
    if (reports)
        report(sampler, scores, sampling->top_logprobs, sampler_offset(top->maximum, total),
               &sampled);
    *sampled_out = sampled;
}

enum status sampler_draw(struct sampler *sampler, const struct sampling *sampling,
                         const float *logits, const struct sampling_history *history,
                         struct sampled *sampled_out, struct reason *reason)
{
    struct sampler_top top;
    sampler_apply(sampler, sampling, history, logits, sampler->scores, &top);
    enum status status = sampler_top_check(&top, sampler->vocab, reason);
    if (status == STATUS_OK)
        sampler_choose(sampler, sampling, history->answer_count, sampler->scores, &top,
                       sampled_out);
    return status;
}
