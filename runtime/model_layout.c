/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/model_layout.h"

#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

/* What a side of a module's shape is, in terms of the configuration. */
enum extent { EXTENT_ONE, EXTENT_HIDDEN, EXTENT_VOCAB, EXTENT_QUERIES, EXTENT_KEYS, EXTENT_HEAD,
              EXTENT_FFN };

struct module_row {
    enum module_role role;
    enum module_cut cut;
    enum extent rows;
    enum extent columns;
    bool is_layer;
    bool is_norm; /* a dense vector */
    const char *name;
};

struct family_row {
    const char *model_type;
    const struct module_row *rows;
    size_t row_count;
};

static const struct module_row qwen3_rows[] = {
    {MODULE_EMBEDDING, MODULE_CUT_VOCAB_ROWS, EXTENT_VOCAB, EXTENT_HIDDEN, false, false,
     "model.embed_tokens"},
    {MODULE_FINAL_NORM, MODULE_CUT_NONE, EXTENT_ONE, EXTENT_HIDDEN, false, true, "model.norm"},
    {MODULE_HEAD, MODULE_CUT_VOCAB_ROWS, EXTENT_VOCAB, EXTENT_HIDDEN, false, false, "lm_head"},
    {MODULE_ATTENTION_NORM, MODULE_CUT_NONE, EXTENT_ONE, EXTENT_HIDDEN, true, true,
     "input_layernorm"},
    {MODULE_QUERY, MODULE_CUT_QUERY_ROWS, EXTENT_QUERIES, EXTENT_HIDDEN, true, false,
     "self_attn.q_proj"},
    {MODULE_KEY, MODULE_CUT_KV_ROWS, EXTENT_KEYS, EXTENT_HIDDEN, true, false, "self_attn.k_proj"},
    {MODULE_VALUE, MODULE_CUT_KV_ROWS, EXTENT_KEYS, EXTENT_HIDDEN, true, false,
     "self_attn.v_proj"},
    {MODULE_QUERY_NORM, MODULE_CUT_NONE, EXTENT_ONE, EXTENT_HEAD, true, true, "self_attn.q_norm"},
    {MODULE_KEY_NORM, MODULE_CUT_NONE, EXTENT_ONE, EXTENT_HEAD, true, true, "self_attn.k_norm"},
    {MODULE_ATTENTION_OUT, MODULE_CUT_QUERY_COLUMNS, EXTENT_HIDDEN, EXTENT_QUERIES, true, false,
     "self_attn.o_proj"},
    {MODULE_FFN_NORM, MODULE_CUT_NONE, EXTENT_ONE, EXTENT_HIDDEN, true, true,
     "post_attention_layernorm"},
    {MODULE_FFN_GATE, MODULE_CUT_FFN_ROWS, EXTENT_FFN, EXTENT_HIDDEN, true, false,
     "mlp.gate_proj"},
    {MODULE_FFN_UP, MODULE_CUT_FFN_ROWS, EXTENT_FFN, EXTENT_HIDDEN, true, false, "mlp.up_proj"},
    {MODULE_FFN_DOWN, MODULE_CUT_FFN_COLUMNS, EXTENT_HIDDEN, EXTENT_FFN, true, false,
     "mlp.down_proj"},
};

static const struct family_row families[] = {
    {"qwen3", qwen3_rows, COUNT_OF(qwen3_rows)},
};

const char *model_layout_types(void)
{
    return "qwen3";
}

static const struct family_row *find_family(const char *model_type)
{
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        if (strcmp(families[i].model_type, model_type) == 0)
            return &families[i];
    }
    return NULL;
}

bool model_layout_has_type(const char *model_type)
{
    return find_family(model_type) != NULL;
}

static uint64_t extent_of(const struct model_config *config, enum extent extent)
{
    switch (extent) {
    case EXTENT_ONE:
        return 1;
    case EXTENT_HIDDEN:
        return config->hidden;
    case EXTENT_VOCAB:
        return config->vocab;
    case EXTENT_QUERIES:
        return (uint64_t)config->heads * config->head_dim;
    case EXTENT_KEYS:
        return (uint64_t)config->kv_heads * config->head_dim;
    case EXTENT_HEAD:
        return config->head_dim;
    case EXTENT_FFN:
        return config->intermediate;
    }
    return 0;
}

static const struct tensor *find_part(const struct tensor_table *table, const char *path,
                                      const char *part)
{
    char name[MODULE_PATH_SIZE_MAX + 16];
    (void)snprintf(name, sizeof name, "%s.%s", path, part);
    return tensor_table_find(table, name);
}

static bool has_shape(const struct tensor *tensor, uint64_t rows, uint64_t columns)
{
    return tensor->rank == 2 && tensor->shape[0] == rows && tensor->shape[1] == columns;
}

static enum status refuse_shape(const struct model_module *module, const struct tensor *tensor,
                                uint64_t rows, uint64_t columns, struct reason *reason)
{
    return refuse(reason, STATUS_MALFORMED,
                  "tensor %.150s is %s of rank %u, [%llu, %llu], where config.json asks for "
                  "[%llu, %llu] (%s); the files and the configuration are of two models",
                  tensor->name, tensor_type_name(tensor->type), tensor->rank,
                  (unsigned long long)(tensor->rank > 0 ? tensor->shape[0] : 0),
                  (unsigned long long)(tensor->rank > 1 ? tensor->shape[1] : 0),
                  (unsigned long long)rows, (unsigned long long)columns, module->path);
}

static bool dense_format(enum tensor_type type, struct quantisation *quantisation_out)
{
    if (type == TENSOR_BF16)
        *quantisation_out = (struct quantisation){WEIGHT_BF16, 16, 0};
    else if (type == TENSOR_F16)
        *quantisation_out = (struct quantisation){WEIGHT_F16, 16, 0};
    else if (type == TENSOR_F32)
        *quantisation_out = (struct quantisation){WEIGHT_F32, 32, 0};
    else
        return false;
    return true;
}

static enum status resolve_dense(const struct model_config *config, struct model_module *module,
                                 bool is_norm, struct reason *reason)
{
    const struct tensor *weight = module->weight;
    const struct quantisation_override *override = model_config_override(config, module->path);
    if (!is_norm && override && override->kind != OVERRIDE_DENSE)
        return refuse(reason, STATUS_NOT_FOUND, "tensor %s.scales is missing, though config.json "
                      "says the module is quantised; download the model again", module->path);
    if (!dense_format(weight->type, &module->quantisation))
        return refuse(reason, STATUS_UNSUPPORTED, "tensor %.150s is of type %s; BF16, F16 and F32 "
                      "are supported here", weight->name, tensor_type_name(weight->type));
    bool fits = is_norm ? weight->rank == 1 && weight->shape[0] == module->columns
                        : has_shape(weight, module->rows, module->columns);
    return fits ? STATUS_OK
                : refuse_shape(module, weight, module->rows, module->columns, reason);
}

/* What config.json says of a module that has scales. */
static enum status expected(const struct model_config *config, const struct model_module *module,
                            struct quantisation *quantisation_out, struct reason *reason)
{
    const struct quantisation_override *override = model_config_override(config, module->path);
    if ((override && override->kind == OVERRIDE_DENSE) || (!override && !config->is_quantised))
        return refuse(reason, STATUS_MALFORMED, "tensor %s.scales is there, but config.json says "
                      "the module is not quantised", module->path);
    *quantisation_out = override && override->kind == OVERRIDE_GIVEN
                            ? override->quantisation
                            : config->default_quantisation;
    return STATUS_OK;
}

static bool is_known(const struct quantisation *q)
{
    switch (q->format) {
    case WEIGHT_AFFINE:
        return ((q->bits >= 2 && q->bits <= 6) || q->bits == 8) &&
               (q->group == 32 || q->group == 64 || q->group == 128);
    case WEIGHT_MXFP4:
        return q->bits == 4 && q->group == 32;
    case WEIGHT_MXFP8:
        return q->bits == 8 && q->group == 32;
    case WEIGHT_NVFP4:
        return q->bits == 4 && q->group == 16;
    case WEIGHT_BF16:
    case WEIGHT_F16:
    case WEIGHT_F32:
        break;
    }
    return false;
}

/* Affine groups have scales and biases as numbers, the others scales of one byte. */
static enum status resolve_scales(struct model_module *module, struct reason *reason)
{
    const struct tensor *scales = module->scales;
    const struct tensor *biases = module->biases;
    uint64_t groups = module->columns / module->quantisation.group;
    bool is_affine = module->quantisation.format == WEIGHT_AFFINE;
    struct quantisation ignored;
    char text[64];
    if (is_affine && !biases)
        return refuse(reason, STATUS_NOT_FOUND, "tensor %s.biases is missing; download the model "
                      "again", module->path);
    if (!is_affine)
        module->biases = NULL;
    if (is_affine ? !dense_format(scales->type, &ignored) : scales->type != TENSOR_U8)
        return refuse(reason, STATUS_UNSUPPORTED, "tensor %.150s is of type %s, which %s does not "
                      "have", scales->name, tensor_type_name(scales->type),
                      quantisation_text(&module->quantisation, text));
    if (!has_shape(scales, module->rows, groups))
        return refuse_shape(module, scales, module->rows, groups, reason);
    if (is_affine && (biases->type != scales->type || !has_shape(biases, module->rows, groups)))
        return refuse_shape(module, biases, module->rows, groups, reason);
    return STATUS_OK;
}

static enum status resolve_quantised(const struct model_config *config,
                                     struct model_module *module, struct reason *reason)
{
    struct quantisation *q = &module->quantisation;
    char text[64];
    enum status status = expected(config, module, q, reason);
    if (status != STATUS_OK)
        return status;
    if (!is_known(q))
        return refuse(reason, STATUS_UNSUPPORTED, "%s is quantised as %s, which is not supported; "
                      "use affine with 2, 3, 4, 5, 6 or 8 bits and groups of 32, 64 or 128, mxfp4, "
                      "mxfp8 or nvfp4", module->path, quantisation_text(q, text));
    if (module->columns % q->group != 0)
        return refuse(reason, STATUS_MALFORMED, "%s has %llu columns, no multiple of its group of "
                      "%u", module->path, (unsigned long long)module->columns, q->group);
    if (module->weight->type != TENSOR_U32 ||
        !has_shape(module->weight, module->rows, module->columns * q->bits / 32))
        return refuse_shape(module, module->weight, module->rows, module->columns * q->bits / 32,
                            reason);
    return resolve_scales(module, reason);
}

static enum status resolve(const struct model_config *config, const struct tensor_table *table,
                           const struct module_row *row, uint32_t layer,
                           struct model_module *module, struct reason *reason)
{
    *module = (struct model_module){.role = row->role,
                                    .cut = row->cut,
                                    .layer = layer,
                                    .rows = extent_of(config, row->rows),
                                    .columns = extent_of(config, row->columns)};
    if (row->is_layer)
        (void)snprintf(module->path, sizeof module->path, "model.layers.%u.%s", layer, row->name);
    else
        (void)snprintf(module->path, sizeof module->path, "%s", row->name);
    module->weight = find_part(table, module->path, "weight");
    if (!module->weight)
        return refuse(reason, STATUS_NOT_FOUND, "tensor %s.weight is missing; download the model "
                      "again", module->path);
    module->scales = row->is_norm ? NULL : find_part(table, module->path, "scales");
    module->biases = module->scales ? find_part(table, module->path, "biases") : NULL;
    if (module->scales)
        return resolve_quantised(config, module, reason);
    return resolve_dense(config, module, row->is_norm, reason);
}

static void find_units(const struct model_config *config, struct model_layout *layout)
{
    uint32_t queries = config->heads / config->kv_heads * config->head_dim;
    layout->ffn_unit = 1;
    layout->kv_unit = 1;
    for (size_t i = 0; i < layout->module_count; i++) {
        const struct model_module *module = &layout->modules[i];
        if (module->role == MODULE_FFN_DOWN && module->quantisation.group > layout->ffn_unit)
            layout->ffn_unit = module->quantisation.group;
        if (module->role == MODULE_ATTENTION_OUT && module->quantisation.group > 0) {
            while (layout->kv_unit * queries % module->quantisation.group != 0)
                layout->kv_unit *= 2;
        }
        /* All heads together are always whole groups. */
        if (config->kv_heads % layout->kv_unit != 0)
            layout->kv_unit = config->kv_heads;
    }
}

static enum status fill(const struct model_config *config, const struct tensor_table *table,
                        const struct family_row *family, struct model_layout *layout,
                        struct reason *reason)
{
    enum status status = STATUS_OK;
    for (size_t r = 0; status == STATUS_OK && r < family->row_count; r++) {
        const struct module_row *row = &family->rows[r];
        layout->modules_per_layer += row->is_layer;
        if (row->is_layer || (row->role == MODULE_HEAD && config->tied))
            continue;
        status = resolve(config, table, row, MODULE_NO_LAYER,
                         &layout->modules[layout->module_count++], reason);
    }
    layout->first_layer_module = layout->module_count;
    for (uint32_t layer = 0; layer < config->layers; layer++) {
        for (size_t r = 0; status == STATUS_OK && r < family->row_count; r++) {
            if (family->rows[r].is_layer)
                status = resolve(config, table, &family->rows[r], layer,
                                 &layout->modules[layout->module_count++], reason);
        }
    }
    if (status == STATUS_OK)
        find_units(config, layout);
    if (status == STATUS_OK && config->intermediate % layout->ffn_unit != 0)
        status = refuse(reason, STATUS_MALFORMED, "intermediate_size %u is no multiple of the "
                        "group of %u", config->intermediate, layout->ffn_unit);
    return status;
}

enum status model_layout_make(const struct model_config *config, const struct tensor_table *table,
                              struct model_layout **layout_out, struct reason *reason)
{
    const struct family_row *family = find_family(config->model_type);
    if (!family)
        return refuse(reason, STATUS_UNSUPPORTED, "model type %.60s is not supported; supported: "
                      "%s", config->model_type, model_layout_types());
    /* A configuration may not size memory beyond what the files hold. */
    if ((uint64_t)config->layers > table->tensor_count)
        return refuse(reason, STATUS_NOT_FOUND, "config.json says %u layers, but the files hold "
                      "only %zu tensors", config->layers, table->tensor_count);
    struct model_layout *layout = memory_zeroed(1, sizeof *layout);
    if (layout)
        layout->modules = memory_zeroed((size_t)(config->layers + 1) * family->row_count,
                                        sizeof *layout->modules);
    enum status status = layout && layout->modules
                             ? fill(config, table, family, layout, reason)
                             : refuse(reason, STATUS_NO_MEMORY, "no memory for the layout");
    if (status != STATUS_OK) {
        model_layout_free(layout);
        return status;
    }
    *layout_out = layout;
    return STATUS_OK;
}

void model_layout_free(struct model_layout *layout)
{
    if (!layout)
        return;
    memory_free(layout->modules);
    memory_free(layout);
}

const struct model_module *model_layout_find(const struct model_layout *layout,
                                             enum module_role role, uint32_t layer)
{
    size_t first = 0;
    size_t end = layout->first_layer_module;
    if (layer != MODULE_NO_LAYER) {
        first = layout->first_layer_module + (size_t)layer * layout->modules_per_layer;
        end = first + layout->modules_per_layer;
    }
    for (size_t i = first; i < end && i < layout->module_count; i++) {
        if (layout->modules[i].role == role)
            return &layout->modules[i];
    }
    return NULL;
}

uint64_t model_module_bytes(const struct model_module *module)
{
    return module->weight->size + (module->scales ? module->scales->size : 0) +
           (module->biases ? module->biases->size : 0);
}
