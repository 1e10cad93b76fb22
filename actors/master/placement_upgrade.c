/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_attempt.h"

#include <stdio.h>
#include <string.h>

/* What ranks of these cuts take on each machine, at the first of its ranks; 0 at the others. */
struct filling {
    uint64_t taken[RANK_COUNT_MAX];
    uint64_t all_taken;
    uint64_t all_free;
};

static void fill(const struct attempt *attempt, const struct partition *cuts,
                 const struct placement_cache *cache, struct filling *filling_out)
{
    const struct model_shape *shape = &attempt->model->shape;
    memset(filling_out, 0, sizeof(*filling_out));
    for (uint32_t i = 0; i < attempt->count; i++) {
        const uint32_t first = attempt_machine(attempt, i);
        const uint64_t bytes = placement_weight_bytes(shape, &cuts[i]) +
                               placement_cache_bytes(shape, &cuts[i], cache) +
                               placement_scratch_bytes(shape, &cuts[i], cache->requests);
        filling_out->taken[first] += bytes;
        filling_out->all_taken += bytes;
        filling_out->all_free += first == i ? attempt->chosen[i]->memory_free : 0;
    }
}

/* Of those that have a machine's memory to fill. */
static uint32_t smallest(const struct attempt *attempt, const struct filling *filling)
{
    uint32_t found = 0;
    for (uint32_t i = 1; i < attempt->count; i++)
        if (filling->taken[i] > 0 &&
            attempt->chosen[i]->memory_free < attempt->chosen[found]->memory_free)
            found = i;
    return found;
}

static double share_of(uint64_t bytes, uint64_t of)
{
    return of > 0 ? (double)bytes / (double)of : 1e3;
}

/* Cuts by memory that every rank has room for, counted again after rounding. */
static bool place_unequal(const struct attempt *attempt, const struct placement_cache *cache,
                          struct filling *filling_out, struct reason *reason)
{
    struct partition cuts[RANK_COUNT_MAX];
    uint64_t budgets[RANK_COUNT_MAX];
    for (uint32_t i = 0; i < attempt->count; i++)
        budgets[i] = placement_room(attempt->chosen[i]) / attempt_sharing(attempt, i);
    if (placement_place(&attempt->model->shape, cache, SHARDING_TENSOR, NULL, budgets,
                        attempt->count, cuts, reason) != STATUS_OK)
        return false;
    fill(attempt, cuts, cache, filling_out);
    for (uint32_t i = 0; i < attempt->count; i++)
        if (filling_out->taken[i] > placement_room(attempt->chosen[i])) {
            (void)refuse(reason, STATUS_NO_CAPACITY, "%.64s would need %llu bytes and has %llu",
                         text_or_empty(attempt->chosen[i]->node->name),
                         (unsigned long long)filling_out->taken[i],
                         (unsigned long long)placement_room(attempt->chosen[i]));
            return false;
        }
    return true;
}

enum upgrade attempt_upgrade(const struct attempt *attempt, struct upgrade_words *words_out)
{
    const struct placement_settings *settings = attempt_settings(attempt);
    const struct partition_units units = partition_units_of_shape(&attempt->model->shape);
    const struct placement_cache cache = {attempt_context(attempt), attempt_requests(attempt),
                                          attempt_format(attempt)};
    struct partition cuts[RANK_COUNT_MAX];
    struct filling equal;
    struct filling unequal;
    struct reason reason = {""};
    if (!settings->auto_asymmetric ||
        partition_solve(SHARDING_TENSOR, &units, NULL, attempt->count, cuts, &reason) != STATUS_OK)
        return UPGRADE_NONE;
    fill(attempt, cuts, &cache, &equal);
    const uint32_t small = smallest(attempt, &equal);
    const double filled = share_of(equal.taken[small], attempt->chosen[small]->memory_free);
    if (filled <= settings->smallest_fill)
        return UPGRADE_NONE;
    (void)snprintf(words_out->tight, sizeof(words_out->tight),
                   "equal shares would fill %.40s to %.0f %% of its free memory, more than %.0f %%",
                   text_or_empty(attempt->chosen[small]->node->name), filled * 100,
                   settings->smallest_fill * 100);
    if (!place_unequal(attempt, &cache, &unequal, &reason)) {
        char said[SENTENCE_SIZE_MAX];
        attempt_name_ranks(attempt, reason.text, said);
        (void)snprintf(words_out->verdict, sizeof(words_out->verdict),
                       "unequal ones do not fit either: %.130s", said);
        return UPGRADE_REFUSED;
    }
    const double all = share_of(unequal.all_taken, unequal.all_free);
    const bool holds = all < settings->cluster_fill;
    (void)snprintf(words_out->verdict, sizeof(words_out->verdict),
                   "unequal ones take %.0f %% of all of it, %s %.0f %%", all * 100,
                   holds ? "under" : "not under", settings->cluster_fill * 100);
    return holds ? UPGRADE_HOLDS : UPGRADE_REFUSED;
}
