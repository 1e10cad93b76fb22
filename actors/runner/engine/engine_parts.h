/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_parts: the inside of an engine, shared by engine*.c, the blocks and the families.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_ENGINE_PARTS_H
#define TROUPE_ACTORS_RUNNER_ENGINE_ENGINE_PARTS_H

#include "actors/runner/engine/engine.h"
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/kv_cache.h"
#include "actors/runner/engine/pool.h"
#include "actors/runner/engine/profile.h"
#include "actors/runner/engine/route.h"

/* Rows computed at once; a batch of more is done in pieces, the same on every rank. */
#define ENGINE_ROWS KV_STEP_ROWS
/* Rows of logits computed at once. */
#define ENGINE_LOGIT_ROWS 16u
/* Pairs of token and expert computed at once. */
#define EXPERT_ROWS 512u

/* A matrix with its outputs' bias, NULL for none. */
struct linear {
    struct matrix matrix;
    const float *bias;
};

enum attention_gate {
    GATE_NONE = 0,
    GATE_HEAD = 1,    /* each head's output times sigmoid of one number: `gate` */
    GATE_ELEMENT = 2, /* each element's; rows of `query` are per head the query, then the gate */
};

/* Attention over keys and values of heads. */
struct attention_part {
    struct linear query;
    struct linear key;
    struct linear value;
    struct linear out;
    struct linear gate;
    const float *query_norm; /* per head; NULL for none */
    const float *key_norm;
    const float *sinks;      /* per head; NULL for none */
    enum attention_gate gating;
    bool has_gate;     /* the model has `gate`; this rank may have no rows of it */
    uint32_t heads;    /* of this rank */
    uint32_t kv_heads;
    uint32_t per_kv;   /* query heads of a kv head */
    uint32_t skipped;  /* of the first kv head's: this rank has only those after them */
    uint32_t head_dim;
    uint32_t window;
    uint32_t rope;     /* ROPE_NONE for none */
    float scale;
};

enum activation {
    ACTIVATION_SILU = 0, /* silu(gate) * up */
    ACTIVATION_GELU = 1, /* gelu, the tanh form */
    ACTIVATION_CLAMPED_SILU = 2, /* min(silu(gate), limit) * clip(up, limit) */
    ACTIVATION_CLAMPED_SWISH = 3, /* g = min(gate, limit): g * sigmoid(1.702 g) * (clip(up) + 1) */
};

struct ffn_part {
    struct linear gate;
    struct linear up;
    struct linear down;
    enum activation activation;
    float limit;
};

/* Experts; config->experts says how they are chosen. */
struct experts_part {
    struct linear router;
    const float *choice_bias; /* NULL for none */
    struct linear *gates;     /* [experts] each, in one heap block that begins here */
    struct linear *ups;
    struct linear *downs;
    enum activation activation;
    float limit;
    struct ffn_part shared;     /* without columns: there is none */
    struct linear shared_scale; /* without rows: it counts in full */
};

struct engine_layer {
    const float *attention_norm;
    const float *ffn_norm;
    struct attention_part attention;
    struct ffn_part ffn;         /* of a dense layer */
    struct experts_part experts; /* of a layer with experts */
    void *own; /* what else a family keeps of a layer; freed with memory_free */
};

struct engine_rope {
    uint32_t dims;
    float *frequencies; /* [dims / 2] */
    float *cosines;     /* [ENGINE_ROWS][dims / 2] */
    float *sines;
    float divisor;      /* of positions */
    float stretch;      /* of cosines and sines */
};

/* The widest of each buffer, found while weights are bound. */
struct engine_widths {
    size_t columns; /* of any matrix */
    size_t queries; /* floats of a row */
    size_t keys;
    size_t values;
    size_t mixed; /* what a mixer gives to its output projection */
    size_t ffn;
    size_t gates;
    size_t experts; /* columns of an expert's middle */
    size_t scratch; /* floats a block keeps in a thread's scratch, before what kernels need */
};

struct expert_pair {
    uint32_t expert;
    uint32_t token;
    float weight;
};

/* Only of models with experts. */
struct expert_buffers {
    float *normed;               /* [ENGINE_ROWS][hidden] as the router sees it */
    float *logits;               /* [ENGINE_ROWS][experts] */
    struct route_choice *choices; /* [ENGINE_ROWS][used] */
    struct expert_pair *pairs;   /* [ENGINE_ROWS * used] by expert */
    uint32_t *ends;              /* [experts + 1] */
    struct activations picked;   /* inputs of the pairs of a piece */
    struct activations middle;
    float *ups;                  /* [EXPERT_ROWS][widths.experts] */
    float *outs;                 /* [EXPERT_ROWS][hidden] */
    float *sum;                  /* [ENGINE_ROWS][hidden] of the routed experts */
    float *scales;               /* [ENGINE_ROWS] of the shared one */
};

struct engine;

/* The forward half of a family's file. */
struct family {
    /* Binds one layer; layers count from the model's first. */
    MUST_CHECK enum status (*bind)(struct engine *engine, uint32_t layer,
                                   struct engine_layer *bound, struct reason *reason);
    /* engine->hidden[count] through layer `index` of this rank's layers. */
    MUST_CHECK enum status (*forward)(struct engine *engine, uint32_t index,
                                      const struct engine_row *rows, size_t count);
    /* The factor of embeddings; NULL for none. */
    float (*embedding_scale)(const struct model_config *config);
};

struct engine {
    const struct engine_model *model;
    const struct model_config *config;
    const struct shard *shard;
    const struct family *family;
    const struct kernel_set *kernels;
    struct partition partition;
    struct engine_options options;
    struct shard_plan *own_plan; /* engine_open_local */
    struct shard *own_shard;
    struct pool *pool;
    struct profile *profile; /* NULL: nothing is counted */
    struct kv_cache *cache;

    struct matrix embedding;
    struct matrix head;
    const float *final_norm;
    struct engine_layer *layers;
    uint32_t layer_count;
    float **vectors; /* every norm and bias as floats, freed at close */
    size_t vector_count;
    struct engine_widths widths;
    struct kv_layer *kv_layers; /* [layer_count], filled while weights are bound */
    struct engine_rope ropes[MODEL_ROPES_MAX];

    uint32_t vocab; /* rows of this rank */

    struct activations input; /* normed hidden states */
    struct activations mixed; /* what goes into a mixer's output projection */
    struct activations gated; /* the FFN's middle */
    struct expert_buffers experts;
    float *hidden;            /* [ENGINE_ROWS][hidden] */
    float *part;              /* [ENGINE_ROWS][hidden] of this rank */
    float *queries;           /* [ENGINE_ROWS][widths.queries], and so on */
    float *keys;
    float *values;
    float *gates;
    float *ups;
    float *logits;            /* [ENGINE_LOGIT_ROWS][vocab of this rank], where others
                               * have rows of it too */
    uint32_t *next;           /* per sequence: the position due, while a batch is checked */
    size_t vocab_counts[PARTITION_RANKS_MAX]; /* of each rank, once known */
    bool knows_counts;
    uint64_t buffer_bytes;
};

/* The families in the order of model_families. */
extern const struct family *const engine_families[];
const struct family *family_find(const char *model_type);

/* Whether its layers are shared with other ranks. */
static inline bool engine_is_tensor_cut(const struct engine *engine)
{
    return engine->partition.stage_ranks > 1;
}

static inline const struct layer_shape *engine_shape(const struct engine *engine, uint32_t index)
{
    return &engine->config->shapes[engine->partition.layer_first + index];
}

/* --- binding weights (engine_bind.c); layers count from the model's first --- */

/* No module of the role: a matrix without rows. */
MUST_CHECK enum status engine_bind_linear(struct engine *engine, uint32_t role, uint32_t layer,
                                          struct linear *linear_out, struct reason *reason);
MUST_CHECK enum status engine_bind_matrix(struct engine *engine, uint32_t role, uint32_t layer,
                                          struct matrix *matrix_out, struct reason *reason);
/* The rank's elements of a vector as floats; NULL when the model has none of the role. */
MUST_CHECK enum status engine_bind_vector(struct engine *engine, uint32_t role, uint32_t layer,
                                          const float **vector_out, struct reason *reason);
/* Matrices, norms, sinks and gate of usual attention, and its place in the cache. */
MUST_CHECK enum status engine_bind_attention(struct engine *engine, uint32_t layer,
                                             struct attention_part *part_out,
                                             struct reason *reason);
/* gate, up and down; `role` is that of the gate, the others follow it. */
MUST_CHECK enum status engine_bind_ffn(struct engine *engine, uint32_t role, uint32_t layer,
                                       struct ffn_part *part_out, struct reason *reason);
/* Router, experts and shared expert of a layer with experts. */
MUST_CHECK enum status engine_bind_experts(struct engine *engine, uint32_t layer,
                                           struct experts_part *part_out, struct reason *reason);
/* Both norms, and a dense FFN or experts: what a layer has beside its mixer. */
MUST_CHECK enum status engine_bind_rest(struct engine *engine, uint32_t layer,
                                        struct engine_layer *bound, struct reason *reason);
/* Both norms, attention, and a dense FFN or experts as the layer's shape says. */
MUST_CHECK enum status engine_bind_layer(struct engine *engine, uint32_t layer,
                                         struct engine_layer *bound, struct reason *reason);
/* The same of a module of the layout, for what is there several times. */
MUST_CHECK enum status engine_bind_module(struct engine *engine,
                                          const struct model_module *module,
                                          struct matrix *matrix_out, struct reason *reason);
MUST_CHECK enum status engine_bind_bias(struct engine *engine, const struct model_module *module,
                                        const float **bias_out, struct reason *reason);
/* Of the heads that read the rank's first key-value head, or the value heads of its first key head,
 * those before its own first. */
uint32_t engine_heads_skipped(const struct engine *engine, uint32_t layer, uint32_t per_kv);
/* Sets the cache kind of a layer. */
void engine_bind_cache(struct engine *engine, uint32_t layer, const struct kv_layer *kv);
static inline void engine_widen(size_t *width, size_t needed)
{
    *width = needed > *width ? needed : *width;
}

static inline void engine_turn(const struct engine *engine, enum profile_kind kind)
{
    profile_turn(engine->profile, kind);
}

/* --- blocks --- */

struct product {
    const struct linear *linear;
    float *out;
    size_t out_stride;
};

/* What the inputs of these matrices need, in this mode. */
unsigned block_needs(const struct engine *engine, const struct product *products, size_t count);
/* Makes rows of `columns`, as a layer needs them, in the memory the activations have. */
void block_columns(struct activations *activations, size_t columns);
/* input.values[row] = norm(hidden[row]) and what `needs` says. */
void block_norm(struct engine *engine, const float *hidden, const float *weight,
                struct activations *input, size_t count, unsigned needs);
void block_prepare(struct engine *engine, struct activations *activations, size_t count,
                   unsigned needs);
/* All products of one input in one run of the pool, biases added. */
void block_multiply(struct engine *engine, const struct product *products, size_t product_count,
                    const struct activations *input, size_t count);
/* Counts what a product is about to read and compute, where a profile is kept. */
void block_count(const struct engine *engine, enum profile_kind kind, const struct matrix *matrix,
                 size_t count);
/* Items [first, end) of one product, each 16 rows, on this thread. */
void block_multiply_items(struct engine *engine, const struct product *product,
                          const struct activations *input, size_t count, size_t first, size_t end,
                          float *scratch);
/* part = the sum of all ranks' parts in the tensor cut. */
MUST_CHECK enum status block_sum(struct engine *engine, size_t count);
/* hidden += part, summed over ranks in the tensor cut. */
MUST_CHECK enum status block_add(struct engine *engine, size_t count);
/* part = norm(part), for families that norm the outputs of their blocks. */
void block_norm_part(struct engine *engine, const float *weight, size_t count);

/* part = attention of norm(hidden), this rank's share. */
void block_attention(struct engine *engine, const struct attention_part *part, const float *norm,
                     uint32_t index, const struct engine_row *rows, size_t count);
/* part = FFN of norm(hidden), this rank's share. */
void block_ffn(struct engine *engine, const struct ffn_part *part, const float *norm,
               size_t count);
/* part = the chosen and the shared experts of norm(hidden), this rank's share. */
void block_experts(struct engine *engine, const struct experts_part *part, const float *norm,
                   uint32_t index, size_t count);
/* Writes a key, a value or a latent row of `count` to where they lie in a page of the cache, the
 * offsets of the page's first and of their scales. */
void block_remember(struct engine *engine, uint8_t *page, size_t offset, size_t scale_offset,
                    uint32_t position, const float *values, size_t count);
/* gate[i] = act(gate[i]) * up[i] */
void block_activate(const struct engine *engine, enum activation activation, float limit,
                    float *gate, const float *up, size_t count);
/* hidden += FFN or experts(norm) of layer `index` of this rank's. */
MUST_CHECK enum status block_ffn_layer(struct engine *engine, uint32_t index, size_t count);
/* hidden += attention(norm); hidden += FFN or experts(norm): the layer of most families. */
MUST_CHECK enum status block_layer(struct engine *engine, uint32_t index,
                                   const struct engine_row *rows, size_t count);

/* --- ropes (rope.c) --- */

bool ropes_open(struct engine *engine);
void ropes_close(struct engine *engine);
/* Cosines and sines of the rows' positions. */
void ropes_turn(struct engine *engine, const struct engine_row *rows, size_t count);
/* Rotates one head of row `row`. */
void rope_rotate(const struct engine *engine, uint32_t rope, size_t row, float *head);

#endif
