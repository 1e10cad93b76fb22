/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The links of a tree that spans all nodes with the fastest there are, in their order: where the
 * next is much slower than the one before, the tree falls apart into groups.
 */
#include "actors/master/placement_groups.h"

#include <string.h>

struct edge {
    double seconds;
    uint32_t from;
    uint32_t to;
};

/* The slower way of the two. */
static double between(const double *seconds, uint32_t count, uint32_t a, uint32_t b)
{
    const double there = seconds[a * count + b];
    const double back = seconds[b * count + a];
    return there > back ? there : back;
}

/* count - 1 links, fastest first. */
static void span(const double *seconds, uint32_t count, struct edge *edges)
{
    uint32_t nearest[RANK_COUNT_MAX] = {0};
    bool is_in[RANK_COUNT_MAX] = {true};
    for (uint32_t done = 0; done + 1 < count; done++) {
        uint32_t next = 0;
        for (uint32_t i = 1; i < count; i++)
            if (!is_in[i] && (next == 0 || between(seconds, count, i, nearest[i]) <
                                               between(seconds, count, next, nearest[next])))
                next = i;
        const struct edge edge = {between(seconds, count, next, nearest[next]), nearest[next],
                                  next};
        uint32_t at = done;
        for (; at > 0 && edges[at - 1].seconds > edge.seconds; at--)
            edges[at] = edges[at - 1];
        edges[at] = edge;
        is_in[next] = true;
        for (uint32_t i = 1; i < count; i++)
            if (!is_in[i] && between(seconds, count, i, next) <
                                 between(seconds, count, i, nearest[i]))
                nearest[i] = next;
    }
}

/* Links of the tree that are within groups; 0: they are all alike. */
static uint32_t find_gap(const struct edge *edges, uint32_t count)
{
    uint32_t found = 0;
    double widest = GROUPS_APART;
    for (uint32_t i = 1; i < count; i++) {
        const double fast = edges[i - 1].seconds;
        const double slow = edges[i].seconds;
        if (slow < fast * widest || slow - fast < GROUPS_APART_S)
            continue;
        widest = fast > 0 ? slow / fast : widest;
        found = i;
    }
    return found;
}

static void join(uint32_t *groups, uint32_t count, uint32_t a, uint32_t b)
{
    const uint32_t kept = groups[a] < groups[b] ? groups[a] : groups[b];
    const uint32_t gone = groups[a] < groups[b] ? groups[b] : groups[a];
    for (uint32_t i = 0; i < count; i++)
        groups[i] = groups[i] == gone ? kept : groups[i];
}

bool placement_groups_find(const double *seconds, uint32_t count,
                           struct placement_groups *groups_out)
{
    struct edge edges[RANK_COUNT_MAX];
    uint32_t groups[RANK_COUNT_MAX]; /* by their first node */
    if (count < 3 || count > RANK_COUNT_MAX)
        return false;
    span(seconds, count, edges);
    const uint32_t within = find_gap(edges, count - 1);
    if (within == 0)
        return false;
    for (uint32_t i = 0; i < count; i++)
        groups[i] = i;
    for (uint32_t i = 0; i < within; i++)
        join(groups, count, edges[i].from, edges[i].to);
    /* Nodes of a group that only others join stand no nearer than two groups do. */
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < i; k++)
            if (groups[i] == groups[k] &&
                between(seconds, count, i, k) >= edges[within].seconds)
                return false;
    memset(groups_out, 0, sizeof(*groups_out));
    for (uint32_t first = 0, placed = 0; first < count; first++) {
        if (groups[first] != first)
            continue;
        const uint32_t begun = placed;
        for (uint32_t i = first; i < count; i++)
            if (groups[i] == first)
                groups_out->order[placed++] = i;
        groups_out->sizes[groups_out->count++] = placed - begun;
    }
    return true;
}
