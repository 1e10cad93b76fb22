/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpt-oss: sinks, windows in every second layer, yarn, biases everywhere, experts only.
 *
 * A head's sink is a score that takes weight and has no value.  The router's weights are a softmax
 * over the chosen alone, which is the softmax over all divided by the sum of the chosen.  The
 * middle of an expert is g * sigmoid(1.702 g) * (u + 1) of clamped g and u.  Yarn obeys `truncate`;
 * without the key its range is rounded.
 */
#include "runtime/model_family.h"

#ifdef TROUPE_FAMILY_SHAPES_ONLY

#include <jansson.h>

static const struct config_key keys[] = {
    CONFIG_BASE_KEYS,
    CONFIG_NEEDS_COUNT("num_key_value_heads", kv_heads, 1, MODEL_HEADS_MAX),
    CONFIG_NEEDS_COUNT("head_dim", head_dim, 1, MODEL_HEAD_DIM_MAX),
    CONFIG_NEEDS_COUNT("intermediate_size", experts.width, 1, MODEL_WIDTH_MAX),
    CONFIG_NEEDS_COUNT("num_local_experts", experts.count, 1, MODEL_EXPERTS_MAX),
    CONFIG_NEEDS_COUNT("num_experts_per_tok", experts.used, 1, MODEL_EXPERTS_MAX),
    CONFIG_NEEDS_COUNT("sliding_window", window, 1, MODEL_CONTEXT_MAX),
    CONFIG_HAS_FLAG("tie_word_embeddings", tied, false),
};

static enum status settle(const json_t *root, struct model_config *config, struct reason *reason)
{
    double limit = 7.0;
    const struct config_key clamp = {"swiglu_limit", CONFIG_REAL, false, 0, 1e-3, 1e6, 7.0};
    enum status status = keys_read(root, &clamp, &limit, reason);
    if (status == STATUS_OK)
        status = keys_settle_attention(root, 150000.0, config, reason);
    if (status == STATUS_OK)
        status = keys_settle_windows(root, true, config, reason);
    config->has_attention_bias = true;
    config->has_output_bias = true;
    config->has_ffn_bias = true;
    config->experts.groups = 1;
    config->experts.normalises = true;
    config->experts.scaling = 1.0;
    for (uint32_t i = 0; i < config->layers; i++) {
        config->shapes[i].ffn = FFN_EXPERTS;
        config->shapes[i].limit = (float)limit;
    }
    return status;
}

/* The original files: mxfp4 in bytes, rows of gate and up by turns. */
#define FUSED "mlp.experts.gate_up_proj"
#define BLOCKS(module_role, module_cut_, rows_, columns_, tensor_rows_, lanes_, lane_, path)       \
    {                                                                                              \
        .role = module_role, .kind = MODULE_EXPERTS, .cut = module_cut_, .is_layer = true,         \
        .rows = rows_, .columns = columns_, .tensor_rows = tensor_rows_, .applies = has_experts,   \
        .has_bias = always, .form = FORM_BLOCKS, .lanes = lanes_, .lane = lane_,                   \
        .unless = "mlp.experts.gate_proj", .name = path                                            \
    }

static const struct module_row rows[] = {
    MODULE_ENDS("model.embed_tokens", "model.norm", "lm_head"),
    MODULE_NORM(MODULE_ATTENTION_NORM, extent_hidden, "input_layernorm"),
    MODULE_ATTENTION,
    {.role = MODULE_SINKS, .kind = MODULE_BARE, .cut = MODULE_CUT_MIXER_ROWS, .is_layer = true,
     .columns = extent_heads, .name = "self_attn.sinks"},
    MODULE_ATTENTION_OUTPUT,
    MODULE_NORM(MODULE_FFN_NORM, extent_hidden, "post_attention_layernorm"),
    {.role = MODULE_ROUTER, .is_layer = true, .rows = extent_experts, .columns = extent_hidden,
     .has_bias = always, .name = "mlp.router"},
    MODULE_SWITCH("mlp.experts", "mlp.experts", FUSED, always),
    BLOCKS(MODULE_EXPERT_GATE, MODULE_CUT_FFN_ROWS, extent_expert_width, extent_hidden,
           extent_expert_pair, 2, 0, FUSED),
    BLOCKS(MODULE_EXPERT_UP, MODULE_CUT_FFN_ROWS, extent_expert_width, extent_hidden,
           extent_expert_pair, 2, 1, FUSED),
    BLOCKS(MODULE_EXPERT_DOWN, MODULE_CUT_FFN_COLUMNS, extent_hidden, extent_expert_width, NULL, 1,
           0, "mlp.experts.down_proj"),
};

static const char *const types[] = {"gpt_oss", NULL};

const struct model_family family_gpt_oss_shape = {
    .name = "gpt-oss",
    MODEL_FAMILY_TABLES,
    .keeps_head = true,
    .cache = "full and window",
    .cuts = "query heads; columns of the experts; vocabulary rows",
};

#else

#include "actors/runner/engine/engine_parts.h"

static enum status bind(struct engine *engine, uint32_t layer, struct engine_layer *bound,
                        struct reason *reason)
{
    bound->experts.activation = ACTIVATION_CLAMPED_SWISH;
    bound->experts.limit = engine->config->shapes[layer].limit;
    return engine_bind_layer(engine, layer, bound, reason);
}

const struct family family_gpt_oss = {.bind = bind, .forward = block_layer};

#endif
