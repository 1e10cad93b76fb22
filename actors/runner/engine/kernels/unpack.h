/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack: packed weights as floats, the part every kernel set shares.
 *
 * Inline, because each set compiles it with its own instructions.  Nothing here rounds, so sets
 * agree bit for bit on what a weight is.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_UNPACK_H
#define TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_UNPACK_H

#include "actors/runner/engine/kernels/kernels.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian");

static inline float unpack_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float unpack_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t rest = half & 0x7fff;
    if (rest >= 0x7c00)
        return unpack_bits(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    if (rest >= 0x400)
        return unpack_bits(sign | ((rest << 13) + 0x38000000));
    /* Below the normal range: rest * 2^-24, exact. */
    float value = (float)rest * 0x1p-24f;
    return sign ? -value : value;
}

/* Where number `i` of `count` in bf16 lies in the cache: see protocol/kv_format.h. */
static inline size_t bf16_place(size_t i, size_t count)
{
    return i < count / 16 * 16 ? i / 16 * 16 + 2 * (i % 8) + i / 8 % 2 : i;
}

static inline size_t tensor_type_size(enum tensor_type type)
{
    return type == TENSOR_F32 ? 4 : 2;
}

/* `count` numbers of 16 or 32 bits. */
static inline void unpack_numbers(enum tensor_type type, const uint8_t *bytes, size_t count,
                                  float *out)
{
    if (type == TENSOR_F32) {
        memcpy(out, bytes, count * sizeof *out);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, bytes + 2 * i, sizeof half);
        out[i] = type == TENSOR_BF16 ? unpack_bits((uint32_t)half << 16) : unpack_half(half);
    }
}

/* Codes of 2 to 8 bits, a multiple of 8 of them: 8 codes are as many bytes as a code has bits. */
static inline void unpack_codes(uint32_t bits, const uint8_t *bytes, size_t count, float *out)
{
    uint64_t mask = (UINT64_C(1) << bits) - 1;
    if (bits == 8) {
        for (size_t i = 0; i < count; i++)
            out[i] = (float)bytes[i];
        return;
    }
    for (size_t i = 0; i < count; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes, bits);
        bytes += bits;
        for (size_t k = 0; k < 8; k++)
            out[i + k] = (float)(int)(word >> (k * bits) & mask);
    }
}

/* The 4-bit float E2M1: sign, two bits of exponent, one of mantissa. */
static inline float unpack_e2m1(uint32_t code)
{
    static const float values[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                     -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
    return values[code & 15];
}

/* The 8-bit float E4M3fn: exponent bias 7, no infinity, 0x7f and 0xff are no numbers. */
static inline float unpack_e4m3(uint32_t code)
{
    uint32_t sign = (code & 0x80) << 24;
    uint32_t rest = code & 0x7f;
    if (rest == 0x7f)
        return unpack_bits(sign | 0x7fc00000);
    if (rest >= 8)
        return unpack_bits(sign | ((rest << 20) + (120u << 23)));
    float value = (float)rest * 0x1p-9f;
    return sign ? -value : value;
}

/* The 8-bit scale E8M0: 2^(code - 127). */
static inline float unpack_e8m0(uint32_t code)
{
    return code == 0 ? 0x1p-127f : unpack_bits(code << 23);
}

/* Elements of a quantised group before their scale, a multiple of 8 of them. */
static inline void unpack_elements(const struct quantisation *q, const uint8_t *bytes,
                                   size_t count, float *out)
{
    if (q->format == WEIGHT_AFFINE) {
        unpack_codes(q->bits, bytes, count, out);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t pair = bytes[q->bits == 4 ? i / 2 : i];
        out[i] = q->bits == 4 ? unpack_e2m1(i % 2 ? pair >> 4 : pair) : unpack_e4m3(pair);
    }
}

/* Elements that share a scale; dense rows are cut into blocks too. */
static inline size_t matrix_group(const struct matrix *matrix)
{
    return matrix->quantisation.group ? matrix->quantisation.group : KERNEL_BLOCK;
}

static inline size_t matrix_groups(const struct matrix *matrix)
{
    size_t group = matrix_group(matrix);
    return ((size_t)matrix->columns + group - 1) / group;
}

static inline enum tensor_type dense_type(enum weight_format format)
{
    return format == WEIGHT_BF16 ? TENSOR_BF16 : format == WEIGHT_F16 ? TENSOR_F16 : TENSOR_F32;
}

/* Only affine groups have a bias, and so need the sums of their inputs. */
static inline bool matrix_has_biases(const struct matrix *matrix)
{
    return matrix->quantisation.format == WEIGHT_AFFINE;
}

/* Scales and biases of groups [first, first + count) of a row: ones and zeros where the format has
 * none, so that one formula serves all. */
static inline void unpack_scales(const struct matrix *matrix, uint64_t row, size_t first,
                                 size_t count, float *scales, float *biases)
{
    const uint8_t *from = matrix->scales ? matrix->scales + row * matrix->scale_stride : NULL;
    enum weight_format format = matrix->quantisation.format;
    if (matrix_has_biases(matrix)) {
        size_t size = tensor_type_size(matrix->scale_type);
        unpack_numbers(matrix->scale_type, from + first * size, count, scales);
        unpack_numbers(matrix->scale_type,
                       matrix->biases + row * matrix->bias_stride + first * size, count, biases);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        biases[i] = 0.0f;
        if (matrix->quantisation.group == 0)
            scales[i] = 1.0f;
        else if (format == WEIGHT_NVFP4)
            scales[i] = unpack_e4m3(from[first + i]);
        else
            scales[i] = unpack_e8m0(from[first + i]);
    }
}

/* The sums of groups of 64 and 128 from those of 32. */
static inline void fold_sums(float *const *sums, size_t row, size_t blocks)
{
    const float *of32 = sums[0] + row * blocks;
    float *of64 = sums[1] + row * blocks;
    float *of128 = sums[2] + row * blocks;
    for (size_t i = 0; i + 1 < blocks; i += 2)
        of64[i / 2] = of32[i] + of32[i + 1];
    for (size_t i = 0; i + 1 < blocks / 2; i += 2)
        of128[i / 2] = of64[i] + of64[i + 1];
}

/* The formats that have products with 8-bit inputs. */
static inline bool matrix_has_bytes(const struct matrix *matrix)
{
    return matrix->quantisation.format == WEIGHT_AFFINE ||
           matrix->quantisation.format == WEIGHT_MXFP4;
}

/* 0, 1, 2 for groups of 32, 64, 128. */
static inline size_t group_index(size_t group)
{
    return group == 32 ? 0 : group == 64 ? 1 : 2;
}

/* Codes (or dense values) of one group, zeros after the last column of a dense row. */
static inline void unpack_group(const struct matrix *matrix, uint64_t row, size_t group,
                                float *out)
{
    const uint8_t *bytes = matrix->weight + row * matrix->weight_stride;
    size_t size = matrix_group(matrix);
    uint32_t bits = matrix->quantisation.bits;
    bytes += group * size * bits / 8;
    if (matrix->quantisation.group) {
        unpack_elements(&matrix->quantisation, bytes, size, out);
        return;
    }
    size_t left = (size_t)matrix->columns - group * size;
    size_t count = left < size ? left : size;
    unpack_numbers(dense_type(matrix->quantisation.format), bytes, count, out);
    for (size_t i = count; i < size; i++)
        out[i] = 0.0f;
}

#endif
