/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Llama 3.x, and Mistral in the same form.
 *
 * The layer of qwen3.c without norms of q and k; scaled ropes; biases and windows where the
 * configuration has them.  Without `tie_word_embeddings` the embedding is the head, as in mlx-lm.
 */
#include "runtime/model_family.h"

#ifdef TROUPE_FAMILY_SHAPES_ONLY

enum own { OWN_INTERLEAVED };

static const struct config_key keys[] = {
    CONFIG_BASE_KEYS,
    CONFIG_HAS_COUNT("num_key_value_heads", kv_heads, 1, MODEL_HEADS_MAX, 0),
    CONFIG_HAS_COUNT("head_dim", head_dim, 1, MODEL_HEAD_DIM_MAX, 0),
    CONFIG_NEEDS_COUNT("intermediate_size", intermediate, 1, MODEL_WIDTH_MAX),
    CONFIG_HAS_COUNT("sliding_window", window, 1, MODEL_CONTEXT_MAX, 0),
    CONFIG_HAS_FLAG("attention_bias", has_attention_bias, false),
    CONFIG_HAS_FLAG("mlp_bias", has_ffn_bias, false),
    CONFIG_HAS_FLAG("rope_traditional", own_flags[OWN_INTERLEAVED], false),
    CONFIG_HAS_FLAG("tie_word_embeddings", tied, true),
};

static enum status settle(const struct json_t *root, struct model_config *config,
                          struct reason *reason)
{
    enum status status = keys_settle_attention(root, 10000.0, config, reason);
    if (status != STATUS_OK)
        return status;
    config->has_output_bias = config->has_attention_bias;
    config->ropes[0].is_interleaved = config->own_flags[OWN_INTERLEAVED];
    return keys_settle_windows(root, false, config, reason);
}

static const struct module_row rows[] = {
    MODULE_ENDS("model.embed_tokens", "model.norm", "lm_head"),
    MODULE_NORM(MODULE_ATTENTION_NORM, extent_hidden, "input_layernorm"),
    MODULE_ATTENTION,
    MODULE_ATTENTION_OUTPUT,
    MODULE_NORM(MODULE_FFN_NORM, extent_hidden, "post_attention_layernorm"),
    MODULE_FFN,
};

static const char *const types[] = {"llama", "mistral", NULL};

const struct model_family family_llama_shape = {
    .name = "Llama 3.x",
    MODEL_FAMILY_TABLES,
    .cache = "full; a window where layer_types says so",
    .cuts = "query heads; FFN columns; vocabulary rows",
};

#else

#include "actors/runner/engine/engine_parts.h"

const struct family family_llama = {.bind = engine_bind_layer, .forward = block_layer};

#endif
