/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_attempt.h"

#include "runtime/partition_table.h"

#include <stdio.h>
#include <string.h>

enum status candidate_say(struct candidate *candidate, const char *text)
{
    return text_set(&candidate->why, text) ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status candidate_add(struct candidate *candidate, const char *text)
{
    char whole[SENTENCE_SIZE_MAX];
    (void)snprintf(whole, sizeof(whole), "%.240s; %.260s", text_or_empty(candidate->why), text);
    return candidate_say(candidate, whole);
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

static const char *name_of(const struct attempt *attempt, uint32_t rank)
{
    return text_or_empty(attempt->chosen[rank]->node->name);
}

/* ": beta needs 300 bytes of memory (weights 200, cache 50, scratch 50) and has 250 beside its
 * head-room of 100". */
static size_t describe_lack(const struct attempt *attempt, const struct candidate *candidate,
                            uint32_t rank, uint64_t have, char text[SENTENCE_SIZE_MAX])
{
    const struct rank_record *record = &candidate->ranks.items[rank];
    return (size_t)snprintf(
        text, SENTENCE_SIZE_MAX,
        "%s: %.64s needs %llu bytes of memory (weights %llu, cache of %u tokens %llu, scratch "
        "%llu) and has %llu beside its head-room of %llu",
        way_of(attempt), name_of(attempt, rank),
        (unsigned long long)(record->weight_bytes + record->cache_bytes + record->scratch_bytes),
        (unsigned long long)record->weight_bytes, candidate->positions,
        (unsigned long long)record->cache_bytes, (unsigned long long)record->scratch_bytes,
        (unsigned long long)have, (unsigned long long)PLACEMENT_HEAD_ROOM);
}

static void describe_possible(const struct attempt *attempt, const struct candidate *candidate,
                              char text[SENTENCE_SIZE_MAX])
{
    size_t used = attempt->upgrade
                      ? (size_t)snprintf(text, SENTENCE_SIZE_MAX, "upgraded, as %.250s: ",
                                         attempt->upgrade)
                      : 0;
    used += (size_t)snprintf(text + used, SENTENCE_SIZE_MAX - used, "%s", way_of(attempt));
    for (uint32_t i = 0; i < attempt->count && used < SENTENCE_SIZE_MAX - 120; i++) {
        const struct rank_record *rank = &candidate->ranks.items[i];
        used += (size_t)snprintf(text + used, SENTENCE_SIZE_MAX - used, "%s %.40s %.1f MB",
                                 i ? "," : ":", name_of(attempt, i),
                                 (double)(rank->weight_bytes + rank->cache_bytes) / 1e6);
    }
    for (uint32_t i = attempt->count;
         i < candidate->ranks.count && used < SENTENCE_SIZE_MAX - 120; i++)
        used += (size_t)snprintf(text + used, SENTENCE_SIZE_MAX - used, "%s %.40s",
                                 i == attempt->count ? "; weights are sent by" : ",",
                                 state_node_name(attempt->question->state,
                                                 &candidate->ranks.items[i].node_id));
    if (!ID_IS_ZERO(candidate->copied_to))
        (void)snprintf(text + used, SENTENCE_SIZE_MAX - used,
                       "; the model is copied to %.40s first", name_of(attempt, 0));
}

enum status attempt_describe(const struct attempt *attempt, struct candidate *candidate,
                             uint32_t short_rank, uint64_t short_have)
{
    char text[SENTENCE_SIZE_MAX];
    if (candidate->is_possible)
        describe_possible(attempt, candidate, text);
    else
        (void)describe_lack(attempt, candidate, short_rank, short_have, text);
    return candidate_say(candidate, text);
}

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
    const size_t used =
        describe_lack(attempt, candidate, fitting->short_rank, fitting->short_have, text);
    if (attempt_place(attempt, &cache, shares, budgets, cuts, &reason) != STATUS_OK &&
        used < sizeof(text))
        (void)snprintf(text + used, sizeof(text) - used, "; %.200s", reason.text);
    return candidate_say(candidate, text);
}
