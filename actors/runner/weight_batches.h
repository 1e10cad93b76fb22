/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight_batches: what one rank sends another, cut into messages of about one size.
 *
 * Pure: source and receiver make the same list from the receiver's plan, so that no message has to
 * say what is in it.  A batch is a run of the receiver's memory, with the few bytes between slices
 * that align them, so it is received where it belongs.  It never spans two layers; the slices
 * without a layer come first.
 *
 * Memory   one heap object; borrows nothing after it was made.
 * Fails    NO_MEMORY, TOO_LARGE.
 */
#ifndef TROUPE_ACTORS_RUNNER_WEIGHT_BATCHES_H
#define TROUPE_ACTORS_RUNNER_WEIGHT_BATCHES_H

#include "actors/runner/engine/weights.h"
#include "protocol/status.h"

/* Who has and who sends each file of a table. */
struct weight_spread {
    const uint32_t *sources; /* a rank for each file */
    const uint64_t *holders; /* for each file, a bit for each rank */
};

/* Bytes [first, end) of the packed slice. */
struct weight_piece {
    size_t slice; /* index into the plan */
    uint64_t first;
    uint64_t end;
    uint64_t at; /* in the batch */
};

struct weight_batch {
    uint32_t layer;
    size_t piece_first; /* pieces [piece_first, piece_end) */
    size_t piece_end;
    uint64_t target; /* where it begins in the memory of the shard */
    uint64_t size;
    uint32_t step; /* which of the list's layers it is of, counted from 0 */
};

struct weight_batches {
    struct weight_piece *pieces;
    size_t piece_count;
    struct weight_batch *batches;
    size_t batch_count;
    uint64_t bytes; /* of slices: without what aligns them */
};

/* The slices of `plan`, which is `receiver`'s, whose file it does not hold and `source` sends. */
MUST_CHECK enum status weight_batches_make(const struct shard_plan *plan,
                                           const struct weight_spread *spread, uint32_t receiver,
                                           uint32_t source, uint64_t batch_size,
                                           struct weight_batches **batches_out);
/* Accepts NULL. */
void weight_batches_free(struct weight_batches *batches);

#endif
