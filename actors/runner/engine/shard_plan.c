/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/weights.h"
#include "protocol/memory.h"

#define TARGET_ALIGNMENT UINT64_C(64)

struct extent_range {
    uint64_t first;
    uint64_t end;
};

/* Rows and columns of a module that a rank holds; false when it holds none. */
static bool held_ranges(const struct model_config *config, const struct model_module *module,
                        const struct partition *p, struct extent_range *rows,
                        struct extent_range *columns)
{
    uint64_t queries = config->heads / config->kv_heads * (uint64_t)config->head_dim;
    *rows = (struct extent_range){0, module->rows};
    *columns = (struct extent_range){0, module->columns};
    if (module->layer != MODULE_NO_LAYER &&
        (module->layer < p->layer_first || module->layer >= p->layer_end))
        return false;
    if (module->layer == MODULE_NO_LAYER && !p->has_head &&
        !(p->has_embedding && module->role == MODULE_EMBEDDING))
        return false;
    switch (module->cut) {
    case MODULE_CUT_NONE:
        break;
    case MODULE_CUT_VOCAB_ROWS:
        *rows = (struct extent_range){p->vocab_first, p->vocab_end};
        break;
    case MODULE_CUT_QUERY_ROWS:
        *rows = (struct extent_range){p->kv_first * queries, p->kv_end * queries};
        break;
    case MODULE_CUT_KV_ROWS:
        *rows = (struct extent_range){(uint64_t)p->kv_first * config->head_dim,
                                      (uint64_t)p->kv_end * config->head_dim};
        break;
    case MODULE_CUT_FFN_ROWS:
        *rows = (struct extent_range){p->ffn_first, p->ffn_end};
        break;
    case MODULE_CUT_QUERY_COLUMNS:
        *columns = (struct extent_range){p->kv_first * queries, p->kv_end * queries};
        break;
    case MODULE_CUT_FFN_COLUMNS:
        *columns = (struct extent_range){p->ffn_first, p->ffn_end};
        break;
    }
    return rows->first < rows->end && columns->first < columns->end;
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
    }
    return NULL;
}

/* Byte position of a column in a row of a part. */
static uint64_t column_byte(const struct model_module *module, const struct tensor *tensor,
                            enum module_part part, uint64_t column)
{
    if (part == MODULE_PART_WEIGHT)
        return column * module->quantisation.bits / 8;
    return column / module->quantisation.group * tensor_type_bits(tensor->type) / 8;
}

static void add_slice(struct shard_plan *plan, const struct model_module *module, size_t index,
                      enum module_part part, const struct extent_range *rows,
                      const struct extent_range *columns)
{
    const struct tensor *tensor = part_tensor(module, part);
    if (!tensor)
        return;
    struct shard_slice *slice = &plan->slices[plan->slice_count++];
    *slice = (struct shard_slice){
        .tensor = tensor,
        .module = index,
        .part = part,
        .layer = module->layer,
        .row_first = rows->first,
        .row_end = rows->end,
        .row_bytes = column_byte(module, tensor, part, module->columns),
        .byte_first = column_byte(module, tensor, part, columns->first),
        .byte_end = column_byte(module, tensor, part, columns->end),
        .target = plan->target_size,
    };
    slice->size = (slice->row_end - slice->row_first) * (slice->byte_end - slice->byte_first);
    plan->bytes += slice->size;
    plan->target_size += (slice->size + TARGET_ALIGNMENT - 1) / TARGET_ALIGNMENT *
                         TARGET_ALIGNMENT;
}

static enum status fill(const struct model_config *config, const struct model_layout *layout,
                        const struct partition *partition, struct shard_plan *plan,
                        struct reason *reason)
{
    for (size_t i = 0; i < layout->module_count; i++) {
        const struct model_module *module = &layout->modules[i];
        struct extent_range rows;
        struct extent_range columns;
        if (!held_ranges(config, module, partition, &rows, &columns))
            continue;
        uint32_t group = module->quantisation.group;
        if (group > 0 && (columns.first % group != 0 || columns.end % group != 0))
            return refuse(reason, STATUS_UNSUPPORTED, "%s cannot be cut at column %llu or %llu: "
                          "its groups are of %u columns; use pipeline or another share",
                          module->path, (unsigned long long)columns.first,
                          (unsigned long long)columns.end, group);
        for (uint32_t part = 0; part < MODULE_PART_COUNT; part++)
            add_slice(plan, module, i, (enum module_part)part, &rows, &columns);
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
        status = fill(config, layout, partition, plan, reason);
    if (status != STATUS_OK) {
        shard_plan_free(plan);
        return status;
    }
    *plan_out = plan;
    return STATUS_OK;
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
