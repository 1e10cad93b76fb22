/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stages of several ranks: a stage's layers are cut as if they were a model of their own, and the
 * cuts then counted through all layers of each class.
 *
 * In a stage that has l of the L layers of a class, the last of which is the b-th, an edge at
 * k * l + m lies one step further in the last m of its layers, for 0 < m < l; so does the edge at
 * k * L + L - b + m of all.
 */
#include "runtime/partition_internal.h"

#include <string.h>

static bool has_class(const struct partition_units *units, uint32_t layer, uint32_t class)
{
    return (units->layer_classes[layer] >> class & 1u) != 0;
}

enum status partition_stage_make(const struct partition_units *units, uint32_t first, uint32_t end,
                                 uint32_t vocab, struct partition_stage *stage_out,
                                 struct reason *reason)
{
    struct partition_stage *stage = stage_out;
    if (units->layers > PARTITION_LAYERS_MAX || end > units->layers)
        return refuse(reason, STATUS_UNSUPPORTED, "%u layers; at most %u", units->layers,
                      PARTITION_LAYERS_MAX);
    memset(stage, 0, sizeof *stage);
    stage->units.layers = end - first;
    stage->units.vocab = vocab;
    for (uint32_t c = 0; c < units->class_count; c++) {
        uint32_t before = 0;
        uint32_t within = 0;
        uint32_t after = 0;
        for (uint32_t i = 0; i < units->layers; i++) {
            if (has_class(units, i, c)) {
                before += i < first;
                within += i >= first && i < end;
                after += i >= end;
            }
        }
        if (before + within + after != units->classes[c].layers)
            return refuse(reason, STATUS_INVALID, "%u layers have %s, of which %u are known; the "
                          "model cannot be cut into stages", units->classes[c].layers,
                          partition_kind_name(units->classes[c].kind), before + within + after);
        if (within == 0)
            continue;
        const uint32_t at = stage->units.class_count++;
        stage->units.classes[at] = units->classes[c];
        stage->units.classes[at].layers = within;
        stage->classes[at] = c;
        stage->before[at] = before;
        for (uint32_t i = first; i < end; i++)
            if (has_class(units, i, c))
                partition_units_map(&stage->units, at, i - first, 1);
    }
    return STATUS_OK;
}

void partition_stage_spread(const struct partition_units *units,
                            const struct partition_stage *stage, const struct partition *local,
                            struct partition *out)
{
    for (uint32_t c = 0; c < units->class_count; c++) {
        out->cuts[c].step = 1;
        out->cuts[c].first = out->cuts[c].end = 0;
    }
    for (uint32_t i = 0; i < stage->units.class_count; i++) {
        const struct partition_cut *from = &local->cuts[i];
        struct partition_cut *cut = &out->cuts[stage->classes[i]];
        const uint32_t edges[] = {from->first, from->end};
        uint32_t *const targets[] = {&cut->first, &cut->end};
        const uint32_t further = cut->layers - stage->before[i] - from->layers;
        for (size_t k = 0; k < COUNT_OF(edges); k++) {
            const uint32_t part = edges[k] % from->layers;
            *targets[k] = edges[k] / from->layers * cut->layers + (part ? further + part : 0);
        }
        cut->step = from->step;
    }
    out->vocab_first = local->vocab_first;
    out->vocab_end = local->vocab_end;
}

void partition_stage_gather(const struct partition_units *units,
                            const struct partition_stage *stage,
                            const struct partition *partition, struct partition *local_out)
{
    (void)units;
    *local_out = partition_whole(&stage->units, partition->rank - partition->stage_first,
                                 partition->stage_ranks, SHARDING_TENSOR);
    for (uint32_t i = 0; i < stage->units.class_count; i++) {
        const struct partition_cut *cut = &partition->cuts[stage->classes[i]];
        struct partition_cut *local = &local_out->cuts[i];
        local->step = cut->step;
        local->first = local->end = 0;
        for (uint32_t n = 0; n < local->layers; n++) {
            const struct partition_span span = partition_cut_in(cut, stage->before[i] + n);
            local->first += span.first / cut->step;
            local->end += span.end / cut->step;
        }
    }
    local_out->vocab_first = partition->vocab_first;
    local_out->vocab_end = partition->vocab_end;
}

uint32_t partition_stage_total(const uint32_t *sizes, uint32_t stage_count)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < stage_count; i++)
        total += sizes[i] < PARTITION_RANKS_MAX ? sizes[i] : PARTITION_RANKS_MAX;
    return total;
}

struct partition partition_stage_rank(const struct partition_units *units, const uint32_t *sizes,
                                      uint32_t stage_count, uint32_t at, uint32_t rank,
                                      struct partition_span layers)
{
    struct partition p = partition_whole(units, rank, partition_stage_total(sizes, stage_count),
                                         SHARDING_PIPELINE_TENSOR);
    p.stage = at;
    p.stage_first = partition_stage_total(sizes, at);
    p.stage_ranks = sizes[at];
    p.layer_first = layers.first;
    p.layer_end = layers.end;
    p.has_embedding = at == 0;
    p.has_head = at + 1 == stage_count;
    return p;
}

enum status partition_check_sizes(const struct partition_units *units, const uint32_t *sizes,
                                  uint32_t stage_count, struct reason *reason)
{
    if (stage_count < 2 || stage_count > PARTITION_RANKS_MAX)
        return refuse(reason, STATUS_INVALID, "%u stages; a pipeline has 2 to %u", stage_count,
                      PARTITION_RANKS_MAX);
    for (uint32_t i = 0; i < stage_count; i++)
        if (sizes[i] == 0)
            return refuse(reason, STATUS_INVALID, "stage %u has no rank; leave it out", i);
    const uint32_t total = partition_stage_total(sizes, stage_count);
    if (total > PARTITION_RANKS_MAX)
        return refuse(reason, STATUS_INVALID, "%u ranks; 1 to %u are possible", total,
                      PARTITION_RANKS_MAX);
    if (units->layers < stage_count)
        return refuse(reason, STATUS_NO_CAPACITY, "%u stages cannot share %u layers; use at most "
                      "%u stages", stage_count, units->layers, units->layers);
    return STATUS_OK;
}

enum status partition_check_ranks(const struct partition_stage *stage, uint32_t at, uint32_t ranks,
                                  struct reason *reason)
{
    const uint32_t most = partition_ranks_most(&stage->units);
    if (ranks <= most)
        return STATUS_OK;
    return refuse(reason, STATUS_NO_CAPACITY, "%u ranks cannot share %u units of a layer of stage "
                  "%u; use at most %u ranks there", ranks, most, at, most);
}

enum status partition_solve_layers(const struct partition_units *units, const uint32_t *sizes,
                                   uint32_t stage_count, const uint32_t *layers,
                                   const uint64_t *shares, struct partition *partitions_out,
                                   struct reason *reason)
{
    struct partition local[PARTITION_RANKS_MAX];
    enum status status = STATUS_OK;
    struct partition_span span = {0, 0};
    for (uint32_t i = 0, first = 0; status == STATUS_OK && i < stage_count; i++) {
        struct partition_stage stage;
        span = (struct partition_span){span.end, span.end + layers[i]};
        status = partition_stage_make(units, span.first, span.end,
                                      i == 0 || i + 1 == stage_count ? units->vocab : 0, &stage,
                                      reason);
        if (status == STATUS_OK)
            status = partition_check_ranks(&stage, i, sizes[i], reason);
        if (status == STATUS_OK)
            status = partition_solve(SHARDING_TENSOR, &stage.units, shares ? shares + first : NULL,
                                     sizes[i], local, reason);
        for (uint32_t k = 0; status == STATUS_OK && k < sizes[i]; k++) {
            partitions_out[first + k] =
                partition_stage_rank(units, sizes, stage_count, i, first + k, span);
            partition_stage_spread(units, &stage, &local[k], &partitions_out[first + k]);
        }
        first += sizes[i];
    }
    return status;
}

enum status partition_solve_stages(const struct partition_units *units, const uint32_t *sizes,
                                   uint32_t stage_count, const uint64_t *shares,
                                   struct partition *partitions_out, struct reason *reason)
{
    uint64_t of_stages[PARTITION_RANKS_MAX];
    uint32_t layers[PARTITION_RANKS_MAX];
    enum status status = partition_check_sizes(units, sizes, stage_count, reason);
    if (status != STATUS_OK)
        return status;
    for (uint32_t i = 0, rank = 0; i < stage_count; i++) {
        of_stages[i] = 0;
        for (uint32_t k = 0; k < sizes[i]; k++, rank++) {
            const uint64_t share = shares ? shares[rank] : 1;
            if (share == 0)
                return refuse(reason, STATUS_INVALID, "the share of rank %u is 0; leave it out",
                              rank);
            of_stages[i] = partition_plus(of_stages[i], share);
        }
    }
    (void)partition_share(units->layers, of_stages, stage_count, layers);
    return partition_solve_layers(units, sizes, stage_count, layers, shares, partitions_out,
                                  reason);
}

/* --- checking --- */

static enum status none_of_it(const struct partition *p, struct reason *reason)
{
    return refuse(reason, STATUS_INVALID, "rank %u in stage %u of ranks %u to %u is none of "
                  "sharding %s", p->rank, p->stage, p->stage_first,
                  p->stage_first + p->stage_ranks - 1, sharding_name(p->sharding));
}

enum status partition_check_stage(const struct partition *p, const struct partition_units *units,
                                  struct reason *reason)
{
    const bool is_pipeline = p->sharding == SHARDING_PIPELINE;
    struct partition_stage stage;
    uint32_t known = 0;
    if (p->sharding != SHARDING_PIPELINE_TENSOR) {
        if (p->stage != (is_pipeline ? p->rank : 0) || p->stage_first != p->stage ||
            p->stage_ranks != (is_pipeline ? 1 : p->rank_count))
            return none_of_it(p, reason);
        return STATUS_OK;
    }
    if (p->stage_ranks == 0 || p->stage_ranks > p->rank_count || p->stage_first > p->rank ||
        p->rank - p->stage_first >= p->stage_ranks || p->stage > p->stage_first ||
        (p->stage == 0) != (p->stage_first == 0) ||
        p->stage_first + p->stage_ranks > p->rank_count)
        return none_of_it(p, reason);
    enum status status =
        partition_stage_make(units, p->layer_first, p->layer_end, 0, &stage, reason);
    for (uint32_t c = 0; status == STATUS_OK && c < units->class_count; c++) {
        if (known < stage.units.class_count && stage.classes[known] == c)
            known++;
        else if (p->cuts[c].first != 0 || p->cuts[c].end != 0)
            return refuse(reason, STATUS_INVALID, "rank %u holds %s, which none of its layers %u "
                          "to %u has; let it hold 0 to 0", p->rank,
                          partition_kind_name(p->cuts[c].kind), p->layer_first, p->layer_end - 1);
    }
    return status;
}

static enum status check_edge(const struct partition *last, const char *what, uint32_t end,
                              uint32_t total, struct reason *reason)
{
    if (end == total)
        return STATUS_OK;
    return refuse(reason, STATUS_INVALID, "the %s of stage %u end at %u of %u with its last rank "
                  "%u; let them end at %u", what, last->stage, end, total, last->rank, total);
}

/* The last rank of a stage has what the others left. */
static enum status check_last(const struct partition *p, const struct partition_units *units,
                              struct reason *reason)
{
    struct partition_stage stage;
    enum status status =
        partition_stage_make(units, p->layer_first, p->layer_end, 0, &stage, reason);
    for (uint32_t i = 0; status == STATUS_OK && i < stage.units.class_count; i++) {
        const struct partition_cut *cut = &p->cuts[stage.classes[i]];
        status = check_edge(p, partition_kind_name(cut->kind), cut->end, partition_cut_total(cut),
                            reason);
    }
    if (status == STATUS_OK && partition_has_rows(p))
        status = check_edge(p, "vocabulary rows", p->vocab_end, units->vocab, reason);
    return status;
}

/* `before`: the rank before it in the same stage, NULL for the first. */
static enum status check_cuts(const struct partition *p, const struct partition *before,
                              struct reason *reason)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < p->cut_count; i++) {
        const struct partition_cut *cut = &p->cuts[i];
        if (before && cut->step != before->cuts[i].step)
            return refuse(reason, STATUS_INVALID, "rank %u parts %s in steps of %u, the rank "
                          "before in steps of %u; give all ranks of a stage the same", p->rank,
                          partition_kind_name(cut->kind), cut->step, before->cuts[i].step);
        status = partition_check_joint(p, partition_kind_name(cut->kind), cut->first,
                                       before ? before->cuts[i].end : 0, reason);
    }
    if (status != STATUS_OK || !partition_has_rows(p))
        return status;
    return partition_check_joint(p, "vocabulary rows", p->vocab_first,
                                 before ? before->vocab_end : 0, reason);
}

static enum status check_place(const struct partition *p, const struct partition *before,
                               struct reason *reason)
{
    const bool is_first = p->rank == p->stage_first;
    if (!is_first && (p->stage != before->stage || p->stage_first != before->stage_first ||
                      p->stage_ranks != before->stage_ranks))
        return none_of_it(p, reason);
    if (is_first && (p->stage != (before ? before->stage + 1 : 0) ||
                     (before && before->stage_first + before->stage_ranks != p->rank)))
        return none_of_it(p, reason);
    if (is_first)
        return partition_check_joint(p, "layers", p->layer_first, before ? before->layer_end : 0,
                                     reason);
    if (p->layer_first == before->layer_first && p->layer_end == before->layer_end)
        return STATUS_OK;
    return refuse(reason, STATUS_INVALID, "rank %u has layers %u to %u, the rank before in stage "
                  "%u has %u to %u; give all ranks of a stage the same", p->rank, p->layer_first,
                  p->layer_end - 1, p->stage, before->layer_first, before->layer_end - 1);
}

enum status partition_check_stages(const struct partition *partitions, uint32_t rank_count,
                                   const struct partition_units *units, struct reason *reason)
{
    for (uint32_t i = 0; i < rank_count; i++) {
        const struct partition *p = &partitions[i];
        const struct partition *before = i > 0 ? &partitions[i - 1] : NULL;
        enum status status = partition_check_one(p, units, reason);
        if (status != STATUS_OK)
            return status;
        if (p->rank != i || p->rank_count != rank_count ||
            p->sharding != SHARDING_PIPELINE_TENSOR)
            return refuse(reason, STATUS_INVALID, "table %u of %u is of rank %u of %u", i,
                          rank_count, p->rank, p->rank_count);
        status = check_place(p, before, reason);
        if (status == STATUS_OK)
            status = check_cuts(p, p->rank == p->stage_first ? NULL : before, reason);
        if (status == STATUS_OK && i + 1 == p->stage_first + p->stage_ranks)
            status = check_last(p, units, reason);
        if (status != STATUS_OK)
            return status;
    }
    return check_edge(&partitions[rank_count - 1], "layers", partitions[rank_count - 1].layer_end,
                      units->layers, reason);
}
