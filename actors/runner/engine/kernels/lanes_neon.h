/* SPDX-License-Identifier: Apache-2.0 */
/* lanes_neon: lanes.h in NEON, two registers at a time. */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_LANES_NEON_H
#define TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_LANES_NEON_H

#include <arm_neon.h>

typedef float32x4x2_t lanes;

ALWAYS_INLINE lanes lanes_of(float32x4_t low, float32x4_t high)
{
    lanes both = {{low, high}};
    return both;
}

ALWAYS_INLINE lanes lanes_all(float x)
{
    return lanes_of(vdupq_n_f32(x), vdupq_n_f32(x));
}

ALWAYS_INLINE lanes lanes_load(const float *x)
{
    /* By bytes: what comes from a file may lie anywhere. */
    const uint8_t *bytes = (const uint8_t *)x;
    return lanes_of(vreinterpretq_f32_u8(vld1q_u8(bytes)),
                   vreinterpretq_f32_u8(vld1q_u8(bytes + 16)));
}

ALWAYS_INLINE void lanes_store(float *out, lanes x)
{
    vst1q_u8((uint8_t *)out, vreinterpretq_u8_f32(x.val[0]));
    vst1q_u8((uint8_t *)out + 16, vreinterpretq_u8_f32(x.val[1]));
}

#define LANES_BINARY(name, operation)                                                              \
    ALWAYS_INLINE lanes name(lanes a, lanes b)                                                     \
    {                                                                                              \
        return lanes_of(operation(a.val[0], b.val[0]),                                             \
                        operation(a.val[1], b.val[1]));                                            \
    }
LANES_BINARY(lanes_add, vaddq_f32)
LANES_BINARY(lanes_sub, vsubq_f32)
LANES_BINARY(lanes_mul, vmulq_f32)
LANES_BINARY(lanes_div, vdivq_f32)
LANES_BINARY(lanes_max, vmaxq_f32)
LANES_BINARY(lanes_min, vminq_f32)
#undef LANES_BINARY

/* a * b + c */
ALWAYS_INLINE lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return lanes_of(vfmaq_f32(c.val[0], a.val[0], b.val[0]),
                    vfmaq_f32(c.val[1], a.val[1], b.val[1]));
}

/* c - a * b */
ALWAYS_INLINE lanes lanes_fnma(lanes a, lanes b, lanes c)
{
    return lanes_of(vfmsq_f32(c.val[0], a.val[0], b.val[0]),
                    vfmsq_f32(c.val[1], a.val[1], b.val[1]));
}

ALWAYS_INLINE lanes lanes_abs(lanes x)
{
    return lanes_of(vabsq_f32(x.val[0]), vabsq_f32(x.val[1]));
}

/* All bits of the lanes where a >= b. */
ALWAYS_INLINE lanes lanes_not_below(lanes a, lanes b)
{
    return lanes_of(vreinterpretq_f32_u32(vcgeq_f32(a.val[0], b.val[0])),
                   vreinterpretq_f32_u32(vcgeq_f32(a.val[1], b.val[1])));
}

ALWAYS_INLINE float32x4_t lanes_and(float32x4_t mask, float32x4_t x)
{
    return vreinterpretq_f32_u32(
        vandq_u32(vreinterpretq_u32_f32(mask), vreinterpretq_u32_f32(x)));
}

/* x where all bits are set, else 0. */
ALWAYS_INLINE lanes lanes_where(lanes mask, lanes x)
{
    return lanes_of(lanes_and(mask.val[0], x.val[0]), lanes_and(mask.val[1], x.val[1]));
}

/* To the nearest whole number, halves to even. */
ALWAYS_INLINE lanes lanes_round(lanes x)
{
    return lanes_of(vrndnq_f32(x.val[0]), vrndnq_f32(x.val[1]));
}

ALWAYS_INLINE float32x4_t lanes_power(float32x4_t n)
{
    return vreinterpretq_f32_s32(
        vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23));
}

/* 2^n of whole numbers from -126 to 127. */
ALWAYS_INLINE lanes lanes_power_of_2(lanes n)
{
    return lanes_of(lanes_power(n.val[0]), lanes_power(n.val[1]));
}

ALWAYS_INLINE float lanes_first(lanes x)
{
    return vgetq_lane_f32(x.val[0], 0);
}

/* Sums of the lanes of each of four: neighbours, then pairs, then the halves. */
ALWAYS_INLINE void lanes_sum_4(lanes a, lanes b, lanes c, lanes d, float *out)
{
    float32x4_t low = vpaddq_f32(vpaddq_f32(a.val[0], b.val[0]), vpaddq_f32(c.val[0], d.val[0]));
    float32x4_t high = vpaddq_f32(vpaddq_f32(a.val[1], b.val[1]), vpaddq_f32(c.val[1], d.val[1]));
    vst1q_f32(out, vaddq_f32(low, high));
}

ALWAYS_INLINE float lanes_sum(lanes x)
{
    float32x4_t pairs = vpaddq_f32(x.val[0], x.val[1]);
    pairs = vpaddq_f32(pairs, pairs);
    return vgetq_lane_f32(pairs, 0) + vgetq_lane_f32(pairs, 1);
}

ALWAYS_INLINE float lanes_largest(lanes v)
{
    return vmaxvq_f32(vmaxq_f32(v.val[0], v.val[1]));
}

ALWAYS_INLINE lanes lanes_bf16(const uint8_t *bytes)
{
    uint16x8_t halves = vreinterpretq_u16_u8(vld1q_u8(bytes));
    return lanes_of(vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(halves), 16)),
                   vreinterpretq_f32_u32(vshll_n_u16(vget_high_u16(halves), 16)));
}

ALWAYS_INLINE lanes lanes_half(const uint8_t *bytes)
{
    float16x8_t halves = vreinterpretq_f16_u8(vld1q_u8(bytes));
    return lanes_of(vcvt_f32_f16(vget_low_f16(halves)), vcvt_f32_f16(vget_high_f16(halves)));
}

/* Eight signed bytes. */
ALWAYS_INLINE lanes lanes_signed(const uint8_t *bytes)
{
    int16x8_t wide = vmovl_s8(vreinterpret_s8_u8(vld1_u8(bytes)));
    return lanes_of(vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))),
                    vcvtq_f32_s32(vmovl_s16(vget_high_s16(wide))));
}

/* bf16 in the upper halves: to nearest even; what is no number stays none. */
ALWAYS_INLINE uint32x4_t lanes_rounded(float32x4_t x)
{
    uint32x4_t bits = vreinterpretq_u32_f32(x);
    uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    uint32x4_t sum = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    return vbslq_u32(vceqq_f32(x, x), sum, vorrq_u32(bits, vdupq_n_u32(0x400000)));
}

/* Sixteen numbers of the cache. */
ALWAYS_INLINE void lanes_store_bf16(uint16_t *out, lanes first, lanes rest)
{
    for (size_t i = 0; i < 2; i++) {
        uint32x4_t low = vshrq_n_u32(lanes_rounded(first.val[i]), 16);
        uint32x4_t high = vandq_u32(lanes_rounded(rest.val[i]), vdupq_n_u32(0xffff0000));
        vst1q_u8((uint8_t *)(out + 8 * i), vreinterpretq_u8_u32(vorrq_u32(low, high)));
    }
}

ALWAYS_INLINE void lanes_cached_bf16(const uint8_t *bytes, lanes *out)
{
    uint32x4_t low = vreinterpretq_u32_u8(vld1q_u8(bytes));
    uint32x4_t high = vreinterpretq_u32_u8(vld1q_u8(bytes + 16));
    uint32x4_t mask = vdupq_n_u32(0xffff0000);
    out[0] = lanes_of(vreinterpretq_f32_u32(vshlq_n_u32(low, 16)),
                      vreinterpretq_f32_u32(vshlq_n_u32(high, 16)));
    out[1] = lanes_of(vreinterpretq_f32_u32(vandq_u32(low, mask)),
                      vreinterpretq_f32_u32(vandq_u32(high, mask)));
}

/* Whole numbers in [-127, 127], four times eight of them, as bytes; returns their sum. */
ALWAYS_INLINE int32_t lanes_store_bytes(int8_t *out, const lanes *x)
{
    int32x4_t sum = vdupq_n_s32(0);
    for (size_t i = 0; i < 4; i++) {
        int32x4_t low = vcvtnq_s32_f32(x[i].val[0]);
        int32x4_t high = vcvtnq_s32_f32(x[i].val[1]);
        sum = vaddq_s32(sum, vaddq_s32(low, high));
        vst1_s8(out + 8 * i, vmovn_s16(vcombine_s16(vmovn_s32(low), vmovn_s32(high))));
    }
    return vaddvq_s32(sum);
}

/* 64 bytes: first those at even places, then those at odd ones. */
ALWAYS_INLINE void lanes_split_64(const int8_t *bytes, int8_t *out)
{
    for (size_t i = 0; i < 2; i++) {
        int8x16x2_t both = vld2q_s8(bytes + 32 * i);
        vst1q_s8(out + 16 * i, both.val[0]);
        vst1q_s8(out + 32 + 16 * i, both.val[1]);
    }
}

/* Eight scales of E8M0. */
ALWAYS_INLINE lanes lanes_e8m0(const uint8_t *bytes)
{
    uint16x8_t codes = vmovl_u8(vld1_u8(bytes));
    const uint32x4_t least = vdupq_n_u32(0x00400000);
    return lanes_of(vreinterpretq_f32_u32(
                       vmaxq_u32(vshlq_n_u32(vmovl_u16(vget_low_u16(codes)), 23), least)),
                   vreinterpretq_f32_u32(
                       vmaxq_u32(vshlq_n_u32(vmovl_u16(vget_high_u16(codes)), 23), least)));
}

ALWAYS_INLINE void lanes_transpose_4(const float32x4_t *x, float32x4_t *out)
{
    float64x2_t low0 = vreinterpretq_f64_f32(vtrn1q_f32(x[0], x[1]));
    float64x2_t high0 = vreinterpretq_f64_f32(vtrn2q_f32(x[0], x[1]));
    float64x2_t low1 = vreinterpretq_f64_f32(vtrn1q_f32(x[2], x[3]));
    float64x2_t high1 = vreinterpretq_f64_f32(vtrn2q_f32(x[2], x[3]));
    out[0] = vreinterpretq_f32_f64(vtrn1q_f64(low0, low1));
    out[1] = vreinterpretq_f32_f64(vtrn1q_f64(high0, high1));
    out[2] = vreinterpretq_f32_f64(vtrn2q_f64(low0, low1));
    out[3] = vreinterpretq_f32_f64(vtrn2q_f64(high0, high1));
}

/* Rows become columns. */
ALWAYS_INLINE void lanes_transpose(lanes *x)
{
    float32x4_t parts[4][4];
    float32x4_t turned[4][4];
    for (size_t i = 0; i < 4; i++) {
        parts[0][i] = x[i].val[0];
        parts[1][i] = x[i].val[1];
        parts[2][i] = x[4 + i].val[0];
        parts[3][i] = x[4 + i].val[1];
    }
    for (size_t i = 0; i < 4; i++)
        lanes_transpose_4(parts[i], turned[i]);
    for (size_t i = 0; i < 4; i++) {
        x[i] = lanes_of(turned[0][i], turned[2][i]);
        x[4 + i] = lanes_of(turned[1][i], turned[3][i]);
    }
}

/* --- codes as floats --- */

struct lanes_unpack {
    uint32_t bits;
};

ALWAYS_INLINE struct lanes_unpack lanes_unpack_of(uint32_t bits)
{
    return (struct lanes_unpack){bits};
}

ALWAYS_INLINE lanes lanes_codes_8(uint8x8_t codes)
{
    uint16x8_t wide = vmovl_u8(codes);
    return lanes_of(vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide))),
                   vcvtq_f32_u32(vmovl_u16(vget_high_u16(wide))));
}

/* `eights` times eight codes or dense values, before their scale: four, or two of E2M1. */
ALWAYS_INLINE void lanes_weights(const struct lanes_unpack *unpack, enum lanes_kind kind,
                                 const uint8_t *bytes, uint32_t eights, lanes *out)
{
    uint32_t bits = lanes_kind_bits(kind);
    for (uint32_t k = 0; k < eights; k++) {
        const uint8_t *from = bytes + k * bits;
        float some[8];
        if (kind == LANES_F32) {
            out[k] = lanes_load((const float *)(const void *)from);
        } else if (kind == LANES_BF16) {
            out[k] = lanes_bf16(from);
        } else if (kind == LANES_F16) {
            out[k] = lanes_half(from);
        } else if (kind == LANES_CODES_8) {
            out[k] = lanes_codes_8(vld1_u8(from));
        } else if (kind == LANES_CODES_4) {
            uint32_t word;
            memcpy(&word, from, sizeof word);
            uint8x8_t packed = vcreate_u8(word);
            out[k] = lanes_codes_8(vzip1_u8(vand_u8(packed, vdup_n_u8(15)), vshr_n_u8(packed, 4)));
        } else {
            for (uint32_t i = 0; i < 8 && kind == LANES_E2M1; i++)
                some[i] = unpack_e2m1((uint32_t)(from[i / 2] >> (i % 2 * 4)));
            for (uint32_t i = 0; i < 8 && kind == LANES_E4M3; i++)
                some[i] = unpack_e4m3(from[i]);
            if (kind != LANES_E2M1 && kind != LANES_E4M3)
                unpack_codes(unpack->bits, from, 8, some);
            out[k] = lanes_load(some);
        }
    }
}

#endif
