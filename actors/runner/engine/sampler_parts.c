/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/sampler_parts.h"

#include "actors/runner/engine/sampler_inside.h"

#include <stddef.h>

void sampler_top_join(struct sampler_top *top, const struct sampler_top *next)
{
    top->broken += next->broken;
    if (next->maximum > top->maximum) {
        top->maximum = next->maximum;
        top->id = next->id;
    }
}

bool sampling_needs_shares(const struct sampling *sampling)
{
    return !sampling_is_greedy(sampling) || sampling_reports(sampling);
}

static bool draws_filtered(const struct sampling *sampling, size_t vocab)
{
    return !sampling_is_greedy(sampling) && sampling_has_filter(sampling, vocab);
}

static bool has_small_top_k(const struct sampling *sampling)
{
    return sampling->top_k > 0 && sampling->top_k <= SAMPLER_LIST_MAX;
}

bool sampling_may_need_rows(const struct sampling *sampling, size_t vocab)
{
    return draws_filtered(sampling, vocab) && !has_small_top_k(sampling);
}

uint32_t sampling_listed(const struct sampling *sampling, size_t vocab)
{
    if (!draws_filtered(sampling, vocab))
        return sampling->top_logprobs;
    if (!has_small_top_k(sampling))
        return SAMPLER_LIST_MAX;
    return sampling->top_k > sampling->top_logprobs ? sampling->top_k : sampling->top_logprobs;
}

void sampler_share_make(struct sampler *sampler, const struct sampling *sampling,
                        size_t answer_count, const float *scores, float maximum,
                        struct sampler_share *share_out)
{
    const bool is_filtered = draws_filtered(sampling, sampler->vocab);
    struct sampler_share *share = share_out;
    share->weights = (struct rows_sum){0.0, 0.0};
    share->time = INFINITY;
    share->first = (struct token_score){(uint32_t)sampler->first, -INFINITY};
    share->unused = 0;
    share->count = (uint32_t)rows_keep_top(scores, sampler->rows, sampler->first,
                                           sampling_listed(sampling, sampler->vocab),
                                           share->list);
    if (sampling_reports(sampling) || (is_filtered && sampling->top_p < 1.0F))
        share->weights = rows_weigh(scores, sampler->rows, maximum, sampler->weights);
    if (sampling_is_greedy(sampling) || is_filtered || sampler->rows == 0)
        return;
    const uint64_t state = sampling_position(sampling->seed, sampling->choice, answer_count);
    share->first.id =
        race_of_rows(sampler, scores, maximum, sampling->temperature, state, &share->time);
    share->first.score = scores[share->first.id - sampler->first];
}

/* ---- merging ---- */

struct merge {
    const struct sampler_share *shares;
    uint32_t count;
    uint32_t listed;               /* a list of so many may not be all of its rank */
    uint32_t next[SAMPLER_PARTS_MAX]; /* of each list */
};

/* The next of all lists in order; false where they end. */
static bool merge_next(struct merge *merge, struct token_score *next_out)
{
    const struct token_score *best = NULL;
    uint32_t from = 0;
    for (uint32_t part = 0; part < merge->count; part++) {
        const struct sampler_share *share = &merge->shares[part];
        if (merge->next[part] == share->count)
            continue;
        const struct token_score *here = &share->list[merge->next[part]];
        if (best && !score_is_before(here, best))
            continue;
        best = here;
        from = part;
    }
    if (!best)
        return false;
    merge->next[from]++;
    *next_out = *best;
    return true;
}

/* Nothing that is in no list comes before it. */
static bool is_sure(const struct merge *merge, const struct token_score *token)
{
    for (uint32_t part = 0; part < merge->count; part++) {
        const struct sampler_share *share = &merge->shares[part];
        if (share->count == merge->listed && share->count > 0 &&
            score_is_before(&share->list[share->count - 1], token))
            return false;
    }
    return true;
}

static bool is_whole(const struct merge *merge)
{
    bool is_whole = true;
    for (uint32_t part = 0; part < merge->count; part++)
        is_whole = is_whole && merge->shares[part].count < merge->listed;
    return is_whole;
}

/* What the filters keep, in order; false: the lists do not say. */
static bool merge_kept(struct merge *merge, struct cut *cut, struct token_score *kept)
{
    struct token_score next;
    while (cut->kept < cut->limit) {
        if (!merge_next(merge, &next))
            return is_whole(merge);
        if (!is_sure(merge, &next))
            return false;
        if (!cut_takes(cut, next.score))
            return true;
        kept[cut->kept - 1] = next;
    }
    return true;
}

static void merge_report(struct merge *merge, uint32_t wanted, float offset,
                         struct sampled *sampled)
{
    struct token_score next;
    while (sampled->top_count < wanted && merge_next(merge, &next))
        sampled->top[sampled->top_count++] =
            (struct token_logprob){next.id, next.score - offset};
}

static struct token_score first_drawn(const struct sampler_share *shares, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t part = 1; part < count; part++)
        if (shares[part].time < shares[best].time)
            best = part;
    return shares[best].first;
}

static float score_in(const struct token_score *list, size_t count, uint32_t id)
{
    size_t at = 0;
    while (at + 1 < count && list[at].id != id)
        at++;
    return list[at].score;
}

bool sampler_shares_merge(const struct sampling *sampling, size_t vocab, size_t answer_count,
                          const struct sampler_top *top, const struct sampler_share *shares,
                          uint32_t count, struct token_score *kept, struct sampled *sampled_out)
{
    struct rows_sum sum = {0.0, 0.0};
    struct sampled sampled = {.id = top->id};
    struct token_score drawn = {top->id, top->maximum};
    struct merge merge = {shares, count, sampling_listed(sampling, vocab), {0}};
    ASSERT(count > 0 && count <= SAMPLER_PARTS_MAX);
    for (uint32_t part = 0; part < count; part++)
        rows_sum_join(&sum, &shares[part].weights);
    if (draws_filtered(sampling, vocab)) {
        struct cut cut = cut_make(sampling, top->maximum, rows_sum_value(&sum));
        if (!merge_kept(&merge, &cut, kept))
            return false;
        drawn.id = race_of_list(kept, cut.kept, top->maximum, sampling->temperature,
                                sampling_position(sampling->seed, sampling->choice,
                                                  answer_count));
        drawn.score = score_in(kept, cut.kept, drawn.id);
    } else if (!sampling_is_greedy(sampling)) {
        drawn = first_drawn(shares, count);
    }
    sampled.id = drawn.id;
    if (sampling_reports(sampling)) {
        const float offset = sampler_offset(top->maximum, rows_sum_value(&sum));
        struct merge again = {shares, count, merge.listed, {0}};
        sampled.logprob = drawn.score - offset;
        merge_report(&again, sampling->top_logprobs, offset, &sampled);
    }
    *sampled_out = sampled;
    return true;
}
