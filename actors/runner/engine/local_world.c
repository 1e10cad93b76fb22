/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/local_world.h"

#include "actors/runner/engine/collective_threads.h"
#include "protocol/memory.h"

#include <pthread.h>

struct rank_call {
    struct local_world *world;
    struct engine *engine;
    struct engine_batch batch;
    enum status status;
    struct reason reason;
};

struct local_world {
    uint32_t ranks;
    enum sharding sharding;
    struct partition partitions[PARTITION_RANKS_MAX];
    struct engine *engines[PARTITION_RANKS_MAX];
    struct collective_threads *collective; /* of all ranks; each meets those of its stage */
    float *hidden; /* [hidden_rows][hidden] between the stages of a pipeline */
    size_t hidden_rows;
};

enum status local_world_open(const struct engine_model *model, enum sharding sharding,
                             const uint64_t *shares, uint32_t ranks,
                             const struct engine_options *options, struct local_world **world_out,
                             struct reason *reason)
{
    struct engine_options each[PARTITION_RANKS_MAX];
    for (uint32_t i = 0; i < ranks && i < PARTITION_RANKS_MAX; i++)
        each[i] = *options;
    return local_world_open_each(model, sharding, shares, ranks, each, world_out, reason);
}

/* Engines of the ranks whose tables the world has. */
static enum status open_ranks(const struct engine_model *model, struct local_world *world,
                              uint32_t ranks, const struct engine_options *options,
                              struct local_world **world_out, struct reason *reason)
{
    enum status status = collective_threads_open(ranks, &world->collective, reason);
    world->sharding = world->partitions[0].sharding;
    for (uint32_t i = 0; status == STATUS_OK && i < ranks; i++) {
        struct engine_options own = options[i];
        const struct partition *p = &world->partitions[i];
        own.collective = collective_threads_member(world->collective, i);
        status = own.collective->ops->narrow(own.collective, p->stage_first, p->stage_ranks,
                                             reason);
        if (status == STATUS_OK)
            status = engine_open_local(model, p, &own, &world->engines[i], reason);
        world->ranks += status == STATUS_OK;
    }
    if (status != STATUS_OK) {
        local_world_close(world);
        return status;
    }
    *world_out = world;
    return STATUS_OK;
}

enum status local_world_open_each(const struct engine_model *model, enum sharding sharding,
                                  const uint64_t *shares, uint32_t ranks,
                                  const struct engine_options *options,
                                  struct local_world **world_out, struct reason *reason)
{
    struct partition_units units = partition_units_of(model->config, model->layout);
    struct local_world *world = memory_zeroed(1, sizeof *world);
    if (!world)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for %u ranks", ranks);
    enum status status = partition_solve(sharding, &units, shares, ranks, world->partitions,
                                         reason);
    if (status != STATUS_OK) {
        local_world_close(world);
        return status;
    }
    return open_ranks(model, world, ranks, options, world_out, reason);
}

enum status local_world_open_stages(const struct engine_model *model, const uint32_t *sizes,
                                    uint32_t stage_count, const uint64_t *shares,
                                    const struct engine_options *options,
                                    struct local_world **world_out, struct reason *reason)
{
    struct partition_units units = partition_units_of(model->config, model->layout);
    struct local_world *world = memory_zeroed(1, sizeof *world);
    if (!world)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for %u stages", stage_count);
    enum status status = partition_solve_stages(&units, sizes, stage_count, shares,
                                                world->partitions, reason);
    if (status != STATUS_OK) {
        local_world_close(world);
        return status;
    }
    return open_ranks(model, world, world->partitions[0].rank_count, options, world_out, reason);
}

enum status local_world_open_tables(const struct engine_model *model,
                                    const struct partition *partitions, uint32_t ranks,
                                    const struct engine_options *options,
                                    struct local_world **world_out, struct reason *reason)
{
    struct partition_units units = partition_units_of(model->config, model->layout);
    struct engine_options each[PARTITION_RANKS_MAX];
    enum status status = partition_check(partitions, ranks, &units, reason);
    if (status != STATUS_OK)
        return status;
    struct local_world *world = memory_zeroed(1, sizeof *world);
    if (!world)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for %u ranks", ranks);
    for (uint32_t i = 0; i < ranks; i++) {
        each[i] = *options;
        world->partitions[i] = partitions[i];
    }
    return open_ranks(model, world, ranks, each, world_out, reason);
}

void local_world_close(struct local_world *world)
{
    if (!world)
        return;
    for (uint32_t i = 0; i < world->ranks; i++)
        engine_close(world->engines[i]);
    collective_threads_close(world->collective);
    memory_free(world->hidden);
    memory_free(world);
}

static void *rank_main(void *argument)
{
    struct rank_call *call = argument;
    call->status = engine_forward(call->engine, &call->batch, &call->reason);
    if (call->status != STATUS_OK)
        collective_threads_lose(call->world->collective);
    return NULL;
}

/* All ranks of the stage that begins with rank `first`; what goes out, its first rank writes. */
static enum status compute(struct local_world *world, uint32_t first,
                           const struct engine_batch *batch, struct reason *reason)
{
    const uint32_t ranks = world->partitions[first].stage_ranks;
    struct rank_call *calls = memory_zeroed(ranks, sizeof *calls);
    pthread_t threads[PARTITION_RANKS_MAX];
    uint32_t started = 1;
    if (!calls)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for %u ranks", ranks);
    for (uint32_t i = 0; i < ranks; i++) {
        calls[i].world = world;
        calls[i].engine = world->engines[first + i];
        calls[i].batch = *batch;
        if (i > 0)
            calls[i].batch.hidden_out = calls[i].batch.logits_out = NULL;
    }
    for (; started < ranks; started++) {
        if (pthread_create(&threads[started], NULL, rank_main, &calls[started]) != 0) {
            collective_threads_lose(world->collective);
            break;
        }
    }
    rank_main(&calls[0]);
    for (uint32_t i = 1; i < started; i++)
        pthread_join(threads[i], NULL);
    enum status status = started < ranks ? STATUS_IO : calls[0].status;
    if (status != STATUS_OK)
        (void)refuse(reason, status, "%s", calls[0].reason.text);
    memory_free(calls);
    return status;
}

static enum status pipeline(struct local_world *world, const struct engine_row *rows, size_t count,
                            float *logits_out, struct reason *reason)
{
    size_t width = engine_hidden(world->engines[0]);
    if (count > world->hidden_rows) {
        float *grown = memory_resized(world->hidden, count * width, sizeof *grown);
        if (!grown)
            return refuse(reason, STATUS_NO_MEMORY, "no memory for %zu hidden states", count);
        world->hidden = grown;
        world->hidden_rows = count;
    }
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < world->ranks;
         i += world->partitions[i].stage_ranks) {
        const bool is_last = world->partitions[i].has_head;
        const struct engine_batch batch = {rows, count, i > 0 ? world->hidden : NULL,
                                           is_last ? NULL : world->hidden,
                                           is_last ? logits_out : NULL};
        status = compute(world, i, &batch, reason);
    }
    return status;
}

enum status local_world_forward(struct local_world *world, const struct engine_row *rows,
                                size_t count, float *logits_out, struct reason *reason)
{
    const struct engine_batch batch = {rows, count, NULL, NULL, logits_out};
    if (world->sharding == SHARDING_PIPELINE || world->sharding == SHARDING_PIPELINE_TENSOR)
        return pipeline(world, rows, count, logits_out, reason);
    return compute(world, 0, &batch, reason);
}

enum status local_world_sequence_open(struct local_world *world, uint32_t *sequence_out,
                                      struct reason *reason)
{
    uint32_t first = 0;
    for (uint32_t i = 0; i < world->ranks; i++) {
        uint32_t sequence = 0;
        enum status status = engine_sequence_open(world->engines[i], &sequence, reason);
        if (status != STATUS_OK)
            return status;
        first = i == 0 ? sequence : first;
        ASSERT(sequence == first);
    }
    *sequence_out = first;
    return STATUS_OK;
}

void local_world_truncate(struct local_world *world, uint32_t sequence, uint32_t length)
{
    for (uint32_t i = 0; i < world->ranks; i++)
        engine_sequence_truncate(world->engines[i], sequence, length);
}

const struct partition *local_world_partitions(const struct local_world *world,
                                               uint32_t *count_out)
{
    *count_out = world->ranks;
    return world->partitions;
}

struct engine *local_world_engine(struct local_world *world, uint32_t rank)
{
    ASSERT(rank < world->ranks);
    return world->engines[rank];
}
