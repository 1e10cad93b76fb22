/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products in fp32 with AVX2: rows are unpacked to floats a group at a time (one token or few) or
 * whole (many tokens), four rows together.  Either way a row and a token meet in the same order:
 * eight lanes along the group, then lanes times scale added group by group.
 */
#include "actors/runner/engine/kernels/avx2.h"
#include "actors/runner/engine/kernels/avx2_lanes.h"

#define ROWS 4u
#define GROUP_MAX 128u
/* Up to here a group is unpacked again for each call rather than whole rows kept. */
#define FEW_TOKENS 4u

ALWAYS_INLINE void unpack_4_bits(const uint8_t *bytes, size_t count, float *out)
{
    const __m128i mask = _mm_set1_epi8(0x0f);
    for (size_t i = 0; i < count; i += 32, bytes += 16) {
        __m128i packed = _mm_loadu_si128((const __m128i *)(const void *)bytes);
        __m128i even = _mm_and_si128(packed, mask);
        __m128i odd = _mm_and_si128(_mm_srli_epi16(packed, 4), mask);
        __m128i parts[2] = {_mm_unpacklo_epi8(even, odd), _mm_unpackhi_epi8(even, odd)};
        for (size_t k = 0; k < 2; k++) {
            __m256i low = _mm256_cvtepu8_epi32(parts[k]);
            __m256i high = _mm256_cvtepu8_epi32(_mm_srli_si128(parts[k], 8));
            _mm256_storeu_ps(out + i + 16 * k, _mm256_cvtepi32_ps(low));
            _mm256_storeu_ps(out + i + 16 * k + 8, _mm256_cvtepi32_ps(high));
        }
    }
}

ALWAYS_INLINE void unpack_8_bits(const uint8_t *bytes, size_t count, float *out)
{
    for (size_t i = 0; i < count; i += 8) {
        __m128i codes = _mm_loadl_epi64((const __m128i *)(const void *)(bytes + i));
        _mm256_storeu_ps(out + i, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes)));
    }
}

/* unpack_group of unpack.h with lanes. */
ALWAYS_INLINE void unpack_lanes(const struct matrix *matrix, uint64_t row, size_t group,
                                size_t size, float *out)
{
    uint32_t bits = matrix->quantisation.bits;
    const uint8_t *bytes = matrix->weight + row * matrix->weight_stride + group * size * bits / 8;
    size_t left = (size_t)matrix->columns - group * size;
    if (matrix->quantisation.format == WEIGHT_AFFINE && bits == 4)
        unpack_4_bits(bytes, size, out);
    else if (matrix->quantisation.format == WEIGHT_AFFINE && bits == 8)
        unpack_8_bits(bytes, size, out);
    else if (matrix->quantisation.group == 0 && left >= size)
        lanes_numbers(dense_type(matrix->quantisation.format), bytes, size, out);
    else
        unpack_group(matrix, row, group, out);
}

/* Scales at [row][groups]; ones for dense rows, so that one formula serves both. */
static void load_scales(const struct matrix *matrix, size_t row, size_t rows, size_t groups,
                        float *scales, float *biases)
{
    for (size_t r = 0; r < rows; r++) {
        if (matrix_has_biases(matrix)) {
            lanes_numbers(matrix->scale_type, matrix->scales + (row + r) * matrix->scale_stride,
                          groups, scales + r * groups);
            lanes_numbers(matrix->scale_type, matrix->biases + (row + r) * matrix->bias_stride,
                          groups, biases + r * groups);
            continue;
        }
        unpack_scales(matrix, row + r, 0, groups, scales + r * groups, biases + r * groups);
    }
}

/* One group of `rows` rows against `tokens` tokens, added to `total[row][token]`. */
ALWAYS_INLINE void add_group(const float *codes, size_t code_stride, const float *x,
                             size_t x_stride, size_t size, const float *scales, size_t groups,
                             size_t rows, size_t tokens, __m256 (*total)[2])
{
    __m256 part[ROWS][2];
    for (size_t r = 0; r < rows; r++)
        for (size_t t = 0; t < tokens; t++)
            part[r][t] = _mm256_setzero_ps();
    for (size_t i = 0; i < size; i += 8) {
        for (size_t t = 0; t < tokens; t++) {
            __m256 value = _mm256_loadu_ps(x + t * x_stride + i);
            for (size_t r = 0; r < rows; r++)
                part[r][t] = _mm256_fmadd_ps(_mm256_loadu_ps(codes + r * code_stride + i), value,
                                             part[r][t]);
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t t = 0; t < tokens; t++)
            total[r][t] = _mm256_fmadd_ps(part[r][t], _mm256_broadcast_ss(scales + r * groups),
                                          total[r][t]);
}

struct tile {
    const struct matrix *matrix;
    const struct activations *inputs;
    size_t groups;
    size_t size;
    const float *scales; /* [row][groups] */
    const float *biases;
    float *out;
    size_t out_stride;
};

ALWAYS_INLINE void finish(const struct tile *tile, size_t row, size_t token, size_t rows,
                          size_t tokens, __m256 (*total)[2])
{
    size_t blocks = tile->inputs->stride / 32;
    const float *sums = tile->inputs->sums[group_index(tile->size)];
    bool has_biases = matrix_has_biases(tile->matrix);
    for (size_t r = 0; r < rows; r++) {
        for (size_t t = 0; t < tokens; t++) {
            float value = lanes_sum(total[r][t]);
            if (has_biases)
                value += lanes_bias(tile->biases + r * tile->groups, sums + (token + t) * blocks,
                                    tile->groups);
            tile->out[(token + t) * tile->out_stride + row + r] = value;
        }
    }
}

/* Few tokens: each group of the rows is unpacked to the stack and used at once. */
ALWAYS_INLINE void few_tokens(const struct tile *tile, size_t row, size_t count, size_t rows)
{
    float codes[ROWS * GROUP_MAX];
    for (size_t t = 0; t < count; t++) {
        const float *x = tile->inputs->values + t * tile->inputs->stride;
        __m256 total[ROWS][2];
        for (size_t r = 0; r < rows; r++)
            total[r][0] = _mm256_setzero_ps();
        for (size_t g = 0; g < tile->groups; g++) {
            for (size_t r = 0; r < rows; r++)
                unpack_lanes(tile->matrix, row + r, g, tile->size, codes + r * GROUP_MAX);
            add_group(codes, GROUP_MAX, x + g * tile->size, 0, tile->size, tile->scales + g,
                      tile->groups, rows, 1, total);
        }
        finish(tile, row, t, rows, 1, total);
    }
}

/* Many tokens: the rows were unpacked whole to `codes`. */
ALWAYS_INLINE void many_tokens(const struct tile *tile, const float *codes, size_t row,
                               size_t token, size_t rows, size_t tokens)
{
    size_t stride = tile->groups * tile->size;
    const float *x = tile->inputs->values + token * tile->inputs->stride;
    __m256 total[ROWS][2];
    for (size_t r = 0; r < rows; r++)
        for (size_t t = 0; t < tokens; t++)
            total[r][t] = _mm256_setzero_ps();
    for (size_t g = 0; g < tile->groups; g++)
        add_group(codes + g * tile->size, stride, x + g * tile->size, tile->inputs->stride,
                  tile->size, tile->scales + g, tile->groups, rows, tokens, total);
    finish(tile, row, token, rows, tokens, total);
}

ALWAYS_INLINE void rows_of(const struct tile *tile, float *codes, size_t row, size_t count,
                           size_t rows)
{
    if (count <= FEW_TOKENS) {
        few_tokens(tile, row, count, rows);
        return;
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t g = 0; g < tile->groups; g++)
            unpack_lanes(tile->matrix, row + r, g, tile->size,
                         codes + (r * tile->groups + g) * tile->size);
    size_t token = 0;
    for (; token + 2 <= count; token += 2)
        many_tokens(tile, codes, row, token, rows, 2);
    if (token < count)
        many_tokens(tile, codes, row, token, rows, 1);
}

void avx2_matmul(const struct matrix *matrix, const struct activations *inputs, size_t count,
                 size_t row_first, size_t row_end, float *out, size_t out_stride, float *scratch)
{
    size_t size = matrix_group(matrix);
    size_t groups = matrix_groups(matrix);
    float *codes = scratch;
    float *scales = codes + ROWS * groups * size;
    float *biases = scales + ROWS * groups;
    struct tile tile = {matrix, inputs, groups, size, scales, biases, out, out_stride};
    size_t row = row_first;
    for (; row + ROWS <= row_end; row += ROWS) {
        load_scales(matrix, row, ROWS, groups, scales, biases);
        rows_of(&tile, codes, row, count, ROWS);
    }
    for (; row < row_end; row++) {
        load_scales(matrix, row, 1, groups, scales, biases);
        rows_of(&tile, codes, row, count, 1);
    }
}
