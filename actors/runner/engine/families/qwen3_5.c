/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Qwen3.5 and 3.6, dense and with experts.
 *
 * Three layers of gated DeltaNet to one of attention, whose output is multiplied by sigmoid of a
 * gate that comes with the query; the first quarter of a head is rotated.  Experts by softmax over
 * all, and a shared one times sigmoid of one number.  Vision tower and prediction layers are not
 * used.  Original files store norms less 1 and the convolution's axes the other way round.
 * In the tensor cut DeltaNet is cut by value heads, whole groups of a key head where there are
 * enough; attention by query heads.
 */
#include "runtime/model_family.h"

/* Of DeltaNet: the vectors and the tables of the convolution, one for each of q, k and v. */
enum own_role {
    ROLE_QUERY_TAPS = MODULE_OWN_MIXER,
    ROLE_KEY_TAPS,
    ROLE_VALUE_TAPS,
    ROLE_GATE,
    ROLE_DECAY,
    ROLE_WRITE,
    ROLE_DECAY_LOG,
    ROLE_DECAY_BIAS,
    ROLE_NORM,
};

#ifdef TROUPE_FAMILY_SHAPES_ONLY

#include <jansson.h>
#include <string.h>

enum own { OWN_INTERVAL };

static const struct config_key keys[] = {
    CONFIG_BASE_KEYS,
    CONFIG_NEEDS_COUNT("num_key_value_heads", kv_heads, 1, MODEL_HEADS_MAX),
    CONFIG_NEEDS_COUNT("head_dim", head_dim, 1, MODEL_HEAD_DIM_MAX),
    CONFIG_HAS_COUNT("intermediate_size", intermediate, 0, MODEL_WIDTH_MAX, 0),
    CONFIG_NEEDS_COUNT("linear_num_value_heads", delta.value_heads, 1, MODEL_HEADS_MAX),
    CONFIG_NEEDS_COUNT("linear_num_key_heads", delta.key_heads, 1, MODEL_HEADS_MAX),
    CONFIG_NEEDS_COUNT("linear_key_head_dim", delta.key_dim, 1, MODEL_HEAD_DIM_MAX),
    CONFIG_NEEDS_COUNT("linear_value_head_dim", delta.value_dim, 1, MODEL_HEAD_DIM_MAX),
    CONFIG_NEEDS_COUNT("linear_conv_kernel_dim", delta.taps, 1, 64),
    CONFIG_HAS_COUNT("full_attention_interval", own[OWN_INTERVAL], 1, MODEL_LAYERS_MAX, 4),
    CONFIG_HAS_COUNT("num_experts", experts.count, 0, MODEL_EXPERTS_MAX, 0),
    CONFIG_HAS_COUNT("num_experts_per_tok", experts.used, 0, MODEL_EXPERTS_MAX, 0),
    CONFIG_HAS_COUNT("moe_intermediate_size", experts.width, 0, MODEL_WIDTH_MAX, 0),
    CONFIG_HAS_COUNT("shared_expert_intermediate_size", experts.shared_width, 0, MODEL_WIDTH_MAX,
                     0),
    CONFIG_HAS_FLAG("norm_topk_prob", experts.normalises, true),
    CONFIG_HAS_FLAG("attention_bias", has_attention_bias, false),
    CONFIG_HAS_FLAG("tie_word_embeddings", tied, false),
};

static enum status settle_rope(const json_t *root, struct model_config *config,
                               struct reason *reason)
{
    const json_t *parameters = json_object_get(root, "rope_parameters");
    const struct config_key key = {"partial_rotary_factor", CONFIG_REAL, false, 0, 0.0, 1.0, 0.25};
    double part = 0;
    if (!json_object_get(parameters, key.name))
        parameters = root;
    enum status status = keys_read(parameters, &key, &part, reason);
    if (status != STATUS_OK)
        return status;
    return keys_rope(root, 0, (uint32_t)(config->head_dim * part), config, reason);
}

static enum status settle(const json_t *root, struct model_config *config, struct reason *reason)
{
    const struct model_delta *delta = &config->delta;
    uint64_t state = (uint64_t)delta->value_heads * delta->key_dim * delta->value_dim;
    enum status status = keys_settle_heads(config, reason);
    if (status == STATUS_OK)
        status = settle_rope(root, config, reason);
    if (status == STATUS_OK && (state > UINT32_MAX / 4 || delta->value_heads % delta->key_heads))
        status = refuse(reason, STATUS_INVALID, "config.json: %u value heads of %u and %u key "
                        "heads of %u cannot be a DeltaNet", delta->value_heads, delta->value_dim,
                        delta->key_heads, delta->key_dim);
    config->experts.groups = 1;
    config->experts.scaling = 1.0;
    for (uint32_t i = 0; status == STATUS_OK && i < config->layers; i++) {
        struct layer_shape *shape = &config->shapes[i];
        bool is_full = (i + 1) % (uint32_t)config->own[OWN_INTERVAL] == 0;
        *shape = (struct layer_shape){.mixer = is_full ? MIXER_ATTENTION : MIXER_DELTA,
                                      .heads = is_full ? config->heads : delta->value_heads,
                                      .kv_heads = is_full ? config->kv_heads : delta->key_heads,
                                      .head_dim = is_full ? config->head_dim : delta->value_dim,
                                      .rope = is_full ? 0 : ROPE_NONE,
                                      .ffn = config->experts.count ? FFN_EXPERTS : FFN_DENSE};
        shape->units = shape->heads;
    }
    return status;
}

static bool is_full(const struct model_config *config, const struct layer_shape *shape)
{
    (void)config;
    return shape->mixer == MIXER_ATTENTION;
}

static bool is_delta(const struct model_config *config, const struct layer_shape *shape)
{
    (void)config;
    return shape->mixer == MIXER_DELTA;
}

/* A query, then its gate. */
static uint64_t extent_gated(const struct model_config *config, const struct layer_shape *shape)
{
    return 2 * extent_queries(config, shape);
}

static uint64_t extent_delta_keys(const struct model_config *config,
                                  const struct layer_shape *shape)
{
    (void)shape;
    return (uint64_t)config->delta.key_heads * config->delta.key_dim;
}

static uint64_t extent_delta_values(const struct model_config *config,
                                    const struct layer_shape *shape)
{
    (void)shape;
    return (uint64_t)config->delta.value_heads * config->delta.value_dim;
}

static uint64_t before_values(const struct model_config *config, const struct layer_shape *shape)
{
    return 2 * extent_delta_keys(config, shape);
}

static uint64_t extent_all(const struct model_config *config, const struct layer_shape *shape)
{
    return before_values(config, shape) + extent_delta_values(config, shape);
}

static uint64_t extent_taps(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->delta.taps;
}

static uint64_t extent_value(const struct model_config *config, const struct layer_shape *shape)
{
    (void)shape;
    return config->delta.value_dim;
}

static uint64_t extent_one(const struct model_config *config, const struct layer_shape *shape)
{
    (void)config;
    (void)shape;
    return 1;
}

#define FULL_ROW(module_role, module_cut_, rows_, columns_, path)                                  \
    {                                                                                              \
        .role = module_role, .cut = module_cut_, .is_layer = true, .rows = rows_,                  \
        .columns = columns_, .applies = is_full, .has_bias = has_attention_bias,                   \
        .name = "self_attn." path                                                                  \
    }
#define FULL_NORM(module_role, path)                                                               \
    {                                                                                              \
        .role = module_role, .kind = MODULE_VECTOR, .is_layer = true, .is_norm = true,             \
        .columns = extent_head, .applies = is_full, .name = "self_attn." path                      \
    }
#define DELTA_ROW(module_role, rows_, path)                                                        \
    {                                                                                              \
        .role = module_role, .cut = MODULE_CUT_MIXER_ROWS, .is_layer = true, .rows = rows_,        \
        .columns = extent_hidden, .applies = is_delta, .name = "linear_attn." path                 \
    }
/* One of q, k and v, which share a tensor. */
#define DELTA_THIRD(module_role, kind_, cut_, rows_, columns_, first_, path)                       \
    {                                                                                              \
        .role = module_role, .kind = kind_, .cut = cut_, .is_layer = true, .rows = rows_,          \
        .columns = columns_, .first = first_, .tensor_rows = extent_all, .applies = is_delta,      \
        .name = "linear_attn." path                                                                \
    }
#define DELTA_THIRDS(query, key, value, kind, columns, path)                                       \
    DELTA_THIRD(query, kind, MODULE_CUT_KV_ROWS, extent_delta_keys, columns, NULL, path),          \
        DELTA_THIRD(key, kind, MODULE_CUT_KV_ROWS, extent_delta_keys, columns, extent_delta_keys,  \
                    path),                                                                         \
        DELTA_THIRD(value, kind, MODULE_CUT_MIXER_ROWS, extent_delta_values, columns,              \
                    before_values, path)
#define DELTA_VECTOR(module_role, path)                                                            \
    {                                                                                              \
        .role = module_role, .kind = MODULE_BARE, .cut = MODULE_CUT_MIXER_ROWS, .is_layer = true,  \
        .columns = extent_heads, .applies = is_delta, .name = "linear_attn." path                  \
    }
/* In the original files gate and up of all experts are one tensor. */
#define FUSED "mlp.experts.gate_up_proj"
#define FUSED_ROW(module_role, module_cut_, rows_, columns_, first_, tensor_rows_, path)           \
    {                                                                                              \
        .role = module_role, .kind = MODULE_EXPERTS, .cut = module_cut_, .is_layer = true,         \
        .rows = rows_, .columns = columns_, .first = first_, .tensor_rows = tensor_rows_,          \
        .applies = has_experts, .form = FORM_PLAIN, .unless = "mlp.switch_mlp.gate_proj",          \
        .name = path                                                                               \
    }

static const struct module_row rows[] = {
    MODULE_ENDS("model.embed_tokens", "model.norm", "lm_head"),
    MODULE_NORM(MODULE_ATTENTION_NORM, extent_hidden, "input_layernorm"),
    FULL_ROW(MODULE_QUERY, MODULE_CUT_MIXER_ROWS, extent_gated, extent_hidden, "q_proj"),
    FULL_ROW(MODULE_KEY, MODULE_CUT_KV_ROWS, extent_keys, extent_hidden, "k_proj"),
    FULL_ROW(MODULE_VALUE, MODULE_CUT_KV_ROWS, extent_keys, extent_hidden, "v_proj"),
    FULL_NORM(MODULE_QUERY_NORM, "q_norm"),
    FULL_NORM(MODULE_KEY_NORM, "k_norm"),
    FULL_ROW(MODULE_ATTENTION_OUT, MODULE_CUT_MIXER_COLUMNS, extent_hidden, extent_queries,
             "o_proj"),
    DELTA_THIRDS(MODULE_QUERY, MODULE_KEY, MODULE_VALUE, MODULE_MATRIX, extent_hidden,
                 "in_proj_qkv"),
    DELTA_ROW(ROLE_GATE, extent_delta_values, "in_proj_z"),
    DELTA_ROW(ROLE_DECAY, extent_heads, "in_proj_a"),
    DELTA_ROW(ROLE_WRITE, extent_heads, "in_proj_b"),
    DELTA_THIRDS(ROLE_QUERY_TAPS, ROLE_KEY_TAPS, ROLE_VALUE_TAPS, MODULE_TABLE, extent_taps,
                 "conv1d"),
    DELTA_VECTOR(ROLE_DECAY_LOG, "A_log"),
    DELTA_VECTOR(ROLE_DECAY_BIAS, "dt_bias"),
    {.role = ROLE_NORM, .kind = MODULE_VECTOR, .is_layer = true, .columns = extent_value,
     .applies = is_delta, .name = "linear_attn.norm"},
    {.role = MODULE_ATTENTION_OUT, .cut = MODULE_CUT_MIXER_COLUMNS, .is_layer = true,
     .rows = extent_hidden, .columns = extent_delta_values, .applies = is_delta,
     .name = "linear_attn.out_proj"},
    MODULE_NORM(MODULE_FFN_NORM, extent_hidden, "post_attention_layernorm"),
    MODULE_FFN,
    {.role = MODULE_ROUTER, .is_layer = true, .rows = extent_experts, .columns = extent_hidden,
     .applies = has_experts, .name = "mlp.gate"},
    MODULE_SWITCH("mlp.switch_mlp", "mlp.experts.#", FUSED, NULL),
    FUSED_ROW(MODULE_EXPERT_GATE, MODULE_CUT_FFN_ROWS, extent_expert_width, extent_hidden, NULL,
              extent_expert_pair, FUSED),
    FUSED_ROW(MODULE_EXPERT_UP, MODULE_CUT_FFN_ROWS, extent_expert_width, extent_hidden,
              extent_expert_width, extent_expert_pair, FUSED),
    FUSED_ROW(MODULE_EXPERT_DOWN, MODULE_CUT_FFN_COLUMNS, extent_hidden, extent_expert_width, NULL,
              NULL, "mlp.experts.down_proj"),
    MODULE_SHARED("mlp.shared_expert", "mlp.shared_expert"),
    {.role = MODULE_SHARED_SCALE, .is_layer = true, .rows = extent_one, .columns = extent_hidden,
     .applies = has_shared_expert, .name = "mlp.shared_expert_gate"},
};

/* The original files have the taps last. */
static bool is_shifted(const struct tensor_table *table)
{
    for (size_t i = 0; i < table->tensor_count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        if (strstr(tensor->name, "conv1d.weight") && tensor->rank > 0)
            return tensor->shape[tensor->rank - 1] != 1;
    }
    return false;
}

static const char *const types[] = {"qwen3_5", "qwen3_5_moe", "qwen3_5_text", "qwen3_5_moe_text",
                                    NULL};
static const char *const skips[] = {"vision_tower.", "model.visual.", "mtp.", ".mtp.", NULL};
/* As mlx-lm writes them, as they were published, and the text model alone. */
static const struct model_wrapper wrappers[] = {
    {"language_model.model.", "language_model."},
    {"model.language_model.", ""},
    {"model.", ""},
};

const struct model_family family_qwen3_5_shape = {
    .name = "Qwen3.5, Qwen3.6",
    MODEL_FAMILY_TABLES,
    .wrappers = wrappers,
    .wrapper_count = COUNT_OF(wrappers),
    .is_shifted = is_shifted,
    .skips = skips,
    .cache = "full, states",
    .cuts = "DeltaNet value heads, query heads; columns of FFNs and experts; vocabulary rows",
};

#else

#include "actors/runner/engine/block_mixers.h"
#include "protocol/memory.h"

static enum status bind_delta(struct engine *engine, uint32_t layer, struct delta_part *part,
                              struct reason *reason)
{
    const struct {
        uint32_t role;
        struct linear *linear;
    } linears[] = {
        {MODULE_QUERY, &part->query}, {MODULE_KEY, &part->key},  {MODULE_VALUE, &part->value},
        {ROLE_GATE, &part->gate},     {ROLE_DECAY, &part->decay}, {ROLE_WRITE, &part->write},
        {MODULE_ATTENTION_OUT, &part->out},
    };
    const struct {
        uint32_t role;
        const float **vector;
    } vectors[] = {
        {ROLE_QUERY_TAPS, &part->query_taps}, {ROLE_KEY_TAPS, &part->key_taps},
        {ROLE_VALUE_TAPS, &part->value_taps}, {ROLE_DECAY_LOG, &part->decay_log},
        {ROLE_DECAY_BIAS, &part->decay_bias}, {ROLE_NORM, &part->norm},
    };
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < COUNT_OF(linears); i++)
        status = engine_bind_linear(engine, linears[i].role, layer, linears[i].linear, reason);
    for (size_t i = 0; status == STATUS_OK && i < COUNT_OF(vectors); i++)
        status = engine_bind_vector(engine, vectors[i].role, layer, vectors[i].vector, reason);
    if (status == STATUS_OK)
        engine_settle_delta(engine, layer, part);
    return status;
}

static enum status bind(struct engine *engine, uint32_t layer, struct engine_layer *bound,
                        struct reason *reason)
{
    if (engine->config->shapes[layer].mixer == MIXER_ATTENTION) {
        bound->attention.gating = GATE_ELEMENT;
        return engine_bind_layer(engine, layer, bound, reason);
    }
    struct delta_part *part = memory_zeroed(1, sizeof *part);
    if (!part)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for layer %u", layer);
    bound->own = part;
    enum status status = bind_delta(engine, layer, part, reason);
    return status == STATUS_OK ? engine_bind_rest(engine, layer, bound, reason) : status;
}

static enum status forward(struct engine *engine, uint32_t index, const struct engine_row *rows,
                           size_t count)
{
    const struct engine_layer *layer = &engine->layers[index];
    if (!layer->own)
        return block_layer(engine, index, rows, count);
    block_delta(engine, layer->own, layer->attention_norm, index, rows, count);
    enum status status = block_add(engine, count);
    return status == STATUS_OK ? block_ffn_layer(engine, index, count) : status;
}

const struct family family_qwen3_5 = {.bind = bind, .forward = forward};

#endif
