/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures what the engine manages on this machine: layers of made-up models of 4, 8 and 16 bits
 * for a token at a time and for many, with one thread and with all, in both modes.  At the lowest
 * priority, while nobody else computes (a turn beside others says nothing), and once: a file that
 * says so of this program and CPU is left as it is.
 */
#include "actors/runner/engine/commands.h"
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/measure_layers.h"
#include "actors/runner/engine/measure_parts.h"
#include "actors/runner/engine/pool.h"
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "runtime/kernel_rates.h"
#include "runtime/quiet.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define LAYERS_SIZE ((uint64_t)88 << 20) /* well beyond the caches of common machines */
#define PROMPT_ROWS 128u                 /* of a prompt in a step, as prefill_rows says */
/* Rounds of each, for so long: a neighbour on the same core takes a quarter of its pace for a tenth
 * of a second or two at a time, so that half a second differs from the next by a tenth. */
#define ROUNDS_MIN 4u
#define ROUNDS_MAX 256u
#define WINDOW_NS ((uint64_t)500000000)
#define LAYER_BITS 4u /* of those that tell what a layer takes beside its weights, the fewest */
#define BITS_MOST 16u
#define QUIET_LIMIT_MS ((uint64_t)24 * 3600 * 1000)
/* Turns, at least a second apart: as many as it takes until those a machine's neighbours and its
 * clock cut into make little of the mean. */
#define TURNS_MIN 3u
#define TURNS_MAX 6u
#define APART_MOST 0.1 /* of the slowest turn to the fastest */

/* The layers of a model of half a billion weights, and narrow ones of which more is not weights. */
static const struct made_shape common = {
    "common", MADE_QWEN3, 0, 1024, 16, 8, 64, 3072, 256, true, 0, 64};
static const struct made_shape narrow = {
    "narrow", MADE_QWEN3, 0, 512, 8, 4, 64, 1536, 256, true, 0, 64};

/* Of one thing, the seconds of each turn. */
struct timing {
    double seconds[TURNS_MAX];
    uint32_t count;
};

/* What was found of weights of so many bits, in this mode and with so many threads. */
struct finding {
    uint32_t bits;
    uint32_t threads;
    enum mode mode;
    struct timing token;     /* of one, in the common layers */
    uint64_t bytes;          /* of which, */
    uint32_t layers;         /* and how many they are */
    struct timing layer;     /* of a layer, beside its weights; none: not with these bits */
    struct timing product;   /* of a multiplication in a prompt */
    struct timing attended;  /* of one in attention; none: not with the most bits */
    struct timing attended_many;
};

struct measure {
    uint32_t cores;
    uint32_t bits_most; /* of weights */
    struct finding findings[KERNEL_RATE_COUNT_MAX];
    uint32_t count;
    double entry_s; /* of plain code, the sum of so many samples */
    uint32_t entry_count;
    struct timing word;  /* between two processes */
    struct timing byte;
    struct timing wake;
    struct timing fresh; /* of a byte of memory that lay free */
};

static void add(struct timing *timing, double seconds)
{
    ASSERT(timing->count < TURNS_MAX);
    timing->seconds[timing->count++] = seconds;
}

/* The mean: a rank meets what cut into the turns, too. */
static double mean(const struct timing *timing)
{
    double sum = 0;
    for (uint32_t i = 0; i < timing->count; i++)
        sum += timing->seconds[i];
    return timing->count ? sum / timing->count : 0;
}

static bool agrees(const struct timing *timing)
{
    double least = timing->seconds[0];
    double most = least;
    for (uint32_t i = 1; i < timing->count; i++) {
        least = timing->seconds[i] < least ? timing->seconds[i] : least;
        most = timing->seconds[i] > most ? timing->seconds[i] : most;
    }
    return most <= least * (1 + APART_MOST);
}

static struct finding *finding_of(struct measure *m, uint32_t bits, enum mode mode,
                                  uint32_t threads)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (m->findings[i].bits == bits && m->findings[i].mode == mode &&
            m->findings[i].threads == threads)
            return &m->findings[i];
    ASSERT(m->count < COUNT_OF(m->findings));
    m->findings[m->count] = (struct finding){.bits = bits, .threads = threads, .mode = mode};
    return &m->findings[m->count++];
}

/* ---- layers ---- */

/* So many such layers as are LAYERS_SIZE bytes, or one. */
static enum status open_layers(const struct made_shape *of, uint32_t bits, bool is_one,
                               struct made_shape *shape_out, struct measure_layers **layers_out,
                               struct reason *reason)
{
    *shape_out = *of;
    shape_out->bits = bits;
    shape_out->layers = 1;
    enum status status = measure_layers_open(shape_out, layers_out, reason);
    if (status != STATUS_OK || is_one)
        return status;
    shape_out->layers = (uint32_t)(LAYERS_SIZE / measure_layers_bytes(*layers_out));
    measure_layers_close(*layers_out);
    *layers_out = NULL;
    return measure_layers_open(shape_out, layers_out, reason);
}

static enum status take_steps(struct measure_run **runs, uint32_t run_count, double *seconds_out,
                              struct reason *reason)
{
    uint64_t took_ns[2][ROUNDS_MAX];
    uint64_t all_ns = 0;
    uint32_t rounds = 0;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && rounds < ROUNDS_MAX &&
           (rounds < ROUNDS_MIN || all_ns < WINDOW_NS * run_count)) {
        for (uint32_t i = 0; i < run_count && status == STATUS_OK; i++) {
            status = measure_run_step(runs[i], &took_ns[i][rounds], reason);
            all_ns += status == STATUS_OK ? took_ns[i][rounds] : 0;
        }
        rounds++;
    }
    for (uint32_t i = 0; i < run_count && status == STATUS_OK; i++)
        seconds_out[i] = measure_mean_s(took_ns[i], rounds);
    return status;
}

/* Common layers and narrow ones step by step in turn, so that what cuts into the one cuts into the
 * other: a token takes its bytes at a rate, and for each layer what is not of them. */
static enum status take_tokens(struct measure_layers *const *layers, const uint32_t *counts,
                               uint32_t kinds, struct finding *finding, struct reason *reason)
{
    struct measure_run *runs[2] = {NULL, NULL};
    double seconds[2] = {0, 0};
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < kinds && status == STATUS_OK; i++)
        status = measure_run_open(layers[i], finding->mode, finding->threads, 1, &runs[i], reason);
    if (status == STATUS_OK)
        status = take_steps(runs, kinds, seconds, reason);
    for (uint32_t i = 0; i < kinds; i++)
        measure_run_close(runs[i]);
    if (status != STATUS_OK)
        return status;
    finding->bytes = measure_layers_bytes(layers[0]);
    finding->layers = counts[0];
    add(&finding->token, seconds[0]);
    if (kinds > 1) {
        const double ratio = (double)measure_layers_bytes(layers[1]) / (double)finding->bytes;
        add(&finding->layer,
            (seconds[1] - seconds[0] * ratio) / (counts[1] - counts[0] * ratio));
    }
    return STATUS_OK;
}

static enum status take_prompt(struct measure_layers *layers, struct finding *finding,
                               struct reason *reason)
{
    struct measure_run *run = NULL;
    double seconds = 0;
    enum status status = measure_run_open(layers, finding->mode, finding->threads, PROMPT_ROWS,
                                          &run, reason);
    if (status == STATUS_OK)
        status = take_steps(&run, 1, &seconds, reason);
    measure_run_close(run);
    if (status == STATUS_OK)
        add(&finding->product,
            seconds / PROMPT_ROWS / (double)measure_layers_products(layers));
    return status;
}

/* In both modes, with one thread and with all. */
static enum status measure_bits(struct measure *m, uint32_t bits, struct reason *reason)
{
    struct measure_layers *layers[2] = {NULL, NULL};
    struct measure_layers *one = NULL;
    struct made_shape shapes[3];
    const uint32_t kinds = bits == LAYER_BITS ? 2 : 1;
    enum status status = open_layers(&common, bits, false, &shapes[0], &layers[0], reason);
    if (status == STATUS_OK && kinds > 1)
        status = open_layers(&narrow, bits, false, &shapes[1], &layers[1], reason);
    if (status == STATUS_OK)
        status = open_layers(&common, bits, true, &shapes[2], &one, reason);
    const uint32_t counts[2] = {shapes[0].layers, shapes[1].layers};
    for (uint32_t i = 0; i < 4 && status == STATUS_OK; i++) {
        if (i / 2 > 0 && m->cores == 1)
            break;
        struct finding *finding = finding_of(m, bits, i % 2 ? MODE_FAST : MODE_EXACT,
                                             i / 2 ? m->cores : 1);
        status = take_tokens(layers, counts, kinds, finding, reason);
        if (status == STATUS_OK)
            status = take_prompt(one, finding, reason);
        /* Now and then: a neighbour on the same core comes and goes within a second. */
        m->entry_s += (double)measure_entry_ns() / 1e9;
        m->entry_count++;
    }
    measure_layers_close(one);
    for (uint32_t i = 0; i < 2; i++)
        measure_layers_close(layers[i]);
    return status;
}

/* ---- attention ---- */

static enum status measure_attend(struct measure *m, const struct measure_attention *room,
                                  uint32_t threads, struct reason *reason)
{
    struct pool *pool = NULL;
    enum status status = pool_open(threads, kernel_scratch_floats(MEASURE_ATTENTION_COLUMNS),
                                   &pool, reason);
    for (enum mode mode = MODE_EXACT; mode <= MODE_FAST && status == STATUS_OK; mode++) {
        struct finding *finding = finding_of(m, m->bits_most, mode, threads);
        struct measure_attention attention = *room;
        attention.format = mode == MODE_EXACT ? KV_F32 : KV_BF16;
        add(&finding->attended, 1 / measure_attention(&attention, pool, false));
        add(&finding->attended_many, 1 / measure_attention(&attention, pool, true));
    }
    pool_close(pool);
    return status;
}

static enum status measure_attentions(struct measure *m, struct reason *reason)
{
    struct measure_attention room = {.bytes = memory_zeroed(LAYERS_SIZE, 1),
                                     .size = LAYERS_SIZE,
                                     .out = memory_zeroed(MEASURE_ATTENTION_FLOATS, sizeof(float))};
    enum status status = kernel_set_choose(NULL, &room.kernels, reason);
    if (!room.bytes || !room.out)
        status = refuse(reason, STATUS_NO_MEMORY, "no memory to measure attention");
    if (room.bytes)
        memset(room.bytes, 0x3c, LAYERS_SIZE); /* small numbers, as floats and as bf16 */
    if (status == STATUS_OK)
        status = measure_attend(m, &room, 1, reason);
    if (status == STATUS_OK && m->cores > 1)
        status = measure_attend(m, &room, m->cores, reason);
    memory_free(room.bytes);
    memory_free(room.out);
    return status;
}

/* ---- all of it ---- */

static enum status measure_turn(struct measure *m, struct reason *reason)
{
    struct measure_near near;
    enum status status = STATUS_OK;
    /* First, and once: what a turn frees is met again twenty times as fast for a second or two. */
    const uint64_t fresh_bytes_per_s = m->fresh.count ? 0 : measure_fresh_bytes_per_s();
    if (fresh_bytes_per_s > 0)
        add(&m->fresh, 1 / (double)fresh_bytes_per_s);
    for (uint32_t bits = LAYER_BITS; bits <= m->bits_most && status == STATUS_OK; bits *= 2)
        status = measure_bits(m, bits, reason);
    if (status == STATUS_OK)
        status = measure_attentions(m, reason);
    measure_near(&near);
    if (near.word_ns > 0) {
        add(&m->word, (double)near.word_ns / 1e9);
        add(&m->byte, 1 / (double)near.bytes_per_s);
        add(&m->wake, (double)near.wake_ns / 1e9);
    }
    return status;
}

static bool is_settled(const struct measure *m)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (!agrees(&m->findings[i].token) || !agrees(&m->findings[i].product))
            return false;
    return true;
}

/* `exact` of them; 0: as many as it takes. */
static enum status measure_all(struct measure *m, uint64_t exact, struct reason *reason)
{
    const uint64_t least = exact ? exact : TURNS_MIN;
    const uint64_t most = exact ? exact : TURNS_MAX;
    const uint64_t end_us = clock_now_us() + QUIET_LIMIT_MS * 1000;
    struct quiet_watch watch;
    enum status status = STATUS_OK;
    uint32_t turns = 0;
    while (status == STATUS_OK && turns < most && (turns < least || !is_settled(m))) {
        const uint64_t now_us = clock_now_us();
        if (now_us >= end_us || !quiet_wait((end_us - now_us) / 1000))
            return refuse(reason, STATUS_TIMED_OUT, "others computed all the time");
        struct measure found = *m;
        quiet_watch_start(&watch);
        status = measure_turn(&found, reason);
        if (status == STATUS_OK && quiet_watch_others(&watch) < QUIET_SHARE) {
            *m = found;
            turns++;
        }
    }
    return status;
}

static uint64_t rate(const struct timing *timing)
{
    const double seconds = mean(timing);
    return seconds > 0 ? (uint64_t)(1 / seconds) : 0;
}

static void tell_rates(struct measure *m, struct kernel_rates *rates)
{
    rates->count = m->count;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct finding *f = &m->findings[i];
        const double more_s = mean(&finding_of(m, LAYER_BITS, f->mode, f->threads)->layer);
        const double layer_s = more_s > 0 ? more_s : 0;
        rates->rates[i] = (struct kernel_rate){
            .bits = f->bits,
            .threads = f->threads,
            .bytes_per_s =
                (uint64_t)((double)f->bytes / (mean(&f->token) - layer_s * f->layers)),
            .products_per_s = rate(&f->product),
            .mode = f->mode,
            .attended_per_s = rate(&f->attended),
            .attended_many_per_s = rate(&f->attended_many),
            .layer_ns = (uint64_t)(layer_s * 1e9)};
    }
    rates->entry_ns = (uint64_t)(m->entry_s / m->entry_count * 1e9);
    rates->near_ns = (uint64_t)(mean(&m->word) * 1e9);
    rates->near_bytes_per_s = rate(&m->byte);
    rates->fresh_bytes_per_s = rate(&m->fresh);
    rates->wake_ns = (uint64_t)(mean(&m->wake) * 1e9);
}

/* The version, and of which moment and size this program is: a build of the same version may have
 * other kernels. */
static void name_build(char name_out[KERNEL_RATES_NAME_SIZE], const char *program)
{
    struct stat stat_of = {.st_size = 0};
    (void)stat(program, &stat_of);
    (void)snprintf(name_out, KERNEL_RATES_NAME_SIZE, "%s %llu %lld", TROUPE_BUILD,
                   (unsigned long long)stat_of.st_size, (long long)stat_of.st_mtime);
}

struct measure_options {
    const char *path;
    uint64_t after_s;
    uint64_t turns; /* 0: as many as it takes */
    uint64_t bits_most;
};

/* False where the option is not one of those with a value, or the value is not one of its. */
static bool take_value(const char *option, const char *value, struct measure_options *options)
{
    if (strcmp(option, "--after") == 0)
        return engine_command_number(value, 0, 86400, &options->after_s);
    if (strcmp(option, "--turns") == 0)
        return engine_command_number(value, 1, TURNS_MAX, &options->turns);
    if (strcmp(option, "--bits") == 0)
        return engine_command_number(value, LAYER_BITS, BITS_MOST, &options->bits_most) &&
               (options->bits_most & (options->bits_most - 1)) == 0;
    options->path = value;
    return strcmp(option, "--out") == 0;
}

int engine_command_measure(int argc, char **argv)
{
    struct kernel_rates rates = {.count = 0};
    struct kernel_rates old;
    struct reason reason = {""};
    struct measure_options options = {.bits_most = BITS_MOST};
    for (int i = 1; i + 1 < argc; i += 2)
        if (!take_value(argv[i], argv[i + 1], &options))
            return engine_command_usage("measure", argv[i]);
    if (!options.path || argc % 2 == 0)
        return engine_command_usage("measure", "--out FILE is missing");
    name_build(rates.build, argv[-1]);
    kernel_rates_cpu(rates.cpu);
    if (kernel_rates_read(options.path, &old) && strcmp(old.build, rates.build) == 0 &&
        strcmp(old.cpu, rates.cpu) == 0)
        return ENGINE_EXIT_OK;
    clock_sleep_ms(options.after_s * 1000);
    (void)setpriority(PRIO_PROCESS, 0, 19);
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct measure measure = {.cores = cores > 0 ? (uint32_t)cores : 1,
                              .bits_most = (uint32_t)options.bits_most};
    enum status status = measure_all(&measure, options.turns, &reason);
    if (status == STATUS_OK)
        tell_rates(&measure, &rates);
    if (status == STATUS_OK)
        status = kernel_rates_write(options.path, &rates, &reason);
    return status == STATUS_OK ? ENGINE_EXIT_OK : engine_command_failed(status, &reason);
}
