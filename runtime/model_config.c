/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/model_config.h"

#include "protocol/memory.h"
#include "runtime/model_family.h"
#include "runtime/safetensors.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_DEPTH_MAX 32
#define OVERRIDES_MAX 65536u
/* Each is described by itself; the largest models of today have 23,000. */
#define EXPERTS_TOTAL_MAX 131072u

const char *quantisation_text(const struct quantisation *quantisation, char *text_out)
{
    const char *names[] = {"?", "bf16", "f16", "f32", "affine", "mxfp4", "mxfp8", "nvfp4"};
    size_t format = (size_t)quantisation->format;
    const char *name = format < COUNT_OF(names) ? names[format] : "?";
    if (quantisation->group == 0)
        (void)snprintf(text_out, 64, "%s", name);
    else
        (void)snprintf(text_out, 64, "%s %u bits, groups of %u", name, quantisation->bits,
                       quantisation->group);
    return text_out;
}

/* jansson recurses; the depth is bounded before it starts. */
static bool is_shallow(const char *text, size_t size)
{
    uint32_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX)
                return false;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return true;
}

static enum status read_triple(const json_t *object, const char *path,
                               struct quantisation *quantisation_out, struct reason *reason)
{
    static const struct {
        const char *mode;
        enum weight_format format;
        uint32_t bits;
        uint32_t group;
    } modes[] = {{"affine", WEIGHT_AFFINE, 4, 64},
                 {"mxfp4", WEIGHT_MXFP4, 4, 32},
                 {"mxfp8", WEIGHT_MXFP8, 8, 32},
                 {"nvfp4", WEIGHT_NVFP4, 4, 16}};
    const json_t *mode = json_object_get(object, "mode");
    const char *name = mode && !json_is_null(mode) ? json_string_value(mode) : "affine";
    for (size_t i = 0; name && i < COUNT_OF(modes); i++) {
        if (strcmp(modes[i].mode, name) != 0)
            continue;
        quantisation_out->format = modes[i].format;
        const struct config_key bits = {"bits", CONFIG_COUNT, false, 0, 1, 32, modes[i].bits};
        const struct config_key group = {"group_size", CONFIG_COUNT, false, 0, 1, 4096,
                                         modes[i].group};
        enum status status = keys_read(object, &bits, &quantisation_out->bits, reason);
        if (status == STATUS_OK)
            status = keys_read(object, &group, &quantisation_out->group, reason);
        return status;
    }
    return refuse(reason, STATUS_UNSUPPORTED, "config.json: quantisation mode %.40s of %.100s is "
                  "not supported; use a model quantised as affine", name ? name : "(not a string)",
                  path);
}

static enum status read_override(const char *path, const json_t *value,
                                 struct quantisation_override *override, struct reason *reason)
{
    override->path = memory_text(path, strlen(path));
    if (!override->path)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the quantisation of %.100s", path);
    if (json_is_boolean(value)) {
        override->kind = json_is_true(value) ? OVERRIDE_DEFAULT : OVERRIDE_DENSE;
        return STATUS_OK;
    }
    override->kind = OVERRIDE_GIVEN;
    if (!json_is_object(value))
        return refuse(reason, STATUS_MALFORMED,
                      "config.json: quantisation of %.100s is neither true, false nor an object",
                      path);
    return read_triple(value, path, &override->quantisation, reason);
}

static bool is_setting(const char *key)
{
    return strcmp(key, "group_size") == 0 || strcmp(key, "bits") == 0 || strcmp(key, "mode") == 0;
}

static int compare_overrides(const void *left, const void *right)
{
    const struct quantisation_override *a = left;
    const struct quantisation_override *b = right;
    return strcmp(a->path, b->path);
}

static enum status read_overrides(json_t *object, struct model_config *config,
                                  struct reason *reason)
{
    const char *key;
    json_t *value;
    if (json_object_size(object) > OVERRIDES_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "config.json: more than %u quantisation entries",
                      OVERRIDES_MAX);
    config->overrides = memory_zeroed(json_object_size(object), sizeof *config->overrides);
    if (!config->overrides)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for quantisation entries");
    json_object_foreach (object, key, value) {
        if (is_setting(key))
            continue;
        if (strcmp(key, "quantize_activations") == 0 || strcmp(key, "quant_method") == 0 ||
            strcmp(key, "linear_class") == 0) {
            if (json_is_null(value) || json_is_false(value))
                continue;
            return refuse(reason, STATUS_UNSUPPORTED, "config.json: quantisation with %s is not "
                          "supported; use a model quantised as affine", key);
        }
        enum status status = read_override(key, value,
                                           &config->overrides[config->override_count++], reason);
        if (status != STATUS_OK)
            return status;
    }
    if (config->override_count > 0)
        qsort(config->overrides, config->override_count, sizeof *config->overrides,
              compare_overrides);
    return STATUS_OK;
}

static json_t *find_object(const json_t *root, const char *name)
{
    json_t *object = json_object_get(root, name);
    return json_is_null(object) ? NULL : object;
}

/* `quantization` as mlx-lm writes it; else what the publisher calls `quantization_config`, of which
 * mxfp4 and mxfp8 are the same numbers in the same order. */
static json_t *find_quantisation(const json_t *root)
{
    json_t *object = find_object(root, "quantization");
    if (!object)
        object = find_object(root, "quantization_config");
    return object ? object : find_object(keys_text(root), "quantization_config");
}

static enum status read_quantisation(const json_t *root, struct model_config *config,
                                     struct reason *reason)
{
    json_t *object = find_quantisation(root);
    const json_t *activations = json_object_get(root, "quantize_activations");
    const char *method = json_string_value(json_object_get(object, "quant_method"));
    if (activations && !json_is_false(activations) && !json_is_null(activations))
        return refuse(reason, STATUS_UNSUPPORTED, "config.json: quantize_activations is not "
                      "supported; use a model without it");
    if (!object)
        return STATUS_OK;
    if (method && !find_object(root, "quantization")) {
        bool is_known = strcmp(method, "mxfp4") == 0 || strcmp(method, "mxfp8") == 0;
        if (!is_known)
            return refuse(reason, STATUS_UNSUPPORTED, "config.json: quantisation method %.40s is "
                          "not supported; use a model in the MLX layout", method);
        bool is_small = strcmp(method, "mxfp4") == 0;
        config->is_quantised = true;
        config->default_quantisation = is_small ? (struct quantisation){WEIGHT_MXFP4, 4, 32}
                                                : (struct quantisation){WEIGHT_MXFP8, 8, 32};
        return STATUS_OK;
    }
    if (!json_is_object(object))
        return refuse(reason, STATUS_MALFORMED, "config.json: quantization is not an object");
    config->is_quantised = true;
    enum status status = read_triple(object, "the model", &config->default_quantisation, reason);
    if (status == STATUS_OK)
        status = read_overrides(object, config, reason);
    return status;
}

static enum status check_layers(const struct model_config *config, struct reason *reason)
{
    if ((uint64_t)config->layers * config->experts.count > EXPERTS_TOTAL_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "config.json: %u experts in %u layers; at most %u "
                      "in all are supported", config->experts.count, config->layers,
                      EXPERTS_TOTAL_MAX);
    for (uint32_t i = 0; i < config->layers; i++) {
        const struct layer_shape *shape = &config->shapes[i];
        if (shape->units == 0 || shape->kv_heads == 0 || shape->heads % shape->kv_heads != 0 ||
            shape->heads > MODEL_HEADS_MAX || shape->head_dim > MODEL_HEAD_DIM_MAX)
            return refuse(reason, STATUS_INVALID, "config.json: layer %u has %u heads of %u and %u "
                          "key-value heads, which do not come out even", i, shape->heads,
                          shape->head_dim, shape->kv_heads);
        if (shape->ffn == FFN_DENSE && config->intermediate == 0)
            return refuse(reason, STATUS_MALFORMED, "config.json: intermediate_size is missing");
        if (shape->ffn == FFN_EXPERTS && (config->experts.used == 0 || config->experts.width == 0 ||
                                          config->experts.used > config->experts.count))
            return refuse(reason, STATUS_INVALID, "config.json: %u of %u experts of width %u "
                          "cannot be", config->experts.used, config->experts.count,
                          config->experts.width);
    }
    return STATUS_OK;
}

static enum status read_shape(const json_t *root, struct model_config *config,
                              struct reason *reason)
{
    const struct model_family *family = config->family;
    const json_t *text = keys_text(root);
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < family->key_count; i++) {
        const struct config_key *key = &family->keys[i];
        /* Wrappers of several modalities keep some keys of the text model at the top. */
        bool is_inner = json_object_get(text, key->name) != NULL;
        status = keys_read(is_inner ? text : root, key, (char *)config + key->field, reason);
    }
    if (status != STATUS_OK)
        return status;
    config->shapes = memory_zeroed(config->layers, sizeof *config->shapes);
    if (!config->shapes)
        status = refuse(reason, STATUS_NO_MEMORY, "no memory for %u layers", config->layers);
    if (status == STATUS_OK)
        status = family->settle(text, config, reason);
    if (status == STATUS_OK)
        status = check_layers(config, reason);
    return status;
}

static enum status read_root(json_t *root, struct model_config *config, struct reason *reason)
{
    char types[MODEL_TYPES_TEXT_SIZE];
    if (json_object_get(root, "model_file"))
        return refuse(reason, STATUS_UNSUPPORTED, "config.json names a model_file: code of its own "
                      "is never run; use a model of a known type (%s)", model_types_text(types));
    const char *type = json_string_value(json_object_get(root, "model_type"));
    if (!type)
        return refuse(reason, STATUS_MALFORMED, "config.json has no model_type");
    config->family = model_family_find(type);
    if (!config->family && json_object_get(root, "auto_map"))
        return refuse(reason, STATUS_UNSUPPORTED, "model type %.60s is not supported, and the code "
                      "that config.json names in auto_map is never run; these are: %s", type,
                      model_types_text(types));
    if (!config->family)
        return refuse(reason, STATUS_UNSUPPORTED, "model type %.60s is not supported; these are: "
                      "%s", type, model_types_text(types));
    (void)snprintf(config->model_type, sizeof config->model_type, "%s", type);
    enum status status = read_shape(root, config, reason);
    if (status == STATUS_OK)
        status = read_quantisation(root, config, reason);
    return status;
}

enum status model_config_parse(const char *text, size_t size, const char *label,
                               struct model_config **config_out, struct reason *reason)
{
    if (size > MODEL_CONFIG_SIZE_MAX || !is_shallow(text, size))
        return refuse(reason, STATUS_TOO_LARGE, "%s is too large or nested too deeply", label);
    json_error_t error;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(root)) {
        json_decref(root);
        return root ? refuse(reason, STATUS_MALFORMED, "%s: not an object", label)
                    : refuse(reason, STATUS_MALFORMED, "%s, line %d: %s", label, error.line,
                             error.text);
    }
    struct model_config *config = memory_zeroed(1, sizeof *config);
    enum status status = config ? read_root(root, config, reason)
                                : refuse(reason, STATUS_NO_MEMORY, "no memory for %s", label);
    json_decref(root);
    if (status != STATUS_OK) {
        model_config_free(config);
        return status;
    }
    *config_out = config;
    return STATUS_OK;
}

enum status model_config_read(const char *directory, struct model_config **config_out,
                              struct reason *reason)
{
    char *text = NULL;
    size_t size = 0;
    enum status status = model_file_read(directory, "config.json", MODEL_CONFIG_SIZE_MAX, &text,
                                         &size, reason);
    if (status == STATUS_OK)
        status = model_config_parse(text, size, "config.json", config_out, reason);
    memory_free(text);
    return status;
}

void model_config_free(struct model_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->override_count; i++)
        memory_free(config->overrides[i].path);
    memory_free(config->overrides);
    memory_free(config->shapes);
    memory_free(config);
}

const struct quantisation_override *model_config_override(const struct model_config *config,
                                                          const char *path)
{
    const struct quantisation_override wanted = {.path = (char *)(uintptr_t)path};
    return config->override_count == 0
               ? NULL
               : bsearch(&wanted, config->overrides, config->override_count,
                         sizeof *config->overrides, compare_overrides);
}
