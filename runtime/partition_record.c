/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/partition_record.h"

_Static_assert(PARTITION_CLASSES_MAX <= CUT_COUNT_MAX, "a record has room for every class");

struct partition_run partition_run_add(struct partition_units *units, const struct layer_run *run)
{
    const struct partition_class parts[PARTITION_PARTS] = {
        {.kind = (enum partition_kind)run->mixer, .units = run->units,
         .unit_heads = run->unit_heads, .per_kv = run->per_kv,
         .parts = run->units * run->unit_heads},
        {.kind = (enum partition_kind)run->ffn, .units = run->ffn_units,
         .parts = run->ffn_columns},
        {.kind = PARTITION_SHARED, .units = run->shared_units, .parts = run->shared_columns},
    };
    const uint32_t before = units->mapped;
    struct partition_run added;
    units->mapped += run->layers;
    for (uint32_t i = 0; i < PARTITION_PARTS; i++) {
        added.classes[i] = PARTITION_NO_CLASS;
        added.ordinals[i] = 0;
        if (parts[i].units == 0)
            continue;
        added.classes[i] = partition_units_add(units, &parts[i], run->layers);
        partition_units_map(units, added.classes[i], before, run->layers);
        added.ordinals[i] = units->classes[added.classes[i]].layers - run->layers;
    }
    return added;
}

struct partition_units partition_units_of_shape(const struct model_shape *shape)
{
    struct partition_units units = {.layers = shape->layers, .vocab = shape->vocab};
    for (uint32_t i = 0; i < shape->runs.count; i++)
        (void)partition_run_add(&units, &shape->runs.items[i]);
    return units;
}

enum status partition_to_record(const struct partition *partition, struct rank_record *rank)
{
    rank->stage = partition->stage;
    rank->layer_first = partition->layer_first;
    rank->layer_end = partition->layer_end;
    rank->vocab_first = partition->vocab_first;
    rank->vocab_end = partition->vocab_end;
    for (uint32_t i = 0; i < partition->cut_count; i++) {
        const struct partition_cut *cut = &partition->cuts[i];
        const struct cut_record record = {.kind = (uint32_t)cut->kind, .layers = cut->layers,
                                          .units = cut->units, .step = cut->step,
                                          .first = cut->first, .end = cut->end};
        if (!record_list_push(&cut_record_type, RECORD_LIST(rank->cuts), &record, CUT_COUNT_MAX))
            return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

/* The stage of a rank; ranks that stand apart are none and do not pass the checks. */
static void find_stage(const struct instance_record *instance, struct partition *p)
{
    const struct rank_record *ranks = instance->ranks.items;
    p->stage_first = p->rank;
    p->stage = ranks[p->rank].stage;
    while (p->stage_first > 0 && ranks[p->stage_first - 1].stage == p->stage)
        p->stage_first--;
    uint32_t end = p->rank + 1;
    while (end < p->rank_count && ranks[end].stage == p->stage)
        end++;
    p->stage_ranks = end - p->stage_first;
}

struct partition partition_of_record(const struct instance_record *instance, uint32_t number)
{
    const struct rank_record *rank = &instance->ranks.items[number];
    const bool is_pipeline = instance->sharding == SHARDING_PIPELINE;
    const bool is_staged = instance->sharding == SHARDING_PIPELINE_TENSOR;
    const struct rank_record *last = &instance->ranks.items[instance_computing(instance) - 1];
    const bool is_cut = instance->sharding == SHARDING_TENSOR;
    struct partition partition = {
        .rank = number,
        .rank_count = instance_computing(instance),
        .sharding = (enum sharding)instance->sharding,
        .stage = is_pipeline ? number : 0,
        .stage_first = is_pipeline ? number : 0,
        .stage_ranks = is_pipeline ? 1 : instance_computing(instance),
        .layer_first = rank->layer_first,
        .layer_end = rank->layer_end,
        .vocab_first = rank->vocab_first,
        .vocab_end = rank->vocab_end,
        .has_embedding = is_cut || number == 0 || (is_staged && rank->stage == 0),
        .has_head = is_cut || rank == last || (is_staged && rank->stage == last->stage),
        .cut_count = rank->cuts.count < PARTITION_CLASSES_MAX ? rank->cuts.count
                                                              : PARTITION_CLASSES_MAX,
    };
    if (is_staged)
        find_stage(instance, &partition);
    for (uint32_t i = 0; i < partition.cut_count; i++) {
        const struct cut_record *cut = &rank->cuts.items[i];
        partition.cuts[i] = (struct partition_cut){(enum partition_kind)cut->kind, cut->layers,
                                                   cut->units, cut->step, cut->first,
                                                   cut->end};
    }
    return partition;
}
