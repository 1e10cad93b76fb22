/* SPDX-License-Identifier: Apache-2.0 */
/* Built with -ffp-contract=off; the sums have eight parts so that a compiler may use what lanes
 * there are without changing an order. */
#include "actors/runner/engine/kernels/routing.h"

#include "actors/runner/engine/kernels/unpack.h"

#include <float.h>
#include <math.h>

#define PARTS 8u
#define GROUP_MAX 128u
/* Tokens that share what is unpacked. */
#define TOKENS 32u

#if defined(__FAST_MATH__) || FLT_EVAL_METHOD > 0
#error "the routing path needs arithmetic that rounds each operation once, to float"
#endif

static float parts_sum(const float *parts)
{
    return ((parts[0] + parts[1]) + (parts[2] + parts[3])) +
           ((parts[4] + parts[5]) + (parts[6] + parts[7]));
}

void kernel_routing_norm(const float *x, const float *weight, float epsilon, size_t count,
                         float *out)
{
    float parts[PARTS] = {0.0f};
    size_t i = 0;
    for (; i + PARTS <= count; i += PARTS)
        for (size_t k = 0; k < PARTS; k++)
            parts[k] += x[i + k] * x[i + k];
    for (size_t k = 0; i < count; i++, k++)
        parts[k] += x[i] * x[i];
    float factor = 1.0f / sqrtf(parts_sum(parts) / (float)count + epsilon);
    for (i = 0; i < count; i++)
        out[i] = x[i] * factor * weight[i];
}

/* Codes of one group times x. */
static float group_product(const float *codes, const float *x, size_t count)
{
    float parts[PARTS] = {0.0f};
    size_t i = 0;
    for (; i + PARTS <= count; i += PARTS)
        for (size_t k = 0; k < PARTS; k++)
            parts[k] += codes[i + k] * x[i + k];
    for (size_t k = 0; i < count; i++, k++)
        parts[k] += codes[i] * x[i];
    return parts_sum(parts);
}

static float group_sum(const float *x, size_t count)
{
    float parts[PARTS] = {0.0f};
    size_t i = 0;
    for (; i + PARTS <= count; i += PARTS)
        for (size_t k = 0; k < PARTS; k++)
            parts[k] += x[i + k];
    for (size_t k = 0; i < count; i++, k++)
        parts[k] += x[i];
    return parts_sum(parts);
}

/* Up to TOKENS of them.  Codes are unpacked once for all. */
static void product_of_some(const struct matrix *matrix, const float *x, size_t count,
                            size_t row_first, size_t row_end, float *out, size_t out_stride)
{
    size_t size = matrix_group(matrix);
    size_t groups = matrix_groups(matrix);
    size_t columns = (size_t)matrix->columns;
    bool has_biases = matrix_has_biases(matrix);
    float codes[GROUP_MAX];
    float sums[TOKENS];
    for (size_t g = 0; g < groups; g++) {
        size_t left = columns - g * size;
        size_t some = left < size ? left : size;
        for (size_t t = 0; has_biases && t < count; t++)
            sums[t] = group_sum(x + t * columns + g * size, some);
        for (size_t row = row_first; row < row_end; row++) {
            float scale;
            float bias;
            unpack_scales(matrix, row, g, 1, &scale, &bias);
            unpack_group(matrix, row, g, codes);
            for (size_t t = 0; t < count; t++) {
                float *sum = &out[t * out_stride + row];
                *sum += scale * group_product(codes, x + t * columns + g * size, some);
                if (has_biases)
                    *sum += bias * sums[t];
            }
        }
    }
}

void kernel_routing_product(const struct matrix *matrix, const float *x, size_t count,
                            size_t row_first, size_t row_end, float *out, size_t out_stride)
{
    for (size_t t = 0; t < count; t++)
        for (size_t row = row_first; row < row_end; row++)
            out[t * out_stride + row] = 0.0f;
    for (size_t t = 0; t < count; t += TOKENS)
        product_of_some(matrix, x + t * (size_t)matrix->columns,
                        count - t < TOKENS ? count - t : TOKENS, row_first, row_end,
                        out + t * out_stride, out_stride);
}

float kernel_routing_exp(float x)
{
    if (!(x >= -87.0f))
        return x < -87.0f ? 0.0f : x;
    x = x > 88.0f ? 88.0f : x;
    /* Adding and taking away 1.5 * 2^23 rounds to the nearest whole number. */
    float n = x * 1.44269504f + 12582912.0f;
    n -= 12582912.0f;
    float r = x - n * 0.693359375f;
    r -= n * -2.12194440e-4f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * unpack_bits((uint32_t)((int32_t)n + 127) << 23);
}

float kernel_routing_sigmoid(float x)
{
    return 1.0f / (1.0f + kernel_routing_exp(-x));
}

void kernel_routing_softmax(float *x, size_t count)
{
    float largest = count ? x[0] : 0.0f;
    float total = 0.0f;
    for (size_t i = 1; i < count; i++)
        largest = x[i] > largest ? x[i] : largest;
    for (size_t i = 0; i < count; i++) {
        x[i] = kernel_routing_exp(x[i] - largest);
        total += x[i];
    }
    for (size_t i = 0; i < count; i++)
        x[i] /= total;
}
