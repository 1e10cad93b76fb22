/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/actors/runner/weight_worlds.h"

#include "actors/runner/engine/engine.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

static void sending(void *context, uint32_t receiver, size_t batch, int attempt, uint8_t *bytes,
                    size_t size)
{
    struct rank *rank = context;
    (void)batch;
    if (rank->first_receiver == RANKS_MAX)
        rank->first_receiver = receiver;
    rank->replacements += attempt > 1;
    if (rank->damages)
        bytes[size - 1] ^= 1;
}

void *world_load_rank(void *argument)
{
    struct rank *rank = argument;
    rank->status = weight_load_open(&rank->request, &rank->load, &rank->reason);
    if (rank->status != STATUS_OK) /* as its process would end, and with it the generation */
        collective_threads_lose(rank->threads);
    return NULL;
}

void world_open_model(struct world *world, const char *name, enum sharding sharding,
                      uint32_t count, uint32_t holders)
{
    struct engine_model model;
    struct reason reason = {""};
    *world = (struct world){.count = count};
    (void)source_path(name, world->directory);
    ck_assert_int_eq(engine_model_open(world->directory, &model, &reason), STATUS_OK);
    const struct partition_units units = partition_units_of(model.config, model.layout);
    ck_assert_int_eq(partition_solve(sharding, &units, NULL, count, world->partitions, &reason),
                     STATUS_OK);
    ck_assert_uint_le(model.table->file_count, FILES_MAX);
    for (size_t i = 0; i < model.table->file_count; i++) {
        (void)snprintf(world->names[i], sizeof(world->names[i]), "%s",
                       model.table->files[i].name);
        world->sources[i] = (struct weight_source){world->names[i], (uint32_t)i % holders, 0};
    }
    world->source_count = model.table->file_count;
    engine_model_close(&model);
    ck_assert_int_eq(model_config_read(world->directory, &world->config, &reason), STATUS_OK);
    ck_assert_int_eq(collective_threads_open(count, &world->threads, &reason), STATUS_OK);
    for (uint32_t i = 0; i < count; i++) {
        struct rank *rank = &world->ranks[i];
        world->has_files[i] = i < holders;
        rank->first_receiver = RANKS_MAX;
        rank->threads = world->threads;
        rank->request =
            (struct weight_load_request){.collective =
                                             collective_threads_member(world->threads, i),
                                         .directory = world->directory,
                                         .config = world->config,
                                         .partitions = world->partitions,
                                         .has_files = world->has_files,
                                         .sources = world->sources,
                                         .source_count = world->source_count,
                                         .batch_size = 20000,
                                         .sending = sending,
                                         .context = rank};
    }
}

void world_open(struct world *world, enum sharding sharding, uint32_t count, uint32_t holders)
{
    world_open_model(world, MODEL, sharding, count, holders);
    ck_assert_uint_gt(world->source_count, 1);
}

void world_run(struct world *world)
{
    for (uint32_t i = 0; i < world->count; i++)
        ck_assert_int_eq(
            pthread_create(&world->ranks[i].thread, NULL, world_load_rank, &world->ranks[i]), 0);
    for (uint32_t i = 0; i < world->count; i++)
        ck_assert_int_eq(pthread_join(world->ranks[i].thread, NULL), 0);
}

void world_close(struct world *world)
{
    for (uint32_t i = 0; i < world->count; i++)
        if (world->ranks[i].status == STATUS_OK)
            weight_load_close(&world->ranks[i].load);
    collective_threads_close(world->threads);
    model_config_free(world->config);
}

void world_check_bytes(const struct world *world)
{
    struct reason reason = {""};
    for (uint32_t rank = 0; rank < world->count; rank++) {
        const struct weight_load *load = &world->ranks[rank].load;
        const struct shard_plan *plan = load->plans[rank];
        struct weight_files *files = NULL;
        ck_assert_msg(world->ranks[rank].status == STATUS_OK, "rank %u: %s", rank,
                      world->ranks[rank].reason.text);
        ck_assert_int_eq(weight_files_open(world->directory, load->table, &files, &reason),
                         STATUS_OK);
        for (size_t i = 0; i < plan->slice_count; i++) {
            const struct shard_slice *slice = &plan->slices[i];
            const uint64_t width = slice->byte_end - slice->byte_first;
            uint64_t stride = 0;
            const uint8_t *kept = shard_part(load->shard, slice->module, slice->part, &stride);
            uint8_t *expected = memory_zeroed(slice->size, 1);
            ck_assert(kept && expected);
            ck_assert_int_eq(shard_slice_read(files, slice, expected, &reason), STATUS_OK);
            for (uint64_t row = 0; row < slice->row_end - slice->row_first; row++)
                ck_assert_mem_eq(kept + row * stride, expected + row * width, width);
            memory_free(expected);
        }
        weight_files_close(files);
    }
}

void world_copy_file(const struct world *world, const struct scratch *scratch, const char *name)
{
    char from[1024];
    char to[256];
    size_t size = 0;
    (void)snprintf(from, sizeof(from), "%s/%s", world->directory, name);
    char *bytes = file_bytes(from, &size);
    file_put(scratch_path(scratch, name, to), bytes, size);
    memory_free(bytes);
}

void world_open_partly_held(struct world *world, struct scratch *scratch)
{
    world_open(world, SHARDING_TENSOR, 3, 1);
    scratch_open(scratch);
    world_copy_file(world, scratch, "config.json");
    world_copy_file(world, scratch, world->names[1]);
    world->sources[1].rank = 1;
    world->sources[1].holders = 2;
    world->ranks[1].request.directory = scratch->path;
}

void world_open_parted(struct world *world, struct scratch scratches[RANKS_MAX],
                       enum sharding sharding, uint32_t count, uint32_t holders)
{
    world_open(world, sharding, count, holders);
    for (uint32_t rank = 0; rank < count; rank++) {
        world->has_files[rank] = false;
        scratch_open(&scratches[rank]);
        world_copy_file(world, &scratches[rank], "config.json");
        world->ranks[rank].request.directory = scratches[rank].path;
    }
    for (uint32_t i = 0; i < world->source_count; i++) {
        world->sources[i].holders = (uint64_t)1 << world->sources[i].rank;
        world_copy_file(world, &scratches[world->sources[i].rank], world->names[i]);
    }
}

void world_close_parted(struct world *world, struct scratch scratches[RANKS_MAX])
{
    const uint32_t count = world->count;
    world_close(world);
    for (uint32_t rank = 0; rank < count; rank++)
        scratch_close(&scratches[rank]);
}
