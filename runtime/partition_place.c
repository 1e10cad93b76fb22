/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/partition_place.h"

#include "runtime/partition_internal.h"

#include <stdio.h>
#include <string.h>

/* --- counting --- */

static uint64_t class_bytes(const struct partition_class *class, uint64_t unit_bytes,
                            uint64_t kv_bytes, const struct partition_cut *cut)
{
    uint64_t bytes = partition_times((uint64_t)(cut->end - cut->first) * cut->step, unit_bytes);
    const bool is_even = cut->first % cut->layers == 0 && cut->end % cut->layers == 0;
    const uint32_t step = is_even ? cut->layers : 1;
    if (class->per_kv == 0 || kv_bytes == 0)
        return bytes;
    for (uint32_t layer = 0; layer < cut->layers; layer += step) {
        const struct partition_span kv = partition_kv_of(class, partition_cut_in(cut, layer));
        bytes = partition_plus(bytes,
                               partition_times(kv_bytes, (uint64_t)(kv.end - kv.first) * step));
    }
    return bytes;
}

static uint64_t pipeline_bytes(const struct partition_costs *costs, const struct partition *p)
{
    uint64_t bytes = partition_plus(
        costs->rank_bytes, partition_ends_bytes(costs, p->has_embedding, p->has_head));
    for (uint32_t i = p->layer_first; i < p->layer_end; i++)
        bytes = partition_plus(bytes, costs->layer_bytes[i]);
    return bytes;
}

uint64_t partition_bytes(const struct partition_units *units, const struct partition_costs *costs,
                         const struct partition *p)
{
    if (p->sharding == SHARDING_PIPELINE)
        return pipeline_bytes(costs, p);
    if (p->sharding == SHARDING_PIPELINE_TENSOR)
        return partition_stage_bytes(units, costs, p);
    uint64_t bytes = partition_plus(costs->whole_bytes,
                          partition_times(costs->vocab_bytes, p->vocab_end - p->vocab_first));
    for (uint32_t i = 0; i < units->class_count; i++)
        bytes = partition_plus(bytes, class_bytes(&units->classes[i], costs->unit_bytes[i],
                                        costs->kv_bytes[i], &p->cuts[i]));
    return bytes;
}

uint32_t partition_most_over(const struct partition_units *units,
                          const struct partition_costs *costs, const uint64_t *budgets,
                          uint32_t count, const struct partition *partitions)
{
    uint64_t most = 0;
    uint32_t found = count;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t bytes = partition_bytes(units, costs, &partitions[i]);
        if (bytes <= budgets[i] || bytes - budgets[i] <= most)
            continue;
        most = bytes - budgets[i];
        found = i;
    }
    return found;
}

/* --- sharing within limits --- */

/* Gives `total` by `weights`, no rank more than its limit; false when that is too little. */
static bool fill(uint32_t total, const uint64_t *weights, const uint64_t *limits, uint32_t count,
                 uint32_t *held)
{
    uint32_t left = total;
    memset(held, 0, count * sizeof *held);
    while (left > 0) {
        uint64_t shares[PARTITION_RANKS_MAX];
        uint32_t ranks[PARTITION_RANKS_MAX];
        uint32_t given[PARTITION_RANKS_MAX];
        uint32_t open = 0;
        for (uint32_t pass = 0; open == 0 && pass < 2; pass++) {
            for (uint32_t i = 0; i < count; i++) {
                if (held[i] >= limits[i] || (pass == 0 && weights[i] == 0))
                    continue;
                shares[open] = pass == 0 ? weights[i] : limits[i] - held[i];
                ranks[open++] = i;
            }
        }
        if (open == 0)
            return false;
        /* One each would be more than some are due. */
        (void)partition_share_plain(left, shares, open, given);
        for (uint32_t i = 0; i < open; i++) {
            const uint64_t room = limits[ranks[i]] - held[ranks[i]];
            const uint32_t taken = given[i] < room ? given[i] : (uint32_t)room;
            held[ranks[i]] += taken;
            left -= taken;
        }
    }
    return true;
}

/* --- the tensor cut --- */

/* How hard to try. */
struct effort {
    bool is_even;   /* columns alike in all layers, where there are not few */
    bool is_free;   /* mixers may differ between layers too, with key-value heads in groups */
    bool in_groups; /* query heads by whole groups */
};

struct placing {
    const struct partition_units *units;
    const struct partition_costs *costs;
    uint32_t count;
    struct partition *partitions;
    uint64_t room[PARTITION_RANKS_MAX]; /* of a rank, what it keeps anyway taken off */
    uint64_t due[PARTITION_RANKS_MAX];  /* of that to be filled, so that all are equally full */
    uint64_t used[PARTITION_RANKS_MAX];
};

static uint64_t left_of(const struct placing *p, uint32_t rank)
{
    return p->room[rank] > p->used[rank] ? p->room[rank] - p->used[rank] : 0;
}

/* The most key-value heads that so many units can read wherever they lie. */
static uint64_t kv_at_most(const struct partition_class *class, uint64_t units)
{
    const uint64_t heads = units * class->unit_heads;
    const uint64_t all = (uint64_t)class->units * class->unit_heads / class->per_kv;
    const uint64_t most = heads < 2 ? heads : (heads - 2) / class->per_kv + 2;
    return most < all ? most : all;
}

/* Units in all layers that surely fit into so many bytes. */
static uint64_t units_that_fit(const struct placing *p, uint32_t at, uint64_t bytes)
{
    const struct partition_class *class = &p->units->classes[at];
    uint64_t low = 0;
    uint64_t high = class->units;
    while (low < high) {
        const uint64_t units = (low + high + 1) / 2;
        const uint64_t kv = kv_at_most(class, units);
        if (partition_plus(partition_times(units * class->layers, p->costs->unit_bytes[at]),
                 partition_times(kv * class->layers, p->costs->kv_bytes[at])) <= bytes)
            low = units;
        else
            high = units - 1;
    }
    return low;
}

/* Of each rank so many steps, each in `alike` layers. */
static void take(struct placing *p, uint32_t at, const uint32_t *held, uint32_t step,
                 uint32_t alike)
{
    const struct partition_class *class = &p->units->classes[at];
    uint32_t next = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        struct partition_cut *cut = &p->partitions[i].cuts[at];
        cut->step = step;
        cut->first = next;
        cut->end = next += held[i] * alike;
        p->used[i] = partition_plus(p->used[i], class_bytes(class, p->costs->unit_bytes[at],
                                                  p->costs->kv_bytes[at], cut));
    }
}

static void weigh(const struct placing *p, bool is_mixer, uint64_t *weights)
{
    for (uint32_t i = 0; i < p->count; i++) {
        const uint64_t due = p->due[i] > p->used[i] ? p->due[i] - p->used[i] : 0;
        weights[i] = is_mixer ? p->room[i] : due;
    }
}

/* A step in so many layers. */
static uint64_t step_bytes(const struct placing *p, uint32_t at, uint32_t step, uint32_t alike)
{
    const struct partition_class *class = &p->units->classes[at];
    const uint32_t heads = class->per_kv ? step * class->unit_heads / class->per_kv : 0;
    return partition_times(alike, partition_plus(partition_times(step, p->costs->unit_bytes[at]),
                             partition_times(heads, p->costs->kv_bytes[at])));
}

static bool place_class(struct placing *p, uint32_t at, const struct effort *effort)
{
    const struct partition_class *class = &p->units->classes[at];
    const bool is_bulk = class->kind >= PARTITION_FFN;
    const bool is_apart = class->per_kv > 0 && !effort->in_groups; /* heads may be held twice */
    const bool is_even = is_bulk ? effort->is_even && class->units >= PARTITION_COARSE
                                 : is_apart || !effort->is_free;
    const uint32_t alike = is_even ? class->layers : 1;
    const uint32_t step = is_apart ? 1 : partition_group_units(class);
    uint64_t weights[PARTITION_RANKS_MAX];
    uint64_t limits[PARTITION_RANKS_MAX];
    uint32_t held[PARTITION_RANKS_MAX];
    const uint64_t bytes = step_bytes(p, at, step, alike);
    weigh(p, !is_bulk, weights);
    for (uint32_t i = 0; i < p->count; i++)
        limits[i] = is_apart     ? units_that_fit(p, at, left_of(p, i))
                    : bytes == 0 ? UINT32_MAX
                                 : left_of(p, i) / bytes;
    if (!fill(class->units / step * (class->layers / alike), weights, limits, p->count, held))
        return false;
    take(p, at, held, step, alike);
    return true;
}

static bool place_vocab(struct placing *p)
{
    uint64_t weights[PARTITION_RANKS_MAX];
    uint64_t limits[PARTITION_RANKS_MAX];
    uint32_t held[PARTITION_RANKS_MAX];
    weigh(p, false, weights);
    for (uint32_t i = 0; i < p->count; i++)
        limits[i] = p->costs->vocab_bytes ? left_of(p, i) / p->costs->vocab_bytes : UINT32_MAX;
    if (!fill(p->units->vocab, weights, limits, p->count, held))
        return false;
    for (uint32_t i = 0, next = 0; i < p->count; i++) {
        p->partitions[i].vocab_first = next;
        p->partitions[i].vocab_end = next += held[i];
    }
    return true;
}

/* Mixers before columns, and what has the largest units first. */
static bool comes_before(const struct placing *p, uint32_t a, uint32_t b)
{
    const struct partition_class *left = &p->units->classes[a];
    const struct partition_class *right = &p->units->classes[b];
    const bool is_left_bulk = left->kind >= PARTITION_FFN;
    const bool is_right_bulk = right->kind >= PARTITION_FFN;
    if (is_left_bulk != is_right_bulk)
        return is_right_bulk;
    return partition_times(p->costs->unit_bytes[a], left->layers) >
           partition_times(p->costs->unit_bytes[b], right->layers);
}

static bool place_all(struct placing *p, const struct effort *effort)
{
    uint32_t order[PARTITION_CLASSES_MAX];
    memset(p->used, 0, sizeof p->used);
    for (uint32_t i = 0; i < p->units->class_count; i++) {
        uint32_t at = i;
        for (; at > 0 && comes_before(p, i, order[at - 1]); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    for (uint32_t i = 0; i < p->units->class_count; i++)
        if (!place_class(p, order[i], effort))
            return false;
    return place_vocab(p);
}

/* Bytes of everything that is shared, no key-value head twice. */
static uint64_t shared_bytes(const struct partition_units *units,
                             const struct partition_costs *costs)
{
    struct partition whole = partition_whole(units, 0, 1, SHARDING_TENSOR);
    return partition_bytes(units, costs, &whole) - costs->whole_bytes;
}

/* Whether all together have as much as is needed. */
static bool find_room(struct placing *p, const uint64_t *budgets)
{
    const uint64_t need = shared_bytes(p->units, p->costs);
    double all = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        p->room[i] = budgets[i] - p->costs->whole_bytes;
        all += (double)p->room[i];
    }
    for (uint32_t i = 0; i < p->count; i++)
        p->due[i] = all > 0 ? (uint64_t)((double)p->room[i] * ((double)need / all)) : 0;
    return all >= (double)need;
}

enum status partition_lacks(uint32_t rank, uint64_t need, uint64_t have, struct reason *reason)
{
    return refuse(reason, STATUS_NO_CAPACITY, "rank %u needs %llu bytes and has %llu", rank,
                  (unsigned long long)need, (unsigned long long)have);
}

/* Whole tables to begin with. */
static void begin(const struct partition_units *units, uint32_t count,
                  struct partition *partitions)
{
    for (uint32_t i = 0; i < count; i++)
        partitions[i] = partition_whole(units, i, count, SHARDING_TENSOR);
}

static enum status refuse_tensor(const struct placing *p, const uint64_t *budgets,
                                 struct reason *reason)
{
    uint64_t shares[PARTITION_RANKS_MAX];
    for (uint32_t i = 0; i < p->count; i++)
        shares[i] = p->room[i] ? p->room[i] : 1;
    enum status status = partition_solve(SHARDING_TENSOR, p->units, shares, p->count,
                                         p->partitions, reason);
    if (status != STATUS_OK)
        return status;
    uint32_t rank = partition_most_over(p->units, p->costs, budgets, p->count, p->partitions);
    if (rank == p->count)
        return STATUS_OK; /* the shares of all the rest happened to fit */
    return partition_lacks(rank, partition_bytes(p->units, p->costs, &p->partitions[rank]),
                           budgets[rank], reason);
}

enum status partition_place_tensor(const struct partition_units *units,
                                   const struct partition_costs *costs, const uint64_t *budgets,
                                   uint32_t count, bool is_thorough, struct partition *partitions,
                                   struct reason *reason)
{
    static const struct effort efforts[] = {
        {.is_even = true, .in_groups = true}, {.is_even = true}, {.in_groups = true},
        {.is_even = false}, {.is_free = true, .in_groups = true}, {.is_free = true},
    };
    struct placing p = {.units = units, .costs = costs, .count = count, .partitions = partitions};
    if (count > partition_ranks_most(units))
        return refuse(reason, STATUS_NO_CAPACITY, "%u ranks cannot share %u vocabulary rows; use "
                      "at most %u ranks", count, partition_ranks_most(units),
                      partition_ranks_most(units));
    for (uint32_t i = 0; i < count; i++)
        if (budgets[i] < costs->whole_bytes)
            return partition_lacks(i, costs->whole_bytes, budgets[i], reason);
    const bool is_room = find_room(&p, budgets);
    for (size_t i = 0; is_room && i < COUNT_OF(efforts); i++) {
        begin(units, count, partitions);
        if (place_all(&p, &efforts[i]) &&
            partition_most_over(units, costs, budgets, count, partitions) == count)
            return STATUS_OK;
    }
    begin(units, count, partitions);
    if (is_room && is_thorough &&
        partition_search(units, costs, budgets, count, partitions) == STATUS_OK &&
        partition_most_over(units, costs, budgets, count, partitions) == count)
        return STATUS_OK;
    begin(units, count, partitions);
    return refuse_tensor(&p, budgets, reason);
}

/* --- both --- */

static enum status place_free(enum sharding sharding, const struct partition_units *units,
                              const struct partition_costs *costs, const uint64_t *budgets,
                              uint32_t count, struct partition *partitions, struct reason *reason)
{
    if (sharding == SHARDING_TENSOR)
        return partition_place_tensor(units, costs, budgets, count, true, partitions, reason);
    if (sharding == SHARDING_PIPELINE)
        return partition_place_pipeline(units, costs, budgets, count, partitions, reason);
    enum status status = partition_solve(sharding, units, NULL, count, partitions, reason);
    if (status != STATUS_OK)
        return status;
    const uint64_t bytes = partition_bytes(units, costs, &partitions[0]);
    return bytes <= budgets[0] ? STATUS_OK : partition_lacks(0, bytes, budgets[0], reason);
}

/* Shares near those given that fit; false when there are none. */
static bool find_nearest(enum sharding sharding, const struct partition_units *units,
                         const struct partition_costs *costs, const uint64_t *budgets,
                         uint32_t count, uint32_t *percent_out)
{
    struct partition tables[PARTITION_RANKS_MAX];
    uint64_t bytes[PARTITION_RANKS_MAX];
    uint64_t shares[PARTITION_RANKS_MAX];
    struct reason reason;
    if (place_free(sharding, units, costs, budgets, count, tables, &reason) != STATUS_OK)
        return false;
    for (uint32_t i = 0; i < count; i++)
        bytes[i] = partition_bytes(units, costs, &tables[i]) - costs->whole_bytes;
    for (uint32_t i = 0; sharding == SHARDING_PIPELINE && i < count; i++)
        bytes[i] = tables[i].layer_end - tables[i].layer_first;
    (void)partition_share(100, bytes, count, percent_out);
    for (uint32_t i = 0; i < count; i++)
        shares[i] = percent_out[i];
    return partition_solve(sharding, units, shares, count, tables, &reason) == STATUS_OK &&
           partition_most_over(units, costs, budgets, count, tables) == count;
}

enum status partition_place(enum sharding sharding, const struct partition_units *units,
                            const struct partition_costs *costs, const uint64_t *shares,
                            const uint64_t *budgets, uint32_t count,
                            struct partition *partitions_out, struct reason *reason)
{
    uint32_t percent[PARTITION_RANKS_MAX];
    enum status status = partition_solve(sharding, units, shares, count, partitions_out, reason);
    if (status != STATUS_OK)
        return status;
    if (!shares)
        return place_free(sharding, units, costs, budgets, count, partitions_out, reason);
    const uint32_t rank = partition_most_over(units, costs, budgets, count, partitions_out);
    if (rank == count)
        return STATUS_OK;
    const uint64_t need = partition_bytes(units, costs, &partitions_out[rank]);
    if (!find_nearest(sharding, units, costs, budgets, count, percent))
        return partition_lacks(rank, need, budgets[rank], reason);
    char text[256] = "";
    for (uint32_t i = 0, used = 0; i < count && used + 8 < sizeof text; i++)
        used += (uint32_t)snprintf(text + used, sizeof text - used, "%s%u", i ? "," : "",
                                   percent[i]);
    return refuse(reason, STATUS_NO_CAPACITY, "with these shares rank %u needs %llu bytes and has "
                  "%llu; %s would fit", rank, (unsigned long long)need,
                  (unsigned long long)budgets[rank], text);
}
