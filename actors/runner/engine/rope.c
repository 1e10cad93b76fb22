/* SPDX-License-Identifier: Apache-2.0 */
/* Rotations of heads by position, in every scaling. */
#include "actors/runner/engine/engine_parts.h"
#include "protocol/memory.h"

#include <math.h>

#define TWO_PI 6.283185307179586476925286766559

/* Long waves are slowed by the factor, short ones kept, those between blended. */
static double llama3(const struct model_rope *rope, double frequency)
{
    double wave = TWO_PI / frequency;
    if (wave < rope->original / rope->high_factor)
        return frequency;
    if (wave > rope->original / rope->low_factor)
        return frequency / rope->factor;
    double smooth = (rope->original / wave - rope->low_factor) /
                    (rope->high_factor - rope->low_factor);
    return frequency * ((1.0 - smooth) / rope->factor + smooth);
}

/* The dimension that turns `turns` times within the original context. */
static double correction(const struct model_rope *rope, double turns)
{
    return (double)rope->dims * log(rope->original / (turns * TWO_PI)) / (2.0 * log(rope->theta));
}

static double yarn(const struct model_rope *rope, double frequency, uint32_t i)
{
    double low = correction(rope, rope->beta_fast);
    double high = correction(rope, rope->beta_slow);
    if (rope->rounds) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0.0);
    high = fmin(high, (double)rope->dims - 1.0);
    if (low == high)
        high += 0.001;
    double ramp = fmin(fmax(((double)i - low) / (high - low), 0.0), 1.0);
    return frequency * ((1.0 - ramp) + ramp / rope->factor);
}

static double frequency_of(const struct model_rope *rope, uint32_t i)
{
    double frequency = 1.0 / pow(rope->theta, 2.0 * (double)i / (double)rope->dims);
    switch (rope->kind) {
    case ROPE_LLAMA3:
        return llama3(rope, frequency);
    case ROPE_YARN:
        return yarn(rope, frequency, i);
    case ROPE_DEFAULT:
    case ROPE_LINEAR:
        break;
    }
    return frequency;
}

static double yarn_scale(double factor, double mscale)
{
    return factor <= 1.0 ? 1.0 : 0.1 * mscale * log(factor) + 1.0;
}

static void *take(struct engine *engine, size_t count)
{
    engine->buffer_bytes += (uint64_t)count * sizeof(float);
    return memory_zeroed(count, sizeof(float));
}

bool ropes_open(struct engine *engine)
{
    for (uint32_t r = 0; r < engine->config->rope_count; r++) {
        const struct model_rope *shape = &engine->config->ropes[r];
        struct engine_rope *rope = &engine->ropes[r];
        size_t half = shape->dims / 2;
        rope->dims = shape->dims;
        rope->divisor = shape->kind == ROPE_LINEAR ? (float)shape->factor : 1.0f;
        rope->stretch = 1.0f;
        if (shape->kind == ROPE_YARN)
            rope->stretch = (float)(yarn_scale(shape->factor, shape->mscale) /
                                    yarn_scale(shape->factor, shape->mscale_all));
        rope->frequencies = take(engine, half);
        rope->cosines = take(engine, ENGINE_ROWS * half);
        rope->sines = take(engine, ENGINE_ROWS * half);
        if (!rope->frequencies || !rope->cosines || !rope->sines)
            return false;
        for (uint32_t i = 0; i < half; i++)
            rope->frequencies[i] = (float)frequency_of(shape, i);
    }
    return true;
}

void ropes_close(struct engine *engine)
{
    for (size_t r = 0; r < MODEL_ROPES_MAX; r++) {
        memory_free(engine->ropes[r].frequencies);
        memory_free(engine->ropes[r].cosines);
        memory_free(engine->ropes[r].sines);
    }
}

void ropes_turn(struct engine *engine, const struct engine_row *rows, size_t count)
{
    for (uint32_t r = 0; r < engine->config->rope_count; r++) {
        struct engine_rope *rope = &engine->ropes[r];
        size_t half = rope->dims / 2;
        for (size_t i = 0; i < count; i++) {
            float position = (float)rows[i].position / rope->divisor;
            for (size_t k = 0; k < half; k++) {
                float angle = position * rope->frequencies[k];
                rope->cosines[i * half + k] = cosf(angle) * rope->stretch;
                rope->sines[i * half + k] = sinf(angle) * rope->stretch;
            }
        }
    }
}

void rope_rotate(const struct engine *engine, uint32_t rope, size_t row, float *head)
{
    if (rope == ROPE_NONE)
        return;
    const struct engine_rope *r = &engine->ropes[rope];
    size_t half = r->dims / 2;
    const float *cosines = r->cosines + row * half;
    const float *sines = r->sines + row * half;
    if (!engine->config->ropes[rope].is_interleaved) {
        engine->kernels->rope(head, cosines, sines, half);
        return;
    }
    for (size_t i = 0; i < half; i++) {
        float a = head[2 * i];
        float b = head[2 * i + 1];
        head[2 * i] = a * cosines[i] - b * sines[i];
        head[2 * i + 1] = a * sines[i] + b * cosines[i];
    }
}
