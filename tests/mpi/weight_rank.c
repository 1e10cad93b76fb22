/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight_rank: one rank of a world in which some ranks have the weight files and some do not.
 *
 *     weight_rank MODEL SHARDING SHARES HOLDERS [BATCH_SIZE [once|twice|report|load|link]]
 *
 * SHARES is "1,1" or "50,30,20", one for each rank; HOLDERS the ranks that have the files, "0" or
 * "1,2"; weight file i is sent by holder i modulo their number.  Every rank then compares all its
 * slices with the files.  `once` and `twice` damage batch 1 to the last rank that often.  `report`
 * prints a line of figures.  `load` reads every byte it keeps instead of comparing, as a first
 * token would, and prints the peak of its proportional set size too.  Ends with 0 when all is
 * right, 3 when not, 5 when the load was refused.
 */
#include "actors/runner/collective_mpi.h"
#include "actors/runner/weight_load.h"
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "tests/mpi/expect.h"
#include "tests/mpi/kept_bytes.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { RANKS_MAX = 8, FILES_MAX = 64, PLAIN_SIZE = 8 << 20, TURNS = 9 };

struct world {
    struct collective *collective;
    const char *model;
    const char *action;
    struct model_config *config;
    struct partition partitions[RANKS_MAX];
    bool has_files[RANKS_MAX];
    struct weight_source sources[FILES_MAX];
    size_t source_count;
    uint64_t batch_size;
    uint64_t started_ms;
    uint64_t loaded_ms;
};

static uint32_t parse_numbers(const char *text, uint64_t numbers_out[RANKS_MAX])
{
    uint32_t count = 0;
    for (const char *at = text; count < RANKS_MAX;) {
        char *end = NULL;
        numbers_out[count++] = strtoull(at, &end, 10);
        if (*end != ',')
            break;
        at = end + 1;
    }
    return count;
}

static void make_placement(struct world *world, const char *sharding_word, const char *shares_text,
                           const char *holders_text)
{
    struct reason reason = {""};
    struct tensor_table *table = NULL;
    struct model_layout *layout = NULL;
    uint64_t shares[RANKS_MAX];
    uint64_t holders[RANKS_MAX];
    enum sharding sharding;
    EXPECT(sharding_parse(sharding_word, &sharding));
    uint32_t ranks = parse_numbers(shares_text, shares);
    uint32_t holder_count = parse_numbers(holders_text, holders);
    EXPECT(model_config_read(world->model, &world->config, &reason) == STATUS_OK);
    EXPECT(safetensors_open(world->model, &table, &reason) == STATUS_OK);
    EXPECT(model_layout_make(world->config, table, &layout, &reason) == STATUS_OK);
    struct partition_units units = partition_units_of(world->config, layout);
    EXPECT(partition_solve(sharding, &units, shares, ranks, world->partitions, &reason) ==
           STATUS_OK);
    for (uint32_t i = 0; i < holder_count; i++)
        world->has_files[holders[i]] = true;
    EXPECT(table->file_count <= FILES_MAX);
    for (size_t i = 0; i < table->file_count; i++) {
        const char *name = memory_text(table->files[i].name, strlen(table->files[i].name));
        world->sources[world->source_count++] =
            (struct weight_source){name, (uint32_t)holders[i % holder_count], 0};
    }
    model_layout_free(layout);
    tensor_table_free(table);
}

static void damage(void *context, uint32_t receiver, size_t batch, int attempt, uint8_t *bytes,
                   size_t size)
{
    struct world *world = context;
    bool always = strcmp(world->action, "twice") == 0;
    if (receiver == world->collective->size - 1 && batch == 1 && (attempt == 0 || always))
        bytes[size / 2] ^= 4;
}

/* A number of the kernel's about this process; `name` with its colon. */
static uint64_t own_number(const char *path, const char *name)
{
    FILE *file = fopen(path, "r");
    char line[256];
    uint64_t number = 0;
    while (file && fgets(line, sizeof(line), file))
        if (strncmp(line, name, strlen(name)) == 0)
            number = strtoull(line + strlen(name), NULL, 10);
    if (file)
        (void)fclose(file);
    return number;
}

/* Looks at the proportional set size of this process while it loads. */
struct watcher {
    pthread_t thread;
    _Atomic bool is_ending;
    uint64_t peak_kb;
};

static void *watch(void *argument)
{
    struct watcher *watcher = argument;
    while (!watcher->is_ending) {
        uint64_t kb = own_number("/proc/self/smaps_rollup", "Pss:");
        if (kb > watcher->peak_kb)
            watcher->peak_kb = kb;
        clock_sleep_ms(3);
    }
    return NULL;
}

static uint64_t read_all(const struct weight_load *load)
{
    const struct shard_plan *plan = load->plans[load->rank];
    uint64_t sum = 0;
    for (size_t i = 0; i < plan->slice_count; i++) {
        const struct shard_slice *slice = &plan->slices[i];
        uint64_t stride = 0;
        const uint8_t *kept = shard_part(load->shard, slice->module, slice->part, &stride);
        for (uint64_t row = 0; row < slice->row_end - slice->row_first; row++)
            for (uint64_t at = 0; at < slice->byte_end - slice->byte_first; at += 64)
                sum += kept[row * stride + at];
    }
    return sum;
}

static void report(const struct world *world, const struct weight_load *load, uint64_t written,
                   uint64_t peak_kb)
{
    const struct weight_stream_counters *counters = &load->counters;
    printf("rank %" PRIu32 " peak_kb %" PRIu64 " keeps %" PRIu64 " sent %" PRIu64
           " received %" PRIu64 " repeated %" PRIu64 " written %" PRIu64
           " pss_kb %" PRIu64 " hwm_kb %" PRIu64 " ms %" PRIu64 "\n",
           load->rank, peak_kb, load->plans[load->rank]->bytes, counters->bytes_sent,
           counters->bytes_received, counters->batches_repeated, written,
           own_number("/proc/self/smaps_rollup", "Pss:"), own_number("/proc/self/status", "VmHWM:"),
           world->loaded_ms);
    (void)fflush(stdout);
}

/* As many bytes as the load sent, of nothing, in turn to each receiver; by the first holder. */
static void send_plain(const struct world *world, uint64_t *left, uint8_t *buffer)
{
    struct collective *collective = world->collective;
    uint32_t source = 0;
    while (!world->has_files[source])
        source++;
    for (bool is_sent = true; is_sent;) {
        is_sent = false;
        for (uint32_t rank = 0; rank < collective->size; rank++) {
            const uint64_t size = left[rank] < PLAIN_SIZE ? left[rank] : PLAIN_SIZE;
            if (world->has_files[rank] || size == 0)
                continue;
            is_sent = true;
            left[rank] -= size;
            if (collective->rank == source)
                EXPECT(collective->ops->send(collective, buffer, size, rank) == STATUS_OK);
            else if (collective->rank == rank)
                EXPECT(collective->ops->receive(collective, buffer, size, source) == STATUS_OK);
        }
    }
}

/* Of all threads of this process, in user and system. */
static uint64_t core_us(void)
{
    struct rusage usage;
    EXPECT(getrusage(RUSAGE_SELF, &usage) == 0);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static uint64_t passed_us(struct collective *collective, uint64_t start_us)
{
    EXPECT(collective->ops->barrier(collective) == STATUS_OK);
    return clock_now_us() - start_us;
}

static void compare_with_link(const struct world *world, const struct weight_load_request *request)
{
    struct collective *collective = world->collective;
    uint8_t *buffer = memory_zeroed(PLAIN_SIZE, 1);
    EXPECT(buffer);
    memset(buffer, 1, PLAIN_SIZE);
    for (int turn = 0; turn < TURNS; turn++) {
        struct weight_load load;
        struct reason reason = {""};
        uint64_t left[RANKS_MAX] = {0};
        uint64_t kept = 0;
        EXPECT(collective->ops->barrier(collective) == STATUS_OK);
        uint64_t start_us = clock_now_us();
        const uint64_t load_core_us = core_us();
        EXPECT(weight_load_open(request, &load, &reason) == STATUS_OK);
        const uint64_t load_us = passed_us(collective, start_us);
        for (uint32_t rank = 0; rank < collective->size; rank++) {
            left[rank] = load.plans[rank]->bytes;
            kept += world->has_files[rank] ? 0 : left[rank];
        }
        const struct weight_stream_counters counters = load.counters;
        printf("rank %" PRIu32 " turn %d opening_us %" PRIu64 " memory_us %" PRIu64
               " stream_us %" PRIu64
               " read_us %" PRIu64 " check_us %" PRIu64 " filling_us %" PRIu64
               " core_us %" PRIu64 "\n",
               collective->rank, turn, load.opening_us, load.memory_us, counters.stream_us,
               counters.read_us,
               counters.check_us, load.filling_us, core_us() - load_core_us);
        (void)fflush(stdout);
        const size_t tensors = load.table->tensor_count;
        weight_load_close(&load);
        EXPECT(collective->ops->barrier(collective) == STATUS_OK);
        start_us = clock_now_us();
        const uint64_t plain_core_us = core_us();
        send_plain(world, left, buffer);
        const uint64_t own_core_us = core_us() - plain_core_us;
        const uint64_t plain_us = passed_us(collective, start_us);
        printf("rank %" PRIu32 " turn %d plain_core_us %" PRIu64 "\n", collective->rank, turn,
               own_core_us);
        (void)fflush(stdout);
        if (collective->rank == 0)
            printf("turn %d load_us %" PRIu64 " plain_us %" PRIu64 " kept %" PRIu64
                   " sent %" PRIu64 " tensors %zu\n", turn, load_us, plain_us, kept,
                   counters.bytes_sent, tensors);
    }
    memory_free(buffer);
}

int main(int count, char **arguments)
{
    static struct world world;
    if (count < 5)
        return 2;
    world.model = arguments[1];
    world.batch_size = count > 5 ? strtoull(arguments[5], NULL, 10) : 0;
    world.action = count > 6 ? arguments[6] : "";
    make_placement(&world, arguments[2], arguments[3], arguments[4]);
    uint64_t numbers[RANKS_MAX];
    struct reason reason = {""};
    if (collective_mpi_open(parse_numbers(arguments[3], numbers), &world.collective, &reason) !=
        STATUS_OK) {
        fprintf(stderr, "rank refuses: %s\n", reason.text);
        _exit(4);
    }
    uint64_t written = own_number("/proc/self/io", "wchar:");
    world.started_ms = clock_now_ms();
    bool damages = strcmp(world.action, "once") == 0 || strcmp(world.action, "twice") == 0;
    const struct weight_load_request request = {
        .collective = world.collective,
        .directory = world.model,
        .config = world.config,
        .partitions = world.partitions,
        .has_files = world.has_files,
        .sources = world.sources,
        .source_count = world.source_count,
        .batch_size = world.batch_size,
        .sending = damages ? damage : NULL,
        .context = &world,
    };
    if (strcmp(world.action, "link") == 0) {
        compare_with_link(&world, &request);
        collective_mpi_close(world.collective);
        return 0;
    }
    struct weight_load load;
    struct watcher watcher = {.peak_kb = 0};
    bool is_watched = strcmp(world.action, "load") == 0;
    if (is_watched)
        EXPECT(pthread_create(&watcher.thread, NULL, watch, &watcher) == 0);
    if (weight_load_open(&request, &load, &reason) != STATUS_OK) {
        fprintf(stderr, "load refused: %s\n", reason.text);
        _exit(5);
    }
    written = own_number("/proc/self/io", "wchar:") - written;
    world.loaded_ms = clock_now_ms() - world.started_ms;
    if (is_watched) {
        if (read_all(&load) == 0)
            fprintf(stderr, "every weight is zero\n");
        clock_sleep_ms(50);
        watcher.is_ending = true;
        (void)pthread_join(watcher.thread, NULL);
    }
    if (strcmp(world.action, "report") == 0 || strcmp(world.action, "load") == 0 || damages)
        report(&world, &load, written, watcher.peak_kb);
    if (strcmp(world.action, "load") != 0)
        kept_bytes_compare(world.model, &load); /* the files are here on every rank */
    weight_load_close(&load);
    collective_mpi_close(world.collective);
    return 0;
}
