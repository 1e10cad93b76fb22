/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference: plain C, one order of sums, no assumptions about the CPU.
 *
 * Products in fp32 and sums of activations add up in double, which costs nothing here, where each
 * addition waits for the one before: codes above 0 times activations, less their bias, are small
 * differences of large sums, and in fp32 one by one they err four times as much as in lanes.
 */
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/kernels/unpack.h"

#include <math.h>

#define GROUP_MAX 128u

size_t kernel_scratch_floats(size_t columns_max)
{
    /* Four rows of codes and their scales and biases, each padded. */
    size_t columns = (columns_max + 2 * GROUP_MAX) / GROUP_MAX * GROUP_MAX;
    return 4 * (columns + 2 * (columns / 16 + 8)) + 64;
}

uint16_t kernel_to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (isnan(value))
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void kernel_dequantise_row(const struct matrix *matrix, uint64_t row, float *out)
{
    float codes[GROUP_MAX];
    size_t size = matrix_group(matrix);
    size_t groups = matrix_groups(matrix);
    for (size_t g = 0; g < groups; g++) {
        size_t first = g * size;
        size_t count = (size_t)matrix->columns - first < size ? (size_t)matrix->columns - first
                                                              : size;
        float scale;
        float bias;
        unpack_group(matrix, row, g, codes);
        unpack_scales(matrix, row, g, 1, &scale, &bias);
        for (size_t i = 0; i < count; i++)
            out[first + i] = codes[i] * scale + bias;
    }
}

static void quantise_block(const float *x, int8_t *bytes, float *scale_out, float *sum_out)
{
    float largest = 0.0f;
    for (size_t i = 0; i < KERNEL_QUANT_BLOCK; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    float scale = largest / 127.0f;
    float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
    int32_t sum = 0;
    for (size_t i = 0; i < KERNEL_QUANT_BLOCK; i++) {
        bytes[i] = (int8_t)lrintf(x[i] * inverse);
        sum += bytes[i];
    }
    *scale_out = scale;
    *sum_out = scale * (float)sum;
}

static void split_bytes(const int8_t *bytes, size_t count, size_t block, int8_t *out)
{
    for (size_t first = 0; first < count; first += block) {
        for (size_t i = 0; i < block / 2; i++) {
            out[first + i] = bytes[first + 2 * i];
            out[first + block / 2 + i] = bytes[first + 2 * i + 1];
        }
    }
}

static void prepare(struct activations *a, size_t row, unsigned needs)
{
    size_t blocks = a->stride / 32;
    const float *x = a->values + row * a->stride;
    if (needs & ACTIVATION_SUMS) {
        for (size_t i = 0; i < blocks; i++) {
            double sum = 0.0;
            for (size_t k = 0; k < 32; k++)
                sum += (double)x[i * 32 + k];
            a->sums[0][row * blocks + i] = (float)sum;
        }
        fold_sums(a->sums, row, blocks);
    }
    if (needs & ACTIVATION_BYTES) {
        int8_t *bytes = a->bytes + row * a->stride;
        for (size_t i = 0; i < blocks; i++)
            quantise_block(x + i * 32, bytes + i * 32, &a->scales[row * blocks + i],
                           &a->byte_sums[0][row * blocks + i]);
        fold_sums(a->byte_sums, row, blocks);
        split_bytes(bytes, a->stride, 64, a->split + row * a->stride);
    }
}

static void matmul(const struct matrix *matrix, const struct activations *inputs, size_t count,
                   size_t row_first, size_t row_end, float *out, size_t out_stride,
                   float *scratch)
{
    size_t size = matrix_group(matrix);
    size_t groups = matrix_groups(matrix);
    size_t blocks = inputs->stride / 32;
    bool has_biases = matrix_has_biases(matrix);
    float *codes = scratch;
    float *scales = scratch + groups * size;
    for (size_t row = row_first; row < row_end; row++) {
        for (size_t g = 0; g < groups; g++)
            unpack_group(matrix, row, g, codes + g * size);
        unpack_scales(matrix, row, 0, groups, scales, scales + groups);
        for (size_t t = 0; t < count; t++) {
            const float *x = inputs->values + t * inputs->stride;
            const float *sums = inputs->sums[group_index(size)] + t * blocks;
            double total = 0.0;
            for (size_t g = 0; g < groups; g++) {
                double part = 0.0;
                for (size_t i = 0; i < size; i++)
                    part += (double)codes[g * size + i] * (double)x[g * size + i];
                total += (double)scales[g] * part;
                if (has_biases)
                    total += (double)scales[groups + g] * (double)sums[g];
            }
            out[t * out_stride + row] = (float)total;
        }
    }
}

/* Codes of a row as whole numbers that fit a signed byte, and the scales and biases that go with
 * them: codes of 8 bits are moved by 128, the halves of mxfp4 doubled. */
static void unpack_whole(const struct matrix *matrix, size_t row, float *codes, float *scales,
                         float *biases)
{
    size_t size = matrix_group(matrix);
    size_t groups = matrix_groups(matrix);
    bool is_moved = matrix_has_biases(matrix) && matrix->quantisation.bits == 8;
    bool is_doubled = !matrix_has_biases(matrix);
    unpack_scales(matrix, row, 0, groups, scales, biases);
    for (size_t g = 0; g < groups; g++) {
        unpack_group(matrix, row, g, codes + g * size);
        for (size_t i = g * size; (is_moved || is_doubled) && i < (g + 1) * size; i++)
            codes[i] = is_moved ? codes[i] - 128.0f : 2.0f * codes[i];
        if (is_moved)
            biases[g] = fmaf(scales[g], 128.0f, biases[g]);
        else if (is_doubled)
            scales[g] *= 0.5f;
    }
}

/* The order of lanes_bytes.h, so that every set gives the same bits. */
static void matmul_bytes(const struct matrix *matrix, const struct activations *inputs,
                         size_t count, size_t row_first, size_t row_end, float *out,
                         size_t out_stride, float *scratch)
{
    size_t size = matrix_group(matrix);
    size_t groups = matrix_groups(matrix);
    size_t blocks = inputs->stride / 32;
    float *codes = scratch;
    float *scales = scratch + groups * size;
    for (size_t row = row_first; row < row_end; row++) {
        unpack_whole(matrix, row, codes, scales, scales + groups);
        for (size_t t = 0; t < count; t++) {
            const int8_t *x = inputs->bytes + t * inputs->stride;
            const float *x_scales = inputs->scales + t * blocks;
            const float *sums = inputs->byte_sums[group_index(size)] + t * blocks;
            float total = 0.0f;
            for (size_t g = 0; g < groups; g++) {
                float part = 0.0f;
                for (size_t first = g * size; first < (g + 1) * size; first += 32) {
                    int32_t sum = 0;
                    for (size_t i = first; i < first + 32; i++)
                        sum += (int32_t)codes[i] * x[i];
                    part = fmaf((float)sum, x_scales[first / 32], part);
                }
                total = fmaf(part, scales[g], total);
                if (matrix_has_biases(matrix))
                    total = fmaf(scales[groups + g], sums[g], total);
            }
            out[t * out_stride + row] = total;
        }
    }
}

static void rms_norm(const float *x, const float *weight, float epsilon, size_t count, float *out)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++)
        sum += (double)x[i] * (double)x[i];
    float factor = (float)(1.0 / sqrt(sum / (double)count + (double)epsilon));
    for (size_t i = 0; i < count; i++)
        out[i] = x[i] * factor * weight[i];
}

static void swiglu(float *gate, const float *up, size_t count)
{
    for (size_t i = 0; i < count; i++)
        gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static void rope(float *head, const float *cosines, const float *sines, size_t half)
{
    for (size_t i = 0; i < half; i++) {
        float a = head[i];
        float b = head[i + half];
        head[i] = a * cosines[i] - b * sines[i];
        head[i + half] = a * sines[i] + b * cosines[i];
    }
}

/* Element `i` of position `p` among keys or values at `offset` of its page. */
static float cached(const struct attention *a, size_t offset, size_t stride, uint32_t p, size_t i)
{
    const uint8_t *page = a->pages[p / a->page_positions] + offset;
    size_t first = (size_t)(p % a->page_positions) * stride;
    if (a->format == KV_INT8)
        return (float)(int8_t)page[first + i];
    if (a->format == KV_BF16) {
        uint16_t half;
        memcpy(&half, page + 2 * (first + bf16_place(i, stride)), sizeof half);
        return unpack_bits((uint32_t)half << 16);
    }
    float value;
    memcpy(&value, page + 4 * (first + i), sizeof value);
    return value;
}

/* What the whole numbers of position `p` are multiplied by; `offset` is that of their scales. */
static float scale_of(const struct attention *a, size_t offset, uint32_t p)
{
    float scale = 1.0f;
    if (a->format == KV_INT8)
        memcpy(&scale, a->pages[p / a->page_positions] + offset +
                           p % a->page_positions * sizeof scale, sizeof scale);
    return scale;
}

static float score(const struct attention *a, uint32_t p)
{
    float sum = 0.0f;
    for (size_t i = 0; i < a->head_dim; i++)
        sum += a->query[i] * cached(a, a->key_offset, a->head_dim, p, i);
    return sum * scale_of(a, a->key_scale_offset, p) * a->scale;
}

/* Twice over the keys: for the largest score, then for the weights, so that nothing is kept. */
static void attend(const struct attention *a, float *scores, float *out)
{
    size_t value_dim = a->value_dim ? a->value_dim : a->head_dim;
    size_t stride = a->value_stride ? a->value_stride : value_dim;
    float largest = a->has_sink ? a->sink : -INFINITY;
    (void)scores;
    for (uint32_t p = a->first; p < a->length; p++) {
        float one = score(a, p);
        largest = one > largest ? one : largest;
    }
    float total = a->has_sink ? expf(a->sink - largest) : 0.0f;
    for (size_t i = 0; i < value_dim; i++)
        out[i] = 0.0f;
    for (uint32_t p = a->first; p < a->length; p++) {
        float weight = expf(score(a, p) - largest);
        total += weight;
        weight *= scale_of(a, a->value_scale_offset, p);
        for (size_t i = 0; i < value_dim; i++)
            out[i] += weight * cached(a, a->value_offset, stride, p, i);
    }
    for (size_t i = 0; i < value_dim; i++)
        out[i] /= total;
}

static void attend_many(const struct attention *attentions, size_t count, float *scores,
                        float *const *outs)
{
    for (size_t i = 0; i < count; i++)
        attend(&attentions[i], scores, outs[i]);
}

static void delta_step(const struct delta_step *step, float *state, float *out)
{
    size_t width = step->value_dim;
    for (size_t j = 0; j < width; j++) {
        float held = 0.0f;
        float read = 0.0f;
        for (size_t i = 0; i < step->key_dim; i++) {
            state[i * width + j] *= step->decay;
            held += state[i * width + j] * step->key[i];
        }
        float moved = (step->value[j] - held) * step->write;
        for (size_t i = 0; i < step->key_dim; i++) {
            state[i * width + j] += moved * step->key[i];
            read += state[i * width + j] * step->query[i];
        }
        out[j] = read;
    }
}

static void to_bf16(const float *x, size_t count, uint16_t *out)
{
    for (size_t i = 0; i < count; i++)
        out[bf16_place(i, count)] = kernel_to_bf16(x[i]);
}

static float to_bytes(const float *x, size_t count, int8_t *out)
{
    float largest = 0.0f;
    for (size_t i = 0; i < count; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
    for (size_t i = 0; i < count; i++)
        out[i] = (int8_t)lrintf(x[i] * inverse);
    return largest / 127.0f;
}

static uint64_t spin(uint64_t rounds)
{
    volatile int32_t x = 3;
    int32_t sums[8] = {0};
    int32_t factor = x;
    for (uint64_t i = 0; i < rounds; i++)
        for (int32_t k = 0; k < 8; k++)
            sums[k] = (sums[k] + k) * factor & 0xffff;
    for (size_t k = 0; k < 8; k++)
        x = sums[k];
    return rounds * 8;
}

const struct kernel_set *kernel_set_portable(void)
{
    static const struct kernel_set set = {
        .name = "portable",
        .prepare = prepare,
        .matmul = matmul,
        .matmul_bytes = matmul_bytes,
        .has_bytes = matrix_has_bytes,
        .rms_norm = rms_norm,
        .swiglu = swiglu,
        .rope = rope,
        .attend = attend,
        .attend_many = attend_many,
        .delta_step = delta_step,
        .to_bf16 = to_bf16,
        .to_bytes = to_bytes,
        .spin = spin,
    };
    return &set;
}
