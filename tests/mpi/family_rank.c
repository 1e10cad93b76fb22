/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_rank: one of some ranks that load a model, of which only rank 0 has the weight files, and
 * compute greedy tokens together in exact mode.
 *
 *     family_rank MODEL SHARDING IDS TOKENS [SHARES [SMALL [LOGITS]]]
 *
 * SHARDING is pipeline, tensor, or pipeline-tensor/2,1 with the ranks of each stage.
 * IDS and TOKENS are "1,2,3", or several of them, "1,2,3/4,5", of as many prompts; SHARES "1,1"
 * (the default) or "50,30,20", one for each rank.  SMALL is a directory with the small files of
 * MODEL, which is all that the ranks but 0 have; "-": they have all.  Rank 0 writes the logits of
 * each prompt's last position to the file LOGITS.  The memory of the others is filled with a
 * pattern before anything comes, and compared with the files after.  Ends with 0 when rank 0 found
 * the tokens, 3 when not, 5 when the cut or the load was refused.
 */
#include "actors/runner/collective_mpi.h"
#include "actors/runner/engine/engine.h"
#include "actors/runner/weight_load.h"
#include "protocol/memory.h"
#include "tests/mpi/expect.h"
#include "tests/mpi/kept_bytes.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RANKS_MAX 8u
#define NUMBERS_MAX 256u
#define FILES_MAX 64u

struct rank {
    struct collective *collective;
    struct engine *engine;
    uint32_t count; /* of all ranks */
    uint64_t shares[RANKS_MAX];
    enum sharding sharding;
    uint32_t sizes[RANKS_MAX]; /* of the stages of a pipeline of tensor groups */
    uint32_t size_count;
    const struct partition *partitions;
    uint32_t number; /* among all ranks; the collective's is that in the stage */
    uint32_t sequence;
    float *hidden; /* [NUMBERS_MAX][hidden] */
    float *logits;
    FILE *written; /* rank 0: where the logits of prompts go; NULL: nowhere */
};

static size_t parse_numbers(const char *text, uint32_t *numbers_out)
{
    size_t count = 0;
    for (const char *at = text; count < NUMBERS_MAX;) {
        char *end = NULL;
        numbers_out[count++] = (uint32_t)strtoul(at, &end, 10);
        if (*end != ',')
            break;
        at = end + 1;
    }
    return count;
}

static void load(struct rank *rank, const char *directory, const char *own_directory,
                 struct model_config *config, struct partition *partitions,
                 struct weight_load *load_out)
{
    static struct weight_source sources[FILES_MAX];
    static const bool has_files[RANKS_MAX] = {true};
    struct tensor_table *table = NULL;
    struct model_layout *layout = NULL;
    struct reason reason = {""};
    EXPECT(safetensors_open(directory, &table, &reason) == STATUS_OK);
    EXPECT(model_layout_make(config, table, &layout, &reason) == STATUS_OK);
    struct partition_units units = partition_units_of(config, layout);
    EXPECT(table->file_count <= FILES_MAX);
    for (size_t i = 0; i < table->file_count; i++)
        sources[i] = (struct weight_source){.file = table->files[i].name};
    const struct weight_load_request request = {
        .collective = rank->collective,
        .directory = own_directory,
        .config = config,
        .partitions = partitions,
        .has_files = has_files,
        .sources = sources,
        .source_count = table->file_count,
        .opened = kept_bytes_poison,
    };
    const enum status status =
        rank->size_count > 0
            ? partition_solve_stages(&units, rank->sizes, rank->size_count, rank->shares,
                                     partitions, &reason)
            : partition_solve(rank->sharding, &units, rank->shares, rank->count, partitions,
                              &reason);
    if (status != STATUS_OK ||
        weight_load_open(&request, load_out, &reason) != STATUS_OK) {
        fprintf(stderr, "load refused: %s\n", reason.text);
        _exit(5);
    }
    kept_bytes_compare(directory, load_out);
    model_layout_free(layout);
    tensor_table_free(table);
}

static bool leads(const struct rank *rank, uint32_t number)
{
    return rank->partitions[number].stage_first == number;
}

/* From the first rank of a stage to all of the next; the logits of the last, to rank 0. */
static void step_in_stages(struct rank *rank, const struct engine_row *rows, size_t count)
{
    const struct partition *own = &rank->partitions[rank->number];
    const int floats = (int)(count * engine_hidden(rank->engine));
    const int vocab = (int)engine_vocab(rank->engine);
    const int last = (int)rank->partitions[rank->count - 1].stage_first;
    const bool tells = leads(rank, rank->number);
    uint32_t source = 0;
    struct reason reason = {""};
    const struct engine_batch batch = {rows, count, own->stage > 0 ? rank->hidden : NULL,
                                       own->has_head ? NULL : rank->hidden,
                                       own->has_head && tells ? rank->logits : NULL};
    while (own->stage > 0 && rank->partitions[source].stage + 1 != own->stage)
        source++;
    if (own->stage > 0)
        EXPECT(MPI_Recv(rank->hidden, floats, MPI_FLOAT, (int)source, 1, MPI_COMM_WORLD,
                        MPI_STATUS_IGNORE) == MPI_SUCCESS);
    EXPECT(engine_forward(rank->engine, &batch, &reason) == STATUS_OK);
    for (uint32_t i = 0; i < rank->count && tells; i++)
        if (rank->partitions[i].stage == own->stage + 1)
            EXPECT(MPI_Send(rank->hidden, floats, MPI_FLOAT, (int)i, 1, MPI_COMM_WORLD) ==
                   MPI_SUCCESS);
    if (own->has_head && tells)
        EXPECT(MPI_Send(rank->logits, vocab, MPI_FLOAT, 0, 2, MPI_COMM_WORLD) == MPI_SUCCESS);
    if (rank->number == 0)
        EXPECT(MPI_Recv(rank->logits, vocab, MPI_FLOAT, last, 2, MPI_COMM_WORLD,
                        MPI_STATUS_IGNORE) == MPI_SUCCESS);
}

static void step(struct rank *rank, const struct engine_row *rows, size_t count)
{
    struct engine_batch batch = {.rows = rows, .count = count};
    struct reason reason = {""};
    if (rank->sharding != SHARDING_TENSOR) {
        step_in_stages(rank, rows, count);
        return;
    }
    batch.logits_out = rank->collective->rank == 0 ? rank->logits : NULL;
    EXPECT(engine_forward(rank->engine, &batch, &reason) == STATUS_OK);
}

/* Rank 0 chooses, all know. */
static uint32_t choose(struct rank *rank)
{
    uint32_t best = 0;
    for (uint32_t i = 1; rank->number == 0 && i < engine_vocab(rank->engine); i++)
        best = rank->logits[i] > rank->logits[best] ? i : best;
    if (rank->size_count > 0)
        EXPECT(MPI_Bcast(&best, 1, MPI_UINT32_T, 0, MPI_COMM_WORLD) == MPI_SUCCESS);
    else
        EXPECT(rank->collective->ops->broadcast(rank->collective, &best, sizeof best, 0) ==
               STATUS_OK);
    return best;
}

static void generate(struct rank *rank, const uint32_t *ids, size_t count, const uint32_t *tokens,
                     size_t token_count)
{
    struct engine_row rows[NUMBERS_MAX];
    struct reason reason = {""};
    EXPECT(engine_sequence_open(rank->engine, &rank->sequence, &reason) == STATUS_OK);
    for (size_t i = 0; i < count; i++)
        rows[i] = (struct engine_row){rank->sequence, ids[i], (uint32_t)i, i + 1 == count};
    step(rank, rows, count);
    if (rank->written)
        EXPECT(fwrite(rank->logits, sizeof(float), engine_vocab(rank->engine), rank->written) ==
               engine_vocab(rank->engine));
    for (size_t i = 0; i < token_count; i++) {
        uint32_t token = choose(rank);
        EXPECT(token == tokens[i]);
        rows[0] = (struct engine_row){rank->sequence, token, (uint32_t)(count + i), true};
        step(rank, rows, 1);
    }
    engine_sequence_close(rank->engine, rank->sequence);
}

/* One prompt after the other. */
static void generate_each(struct rank *rank, const char *ids, const char *tokens)
{
    uint32_t prompt[NUMBERS_MAX];
    uint32_t expected[NUMBERS_MAX];
    while (ids && tokens) {
        const size_t count = parse_numbers(ids, prompt);
        generate(rank, prompt, count, expected, parse_numbers(tokens, expected));
        ids = strchr(ids, '/');
        tokens = strchr(tokens, '/');
        ids = ids ? ids + 1 : NULL;
        tokens = tokens ? tokens + 1 : NULL;
    }
    EXPECT(!ids && !tokens);
}

int main(int count, char **arguments)
{
    struct rank rank = {.sharding = SHARDING_NONE};
    struct partition partitions[RANKS_MAX];
    uint32_t shares[NUMBERS_MAX];
    struct weight_load loaded;
    struct model_config *config = NULL;
    struct reason reason = {""};
    char *sizes = count < 5 ? NULL : strchr(arguments[2], '/');
    if (sizes) {
        uint32_t numbers[NUMBERS_MAX];
        *sizes = '\0';
        rank.size_count = (uint32_t)parse_numbers(sizes + 1, numbers);
        EXPECT(rank.size_count <= RANKS_MAX);
        memcpy(rank.sizes, numbers, rank.size_count * sizeof(numbers[0]));
    }
    if (count < 5 || !sharding_parse(arguments[2], &rank.sharding))
        return 2;
    rank.count = (uint32_t)parse_numbers(count > 5 ? arguments[5] : "1,1", shares);
    EXPECT(rank.count <= RANKS_MAX);
    for (uint32_t i = 0; i < rank.count; i++)
        rank.shares[i] = shares[i];
    EXPECT(collective_mpi_open(rank.count, &rank.collective, &reason) == STATUS_OK);
    rank.number = rank.collective->rank;
    rank.partitions = partitions;
    const bool is_small = count > 6 && strcmp(arguments[6], "-") != 0;
    const char *own_directory =
        is_small && rank.collective->rank > 0 ? arguments[6] : arguments[1];
    if (count > 7 && rank.collective->rank == 0)
        rank.written = fopen(arguments[7], "wb");
    EXPECT(rank.written || count <= 7 || rank.collective->rank > 0);
    EXPECT(model_config_read(own_directory, &config, &reason) == STATUS_OK);
    load(&rank, arguments[1], own_directory, config, partitions, &loaded);
    struct engine_model model = {config, loaded.table, loaded.layout, loaded.files};
    const struct engine_options options = {.mode = ENGINE_EXACT, .threads = 1, .context = 512,
                                           .collective = rank.collective};
    const struct partition *own = &partitions[rank.number];
    if (rank.size_count > 0)
        EXPECT(rank.collective->ops->narrow(rank.collective, own->stage_first, own->stage_ranks,
                                            &reason) == STATUS_OK);
    EXPECT(engine_open(&model, own, loaded.shard, &options, &rank.engine, &reason) == STATUS_OK);
    rank.hidden = memory_zeroed(NUMBERS_MAX * (size_t)engine_hidden(rank.engine), sizeof(float));
    rank.logits = memory_zeroed(engine_vocab(rank.engine), sizeof(float));
    EXPECT(rank.hidden && rank.logits);
    generate_each(&rank, arguments[3], arguments[4]);
    EXPECT(!rank.written || fclose(rank.written) == 0);
    engine_close(rank.engine);
    memory_free(rank.hidden);
    memory_free(rank.logits);
    weight_load_close(&loaded);
    model_config_free(config);
    collective_mpi_close(rank.collective);
    return 0;
}
