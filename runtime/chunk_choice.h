/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunk_choice: which chunk to ask a source for next.  Pure.
 *
 * Of those the source has and we neither have nor have asked for: one that the fewest sources have,
 * so that no chunk waits for the one node that leaves.  Among equals the first from `start` on,
 * which differs from node to node: so receivers of one source get different chunks and can serve
 * each other.
 */
#ifndef TROUPE_RUNTIME_CHUNK_CHOICE_H
#define TROUPE_RUNTIME_CHUNK_CHOICE_H

#include "runtime/chunk_manifest.h"

struct chunk_question {
    uint32_t count;
    uint32_t start;
    const uint8_t *have;      /* sets, a bit each */
    const uint8_t *asked;
    const uint8_t *held;      /* by the source; NULL: all */
    const uint8_t *available; /* a byte each: how many sources have it */
};

/* CHUNK_NONE when the source has nothing we want. */
uint32_t chunk_choose(const struct chunk_question *question);

#endif
