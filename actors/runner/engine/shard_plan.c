/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/weights.h"
#include "protocol/memory.h"

#define TARGET_ALIGNMENT UINT64_C(64)

static bool is_held(const struct model_layout *layout, const struct model_module *module,
                    const struct partition *p)
{
    if (module->layer != MODULE_NO_LAYER)
        return module->layer >= p->layer_first && module->layer < p->layer_end;
    if (module->role != MODULE_EMBEDDING)
        return p->has_head;
    return p->has_embedding || (p->has_head && model_layout_is_tied(layout));
}

bool shard_range(const struct model_layout *layout, const struct model_module *module,
                 const struct partition *p, struct module_range *range_out)
{
    *range_out = model_module_range(layout, module, p);
    return is_held(layout, module, p) && range_out->row_first < range_out->row_end &&
           range_out->column_first < range_out->column_end;
}

static const struct tensor *part_tensor(const struct model_module *module, enum module_part part)
{
    switch (part) {
    case MODULE_PART_WEIGHT:
        return module->weight;
    case MODULE_PART_SCALES:
        return module->scales;
    case MODULE_PART_BIASES:
        return module->biases;
    case MODULE_PART_BIAS:
        return module->bias;
    }
    return NULL;
}

/* Byte position of a column in a row of a part. */
static uint64_t column_byte(const struct model_module *module, const struct tensor *tensor,
                            enum module_part part, uint64_t column)
{
    if (part == MODULE_PART_WEIGHT)
        return column * module->quantisation.bits / 8;
    if (part == MODULE_PART_BIAS)
        return column == 0 ? 0 : tensor_type_bits(tensor->type) / 8;
    return column / module->quantisation.group * tensor_type_bits(tensor->type) / 8;
}

static void add_slice(struct shard_plan *plan, const struct model_module *module, size_t index,
                      enum module_part part, const struct module_range *range)
{
    const struct tensor *tensor = part_tensor(module, part);
    if (!tensor)
        return;
    struct shard_slice *slice = &plan->slices[plan->slice_count++];
    bool is_bias = part == MODULE_PART_BIAS;
    uint64_t row_bytes = column_byte(module, tensor, part, module->columns);
    uint64_t lane = module->lane * row_bytes;
    *slice = (struct shard_slice){
        .tensor = tensor,
        .module = index,
        .part = part,
        .layer = module->layer,
        .row_first = module->row_first + range->row_first,
        .row_end = module->row_first + range->row_end,
        .row_bytes = module->lanes * row_bytes,
        .byte_first = lane + (is_bias ? 0 : column_byte(module, tensor, part,
                                                        range->column_first)),
        .byte_end = lane + column_byte(module, tensor, part, range->column_end),
        .target = plan->target_size,
    };
    slice->size = (slice->row_end - slice->row_first) * (slice->byte_end - slice->byte_first);
    plan->bytes += slice->size;
    plan->target_size += (slice->size + TARGET_ALIGNMENT - 1) / TARGET_ALIGNMENT *
                         TARGET_ALIGNMENT;
}

static enum status fill(const struct model_layout *layout, const struct partition *partition,
                        struct shard_plan *plan, struct reason *reason)
{
    for (size_t i = 0; i < layout->module_count; i++) {
        const struct model_module *module = &layout->modules[i];
        struct module_range range;
        if (!shard_range(layout, module, partition, &range))
            continue;
        uint32_t group = module->quantisation.group;
        if (group > 0 && (range.column_first % group != 0 || range.column_end % group != 0))
            return refuse(reason, STATUS_UNSUPPORTED, "%s cannot be cut at column %llu or %llu: "
                          "its groups are of %u columns; use pipeline or another share",
                          module->path, (unsigned long long)range.column_first,
                          (unsigned long long)range.column_end, group);
        for (uint32_t part = 0; part < MODULE_PART_COUNT; part++)
            add_slice(plan, module, i, (enum module_part)part, &range);
    }
    return STATUS_OK;
}

enum status shard_plan_make(const struct model_config *config, const struct model_layout *layout,
                            const struct partition *partition, struct shard_plan **plan_out,
                            struct reason *reason)
{
    struct partition_units units = partition_units_of(config, layout);
    enum status status = partition_check_one(partition, &units, reason);
    if (status != STATUS_OK)
        return status;
    struct shard_plan *plan = memory_zeroed(1, sizeof *plan);
    if (plan)
        plan->slices = memory_zeroed(layout->module_count, MODULE_PART_COUNT *
                                     sizeof *plan->slices);
    if (!plan || !plan->slices)
        status = refuse(reason, STATUS_NO_MEMORY, "no memory for the list of slices");
    else
        status = fill(layout, partition, plan, reason);
    if (status != STATUS_OK) {
        shard_plan_free(plan);
        return status;
    }
    *plan_out = plan;
    return STATUS_OK;
}

enum status shard_plan_make_empty(struct shard_plan **plan_out, struct reason *reason)
{
    *plan_out = memory_zeroed(1, sizeof **plan_out);
    return *plan_out ? STATUS_OK
                     : refuse(reason, STATUS_NO_MEMORY, "no memory for the list of slices");
}

void shard_plan_free(struct shard_plan *plan)
{
    if (!plan)
        return;
    memory_free(plan->slices);
    memory_free(plan);
}

bool shard_slice_is_contiguous(const struct shard_slice *slice)
{
    return slice->byte_first == 0 && slice->byte_end == slice->row_bytes;
}
