/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/engine_parts.h"
#include "protocol/memory.h"
#include "runtime/model_family.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>

#define CONTEXT_DEFAULT 32768u
#define SEQUENCES_DEFAULT 16u
#define THREADS_DEFAULT_MAX 64u

const struct family *family_find(const char *model_type)
{
    const struct model_family *shape = model_family_find(model_type);
    for (size_t i = 0; shape && model_families[i]; i++) {
        if (model_families[i] == shape)
            return engine_families[i];
    }
    return NULL;
}

/* --- the model --- */

enum status engine_model_receive(const char *directory, struct tensor_table *table,
                                 struct engine_model *model_out, struct reason *reason)
{
    struct engine_model model = {.table = table};
    enum status status = model_config_read(directory, &model.config, reason);
    if (status == STATUS_OK)
        status = model_layout_make(model.config, table, &model.layout, reason);
    if (status != STATUS_OK) {
        engine_model_close(&model);
        return status;
    }
    *model_out = model;
    return STATUS_OK;
}

enum status engine_model_open(const char *directory, struct engine_model *model_out,
                              struct reason *reason)
{
    struct tensor_table *table = NULL;
    struct model_config *config = NULL;
    /* The configuration first: an unknown type is a better answer than a missing file. */
    enum status status = model_config_read(directory, &config, reason);
    model_config_free(config);
    if (status == STATUS_OK)
        status = safetensors_open(directory, &table, reason);
    struct engine_model model = {NULL};
    if (status == STATUS_OK)
        status = engine_model_receive(directory, table, &model, reason);
    if (status != STATUS_OK)
        return status;
    status = weight_files_open(directory, model.table, &model.files, reason);
    if (status != STATUS_OK) {
        engine_model_close(&model);
        return status;
    }
    *model_out = model;
    return STATUS_OK;
}

void engine_model_close(struct engine_model *model)
{
    weight_files_close(model->files);
    model_layout_free(model->layout);
    tensor_table_free(model->table);
    model_config_free(model->config);
    *model = (struct engine_model){NULL};
}

/* --- binding --- */

static enum status bind_ends(struct engine *engine, struct reason *reason)
{
    enum status status = STATUS_OK;
    if (engine->partition.has_embedding)
        status = engine_bind_matrix(engine, MODULE_EMBEDDING, MODULE_NO_LAYER, &engine->embedding,
                                    reason);
    if (status != STATUS_OK || !engine->partition.has_head)
        return status;
    status = engine_bind_vector(engine, MODULE_FINAL_NORM, MODULE_NO_LAYER, &engine->final_norm,
                                reason);
    if (status != STATUS_OK)
        return status;
    bool is_tied = model_layout_is_tied(engine->model->layout);
    return engine_bind_matrix(engine, is_tied ? MODULE_EMBEDDING : MODULE_HEAD, MODULE_NO_LAYER,
                              &engine->head, reason);
}

/* --- memory --- */

static void *take(struct engine *engine, size_t count, size_t size)
{
    engine->buffer_bytes += (uint64_t)count * size;
    return memory_zeroed(count, size);
}

static bool open_activations(struct engine *engine, size_t rows, size_t columns,
                             struct activations *a)
{
    bool is_fast = engine->options.mode == ENGINE_FAST;
    a->capacity = rows;
    a->columns = columns;
    a->stride = (columns + KERNEL_BLOCK - 1) / KERNEL_BLOCK * KERNEL_BLOCK;
    size_t blocks = a->stride / KERNEL_QUANT_BLOCK * rows;
    bool good = (a->values = take(engine, rows * a->stride, sizeof(float))) != NULL;
    for (size_t i = 0; good && i < 3; i++)
        good = (a->sums[i] = take(engine, blocks, sizeof(float))) != NULL;
    if (!good || !is_fast)
        return good;
    for (size_t i = 0; good && i < 3; i++)
        good = (a->byte_sums[i] = take(engine, blocks, sizeof(float))) != NULL;
    a->bytes = take(engine, rows, a->stride);
    a->split = take(engine, rows, a->stride);
    a->scales = take(engine, blocks, sizeof(float));
    return good && a->bytes && a->split && a->scales;
}

static void close_activations(struct activations *a)
{
    for (size_t i = 0; i < 3; i++) {
        memory_free(a->sums[i]);
        memory_free(a->byte_sums[i]);
    }
    memory_free(a->values);
    memory_free(a->bytes);
    memory_free(a->split);
    memory_free(a->scales);
}

static bool open_experts(struct engine *e)
{
    const struct model_experts *experts = &e->config->experts;
    struct expert_buffers *b = &e->experts;
    size_t hidden = e->config->hidden;
    size_t pairs = (size_t)ENGINE_ROWS * experts->used;
    b->normed = take(e, ENGINE_ROWS * hidden, sizeof(float));
    b->logits = take(e, (size_t)ENGINE_ROWS * experts->count, sizeof(float));
    b->choices = take(e, pairs, sizeof *b->choices);
    b->pairs = take(e, pairs, sizeof *b->pairs);
    b->ends = take(e, (size_t)experts->count + 1, sizeof *b->ends);
    b->ups = take(e, EXPERT_ROWS * e->widths.experts, sizeof(float));
    b->outs = take(e, EXPERT_ROWS * hidden, sizeof(float));
    b->sum = take(e, ENGINE_ROWS * hidden, sizeof(float));
    b->scales = take(e, ENGINE_ROWS, sizeof(float));
    return b->normed && b->logits && b->choices && b->pairs && b->ends && b->ups && b->outs &&
           b->sum && b->scales && open_activations(e, EXPERT_ROWS, hidden, &b->picked) &&
           open_activations(e, EXPERT_ROWS, e->widths.experts, &b->middle);
}

static void close_experts(struct expert_buffers *b)
{
    close_activations(&b->picked);
    close_activations(&b->middle);
    memory_free(b->normed);
    memory_free(b->logits);
    memory_free(b->choices);
    memory_free(b->pairs);
    memory_free(b->ends);
    memory_free(b->ups);
    memory_free(b->outs);
    memory_free(b->sum);
    memory_free(b->scales);
}

static bool open_buffers(struct engine *e)
{
    const struct engine_widths *w = &e->widths;
    size_t hidden = e->config->hidden;
    const bool is_cut = engine_is_tensor_cut(e) && e->partition.has_head;
    e->hidden = take(e, ENGINE_ROWS * hidden, sizeof(float));
    e->part = take(e, ENGINE_ROWS * hidden, sizeof(float));
    e->queries = take(e, ENGINE_ROWS * w->queries, sizeof(float));
    e->keys = take(e, ENGINE_ROWS * w->keys, sizeof(float));
    e->values = take(e, ENGINE_ROWS * w->values, sizeof(float));
    e->gates = take(e, ENGINE_ROWS * w->gates, sizeof(float));
    e->ups = take(e, ENGINE_ROWS * w->ffn, sizeof(float));
    e->next = take(e, e->options.sequences, sizeof *e->next);
    if (is_cut)
        e->logits = take(e, (size_t)ENGINE_LOGIT_ROWS * e->vocab, sizeof(float));
    if (!e->hidden || !e->part || !e->queries || !e->keys || !e->values || !e->gates || !e->ups ||
        !e->next || (is_cut && !e->logits) || !ropes_open(e))
        return false;
    return open_activations(e, ENGINE_ROWS, hidden, &e->input) &&
           open_activations(e, ENGINE_ROWS, w->mixed, &e->mixed) &&
           open_activations(e, ENGINE_ROWS, w->ffn, &e->gated) &&
           (e->config->experts.count == 0 || open_experts(e));
}

/* --- opening --- */

static uint32_t cores(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        count = CPU_COUNT(&set);
#endif
    if (count < 1)
        return 1;
    return count > THREADS_DEFAULT_MAX ? THREADS_DEFAULT_MAX : (uint32_t)count;
}

static enum status settle_options(struct engine *engine, const struct engine_options *options,
                                  struct reason *reason)
{
    bool is_exact = options->mode == ENGINE_EXACT;
    uint32_t longest = engine->config->context < CONTEXT_DEFAULT ? engine->config->context
                                                                 : CONTEXT_DEFAULT;
    engine->options = *options;
    if (engine->options.threads == 0)
        engine->options.threads = cores();
    if (engine->options.context == 0)
        engine->options.context = longest;
    if (engine->options.sequences == 0)
        engine->options.sequences = SEQUENCES_DEFAULT;
    if (engine->options.positions == 0)
        engine->options.positions = engine->options.context;
    if (options->kv_format == KV_FORMAT_NONE)
        engine->options.kv_format = is_exact ? KV_F32 : KV_BF16;
    enum kv_format format = engine->options.kv_format;
    if (is_exact ? format != KV_F32 : !kv_format_is_fast(format))
        return refuse(reason, STATUS_INVALID, "%s mode has no KV cache of %s; exact mode keeps "
                      "f32, fast mode bf16 or int8", is_exact ? "exact" : "fast",
                      kv_format_name(format));
    engine->kernels = options->kernels;
    return options->kernels ? STATUS_OK : kernel_set_choose(NULL, &engine->kernels, reason);
}

static enum status bind_all(struct engine *engine, struct reason *reason)
{
    const struct partition *p = &engine->partition;
    engine->layer_count = p->layer_end - p->layer_first;
    engine->vocab = p->vocab_end - p->vocab_first;
    engine->layers = memory_zeroed(engine->layer_count, sizeof *engine->layers);
    engine->kv_layers = memory_zeroed(engine->layer_count, sizeof *engine->kv_layers);
    if (!engine->layers || !engine->kv_layers)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for %u layers", engine->layer_count);
    enum status status = bind_ends(engine, reason);
    for (uint32_t i = 0; status == STATUS_OK && i < engine->layer_count; i++)
        status = engine->family->bind(engine, p->layer_first + i, &engine->layers[i], reason);
    return status;
}

static enum status open_parts(struct engine *engine, struct reason *reason)
{
    enum status status = bind_all(engine, reason);
    if (status != STATUS_OK)
        return status;
    if (!open_buffers(engine))
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the buffers of the engine");
    const struct kv_shape shape = {engine->kv_layers, engine->layer_count, ENGINE_ROWS,
                                   engine->options.kv_format};
    status = kv_cache_open(&shape, engine->options.positions, engine->options.sequences,
                           &engine->cache, reason);
    if (status != STATUS_OK)
        return status;
    size_t scratch = kernel_scratch_floats(engine->widths.columns);
    size_t scores = (size_t)KERNEL_ATTEND_MAX * KERNEL_PAGE_MAX;
    return pool_open(engine->options.threads,
                     engine->widths.scratch + (scratch > scores ? scratch : scores), &engine->pool,
                     reason);
}

enum status engine_open(const struct engine_model *model, const struct partition *partition,
                        const struct shard *shard, const struct engine_options *options,
                        struct engine **engine_out, struct reason *reason)
{
    struct partition_units units = partition_units_of(model->config, model->layout);
    enum status status = partition_check_one(partition, &units, reason);
    if (status != STATUS_OK)
        return status;
    if (!shard_is_complete(shard))
        return refuse(reason, STATUS_NOT_READY, "the weights are not all there");
    bool is_cut = partition->stage_ranks > 1;
    if (is_cut && (!options->collective || options->collective->size != partition->stage_ranks ||
                   options->collective->rank != partition->rank - partition->stage_first))
        return refuse(reason, STATUS_INVALID, "a tensor cut of %u ranks needs a world of as many",
                      partition->stage_ranks);
    struct engine *engine = memory_zeroed(1, sizeof *engine);
    if (!engine)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for an engine");
    engine->model = model;
    engine->config = model->config;
    engine->shard = shard;
    engine->partition = *partition;
    engine->family = family_find(model->config->model_type);
    ASSERT(engine->family != NULL);
    status = settle_options(engine, options, reason);
    if (status == STATUS_OK)
        status = open_parts(engine, reason);
    if (status != STATUS_OK) {
        engine_close(engine);
        return status;
    }
    *engine_out = engine;
    return STATUS_OK;
}

enum status engine_open_local(const struct engine_model *model, const struct partition *partition,
                              const struct engine_options *options, struct engine **engine_out,
                              struct reason *reason)
{
    struct partition_units units = partition_units_of(model->config, model->layout);
    struct partition all;
    struct shard_plan *plan = NULL;
    struct shard *shard = NULL;
    enum status status = partition_solve(SHARDING_NONE, &units, NULL, 1, &all, reason);
    partition = partition ? partition : &all;
    if (status == STATUS_OK)
        status = shard_plan_make(model->config, model->layout, partition, &plan, reason);
    if (status == STATUS_OK)
        status = shard_open(plan, &shard, reason);
    if (status == STATUS_OK)
        status = shard_fill(shard, model->files, reason);
    struct engine *engine = NULL;
    if (status == STATUS_OK)
        status = engine_open(model, partition, shard, options, &engine, reason);
    if (status != STATUS_OK) {
        shard_close(shard);
        shard_plan_free(plan);
        return status;
    }
    engine->own_plan = plan;
    engine->own_shard = shard;
    *engine_out = engine;
    return STATUS_OK;
}

void engine_close(struct engine *engine)
{
    if (!engine)
        return;
    pool_close(engine->pool);
    kv_cache_close(engine->cache);
    close_activations(&engine->input);
    close_activations(&engine->mixed);
    close_activations(&engine->gated);
    close_experts(&engine->experts);
    ropes_close(engine);
    float *buffers[] = {engine->hidden, engine->part,  engine->queries, engine->keys,
                        engine->values, engine->gates, engine->ups,     engine->logits};
    for (size_t i = 0; i < COUNT_OF(buffers); i++)
        memory_free(buffers[i]);
    for (size_t i = 0; i < engine->vector_count; i++)
        memory_free(engine->vectors[i]);
    for (uint32_t i = 0; engine->layers && i < engine->layer_count; i++) {
        memory_free(engine->layers[i].own);
        memory_free(engine->layers[i].experts.gates);
    }
    memory_free(engine->vectors);
    memory_free(engine->kv_layers);
    memory_free(engine->next);
    memory_free(engine->layers);
    shard_close(engine->own_shard);
    shard_plan_free(engine->own_plan);
    memory_free(engine);
}
