/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/engine_parts.h"

#include <math.h>
#include <string.h>

/* Rows of a matrix that one item of work covers: whole tiles of the kernels. */
#define ITEM_ROWS 16u

static bool uses_bytes(const struct engine *engine, const struct matrix *matrix)
{
    return engine->options.mode == ENGINE_FAST && engine->kernels->has_bytes(matrix);
}

unsigned block_needs(const struct engine *engine, const struct product *products, size_t count)
{
    unsigned needs = 0;
    for (size_t i = 0; i < count; i++) {
        if (uses_bytes(engine, products[i].matrix))
            needs |= ACTIVATION_BYTES;
        else if (products[i].matrix->quantisation.format == WEIGHT_AFFINE)
            needs |= ACTIVATION_SUMS;
    }
    return needs;
}

struct norm_work {
    struct engine *engine;
    const float *hidden;
    const float *weight; /* NULL: only prepare */
    struct activations *input;
    unsigned needs;
};

static void norm_rows(void *work, size_t first, size_t end, float *scratch)
{
    struct norm_work *w = work;
    (void)scratch;
    for (size_t row = first; row < end; row++) {
        if (w->weight)
            w->engine->kernels->rms_norm(w->hidden + row * w->engine->config->hidden, w->weight,
                                         w->engine->config->norm_epsilon, w->input->columns,
                                         w->input->values + row * w->input->stride);
        w->engine->kernels->prepare(w->input, row, w->needs);
    }
}

void block_norm(struct engine *engine, const float *hidden, const float *weight,
                struct activations *input, size_t count, unsigned needs)
{
    struct norm_work work = {engine, hidden, weight, input, needs};
    pool_run(engine->pool, count, 8, norm_rows, &work);
}

void block_prepare(struct engine *engine, struct activations *activations, size_t count,
                   unsigned needs)
{
    block_norm(engine, NULL, NULL, activations, count, needs);
}

struct multiply_work {
    struct engine *engine;
    const struct product *products;
    size_t product_count;
    const struct activations *input;
    size_t count;
};

static size_t items_of(const struct matrix *matrix)
{
    return ((size_t)matrix->rows + ITEM_ROWS - 1) / ITEM_ROWS;
}

static void multiply_items(void *work, size_t first, size_t end, float *scratch)
{
    struct multiply_work *w = work;
    size_t before = 0;
    for (size_t i = 0; i < w->product_count; i++) {
        const struct product *p = &w->products[i];
        size_t items = items_of(p->matrix);
        size_t from = first > before ? first - before : 0;
        size_t to = end > before ? end - before : 0;
        before += items;
        if (from >= items || to == 0)
            continue;
        size_t row_first = from * ITEM_ROWS;
        size_t row_end = to < items ? to * ITEM_ROWS : (size_t)p->matrix->rows;
        if (uses_bytes(w->engine, p->matrix))
            w->engine->kernels->matmul_bytes(p->matrix, w->input, w->count, row_first, row_end,
                                             p->out, p->out_stride, scratch);
        else
            w->engine->kernels->matmul(p->matrix, w->input, w->count, row_first, row_end, p->out,
                                       p->out_stride, scratch);
    }
}

void block_multiply(struct engine *engine, const struct product *products, size_t product_count,
                    const struct activations *input, size_t count)
{
    struct multiply_work work = {engine, products, product_count, input, count};
    size_t items = 0;
    for (size_t i = 0; i < product_count; i++)
        items += items_of(products[i].matrix);
    /* A few pieces for each thread: enough to even out, not enough to fight over. */
    size_t grain = items / ((size_t)pool_threads(engine->pool) * 6) + 1;
    pool_run(engine->pool, items, grain, multiply_items, &work);
}

enum status block_add(struct engine *engine, size_t count)
{
    size_t floats = count * engine->config->hidden;
    struct collective *collective = engine->options.collective;
    if (engine->partition.sharding == SHARDING_TENSOR && engine->partition.rank_count > 1) {
        enum status status = collective->ops->sum(collective, engine->part, floats);
        if (status != STATUS_OK)
            return status;
    }
    for (size_t i = 0; i < floats; i++)
        engine->hidden[i] += engine->part[i];
    return STATUS_OK;
}

struct head_work {
    struct engine *engine;
    const struct engine_layer *layer;
    uint32_t index;
    const struct engine_row *rows;
};

static void cache_head(struct engine *engine, size_t offset, const struct engine_row *row,
                       const float *head)
{
    size_t head_dim = engine->config->head_dim;
    uint8_t *page = kv_sequence_pages(engine->cache, row->sequence)[row->position /
                                                                     KV_PAGE_POSITIONS];
    size_t at = (size_t)(row->position % KV_PAGE_POSITIONS) * head_dim;
    if (engine->options.mode == ENGINE_FAST)
        engine->kernels->to_half(head, head_dim, (uint16_t *)(void *)(page + offset) + at);
    else
        memcpy((float *)(void *)(page + offset) + at, head, head_dim * sizeof(float));
}

/* An item is a query head or a kv head of one row. */
static void rotate_heads(void *work, size_t first, size_t end, float *scratch)
{
    struct head_work *w = work;
    struct engine *engine = w->engine;
    size_t head_dim = engine->config->head_dim;
    size_t half = head_dim / 2;
    size_t per_row = engine->heads + engine->kv_heads;
    (void)scratch;
    for (size_t item = first; item < end; item++) {
        size_t row = item / per_row;
        uint32_t head = (uint32_t)(item % per_row);
        bool is_query = head < engine->heads;
        const float *norm = is_query ? w->layer->query_norm : w->layer->key_norm;
        if (!is_query)
            head -= engine->heads;
        float *values = is_query ? engine->queries + (row * engine->heads + head) * head_dim
                                 : engine->keys + (row * engine->kv_heads + head) * head_dim;
        if (norm)
            engine->kernels->rms_norm(values, norm, engine->config->norm_epsilon, head_dim,
                                      values);
        engine->kernels->rope(values, engine->cosines + row * half, engine->sines + row * half,
                              half);
        if (is_query)
            continue;
        cache_head(engine, kv_key_offset(engine->cache, w->index, head), &w->rows[row], values);
        cache_head(engine, kv_value_offset(engine->cache, w->index, head), &w->rows[row],
                   engine->values + (row * engine->kv_heads + head) * head_dim);
    }
}

void block_rotate(struct engine *engine, const struct engine_layer *layer, uint32_t index,
                  const struct engine_row *rows, size_t count)
{
    struct head_work work = {engine, layer, index, rows};
    pool_run(engine->pool, count * (engine->heads + engine->kv_heads), 32, rotate_heads, &work);
}

static void attend_heads(void *work, size_t first, size_t end, float *scratch)
{
    struct head_work *w = work;
    struct engine *engine = w->engine;
    uint32_t head_dim = engine->config->head_dim;
    uint32_t per_kv = engine->heads / engine->kv_heads;
    for (size_t item = first; item < end; item++) {
        size_t row = item / engine->heads;
        uint32_t head = (uint32_t)(item % engine->heads);
        struct attention attention = {
            .query = engine->queries + item * head_dim,
            .pages = kv_sequence_pages(engine->cache, w->rows[row].sequence),
            .key_offset = kv_key_offset(engine->cache, w->index, head / per_kv),
            .value_offset = kv_value_offset(engine->cache, w->index, head / per_kv),
            .page_positions = KV_PAGE_POSITIONS,
            .length = w->rows[row].position + 1,
            .head_dim = head_dim,
            .is_half = engine->options.mode == ENGINE_FAST,
            .scale = 1.0f / sqrtf((float)head_dim),
        };
        engine->kernels->attend(&attention, scratch,
                                engine->attention.values + row * engine->attention.stride +
                                    (size_t)head * head_dim);
    }
}

void block_attend(struct engine *engine, uint32_t index, const struct engine_row *rows,
                  size_t count)
{
    struct head_work work = {engine, NULL, index, rows};
    /* Short sequences are not worth waking anybody. */
    size_t grain = rows[count - 1].position < 64 && count == 1 ? 64 : 2;
    pool_run(engine->pool, count * engine->heads, grain, attend_heads, &work);
}

struct gate_work {
    struct engine *engine;
    unsigned needs;
};

static void gate_rows(void *work, size_t first, size_t end, float *scratch)
{
    struct gate_work *w = work;
    struct engine *engine = w->engine;
    (void)scratch;
    for (size_t row = first; row < end; row++) {
        engine->kernels->swiglu(engine->gated.values + row * engine->gated.stride,
                                engine->ups + row * engine->ffn, engine->ffn);
        engine->kernels->prepare(&engine->gated, row, w->needs);
    }
}

void block_gate(struct engine *engine, size_t count, unsigned needs)
{
    struct gate_work work = {engine, needs};
    pool_run(engine->pool, count, 4, gate_rows, &work);
}
