/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden: the engine in exact mode against the reference.
 *
 * Bounds (from the reference's own spread between two implementations in fp32, times four): logits
 * 3e-4, hidden state after each layer 1e-4, greedy tokens equal, because every one of them wins by
 * at least 0.004.  Three times as much where two formulas of one recurrence are compared.
 */
#ifndef TROUPE_TESTS_ENGINE_GOLDEN_H
#define TROUPE_TESTS_ENGINE_GOLDEN_H

#include "actors/runner/engine/kernels/kernels.h"
#include "protocol/sharding.h"

#include <stddef.h>
#include <stdint.h>

struct golden_run {
    enum sharding sharding;
    const uint64_t *shares; /* NULL: equal */
    uint32_t ranks;
    const struct kernel_set *kernels; /* NULL: the best */
    uint32_t threads;
    size_t tokens; /* greedy ones that are compared, up to 64 */
    float logit_bound;
};

#define GOLDEN_LOGIT_BOUND 3e-4f
#define GOLDEN_HIDDEN_BOUND 1e-4f

struct local_world;
struct oracle;

/* One prompt and run->tokens greedy tokens through a world; of `run` only these and the bound. */
void golden_check_prompt(const char *label, struct local_world *world,
                         const struct oracle *oracle, unsigned prompt,
                         const struct golden_run *run);
void golden_check(const char *name, const struct golden_run *run);
void golden_check_hidden(const char *name, float bound);

#endif
