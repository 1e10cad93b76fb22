/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One kernel set against sums in double and against the portable set, over random shapes.
 *
 * The set is named by TROUPE_TEST_KERNELS, else the best of this CPU; a set it cannot run is
 * skipped.  Bounds: |error| <= 4e-6 * sum of |terms| for products in fp32 (columns up to 700, so
 * some 100 roundings of 6e-8 in a chain), 6e-8 for the portable set, which sums in double.
 * Products with 8-bit inputs have exact integers and one order of what is added to them: the bits
 * of the portable set, and of any number of tokens.
 */
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/kernels/routing.h"
#include "actors/runner/engine/kernels/unpack.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS 11u
#define BOUND 4e-6
#define PORTABLE_BOUND 6e-8

static const struct kernel_set *tested;

struct sample {
    struct matrix matrix;
    uint8_t *weight;
    uint8_t *scales;
    uint8_t *biases;
    struct activations inputs;
};

/* The nearest f16, the even one of two as near; below its normal range 0. */
static uint16_t half_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rest = bits & 0x7fffffff;
    uint32_t half = (rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13;
    if (rest < 0x38800000)
        half = 0;
    ck_assert(half < 0x7c00);
    return (uint16_t)((bits >> 16 & 0x8000) | half);
}

static void put_number(enum tensor_type type, uint8_t *bytes, size_t index, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t half = type == TENSOR_BF16 ? (uint16_t)(bits >> 16) : half_of(value);
    if (type == TENSOR_F32)
        memcpy(bytes + 4 * index, &value, 4);
    else
        memcpy(bytes + 2 * index, &half, 2);
}

static void open_inputs(struct activations *a, size_t columns, struct seeded *seeded)
{
    a->capacity = TOKENS;
    a->columns = columns;
    a->stride = (columns + KERNEL_BLOCK - 1) / KERNEL_BLOCK * KERNEL_BLOCK;
    a->values = memory_zeroed(TOKENS * a->stride, sizeof(float));
    for (size_t i = 0; i < 3; i++) {
        a->sums[i] = memory_zeroed(TOKENS * a->stride / 32, sizeof(float));
        a->byte_sums[i] = memory_zeroed(TOKENS * a->stride / 32, sizeof(float));
    }
    a->bytes = memory_zeroed(TOKENS, a->stride);
    a->split = memory_zeroed(TOKENS, a->stride);
    a->scales = memory_zeroed(TOKENS * a->stride / 32, sizeof(float));
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t i = 0; i < columns; i++)
            a->values[t * a->stride + i] = seeded_float(seeded);
}

static void close_sample(struct sample *s)
{
    for (size_t i = 0; i < 3; i++) {
        memory_free(s->inputs.sums[i]);
        memory_free(s->inputs.byte_sums[i]);
    }
    memory_free(s->inputs.values);
    memory_free(s->inputs.bytes);
    memory_free(s->inputs.split);
    memory_free(s->inputs.scales);
    memory_free(s->weight);
    memory_free(s->scales);
    memory_free(s->biases);
}

/* Memory of the exact size at an odd address, as files have it. */
static uint8_t *odd_bytes(size_t size, struct seeded *seeded)
{
    uint8_t *bytes = memory_zeroed(size + 1, 1);
    seeded_fill(seeded, bytes, size + 1);
    return bytes;
}

static void open_scales(struct sample *s, struct seeded *seeded)
{
    const struct quantisation *q = &s->matrix.quantisation;
    bool is_affine = q->format == WEIGHT_AFFINE;
    size_t number = is_affine ? tensor_type_bits(s->matrix.scale_type) / 8 : 1;
    size_t groups = (size_t)s->matrix.columns / q->group;
    size_t count = (size_t)s->matrix.rows * groups;
    s->scales = odd_bytes(count * number, seeded);
    s->biases = odd_bytes(count * number, seeded);
    for (size_t i = 0; i < count; i++) {
        if (!is_affine) {
            /* Near one: 2^-7 .. 2^2 for E8M0, 2^-2 .. 2^1 for E4M3. */
            s->scales[1 + i] = (uint8_t)(q->format == WEIGHT_NVFP4
                                             ? 0x28 + seeded_below(seeded, 0x18)
                                             : 120 + seeded_below(seeded, 10));
            continue;
        }
        put_number(s->matrix.scale_type, s->scales + 1, i, seeded_float(seeded) * 0.1f);
        put_number(s->matrix.scale_type, s->biases + 1, i, seeded_float(seeded));
    }
    s->matrix.scales = s->scales + 1;
    s->matrix.biases = is_affine ? s->biases + 1 : NULL;
    s->matrix.scale_stride = s->matrix.bias_stride = groups * number;
}

static void open_sample(struct sample *s, struct quantisation q, enum tensor_type scale_type,
                        size_t rows, size_t columns, struct seeded *seeded)
{
    size_t row_bytes = columns * q.bits / 8;
    memset(s, 0, sizeof *s);
    s->weight = odd_bytes(rows * row_bytes, seeded);
    s->matrix = (struct matrix){.quantisation = q, .scale_type = scale_type, .rows = rows,
                                .columns = columns, .weight = s->weight + 1,
                                .weight_stride = row_bytes};
    for (size_t i = 0; q.format == WEIGHT_MXFP8 && i < rows * row_bytes; i++) {
        if ((s->weight[1 + i] & 0x7f) == 0x7f) /* no number */
            s->weight[1 + i] ^= 0x15;
    }
    if (q.group == 0) {
        enum tensor_type type = q.format == WEIGHT_BF16  ? TENSOR_BF16
                                : q.format == WEIGHT_F16 ? TENSOR_F16
                                                         : TENSOR_F32;
        for (size_t i = 0; i < rows * columns; i++)
            put_number(type, s->weight + 1, i, seeded_float(seeded));
    } else {
        open_scales(s, seeded);
    }
    open_inputs(&s->inputs, columns, seeded);
}

/* The exact product of one row and token from dequantised weights, and the sum of |terms|. */
static double exact(const struct sample *s, size_t row, size_t token, double *terms_out)
{
    static float weights[1024];
    double sum = 0.0;
    *terms_out = 0.0;
    kernel_dequantise_row(&s->matrix, row, weights);
    for (size_t i = 0; i < s->matrix.columns; i++) {
        double term = (double)weights[i] * (double)s->inputs.values[token * s->inputs.stride + i];
        sum += term;
        *terms_out += fabs(term);
    }
    return sum;
}

/* What rounding may be measured by: codes times scale plus bias cancel, and the terms before that
 * are larger. */
static double slack_of(const struct sample *s, double terms)
{
    return s->matrix.quantisation.format == WEIGHT_AFFINE
               ? terms + 30.0 * sqrt((double)s->matrix.columns)
               : terms;
}

typedef void product(const struct matrix *matrix, const struct activations *inputs, size_t count,
                     size_t row_first, size_t row_end, float *out, size_t out_stride,
                     float *scratch);

/* All tokens at once, the rows in two ranges, so that neither begins or ends with a tile. */
static float *multiplied(struct sample *s, product *multiply, size_t middle)
{
    size_t rows = (size_t)s->matrix.rows;
    float *out = memory_zeroed(TOKENS * rows, sizeof *out);
    float *scratch = memory_zeroed(kernel_scratch_floats((size_t)s->matrix.columns), sizeof(float));
    multiply(&s->matrix, &s->inputs, TOKENS, 0, middle, out, rows, scratch);
    multiply(&s->matrix, &s->inputs, TOKENS, middle, rows, out, rows, scratch);
    memory_free(scratch);
    return out;
}

/* The first tokens alone give the same bits, however many they are. */
static void check_counts(struct sample *s, product *multiply, const float *expected)
{
    size_t rows = (size_t)s->matrix.rows;
    char text[64];
    float *out = memory_zeroed(TOKENS * rows, sizeof *out);
    float *scratch = memory_zeroed(kernel_scratch_floats((size_t)s->matrix.columns), sizeof(float));
    for (size_t count = 1; count < TOKENS; count++) {
        multiply(&s->matrix, &s->inputs, count, 0, rows, out, rows, scratch);
        ck_assert_msg(memcmp(out, expected, count * rows * sizeof *out) == 0,
                      "%s, %s: %zu tokens differ from %u", tested->name,
                      quantisation_text(&s->matrix.quantisation, text), count, TOKENS);
    }
    memory_free(scratch);
    memory_free(out);
}

static void check_exact(struct sample *s, struct seeded *seeded)
{
    size_t rows = (size_t)s->matrix.rows;
    char text[64];
    for (size_t t = 0; t < TOKENS; t++)
        tested->prepare(&s->inputs, t, ACTIVATION_SUMS);
    bool is_portable = strcmp(tested->name, "portable") == 0;
    double bound = is_portable ? PORTABLE_BOUND : BOUND;
    double least = is_portable ? 1e-7 : 1e-6;
    float *out = multiplied(s, tested->matmul, seeded_below(seeded, rows + 1));
    for (size_t t = 0; t < TOKENS; t++) {
        for (size_t row = 0; row < rows; row++) {
            double terms = 0.0;
            double error = fabs((double)out[t * rows + row] - exact(s, row, t, &terms));
            ck_assert_msg(error <= bound * slack_of(s, terms) + least,
                          "%s, %s, row %zu token %zu: %g of %g", tested->name,
                          quantisation_text(&s->matrix.quantisation, text), row, t, error, terms);
        }
    }
    check_counts(s, tested->matmul, out);
    memory_free(out);
}

static void for_all_formats(void (*check)(struct sample *, struct seeded *))
{
    const uint32_t bits[] = {2, 3, 4, 5, 6, 8};
    const enum tensor_type types[] = {TENSOR_BF16, TENSOR_F16, TENSOR_F32};
    const struct quantisation others[] = {
        {WEIGHT_BF16, 16, 0}, {WEIGHT_F16, 16, 0},   {WEIGHT_F32, 32, 0},
        {WEIGHT_MXFP4, 4, 32}, {WEIGHT_MXFP8, 8, 32}, {WEIGHT_NVFP4, 4, 16},
    };
    struct seeded seeded = seeded_open(11);
    struct sample sample;
    for (size_t b = 0; b < COUNT_OF(bits); b++) {
        for (uint32_t group = 32; group <= 128; group *= 2) {
            struct quantisation q = {WEIGHT_AFFINE, bits[b], group};
            size_t columns = group * (1 + seeded_below(&seeded, 640 / group));
            enum tensor_type type = types[seeded_below(&seeded, 3)];
            size_t rows = 1 + seeded_below(&seeded, 19);
            open_sample(&sample, q, type, rows, columns, &seeded);
            check(&sample, &seeded);
            close_sample(&sample);
        }
    }
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        size_t unit = others[i].group ? others[i].group : 1;
        size_t columns = unit * (1 + seeded_below(&seeded, 700 / unit));
        size_t rows = 1 + seeded_below(&seeded, 19);
        open_sample(&sample, others[i], TENSOR_BF16, rows, columns, &seeded);
        check(&sample, &seeded);
        close_sample(&sample);
    }
}

START_TEST(products_are_within_their_bound)
{
    for (int round = 0; round < 4; round++)
        for_all_formats(check_exact);
}
END_TEST

/* What is prepared has the bits of the portable set. */
static void check_prepared(struct sample *s)
{
    size_t stride = s->inputs.stride;
    size_t blocks = stride / 32;
    struct activations *a = &s->inputs;
    int8_t *bytes = memory_zeroed(3, TOKENS * stride);
    float *numbers = memory_zeroed(3 * TOKENS * blocks, sizeof *numbers);
    for (size_t t = 0; t < TOKENS; t++)
        kernel_set_portable()->prepare(a, t, ACTIVATION_BYTES);
    memcpy(bytes, a->bytes, TOKENS * stride);
    memcpy(bytes + TOKENS * stride, a->split, TOKENS * stride);
    memcpy(numbers, a->scales, TOKENS * blocks * sizeof *numbers);
    memcpy(numbers + TOKENS * blocks, a->byte_sums[0], TOKENS * blocks * sizeof *numbers);
    memcpy(numbers + 2 * TOKENS * blocks, a->byte_sums[2], TOKENS * blocks * sizeof *numbers);
    for (size_t t = 0; t < TOKENS; t++)
        tested->prepare(a, t, ACTIVATION_BYTES);
    ck_assert_mem_eq(bytes, a->bytes, TOKENS * stride);
    ck_assert_mem_eq(bytes + TOKENS * stride, a->split, TOKENS * stride);
    ck_assert_mem_eq(numbers, a->scales, TOKENS * blocks * sizeof *numbers);
    ck_assert_mem_eq(numbers + TOKENS * blocks, a->byte_sums[0],
                     TOKENS * blocks * sizeof *numbers);
    ck_assert_mem_eq(numbers + 2 * TOKENS * blocks, a->byte_sums[2],
                     TOKENS * blocks * sizeof *numbers);
    memory_free(bytes);
    memory_free(numbers);
}

static void check_bytes(struct sample *s, struct seeded *seeded)
{
    const struct kernel_set *portable = kernel_set_portable();
    size_t rows = (size_t)s->matrix.rows;
    char text[64];
    ck_assert_int_eq(tested->has_bytes(&s->matrix), portable->has_bytes(&s->matrix));
    if (!portable->has_bytes(&s->matrix))
        return;
    check_prepared(s);
    float *expected = multiplied(s, portable->matmul_bytes, seeded_below(seeded, rows + 1));
    for (size_t t = 0; t < TOKENS; t++) {
        for (size_t row = 0; row < rows; row++) {
            double terms = 0.0;
            double error = fabs((double)expected[t * rows + row] - exact(s, row, t, &terms));
            /* Half a step of 1/127 of the largest of 32 inputs, in either direction. */
            ck_assert_msg(error <= terms / 60.0, "portable bytes: %g of %g", error, terms);
        }
    }
    float *out = multiplied(s, tested->matmul_bytes, seeded_below(seeded, rows + 1));
    for (size_t i = 0; i < TOKENS * rows; i++)
        ck_assert_msg(memcmp(&out[i], &expected[i], sizeof *out) == 0,
                      "%s bytes, %s: %.9g, portable %.9g", tested->name,
                      quantisation_text(&s->matrix.quantisation, text), (double)out[i],
                      (double)expected[i]);
    check_counts(s, tested->matmul_bytes, out);
    memory_free(out);
    memory_free(expected);
}

START_TEST(products_with_8_bit_inputs_have_the_portable_bits)
{
    for (int round = 0; round < 4; round++)
        for_all_formats(check_bytes);
}
END_TEST

/* The largest codes and inputs, where sums in 16 bits would overflow first. */
START_TEST(extreme_codes_do_not_overflow)
{
    const uint32_t bits[] = {2, 3, 4, 5, 6, 8};
    struct seeded seeded = seeded_open(12);
    struct sample sample;
    for (size_t b = 0; b < COUNT_OF(bits); b++) {
        for (int sign = 0; sign < 3; sign++) {
            open_sample(&sample, (struct quantisation){WEIGHT_AFFINE, bits[b], 64}, TENSOR_F32, 9,
                        192, &seeded);
            memset(sample.weight + 1, sign == 2 ? 0 : 0xff, 9 * 192 * bits[b] / 8);
            for (size_t i = 0; i < TOKENS * sample.inputs.stride; i++)
                sample.inputs.values[i] = sign == 1 ? -3.0f : 3.0f;
            check_bytes(&sample, &seeded);
            close_sample(&sample);
        }
    }
}
END_TEST

START_TEST(golden_rows_unpack_to_their_values)
{
    /* Row w_i = i, groups of 32, quantised by the reference. */
    const struct {
        uint32_t bits;
        uint32_t words[5];
        float scale;
        float bound;
    } rows[] = {
        {4, {0xccddeeff, 0x8899aabb, 0x44556677, 0x00112233}, -2.0666666f, 1.05f},
        {3, {0x6dbb6dff, 0x26db924b, 0x00124a49}, -4.4285712f, 2.25f},
        {5, {0x75be77df, 0x3a56d7c6, 0x35cf8465, 0xc74254b6, 0x00443214}, -1.0f, 1e-6f},
    };
    for (size_t r = 0; r < COUNT_OF(rows); r++) {
        const float bias = 31.0f;
        float out[32];
        struct matrix matrix = {.quantisation = {WEIGHT_AFFINE, rows[r].bits, 32},
                                .scale_type = TENSOR_F32,
                                .rows = 1,
                                .columns = 32,
                                .weight = (const uint8_t *)rows[r].words,
                                .scales = (const uint8_t *)&rows[r].scale,
                                .biases = (const uint8_t *)&bias};
        kernel_dequantise_row(&matrix, 0, out);
        for (size_t i = 0; i < 32; i++)
            ck_assert_msg(fabsf(out[i] - (float)i) <= rows[r].bound, "%u bits: %zu is %g",
                          rows[r].bits, i, (double)out[i]);
    }
}
END_TEST

START_TEST(halves_are_what_they_stand_for)
{
    for (uint32_t half = 0; half < 0x7c00; half++) {
        int power = half >> 10 ? (int)(half >> 10) - 25 : -24;
        float wanted = ldexpf((float)((half & 0x3ff) + (half >> 10 ? 0x400 : 0)), power);
        ck_assert_float_eq(unpack_half((uint16_t)half), wanted);
        ck_assert_float_eq(unpack_half((uint16_t)(half | 0x8000)), -wanted);
    }
    ck_assert(isinf(unpack_half(0x7c00)) && isnan(unpack_half(0x7e00)));
}
END_TEST

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Of any bits: the nearer of the two numbers beside, the even one of two as near. */
START_TEST(bf16_rounds_to_nearest_even)
{
    struct seeded seeded = seeded_open(41);
    float x[64];
    uint16_t out[64];
    for (size_t round = 0; round < 2000; round++) {
        for (size_t i = 0; i < COUNT_OF(x); i++) {
            uint32_t bits = (uint32_t)seeded_below(&seeded, UINT64_C(1) << 32);
            bits = round % 4 == 0 ? (bits & 0xffff0000) | 0x8000 : bits;
            x[i] = unpack_bits(round % 7 == 0 ? bits | 0x7f800000 : bits);
        }
        const size_t count = COUNT_OF(x) - round % 9;
        tested->to_bf16(x, count, out);
        for (size_t i = 0; i < count; i++) {
            const uint16_t half = out[bf16_place(i, count)];
            float below = unpack_bits(bits_of(x[i]) & 0xffff0000);
            float above = unpack_bits((bits_of(x[i]) & 0xffff0000) + 0x10000);
            float got = unpack_bits((uint32_t)half << 16);
            ck_assert_uint_eq(kernel_to_bf16(x[i]), half);
            ck_assert_int_eq(isnan(got) != 0, isnan(x[i]) != 0);
            if (isnan(x[i]) || isinf(x[i]) || isinf(above))
                continue;
            double down = fabs((double)x[i] - (double)below);
            double up = fabs((double)above - (double)x[i]);
            ck_assert(got == (down < up || (down == up && !(bits_of(below) >> 16 & 1)) ? below
                                                                                      : above));
        }
    }
    const float large[] = {65504.0f, -1e6f, 3e38f};
    for (size_t i = 0; i < COUNT_OF(large); i++)
        ck_assert_float_eq_tol(unpack_bits((uint32_t)kernel_to_bf16(large[i]) << 16) / large[i],
                               1.0f, 0x1p-8f);
}
END_TEST

START_TEST(golden_floats_of_4_and_8_bits_unpack_to_their_values)
{
    /* v_i = 0.5 i - 4, quantised by the reference. */
    const uint32_t words[] = {0x099aabbc, 0x33221100, 0x65555444, 0x77766666};
    const uint8_t scale = 128;
    const float wanted[] = {-4.0f, -3.0f, -3.0f, -2.0f, -2.0f, -1.0f, -1.0f, 0.0f,
                            0.0f,  0.0f,  1.0f,  1.0f,  2.0f,  2.0f,  3.0f,  3.0f};
    float out[32];
    struct matrix matrix = {.quantisation = {WEIGHT_MXFP4, 4, 32}, .rows = 1, .columns = 32,
                            .weight = (const uint8_t *)words, .scales = &scale};
    kernel_dequantise_row(&matrix, 0, out);
    for (size_t i = 1; i < COUNT_OF(wanted); i++)
        ck_assert_msg(fabsf(out[i] - (0.5f * (float)i - 4.0f)) <= 0.5f, "%zu is %g", i,
                      (double)out[i]);
    for (size_t i = 0; i < COUNT_OF(wanted); i++)
        ck_assert_float_eq(out[i], wanted[i]);
    /* 0, 2^-9, 2^-6, 1, 448 and their negatives. */
    uint8_t codes[32] = {0x00, 0x01, 0x08, 0x38, 0x7e, 0x81, 0x88, 0xb8, 0xfe};
    const float values[] = {0.0f, 0x1p-8f, 0x1p-5f, 2.0f, 896.0f, -0x1p-8f, -0x1p-5f, -2.0f,
                            -896.0f};
    matrix.quantisation = (struct quantisation){WEIGHT_MXFP8, 8, 32};
    matrix.weight = codes;
    kernel_dequantise_row(&matrix, 0, out);
    for (size_t i = 0; i < COUNT_OF(values); i++)
        ck_assert_float_eq(out[i], values[i]);
}
END_TEST

/* The bits of the portable one, and no element off by more than a 254th of the largest. */
static void check_int8(const float *x, size_t count)
{
    int8_t bytes[2][300];
    float largest = 0.0f;
    float scale = kernel_set_portable()->to_bytes(x, count, bytes[0]);
    ck_assert_float_eq(tested->to_bytes(x, count, bytes[1]), scale);
    ck_assert_mem_eq(bytes[0], bytes[1], count);
    for (size_t i = 0; i < count; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    for (size_t i = 0; i < count; i++)
        ck_assert(fabsf((float)bytes[0][i] * scale - x[i]) <= largest / 253.9f);
}

/* rmsnorm, swiglu, rope, bf16 and int8 agree with the portable ones within a few last places. */
START_TEST(the_other_kernels_agree_with_the_portable_ones)
{
    const struct kernel_set *p = kernel_set_portable();
    struct seeded seeded = seeded_open(3);
    float x[300];
    float y[300];
    float left[300];
    float right[300];
    uint16_t halves[2][300];
    for (size_t n = 2; n < 300; n += 1 + n / 5) {
        for (size_t i = 0; i < n; i++) {
            x[i] = seeded_float(&seeded) * 20.0f;
            y[i] = seeded_float(&seeded);
        }
        p->rms_norm(x, y, 1e-6f, n, left);
        tested->rms_norm(x, y, 1e-6f, n, right);
        for (size_t i = 0; i < n; i++)
            ck_assert_float_eq_tol(left[i], right[i], 2e-6f);
        memcpy(left, x, sizeof x);
        memcpy(right, x, sizeof x);
        p->swiglu(left, y, n);
        tested->swiglu(right, y, n);
        for (size_t i = 0; i < n; i++)
            ck_assert_float_eq_tol(left[i], right[i], 4e-6f * (1.0f + fabsf(left[i])));
        memcpy(left, x, sizeof x);
        memcpy(right, x, sizeof x);
        p->rope(left, y, y, n / 2);
        tested->rope(right, y, y, n / 2);
        ck_assert_mem_eq(left, right, n / 2 * 2 * sizeof(float));
        p->to_bf16(x, n, halves[0]);
        tested->to_bf16(x, n, halves[1]);
        ck_assert_mem_eq(halves[0], halves[1], n * sizeof(uint16_t));
        check_int8(x, n);
    }
}
END_TEST

enum { PAGE = 16, PAGES = 5, HEADS = 5, WIDTH_MAX = 96 };

/* Of an int8 page: behind its numbers. */
#define SCALES ((size_t)2 * PAGE * WIDTH_MAX)

static void fill_page(uint8_t *page, enum kv_format format, struct seeded *seeded)
{
    for (size_t i = 0; i < SCALES && format != KV_INT8; i++)
        put_number(format == KV_BF16 ? TENSOR_BF16 : TENSOR_F32, page, i, seeded_float(seeded));
    for (size_t i = 0; i < SCALES && format == KV_INT8; i++)
        page[i] = (uint8_t)(int8_t)((int)seeded_below(seeded, 255) - 127);
    for (size_t i = 0; i < (size_t)2 * PAGE && format == KV_INT8; i++)
        put_number(TENSOR_F32, page + SCALES, i, (1.0f + seeded_float(seeded)) / 254.0f);
}

/* Heads of unlike lengths and windows over one cache. */
static void check_attention(const struct attention *shape, const float *queries,
                            struct seeded *seeded)
{
    struct attention heads[HEADS];
    static float out[3][HEADS][WIDTH_MAX];
    float *outs[HEADS];
    float scores[KERNEL_ATTEND_MAX * KERNEL_PAGE_MAX];
    uint32_t width = shape->value_dim ? shape->value_dim : shape->head_dim;
    uint32_t length = 1 + (uint32_t)seeded_below(seeded, PAGE * PAGES);
    for (size_t i = 0; i < HEADS; i++) {
        heads[i] = *shape;
        heads[i].query = queries + i * WIDTH_MAX;
        heads[i].length = length > i ? length - (uint32_t)i : 1;
        if (seeded_below(seeded, 2))
            heads[i].first = (uint32_t)seeded_below(seeded, heads[i].length);
        heads[i].has_sink = seeded_below(seeded, 2);
        heads[i].sink = seeded_float(seeded) * 3.0f;
        outs[i] = out[2][i];
        kernel_set_portable()->attend(&heads[i], scores, out[0][i]);
        tested->attend(&heads[i], scores, out[1][i]);
    }
    tested->attend_many(heads, HEADS, scores, outs);
    for (size_t i = 0; i < HEADS; i++) {
        for (size_t k = 0; k < width; k++)
            ck_assert_float_eq_tol(out[0][i][k], out[1][i][k], 3e-6f);
        ck_assert_mem_eq(out[1][i], out[2][i], width * sizeof(float));
    }
}

START_TEST(attention_agrees_with_the_portable_one_and_alone_with_together)
{
    static _Alignas(64) uint8_t memory[PAGES][2 * PAGE * WIDTH_MAX * 4];
    static float queries[HEADS * WIDTH_MAX];
    const enum kv_format formats[] = {KV_F32, KV_BF16, KV_INT8};
    const size_t sizes[KV_FORMAT_END] = {[KV_F32] = 4, [KV_BF16] = 2, [KV_INT8] = 1};
    const uint32_t widths[][2] = {{80, 0}, {64, 0}, {96, 64}, {20, 0}, {48, 96}};
    struct seeded seeded = seeded_open(4);
    uint8_t *pages[PAGES];
    for (size_t round = 0; round < 60; round++) {
        enum kv_format format = formats[round % COUNT_OF(formats)];
        const uint32_t *width = widths[round / COUNT_OF(formats) % COUNT_OF(widths)];
        for (size_t i = 0; i < COUNT_OF(queries); i++)
            queries[i] = seeded_float(&seeded) * 4.0f;
        for (size_t p = 0; p < PAGES; p++) {
            pages[p] = memory[PAGES - 1 - p];
            fill_page(pages[p], format, &seeded);
        }
        struct attention shape = {.pages = pages,
                                  .value_offset = (size_t)PAGE * WIDTH_MAX * sizes[format],
                                  .key_scale_offset = SCALES,
                                  .value_scale_offset = SCALES + PAGE * sizeof(float),
                                  .page_positions = PAGE, .head_dim = width[0],
                                  .value_dim = width[1], .format = format, .scale = 0.111f,
                                  .value_stride = round % 3 ? 0 : WIDTH_MAX};
        check_attention(&shape, queries, &seeded);
    }
}
END_TEST

/* One head's matrix through four positions, against sums in double: |error| <= 2e-5 for each key
 * element, whose products with a query are below 4. */
static void check_delta(size_t key_dim, size_t value_dim, struct seeded *seeded)
{
    static float state[160 * 136];
    static double truth[160 * 136];
    float row[3][160];
    float out[136];
    for (size_t i = 0; i < key_dim * value_dim; i++)
        truth[i] = (double)(state[i] = seeded_float(seeded));
    for (size_t position = 0; position < 4; position++) {
        struct delta_step step = {row[0], row[1], row[2], key_dim, value_dim,
                                  0.5f + 0.5f * fabsf(seeded_float(seeded)),
                                  fabsf(seeded_float(seeded))};
        for (size_t i = 0; i < COUNT_OF(row[0]); i++)
            for (size_t k = 0; k < 3; k++)
                row[k][i] = seeded_float(seeded) * (k == 1 ? 0.1f : 1.0f);
        tested->delta_step(&step, state, out);
        for (size_t j = 0; j < value_dim; j++) {
            double held = 0.0;
            double read = 0.0;
            for (size_t i = 0; i < key_dim; i++)
                held += (double)step.decay * truth[i * value_dim + j] * (double)step.key[i];
            held = ((double)step.value[j] - held) * (double)step.write;
            for (size_t i = 0; i < key_dim; i++) {
                double *at = &truth[i * value_dim + j];
                *at = *at * (double)step.decay + held * (double)step.key[i];
                read += *at * (double)step.query[i];
            }
            ck_assert_msg(fabs((double)out[j] - read) <= 2e-5 * (double)key_dim,
                          "%s: %zu x %zu, column %zu: %.9g, not %.9g", tested->name, key_dim,
                          value_dim, j, (double)out[j], read);
        }
    }
}

START_TEST(delta_steps_are_within_their_bound)
{
    const size_t dims[][2] = {{128, 128}, {32, 32}, {160, 136}, {1, 1}, {7, 45}, {33, 8}};
    struct seeded seeded = seeded_open(21);
    for (size_t i = 0; i < COUNT_OF(dims); i++)
        check_delta(dims[i][0], dims[i][1], &seeded);
}
END_TEST

static uint32_t mixed_bits(uint32_t hash, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        hash = (hash ^ bits) * 16777619u;
    }
    return hash;
}

static uint32_t routing_hash;

static void check_routing(struct sample *s, struct seeded *seeded)
{
    size_t rows = (size_t)s->matrix.rows;
    size_t columns = (size_t)s->matrix.columns;
    float out[32];
    float halves[40][32];
    float *many = memory_zeroed(40 * columns, sizeof *many);
    kernel_routing_product(&s->matrix, s->inputs.values, 1, 0, rows, out, rows);
    size_t middle = seeded_below(seeded, rows + 1);
    for (size_t t = 0; t < 40; t++)
        memcpy(many + t * columns, s->inputs.values + (t % 4 ? s->inputs.stride : 0),
               columns * sizeof *many);
    kernel_routing_product(&s->matrix, many, 40, 0, middle, halves[0], 32);
    kernel_routing_product(&s->matrix, many, 40, middle, rows, halves[0], 32);
    for (size_t t = 0; t < 40; t += 4)
        ck_assert_mem_eq(out, halves[t], rows * sizeof *out);
    memory_free(many);
    for (size_t row = 0; row < rows; row++) {
        double terms = 0.0;
        double error = fabs((double)out[row] - exact(s, row, 0, &terms));
        ck_assert_msg(error <= BOUND * slack_of(s, terms) + 1e-6, "row %zu: %g of %g", row, error,
                      terms);
    }
    routing_hash = mixed_bits(routing_hash, out, rows);
    kernel_routing_norm(s->inputs.values, s->inputs.values + s->inputs.stride, 1e-6f, columns,
                        s->inputs.values);
    routing_hash = mixed_bits(routing_hash, s->inputs.values, columns);
}

/* The hash of all bits, recorded once: every machine and compiler has to come to it. */
START_TEST(the_routing_path_has_the_same_bits_everywhere)
{
    float scores[64];
    const char *fixed = getenv("TROUPE_SEED");
    routing_hash = 2166136261u;
    for_all_formats(check_routing);
    for (size_t i = 0; i < COUNT_OF(scores); i++) {
        scores[i] = ((float)i - 32.0f) * 1.37f;
        float wanted = expf(scores[i]);
        ck_assert_float_eq_tol(kernel_routing_exp(scores[i]) / wanted, 1.0f, 3e-7f);
        float sigmoid = kernel_routing_sigmoid(scores[i]);
        ck_assert_float_eq_tol(sigmoid, 1.0f / (1.0f + expf(-scores[i])), 3e-7f);
        routing_hash = mixed_bits(routing_hash, &sigmoid, 1);
    }
    ck_assert_float_eq(kernel_routing_exp(-100.0f), 0.0f);
    kernel_routing_softmax(scores, COUNT_OF(scores));
    routing_hash = mixed_bits(routing_hash, scores, COUNT_OF(scores));
    if (!fixed)
        ck_assert_uint_eq(routing_hash, 2999965953u);
}
END_TEST

Suite *suite_of_tests(void)
{
    const char *name = getenv("TROUPE_TEST_KERNELS");
    tested = name ? kernel_set_find(name) : kernel_set_best();
    if (!tested) {
        /* Under a reader of TAP the plan says it, else the exit code. */
        printf("1..0 # SKIP this CPU or build has no %s kernels\n", name);
        exit(getenv("CK_TAP_LOG_FILE_NAME") ? 0 : 77);
    }
    Suite *suite = suite_create("kernels");
    const TTest *const tests[] = {
        products_are_within_their_bound,
        products_with_8_bit_inputs_have_the_portable_bits,
        extreme_codes_do_not_overflow,
        golden_rows_unpack_to_their_values,
        golden_floats_of_4_and_8_bits_unpack_to_their_values,
        halves_are_what_they_stand_for, bf16_rounds_to_nearest_even,
        the_other_kernels_agree_with_the_portable_ones,
        attention_agrees_with_the_portable_one_and_alone_with_together,
        delta_steps_are_within_their_bound,
        the_routing_path_has_the_same_bits_everywhere,
    };
    suite_add(suite, "kernels", tests, COUNT_OF(tests));
    return suite;
}
