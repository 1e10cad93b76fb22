/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/partition_place.h"

#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

/* Fillings of a pipeline are tried in such steps of its budgets. */
#define FILL_STEPS 4096u

static uint64_t times(uint64_t a, uint64_t b)
{
    return b && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* --- counting --- */

static uint64_t class_bytes(const struct partition_class *class, uint64_t unit_bytes,
                            uint64_t kv_bytes, const struct partition_cut *cut)
{
    uint64_t bytes = times((uint64_t)(cut->end - cut->first) * cut->step, unit_bytes);
    const bool is_even = cut->first % cut->layers == 0 && cut->end % cut->layers == 0;
    const uint32_t step = is_even ? cut->layers : 1;
    if (class->per_kv == 0 || kv_bytes == 0)
        return bytes;
    for (uint32_t layer = 0; layer < cut->layers; layer += step) {
        const struct partition_span kv = partition_kv_of(class, partition_cut_in(cut, layer));
        bytes = plus(bytes, times(kv_bytes, (uint64_t)(kv.end - kv.first) * step));
    }
    return bytes;
}

static uint64_t pipeline_bytes(const struct partition_costs *costs, const struct partition *p)
{
    uint64_t bytes = plus(costs->rank_bytes, p->has_embedding ? costs->ends_bytes : 0);
    for (uint32_t i = p->layer_first; i < p->layer_end; i++)
        bytes = plus(bytes, costs->layer_bytes[i]);
    return bytes;
}

uint64_t partition_bytes(const struct partition_units *units, const struct partition_costs *costs,
                         const struct partition *p)
{
    if (p->sharding == SHARDING_PIPELINE)
        return pipeline_bytes(costs, p);
    uint64_t bytes = plus(costs->whole_bytes,
                          times(costs->vocab_bytes, p->vocab_end - p->vocab_first));
    for (uint32_t i = 0; i < units->class_count; i++)
        bytes = plus(bytes, class_bytes(&units->classes[i], costs->unit_bytes[i],
                                        costs->kv_bytes[i], &p->cuts[i]));
    return bytes;
}

/* The rank that is furthest over its budget; the count when all fit. */
static uint32_t most_over(const struct partition_units *units,
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
        if (plus(times(units * class->layers, p->costs->unit_bytes[at]),
                 times(kv * class->layers, p->costs->kv_bytes[at])) <= bytes)
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
        p->used[i] = plus(p->used[i], class_bytes(class, p->costs->unit_bytes[at],
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
    return times(alike, plus(times(step, p->costs->unit_bytes[at]),
                             times(heads, p->costs->kv_bytes[at])));
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
    return times(p->costs->unit_bytes[a], left->layers) >
           times(p->costs->unit_bytes[b], right->layers);
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

static enum status lacks(uint32_t rank, uint64_t need, uint64_t have, struct reason *reason)
{
    return refuse(reason, STATUS_NO_CAPACITY, "rank %u needs %.1f MB and has %.1f MB", rank,
                  (double)need / 1e6, (double)have / 1e6);
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
    uint32_t rank = most_over(p->units, p->costs, budgets, p->count, p->partitions);
    if (rank == p->count)
        return STATUS_OK; /* the shares of all the rest happened to fit */
    return lacks(rank, partition_bytes(p->units, p->costs, &p->partitions[rank]), budgets[rank],
                 reason);
}

static enum status place_tensor(const struct partition_units *units,
                                const struct partition_costs *costs, const uint64_t *budgets,
                                uint32_t count, struct partition *partitions,
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
            return lacks(i, costs->whole_bytes, budgets[i], reason);
    const bool is_room = find_room(&p, budgets);
    for (size_t i = 0; is_room && i < COUNT_OF(efforts); i++) {
        begin(units, count, partitions);
        if (place_all(&p, &efforts[i]) &&
            most_over(units, costs, budgets, count, partitions) == count)
            return STATUS_OK;
    }
    begin(units, count, partitions);
    if (is_room && partition_search(units, costs, budgets, count, partitions) == STATUS_OK &&
        most_over(units, costs, budgets, count, partitions) == count)
        return STATUS_OK;
    begin(units, count, partitions);
    return refuse_tensor(&p, budgets, reason);
}

/* --- the pipeline --- */

/* What rank `rank` may take of layers at `steps` of FILL_STEPS of its budget. */
static uint64_t layer_room(const struct partition_costs *costs, const uint64_t *budgets,
                           uint32_t rank, uint32_t steps)
{
    const uint64_t kept = plus(costs->rank_bytes, rank == 0 ? costs->ends_bytes : 0);
    const uint64_t room = budgets[rank] > kept ? budgets[rank] - kept : 0;
    return room / FILL_STEPS * steps + room % FILL_STEPS * steps / FILL_STEPS;
}

struct laying {
    const struct partition_units *units;
    const struct partition_costs *costs;
    /* [ranks so far][layers so far]: the layers before the last of these ranks, less 1; 0: there
     * is no way */
    uint16_t before[PARTITION_RANKS_MAX + 1][PARTITION_LAYERS_MAX + 1];
};

/* Every way of rank `rank`: from each layer it may begin at, to the furthest it can hold. */
static void lay_rank(struct laying *l, uint32_t rank, uint64_t room)
{
    const uint32_t layers = l->units->layers;
    const uint64_t *bytes = l->costs->layer_bytes;
    uint64_t used = 0;
    uint32_t end = 0;
    uint32_t reached = 0;
    memset(l->before[rank + 1], 0, sizeof l->before[rank + 1]);
    for (uint32_t from = 0; from < layers; from++) {
        if (end < from) {
            end = from;
            used = 0;
        }
        while (end < layers && bytes[end] <= room && used <= room - bytes[end])
            used += bytes[end++];
        if (l->before[rank][from] > 0)
            for (uint32_t to = (reached > from ? reached : from) + 1; to <= end; to++) {
                l->before[rank + 1][to] = (uint16_t)(from + 1);
                reached = to;
            }
        if (end > from)
            used -= bytes[from];
    }
}

/* Whether there is a table; if so it is written. */
static bool lay_layers(struct laying *l, const uint64_t *budgets, uint32_t count, uint32_t steps,
                       struct partition *partitions)
{
    memset(l->before[0], 0, sizeof l->before[0]);
    l->before[0][0] = 1;
    for (uint32_t i = 0; i < count; i++)
        lay_rank(l, i, layer_room(l->costs, budgets, i, steps));
    uint32_t end = l->units->layers;
    if (l->before[count][end] == 0)
        return false;
    for (uint32_t i = count; i-- > 0;) {
        partitions[i].layer_end = end;
        end = l->before[i + 1][end] - 1u;
        partitions[i].layer_first = end;
    }
    return true;
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
               plus(partition_bytes(units, costs, p), costs->layer_bytes[p->layer_end]) <=
                   budgets[i]))
            p->layer_end++;
        next = p->layer_end;
        const uint64_t need = partition_bytes(units, costs, p);
        if (need > budgets[i])
            return lacks(i, need, budgets[i], reason);
    }
    return lacks(count - 1, partition_bytes(units, costs, &partitions[count - 1]),
                 budgets[count - 1], reason);
}

static enum status place_pipeline(const struct partition_units *units,
                                  const struct partition_costs *costs, const uint64_t *budgets,
                                  uint32_t count, struct partition *partitions,
                                  struct reason *reason)
{
    uint32_t low = 0;
    uint32_t high = FILL_STEPS;
    enum status status = partition_solve(SHARDING_PIPELINE, units, NULL, count, partitions, reason);
    if (status == STATUS_OK && units->layers > PARTITION_LAYERS_MAX)
        status = refuse(reason, STATUS_UNSUPPORTED, "%u layers; at most %u", units->layers,
                        PARTITION_LAYERS_MAX);
    if (status != STATUS_OK)
        return status;
    struct laying *l = memory_zeroed(1, sizeof *l);
    if (!l)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to place %u layers", units->layers);
    l->units = units;
    l->costs = costs;
    if (!lay_layers(l, budgets, count, high, partitions)) {
        memory_free(l);
        return refuse_pipeline(units, costs, budgets, count, partitions, reason);
    }
    while (low + 1 < high) {
        const uint32_t middle = (low + high) / 2;
        if (lay_layers(l, budgets, count, middle, partitions))
            high = middle;
        else
            low = middle;
    }
    const bool is_laid = lay_layers(l, budgets, count, high, partitions);
    memory_free(l);
    ASSERT(is_laid);
    return STATUS_OK;
}

/* --- both --- */

static enum status place_free(enum sharding sharding, const struct partition_units *units,
                              const struct partition_costs *costs, const uint64_t *budgets,
                              uint32_t count, struct partition *partitions, struct reason *reason)
{
    if (sharding == SHARDING_TENSOR)
        return place_tensor(units, costs, budgets, count, partitions, reason);
    if (sharding == SHARDING_PIPELINE)
        return place_pipeline(units, costs, budgets, count, partitions, reason);
    enum status status = partition_solve(sharding, units, NULL, count, partitions, reason);
    if (status != STATUS_OK)
        return status;
    const uint64_t bytes = partition_bytes(units, costs, &partitions[0]);
    return bytes <= budgets[0] ? STATUS_OK : lacks(0, bytes, budgets[0], reason);
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
           most_over(units, costs, budgets, count, tables) == count;
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
    const uint32_t rank = most_over(units, costs, budgets, count, partitions_out);
    if (rank == count)
        return STATUS_OK;
    const uint64_t need = partition_bytes(units, costs, &partitions_out[rank]);
    if (!find_nearest(sharding, units, costs, budgets, count, percent))
        return lacks(rank, need, budgets[rank], reason);
    char text[256] = "";
    for (uint32_t i = 0, used = 0; i < count && used + 8 < sizeof text; i++)
        used += (uint32_t)snprintf(text + used, sizeof text - used, "%s%u", i ? "," : "",
                                   percent[i]);
    return refuse(reason, STATUS_NO_CAPACITY, "with these shares rank %u needs %.1f MB and has "
                  "%.1f MB; %s would fit", rank, (double)need / 1e6, (double)budgets[rank] / 1e6,
                  text);
}

const char *partition_explain(const struct partition_units *units,
                              const struct partition_costs *costs, const struct partition *p,
                              uint64_t budget, char *text_out)
{
    size_t used = (size_t)snprintf(text_out, PARTITION_SENTENCE_SIZE, "rank %u has %.1f MB: ",
                                   p->rank, (double)budget / 1e6);
    if (p->sharding == SHARDING_PIPELINE)
        used += (size_t)snprintf(text_out + used, PARTITION_SENTENCE_SIZE - used,
                                 "layers %u to %u of %u%s", p->layer_first, p->layer_end - 1,
                                 units->layers, p->has_head ? " with embedding and head" : "");
    for (uint32_t i = 0; p->sharding == SHARDING_TENSOR && i < p->cut_count; i++) {
        const struct partition_cut *cut = &p->cuts[i];
        if (used + 96 < PARTITION_SENTENCE_SIZE)
            used += (size_t)snprintf(text_out + used, PARTITION_SENTENCE_SIZE - used,
                                     "%.3g of %u units of %s, ",
                                     (double)(cut->end - cut->first) * cut->step / cut->layers,
                                     cut->units,
                                     partition_kind_name(cut->kind));
    }
    if (p->sharding == SHARDING_TENSOR && used + 96 < PARTITION_SENTENCE_SIZE)
        used += (size_t)snprintf(text_out + used, PARTITION_SENTENCE_SIZE - used,
                                 "%u vocabulary rows", p->vocab_end - p->vocab_first);
    const uint64_t bytes = partition_bytes(units, costs, p);
    if (used + 64 < PARTITION_SENTENCE_SIZE)
        (void)snprintf(text_out + used, PARTITION_SENTENCE_SIZE - used, " take %.1f MB, %.0f %%",
                       (double)bytes / 1e6, budget ? (double)bytes / (double)budget * 100 : 0);
    return text_out;
}
