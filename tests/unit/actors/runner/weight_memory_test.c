/* SPDX-License-Identifier: Apache-2.0 */
/* Of a weight file that a rank has, only what it keeps is in its memory: neither the slices of the
 * others that it sent, nor what the system maps beside the pages it touches. */
#include "actors/runner/engine/collective_threads.h"
#include "actors/runner/engine/engine.h"
#include "actors/runner/weight_load.h"
#include "protocol/memory.h"
#include "runtime/partition.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WEIGHTS "model.safetensors"
#define RANKS 2u

static struct scratch scratch;

/* The weight file is copied, so that all of it is in the page cache. */
static void setup(void)
{
    static const char *const names[] = {"config.json", WEIGHTS};
    scratch_open(&scratch);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char from[512];
        char source[600];
        char to[256];
        size_t size = 0;
        (void)source_path("scripts/demo-model/model", from);
        (void)snprintf(source, sizeof(source), "%s/%s", from, names[i]);
        char *bytes = file_bytes(source, &size);
        file_put(scratch_path(&scratch, names[i], to), bytes, size);
        memory_free(bytes);
    }
}

static void teardown(void)
{
    scratch_close(&scratch);
}

/* Bytes of weight files that the kernel counts as resident in this process. */
static uint64_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/smaps", "r");
    char line[1024];
    bool is_weights = false;
    uint64_t kb = 0;
    if (!file)
        return UINT64_MAX;
    while (fgets(line, sizeof(line), file)) {
        static const char rss[] = "Rss:";
        if (line[0] < 'A' || line[0] > 'Z') /* a mapping; its figures have names */
            is_weights = strstr(line, scratch.path) != NULL;
        else if (is_weights && strncmp(line, rss, strlen(rss)) == 0)
            kb += strtoull(line + strlen(rss), NULL, 10);
    }
    (void)fclose(file);
    return kb << 10;
}

struct rank {
    pthread_t thread;
    struct weight_load_request request;
    struct weight_load load;
    enum status status;
    struct reason reason;
    uint64_t resident_after_sending;
};

/* On the thread of a rank that sends, after a batch is through; on a receiver's too. */
static void progressed(void *context, uint64_t bytes_have, uint64_t bytes_total)
{
    struct rank *rank = context;
    if (bytes_have == bytes_total)
        rank->resident_after_sending = resident_bytes();
}

static void *load_rank(void *argument)
{
    struct rank *rank = argument;
    rank->status = weight_load_open(&rank->request, &rank->load, &rank->reason);
    return NULL;
}

/* Reads every byte the rank keeps; the pages of the file that hold what it uses in place, marked in
 * `is_used`. */
static void use_all(const struct weight_load *load, bool *is_used, uint64_t page)
{
    const struct shard_plan *plan = load->plans[load->rank];
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < plan->slice_count; i++) {
        const struct shard_slice *slice = &plan->slices[i];
        uint64_t stride = 0;
        const uint8_t *kept = shard_part(load->shard, slice->module, slice->part, &stride);
        ck_assert_ptr_nonnull(kept);
        for (uint64_t row = 0; row < slice->row_end - slice->row_first; row++)
            for (uint64_t at = 0; at < slice->byte_end - slice->byte_first; at++)
                sum = (uint8_t)(sum + kept[row * stride + at]);
        if (!load->files || !weight_files_at(load->files, kept))
            continue;
        uint64_t first = slice->tensor->offset + slice->row_first * slice->row_bytes;
        for (uint64_t at = first / page; at <= (first + slice->size - 1) / page; at++)
            is_used[at] = true;
    }
}

static void load_world(enum sharding sharding, const bool *has_files, struct rank *ranks,
                       struct collective_threads **world_out, struct model_config **config_out)
{
    static struct partition partitions[RANKS];
    static const struct weight_source source = {WEIGHTS, 0, 0};
    static const uint64_t shares[RANKS] = {1, 1};
    struct engine_model model;
    struct reason reason = {""};
    ck_assert_int_eq(engine_model_open(scratch.path, &model, &reason), STATUS_OK);
    const struct partition_units units = partition_units_of(model.config, model.layout);
    ck_assert_int_eq(partition_solve(sharding, &units, shares, RANKS, partitions, &reason),
                     STATUS_OK);
    engine_model_close(&model);
    ck_assert_int_eq(model_config_read(scratch.path, config_out, &reason), STATUS_OK);
    ck_assert_int_eq(collective_threads_open(RANKS, world_out, &reason), STATUS_OK);
    for (uint32_t i = 0; i < RANKS; i++) {
        ranks[i] = (struct rank){.request = {.collective =
                                                 collective_threads_member(*world_out, i),
                                             .directory = scratch.path,
                                             .config = *config_out,
                                             .partitions = partitions,
                                             .has_files = has_files,
                                             .sources = &source,
                                             .source_count = 1,
                                             .batch_size = 50000,
                                             .progressed = progressed,
                                             .context = &ranks[i]}};
        ck_assert_int_eq(pthread_create(&ranks[i].thread, NULL, load_rank, &ranks[i]), 0);
    }
    for (uint32_t i = 0; i < RANKS; i++) {
        ck_assert_int_eq(pthread_join(ranks[i].thread, NULL), 0);
        ck_assert_msg(ranks[i].status == STATUS_OK, "%s", ranks[i].reason.text);
    }
}

static void check_world(enum sharding sharding, bool is_local)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const bool has_files[RANKS] = {true, is_local};
    struct rank ranks[RANKS];
    struct collective_threads *world = NULL;
    struct model_config *config = NULL;
    load_world(sharding, has_files, ranks, &world, &config);
    uint64_t allowed = 0;
    for (uint32_t i = 0; i < RANKS; i++) {
        const uint64_t pages = ranks[i].load.table->files[0].size / page + 1;
        bool *is_used = memory_zeroed(pages, sizeof *is_used);
        ck_assert_ptr_nonnull(is_used);
        use_all(&ranks[i].load, is_used, page);
        uint64_t used = 0;
        for (uint64_t at = 0; at < pages; at++)
            used += is_used[at];
        ck_assert_msg(used > 0 || !has_files[i], "rank %u uses nothing in place", i);
        allowed += used * page;
        memory_free(is_used);
    }
    const uint64_t resident = resident_bytes();
    ck_assert_msg(resident <= allowed, "%llu bytes of the file are resident, %llu in use",
                  (unsigned long long)resident, (unsigned long long)allowed);
    if (!is_local)
        ck_assert_msg(ranks[0].resident_after_sending == 0,
                      "%llu bytes are resident after all was sent",
                      (unsigned long long)ranks[0].resident_after_sending);
    for (uint32_t i = 0; i < RANKS; i++)
        weight_load_close(&ranks[i].load);
    collective_threads_close(world);
    model_config_free(config);
}

START_TEST(a_rank_has_only_what_it_keeps_of_a_file)
{
    check_world(SHARDING_TENSOR, true);
    check_world(SHARDING_PIPELINE, true);
}
END_TEST

START_TEST(a_source_keeps_nothing_of_what_it_sent)
{
    check_world(SHARDING_TENSOR, false);
    check_world(SHARDING_PIPELINE, false);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const all[] = {
        a_rank_has_only_what_it_keeps_of_a_file,
        a_source_keeps_nothing_of_what_it_sent,
    };
    Suite *suite = suite_create("weight_memory");
    TCase *tests = tcase_create("weight_memory");
    tcase_add_checked_fixture(tests, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(all); i++)
        tcase_add_test(tests, all[i]);
    suite_add_tcase(suite, tests);
    return suite;
}
