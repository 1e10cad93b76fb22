/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pipeline of tensor groups as a kind of placement: which ranks are in which stage, by the links
 * or as asked for, and the tables for them.
 */
#include "actors/master/placement_attempt.h"
#include "actors/master/placement_groups.h"
#include "runtime/link_view.h"

#include <stdio.h>
#include <string.h>

/* Where nothing was measured: between ranks of one machine, and between machines. */
#define NEAR_S 40e-6
#define FAR_S 300e-6
#define FAR_BYTES_PER_S 110e6

static double seconds_between(const struct attempt *attempt, uint32_t from, uint32_t to)
{
    const struct node_record *a = attempt->chosen[from]->node;
    const struct node_record *b = attempt->chosen[to]->node;
    const double bytes = (double)attempt->model->shape.hidden * sizeof(float);
    const struct link_measured *link =
        attempt->question->links
            ? link_view_find(attempt->question->links, &a->node_id, &b->node_id)
            : NULL;
    if (from == to || ID_EQUAL(a->machine_id, b->machine_id))
        return NEAR_S;
    return (link && link->latency_us ? (double)link->latency_us / 2e6 : FAR_S) +
           bytes / (link && link->bytes_per_s ? (double)link->bytes_per_s : FAR_BYTES_PER_S);
}

uint32_t attempt_stages_asked(const struct place_instance *request)
{
    uint32_t ranks = 0;
    for (uint32_t i = 0; i < request->stages.count; i++)
        ranks += request->stages.items[i];
    return ranks;
}

bool attempt_group(struct attempt *attempt)
{
    const struct u32s *asked = &attempt->question->request->stages;
    const struct placement_node *chosen[RANK_COUNT_MAX];
    struct placement_groups groups;
    double seconds[RANK_COUNT_MAX * RANK_COUNT_MAX];
    attempt->stage_count = 0;
    if (attempt->count > RANK_COUNT_MAX ||
        (asked->count > 0 && attempt_stages_asked(attempt->question->request) != attempt->count))
        return false;
    for (uint32_t i = 0; i < asked->count && i < RANK_COUNT_MAX; i++)
        attempt->stage_sizes[attempt->stage_count++] = asked->items[i];
    if (asked->count > 0)
        return true;
    if (!attempt->question->links || attempt->question->links->rows.count == 0)
        return false; /* nothing is known of any link */
    for (uint32_t i = 0; i < attempt->count; i++)
        for (uint32_t k = 0; k < attempt->count; k++)
            seconds[i * attempt->count + k] = seconds_between(attempt, i, k);
    if (!placement_groups_find(seconds, attempt->count, &groups))
        return false;
    memcpy(chosen, attempt->chosen, sizeof(chosen));
    for (uint32_t i = 0; i < attempt->count; i++)
        attempt->chosen[i] = chosen[groups.order[i]];
    attempt->stage_count = groups.count;
    memcpy(attempt->stage_sizes, groups.sizes, sizeof(groups.sizes));
    return true;
}

enum status attempt_solve(const struct attempt *attempt, const struct partition_units *units,
                          const uint64_t *shares, struct partition *cuts, struct reason *reason)
{
    if (attempt->kind->sharding == SHARDING_PIPELINE_TENSOR)
        return partition_solve_stages(units, attempt->stage_sizes, attempt->stage_count, shares,
                                      cuts, reason);
    return partition_solve(attempt->kind->sharding, units, shares, attempt->count, cuts, reason);
}

enum status attempt_place(const struct attempt *attempt, const struct placement_cache *cache,
                          const uint64_t *shares, const uint64_t *budgets, struct partition *cuts,
                          struct reason *reason)
{
    const struct model_shape *shape = &attempt->model->shape;
    if (attempt->kind->sharding == SHARDING_PIPELINE_TENSOR)
        return placement_place_stages(shape, cache, attempt->stage_sizes, attempt->stage_count,
                                      shares, budgets, cuts, reason);
    return placement_place(shape, cache, attempt->kind->sharding, shares, budgets, attempt->count,
                           cuts, reason);
}
