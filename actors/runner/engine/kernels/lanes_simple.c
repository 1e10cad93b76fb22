/* SPDX-License-Identifier: Apache-2.0 */
/* Norm, gate, rotation, and what is prepared of the inputs of products. */
#include "actors/runner/engine/kernels/lanes.h"

#include <math.h>

void KERNEL_NAME(rms_norm)(const float *x, const float *weight, float epsilon, size_t count,
                           float *out)
{
    lanes sums[4] = {lanes_all(0.0f), lanes_all(0.0f), lanes_all(0.0f), lanes_all(0.0f)};
    size_t i = 0;
    for (; i + 4 * LANES <= count; i += 4 * LANES) {
        for (size_t k = 0; k < 4; k++) {
            lanes some = lanes_load(x + i + k * LANES);
            sums[k] = lanes_fma(some, some, sums[k]);
        }
    }
    float sum = lanes_sum(lanes_add(lanes_add(sums[0], sums[1]), lanes_add(sums[2], sums[3])));
    for (; i < count; i++)
        sum += x[i] * x[i];
    float factor = 1.0f / sqrtf(sum / (float)count + epsilon);
    for (i = 0; i + LANES <= count; i += LANES)
        lanes_store(out + i, lanes_mul(lanes_mul(lanes_load(x + i), lanes_all(factor)),
                                       lanes_load(weight + i)));
    for (; i < count; i++)
        out[i] = x[i] * factor * weight[i];
}

void KERNEL_NAME(swiglu)(float *gate, const float *up, size_t count)
{
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        lanes g = lanes_load(gate + i);
        lanes e = lanes_exp(lanes_sub(lanes_all(0.0f), g));
        lanes y = lanes_div(g, lanes_add(lanes_all(1.0f), e));
        lanes_store(gate + i, lanes_mul(y, lanes_load(up + i)));
    }
    for (; i < count; i++)
        gate[i] = gate[i] / (1.0f + lanes_exp_one(-gate[i])) * up[i];
}

void KERNEL_NAME(rope)(float *head, const float *cosines, const float *sines, size_t half)
{
    size_t i = 0;
    for (; i + LANES <= half; i += LANES) {
        lanes a = lanes_load(head + i);
        lanes b = lanes_load(head + i + half);
        lanes c = lanes_load(cosines + i);
        lanes s = lanes_load(sines + i);
        lanes_store(head + i, lanes_sub(lanes_mul(a, c), lanes_mul(b, s)));
        lanes_store(head + i + half, lanes_add(lanes_mul(a, s), lanes_mul(b, c)));
    }
    for (; i < half; i++) {
        float a = head[i];
        float b = head[i + half];
        head[i] = a * cosines[i] - b * sines[i];
        head[i + half] = a * sines[i] + b * cosines[i];
    }
}

/* `some` times eight columns from `first` on: what is held of them, then the update and the read
 * together, so that the matrix is written once. */
ALWAYS_INLINE void delta_columns(const struct delta_step *step, float *state, size_t first,
                                 size_t some, float *out)
{
    size_t width = step->value_dim;
    lanes decay = lanes_all(step->decay);
    lanes moved[4];
    lanes read[4];
    for (size_t k = 0; k < some; k++)
        moved[k] = read[k] = lanes_all(0.0f);
    for (size_t i = 0; i < step->key_dim; i++) {
        lanes key = lanes_all(step->key[i]);
        const float *row = state + i * width + first;
        for (size_t k = 0; k < some; k++)
            moved[k] = lanes_fma(lanes_mul(lanes_load(row + k * LANES), decay), key, moved[k]);
    }
    for (size_t k = 0; k < some; k++)
        moved[k] = lanes_mul(lanes_sub(lanes_load(step->value + first + k * LANES), moved[k]),
                             lanes_all(step->write));
    for (size_t i = 0; i < step->key_dim; i++) {
        lanes key = lanes_all(step->key[i]);
        lanes query = lanes_all(step->query[i]);
        float *row = state + i * width + first;
        for (size_t k = 0; k < some; k++) {
            lanes next = lanes_fma(moved[k], key, lanes_mul(lanes_load(row + k * LANES), decay));
            lanes_store(row + k * LANES, next);
            read[k] = lanes_fma(next, query, read[k]);
        }
    }
    for (size_t k = 0; k < some; k++)
        lanes_store(out + first + k * LANES, read[k]);
}

void KERNEL_NAME(delta_step)(const struct delta_step *step, float *state, float *out)
{
    size_t width = step->value_dim;
    size_t first = 0;
    for (; first + 4 * LANES <= width; first += 4 * LANES)
        delta_columns(step, state, first, 4, out);
    for (; first + LANES <= width; first += LANES)
        delta_columns(step, state, first, 1, out);
    for (; first < width; first++) {
        float moved = 0.0f;
        float read = 0.0f;
        for (size_t i = 0; i < step->key_dim; i++)
            moved += state[i * width + first] * step->decay * step->key[i];
        moved = (step->value[first] - moved) * step->write;
        for (size_t i = 0; i < step->key_dim; i++) {
            float *at = &state[i * width + first];
            *at = *at * step->decay + moved * step->key[i];
            read += *at * step->query[i];
        }
        out[first] = read;
    }
}

void KERNEL_NAME(to_bf16)(const float *x, size_t count, uint16_t *out)
{
    size_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES)
        lanes_store_bf16(out + i, lanes_load(x + i), lanes_load(x + i + LANES));
    for (; i < count; i++)
        out[i] = kernel_to_bf16(x[i]);
}

/* As the portable one, bit for bit. */
float KERNEL_NAME(to_bytes)(const float *x, size_t count, int8_t *out)
{
    lanes most = lanes_all(0.0f);
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        most = lanes_max(lanes_abs(lanes_load(x + i)), most);
    float largest = lanes_largest(most);
    for (; i < count; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
    for (i = 0; i + 4 * LANES <= count; i += 4 * LANES) {
        lanes whole[4];
        for (size_t k = 0; k < 4; k++)
            whole[k] = lanes_round(lanes_mul(lanes_load(x + i + k * LANES), lanes_all(inverse)));
        (void)lanes_store_bytes(out + i, whole);
    }
    for (; i < count; i++)
        out[i] = (int8_t)lrintf(x[i] * inverse);
    return largest / 127.0f;
}

/* As the portable one, bit for bit. */
static void quantise_block(const float *x, int8_t *bytes, float *scale_out, float *sum_out)
{
    lanes values[4];
    lanes largest = lanes_all(0.0f);
    for (size_t i = 0; i < 4; i++) {
        values[i] = lanes_load(x + i * LANES);
        largest = lanes_max(lanes_abs(values[i]), largest);
    }
    float most = lanes_largest(largest);
    float scale = most / 127.0f;
    float inverse = most > 0.0f ? 127.0f / most : 0.0f;
    for (size_t i = 0; i < 4; i++)
        values[i] = lanes_round(lanes_mul(values[i], lanes_all(inverse)));
    *scale_out = scale;
    *sum_out = scale * (float)lanes_store_bytes(bytes, values);
}

void KERNEL_NAME(prepare)(struct activations *a, size_t row, unsigned needs)
{
    size_t blocks = a->stride / 32;
    const float *x = a->values + row * a->stride;
    if (needs & ACTIVATION_SUMS) {
        for (size_t i = 0; i < blocks; i++) {
            lanes sum = lanes_load(x + 32 * i);
            for (size_t k = LANES; k < 32; k += LANES)
                sum = lanes_add(sum, lanes_load(x + 32 * i + k));
            a->sums[0][row * blocks + i] = lanes_sum(sum);
        }
        fold_sums(a->sums, row, blocks);
    }
    if (needs & ACTIVATION_BYTES) {
        int8_t *bytes = a->bytes + row * a->stride;
        for (size_t i = 0; i < blocks; i++)
            quantise_block(x + 32 * i, bytes + 32 * i, &a->scales[row * blocks + i],
                           &a->byte_sums[0][row * blocks + i]);
        fold_sums(a->byte_sums, row, blocks);
        for (size_t i = 0; i < a->stride; i += 64)
            lanes_split_64(bytes + i, a->split + row * a->stride + i);
    }
}
