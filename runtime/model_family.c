/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/model_family.h"

#include <stdio.h>
#include <string.h>

const struct model_family *model_family_find(const char *model_type)
{
    for (const struct model_family *const *family = model_families; *family; family++) {
        for (const char *const *type = (*family)->types; *type; type++) {
            if (strcmp(*type, model_type) == 0)
                return *family;
        }
    }
    return NULL;
}

const char *model_types_text(char *text_out)
{
    size_t length = 0;
    text_out[0] = '\0';
    for (const struct model_family *const *family = model_families; *family; family++) {
        for (const char *const *type = (*family)->types; *type; type++) {
            int added = snprintf(text_out + length, MODEL_TYPES_TEXT_SIZE - length, "%s%s",
                                 length > 0 ? ", " : "", *type);
            if (added < 0 || length + (size_t)added >= MODEL_TYPES_TEXT_SIZE)
                return text_out;
            length += (size_t)added;
        }
    }
    return text_out;
}

/* --- extents and conditions that several families share --- */

uint64_t extent_hidden(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->hidden;
}

uint64_t extent_vocab(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->vocab;
}

uint64_t extent_queries(const struct model_config *config, const struct layer_shape *shape)
{
    (void)config;
    return (uint64_t)shape->heads * shape->head_dim;
}

uint64_t extent_keys(const struct model_config *config, const struct layer_shape *shape)
{
    (void)config;
    return (uint64_t)shape->kv_heads * shape->head_dim;
}

uint64_t extent_heads(const struct model_config *config, const struct layer_shape *shape)
{
    (void)config;
    return shape->heads;
}

uint64_t extent_head(const struct model_config *config, const struct layer_shape *shape)
{
    (void)config;
    return shape->head_dim;
}

uint64_t extent_intermediate(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->intermediate;
}

uint64_t extent_experts(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->experts.count;
}

uint64_t extent_expert_width(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->experts.width;
}

/* Gate and up in one. */
uint64_t extent_expert_pair(const struct model_config *config, const struct layer_shape *shape)
{
    return 2 * extent_expert_width(config, shape);
}

uint64_t extent_shared_width(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->experts.shared_width;
}

uint64_t extent_latent_query_rank(const struct model_config *config,
                                  const struct layer_shape *shape)
{
    (void)shape;
    return config->latent.query_rank;
}

uint64_t extent_latent_queries(const struct model_config *config, const struct layer_shape *shape)
{
    return (uint64_t)shape->heads * (config->latent.plain_dim + config->latent.rope_dim);
}

uint64_t extent_latent_rank(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->latent.rank;
}

uint64_t extent_latent_keys(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return (uint64_t)config->latent.rank + config->latent.rope_dim;
}

uint64_t extent_latent_embed(const struct model_config *config, const struct layer_shape *shape)
{
    return (uint64_t)shape->heads * config->latent.rank;
}

uint64_t extent_latent_plain(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->latent.plain_dim;
}

uint64_t extent_latent_values(const struct model_config *config, const struct layer_shape *shape)
{
    return (uint64_t)shape->heads * config->latent.value_dim;
}

uint64_t extent_latent_both(const struct model_config *config, const struct layer_shape *shape)
{
    return (uint64_t)shape->heads * (config->latent.plain_dim + config->latent.value_dim);
}

bool has_query_rank(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->latent.query_rank > 0;
}

bool has_no_query_rank(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->latent.query_rank == 0;
}

bool has_dense_ffn(const struct model_config *config, const struct layer_shape *shape)
{
    (void)config;
    return shape->ffn == FFN_DENSE;
}

bool has_experts(const struct model_config *config, const struct layer_shape *shape)
{
    (void)config;
    return shape->ffn == FFN_EXPERTS;
}

bool has_shared_expert(const struct model_config *config, const struct layer_shape *shape)
{
    return shape->ffn == FFN_EXPERTS && config->experts.shared_width > 0;
}

bool has_head_of_its_own(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return !config->tied;
}

bool always(const struct model_config *config, const struct layer_shape *shape)
{
    (void)config;
    (void)shape;
    return true;
}

bool has_attention_bias(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->has_attention_bias;
}

bool has_output_bias(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->has_output_bias;
}

bool has_ffn_bias(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->has_ffn_bias;
}
