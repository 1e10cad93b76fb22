/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_family: what a family of models is, apart from its arithmetic.
 *
 * Each file actors/runner/engine/families/NAME.c is compiled twice: with TROUPE_FAMILY_SHAPES_ONLY
 * it gives `const struct model_family family_NAME_shape` for whoever describes models without the
 * engine, else the forward pass for the engine.  The lists of both are made from the file names.
 *
 * Memory   none; families are constants.
 * Threads  any.
 * Fails    `settle` and `keys_*` refuse by the name of the key.
 */
#ifndef TROUPE_RUNTIME_MODEL_FAMILY_H
#define TROUPE_RUNTIME_MODEL_FAMILY_H

#include "runtime/model_config.h"
#include "runtime/model_layout.h"

struct json_t;

/* --- configuration --- */

enum config_kind {
    CONFIG_COUNT = 0, /* uint32_t */
    CONFIG_REAL = 1,  /* double */
    CONFIG_FLAG = 2,  /* bool */
};

/* A key of config.json and the field of struct model_config it fills. */
struct config_key {
    const char *name;
    enum config_kind kind;
    bool is_required;
    size_t field;
    double low;
    double high;
    double fallback; /* where the key is absent or null, unless it is required */
};

#define CONFIG_FIELD(field) offsetof(struct model_config, field)
#define CONFIG_NEEDS_COUNT(name, field, low, high)                                                 \
    {name, CONFIG_COUNT, true, CONFIG_FIELD(field), low, high, 0}
#define CONFIG_HAS_COUNT(name, field, low, high, fallback)                                         \
    {name, CONFIG_COUNT, false, CONFIG_FIELD(field), low, high, fallback}
#define CONFIG_NEEDS_REAL(name, field, low, high)                                                  \
    {name, CONFIG_REAL, true, CONFIG_FIELD(field), low, high, 0}
#define CONFIG_HAS_REAL(name, field, low, high, fallback)                                          \
    {name, CONFIG_REAL, false, CONFIG_FIELD(field), low, high, fallback}
#define CONFIG_NEEDS_FLAG(name, field) {name, CONFIG_FLAG, true, CONFIG_FIELD(field), 0, 1, 0}
#define CONFIG_HAS_FLAG(name, field, fallback)                                                     \
    {name, CONFIG_FLAG, false, CONFIG_FIELD(field), 0, 1, fallback}

/* Keys every family has. */
#define CONFIG_BASE_KEYS                                                                           \
    CONFIG_NEEDS_COUNT("num_hidden_layers", layers, 1, MODEL_LAYERS_MAX),                          \
        CONFIG_NEEDS_COUNT("hidden_size", hidden, 1, MODEL_WIDTH_MAX),                             \
        CONFIG_NEEDS_COUNT("num_attention_heads", heads, 1, MODEL_HEADS_MAX),                      \
        CONFIG_NEEDS_COUNT("vocab_size", vocab, 1, MODEL_VOCAB_MAX),                               \
        CONFIG_HAS_COUNT("max_position_embeddings", context, 1, MODEL_CONTEXT_MAX, 32768),         \
        CONFIG_NEEDS_REAL("rms_norm_eps", norm_epsilon, 0.0, 1.0)

/* Layers after the last that predict later tokens; they are not used. */
#define CONFIG_PREDICTION_KEY                                                                      \
    CONFIG_HAS_COUNT("num_nextn_predict_layers", prediction_layers, 0, MODEL_LAYERS_MAX, 0)

/* Latent attention and the experts that come with it. */
#define CONFIG_LATENT_KEYS                                                                         \
    CONFIG_NEEDS_COUNT("intermediate_size", intermediate, 1, MODEL_WIDTH_MAX),                     \
        CONFIG_HAS_COUNT("q_lora_rank", latent.query_rank, 1, MODEL_WIDTH_MAX, 0),                 \
        CONFIG_NEEDS_COUNT("kv_lora_rank", latent.rank, 1, MODEL_WIDTH_MAX),                       \
        CONFIG_NEEDS_COUNT("qk_nope_head_dim", latent.plain_dim, 1, MODEL_HEAD_DIM_MAX),           \
        CONFIG_NEEDS_COUNT("qk_rope_head_dim", latent.rope_dim, 2, MODEL_HEAD_DIM_MAX),            \
        CONFIG_NEEDS_COUNT("v_head_dim", latent.value_dim, 1, MODEL_HEAD_DIM_MAX),                 \
        CONFIG_HAS_COUNT("n_routed_experts", experts.count, 0, MODEL_EXPERTS_MAX, 0),              \
        CONFIG_HAS_COUNT("num_experts_per_tok", experts.used, 0, MODEL_EXPERTS_MAX, 0),            \
        CONFIG_HAS_COUNT("moe_intermediate_size", experts.width, 0, MODEL_WIDTH_MAX, 0),           \
        CONFIG_HAS_COUNT("n_group", experts.groups, 1, MODEL_EXPERTS_MAX, 1),                      \
        CONFIG_HAS_COUNT("topk_group", experts.groups_used, 1, MODEL_EXPERTS_MAX, 1),              \
        CONFIG_HAS_REAL("routed_scaling_factor", experts.scaling, 0.0, 1e6, 1.0),                  \
        CONFIG_HAS_FLAG("norm_topk_prob", experts.normalises, true),                               \
        CONFIG_HAS_FLAG("attention_bias", has_attention_bias, false),                              \
        CONFIG_HAS_FLAG("tie_word_embeddings", tied, false), CONFIG_PREDICTION_KEY

/* The object that holds the keys of the text model: `text_config` where there is one. */
const struct json_t *keys_text(const struct json_t *root);
/* One key by its row. */
MUST_CHECK enum status keys_read(const struct json_t *root, const struct config_key *key,
                                       void *field_out, struct reason *reason);
MUST_CHECK enum status keys_count(const struct json_t *root, const char *name, uint32_t low,
                                    uint32_t high, uint32_t *value_out, struct reason *reason);
MUST_CHECK enum status keys_real(const struct json_t *root, const char *name, double low,
                                   double high, double *value_out, struct reason *reason);
/* rope_theta and rope_scaling, also from inside rope_parameters; `theta` is what an absent
 * rope_theta means, 0 that it must be there.  Adds to config->ropes. */
MUST_CHECK enum status keys_rope(const struct json_t *root, double theta, uint32_t dims,
                                   struct model_config *config, struct reason *reason);
/* The type and numbers of a rope_scaling object; NULL or no object is none. */
MUST_CHECK enum status keys_read_scaling(const struct json_t *scaling,
                                           const struct model_config *config,
                                           struct model_rope *rope, struct reason *reason);
/* Adds a rope, or finds an equal one. */
MUST_CHECK enum status keys_add_rope(const struct model_rope *rope, struct model_config *config,
                                       uint32_t *index_out, struct reason *reason);
/* True when layer_types says `sliding_attention` for the layer; `fallback` without layer_types. */
MUST_CHECK enum status keys_is_sliding(const struct json_t *root, uint32_t layer, bool fallback,
                                         bool *sliding_out, struct reason *reason);
/* head_dim from the heads where it was absent (0), and checks that the heads come out even. */
MUST_CHECK enum status keys_settle_heads(struct model_config *config, struct reason *reason);
/* Both, for the common case: heads, one rope over whole heads, every layer attention over all
 * positions with a dense FFN. */
MUST_CHECK enum status keys_settle_attention(const struct json_t *root, double theta,
                                               struct model_config *config,
                                               struct reason *reason);
/* sliding_window for the layers that layer_types calls sliding; without layer_types all are full,
 * or every second one slides from the first on. */
MUST_CHECK enum status keys_settle_windows(const struct json_t *root, bool alternate,
                                           struct model_config *config, struct reason *reason);
/* CONFIG_LATENT_KEYS were read: heads, the rope of `theta` where none is given, which layers have
 * experts. */
MUST_CHECK enum status keys_settle_latent(const struct json_t *root, double theta,
                                          struct model_config *config, struct reason *reason);
enum key_shape { KEY_LIST, KEY_OBJECT, KEY_TEXT };
/* A key that, where it is there and not null, must be of this shape. */
MUST_CHECK enum status keys_check_shape(const struct json_t *root, const char *name,
                                        enum key_shape shape, struct reason *reason);
/* A key that must be absent, null or false. */
MUST_CHECK enum status keys_refuse_flag(const struct json_t *root, const char *name,
                                          const struct model_config *config,
                                          struct reason *reason);

/* --- tensors --- */

/* A side of a module in terms of the configuration; `shape` is NULL outside the layers. */
typedef uint64_t module_extent(const struct model_config *config,
                               const struct layer_shape *shape);
/* Whether a layer has a module, or a module a bias. */
typedef bool module_condition(const struct model_config *config, const struct layer_shape *shape);

module_extent extent_hidden, extent_vocab, extent_queries, extent_keys, extent_heads, extent_head,
    extent_intermediate, extent_experts, extent_expert_width, extent_expert_pair,
    extent_shared_width;
module_extent extent_latent_query_rank, extent_latent_queries, extent_latent_rank,
    extent_latent_keys, extent_latent_embed, extent_latent_plain, extent_latent_values,
    extent_latent_both;
module_condition has_dense_ffn, has_experts, has_shared_expert, has_head_of_its_own, always,
    has_attention_bias, has_output_bias, has_ffn_bias;
module_condition has_query_rank, has_no_query_rank;

enum module_kind {
    MODULE_MATRIX = 0, /* P.weight [rows][columns], quantised or not */
    MODULE_VECTOR = 1, /* P.weight [columns], dense */
    MODULE_BARE = 2,   /* the same, but its tensor is P itself */
    MODULE_EXPERTS = 3, /* one matrix per expert: P.weight [experts][rows][columns], or P with the
                         * number in place of '#' */
    MODULE_TABLE = 4,  /* P.weight [rows][columns], never quantised; sides of 1 do not count */
};

/* How a module's tensors are called after its path P. */
enum module_form {
    FORM_USUAL = 0,  /* P.weight, P.scales, P.biases, P.bias */
    FORM_PLAIN = 1,  /* P itself */
    FORM_BLOCKS = 2, /* P_blocks, P_scales, P_bias: mxfp4 in bytes, a side of 16 for each group */
};

struct module_row {
    uint32_t role; /* enum module_role, or own ones from MODULE_OWN_MIXER, MODULE_OWN_FFN */
    enum module_kind kind;
    enum module_cut cut;
    bool is_layer;
    bool is_norm; /* its values are one less in original files (model_family.is_shifted) */
    module_extent *rows;
    module_extent *columns;
    module_extent *first;      /* where the tensor has rows of other modules before these */
    module_extent *tensor_rows; /* and how many it has in all */
    module_condition *applies; /* NULL: always */
    module_condition *has_bias; /* NULL: never */
    enum module_form form;
    uint32_t lanes;            /* as in struct model_module; 0 is 1 */
    uint32_t lane;
    bool is_optional;          /* the files may leave it out */
    bool is_by_head;           /* a matrix of each head: P.weight [heads][rows of one][columns] */
    const char *unless;        /* the layer has no such module where it has this one */
    const char *name;          /* in the MLX layout; after "model.layers.N." in a layer */
    const char *original;      /* in the original layout, NULL: the same */
};

/* What stands in place of "model." before names, and before the names that do not begin so. */
struct model_wrapper {
    const char *trunk;
    const char *head;
};

/* Rows that most families share. */
#define MODULE_ENDS(embedding, norm, head)                                                         \
    {.role = MODULE_EMBEDDING, .cut = MODULE_CUT_VOCAB_ROWS, .rows = extent_vocab,                 \
     .columns = extent_hidden, .name = embedding},                                                 \
        {.role = MODULE_FINAL_NORM, .kind = MODULE_VECTOR, .columns = extent_hidden,               \
         .is_norm = true, .name = norm},                                                           \
    {                                                                                              \
        .role = MODULE_HEAD, .cut = MODULE_CUT_VOCAB_ROWS, .rows = extent_vocab,                   \
        .columns = extent_hidden, .applies = has_head_of_its_own, .name = head                     \
    }
#define MODULE_NORM(module_role, extent, path)                                                     \
    {                                                                                              \
        .role = module_role, .kind = MODULE_VECTOR, .is_layer = true, .is_norm = true,             \
        .columns = extent, .name = path                                                            \
    }
/* q, k, v and o in their usual places. */
#define MODULE_ATTENTION                                                                           \
    {.role = MODULE_QUERY, .cut = MODULE_CUT_MIXER_ROWS, .is_layer = true,                         \
     .rows = extent_queries, .columns = extent_hidden, .has_bias = has_attention_bias,             \
     .name = "self_attn.q_proj"},                                                                  \
        {.role = MODULE_KEY, .cut = MODULE_CUT_KV_ROWS, .is_layer = true, .rows = extent_keys,     \
         .columns = extent_hidden, .has_bias = has_attention_bias, .name = "self_attn.k_proj"},    \
        {.role = MODULE_VALUE, .cut = MODULE_CUT_KV_ROWS, .is_layer = true,                        \
         .rows = extent_keys, .columns = extent_hidden, .has_bias = has_attention_bias,            \
         .name = "self_attn.v_proj"}
#define MODULE_ATTENTION_OUTPUT                                                                    \
    {                                                                                              \
        .role = MODULE_ATTENTION_OUT, .cut = MODULE_CUT_MIXER_COLUMNS, .is_layer = true,           \
        .rows = extent_hidden, .columns = extent_queries, .has_bias = has_output_bias,             \
        .name = "self_attn.o_proj"                                                                 \
    }
/* Latent attention: queries by way of a rank or straight, latent and rotated key, and the heads'
 * matrices, by themselves or (older and original files) in one. */
#define MODULE_LATENT_ATTENTION                                                                    \
    {.role = MODULE_QUERY_DOWN, .is_layer = true, .rows = extent_latent_query_rank,                \
     .columns = extent_hidden, .applies = has_query_rank, .has_bias = has_attention_bias,          \
     .name = "self_attn.q_a_proj"},                                                                \
        {.role = MODULE_QUERY_DOWN_NORM, .kind = MODULE_VECTOR, .is_layer = true,                  \
         .columns = extent_latent_query_rank, .applies = has_query_rank,                           \
         .name = "self_attn.q_a_layernorm"},                                                       \
        {.role = MODULE_QUERY, .cut = MODULE_CUT_MIXER_ROWS, .is_layer = true,                     \
         .rows = extent_latent_queries, .columns = extent_latent_query_rank,                       \
         .applies = has_query_rank, .name = "self_attn.q_b_proj"},                                 \
        {.role = MODULE_QUERY, .cut = MODULE_CUT_MIXER_ROWS, .is_layer = true,                     \
         .rows = extent_latent_queries, .columns = extent_hidden, .applies = has_no_query_rank,    \
         .name = "self_attn.q_proj"},                                                              \
        {.role = MODULE_LATENT, .is_layer = true, .rows = extent_latent_keys,                      \
         .columns = extent_hidden, .has_bias = has_attention_bias,                                 \
         .name = "self_attn.kv_a_proj_with_mqa"},                                                  \
        {.role = MODULE_LATENT_NORM, .kind = MODULE_VECTOR, .is_layer = true,                      \
         .columns = extent_latent_rank, .name = "self_attn.kv_a_layernorm"},                       \
        {.role = MODULE_LATENT_EMBED, .cut = MODULE_CUT_MIXER_ROWS, .is_layer = true,              \
         .rows = extent_latent_embed, .columns = extent_latent_plain, .is_by_head = true,          \
         .unless = "self_attn.kv_b_proj", .name = "self_attn.embed_q"},                            \
        {.role = MODULE_LATENT_UNEMBED, .cut = MODULE_CUT_MIXER_ROWS, .is_layer = true,            \
         .rows = extent_latent_values, .columns = extent_latent_rank, .is_by_head = true,          \
         .unless = "self_attn.kv_b_proj", .name = "self_attn.unembed_out"},                        \
        {.role = MODULE_LATENT_BOTH, .cut = MODULE_CUT_MIXER_ROWS, .is_layer = true,               \
         .rows = extent_latent_both, .columns = extent_latent_rank,                                \
         .unless = "self_attn.embed_q", .name = "self_attn.kv_b_proj"},                            \
    {                                                                                              \
        .role = MODULE_ATTENTION_OUT, .cut = MODULE_CUT_MIXER_COLUMNS, .is_layer = true,           \
        .rows = extent_hidden, .columns = extent_latent_values, .has_bias = has_attention_bias,    \
        .name = "self_attn.o_proj"                                                                 \
    }
/* gate, up and down of a dense layer. */
#define MODULE_FFN                                                                                 \
    {.role = MODULE_FFN_GATE, .cut = MODULE_CUT_FFN_ROWS, .is_layer = true,                        \
     .rows = extent_intermediate, .columns = extent_hidden, .applies = has_dense_ffn,              \
     .has_bias = has_ffn_bias, .name = "mlp.gate_proj"},                                           \
        {.role = MODULE_FFN_UP, .cut = MODULE_CUT_FFN_ROWS, .is_layer = true,                      \
         .rows = extent_intermediate, .columns = extent_hidden, .applies = has_dense_ffn,          \
         .has_bias = has_ffn_bias, .name = "mlp.up_proj"},                                         \
    {                                                                                              \
        .role = MODULE_FFN_DOWN, .cut = MODULE_CUT_FFN_COLUMNS, .is_layer = true,                  \
        .rows = extent_hidden, .columns = extent_intermediate, .applies = has_dense_ffn,           \
        .has_bias = has_ffn_bias, .name = "mlp.down_proj"                                          \
    }
/* gate, up and down of every expert under a common path; the original keeps each by itself. */
#define MODULE_EXPERT(module_role, module_cut_, rows_, columns_, bias, fused, path, original_path) \
    {                                                                                              \
        .role = module_role, .kind = MODULE_EXPERTS, .cut = module_cut_, .is_layer = true,         \
        .rows = rows_, .columns = columns_, .applies = has_experts, .has_bias = bias,              \
        .unless = fused, .name = path, .original = original_path                                   \
    }
/* `fused` is the module that has gate and up in one in other files, NULL where there are none. */
#define MODULE_SWITCH(path, original, fused, bias)                                                 \
    MODULE_EXPERT(MODULE_EXPERT_GATE, MODULE_CUT_FFN_ROWS, extent_expert_width, extent_hidden,     \
                  bias, fused, path ".gate_proj", original ".gate_proj"),                          \
        MODULE_EXPERT(MODULE_EXPERT_UP, MODULE_CUT_FFN_ROWS, extent_expert_width, extent_hidden,   \
                      bias, fused, path ".up_proj", original ".up_proj"),                          \
        MODULE_EXPERT(MODULE_EXPERT_DOWN, MODULE_CUT_FFN_COLUMNS, extent_hidden,                   \
                      extent_expert_width, bias, fused, path ".down_proj", original ".down_proj")

/* gate, up and down of a shared expert. */
#define MODULE_SHARED_ROW(module_role, module_cut_, rows_, columns_, path, original_path)          \
    {                                                                                              \
        .role = module_role, .cut = module_cut_, .is_layer = true, .rows = rows_,                  \
        .columns = columns_, .applies = has_shared_expert, .name = path,                           \
        .original = original_path                                                                  \
    }
#define MODULE_SHARED(path, original)                                                              \
    MODULE_SHARED_ROW(MODULE_SHARED_GATE, MODULE_CUT_FFN_ROWS, extent_shared_width, extent_hidden, \
                      path ".gate_proj", original ".gate_proj"),                                   \
        MODULE_SHARED_ROW(MODULE_SHARED_UP, MODULE_CUT_FFN_ROWS, extent_shared_width,              \
                          extent_hidden, path ".up_proj", original ".up_proj"),                    \
        MODULE_SHARED_ROW(MODULE_SHARED_DOWN, MODULE_CUT_FFN_COLUMNS, extent_hidden,               \
                          extent_shared_width, path ".down_proj", original ".down_proj")

/* Router, experts and shared expert of the families with latent attention. */
#define MODULE_LATENT_EXPERTS                                                                      \
    {.role = MODULE_ROUTER, .is_layer = true, .rows = extent_experts, .columns = extent_hidden,    \
     .applies = has_experts, .name = "mlp.gate"},                                                  \
        {.role = MODULE_ROUTER_BIAS, .kind = MODULE_BARE, .is_layer = true,                        \
         .columns = extent_experts, .applies = has_experts,                                        \
         .name = "mlp.gate.e_score_correction_bias"},                                              \
        MODULE_SWITCH("mlp.switch_mlp", "mlp.experts.#", NULL, NULL),                              \
        MODULE_SHARED("mlp.shared_experts", "mlp.shared_experts")

/* All tensors of those families. */
#define MODULE_LATENT_FAMILY                                                                       \
    MODULE_ENDS("model.embed_tokens", "model.norm", "lm_head"),                                    \
        MODULE_NORM(MODULE_ATTENTION_NORM, extent_hidden, "input_layernorm"),                      \
        MODULE_LATENT_ATTENTION,                                                                   \
        MODULE_NORM(MODULE_FFN_NORM, extent_hidden, "post_attention_layernorm"), MODULE_FFN,       \
        MODULE_LATENT_EXPERTS

struct model_family {
    const char *name;         /* for people */
    const char *const *types; /* values of model_type, NULL after the last */
    const struct config_key *keys;
    size_t key_count;
    /* After the keys were read: ropes and the shape of each layer.  `root` holds the keys of the
     * text model. */
    MUST_CHECK enum status (*settle)(const struct json_t *root, struct model_config *config,
                                     struct reason *reason);
    const struct module_row *rows;
    size_t row_count;
    /* NULL: "model." and nothing.  That whose embedding the files have counts, else the first. */
    const struct model_wrapper *wrappers;
    size_t wrapper_count;
    /* NULL: norms are stored as they are used.  Else whether these files store them less 1. */
    bool (*is_shifted)(const struct tensor_table *table);
    const char *const *skips; /* starts of names that are not used, or with a '.' in front parts of
                               * names; NULL after the last; may be NULL */
    bool skips_further_layers; /* layers beyond the last that predict later tokens are not used */
    bool keeps_head; /* a head in the files counts, whatever tie_word_embeddings says */
    /* For the table of families. */
    const char *cache;
    const char *cuts;
};

/* What a family's file declares under these names. */
#define MODEL_FAMILY_TABLES                                                                        \
    .types = types, .keys = keys, .key_count = COUNT_OF(keys), .settle = settle, .rows = rows,     \
    .row_count = COUNT_OF(rows)

/* NULL after the last. */
extern const struct model_family *const model_families[];

/* NULL when no family has the type. */
const struct model_family *model_family_find(const char *model_type);

#endif
