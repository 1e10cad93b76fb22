/* SPDX-License-Identifier: Apache-2.0 */
/* The gated FFN, with every activation. */
#include "actors/runner/engine/engine_parts.h"

#include <math.h>

static float clip(float x, float limit)
{
    return fminf(fmaxf(x, -limit), limit);
}

static float gelu(float x)
{
    return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}

void block_activate(const struct engine *engine, enum activation activation, float limit,
                    float *gate, const float *up, size_t count)
{
    switch (activation) {
    case ACTIVATION_SILU:
        engine->kernels->swiglu(gate, up, count);
        break;
    case ACTIVATION_GELU:
        for (size_t i = 0; i < count; i++)
            gate[i] = gelu(gate[i]) * up[i];
        break;
    case ACTIVATION_CLAMPED_SILU:
        for (size_t i = 0; i < count; i++)
            gate[i] = fminf(gate[i] / (1.0f + expf(-gate[i])), limit) * clip(up[i], limit);
        break;
    case ACTIVATION_CLAMPED_SWISH:
        for (size_t i = 0; i < count; i++) {
            float g = fminf(gate[i], limit);
            gate[i] = g / (1.0f + expf(-1.702f * g)) * (clip(up[i], limit) + 1.0f);
        }
        break;
    }
}

struct gate_work {
    struct engine *engine;
    const struct ffn_part *part;
    unsigned needs;
};

static void gate_rows(void *work, size_t first, size_t end, float *scratch)
{
    struct gate_work *w = work;
    struct engine *engine = w->engine;
    size_t width = engine->gated.columns;
    (void)scratch;
    for (size_t row = first; row < end; row++) {
        block_activate(engine, w->part->activation, w->part->limit,
                       engine->gated.values + row * engine->gated.stride,
                       engine->ups + row * width, width);
        engine->kernels->prepare(&engine->gated, row, w->needs);
    }
}

void block_ffn(struct engine *engine, const struct ffn_part *part, const float *norm,
               size_t count)
{
    block_columns(&engine->gated, (size_t)part->gate.matrix.rows);
    const struct product inward[] = {
        {&part->gate, engine->gated.values, engine->gated.stride},
        {&part->up, engine->ups, engine->gated.columns},
    };
    const struct product outward = {&part->down, engine->part, engine->config->hidden};
    block_norm(engine, engine->hidden, norm, &engine->input, count,
               block_needs(engine, inward, COUNT_OF(inward)));
    block_multiply(engine, inward, COUNT_OF(inward), &engine->input, count);
    struct gate_work work = {engine, part, block_needs(engine, &outward, 1)};
    engine_turn(engine, PROFILE_ACTIVATION);
    pool_run(engine->pool, count, 4, gate_rows, &work);
    block_multiply(engine, &outward, 1, &engine->gated, count);
}
