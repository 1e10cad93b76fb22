/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Qwen3 dense.
 *
 * x += o(attention(rope(norm(q)), rope(norm(k)), v)) of norm(x); x += down(silu(gate) * up) of
 * norm(x).  No biases; q and k are normed per head after the projection and before the rotation.
 * In the tensor cut the sums over ranks come after o and after down.
 */
#include "runtime/model_family.h"

#ifdef TROUPE_FAMILY_SHAPES_ONLY

static const struct config_key keys[] = {
    CONFIG_BASE_KEYS,
    CONFIG_NEEDS_COUNT("num_key_value_heads", kv_heads, 1, MODEL_HEADS_MAX),
    CONFIG_NEEDS_COUNT("head_dim", head_dim, 1, MODEL_HEAD_DIM_MAX),
    CONFIG_NEEDS_COUNT("intermediate_size", intermediate, 1, MODEL_WIDTH_MAX),
    CONFIG_HAS_FLAG("tie_word_embeddings", tied, false),
};

static enum status settle(const struct json_t *root, struct model_config *config,
                          struct reason *reason)
{
    enum status status = keys_refuse_flag(root, "attention_bias", config, reason);
    return status == STATUS_OK ? keys_settle_attention(root, 0, config, reason) : status;
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
};

static const char *const types[] = {"qwen3", NULL};

const struct model_family family_qwen3_shape = {
    .name = "Qwen3",
    MODEL_FAMILY_TABLES,
    .cache = "full",
    .cuts = "query heads; FFN columns; vocabulary rows",
};

#else

#include "actors/runner/engine/engine_parts.h"

const struct family family_qwen3 = {.bind = engine_bind_layer, .forward = block_layer};

#endif
