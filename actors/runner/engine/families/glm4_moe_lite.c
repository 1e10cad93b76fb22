/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GLM-4.7-Flash: the shape of deepseek_v3.c, with the model's own epsilon in every norm, as mlx-lm
 * has it.
 */
#include "runtime/model_family.h"

#ifdef TROUPE_FAMILY_SHAPES_ONLY

static const struct config_key keys[] = {
    CONFIG_BASE_KEYS,
    CONFIG_LATENT_KEYS,
};

static enum status settle(const struct json_t *root, struct model_config *config,
                          struct reason *reason)
{
    return keys_settle_latent(root, 1000000.0, config, reason);
}

static const struct module_row rows[] = {
    MODULE_ENDS("model.embed_tokens", "model.norm", "lm_head"),
    MODULE_NORM(MODULE_ATTENTION_NORM, extent_hidden, "input_layernorm"),
    MODULE_LATENT_ATTENTION,
    MODULE_NORM(MODULE_FFN_NORM, extent_hidden, "post_attention_layernorm"),
    MODULE_FFN,
    MODULE_LATENT_EXPERTS,
};

static const char *const types[] = {"glm4_moe_lite", NULL};

const struct model_family family_glm4_moe_lite_shape = {
    .name = "GLM-4.7-Flash",
    .types = types,
    .keys = keys,
    .key_count = COUNT_OF(keys),
    .settle = settle,
    .rows = rows,
    .row_count = COUNT_OF(rows),
    .prefix = "model.layers.",
    .skips_further_layers = true,
    .cache = "latent",
    .cuts = "heads; columns of experts, shared expert and dense FFNs; vocabulary rows",
};

#else

#include "actors/runner/engine/block_mixers.h"

static enum status bind(struct engine *engine, uint32_t layer, struct engine_layer *bound,
                        struct reason *reason)
{
    return engine_bind_latent_layer(engine, layer, engine->config->norm_epsilon, bound, reason);
}

const struct family family_glm4_moe_lite = {.bind = bind, .forward = block_latent_layer};

#endif
