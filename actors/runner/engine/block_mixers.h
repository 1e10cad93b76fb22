/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block_mixers: mixers beside attention over keys and values of heads.
 *
 * Memory   parts are plain values; a family keeps one in a layer's `own`.
 * Threads  rows and heads are split, never sums: the bits depend on neither.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_BLOCK_MIXERS_H
#define TROUPE_ACTORS_RUNNER_ENGINE_BLOCK_MIXERS_H

#include "actors/runner/engine/engine_parts.h"

/*
 * Latent attention.  What is cached of a position is one row for all heads: the normed latent,
 * then the rotated key.  A head's plain query is carried into the latent's space, so that scores
 * and the weighted sum are taken there, for one row as for many: one formula, equal bits.
 */
struct latent_part {
    struct linear query_down; /* without rows: queries come straight from the hidden state */
    struct linear query;      /* per head the plain part, then the rotated one */
    struct linear latent;     /* latent, then the key to rotate */
    struct linear embed;      /* [heads][rank][plain] */
    struct linear unembed;    /* [heads][value][rank] */
    struct linear both;       /* [heads][plain + value][rank] in place of these two */
    struct linear out;
    const float *query_norm;
    const float *latent_norm;
    float norm_epsilon;
    uint32_t heads; /* of this rank */
    uint32_t rope;
    float scale;
};

/* Everything of role MODULE_LATENT_*, the scale with the rope's share of it, the cache. */
MUST_CHECK enum status engine_bind_latent(struct engine *engine, uint32_t layer,
                                          struct latent_part *part_out, struct reason *reason);
/* part = attention of norm(hidden), this rank's share. */
void block_latent(struct engine *engine, const struct latent_part *part, const float *norm,
                  uint32_t index, const struct engine_row *rows, size_t count);

/* The layer of the families with latent attention: binds it with `own` a latent_part whose inner
 * norms have this epsilon, and computes it. */
MUST_CHECK enum status engine_bind_latent_layer(struct engine *engine, uint32_t layer,
                                                double norm_epsilon, struct engine_layer *bound,
                                                struct reason *reason);
MUST_CHECK enum status block_latent_layer(struct engine *engine, uint32_t index,
                                          const struct engine_row *rows, size_t count);

/*
 * Gated DeltaNet.  A key head has `per_key` value heads; each keeps a matrix [key][value] that
 * decays, is corrected by what it gets wrong of the value at the key, and is read by the query.
 * Queries, keys and values come through a convolution over the last positions.  Positions are
 * taken one after the other, however many come at once: one formula, equal bits.
 */
struct delta_part {
    struct linear query;
    struct linear key;
    struct linear value;
    struct linear gate;  /* z */
    struct linear decay; /* a: one for each value head */
    struct linear write; /* b: one for each value head */
    struct linear out;
    const float *query_taps; /* [channels][taps], the last for the position itself */
    const float *key_taps;
    const float *value_taps;
    const float *decay_log;  /* per value head */
    const float *decay_bias;
    const float *norm;       /* of a value head's output */
    uint32_t key_heads;   /* of this rank */
    uint32_t value_heads; /* the same; the first and the last key head may lack some of theirs */
    uint32_t per_key;     /* value heads of a key head, on whatever rank */
    uint32_t skipped;     /* of the first key head, those before the first value head */
};

/* part = DeltaNet of norm(hidden), this rank's share. */
void block_delta(struct engine *engine, const struct delta_part *part, const float *norm,
                 uint32_t index, const struct engine_row *rows, size_t count);
/* After its linears were bound: heads, widths of buffers, the state. */
void engine_settle_delta(struct engine *engine, uint32_t layer, struct delta_part *part);

#endif
