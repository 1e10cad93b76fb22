/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures prompts, decoding and batches of one model.
 *
 * Rounds go over all figures in turn, so that a disturbance takes from all alike; the best counts.
 * Before the rounds each prompt's memory is met once, which is what the cold figures are of.
 */
#include "actors/runner/engine/bench.h"
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/sampler.h"
#include "protocol/memory.h"
#include "runtime/clock.h"

/* A prompt of a figure that is not about prompts. */
#define SHORT_PROMPT 16u
#define DRAWS 20u

struct run {
    struct bench *bench;
    struct engine *engine;
    struct sampler *sampler;
    struct engine_row *rows; /* [the longest prompt, or the largest batch] */
    float *logits;           /* [the largest batch][vocab] */
    uint32_t sequences[BENCH_BATCH_MAX];
    struct reason *reason;
};

static double seconds_since(uint64_t start_us)
{
    return (double)(clock_now_us() - start_us + 1) / 1e6;
}

/* The head is used for one token of a prompt only, and of experts a few. */
static uint64_t products_of_token(const struct engine_model *model)
{
    uint64_t products = 0;
    for (size_t i = 0; i < model->layout->module_count; i++) {
        const struct model_module *module = &model->layout->modules[i];
        uint64_t some = module->rows * module->columns;
        if (module->role == MODULE_EMBEDDING || module->role == MODULE_HEAD)
            continue;
        if (module->role >= MODULE_EXPERT_GATE && module->role <= MODULE_EXPERT_DOWN)
            some = some * model->config->experts.used / model->config->experts.count;
        products += some;
    }
    return products;
}

static uint64_t bytes_of_token(const struct engine_model *model)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < model->layout->module_count; i++) {
        const struct model_module *module = &model->layout->modules[i];
        uint64_t some = model_module_bytes(module);
        if (module->role == MODULE_EMBEDDING && !model_layout_is_tied(model->layout))
            continue;
        if (module->role >= MODULE_EXPERT_GATE && module->role <= MODULE_EXPERT_DOWN)
            some = some * model->config->experts.used / model->config->experts.count;
        bytes += some;
    }
    return bytes;
}

/* Ids spread over the vocabulary, the same in every run. */
static uint32_t some_id(const struct run *run, uint64_t i)
{
    return (uint32_t)((i * 2654435761u + 12345) % engine_vocab(run->engine));
}

/* Greedy, or as the families of these shapes come: top_p 0.8, top_k 20. */
static enum status draw(struct run *run, bool is_greedy, uint64_t position)
{
    struct sampling sampling;
    struct sampling_history history = {NULL, 0, NULL, 0, NULL};
    struct sampled sampled;
    sampling_init(&sampling);
    sampling.temperature = is_greedy ? 0.0f : 0.7f;
    sampling.top_p = 0.8f;
    sampling.top_k = 20;
    sampling.seed = position;
    return sampler_draw(run->sampler, &sampling, run->logits, &history, &sampled, run->reason);
}

/* `count` tokens into the sequence, from its present length on. */
static enum status feed(struct run *run, uint32_t sequence, uint64_t count)
{
    uint32_t first = engine_sequence_length(run->engine, sequence);
    for (uint64_t i = 0; i < count; i++)
        run->rows[i] = (struct engine_row){sequence, some_id(run, first + i),
                                           (uint32_t)(first + i), i + 1 == count};
    struct engine_batch batch = {run->rows, count, NULL, NULL, run->logits};
    return engine_forward(run->engine, &batch, run->reason);
}

/* One token of each of the first `width` sequences, `steps` times; with draws where a profile is
 * kept. */
static enum status step(struct run *run, uint64_t width, uint64_t steps, struct profile *profile)
{
    enum status status = STATUS_OK;
    for (uint64_t i = 0; status == STATUS_OK && i < steps; i++) {
        for (uint64_t s = 0; s < width; s++) {
            uint32_t at = engine_sequence_length(run->engine, run->sequences[s]);
            run->rows[s] = (struct engine_row){run->sequences[s], some_id(run, at + 7 * s), at,
                                               true};
        }
        struct engine_batch batch = {run->rows, width, NULL, NULL, run->logits};
        status = engine_forward(run->engine, &batch, run->reason);
        for (uint64_t s = 0; profile && status == STATUS_OK && s < width; s++) {
            profile_turn(profile, PROFILE_SAMPLING);
            status = draw(run, false, i);
        }
        profile_turn(profile, PROFILE_OUTSIDE);
    }
    return status;
}

static enum status open_sequences(struct run *run, uint64_t count)
{
    enum status status = STATUS_OK;
    for (uint64_t s = 0; status == STATUS_OK && s < count; s++)
        status = engine_sequence_open(run->engine, &run->sequences[s], run->reason);
    return status;
}

static void close_sequences(struct run *run, uint64_t count)
{
    for (uint64_t s = 0; s < count; s++)
        engine_sequence_close(run->engine, run->sequences[s]);
}

static enum status run_prompt(struct run *run, struct bench_row *row, struct profile *profile)
{
    enum status status = open_sequences(run, 1);
    if (status != STATUS_OK)
        return status;
    engine_profile(run->engine, profile);
    uint64_t start_us = clock_now_us();
    status = feed(run, run->sequences[0], row->size);
    double took = seconds_since(start_us);
    profile_turn(profile, PROFILE_SAMPLING);
    if (status == STATUS_OK)
        status = draw(run, true, 0);
    profile_turn(profile, PROFILE_OUTSIDE);
    double first_token = seconds_since(start_us);
    engine_profile(run->engine, NULL);
    row->profile_tokens = row->size;
    if (!profile && (double)row->size / took > row->rate) {
        row->rate = (double)row->size / took;
        row->first_token = first_token;
    }
    close_sequences(run, 1);
    return status;
}

/* Decoding of one sequence, or of a batch of short ones. */
static enum status run_steps(struct run *run, struct bench_row *row, struct profile *profile)
{
    uint64_t width = row->what == BENCH_BATCH ? row->size : 1;
    enum status status = open_sequences(run, width);
    if (status != STATUS_OK)
        return status;
    for (uint64_t s = 0; status == STATUS_OK && s < width; s++)
        status = feed(run, run->sequences[s],
                      row->what == BENCH_BATCH ? SHORT_PROMPT : row->size);
    engine_profile(run->engine, profile);
    uint64_t start_us = clock_now_us();
    if (status == STATUS_OK)
        status = step(run, width, run->bench->decode, profile);
    double rate = (double)(width * run->bench->decode) / seconds_since(start_us);
    engine_profile(run->engine, NULL);
    row->profile_tokens = width * run->bench->decode;
    if (!profile && rate > row->rate)
        row->rate = rate;
    close_sequences(run, width);
    return status;
}

static enum status run_row(struct run *run, struct bench_row *row, struct profile *profile)
{
    return row->what == BENCH_PROMPT ? run_prompt(run, row, profile)
                                     : run_steps(run, row, profile);
}

static void add_rows(struct bench *bench, enum bench_what what, const uint64_t *sizes,
                     size_t count)
{
    for (size_t i = 0; i < count; i++)
        bench->rows[bench->row_count++] = (struct bench_row){.what = what, .size = sizes[i]};
}

static uint64_t largest(const uint64_t *values, size_t count, uint64_t most)
{
    for (size_t i = 0; i < count; i++)
        most = values[i] > most ? values[i] : most;
    return most;
}

/* Draws from the last logits, each way. */
static enum status measure_draws(struct run *run)
{
    enum status status = STATUS_OK;
    for (size_t way = 0; way < 2; way++) {
        uint64_t start_us = clock_now_us();
        for (uint64_t i = 0; status == STATUS_OK && i < DRAWS; i++)
            status = draw(run, way == 0, i);
        run->bench->draws[way] = seconds_since(start_us) / DRAWS;
    }
    return status;
}

static enum status measure_rows(struct run *run)
{
    struct bench *bench = run->bench;
    enum status status = STATUS_OK;
    for (uint64_t round = 0; status == STATUS_OK && round < bench->rounds; round++)
        for (size_t i = 0; status == STATUS_OK && i < bench->row_count; i++)
            status = run_row(run, &bench->rows[i], NULL);
    for (size_t i = 0; bench->wants_profile && status == STATUS_OK && i < bench->row_count; i++) {
        bench->rows[i].has_profile = true;
        status = run_row(run, &bench->rows[i], &bench->rows[i].profile);
    }
    return status;
}

/* Opens what a run needs; what was opened stays in `run`, also when it fails. */
static enum status open_run(struct run *run, const struct engine_model *model)
{
    struct bench *bench = run->bench;
    uint64_t width = largest(bench->batches, bench->batch_count, 1);
    uint64_t longest = largest(bench->prompts, bench->prompt_count,
                               largest(bench->contexts, bench->context_count, SHORT_PROMPT));
    uint64_t each = SHORT_PROMPT + bench->decode + 64;
    bench->options.context = longest + bench->decode + 64 + (width - 1) * each;
    bench->options.sequences = (uint32_t)width;
    enum status status = engine_open_local(model, NULL, &bench->options, &run->engine,
                                           run->reason);
    if (status != STATUS_OK)
        return status;
    bench->kernels = engine_kernels_name(run->engine);
    bench->threads = engine_threads(run->engine);
    bench->vocab = engine_vocab(run->engine);
    run->rows = memory_zeroed(longest > width ? longest : width, sizeof *run->rows);
    run->logits = memory_zeroed(width * bench->vocab, sizeof *run->logits);
    if (!run->rows || !run->logits)
        return refuse(run->reason, STATUS_NO_MEMORY, "no memory for the logits");
    return sampler_open(bench->vocab, NULL, &run->sampler, run->reason);
}

/* What else runs on the machine takes away from its speed at times: the best of all calls counts,
 * as of the figures it is put beside. */
static enum status measure_machine(struct bench *bench, struct reason *reason)
{
    double bandwidth = 0.0;
    double peak = 0.0;
    enum status status = bench_bandwidth(bench->threads, &bandwidth, reason);
    if (status == STATUS_OK)
        status = bench_peak(kernel_set_find(bench->kernels), bench->threads, &peak, reason);
    bench->bandwidth = bandwidth > bench->bandwidth ? bandwidth : bench->bandwidth;
    bench->peak = peak > bench->peak ? peak : bench->peak;
    return status;
}

static enum status measure_model(struct run *run, const struct engine_model *model,
                                 uint64_t start_us)
{
    struct bench *bench = run->bench;
    enum status status = open_run(run, model);
    bench->load = seconds_since(start_us);
    bench->layers = model->config->layers;
    add_rows(bench, BENCH_PROMPT, bench->prompts, bench->prompt_count);
    add_rows(bench, BENCH_DECODE, bench->contexts, bench->context_count);
    add_rows(bench, BENCH_BATCH, bench->batches, bench->batch_count);
    if (status == STATUS_OK) {
        struct bench_row first = bench->rows[0];
        status = run_row(run, &first, NULL);
        bench->cold_token = seconds_since(start_us);
    }
    if (status == STATUS_OK)
        status = measure_machine(bench, run->reason);
    if (status == STATUS_OK)
        status = measure_rows(run);
    if (status == STATUS_OK)
        status = measure_draws(run);
    if (status == STATUS_OK) {
        bench->resident = bench_resident();
        bench->memory = engine_memory_bytes(run->engine);
    }
    sampler_close(run->sampler);
    memory_free(run->logits);
    memory_free(run->rows);
    engine_close(run->engine);
    return status;
}

enum status bench_measure(struct bench *bench, struct reason *reason)
{
    struct engine_model model = {NULL};
    struct run run = {.bench = bench, .reason = reason};
    uint64_t start_us = clock_now_us();
    enum status status = engine_model_open(bench->model_path, &model, reason);
    if (status != STATUS_OK)
        return status;
    bench->weight_bytes = bytes_of_token(&model);
    bench->products = products_of_token(&model);
    status = measure_model(&run, &model, start_us);
    engine_model_close(&model);
    if (status == STATUS_OK)
        status = measure_machine(bench, reason);
    return status;
}
