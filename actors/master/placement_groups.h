/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placement_groups: nodes that belong into one tensor group, by the links between them.
 *
 * Nodes joined by links that are much faster than the next slower ones are a group; what is slow
 * lies between groups.  Where all links are about alike, there are none: nothing asks for groups.
 *
 * Pure.  Memory: none.  Fails: no.
 */
#ifndef TROUPE_ACTORS_MASTER_PLACEMENT_GROUPS_H
#define TROUPE_ACTORS_MASTER_PLACEMENT_GROUPS_H

#include "protocol/limits.h"

#include <stdbool.h>
#include <stdint.h>

/* The slowest link within a group is faster so many times, and by so much, than the fastest that
 * holds two groups together. */
#define GROUPS_APART 3.0
#define GROUPS_APART_S 100e-6

struct placement_groups {
    uint32_t count;
    uint32_t sizes[RANK_COUNT_MAX];
    uint32_t order[RANK_COUNT_MAX]; /* the nodes, group after group; the first one stays first */
};

/* `seconds[i * count + k]`: a hidden state from node i to node k.  False: links ask for no groups
 * of which one has two nodes. */
bool placement_groups_find(const double *seconds, uint32_t count,
                           struct placement_groups *groups_out);

#endif
