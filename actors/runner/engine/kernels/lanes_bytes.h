/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lanes_bytes: eight rows of packed weights and their scales, for products with 8-bit inputs.
 *
 * A lane is a row.  The sum of a block of 32 is an integer, and exact; a group's blocks times the
 * scales of their inputs are added in order, then the group times its scale and the bias times the
 * sum of the inputs.  That order is the same in every set, portable too, and so are the bits.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_LANES_BYTES_H
#define TROUPE_ACTORS_RUNNER_ENGINE_KERNELS_LANES_BYTES_H

#include "actors/runner/engine/kernels/lanes.h"

#define TILE_ROWS 8u

struct byte_tile {
    const struct matrix *matrix;
    const struct activations *inputs;
    const uint8_t *weight[TILE_ROWS]; /* the last row again where the matrix has fewer */
    size_t rows;
    size_t blocks;    /* of 32 in a row */
    size_t groups;
    size_t group_shift; /* a group is 1 << group_shift blocks */
    float *scales;    /* [group][TILE_ROWS] */
    float *biases;
    float *out;       /* of the first row and token */
    size_t out_stride;
};

/* Where the sums of a token's products stand. */
struct byte_sum {
    lanes part; /* of the present group */
    lanes total;
};

/* Scales or biases of eight groups from `group` on of each row, to [group][row]. */
ALWAYS_INLINE void turn_numbers(enum tensor_type type, const uint8_t *const *rows, size_t group,
                                float *out)
{
    size_t size = tensor_type_size(type);
    lanes eight[TILE_ROWS];
    for (size_t r = 0; r < TILE_ROWS; r++) {
        const uint8_t *from = rows[r] + group * size;
        eight[r] = type == TENSOR_BF16  ? lanes_bf16(from)
                   : type == TENSOR_F16 ? lanes_half(from)
                                        : lanes_load((const float *)(const void *)from);
    }
    lanes_transpose(eight);
    for (size_t g = 0; g < TILE_ROWS; g++)
        lanes_store(out + (group + g) * TILE_ROWS, eight[g]);
}

static void load_numbers(enum tensor_type type, const uint8_t *const *rows, size_t groups,
                         float *out)
{
    size_t group = 0;
    for (; group + TILE_ROWS <= groups; group += TILE_ROWS) {
        if (type == TENSOR_BF16)
            turn_numbers(TENSOR_BF16, rows, group, out);
        else if (type == TENSOR_F16)
            turn_numbers(TENSOR_F16, rows, group, out);
        else
            turn_numbers(TENSOR_F32, rows, group, out);
    }
    for (; group < groups; group++)
        for (size_t r = 0; r < TILE_ROWS; r++)
            unpack_numbers(type, rows[r] + group * tensor_type_size(type), 1,
                           out + group * TILE_ROWS + r);
}

/* Halved, because the codes are doubled to be whole. */
static void load_powers(const uint8_t *const *rows, size_t groups, float *out)
{
    size_t group = 0;
    for (; group + TILE_ROWS <= groups; group += TILE_ROWS) {
        lanes eight[TILE_ROWS];
        for (size_t r = 0; r < TILE_ROWS; r++)
            eight[r] = lanes_mul(lanes_e8m0(rows[r] + group), lanes_all(0.5f));
        lanes_transpose(eight);
        for (size_t g = 0; g < TILE_ROWS; g++)
            lanes_store(out + (group + g) * TILE_ROWS, eight[g]);
    }
    for (; group < groups; group++)
        for (size_t r = 0; r < TILE_ROWS; r++)
            out[group * TILE_ROWS + r] = 0.5f * unpack_e8m0(rows[r][group]);
}

/* Rows [row, row + rows) of the matrix; `scales` and `biases` of the tile are written. */
static void byte_tile_load(struct byte_tile *tile, size_t row, size_t rows)
{
    const struct matrix *m = tile->matrix;
    const uint8_t *scales[TILE_ROWS];
    const uint8_t *biases[TILE_ROWS];
    tile->rows = rows;
    for (size_t r = 0; r < TILE_ROWS; r++) {
        size_t from = row + (r < rows ? r : rows - 1);
        tile->weight[r] = m->weight + from * m->weight_stride;
        scales[r] = m->scales + from * m->scale_stride;
        biases[r] = m->biases ? m->biases + from * m->bias_stride : NULL;
    }
    size_t after = row + TILE_ROWS;
    for (size_t i = 0; i < TILE_ROWS * m->scale_stride; i += 64) {
        __builtin_prefetch(m->scales + after * m->scale_stride + i, 0, 3);
        if (m->biases)
            __builtin_prefetch(m->biases + after * m->bias_stride + i, 0, 3);
    }
    if (!matrix_has_biases(m)) {
        load_powers(scales, tile->groups, tile->scales);
        return;
    }
    load_numbers(m->scale_type, scales, tile->groups, tile->scales);
    load_numbers(m->scale_type, biases, tile->groups, tile->biases);
    if (m->quantisation.bits == 8) {
        /* The codes are moved by 128 to be signed. */
        for (size_t i = 0; i < tile->groups * TILE_ROWS; i += LANES)
            lanes_store(tile->biases + i, lanes_fma(lanes_load(tile->scales + i),
                                                    lanes_all(128.0f),
                                                    lanes_load(tile->biases + i)));
    }
}

/* Asks for `size` bytes from `at` on of the rows after this tile, which lie behind it: memory is
 * slower to answer than a tile is to compute, and eight short rows are no pattern it would see. */
ALWAYS_INLINE void byte_tile_fetch(const struct byte_tile *tile, size_t at, size_t size)
{
    const uint8_t *next = tile->weight[0] + TILE_ROWS * tile->matrix->weight_stride + at;
    for (size_t i = 0; i < size; i += 64)
        __builtin_prefetch(next + i, 0, 3);
}

/* Adds the integer sums of block `block`, already floats, of one token. */
ALWAYS_INLINE void byte_sum_add(const struct byte_tile *tile, bool has_biases, size_t block,
                                lanes sums, const float *x_scales, const float *x_sums,
                                struct byte_sum *sum)
{
    sum->part = lanes_fma(sums, lanes_all(x_scales[block]), sum->part);
    if (((block + 1) & (((size_t)1 << tile->group_shift) - 1)) != 0)
        return;
    size_t group = block >> tile->group_shift;
    sum->total = lanes_fma(sum->part, lanes_load(tile->scales + group * TILE_ROWS), sum->total);
    if (has_biases)
        sum->total = lanes_fma(lanes_load(tile->biases + group * TILE_ROWS),
                               lanes_all(x_sums[group]), sum->total);
    sum->part = lanes_all(0.0f);
}

ALWAYS_INLINE void byte_tile_store(const struct byte_tile *tile, size_t token, lanes total)
{
    float *out = tile->out + token * tile->out_stride;
    if (tile->rows == TILE_ROWS) {
        lanes_store(out, total);
        return;
    }
    float rows[TILE_ROWS];
    lanes_store(rows, total);
    memcpy(out, rows, tile->rows * sizeof *out);
}

#endif
