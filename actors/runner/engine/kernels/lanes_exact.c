/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products in fp32.  Few tokens: weights become floats in registers and are used at once.  Many:
 * four rows are unpacked whole and meet three tokens at a time.  Either way a row and a token meet
 * in the same order: eight lanes along the group, then lanes times scale added group by group.
 */
#include "actors/runner/engine/kernels/lanes.h"

#define ROWS 4u
#define GROUP_MAX 128u
/* Up to here weights are unpacked again for each token rather than whole rows kept. */
#define FEW_TOKENS 3u

struct tile {
    const struct matrix *matrix;
    const struct activations *inputs;
    struct lanes_unpack unpack;
    size_t groups;
    size_t size;
    size_t row;
    size_t rows;                 /* that count; fewer than ROWS at the end */
    const uint8_t *weight[ROWS]; /* the last one again where there are fewer */
    float *scales;               /* [row][groups] */
    float *biases;
    float *out;
    size_t out_stride;
};

/* Scales of ones for dense rows, so that one formula serves both. */
static void tile_load(struct tile *tile, size_t row_first, size_t rows)
{
    const struct matrix *m = tile->matrix;
    size_t groups = tile->groups;
    tile->row = row_first;
    tile->rows = rows;
    for (size_t r = 0; r < ROWS; r++) {
        size_t row = row_first + (r < rows ? r : rows - 1);
        tile->weight[r] = m->weight + row * m->weight_stride;
        if (!matrix_has_biases(m)) {
            unpack_scales(m, row, 0, groups, tile->scales + r * groups, tile->biases + r * groups);
            continue;
        }
        lanes_numbers(m->scale_type, m->scales + row * m->scale_stride, groups,
                      tile->scales + r * groups);
        lanes_numbers(m->scale_type, m->biases + row * m->bias_stride, groups,
                      tile->biases + r * groups);
    }
}

/* Biases times the sums of their groups, for one row and one token. */
static float bias_part(const float *biases, const float *sums, size_t groups)
{
    lanes total = lanes_all(0.0f);
    size_t g = 0;
    for (; g + LANES <= groups; g += LANES)
        total = lanes_fma(lanes_load(biases + g), lanes_load(sums + g), total);
    float rest = 0.0f;
    for (; g < groups; g++)
        rest += biases[g] * sums[g];
    return lanes_sum(total) + rest;
}

ALWAYS_INLINE void finish(const struct tile *tile, size_t token, size_t tokens,
                          lanes (*total)[ROWS])
{
    size_t blocks = tile->inputs->stride / 32;
    bool has_biases = matrix_has_biases(tile->matrix);
    for (size_t t = 0; t < tokens; t++) {
        float *out = tile->out + (token + t) * tile->out_stride + tile->row;
        for (size_t r = 0; r < tile->rows; r++) {
            out[r] = lanes_sum(total[t][r]);
            if (has_biases)
                out[r] += bias_part(tile->biases + r * tile->groups,
                                    tile->inputs->sums[group_index(tile->size)] +
                                        (token + t) * blocks, tile->groups);
        }
    }
}

/* The codes of one group of one row: in registers, 32 (16 of E2M1) at a time, times the inputs. */
ALWAYS_INLINE void add_codes(const struct tile *tile, enum lanes_kind kind, const uint8_t *bytes,
                             size_t size, const float *x, size_t tokens, size_t r,
                             lanes (*part)[ROWS])
{
    uint32_t eights = kind == LANES_E2M1 ? 2 : 4;
    for (size_t i = 0; i < size; i += 8 * eights) {
        lanes codes[4];
        lanes_weights(&tile->unpack, kind, bytes + i * lanes_kind_bits(kind) / 8, eights, codes);
        for (size_t t = 0; t < tokens; t++)
            for (size_t k = 0; k < eights; k++)
                part[t][r] = lanes_fma(
                    codes[k], lanes_load(x + t * tile->inputs->stride + i + 8 * k), part[t][r]);
    }
}

ALWAYS_INLINE void few_tokens(const struct tile *tile, enum lanes_kind kind, size_t token,
                              size_t tokens)
{
    const struct matrix *m = tile->matrix;
    const float *x = tile->inputs->values + token * tile->inputs->stride;
    size_t group_bytes = tile->size * lanes_kind_bits(kind) / 8;
    lanes total[2][ROWS];
    for (size_t t = 0; t < tokens; t++)
        for (size_t r = 0; r < ROWS; r++)
            total[t][r] = lanes_all(0.0f);
    for (size_t g = 0; g < tile->groups; g++, x += tile->size) {
        lanes part[2][ROWS];
        /* Only dense rows may end within a block. */
        bool is_whole = kind < LANES_BF16 || (g + 1) * tile->size <= m->columns;
        /* The rows after these lie behind them; memory is slower to answer than they are used. */
        for (size_t i = 0; i < ROWS * group_bytes; i += 64)
            __builtin_prefetch(tile->weight[0] + ROWS * (m->weight_stride + g * group_bytes) + i);
        for (size_t r = 0; r < ROWS; r++) {
            for (size_t t = 0; t < tokens; t++)
                part[t][r] = lanes_all(0.0f);
            if (is_whole) {
                add_codes(tile, kind, tile->weight[r] + g * group_bytes, tile->size, x, tokens, r,
                          part);
            } else {
                float rest[KERNEL_BLOCK];
                unpack_group(m, tile->row + (r < tile->rows ? r : tile->rows - 1), g, rest);
                add_codes(tile, LANES_F32, (const uint8_t *)rest, KERNEL_BLOCK, x, tokens, r,
                          part);
            }
            for (size_t t = 0; t < tokens; t++)
                total[t][r] = lanes_fma(part[t][r],
                                        lanes_all(tile->scales[r * tile->groups + g]),
                                        total[t][r]);
        }
    }
    finish(tile, token, tokens, total);
}

/* Rows whole, as floats. */
ALWAYS_INLINE void unpack_rows(const struct tile *tile, enum lanes_kind kind, float *codes)
{
    const struct matrix *m = tile->matrix;
    uint32_t eights = kind == LANES_E2M1 ? 2 : 4;
    size_t whole = (size_t)m->columns / (8 * eights) * (8 * eights);
    for (size_t r = 0; r < ROWS; r++, codes += tile->groups * tile->size) {
        for (size_t i = 0; i < whole; i += 8 * eights) {
            lanes some[4];
            lanes_weights(&tile->unpack, kind, tile->weight[r] + i * lanes_kind_bits(kind) / 8,
                          eights, some);
            for (size_t k = 0; k < eights; k++)
                lanes_store(codes + i + 8 * k, some[k]);
        }
        if (whole < tile->groups * tile->size)
            unpack_group(m, tile->row + (r < tile->rows ? r : tile->rows - 1), tile->groups - 1,
                         codes + (tile->groups - 1) * tile->size);
    }
}

ALWAYS_INLINE void many_tokens(const struct tile *tile, const float *codes, size_t token,
                               size_t tokens)
{
    size_t stride = tile->groups * tile->size;
    size_t x_stride = tile->inputs->stride;
    const float *x = tile->inputs->values + token * x_stride;
    lanes total[3][ROWS];
    for (size_t t = 0; t < tokens; t++)
        for (size_t r = 0; r < ROWS; r++)
            total[t][r] = lanes_all(0.0f);
    for (size_t g = 0; g < tile->groups; g++) {
        lanes part[3][ROWS];
        for (size_t t = 0; t < tokens; t++)
            for (size_t r = 0; r < ROWS; r++)
                part[t][r] = lanes_all(0.0f);
        for (size_t i = g * tile->size; i < (g + 1) * tile->size; i += LANES) {
            lanes value[3];
            for (size_t t = 0; t < tokens; t++)
                value[t] = lanes_load(x + t * x_stride + i);
            for (size_t r = 0; r < ROWS; r++) {
                lanes code = lanes_load(codes + r * stride + i);
                for (size_t t = 0; t < tokens; t++)
                    part[t][r] = lanes_fma(code, value[t], part[t][r]);
            }
        }
        for (size_t r = 0; r < ROWS; r++)
            for (size_t t = 0; t < tokens; t++)
                total[t][r] = lanes_fma(part[t][r],
                                        lanes_all(tile->scales[r * tile->groups + g]),
                                        total[t][r]);
    }
    finish(tile, token, tokens, total);
}

/* The part compiled for each kind. */
ALWAYS_INLINE void tile_tokens(const struct tile *tile, enum lanes_kind kind, float *codes,
                               size_t count)
{
    size_t token = 0;
    if (count > FEW_TOKENS) {
        unpack_rows(tile, kind, codes);
        return;
    }
    for (; token + 2 <= count; token += 2)
        few_tokens(tile, kind, token, 2);
    if (token < count)
        few_tokens(tile, kind, token, 1);
}

static void panel_tokens(const struct tile *tile, const float *codes, size_t count)
{
    size_t token = 0;
    for (; token + 3 <= count; token += 3)
        many_tokens(tile, codes, token, 3);
    for (; token < count; token++)
        many_tokens(tile, codes, token, 1);
}

void KERNEL_NAME(matmul)(const struct matrix *matrix, const struct activations *inputs,
                         size_t count, size_t row_first, size_t row_end, float *out,
                         size_t out_stride, float *scratch)
{
    size_t size = matrix_group(matrix);
    size_t groups = matrix_groups(matrix);
    float *scales = scratch + ROWS * groups * size;
    enum lanes_kind kind = lanes_kind_of(&matrix->quantisation);
    struct tile tile = {.matrix = matrix, .inputs = inputs, .groups = groups, .size = size,
                        .scales = scales, .biases = scales + ROWS * groups, .out = out,
                        .out_stride = out_stride};
    tile.unpack = lanes_unpack_of(lanes_kind_bits(kind));
    for (size_t row = row_first; row < row_end; row += ROWS) {
        tile_load(&tile, row, row_end - row < ROWS ? row_end - row : ROWS);
        switch (kind) {
#define LANES_CASE(name)                                                                           \
    case name:                                                                                     \
        tile_tokens(&tile, name, scratch, count);                                                  \
        break
            LANES_CASE(LANES_CODES_2);
            LANES_CASE(LANES_CODES_3);
            LANES_CASE(LANES_CODES_4);
            LANES_CASE(LANES_CODES_5);
            LANES_CASE(LANES_CODES_6);
            LANES_CASE(LANES_CODES_8);
            LANES_CASE(LANES_E2M1);
            LANES_CASE(LANES_E4M3);
            LANES_CASE(LANES_BF16);
            LANES_CASE(LANES_F16);
            LANES_CASE(LANES_F32);
#undef LANES_CASE
        }
        if (count > FEW_TOKENS)
            panel_tokens(&tile, scratch, count);
    }
}
