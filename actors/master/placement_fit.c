/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_attempt.h"

#include "actors/master/placement_senders.h"

#include <string.h>

/* Ranks of one machine share its memory: the sums of those up to each rank. */
static void take_up(const struct placement_fitting *fitting, uint64_t taken_out[RANK_COUNT_MAX])
{
    uint64_t taken[RANK_COUNT_MAX] = {0}; /* of machines, at the first rank of each */
    for (uint32_t i = 0; i < fitting->attempt->count; i++) {
        const struct rank_record *rank = &fitting->candidate->ranks.items[i];
        uint64_t *all = &taken[fitting->machines[i]];
        const uint64_t bytes = rank->weight_bytes + rank->scratch_bytes;
        if (bytes > UINT64_MAX - *all || rank->cache_bytes > UINT64_MAX - *all - bytes)
            *all = UINT64_MAX;
        else
            *all += bytes + rank->cache_bytes;
        taken_out[i] = *all;
    }
}

static void find_machines(struct placement_fitting *fitting)
{
    const struct attempt *attempt = fitting->attempt;
    for (uint32_t i = 0; i < attempt->count; i++)
        fitting->machines[i] = attempt_machine(attempt, i);
}

/* Of what is free on a node, what one of the ranks there may take. */
void fitting_budgets(const struct placement_fitting *fitting, uint64_t budgets[RANK_COUNT_MAX])
{
    const struct attempt *attempt = fitting->attempt;
    for (uint32_t i = 0; i < attempt->count; i++)
        budgets[i] = fitting->limits[i] / attempt_sharing(attempt, i);
}

/* The table by memory for so large a cache; where there is none the one there was stays. */
static void solve_by_memory(struct placement_fitting *fitting, const struct placement_cache *cache)
{
    const struct attempt *attempt = fitting->attempt;
    uint64_t budgets[RANK_COUNT_MAX];
    struct partition cuts[RANK_COUNT_MAX];
    struct reason reason;
    uint64_t all = 0;
    fitting_budgets(fitting, budgets);
    for (uint32_t i = 0; i < attempt->count; i++)
        all = budgets[i] > UINT64_MAX - all ? UINT64_MAX : all + budgets[i];
    if (all < attempt->model->shape.weight_bytes)
        return;
    if (attempt_place(attempt, cache, NULL, budgets, cuts, &reason) == STATUS_OK)
        memcpy(fitting->cuts, cuts, attempt->count * sizeof(cuts[0]));
}

/* Weights, and what a position and a request take, once for these cuts. */
static void count_ranks(struct placement_fitting *fitting)
{
    const struct model_shape *shape = &fitting->attempt->model->shape;
    const enum kv_format format = (enum kv_format)fitting->candidate->kv_format;
    for (uint32_t i = 0; i < fitting->attempt->count && !fitting->are_counted; i++) {
        fitting->weights[i] = placement_weight_bytes(shape, &fitting->cuts[i]);
        placement_cache_sizes(shape, &fitting->cuts[i], format, &fitting->sizes[i]);
    }
    fitting->are_counted = true;
}

/* Fills the bytes of all ranks; whether they are within the limits. */
static bool fits(struct placement_fitting *fitting, uint64_t positions, uint32_t requests)
{
    const struct model_shape *shape = &fitting->attempt->model->shape;
    struct candidate *candidate = fitting->candidate;
    const struct placement_cache cache = {positions, requests,
                                          (enum kv_format)candidate->kv_format};
    uint64_t taken[RANK_COUNT_MAX];
    if (fitting->is_by_memory) {
        solve_by_memory(fitting, &cache);
        fitting->are_counted = false;
    }
    count_ranks(fitting);
    candidate->positions = (uint32_t)positions;
    candidate->requests = requests;
    for (uint32_t i = 0; i < fitting->attempt->count; i++) {
        struct rank_record *rank = &candidate->ranks.items[i];
        rank->weight_bytes = fitting->weights[i];
        rank->cache_bytes =
            kv_total_bytes(&fitting->sizes[i], positions, requests, KV_STEP_ROWS);
        rank->scratch_bytes =
            placement_scratch_bytes(shape, &fitting->cuts[i], requests);
    }
    take_up(fitting, taken);
    for (uint32_t i = 0; i < fitting->attempt->count; i++) {
        if (taken[i] <= fitting->limits[i])
            continue;
        const struct rank_record *rank = &candidate->ranks.items[i];
        const uint64_t own = rank->weight_bytes + rank->cache_bytes + rank->scratch_bytes;
        const uint64_t before = taken[i] - own;
        fitting->short_rank = i;
        fitting->short_have = fitting->limits[i] > before ? fitting->limits[i] - before : 0;
        return false;
    }
    return true;
}

/* What the requests keep of their own is more than what they share. */
static bool are_requests_costly(const struct placement_fitting *fitting, uint64_t positions,
                                uint32_t requests)
{
    uint64_t shared = 0;
    uint64_t own = 0;
    for (uint32_t i = 0; i < fitting->attempt->count; i++) {
        const struct kv_sizes *sizes = &fitting->sizes[i];
        shared += sizes->page_bytes * kv_page_count(positions);
        own += kv_own_bytes(sizes, kv_page_count(positions), KV_STEP_ROWS) * requests;
    }
    return own > shared;
}

/* Of a context that was asked for and does not fit: one that would.  Cuts and bytes stay. */
static void find_nearest(struct placement_fitting *fitting, uint32_t context, uint32_t requests)
{
    struct partition cuts[RANK_COUNT_MAX];
    const bool is_by_memory = fitting->is_by_memory;
    const uint32_t short_rank = fitting->short_rank;
    const uint64_t short_have = fitting->short_have;
    const uint32_t count = fitting->attempt->count;
    uint32_t nearest = context / 2;
    memcpy(cuts, fitting->cuts, count * sizeof(cuts[0]));
    while (nearest >= PLACEMENT_CONTEXT_LEAST && !fits(fitting, nearest, requests))
        nearest /= 2;
    memcpy(fitting->cuts, cuts, count * sizeof(cuts[0]));
    fitting->is_by_memory = false;
    fitting->are_counted = false;
    (void)fits(fitting, context, requests);
    fitting->is_by_memory = is_by_memory;
    fitting->short_rank = short_rank;
    fitting->short_have = short_have;
    fitting->nearest_context = nearest >= PLACEMENT_CONTEXT_LEAST ? nearest : 0;
}

/* The context that fits is the largest, halving from the one wanted, with which every rank fits;
 * fewer requests at once where these cost more. */
bool fitting_context(struct placement_fitting *fitting)
{
    const struct attempt *attempt = fitting->attempt;
    const bool is_fixed = attempt_context_asked(attempt) != 0;
    uint32_t requests = attempt_requests(attempt);
    uint32_t context = attempt_context(attempt);
    find_machines(fitting);
    for (uint32_t i = 0; i < attempt->count; i++) {
        const uint64_t taken =
            placement_senders_taken(attempt->question->state, fitting->candidate,
                                    &attempt->chosen[i]->node->machine_id) +
            PLACEMENT_HEAD_ROOM;
        const uint64_t memory_free = attempt->chosen[i]->memory_free;
        fitting->limits[i] = memory_free > taken ? memory_free - taken : 0;
    }
    bool is_fitting = fits(fitting, context, requests);
    while (!is_fitting) {
        const bool may_shrink = !is_fixed && context / 2 >= PLACEMENT_CONTEXT_LEAST;
        if (requests > 1 && (!may_shrink || are_requests_costly(fitting, context, requests)))
            requests /= 2;
        else if (may_shrink)
            context /= 2;
        else
            break;
        is_fitting = fits(fitting, context, requests);
    }
    if (!is_fitting && is_fixed)
        find_nearest(fitting, context, requests);
    fitting->candidate->context = context;
    return is_fitting;
}

/* Room for the reserve of every request, from half of what is free beside the context: the rest is
 * for what else this machine has to do. */
void fitting_grow(struct placement_fitting *fitting)
{
    const struct attempt *attempt = fitting->attempt;
    const uint32_t requests = fitting->candidate->requests;
    const uint64_t context = fitting->candidate->context;
    const uint64_t reserve = attempt_settings(attempt)->reserve;
    const uint64_t most = requests * (reserve < context ? reserve : context);
    uint64_t low = kv_page_count(context);
    uint64_t high = kv_page_count(most < UINT32_MAX / 2 ? most : UINT32_MAX / 2);
    uint64_t taken[RANK_COUNT_MAX];
    take_up(fitting, taken);
    for (uint32_t i = 0; i < attempt->count; i++)
        fitting->limits[i] = taken[i] + (fitting->limits[i] - taken[i]) / 2;
    while (low < high) {
        const uint64_t middle = low + (high - low + 1) / 2;
        if (fits(fitting, middle * KV_PAGE_POSITIONS, requests))
            low = middle;
        else
            high = middle - 1;
    }
    const uint64_t positions = low * KV_PAGE_POSITIONS;
    (void)fits(fitting, positions > context ? positions : context, requests);
}
