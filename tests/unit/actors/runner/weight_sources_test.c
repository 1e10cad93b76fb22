/* SPDX-License-Identifier: Apache-2.0 */
/* Several ranks that hold the files send side by side, and one that always sends damage is replaced
 * by the others. */
#include "actors/runner/engine/collective_threads.h"
#include "actors/runner/engine/engine.h"
#include "actors/runner/weight_load.h"
#include "protocol/memory.h"
#include "runtime/partition.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define RANKS_MAX 5u
#define FILES_MAX 16u
#define MODEL "tests/engine/models/qwen3-untied__affine4-g64-sharded"

struct rank {
    pthread_t thread;
    struct weight_load_request request;
    struct weight_load load;
    enum status status;
    struct reason reason;
    bool damages;             /* every batch it sends, always */
    uint32_t first_receiver;  /* of what it sent */
    uint32_t replacements;    /* batches it sent in another source's place */
};

struct world {
    char directory[512];
    struct collective_threads *threads;
    struct model_config *config;
    struct partition partitions[RANKS_MAX];
    bool has_files[RANKS_MAX];
    struct weight_source sources[FILES_MAX];
    char names[FILES_MAX][64];
    size_t source_count;
    struct rank ranks[RANKS_MAX];
    uint32_t count;
};

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

static void *load_rank(void *argument)
{
    struct rank *rank = argument;
    rank->status = weight_load_open(&rank->request, &rank->load, &rank->reason);
    return NULL;
}

/* The first `holders` ranks have the files; weight file i is sent by holder i modulo their number.
 */
static void world_open(struct world *world, enum sharding sharding, uint32_t count,
                       uint32_t holders)
{
    struct engine_model model;
    struct reason reason = {""};
    *world = (struct world){.count = count};
    (void)source_path(MODEL, world->directory);
    ck_assert_int_eq(engine_model_open(world->directory, &model, &reason), STATUS_OK);
    const struct partition_units units = partition_units_of(model.config, model.layout);
    ck_assert_int_eq(partition_solve(sharding, &units, NULL, count, world->partitions, &reason),
                     STATUS_OK);
    ck_assert_uint_gt(model.table->file_count, 1);
    ck_assert_uint_le(model.table->file_count, FILES_MAX);
    for (size_t i = 0; i < model.table->file_count; i++) {
        (void)snprintf(world->names[i], sizeof(world->names[i]), "%s",
                       model.table->files[i].name);
        world->sources[i] = (struct weight_source){world->names[i], (uint32_t)i % holders};
    }
    world->source_count = model.table->file_count;
    engine_model_close(&model);
    ck_assert_int_eq(model_config_read(world->directory, &world->config, &reason), STATUS_OK);
    ck_assert_int_eq(collective_threads_open(count, &world->threads, &reason), STATUS_OK);
    for (uint32_t i = 0; i < count; i++) {
        struct rank *rank = &world->ranks[i];
        world->has_files[i] = i < holders;
        rank->first_receiver = RANKS_MAX;
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

static void world_run(struct world *world)
{
    for (uint32_t i = 0; i < world->count; i++)
        ck_assert_int_eq(
            pthread_create(&world->ranks[i].thread, NULL, load_rank, &world->ranks[i]), 0);
    /* Receivers come last: one that gives up leaves the others waiting. */
    for (uint32_t i = world->count; i-- > 0;) {
        ck_assert_int_eq(pthread_join(world->ranks[i].thread, NULL), 0);
        if (world->ranks[i].status != STATUS_OK)
            collective_threads_lose(world->threads);
    }
}

static void world_close(struct world *world)
{
    for (uint32_t i = 0; i < world->count; i++)
        if (world->ranks[i].status == STATUS_OK)
            weight_load_close(&world->ranks[i].load);
    collective_threads_close(world->threads);
    model_config_free(world->config);
}

/* What each rank keeps is what the files hold. */
static void check_bytes(const struct world *world)
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
            shard_slice_copy(files, slice, expected);
            for (uint64_t row = 0; row < slice->row_end - slice->row_first; row++)
                ck_assert_mem_eq(kept + row * stride, expected + row * width, width);
            memory_free(expected);
        }
        weight_files_close(files);
    }
}

static void check_world(enum sharding sharding, uint32_t count, uint32_t holders,
                        uint32_t damaging)
{
    struct world world;
    uint64_t repeated = 0;
    uint32_t replacements = 0;
    world_open(&world, sharding, count, holders);
    if (damaging < holders)
        world.ranks[damaging].damages = true;
    world_run(&world);
    check_bytes(&world);
    for (uint32_t i = 0; i < count; i++) {
        repeated += world.ranks[i].load.counters.batches_repeated;
        replacements += world.ranks[i].replacements;
    }
    if (damaging < holders)
        ck_assert_uint_eq(world.ranks[damaging].replacements, 0);
    ck_assert(repeated > 0 ? damaging < holders : damaging >= holders);
    ck_assert_uint_eq(replacements > 0, damaging < holders);
    world_close(&world);
}

START_TEST(two_and_three_holders_send_their_files)
{
    check_world(SHARDING_TENSOR, 3, 2, RANKS_MAX);
    check_world(SHARDING_PIPELINE, 4, 3, RANKS_MAX);
    check_world(SHARDING_PIPELINE, 4, 2, RANKS_MAX);
}
END_TEST

START_TEST(a_holder_that_always_sends_damage_is_replaced)
{
    check_world(SHARDING_TENSOR, 3, 2, 0);
    check_world(SHARDING_TENSOR, 3, 2, 1);
    check_world(SHARDING_TENSOR, 4, 3, 0);
    check_world(SHARDING_TENSOR, 4, 3, 2);
    check_world(SHARDING_TENSOR, 4, 2, 1);
}
END_TEST

START_TEST(holders_that_all_send_damage_end_the_load_with_the_tensors_name)
{
    struct world world;
    world_open(&world, SHARDING_TENSOR, 3, 2);
    world.ranks[0].damages = true;
    world.ranks[1].damages = true;
    world_run(&world);
    ck_assert_int_eq(world.ranks[2].status, STATUS_HASH_MISMATCH);
    ck_assert_ptr_nonnull(strstr(world.ranks[2].reason.text, "the bytes of tensor "));
    ck_assert_ptr_nonnull(strstr(world.ranks[2].reason.text, "every other rank that holds them"));
    world_close(&world);
}
END_TEST

START_TEST(holders_begin_with_different_receivers)
{
    struct world world;
    world_open(&world, SHARDING_TENSOR, 4, 2);
    world_run(&world);
    check_bytes(&world);
    ck_assert_uint_eq(world.ranks[0].first_receiver, 2);
    ck_assert_uint_eq(world.ranks[1].first_receiver, 3);
    world_close(&world);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("weight_sources");
    const TTest *const tests[] = {
        two_and_three_holders_send_their_files,
        a_holder_that_always_sends_damage_is_replaced,
        holders_that_all_send_damage_end_the_load_with_the_tensors_name,
        holders_begin_with_different_receivers,
    };
    suite_add(suite, "sources", tests, COUNT_OF(tests));
    return suite;
}
