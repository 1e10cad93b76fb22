/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight_check: the values of a filled shard that one damaged byte can turn into nothing.
 *
 * Scales and biases of quantised tensors, and every tensor kept in a floating type that is small
 * (norms), must be finite: one infinite scale makes every answer nonsense.  They are a few percent
 * of a shard, read once.
 *
 * Owner    weight_load.
 * Memory   none.
 * Threads  none.
 * Fails    STATUS_DAMAGED with the tensor's name and the row.
 */
#ifndef TROUPE_ACTORS_RUNNER_WEIGHT_CHECK_H
#define TROUPE_ACTORS_RUNNER_WEIGHT_CHECK_H

#include "actors/runner/engine/weights.h"

/* Brings into memory what a rank has of no layer: the table of which a step takes a few rows, so
 * that the memory it was counted with is taken and no token waits for the disk. */
void weight_bring_ends(const struct shard_plan *plan, const struct shard *shard,
                       struct weight_reading *reading);
/* `reading` counts on; it may be NULL. */
MUST_CHECK enum status weight_check(const struct shard_plan *plan, const struct shard *shard,
                                    struct weight_reading *reading, struct reason *reason);

#endif
