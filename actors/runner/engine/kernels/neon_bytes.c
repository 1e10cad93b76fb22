/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of packed weights with 8-bit inputs, NEON with dot products.  One token or few: rows as
 * they lie.  Many: eight rows are unpacked to a panel in which four consecutive bytes of each row
 * lie side by side, so that four bytes of a token meet all rows at once.
 */
#include "actors/runner/engine/kernels/lanes_bytes.h"

#define TOKENS 4u
/* From here on a panel is worth its making. */
#define PANEL_TOKENS 4u

struct codes_32 {
    int8x16_t low;
    int8x16_t high;
};

/* Codes of 2, 3, 5 and 6 bits: eight of them are as many bytes as a code has bits. */
ALWAYS_INLINE struct codes_32 odd_codes(uint32_t bits, const uint8_t *bytes)
{
    int8_t codes[32];
    for (size_t i = 0; i < 32; i += 8, bytes += bits) {
        uint64_t word = 0;
        memcpy(&word, bytes, bits);
        for (size_t k = 0; k < 8; k++)
            codes[i + k] = (int8_t)(word >> (k * bits) & ((1u << bits) - 1));
    }
    return (struct codes_32){vld1q_s8(codes), vld1q_s8(codes + 16)};
}

/* The 32 codes of a block, in order. */
ALWAYS_INLINE struct codes_32 row_codes(const struct byte_tile *tile, enum lanes_kind kind,
                                        size_t r, size_t block)
{
    uint32_t bits = lanes_kind_bits(kind);
    const uint8_t *bytes = tile->weight[r] + block * 4 * bits;
    if (kind == LANES_CODES_8) {
        const uint8x16_t middle = vdupq_n_u8(0x80);
        return (struct codes_32){vreinterpretq_s8_u8(veorq_u8(vld1q_u8(bytes), middle)),
                                 vreinterpretq_s8_u8(veorq_u8(vld1q_u8(bytes + 16), middle))};
    }
    if (kind != LANES_CODES_4 && kind != LANES_E2M1)
        return odd_codes(bits, bytes);
    const int8_t doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    uint8x16_t packed = vld1q_u8(bytes);
    int8x16_t even = vreinterpretq_s8_u8(vandq_u8(packed, vdupq_n_u8(15)));
    int8x16_t odd = vreinterpretq_s8_u8(vshrq_n_u8(packed, 4));
    if (kind == LANES_E2M1) {
        even = vqtbl1q_s8(vld1q_s8(doubled), vreinterpretq_u8_s8(even));
        odd = vqtbl1q_s8(vld1q_s8(doubled), vreinterpretq_u8_s8(odd));
    }
    return (struct codes_32){vzip1q_s8(even, odd), vzip2q_s8(even, odd)};
}

/* --- one token --- */

ALWAYS_INLINE lanes rows_summed(const int32x4_t *sums)
{
    int32x4_t low = vpaddq_s32(vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3]));
    int32x4_t high = vpaddq_s32(vpaddq_s32(sums[4], sums[5]), vpaddq_s32(sums[6], sums[7]));
    return lanes_of(vcvtq_f32_s32(low), vcvtq_f32_s32(high));
}

/* 4-bit codes meet the inputs split into even and odd elements. */
ALWAYS_INLINE lanes block_as_it_lies(const struct byte_tile *tile, size_t block,
                                     const int8_t *split)
{
    const int8_t *x = split + block / 2 * 64 + block % 2 * 16;
    int8x16_t x_even = vld1q_s8(x);
    int8x16_t x_odd = vld1q_s8(x + 32);
    int32x4_t sums[TILE_ROWS];
    for (size_t r = 0; r < TILE_ROWS; r++) {
        uint8x16_t packed = vld1q_u8(tile->weight[r] + 16 * block);
        int8x16_t even = vreinterpretq_s8_u8(vandq_u8(packed, vdupq_n_u8(15)));
        int8x16_t odd = vreinterpretq_s8_u8(vshrq_n_u8(packed, 4));
        sums[r] = vdotq_s32(vdotq_s32(vdupq_n_s32(0), even, x_even), odd, x_odd);
    }
    return rows_summed(sums);
}

ALWAYS_INLINE lanes block_of_32(const struct byte_tile *tile, enum lanes_kind kind, size_t block,
                                const int8_t *x)
{
    int8x16_t x_low = vld1q_s8(x + 32 * block);
    int8x16_t x_high = vld1q_s8(x + 32 * block + 16);
    int32x4_t sums[TILE_ROWS];
    for (size_t r = 0; r < TILE_ROWS; r++) {
        struct codes_32 codes = row_codes(tile, kind, r, block);
        sums[r] = vdotq_s32(vdotq_s32(vdupq_n_s32(0), codes.low, x_low), codes.high, x_high);
    }
    return rows_summed(sums);
}

ALWAYS_INLINE void one_token(const struct byte_tile *tile, enum lanes_kind kind, size_t token)
{
    const struct activations *in = tile->inputs;
    size_t x_blocks = in->stride / 32;
    const float *scales = in->scales + token * x_blocks;
    const float *sums = in->byte_sums[tile->group_shift] + token * x_blocks;
    struct byte_sum sum = {lanes_all(0.0f), lanes_all(0.0f)};
    for (size_t block = 0; block < tile->blocks; block++) {
        lanes some = kind == LANES_CODES_4
                         ? block_as_it_lies(tile, block, in->split + token * in->stride)
                         : block_of_32(tile, kind, block, in->bytes + token * in->stride);
        byte_sum_add(tile, kind != LANES_E2M1, block, some, scales, sums, &sum);
    }
    byte_tile_store(tile, token, sum.total);
}

/* --- many tokens --- */

/* panel[block][quarter][row][4] */
ALWAYS_INLINE void make_panel(const struct byte_tile *tile, enum lanes_kind kind, int8_t *panel)
{
    for (size_t block = 0; block < tile->blocks; block++) {
        lanes rows[TILE_ROWS];
        for (size_t r = 0; r < TILE_ROWS; r++) {
            struct codes_32 codes = row_codes(tile, kind, r, block);
            rows[r] = lanes_of(vreinterpretq_f32_s8(codes.low), vreinterpretq_f32_s8(codes.high));
        }
        lanes_transpose(rows);
        for (size_t r = 0; r < TILE_ROWS; r++, panel += 32)
            lanes_store((float *)(void *)panel, rows[r]);
    }
}

/* Four quarters: a lane of x is the four bytes of one. */
#define PANEL_STEP(lane)                                                                           \
    do {                                                                                           \
        int8x16_t low = vld1q_s8(panel + 32 * (lane));                                             \
        int8x16_t high = vld1q_s8(panel + 32 * (lane) + 16);                                       \
        for (size_t t = 0; t < tokens; t++) {                                                      \
            sums[t][0] = vdotq_laneq_s32(sums[t][0], low, inputs[t], lane);                        \
            sums[t][1] = vdotq_laneq_s32(sums[t][1], high, inputs[t], lane);                       \
        }                                                                                          \
    } while (0)

ALWAYS_INLINE void panel_half(const int8_t *panel, const int8_t *x, size_t x_stride,
                              size_t tokens, int32x4_t (*sums)[2])
{
    int8x16_t inputs[TOKENS];
    for (size_t t = 0; t < tokens; t++)
        inputs[t] = vld1q_s8(x + t * x_stride);
    PANEL_STEP(0);
    PANEL_STEP(1);
    PANEL_STEP(2);
    PANEL_STEP(3);
}

ALWAYS_INLINE void panel_tokens(const struct byte_tile *tile, bool has_biases,
                                const int8_t *panel, size_t token, size_t tokens)
{
    const struct activations *in = tile->inputs;
    size_t x_blocks = in->stride / 32;
    const int8_t *x = in->bytes + token * in->stride;
    const float *scales = in->scales + token * x_blocks;
    const float *sums = in->byte_sums[tile->group_shift] + token * x_blocks;
    struct byte_sum sum[TOKENS];
    for (size_t t = 0; t < tokens; t++)
        sum[t] = (struct byte_sum){lanes_all(0.0f), lanes_all(0.0f)};
    for (size_t block = 0; block < tile->blocks; block++, panel += 256, x += 32) {
        int32x4_t some[TOKENS][2];
        for (size_t t = 0; t < tokens; t++)
            some[t][0] = some[t][1] = vdupq_n_s32(0);
        panel_half(panel, x, in->stride, tokens, some);
        panel_half(panel + 128, x + 16, in->stride, tokens, some);
        for (size_t t = 0; t < tokens; t++)
            byte_sum_add(tile, has_biases, block,
                         lanes_of(vcvtq_f32_s32(some[t][0]), vcvtq_f32_s32(some[t][1])),
                         scales + t * x_blocks, sums + t * x_blocks, &sum[t]);
    }
    for (size_t t = 0; t < tokens; t++)
        byte_tile_store(tile, token + t, sum[t].total);
}

ALWAYS_INLINE void tile_tokens(const struct byte_tile *tile, enum lanes_kind kind, size_t count,
                               int8_t *panel)
{
    size_t token = 0;
    if (count >= PANEL_TOKENS) {
        make_panel(tile, kind, panel);
        for (; token + TOKENS <= count; token += TOKENS)
            panel_tokens(tile, kind != LANES_E2M1, panel, token, TOKENS);
        for (; token < count; token++)
            panel_tokens(tile, kind != LANES_E2M1, panel, token, 1);
    }
    for (; token < count; token++)
        one_token(tile, kind, token);
}

void KERNEL_NAME(matmul_bytes)(const struct matrix *matrix, const struct activations *inputs,
                               size_t count, size_t row_first, size_t row_end, float *out,
                               size_t out_stride, float *scratch)
{
    size_t groups = matrix_groups(matrix);
    enum lanes_kind kind = lanes_kind_of(&matrix->quantisation);
    struct byte_tile tile = {.matrix = matrix, .inputs = inputs, .groups = groups,
                             .blocks = (size_t)matrix->columns / 32,
                             .group_shift = group_index(matrix_group(matrix)), .scales = scratch,
                             .biases = scratch + groups * TILE_ROWS, .out_stride = out_stride};
    int8_t *panel = (int8_t *)(scratch + 2 * groups * TILE_ROWS);
    for (size_t row = row_first; row < row_end; row += TILE_ROWS) {
        byte_tile_load(&tile, row, row_end - row < TILE_ROWS ? row_end - row : TILE_ROWS);
        tile.out = out + row;
        switch (kind) {
#define LANES_CASE(name)                                                                           \
    case name:                                                                                     \
        tile_tokens(&tile, name, count, panel);                                                    \
        break
            LANES_CASE(LANES_CODES_2);
            LANES_CASE(LANES_CODES_3);
            LANES_CASE(LANES_CODES_4);
            LANES_CASE(LANES_CODES_5);
            LANES_CASE(LANES_CODES_6);
            LANES_CASE(LANES_CODES_8);
            LANES_CASE(LANES_E2M1);
#undef LANES_CASE
        case LANES_E4M3:
        case LANES_BF16:
        case LANES_F16:
        case LANES_F32:
            ASSERT(!"has_bytes() said no");
        }
    }
}

uint64_t KERNEL_NAME(spin)(uint64_t rounds)
{
    int32x4_t sums[8];
    int8x16_t x = vdupq_n_s8(1);
    for (size_t i = 0; i < 8; i++)
        sums[i] = vdupq_n_s32(0);
    for (uint64_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < 8; i++) {
            /* Or the product would be computed once. */
            __asm__ volatile("" : "+w"(x));
            sums[i] = vdotq_s32(sums[i], x, x);
        }
    }
    for (size_t i = 0; i < 8; i++)
        __asm__ volatile("" : : "w"(sums[i]));
    return rounds * 8 * 16;
}
