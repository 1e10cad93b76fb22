/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/seeded.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct seeded seeded_open(uint64_t fallback)
{
    const char *text = getenv("TROUPE_SEED");
    struct seeded seeded = {text ? strtoull(text, NULL, 0) : fallback};
    printf("# seed %" PRIu64 "\n", seeded.state);
    fflush(stdout);
    return seeded;
}

uint64_t seeded_next(struct seeded *seeded)
{
    uint64_t z = (seeded->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t seeded_below(struct seeded *seeded, uint64_t bound)
{
    return seeded_next(seeded) % bound;
}

float seeded_float(struct seeded *seeded)
{
    return (float)((double)(seeded_next(seeded) >> 11) / 4503599627370496.0 - 1.0);
}

void seeded_fill(struct seeded *seeded, void *bytes_out, size_t size)
{
    unsigned char *bytes = bytes_out;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)seeded_next(seeded);
}
