/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_order.h"

#include "actors/master/placement_attempt.h"
#include "protocol/memory.h"

#include <string.h>

static bool are_twins(const struct candidate *first, const struct candidate *twin)
{
    if (first->sharding != twin->sharding || first->ranks.count != twin->ranks.count)
        return false;
    for (uint32_t i = 0; i < twin->ranks.count; i++)
        if (!record_equal(&rank_record_type, &first->ranks.items[i], &twin->ranks.items[i]))
            return false;
    /* Refused before it was cut. */
    return twin->ranks.count > 0 ||
           strcmp(text_or_empty(first->why), text_or_empty(twin->why)) == 0;
}

void candidates_drop_twin(struct candidates_listed *listed)
{
    const uint32_t last = listed->candidates.count - 1;
    const struct candidate *items = listed->candidates.items;
    if (listed->candidates.count < 2)
        return;
    bool is_twin = are_twins(&items[last - 1], &items[last]);
    for (uint32_t i = 0; items[last].ranks.count == 0 && i < last && !is_twin; i++)
        is_twin = are_twins(&items[i], &items[last]);
    if (is_twin)
        record_list_remove(&candidate_type, RECORD_LIST(listed->candidates), last);
}

/* What can begin at once before what waits for a copy, which also takes room on a disk. */
static bool is_better(const struct candidate *a, const struct candidate *b)
{
    if (a->is_possible != b->is_possible)
        return a->is_possible;
    if (ID_IS_ZERO(a->copied_to) != ID_IS_ZERO(b->copied_to))
        return ID_IS_ZERO(a->copied_to);
    return a->tokens_per_s > b->tokens_per_s;
}

static const struct placement_node *node_of(const struct placement_question *question,
                                            const struct rank_record *rank)
{
    for (uint32_t i = 0; i < question->node_count; i++)
        if (ID_EQUAL(question->nodes[i].node->node_id, rank->node_id))
            return &question->nodes[i];
    return NULL;
}

/* What its machines have too little, all together; UINT64_MAX: nobody counted. */
static uint64_t lack_of(const struct placement_question *question,
                        const struct candidate *candidate)
{
    const struct placement_node *nodes[RANK_COUNT_MAX];
    uint64_t lack = 0;
    for (uint32_t i = 0; i < candidate->ranks.count; i++)
        nodes[i] = node_of(question, &candidate->ranks.items[i]);
    for (uint32_t i = 0; i < candidate->ranks.count; i++) {
        uint64_t taken = 0;
        bool is_first = nodes[i] != NULL;
        for (uint32_t k = 0; k < candidate->ranks.count && is_first; k++) {
            const struct rank_record *rank = &candidate->ranks.items[k];
            if (!nodes[k] || !ID_EQUAL(nodes[k]->node->machine_id, nodes[i]->node->machine_id))
                continue;
            is_first = k >= i;
            taken += rank->weight_bytes + rank->cache_bytes + rank->scratch_bytes;
        }
        const uint64_t room = is_first ? placement_room(nodes[i]) : 0;
        lack += is_first && taken > room ? taken - room : 0;
    }
    return lack ? lack : UINT64_MAX;
}

static void put_nearest_first(const struct placement_question *question,
                              struct candidates_listed *listed)
{
    uint64_t least = UINT64_MAX;
    uint32_t nearest = 0;
    for (uint32_t i = 0; i < listed->candidates.count; i++) {
        const uint64_t lack = lack_of(question, &listed->candidates.items[i]);
        nearest = lack < least ? i : nearest;
        least = lack < least ? lack : least;
    }
    const struct candidate moved = listed->candidates.items[nearest];
    memmove(&listed->candidates.items[1], &listed->candidates.items[0],
            nearest * sizeof(listed->candidates.items[0]));
    listed->candidates.items[0] = moved;
}

void candidates_sort(const struct placement_question *question, struct candidates_listed *listed)
{
    for (uint32_t i = 1; i < listed->candidates.count; i++) {
        struct candidate moved = listed->candidates.items[i];
        uint32_t at = i;
        while (at > 0 && is_better(&moved, &listed->candidates.items[at - 1])) {
            listed->candidates.items[at] = listed->candidates.items[at - 1];
            at--;
        }
        listed->candidates.items[at] = moved;
    }
    if (listed->candidates.count > 1 && !listed->candidates.items[0].is_possible)
        put_nearest_first(question, listed);
}
