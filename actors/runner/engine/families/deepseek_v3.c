/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DeepSeek-V3: latent attention, and experts chosen by groups.
 *
 * The norms of queries and latent have an epsilon of their own.  Yarn stretches what is rotated by
 * the ropes and the rest by the scale of the scores.  In the tensor cut ranks share the heads; each
 * has the latent and its cache whole.
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
    return keys_settle_latent(root, 10000.0, config, reason);
}

static const struct module_row rows[] = {
    MODULE_LATENT_FAMILY,
};

static const char *const types[] = {"deepseek_v3", "kimi_k2", NULL};

const struct model_family family_deepseek_v3_shape = {
    .name = "DeepSeek-V3, Kimi K2",
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
    return engine_bind_latent_layer(engine, layer, 1e-6, bound, reason);
}

const struct family family_deepseek_v3 = {.bind = bind, .forward = block_latent_layer};

#endif
