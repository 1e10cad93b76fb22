/* SPDX-License-Identifier: Apache-2.0 */
/*
 * local_world: all ranks of a cut in one process, for troupe-engine and for tests.
 *
 * A pipeline's stages compute one after another, the ranks of a stage or a tensor cut in threads
 * that meet in collective_threads: the same engine calls as in runners on several machines.
 *
 * Owner    a command or a test.
 * Memory   one engine per rank.
 * Threads  one caller; a thread per further rank while a tensor cut or a stage computes.
 * Fails    what partition_solve and the engine refuse.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_LOCAL_WORLD_H
#define TROUPE_ACTORS_RUNNER_ENGINE_LOCAL_WORLD_H

#include "actors/runner/engine/engine.h"

struct local_world;

/* `shares` NULL: equal ones.  options.collective is ignored. */
MUST_CHECK enum status local_world_open(const struct engine_model *model, enum sharding sharding,
                                        const uint64_t *shares, uint32_t ranks,
                                        const struct engine_options *options,
                                        struct local_world **world_out, struct reason *reason);
/* The same with options[ranks], each rank's own. */
MUST_CHECK enum status local_world_open_each(const struct engine_model *model,
                                             enum sharding sharding, const uint64_t *shares,
                                             uint32_t ranks, const struct engine_options *options,
                                             struct local_world **world_out,
                                             struct reason *reason);
/* A pipeline of tensor groups: stage i is of sizes[i] ranks; options[ranks]. */
MUST_CHECK enum status local_world_open_stages(const struct engine_model *model,
                                               const uint32_t *sizes, uint32_t stage_count,
                                               const uint64_t *shares,
                                               const struct engine_options *options,
                                               struct local_world **world_out,
                                               struct reason *reason);
/* By tables made elsewhere, one for each rank. */
MUST_CHECK enum status local_world_open_tables(const struct engine_model *model,
                                               const struct partition *partitions, uint32_t ranks,
                                               const struct engine_options *options,
                                               struct local_world **world_out,
                                               struct reason *reason);
/* Accepts NULL. */
void local_world_close(struct local_world *world);
/* The rows through all ranks; logits of the rows that want them. */
MUST_CHECK enum status local_world_forward(struct local_world *world,
                                           const struct engine_row *rows, size_t count,
                                           float *logits_out, struct reason *reason);
MUST_CHECK enum status local_world_sequence_open(struct local_world *world,
                                                 uint32_t *sequence_out, struct reason *reason);
void local_world_truncate(struct local_world *world, uint32_t sequence, uint32_t length);
const struct partition *local_world_partitions(const struct local_world *world,
                                               uint32_t *count_out);
struct engine *local_world_engine(struct local_world *world, uint32_t rank);

#endif
