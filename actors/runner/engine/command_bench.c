/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures tokens per second of a prompt and of decoding one sequence, beside what the memory
 * allows: every weight but the embedding's other rows is read once for a token, so the limit is the
 * bandwidth, measured by reading with the same threads, over those bytes.
 */
#include "actors/runner/engine/commands.h"
#include "actors/runner/engine/engine.h"
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/pool.h"
#include "protocol/memory.h"
#include "runtime/clock.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* Far more than any cache. */
#define PROBE_SIZE ((size_t)256 << 20)
#define PROBE_PIECE ((size_t)1 << 16)
#define PROBE_ROUNDS 5u
/* About half a millisecond. */
#define SPIN_ROUNDS 200000u

struct bench {
    const char *model_path;
    uint64_t prompt;
    uint64_t decode;
    bool as_json;
    struct engine_options options;

    uint64_t weight_bytes; /* read for a token */
    double prompt_rate;
    double decode_rate;
    double bandwidth; /* bytes a second */
    uint64_t products; /* of bytes, for a token of a prompt */
    double peak;       /* such products a second, in registers */
    const char *kernels;
    uint32_t threads;
};

struct probe {
    const uint64_t *words;
    _Atomic uint64_t sum;
};

static void read_pieces(void *work, size_t first, size_t end, float *scratch)
{
    struct probe *probe = work;
    uint64_t sums[8] = {0};
    const uint64_t *words = probe->words + first * (PROBE_PIECE / 8);
    size_t count = (end - first) * (PROBE_PIECE / 8);
    (void)scratch;
    for (size_t i = 0; i < count; i += 8)
        for (size_t k = 0; k < 8; k++)
            sums[k] += words[i + k];
    uint64_t sum = 0;
    for (size_t k = 0; k < 8; k++)
        sum += sums[k];
    atomic_fetch_add(&probe->sum, sum);
}

/* The best of a few rounds: anything else on the machine only takes away. */
static enum status measure_bandwidth(uint32_t threads, double *bandwidth_out,
                                     struct reason *reason)
{
    struct pool *pool = NULL;
    uint64_t *words = memory_zeroed(PROBE_SIZE / 8, 8);
    if (!words)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to measure its bandwidth");
    memset(words, 1, PROBE_SIZE);
    enum status status = pool_open(threads, 1, &pool, reason);
    uint64_t best_us = UINT64_MAX;
    for (unsigned round = 0; status == STATUS_OK && round < PROBE_ROUNDS; round++) {
        struct probe probe = {words, 0};
        uint64_t start_us = clock_now_us();
        pool_run(pool, PROBE_SIZE / PROBE_PIECE, 16, read_pieces, &probe);
        uint64_t took_us = clock_now_us() - start_us;
        best_us = took_us < best_us ? took_us : best_us;
    }
    pool_close(pool);
    memory_free(words);
    if (status == STATUS_OK)
        *bandwidth_out = (double)PROBE_SIZE * 1e6 / (double)(best_us ? best_us : 1);
    return status;
}

struct spin {
    const struct kernel_set *kernels;
    _Atomic uint64_t products;
};

static void spin_pieces(void *work, size_t first, size_t end, float *scratch)
{
    struct spin *spin = work;
    (void)scratch;
    for (size_t i = first; i < end; i++)
        atomic_fetch_add(&spin->products, spin->kernels->spin(SPIN_ROUNDS));
}

static enum status measure_peak(const struct kernel_set *kernels, uint32_t threads,
                                double *peak_out, struct reason *reason)
{
    struct pool *pool = NULL;
    double best = 0.0;
    enum status status = pool_open(threads, 1, &pool, reason);
    for (unsigned round = 0; status == STATUS_OK && round < PROBE_ROUNDS; round++) {
        struct spin spin = {kernels, 0};
        uint64_t start_us = clock_now_us();
        pool_run(pool, (size_t)threads * 16, 1, spin_pieces, &spin);
        double rate = (double)spin.products * 1e6 / (double)(clock_now_us() - start_us + 1);
        best = rate > best ? rate : best;
    }
    pool_close(pool);
    if (status == STATUS_OK)
        *peak_out = best;
    return status;
}

/* The head is used for one token of a prompt only. */
static uint64_t products_of_token(const struct engine_model *model)
{
    uint64_t products = 0;
    for (size_t i = 0; i < model->layout->module_count; i++) {
        const struct model_module *module = &model->layout->modules[i];
        if (module->role != MODULE_EMBEDDING && module->role != MODULE_HEAD)
            products += module->rows * module->columns;
    }
    return products;
}

static uint64_t bytes_of_token(const struct engine_model *model)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < model->layout->module_count; i++) {
        const struct model_module *module = &model->layout->modules[i];
        if (module->role != MODULE_EMBEDDING || model->config->tied)
            bytes += model_module_bytes(module);
    }
    return bytes;
}

/* Ids spread over the vocabulary, the same in every run. */
static uint32_t some_id(uint64_t i, uint32_t vocab)
{
    return (uint32_t)((i * 2654435761u + 12345) % vocab);
}

static enum status run_prompt(struct engine *engine, struct bench *bench, uint32_t sequence,
                              float *logits, struct reason *reason)
{
    struct engine_row *rows = memory_zeroed(bench->prompt, sizeof *rows);
    if (!rows)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the prompt");
    for (uint64_t i = 0; i < bench->prompt; i++)
        rows[i] = (struct engine_row){sequence, some_id(i, engine_vocab(engine)), (uint32_t)i,
                                      i + 1 == bench->prompt};
    struct engine_batch batch = {rows, bench->prompt, NULL, NULL, logits};
    uint64_t start_us = clock_now_us();
    enum status status = engine_forward(engine, &batch, reason);
    bench->prompt_rate = (double)bench->prompt * 1e6 / (double)(clock_now_us() - start_us + 1);
    memory_free(rows);
    return status;
}

static enum status run_decode(struct engine *engine, struct bench *bench, uint32_t sequence,
                              float *logits, struct reason *reason)
{
    uint64_t start_us = clock_now_us();
    for (uint64_t i = 0; i < bench->decode; i++) {
        struct engine_row row = {sequence, some_id(i + 7, engine_vocab(engine)),
                                 (uint32_t)(bench->prompt + i), true};
        struct engine_batch batch = {&row, 1, NULL, NULL, logits};
        enum status status = engine_forward(engine, &batch, reason);
        if (status != STATUS_OK)
            return status;
    }
    bench->decode_rate = (double)bench->decode * 1e6 / (double)(clock_now_us() - start_us + 1);
    return STATUS_OK;
}

static enum status measure(struct bench *bench, struct reason *reason)
{
    struct engine_model model = {NULL};
    struct engine *engine = NULL;
    uint32_t sequence = 0;
    float *logits = NULL;
    enum status status = engine_model_open(bench->model_path, &model, reason);
    if (status != STATUS_OK)
        return status;
    bench->weight_bytes = bytes_of_token(&model);
    bench->products = products_of_token(&model);
    bench->options.context = bench->prompt + bench->decode + 1;
    bench->options.sequences = 1;
    status = engine_open_local(&model, NULL, &bench->options, &engine, reason);
    if (status == STATUS_OK) {
        bench->kernels = engine_kernels_name(engine);
        bench->threads = engine_threads(engine);
        logits = memory_zeroed(engine_vocab(engine), sizeof *logits);
        status = logits ? engine_sequence_open(engine, &sequence, reason)
                        : refuse(reason, STATUS_NO_MEMORY, "no memory for logits");
    }
    /* Once through, so that the file is in memory, then what counts. */
    for (int round = 0; status == STATUS_OK && round < 2; round++) {
        engine_sequence_truncate(engine, sequence, 0);
        status = run_prompt(engine, bench, sequence, logits, reason);
    }
    if (status == STATUS_OK)
        status = run_decode(engine, bench, sequence, logits, reason);
    if (status == STATUS_OK)
        status = measure_bandwidth(bench->threads, &bench->bandwidth, reason);
    if (status == STATUS_OK)
        status = measure_peak(kernel_set_find(bench->kernels), bench->threads, &bench->peak,
                              reason);
    memory_free(logits);
    engine_close(engine);
    engine_model_close(&model);
    return status;
}

static void print_result(const struct bench *bench)
{
    double limit = bench->bandwidth / (double)bench->weight_bytes;
    if (bench->as_json) {
        json_t *root = json_pack(
            "{s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:f, s:i, s:s, s:s}", "decode_tokens_per_second",
            bench->decode_rate, "prompt_tokens_per_second", bench->prompt_rate,
            "limit_tokens_per_second", limit, "limit_over_decode", limit / bench->decode_rate,
            "bandwidth_bytes_per_second", bench->bandwidth, "bytes_per_token",
            (json_int_t)bench->weight_bytes, "products_per_token", (json_int_t)bench->products,
            "products_per_second", bench->peak, "threads", bench->threads, "kernels",
            bench->kernels, "mode", bench->options.mode == ENGINE_FAST ? "fast" : "exact");
        json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
        putchar('\n');
        json_decref(root);
        return;
    }
    printf("%s mode, %s kernels, %u threads, %.1f MB of weights a token\n",
           bench->options.mode == ENGINE_FAST ? "fast" : "exact", bench->kernels, bench->threads,
           (double)bench->weight_bytes / 1e6);
    printf("prompt of %llu: %.1f tokens/s\n", (unsigned long long)bench->prompt,
           bench->prompt_rate);
    printf("the cores multiply %.0f thousand million bytes a second, which allows %.0f tokens/s of "
           "a prompt\n", bench->peak / 1e9, bench->peak / (double)bench->products);
    printf("memory reads at %.1f GB/s, which allows %.1f tokens/s\n", bench->bandwidth / 1e9,
           limit);
    printf("decode of %llu: %.1f tokens/s, %.2f times slower than the memory allows\n",
           (unsigned long long)bench->decode, bench->decode_rate, limit / bench->decode_rate);
}

int engine_command_bench(int argc, char **argv)
{
    struct bench bench = {.prompt = 64, .decode = 64, .options = {.mode = ENGINE_FAST}};
    struct reason reason = {""};
    uint64_t threads = 0;
    for (int i = 1; i < argc; i++) {
        bool has_value = i + 1 < argc;
        bool good = true;
        if (strcmp(argv[i], "--json") == 0)
            bench.as_json = true;
        else if (strcmp(argv[i], "--exact") == 0)
            bench.options.mode = ENGINE_EXACT;
        else if (strcmp(argv[i], "--fast") == 0)
            bench.options.mode = ENGINE_FAST;
        else if (has_value && strcmp(argv[i], "--model") == 0)
            bench.model_path = argv[++i];
        else if (has_value && (strcmp(argv[i], "--prompt") == 0 ||
                               strcmp(argv[i], "--prompt-len") == 0))
            good = engine_command_number(argv[++i], 1, 1000000, &bench.prompt);
        else if (has_value && strcmp(argv[i], "--decode") == 0)
            good = engine_command_number(argv[++i], 1, 1000000, &bench.decode);
        else if (has_value && strcmp(argv[i], "--threads") == 0)
            good = engine_command_number(argv[++i], 1, POOL_THREADS_MAX, &threads);
        else if (has_value && strcmp(argv[i], "--kernels") == 0)
            good = (bench.options.kernels = kernel_set_find(argv[++i])) != NULL;
        else
            good = false;
        if (!good)
            return engine_command_usage("bench", argv[i]);
    }
    if (!bench.model_path)
        return engine_command_usage("bench", "--model DIR is missing");
    bench.options.threads = (uint32_t)threads;
    enum status status = measure(&bench, &reason);
    if (status != STATUS_OK)
        return engine_command_failed(status, &reason);
    print_result(&bench);
    return ENGINE_EXIT_OK;
}
