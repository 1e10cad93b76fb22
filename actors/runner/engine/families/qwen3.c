/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Qwen3 dense.  Keys of config.json: runtime/model_config.c; tensor names, shapes and cuts: the
 * rows of runtime/model_layout.c.
 *
 * x += o(attention(rope(norm(q)), rope(norm(k)), v)) of norm(x); x += down(silu(gate) * up) of
 * norm(x).  No biases; q and k are normed per head after the projection and before the rotation.
 * In the tensor cut the sums over ranks come after o and after down.
 */
#include "actors/runner/engine/engine_parts.h"

static enum status bind_layer(struct engine *engine, uint32_t layer, struct engine_layer *l,
                              struct reason *reason)
{
    const struct {
        enum module_role role;
        struct matrix *matrix;
    } matrices[] = {
        {MODULE_QUERY, &l->query},   {MODULE_KEY, &l->key},
        {MODULE_VALUE, &l->value},   {MODULE_ATTENTION_OUT, &l->attention_out},
        {MODULE_FFN_GATE, &l->gate}, {MODULE_FFN_UP, &l->up},
        {MODULE_FFN_DOWN, &l->down},
    };
    const struct {
        enum module_role role;
        const float **norm;
    } norms[] = {
        {MODULE_ATTENTION_NORM, &l->attention_norm},
        {MODULE_QUERY_NORM, &l->query_norm},
        {MODULE_KEY_NORM, &l->key_norm},
        {MODULE_FFN_NORM, &l->ffn_norm},
    };
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < COUNT_OF(matrices); i++)
        status = engine_bind_matrix(engine, matrices[i].role, layer, matrices[i].matrix, reason);
    for (size_t i = 0; status == STATUS_OK && i < COUNT_OF(norms); i++)
        status = engine_bind_norm(engine, norms[i].role, layer, norms[i].norm, reason);
    return status;
}

static enum status bind(struct engine *engine, struct reason *reason)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < engine->layer_count; i++)
        status = bind_layer(engine, engine->partition.layer_first + i, &engine->layers[i], reason);
    return status;
}

static enum status attention(struct engine *engine, uint32_t index,
                             const struct engine_row *rows, size_t count)
{
    const struct engine_layer *layer = &engine->layers[index];
    size_t head_dim = engine->config->head_dim;
    const struct product inward[] = {
        {&layer->query, engine->queries, engine->heads * head_dim},
        {&layer->key, engine->keys, engine->kv_heads * head_dim},
        {&layer->value, engine->values, engine->kv_heads * head_dim},
    };
    const struct product outward = {&layer->attention_out, engine->part, engine->config->hidden};
    block_norm(engine, engine->hidden, layer->attention_norm, &engine->input, count,
               block_needs(engine, inward, COUNT_OF(inward)));
    block_multiply(engine, inward, COUNT_OF(inward), &engine->input, count);
    block_rotate(engine, layer, index, rows, count);
    block_attend(engine, index, rows, count);
    block_prepare(engine, &engine->attention, count, block_needs(engine, &outward, 1));
    block_multiply(engine, &outward, 1, &engine->attention, count);
    return block_add(engine, count);
}

static enum status feed_forward(struct engine *engine, uint32_t index, size_t count)
{
    const struct engine_layer *layer = &engine->layers[index];
    const struct product inward[] = {
        {&layer->gate, engine->gated.values, engine->gated.stride},
        {&layer->up, engine->ups, engine->ffn},
    };
    const struct product outward = {&layer->down, engine->part, engine->config->hidden};
    block_norm(engine, engine->hidden, layer->ffn_norm, &engine->input, count,
               block_needs(engine, inward, COUNT_OF(inward)));
    block_multiply(engine, inward, COUNT_OF(inward), &engine->input, count);
    block_gate(engine, count, block_needs(engine, &outward, 1));
    block_multiply(engine, &outward, 1, &engine->gated, count);
    return block_add(engine, count);
}

static enum status forward(struct engine *engine, uint32_t index, const struct engine_row *rows,
                           size_t count)
{
    enum status status = attention(engine, index, rows, count);
    return status == STATUS_OK ? feed_forward(engine, index, count) : status;
}

const struct family family_qwen3 = {.model_type = "qwen3", .bind = bind, .forward = forward};
