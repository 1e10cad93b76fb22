/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gemma 3, text.
 *
 * Embeddings times sqrt(hidden) rounded to bf16, and a head of its own where the files have one,
 * as mlx-lm has it.
 * x += norm(o(attention(rope(norm(q)), rope(norm(k)), v)) of norm(x)); x += norm(down(gelu(gate) *
 * up) of norm(x)): four norms a layer, all times (1 + w), and the scale of attention is of the
 * configuration.  Five layers of a window to one that sees all; the two kinds rotate differently.
 * In the tensor cut the sums over ranks come after o and after down, before the norms that follow.
 */
#include "runtime/model_family.h"

#include <string.h>

/* The norms of what attention and the FFN give. */
#define ROLE_AFTER_ATTENTION MODULE_OWN_MIXER
#define ROLE_AFTER_FFN MODULE_OWN_FFN

#ifdef TROUPE_FAMILY_SHAPES_ONLY

#include <jansson.h>

/* The multimodal configurations leave out what is as it always is. */
static const struct config_key keys[] = {
    CONFIG_NEEDS_COUNT("num_hidden_layers", layers, 1, MODEL_LAYERS_MAX),
    CONFIG_NEEDS_COUNT("hidden_size", hidden, 1, MODEL_WIDTH_MAX),
    CONFIG_NEEDS_COUNT("intermediate_size", intermediate, 1, MODEL_WIDTH_MAX),
    CONFIG_NEEDS_COUNT("sliding_window", window, 1, MODEL_CONTEXT_MAX),
    CONFIG_HAS_COUNT("num_attention_heads", heads, 1, MODEL_HEADS_MAX, 0),
    CONFIG_HAS_COUNT("num_key_value_heads", kv_heads, 1, MODEL_HEADS_MAX, 0),
    CONFIG_HAS_COUNT("head_dim", head_dim, 1, MODEL_HEAD_DIM_MAX, 256),
    CONFIG_HAS_COUNT("vocab_size", vocab, 1, MODEL_VOCAB_MAX, 262208),
    CONFIG_HAS_COUNT("max_position_embeddings", context, 1, MODEL_CONTEXT_MAX, 131072),
    CONFIG_HAS_REAL("rms_norm_eps", norm_epsilon, 0.0, 1.0, 1e-6),
};

/* The rope of a kind of layer where rope_parameters has an object for each kind. */
static enum status read_kind(const json_t *parameters, const char *kind,
                             const struct model_config *config, struct model_rope *rope,
                             struct reason *reason)
{
    const json_t *of_kind = json_object_get(parameters, kind);
    const struct config_key theta = {"rope_theta", CONFIG_REAL, false, 0, 1.0, 1e12, rope->theta};
    enum status status = keys_read(of_kind, &theta, &rope->theta, reason);
    return status == STATUS_OK ? keys_read_scaling(of_kind, config, rope, reason) : status;
}

/* Rope 0 is that of the layers that see all, rope 1 that of the windows. */
static enum status read_ropes(const json_t *root, struct model_config *config,
                              struct reason *reason)
{
    const json_t *parameters = json_object_get(root, "rope_parameters");
    const struct config_key local = {"rope_local_base_freq", CONFIG_REAL, false, 0, 1.0, 1e12, 1e4};
    struct model_rope full = {.dims = config->head_dim, .theta = 1e6};
    struct model_rope sliding = {.dims = config->head_dim, .factor = 1.0};
    uint32_t index = 0;
    enum status status = keys_read(root, &local, &sliding.theta, reason);
    if (status == STATUS_OK)
        status = keys_check_shape(root, "rope_parameters", KEY_OBJECT, reason);
    if (status != STATUS_OK)
        return status;
    if (!json_is_object(json_object_get(parameters, "full_attention"))) {
        status = keys_rope(root, full.theta, full.dims, config, reason);
    } else {
        status = read_kind(parameters, "full_attention", config, &full, reason);
        if (status == STATUS_OK)
            status = read_kind(parameters, "sliding_attention", config, &sliding, reason);
        if (status == STATUS_OK)
            status = keys_add_rope(&full, config, &index, reason);
    }
    return status == STATUS_OK ? keys_add_rope(&sliding, config, &index, reason) : status;
}

static enum status settle_layers(const json_t *root, struct model_config *config,
                                 struct reason *reason)
{
    const struct config_key pattern_key = {"sliding_window_pattern", CONFIG_COUNT, false, 0, 1,
                                           MODEL_LAYERS_MAX, 6};
    uint32_t pattern = 0;
    enum status status = keys_read(root, &pattern_key, &pattern, reason);
    for (uint32_t i = 0; status == STATUS_OK && i < config->layers; i++) {
        bool slides = false;
        status = keys_is_sliding(root, i, (i + 1) % pattern != 0, &slides, reason);
        config->shapes[i] = (struct layer_shape){.units = config->heads,
                                                 .heads = config->heads,
                                                 .kv_heads = config->kv_heads,
                                                 .head_dim = config->head_dim,
                                                 .window = slides ? config->window : 0,
                                                 .rope = slides ? config->rope_count - 1 : 0};
    }
    return status;
}

static enum status settle(const json_t *root, struct model_config *config, struct reason *reason)
{
    static const char *const flags[] = {"attention_bias", "final_logit_softcapping",
                                        "attn_logit_softcapping", "use_bidirectional_attention"};
    const struct config_key scalar_key = {"query_pre_attn_scalar", CONFIG_REAL, false, 0, 1e-3, 1e6,
                                          256};
    double scalar = 0;
    enum status status = STATUS_OK;
    bool is_wrapped = strcmp(config->model_type, "gemma3") == 0;
    if (config->heads == 0)
        config->heads = is_wrapped ? 8 : 4;
    if (config->kv_heads == 0)
        config->kv_heads = is_wrapped ? 4 : 1;
    for (size_t i = 0; status == STATUS_OK && i < COUNT_OF(flags); i++)
        status = keys_refuse_flag(root, flags[i], config, reason);
    if (status == STATUS_OK)
        status = keys_read(root, &scalar_key, &scalar, reason);
    if (status == STATUS_OK)
        status = keys_settle_heads(config, reason);
    if (status == STATUS_OK)
        status = read_ropes(root, config, reason);
    if (status == STATUS_OK)
        status = settle_layers(root, config, reason);
    memcpy(&config->own[0], &scalar, sizeof scalar);
    return status;
}

static bool is_always_shifted(const struct tensor_table *table)
{
    (void)table;
    return true;
}

static const struct module_row rows[] = {
    {.role = MODULE_EMBEDDING, .cut = MODULE_CUT_VOCAB_ROWS, .rows = extent_vocab,
     .columns = extent_hidden, .name = "model.embed_tokens"},
    {.role = MODULE_FINAL_NORM, .kind = MODULE_VECTOR, .columns = extent_hidden, .is_norm = true,
     .name = "model.norm"},
    {.role = MODULE_HEAD, .cut = MODULE_CUT_VOCAB_ROWS, .rows = extent_vocab,
     .columns = extent_hidden, .is_optional = true, .name = "lm_head"},
    MODULE_NORM(MODULE_ATTENTION_NORM, extent_hidden, "input_layernorm"),
    MODULE_ATTENTION,
    MODULE_NORM(MODULE_QUERY_NORM, extent_head, "self_attn.q_norm"),
    MODULE_NORM(MODULE_KEY_NORM, extent_head, "self_attn.k_norm"),
    MODULE_ATTENTION_OUTPUT,
    MODULE_NORM(ROLE_AFTER_ATTENTION, extent_hidden, "post_attention_layernorm"),
    MODULE_NORM(MODULE_FFN_NORM, extent_hidden, "pre_feedforward_layernorm"),
    MODULE_FFN,
    MODULE_NORM(ROLE_AFTER_FFN, extent_hidden, "post_feedforward_layernorm"),
};

static const char *const types[] = {"gemma3_text", "gemma3", NULL};
static const char *const skips[] = {"vision_tower.", "multi_modal_projector.",
                                    "model.vision_tower.", "model.multi_modal_projector.", NULL};
static const struct model_wrapper wrappers[] = {
    {"model.", ""},
    {"language_model.model.", "language_model."},
    {"model.language_model.", ""},
};

const struct model_family family_gemma3_shape = {
    .name = "Gemma 3",
    MODEL_FAMILY_TABLES,
    .wrappers = wrappers,
    .wrapper_count = COUNT_OF(wrappers),
    .is_shifted = is_always_shifted,
    .skips = skips,
    .cache = "full, windows",
    .cuts = "query heads; FFN columns; vocabulary rows",
};

#else

#include "actors/runner/engine/engine_parts.h"
#include "protocol/memory.h"

#include <math.h>

/* What a layer has beyond the usual ones. */
struct after_norms {
    const float *attention;
    const float *ffn;
};

static enum status bind(struct engine *engine, uint32_t layer, struct engine_layer *bound,
                        struct reason *reason)
{
    double scalar;
    struct after_norms *norms = memory_zeroed(1, sizeof *norms);
    if (!norms)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for layer %u", layer);
    bound->own = norms;
    enum status status = engine_bind_layer(engine, layer, bound, reason);
    if (status == STATUS_OK)
        status = engine_bind_vector(engine, ROLE_AFTER_ATTENTION, layer, &norms->attention, reason);
    if (status == STATUS_OK)
        status = engine_bind_vector(engine, ROLE_AFTER_FFN, layer, &norms->ffn, reason);
    memcpy(&scalar, &engine->config->own[0], sizeof scalar);
    bound->attention.scale = (float)(1.0 / sqrt(scalar));
    bound->ffn.activation = ACTIVATION_GELU;
    return status;
}

/* hidden += norm(the sum of all ranks' parts) */
static enum status add_normed(struct engine *engine, const float *weight, size_t count)
{
    size_t floats = count * engine->config->hidden;
    enum status status = block_sum(engine, count);
    if (status != STATUS_OK)
        return status;
    block_norm_part(engine, weight, count);
    for (size_t i = 0; i < floats; i++)
        engine->hidden[i] += engine->part[i];
    return STATUS_OK;
}

static enum status forward(struct engine *engine, uint32_t index, const struct engine_row *rows,
                           size_t count)
{
    const struct engine_layer *layer = &engine->layers[index];
    const struct after_norms *norms = layer->own;
    block_attention(engine, &layer->attention, layer->attention_norm, index, rows, count);
    enum status status = add_normed(engine, norms->attention, count);
    if (status != STATUS_OK)
        return status;
    block_ffn(engine, &layer->ffn, layer->ffn_norm, count);
    return add_normed(engine, norms->ffn, count);
}

/* sqrt(hidden), to the nearest bf16. */
static float embedding_scale(const struct model_config *config)
{
    float root = sqrtf((float)config->hidden);
    uint32_t bits;
    memcpy(&bits, &root, sizeof bits);
    bits = (bits + 0x7fffu + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&root, &bits, sizeof root);
    return root;
}

const struct family family_gemma3 = {.bind = bind, .forward = forward,
                                     .embedding_scale = embedding_scale};

#endif
