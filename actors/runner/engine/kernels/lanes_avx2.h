/* SPDX-License-Identifier: Apache-2.0 */
/* lanes_avx2: lanes.h in AVX2, FMA and F16C. */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_LANES_AVX2_H
#define TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_LANES_AVX2_H

#include <immintrin.h>

typedef __m256 lanes;

ALWAYS_INLINE lanes lanes_all(float x)
{
    return _mm256_set1_ps(x);
}

ALWAYS_INLINE lanes lanes_load(const float *x)
{
    return _mm256_loadu_ps(x);
}

ALWAYS_INLINE void lanes_store(float *out, lanes x)
{
    _mm256_storeu_ps(out, x);
}

ALWAYS_INLINE lanes lanes_add(lanes a, lanes b)
{
    return _mm256_add_ps(a, b);
}

ALWAYS_INLINE lanes lanes_sub(lanes a, lanes b)
{
    return _mm256_sub_ps(a, b);
}

ALWAYS_INLINE lanes lanes_mul(lanes a, lanes b)
{
    return _mm256_mul_ps(a, b);
}

ALWAYS_INLINE lanes lanes_div(lanes a, lanes b)
{
    return _mm256_div_ps(a, b);
}

ALWAYS_INLINE lanes lanes_max(lanes a, lanes b)
{
    return _mm256_max_ps(a, b);
}

ALWAYS_INLINE lanes lanes_min(lanes a, lanes b)
{
    return _mm256_min_ps(a, b);
}

/* a * b + c */
ALWAYS_INLINE lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* c - a * b */
ALWAYS_INLINE lanes lanes_fnma(lanes a, lanes b, lanes c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

ALWAYS_INLINE lanes lanes_abs(lanes x)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

/* All bits of the lanes where a >= b. */
ALWAYS_INLINE lanes lanes_not_below(lanes a, lanes b)
{
    return _mm256_cmp_ps(a, b, _CMP_GE_OQ);
}

/* x where all bits are set, else 0. */
ALWAYS_INLINE lanes lanes_where(lanes mask, lanes x)
{
    return _mm256_and_ps(mask, x);
}

/* To the nearest whole number, halves to even. */
ALWAYS_INLINE lanes lanes_round(lanes x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* 2^n of whole numbers from -126 to 127. */
ALWAYS_INLINE lanes lanes_power_of_2(lanes n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(
        _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}

ALWAYS_INLINE float lanes_first(lanes x)
{
    return _mm256_cvtss_f32(x);
}

/* Sums of the lanes of each of four: neighbours, then pairs, then the halves. */
ALWAYS_INLINE void lanes_sum_4(lanes a, lanes b, lanes c, lanes d, float *out)
{
    __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
}

ALWAYS_INLINE float lanes_sum(lanes x)
{
    __m256 sums = _mm256_hadd_ps(x, x);
    sums = _mm256_hadd_ps(sums, sums);
    return _mm_cvtss_f32(
        _mm_add_ss(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
}

ALWAYS_INLINE float lanes_largest(lanes v)
{
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_shuffle_ps(half, half, 1)));
}

ALWAYS_INLINE lanes lanes_bf16(const uint8_t *bytes)
{
    __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)bytes);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

ALWAYS_INLINE lanes lanes_half(const uint8_t *bytes)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)bytes));
}

/* Eight signed bytes. */
ALWAYS_INLINE lanes lanes_signed(const uint8_t *bytes)
{
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)bytes)));
}

/* bf16 in the upper halves: to nearest even; what is no number stays none. */
ALWAYS_INLINE __m256i lanes_rounded(lanes x)
{
    __m256i bits = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i sum = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i none = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(sum, _mm256_or_si256(bits, _mm256_set1_epi32(0x400000)), none);
}

/* Sixteen numbers of the cache. */
ALWAYS_INLINE void lanes_store_bf16(uint16_t *out, lanes first, lanes rest)
{
    __m256i low = _mm256_srli_epi32(lanes_rounded(first), 16);
    __m256i high = _mm256_and_si256(lanes_rounded(rest), _mm256_set1_epi32((int)0xffff0000));
    _mm256_storeu_si256((__m256i *)(void *)out, _mm256_or_si256(low, high));
}

ALWAYS_INLINE void lanes_cached_bf16(const uint8_t *bytes, lanes *out)
{
    __m256i words = _mm256_loadu_si256((const __m256i *)(const void *)bytes);
    out[0] = _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
    out[1] = _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32((int)0xffff0000)));
}

/* Whole numbers in [-127, 127], four times eight of them, as bytes; returns their sum. */
ALWAYS_INLINE int32_t lanes_store_bytes(int8_t *out, const lanes *x)
{
    __m256i parts[4];
    __m256i sum = _mm256_setzero_si256();
    for (size_t i = 0; i < 4; i++) {
        parts[i] = _mm256_cvtps_epi32(x[i]);
        sum = _mm256_add_epi32(sum, parts[i]);
    }
    __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(parts[0], parts[1]),
                                        _mm256_packs_epi32(parts[2], parts[3]));
    packed = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)out, packed);
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}

/* 64 bytes: first those at even places, then those at odd ones. */
ALWAYS_INLINE void lanes_split_64(const int8_t *bytes, int8_t *out)
{
    const __m256i order = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15,
                                           0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    __m256i half[2];
    for (size_t i = 0; i < 2; i++) {
        __m256i some = _mm256_loadu_si256((const __m256i *)(const void *)(bytes + 32 * i));
        half[i] = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(some, order), 0xd8);
    }
    _mm256_storeu_si256((__m256i *)(void *)out, _mm256_permute2x128_si256(half[0], half[1], 0x20));
    _mm256_storeu_si256((__m256i *)(void *)(out + 32),
                        _mm256_permute2x128_si256(half[0], half[1], 0x31));
}

/* Eight scales of E8M0. */
ALWAYS_INLINE lanes lanes_e8m0(const uint8_t *bytes)
{
    __m256i codes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)bytes));
    return _mm256_castsi256_ps(
        _mm256_max_epi32(_mm256_slli_epi32(codes, 23), _mm256_set1_epi32(0x00400000)));
}

/* Rows become columns. */
ALWAYS_INLINE void lanes_transpose(lanes *x)
{
    __m256 pairs[8];
    __m256 fours[8];
    for (size_t i = 0; i < 4; i++) {
        pairs[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
    }
    for (size_t i = 0; i < 2; i++) {
        const __m256 *p = pairs + 4 * i;
        fours[4 * i] = _mm256_shuffle_ps(p[0], p[2], 0x44);
        fours[4 * i + 1] = _mm256_shuffle_ps(p[0], p[2], 0xee);
        fours[4 * i + 2] = _mm256_shuffle_ps(p[1], p[3], 0x44);
        fours[4 * i + 3] = _mm256_shuffle_ps(p[1], p[3], 0xee);
    }
    for (size_t i = 0; i < 4; i++) {
        x[i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x20);
        x[4 + i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x31);
    }
}

/* --- codes as floats --- */

/* Where the codes of 3, 5 and 6 bits (2 too) lie in eight bytes read for eight of them. */
struct lanes_unpack {
    __m256i order[4]; /* of the first, second, ... eight of 32 */
    __m256i shift;
    __m256i mask;
};

ALWAYS_INLINE struct lanes_unpack lanes_unpack_of(uint32_t bits)
{
    struct lanes_unpack unpack;
    uint8_t order[4][32];
    int32_t shift[8];
    for (uint32_t j = 0; j < 8; j++)
        shift[j] = (int32_t)(j * bits % 8);
    for (uint32_t k = 0; k < 4; k++) {
        uint32_t from = k * bits < 4 * bits - 8 ? 0 : k * bits - (4 * bits - 8);
        for (uint32_t j = 0; j < 8; j++) {
            uint32_t first = from + j * bits / 8;
            order[k][4 * j] = (uint8_t)first;
            order[k][4 * j + 1] = (uint8_t)(first + 1 < 8 ? first + 1 : 0x80);
            order[k][4 * j + 2] = order[k][4 * j + 3] = 0x80;
        }
        unpack.order[k] = _mm256_loadu_si256((const __m256i *)(const void *)order[k]);
    }
    unpack.shift = _mm256_loadu_si256((const __m256i *)(const void *)shift);
    unpack.mask = _mm256_set1_epi32(bits < 8 ? (1 << bits) - 1 : 0xff);
    return unpack;
}

/* Eight codes of four bits, one a lane. */
ALWAYS_INLINE __m256i lanes_nibbles(const uint8_t *bytes)
{
    int32_t word;
    memcpy(&word, bytes, sizeof word);
    return _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32(word),
                                              _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28)),
                            _mm256_set1_epi32(15));
}

ALWAYS_INLINE lanes lanes_e2m1(__m256i codes)
{
    const __m256 sizes = _mm256_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f);
    __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(codes, 3), 31);
    return _mm256_xor_ps(_mm256_permutevar8x32_ps(sizes, codes), _mm256_castsi256_ps(sign));
}

ALWAYS_INLINE lanes lanes_e4m3(const uint8_t *bytes)
{
    __m256i codes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)bytes));
    __m256i rest = _mm256_and_si256(codes, _mm256_set1_epi32(0x7f));
    __m256i sign = _mm256_slli_epi32(_mm256_xor_si256(codes, rest), 24);
    /* The bits as a float are 2^-120 of the number, below the normal range too. */
    __m256 size = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(rest, 20)),
                                _mm256_set1_ps(0x1p120f));
    __m256i none = _mm256_cmpeq_epi32(rest, _mm256_set1_epi32(0x7f));
    none = _mm256_and_si256(none, _mm256_set1_epi32(0x7fc00000));
    return _mm256_or_ps(size, _mm256_castsi256_ps(_mm256_or_si256(none, sign)));
}

/* `eights` times eight codes or dense values, before their scale: four, or two of E2M1. */
ALWAYS_INLINE void lanes_weights(const struct lanes_unpack *unpack, enum lanes_kind kind,
                                 const uint8_t *bytes, uint32_t eights, lanes *out)
{
    uint32_t bits = lanes_kind_bits(kind);
    for (uint32_t k = 0; k < eights; k++) {
        const uint8_t *from = bytes + k * bits;
        if (kind == LANES_F32) {
            out[k] = _mm256_loadu_ps((const float *)(const void *)from);
        } else if (kind == LANES_BF16) {
            out[k] = lanes_bf16(from);
        } else if (kind == LANES_F16) {
            out[k] = lanes_half(from);
        } else if (kind == LANES_E4M3) {
            out[k] = lanes_e4m3(from);
        } else if (kind == LANES_E2M1) {
            out[k] = lanes_e2m1(lanes_nibbles(from));
        } else if (kind == LANES_CODES_8) {
            out[k] = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(
                _mm_loadl_epi64((const __m128i *)(const void *)from)));
        } else if (kind == LANES_CODES_4) {
            out[k] = _mm256_cvtepi32_ps(lanes_nibbles(from));
        } else {
            uint32_t last = 4 * bits - 8;
            int64_t word;
            memcpy(&word, bytes + (k * bits < last ? k * bits : last), sizeof word);
            __m256i codes = _mm256_shuffle_epi8(_mm256_set1_epi64x(word), unpack->order[k]);
            codes = _mm256_and_si256(_mm256_srlv_epi32(codes, unpack->shift), unpack->mask);
            out[k] = _mm256_cvtepi32_ps(codes);
        }
    }
}

#endif
