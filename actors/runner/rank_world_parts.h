/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rank_world_parts: the inside of a rank's world, shared by rank_world.c and rank_stages.c.
 *
 * Owner, memory, threads, failures: as rank_world.
 */
#ifndef TROUPE_ACTORS_RUNNER_RANK_WORLD_PARTS_H
#define TROUPE_ACTORS_RUNNER_RANK_WORLD_PARTS_H

#include "actors/runner/rank_world.h"

/* ---- rank_world.c ---- */

/* Takes the message; RANK_COUNT_MAX: to all this rank sends to. */
MUST_CHECK enum status rank_tell(struct rank_world *world, uint32_t rank, struct message *message);
/* The rows of a step with the changes before it. */
MUST_CHECK enum status rank_tell_step(struct rank_world *world, uint32_t rank,
                                      const struct engine_row *rows, uint32_t count);
/* The first `rows` of world->hidden. */
MUST_CHECK enum status rank_tell_hidden(struct rank_world *world, uint32_t rank, uint32_t rows);
/* Takes one part; `is_whole_out` when it was the last. */
MUST_CHECK enum status rank_take_hidden(struct rank_world *world, const struct hidden_sent *body,
                                        uint32_t rows, bool *is_whole_out, struct reason *reason);
/* Rank 0: what comes back from the last stage. */
MUST_CHECK enum status rank_wait_hidden(struct rank_world *world, uint32_t rows,
                                        struct reason *reason);
/* Those of world->hidden that want logits to the front; returns how many. */
uint32_t rank_keep_wanted(struct rank_world *world, const struct engine_row *rows, uint32_t count);
/* Draws from these. */
MUST_CHECK enum status rank_draw_hidden(struct rank_world *world, uint32_t wanted,
                                        const struct rank_ask *asks,
                                        struct rank_drawn *drawn_out, struct reason *reason);
MUST_CHECK enum status rank_apply_changes(struct rank_world *world, const uint32_t *changes,
                                          uint32_t count, struct reason *reason);
bool rank_step_is_sound(const struct step_planned *step);

/* ---- rank_stages.c: a pipeline of tensor groups ---- */

/* From now on the ranks of its stage alone meet. */
MUST_CHECK enum status rank_stages_narrow(struct rank_world *world, struct reason *reason);
MUST_CHECK enum status rank_stages_forward(struct rank_world *world, const struct engine_row *rows,
                                           uint32_t count, const struct rank_ask *asks,
                                           struct rank_drawn *drawn_out, struct reason *reason);
MUST_CHECK enum status rank_stages_follow(struct rank_world *world, const struct message *message,
                                          bool *has_computed_out, struct reason *reason);

#endif
