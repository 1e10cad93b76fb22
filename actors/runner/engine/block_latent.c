/* SPDX-License-Identifier: Apache-2.0 */
/* Latent attention in the latent's space. */
#include "actors/runner/engine/block_mixers.h"
#include "protocol/memory.h"

#include <math.h>
#include <string.h>

/* Rows that a head takes at once: its matrices are unpacked once for them. */
#define TILE_ROWS 8u
_Static_assert(TILE_ROWS <= KERNEL_ATTEND_MAX, "the rows of a tile attend together");

struct latent_work {
    struct engine *engine;
    const struct latent_part *part;
    uint32_t index;
    const struct engine_row *rows;
    size_t count;
    unsigned needs; /* of the products by `query` */
};

/* A thread's scratch; `rest` is what the kernels get. */
struct latent_scratch {
    struct activations plain;  /* [TILE_ROWS][plain] */
    struct activations latent; /* [TILE_ROWS][rank] */
    float *queries;            /* [TILE_ROWS][rank + rope] */
    float *row;                /* [rank] */
    float *rest;
};

static size_t padded(size_t columns)
{
    return (columns + KERNEL_BLOCK - 1) / KERNEL_BLOCK * KERNEL_BLOCK;
}

static size_t activation_floats(size_t columns)
{
    return TILE_ROWS * (padded(columns) + 3 * padded(columns) / KERNEL_QUANT_BLOCK);
}

static size_t key_width(const struct model_latent *shape)
{
    return (size_t)shape->rank + shape->rope_dim;
}

static size_t scratch_floats(const struct model_latent *shape)
{
    return activation_floats(shape->plain_dim) + activation_floats(shape->rank) +
           TILE_ROWS * padded(key_width(shape)) + padded(shape->rank);
}

static float *lay_activations(struct activations *a, size_t columns, float *at)
{
    size_t blocks = padded(columns) / KERNEL_QUANT_BLOCK;
    *a = (struct activations){.capacity = TILE_ROWS, .columns = columns,
                              .stride = padded(columns), .values = at};
    memset(a->values, 0, TILE_ROWS * a->stride * sizeof(float));
    at += TILE_ROWS * a->stride;
    for (size_t i = 0; i < COUNT_OF(a->sums); i++, at += TILE_ROWS * blocks)
        a->sums[i] = at;
    return at;
}

static struct latent_scratch lay_scratch(const struct model_latent *shape, float *at)
{
    struct latent_scratch s;
    at = lay_activations(&s.plain, shape->plain_dim, at);
    at = lay_activations(&s.latent, shape->rank, at);
    s.queries = at;
    s.row = s.queries + TILE_ROWS * padded(key_width(shape));
    s.rest = s.row + padded(shape->rank);
    return s;
}

/* --- before the heads: queries, and the row of the cache --- */

static void norm_queries(void *work, size_t first, size_t end, float *scratch)
{
    const struct latent_work *w = work;
    struct activations *mixed = &w->engine->mixed;
    (void)scratch;
    for (size_t row = first; row < end; row++) {
        float *values = mixed->values + row * mixed->stride;
        w->engine->kernels->rms_norm(values, w->part->query_norm, w->part->norm_epsilon,
                                     mixed->columns, values);
        w->engine->kernels->prepare(mixed, row, w->needs);
    }
}

static void store_rows(void *work, size_t first, size_t end, float *scratch)
{
    const struct latent_work *w = work;
    struct engine *engine = w->engine;
    size_t rank = engine->config->latent.rank;
    size_t width = key_width(&engine->config->latent);
    (void)scratch;
    for (size_t row = first; row < end; row++) {
        float *key = engine->keys + row * width;
        uint32_t position = w->rows[row].position;
        uint8_t *page = kv_sequence_pages(engine->cache, w->rows[row].sequence,
                                          w->index)[position / KV_PAGE_POSITIONS];
        engine->kernels->rms_norm(key, w->part->latent_norm, w->part->norm_epsilon, rank, key);
        rope_rotate(engine, w->part->rope, row, key + rank);
        block_remember(engine, page, kv_key_offset(engine->cache, w->index, 0),
                       kv_key_scale_offset(engine->cache, w->index, 0), position, key, width);
    }
}

static void project(struct engine *engine, struct latent_work *work, const float *norm)
{
    const struct latent_part *part = work->part;
    size_t width = key_width(&engine->config->latent);
    size_t query_width = (size_t)part->query.matrix.rows;
    bool is_down = part->query_down.matrix.rows > 0;
    const struct product query = {&part->query, engine->queries, query_width};
    if (is_down)
        block_columns(&engine->mixed, (size_t)part->query_down.matrix.rows);
    const struct product inward[] = {
        {&part->latent, engine->keys, width},
        {is_down ? &part->query_down : &part->query,
         is_down ? engine->mixed.values : engine->queries,
         is_down ? engine->mixed.stride : query_width},
    };
    block_norm(engine, engine->hidden, norm, &engine->input, work->count,
               block_needs(engine, inward, COUNT_OF(inward)));
    block_multiply(engine, inward, COUNT_OF(inward), &engine->input, work->count);
    if (is_down) {
        work->needs = block_needs(engine, &query, 1);
        pool_run(engine->pool, work->count, 8, norm_queries, work);
        block_multiply(engine, &query, 1, &engine->mixed, work->count);
    }
    pool_run(engine->pool, work->count, 8, store_rows, work);
}

/* --- a head --- */

static struct matrix rows_of(const struct matrix *matrix, uint64_t first, uint64_t count)
{
    struct matrix slice = *matrix;
    slice.rows = count;
    slice.weight += first * matrix->weight_stride;
    slice.scales = matrix->scales ? matrix->scales + first * matrix->scale_stride : NULL;
    slice.biases = matrix->biases ? matrix->biases + first * matrix->bias_stride : NULL;
    return slice;
}

/* out[row][0, rank) = the head's plain queries in the latent's space. */
static void embed_queries(const struct latent_work *w, uint32_t head, size_t count,
                          struct latent_scratch *s)
{
    const struct latent_part *part = w->part;
    const struct model_latent *shape = &w->engine->config->latent;
    size_t width = key_width(shape);
    if (part->both.matrix.rows == 0) {
        for (size_t t = 0; t < count; t++)
            w->engine->kernels->prepare(&s->plain, t, ACTIVATION_SUMS);
        struct matrix matrix = rows_of(&part->embed.matrix, (uint64_t)head * shape->rank,
                                       shape->rank);
        w->engine->kernels->matmul(&matrix, &s->plain, count, 0, shape->rank, s->queries, width,
                                   s->rest);
        return;
    }
    /* The other way round: rows of the matrix lie along the latent. */
    uint64_t first = (uint64_t)head * (shape->plain_dim + shape->value_dim);
    for (size_t t = 0; t < count; t++)
        memset(s->queries + t * width, 0, shape->rank * sizeof(float));
    for (uint32_t i = 0; i < shape->plain_dim; i++) {
        kernel_dequantise_row(&part->both.matrix, first + i, s->row);
        for (size_t t = 0; t < count; t++) {
            float value = s->plain.values[t * s->plain.stride + i];
            float *out = s->queries + t * width;
            for (size_t k = 0; k < shape->rank; k++)
                out[k] += value * s->row[k];
        }
    }
}

static void unembed_values(const struct latent_work *w, uint32_t head, size_t row, size_t count,
                           struct latent_scratch *s)
{
    const struct latent_part *part = w->part;
    const struct model_latent *shape = &w->engine->config->latent;
    struct activations *mixed = &w->engine->mixed;
    size_t values = shape->value_dim;
    struct matrix matrix;
    if (part->both.matrix.rows > 0)
        matrix = rows_of(&part->both.matrix, head * (shape->plain_dim + values) + shape->plain_dim,
                         values);
    else
        matrix = rows_of(&part->unembed.matrix, head * values, values);
    for (size_t t = 0; t < count; t++)
        w->engine->kernels->prepare(&s->latent, t, ACTIVATION_SUMS);
    w->engine->kernels->matmul(&matrix, &s->latent, count, 0, values,
                               mixed->values + row * mixed->stride + head * values, mixed->stride,
                               s->rest);
}

static struct attention attention_of(const struct latent_work *w, size_t row, const float *query)
{
    struct engine *engine = w->engine;
    const struct model_latent *shape = &engine->config->latent;
    return (struct attention){
        .query = query,
        .pages = kv_sequence_pages(engine->cache, w->rows[row].sequence, w->index),
        .key_offset = kv_key_offset(engine->cache, w->index, 0),
        .value_offset = kv_value_offset(engine->cache, w->index, 0),
        .page_positions = KV_PAGE_POSITIONS,
        .length = w->rows[row].position + 1,
        .head_dim = (uint32_t)key_width(shape),
        .value_dim = shape->rank,
        .value_stride = (uint32_t)key_width(shape),
        .key_scale_offset = kv_key_scale_offset(engine->cache, w->index, 0),
        .value_scale_offset = kv_value_scale_offset(engine->cache, w->index, 0),
        .format = engine->options.kv_format,
        .scale = w->part->scale,
    };
}

/* Rows of one sequence read its keys together. */
static void attend_rows(const struct latent_work *w, size_t row, size_t count,
                        struct latent_scratch *s)
{
    struct attention attentions[TILE_ROWS];
    float *outs[TILE_ROWS];
    size_t some = 0;
    for (size_t t = 0; t < count; t++) {
        attentions[some] = attention_of(w, row + t,
                                        s->queries + t * key_width(&w->engine->config->latent));
        outs[some++] = s->latent.values + t * s->latent.stride;
        if (t + 1 < count && w->rows[row + t + 1].sequence == w->rows[row + t].sequence)
            continue;
        w->engine->kernels->attend_many(attentions, some, s->rest, outs);
        some = 0;
    }
}

/* Up to TILE_ROWS rows from `row` on. */
static void head_rows(const struct latent_work *w, uint32_t head, size_t row, size_t count,
                      struct latent_scratch *s)
{
    struct engine *engine = w->engine;
    const struct model_latent *shape = &engine->config->latent;
    size_t query_width = (size_t)w->part->query.matrix.rows;
    size_t head_width = (size_t)shape->plain_dim + shape->rope_dim;
    const float *queries = engine->queries + row * query_width + head * head_width;
    for (size_t t = 0; t < count; t++)
        memcpy(s->plain.values + t * s->plain.stride, queries + t * query_width,
               shape->plain_dim * sizeof *queries);
    embed_queries(w, head, count, s);
    for (size_t t = 0; t < count; t++) {
        float *rotated = s->queries + t * key_width(shape) + shape->rank;
        memcpy(rotated, queries + t * query_width + shape->plain_dim,
               shape->rope_dim * sizeof *queries);
        rope_rotate(engine, w->part->rope, row + t, rotated);
    }
    attend_rows(w, row, count, s);
    unembed_values(w, head, row, count, s);
}

/* Items are tiles of rows, for each of them every head. */
static void attend_heads(void *work, size_t first, size_t end, float *scratch)
{
    const struct latent_work *w = work;
    struct latent_scratch s = lay_scratch(&w->engine->config->latent, scratch);
    for (size_t item = first; item < end; item++) {
        size_t row = item / w->part->heads * TILE_ROWS;
        size_t count = w->count - row < TILE_ROWS ? w->count - row : TILE_ROWS;
        head_rows(w, (uint32_t)(item % w->part->heads), row, count, &s);
    }
}

void block_latent(struct engine *engine, const struct latent_part *part, const float *norm,
                  uint32_t index, const struct engine_row *rows, size_t count)
{
    struct latent_work work = {engine, part, index, rows, count, 0};
    const struct product outward = {&part->out, engine->part, engine->config->hidden};
    size_t tiles = (count + TILE_ROWS - 1) / TILE_ROWS;
    project(engine, &work, norm);
    block_columns(&engine->mixed, (size_t)part->heads * engine->config->latent.value_dim);
    engine_turn(engine, PROFILE_ATTENTION);
    pool_run(engine->pool, tiles * part->heads, 1, attend_heads, &work);
    block_prepare(engine, &engine->mixed, count, block_needs(engine, &outward, 1));
    block_multiply(engine, &outward, 1, &engine->mixed, count);
}

/* --- binding --- */

static enum status bind_parts(struct engine *engine, uint32_t layer, struct latent_part *part,
                              struct reason *reason)
{
    const struct {
        enum module_role role;
        struct linear *linear;
    } linears[] = {
        {MODULE_QUERY_DOWN, &part->query_down},      {MODULE_QUERY, &part->query},
        {MODULE_LATENT, &part->latent},              {MODULE_LATENT_EMBED, &part->embed},
        {MODULE_LATENT_UNEMBED, &part->unembed},     {MODULE_LATENT_BOTH, &part->both},
        {MODULE_ATTENTION_OUT, &part->out},
    };
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < COUNT_OF(linears); i++)
        status = engine_bind_linear(engine, linears[i].role, layer, linears[i].linear, reason);
    if (status == STATUS_OK)
        status = engine_bind_vector(engine, MODULE_QUERY_DOWN_NORM, layer, &part->query_norm,
                                    reason);
    if (status == STATUS_OK)
        status = engine_bind_vector(engine, MODULE_LATENT_NORM, layer, &part->latent_norm, reason);
    return status;
}

/* Yarn stretches what is not rotated too: by way of the scale, once for queries, once for keys. */
static float scale_of(const struct model_config *config, uint32_t rope_index)
{
    const struct model_rope *rope = &config->ropes[rope_index];
    double dims = (double)config->latent.plain_dim + config->latent.rope_dim;
    double stretch = 1.0;
    if (rope->kind == ROPE_YARN && rope->factor > 1.0)
        stretch = 0.1 * rope->mscale_all * log(rope->factor) + 1.0;
    return (float)(stretch * stretch / sqrt(dims));
}

enum status engine_bind_latent(struct engine *engine, uint32_t layer, struct latent_part *part,
                               struct reason *reason)
{
    const struct model_latent *shape = &engine->config->latent;
    enum status status = bind_parts(engine, layer, part, reason);
    if (status != STATUS_OK)
        return status;
    size_t head_width = (size_t)shape->plain_dim + shape->rope_dim;
    part->heads = (uint32_t)((size_t)part->query.matrix.rows / head_width);
    part->rope = engine->config->shapes[layer].rope;
    part->scale = scale_of(engine->config, part->rope);
    engine_widen(&engine->widths.queries, (size_t)part->query.matrix.rows);
    engine_widen(&engine->widths.keys, key_width(shape));
    engine_widen(&engine->widths.mixed, shape->query_rank);
    engine_widen(&engine->widths.mixed, (size_t)part->heads * shape->value_dim);
    engine_widen(&engine->widths.scratch, scratch_floats(shape));
    const struct kv_layer kv = {.heads = 1, .key_dim = (uint32_t)key_width(shape)};
    engine_bind_cache(engine, layer, &kv);
    return STATUS_OK;
}

enum status engine_bind_latent_layer(struct engine *engine, uint32_t layer, double norm_epsilon,
                                     struct engine_layer *bound, struct reason *reason)
{
    struct latent_part *part = memory_zeroed(1, sizeof *part);
    if (!part)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for layer %u", layer);
    bound->own = part;
    part->norm_epsilon = (float)norm_epsilon;
    enum status status = engine_bind_latent(engine, layer, part, reason);
    return status == STATUS_OK ? engine_bind_rest(engine, layer, bound, reason) : status;
}

enum status block_latent_layer(struct engine *engine, uint32_t index,
                               const struct engine_row *rows, size_t count)
{
    const struct engine_layer *layer = &engine->layers[index];
    block_latent(engine, layer->own, layer->attention_norm, index, rows, count);
    enum status status = block_add(engine, count);
    return status == STATUS_OK ? block_ffn_layer(engine, index, count) : status;
}
