/* SPDX-License-Identifier: Apache-2.0 */
/* Who has room for anything of a cut: a node that has none is better left out. */
#include "actors/master/placement_attempt.h"

#include <string.h>

uint64_t attempt_least(const struct attempt *attempt, enum sharding sharding,
                       const struct placement_cache *cache)
{
    const struct partition_units units = partition_units_of_shape(&attempt->model->shape);
    struct placement_layers layers;
    struct partition_costs costs;
    placement_costs(&attempt->model->shape, cache, &layers, &costs);
    return partition_least(sharding, &units, &costs);
}

uint64_t placement_room(const struct placement_node *node)
{
    return node->memory_free > PLACEMENT_HEAD_ROOM ? node->memory_free - PLACEMENT_HEAD_ROOM : 0;
}

uint32_t placement_useful(const struct placement_node *const *nodes, uint32_t count,
                          uint64_t least, const struct placement_node **useful_out)
{
    uint32_t useful = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t sharing = 0;
        for (uint32_t k = 0; k < count; k++)
            sharing += ID_EQUAL(nodes[k]->node->machine_id, nodes[i]->node->machine_id);
        if (placement_room(nodes[i]) / sharing >= least)
            useful_out[useful++] = nodes[i];
    }
    return useful;
}
