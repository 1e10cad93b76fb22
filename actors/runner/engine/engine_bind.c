/* SPDX-License-Identifier: Apache-2.0 */
/* The weights of a rank's shard as matrices and vectors of the layers. */
#include "actors/runner/engine/engine_parts.h"
#include "protocol/memory.h"

#include <math.h>

static size_t module_index(const struct engine *engine, const struct model_module *module)
{
    return (size_t)(module - engine->model->layout->modules);
}

static enum status not_received(const struct model_module *module, struct reason *reason)
{
    return refuse(reason, STATUS_NOT_READY, "the weights of %s were not received", module->path);
}

enum status engine_bind_module(struct engine *engine, const struct model_module *module,
                               struct matrix *matrix_out, struct reason *reason)
{
    size_t index = module_index(engine, module);
    struct module_range range;
    struct matrix matrix = {.quantisation = module->quantisation};
    bool is_held = shard_range(engine->model->layout, module, &engine->partition, &range);
    matrix.rows = range.row_end - range.row_first;
    matrix.columns = range.column_end - range.column_first;
    engine_widen(&engine->widths.columns, (size_t)matrix.columns);
    if (is_held) {
        matrix.weight = shard_part(engine->shard, index, MODULE_PART_WEIGHT,
                                   &matrix.weight_stride);
        if (!matrix.weight)
            return not_received(module, reason);
    }
    if (is_held && module->scales) {
        matrix.scale_type = module->scales->type;
        matrix.scales = shard_part(engine->shard, index, MODULE_PART_SCALES,
                                   &matrix.scale_stride);
        if (module->biases)
            matrix.biases = shard_part(engine->shard, index, MODULE_PART_BIASES,
                                       &matrix.bias_stride);
        if (!matrix.scales || (module->biases && !matrix.biases))
            return not_received(module, reason);
    }
    *matrix_out = matrix;
    return STATUS_OK;
}

enum status engine_bind_matrix(struct engine *engine, uint32_t role, uint32_t layer,
                               struct matrix *matrix_out, struct reason *reason)
{
    const struct model_module *module = model_layout_find(engine->model->layout, role, layer);
    *matrix_out = (struct matrix){.rows = 0};
    return module ? engine_bind_module(engine, module, matrix_out, reason) : STATUS_OK;
}

/* Room for `count` floats that lives as long as the engine. */
static float *take_vector(struct engine *engine, size_t count)
{
    float *vector = memory_zeroed(count, sizeof *vector);
    float **grown = memory_resized(engine->vectors, engine->vector_count + 1, sizeof *grown);
    if (grown)
        engine->vectors = grown;
    if (!vector || !grown) {
        memory_free(vector);
        return NULL;
    }
    engine->vectors[engine->vector_count++] = vector;
    return vector;
}

static enum weight_format format_of(enum tensor_type type)
{
    return type == TENSOR_BF16 ? WEIGHT_BF16 : type == TENSOR_F16 ? WEIGHT_F16 : WEIGHT_F32;
}

enum status engine_bind_bias(struct engine *engine, const struct model_module *module,
                             const float **bias_out, struct reason *reason)
{
    struct module_range range;
    *bias_out = NULL;
    if (!module->bias ||
        !shard_range(engine->model->layout, module, &engine->partition, &range))
        return STATUS_OK;
    /* Where ranks each give a part of every output, the one with the first columns adds it. */
    if (range.column_first > 0)
        return STATUS_OK;
    size_t count = (size_t)(range.row_end - range.row_first);
    enum weight_format format = format_of(module->bias->type);
    struct matrix matrix = {.quantisation = {format, tensor_type_bits(module->bias->type), 0},
                            .rows = 1, .columns = count};
    matrix.weight = shard_part(engine->shard, module_index(engine, module), MODULE_PART_BIAS,
                               &matrix.weight_stride);
    if (!matrix.weight)
        return not_received(module, reason);
    float *bias = take_vector(engine, count);
    if (!bias)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for %s", module->path);
    kernel_dequantise_row(&matrix, 0, bias);
    *bias_out = bias;
    return STATUS_OK;
}

enum status engine_bind_linear(struct engine *engine, uint32_t role, uint32_t layer,
                               struct linear *linear_out, struct reason *reason)
{
    const struct model_module *module = model_layout_find(engine->model->layout, role, layer);
    *linear_out = (struct linear){.bias = NULL};
    if (!module)
        return STATUS_OK;
    enum status status = engine_bind_module(engine, module, &linear_out->matrix, reason);
    return status == STATUS_OK ? engine_bind_bias(engine, module, &linear_out->bias, reason)
                               : status;
}

enum status engine_bind_vector(struct engine *engine, uint32_t role, uint32_t layer,
                               const float **vector_out, struct reason *reason)
{
    const struct model_module *module = model_layout_find(engine->model->layout, role, layer);
    struct matrix matrix;
    *vector_out = NULL;
    if (!module)
        return STATUS_OK;
    enum status status = engine_bind_module(engine, module, &matrix, reason);
    if (status != STATUS_OK)
        return status;
    float *vector = take_vector(engine, (size_t)(matrix.rows * matrix.columns) + 1);
    if (!vector)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for %s", module->path);
    for (uint64_t row = 0; matrix.weight && row < matrix.rows; row++)
        kernel_dequantise_row(&matrix, row, vector + row * matrix.columns);
    for (uint64_t i = 0; module->adds_one && i < matrix.rows * matrix.columns; i++)
        vector[i] += 1.0f;
    *vector_out = vector;
    return STATUS_OK;
}

void engine_bind_cache(struct engine *engine, uint32_t layer, const struct kv_layer *kv)
{
    engine->kv_layers[layer - engine->partition.layer_first] = *kv;
}

/* How many of `total` heads a rank has that holds `rows` of all their rows. */
static uint32_t heads_held(const struct engine *engine, uint32_t role, uint32_t layer,
                           uint64_t rows, uint32_t total)
{
    const struct model_module *module = model_layout_find(engine->model->layout, role, layer);
    ASSERT(module != NULL);
    return (uint32_t)(rows * total / module->rows);
}

uint32_t engine_heads_skipped(const struct engine *engine, uint32_t layer, uint32_t per_kv)
{
    const struct model_layout *layout = engine->model->layout;
    const struct model_module *module = model_layout_find(layout, MODULE_VALUE, layer);
    const struct partition_class *class = model_module_class(layout, module);
    const struct partition_span span =
        partition_cut_in(&engine->partition.cuts[module->class], module->ordinal);
    return span.first * class->unit_heads % per_kv;
}

enum status engine_bind_attention(struct engine *engine, uint32_t layer,
                                  struct attention_part *part, struct reason *reason)
{
    const struct layer_shape *shape = &engine->config->shapes[layer];
    const struct {
        enum module_role role;
        struct linear *linear;
    } linears[] = {
        {MODULE_QUERY, &part->query},
        {MODULE_KEY, &part->key},
        {MODULE_VALUE, &part->value},
        {MODULE_ATTENTION_OUT, &part->out},
        {MODULE_ATTENTION_GATE, &part->gate},
    };
    const struct {
        enum module_role role;
        const float **vector;
    } vectors[] = {
        {MODULE_QUERY_NORM, &part->query_norm},
        {MODULE_KEY_NORM, &part->key_norm},
        {MODULE_SINKS, &part->sinks},
    };
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < COUNT_OF(linears); i++)
        status = engine_bind_linear(engine, linears[i].role, layer, linears[i].linear, reason);
    for (size_t i = 0; status == STATUS_OK && i < COUNT_OF(vectors); i++)
        status = engine_bind_vector(engine, vectors[i].role, layer, vectors[i].vector, reason);
    if (status != STATUS_OK)
        return status;
    part->heads = heads_held(engine, MODULE_QUERY, layer, part->query.matrix.rows, shape->heads);
    part->kv_heads = heads_held(engine, MODULE_KEY, layer, part->key.matrix.rows,
                                shape->kv_heads);
    part->has_gate = model_layout_find(engine->model->layout, MODULE_ATTENTION_GATE, layer) != NULL;
    part->per_kv = shape->heads / shape->kv_heads;
    part->skipped = engine_heads_skipped(engine, layer, part->per_kv);
    part->head_dim = shape->head_dim;
    part->window = shape->window;
    part->rope = shape->rope;
    part->scale = 1.0f / sqrtf((float)shape->head_dim);
    size_t keys = (size_t)part->kv_heads * part->head_dim;
    engine_widen(&engine->widths.queries, (size_t)part->query.matrix.rows);
    engine_widen(&engine->widths.keys, keys);
    engine_widen(&engine->widths.values, keys);
    engine_widen(&engine->widths.mixed, (size_t)part->heads * part->head_dim);
    engine_widen(&engine->widths.gates, part->heads);
    const struct kv_layer kv = {.heads = part->kv_heads, .key_dim = part->head_dim,
                                .value_dim = part->head_dim, .window = part->window};
    engine_bind_cache(engine, layer, &kv);
    return STATUS_OK;
}

enum status engine_bind_ffn(struct engine *engine, uint32_t role, uint32_t layer,
                            struct ffn_part *part, struct reason *reason)
{
    struct linear *const linears[] = {&part->gate, &part->up, &part->down};
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < COUNT_OF(linears); i++)
        status = engine_bind_linear(engine, role + i, layer, linears[i], reason);
    if (status == STATUS_OK)
        engine_widen(&engine->widths.ffn, (size_t)part->gate.matrix.rows);
    return status;
}

static enum status bind_expert_stack(struct engine *engine, uint32_t role, uint32_t layer,
                                     struct linear *linears, struct reason *reason)
{
    const struct model_module *module = model_layout_find(engine->model->layout, role, layer);
    enum status status = STATUS_OK;
    ASSERT(module != NULL);
    /* The experts of a role follow one another. */
    for (uint32_t i = 0; status == STATUS_OK && i < engine->config->experts.count; i++) {
        status = engine_bind_module(engine, &module[i], &linears[i].matrix, reason);
        if (status == STATUS_OK)
            status = engine_bind_bias(engine, &module[i], &linears[i].bias, reason);
    }
    return status;
}

enum status engine_bind_experts(struct engine *engine, uint32_t layer, struct experts_part *part,
                                struct reason *reason)
{
    uint32_t count = engine->config->experts.count;
    part->gates = memory_zeroed((size_t)3 * count, sizeof *part->gates);
    if (!part->gates)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for %u experts", count);
    part->ups = part->gates + count;
    part->downs = part->ups + count;
    enum status status = engine_bind_linear(engine, MODULE_ROUTER, layer, &part->router, reason);
    if (status == STATUS_OK)
        status = engine_bind_vector(engine, MODULE_ROUTER_BIAS, layer, &part->choice_bias, reason);
    if (status == STATUS_OK)
        status = bind_expert_stack(engine, MODULE_EXPERT_GATE, layer, part->gates, reason);
    if (status == STATUS_OK)
        status = bind_expert_stack(engine, MODULE_EXPERT_UP, layer, part->ups, reason);
    if (status == STATUS_OK)
        status = bind_expert_stack(engine, MODULE_EXPERT_DOWN, layer, part->downs, reason);
    if (status == STATUS_OK)
        status = engine_bind_ffn(engine, MODULE_SHARED_GATE, layer, &part->shared, reason);
    if (status == STATUS_OK)
        status = engine_bind_linear(engine, MODULE_SHARED_SCALE, layer, &part->shared_scale,
                                    reason);
    if (status != STATUS_OK)
        return status;
    engine_widen(&engine->widths.experts, (size_t)part->gates[0].matrix.rows);
    engine_widen(&engine->widths.columns, 2 * (size_t)count); /* scratch of the choice */
    return STATUS_OK;
}

enum status engine_bind_rest(struct engine *engine, uint32_t layer, struct engine_layer *bound,
                             struct reason *reason)
{
    enum status status = engine_bind_vector(engine, MODULE_ATTENTION_NORM, layer,
                                            &bound->attention_norm, reason);
    if (status == STATUS_OK)
        status = engine_bind_vector(engine, MODULE_FFN_NORM, layer, &bound->ffn_norm, reason);
    if (status != STATUS_OK)
        return status;
    if (engine->config->shapes[layer].ffn == FFN_EXPERTS)
        return engine_bind_experts(engine, layer, &bound->experts, reason);
    return engine_bind_ffn(engine, MODULE_FFN_GATE, layer, &bound->ffn, reason);
}

enum status engine_bind_layer(struct engine *engine, uint32_t layer, struct engine_layer *bound,
                              struct reason *reason)
{
    enum status status = engine_bind_rest(engine, layer, bound, reason);
    if (status == STATUS_OK)
        status = engine_bind_attention(engine, layer, &bound->attention, reason);
    return status;
}
