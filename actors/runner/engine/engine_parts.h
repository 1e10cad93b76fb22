/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_parts: the inside of an engine, shared by engine*.c, blocks.c and the families.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_ENGINE_PARTS_H
#define TROUPE_ACTORS_RUNNER_ENGINE_ENGINE_PARTS_H

#include "actors/runner/engine/engine.h"
#include "actors/runner/engine/kernels/kernels.h"
#include "actors/runner/engine/kv_cache.h"
#include "actors/runner/engine/pool.h"

/* Rows computed at once; a batch of more is done in pieces, the same on every rank. */
#define ENGINE_ROWS 256u
/* Rows of logits computed at once. */
#define ENGINE_LOGIT_ROWS 16u

/* One layer of the families built from attention and a gated FFN. */
struct engine_layer {
    struct matrix query;
    struct matrix key;
    struct matrix value;
    struct matrix attention_out;
    struct matrix gate;
    struct matrix up;
    struct matrix down;
    const float *attention_norm;
    const float *query_norm;
    const float *key_norm;
    const float *ffn_norm;
};

struct engine;

/* A family is one file: which tensors a layer takes and how it computes. */
struct family {
    const char *model_type;
    MUST_CHECK enum status (*bind)(struct engine *engine, struct reason *reason);
    /* engine->hidden[count] through layer `index` of this rank's layers. */
    MUST_CHECK enum status (*forward)(struct engine *engine, uint32_t index,
                                      const struct engine_row *rows, size_t count);
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
    struct kv_cache *cache;

    struct matrix embedding;
    struct matrix head;
    const float *final_norm;
    struct engine_layer *layers;
    uint32_t layer_count;
    float **norms; /* every norm as floats, freed at close */
    size_t norm_count;

    uint32_t heads; /* of this rank */
    uint32_t kv_heads;
    uint32_t ffn;
    uint32_t vocab;
    size_t columns_max;

    struct activations input;     /* normed hidden states */
    struct activations attention; /* outputs of the heads */
    struct activations gated;     /* the FFN's middle */
    float *hidden;                /* [ENGINE_ROWS][hidden] */
    float *part;                  /* [ENGINE_ROWS][hidden] of this rank */
    float *queries;
    float *keys;
    float *values;
    float *ups;
    float *logits;                /* [ENGINE_LOGIT_ROWS][vocab of this rank], tensor cut only */
    float *cosines;               /* [ENGINE_ROWS][head_dim / 2] */
    float *sines;
    float *frequencies;           /* [head_dim / 2] */
    uint32_t *next;               /* per sequence: the position due, while a batch is checked */
    size_t vocab_counts[PARTITION_RANKS_MAX]; /* of each rank, once known */
    uint64_t buffer_bytes;
};

const struct family *family_find(const char *model_type);
extern const struct family family_qwen3;

/* --- binding weights (engine_open.c) --- */

MUST_CHECK enum status engine_bind_matrix(struct engine *engine, enum module_role role,
                                          uint32_t layer, struct matrix *matrix_out,
                                          struct reason *reason);
MUST_CHECK enum status engine_bind_norm(struct engine *engine, enum module_role role,
                                        uint32_t layer, const float **norm_out,
                                        struct reason *reason);

/* --- blocks (blocks.c) --- */

struct product {
    const struct matrix *matrix;
    float *out;
    size_t out_stride;
};

/* What the inputs of these matrices need, in this mode. */
unsigned block_needs(const struct engine *engine, const struct product *products, size_t count);
/* input.values[row] = norm(hidden[row]) and what `needs` says. */
void block_norm(struct engine *engine, const float *hidden, const float *weight,
                struct activations *input, size_t count, unsigned needs);
void block_prepare(struct engine *engine, struct activations *activations, size_t count,
                   unsigned needs);
/* All products of one input in one run of the pool. */
void block_multiply(struct engine *engine, const struct product *products, size_t product_count,
                    const struct activations *input, size_t count);
/* hidden += part, summed over ranks in the tensor cut. */
MUST_CHECK enum status block_add(struct engine *engine, size_t count);
/* Norms and rotates the heads, writes keys and values to the cache. */
void block_rotate(struct engine *engine, const struct engine_layer *layer, uint32_t index,
                  const struct engine_row *rows, size_t count);
/* attention.values = softmax(q k) v of every head. */
void block_attend(struct engine *engine, uint32_t index, const struct engine_row *rows,
                  size_t count);
/* gated = silu(gated) * ups, then prepared. */
void block_gate(struct engine *engine, size_t count, unsigned needs);

#endif
