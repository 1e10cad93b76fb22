/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_senders.h"

#include "actors/master/placement_reach.h"

#include "actors/master/placement_bytes.h"
#include "actors/master/placement_sources.h"
#include "protocol/limits.h"

#include <string.h>

static bool is_among(const struct placement_node *node, const struct placement_node *const *nodes,
                     uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (ID_EQUAL(nodes[i]->node->node_id, node->node->node_id))
            return true;
    return false;
}

/* As if all before it on its machine sent, too. */
static bool has_room(const struct model_record *model, const struct placement_node *node,
                     const struct placement_node *const *others, uint32_t count)
{
    uint64_t needed = placement_source_bytes(&model->shape);
    for (uint32_t i = 0; i < count; i++)
        if (ID_EQUAL(others[i]->node->machine_id, node->node->machine_id))
            needed += placement_source_bytes(&model->shape);
    return needed <= node->memory_free;
}

/* Those with most to spare first. */
static bool comes_before(const struct placement_node *a, const struct placement_node *b)
{
    if (a->memory_free != b->memory_free)
        return a->memory_free > b->memory_free;
    return memcmp(&a->node->node_id, &b->node->node_id, sizeof(a->node->node_id)) < 0;
}

static uint32_t list_others(const struct placement_question *question,
                            const struct model_record *model,
                            const struct placement_node *const *chosen, uint32_t count,
                            const struct placement_node **others_out)
{
    const struct placement_node *sorted[NODE_COUNT_MAX];
    uint32_t sorted_count = 0;
    uint32_t others = 0;
    const bool has_gaps = placement_reach_has_gaps(question->links);
    struct reason reason;
    for (uint32_t i = 0; i < question->node_count && sorted_count < NODE_COUNT_MAX; i++) {
        const struct placement_node *node = &question->nodes[i];
        if (!node->is_heard || node->is_exposed || is_among(node, chosen, count) ||
            !model_find_holder(model, &node->node->node_id) ||
            strcmp(text_or_empty(node->node->build), text_or_empty(chosen[0]->node->build)) != 0 ||
            (has_gaps &&
             placement_reach_joins(question->links, chosen, count, node, &reason) != STATUS_OK))
            continue;
        uint32_t at = sorted_count++;
        for (; at > 0 && comes_before(node, sorted[at - 1]); at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = node;
    }
    for (uint32_t i = 0; i < sorted_count; i++)
        if (has_room(model, sorted[i], others_out, others))
            others_out[others++] = sorted[i];
    return others;
}

enum status placement_senders_add(const struct placement_question *question,
                                  const struct model_record *model,
                                  const struct placement_node *const *chosen, uint32_t count,
                                  struct candidate *candidate)
{
    const struct placement_node *others[NODE_COUNT_MAX];
    const struct holder_record *other_holders[NODE_COUNT_MAX];
    const struct holder_record *holders[RANK_COUNT_MAX];
    uint32_t places[NODE_COUNT_MAX];
    const uint32_t other_count = list_others(question, model, chosen, count, others);
    for (uint32_t i = 0; i < count; i++)
        holders[i] = model_find_holder(model, &chosen[i]->node->node_id);
    for (uint32_t i = 0; i < other_count; i++)
        other_holders[i] = model_find_holder(model, &others[i]->node->node_id);
    const uint32_t found = source_others_choose(model, holders, count, other_holders, other_count,
                                                RANK_COUNT_MAX - count, places);
    for (uint32_t i = 0; i < found; i++) {
        const struct rank_record rank = {
            .node_id = others[places[i]]->node->node_id,
            .threads = 1,
            .has_weights = other_holders[places[i]]->has_weights,
            .scratch_bytes = placement_source_bytes(&model->shape),
            .is_source = true,
        };
        if (!record_list_push(&rank_record_type, RECORD_LIST(candidate->ranks), &rank,
                              RANK_COUNT_MAX))
            return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

uint64_t placement_senders_taken(const struct state *state, const struct candidate *candidate,
                                 const struct machine_id *machine_id)
{
    uint64_t taken = 0;
    for (uint32_t i = 0; i < candidate->ranks.count; i++) {
        const struct rank_record *rank = &candidate->ranks.items[i];
        const struct node_record *node = state_find_node(state, &rank->node_id);
        if (rank->is_source && node && ID_EQUAL(node->machine_id, *machine_id))
            taken += rank->scratch_bytes;
    }
    return taken;
}
