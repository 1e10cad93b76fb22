/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lanes: eight floats at once, the words the kernels written once for AVX2 and NEON are made of.
 *
 * Included only by files built for one of them.  Every operation rounds once and sums have one
 * tree, so both give the same bits.  KERNEL_SET, from the build, begins the names of a set.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_LANES_H
#define TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_LANES_H

#include "actors/runner/engine/kernels/unpack.h"

#define LANES 8u
#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define KERNEL_PASTE_NOW(set, name) set##_##name
#define KERNEL_PASTE(set, name) KERNEL_PASTE_NOW(set, name)
#define KERNEL_NAME(name) KERNEL_PASTE(KERNEL_SET, name)

/* How weights lie, so that loops over them are compiled for each. */
enum lanes_kind {
    LANES_CODES_2,
    LANES_CODES_3,
    LANES_CODES_4,
    LANES_CODES_5,
    LANES_CODES_6,
    LANES_CODES_8,
    LANES_E2M1,
    LANES_E4M3,
    LANES_BF16,
    LANES_F16,
    LANES_F32,
};

ALWAYS_INLINE uint32_t lanes_kind_bits(enum lanes_kind kind)
{
    const uint32_t bits[] = {2, 3, 4, 5, 6, 8, 4, 8, 16, 16, 32};
    return bits[kind];
}

static inline enum lanes_kind lanes_kind_of(const struct quantisation *q)
{
    switch (q->format) {
    case WEIGHT_BF16:
        return LANES_BF16;
    case WEIGHT_F16:
        return LANES_F16;
    case WEIGHT_F32:
        return LANES_F32;
    case WEIGHT_MXFP4:
    case WEIGHT_NVFP4:
        return LANES_E2M1;
    case WEIGHT_MXFP8:
        return LANES_E4M3;
    case WEIGHT_AFFINE:
        break;
    }
    return q->bits == 8   ? LANES_CODES_8
           : q->bits == 6 ? LANES_CODES_6
                          : (enum lanes_kind)(LANES_CODES_2 + (q->bits - 2));
}

#if defined(__AVX2__)
#include "actors/runner/engine/kernels/lanes_avx2.h"
#else
#include "actors/runner/engine/kernels/lanes_neon.h"
#endif

/* exp(x) by 2^n * p(r), r in [-ln2/2, ln2/2]; relative error below 2e-7 over the range of floats,
 * below which it is 0 and above which it is about the largest float. */
ALWAYS_INLINE lanes lanes_exp(lanes x)
{
    lanes inside = lanes_not_below(x, lanes_all(-87.0f));
    x = lanes_max(lanes_min(x, lanes_all(88.0f)), lanes_all(-87.0f));
    lanes n = lanes_round(lanes_mul(x, lanes_all(1.44269504f)));
    lanes r = lanes_fnma(n, lanes_all(0.693359375f), x);
    r = lanes_fnma(n, lanes_all(-2.12194440e-4f), r);
    /* Taylor up to r^7 / 5040: the remainder is below 3e-9 for |r| <= 0.35. */
    lanes p = lanes_all(1.0f / 5040.0f);
    p = lanes_fma(p, r, lanes_all(1.0f / 720.0f));
    p = lanes_fma(p, r, lanes_all(1.0f / 120.0f));
    p = lanes_fma(p, r, lanes_all(1.0f / 24.0f));
    p = lanes_fma(p, r, lanes_all(1.0f / 6.0f));
    p = lanes_fma(p, r, lanes_all(0.5f));
    p = lanes_fma(p, r, lanes_all(1.0f));
    p = lanes_fma(p, r, lanes_all(1.0f));
    return lanes_where(inside, lanes_mul(p, lanes_power_of_2(n)));
}

/* The same for one number. */
ALWAYS_INLINE float lanes_exp_one(float x)
{
    return lanes_first(lanes_exp(lanes_all(x)));
}

/* Numbers of a type as floats. */
ALWAYS_INLINE void lanes_numbers(enum tensor_type type, const uint8_t *bytes, size_t count,
                                 float *out)
{
    size_t i = 0;
    if (type == TENSOR_BF16) {
        for (; i + LANES <= count; i += LANES)
            lanes_store(out + i, lanes_bf16(bytes + 2 * i));
    } else if (type == TENSOR_F16) {
        for (; i + LANES <= count; i += LANES)
            lanes_store(out + i, lanes_half(bytes + 2 * i));
    }
    unpack_numbers(type, bytes + i * tensor_type_size(type), count - i, out + i);
}

/* The members of a set that are written with lanes. */
void KERNEL_NAME(rms_norm)(const float *x, const float *weight, float epsilon, size_t count,
                           float *out);
void KERNEL_NAME(swiglu)(float *gate, const float *up, size_t count);
void KERNEL_NAME(rope)(float *head, const float *cosines, const float *sines, size_t half);
void KERNEL_NAME(delta_step)(const struct delta_step *step, float *state, float *out);
void KERNEL_NAME(to_bf16)(const float *x, size_t count, uint16_t *out);
float KERNEL_NAME(to_bytes)(const float *x, size_t count, int8_t *out);
void KERNEL_NAME(prepare)(struct activations *activations, size_t row, unsigned needs);
void KERNEL_NAME(attend)(const struct attention *attention, float *scores, float *out);
void KERNEL_NAME(attend_many)(const struct attention *attentions, size_t count, float *scores,
                              float *const *outs);
void KERNEL_NAME(matmul)(const struct matrix *matrix, const struct activations *inputs,
                         size_t count, size_t row_first, size_t row_end, float *out,
                         size_t out_stride, float *scratch);
/* Those that have a file for each instruction set. */
uint64_t KERNEL_NAME(spin)(uint64_t rounds);
void KERNEL_NAME(matmul_bytes)(const struct matrix *matrix, const struct activations *inputs,
                               size_t count, size_t row_first, size_t row_end, float *out,
                               size_t out_stride, float *scratch);

#endif
