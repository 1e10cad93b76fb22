/* SPDX-License-Identifier: Apache-2.0 */
/* Several ranks that hold the files send side by side, and one that always sends damage is replaced
 * by the others. */
#include "actors/runner/engine/engine.h"
#include "actors/runner/weight_parts.h"
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "tests/unit/actors/runner/weight_worlds.h"

#include <stdio.h>
#include <string.h>

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
    world_check_bytes(&world);
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
    world_check_bytes(&world);
    ck_assert_uint_eq(world.ranks[0].first_receiver, 2);
    ck_assert_uint_eq(world.ranks[1].first_receiver, 3);
    world_close(&world);
}
END_TEST

/* ---- a rank with some of the files ---- */

static uint64_t bytes_of_file(const struct weight_load *load, uint32_t rank, uint32_t file)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < load->plans[rank]->slice_count; i++)
        if (load->plans[rank]->slices[i].tensor->file == file)
            bytes += load->plans[rank]->slices[i].size;
    return bytes;
}

START_TEST(a_rank_with_some_files_reads_those_and_receives_the_rest)
{
    struct world world;
    struct scratch scratch;
    world_open_partly_held(&world, &scratch);
    world_run(&world);
    world_check_bytes(&world);
    const struct weight_load *load = &world.ranks[1].load;
    const uint64_t own = bytes_of_file(load, 1, 1);
    const uint64_t heads = load->counters.batches_received * 64;
    ck_assert_uint_gt(own, 0);
    ck_assert_uint_ge(load->counters.bytes_received, load->plans[1]->bytes - own);
    ck_assert_uint_le(load->counters.bytes_received,
                      load->plans[1]->bytes - own + heads + 1024);
    ck_assert_uint_ge(load->counters.bytes_sent, bytes_of_file(load, 2, 1));
    world_close(&world);
    scratch_close(&scratch);
}
END_TEST

/* What it has is not asked of others, whoever else has it: and who is asked again must have it. */
START_TEST(what_one_source_damages_comes_from_those_who_have_that_file)
{
    struct world world;
    struct scratch scratch;
    world_open_partly_held(&world, &scratch);
    world.ranks[1].damages = true; /* its file comes from rank 0 then */
    world_run(&world);
    world_check_bytes(&world);
    ck_assert_uint_gt(world.ranks[0].replacements, 0);
    world_close(&world);
    scratch_close(&scratch);
    world_open_partly_held(&world, &scratch);
    world.ranks[0].damages = true; /* its files are nowhere else */
    world_run(&world);
    uint32_t named = 0;
    for (uint32_t i = 0; i < world.count; i++) {
        ck_assert_int_ne(world.ranks[i].status, STATUS_OK);
        named += world.ranks[i].status == STATUS_HASH_MISMATCH;
    }
    ck_assert_uint_gt(named, 0);
    world_close(&world);
    scratch_close(&scratch);
}
END_TEST

START_TEST(a_file_that_is_gone_is_named)
{
    struct world world;
    struct scratch scratch;
    char path[256];
    world_open_partly_held(&world, &scratch);
    ck_assert_int_eq(remove(scratch_path(&scratch, world.names[1], path)), 0);
    world_run(&world);
    ck_assert_int_ne(world.ranks[1].status, STATUS_OK);
    ck_assert_ptr_nonnull(strstr(world.ranks[1].reason.text, world.names[1]));
    ck_assert_int_ne(world.ranks[0].status, STATUS_OK);
    ck_assert_int_ne(world.ranks[2].status, STATUS_OK);
    world_close(&world);
    scratch_close(&scratch);
}
END_TEST

/* ---- ranks that only send ---- */

/* The first `computing` ranks have nothing, and the files are parted among the others; or the last
 * has them all. */
static void check_senders(enum sharding sharding, uint32_t computing, uint32_t count,
                          bool is_parted)
{
    struct world world;
    struct reason reason = {""};
    world_open(&world, sharding, count, count);
    struct engine_model model;
    ck_assert_int_eq(engine_model_open(world.directory, &model, &reason), STATUS_OK);
    const struct partition_units units = partition_units_of(model.config, model.layout);
    ck_assert_int_eq(
        partition_solve(sharding, &units, NULL, computing, world.partitions, &reason), STATUS_OK);
    engine_model_close(&model);
    for (uint32_t i = 0; i < world.source_count; i++) {
        world.sources[i].rank = is_parted ? computing + i % (count - computing) : count - 1;
        world.sources[i].holders = (uint64_t)1 << world.sources[i].rank;
    }
    for (uint32_t rank = 0; rank < count; rank++) {
        world.has_files[rank] = rank == count - 1 && !is_parted;
        world.ranks[rank].request.computing = computing;
    }
    world_run(&world);
    world_check_bytes(&world);
    for (uint32_t rank = 0; rank < count; rank++) {
        const struct weight_load *load = &world.ranks[rank].load;
        ck_assert_uint_eq(load->counters.batches_sent > 0, rank >= computing);
        ck_assert_uint_eq(load->plans[rank]->bytes > 0, rank < computing);
        if (rank < computing)
            ck_assert_uint_ge(load->counters.bytes_received, load->plans[rank]->bytes);
        else
            ck_assert_uint_eq(load->counters.batches_received, 0);
    }
    world_close(&world);
}

START_TEST(ranks_without_files_are_served_by_one_that_keeps_nothing)
{
    check_senders(SHARDING_TENSOR, 2, 3, false);
    check_senders(SHARDING_PIPELINE, 2, 3, false);
    check_senders(SHARDING_TENSOR, 3, 4, false);
}
END_TEST

START_TEST(ranks_without_files_are_served_by_several_that_hold_them_together)
{
    check_senders(SHARDING_TENSOR, 2, 4, true);
    check_senders(SHARDING_PIPELINE, 2, 4, true);
}
END_TEST

/* ---- ranks that hold the model only together ---- */

static void check_parted(enum sharding sharding, uint32_t count, uint32_t holders)
{
    struct world world;
    struct scratch scratches[RANKS_MAX];
    world_open_parted(&world, scratches, sharding, count, holders);
    world_run(&world);
    world_check_bytes(&world);
    for (uint32_t rank = 0; rank < count; rank++) {
        const struct weight_load *load = &world.ranks[rank].load;
        uint64_t own = 0;
        for (uint32_t file = 0; file < load->table->file_count; file++)
            for (uint32_t i = 0; i < world.source_count; i++)
                if (world.sources[i].rank == rank &&
                    strcmp(world.names[i], load->table->files[file].name) == 0)
                    own += bytes_of_file(load, rank, file);
        const uint64_t lacking = load->plans[rank]->bytes - own;
        ck_assert_uint_ge(load->counters.bytes_received, lacking);
        ck_assert_uint_le(load->counters.bytes_received,
                          lacking + load->counters.batches_received * 128 + 4096);
    }
    world_close_parted(&world, scratches);
}

START_TEST(ranks_that_hold_the_model_only_together_load_it)
{
    check_parted(SHARDING_TENSOR, 2, 2);
    check_parted(SHARDING_PIPELINE, 2, 2);
    check_parted(SHARDING_TENSOR, 3, 2);
    check_parted(SHARDING_PIPELINE, 3, 2);
}
END_TEST

START_TEST(a_part_that_is_gone_ends_the_load_on_all_ranks_and_is_named)
{
    struct world world;
    struct scratch scratches[RANKS_MAX];
    char path[256];
    world_open_parted(&world, scratches, SHARDING_TENSOR, 3, 2);
    ck_assert_int_eq(remove(scratch_path(&scratches[1], world.names[1], path)), 0);
    world_run(&world);
    for (uint32_t rank = 0; rank < world.count; rank++)
        ck_assert_int_eq(world.ranks[rank].status,
                         rank == 1 ? STATUS_NOT_FOUND : STATUS_CANCELLED);
    ck_assert_ptr_nonnull(strstr(world.ranks[1].reason.text, world.names[1]));
    world_close_parted(&world, scratches);
}
END_TEST

/* A tensor of one file is in another's header, too: of another upload of the model, say. */
START_TEST(parts_that_are_not_of_one_model_are_refused_by_all_ranks)
{
    struct world world;
    struct scratch scratches[RANKS_MAX];
    char from[256];
    char to[256];
    size_t size = 0;
    world_open_parted(&world, scratches, SHARDING_TENSOR, 2, 2);
    char *bytes = file_bytes(scratch_path(&scratches[0], world.names[0], from), &size);
    file_put(scratch_path(&scratches[1], world.names[1], to), bytes, size);
    memory_free(bytes);
    world_run(&world);
    for (uint32_t rank = 0; rank < world.count; rank++) {
        ck_assert_int_eq(world.ranks[rank].status, STATUS_MALFORMED);
        ck_assert_ptr_nonnull(strstr(world.ranks[rank].reason.text, " is in two files: "));
    }
    world_close_parted(&world, scratches);
}
END_TEST

/* ---- a disk that stalls ---- */

struct stall {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    char file[64];
    bool is_read;
    bool is_released;
};

static void stall_reading(void *context, const char *file)
{
    struct stall *stall = context;
    (void)pthread_mutex_lock(&stall->mutex);
    (void)snprintf(stall->file, sizeof(stall->file), "%s", file);
    stall->is_read = true;
    (void)pthread_cond_broadcast(&stall->changed);
    while (!stall->is_released)
        (void)pthread_cond_wait(&stall->changed, &stall->mutex);
    (void)pthread_mutex_unlock(&stall->mutex);
}

START_TEST(a_reading_that_stalls_names_its_file_and_counts_no_further)
{
    static struct stall stall = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                                 .changed = PTHREAD_COND_INITIALIZER};
    struct weight_reading reading = {.before = stall_reading, .context = &stall};
    struct world world;
    pthread_t runner;
    world_open(&world, SHARDING_PIPELINE, 2, 1);
    world.ranks[0].request.reading = &reading;
    ck_assert_int_eq(pthread_create(&runner, NULL, world_load_rank, &world.ranks[0]), 0);
    ck_assert_int_eq(
        pthread_create(&world.ranks[1].thread, NULL, world_load_rank, &world.ranks[1]), 0);
    (void)pthread_mutex_lock(&stall.mutex);
    while (!stall.is_read)
        (void)pthread_cond_wait(&stall.changed, &stall.mutex);
    const char *file = reading.file;
    ck_assert_ptr_nonnull(file);
    ck_assert_str_eq(file, stall.file);
    ck_assert_uint_eq(reading.count, world.source_count); /* their headers */
    stall.is_released = true;
    (void)pthread_cond_broadcast(&stall.changed);
    (void)pthread_mutex_unlock(&stall.mutex);
    ck_assert_int_eq(pthread_join(runner, NULL), 0);
    ck_assert_int_eq(pthread_join(world.ranks[1].thread, NULL), 0);
    world_check_bytes(&world);
    ck_assert_uint_gt(reading.count, world.source_count);
    ck_assert_ptr_null(reading.file);
    world_close(&world);
}
END_TEST

/* ---- leases ---- */

static void read_slowly(void *context, const char *file)
{
    (void)context;
    (void)file;
    clock_sleep_ms(100);
}

struct held {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_over; /* for who holds */
};

/* On the thread of a receiver, which does nothing more meanwhile. */
static void hold(void *context, uint64_t bytes_have, uint64_t bytes_total)
{
    struct held *held = context;
    (void)bytes_have;
    (void)bytes_total;
    (void)pthread_mutex_lock(&held->mutex);
    while (!held->is_over)
        (void)pthread_cond_wait(&held->changed, &held->mutex);
    (void)pthread_mutex_unlock(&held->mutex);
}

/* In one test, as each of the two takes its 3 s. */
START_TEST(a_disk_that_trickles_and_a_rank_that_is_silent_end_the_load_by_name)
{
    static struct held held = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                               .changed = PTHREAD_COND_INITIALIZER};
    static struct weight_reading reading = {.before = read_slowly};
    static struct world slow;
    static struct world silent;
    world_open(&slow, SHARDING_PIPELINE, 2, 1);
    slow.ranks[0].request.reading = &reading;
    slow.ranks[0].request.rate_min = (uint64_t)1 << 30;
    world_open(&silent, SHARDING_PIPELINE, 2, 1);
    silent.ranks[1].request.sending = NULL;
    silent.ranks[1].request.progressed = hold;
    silent.ranks[1].request.context = &held;
    for (uint32_t i = 0; i < 2; i++) {
        ck_assert_int_eq(
            pthread_create(&slow.ranks[i].thread, NULL, world_load_rank, &slow.ranks[i]), 0);
        ck_assert_int_eq(
            pthread_create(&silent.ranks[i].thread, NULL, world_load_rank, &silent.ranks[i]), 0);
    }
    ck_assert_int_eq(pthread_join(silent.ranks[0].thread, NULL), 0);
    (void)pthread_mutex_lock(&held.mutex);
    held.is_over = true;
    (void)pthread_cond_broadcast(&held.changed);
    (void)pthread_mutex_unlock(&held.mutex);
    ck_assert_int_eq(pthread_join(silent.ranks[1].thread, NULL), 0);
    for (uint32_t i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(slow.ranks[i].thread, NULL), 0);
    ck_assert_int_eq(slow.ranks[0].status, STATUS_TIMED_OUT);
    ck_assert_msg(strstr(slow.ranks[0].reason.text, "disk gave less than 1048576 KiB/s"), "%s",
                  slow.ranks[0].reason.text);
    ck_assert_int_eq(slow.ranks[1].status, STATUS_IO);
    ck_assert_int_eq(silent.ranks[0].status, STATUS_TIMED_OUT);
    ck_assert_msg(strstr(silent.ranks[0].reason.text, "rank 1 was silent for 3 s"), "%s",
                  silent.ranks[0].reason.text);
    ck_assert_int_eq(silent.ranks[1].status, STATUS_IO);
    world_close(&slow);
    world_close(&silent);
}
END_TEST

/* ---- windows ---- */

START_TEST(any_window_gives_the_same_bytes)
{
    static const uint64_t windows[] = {UINT64_C(1) << 20, UINT64_C(5000001), UINT64_C(1) << 30};
    for (size_t i = 0; i < COUNT_OF(windows); i++) {
        struct world world;
        world_open(&world, SHARDING_TENSOR, 3, 2);
        for (uint32_t rank = 0; rank < world.count; rank++) {
            world.ranks[rank].request.batch_size = 0;
            world.ranks[rank].request.window = windows[i];
        }
        world_run(&world);
        world_check_bytes(&world);
        world_close(&world);
    }
}
END_TEST

/* ---- round trips ---- */

static void poison(void *context, const struct shard_plan *plan, struct shard *shard)
{
    (void)context;
    for (size_t i = 0; i < plan->slice_count; i++) {
        uint64_t size = 0;
        uint8_t *target = shard_receive_target(shard, i, &size);
        memset(target, 0xa5, size);
    }
}

static void check_round_trip(const char *name, enum sharding sharding, uint32_t count)
{
    struct world world;
    char path[256];
    (void)snprintf(path, sizeof(path), MODELS "%s", name);
    world_open_model(&world, path, sharding, count, 1);
    for (uint32_t i = 0; i < count; i++) {
        world.ranks[i].request.opened = poison;
        world.ranks[i].request.batch_size = 7001; /* cuts through rows, groups and words */
    }
    world_run(&world);
    world_check_bytes(&world);
    world_close(&world);
}

START_TEST(scatters_of_every_type_and_cut_come_back_as_they_left)
{
    static const char *const names[] = {
        "qwen3-untied__affine2-g128",
        "qwen3-untied__affine3-g32",
        "qwen3-untied__affine4-g64",
        "qwen3-untied__affine5-g128",
        "qwen3-short__affine6-g32",
        "qwen3-short__affine8-g64",
        "qwen3-short__mixed-false",
        "gpt_oss-slim__mxfp4-q8",
        "qwen3-slim__f16",
        "qwen3-untied__f16-affine4-g64",
        "qwen3_moe-slim__affine4-g32",
        "deepseek_v3-slim__affine4-g32",
        "qwen3_5-slim__affine4-g32",
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        check_round_trip(names[i], SHARDING_PIPELINE, 2);
        check_round_trip(names[i], SHARDING_TENSOR, 2);
    }
    check_round_trip(names[0], SHARDING_PIPELINE, 4);
}
END_TEST

/* NaNs with payloads, -0.0, infinities, denormals: nothing computes with what is sent. */
START_TEST(a_posted_message_keeps_every_bit)
{
    static const uint32_t bits[] = {0x7fc00001, 0xffffffff, 0x80000000, 0x7f800001, 0x00000001,
                                    0xff800000, 0x7fa5a5a5, 0};
    struct collective_threads *threads = NULL;
    struct reason reason = {""};
    uint32_t got[COUNT_OF(bits)];
    uint32_t post[2];
    bool is_done = false;
    ck_assert_int_eq(collective_threads_open(2, &threads, &reason), STATUS_OK);
    struct collective *first = collective_threads_member(threads, 0);
    struct collective *second = collective_threads_member(threads, 1);
    uint32_t sent[COUNT_OF(bits)];
    memcpy(sent, bits, sizeof(bits));
    memset(got, 0, sizeof(got));
    ck_assert_int_eq(second->ops->post_receive(second, CHANNEL_BATCHES, got, sizeof(got), 0,
                                               &post[1]), STATUS_OK);
    ck_assert_int_eq(second->ops->post_look(second, post[1], &is_done), STATUS_OK);
    ck_assert(!is_done);
    ck_assert_int_eq(first->ops->post_send(first, CHANNEL_BATCHES, sent, sizeof(sent), 1,
                                           &post[0]), STATUS_OK);
    ck_assert_int_eq(first->ops->post_look(first, post[0], &is_done), STATUS_OK);
    ck_assert(is_done);
    ck_assert_int_eq(second->ops->post_look(second, post[1], &is_done), STATUS_OK);
    ck_assert(is_done);
    ck_assert_mem_eq(got, bits, sizeof(bits));
    collective_threads_close(threads);
}
END_TEST

/* ---- words ---- */

static const struct collective_ops *plain_ops;
static struct collective_ops counting_ops;
static uint32_t whole_words[RANKS_MAX]; /* each written by the thread of that rank alone */

static enum status count_words(struct collective *collective, enum collective_channel channel,
                               const void *bytes, size_t size, uint32_t target, uint32_t *post_out)
{
    const struct stream_word *word = bytes;
    if (channel == CHANNEL_WORDS && word->kind == WORD_WHOLE) {
        ck_assert_uint_eq(target, word->source);
        whole_words[collective->rank]++;
    }
    return plain_ops->post_send(collective, channel, bytes, size, target, post_out);
}

/* Rank 0 alone has the files; whatever the batches are, a layer is one word. */
static void check_words(enum sharding sharding, uint32_t count, size_t batch_size)
{
    struct world world;
    world_open(&world, sharding, count, 1);
    memset(whole_words, 0, sizeof(whole_words));
    for (uint32_t i = 0; i < count; i++) {
        plain_ops = world.ranks[i].request.collective->ops;
        counting_ops = *plain_ops;
        counting_ops.post_send = count_words;
        world.ranks[i].request.batch_size = batch_size;
    }
    for (uint32_t i = 0; i < count; i++)
        world.ranks[i].request.collective->ops = &counting_ops;
    world_run(&world);
    world_check_bytes(&world);
    ck_assert_uint_eq(whole_words[0], 0);
    for (uint32_t i = 1; i < count; i++) {
        const struct partition *partition = &world.partitions[i];
        const uint32_t layers = partition->layer_end - partition->layer_first;
        ck_assert_uint_gt(layers, 0);
        /* Embedding, last norm and head come before the first layer, as one step. */
        ck_assert_uint_eq(whole_words[i],
                          layers + (partition->has_embedding || partition->has_head));
    }
    world_close(&world);
}

START_TEST(a_receiver_answers_each_layer_with_one_word)
{
    check_words(SHARDING_PIPELINE, 2, 7001);
    check_words(SHARDING_PIPELINE, 3, 1 << 20);
    check_words(SHARDING_TENSOR, 2, 7001);
    check_words(SHARDING_TENSOR, 3, 1 << 20);
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
        a_rank_with_some_files_reads_those_and_receives_the_rest,
        what_one_source_damages_comes_from_those_who_have_that_file,
        a_file_that_is_gone_is_named,
        ranks_without_files_are_served_by_one_that_keeps_nothing,
        ranks_without_files_are_served_by_several_that_hold_them_together,
        ranks_that_hold_the_model_only_together_load_it,
        a_part_that_is_gone_ends_the_load_on_all_ranks_and_is_named,
        parts_that_are_not_of_one_model_are_refused_by_all_ranks,
        a_reading_that_stalls_names_its_file_and_counts_no_further,
        a_disk_that_trickles_and_a_rank_that_is_silent_end_the_load_by_name,
        any_window_gives_the_same_bytes,
        scatters_of_every_type_and_cut_come_back_as_they_left,
        a_posted_message_keeps_every_bit,
        a_receiver_answers_each_layer_with_one_word,
    };
    suite_add(suite, "sources", tests, COUNT_OF(tests));
    return suite;
}
