/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/partition.h"

#include "runtime/partition_internal.h"

#include <stdio.h>
#include <string.h>

/* Shares are scaled below this, so that units * share fits 64 bits. */
#define SHARE_SUM_MAX (UINT64_C(1) << 31)
/* Whole groups of key-value heads are near enough when no rank is further from its share than one
 * in so many of all. */
#define GROUPS_NEAR 16u
#define PERCENT 100u

const char *partition_kind_name(enum partition_kind kind)
{
    switch (kind) {
    case PARTITION_ATTENTION:
        return "attention heads";
    case PARTITION_LATENT:
        return "latent attention heads";
    case PARTITION_DELTA:
        return "DeltaNet value heads";
    case PARTITION_FFN:
        return "FFN columns";
    case PARTITION_EXPERTS:
        return "expert columns";
    case PARTITION_SHARED:
        return "shared expert columns";
    case PARTITION_NONE:
        break;
    }
    return "nothing";
}

/* --- classes --- */

static uint32_t find_class(const struct partition_units *units, const struct partition_class *like)
{
    uint32_t at = 0;
    while (at < units->class_count &&
           (units->classes[at].kind != like->kind || units->classes[at].units != like->units ||
            units->classes[at].unit_heads != like->unit_heads ||
            units->classes[at].per_kv != like->per_kv))
        at++;
    return at;
}

uint32_t partition_units_add(struct partition_units *units, const struct partition_class *like,
                             uint32_t layers)
{
    struct partition_class class = *like;
    uint32_t at = find_class(units, &class);
    if (at == units->class_count && at + PARTITION_KIND_COUNT > PARTITION_CLASSES_MAX) {
        class.unit_heads = 0;
        class.per_kv = 0;
        class.units = 1;
        class.parts = 0;
        at = find_class(units, &class);
    }
    if (at == units->class_count) {
        class.layers = 0;
        units->classes[units->class_count++] = class;
    }
    if (units->classes[at].parts != class.parts)
        units->classes[at].parts = 0;
    units->classes[at].layers += layers;
    return at;
}

void partition_units_map(struct partition_units *units, uint32_t class, uint32_t first,
                         uint32_t layers)
{
    for (uint32_t i = first; i < first + layers && i < PARTITION_LAYERS_MAX; i++)
        units->layer_classes[i] |= (uint16_t)(1u << class);
}

struct partition_span partition_cut_in(const struct partition_cut *cut, uint32_t ordinal)
{
    return (struct partition_span){(cut->first + ordinal) / cut->layers * cut->step,
                                   (cut->end + ordinal) / cut->layers * cut->step};
}

struct partition_span partition_kv_of(const struct partition_class *class,
                                      struct partition_span units)
{
    if (class->per_kv == 0)
        return units;
    if (units.first >= units.end)
        return (struct partition_span){0, 0};
    return (struct partition_span){units.first * class->unit_heads / class->per_kv,
                                   (units.end * class->unit_heads - 1) / class->per_kv + 1};
}

uint32_t partition_group_units(const struct partition_class *class)
{
    uint32_t count = 1;
    if (class->per_kv == 0)
        return 1;
    while (count < class->units && (count * class->unit_heads % class->per_kv != 0 ||
                                    class->units % count != 0))
        count++;
    return count;
}

/* --- shares --- */

/* Shares made small enough to multiply; none becomes 0. */
static uint64_t scale_shares(const uint64_t *shares, uint32_t count, uint64_t *scaled_out)
{
    uint64_t largest = 1;
    for (uint32_t i = 0; i < count; i++)
        largest = shares && shares[i] > largest ? shares[i] : largest;
    uint32_t shift = 0;
    while (largest >> shift > SHARE_SUM_MAX / PARTITION_RANKS_MAX)
        shift++;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        scaled_out[i] = shares ? shares[i] >> shift : 1;
        if (scaled_out[i] == 0)
            scaled_out[i] = 1;
        sum += scaled_out[i];
    }
    return sum;
}

/* A rank without a unit takes one from the rank that has most. */
static void give_one_each(uint32_t count, uint32_t *units)
{
    for (uint32_t i = 0; i < count; i++) {
        if (units[i] > 0)
            continue;
        uint32_t most = 0;
        for (uint32_t k = 1; k < count; k++) {
            if (units[k] > units[most])
                most = k;
        }
        units[most]--;
        units[i]++;
    }
}

bool partition_share_plain(uint32_t total, const uint64_t *shares, uint32_t count,
                           uint32_t *units_out)
{
    uint64_t scaled[PARTITION_RANKS_MAX];
    uint64_t remainder[PARTITION_RANKS_MAX];
    if (count == 0 || count > PARTITION_RANKS_MAX)
        return false;
    uint64_t sum = scale_shares(shares, count, scaled);
    uint32_t given = 0;
    for (uint32_t i = 0; i < count; i++) {
        units_out[i] = (uint32_t)(total * scaled[i] / sum);
        remainder[i] = total * scaled[i] % sum;
        given += units_out[i];
    }
    for (; given < total; given++) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < count; i++) {
            if (remainder[i] > remainder[best])
                best = i;
        }
        units_out[best]++;
        remainder[best] = 0;
    }
    return true;
}

bool partition_share(uint32_t total, const uint64_t *shares, uint32_t count, uint32_t *units_out)
{
    if (!partition_share_plain(total, shares, count, units_out))
        return false;
    if (total >= count)
        give_one_each(count, units_out);
    return true;
}

const char *partition_nearest_shares(const uint64_t *shares, uint32_t given, uint32_t count,
                                     char text_out[PARTITION_SHARES_SIZE])
{
    uint64_t weights[PARTITION_RANKS_MAX] = {0};
    uint32_t nearest[PARTITION_RANKS_MAX] = {0};
    uint64_t mean = given > 0 ? 0 : 1;
    uint32_t used = 0;
    text_out[0] = '\0';
    for (uint32_t i = 0; i < given && i < PARTITION_RANKS_MAX; i++)
        mean += shares[i] / given;
    for (uint32_t i = 0; i < count && i < PARTITION_RANKS_MAX; i++)
        weights[i] = i < given ? shares[i] : mean;
    (void)partition_share(PERCENT, weights, count, nearest);
    for (uint32_t i = 0; i < count && used + 8 < PARTITION_SHARES_SIZE; i++)
        used += (uint32_t)snprintf(text_out + used, PARTITION_SHARES_SIZE - used, "%s%u",
                                   i ? "," : "", nearest[i]);
    return text_out;
}

enum status partition_check_signs(const int64_t *shares, uint32_t count, struct reason *reason)
{
    uint64_t positive[PARTITION_RANKS_MAX];
    char text[PARTITION_SHARES_SIZE];
    int64_t least = 0;
    for (uint32_t i = 0; i < count && i < PARTITION_RANKS_MAX; i++) {
        positive[i] = shares[i] > 0 ? (uint64_t)shares[i] : 0;
        least = shares[i] < least ? shares[i] : least;
    }
    if (least >= 0)
        return STATUS_OK;
    return refuse(reason, STATUS_INVALID, "a share of %lld: leave that node out, or give %s",
                  (long long)least, partition_nearest_shares(positive, count, count, text));
}

enum status partition_check_shares(const uint64_t *shares, uint32_t count, uint32_t ranks_most,
                                   struct reason *reason)
{
    char text[PARTITION_SHARES_SIZE];
    uint64_t sum = 0;
    bool has_zero = false;
    if (count < 2 || count > ranks_most || count > PARTITION_RANKS_MAX)
        return refuse(reason, STATUS_INVALID, "%u shares; give 2 to %u of them, one for each node",
                      count, ranks_most);
    for (uint32_t i = 0; i < count; i++) {
        has_zero = has_zero || shares[i] == 0;
        sum = shares[i] > UINT64_MAX - sum ? UINT64_MAX : sum + shares[i];
    }
    if (sum == PERCENT && !has_zero)
        return STATUS_OK;
    (void)partition_nearest_shares(shares, count, count, text);
    if (has_zero)
        return refuse(reason, STATUS_INVALID, "a share of 0: leave that node out, or give %s",
                      text);
    return refuse(reason, STATUS_INVALID, "the shares add up to %llu, not to 100; the nearest are "
                  "%s", (unsigned long long)sum, text);
}

/* --- solving by shares --- */

struct partition partition_whole(const struct partition_units *units, uint32_t rank,
                                 uint32_t count, enum sharding sharding)
{
    const bool is_pipeline = sharding == SHARDING_PIPELINE;
    struct partition whole = {.rank = rank,
                              .rank_count = count,
                              .sharding = sharding,
                              .stage = is_pipeline ? rank : 0,
                              .stage_first = is_pipeline ? rank : 0,
                              .stage_ranks = is_pipeline ? 1 : count,
                              .layer_end = units->layers,
                              .vocab_end = units->vocab,
                              .has_embedding = true,
                              .has_head = true,
                              .cut_count = units->class_count};
    for (uint32_t i = 0; i < units->class_count; i++)
        whole.cuts[i] = (struct partition_cut){units->classes[i].kind, units->classes[i].layers,
                                               units->classes[i].units, 1, 0,
                                               units->classes[i].units * units->classes[i].layers};
    return whole;
}

uint32_t partition_ranks_worth(const struct partition_units *units)
{
    uint32_t most = 1;
    for (uint32_t i = 0; i < units->class_count; i++)
        most = units->classes[i].units > most ? units->classes[i].units : most;
    return most < PARTITION_RANKS_MAX ? most : PARTITION_RANKS_MAX;
}

uint32_t partition_ranks_most(const struct partition_units *units)
{
    const uint32_t worth = partition_ranks_worth(units);
    const uint32_t most = units->vocab > worth ? units->vocab : worth;
    return most < PARTITION_RANKS_MAX ? most : PARTITION_RANKS_MAX;
}

static enum status too_many(uint32_t ranks, uint32_t units, const char *what,
                            struct reason *reason)
{
    return refuse(reason, STATUS_NO_CAPACITY, "%u ranks cannot share %u %s; use at most %u ranks",
                  ranks, units, what, units);
}

static enum status solve_pipeline(const struct partition_units *units, const uint64_t *shares,
                                  uint32_t count, struct partition *partitions,
                                  struct reason *reason)
{
    uint32_t layers[PARTITION_RANKS_MAX];
    if (units->layers < count || !partition_share(units->layers, shares, count, layers))
        return too_many(count, units->layers, "layers", reason);
    uint32_t next = 0;
    for (uint32_t i = 0; i < count; i++) {
        partitions[i].layer_first = next;
        next += layers[i];
        partitions[i].layer_end = next;
        partitions[i].has_embedding = i == 0;
        partitions[i].has_head = i + 1 == count;
        if (!partition_has_rows(&partitions[i]))
            partitions[i].vocab_end = 0;
    }
    return STATUS_OK;
}

/* Whether whole groups, shared, come near enough to the shares. */
static bool are_groups_near(const uint32_t *groups, uint32_t total, const uint64_t *shares,
                            uint32_t count)
{
    uint64_t scaled[PARTITION_RANKS_MAX];
    uint64_t sum = scale_shares(shares, count, scaled);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t held = groups[i] * sum;
        uint64_t due = total * scaled[i];
        if ((held > due ? held - due : due - held) * GROUPS_NEAR > total * sum)
            return false;
    }
    return true;
}

/* The steps of one class for each rank, counted through its layers; returns the units of a step. */
static uint32_t share_class(const struct partition_class *class, const uint64_t *shares,
                            uint32_t count, uint32_t *held_out)
{
    const uint32_t group = partition_group_units(class);
    const bool is_bulk = class->kind >= PARTITION_FFN;
    uint32_t alike = class->layers;
    uint32_t step = 1;
    if (is_bulk && class->units < PARTITION_COARSE) {
        alike = 1;
    } else if (group > 1 && class->units / group >= count) {
        (void)partition_share(class->units / group, shares, count, held_out);
        if (are_groups_near(held_out, class->units / group, shares, count))
            step = group;
    }
    (void)partition_share(class->units / step * (class->layers / alike), shares, count, held_out);
    for (uint32_t i = 0; i < count; i++)
        held_out[i] *= alike;
    return step;
}

static void solve_tensor(const struct partition_units *units, const uint64_t *shares,
                         uint32_t count, struct partition *partitions)
{
    uint32_t held[PARTITION_RANKS_MAX];
    for (uint32_t c = 0; c < units->class_count; c++) {
        uint32_t next = 0;
        const uint32_t step = share_class(&units->classes[c], shares, count, held);
        for (uint32_t i = 0; i < count; i++) {
            partitions[i].cuts[c].step = step;
            partitions[i].cuts[c].first = next;
            partitions[i].cuts[c].end = next += held[i];
        }
    }
    uint32_t next = 0;
    (void)partition_share(units->vocab, shares, count, held);
    for (uint32_t i = 0; i < count; i++) {
        partitions[i].vocab_first = next;
        partitions[i].vocab_end = next += held[i];
    }
}

static enum status check_units(const struct partition_units *units, struct reason *reason)
{
    for (uint32_t i = 0; i < units->class_count; i++) {
        const struct partition_class *class = &units->classes[i];
        if (class->layers == 0 || class->units == 0 || class->units > UINT32_MAX / class->layers ||
            (class->per_kv > 0 && class->unit_heads == 0))
            return refuse(reason, STATUS_INVALID, "%u %s in %u layers cannot be shared",
                          class->units, partition_kind_name(class->kind), class->layers);
    }
    return STATUS_OK;
}

enum status partition_solve(enum sharding sharding, const struct partition_units *units,
                            const uint64_t *shares, uint32_t rank_count,
                            struct partition *partitions_out, struct reason *reason)
{
    if (rank_count == 0 || rank_count > PARTITION_RANKS_MAX)
        return refuse(reason, STATUS_INVALID, "%u ranks; 1 to %u are possible", rank_count,
                      PARTITION_RANKS_MAX);
    enum status status = check_units(units, reason);
    if (status != STATUS_OK)
        return status;
    for (uint32_t i = 0; i < rank_count; i++) {
        if (shares && shares[i] == 0)
            return refuse(reason, STATUS_INVALID, "the share of rank %u is 0; leave it out", i);
        partitions_out[i] = partition_whole(units, i, rank_count, sharding);
    }
    switch (sharding) {
    case SHARDING_PIPELINE:
        return solve_pipeline(units, shares, rank_count, partitions_out, reason);
    case SHARDING_TENSOR:
        if (rank_count > partition_ranks_most(units))
            return too_many(rank_count, partition_ranks_most(units), "vocabulary rows", reason);
        solve_tensor(units, shares, rank_count, partitions_out);
        return STATUS_OK;
    case SHARDING_PIPELINE_TENSOR:
        return refuse(reason, STATUS_INVALID, "sharding %s needs to know how many of the %u ranks "
                      "each stage has", sharding_name(sharding), rank_count);
    case SHARDING_NONE:
    case SHARDING_END:
        break;
    }
    if (rank_count != 1)
        return refuse(reason, STATUS_INVALID, "%u ranks need a sharding, pipeline or tensor",
                      rank_count);
    return STATUS_OK;
}

/* --- checking --- */

static enum status check_range(const char *what, uint32_t first, uint32_t end, uint32_t total,
                               bool may_be_empty, struct reason *reason)
{
    if (first > end || end > total || (first == end && !may_be_empty))
        return refuse(reason, STATUS_INVALID, "a rank holds %s %u to %u of %u", what, first, end,
                      total);
    return STATUS_OK;
}

static enum status check_cut(const struct partition *p, uint32_t at,
                             const struct partition_units *units, struct reason *reason)
{
    const struct partition_class *class = &units->classes[at];
    const struct partition_cut *cut = &p->cuts[at];
    if (cut->kind != class->kind || cut->layers != class->layers || cut->units != class->units)
        return refuse(reason, STATUS_INVALID, "the table of rank %u cuts %u %s in %u layers, where "
                      "the model has %u %s in %u; its files and the table are of two models",
                      p->rank, cut->units, partition_kind_name(cut->kind), cut->layers,
                      class->units, partition_kind_name(class->kind), class->layers);
    if (cut->step == 0 || class->units % cut->step != 0)
        return refuse(reason, STATUS_INVALID, "the table of rank %u parts %u %s in steps of %u; "
                      "steps of 1 are always possible", p->rank, class->units,
                      partition_kind_name(class->kind), cut->step);
    const uint32_t total = partition_cut_total(cut);
    const bool is_whole = cut->first == 0 && cut->end == total;
    if (p->sharding != SHARDING_TENSOR && p->sharding != SHARDING_PIPELINE_TENSOR && !is_whole)
        return refuse(reason, STATUS_INVALID, "the table of rank %u is none of sharding %s",
                      p->rank, sharding_name(p->sharding));
    return check_range(partition_kind_name(class->kind), cut->first, cut->end, total, true, reason);
}

enum status partition_check_one(const struct partition *p, const struct partition_units *units,
                                struct reason *reason)
{
    const bool is_staged = p->sharding == SHARDING_PIPELINE_TENSOR;
    const bool is_tensor = p->sharding == SHARDING_TENSOR;
    const bool is_pipeline = p->sharding == SHARDING_PIPELINE || is_staged;
    if (p->rank >= p->rank_count || p->rank_count > PARTITION_RANKS_MAX ||
        (p->rank_count > 1 && !is_tensor && !is_pipeline))
        return refuse(reason, STATUS_INVALID, "rank %u of %u with sharding %s", p->rank,
                      p->rank_count, sharding_name(p->sharding));
    enum status status = check_units(units, reason);
    if (status == STATUS_OK && p->cut_count != units->class_count)
        status = refuse(reason, STATUS_INVALID, "the table of rank %u has %u classes of units, the "
                        "model has %u", p->rank, p->cut_count, units->class_count);
    if (status == STATUS_OK)
        status = check_range("layers", p->layer_first, p->layer_end, units->layers, false, reason);
    for (uint32_t i = 0; status == STATUS_OK && i < units->class_count; i++)
        status = check_cut(p, i, units, reason);
    if (status == STATUS_OK)
        status = check_range("vocabulary rows", p->vocab_first, p->vocab_end, units->vocab,
                             is_tensor || is_staged || !partition_has_rows(p), reason);
    if (status == STATUS_OK)
        status = partition_check_stage(p, units, reason);
    if (status != STATUS_OK)
        return status;
    const bool all_layers = p->layer_first == 0 && p->layer_end == units->layers;
    const bool is_last = p->stage_first + p->stage_ranks == p->rank_count;
    if ((!is_pipeline && (!all_layers || !p->has_embedding || !p->has_head)) ||
        (is_pipeline && (p->has_embedding != (p->stage == 0) || p->has_head != is_last ||
                         (!partition_has_rows(p) && p->vocab_end > 0))))
        return refuse(reason, STATUS_INVALID, "the table of rank %u is none of sharding %s",
                      p->rank, sharding_name(p->sharding));
    if (!is_tensor && !is_staged && partition_has_rows(p) &&
        (p->vocab_first != 0 || p->vocab_end != units->vocab))
        return refuse(reason, STATUS_INVALID, "rank %u holds %u of %u vocabulary rows", p->rank,
                      p->vocab_end - p->vocab_first, units->vocab);
    return STATUS_OK;
}

enum status partition_check_joint(const struct partition *p, const char *what, uint32_t first,
                                  uint32_t due, struct reason *reason)
{
    if (first == due)
        return STATUS_OK;
    return refuse(reason, STATUS_INVALID, "%s of %s: rank %u begins at %u, the rank before ends at "
                  "%u; let it begin there", first > due ? "a gap" : "an overlap", what, p->rank,
                  first, due);
}

static enum status check_end(const char *what, uint32_t end, uint32_t total, struct reason *reason)
{
    if (end == total)
        return STATUS_OK;
    return refuse(reason, STATUS_INVALID, "the last rank's %s end at %u of %u; let them end at %u",
                  what, end, total, total);
}

static enum status check_joints(const struct partition *p, const struct partition *before,
                                struct reason *reason)
{
    enum status status = STATUS_OK;
    if (p->sharding == SHARDING_PIPELINE)
        return partition_check_joint(p, "layers", p->layer_first, before ? before->layer_end : 0,
                                     reason);
    if (p->sharding != SHARDING_TENSOR)
        return STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && before && i < p->cut_count; i++)
        if (p->cuts[i].step != before->cuts[i].step)
            status = refuse(reason, STATUS_INVALID, "rank %u parts %s in steps of %u, the rank "
                            "before in steps of %u; give all ranks the same", p->rank,
                            partition_kind_name(p->cuts[i].kind), p->cuts[i].step,
                            before->cuts[i].step);
    for (uint32_t i = 0; status == STATUS_OK && i < p->cut_count; i++)
        status = partition_check_joint(p, partition_kind_name(p->cuts[i].kind), p->cuts[i].first,
                                       before ? before->cuts[i].end : 0, reason);
    if (status != STATUS_OK)
        return status;
    return partition_check_joint(p, "vocabulary rows", p->vocab_first,
                                 before ? before->vocab_end : 0, reason);
}

enum status partition_check(const struct partition *partitions, uint32_t rank_count,
                            const struct partition_units *units, struct reason *reason)
{
    if (rank_count == 0)
        return refuse(reason, STATUS_INVALID, "no ranks");
    if (partitions[0].sharding == SHARDING_PIPELINE_TENSOR)
        return partition_check_stages(partitions, rank_count, units, reason);
    for (uint32_t i = 0; i < rank_count; i++) {
        const struct partition *p = &partitions[i];
        enum status status = partition_check_one(p, units, reason);
        if (status != STATUS_OK)
            return status;
        if (p->rank != i || p->rank_count != rank_count || p->sharding != partitions[0].sharding)
            return refuse(reason, STATUS_INVALID, "table %u of %u is of rank %u of %u", i,
                          rank_count, p->rank, p->rank_count);
        status = check_joints(p, i > 0 ? &partitions[i - 1] : NULL, reason);
        if (status != STATUS_OK)
            return status;
    }
    const struct partition *last = &partitions[rank_count - 1];
    enum status status = check_end("layers", last->layer_end, units->layers, reason);
    for (uint32_t i = 0; status == STATUS_OK && i < last->cut_count; i++)
        status = check_end(partition_kind_name(last->cuts[i].kind), last->cuts[i].end,
                           partition_cut_total(&last->cuts[i]), reason);
    if (status == STATUS_OK && last->sharding == SHARDING_TENSOR)
        status = check_end("vocabulary rows", last->vocab_end, units->vocab, reason);
    return status;
}
