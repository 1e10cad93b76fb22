/* SPDX-License-Identifier: Apache-2.0 */
/* One module: its tensors found, their shapes and its quantisation checked. */
#include "runtime/model_layout_internal.h"

#include <stdio.h>
#include <string.h>

enum part { PART_WEIGHT, PART_SCALES, PART_BIASES, PART_BIAS };

/* What follows a path in the name of a part. */
static const char *part_name(const struct module_row *row, enum part part)
{
    static const char *const names[][4] = {
        [FORM_USUAL] = {".weight", ".scales", ".biases", ".bias"},
        [FORM_PLAIN] = {"", ".scales", ".biases", ".bias"},
        [FORM_BLOCKS] = {"_blocks", "_scales", "_biases", "_bias"},
    };
    return names[row->kind == MODULE_BARE ? FORM_PLAIN : row->form][part];
}

static const struct tensor *find_part(struct layout_making *making, const char *path,
                                      const char *part)
{
    char name[MODULE_PATH_SIZE_MAX + 16];
    (void)snprintf(name, sizeof name, "%s%s", path, part);
    const struct tensor *tensor = tensor_table_find(making->table, name);
    if (tensor)
        making->used[tensor - making->table->tensors] = true;
    return tensor;
}

/* "[8, 256, 16]" into a buffer of 96 bytes. */
static const char *shape_text(const struct tensor *tensor, char *text_out)
{
    size_t length = (size_t)snprintf(text_out, 96, "[");
    for (uint32_t i = 0; i < tensor->rank && length < 70; i++)
        length += (size_t)snprintf(text_out + length, 96 - length, "%s%llu", i > 0 ? ", " : "",
                                   (unsigned long long)tensor->shape[i]);
    (void)snprintf(text_out + length, 96 - length, "]");
    return text_out;
}

/* What a tensor must look like: [stack, rows, columns], with leading sides of 0 left out. */
struct wanted {
    uint64_t stack;
    uint64_t rows;
    uint64_t columns;
    uint64_t heads; /* [heads, rows of one, columns] where it is not 0 */
    bool is_flat; /* sides of 1 do not count */
    const struct module_row *row;
};

static bool has_shape(const struct tensor *tensor, const struct wanted *wanted)
{
    uint64_t leading = 1;
    uint64_t rows = wanted->rows ? wanted->rows : 1;
    if (tensor->rank == 0)
        return false;
    for (uint32_t i = 0; i + 1 < tensor->rank; i++)
        leading *= tensor->shape[i];
    uint64_t last = tensor->shape[tensor->rank - 1];
    if (wanted->is_flat)
        return tensor->shape[0] == rows && leading * last == rows * wanted->columns;
    if (wanted->stack)
        return tensor->rank == (wanted->rows ? 3 : 2) && tensor->shape[0] == wanted->stack &&
               leading == wanted->stack * rows && last == wanted->columns;
    if (!wanted->rows)
        return tensor->rank == 1 && last == wanted->columns;
    return tensor->rank == (wanted->heads ? 3 : 2) && leading == rows && last == wanted->columns &&
           (!wanted->heads || tensor->shape[0] == wanted->heads);
}

static const char *wanted_text(const struct wanted *wanted, char *text_out)
{
    const uint64_t stack = wanted->heads ? wanted->heads : wanted->stack;
    const uint64_t sides[] = {stack, wanted->heads ? wanted->rows / wanted->heads : wanted->rows};
    size_t length = (size_t)snprintf(text_out, 96, "[");
    for (size_t i = 0; i < COUNT_OF(sides); i++)
        if (sides[i])
            length += (size_t)snprintf(text_out + length, 96 - length, "%llu, ",
                                       (unsigned long long)sides[i]);
    (void)snprintf(text_out + length, 96 - length, "%llu]", (unsigned long long)wanted->columns);
    return text_out;
}

static enum status refuse_shape(const struct model_module *module, const struct tensor *tensor,
                                const struct wanted *wanted, struct reason *reason)
{
    char text[96];
    char asked[96];
    return refuse(reason, STATUS_MALFORMED,
                  "tensor %.150s is %s %s, where config.json asks for %s (%s); the files and the "
                  "configuration are of two models", tensor->name, tensor_type_name(tensor->type),
                  shape_text(tensor, text), wanted_text(wanted, asked), module->path);
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

static enum status resolve_dense(struct layout_making *making, const struct wanted *wanted,
                                 const struct quantisation_override *override,
                                 bool may_be_quantised, struct model_module *module)
{
    const struct tensor *weight = module->weight;
    if (may_be_quantised && override && override->kind != OVERRIDE_DENSE)
        return refuse(making->reason, STATUS_NOT_FOUND, "tensor %s%s is missing, though "
                      "config.json says the module is quantised; download the model again",
                      module->path, part_name(wanted->row, PART_SCALES));
    if (may_be_quantised && (weight->type == TENSOR_U32 || weight->type == TENSOR_U8))
        return refuse(making->reason, STATUS_NOT_FOUND, "tensor %s%s is missing, though %.150s is "
                      "of type %s, as quantised ones are; download the model again", module->path,
                      part_name(wanted->row, PART_SCALES), weight->name,
                      tensor_type_name(weight->type));
    if (!dense_format(weight->type, &module->quantisation))
        return refuse(making->reason, STATUS_UNSUPPORTED, "tensor %.150s is of type %s; BF16, F16 "
                      "and F32 are supported here", weight->name, tensor_type_name(weight->type));
    return has_shape(weight, wanted) ? STATUS_OK
                                     : refuse_shape(module, weight, wanted, making->reason);
}

/* What config.json says of a module that has scales. */
static enum status expected(const struct model_config *config, const struct model_module *module,
                            const struct quantisation_override *override,
                            struct quantisation *quantisation_out, struct reason *reason)
{
    if ((override && override->kind == OVERRIDE_DENSE) || (!override && !config->is_quantised))
        return refuse(reason, STATUS_MALFORMED, "tensor %.150s is there, but config.json says the "
                      "module is not quantised", module->scales->name);
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
static enum status resolve_scales(struct model_module *module, const struct wanted *wanted,
                                  struct reason *reason)
{
    const struct tensor *scales = module->scales;
    const struct tensor *biases = module->biases;
    struct wanted groups = *wanted;
    groups.columns = module->columns / module->quantisation.group;
    bool is_affine = module->quantisation.format == WEIGHT_AFFINE;
    struct quantisation ignored;
    char text[64];
    if (is_affine && !biases)
        return refuse(reason, STATUS_NOT_FOUND, "tensor %s.biases is missing; download the model "
                      "again", module->path);
    if (!is_affine && biases)
        return refuse(reason, STATUS_MALFORMED, "tensor %s.biases is there, but %s has none",
                      module->path, quantisation_text(&module->quantisation, text));
    if (is_affine ? !dense_format(scales->type, &ignored) : scales->type != TENSOR_U8)
        return refuse(reason, STATUS_UNSUPPORTED, "tensor %.150s is of type %s, which %s does not "
                      "have", scales->name, tensor_type_name(scales->type),
                      quantisation_text(&module->quantisation, text));
    if (!has_shape(scales, &groups))
        return refuse_shape(module, scales, &groups, reason);
    if (is_affine && (biases->type != scales->type || !has_shape(biases, &groups)))
        return refuse_shape(module, biases, &groups, reason);
    return STATUS_OK;
}

/* mxfp4 as it was published: [stack, rows, groups, 16] bytes. */
static bool is_blocks(const struct model_module *module, const struct wanted *wanted)
{
    const struct tensor *weight = module->weight;
    uint32_t group = module->quantisation.group;
    return module->quantisation.format == WEIGHT_MXFP4 && weight->type == TENSOR_U8 &&
           weight->rank == 4 && weight->shape[0] == wanted->stack &&
           weight->shape[1] == wanted->rows && weight->shape[2] == wanted->columns / group &&
           weight->shape[3] == group / 2;
}

static enum status resolve_quantised(struct layout_making *making, const struct wanted *wanted,
                                     const struct quantisation_override *override,
                                     struct model_module *module)
{
    struct quantisation *q = &module->quantisation;
    struct reason *reason = making->reason;
    struct wanted words = *wanted;
    char text[64];
    enum status status = expected(making->config, module, override, q, reason);
    if (status != STATUS_OK)
        return status;
    if (!is_known(q))
        return refuse(reason, STATUS_UNSUPPORTED, "%s is quantised as %s, which is not supported; "
                      "use affine with 2, 3, 4, 5, 6 or 8 bits and groups of 32, 64 or 128, mxfp4, "
                      "mxfp8 or nvfp4", module->path, quantisation_text(q, text));
    if (module->columns % q->group != 0)
        return refuse(reason, STATUS_MALFORMED, "%s has %llu columns, no multiple of its group of "
                      "%u", module->path, (unsigned long long)module->columns, q->group);
    if (wanted->row->form == FORM_BLOCKS)
        return is_blocks(module, wanted) ? resolve_scales(module, wanted, reason)
                                         : refuse_shape(module, module->weight, wanted, reason);
    words.columns = module->columns * q->bits / 32;
    if (module->weight->type != TENSOR_U32 || !has_shape(module->weight, &words))
        return refuse_shape(module, module->weight, &words, reason);
    return resolve_scales(module, wanted, reason);
}

/* The name in its layer and wrapper, with the number of the expert in place of '#'. */
static void write_path(const struct model_wrapper *wrapper, uint32_t layer, const char *name,
                       uint32_t expert, char *path_out)
{
    static const char trunk[] = "model.";
    char start[48];
    const char *hash = strchr(name, '#');
    int before = hash ? (int)(hash - name) : (int)strlen(name);
    int skipped = 0;
    char number[16] = "";
    if (hash)
        (void)snprintf(number, sizeof number, "%u", expert);
    if (layer != MODULE_NO_LAYER) {
        (void)snprintf(start, sizeof start, "%slayers.%u.", wrapper->trunk, layer);
    } else {
        bool is_trunk = strncmp(name, trunk, sizeof trunk - 1) == 0;
        skipped = is_trunk ? (int)sizeof trunk - 1 : 0;
        (void)snprintf(start, sizeof start, "%s", is_trunk ? wrapper->trunk : wrapper->head);
    }
    (void)snprintf(path_out, MODULE_PATH_SIZE_MAX, "%s%.*s%s%s", start, before - skipped,
                   name + skipped, number, hash ? hash + 1 : "");
}

static const struct model_wrapper usual_wrapper = {"model.", ""};

struct model_wrapper layout_wrapper(const struct model_family *family,
                                    const struct tensor_table *table)
{
    for (size_t i = 0; i < family->wrapper_count; i++) {
        char name[MODULE_PATH_SIZE_MAX];
        (void)snprintf(name, sizeof name, "%sembed_tokens.weight", family->wrappers[i].trunk);
        if (tensor_table_find(table, name))
            return family->wrappers[i];
    }
    return family->wrapper_count ? family->wrappers[0] : usual_wrapper;
}

bool layout_has(const struct layout_making *making, const char *name, uint32_t layer)
{
    static const char *const parts[] = {".weight", "", "_blocks"};
    char path[MODULE_PATH_SIZE_MAX];
    char tensor[MODULE_PATH_SIZE_MAX + 16];
    write_path(&making->wrapper, layer, name, 0, path);
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        (void)snprintf(tensor, sizeof tensor, "%s%s", path, parts[i]);
        if (tensor_table_find(making->table, tensor))
            return true;
    }
    return false;
}

/* The first path whose tensor is there; the MLX one when none is.  True when it is the one with
 * a tensor for each expert. */
static bool find_path(struct layout_making *making, const struct module_row *row, uint32_t layer,
                      uint32_t expert, struct model_module *module)
{
    const char *const names[] = {row->name, row->original};
    for (size_t n = 0; n < COUNT_OF(names); n++) {
        if (!names[n])
            continue;
        write_path(&making->wrapper, layer, names[n], expert, module->path);
        module->weight = find_part(making, module->path, part_name(row, PART_WEIGHT));
        if (module->weight)
            return strchr(names[n], '#') != NULL;
    }
    write_path(&making->wrapper, layer, row->name, expert, module->path);
    return false;
}

/* What config.json says of a module: by its path in the files, else by that of the MLX layout. */
static const struct quantisation_override *override_of(const struct layout_making *making,
                                                       const struct module_row *row,
                                                       const struct model_module *module)
{
    const struct model_family *family = making->config->family;
    const struct model_wrapper *wrapper = family->wrapper_count ? family->wrappers : &usual_wrapper;
    const struct quantisation_override *override =
        model_config_override(making->config, module->path);
    char path[MODULE_PATH_SIZE_MAX];
    if (override || making->config->override_count == 0)
        return override;
    write_path(wrapper, module->layer, row->name, module->expert, path);
    return model_config_override(making->config, path);
}

static enum status resolve_bias(struct layout_making *making, const struct module_row *row,
                                const struct wanted *wanted, struct model_module *module)
{
    struct quantisation ignored;
    const struct layer_shape *shape =
        row->is_layer ? &making->config->shapes[module->layer] : NULL;
    if (!row->has_bias || !row->has_bias(making->config, shape))
        return STATUS_OK;
    struct wanted vector = {.stack = wanted->stack, .columns = wanted->rows};
    module->bias = find_part(making, module->path, part_name(row, PART_BIAS));
    if (!module->bias)
        return refuse(making->reason, STATUS_NOT_FOUND, "tensor %s%s is missing; download the "
                      "model again", module->path, part_name(row, PART_BIAS));
    if (!dense_format(module->bias->type, &ignored))
        return refuse(making->reason, STATUS_UNSUPPORTED, "tensor %.150s is of type %s; BF16, F16 "
                      "and F32 are supported here", module->bias->name,
                      tensor_type_name(module->bias->type));
    return has_shape(module->bias, &vector)
               ? STATUS_OK
               : refuse_shape(module, module->bias, &vector, making->reason);
}

enum status layout_resolve(struct layout_making *making, const struct module_row *row,
                           uint32_t layer, uint32_t expert, struct model_module *module)
{
    const struct model_config *config = making->config;
    const struct layer_shape *shape = row->is_layer ? &config->shapes[layer] : NULL;
    bool is_vector = row->kind == MODULE_VECTOR || row->kind == MODULE_BARE;
    *module = (struct model_module){
        .role = row->role,
        .cut = row->cut,
        .layer = layer,
        .expert = expert,
        .adds_one = row->is_norm && making->is_shifted,
        .rows = is_vector ? 1 : row->rows(config, shape),
        .columns = row->columns(config, shape),
        .row_first = row->first ? row->first(config, shape) : 0,
        .lanes = row->lanes ? row->lanes : 1,
        .lane = row->lane,
    };
    struct wanted wanted = {.rows = is_vector ? 0 : module->rows,
                            .columns = module->columns,
                            .heads = row->is_by_head ? shape->heads : 0,
                            .is_flat = row->kind == MODULE_TABLE,
                            .row = row};
    if (row->tensor_rows)
        wanted.rows = row->tensor_rows(config, shape);
    bool is_single = find_path(making, row, layer, expert, module);
    if (!module->weight)
        return refuse(making->reason, STATUS_NOT_FOUND, "tensor %s%s is missing; download the "
                      "model again", module->path, part_name(row, PART_WEIGHT));
    if (row->kind == MODULE_EXPERTS && !is_single) {
        wanted.stack = config->experts.count;
        module->row_first += expert * (wanted.rows / module->lanes);
    }
    bool may_be_quantised = row->kind == MODULE_MATRIX || row->kind == MODULE_EXPERTS;
    const struct quantisation_override *override = override_of(making, row, module);
    if (may_be_quantised)
        module->scales = find_part(making, module->path, part_name(row, PART_SCALES));
    if (module->scales)
        module->biases = find_part(making, module->path, part_name(row, PART_BIASES));
    enum status status = module->scales
                             ? resolve_quantised(making, &wanted, override, module)
                             : resolve_dense(making, &wanted, override, may_be_quantised, module);
    return status == STATUS_OK ? resolve_bias(making, row, &wanted, module) : status;
}
