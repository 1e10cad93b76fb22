/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/model_layout.h"

#include "protocol/memory.h"
#include "runtime/model_layout_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum status add_module(struct layout_making *making, const struct module_row *row,
                              uint32_t layer, uint32_t expert)
{
    struct model_layout *layout = making->layout;
    if (layout->module_count == making->capacity) {
        size_t capacity = making->capacity ? making->capacity * 2 : 64;
        struct model_module *grown = memory_resized(layout->modules, capacity, sizeof *grown);
        if (!grown)
            return refuse(making->reason, STATUS_NO_MEMORY, "no memory for the layout");
        layout->modules = grown;
        making->capacity = capacity;
    }
    enum status status = layout_resolve(making, row, layer, expert,
                                        &layout->modules[layout->module_count]);
    layout->module_count += status == STATUS_OK;
    return status;
}

static enum status add_row(struct layout_making *making, const struct module_row *row,
                           uint32_t layer)
{
    const struct model_config *config = making->config;
    const struct layer_shape *shape = row->is_layer ? &config->shapes[layer] : NULL;
    bool is_kept = row->role == MODULE_HEAD && config->family->keeps_head &&
                   layout_has(making, row->name, layer);
    if (row->applies && !row->applies(config, shape) && !is_kept)
        return STATUS_OK;
    if (row->unless && layout_has(making, row->unless, layer))
        return STATUS_OK;
    if (row->is_optional && !layout_has(making, row->name, layer))
        return STATUS_OK;
    /* The first expert checks the stack, so that the others are no more than the file holds. */
    uint32_t count = row->kind == MODULE_EXPERTS ? config->experts.count : 1;
    enum status status = STATUS_OK;
    for (uint32_t expert = 0; status == STATUS_OK && expert < count; expert++)
        status = add_module(making, row, layer, expert);
    return status;
}

/* --- units of a tensor cut --- */

static bool is_mixer_cut(const struct model_module *module)
{
    return module->cut == MODULE_CUT_MIXER_ROWS || module->cut == MODULE_CUT_MIXER_COLUMNS ||
           module->cut == MODULE_CUT_KV_ROWS;
}

static bool is_ffn_cut(const struct model_module *module)
{
    return module->cut == MODULE_CUT_FFN_ROWS || module->cut == MODULE_CUT_FFN_COLUMNS;
}

static bool is_column_cut(const struct model_module *module)
{
    return module->cut == MODULE_CUT_MIXER_COLUMNS || module->cut == MODULE_CUT_FFN_COLUMNS ||
           (module->rows == 1 && module->cut != MODULE_CUT_VOCAB_ROWS);
}

static uint64_t cut_extent(const struct model_module *module)
{
    return is_column_cut(module) ? module->columns : module->rows;
}

/* What of a layer's cut parts a module belongs to. */
static enum partition_kind kind_of(const struct layer_shape *shape,
                                   const struct model_module *module)
{
    static const enum partition_kind mixers[] = {[MIXER_ATTENTION] = PARTITION_ATTENTION,
                                                 [MIXER_LATENT] = PARTITION_LATENT,
                                                 [MIXER_DELTA] = PARTITION_DELTA};
    if (is_mixer_cut(module))
        return mixers[shape->mixer];
    if (!is_ffn_cut(module))
        return PARTITION_NONE;
    if (module->role >= MODULE_EXPERT_GATE && module->role <= MODULE_EXPERT_DOWN)
        return PARTITION_EXPERTS;
    if (module->role >= MODULE_SHARED_GATE && module->role <= MODULE_SHARED_DOWN)
        return PARTITION_SHARED;
    return PARTITION_FFN;
}

/* `units` pieces of the module are whole, in groups too. */
static bool comes_out_even(const struct model_module *module, uint32_t units)
{
    uint64_t extent = cut_extent(module);
    uint32_t group = module->quantisation.group;
    if (module->cut == MODULE_CUT_KV_ROWS)
        return true;
    if (extent % units != 0)
        return false;
    return module->cut != MODULE_CUT_MIXER_COLUMNS || group == 0 || extent / units % group == 0;
}

/* The most units, of those the family gives, into which the mixer of a layer can be cut. */
static uint32_t mixer_units_of(const struct model_layout *layout, uint32_t layer, uint32_t units)
{
    for (uint32_t count = units; count > 1; count--) {
        bool is_even = units % count == 0;
        for (size_t i = layout->layer_first[layer]; is_even && i < layout->layer_first[layer + 1];
             i++)
            is_even = !is_mixer_cut(&layout->modules[i]) ||
                      comes_out_even(&layout->modules[i], count);
        if (is_even)
            return count;
    }
    return 1;
}

/* Dense columns could be cut anywhere: pieces that keep rows aligned are small enough. */
#define DENSE_COLUMNS 16u

/* Whole groups of the down projection; each part of a layer by its own, so that one width need not
 * be a multiple of the group of another. */
static uint32_t ffn_units_of(const struct model_layout *layout, const struct layer_shape *shape,
                             uint32_t layer, enum partition_kind kind, uint32_t *columns_out)
{
    uint64_t extent = 1;
    uint32_t group = 0;
    for (size_t i = layout->layer_first[layer]; i < layout->layer_first[layer + 1]; i++) {
        const struct model_module *module = &layout->modules[i];
        if (kind_of(shape, module) != kind || module->cut != MODULE_CUT_FFN_COLUMNS)
            continue;
        extent = module->columns;
        group = module->quantisation.group > group ? module->quantisation.group : group;
    }
    *columns_out = (uint32_t)extent;
    if (group == 0)
        group = extent % DENSE_COLUMNS == 0 ? DENSE_COLUMNS : 1;
    return extent % group == 0 ? (uint32_t)(extent / group) : 1;
}

static bool has_kind(const struct model_layout *layout, const struct layer_shape *shape,
                     uint32_t layer, enum partition_kind kind)
{
    for (size_t i = layout->layer_first[layer]; i < layout->layer_first[layer + 1]; i++)
        if (kind_of(shape, &layout->modules[i]) == kind)
            return true;
    return false;
}

static void find_units(const struct model_config *config, struct model_layout *layout)
{
    layout->units.layers = config->layers;
    layout->units.vocab = config->vocab;
    for (uint32_t layer = 0; layer < config->layers; layer++) {
        const struct layer_shape *shape = &config->shapes[layer];
        for (uint32_t kind = PARTITION_ATTENTION; kind < PARTITION_KIND_COUNT; kind++) {
            struct partition_class class = {.kind = (enum partition_kind)kind};
            if (!has_kind(layout, shape, layer, class.kind))
                continue;
            class.units = kind < PARTITION_FFN
                              ? mixer_units_of(layout, layer, shape->units)
                              : ffn_units_of(layout, shape, layer, class.kind, &class.parts);
            if (kind == PARTITION_ATTENTION || kind == PARTITION_DELTA) {
                class.unit_heads = shape->heads / class.units;
                class.per_kv = shape->heads / shape->kv_heads;
                class.parts = shape->heads;
            }
            uint32_t at = partition_units_add(&layout->units, &class, 1);
            partition_units_map(&layout->units, at, layer, 1);
            for (size_t i = layout->layer_first[layer]; i < layout->layer_first[layer + 1]; i++) {
                if (kind_of(shape, &layout->modules[i]) != class.kind)
                    continue;
                layout->modules[i].class = at;
                layout->modules[i].ordinal = layout->units.classes[at].layers - 1;
            }
        }
    }
}

const struct partition_class *model_module_class(const struct model_layout *layout,
                                                 const struct model_module *module)
{
    return is_mixer_cut(module) || is_ffn_cut(module) ? &layout->units.classes[module->class]
                                                      : NULL;
}

struct module_range model_module_range(const struct model_layout *layout,
                                       const struct model_module *module,
                                       const struct partition *partition)
{
    struct module_range range = {0, module->rows, 0, module->columns};
    const struct partition_class *class = model_module_class(layout, module);
    uint64_t first = partition->vocab_first;
    uint64_t end = partition->vocab_end;
    if (module->cut == MODULE_CUT_NONE)
        return range;
    if (class) {
        struct partition_span span = partition_cut_in(&partition->cuts[module->class],
                                                      module->ordinal);
        uint32_t count = class->units;
        if (module->cut == MODULE_CUT_KV_ROWS && class->per_kv > 0) {
            span = partition_kv_of(class, span);
            count = class->units * class->unit_heads / class->per_kv;
        }
        first = cut_extent(module) / count * span.first;
        end = cut_extent(module) / count * span.end;
    }
    if (is_column_cut(module)) {
        range.column_first = first;
        range.column_end = end;
    } else {
        range.row_first = first;
        range.row_end = end;
    }
    return range;
}

/* --- tensors nobody asked for --- */

static bool starts_with(const char *text, const char *start)
{
    return start && strncmp(text, start, strlen(start)) == 0;
}

/* A layer beyond the last that predicts later tokens: it says so by what only such layers have, or
 * config.json counts it and it is no layer of the trunk.  Others mean that config.json has too few
 * layers. */
static bool is_further_layer(const struct layout_making *making, const char *name)
{
    static const char *const marks[] = {"eh_proj", "enorm", "hnorm"};
    const struct model_config *config = making->config;
    const char *trunk = making->wrapper.trunk;
    if (!config->family->skips_further_layers || !starts_with(name, trunk) ||
        !starts_with(name + strlen(trunk), "layers."))
        return false;
    unsigned long layer = strtoul(name + strlen(trunk) + strlen("layers."), NULL, 10);
    if (layer < config->layers || layer >= MODULE_NO_LAYER)
        return false;
    for (size_t i = 0; i < COUNT_OF(marks); i++)
        if (layout_has(making, marks[i], (uint32_t)layer))
            return true;
    return layer - config->layers < config->prediction_layers &&
           !layout_has(making, "input_layernorm", (uint32_t)layer);
}

static bool is_skipped(const struct layout_making *making, const char *name)
{
    const struct model_config *config = making->config;
    for (const char *const *skip = config->family->skips; skip && *skip; skip++) {
        if (**skip == '.' ? strstr(name, *skip) != NULL : starts_with(name, *skip))
            return true;
    }
    return strstr(name, ".rotary_emb.") != NULL || is_further_layer(making, name) ||
           (config->tied && strstr(name, "lm_head.") != NULL);
}

static enum status check_extra(const struct layout_making *making)
{
    for (size_t i = 0; i < making->table->tensor_count; i++) {
        const char *name = making->table->tensors[i].name;
        if (!making->used[i] && !is_skipped(making, name))
            return refuse(making->reason, STATUS_MALFORMED, "tensor %.200s is no part of a %s "
                          "model with this config.json; the files and the configuration are of two "
                          "models", name, making->config->model_type);
    }
    return STATUS_OK;
}

/* --- all of it --- */

static enum status fill(struct layout_making *making)
{
    const struct model_family *family = making->config->family;
    struct model_layout *layout = making->layout;
    enum status status = STATUS_OK;
    for (size_t r = 0; status == STATUS_OK && r < family->row_count; r++) {
        if (!family->rows[r].is_layer)
            status = add_row(making, &family->rows[r], MODULE_NO_LAYER);
    }
    for (uint32_t layer = 0; layer < layout->layer_count; layer++) {
        layout->layer_first[layer] = layout->module_count;
        for (size_t r = 0; status == STATUS_OK && r < family->row_count; r++) {
            if (family->rows[r].is_layer)
                status = add_row(making, &family->rows[r], layer);
        }
    }
    layout->layer_first[layout->layer_count] = layout->module_count;
    if (status == STATUS_OK)
        status = check_extra(making);
    if (status != STATUS_OK)
        return status;
    find_units(making->config, layout);
    return STATUS_OK;
}

enum status model_layout_make(const struct model_config *config, const struct tensor_table *table,
                              struct model_layout **layout_out, struct reason *reason)
{
    /* A configuration may not size memory beyond what the files hold. */
    if ((uint64_t)config->layers > table->tensor_count)
        return refuse(reason, STATUS_NOT_FOUND, "config.json says %u layers, but the files hold "
                      "only %zu tensors", config->layers, table->tensor_count);
    struct layout_making making = {.config = config, .table = table, .reason = reason};
    making.layout = memory_zeroed(1, sizeof *making.layout);
    making.used = memory_zeroed(table->tensor_count, sizeof *making.used);
    if (making.layout) {
        making.layout->layer_count = config->layers;
        making.layout->layer_first =
            memory_zeroed((size_t)config->layers + 1, sizeof *making.layout->layer_first);
    }
    making.wrapper = layout_wrapper(config->family, table);
    making.is_shifted = config->family->is_shifted && config->family->is_shifted(table);
    enum status status = making.layout && making.layout->layer_first && making.used
                             ? fill(&making)
                             : refuse(reason, STATUS_NO_MEMORY, "no memory for the layout");
    memory_free(making.used);
    if (status != STATUS_OK) {
        model_layout_free(making.layout);
        return status;
    }
    *layout_out = making.layout;
    return STATUS_OK;
}

void model_layout_free(struct model_layout *layout)
{
    if (!layout)
        return;
    memory_free(layout->modules);
    memory_free(layout->layer_first);
    memory_free(layout);
}

const struct model_module *model_layout_find(const struct model_layout *layout, uint32_t role,
                                             uint32_t layer)
{
    size_t first = 0;
    size_t end = layout->layer_first[0];
    if (layer != MODULE_NO_LAYER) {
        first = layout->layer_first[layer];
        end = layout->layer_first[layer + 1];
    }
    for (size_t i = first; i < end; i++) {
        if (layout->modules[i].role == role)
            return &layout->modules[i];
    }
    return NULL;
}

bool model_layout_is_tied(const struct model_layout *layout)
{
    return !model_layout_find(layout, MODULE_HEAD, MODULE_NO_LAYER);
}

uint64_t model_module_bytes(const struct model_module *module)
{
    uint64_t bytes = module->columns * module->quantisation.bits / 8;
    const struct tensor *const parts[] = {module->scales, module->biases};
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        if (parts[i])
            bytes += module->columns / module->quantisation.group *
                     tensor_type_bits(parts[i]->type) / 8;
    }
    if (module->bias)
        bytes += tensor_type_bits(module->bias->type) / 8;
    return module->rows * bytes;
}
