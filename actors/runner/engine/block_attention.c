/* SPDX-License-Identifier: Apache-2.0 */
/* Attention over keys and values of heads: windows, sinks, gates. */
#include "actors/runner/engine/engine_parts.h"

#include <math.h>
#include <string.h>

struct head_work {
    struct engine *engine;
    const struct attention_part *part;
    uint32_t index;
    const struct engine_row *rows;
    size_t count;
};

/* Floats from query head to query head. */
static size_t query_stride(const struct attention_part *part)
{
    return part->gating == GATE_ELEMENT ? 2 * (size_t)part->head_dim : part->head_dim;
}

void block_remember(struct engine *engine, uint8_t *page, size_t offset, size_t scale_offset,
                    uint32_t position, const float *values, size_t count)
{
    size_t slot = position % KV_PAGE_POSITIONS;
    uint8_t *to = page + offset;
    switch (engine->options.kv_format) {
    case KV_INT8:
        ((float *)(void *)(page + scale_offset))[slot] =
            engine->kernels->to_bytes(values, count, (int8_t *)to + slot * count);
        break;
    case KV_BF16:
        engine->kernels->to_bf16(values, count, (uint16_t *)(void *)to + slot * count);
        break;
    case KV_F32:
    case KV_F16:
    case KV_FORMAT_NONE:
    case KV_FORMAT_END:
        memcpy((float *)(void *)to + slot * count, values, count * sizeof(float));
        break;
    }
}

static void cache_head(const struct head_work *w, size_t row, uint32_t head, const float *key)
{
    struct engine *engine = w->engine;
    const struct kv_cache *cache = engine->cache;
    size_t head_dim = w->part->head_dim;
    uint32_t position = w->rows[row].position;
    uint8_t *page =
        kv_sequence_pages(cache, w->rows[row].sequence, w->index)[position / KV_PAGE_POSITIONS];
    block_remember(engine, page, kv_key_offset(cache, w->index, head),
                   kv_key_scale_offset(cache, w->index, head), position, key, head_dim);
    block_remember(engine, page, kv_value_offset(cache, w->index, head),
                   kv_value_scale_offset(cache, w->index, head), position,
                   engine->values + (row * w->part->kv_heads + head) * head_dim, head_dim);
}

/* Norms and rotates the heads, writes keys and values to the cache.  An item is a query head or a
 * kv head of one row. */
static void rotate_heads(void *work, size_t first, size_t end, float *scratch)
{
    struct head_work *w = work;
    struct engine *engine = w->engine;
    const struct attention_part *part = w->part;
    size_t head_dim = part->head_dim;
    size_t per_row = (size_t)part->heads + part->kv_heads;
    (void)scratch;
    for (size_t item = first; item < end; item++) {
        size_t row = item / per_row;
        uint32_t head = (uint32_t)(item % per_row);
        bool is_query = head < part->heads;
        const float *norm = is_query ? part->query_norm : part->key_norm;
        if (!is_query)
            head -= part->heads;
        float *values = is_query ? engine->queries + (row * part->heads + head) * query_stride(part)
                                 : engine->keys + (row * part->kv_heads + head) * head_dim;
        if (norm)
            engine->kernels->rms_norm(values, norm, (float)engine->config->norm_epsilon, head_dim,
                                      values);
        rope_rotate(engine, part->rope, row, values);
        if (!is_query)
            cache_head(w, row, head, values);
    }
}

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static void gate_head(const struct head_work *w, size_t row, uint32_t head, float *out)
{
    const struct attention_part *part = w->part;
    size_t head_dim = part->head_dim;
    if (part->gating == GATE_HEAD) {
        float gate = sigmoid(w->engine->gates[row * part->heads + head]);
        for (size_t i = 0; i < head_dim; i++)
            out[i] *= gate;
    } else if (part->gating == GATE_ELEMENT) {
        const float *gates = w->engine->queries +
                             (row * part->heads + head) * query_stride(part) + head_dim;
        for (size_t i = 0; i < head_dim; i++)
            out[i] *= sigmoid(gates[i]);
    }
}

/* Rows that attend together: they read the keys of their sequence once. */
#define ATTEND_ROWS 4u

static struct attention attention_of(const struct head_work *w, size_t row, uint32_t head)
{
    struct engine *engine = w->engine;
    const struct attention_part *part = w->part;
    uint32_t length = w->rows[row].position + 1;
    uint32_t kv_head = (part->skipped + head) / part->per_kv;
    return (struct attention){
        .query = engine->queries + (row * part->heads + head) * query_stride(part),
        .pages = kv_sequence_pages(engine->cache, w->rows[row].sequence, w->index),
        .key_offset = kv_key_offset(engine->cache, w->index, kv_head),
        .value_offset = kv_value_offset(engine->cache, w->index, kv_head),
        .page_positions = KV_PAGE_POSITIONS,
        .first = part->window && length > part->window ? length - part->window : 0,
        .length = length,
        .head_dim = part->head_dim,
        .key_scale_offset = kv_key_scale_offset(engine->cache, w->index, kv_head),
        .value_scale_offset = kv_value_scale_offset(engine->cache, w->index, kv_head),
        .format = engine->options.kv_format,
        .scale = part->scale,
        .has_sink = part->sinks != NULL,
        .sink = part->sinks ? part->sinks[head] : 0.0f,
    };
}

/* The heads that share a kv head, of rows [first, end) of one sequence. */
static void attend_together(const struct head_work *w, size_t first, size_t end, uint32_t kv_head,
                            float *scratch)
{
    const struct attention_part *part = w->part;
    struct attention attentions[KERNEL_ATTEND_MAX];
    float *outs[KERNEL_ATTEND_MAX];
    uint32_t end_of_all = (kv_head + 1) * part->per_kv - part->skipped;
    uint32_t head_first = kv_head == 0 ? 0 : kv_head * part->per_kv - part->skipped;
    uint32_t head_end = end_of_all < part->heads ? end_of_all : part->heads;
    size_t count = 0;
    for (size_t row = first; row < end; row++) {
        for (uint32_t head = head_first; head < head_end; head++) {
            attentions[count] = attention_of(w, row, head);
            outs[count++] = w->engine->mixed.values + row * w->engine->mixed.stride +
                            (size_t)head * part->head_dim;
            if (count < KERNEL_ATTEND_MAX && (row + 1 < end || head + 1 < head_end))
                continue;
            w->engine->kernels->attend_many(attentions, count, scratch, outs);
            count = 0;
        }
    }
    for (size_t row = first; row < end; row++)
        for (uint32_t head = head_first; head < head_end; head++)
            gate_head(w, row, head, w->engine->mixed.values + row * w->engine->mixed.stride +
                                        (size_t)head * part->head_dim);
}

/* An item is a kv head of ATTEND_ROWS rows. */
static void attend_heads(void *work, size_t first, size_t end, float *scratch)
{
    struct head_work *w = work;
    for (size_t item = first; item < end; item++) {
        uint32_t kv_head = (uint32_t)(item % w->part->kv_heads);
        size_t row = item / w->part->kv_heads * ATTEND_ROWS;
        size_t row_end = row + ATTEND_ROWS < w->count ? row + ATTEND_ROWS : w->count;
        for (size_t next = row; row < row_end; row = next) {
            while (next < row_end && w->rows[next].sequence == w->rows[row].sequence)
                next++;
            attend_together(w, row, next, kv_head, scratch);
        }
    }
}

static void attend(struct engine *engine, const struct attention_part *part, uint32_t index,
                   const struct engine_row *rows, size_t count)
{
    struct head_work work = {engine, part, index, rows, count};
    engine_turn(engine, PROFILE_ROPE);
    pool_run(engine->pool, count * ((size_t)part->heads + part->kv_heads), 32, rotate_heads,
             &work);
    /* Short sequences are not worth waking anybody. */
    size_t items = (count + ATTEND_ROWS - 1) / ATTEND_ROWS * part->kv_heads;
    size_t grain = rows[count - 1].position < 64 && count == 1 ? items + 1 : 1;
    engine_turn(engine, PROFILE_ATTENTION);
    pool_run(engine->pool, items, grain, attend_heads, &work);
}

void block_attention(struct engine *engine, const struct attention_part *part, const float *norm,
                     uint32_t index, const struct engine_row *rows, size_t count)
{
    size_t heads = part->heads;
    size_t keys = (size_t)part->kv_heads * part->head_dim;
    const struct product inward[] = {
        {&part->query, engine->queries, heads * query_stride(part)},
        {&part->key, engine->keys, keys},
        {&part->value, engine->values, keys},
        {&part->gate, engine->gates, heads},
    };
    const struct product outward = {&part->out, engine->part, engine->config->hidden};
    size_t products = part->gating == GATE_HEAD ? 4 : 3;
    block_norm(engine, engine->hidden, norm, &engine->input, count,
               block_needs(engine, inward, products));
    block_multiply(engine, inward, products, &engine->input, count);
    block_columns(&engine->mixed, heads * part->head_dim);
    attend(engine, part, index, rows, count);
    block_prepare(engine, &engine->mixed, count, block_needs(engine, &outward, 1));
    block_multiply(engine, &outward, 1, &engine->mixed, count);
}
