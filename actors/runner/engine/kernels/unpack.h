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
    for (size_t i = 0; i < count; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes, bits);
        bytes += bits;
        for (size_t k = 0; k < 8; k++)
            out[i + k] = (float)(int)(word >> (k * bits) & mask);
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
        unpack_codes(bits, bytes, size, out);
        return;
    }
    size_t left = (size_t)matrix->columns - group * size;
    size_t count = left < size ? left : size;
    unpack_numbers(dense_type(matrix->quantisation.format), bytes, count, out);
    for (size_t i = count; i < size; i++)
        out[i] = 0.0f;
}

#endif
