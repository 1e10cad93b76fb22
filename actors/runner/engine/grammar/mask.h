/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mask: which tokens may come at a position.
 *
 * Found by walking the tries of the vocabulary: a beginning that is not legal is left with all its
 * tokens.  Where so many characters of any text are legal, the plain tokens of at most so many are
 * taken together.  A token is legal at a position when it is at one of its stacks: where texts lead
 * to very many positions, as counts that may begin anywhere make them (`a.{20}b`), the masks of
 * single stacks are made, of which there are few, and put together.  Equal masks are kept once.
 *
 * Owner    positions.h, which keep the masks.
 * Memory   POSITIONS_MASK_BYTES_MAX.
 * Threads  one at a time.
 * Fails    `failed` of the positions.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_MASK_H
#define TROUPE_ENGINE_GRAMMAR_MASK_H

#include "actors/runner/engine/grammar/positions.h"
#include "actors/runner/engine/grammar/vocabulary.h"

/* A bit for each row, computed the first time; NULL: failed. */
const uint32_t *mask_of(struct positions *positions, const struct vocabulary *vocabulary,
                        uint32_t position);

#endif
