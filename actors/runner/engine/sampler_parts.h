/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sampler_parts: the next token where the rows of a vocabulary lie on several ranks.
 *
 * Each rank applies bias, penalties and masks to its own rows (sampler_apply) and tells the most
 * likely of them.  From the greatest of all it makes its share: the sum of its weights, that is the
 * sum of exp(score - greatest), which is a log-sum-exp that adds up without rounding; its best ids,
 * up to 256; and, where nothing is filtered, which of its rows is drawn first.  From the shares
 * follows the token, in the same bits as sampler_draw finds it from all rows:
 *
 *     greedy                      the greatest, the lowest id of equals: no share is needed
 *     no filter                   the first of the first drawn
 *     top_k from 1 to 256         the best top_k of each rank hold the best of all
 *     top_p, min_p, larger top_k  when the cut lies where the lists together are whole: nothing
 *                                 that is not in a list can come before it.  Else the rows of all
 *                                 ranks are asked for, and sampler_choose decides.
 *     logprobs, top_logprobs      of what is in the lists, up to 20
 *
 * Memory   none; a share is the caller's.
 * Threads  one at a time per sampler.
 * Fails    never; merging tells when the shares do not decide.
 */
#ifndef TROUPE_ENGINE_SAMPLER_PARTS_H
#define TROUPE_ENGINE_SAMPLER_PARTS_H

#include "actors/runner/engine/sampler.h"
#include "actors/runner/engine/sampler_rows.h"

struct sampler_share {
    struct rows_sum weights;
    double time;             /* no filter: when the first drawn came; infinite: none */
    struct token_score first;
    uint32_t count;          /* of the list */
    uint32_t unused;
    struct token_score list[SAMPLER_LIST_MAX]; /* most likely first */
};

/* Bytes of a share that count where lists have up to `listed`. */
#define SAMPLER_SHARE_SIZE(listed)                                                                 \
    (offsetof(struct sampler_share, list) + (size_t)(listed) * sizeof(struct token_score))

/* Of ranks in the order of their rows. */
void sampler_top_join(struct sampler_top *top, const struct sampler_top *next);
/* False: the top of all is the token, and no share is needed. */
bool sampling_needs_shares(const struct sampling *sampling);
/* False: the shares always decide. */
bool sampling_may_need_rows(const struct sampling *sampling, size_t vocab);
/* The longest list of a share. */
uint32_t sampling_listed(const struct sampling *sampling, size_t vocab);

/* Of scores after sampler_apply, with the greatest of all ranks. */
void sampler_share_make(struct sampler *sampler, const struct sampling *sampling,
                        size_t answer_count, const float *scores, float maximum,
                        struct sampler_share *share_out);
/* False: not decided, ask for all rows.  `kept` has room for `count` lists. */
bool sampler_shares_merge(const struct sampling *sampling, size_t vocab, size_t answer_count,
                          const struct sampler_top *top, const struct sampler_share *shares,
                          uint32_t count, struct token_score *kept, struct sampled *sampled_out);

#endif
