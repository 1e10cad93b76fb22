/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of packed 4 and 8 bit weights with 8-bit activations, AVX2.
 *
 * The integer part is exact: 4-bit codes are unsigned, so a pair of products is at most
 * 2 * 15 * 127 and the sum of two pairs fits 16 bits; 8-bit codes are moved to [-128, 127] (their
 * bias grows by 128 scales), and |code| * |x| summed in pairs is at most 2 * 128 * 127 = 32,512.
 * Each block of 32 is then scaled by its activation's scale and its group's scale and added in
 * fp32, blocks in order.
 */
#include "actors/runner/engine/kernels/avx2.h"
#include "actors/runner/engine/kernels/avx2_lanes.h"

#define ROWS 4u

struct tile {
    const uint8_t *weight[ROWS];
    const float *scales; /* [row][groups] */
    const float *biases;
    size_t groups;
    size_t size;
    const int8_t *x; /* of the first token, in the layout of the width */
    size_t x_stride;
    const float *x_scales;
    const float *x_sums;
    size_t x_blocks;
};

ALWAYS_INLINE __m256i load_bytes(const void *bytes)
{
    return _mm256_loadu_si256((const __m256i *)bytes);
}

ALWAYS_INLINE __m256 to_floats(__m256i pairs)
{
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* 64 codes of 4 bits: bytes hold an even element low and the odd one after it high. */
ALWAYS_INLINE void block_4(const struct tile *tile, size_t block, size_t group, size_t rows,
                           size_t tokens, __m256 (*total)[2])
{
    const __m256i mask = _mm256_set1_epi8(0x0f);
    __m256i even[ROWS];
    __m256i odd[ROWS];
    for (size_t r = 0; r < rows; r++) {
        __m256i packed = load_bytes(tile->weight[r] + block * 32);
        even[r] = _mm256_and_si256(packed, mask);
        odd[r] = _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask);
    }
    for (size_t t = 0; t < tokens; t++) {
        const int8_t *x = tile->x + t * tile->x_stride + block * 64;
        const float *scales = tile->x_scales + t * tile->x_blocks + block * 2;
        __m256i x_even = load_bytes(x);
        __m256i x_odd = load_bytes(x + 32);
        __m256 x_scale = _mm256_set_m128(_mm_broadcast_ss(scales + 1), _mm_broadcast_ss(scales));
        for (size_t r = 0; r < rows; r++) {
            __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(even[r], x_even),
                                             _mm256_maddubs_epi16(odd[r], x_odd));
            __m256 scale = _mm256_mul_ps(
                x_scale, _mm256_broadcast_ss(tile->scales + r * tile->groups + group));
            total[r][t] = _mm256_fmadd_ps(to_floats(pairs), scale, total[r][t]);
        }
    }
}

/* 32 codes of 4 bits, for groups of 32: even elements in the lower half, odd in the upper. */
ALWAYS_INLINE void block_4_of_32(const struct tile *tile, size_t block, size_t rows,
                                 size_t tokens, __m256 (*total)[2])
{
    const __m256i mask = _mm256_set1_epi8(0x0f);
    for (size_t r = 0; r < rows; r++) {
        __m128i packed = _mm_loadu_si128(
            (const __m128i *)(const void *)(tile->weight[r] + block * 16));
        __m256i codes = _mm256_and_si256(
            _mm256_set_m128i(_mm_srli_epi16(packed, 4), packed), mask);
        for (size_t t = 0; t < tokens; t++) {
            __m256i pairs = _mm256_maddubs_epi16(
                codes, load_bytes(tile->x + t * tile->x_stride + block * 32));
            __m256 scale = _mm256_mul_ps(
                _mm256_broadcast_ss(tile->x_scales + t * tile->x_blocks + block),
                _mm256_broadcast_ss(tile->scales + r * tile->groups + block));
            total[r][t] = _mm256_fmadd_ps(to_floats(pairs), scale, total[r][t]);
        }
    }
}

/* 32 codes of 8 bits. */
ALWAYS_INLINE void block_8(const struct tile *tile, size_t block, size_t group, size_t rows,
                           size_t tokens, __m256 (*total)[2])
{
    const __m256i middle = _mm256_set1_epi8((char)0x80);
    for (size_t r = 0; r < rows; r++) {
        __m256i codes = _mm256_xor_si256(load_bytes(tile->weight[r] + block * 32), middle);
        __m256i sizes = _mm256_abs_epi8(codes);
        for (size_t t = 0; t < tokens; t++) {
            __m256i x = load_bytes(tile->x + t * tile->x_stride + block * 32);
            __m256i pairs = _mm256_maddubs_epi16(sizes, _mm256_sign_epi8(x, codes));
            __m256 scale = _mm256_mul_ps(
                _mm256_broadcast_ss(tile->x_scales + t * tile->x_blocks + block),
                _mm256_broadcast_ss(tile->scales + r * tile->groups + group));
            total[r][t] = _mm256_fmadd_ps(to_floats(pairs), scale, total[r][t]);
        }
    }
}

ALWAYS_INLINE void multiply(const struct tile *tile, uint32_t bits, size_t rows, size_t tokens,
                            float *out, size_t out_stride)
{
    __m256 total[ROWS][2];
    for (size_t r = 0; r < rows; r++)
        for (size_t t = 0; t < tokens; t++)
            total[r][t] = _mm256_setzero_ps();
    size_t step = bits == 4 && tile->size > 32 ? 64 : 32;
    size_t per_group = tile->size / step;
    for (size_t g = 0, block = 0; g < tile->groups; g++) {
        for (size_t end = block + per_group; block < end; block++) {
            if (bits == 8)
                block_8(tile, block, g, rows, tokens, total);
            else if (step == 64)
                block_4(tile, block, g, rows, tokens, total);
            else
                block_4_of_32(tile, block, rows, tokens, total);
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t t = 0; t < tokens; t++)
            out[t * out_stride + r] =
                lanes_sum(total[r][t]) + lanes_bias(tile->biases + r * tile->groups,
                                                    tile->x_sums + t * tile->x_blocks,
                                                    tile->groups);
}

static void load_tile(const struct matrix *matrix, size_t row, size_t rows, size_t groups,
                      float *scales, struct tile *tile)
{
    float *biases = scales + ROWS * groups;
    for (size_t r = 0; r < rows; r++) {
        tile->weight[r] = matrix->weight + (row + r) * matrix->weight_stride;
        lanes_numbers(matrix->scale_type, matrix->scales + (row + r) * matrix->scale_stride,
                      groups, scales + r * groups);
        lanes_numbers(matrix->scale_type, matrix->biases + (row + r) * matrix->bias_stride,
                      groups, biases + r * groups);
        if (matrix->quantisation.bits == 8) {
            for (size_t g = 0; g < groups; g++)
                biases[r * groups + g] += 128.0f * scales[r * groups + g];
        }
    }
    tile->scales = scales;
    tile->biases = biases;
}

ALWAYS_INLINE void rows_of(struct tile *tile, const struct matrix *matrix,
                           const struct activations *inputs, size_t count, size_t rows,
                           float *out, size_t out_stride)
{
    uint32_t bits = matrix->quantisation.bits;
    const int8_t *layout = bits == 8 ? inputs->bytes : tile->size == 32 ? inputs->split32
                                                                        : inputs->split;
    size_t token = 0;
    while (token < count) {
        tile->x = layout + token * inputs->stride;
        tile->x_scales = inputs->scales + token * tile->x_blocks;
        tile->x_sums = inputs->byte_sums[group_index(tile->size)] + token * tile->x_blocks;
        float *to = out + token * out_stride;
        if (token + 2 <= count) {
            if (bits == 8)
                multiply(tile, 8, rows, 2, to, out_stride);
            else
                multiply(tile, 4, rows, 2, to, out_stride);
            token += 2;
        } else {
            if (bits == 8)
                multiply(tile, 8, rows, 1, to, out_stride);
            else
                multiply(tile, 4, rows, 1, to, out_stride);
            token++;
        }
    }
}

bool avx2_has_bytes(const struct matrix *matrix)
{
    return matrix->quantisation.format == WEIGHT_AFFINE &&
           (matrix->quantisation.bits == 4 || matrix->quantisation.bits == 8);
}

void avx2_matmul_bytes(const struct matrix *matrix, const struct activations *inputs,
                       size_t count, size_t row_first, size_t row_end, float *out,
                       size_t out_stride, float *scratch)
{
    size_t groups = matrix_groups(matrix);
    struct tile tile = {.groups = groups,
                        .size = matrix_group(matrix),
                        .x_stride = inputs->stride,
                        .x_blocks = inputs->stride / 32};
    size_t row = row_first;
    for (; row + ROWS <= row_end; row += ROWS) {
        load_tile(matrix, row, ROWS, groups, scratch, &tile);
        rows_of(&tile, matrix, inputs, count, ROWS, out + row, out_stride);
    }
    for (; row < row_end; row++) {
        load_tile(matrix, row, 1, groups, scratch, &tile);
        rows_of(&tile, matrix, inputs, count, 1, out + row, out_stride);
    }
}

static void quantise_block(const float *x, int8_t *bytes, float *scale_out, float *sum_out)
{
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 largest = _mm256_setzero_ps();
    for (size_t i = 0; i < 32; i += 8)
        largest = _mm256_max_ps(largest, _mm256_and_ps(_mm256_loadu_ps(x + i), magnitude));
    float most = lanes_max(largest);
    float scale = most / 127.0f;
    __m256 inverse = _mm256_set1_ps(most > 0.0f ? 127.0f / most : 0.0f);
    __m256i parts[4];
    __m256i sum = _mm256_setzero_si256();
    for (size_t i = 0; i < 4; i++) {
        parts[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inverse));
        sum = _mm256_add_epi32(sum, parts[i]);
    }
    __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(parts[0], parts[1]),
                                        _mm256_packs_epi32(parts[2], parts[3]));
    packed = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)bytes, packed);
    int32_t lanes[8];
    _mm256_storeu_si256((__m256i *)(void *)lanes, sum);
    int32_t total = 0;
    for (size_t i = 0; i < 8; i++)
        total += lanes[i];
    *scale_out = scale;
    *sum_out = scale * (float)total;
}

/* 32 bytes: even elements to the lower half, odd ones to the upper. */
ALWAYS_INLINE __m256i split_32(__m256i bytes)
{
    const __m256i order = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15,
                                           0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(bytes, order), 0xd8);
}

static void split_row(const int8_t *bytes, size_t count, int8_t *split, int8_t *split32)
{
    for (size_t i = 0; i < count; i += 64) {
        __m256i low = split_32(load_bytes(bytes + i));
        __m256i high = split_32(load_bytes(bytes + i + 32));
        _mm256_storeu_si256((__m256i *)(void *)(split32 + i), low);
        _mm256_storeu_si256((__m256i *)(void *)(split32 + i + 32), high);
        _mm256_storeu_si256((__m256i *)(void *)(split + i),
                            _mm256_permute2x128_si256(low, high, 0x20));
        _mm256_storeu_si256((__m256i *)(void *)(split + i + 32),
                            _mm256_permute2x128_si256(low, high, 0x31));
    }
}

static void fold(float *const *sums, size_t row, size_t blocks)
{
    const float *of32 = sums[0] + row * blocks;
    float *of64 = sums[1] + row * blocks;
    float *of128 = sums[2] + row * blocks;
    for (size_t i = 0; i + 1 < blocks; i += 2)
        of64[i / 2] = of32[i] + of32[i + 1];
    for (size_t i = 0; i + 1 < blocks / 2; i += 2)
        of128[i / 2] = of64[i] + of64[i + 1];
}

void avx2_prepare(struct activations *a, size_t row, unsigned needs)
{
    size_t blocks = a->stride / 32;
    const float *x = a->values + row * a->stride;
    if (needs & ACTIVATION_SUMS) {
        for (size_t i = 0; i < blocks; i++) {
            __m256 sum = _mm256_loadu_ps(x + 32 * i);
            for (size_t k = 8; k < 32; k += 8)
                sum = _mm256_add_ps(sum, _mm256_loadu_ps(x + 32 * i + k));
            a->sums[0][row * blocks + i] = lanes_sum(sum);
        }
        fold(a->sums, row, blocks);
    }
    if (needs & ACTIVATION_BYTES) {
        int8_t *bytes = a->bytes + row * a->stride;
        for (size_t i = 0; i < blocks; i++)
            quantise_block(x + 32 * i, bytes + 32 * i, &a->scales[row * blocks + i],
                           &a->byte_sums[0][row * blocks + i]);
        fold(a->byte_sums, row, blocks);
        split_row(bytes, a->stride, a->split + row * a->stride, a->split32 + row * a->stride);
    }
}
