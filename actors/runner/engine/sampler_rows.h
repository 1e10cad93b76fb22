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

/* Rows that are handled together; the sum of weights is of so many sums. */
enum { ROWS_LANES = 16 };

/* Copies the logits; returns how many are NaN or plus infinity. */
size_t rows_take(const float *logits, size_t rows, float *scores_out);
/* The largest; none may be NaN. */
float rows_largest(const float *scores, size_t rows);
/* exp(score - maximum) of each, none above 0, within 2e-7 of it and 0 below exp(-87).  Returns
 * their sum, always added in the same order. */
double rows_weigh(const float *scores, size_t rows, float maximum, float *weights_out);
/* weight = exp((score - maximum) / temperature), likewise. */
void rows_weigh_warm(const float *scores, size_t rows, float maximum, float temperature,
                     float *weights_out);
/* Takes `offset` from each. */
void rows_lower(float *scores, size_t rows, float offset);

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
