/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rank_world_parts: the inside of a rank's world, shared by rank_world.c and rank_stages.c.
 *
 * Owner, memory, threads, failures: as rank_world.
 */
#ifndef TROUPE_ACTORS_RUNNER_RANK_WORLD_PARTS_H
#define TROUPE_ACTORS_RUNNER_RANK_WORLD_PARTS_H

#include "actors/runner/rank_world.h"

/* Whether it is a pipeline, of ranks or of tensor groups. */
static inline bool rank_has_stages(const struct rank_world *world)
{
    return world->rank_count > 1 && (world->instance.sharding == SHARDING_PIPELINE ||
                                     world->instance.sharding == SHARDING_PIPELINE_TENSOR);
}

/* ---- rank_world.c ---- */

/* Takes the message; RANK_COUNT_MAX: to all this rank sends to. */
MUST_CHECK enum status rank_tell(struct rank_world *world, uint32_t rank, struct message *message);
/* Rows that want logits. */
uint32_t rank_count_wanted(const struct engine_row *rows, uint32_t count);
MUST_CHECK enum status rank_apply_changes(struct rank_world *world, const uint32_t *changes,
                                          uint32_t count, struct reason *reason);

/* ---- rank_stages.c: pipelines ---- */

/* From now on the ranks of its stage alone meet. */
MUST_CHECK enum status rank_stages_narrow(struct rank_world *world, struct reason *reason);
MUST_CHECK enum status rank_stages_forward(struct rank_world *world, const struct engine_row *rows,
                                           uint32_t count, const struct rank_ask *asks,
                                           struct rank_drawn *drawn_out, struct reason *reason);
MUST_CHECK enum status rank_stages_follow(struct rank_world *world, const struct message *message,
                                          bool *has_computed_out, struct reason *reason);

#endif
