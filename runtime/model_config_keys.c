/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of config.json that families read by rows: numbers, ropes, kinds of layers. */
#include "runtime/model_family.h"

#include <jansson.h>
#include <string.h>

const json_t *keys_text(const json_t *root)
{
    const json_t *text = json_object_get(root, "text_config");
    return json_is_object(text) ? text : root;
}

enum status keys_count(const json_t *root, const char *name, uint32_t low, uint32_t high,
                       uint32_t *value_out, struct reason *reason)
{
    const json_t *value = json_object_get(root, name);
    if (!json_is_integer(value))
        return refuse(reason, STATUS_MALFORMED, "config.json: %s is %s", name,
                      value ? "not a whole number" : "missing");
    json_int_t number = json_integer_value(value);
    if (number < (json_int_t)low || number > (json_int_t)high)
        return refuse(reason, STATUS_TOO_LARGE, "config.json: %s is %lld; %u to %u are allowed",
                      name, (long long)number, low, high);
    *value_out = (uint32_t)number;
    return STATUS_OK;
}

enum status keys_real(const json_t *root, const char *name, double low, double high,
                      double *value_out, struct reason *reason)
{
    const json_t *value = json_object_get(root, name);
    if (!json_is_number(value))
        return refuse(reason, STATUS_MALFORMED, "config.json: %s is %s", name,
                      value ? "not a number" : "missing");
    double number = json_number_value(value);
    if (!(number >= low && number <= high))
        return refuse(reason, STATUS_INVALID, "config.json: %s is %g; %g to %g are allowed", name,
                      number, low, high);
    *value_out = number;
    return STATUS_OK;
}

static enum status keys_flag(const json_t *root, const char *name, bool *value_out,
                               struct reason *reason)
{
    const json_t *value = json_object_get(root, name);
    if (!json_is_boolean(value))
        return refuse(reason, STATUS_MALFORMED, "config.json: %s is %s", name,
                      value ? "neither true nor false" : "missing");
    *value_out = json_is_true(value);
    return STATUS_OK;
}

static bool is_absent(const json_t *root, const char *name)
{
    const json_t *value = json_object_get(root, name);
    return !value || json_is_null(value);
}

enum status keys_read(const json_t *root, const struct config_key *key, void *field_out,
                      struct reason *reason)
{
    bool is_fallback = !key->is_required && is_absent(root, key->name);
    switch (key->kind) {
    case CONFIG_COUNT:
        if (!is_fallback)
            return keys_count(root, key->name, (uint32_t)key->low, (uint32_t)key->high,
                                field_out, reason);
        *(uint32_t *)field_out = (uint32_t)key->fallback;
        return STATUS_OK;
    case CONFIG_REAL:
        if (!is_fallback)
            return keys_real(root, key->name, key->low, key->high, field_out, reason);
        *(double *)field_out = key->fallback;
        return STATUS_OK;
    case CONFIG_FLAG:
        break;
    }
    if (!is_fallback)
        return keys_flag(root, key->name, field_out, reason);
    *(bool *)field_out = key->fallback > 0;
    return STATUS_OK;
}

enum status keys_check_shape(const json_t *root, const char *name, enum key_shape shape,
                             struct reason *reason)
{
    static const char *const texts[] = {"list", "object", "text"};
    const json_t *value = json_object_get(root, name);
    bool is_right = shape == KEY_LIST     ? json_is_array(value)
                    : shape == KEY_OBJECT ? json_is_object(value)
                                          : json_is_string(value);
    if (!value || json_is_null(value) || is_right)
        return STATUS_OK;
    return refuse(reason, STATUS_MALFORMED, "config.json: %s is no %s", name, texts[shape]);
}

enum status keys_refuse_flag(const json_t *root, const char *name,
                             const struct model_config *config, struct reason *reason)
{
    const json_t *value = json_object_get(root, name);
    if (!value || json_is_null(value) || json_is_false(value))
        return STATUS_OK;
    return refuse(reason, STATUS_UNSUPPORTED, "config.json: %s is not supported for %s", name,
                  config->model_type);
}

/* --- ropes --- */

static enum status read_yarn(const json_t *scaling, struct model_rope *rope,
                             struct reason *reason)
{
    const struct {
        struct config_key key;
        double *value;
    } rows[] = {
        {{"factor", CONFIG_REAL, true, 0, 1.0, 1e6, 0}, &rope->factor},
        {{"original_max_position_embeddings", CONFIG_REAL, false, 0, 1.0, 1e9, 4096},
         &rope->original},
        {{"beta_fast", CONFIG_REAL, false, 0, 1e-6, 1e6, 32}, &rope->beta_fast},
        {{"beta_slow", CONFIG_REAL, false, 0, 1e-6, 1e6, 1}, &rope->beta_slow},
        {{"mscale", CONFIG_REAL, false, 0, 0.0, 1e6, 1}, &rope->mscale},
        {{"mscale_all_dim", CONFIG_REAL, false, 0, 0.0, 1e6, 0}, &rope->mscale_all},
    };
    /* Absence means rounding; where the key is there it is obeyed. */
    const struct config_key truncate = {"truncate", CONFIG_FLAG, false, 0, 0, 1, 1};
    rope->kind = ROPE_YARN;
    enum status status = keys_read(scaling, &truncate, &rope->rounds, reason);
    /* By its logarithm the range is found. */
    if (status == STATUS_OK && !(rope->theta > 1.0))
        status = refuse(reason, STATUS_INVALID, "config.json: rope_theta is %g; yarn needs one "
                        "above 1", rope->theta);
    for (size_t i = 0; status == STATUS_OK && i < COUNT_OF(rows); i++)
        status = keys_read(scaling, &rows[i].key, rows[i].value, reason);
    return status;
}

static enum status read_llama3(const json_t *scaling, struct model_rope *rope,
                               struct reason *reason)
{
    const struct {
        struct config_key key;
        double *value;
    } rows[] = {
        {{"factor", CONFIG_REAL, true, 0, 1.0, 1e6, 0}, &rope->factor},
        {{"low_freq_factor", CONFIG_REAL, false, 0, 1e-6, 1e6, 1}, &rope->low_factor},
        {{"high_freq_factor", CONFIG_REAL, false, 0, 1e-6, 1e6, 4}, &rope->high_factor},
        {{"original_max_position_embeddings", CONFIG_REAL, false, 0, 1.0, 1e9, 8192},
         &rope->original},
    };
    rope->kind = ROPE_LLAMA3;
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < COUNT_OF(rows); i++)
        status = keys_read(scaling, &rows[i].key, rows[i].value, reason);
    if (status == STATUS_OK && !(rope->high_factor > rope->low_factor))
        status = refuse(reason, STATUS_INVALID, "config.json: high_freq_factor %g is not above "
                        "low_freq_factor %g", rope->high_factor, rope->low_factor);
    return status;
}

enum status keys_read_scaling(const json_t *scaling, const struct model_config *config,
                              struct model_rope *rope, struct reason *reason)
{
    rope->factor = 1.0;
    if (!json_is_object(scaling))
        return STATUS_OK;
    enum status status = keys_check_shape(scaling, "type", KEY_TEXT, reason);
    if (status == STATUS_OK)
        status = keys_check_shape(scaling, "rope_type", KEY_TEXT, reason);
    if (status != STATUS_OK)
        return status;
    const char *type = json_string_value(json_object_get(scaling, "type"));
    if (!type)
        type = json_string_value(json_object_get(scaling, "rope_type"));
    /* In text the positions of mrope are all the same. */
    if (!type || strcmp(type, "default") == 0 || strcmp(type, "mrope") == 0)
        return STATUS_OK;
    if (strcmp(type, "llama3") == 0)
        return read_llama3(scaling, rope, reason);
    if (strcmp(type, "yarn") == 0 || strcmp(type, "deepseek_yarn") == 0)
        return read_yarn(scaling, rope, reason);
    if (strcmp(type, "linear") == 0) {
        rope->kind = ROPE_LINEAR;
        return keys_real(scaling, "factor", 1.0, 1e6, &rope->factor, reason);
    }
    return refuse(reason, STATUS_UNSUPPORTED, "config.json: rope scaling %.40s is not supported "
                  "for %s; remove rope_scaling to use the model's own context", type,
                  config->model_type);
}

enum status keys_rope(const json_t *root, double theta, uint32_t dims,
                      struct model_config *config, struct reason *reason)
{
    const json_t *parameters = json_object_get(root, "rope_parameters");
    const json_t *scaling = json_object_get(root, "rope_scaling");
    struct model_rope rope = {.dims = dims, .theta = theta};
    uint32_t index = 0;
    if (!json_is_object(scaling))
        scaling = parameters;
    enum status status = keys_check_shape(root, "rope_scaling", KEY_OBJECT, reason);
    if (status == STATUS_OK)
        status = keys_check_shape(root, "rope_parameters", KEY_OBJECT, reason);
    if (status != STATUS_OK)
        return status;
    if (!is_absent(root, "rope_theta"))
        status = keys_real(root, "rope_theta", 1.0, 1e12, &rope.theta, reason);
    else if (!(theta > 0.0) || !is_absent(parameters, "rope_theta"))
        status = keys_real(parameters, "rope_theta", 1.0, 1e12, &rope.theta, reason);
    if (status == STATUS_OK)
        status = keys_read_scaling(scaling, config, &rope, reason);
    if (status == STATUS_OK)
        status = keys_add_rope(&rope, config, &index, reason);
    return status;
}

static bool are_equal(const struct model_rope *a, const struct model_rope *b)
{
    return a->kind == b->kind && a->dims == b->dims && a->is_interleaved == b->is_interleaved &&
           a->rounds == b->rounds && a->theta == b->theta && a->factor == b->factor &&
           a->low_factor == b->low_factor && a->high_factor == b->high_factor &&
           a->original == b->original && a->beta_fast == b->beta_fast &&
           a->beta_slow == b->beta_slow && a->mscale == b->mscale &&
           a->mscale_all == b->mscale_all;
}

enum status keys_add_rope(const struct model_rope *rope, struct model_config *config,
                          uint32_t *index_out, struct reason *reason)
{
    if (rope->dims == 0 || rope->dims % 2 != 0 || rope->dims > MODEL_HEAD_DIM_MAX)
        return refuse(reason, STATUS_INVALID, "config.json: %u rotated dimensions cannot be; an "
                      "even number of up to %u is needed", rope->dims, MODEL_HEAD_DIM_MAX);
    for (uint32_t i = 0; i < config->rope_count; i++) {
        if (are_equal(&config->ropes[i], rope)) {
            *index_out = i;
            return STATUS_OK;
        }
    }
    if (config->rope_count == MODEL_ROPES_MAX)
        return refuse(reason, STATUS_UNSUPPORTED, "config.json: the layers rotate in more than %u "
                      "ways", MODEL_ROPES_MAX);
    *index_out = config->rope_count;
    config->ropes[config->rope_count++] = *rope;
    return STATUS_OK;
}

/* --- layers --- */

enum status keys_is_sliding(const json_t *root, uint32_t layer, bool fallback,
                            bool *sliding_out, struct reason *reason)
{
    const json_t *types = json_object_get(root, "layer_types");
    *sliding_out = fallback;
    if (!types || json_is_null(types))
        return STATUS_OK;
    enum status status = keys_check_shape(root, "layer_types", KEY_LIST, reason);
    if (status != STATUS_OK)
        return status;
    const char *type = json_string_value(json_array_get(types, layer));
    if (!type)
        return refuse(reason, STATUS_MALFORMED, "config.json: layer_types says nothing of layer "
                      "%u", layer);
    if (strcmp(type, "sliding_attention") != 0 && strcmp(type, "full_attention") != 0)
        return refuse(reason, STATUS_UNSUPPORTED, "config.json: layer %u is of type %.60s, which "
                      "is not supported here", layer, type);
    *sliding_out = strcmp(type, "sliding_attention") == 0;
    return STATUS_OK;
}

enum status keys_settle_heads(struct model_config *config, struct reason *reason)
{
    if (config->kv_heads == 0)
        config->kv_heads = config->heads;
    if (config->heads % config->kv_heads != 0)
        return refuse(reason, STATUS_INVALID, "config.json: %u attention heads are no multiple of "
                      "%u key-value heads", config->heads, config->kv_heads);
    if (config->head_dim == 0 && config->hidden % config->heads != 0)
        return refuse(reason, STATUS_INVALID, "config.json: hidden_size %u is no multiple of %u "
                      "attention heads, and head_dim is missing", config->hidden, config->heads);
    if (config->head_dim == 0)
        config->head_dim = config->hidden / config->heads;
    if (config->head_dim % 2 != 0 || config->head_dim > MODEL_HEAD_DIM_MAX)
        return refuse(reason, STATUS_INVALID, "config.json: head_dim %u is odd or above %u",
                      config->head_dim, MODEL_HEAD_DIM_MAX);
    return STATUS_OK;
}

enum status keys_settle_attention(const json_t *root, double theta, struct model_config *config,
                                  struct reason *reason)
{
    enum status status = keys_settle_heads(config, reason);
    if (status == STATUS_OK)
        status = keys_rope(root, theta, config->head_dim, config, reason);
    for (uint32_t i = 0; status == STATUS_OK && i < config->layers; i++)
        config->shapes[i] = (struct layer_shape){.units = config->heads,
                                                 .heads = config->heads,
                                                 .kv_heads = config->kv_heads,
                                                 .head_dim = config->head_dim};
    return status;
}

enum status keys_settle_windows(const json_t *root, bool alternate, struct model_config *config,
                                struct reason *reason)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < config->layers; i++) {
        bool is_sliding = false;
        status = keys_is_sliding(root, i, alternate && i % 2 == 0, &is_sliding, reason);
        if (status == STATUS_OK && is_sliding && config->window == 0)
            status = refuse(reason, STATUS_MALFORMED, "config.json: layer %u slides, but "
                            "sliding_window is missing", i);
        if (is_sliding)
            config->shapes[i].window = config->window;
    }
    return status;
}
