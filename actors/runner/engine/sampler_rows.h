/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sampler_rows: passes over a number for each token of a vocabulary, written so that compilers make
 * vectors of them, with the same bits on every machine.
 *
 * Memory   none.
 * Threads  any.
 * Fails    never.
 */
#ifndef TROUPE_ENGINE_SAMPLER_ROWS_H
#define TROUPE_ENGINE_SAMPLER_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rows that are handled together. */
enum { ROWS_LANES = 16 };

/* Copies the logits, also to where they are; returns how many are NaN or plus infinity. */
size_t rows_take(const float *logits, size_t rows, float *scores_out);
/* The largest; none may be NaN. */
float rows_largest(const float *scores, size_t rows);

/* A sum of weights from 0 to 1, in two parts that are exact for up to 2^20 of them: whatever order
 * and whatever groups they are added in, the bits are the same. */
struct rows_sum {
    double high; /* multiples of 2^-32 */
    double low;  /* what is left of each, in multiples of 2^-65 */
};

static inline void rows_sum_add(struct rows_sum *sum, float weight)
{
    /* Adding 1.5 * 2^20 rounds to the multiple whose bits are the lowest then; so the other. */
    const double high = ((double)weight + 0x1.8p20) - 0x1.8p20;
    sum->high += high;
    sum->low += (((double)weight - high) + 0x1.8p-13) - 0x1.8p-13;
}

static inline void rows_sum_join(struct rows_sum *sum, const struct rows_sum *other)
{
    sum->high += other->high;
    sum->low += other->low;
}

static inline double rows_sum_value(const struct rows_sum *sum)
{
    return sum->high + sum->low;
}

/* exp(score - maximum), which is not above 0: within 2e-7 of it and 0 below exp(-87). */
float rows_weight(float score, float maximum);
/* The same of each. */
struct rows_sum rows_weigh(const float *scores, size_t rows, float maximum, float *weights_out);
/* weight = exp((score - maximum) / temperature), likewise. */
void rows_weigh_warm(const float *scores, size_t rows, float maximum, float temperature,
                     float *weights_out);

/* The first row from `at` on with a score above `bound`; `rows` when there is none. */
static inline size_t rows_next_above(const float *scores, size_t rows, size_t at, float bound)
{
    for (; at < rows && at % ROWS_LANES != 0; at++)
        if (scores[at] > bound)
            return at;
    for (; at + ROWS_LANES <= rows; at += ROWS_LANES) {
        int32_t above = 0;
        for (size_t lane = 0; lane < ROWS_LANES; lane++)
            above |= scores[at + lane] > bound ? -1 : 0;
        if (above != 0)
            break;
    }
    while (at < rows && !(scores[at] > bound))
        at++;
    return at;
}

#endif
