/* SPDX-License-Identifier: Apache-2.0 */
/*
 * matcher: where an answer stands in a grammar, and which tokens may come next.
 *
 * What it learns it shares with the other answers of its grammar (grammar.h).
 *
 * Owner    one answer.
 * Memory   its own is small; the positions it stands in take at most about MATCHER_MEMORY_MAX.
 *          Answers that run into their limit at different times each keep a set of them: whoever
 *          has many answers bounds the sum of their shares.
 * Threads  one at a time for all matchers of a grammar.
 * Fails    STATUS_INVALID (a token the grammar does not allow), STATUS_TOO_LARGE (a grammar with
 *          too many ways at once), STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_MATCHER_H
#define TROUPE_ENGINE_GRAMMAR_MATCHER_H

#include "actors/runner/engine/grammar/grammar.h"

enum { MATCHER_MEMORY_MAX = POSITIONS_MEMORY_MAX };

struct matcher;

/* At the beginning of the grammar, which it holds. */
MUST_CHECK enum status matcher_follow(struct grammar *grammar, struct matcher **matcher_out,
                                      struct reason *reason);
/* The only matcher of its grammar.  Takes the closed automaton, also when it fails; borrows the
 * vocabulary. */
MUST_CHECK enum status matcher_open(struct automaton *automaton,
                                    const struct vocabulary *vocabulary,
                                    struct matcher **matcher_out, struct reason *reason);
/* Accepts NULL. */
void matcher_close(struct matcher *matcher);

/* A bit for each row; good until the next call. */
MUST_CHECK enum status matcher_mask(struct matcher *matcher, const uint32_t **mask_out,
                                    struct reason *reason);
/* A token of the answer. */
MUST_CHECK enum status matcher_advance(struct matcher *matcher, uint32_t id, struct reason *reason);
/* Back to the beginning; what was learned is kept. */
void matcher_restart(struct matcher *matcher);
/* The grammar may end here. */
bool matcher_may_end(const struct matcher *matcher);
/* It may, and nothing can follow. */
bool matcher_is_over(const struct matcher *matcher);

/* Bytes of the positions it stands in; its part of them when others stand there too. */
size_t matcher_share(const struct matcher *matcher);
/* What was learned is forgotten, once those that stand in the same positions forgot it too. */
MUST_CHECK enum status matcher_forget(struct matcher *matcher, struct reason *reason);

/* For tests: bytes instead of a token; false, and no change, when they are not allowed. */
MUST_CHECK bool matcher_advance_bytes(struct matcher *matcher, const char *bytes, size_t size);
/* Bytes in use. */
size_t matcher_memory(const struct matcher *matcher);

#endif
