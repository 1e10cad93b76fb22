/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Step-3.5: layers of two kinds, with a gate for each head, and clamped experts.
 *
 * Full and sliding layers have their own numbers of heads, theta and rotated part; scaling applies
 * to the types that yarn_only_types names.  A head's output is multiplied by sigmoid of one number
 * of the layer's normed input.  The router is a sigmoid with a bias for the choice; a shared expert
 * is added.  A limit clamps the middle of the experts, another that of the shared expert and of
 * dense layers.  Original files store norms less 1.
 */
#include "runtime/model_family.h"

#ifdef TROUPE_FAMILY_SHAPES_ONLY

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum own { OWN_HEAD_GATE };

static const struct config_key keys[] = {
    CONFIG_BASE_KEYS,
    CONFIG_NEEDS_COUNT("num_attention_groups", kv_heads, 1, MODEL_HEADS_MAX),
    CONFIG_NEEDS_COUNT("head_dim", head_dim, 1, MODEL_HEAD_DIM_MAX),
    CONFIG_NEEDS_COUNT("intermediate_size", intermediate, 1, MODEL_WIDTH_MAX),
    CONFIG_HAS_COUNT("sliding_window", window, 1, MODEL_CONTEXT_MAX, 512),
    CONFIG_HAS_FLAG("use_head_wise_attn_gate", own_flags[OWN_HEAD_GATE], true),
    CONFIG_HAS_COUNT("moe_num_experts", experts.count, 1, MODEL_EXPERTS_MAX, 288),
    CONFIG_HAS_COUNT("moe_top_k", experts.used, 1, MODEL_EXPERTS_MAX, 8),
    CONFIG_HAS_COUNT("moe_intermediate_size", experts.width, 1, MODEL_WIDTH_MAX, 1280),
    CONFIG_HAS_COUNT("share_expert_dim", experts.shared_width, 1, MODEL_WIDTH_MAX, 1280),
    CONFIG_HAS_REAL("moe_router_scaling_factor", experts.scaling, 0.0, 1e6, 3.0),
    CONFIG_HAS_FLAG("norm_expert_weight", experts.normalises, true),
    CONFIG_HAS_FLAG("tie_word_embeddings", tied, false),
    CONFIG_PREDICTION_KEY,
};

/* "1,2,3"; without it every layer but the first has experts. */
static bool has_listed_experts(const char *list, uint32_t layer)
{
    if (!list || *list == '\0')
        return layer > 0;
    while (*list != '\0') {
        char *end = NULL;
        unsigned long number = strtoul(list, &end, 10);
        if (end != list && number == layer)
            return true;
        list = end == list ? list + 1 : end;
    }
    return false;
}

static enum status check_list(const char *list, struct reason *reason)
{
    if (list && list[strspn(list, "0123456789, ")] != '\0')
        return refuse(reason, STATUS_MALFORMED, "config.json: moe_layers_enum is %.60s, no list of "
                      "layers like 1,2,3", list);
    return STATUS_OK;
}

static enum status read_limit(const json_t *root, const char *name, uint32_t layer,
                              float *limit_out, struct reason *reason)
{
    const json_t *value = json_array_get(json_object_get(root, name), layer);
    *limit_out = 0.0f;
    if (!value || json_is_null(value))
        return STATUS_OK;
    double limit = json_is_number(value) ? json_number_value(value) : -1.0;
    if (!(limit >= 0.0 && limit <= 1e6))
        return refuse(reason, STATUS_INVALID, "config.json: %s of layer %u is no number from 0 on",
                      name, layer);
    *limit_out = (float)limit;
    return STATUS_OK;
}

static bool is_scaled(const json_t *root, bool is_sliding)
{
    const json_t *types = json_object_get(root, "yarn_only_types");
    bool is_named = json_array_size(json_object_get(root, "layer_types")) > 0;
    const char *own = is_sliding && is_named ? "sliding_attention" : "full_attention";
    if (json_array_size(types) == 0)
        return true;
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type && strcmp(type, own) == 0)
            return true;
    }
    return false;
}

static enum status settle_rope(const json_t *root, struct model_config *config, uint32_t layer,
                               bool is_sliding, struct reason *reason)
{
    const json_t *parameters = json_object_get(root, "rope_parameters");
    const json_t *scaling = json_object_get(root, "rope_scaling");
    const json_t *theta = json_object_get(root, "rope_theta");
    const json_t *factor = json_array_get(json_object_get(root, "partial_rotary_factors"), layer);
    struct model_rope rope = {.theta = 10000.0, .factor = 1.0};
    if (!theta || json_is_null(theta))
        theta = json_object_get(parameters, "rope_theta");
    if (theta && !json_is_null(theta)) {
        if (json_is_array(theta))
            theta = json_array_get(theta, layer);
        rope.theta = json_number_value(theta);
    }
    if (!(rope.theta >= 1.0 && rope.theta <= 1e12))
        return refuse(reason, STATUS_INVALID, "config.json: rope_theta of layer %u is no number "
                      "from 1 on", layer);
    double part = factor ? json_number_value(factor) : 1.0;
    if (!(part > 0.0 && part <= 1.0))
        return refuse(reason, STATUS_INVALID, "config.json: partial_rotary_factors of layer %u is "
                      "not between 0 and 1", layer);
    rope.dims = (uint32_t)(config->head_dim * part);
    enum status status = STATUS_OK;
    if (is_scaled(root, is_sliding))
        status = keys_read_scaling(json_is_object(scaling) ? scaling : parameters, config, &rope,
                                   reason);
    if (status == STATUS_OK)
        status = keys_add_rope(&rope, config, &config->shapes[layer].rope, reason);
    return status;
}

/* Sliding layers have heads of the same size. */
static enum status check_head_dim(const json_t *other, const struct model_config *config,
                                  struct reason *reason)
{
    const json_t *value = json_object_get(other, "head_dim");
    if (!value || json_is_null(value) || json_number_value(value) == config->head_dim)
        return STATUS_OK;
    return refuse(reason, STATUS_INVALID, "config.json: head_dim in attention_other_setting is not "
                  "%u, as that of the other layers; two sizes are not supported",
                  config->head_dim);
}

static enum status settle_layer(const json_t *root, struct model_config *config, uint32_t layer,
                                struct reason *reason)
{
    struct layer_shape *shape = &config->shapes[layer];
    const json_t *other = json_object_get(root, "attention_other_setting");
    const char *listed = json_string_value(json_object_get(root, "moe_layers_enum"));
    bool is_sliding = false;
    enum status status = keys_is_sliding(root, layer, layer % 2 == 0, &is_sliding, reason);
    *shape = (struct layer_shape){.heads = config->heads, .kv_heads = config->kv_heads,
                                  .head_dim = config->head_dim,
                                  .window = is_sliding ? config->window : 0,
                                  .ffn = has_listed_experts(listed, layer) ? FFN_EXPERTS
                                                                           : FFN_DENSE};
    if (status == STATUS_OK && is_sliding && json_is_object(other))
        status = keys_count(other, "num_attention_heads", 1, MODEL_HEADS_MAX, &shape->heads,
                            reason);
    if (status == STATUS_OK && is_sliding && json_is_object(other))
        status = keys_count(other, "num_attention_groups", 1, MODEL_HEADS_MAX, &shape->kv_heads,
                            reason);
    if (status == STATUS_OK && is_sliding)
        status = check_head_dim(other, config, reason);
    shape->units = shape->heads;
    if (status == STATUS_OK)
        status = read_limit(root, "swiglu_limits", layer, &shape->limit, reason);
    if (status == STATUS_OK)
        status = read_limit(root, "swiglu_limits_shared", layer, &shape->shared_limit, reason);
    return status == STATUS_OK ? settle_rope(root, config, layer, is_sliding, reason) : status;
}

static enum status settle(const json_t *root, struct model_config *config, struct reason *reason)
{
    static const struct {
        const char *name;
        enum key_shape shape;
    } shapes[] = {
        {"moe_layers_enum", KEY_TEXT},         {"attention_other_setting", KEY_OBJECT},
        {"rope_scaling", KEY_OBJECT},          {"partial_rotary_factors", KEY_LIST},
        {"swiglu_limits", KEY_LIST},           {"swiglu_limits_shared", KEY_LIST},
        {"yarn_only_types", KEY_LIST},         {"rope_parameters", KEY_OBJECT},
    };
    enum status status = keys_settle_heads(config, reason);
    for (size_t i = 0; status == STATUS_OK && i < COUNT_OF(shapes); i++)
        status = keys_check_shape(root, shapes[i].name, shapes[i].shape, reason);
    if (status == STATUS_OK)
        status = check_list(json_string_value(json_object_get(root, "moe_layers_enum")), reason);
    config->experts.scoring = SCORING_SIGMOID;
    config->experts.groups = 1;
    for (uint32_t i = 0; status == STATUS_OK && i < config->layers; i++)
        status = settle_layer(root, config, i, reason);
    return status;
}

static bool has_head_gate(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->own_flags[OWN_HEAD_GATE];
}

static const struct module_row rows[] = {
    MODULE_ENDS("model.embed_tokens", "model.norm", "lm_head"),
    MODULE_NORM(MODULE_ATTENTION_NORM, extent_hidden, "input_layernorm"),
    MODULE_ATTENTION,
    MODULE_NORM(MODULE_QUERY_NORM, extent_head, "self_attn.q_norm"),
    MODULE_NORM(MODULE_KEY_NORM, extent_head, "self_attn.k_norm"),
    {.role = MODULE_ATTENTION_GATE, .cut = MODULE_CUT_MIXER_ROWS, .is_layer = true,
     .rows = extent_heads, .columns = extent_hidden, .applies = has_head_gate,
     .name = "self_attn.g_proj"},
    MODULE_ATTENTION_OUTPUT,
    MODULE_NORM(MODULE_FFN_NORM, extent_hidden, "post_attention_layernorm"),
    MODULE_FFN,
    {.role = MODULE_ROUTER, .is_layer = true, .rows = extent_experts, .columns = extent_hidden,
     .applies = has_experts, .name = "mlp.gate.gate", .original = "moe.gate"},
    {.role = MODULE_ROUTER_BIAS, .kind = MODULE_BARE, .is_layer = true, .columns = extent_experts,
     .applies = has_experts, .name = "mlp.gate.router_bias", .original = "moe.router_bias"},
    MODULE_SWITCH("mlp.switch_mlp", "moe", NULL, NULL),
    MODULE_SHARED("mlp.share_expert", "share_expert"),
};

/* The original files have the experts elsewhere. */
static bool is_shifted(const struct tensor_table *table)
{
    for (size_t i = 0; i < table->tensor_count; i++) {
        if (strstr(table->tensors[i].name, ".moe."))
            return true;
    }
    return false;
}

static const char *const types[] = {"step3p5", NULL};
static const char *const skips[] = {"mtp", ".mtp", NULL};

const struct model_family family_step3p5_shape = {
    .name = "Step-3.5",
    MODEL_FAMILY_TABLES,
    .is_shifted = is_shifted,
    .skips = skips,
    .skips_further_layers = true,
    .keeps_head = true,
    .cache = "full and window",
    .cuts = "query heads; columns of experts, shared expert and dense FFNs; vocabulary rows",
};

#else

#include "actors/runner/engine/engine_parts.h"

static void clamp(float limit, enum activation *activation_out, float *limit_out)
{
    *activation_out = limit > 0.0f ? ACTIVATION_CLAMPED_SILU : ACTIVATION_SILU;
    *limit_out = limit;
}

static enum status bind(struct engine *engine, uint32_t layer, struct engine_layer *bound,
                        struct reason *reason)
{
    const struct layer_shape *shape = &engine->config->shapes[layer];
    struct experts_part *experts = &bound->experts;
    clamp(shape->limit, &experts->activation, &experts->limit);
    clamp(shape->shared_limit, &experts->shared.activation, &experts->shared.limit);
    clamp(shape->shared_limit, &bound->ffn.activation, &bound->ffn.limit);
    enum status status = engine_bind_layer(engine, layer, bound, reason);
    bound->attention.gating = bound->attention.has_gate ? GATE_HEAD : GATE_NONE;
    return status;
}

const struct family family_step3p5 = {.bind = bind, .forward = block_layer};

#endif
