/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Qwen2 and Qwen2.5: the layer of llama.c with biases on q, k and v.
 */
#include "runtime/model_family.h"

#ifdef TROUPE_FAMILY_SHAPES_ONLY

static const struct config_key keys[] = {
    CONFIG_BASE_KEYS,
    CONFIG_NEEDS_COUNT("num_key_value_heads", kv_heads, 1, MODEL_HEADS_MAX),
    CONFIG_NEEDS_COUNT("intermediate_size", intermediate, 1, MODEL_WIDTH_MAX),
    CONFIG_HAS_FLAG("tie_word_embeddings", tied, true),
};

static enum status settle(const struct json_t *root, struct model_config *config,
                          struct reason *reason)
{
    enum status status = keys_refuse_flag(root, "use_sliding_window", config, reason);
    config->has_attention_bias = true;
    return status == STATUS_OK ? keys_settle_attention(root, 1e6, config, reason) : status;
}

static const struct module_row rows[] = {
    MODULE_ENDS("model.embed_tokens", "model.norm", "lm_head"),
    MODULE_NORM(MODULE_ATTENTION_NORM, extent_hidden, "input_layernorm"),
    MODULE_ATTENTION,
    MODULE_ATTENTION_OUTPUT,
    MODULE_NORM(MODULE_FFN_NORM, extent_hidden, "post_attention_layernorm"),
    MODULE_FFN,
};

static const char *const types[] = {"qwen2", NULL};

const struct model_family family_qwen2_shape = {
    .name = "Qwen2 and Qwen2.5",
    MODEL_FAMILY_TABLES,
    .cache = "full",
    .cuts = "query heads; FFN columns; vocabulary rows",
};

#else

#include "actors/runner/engine/engine_parts.h"

const struct family family_qwen2 = {.bind = engine_bind_layer, .forward = block_layer};

#endif
