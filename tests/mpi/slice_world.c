/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slice_world: ranks that are threads, of which only rank 0 has the weight files, show what came
 * into their memory and compute greedy tokens together in exact mode.
 *
 *     slice_world MODEL pipeline|tensor SHARES DIRECTORY IDS COUNT
 *
 * SHARES is "1,1" or "50,30,20".  The memory of each receiver is filled with a pattern before
 * anything comes.  DIRECTORY gets rank<i>.bin, the bytes a rank keeps, slice after slice, and
 * rank<i>.txt, a line for each: tensor, rows first and end, bytes of a row first and end, bytes of
 * a whole row.  Prints COUNT tokens after IDS ("1,2,3").  Ends with 5 when the cut or the load was
 * refused, with the reason on standard error.
 */
#include "actors/runner/engine/collective_threads.h"
#include "actors/runner/engine/engine.h"
#include "actors/runner/weight_load.h"
#include "protocol/memory.h"
#include "runtime/partition.h"
#include "tests/mpi/expect.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RANKS_MAX = 8, NUMBERS_MAX = 256, FILES_MAX = 64, PATTERN = 0xa5 };

struct world {
    const char *directory;
    const char *out;
    enum sharding sharding;
    uint32_t count;
    struct collective_threads *threads;
    struct model_config *config;
    struct partition partitions[RANKS_MAX];
    struct weight_source sources[FILES_MAX];
    size_t source_count;
    uint32_t ids[NUMBERS_MAX];
    size_t id_count;
    uint32_t token_count;
};

struct rank {
    pthread_t thread;
    const struct world *world;
    struct collective *collective;
    struct engine *engine;
    uint32_t sequence;
    float *hidden; /* [NUMBERS_MAX][hidden] */
    float *logits;
};

static size_t parse_numbers(const char *text, size_t count_max, uint64_t *numbers_out)
{
    size_t count = 0;
    for (const char *at = text; count < count_max;) {
        char *end = NULL;
        numbers_out[count++] = strtoull(at, &end, 10);
        if (*end != ',')
            break;
        at = end + 1;
    }
    return count;
}

_Noreturn static void end_refused(const struct reason *reason)
{
    fprintf(stderr, "refused: %s\n", reason->text);
    _exit(5);
}

static void make_world(struct world *world, const char *shares_text)
{
    struct reason reason = {""};
    struct tensor_table *table = NULL;
    struct model_layout *layout = NULL;
    uint64_t shares[RANKS_MAX];
    world->count = (uint32_t)parse_numbers(shares_text, RANKS_MAX, shares);
    EXPECT(model_config_read(world->directory, &world->config, &reason) == STATUS_OK);
    EXPECT(safetensors_open(world->directory, &table, &reason) == STATUS_OK);
    EXPECT(model_layout_make(world->config, table, &layout, &reason) == STATUS_OK);
    const struct partition_units units = partition_units_of(world->config, layout);
    if (partition_solve(world->sharding, &units, shares, world->count, world->partitions,
                        &reason) != STATUS_OK)
        end_refused(&reason);
    EXPECT(table->file_count <= FILES_MAX);
    for (size_t i = 0; i < table->file_count; i++) {
        const char *name = table->files[i].name;
        world->sources[world->source_count++] =
            (struct weight_source){.file = memory_text(name, strlen(name))};
    }
    model_layout_free(layout);
    tensor_table_free(table);
    EXPECT(collective_threads_open(world->count, &world->threads, &reason) == STATUS_OK);
}

static void fill(void *context, const struct shard_plan *plan, struct shard *shard)
{
    (void)context;
    for (size_t i = 0; i < plan->slice_count; i++) {
        uint64_t size = 0;
        uint8_t *target = shard_receive_target(shard, i, &size);
        memset(target, PATTERN, size);
    }
}

static FILE *open_out(const struct rank *rank, const char *ending)
{
    char path[1024];
    (void)snprintf(path, sizeof(path), "%s/rank%" PRIu32 ".%s", rank->world->out,
                   rank->collective->rank, ending);
    FILE *file = fopen(path, "w");
    EXPECT(file);
    return file;
}

static void show(const struct rank *rank, const struct weight_load *load)
{
    const struct shard_plan *plan = load->plans[load->rank];
    FILE *bytes = open_out(rank, "bin");
    FILE *lines = open_out(rank, "txt");
    for (size_t i = 0; i < plan->slice_count; i++) {
        const struct shard_slice *slice = &plan->slices[i];
        const uint64_t width = slice->byte_end - slice->byte_first;
        uint64_t stride = 0;
        const uint8_t *kept = shard_part(load->shard, slice->module, slice->part, &stride);
        EXPECT(kept);
        for (uint64_t row = 0; row < slice->row_end - slice->row_first; row++)
            EXPECT(fwrite(kept + row * stride, 1, width, bytes) == width);
        fprintf(lines, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
                slice->tensor->name, slice->row_first, slice->row_end, slice->byte_first,
                slice->byte_end, slice->row_bytes);
    }
    EXPECT(fclose(bytes) == 0 && fclose(lines) == 0);
}

/* Rank 0 ends with the logits of the last row. */
static void step(struct rank *rank, const struct engine_row *rows, size_t count)
{
    struct collective *collective = rank->collective;
    const size_t width = engine_hidden(rank->engine);
    const size_t size = count * width * sizeof(float);
    const size_t logits_size = engine_vocab(rank->engine) * sizeof(float);
    struct reason reason = {""};
    struct engine_batch batch = {.rows = rows, .count = count};
    if (rank->world->sharding == SHARDING_TENSOR) {
        batch.logits_out = collective->rank == 0 ? rank->logits : NULL;
        EXPECT(engine_forward(rank->engine, &batch, &reason) == STATUS_OK);
        return;
    }
    const bool is_last = collective->rank + 1 == collective->size;
    if (collective->rank > 0) {
        EXPECT(collective->ops->receive(collective, rank->hidden, size, collective->rank - 1) ==
               STATUS_OK);
        batch.hidden_in = rank->hidden;
    }
    batch.hidden_out = is_last ? NULL : rank->hidden;
    batch.logits_out = is_last ? rank->logits : NULL;
    EXPECT(engine_forward(rank->engine, &batch, &reason) == STATUS_OK);
    if (is_last)
        EXPECT(collective->ops->send(collective, rank->logits, logits_size, 0) == STATUS_OK);
    else
        EXPECT(collective->ops->send(collective, rank->hidden, size, collective->rank + 1) ==
               STATUS_OK);
    if (collective->rank == 0)
        EXPECT(collective->ops->receive(collective, rank->logits, logits_size,
                                        collective->size - 1) == STATUS_OK);
}

/* Rank 0 chooses, all know. */
static uint32_t choose(struct rank *rank)
{
    uint32_t best = 0;
    for (uint32_t i = 1; rank->collective->rank == 0 && i < engine_vocab(rank->engine); i++)
        best = rank->logits[i] > rank->logits[best] ? i : best;
    EXPECT(rank->collective->ops->broadcast(rank->collective, &best, sizeof best, 0) ==
           STATUS_OK);
    return best;
}

static void generate(struct rank *rank)
{
    const struct world *world = rank->world;
    struct engine_row rows[NUMBERS_MAX];
    struct reason reason = {""};
    EXPECT(engine_sequence_open(rank->engine, &rank->sequence, &reason) == STATUS_OK);
    for (size_t i = 0; i < world->id_count; i++)
        rows[i] = (struct engine_row){rank->sequence, world->ids[i], (uint32_t)i,
                                      i + 1 == world->id_count};
    step(rank, rows, world->id_count);
    for (uint32_t i = 0; i < world->token_count; i++) {
        const uint32_t token = choose(rank);
        if (rank->collective->rank == 0)
            printf("%s%" PRIu32, i > 0 ? "," : "", token);
        if (i + 1 == world->token_count)
            break;
        rows[0] = (struct engine_row){rank->sequence, token, (uint32_t)world->id_count + i, true};
        step(rank, rows, 1);
    }
}

static void *run_rank(void *argument)
{
    struct rank *rank = argument;
    const struct world *world = rank->world;
    static const bool has_files[RANKS_MAX] = {true};
    const uint32_t own = rank->collective->rank;
    const struct weight_load_request request = {.collective = rank->collective,
                                                .directory = world->directory,
                                                .config = world->config,
                                                .partitions = world->partitions,
                                                .has_files = has_files,
                                                .sources = world->sources,
                                                .source_count = world->source_count,
                                                .opened = fill};
    struct weight_load load;
    struct reason reason = {""};
    if (weight_load_open(&request, &load, &reason) != STATUS_OK)
        end_refused(&reason);
    show(rank, &load);
    const struct engine_model model = {world->config, load.table, load.layout, load.files};
    const struct engine_options options = {.mode = ENGINE_EXACT, .threads = 1, .context = 512,
                                           .collective = rank->collective};
    if (engine_open(&model, &world->partitions[own], load.shard, &options, &rank->engine,
                    &reason) != STATUS_OK)
        end_refused(&reason);
    rank->hidden = memory_zeroed(NUMBERS_MAX * (size_t)engine_hidden(rank->engine), sizeof(float));
    rank->logits = memory_zeroed(engine_vocab(rank->engine), sizeof(float));
    EXPECT(rank->hidden && rank->logits);
    generate(rank);
    engine_close(rank->engine);
    memory_free(rank->hidden);
    memory_free(rank->logits);
    weight_load_close(&load);
    return NULL;
}

int main(int count, char **arguments)
{
    static struct world world;
    static struct rank ranks[RANKS_MAX];
    uint64_t numbers[NUMBERS_MAX];
    if (count != 7 || !sharding_parse(arguments[2], &world.sharding))
        return 2;
    world.directory = arguments[1];
    world.out = arguments[4];
    world.id_count = parse_numbers(arguments[5], NUMBERS_MAX, numbers);
    for (size_t i = 0; i < world.id_count; i++)
        world.ids[i] = (uint32_t)numbers[i];
    world.token_count = (uint32_t)strtoul(arguments[6], NULL, 10);
    make_world(&world, arguments[3]);
    for (uint32_t i = 0; i < world.count; i++) {
        ranks[i].world = &world;
        ranks[i].collective = collective_threads_member(world.threads, i);
        EXPECT(pthread_create(&ranks[i].thread, NULL, run_rank, &ranks[i]) == 0);
    }
    for (uint32_t i = 0; i < world.count; i++)
        EXPECT(pthread_join(ranks[i].thread, NULL) == 0);
    printf("\n");
    collective_threads_close(world.threads);
    model_config_free(world.config);
    for (size_t i = 0; i < world.source_count; i++)
        memory_free((void *)(uintptr_t)world.sources[i].file);
    return 0;
}
