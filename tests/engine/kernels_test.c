/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every kernel set against sums in double, and against the portable set, over random shapes.
 *
 * Bound: |error| <= 4e-6 * sum of |terms| for products in fp32 (columns up to 700, so some 100
 * roundings of 6e-8 in a chain); 8-bit products of two sets get the same integers and are held to
 * the same bound against each other.
 */
#include "actors/runner/engine/kernels/kernels.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TOKENS 5u
#define BOUND 4e-6

struct sample {
    struct matrix matrix;
    uint8_t *weight;
    uint8_t *scales;
    uint8_t *biases;
    struct activations inputs;
};

static void put_number(enum tensor_type type, uint8_t *bytes, size_t index, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t half = type == TENSOR_BF16 ? (uint16_t)(bits >> 16) : kernel_to_half(value);
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
    a->split32 = memory_zeroed(TOKENS, a->stride);
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
    memory_free(s->inputs.split32);
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

static void open_sample(struct sample *s, struct quantisation q, enum tensor_type scale_type,
                        size_t rows, size_t columns, struct seeded *seeded)
{
    size_t row_bytes = columns * q.bits / 8;
    memset(s, 0, sizeof *s);
    s->weight = odd_bytes(rows * row_bytes, seeded);
    s->matrix = (struct matrix){.quantisation = q, .scale_type = scale_type, .rows = rows,
                                .columns = columns, .weight = s->weight + 1,
                                .weight_stride = row_bytes};
    if (q.group == 0) {
        enum tensor_type type = q.format == WEIGHT_BF16  ? TENSOR_BF16
                                : q.format == WEIGHT_F16 ? TENSOR_F16
                                                         : TENSOR_F32;
        for (size_t i = 0; i < rows * columns; i++)
            put_number(type, s->weight + 1, i, seeded_float(seeded));
    } else {
        size_t groups = columns / q.group;
        size_t number = tensor_type_bits(scale_type) / 8;
        s->scales = odd_bytes(rows * groups * number, seeded);
        s->biases = odd_bytes(rows * groups * number, seeded);
        for (size_t i = 0; i < rows * groups; i++) {
            put_number(scale_type, s->scales + 1, i, seeded_float(seeded) * 0.1f);
            put_number(scale_type, s->biases + 1, i, seeded_float(seeded));
        }
        s->matrix.scales = s->scales + 1;
        s->matrix.biases = s->biases + 1;
        s->matrix.scale_stride = s->matrix.bias_stride = groups * number;
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

static void check_sample(struct sample *s, const struct kernel_set *set, struct seeded *seeded)
{
    size_t rows = (size_t)s->matrix.rows;
    float *out = memory_zeroed(TOKENS * rows, sizeof *out);
    float *scratch = memory_zeroed(kernel_scratch_floats((size_t)s->matrix.columns), sizeof(float));
    char text[64];
    for (size_t t = 0; t < TOKENS; t++)
        set->prepare(&s->inputs, t, ACTIVATION_SUMS);
    /* The rows in two ranges, so that neither begins or ends with a tile. */
    size_t middle = seeded_below(seeded, rows + 1);
    set->matmul(&s->matrix, &s->inputs, TOKENS, 0, middle, out, rows, scratch);
    set->matmul(&s->matrix, &s->inputs, TOKENS, middle, rows, out, rows, scratch);
    for (size_t t = 0; t < TOKENS; t++) {
        for (size_t row = 0; row < rows; row++) {
            double terms = 0.0;
            double error = fabs((double)out[t * rows + row] - exact(s, row, t, &terms));
            /* Codes times scale plus bias cancel: the terms before that are larger. */
            double slack = s->matrix.quantisation.group
                               ? terms + 30.0 * sqrt((double)s->matrix.columns)
                               : terms;
            ck_assert_msg(error <= BOUND * slack + 1e-6, "%s, %s, row %zu token %zu: %g of %g",
                          set->name, quantisation_text(&s->matrix.quantisation, text), row, t,
                          error, terms);
        }
    }
    memory_free(scratch);
    memory_free(out);
}

static void for_all_formats(void (*check)(struct sample *, struct seeded *))
{
    const uint32_t bits[] = {2, 3, 4, 5, 6, 8};
    const enum tensor_type types[] = {TENSOR_BF16, TENSOR_F16, TENSOR_F32};
    const struct quantisation dense[] = {{WEIGHT_BF16, 16, 0}, {WEIGHT_F16, 16, 0},
                                         {WEIGHT_F32, 32, 0}};
    struct seeded seeded = seeded_open(11);
    struct sample sample;
    for (size_t b = 0; b < COUNT_OF(bits); b++) {
        for (uint32_t group = 32; group <= 128; group *= 2) {
            size_t columns = group * (1 + seeded_below(&seeded, 640 / group));
            open_sample(&sample, (struct quantisation){WEIGHT_AFFINE, bits[b], group},
                        types[seeded_below(&seeded, 3)], 1 + seeded_below(&seeded, 19), columns,
                        &seeded);
            check(&sample, &seeded);
            close_sample(&sample);
        }
    }
    for (size_t i = 0; i < COUNT_OF(dense); i++) {
        open_sample(&sample, dense[i], TENSOR_BF16, 1 + seeded_below(&seeded, 19),
                    1 + seeded_below(&seeded, 700), &seeded);
        check(&sample, &seeded);
        close_sample(&sample);
    }
}

static void check_exact(struct sample *sample, struct seeded *seeded)
{
    check_sample(sample, kernel_set_portable(), seeded);
    if (kernel_set_avx2())
        check_sample(sample, kernel_set_avx2(), seeded);
}

START_TEST(products_are_within_their_bound)
{
    for (int round = 0; round < 4; round++)
        for_all_formats(check_exact);
}
END_TEST

static float *byte_product(struct sample *s, const struct kernel_set *set)
{
    size_t rows = (size_t)s->matrix.rows;
    float *out = memory_zeroed(TOKENS * rows, sizeof *out);
    float *scratch = memory_zeroed(kernel_scratch_floats((size_t)s->matrix.columns), sizeof(float));
    for (size_t t = 0; t < TOKENS; t++)
        set->prepare(&s->inputs, t, ACTIVATION_BYTES);
    set->matmul_bytes(&s->matrix, &s->inputs, TOKENS, 0, rows, out, rows, scratch);
    memory_free(scratch);
    return out;
}

static void check_bytes(struct sample *s, struct seeded *seeded)
{
    (void)seeded;
    const struct kernel_set *portable = kernel_set_portable();
    const struct kernel_set *lanes = kernel_set_avx2();
    if (!portable->has_bytes(&s->matrix))
        return;
    size_t rows = (size_t)s->matrix.rows;
    float *expected = byte_product(s, portable);
    for (size_t t = 0; t < TOKENS; t++) {
        for (size_t row = 0; row < rows; row++) {
            double terms = 0.0;
            double error = fabs((double)expected[t * rows + row] - exact(s, row, t, &terms));
            /* Half a step of 1/127 of the largest of 32 inputs, in either direction. */
            ck_assert_msg(error <= terms / 60.0, "portable bytes: %g of %g", error, terms);
        }
    }
    if (lanes) {
        ck_assert(lanes->has_bytes(&s->matrix));
        float *out = byte_product(s, lanes);
        for (size_t i = 0; i < TOKENS * rows; i++) {
            double slack = 30.0 * sqrt((double)s->matrix.columns) + 50.0;
            ck_assert_msg(fabs((double)out[i] - (double)expected[i]) <= BOUND * slack * 10,
                          "avx2 bytes: %g, portable %g", (double)out[i], (double)expected[i]);
        }
        memory_free(out);
    }
    memory_free(expected);
}

START_TEST(products_with_8_bit_inputs_are_within_their_bound)
{
    for (int round = 0; round < 4; round++)
        for_all_formats(check_bytes);
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

START_TEST(halves_convert_exactly_and_round_to_even)
{
    for (uint32_t half = 0; half < 0x10000; half++) {
        float value = kernel_from_half((uint16_t)half);
        if (isnan(value))
            continue;
        ck_assert_uint_eq(kernel_to_half(value), half);
    }
    ck_assert_uint_eq(kernel_to_half(1.0f + 0x1p-11f), 0x3c00);
    ck_assert_uint_eq(kernel_to_half(1.0f + 0x1.8p-10f), 0x3c02);
    ck_assert_uint_eq(kernel_to_half(65519.0f), 0x7bff);
    ck_assert_uint_eq(kernel_to_half(65520.0f), 0x7c00);
    ck_assert_uint_eq(kernel_to_half(0x1p-25f), 0);
}
END_TEST

/* rmsnorm, swiglu, rope and attention of the sets agree within a few last places. */
START_TEST(the_other_kernels_agree_with_the_portable_ones)
{
    const struct kernel_set *p = kernel_set_portable();
    const struct kernel_set *a = kernel_set_avx2();
    struct seeded seeded = seeded_open(3);
    float x[300];
    float y[300];
    float left[300];
    float right[300];
    if (!a)
        return;
    for (size_t n = 2; n < 300; n += 1 + n / 5) {
        for (size_t i = 0; i < n; i++) {
            x[i] = seeded_float(&seeded) * 20.0f;
            y[i] = seeded_float(&seeded);
        }
        p->rms_norm(x, y, 1e-6f, n, left);
        a->rms_norm(x, y, 1e-6f, n, right);
        for (size_t i = 0; i < n; i++)
            ck_assert_float_eq_tol(left[i], right[i], 2e-6f);
        memcpy(left, x, sizeof x);
        memcpy(right, x, sizeof x);
        p->swiglu(left, y, n);
        a->swiglu(right, y, n);
        for (size_t i = 0; i < n; i++)
            ck_assert_float_eq_tol(left[i], right[i], 4e-6f * (1.0f + fabsf(left[i])));
        memcpy(left, x, sizeof x);
        memcpy(right, x, sizeof x);
        p->rope(left, y, y, n / 2);
        a->rope(right, y, y, n / 2);
        ck_assert_mem_eq(left, right, n / 2 * 2 * sizeof(float));
    }
}
END_TEST

START_TEST(attention_of_the_sets_agrees)
{
    const struct kernel_set *sets[] = {kernel_set_portable(), kernel_set_avx2()};
    struct seeded seeded = seeded_open(4);
    enum { HEAD = 80, PAGE = 16, PAGES = 5 };
    static _Alignas(64) uint8_t memory[PAGES][2 * PAGE * HEAD * 4];
    uint8_t *pages[PAGES];
    float query[HEAD];
    float scores[PAGES * PAGE + 8];
    float out[2][HEAD];
    for (int is_half = 0; sets[1] && is_half < 2; is_half++) {
        for (size_t i = 0; i < HEAD; i++)
            query[i] = seeded_float(&seeded) * 4.0f;
        for (size_t p = 0; p < PAGES; p++) {
            pages[p] = memory[PAGES - 1 - p];
            for (size_t i = 0; i < (size_t)2 * PAGE * HEAD; i++)
                put_number(is_half ? TENSOR_F16 : TENSOR_F32, pages[p], i, seeded_float(&seeded));
        }
        for (uint32_t length = 1; length <= PAGES * PAGE; length += 7) {
            struct attention attention = {
                .query = query,
                .pages = pages,
                .value_offset = (size_t)PAGE * HEAD * (is_half ? 2 : 4),
                .page_positions = PAGE,
                .first = length % 3 == 0 ? length / 2 : 0,
                .length = length,
                .head_dim = HEAD,
                .is_half = is_half == 1,
                .scale = 0.111f,
                .has_sink = length % 2 == 0,
                .sink = 0.7f,
            };
            for (size_t s = 0; s < 2; s++)
                sets[s]->attend(&attention, scores, out[s]);
            for (size_t i = 0; i < HEAD; i++)
                ck_assert_float_eq_tol(out[0][i], out[1][i], 3e-6f);
        }
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("kernels");
    const TTest *const tests[] = {products_are_within_their_bound,
                                  products_with_8_bit_inputs_are_within_their_bound,
                                  golden_rows_unpack_to_their_values,
                                  halves_convert_exactly_and_round_to_even,
                                  the_other_kernels_agree_with_the_portable_ones,
                                  attention_of_the_sets_agrees};
    suite_add(suite, "kernels", tests, COUNT_OF(tests));
    return suite;
}
