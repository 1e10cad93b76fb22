/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_attempt.h"

#include "protocol/holdings.h"

#include <string.h>

bool placement_is_named(const struct place_instance *request, const struct node_id *id)
{
    if (request->node_ids.count == 0)
        return true;
    for (uint32_t at = 0; at + sizeof(*id) <= request->node_ids.count; at += sizeof(*id))
        if (memcmp(request->node_ids.items + at, id, sizeof(*id)) == 0)
            return true;
    return false;
}

static uint64_t bytes_held(const struct attempt *attempt, const struct placement_node *node)
{
    const struct holder_record *holder = model_find_holder(attempt->model, &node->node->node_id);
    return holder_weight_bytes(attempt->model, holder);
}

/* By what they hold, then by free memory, then by id: rank 0 is the first. */
static bool comes_before(const struct attempt *attempt, const struct placement_node *a,
                         const struct placement_node *b)
{
    const bool a_holds = attempt_holds(attempt, a);
    const bool b_holds = attempt_holds(attempt, b);
    const uint64_t a_bytes = bytes_held(attempt, a);
    const uint64_t b_bytes = bytes_held(attempt, b);
    if (a_holds != b_holds)
        return a_holds;
    if (a_bytes != b_bytes)
        return a_bytes > b_bytes;
    if (a->memory_free != b->memory_free)
        return a->memory_free > b->memory_free;
    return memcmp(&a->node->node_id, &b->node->node_id, sizeof(a->node->node_id)) < 0;
}

/* What a node has that `covered` has not. */
static uint64_t bytes_gained(const struct attempt *attempt, const struct placement_node *node,
                             const bool *covered)
{
    const struct model_record *model = attempt->model;
    const struct holder_record *holder = model_find_holder(model, &node->node->node_id);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < model->files.count; i++)
        if (model->files.items[i].is_weight && !covered[i] && holder_has_file(holder, i))
            bytes += model->files.items[i].size;
    return bytes;
}

/* The first few shall hold all of it together, where none does alone: next comes who adds most. */
static void cover_first(const struct attempt *attempt, const struct placement_node **sorted,
                        uint32_t count)
{
    bool covered[MODEL_FILE_COUNT_MAX] = {false};
    for (uint32_t at = 0; at < count; at++) {
        uint64_t most = 0;
        uint32_t best = at;
        for (uint32_t i = at; i < count; i++) {
            const uint64_t gained = bytes_gained(attempt, sorted[i], covered);
            best = gained > most ? i : best;
            most = gained > most ? gained : most;
        }
        if (most == 0)
            return;
        const struct placement_node *next = sorted[best];
        memmove(&sorted[at + 1], &sorted[at], (best - at) * sizeof(sorted[0]));
        sorted[at] = next;
        for (uint32_t i = 0; i < attempt->model->files.count; i++)
            covered[i] = covered[i] ||
                         holder_has_file(
                             model_find_holder(attempt->model, &next->node->node_id), i);
    }
}

uint32_t attempt_nodes(const struct attempt *attempt,
                       const struct placement_node *sorted[NODE_COUNT_MAX])
{
    const struct placement_question *question = attempt->question;
    uint32_t count = 0;
    for (uint32_t i = 0; i < question->node_count && count < NODE_COUNT_MAX; i++) {
        const struct placement_node *node = &question->nodes[i];
        if (!node->is_heard || !placement_is_named(question->request, &node->node->node_id))
            continue;
        uint32_t at = count++;
        while (at > 0 && comes_before(attempt, node, sorted[at - 1])) {
            sorted[at] = sorted[at - 1];
            at--;
        }
        sorted[at] = node;
    }
    cover_first(attempt, sorted, count);
    return count;
}
