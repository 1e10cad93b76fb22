/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of packed weights with 8-bit inputs, AVX2, or AVX-512 with VNNI where it is built so.
 *
 * One token or few: rows as they lie, a block's 32 products summed across.  Many: eight rows are
 * unpacked to a panel in which four consecutive bytes of each row lie side by side, so that a
 * token's four bytes meet all rows at once and nothing is summed across.
 *
 * Without VNNI pairs of products are summed in 16 bits.  A code is at most `most` and an input 127,
 * so 32767 / (2 * most * 127) sums of pairs fit before they must be widened.
 */
#include "actors/runner/engine/kernels/lanes_bytes.h"

/* As many as the registers hold beside the codes they meet. */
#define TOKENS 6u
#define PACKED_TOKENS 4u
/* From PANEL_TOKENS on a panel is worth its making.  One of 4-bit codes as they lie is cheaper to
 * make, but taken apart again for each few tokens, so it is for up to PACKED_TOKENS_MAX. */
#define PANEL_TOKENS 3u
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
#define PACKED_TOKENS_MAX 5u
#else
#define PACKED_TOKENS_MAX 16u
#endif
/* What unpacking may read from the start of a block, whatever its size. */
#define WINDOW 32u

/* Keeps a sum in its register: compilers would multiply everything first, into memory, and add up
 * from there. */
ALWAYS_INLINE void hold(__m256i *sum)
{
    __asm__("" : "+x"(*sum));
}

ALWAYS_INLINE __m256i load_bytes(const void *bytes)
{
    return _mm256_loadu_si256((const __m256i *)bytes);
}

/* Codes that are signed bytes; the others are unsigned. */
ALWAYS_INLINE bool is_signed(enum lanes_kind kind)
{
    return kind == LANES_CODES_8 || kind == LANES_E2M1;
}

/* Quarters of a block that may be summed in 16 bits. */
ALWAYS_INLINE size_t chain_of(enum lanes_kind kind)
{
    return kind == LANES_CODES_8 ? 1 : kind == LANES_CODES_6 ? 2 : kind == LANES_CODES_5 ? 4 : 8;
}

/* Tokens that meet a panel together: fewer where each has a sum of pairs beside its sum. */
ALWAYS_INLINE size_t tokens_of(enum lanes_kind kind)
{
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
    (void)kind;
    return TOKENS;
#else
    return is_signed(kind) ? TOKENS : 4;
#endif
}

/* --- 32 codes as bytes, in order --- */

/* For 2, 3, 5 and 6 bits: the two bytes of each code go to 16 bits, the code to their top, then
 * down. */
struct byte_unpack {
    __m256i order[2];
    __m256i factor;
    int down;
};

static struct byte_unpack byte_unpack_of(uint32_t bits)
{
    struct byte_unpack unpack;
    uint8_t order[2][32];
    uint16_t factor[16];
    for (uint32_t k = 0; k < 2; k++) {
        for (uint32_t j = 0; j < 16; j++) {
            uint32_t bit = (j % 8 + 8 * k) * bits;
            order[k][2 * j] = (uint8_t)(bit / 8);
            order[k][2 * j + 1] = (uint8_t)(bit / 8 + 1);
            factor[j] = (uint16_t)(1u << (16 - bits - bit % 8));
        }
        unpack.order[k] = load_bytes(order[k]);
    }
    unpack.factor = load_bytes(factor);
    unpack.down = (int)(16 - bits);
    return unpack;
}

ALWAYS_INLINE __m256i nibbles(const uint8_t *bytes)
{
    __m128i packed = _mm_loadu_si128((const __m128i *)(const void *)bytes);
    __m128i odd = _mm_srli_epi16(packed, 4);
    __m256i both = _mm256_set_m128i(_mm_unpackhi_epi8(packed, odd), _mm_unpacklo_epi8(packed, odd));
    return _mm256_and_si256(both, _mm256_set1_epi8(0x0f));
}

ALWAYS_INLINE __m256i codes_at(const struct byte_unpack *unpack, enum lanes_kind kind,
                               const uint8_t *bytes)
{
    if (kind == LANES_CODES_8)
        return _mm256_xor_si256(load_bytes(bytes), _mm256_set1_epi8((char)0x80));
    if (kind == LANES_CODES_4)
        return nibbles(bytes);
    if (kind == LANES_E2M1) {
        const __m256i doubled = _mm256_setr_epi8(
            0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12,
            0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
        return _mm256_shuffle_epi8(doubled, nibbles(bytes));
    }
    size_t half = 2 * lanes_kind_bits(kind);
    __m256i packed = _mm256_set_m128i(
        _mm_loadu_si128((const __m128i *)(const void *)(bytes + half)),
        _mm_loadu_si128((const __m128i *)(const void *)bytes));
    __m256i parts[2];
    for (size_t i = 0; i < 2; i++) {
        parts[i] = _mm256_mullo_epi16(_mm256_shuffle_epi8(packed, unpack->order[i]),
                                      unpack->factor);
        parts[i] = _mm256_srli_epi16(parts[i], unpack->down);
    }
    return _mm256_packus_epi16(parts[0], parts[1]);
}

/* Block `block` of a row, never reading beyond the row. */
ALWAYS_INLINE __m256i row_codes(const struct byte_tile *tile, const struct byte_unpack *unpack,
                                enum lanes_kind kind, size_t r, size_t block)
{
    size_t size = 4 * lanes_kind_bits(kind);
    const uint8_t *bytes = tile->weight[r] + block * size;
    if (kind == LANES_CODES_8 || kind == LANES_CODES_4 || kind == LANES_E2M1 ||
        block * size + WINDOW <= tile->blocks * size)
        return codes_at(unpack, kind, bytes);
    uint8_t window[WINDOW] = {0};
    memcpy(window, bytes, size);
    return codes_at(unpack, kind, window);
}

/* --- one token --- */

/* Eight partial sums of a row's block. */
ALWAYS_INLINE __m256i block_sums(enum lanes_kind kind, __m256i codes, __m256i x)
{
    if (is_signed(kind)) {
        x = _mm256_sign_epi8(x, codes);
        codes = _mm256_abs_epi8(codes);
    }
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), codes, x);
#else
    return _mm256_madd_epi16(_mm256_maddubs_epi16(codes, x), _mm256_set1_epi16(1));
#endif
}

/* Sums of the lower and of the upper halves of rows 0-3, in that order. */
ALWAYS_INLINE __m256i sum_4(const __m256i *rows)
{
    return _mm256_hadd_epi32(_mm256_hadd_epi32(rows[0], rows[1]),
                             _mm256_hadd_epi32(rows[2], rows[3]));
}

ALWAYS_INLINE lanes block_of_32(const struct byte_tile *tile, const struct byte_unpack *unpack,
                                enum lanes_kind kind, size_t block, const int8_t *x)
{
    __m256i sums[TILE_ROWS];
    __m256i inputs = load_bytes(x + 32 * block);
    for (size_t r = 0; r < TILE_ROWS; r++)
        sums[r] = block_sums(kind, row_codes(tile, unpack, kind, r, block), inputs);
    __m256i low = sum_4(sums);
    __m256i high = sum_4(sums + 4);
    return _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20),
                                               _mm256_permute2x128_si256(low, high, 0x31)));
}

/* Two blocks of 4-bit codes as they lie: a byte holds an even element low and the odd one after it
 * high, so they meet inputs split likewise.  Half a vector is a block. */
ALWAYS_INLINE void block_of_64(const struct byte_tile *tile, size_t block, const int8_t *split,
                               lanes *sums_out)
{
    const __m256i mask = _mm256_set1_epi8(0x0f);
    __m256i x_even = load_bytes(split + 32 * block);
    __m256i x_odd = load_bytes(split + 32 * block + 32);
    __m256i fours[2];
    for (size_t half = 0; half < 2; half++) {
        __m256i sums[4];
        for (size_t r = 0; r < 4; r++) {
            __m256i packed = load_bytes(tile->weight[4 * half + r] + 16 * block);
            __m256i even = _mm256_and_si256(packed, mask);
            __m256i odd = _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask);
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
            sums[r] = _mm256_dpbusd_epi32(
                _mm256_dpbusd_epi32(_mm256_setzero_si256(), even, x_even), odd, x_odd);
        }
        fours[half] = sum_4(sums);
#else
            sums[r] = _mm256_add_epi16(_mm256_maddubs_epi16(even, x_even),
                                       _mm256_maddubs_epi16(odd, x_odd));
        }
        /* Sixteen products of at most 15 * 127 still fit 16 bits. */
        __m256i sum = _mm256_hadd_epi16(_mm256_hadd_epi16(sums[0], sums[1]),
                                        _mm256_hadd_epi16(sums[2], sums[3]));
        fours[half] = _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
#endif
    }
    sums_out[0] = _mm256_cvtepi32_ps(_mm256_permute2x128_si256(fours[0], fours[1], 0x20));
    sums_out[1] = _mm256_cvtepi32_ps(_mm256_permute2x128_si256(fours[0], fours[1], 0x31));
}

ALWAYS_INLINE void one_token(const struct byte_tile *tile, const struct byte_unpack *unpack,
                             enum lanes_kind kind, size_t token)
{
    const struct activations *in = tile->inputs;
    bool has_biases = kind != LANES_E2M1;
    size_t x_blocks = in->stride / 32;
    const float *scales = in->scales + token * x_blocks;
    const float *sums = in->byte_sums[tile->group_shift] + token * x_blocks;
    struct byte_sum sum = {lanes_all(0.0f), lanes_all(0.0f)};
    size_t block = 0;
    for (; kind == LANES_CODES_4 && block + 2 <= tile->blocks; block += 2) {
        lanes two[2];
        byte_tile_fetch(tile, 128 * block, 256);
        block_of_64(tile, block, in->split + token * in->stride, two);
        byte_sum_add(tile, has_biases, block, two[0], scales, sums, &sum);
        byte_sum_add(tile, has_biases, block + 1, two[1], scales, sums, &sum);
    }
    for (; block < tile->blocks; block++) {
        byte_tile_fetch(tile, 32 * lanes_kind_bits(kind) * block, 32 * lanes_kind_bits(kind));
        byte_sum_add(tile, has_biases, block,
                     block_of_32(tile, unpack, kind, block, in->bytes + token * in->stride),
                     scales, sums, &sum);
    }
    byte_tile_store(tile, token, sum.total);
}

/* --- many tokens --- */

/* panel[block][quarter][row][4] */
ALWAYS_INLINE void make_panel(const struct byte_tile *tile, const struct byte_unpack *unpack,
                              enum lanes_kind kind, uint8_t *panel)
{
    for (size_t block = 0; block < tile->blocks; block++) {
        lanes rows[TILE_ROWS];
        for (size_t r = 0; r < TILE_ROWS; r++)
            rows[r] = _mm256_castsi256_ps(row_codes(tile, unpack, kind, r, block));
        lanes_transpose(rows);
        for (size_t r = 0; r < TILE_ROWS; r++, panel += 32)
            lanes_store((float *)(void *)panel, rows[r]);
    }
}

/* Four bytes of a token beside themselves eight times. */
ALWAYS_INLINE __m256i spread(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

/* A block of the panel times `tokens` tokens. */
ALWAYS_INLINE void panel_block(enum lanes_kind kind, const uint8_t *panel, const int8_t *x,
                               size_t x_stride, size_t tokens, __m256i *sums)
{
    size_t chain = chain_of(kind);
    for (size_t t = 0; t < tokens; t++)
        sums[t] = _mm256_setzero_si256();
    for (size_t first = 0; first < 8; first += chain) {
        __m256i pairs[TOKENS];
        for (size_t q = first; q < first + chain; q++) {
            __m256i codes = load_bytes(panel + 32 * q);
            __m256i sizes = is_signed(kind) ? _mm256_abs_epi8(codes) : codes;
            for (size_t t = 0; t < tokens; t++) {
                __m256i four = spread(x + t * x_stride + 4 * q);
                if (is_signed(kind))
                    four = _mm256_sign_epi8(four, codes);
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
                (void)pairs;
                sums[t] = _mm256_dpbusd_epi32(sums[t], sizes, four);
#else
                __m256i some = _mm256_maddubs_epi16(sizes, four);
                pairs[t] = q == first ? some : _mm256_add_epi16(pairs[t], some);
                hold(&pairs[t]);
#endif
            }
        }
#if !defined(__AVX512VNNI__) || !defined(__AVX512VL__)
        for (size_t t = 0; t < tokens; t++)
            sums[t] = _mm256_add_epi32(sums[t],
                                       _mm256_madd_epi16(pairs[t], _mm256_set1_epi16(1)));
#endif
    }
}

ALWAYS_INLINE void panel_tokens(const struct byte_tile *tile, enum lanes_kind kind,
                                const uint8_t *panel, size_t token, size_t tokens)
{
    const struct activations *in = tile->inputs;
    bool has_biases = kind != LANES_E2M1;
    size_t x_blocks = in->stride / 32;
    const int8_t *x = in->bytes + token * in->stride;
    const float *scales = in->scales + token * x_blocks;
    const float *sums = in->byte_sums[tile->group_shift] + token * x_blocks;
    struct byte_sum sum[TOKENS];
    for (size_t t = 0; t < tokens; t++)
        sum[t] = (struct byte_sum){lanes_all(0.0f), lanes_all(0.0f)};
    for (size_t block = 0; block < tile->blocks; block++) {
        __m256i some[TOKENS];
        panel_block(kind, panel + 256 * block, x + 32 * block, in->stride, tokens, some);
        for (size_t t = 0; t < tokens; t++)
            byte_sum_add(tile, has_biases, block, _mm256_cvtepi32_ps(some[t]),
                         scales + t * x_blocks, sums + t * x_blocks, &sum[t]);
    }
    for (size_t t = 0; t < tokens; t++)
        byte_tile_store(tile, token + t, sum[t].total);
}

/* --- some tokens, 4-bit codes --- */

/* Packed as they lie, 64 codes of each row at a time, four bytes of a row beside those of the
 * others: panel[block / 2][eighth][row][4]. */
static void make_packed_panel(const struct byte_tile *tile, uint8_t *panel)
{
    for (size_t block = 0; block < tile->blocks; block += 2) {
        lanes rows[TILE_ROWS];
        byte_tile_fetch(tile, 128 * block, 256);
        for (size_t r = 0; r < TILE_ROWS; r++)
            rows[r] = _mm256_castsi256_ps(load_bytes(tile->weight[r] + 16 * block));
        lanes_transpose(rows);
        for (size_t r = 0; r < TILE_ROWS; r++, panel += 32)
            lanes_store((float *)(void *)panel, rows[r]);
    }
}

/* Half of that, a block: low nibbles are even elements, high ones odd; `x` is split likewise. */
ALWAYS_INLINE void packed_block(const uint8_t *panel, const int8_t *x, size_t x_stride,
                                size_t tokens, __m256i *sums)
{
    const __m256i mask = _mm256_set1_epi8(0x0f);
    for (size_t t = 0; t < tokens; t++)
        sums[t] = _mm256_setzero_si256();
    for (size_t q = 0; q < 4; q++) {
        __m256i packed = load_bytes(panel + 32 * q);
        __m256i even = _mm256_and_si256(packed, mask);
        __m256i odd = _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask);
        for (size_t t = 0; t < tokens; t++) {
            __m256i x_even = spread(x + t * x_stride + 4 * q);
            __m256i x_odd = spread(x + t * x_stride + 32 + 4 * q);
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
            sums[t] = _mm256_dpbusd_epi32(sums[t], even, x_even);
            sums[t] = _mm256_dpbusd_epi32(sums[t], odd, x_odd);
#else
            /* Sixteen products of at most 15 * 127 in all. */
            sums[t] = _mm256_add_epi16(sums[t], _mm256_maddubs_epi16(even, x_even));
            sums[t] = _mm256_add_epi16(sums[t], _mm256_maddubs_epi16(odd, x_odd));
            hold(&sums[t]);
#endif
        }
    }
#if !defined(__AVX512VNNI__) || !defined(__AVX512VL__)
    for (size_t t = 0; t < tokens; t++)
        sums[t] = _mm256_madd_epi16(sums[t], _mm256_set1_epi16(1));
#endif
}

ALWAYS_INLINE void packed_tokens(const struct byte_tile *tile, const uint8_t *panel, size_t token,
                                 size_t tokens)
{
    const struct activations *in = tile->inputs;
    size_t x_blocks = in->stride / 32;
    const int8_t *x = in->split + token * in->stride;
    const float *scales = in->scales + token * x_blocks;
    const float *sums = in->byte_sums[tile->group_shift] + token * x_blocks;
    struct byte_sum sum[PACKED_TOKENS];
    for (size_t t = 0; t < tokens; t++)
        sum[t] = (struct byte_sum){lanes_all(0.0f), lanes_all(0.0f)};
    for (size_t block = 0; block < tile->blocks; block++) {
        __m256i some[PACKED_TOKENS];
        packed_block(panel + 128 * block, x + 64 * (block / 2) + 16 * (block % 2), in->stride,
                     tokens, some);
        for (size_t t = 0; t < tokens; t++)
            byte_sum_add(tile, true, block, _mm256_cvtepi32_ps(some[t]), scales + t * x_blocks,
                         sums + t * x_blocks, &sum[t]);
    }
    for (size_t t = 0; t < tokens; t++)
        byte_tile_store(tile, token + t, sum[t].total);
}

/* PANEL_TOKENS to PACKED_TOKENS_MAX: in fours and threes, but 2 and 5 end with two. */
static void packed_tile(const struct byte_tile *tile, size_t count, uint8_t *panel)
{
    size_t token = 0;
    make_packed_panel(tile, panel);
    for (; count - token == 4 || count - token > 6; token += 4)
        packed_tokens(tile, panel, token, 4);
    for (; count - token >= 3; token += 3)
        packed_tokens(tile, panel, token, 3);
    if (token < count)
        packed_tokens(tile, panel, token, 2);
}

ALWAYS_INLINE void tile_tokens(const struct byte_tile *tile, const struct byte_unpack *unpack,
                               enum lanes_kind kind, size_t count, uint8_t *panel)
{
    size_t token = 0;
    if (kind == LANES_CODES_4 && count >= PANEL_TOKENS && count <= PACKED_TOKENS_MAX &&
        tile->blocks % 2 == 0) {
        packed_tile(tile, count, panel);
        return;
    }
    if (count >= PANEL_TOKENS) {
        make_panel(tile, unpack, kind, panel);
        for (; count - token >= tokens_of(kind); token += tokens_of(kind))
            panel_tokens(tile, kind, panel, token, tokens_of(kind));
        for (; count - token >= 4; token += 4)
            panel_tokens(tile, kind, panel, token, 4);
        for (; count - token >= 3; token += 3)
            panel_tokens(tile, kind, panel, token, 3);
        for (; count - token >= 2; token += 2)
            panel_tokens(tile, kind, panel, token, 2);
        for (; token < count; token++)
            panel_tokens(tile, kind, panel, token, 1);
    }
    for (; token < count; token++)
        one_token(tile, unpack, kind, token);
}

void KERNEL_NAME(matmul_bytes)(const struct matrix *matrix, const struct activations *inputs,
                               size_t count, size_t row_first, size_t row_end, float *out,
                               size_t out_stride, float *scratch)
{
    size_t groups = matrix_groups(matrix);
    enum lanes_kind kind = lanes_kind_of(&matrix->quantisation);
    struct byte_unpack unpack = byte_unpack_of(lanes_kind_bits(kind));
    struct byte_tile tile = {.matrix = matrix, .inputs = inputs, .groups = groups,
                             .blocks = (size_t)matrix->columns / 32,
                             .group_shift = group_index(matrix_group(matrix)), .scales = scratch,
                             .biases = scratch + groups * TILE_ROWS, .out_stride = out_stride};
    uint8_t *panel = (uint8_t *)(scratch + 2 * groups * TILE_ROWS);
    for (size_t row = row_first; row < row_end; row += TILE_ROWS) {
        byte_tile_load(&tile, row, row_end - row < TILE_ROWS ? row_end - row : TILE_ROWS);
        tile.out = out + row;
        switch (kind) {
#define LANES_CASE(name)                                                                           \
    case name:                                                                                     \
        tile_tokens(&tile, &unpack, name, count, panel);                                           \
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
    __m256i sums[8];
    __m256i x = _mm256_set1_epi8(1);
    for (size_t i = 0; i < 8; i++)
        sums[i] = _mm256_setzero_si256();
    for (uint64_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < 8; i++) {
            /* Or the product would be computed once. */
            __asm__ volatile("" : "+x"(x));
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
            sums[i] = _mm256_dpbusd_epi32(sums[i], x, x);
#else
            sums[i] = _mm256_add_epi16(sums[i], _mm256_maddubs_epi16(x, x));
#endif
        }
    }
    for (size_t i = 0; i < 8; i++)
        __asm__ volatile("" : : "x"(sums[i]));
    return rounds * 8 * 32;
}
