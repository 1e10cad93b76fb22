/* SPDX-License-Identifier: Apache-2.0 */
/*
 * matcher: where an answer stands in a grammar, and which tokens may come next.
 *
 * The automaton's stacks are shared (a frame knows its parent) and a set of them, a position, is
 * known by a number; the next position of a byte and the mask of a position are computed once and
 * kept, up to the limits below, at which all but the present position is forgotten.  The mask is
 * found by walking the vocabulary in order: a beginning that is not legal is left with all its
 * tokens; where any text is legal the plain tokens are taken together.
 *
 * Owner    one answer.
 * Memory   at most about MATCHER_MEMORY_MAX bytes.
 * Threads  one at a time.
 * Fails    STATUS_INVALID (a token the grammar does not allow), STATUS_TOO_LARGE (a grammar with
 *          too many ways at once), STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_MATCHER_H
#define TROUPE_ENGINE_GRAMMAR_MATCHER_H

#include "actors/runner/engine/grammar/automaton.h"
#include "actors/runner/engine/grammar/vocabulary.h"

enum {
    MATCHER_POSITIONS_MAX = 8192,
    MATCHER_ITEMS_MAX = 1 << 18,
    MATCHER_FRAMES_MAX = 1 << 14,
    MATCHER_WAYS_MAX = 4096, /* stacks of one position */
    MATCHER_DEPTH_MAX = 512, /* frames of a stack */
    MATCHER_MASK_BYTES_MAX = 8 << 20,
    MATCHER_MEMORY_MAX = 32 << 20,
};

struct matcher;

/* Takes the closed automaton, also when it fails; borrows the vocabulary. */
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
