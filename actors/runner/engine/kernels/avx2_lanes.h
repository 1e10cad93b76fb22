/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_lanes: small pieces shared by the AVX2 kernels; included only by files built for AVX2. */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_AVX2_LANES_H
#define TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_AVX2_LANES_H

#include "actors/runner/engine/kernels/unpack.h"

#include <immintrin.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Adds the lanes in one fixed order. */
ALWAYS_INLINE float lanes_sum(__m256 v)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
}

ALWAYS_INLINE float lanes_max(__m256 v)
{
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_shuffle_ps(half, half, 1)));
}

/* exp(x) by 2^n * p(r), r in [-ln2/2, ln2/2]; relative error below 2e-7 over the range of floats,
 * below which it is 0 and above which it is about the largest float. */
ALWAYS_INLINE __m256 lanes_exp(__m256 x)
{
    const __m256 high = _mm256_set1_ps(88.0f);
    const __m256 low = _mm256_set1_ps(-87.0f);
    __m256 inside = _mm256_cmp_ps(x, low, _CMP_GE_OQ);
    x = _mm256_max_ps(_mm256_min_ps(x, high), low);
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    /* Taylor up to r^7 / 5040: the remainder is below 3e-9 for |r| <= 0.35. */
    __m256 p = _mm256_set1_ps(1.0f / 5040.0f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i exponent = _mm256_slli_epi32(
        _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_and_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(exponent)), inside);
}

ALWAYS_INLINE __m256 lanes_bf16(const uint8_t *bytes)
{
    __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)bytes);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

ALWAYS_INLINE __m256 lanes_half(const uint8_t *bytes)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)bytes));
}

/* Numbers of a type as floats. */
ALWAYS_INLINE void lanes_numbers(enum tensor_type type, const uint8_t *bytes, size_t count,
                                 float *out)
{
    size_t i = 0;
    if (type == TENSOR_BF16) {
        for (; i + 8 <= count; i += 8)
            _mm256_storeu_ps(out + i, lanes_bf16(bytes + 2 * i));
    } else if (type == TENSOR_F16) {
        for (; i + 8 <= count; i += 8)
            _mm256_storeu_ps(out + i, lanes_half(bytes + 2 * i));
    }
    unpack_numbers(type, bytes + i * tensor_type_size(type), count - i, out + i);
}

/* Biases times the sums of their groups, for one row and one token. */
ALWAYS_INLINE float lanes_bias(const float *biases, const float *sums, size_t groups)
{
    __m256 total = _mm256_setzero_ps();
    size_t g = 0;
    for (; g + 8 <= groups; g += 8)
        total = _mm256_fmadd_ps(_mm256_loadu_ps(biases + g), _mm256_loadu_ps(sums + g), total);
    float rest = 0.0f;
    for (; g < groups; g++)
        rest += biases[g] * sums[g];
    return lanes_sum(total) + rest;
}

#endif
