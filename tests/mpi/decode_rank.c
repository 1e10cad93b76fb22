/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_rank: one rank of a world that decodes in a tensor cut, in turn with one rank alone.
 *
 *     decode_rank MODEL RANKS ROUNDS TOKENS DIRECTORY greedy|sampled|same
 *
 * A round is so many tokens of rank 0 alone with as many threads as there are ranks, of all ranks
 * with one thread each, and of rank 0 alone with one thread.  The others sleep at a pipe in
 * DIRECTORY while rank 0 is alone.  Rank 0 prints for each round the three rates, and what of the
 * second's time went into collectives.  With `same`, in exact mode and with samplings of each kind,
 * it ends with 3 when the ranks together draw another token than rank 0 alone.
 */
#include "actors/runner/collective_mpi.h"
#include "actors/runner/rank_world.h"
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "tests/mpi/expect.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PROMPT = 16, CONTEXT = 1024, RANKS_MAX = 8 };

/* ---- what collectives take ---- */

static const struct collective_ops *real_ops;
static struct collective_ops timed_ops;
static uint64_t collective_ns;
static uint64_t collective_calls;

static enum status timed(enum status status, uint64_t start_ns)
{
    collective_ns += clock_now_ns() - start_ns;
    collective_calls++;
    return status;
}

static enum status timed_sum(struct collective *collective, float *values, size_t count)
{
    const uint64_t start_ns = clock_now_ns();
    return timed(real_ops->sum(collective, values, count), start_ns);
}

static enum status timed_gather(struct collective *collective, const float *values,
                                const size_t *counts, float *all_out, uint32_t root)
{
    const uint64_t start_ns = clock_now_ns();
    return timed(real_ops->gather(collective, values, counts, all_out, root), start_ns);
}

static enum status timed_broadcast(struct collective *collective, void *bytes, size_t size,
                                   uint32_t root)
{
    const uint64_t start_ns = clock_now_ns();
    return timed(real_ops->broadcast(collective, bytes, size, root), start_ns);
}

static void time_collectives(struct collective *collective)
{
    real_ops = collective->ops;
    timed_ops = *real_ops;
    timed_ops.sum = timed_sum;
    timed_ops.gather = timed_gather;
    timed_ops.broadcast = timed_broadcast;
    collective->ops = &timed_ops;
}

/* ---- worlds ---- */

/* The link between the ranks: one byte for each busy period. */
static void tell(void *target, struct sibling_word *word)
{
    const int *pipes = target;
    for (uint32_t i = 1; i < RANKS_MAX; i++)
        EXPECT(pipes[i] < 0 || write(pipes[i], "1", 1) == 1);
    message_fini(&word->message);
    memory_free(word);
}

static void open_pipes(const char *directory, uint32_t ranks, uint32_t own, int *pipes_out)
{
    char path[512];
    for (uint32_t i = 0; i < RANKS_MAX; i++)
        pipes_out[i] = -1;
    for (uint32_t i = 1; i < ranks; i++) {
        if (own != 0 && own != i)
            continue;
        (void)snprintf(path, sizeof(path), "%s/decode-%u", directory, i);
        (void)mkfifo(path, 0600);
        pipes_out[i] = open(path, own == 0 ? O_WRONLY : O_RDONLY);
        EXPECT(pipes_out[i] >= 0);
    }
}

static void open_world(struct rank_world *world, const struct engine_model *model,
                       const struct partition *partition, struct collective *collective,
                       uint32_t threads, enum engine_mode mode)
{
    struct reason reason = {""};
    const struct engine_options options = {.mode = mode,
                                           .threads = threads,
                                           .context = CONTEXT,
                                           .sequences = 4,
                                           .collective = collective};
    world->collective = collective;
    world->rank = collective ? collective->rank : 0;
    world->rank_count = collective ? collective->size : 1;
    world->instance.sharding = collective ? SHARDING_TENSOR : SHARDING_NONE;
    EXPECT(engine_open_local(model, partition, &options, &world->engine, &reason) == STATUS_OK);
    EXPECT(rank_sampling_open(world->engine, collective, &world->sampling, &reason) == STATUS_OK);
}

static void close_world(struct rank_world *world)
{
    rank_sampling_close(world->sampling);
    engine_close(world->engine);
    memory_free(world->band.items);
}

/* Tokens a second after a short prompt; ids[CONTEXT] becomes prompt and answer. */
static double decode(struct rank_world *world, const struct sampling *sampling,
                     const uint32_t *allowed, uint32_t tokens, uint32_t *ids)
{
    struct engine_row rows[PROMPT];
    struct rank_drawn drawn;
    struct reason reason = {""};
    struct rank_ask ask = {.sampling = sampling,
                           .history = {ids, PROMPT, ids + PROMPT, 0, allowed}};
    uint32_t sequence = 0;
    uint64_t start_ns = 0;
    EXPECT(rank_world_sequence_open(world, &sequence, &reason) == STATUS_OK);
    for (uint32_t i = 0; i < PROMPT; i++) {
        ids[i] = (11 * i + 5) % engine_vocab(world->engine);
        rows[i] = (struct engine_row){sequence, ids[i], i, i + 1 == PROMPT};
    }
    for (uint32_t i = 0; i < tokens + 2; i++) {
        const uint32_t count = i == 0 ? PROMPT : 1;
        EXPECT(rank_world_forward(world, rows, count, &ask, &drawn, &reason) == STATUS_OK);
        EXPECT(drawn.status == STATUS_OK);
        ids[PROMPT + i] = drawn.sampled.id;
        rows[0] = (struct engine_row){sequence, drawn.sampled.id, PROMPT + i, true};
        ask.history.answer_count = i + 1;
        if (i == 1) { /* warm */
            start_ns = clock_now_ns();
            collective_ns = collective_calls = 0;
        }
    }
    const double seconds = (double)(clock_now_ns() - start_ns) / 1e9;
    EXPECT(rank_world_sequence_close(world, sequence, &reason) == STATUS_OK);
    return tokens / seconds;
}

static void measure(struct rank_world *together, const struct engine_model *model,
                    const struct sampling *sampling, uint32_t rounds, uint32_t tokens)
{
    static struct rank_world many;
    static struct rank_world one;
    struct reason reason = {""};
    struct sampler *sampler = NULL;
    uint32_t ids[CONTEXT] = {0};
    open_world(&many, model, NULL, NULL, together->rank_count, ENGINE_FAST);
    open_world(&one, model, NULL, NULL, 1, ENGINE_FAST);
    EXPECT(sampler_open(engine_vocab(one.engine), NULL, &sampler, &reason) == STATUS_OK);
    rank_sampling_use(many.sampling, sampler);
    rank_sampling_use(one.sampling, sampler);
    rank_sampling_use(together->sampling, sampler);
    for (uint32_t round = 0; round < rounds; round++) {
        const double alone = decode(&many, sampling, NULL, tokens, ids);
        const double cut = decode(together, sampling, NULL, tokens, ids);
        const double share = (double)collective_ns / 1e9 / (tokens / cut);
        const double calls = (double)collective_calls / tokens;
        EXPECT(rank_world_rest(together, &reason) == STATUS_OK);
        printf("alone %.3f cut %.3f one %.3f collectives %.4f calls %.1f\n", alone, cut,
               decode(&one, sampling, NULL, tokens, ids), share, calls);
        (void)fflush(stdout);
    }
    close_world(&many);
    close_world(&one);
    sampler_close(sampler);
}

/* Of every kind there is, by number; `allowed` bits of every third row where one is masked. */
static void make_sampling(uint32_t number, struct sampling *sampling_out)
{
    sampling_init(sampling_out);
    sampling_out->seed = 31 + number;
    sampling_out->temperature = number % 4 == 0 ? 0.0F : 0.5F * (float)(number % 4);
    sampling_out->logprobs = number % 3 == 0;
    sampling_out->top_logprobs = number % 5;
    if (number / 4 % 4 == 1)
        sampling_out->top_p = 0.97F;
    if (number / 4 % 4 == 2)
        sampling_out->top_k = 30;
    if (number / 4 % 4 == 3)
        sampling_out->min_p = 0.001F;
    if (number % 2 == 1) {
        sampling_out->repetition_penalty = 1.2F;
        sampling_out->presence_penalty = 0.5F;
        sampling_out->frequency_penalty = 0.25F;
        sampling_out->bias_count = 1;
        sampling_out->biases[0] = (struct logit_bias){17, 3.0F};
    }
}

static void compare(struct rank_world *together, const struct engine_model *model, uint32_t rounds,
                    uint32_t tokens)
{
    static struct rank_world one;
    struct reason reason = {""};
    struct sampler *sampler = NULL;
    open_world(&one, model, NULL, NULL, 1, ENGINE_EXACT);
    const size_t words = SAMPLER_MASK_WORDS(engine_vocab(one.engine));
    uint32_t *allowed = memory_zeroed(words, sizeof(*allowed));
    EXPECT(allowed != NULL);
    memset(allowed, 0x49, words * sizeof(*allowed));
    EXPECT(sampler_open(engine_vocab(one.engine), NULL, &sampler, &reason) == STATUS_OK);
    rank_sampling_use(one.sampling, sampler);
    rank_sampling_use(together->sampling, sampler);
    for (uint32_t round = 0; round < rounds; round++) {
        uint32_t alone[CONTEXT] = {0};
        uint32_t cut[CONTEXT] = {0};
        struct sampling sampling;
        const uint32_t *mask = round % 3 == 1 ? allowed : NULL;
        make_sampling(round, &sampling);
        (void)decode(&one, &sampling, mask, tokens, alone);
        (void)decode(together, &sampling, mask, tokens, cut);
        EXPECT(memcmp(alone, cut, sizeof(alone)) == 0);
        EXPECT(rank_world_rest(together, &reason) == STATUS_OK);
    }
    close_world(&one);
    sampler_close(sampler);
    memory_free(allowed);
}

/* Sleeps till a busy period begins. */
static void follow(struct rank_world *world, int pipe)
{
    char byte = 0;
    struct reason reason = {""};
    while (read(pipe, &byte, 1) == 1) {
        struct message message;
        bool has_computed = false;
        EXPECT(message_init(&message, MESSAGE_LINK, LINK_STEP_PLANNED) == STATUS_OK);
        ((struct step_planned *)message.body)->number = world->number + 1;
        if (rank_world_follow(world, &message, &has_computed, &reason) != STATUS_OK) {
            fprintf(stderr, "%s\n", reason.text);
            _exit(1);
        }
        message_fini(&message);
    }
}

int main(int count, char **arguments)
{
    static struct rank_world world;
    struct partition partitions[RANKS_MAX];
    struct engine_model model;
    struct sampling sampling;
    struct reason reason = {""};
    int pipes[RANKS_MAX];
    if (count < 7)
        return 2;
    const uint32_t ranks = (uint32_t)strtoul(arguments[2], NULL, 10);
    EXPECT(ranks > 1 && ranks <= RANKS_MAX);
    sampling_init(&sampling);
    sampling.temperature = 0.0F;
    const bool is_same = strcmp(arguments[6], "same") == 0;
    if (strcmp(arguments[6], "sampled") == 0) {
        sampling.temperature = 0.6F;
        sampling.top_p = 0.95F;
        sampling.top_k = 20;
    }
    struct collective *collective = NULL;
    EXPECT(collective_mpi_open(ranks, &collective, &reason) == STATUS_OK);
    EXPECT(engine_model_open(arguments[1], &model, &reason) == STATUS_OK);
    const struct partition_units units = partition_units_of(model.config, model.layout);
    EXPECT(partition_solve(SHARDING_TENSOR, &units, NULL, ranks, partitions, &reason) ==
           STATUS_OK);
    open_world(&world, &model, &partitions[collective->rank], collective, 1,
               is_same ? ENGINE_EXACT : ENGINE_FAST);
    open_pipes(arguments[5], ranks, collective->rank, pipes);
    world.tell = tell;
    world.target = pipes;
    time_collectives(collective);
    const uint32_t rounds = (uint32_t)strtoul(arguments[3], NULL, 10);
    const uint32_t tokens = (uint32_t)strtoul(arguments[4], NULL, 10);
    EXPECT(PROMPT + tokens + 2 <= CONTEXT);
    if (collective->rank == 0 && is_same)
        compare(&world, &model, rounds, tokens);
    else if (collective->rank == 0)
        measure(&world, &model, &sampling, rounds, tokens);
    else
        follow(&world, pipes[collective->rank]);
    for (uint32_t i = 0; i < RANKS_MAX; i++)
        if (pipes[i] >= 0)
            close(pipes[i]);
    close_world(&world);
    engine_model_close(&model);
    collective_mpi_close(collective);
    return 0;
}
