/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rank_sampling: the tokens that follow the rows of a step, wherever the logits lie.
 *
 * Rank 0 asks and draws.  Where it has all logits it samples from them.  In a tensor cut each rank
 * applies bias, penalties and masks to the logits of its own rows; the most likely of each rank go
 * to rank 0, and where the sampling needs more, to all, which answer with their shares: see
 * engine/sampler_parts.h.  All rows of a position are gathered only where the shares do not decide,
 * which rank 0 then says.  So a step has one small gather when it is greedy; else a sum and a
 * gather, and where top_p, min_p or a large top_k filters, one word of rank 0.
 *
 * In a pipeline the ranks of the last stage have the rows and do the same among themselves; the
 * first of them tells rank 0 the greatest and the shares of all, and finds as rank 0 will where
 * these do not decide: there all rows go with them.
 *
 * What the others need to know goes with the step: the sampling of a sequence once, a mask with
 * each row that has one.  The ids before it they know from the rows they computed.
 *
 * Owner    rank_world.
 * Memory   the logits of a step's sampled rows, shares of all ranks; ids as they come.
 * Threads  the engine thread's.
 * Fails    STATUS_IO, STATUS_TIMED_OUT, STATUS_GAP, STATUS_MALFORMED: the generation must end.
 *          What is wrong with one row is in its `drawn`.
 */
#ifndef TROUPE_ACTORS_RUNNER_RANK_SAMPLING_H
#define TROUPE_ACTORS_RUNNER_RANK_SAMPLING_H

#include "actors/runner/engine/engine.h"
#include "actors/runner/engine/sampler.h"

/* For a row that wants logits. */
struct rank_ask {
    const struct sampling *sampling; /* the same for a sequence as long as it is open */
    struct sampling_history history; /* the prompt and the answer lie one behind the other */
    bool wants_rows;                 /* all come, whatever the sampling needs: the canary */
};

struct rank_drawn {
    enum status status; /* of this row alone */
    struct reason reason;
    struct sampled sampled;
};

/* What goes with a step. */
struct words {
    uint32_t *items;
    size_t count;
    size_t capacity;
};

MUST_CHECK bool words_add(struct words *words, const void *items, size_t count);

struct rank_sampling;

/* `collective` NULL: this rank has all logits.  Draws for `sequences` rows at a time. */
MUST_CHECK enum status rank_sampling_open(struct engine *engine, struct collective *collective,
                                          struct rank_sampling **sampling_out,
                                          struct reason *reason);
/* Rank 0 of a pipeline, which has no logits; `parts` ranks of the last stage have them. */
MUST_CHECK enum status rank_sampling_open_first(struct engine *engine, uint32_t parts,
                                                struct rank_sampling **sampling_out,
                                                struct reason *reason);
/* A rank of the last stage; `collective` of that stage, NULL: it is one rank. */
MUST_CHECK enum status rank_sampling_open_last(struct engine *engine,
                                               struct collective *collective,
                                               struct rank_sampling **sampling_out,
                                               struct reason *reason);
/* Accepts NULL. */
void rank_sampling_close(struct rank_sampling *sampling);
/* Rank 0, before the first step: the sampler of all rows, borrowed. */
void rank_sampling_use(struct rank_sampling *sampling, struct sampler *sampler);
/* Rows of logits: [engine_sequences][engine_vocab_own]. */
float *rank_sampling_logits(struct rank_sampling *sampling);
/* A sequence was opened: nothing is known of it. */
void rank_sampling_forget(struct rank_sampling *sampling, uint32_t sequence);

/* Rank 0, where others have logits: what they need to know of rows that want them. */
MUST_CHECK enum status rank_sampling_tell(struct rank_sampling *sampling,
                                          const struct engine_row *rows, uint32_t count,
                                          const struct rank_ask *asks, struct words *words);
/* The others: remembers the rows' ids and takes what rank 0 told; `asks_out` one for each row that
 * wants logits, to [engine_sequences], valid until the next step. */
MUST_CHECK enum status rank_sampling_hear(struct rank_sampling *sampling,
                                          const struct engine_row *rows, uint32_t count,
                                          const uint32_t *words, size_t word_count,
                                          struct rank_ask *asks_out, struct reason *reason);
/* Alone or in a tensor cut, all ranks; `drawn_out` [count] at rank 0, else NULL. */
MUST_CHECK enum status rank_sampling_draw(struct rank_sampling *sampling,
                                          const struct rank_ask *asks, uint32_t count,
                                          struct rank_drawn *drawn_out, struct reason *reason);
/* All ranks of the last stage; its first gets what rank 0 draws from, as words, the first of which
 * is how many. */
MUST_CHECK enum status rank_sampling_share(struct rank_sampling *sampling,
                                           const struct rank_ask *asks, uint32_t count,
                                           struct words *told_out, struct reason *reason);
/* Rank 0 of a pipeline, from these. */
MUST_CHECK enum status rank_sampling_draw_told(struct rank_sampling *sampling,
                                               const struct rank_ask *asks, uint32_t count,
                                               const struct words *told,
                                               struct rank_drawn *drawn_out,
                                               struct reason *reason);

#endif
