/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures what the kernels manage on this machine: packed weights of 4, 8 and 16 bits read for a
 * token at a time, and multiplied with many; with one thread and with all.  Short, at the lowest
 * priority, while nobody else computes (a turn beside others says nothing), and once: a file that
 * says so of this program and CPU is left as it is.
 */
#include "actors/runner/engine/commands.h"
#include "actors/runner/engine/kernels/kernels.h"
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

#define COLUMNS 2048u
#define MATRIX_SIZE ((size_t)96 << 20) /* well beyond the caches of common machines */
#define TOKENS 128u /* of a prompt in a step, as prefill_rows says */
#define TURNS 3u /* at least a second apart */
#define QUIET_LIMIT_MS ((uint64_t)24 * 3600 * 1000)
#define GROUP 64u
#define OUT_FLOATS                                                                                 \
    (MATRIX_SIZE / (COLUMNS / 2) + (size_t)TOKENS * LAYER_ROWS + MEASURE_ATTENTION_FLOATS)
#define LAYER_ROWS 1024u /* of a matrix of a small model */

struct measure {
    const struct kernel_set *kernels;
    struct matrix matrix;
    struct activations inputs;
    uint8_t *bytes;
    float *out;
    size_t tokens;
    bool has_bytes;
    enum mode mode;
};

static void multiply(void *work, size_t first, size_t end, float *scratch)
{
    const struct measure *m = work;
    (m->has_bytes && m->mode == MODE_FAST ? m->kernels->matmul_bytes : m->kernels->matmul)(
        &m->matrix, &m->inputs, m->tokens, first, end, m->out, m->matrix.rows, scratch);
}

/* Codes that differ and scales that are small; what they say is of no matter. */
static void fill_matrix(struct measure *m, uint32_t bits)
{
    const uint64_t row = COLUMNS * bits / 8;
    const uint64_t scales = bits < 16 ? COLUMNS / GROUP * 2 : 0;
    const uint64_t rows = MATRIX_SIZE / (row + 2 * scales);
    uint64_t random = 88172645463325252u;
    m->matrix = (struct matrix){
        .quantisation = {.format = bits < 16 ? WEIGHT_AFFINE : WEIGHT_BF16,
                         .bits = bits,
                         .group = bits < 16 ? GROUP : 0},
        .scale_type = TENSOR_BF16,
        .rows = rows,
        .columns = COLUMNS,
        .weight = m->bytes,
        .weight_stride = row,
        .scales = m->bytes + rows * row,
        .biases = m->bytes + rows * (row + scales),
        .scale_stride = scales,
        .bias_stride = scales};
    for (size_t i = 0; i + 8 <= MATRIX_SIZE; i += 8) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        const uint64_t word = bits < 16 && i < rows * row ? random : 0x3c003c003c003c00u;
        memcpy(m->bytes + i, &word, sizeof word);
    }
    m->has_bytes = m->kernels->has_bytes && m->kernels->has_bytes(&m->matrix);
}

static void fill_inputs(struct measure *m)
{
    for (size_t row = 0; row < TOKENS; row++) {
        for (size_t i = 0; i < COLUMNS; i++)
            m->inputs.values[row * COLUMNS + i] = (float)((i * 7 + row) % 13) * 0.01f - 0.06f;
        m->kernels->prepare(&m->inputs, row, ACTIVATION_SUMS | ACTIVATION_BYTES);
    }
}

/* The better of what was found before and now: what runs for longer than a measurement only takes
 * away. */
static void keep_best(struct kernel_rates *rates, const struct kernel_rate *found)
{
    struct kernel_rate *row = NULL;
    for (uint32_t i = 0; i < rates->count && !row; i++)
        if (rates->rates[i].bits == found->bits && rates->rates[i].threads == found->threads &&
            rates->rates[i].mode == found->mode)
            row = &rates->rates[i];
    if (!row) {
        rates->rates[rates->count++] = *found;
        return;
    }
    if (found->bytes_per_s > row->bytes_per_s)
        row->bytes_per_s = found->bytes_per_s;
    if (found->products_per_s > row->products_per_s)
        row->products_per_s = found->products_per_s;
    if (found->attended_per_s > row->attended_per_s)
        row->attended_per_s = found->attended_per_s;
    if (found->attended_many_per_s > row->attended_many_per_s)
        row->attended_many_per_s = found->attended_many_per_s;
}

/* Seconds of a round as most are, in runs over so many rows of the matrix, each with other weights,
 * as a model's layers have. */
static double round_s(struct measure *m, struct pool *pool, size_t tokens, uint64_t rows,
                     uint32_t runs)
{
    const struct matrix whole = m->matrix;
    const uint64_t places = whole.rows / rows;
    uint64_t took_ns[MEASURE_ROUNDS];
    uint64_t place = 0;
    m->tokens = tokens;
    m->matrix.rows = rows;
    for (unsigned round = 0; round < MEASURE_ROUNDS; round++) {
        const uint64_t start_ns = clock_now_ns();
        for (uint32_t i = 0; i < runs; i++, place = (place + 1) % places) {
            m->matrix.weight = whole.weight + place * rows * whole.weight_stride;
            m->matrix.scales = whole.scales + place * rows * whole.scale_stride;
            m->matrix.biases = whole.biases + place * rows * whole.bias_stride;
            pool_run(pool, rows, 64, multiply, m);
        }
        took_ns[round] = clock_now_ns() - start_ns;
    }
    m->matrix = whole;
    return measure_typical_s(took_ns);
}

static void attend(const struct measure *m, struct pool *pool, struct kernel_rate *found)
{
    struct measure_attention attention = {
        .kernels = m->kernels,
        .bytes = m->bytes,
        .size = MATRIX_SIZE,
        .out = m->out,
        .format = m->mode == MODE_EXACT ? KV_F32 : KV_BF16};
    found->attended_per_s = (uint64_t)measure_attention(&attention, pool, 2);
    found->attended_many_per_s =
        (uint64_t)measure_attention(&attention, pool, MEASURE_ATTENTION_HEADS);
}

/* What each of the short runs costs that a layer is made of, beyond its part of one long run. */
static uint64_t wake_ns(struct measure *m, struct pool *pool, double long_s)
{
    const uint32_t runs = (uint32_t)(m->matrix.rows / LAYER_ROWS);
    const double part_s = long_s * runs * LAYER_ROWS / (double)m->matrix.rows;
    const double more_s = round_s(m, pool, 1, LAYER_ROWS, runs) - part_s;
    return more_s > 0 ? (uint64_t)(more_s * 1e9 / runs) + 1 : 1;
}

static uint64_t least(uint64_t before, uint64_t found)
{
    return before > 0 && before < found ? before : found;
}

static enum status measure_with(struct measure *m, uint32_t bits, uint32_t threads,
                                struct kernel_rates *rates, struct reason *reason)
{
    struct pool *pool = NULL;
    enum status status = pool_open(threads, kernel_scratch_floats(COLUMNS), &pool, reason);
    if (status != STATUS_OK)
        return status;
    const uint64_t rows = m->matrix.rows;
    const double token_s = round_s(m, pool, 1, rows, 1);
    const double tokens_s = round_s(m, pool, TOKENS, LAYER_ROWS, 1);
    const uint64_t size = rows * (m->matrix.weight_stride + 2 * m->matrix.scale_stride);
    struct kernel_rate found = {bits, threads, (uint64_t)((double)size / token_s),
                                (uint64_t)((double)LAYER_ROWS * COLUMNS * TOKENS / tokens_s),
                                m->mode, 0, 0};
    if (bits == 16) /* what stands in the matrix are small numbers in any format */
        attend(m, pool, &found);
    if (threads > 1 && bits == 4 && m->mode == MODE_FAST)
        rates->wake_ns = least(rates->wake_ns, wake_ns(m, pool, token_s));
    keep_best(rates, &found);
    pool_close(pool);
    return STATUS_OK;
}

static bool allocate(struct measure *m)
{
    struct activations *inputs = &m->inputs;
    const size_t groups = COLUMNS / KERNEL_QUANT_BLOCK;
    *inputs = (struct activations){.capacity = TOKENS, .columns = COLUMNS, .stride = COLUMNS};
    m->bytes = memory_zeroed(MATRIX_SIZE, 1);
    m->out = memory_zeroed(OUT_FLOATS, sizeof(float));
    inputs->values = memory_zeroed(TOKENS * COLUMNS, sizeof(float));
    inputs->bytes = memory_zeroed(TOKENS * COLUMNS, 1);
    inputs->split = memory_zeroed(TOKENS * COLUMNS, 1);
    inputs->scales = memory_zeroed(TOKENS * groups, sizeof(float));
    bool ok = m->bytes && m->out && inputs->values && inputs->bytes && inputs->split &&
              inputs->scales;
    for (size_t i = 0; i < COUNT_OF(inputs->sums); i++) {
        inputs->sums[i] = memory_zeroed(TOKENS * groups, sizeof(float));
        inputs->byte_sums[i] = memory_zeroed(TOKENS * groups, sizeof(float));
        ok = ok && inputs->sums[i] && inputs->byte_sums[i];
    }
    return ok;
}

static void release(struct measure *m)
{
    memory_free(m->bytes);
    memory_free(m->out);
    memory_free(m->inputs.values);
    memory_free(m->inputs.bytes);
    memory_free(m->inputs.split);
    memory_free(m->inputs.scales);
    for (size_t i = 0; i < COUNT_OF(m->inputs.sums); i++) {
        memory_free(m->inputs.sums[i]);
        memory_free(m->inputs.byte_sums[i]);
    }
}

/* Every size of weights, with one thread and with all. */
static enum status measure_turn(struct measure *m, uint32_t cores, struct kernel_rates *rates,
                                struct reason *reason)
{
    static const uint32_t bits[] = {4, 8, 16};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < COUNT_OF(bits) && status == STATUS_OK; i++) {
        fill_matrix(m, bits[i]);
        for (m->mode = MODE_EXACT; m->mode <= MODE_FAST && status == STATUS_OK; m->mode++) {
            status = measure_with(m, bits[i], 1, rates, reason);
            if (status == STATUS_OK && cores > 1)
                status = measure_with(m, bits[i], cores, rates, reason);
        }
    }
    return status;
}

static enum status measure_all(uint32_t cores, struct kernel_rates *rates, struct reason *reason)
{
    const uint64_t end_us = clock_now_us() + QUIET_LIMIT_MS * 1000;
    struct measure m = {.kernels = NULL};
    struct quiet_watch watch;
    enum status status = kernel_set_choose(NULL, &m.kernels, reason);
    uint32_t turns = 0;
    while (turns < TURNS && status == STATUS_OK) {
        const uint64_t now_us = clock_now_us();
        if (now_us >= end_us || !quiet_wait((end_us - now_us) / 1000))
            return refuse(reason, STATUS_TIMED_OUT, "others computed all the time");
        struct kernel_rates found = *rates;
        if (!allocate(&m))
            status = refuse(reason, STATUS_NO_MEMORY, "no memory to measure the kernels");
        quiet_watch_start(&watch);
        if (status == STATUS_OK) {
            fill_inputs(&m);
            status = measure_turn(&m, cores, &found, reason);
        }
        release(&m);
        if (status == STATUS_OK && quiet_watch_others(&watch) < QUIET_SHARE) {
            *rates = found;
            turns++;
        }
    }
    if (status == STATUS_OK)
        rates->near_ns = measure_near_ns(&rates->near_bytes_per_s);
    return status;
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

int engine_command_measure(int argc, char **argv)
{
    struct kernel_rates rates = {.count = 0};
    struct kernel_rates old;
    struct reason reason = {""};
    const char *path = NULL;
    uint64_t after_s = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--out") == 0)
            path = argv[i + 1];
        else if (strcmp(argv[i], "--after") != 0 ||
                 !engine_command_number(argv[i + 1], 0, 86400, &after_s))
            return engine_command_usage("measure", argv[i]);
    }
    if (!path || argc % 2 == 0)
        return engine_command_usage("measure", "--out FILE is missing");
    name_build(rates.build, argv[-1]);
    kernel_rates_cpu(rates.cpu);
    if (kernel_rates_read(path, &old) && strcmp(old.build, rates.build) == 0 &&
        strcmp(old.cpu, rates.cpu) == 0)
        return ENGINE_EXIT_OK;
    clock_sleep_ms(after_s * 1000);
    (void)setpriority(PRIO_PROCESS, 0, 19);
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    enum status status = measure_all(cores > 0 ? (uint32_t)cores : 1, &rates, &reason);
    if (status == STATUS_OK)
        status = kernel_rates_write(path, &rates, &reason);
    return status == STATUS_OK ? ENGINE_EXIT_OK : engine_command_failed(status, &reason);
}
