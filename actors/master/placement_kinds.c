/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_attempt.h"
#include "actors/master/placement_order.h"
#include "runtime/partition_table.h"

#include <string.h>

static const struct placement_kind kinds[] = {
    {.sharding = SHARDING_NONE, .ranks_least = 1, .ranks_most = 1, .way = "one node"},
    {.sharding = SHARDING_PIPELINE,
     .ranks_least = 2,
     .ranks_most = RANK_COUNT_MAX,
     .way = "pipeline by layers"},
    {.sharding = SHARDING_TENSOR,
     .is_equal = true,
     .ranks_least = 2,
     .ranks_most = RANK_COUNT_MAX,
     .way = "tensor cut in equal shares"},
    {.sharding = SHARDING_TENSOR,
     .ranks_least = 2,
     .ranks_most = RANK_COUNT_MAX,
     .way = "tensor cut by memory"},
};

static bool is_wanted(const struct place_instance *request, const struct placement_kind *kind)
{
    if (kind->is_equal && attempt_ranks_given(request) > 0)
        return false;
    if (request->table.count > 0 && kind->sharding != partition_table_sharding(request))
        return false;
    return request->any_sharding || request->sharding == (uint32_t)kind->sharding;
}

/* More ranks than a layer has units of anything are taken where they are asked for alone. */
static bool is_worth(const struct attempt *attempt, const struct placement_kind *kind)
{
    const struct place_instance *request = attempt->question->request;
    const struct partition_units units = partition_units_of_shape(&attempt->model->shape);
    const uint32_t named = request->node_ids.count / (uint32_t)sizeof(struct node_id);
    return kind->sharding != SHARDING_TENSOR || attempt->count <= request->nodes_min ||
           attempt->count <= named || attempt_ranks_given(request) > 0 ||
           attempt->count <= partition_ranks_worth(&units);
}

/* The first `count` from `first` on. */
static enum status try_kinds(struct attempt *attempt, const struct placement_node *const *first,
                             uint32_t count, struct candidates_listed *listed)
{
    enum status status = STATUS_OK;
    memcpy(attempt->chosen, first, count * sizeof(first[0]));
    attempt->count = count;
    for (size_t i = 0; i < COUNT_OF(kinds) && status == STATUS_OK; i++) {
        attempt->kind = &kinds[i];
        if (count < kinds[i].ranks_least || count > kinds[i].ranks_most ||
            !is_wanted(attempt->question->request, &kinds[i]) || !is_worth(attempt, &kinds[i]))
            continue;
        status = attempt_cut(attempt, listed);
        if (status == STATUS_OK && kinds[i].sharding == SHARDING_TENSOR && !kinds[i].is_equal)
            candidates_drop_twin(listed);
    }
    return status;
}

enum status attempt_all_kinds(struct attempt *attempt, struct candidates_listed *listed)
{
    const struct place_instance *request = attempt->question->request;
    const struct placement_node *sorted[NODE_COUNT_MAX];
    const uint32_t usable = attempt_nodes(attempt, sorted);
    const uint32_t given = attempt_ranks_given(request);
    const uint32_t least = request->node_ids.count
                               ? request->node_ids.count / (uint32_t)sizeof(struct node_id)
                               : request->nodes_min;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < usable && least <= 1 && given == 0; i++)
        status = try_kinds(attempt, &sorted[i], 1, listed);
    for (uint32_t count = least > 2 ? least : 2; status == STATUS_OK && count <= usable; count++)
        if (given == 0 || given == count)
            status = try_kinds(attempt, sorted, count, listed);
    return status;
}
