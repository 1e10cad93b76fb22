/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drawing is a race: each token arrives after an exponential time of its own with its weight as the
 * rate, and the first one is drawn, which is each with its probability.  A small change of the
 * weights changes the winner only where two arrive as near to each other; along a sum of all
 * weights it would move the bounds of every token behind it.  And the first of all rows is the
 * first of the first of each rank's.
 */
#include "actors/runner/engine/sampler_inside.h"

struct race {
    uint64_t state; /* of sampling_position */
    double best;    /* the earliest so far */
    uint32_t id;
};

static const uint64_t GOLDEN = 0x9e3779b97f4a7c15U;

/* The finaliser of splitmix64. */
static uint64_t mixed(uint64_t value)
{
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9U;
    value = (value ^ value >> 27) * 0x94d049bb133111ebU;
    return value ^ value >> 31;
}

uint64_t sampling_position(uint64_t seed, uint32_t choice, uint64_t position)
{
    uint64_t state = mixed(seed + GOLDEN);
    state = mixed(state + GOLDEN * ((uint64_t)choice + 1));
    return mixed(state + GOLDEN * (position + 1));
}

double sampling_random(uint64_t state, uint32_t id)
{
    return ((double)(mixed(state + GOLDEN * ((uint64_t)id + 1)) >> 12) + 0.5) * 0x1p-52;
}

static void race_enter(struct race *race, uint32_t id, double weight)
{
    const double random = sampling_random(race->state, id);
    /* -log(1 - r) is at least r: most need no logarithm. */
    if (!(random < weight * race->best))
        return;
    const double time = -log1p(-random) / weight;
    if (time < race->best) {
        race->best = time;
        race->id = id;
    }
}

uint32_t race_of_list(const struct token_score *list, size_t count, float maximum,
                      float temperature, uint64_t state)
{
    struct race race = {state, INFINITY, list[0].id};
    for (size_t at = 0; at < count; at++) {
        const double weight = exp(((double)list[at].score - (double)maximum) / (double)temperature);
        if (weight > 0.0)
            race_enter(&race, list[at].id, weight);
    }
    return race.id;
}

/* Scores divided by temperature in place of the weights, then weighed. */
uint32_t race_of_rows(const struct sampler *sampler, const float *scores, float maximum,
                      float temperature, uint64_t state, double *time_out)
{
    float *weights = sampler->weights;
    const uint32_t first = (uint32_t)sampler->first;
    rows_weigh_warm(scores, sampler->rows, maximum, temperature, weights);
    struct race race = {state, INFINITY, first};
    size_t row = 0;
    for (; row + ROWS_LANES <= sampler->rows; row += ROWS_LANES) {
        /* Hardly any is early enough: that is found of all without a jump. */
        bool enters = false;
        for (uint32_t lane = 0; lane < ROWS_LANES; lane++)
            enters |= sampling_random(state, first + (uint32_t)row + lane) <
                      (double)weights[row + lane] * race.best;
        for (uint32_t lane = 0; enters && lane < ROWS_LANES; lane++)
            if (weights[row + lane] > 0.0F)
                race_enter(&race, first + (uint32_t)row + lane, (double)weights[row + lane]);
    }
    for (; row < sampler->rows; row++)
        if (weights[row] > 0.0F)
            race_enter(&race, first + (uint32_t)row, (double)weights[row]);
    *time_out = race.best;
    return race.id;
}
