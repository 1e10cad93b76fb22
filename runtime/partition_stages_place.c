/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pipeline of tensor groups by memory: layers so that all stages are equally full, then the
 * units of each stage's layers over its ranks.  What a stage cannot cut as its memory together
 * would allow is taken from it, and the layers are laid anew.
 */
#include "runtime/partition_internal.h"

#include <stdio.h>
#include <string.h>

/* How often a stage gives up one part in so many of its room. */
#define TRIES_MAX 64u
#define ROOM_PARTS 16u
#define PERCENT 100u

/* A row of one end: what is lost by dividing is less than a byte of each row. */
static uint64_t row_bytes(uint64_t end_bytes, uint32_t vocab)
{
    return vocab > 0 ? end_bytes / vocab : 0;
}

static struct partition_costs costs_of(const struct partition_units *units,
                                       const struct partition_costs *costs,
                                       const struct partition_stage *stage, uint32_t first)
{
    const bool is_last = first + stage->units.layers == units->layers;
    const uint64_t ends = partition_ends_bytes(costs, first == 0, is_last);
    struct partition_costs own = {.vocab_bytes = row_bytes(ends, units->vocab),
                                  .rank_bytes = costs->rank_bytes,
                                  .whole_bytes = costs->rank_bytes};
    for (uint32_t i = 0; i < stage->units.layers && costs->layer_whole; i++)
        own.whole_bytes = partition_plus(own.whole_bytes, costs->layer_whole[first + i]);
    for (uint32_t i = 0; i < stage->units.class_count; i++) {
        own.unit_bytes[i] = costs->unit_bytes[stage->classes[i]];
        own.kv_bytes[i] = costs->kv_bytes[stage->classes[i]];
    }
    return own;
}

uint64_t partition_stage_bytes(const struct partition_units *units,
                               const struct partition_costs *costs, const struct partition *p)
{
    struct partition_stage stage;
    struct partition local;
    struct reason unused;
    if (partition_stage_make(units, p->layer_first, p->layer_end, 0, &stage, &unused) != STATUS_OK)
        return UINT64_MAX;
    const struct partition_costs own = costs_of(units, costs, &stage, p->layer_first);
    partition_stage_gather(units, &stage, p, &local);
    return partition_bytes(&stage.units, &own, &local);
}

struct groups {
    const struct partition_units *units;
    const struct partition_costs *costs;
    const uint32_t *sizes;
    uint32_t count;
    const uint64_t *budgets;
    uint64_t rooms[PARTITION_RANKS_MAX];
    uint32_t copies[PARTITION_RANKS_MAX];
};

/* A stage of less than `need` together: its smallest rank has less than an equal part of that. */
static enum status stage_lacks(const struct groups *g, uint32_t at, uint64_t need,
                               struct reason *reason)
{
    const uint32_t first = partition_stage_total(g->sizes, at);
    uint32_t rank = first;
    for (uint32_t i = first; i < first + g->sizes[at]; i++)
        rank = g->budgets[i] < g->budgets[rank] ? i : rank;
    return partition_lacks(rank, partition_plus(g->costs->rank_bytes, need / g->sizes[at]),
                           g->budgets[rank], reason);
}

static uint64_t ends_of(const struct groups *g, uint32_t at)
{
    return partition_ends_bytes(g->costs, at == 0, at + 1 == g->count);
}

/* What each stage has for layers: its memory, less what its ranks and the ends keep anyway. */
static enum status find_rooms(struct groups *g, struct reason *reason)
{
    uint32_t rank = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        const uint64_t ends = ends_of(g, i);
        uint64_t room = 0;
        for (uint32_t k = 0; k < g->sizes[i]; k++, rank++) {
            if (g->budgets[rank] < g->costs->rank_bytes)
                return partition_lacks(rank, g->costs->rank_bytes, g->budgets[rank], reason);
            room = partition_plus(room, g->budgets[rank] - g->costs->rank_bytes);
        }
        if (room < ends)
            return stage_lacks(g, i, ends, reason);
        g->rooms[i] = room - ends;
        g->copies[i] = g->sizes[i] - 1;
    }
    return STATUS_OK;
}

static enum status place_stage(const struct groups *g, uint32_t at, struct partition_span span,
                               struct partition *partitions, struct reason *reason)
{
    struct partition_stage stage;
    struct partition local[PARTITION_RANKS_MAX];
    const uint32_t first = partition_stage_total(g->sizes, at);
    const bool has_rows = at == 0 || at + 1 == g->count;
    enum status status = partition_stage_make(g->units, span.first, span.end,
                                              has_rows ? g->units->vocab : 0, &stage, reason);
    if (status == STATUS_OK)
        status = partition_check_ranks(&stage, at, g->sizes[at], reason);
    if (status != STATUS_OK)
        return status;
    const struct partition_costs own = costs_of(g->units, g->costs, &stage, span.first);
    status = partition_place_tensor(&stage.units, &own, g->budgets + first, g->sizes[at], false,
                                    local, reason);
    for (uint32_t i = 0; i < g->sizes[at]; i++)
        partitions[first + i] =
            partition_stage_rank(g->units, g->sizes, g->count, at, first + i, span);
    if (status != STATUS_OK) {
        /* The reason counts the ranks of the stage; who misses what is told again by all. */
        for (uint32_t i = 0; i < g->sizes[at]; i++)
            if (g->budgets[first + i] < own.whole_bytes)
                return partition_lacks(first + i, own.whole_bytes, g->budgets[first + i], reason);
        uint64_t shares[PARTITION_RANKS_MAX];
        for (uint32_t i = 0; i < g->sizes[at]; i++)
            shares[i] = g->budgets[first + i] - own.whole_bytes + 1;
        if (partition_solve(SHARDING_TENSOR, &stage.units, shares, g->sizes[at], local, reason) !=
            STATUS_OK)
            return STATUS_NO_CAPACITY;
        const uint32_t over = partition_most_over(&stage.units, &own, g->budgets + first,
                                                  g->sizes[at], local);
        if (over < g->sizes[at])
            return partition_lacks(first + over,
                                   partition_bytes(&stage.units, &own, &local[over]),
                                   g->budgets[first + over], reason);
    }
    for (uint32_t i = 0; i < g->sizes[at]; i++)
        partition_stage_spread(g->units, &stage, &local[i], &partitions[first + i]);
    return STATUS_OK;
}

/* The first stage that cannot take a layer more, or the last with all that are left. */
static enum status refuse_layers(const struct groups *g, struct reason *reason)
{
    uint32_t next = 0;
    uint32_t at = 0;
    uint64_t need = 0;
    for (;; at++) {
        const uint32_t end = g->units->layers - (g->count - 1 - at);
        uint64_t used = 0;
        need = 0;
        for (uint32_t layer = next; layer < end; layer++) {
            need = partition_plus(used, g->costs->layer_bytes[layer]);
            if (g->costs->layer_whole)
                need = partition_plus(need, partition_times(g->costs->layer_whole[layer],
                                                            g->copies[at]));
            if (need > g->rooms[at] && at + 1 < g->count)
                break;
            used = need;
            next = layer + 1;
        }
        if (at + 1 == g->count || used == 0)
            break;
    }
    return stage_lacks(g, at, partition_plus(need, ends_of(g, at)), reason);
}

static enum status place_by_memory(const struct partition_units *units,
                                   const struct partition_costs *costs, const uint32_t *sizes,
                                   uint32_t stage_count, const uint64_t *budgets,
                                   struct partition *partitions, struct reason *reason)
{
    struct groups g = {.units = units, .costs = costs, .sizes = sizes, .count = stage_count,
                       .budgets = budgets};
    struct partition_span spans[PARTITION_RANKS_MAX];
    const struct partition_laying laying = {.layers = units->layers, .count = stage_count,
                                            .layer_bytes = costs->layer_bytes,
                                            .layer_whole = costs->layer_whole,
                                            .copies = g.copies, .rooms = g.rooms};
    enum status status = find_rooms(&g, reason);
    bool is_tried = false;
    for (uint32_t i = 0; status == STATUS_OK && i < TRIES_MAX; i++) {
        enum status laid = partition_lay(&laying, spans);
        if (laid == STATUS_NO_MEMORY)
            return refuse(reason, laid, "no memory to place %u layers", units->layers);
        if (laid != STATUS_OK)
            return is_tried ? STATUS_NO_CAPACITY : refuse_layers(&g, reason);
        uint32_t at = 0;
        enum status placed = STATUS_OK;
        for (; placed == STATUS_OK && at < stage_count; at++)
            placed = place_stage(&g, at, spans[at], partitions, reason);
        if (placed != STATUS_NO_CAPACITY)
            return placed;
        g.rooms[at - 1] -= g.rooms[at - 1] / ROOM_PARTS;
        is_tried = true;
    }
    return status == STATUS_OK ? STATUS_NO_CAPACITY : status;
}

/* Shares near those given that fit; false when there are none. */
static bool find_nearest(const struct groups *g, uint32_t *percent_out)
{
    struct partition tables[PARTITION_RANKS_MAX];
    uint64_t bytes[PARTITION_RANKS_MAX];
    uint64_t shares[PARTITION_RANKS_MAX];
    struct reason reason;
    const uint32_t count = partition_stage_total(g->sizes, g->count);
    if (place_by_memory(g->units, g->costs, g->sizes, g->count, g->budgets, tables, &reason) !=
        STATUS_OK)
        return false;
    for (uint32_t i = 0; i < count; i++)
        bytes[i] = partition_bytes(g->units, g->costs, &tables[i]) - g->costs->rank_bytes;
    (void)partition_share(PERCENT, bytes, count, percent_out);
    for (uint32_t i = 0; i < count; i++)
        shares[i] = percent_out[i];
    return partition_solve_stages(g->units, g->sizes, g->count, shares, tables, &reason) ==
               STATUS_OK &&
           partition_most_over(g->units, g->costs, g->budgets, count, tables) == count;
}

enum status partition_place_stages(const struct partition_units *units,
                                   const struct partition_costs *costs, const uint32_t *sizes,
                                   uint32_t stage_count, const uint64_t *shares,
                                   const uint64_t *budgets, struct partition *partitions_out,
                                   struct reason *reason)
{
    const struct groups g = {.units = units, .costs = costs, .sizes = sizes,
                             .count = stage_count, .budgets = budgets};
    uint32_t percent[PARTITION_RANKS_MAX];
    enum status status =
        partition_solve_stages(units, sizes, stage_count, shares, partitions_out, reason);
    if (status != STATUS_OK)
        return status;
    const uint32_t count = partition_stage_total(sizes, stage_count);
    if (!shares)
        status = place_by_memory(units, costs, sizes, stage_count, budgets, partitions_out, reason);
    if (status != STATUS_OK)
        return status;
    const uint32_t rank = partition_most_over(units, costs, budgets, count, partitions_out);
    if (rank == count)
        return STATUS_OK;
    const uint64_t need = partition_bytes(units, costs, &partitions_out[rank]);
    if (!shares || !find_nearest(&g, percent))
        return partition_lacks(rank, need, budgets[rank], reason);
    char text[256] = "";
    for (uint32_t i = 0, used = 0; i < count && used + 8 < sizeof text; i++)
        used += (uint32_t)snprintf(text + used, sizeof text - used, "%s%u", i ? "," : "",
                                   percent[i]);
    return refuse(reason, STATUS_NO_CAPACITY, "with these shares rank %u needs %llu bytes and has "
                  "%llu; %s would fit", rank, (unsigned long long)need,
                  (unsigned long long)budgets[rank], text);
}
