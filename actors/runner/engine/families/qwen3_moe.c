/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Qwen3-MoE: the attention of qwen3.c; the FFN of most layers is a mixture of experts.
 *
 * The router is a softmax over all experts; the weights of the chosen are divided by their sum
 * where norm_topk_prob says so.  As in mlx-lm the rotation is never scaled.
 */
#include "runtime/model_family.h"

#ifdef TROUPE_FAMILY_SHAPES_ONLY

#include <jansson.h>

enum own { OWN_SPARSE_STEP };

static const struct config_key keys[] = {
    CONFIG_BASE_KEYS,
    CONFIG_NEEDS_COUNT("num_key_value_heads", kv_heads, 1, MODEL_HEADS_MAX),
    CONFIG_HAS_COUNT("head_dim", head_dim, 1, MODEL_HEAD_DIM_MAX, 0),
    CONFIG_HAS_COUNT("intermediate_size", intermediate, 1, MODEL_WIDTH_MAX, 0),
    CONFIG_NEEDS_COUNT("moe_intermediate_size", experts.width, 1, MODEL_WIDTH_MAX),
    CONFIG_NEEDS_COUNT("num_experts", experts.count, 0, MODEL_EXPERTS_MAX),
    CONFIG_NEEDS_COUNT("num_experts_per_tok", experts.used, 1, MODEL_EXPERTS_MAX),
    CONFIG_NEEDS_FLAG("norm_topk_prob", experts.normalises),
    CONFIG_HAS_COUNT("decoder_sparse_step", own[OWN_SPARSE_STEP], 1, MODEL_LAYERS_MAX, 1),
    CONFIG_HAS_FLAG("tie_word_embeddings", tied, false),
};

static bool is_listed(const json_t *list, uint32_t layer)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (json_integer_value(json_array_get(list, i)) == (json_int_t)layer)
            return true;
    }
    return false;
}

static enum status settle(const json_t *root, struct model_config *config, struct reason *reason)
{
    enum status status = keys_refuse_flag(root, "attention_bias", config, reason);
    if (status == STATUS_OK)
        status = keys_check_shape(root, "mlp_only_layers", KEY_LIST, reason);
    if (status == STATUS_OK)
        status = keys_settle_attention(root, 0, config, reason);
    if (status != STATUS_OK)
        return status;
    config->ropes[0] = (struct model_rope){.dims = config->head_dim,
                                           .theta = config->ropes[0].theta,
                                           .factor = 1.0};
    config->experts.groups = 1;
    config->experts.scaling = 1.0;
    const json_t *dense = json_object_get(root, "mlp_only_layers");
    for (uint32_t i = 0; i < config->layers; i++) {
        if (config->experts.count > 0 && (i + 1) % config->own[OWN_SPARSE_STEP] == 0 &&
            !is_listed(dense, i))
            config->shapes[i].ffn = FFN_EXPERTS;
    }
    return STATUS_OK;
}

static const struct module_row rows[] = {
    MODULE_ENDS("model.embed_tokens", "model.norm", "lm_head"),
    MODULE_NORM(MODULE_ATTENTION_NORM, extent_hidden, "input_layernorm"),
    MODULE_ATTENTION,
    MODULE_NORM(MODULE_QUERY_NORM, extent_head, "self_attn.q_norm"),
    MODULE_NORM(MODULE_KEY_NORM, extent_head, "self_attn.k_norm"),
    MODULE_ATTENTION_OUTPUT,
    MODULE_NORM(MODULE_FFN_NORM, extent_hidden, "post_attention_layernorm"),
    MODULE_FFN,
    {.role = MODULE_ROUTER, .is_layer = true, .rows = extent_experts, .columns = extent_hidden,
     .applies = has_experts, .name = "mlp.gate"},
    MODULE_SWITCH("mlp.switch_mlp", "mlp.experts.#", NULL, NULL),
};

static const char *const types[] = {"qwen3_moe", NULL};

const struct model_family family_qwen3_moe_shape = {
    .name = "Qwen3-MoE",
    MODEL_FAMILY_TABLES,
    .cache = "full",
    .cuts = "query heads; columns of the experts and of dense FFNs; vocabulary rows",
};

#else

#include "actors/runner/engine/engine_parts.h"

const struct family family_qwen3_moe = {.bind = engine_bind_layer, .forward = block_layer};

#endif
