/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route: which experts a token uses, and with what weight.
 *
 * Ranks of a tensor cut must agree on the experts though their kernels differ: everything from the
 * hidden state, which is a sum over ranks and the same on all, to the choice is computed here and
 * in kernels/routing.h, whose bits are the same everywhere.
 *
 * Memory   none; callers give buffers.
 * Threads  any.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_ROUTE_H
#define TROUPE_ACTORS_RUNNER_ENGINE_ROUTE_H

#include "runtime/model_config.h"

#include <stddef.h>
#include <stdint.h>

struct route_choice {
    uint32_t expert;
    float weight;
};

/* From the router's outputs to `experts->used` choices by rising expert.  `bias` (NULL for none)
 * counts for the choice only.  `scores` holds 2 * experts->count floats.  Equal scores: the lower
 * expert first. */
void route_choose(const struct model_experts *experts, const float *logits, const float *bias,
                  float *scores, struct route_choice *choices_out);

#endif
