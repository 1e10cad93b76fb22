/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_attempt.h"

#include "runtime/partition_table.h"

#include <stdio.h>

enum status candidate_say(struct candidate *candidate, const char *text)
{
    return text_set(&candidate->why, text) ? STATUS_OK : STATUS_NO_MEMORY;
}

static const char *way_of(const struct attempt *attempt)
{
    const enum sharding by_hand = partition_table_sharding(attempt->question->request);
    if (by_hand != SHARDING_NONE)
        return by_hand == SHARDING_TENSOR ? "tensor cut by the table given"
                                          : "pipeline by the table given";
    return attempt->question->request->shares.count > 0 &&
                   attempt->kind->sharding == SHARDING_TENSOR
               ? "tensor cut in the shares given"
               : attempt->kind->way;
}

static const char *node_name(const struct attempt *attempt, const struct node_id *id)
{
    const struct node_record *node = state_find_node(attempt->question->state, id);
    return node ? text_or_empty(node->name) : "";
}

enum status attempt_describe(const struct attempt *attempt, struct candidate *candidate,
                            uint32_t short_rank, uint64_t short_bytes)
{
    char text[SENTENCE_SIZE_MAX];
    int used = 0;
    if (!candidate->is_possible) {
        (void)snprintf(text, sizeof(text), "%.64s lacks %.1f MB of memory",
                       text_or_empty(attempt->chosen[short_rank]->node->name),
                       (double)short_bytes / 1e6);
        return candidate_say(candidate, text);
    }
    used = snprintf(text, sizeof(text), "%s", way_of(attempt));
    for (uint32_t i = 0; i < attempt->count && used > 0 && (size_t)used < sizeof(text) - 64; i++) {
        const struct rank_record *rank = &candidate->ranks.items[i];
        used += snprintf(text + used, sizeof(text) - (size_t)used, "%s %.40s %.1f MB",
                         i ? "," : ":", text_or_empty(attempt->chosen[i]->node->name),
                         (double)(rank->weight_bytes + rank->cache_bytes) / 1e6);
    }
    for (uint32_t i = attempt->count; i < candidate->ranks.count && used > 0 &&
                                      (size_t)used < sizeof(text) - 64; i++)
        used += snprintf(text + used, sizeof(text) - (size_t)used, "%s %.40s",
                         i == attempt->count ? "; weights are sent by" : ",",
                         node_name(attempt, &candidate->ranks.items[i].node_id));
    if (!ID_IS_ZERO(candidate->copied_to) && used > 0 && (size_t)used < sizeof(text))
        (void)snprintf(text + used, sizeof(text) - (size_t)used,
                       "; the model is copied to %.40s first",
                       text_or_empty(attempt->chosen[0]->node->name));
    return candidate_say(candidate, text);
}

/* Shares by hand that do not fit, with those that would. */
enum status fitting_describe(struct placement_fitting *fitting, const uint64_t *shares)
{
    const struct attempt *attempt = fitting->attempt;
    struct candidate *candidate = fitting->candidate;
    const struct placement_cache cache = {candidate->positions, candidate->requests,
                                          (enum kv_format)candidate->kv_format};
    uint64_t budgets[RANK_COUNT_MAX];
    struct partition cuts[RANK_COUNT_MAX];
    struct reason reason = {""};
    char text[SENTENCE_SIZE_MAX];
    fitting_budgets(fitting, budgets);
    if (placement_place(&attempt->model->shape, &cache, attempt->kind->sharding, shares, budgets,
                        attempt->count, cuts, &reason) == STATUS_OK)
        return attempt_describe(attempt, candidate, fitting->short_rank, fitting->short_bytes);
    (void)snprintf(text, sizeof(text), "%.64s lacks %.1f MB of memory: %.200s",
                   text_or_empty(attempt->chosen[fitting->short_rank]->node->name),
                   (double)fitting->short_bytes / 1e6, reason.text);
    return candidate_say(candidate, text);
}
