/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/sampler_rows.h"

#include <math.h>
#include <string.h>

size_t rows_take(const float *logits, size_t rows, float *scores_out)
{
    int32_t broken = 0;
    for (size_t id = 0; id < rows; id++) {
        scores_out[id] = logits[id];
        broken += logits[id] < INFINITY ? 0 : 1;
    }
    return (size_t)broken;
}

float rows_largest(const float *scores, size_t rows)
{
    float most[ROWS_LANES];
    float largest = -INFINITY;
    const size_t whole = rows / ROWS_LANES * ROWS_LANES;
    for (size_t lane = 0; lane < ROWS_LANES; lane++)
        most[lane] = -INFINITY;
    for (size_t at = 0; at < whole; at += ROWS_LANES)
        for (size_t lane = 0; lane < ROWS_LANES; lane++)
            most[lane] = scores[at + lane] > most[lane] ? scores[at + lane] : most[lane];
    for (size_t lane = 0; lane < ROWS_LANES; lane++)
        largest = most[lane] > largest ? most[lane] : largest;
    for (size_t at = whole; at < rows; at++)
        largest = scores[at] > largest ? scores[at] : largest;
    return largest;
}

/* exp(x) for x <= 0.  A formula of its own, so that every machine gets the same bits.  What is too
 * small is masked at both ends: a jump would keep compilers from making vectors of it. */
static inline float exp_below_zero(float x)
{
    const uint32_t inside = 0U - (uint32_t)(x >= -87.0F);
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    bits &= inside;
    float bounded;
    memcpy(&bounded, &bits, sizeof(bounded));
    /* Adding 1.5 * 2^23 rounds to a whole number, which then stands in the low bits. */
    float shifted = bounded * 1.44269504F + 12582912.0F;
    float power = shifted - 12582912.0F;
    float rest = bounded - power * 0.693359375F;
    rest = rest + power * 2.12194440e-4F;
    float sum = 1.9875691500e-4F;
    sum = sum * rest + 1.3981999507e-3F;
    sum = sum * rest + 8.3334519073e-3F;
    sum = sum * rest + 4.1665795894e-2F;
    sum = sum * rest + 1.6666665459e-1F;
    sum = sum * rest + 5.0000001201e-1F;
    sum = sum * rest * rest + rest + 1.0F;
    bits = ((uint32_t)((int32_t)power + 127) << 23) & inside;
    float scale;
    memcpy(&scale, &bits, sizeof(scale));
    return sum * scale;
}

float rows_weight(float score, float maximum)
{
    return exp_below_zero(score - maximum);
}

struct rows_sum rows_weigh(const float *scores, size_t rows, float maximum, float *weights_out)
{
    struct rows_sum sum = {0.0, 0.0};
    double highs[ROWS_LANES] = {0.0};
    double lows[ROWS_LANES] = {0.0};
    const size_t whole = rows / ROWS_LANES * ROWS_LANES;
    for (size_t at = 0; at < whole; at += ROWS_LANES) {
        for (size_t lane = 0; lane < ROWS_LANES; lane++)
            weights_out[at + lane] = exp_below_zero(scores[at + lane] - maximum);
        for (size_t lane = 0; lane < ROWS_LANES; lane++) {
            struct rows_sum one = {highs[lane], lows[lane]};
            rows_sum_add(&one, weights_out[at + lane]);
            highs[lane] = one.high;
            lows[lane] = one.low;
        }
    }
    for (size_t lane = 0; lane < ROWS_LANES; lane++)
        rows_sum_join(&sum, &(struct rows_sum){highs[lane], lows[lane]});
    for (size_t at = whole; at < rows; at++) {
        weights_out[at] = exp_below_zero(scores[at] - maximum);
        rows_sum_add(&sum, weights_out[at]);
    }
    return sum;
}

void rows_weigh_warm(const float *scores, size_t rows, float maximum, float temperature,
                     float *weights_out)
{
    for (size_t at = 0; at < rows; at++)
        weights_out[at] = exp_below_zero((scores[at] - maximum) / temperature);
}
