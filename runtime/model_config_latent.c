/* SPDX-License-Identifier: Apache-2.0 */
/* What the families with latent attention share of their configuration. */
#include "runtime/model_family.h"

#include <jansson.h>
#include <string.h>

/* A key that, where it is there, must have the one value that is computed. */
static enum status check_text(const json_t *root, const char *name, const char *wanted,
                              const struct model_config *config, struct reason *reason)
{
    const json_t *value = json_object_get(root, name);
    const char *text = json_string_value(value);
    if (!value || json_is_null(value) || (text && strcmp(text, wanted) == 0))
        return STATUS_OK;
    return refuse(reason, STATUS_UNSUPPORTED, "config.json: %s is %.40s; only %s is supported for "
                  "%s", name, text ? text : "no text", wanted, config->model_type);
}

static enum status settle_experts(const json_t *root, struct model_config *config,
                                  struct reason *reason)
{
    struct model_experts *experts = &config->experts;
    const struct config_key shared_key = {"n_shared_experts", CONFIG_COUNT, false, 0, 0, 1024, 0};
    uint32_t shared = 0;
    enum status status = keys_read(root, &shared_key, &shared, reason);
    if (status != STATUS_OK)
        return status;
    if ((uint64_t)shared * experts->width > MODEL_WIDTH_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "config.json: %u shared experts of width %u are "
                      "wider than %u", shared, experts->width, MODEL_WIDTH_MAX);
    experts->shared_width = shared * experts->width;
    experts->scoring = SCORING_SIGMOID;
    experts->normalises = experts->normalises && experts->used > 1;
    /* A group is judged by its two best. */
    if (experts->count > 0 && experts->groups > 1 &&
        (experts->count % experts->groups != 0 || experts->count / experts->groups < 2 ||
         experts->groups_used > experts->groups))
        return refuse(reason, STATUS_INVALID, "config.json: %u of %u groups of %u experts cannot "
                      "be", experts->groups_used, experts->groups, experts->count);
    status = check_text(root, "scoring_func", "sigmoid", config, reason);
    return status == STATUS_OK ? check_text(root, "topk_method", "noaux_tc", config, reason)
                               : status;
}

enum status keys_settle_latent(const json_t *root, double theta, struct model_config *config,
                               struct reason *reason)
{
    const struct config_key first_key = {"first_k_dense_replace", CONFIG_COUNT, false, 0, 0,
                                         MODEL_LAYERS_MAX, 0};
    const struct config_key step_key = {"moe_layer_freq", CONFIG_COUNT, false, 0, 1,
                                        MODEL_LAYERS_MAX, 1};
    uint32_t first = 0;
    uint32_t step = 1;
    enum status status = settle_experts(root, config, reason);
    if (status == STATUS_OK)
        status = keys_read(root, &first_key, &first, reason);
    if (status == STATUS_OK)
        status = keys_read(root, &step_key, &step, reason);
    if (status == STATUS_OK)
        status = keys_rope(root, theta, config->latent.rope_dim, config, reason);
    if (status != STATUS_OK)
        return status;
    config->ropes[0].is_interleaved = true;
    config->kv_heads = config->heads;
    config->head_dim = config->latent.plain_dim + config->latent.rope_dim;
    for (uint32_t i = 0; i < config->layers; i++) {
        bool has = config->experts.count > 0 && i >= first && i % step == 0;
        config->shapes[i] = (struct layer_shape){.mixer = MIXER_LATENT,
                                                 .ffn = has ? FFN_EXPERTS : FFN_DENSE,
                                                 .units = config->heads,
                                                 .heads = config->heads,
                                                 .kv_heads = config->heads,
                                                 .head_dim = config->head_dim};
    }
    return STATUS_OK;
}
