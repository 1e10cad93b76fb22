/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks whose budget is too small for anything are left out of a table. */
#include "runtime/partition_internal.h"

#include <stdio.h>

static uint64_t least_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The least a rank of a tensor cut takes that holds something. */
static uint64_t least_tensor(const struct partition_units *units,
                             const struct partition_costs *costs)
{
    uint64_t least = units->vocab > 0 ? costs->vocab_bytes : UINT64_MAX;
    for (uint32_t i = 0; i < units->class_count; i++)
        least = least_of(least, partition_plus(costs->unit_bytes[i], costs->kv_bytes[i]));
    return partition_plus(costs->whole_bytes, least);
}

static uint64_t least_pipeline(const struct partition_units *units,
                               const struct partition_costs *costs, bool is_first, bool is_last)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < units->layers; i++)
        least = least_of(least, costs->layer_bytes[i]);
    return partition_plus(partition_plus(costs->rank_bytes, least),
                          partition_ends_bytes(costs, is_first, is_last));
}

static uint64_t least_for(enum sharding sharding, const struct partition_units *units,
                          const struct partition_costs *costs, bool is_first, bool is_last)
{
    return sharding == SHARDING_PIPELINE ? least_pipeline(units, costs, is_first, is_last)
                                         : least_tensor(units, costs);
}

uint32_t partition_ranks_useful(enum sharding sharding, const struct partition_units *units,
                                const struct partition_costs *costs, const uint64_t *budgets,
                                uint32_t rank_count, uint32_t *ranks_out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < rank_count && i < PARTITION_RANKS_MAX; i++)
        if (budgets[i] >= least_for(sharding, units, costs, count == 0, false))
            ranks_out[count++] = i;
    while (count > 0 && budgets[ranks_out[count - 1]] <
                            least_for(sharding, units, costs, count == 1, true))
        count--;
    return count;
}

/* "rank 2 is left out: it needs 70.1 MB for anything and has 12.0 MB" */
static void say_left_out(enum sharding sharding, const struct partition_units *units,
                         const struct partition_costs *costs, const uint64_t *budgets,
                         uint32_t rank_count, struct partition_useful *useful)
{
    size_t used = 0;
    uint32_t next = 0;
    useful->left_out[0] = '\0';
    for (uint32_t i = 0; i < rank_count && used + 80 < sizeof useful->left_out; i++) {
        if (next < useful->count && useful->ranks[next] == i) {
            next++;
            continue;
        }
        const uint64_t need =
            least_for(sharding, units, costs, next == 0, next == useful->count);
        used += (size_t)snprintf(useful->left_out + used, sizeof useful->left_out - used,
                                 "%srank %u is left out: it needs %.1f MB for anything and has "
                                 "%.1f MB", used ? "; " : "", i, (double)need / 1e6,
                                 (double)budgets[i] / 1e6);
    }
}

enum status partition_place_useful(enum sharding sharding, const struct partition_units *units,
                                   const struct partition_costs *costs, const uint64_t *budgets,
                                   uint32_t rank_count, struct partition *partitions_out,
                                   struct partition_useful *useful_out, struct reason *reason)
{
    uint64_t kept[PARTITION_RANKS_MAX];
    if (rank_count == 0 || rank_count > PARTITION_RANKS_MAX)
        return refuse(reason, STATUS_INVALID, "%u ranks; 1 to %u are possible", rank_count,
                      PARTITION_RANKS_MAX);
    useful_out->count = partition_ranks_useful(sharding, units, costs, budgets, rank_count,
                                               useful_out->ranks);
    say_left_out(sharding, units, costs, budgets, rank_count, useful_out);
    if (useful_out->count == 0)
        return refuse(reason, STATUS_NO_CAPACITY, "%s", useful_out->left_out);
    for (uint32_t i = 0; i < useful_out->count; i++)
        kept[i] = budgets[useful_out->ranks[i]];
    return partition_place(sharding, units, costs, NULL, kept, useful_out->count, partitions_out,
                           reason);
}
