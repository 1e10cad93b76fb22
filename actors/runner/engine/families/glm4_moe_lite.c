/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GLM-4.7-Flash: the shape of deepseek_v3.c, with the model's own epsilon in every norm, as mlx-lm
 * has it.
 */
#include "runtime/model_family.h"

#ifdef TROUPE_FAMILY_SHAPES_ONLY

#include <jansson.h>

static const struct config_key keys[] = {
    CONFIG_BASE_KEYS,
    CONFIG_LATENT_KEYS,
};

static enum status settle(const struct json_t *root, struct model_config *config,
                          struct reason *reason)
{
    if (!json_object_get(root, "routed_scaling_factor"))
        config->experts.scaling = 1.8;
    return keys_settle_latent(root, 1000000.0, config, reason);
}

static const struct module_row rows[] = {
    MODULE_LATENT_FAMILY,
};

static const char *const types[] = {"glm4_moe_lite", NULL};

const struct model_family family_glm4_moe_lite_shape = {
    .name = "GLM-4.7-Flash",
    MODEL_FAMILY_TABLES,
    .skips_further_layers = true,
    .keeps_head = true,
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
