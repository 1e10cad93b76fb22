/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seeded: random numbers of a test, all from one printed seed (splitmix64).
 *
 * TROUPE_SEED in the environment repeats a run.
 */
#ifndef TROUPE_TESTS_SUPPORT_SEEDED_H
#define TROUPE_TESTS_SUPPORT_SEEDED_H

#include <stddef.h>
#include <stdint.h>

struct seeded {
    uint64_t state;
};

/* TROUPE_SEED if set, else `fallback`; printed as a TAP comment. */
struct seeded seeded_open(uint64_t fallback);
uint64_t seeded_next(struct seeded *seeded);
/* Uniform enough below `bound`, which is above 0. */
uint64_t seeded_below(struct seeded *seeded, uint64_t bound);
/* In [-1, 1). */
float seeded_float(struct seeded *seeded);
void seeded_fill(struct seeded *seeded, void *bytes_out, size_t size);

#endif
