/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/engine_parts.h"

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
        const struct matrix *matrix = &products[i].linear->matrix;
        if (uses_bytes(engine, matrix))
            needs |= ACTIVATION_BYTES;
        else if (matrix->quantisation.format == WEIGHT_AFFINE)
            needs |= ACTIVATION_SUMS;
    }
    return needs;
}

void block_columns(struct activations *activations, size_t columns)
{
    size_t stride = (columns + KERNEL_BLOCK - 1) / KERNEL_BLOCK * KERNEL_BLOCK;
    if (activations->columns == columns)
        return;
    activations->columns = columns;
    activations->stride = stride;
    /* What other layers left between the columns and the stride must be zero again. */
    for (size_t row = 0; columns < stride && row < activations->capacity; row++)
        memset(activations->values + row * stride + columns, 0,
               (stride - columns) * sizeof(float));
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
                                         (float)w->engine->config->norm_epsilon, w->input->columns,
                                         w->input->values + row * w->input->stride);
        w->engine->kernels->prepare(w->input, row, w->needs);
    }
}

void block_norm(struct engine *engine, const float *hidden, const float *weight,
                struct activations *input, size_t count, unsigned needs)
{
    struct norm_work work = {engine, hidden, weight, input, needs};
    engine_turn(engine, PROFILE_NORM);
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

static void multiply_rows(const struct engine *engine, const struct product *p,
                          const struct activations *input, size_t count, size_t first, size_t end,
                          float *scratch)
{
    const struct matrix *matrix = &p->linear->matrix;
    if (matrix->columns == 0) { /* this rank has no share of the inputs */
        for (size_t t = 0; t < count; t++)
            memset(p->out + t * p->out_stride + first, 0, (end - first) * sizeof(float));
    } else if (uses_bytes(engine, matrix)) {
        engine->kernels->matmul_bytes(matrix, input, count, first, end, p->out, p->out_stride,
                                      scratch);
    } else {
        engine->kernels->matmul(matrix, input, count, first, end, p->out, p->out_stride, scratch);
    }
    if (!p->linear->bias)
        return;
    for (size_t t = 0; t < count; t++) {
        float *out = p->out + t * p->out_stride;
        for (size_t row = first; row < end; row++)
            out[row] += p->linear->bias[row];
    }
}

void block_multiply_items(struct engine *engine, const struct product *product,
                          const struct activations *input, size_t count, size_t first, size_t end,
                          float *scratch)
{
    size_t rows = (size_t)product->linear->matrix.rows;
    size_t row_end = end * ITEM_ROWS < rows ? end * ITEM_ROWS : rows;
    multiply_rows(engine, product, input, count, first * ITEM_ROWS, row_end, scratch);
}

static void multiply_items(void *work, size_t first, size_t end, float *scratch)
{
    struct multiply_work *w = work;
    size_t before = 0;
    for (size_t i = 0; i < w->product_count; i++) {
        const struct product *p = &w->products[i];
        size_t items = items_of(&p->linear->matrix);
        size_t from = first > before ? first - before : 0;
        size_t to = end > before ? end - before : 0;
        before += items;
        if (from >= items || to == 0)
            continue;
        block_multiply_items(w->engine, p, w->input, w->count, from, to < items ? to : items,
                             scratch);
    }
}

void block_count(const struct engine *engine, enum profile_kind kind, const struct matrix *matrix,
                 size_t count)
{
    struct profile *profile = engine->profile;
    if (!profile)
        return;
    struct profile_row *row = &profile->rows[kind];
    row->bytes += matrix->rows * (matrix->weight_stride +
                                  (matrix->scales ? matrix->scale_stride : 0) +
                                  (matrix->biases ? matrix->bias_stride : 0));
    row->products += matrix->rows * matrix->columns * count;
}

/* All under the kind of the first: a layer's matrices seldom differ in width. */
static void count_products(const struct engine *engine, const struct product *products,
                           size_t product_count, size_t count)
{
    const struct matrix *first = &products->linear->matrix;
    if (!engine->profile)
        return;
    enum profile_kind kind = first->rows > 0 && first->weight == engine->head.weight
                                 ? PROFILE_HEAD
                                 : profile_of_weights(&first->quantisation);
    engine_turn(engine, kind);
    for (size_t i = 0; i < product_count; i++)
        block_count(engine, kind, &products[i].linear->matrix, count);
}

void block_multiply(struct engine *engine, const struct product *products, size_t product_count,
                    const struct activations *input, size_t count)
{
    struct multiply_work work = {engine, products, product_count, input, count};
    size_t items = 0;
    count_products(engine, products, product_count, count);
    for (size_t i = 0; i < product_count; i++)
        items += items_of(&products[i].linear->matrix);
    /* A few pieces for each thread: enough to even out, not enough to fight over. */
    size_t grain = items / ((size_t)pool_threads(engine->pool) * 6) + 1;
    pool_run(engine->pool, items, grain, multiply_items, &work);
}

enum status block_sum(struct engine *engine, size_t count)
{
    struct collective *collective = engine->options.collective;
    if (!engine_is_tensor_cut(engine))
        return STATUS_OK;
    engine_turn(engine, PROFILE_COLLECTIVE);
    return collective->ops->sum(collective, engine->part, count * engine->config->hidden);
}

enum status block_add(struct engine *engine, size_t count)
{
    size_t floats = count * engine->config->hidden;
    enum status status = block_sum(engine, count);
    engine_turn(engine, PROFILE_COPY);
    for (size_t i = 0; status == STATUS_OK && i < floats; i++)
        engine->hidden[i] += engine->part[i];
    return status;
}

void block_norm_part(struct engine *engine, const float *weight, size_t count)
{
    size_t hidden = engine->config->hidden;
    engine_turn(engine, PROFILE_NORM);
    for (size_t i = 0; i < count; i++)
        engine->kernels->rms_norm(engine->part + i * hidden, weight,
                                  (float)engine->config->norm_epsilon, hidden,
                                  engine->part + i * hidden);
}

enum status block_ffn_layer(struct engine *engine, uint32_t index, size_t count)
{
    const struct engine_layer *layer = &engine->layers[index];
    if (engine_shape(engine, index)->ffn == FFN_EXPERTS)
        block_experts(engine, &layer->experts, layer->ffn_norm, index, count);
    else
        block_ffn(engine, &layer->ffn, layer->ffn_norm, count);
    return block_add(engine, count);
}

enum status block_layer(struct engine *engine, uint32_t index, const struct engine_row *rows,
                        size_t count)
{
    const struct engine_layer *layer = &engine->layers[index];
    block_attention(engine, &layer->attention, layer->attention_norm, index, rows, count);
    enum status status = block_add(engine, count);
    return status == STATUS_OK ? block_ffn_layer(engine, index, count) : status;
}
