/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole layers by memory: of a pipeline's ranks, and of stages.
 */
#include "runtime/partition_internal.h"

#include "protocol/memory.h"

#include <string.h>

/* Fillings are tried in such steps of the rooms. */
#define FILL_STEPS 4096u

struct way {
    const struct partition_laying *laying;
    /* [ranks so far][layers so far]: the layers before the last of these ranks, less 1; 0: there
     * is no way */
    uint16_t before[PARTITION_RANKS_MAX + 1][PARTITION_LAYERS_MAX + 1];
};

static uint64_t cost_of(const struct partition_laying *laying, uint32_t rank, uint32_t layer)
{
    if (!laying->layer_whole)
        return laying->layer_bytes[layer];
    return partition_plus(laying->layer_bytes[layer],
                          partition_times(laying->layer_whole[layer], laying->copies[rank]));
}

/* Every way of rank `rank`: from each layer it may begin at, to the furthest it can hold. */
static void lay_rank(struct way *way, uint32_t rank, uint64_t room)
{
    const struct partition_laying *laying = way->laying;
    uint64_t used = 0;
    uint32_t end = 0;
    uint32_t reached = 0;
    memset(way->before[rank + 1], 0, sizeof way->before[rank + 1]);
    for (uint32_t from = 0; from < laying->layers; from++) {
        if (end < from) {
            end = from;
            used = 0;
        }
        while (end < laying->layers && cost_of(laying, rank, end) <= room &&
               used <= room - cost_of(laying, rank, end))
            used += cost_of(laying, rank, end++);
        if (way->before[rank][from] > 0)
            for (uint32_t to = (reached > from ? reached : from) + 1; to <= end; to++) {
                way->before[rank + 1][to] = (uint16_t)(from + 1);
                reached = to;
            }
        if (end > from)
            used -= cost_of(laying, rank, from);
    }
}

/* Whether there is a way at `steps` of FILL_STEPS of the rooms; if so it is written. */
static bool lay_all(struct way *way, uint32_t steps, struct partition_span *spans)
{
    const struct partition_laying *laying = way->laying;
    memset(way->before[0], 0, sizeof way->before[0]);
    way->before[0][0] = 1;
    for (uint32_t i = 0; i < laying->count; i++)
        lay_rank(way, i, laying->rooms[i] / FILL_STEPS * steps +
                             laying->rooms[i] % FILL_STEPS * steps / FILL_STEPS);
    uint32_t end = laying->layers;
    if (way->before[laying->count][end] == 0)
        return false;
    for (uint32_t i = laying->count; i-- > 0;) {
        spans[i].end = end;
        end = way->before[i + 1][end] - 1u;
        spans[i].first = end;
    }
    return true;
}

enum status partition_lay(const struct partition_laying *laying, struct partition_span *spans_out)
{
    uint32_t low = 0;
    uint32_t high = FILL_STEPS;
    ASSERT(laying->layers <= PARTITION_LAYERS_MAX && laying->count <= PARTITION_RANKS_MAX);
    struct way *way = memory_zeroed(1, sizeof *way);
    if (!way)
        return STATUS_NO_MEMORY;
    way->laying = laying;
    if (!lay_all(way, high, spans_out)) {
        memory_free(way);
        return STATUS_NOT_FOUND;
    }
    while (low + 1 < high) {
        const uint32_t middle = (low + high) / 2;
        if (lay_all(way, middle, spans_out))
            high = middle;
        else
            low = middle;
    }
    const bool is_laid = lay_all(way, high, spans_out);
    memory_free(way);
    ASSERT(is_laid);
    return STATUS_OK;
}

/* Each rank takes what it can; the first that cannot take one, or the last with all that are
 * left. */
static enum status refuse_pipeline(const struct partition_units *units,
                                   const struct partition_costs *costs, const uint64_t *budgets,
                                   uint32_t count, struct partition *partitions,
                                   struct reason *reason)
{
    uint32_t next = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct partition *p = &partitions[i];
        const uint32_t end = i + 1 == count ? units->layers : units->layers - (count - 1 - i);
        p->layer_first = next;
        p->layer_end = next + 1;
        while (p->layer_end < end && (i + 1 == count ||
               partition_plus(partition_bytes(units, costs, p),
                              costs->layer_bytes[p->layer_end]) <= budgets[i]))
            p->layer_end++;
        next = p->layer_end;
        const uint64_t need = partition_bytes(units, costs, p);
        if (need > budgets[i])
            return partition_lacks(i, need, budgets[i], reason);
    }
    return partition_lacks(count - 1, partition_bytes(units, costs, &partitions[count - 1]),
                           budgets[count - 1], reason);
}

enum status partition_place_pipeline(const struct partition_units *units,
                                     const struct partition_costs *costs, const uint64_t *budgets,
                                     uint32_t count, struct partition *partitions,
                                     struct reason *reason)
{
    uint64_t rooms[PARTITION_RANKS_MAX];
    struct partition_span spans[PARTITION_RANKS_MAX];
    enum status status = partition_solve(SHARDING_PIPELINE, units, NULL, count, partitions, reason);
    if (status == STATUS_OK && units->layers > PARTITION_LAYERS_MAX)
        status = refuse(reason, STATUS_UNSUPPORTED, "%u layers; at most %u", units->layers,
                        PARTITION_LAYERS_MAX);
    if (status != STATUS_OK)
        return status;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t kept =
            partition_plus(costs->rank_bytes, partition_ends_bytes(costs, i == 0, i + 1 == count));
        rooms[i] = budgets[i] > kept ? budgets[i] - kept : 0;
    }
    const struct partition_laying laying = {.layers = units->layers, .count = count,
                                            .layer_bytes = costs->layer_bytes, .rooms = rooms};
    status = partition_lay(&laying, spans);
    if (status == STATUS_NO_MEMORY)
        return refuse(reason, status, "no memory to place %u layers", units->layers);
    if (status != STATUS_OK)
        return refuse_pipeline(units, costs, budgets, count, partitions, reason);
    for (uint32_t i = 0; i < count; i++) {
        partitions[i].layer_first = spans[i].first;
        partitions[i].layer_end = spans[i].end;
    }
    return STATUS_OK;
}
