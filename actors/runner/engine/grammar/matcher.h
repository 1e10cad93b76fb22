/* SPDX-License-Identifier: Apache-2.0 */
/*
 * matcher: where an answer stands in a grammar, and which tokens may come next.
 *
 * What it learns it shares with the other answers of its grammar (grammar.h).
 *
 * Owner    one answer.
 * Memory   its own is small; the grammar's is at most about MATCHER_MEMORY_MAX bytes.
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

/* For tests: bytes instead of a token; false, and no change, when they are not allowed. */
MUST_CHECK bool matcher_advance_bytes(struct matcher *matcher, const char *bytes, size_t size);
/* Bytes in use. */
size_t matcher_memory(const struct matcher *matcher);

#endif
