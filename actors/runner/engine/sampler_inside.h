/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sampler_inside: what sampler*.c share.
 */
#ifndef TROUPE_ENGINE_SAMPLER_INSIDE_H
#define TROUPE_ENGINE_SAMPLER_INSIDE_H

#include "actors/runner/engine/sampler.h"
#include "actors/runner/engine/sampler_rows.h"

#include <math.h>

struct sampler {
    size_t first;        /* id of the first row */
    size_t rows;
    size_t vocab;        /* rows of all ranks */
    float *scores;       /* sampler_draw: logits, then scores */
    float *weights;      /* exp(score - greatest score) */
    uint32_t *undefined; /* rows that are no token, counted from the first */
    size_t undefined_count;
    uint32_t *stamps;    /* a row's last `stamp`, to meet each id once */
    uint32_t stamp;
    struct token_score *list;
};

/* More likely, or as likely with a lower id. */
static inline bool score_is_before(const struct token_score *left, const struct token_score *right)
{
    return left->score > right->score || (left->score >= right->score && left->id < right->id);
}

static inline bool sampling_is_greedy(const struct sampling *sampling)
{
    return !(sampling->temperature > 0.0F);
}

static inline bool sampling_reports(const struct sampling *sampling)
{
    return sampling->logprobs || sampling->top_logprobs > 0;
}

static inline bool sampling_has_filter(const struct sampling *sampling, size_t vocab)
{
    return sampling->top_p < 1.0F || sampling->min_p > 0.0F ||
           (sampling->top_k > 0 && sampling->top_k < vocab);
}

/* What a score is above its log probability. */
static inline float sampler_offset(float maximum, double total)
{
    return (float)((double)maximum + log(total));
}

/* --- what the filters keep (sampler_cut.c): a beginning of the order of likelihood --- */

struct cut {
    double top_p;   /* in units of the weights: the kept ones before a token have less than this */
    float maximum;  /* the greatest score */
    float lowest;   /* the score min_p asks for */
    size_t limit;   /* of top_k */
    size_t min_keep;
    size_t kept;
    struct rows_sum above; /* weight of the kept ones */
    float last;     /* score of the last of them that was looked at singly */
};

/* `total` is the sum of all weights; used by top_p alone. */
struct cut cut_make(const struct sampling *sampling, float maximum, double total);
/* Whether the next token in order is kept, and then counts it. */
bool cut_takes(struct cut *cut, float score);
/* Puts the tokens that are kept of all rows into the sampler's list; returns how many. */
size_t cut_keep(const struct sampler *sampler, const float *scores, struct cut *cut);
/* The most likely rows in order, up to `limit`; returns how many there are. */
size_t rows_keep_top(const float *scores, size_t rows, size_t first, size_t limit,
                     struct token_score *list_out);

/* --- drawing (sampler_race.c) --- */

/* Of kept tokens; there is one with a score of `maximum`. */
uint32_t race_of_list(const struct token_score *list, size_t count, float maximum,
                      float temperature, uint64_t state);
/* Of all rows of a sampler.  `time_out` is infinite where none arrives. */
uint32_t race_of_rows(const struct sampler *sampler, const float *scores, float maximum,
                      float temperature, uint64_t state, double *time_out);

#endif
