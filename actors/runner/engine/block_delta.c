/* SPDX-License-Identifier: Apache-2.0 */
/* Gated DeltaNet, position by position. */
#include "actors/runner/engine/block_mixers.h"

#include <math.h>
#include <string.h>

#define NORM_EPSILON 1e-6f

struct delta_work {
    struct engine *engine;
    const struct delta_part *part;
    uint32_t index;
    const struct engine_row *rows;
    size_t count;
};

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static float softplus(float x)
{
    return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)));
}

/* --- convolution --- */

/* One stretch of channels: out = taps over the history and `in`. */
static void convolve(const float *in, const float *taps, const float *history, size_t channels,
                     size_t tap_count, size_t count, float *out)
{
    for (size_t c = 0; c < count; c++) {
        float sum = 0.0f;
        for (size_t j = 0; j + 1 < tap_count; j++)
            sum += taps[c * tap_count + j] * history[j * channels + c];
        out[c] = sum + taps[c * tap_count + tap_count - 1] * in[c];
    }
}

/* The oldest position leaves the history, this one enters. */
static void remember(const float *query, const float *key, const float *value,
                     const struct model_delta *shape, size_t channels, float *history)
{
    size_t kept = shape->taps - 1;
    if (kept == 0)
        return;
    memmove(history, history + channels, (kept - 1) * channels * sizeof *history);
    float *last = history + (kept - 1) * channels;
    memcpy(last, query, shape->key_dim * sizeof *last);
    memcpy(last + shape->key_dim, key, shape->key_dim * sizeof *last);
    memcpy(last + 2 * (size_t)shape->key_dim, value,
           (channels - 2 * (size_t)shape->key_dim) * sizeof *last);
}

/* --- the recurrence --- */

/* x / |x| * scale.  The epsilon stands beside the sum of squares, as mlx-lm has it since 0.32 and
 * transformers always had: beside their mean it would count for more, which shows in the first
 * tokens of a text. */
static void normalise(float *x, size_t count, float scale)
{
    float sum = 0.0f;
    for (size_t i = 0; i < count; i++)
        sum += x[i] * x[i];
    float factor = scale / sqrtf(sum + NORM_EPSILON);
    for (size_t i = 0; i < count; i++)
        x[i] *= factor;
}

/* A key head and those of its value heads that the rank has. */
struct group {
    size_t head;
    size_t first; /* value head */
    size_t count;
};

static struct group group_of(const struct delta_part *part, size_t head)
{
    const size_t before = head * part->per_key;
    const size_t end = before + part->per_key - part->skipped;
    const size_t first = head == 0 ? 0 : before - part->skipped;
    return (struct group){head, first,
                          (end < part->value_heads ? end : part->value_heads) - first};
}

/* The value heads of one key head at one position; `mixed` holds q, k and v after the
 * convolution. */
static void mix_values(const struct delta_work *w, size_t row, const struct group *group,
                       float *matrices, float *mixed)
{
    struct engine *engine = w->engine;
    const struct delta_part *part = w->part;
    const struct model_delta *shape = &engine->config->delta;
    size_t heads = part->value_heads;
    size_t width = shape->value_dim;
    float inverse = 1.0f / sqrtf((float)shape->key_dim);
    float *query = mixed;
    float *key = mixed + shape->key_dim;
    normalise(query, shape->key_dim, inverse);
    normalise(key, shape->key_dim, 1.0f);
    for (size_t i = 0; i < group->count; i++) {
        size_t value_head = group->first + i;
        const float *value = key + shape->key_dim + i * width;
        float *gate = engine->gates + (row * heads + value_head) * width;
        float *out = engine->mixed.values + row * engine->mixed.stride + value_head * width;
        float decay_in = engine->ups[2 * row * heads + value_head];
        float write_in = engine->ups[(2 * row + 1) * heads + value_head];
        float decay = expf(-expf(part->decay_log[value_head]) *
                           softplus(decay_in + part->decay_bias[value_head]));
        const struct delta_step step = {query, key, value, shape->key_dim, width, decay,
                                        sigmoid(write_in)};
        engine->kernels->delta_step(&step, matrices + i * shape->key_dim * width, out);
        engine->kernels->rms_norm(out, part->norm, (float)engine->config->norm_epsilon, width,
                                  out);
        engine->kernels->swiglu(gate, out, width);
        memcpy(out, gate, width * sizeof *out);
    }
}

/* Items are key heads; each takes all rows in their order. */
static void mix_heads(void *work, size_t first, size_t end, float *scratch)
{
    const struct delta_work *w = work;
    struct engine *engine = w->engine;
    const struct delta_part *part = w->part;
    const struct model_delta *shape = &engine->config->delta;
    size_t keys = shape->key_dim;
    size_t width = shape->value_dim;
    size_t most = (size_t)model_delta_channels(shape, part->per_key);
    size_t taps = shape->taps;
    float *ones = scratch + most; /* what the convolved are gated with: themselves alone */
    for (size_t c = 0; c < most; c++)
        ones[c] = 1.0f;
    for (size_t head = first; head < end; head++) {
        const struct group group = group_of(part, head);
        size_t values = group.count * width;
        size_t channels = (size_t)model_delta_channels(shape, (uint32_t)group.count);
        size_t state = head * (size_t)model_delta_key_floats(shape) +
                       group.first * (size_t)model_delta_value_floats(shape);
        for (size_t row = 0; row < w->count; row++) {
            size_t at = row * part->key_heads + head;
            const float *query = engine->queries + at * keys;
            const float *key = engine->keys + at * keys;
            const float *value =
                engine->values + (row * part->value_heads + group.first) * width;
            float *history = kv_state(engine->cache, w->rows[row].sequence, w->index) + state;
            convolve(query, part->query_taps + head * keys * taps, history, channels, taps, keys,
                     scratch);
            convolve(key, part->key_taps + head * keys * taps, history + keys, channels, taps,
                     keys, scratch + keys);
            convolve(value, part->value_taps + group.first * width * taps, history + 2 * keys,
                     channels, taps, values, scratch + 2 * keys);
            engine->kernels->swiglu(scratch, ones, channels);
            remember(query, key, value, shape, channels, history);
            mix_values(w, row, &group, history + (taps - 1) * channels, scratch);
        }
    }
}

void block_delta(struct engine *engine, const struct delta_part *part, const float *norm,
                 uint32_t index, const struct engine_row *rows, size_t count)
{
    const struct model_delta *shape = &engine->config->delta;
    size_t keys = (size_t)part->key_heads * shape->key_dim;
    size_t heads = part->value_heads;
    size_t values = heads * shape->value_dim;
    const struct product inward[] = {
        {&part->query, engine->queries, keys},
        {&part->key, engine->keys, keys},
        {&part->value, engine->values, values},
        {&part->gate, engine->gates, values},
        {&part->decay, engine->ups, 2 * heads},
        {&part->write, engine->ups + heads, 2 * heads},
    };
    const struct product outward = {&part->out, engine->part, engine->config->hidden};
    struct delta_work work = {engine, part, index, rows, count};
    block_norm(engine, engine->hidden, norm, &engine->input, count,
               block_needs(engine, inward, COUNT_OF(inward)));
    block_multiply(engine, inward, COUNT_OF(inward), &engine->input, count);
    block_columns(&engine->mixed, values);
    engine_turn(engine, PROFILE_DELTA);
    pool_run(engine->pool, part->key_heads, 1, mix_heads, &work);
    block_prepare(engine, &engine->mixed, count, block_needs(engine, &outward, 1));
    block_multiply(engine, &outward, 1, &engine->mixed, count);
}

void engine_settle_delta(struct engine *engine, uint32_t layer, struct delta_part *part)
{
    const struct model_delta *shape = &engine->config->delta;
    part->per_key = shape->value_heads / shape->key_heads;
    part->key_heads = (uint32_t)(part->key.matrix.rows / shape->key_dim);
    part->value_heads = (uint32_t)(part->value.matrix.rows / shape->value_dim);
    part->skipped = engine_heads_skipped(engine, layer, part->per_key);
    engine_widen(&engine->widths.queries, (size_t)part->query.matrix.rows);
    engine_widen(&engine->widths.keys, (size_t)part->key.matrix.rows);
    engine_widen(&engine->widths.values, (size_t)part->value.matrix.rows);
    engine_widen(&engine->widths.gates, (size_t)part->gate.matrix.rows);
    engine_widen(&engine->widths.mixed, (size_t)part->value.matrix.rows);
    engine_widen(&engine->widths.ffn, 2 * (size_t)part->value_heads);
    engine_widen(&engine->widths.scratch, 2 * (size_t)model_delta_channels(shape, part->per_key));
    const struct kv_layer kv = {
        .state_floats = (uint32_t)(part->key_heads * model_delta_key_floats(shape) +
                                   part->value_heads * model_delta_value_floats(shape))};
    engine_bind_cache(engine, layer, &kv);
}
