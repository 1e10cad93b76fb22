/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_config: what config.json says, checked and bounded.
 *
 * Owner    whoever reads a model directory.
 * Memory   one heap object with its overrides.
 * Threads  none; read-only after it was made.
 * Fails    UNSUPPORTED (model type, quantisation, custom code) by name, MALFORMED, TOO_LARGE.
 */
#ifndef TROUPE_RUNTIME_MODEL_CONFIG_H
#define TROUPE_RUNTIME_MODEL_CONFIG_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_CONFIG_SIZE_MAX ((size_t)16 << 20)
#define MODEL_TYPE_SIZE_MAX 64u
/* Far above any model of today; products of two fit 64 bits with room. */
#define MODEL_LAYERS_MAX 1024u
#define MODEL_WIDTH_MAX (1u << 20)
#define MODEL_HEADS_MAX 4096u
#define MODEL_HEAD_DIM_MAX 1024u
#define MODEL_VOCAB_MAX (1u << 22)
#define MODEL_CONTEXT_MAX (1u << 24)
#define MODEL_EXPERTS_MAX 4096u

enum weight_format {
    WEIGHT_BF16 = 1,
    WEIGHT_F16 = 2,
    WEIGHT_F32 = 3,
    WEIGHT_AFFINE = 4,
    WEIGHT_MXFP4 = 5,
    WEIGHT_MXFP8 = 6,
    WEIGHT_NVFP4 = 7,
};

struct quantisation {
    enum weight_format format;
    uint32_t bits;  /* of a stored element */
    uint32_t group; /* elements per scale; 0 when dense */
};

enum override_kind { OVERRIDE_DENSE, OVERRIDE_DEFAULT, OVERRIDE_GIVEN };

/* One entry of config.json's `quantization` that is a module path. */
struct quantisation_override {
    char *path;
    enum override_kind kind;
    struct quantisation quantisation; /* OVERRIDE_GIVEN */
};

/* How a layer mixes positions. */
enum layer_mixer {
    MIXER_ATTENTION = 0, /* keys and values per head; `window` may bound how far back it sees */
    MIXER_LATENT = 1,    /* one latent row and one rotated key for all heads */
    MIXER_DELTA = 2,     /* gated DeltaNet: a state of fixed size */
};

enum layer_ffn {
    FFN_DENSE = 0,
    FFN_EXPERTS = 1,
};

/* What one layer is; a family's `settle` may make each one different. */
struct layer_shape {
    enum layer_mixer mixer;
    enum layer_ffn ffn;
    uint32_t units;    /* what a tensor cut shares of the mixer: query, latent or key heads */
    uint32_t heads;
    uint32_t kv_heads; /* divides heads */
    uint32_t head_dim;
    uint32_t window;   /* keys a position sees, itself included; 0: all */
    uint32_t rope;     /* index into model_config.ropes, ROPE_NONE for none */
    float limit;       /* clamp of the FFN's or experts' activation; 0: none */
    float shared_limit;
};

enum rope_kind { ROPE_DEFAULT = 0, ROPE_LINEAR = 1, ROPE_LLAMA3 = 2, ROPE_YARN = 3 };
#define ROPE_NONE UINT32_MAX
#define MODEL_ROPES_MAX 8u

struct model_rope {
    enum rope_kind kind;
    uint32_t dims;       /* rotated elements, from the front of a head */
    bool is_interleaved; /* pairs (2i, 2i + 1) instead of (i, i + dims / 2) */
    bool rounds;         /* yarn: the correction range to whole dimensions */
    double theta;
    double factor;
    double low_factor; /* llama3 */
    double high_factor;
    double original; /* positions before the scaling */
    double beta_fast; /* yarn */
    double beta_slow;
    double mscale;
    double mscale_all;
};

enum expert_scoring { SCORING_SOFTMAX = 0, SCORING_SIGMOID = 1 };

struct model_experts {
    uint32_t count; /* 0: the model has none */
    uint32_t used;  /* per token */
    uint32_t width;
    uint32_t shared_width; /* 0: no shared expert */
    uint32_t groups;       /* 1: not grouped */
    uint32_t groups_used;
    enum expert_scoring scoring;
    bool normalises; /* the weights of the chosen sum to 1 (before `scaling`) */
    double scaling;
};

struct model_latent {
    uint32_t query_rank; /* 0: queries straight from the hidden state */
    uint32_t rank;
    uint32_t plain_dim; /* of a query head, not rotated */
    uint32_t rope_dim;
    uint32_t value_dim;
};

struct model_delta {
    uint32_t key_heads;
    uint32_t value_heads;
    uint32_t key_dim;
    uint32_t value_dim;
    uint32_t taps; /* of the convolution */
};

/* Channels of a key head with `values` of its value heads. */
static inline uint64_t model_delta_channels(const struct model_delta *delta, uint32_t values)
{
    return 2 * (uint64_t)delta->key_dim + (uint64_t)values * delta->value_dim;
}

/* What is kept of a sequence are the last inputs of all channels and a matrix [key][value] for each
 * value head.  For a key head: */
static inline uint64_t model_delta_key_floats(const struct model_delta *delta)
{
    return (uint64_t)(delta->taps - 1) * 2 * delta->key_dim;
}

/* For a value head: */
static inline uint64_t model_delta_value_floats(const struct model_delta *delta)
{
    return ((uint64_t)(delta->taps - 1) + delta->key_dim) * delta->value_dim;
}

struct model_family;

struct model_config {
    char model_type[MODEL_TYPE_SIZE_MAX];
    const struct model_family *family;
    uint32_t layers;
    uint32_t hidden;
    uint32_t heads; /* of most layers; `shapes` has each one's */
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t intermediate; /* of dense layers; 0 where all have experts */
    uint32_t vocab;
    uint32_t context; /* max_position_embeddings */
    uint32_t window;  /* sliding_window; the layers that use it say so in `shapes` */
    uint32_t prediction_layers; /* num_nextn_predict_layers */
    bool tied;
    bool has_attention_bias;
    bool has_output_bias; /* of the attention's output */
    bool has_ffn_bias;
    double norm_epsilon;
    struct model_rope ropes[MODEL_ROPES_MAX];
    uint32_t rope_count;
    struct model_experts experts;
    struct model_latent latent;
    struct model_delta delta;
    uint32_t own[8]; /* whatever else a family keeps of its configuration */
    bool own_flags[8];
    struct layer_shape *shapes; /* [layers] */
    bool is_quantised;  /* a `quantization` object is there */
    struct quantisation default_quantisation;
    struct quantisation_override *overrides;
    size_t override_count;
};

/* "affine 4 bits, groups of 64", "bf16"; into a buffer of at least 64 bytes. */
const char *quantisation_text(const struct quantisation *quantisation, char *text_out);

MUST_CHECK enum status model_config_parse(const char *text, size_t size, const char *label,
                                          struct model_config **config_out,
                                          struct reason *reason);
MUST_CHECK enum status model_config_read(const char *directory, struct model_config **config_out,
                                         struct reason *reason);
/* Accepts NULL. */
void model_config_free(struct model_config *config);
/* NULL when the path has no entry of its own. */
const struct quantisation_override *model_config_override(const struct model_config *config,
                                                          const char *path);

#endif
