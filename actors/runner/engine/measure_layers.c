/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/measure_layers.h"

#include "actors/runner/engine/engine.h"
#include "actors/runner/engine/measure_parts.h"
#include "protocol/memory.h"
#include "runtime/clock.h"

#include <string.h>

#define CONFIG_ROOM 4096u
#define FILE_NAME "made.safetensors"
/* By then the system has spread new threads over the cores. */
#define WARM_NS ((uint64_t)150000000)
#define TOKENS_MOST 64u /* of a sequence in decoding; then it begins anew */

struct measure_layers {
    struct engine_model model;
    struct partition partition;
    struct shard_plan *plan;
    struct shard *shard;
    uint64_t bytes;
    uint64_t products;
};

static enum status make_config(const struct made_shape *shape, struct model_config **config_out,
                               struct reason *reason)
{
    char text[CONFIG_ROOM];
    FILE *file = fmemopen(text, sizeof(text), "w");
    if (!file)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a configuration");
    made_shape_put_config(shape, file);
    const long size = ftell(file);
    if (fclose(file) != 0 || size <= 0)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a configuration");
    return model_config_parse(text, (size_t)size, "a made-up model", config_out, reason);
}

static enum status make_table(const struct made_shape *shape, struct tensor_table **table_out,
                              struct reason *reason)
{
    char *header = NULL;
    size_t size = 0;
    uint64_t weights_size = 0;
    enum status status = made_shape_header(shape, &header, &size, &weights_size, reason);
    if (status != STATUS_OK)
        return status;
    uint8_t *bytes = memory_zeroed(size + 8, 1);
    if (!bytes)
        status = refuse(reason, STATUS_NO_MEMORY, "no memory for a header");
    for (size_t i = 0; bytes && i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)size >> (8 * i));
    if (bytes) {
        memcpy(bytes + 8, header, size);
        status = safetensors_parse(bytes, size + 8, size + 8 + weights_size, FILE_NAME, table_out,
                                   reason);
    }
    memory_free(bytes);
    memory_free(header);
    return status;
}

/* Codes that differ, scales and dense weights that are small: what comes of them is of no matter as
 * long as it is a number. */
static void fill_slice(struct shard *shard, size_t index, bool is_codes)
{
    uint64_t size = 0;
    uint8_t *bytes = shard_receive_target(shard, index, &size);
    uint64_t random = 88172645463325252u + index;
    for (uint64_t i = 0; i < size; i += 8) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        const uint64_t word = is_codes ? random : 0x3c003c003c003c00u;
        memcpy(bytes + i, &word, size - i < 8 ? (size_t)(size - i) : 8);
    }
    shard_received(shard, index);
}

static void count_layers(struct measure_layers *layers)
{
    for (size_t i = 0; i < layers->model.layout->module_count; i++) {
        const struct model_module *module = &layers->model.layout->modules[i];
        if (module->layer == MODULE_NO_LAYER)
            continue;
        layers->bytes += model_module_bytes(module);
        layers->products += module->columns > 1 ? module->rows * module->columns : 0;
    }
}

static enum status fill(struct measure_layers *layers, bool is_packed, struct reason *reason)
{
    const struct engine_model *model = &layers->model;
    const struct partition_units units = partition_units_of(model->config, model->layout);
    enum status status =
        partition_solve(SHARDING_NONE, &units, NULL, 1, &layers->partition, reason);
    if (status == STATUS_OK)
        status = shard_plan_make(model->config, model->layout, &layers->partition, &layers->plan,
                                 reason);
    if (status == STATUS_OK)
        status = shard_open(layers->plan, &layers->shard, reason);
    for (size_t i = 0; status == STATUS_OK && i < layers->plan->slice_count; i++) {
        const struct shard_slice *slice = &layers->plan->slices[i];
        fill_slice(layers->shard, i,
                   is_packed && slice->part == MODULE_PART_WEIGHT && slice->tensor->rank > 1);
    }
    return status;
}

enum status measure_layers_open(const struct made_shape *shape,
                                struct measure_layers **layers_out, struct reason *reason)
{
    struct measure_layers *layers = memory_zeroed(1, sizeof(*layers));
    if (!layers)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to measure layers");
    enum status status = make_config(shape, &layers->model.config, reason);
    if (status == STATUS_OK)
        status = make_table(shape, &layers->model.table, reason);
    if (status == STATUS_OK)
        status = model_layout_make(layers->model.config, layers->model.table,
                                   &layers->model.layout, reason);
    if (status == STATUS_OK)
        status = fill(layers, shape->bits < 16, reason);
    if (status != STATUS_OK) {
        measure_layers_close(layers);
        return status;
    }
    count_layers(layers);
    *layers_out = layers;
    return STATUS_OK;
}

void measure_layers_close(struct measure_layers *layers)
{
    if (!layers)
        return;
    shard_close(layers->shard);
    shard_plan_free(layers->plan);
    engine_model_close(&layers->model);
    memory_free(layers);
}

uint64_t measure_layers_bytes(const struct measure_layers *layers)
{
    return layers->bytes;
}

uint64_t measure_layers_products(const struct measure_layers *layers)
{
    return layers->products;
}

/* ---- steps ---- */

struct measure_run {
    struct engine *engine;
    struct engine_row *rows;
    uint32_t count;
    uint32_t sequence;
};

enum status measure_run_step(struct measure_run *run, uint64_t *took_ns_out,
                             struct reason *reason)
{
    uint32_t length = engine_sequence_length(run->engine, run->sequence);
    if (run->count > 1 || length == TOKENS_MOST)
        length = engine_sequence_truncate(run->engine, run->sequence, 0);
    const uint32_t vocab = engine_vocab(run->engine);
    for (uint32_t i = 0; i < run->count; i++)
        run->rows[i] =
            (struct engine_row){run->sequence, (length + i) % vocab, length + i, false};
    const struct engine_batch batch = {run->rows, run->count, NULL, NULL, NULL};
    const uint64_t start_ns = clock_now_ns();
    enum status status = engine_forward(run->engine, &batch, reason);
    *took_ns_out = clock_now_ns() - start_ns;
    return status;
}

enum status measure_run_open(struct measure_layers *layers, enum mode mode, uint32_t threads,
                             uint32_t rows, struct measure_run **run_out, struct reason *reason)
{
    const struct engine_options options = {
        .mode = mode == MODE_EXACT ? ENGINE_EXACT : ENGINE_FAST,
        .threads = threads,
        .context = rows > 1 ? rows : TOKENS_MOST,
        .sequences = 1,
    };
    struct measure_run *run = memory_zeroed(1, sizeof(*run));
    const uint64_t start_ns = clock_now_ns();
    uint64_t took_ns = 0;
    if (!run)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to measure layers");
    run->count = rows;
    run->rows = memory_zeroed(rows, sizeof(*run->rows));
    enum status status = run->rows ? STATUS_OK : refuse(reason, STATUS_NO_MEMORY,
                                                        "no memory for %u rows", rows);
    if (status == STATUS_OK)
        status = engine_open(&layers->model, &layers->partition, layers->shard, &options,
                             &run->engine, reason);
    if (status == STATUS_OK)
        status = engine_sequence_open(run->engine, &run->sequence, reason);
    do {
        if (status == STATUS_OK)
            status = measure_run_step(run, &took_ns, reason);
    } while (status == STATUS_OK && clock_now_ns() - start_ns < WARM_NS);
    if (status != STATUS_OK) {
        measure_run_close(run);
        return status;
    }
    *run_out = run;
    return STATUS_OK;
}

void measure_run_close(struct measure_run *run)
{
    if (!run)
        return;
    engine_close(run->engine);
    memory_free(run->rows);
    memory_free(run);
}
