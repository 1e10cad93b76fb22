/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_attempt.h"

#include "actors/master/placement_senders.h"

#include <string.h>

/* Ranks of one machine share its memory: the sum of those up to `rank`. */
static uint64_t taken_up_to(const struct attempt *attempt, const struct candidate *candidate,
                            uint32_t rank)
{
    uint64_t taken = 0;
    for (uint32_t i = 0; i <= rank; i++) {
        const struct rank_record *other = &candidate->ranks.items[i];
        const uint64_t bytes = other->weight_bytes + other->scratch_bytes;
        if (!ID_EQUAL(attempt->chosen[i]->node->machine_id,
                      attempt->chosen[rank]->node->machine_id))
            continue;
        if (bytes > UINT64_MAX - taken || other->cache_bytes > UINT64_MAX - taken - bytes)
            return UINT64_MAX;
        taken += bytes + other->cache_bytes;
    }
    return taken;
}

/* Of what is free on a node, what one of the ranks there may take. */
void fitting_budgets(const struct placement_fitting *fitting, uint64_t budgets[RANK_COUNT_MAX])
{
    const struct attempt *attempt = fitting->attempt;
    for (uint32_t i = 0; i < attempt->count; i++) {
        uint32_t sharing = 0;
        for (uint32_t k = 0; k < attempt->count; k++)
            sharing += ID_EQUAL(attempt->chosen[k]->node->machine_id,
                                attempt->chosen[i]->node->machine_id);
        budgets[i] = fitting->limits[i] / (sharing ? sharing : 1);
    }
}

/* The table by memory for so large a cache; where there is none the one there was stays. */
static void solve_by_memory(struct placement_fitting *fitting, const struct placement_cache *cache)
{
    const struct attempt *attempt = fitting->attempt;
    uint64_t budgets[RANK_COUNT_MAX];
    struct partition cuts[RANK_COUNT_MAX];
    struct reason reason;
    fitting_budgets(fitting, budgets);
    if (placement_place(&attempt->model->shape, cache, attempt->kind->sharding, NULL, budgets,
                        attempt->count, cuts, &reason) == STATUS_OK)
        memcpy(fitting->cuts, cuts, attempt->count * sizeof(cuts[0]));
}

/* Fills the bytes of all ranks; whether they are within the limits. */
static bool fits(struct placement_fitting *fitting, uint64_t positions, uint32_t requests)
{
    const struct model_shape *shape = &fitting->attempt->model->shape;
    struct candidate *candidate = fitting->candidate;
    const struct placement_cache cache = {positions, requests,
                                          (enum kv_format)candidate->kv_format};
    if (fitting->is_by_memory)
        solve_by_memory(fitting, &cache);
    candidate->positions = (uint32_t)positions;
    candidate->requests = requests;
    for (uint32_t i = 0; i < fitting->attempt->count; i++) {
        struct rank_record *rank = &candidate->ranks.items[i];
        rank->weight_bytes = placement_weight_bytes(shape, &fitting->cuts[i]);
        rank->cache_bytes = placement_cache_bytes(shape, &fitting->cuts[i], &cache);
        rank->scratch_bytes = placement_scratch_bytes(shape, requests);
    }
    for (uint32_t i = 0; i < fitting->attempt->count; i++) {
        const uint64_t taken = taken_up_to(fitting->attempt, candidate, i);
        if (taken <= fitting->limits[i])
            continue;
        fitting->short_rank = i;
        fitting->short_bytes = taken - fitting->limits[i];
        return false;
    }
    return true;
}

/* What the requests keep of their own is more than what they share. */
static bool are_requests_costly(const struct placement_fitting *fitting, uint64_t positions,
                                uint32_t requests)
{
    struct kv_sizes sizes;
    uint64_t shared = 0;
    uint64_t own = 0;
    for (uint32_t i = 0; i < fitting->attempt->count; i++) {
        placement_cache_sizes(&fitting->attempt->model->shape, &fitting->cuts[i],
                              (enum kv_format)fitting->candidate->kv_format, &sizes);
        shared += sizes.page_bytes * kv_page_count(positions);
        own += kv_own_bytes(&sizes, kv_page_count(positions), KV_STEP_ROWS) * requests;
    }
    return own > shared;
}

/* The context that fits is the largest, halving from the one wanted, with which every rank fits;
 * fewer requests at once where these cost more. */
bool fitting_context(struct placement_fitting *fitting)
{
    const struct attempt *attempt = fitting->attempt;
    const bool is_fixed = attempt_context_asked(attempt) != 0;
    uint32_t requests = attempt_requests(attempt);
    uint32_t context = attempt_context(attempt);
    for (uint32_t i = 0; i < attempt->count; i++) {
        const uint64_t taken =
            placement_senders_taken(attempt->question->state, fitting->candidate,
                                    &attempt->chosen[i]->node->machine_id);
        const uint64_t memory_free = attempt->chosen[i]->memory_free;
        fitting->limits[i] = memory_free > taken ? memory_free - taken : 0;
    }
    while (!fits(fitting, context, requests)) {
        const bool may_shrink = !is_fixed && context / 2 >= PLACEMENT_CONTEXT_LEAST;
        if (requests > 1 && (!may_shrink || are_requests_costly(fitting, context, requests)))
            requests /= 2;
        else if (may_shrink)
            context /= 2;
        else
            break;
    }
    fitting->candidate->context = context;
    return fits(fitting, context, requests);
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
    for (uint32_t i = 0; i < attempt->count; i++) {
        const uint64_t taken = taken_up_to(attempt, fitting->candidate, i);
        fitting->limits[i] = taken + (fitting->limits[i] - taken) / 2;
    }
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
