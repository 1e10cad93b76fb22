/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/route.h"

#include "actors/runner/engine/kernels/routing.h"

#include <math.h>

/* Groups whose two best experts are worth least get scores of 0. */
static void drop_groups(const struct model_experts *experts, float *scores)
{
    uint32_t size = experts->count / experts->groups;
    for (uint32_t dropped = experts->groups_used; dropped < experts->groups; dropped++) {
        uint32_t worst = UINT32_MAX;
        float least = INFINITY;
        for (uint32_t g = 0; g < experts->groups; g++) {
            const float *group = scores + g * size;
            float best = -INFINITY;
            float second = -INFINITY;
            if (isnan(group[0]))
                continue; /* dropped already */
            for (uint32_t i = 0; i < size; i++) {
                if (group[i] > best) {
                    second = best;
                    best = group[i];
                } else if (group[i] > second) {
                    second = group[i];
                }
            }
            float sum = size > 1 ? best + second : best;
            /* Of equal ones the later goes. */
            if (worst == UINT32_MAX || sum <= least) {
                worst = g;
                least = sum;
            }
        }
        for (uint32_t i = 0; worst != UINT32_MAX && i < size; i++)
            scores[worst * size + i] = NAN;
    }
    for (uint32_t i = 0; i < experts->count; i++)
        scores[i] = isnan(scores[i]) ? 0.0f : scores[i];
}

static void find_scores(const struct model_experts *experts, const float *logits, float *scores)
{
    for (uint32_t i = 0; i < experts->count; i++)
        scores[i] = experts->scoring == SCORING_SIGMOID ? kernel_routing_sigmoid(logits[i])
                                                        : logits[i];
    if (experts->scoring == SCORING_SOFTMAX)
        kernel_routing_softmax(scores, experts->count);
}

void route_choose(const struct model_experts *experts, const float *logits, const float *bias,
                  float *scores, struct route_choice *choices)
{
    float *ranks = scores + experts->count; /* what the choice goes by */
    find_scores(experts, logits, scores);
    for (uint32_t i = 0; i < experts->count; i++) {
        ranks[i] = experts->scoring == SCORING_SOFTMAX ? logits[i] : scores[i];
        if (bias)
            ranks[i] += bias[i];
        /* No number would be chosen never or always, by the compiler's whim. */
        if (isnan(ranks[i]))
            ranks[i] = -INFINITY;
    }
    if (experts->groups > 1)
        drop_groups(experts, ranks);
    double total = 0.0;
    for (uint32_t k = 0; k < experts->used; k++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < experts->count; i++) {
            if (!isnan(ranks[i]) && (best == UINT32_MAX || ranks[i] > ranks[best]))
                best = i;
        }
        choices[k] = (struct route_choice){best, scores[best]};
        ranks[best] = NAN; /* taken */
        total += (double)scores[best];
    }
    double divisor = experts->normalises ? total + 1e-20 : 1.0;
    for (uint32_t k = 0; k < experts->used; k++)
        choices[k].weight = (float)((double)choices[k].weight / divisor * experts->scaling);
    for (uint32_t k = 1; k < experts->used; k++) {
        struct route_choice choice = choices[k];
        uint32_t at = k;
        for (; at > 0 && choices[at - 1].expert > choice.expert; at--)
            choices[at] = choices[at - 1];
        choices[at] = choice;
    }
}
