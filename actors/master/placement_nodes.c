/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_attempt.h"

#include "protocol/holdings.h"
#include "runtime/link_view.h"

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

uint32_t attempt_machine(const struct attempt *attempt, uint32_t rank)
{
    uint32_t first = 0;
    while (!ID_EQUAL(attempt->chosen[first]->node->machine_id,
                     attempt->chosen[rank]->node->machine_id))
        first++;
    return first;
}

uint32_t attempt_sharing(const struct attempt *attempt, uint32_t rank)
{
    uint32_t sharing = 0;
    for (uint32_t i = 0; i < attempt->count; i++)
        sharing += ID_EQUAL(attempt->chosen[i]->node->machine_id,
                            attempt->chosen[rank]->node->machine_id);
    return sharing;
}

/* By where they are named, which is the order of their ranks. */
static uint32_t named_place(const struct place_instance *request, const struct node_id *id)
{
    uint32_t place = 0;
    for (uint32_t at = 0; at + sizeof(*id) <= request->node_ids.count; at += sizeof(*id), place++)
        if (memcmp(request->node_ids.items + at, id, sizeof(*id)) == 0)
            break;
    return place;
}

typedef bool node_before(const struct attempt *attempt, const struct placement_node *a,
                         const struct placement_node *b);

static bool is_named_before(const struct attempt *attempt, const struct placement_node *a,
                            const struct placement_node *b)
{
    const struct place_instance *request = attempt->question->request;
    return named_place(request, &a->node->node_id) < named_place(request, &b->node->node_id);
}

static void insert(const struct attempt *attempt, node_before *before,
                   const struct placement_node *node, const struct placement_node **sorted,
                   uint32_t at)
{
    while (at > 0 && before(attempt, node, sorted[at - 1])) {
        sorted[at] = sorted[at - 1];
        at--;
    }
    sorted[at] = node;
}

uint32_t attempt_nodes(const struct attempt *attempt,
                       const struct placement_node *sorted[NODE_COUNT_MAX])
{
    const struct placement_question *question = attempt->question;
    const bool are_named = question->request->node_ids.count > 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < question->node_count && count < NODE_COUNT_MAX; i++) {
        const struct placement_node *node = &question->nodes[i];
        if (node->is_heard && placement_is_named(question->request, &node->node->node_id))
            insert(attempt, are_named ? is_named_before : comes_before, node, sorted, count++);
    }
    if (!are_named)
        cover_first(attempt, sorted, count);
    return count;
}

bool placement_node_joins(const struct placement_node *node)
{
    return !node->is_exposed;
}

/* ---- other orders ---- */

static bool has_more(const struct attempt *attempt, const struct placement_node *a,
                     const struct placement_node *b)
{
    (void)attempt;
    if (a->memory_free != b->memory_free)
        return a->memory_free > b->memory_free;
    return memcmp(&a->node->node_id, &b->node->node_id, sizeof(a->node->node_id)) < 0;
}

static uint64_t best_rate(const struct placement_node *node)
{
    uint64_t best = 0;
    for (uint32_t i = 0; i < node->kernel_count; i++)
        best = node->kernels[i].bytes_per_s > best ? node->kernels[i].bytes_per_s : best;
    return best;
}

static bool is_faster(const struct attempt *attempt, const struct placement_node *a,
                      const struct placement_node *b)
{
    const uint64_t a_rate = best_rate(a);
    const uint64_t b_rate = best_rate(b);
    return a_rate != b_rate ? a_rate > b_rate : has_more(attempt, a, b);
}

/* Another of the same machine adds neither memory nor cores: those come last. */
static void put_machines_first(const struct placement_node **nodes, uint32_t count)
{
    uint32_t machines = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct placement_node *node = nodes[i];
        bool is_other = true;
        for (uint32_t k = 0; k < machines && is_other; k++)
            is_other = !ID_EQUAL(nodes[k]->node->machine_id, node->node->machine_id);
        if (!is_other)
            continue;
        memmove(&nodes[machines + 1], &nodes[machines], (i - machines) * sizeof(nodes[0]));
        nodes[machines++] = node;
    }
}

static uint64_t distance_us(const struct placement_question *question,
                            const struct placement_node *from, const struct placement_node *to)
{
    const struct link_measured *link =
        question->links
            ? link_view_find(question->links, &from->node->node_id, &to->node->node_id)
            : NULL;
    if (ID_EQUAL(from->node->node_id, to->node->node_id))
        return 0;
    return link && link->latency_us > 0 ? link->latency_us : UINT64_MAX;
}

static void put_near_first(const struct attempt *attempt, const struct placement_node **nodes,
                           uint32_t count)
{
    const struct placement_node *first = nodes[0];
    uint64_t distances[NODE_COUNT_MAX];
    for (uint32_t i = 0; i < count; i++) {
        const struct placement_node *node = nodes[i];
        const uint64_t distance = distance_us(attempt->question, first, node);
        uint32_t at = i;
        for (; at > 0 && distance < distances[at - 1]; at--) {
            nodes[at] = nodes[at - 1];
            distances[at] = distances[at - 1];
        }
        nodes[at] = node;
        distances[at] = distance;
    }
}

void attempt_order(const struct attempt *attempt, enum placement_order order,
                   const struct placement_node **nodes, uint32_t count)
{
    if (order == ORDER_HELD || count < 2)
        return;
    for (uint32_t i = 1; i < count; i++)
        insert(attempt, order == ORDER_SPEED ? is_faster : has_more, nodes[i], nodes, i);
    if (order == ORDER_SPEED)
        put_machines_first(nodes, count);
    if (order == ORDER_NEAR)
        put_near_first(attempt, nodes, count);
}
