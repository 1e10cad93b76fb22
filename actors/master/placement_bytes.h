/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placement_bytes: what a rank of a cut takes, from the shape of its model.
 *
 * The engine lays its cache out by the same runtime/kv_shape.h: for any family and cut it takes
 * what is counted here, no byte more.
 *
 * Pure.
 */
#ifndef TROUPE_ACTORS_MASTER_PLACEMENT_BYTES_H
#define TROUPE_ACTORS_MASTER_PLACEMENT_BYTES_H

#include "protocol/state.h"
#include "runtime/kv_shape.h"
#include "runtime/partition_place.h"
#include "runtime/partition_record.h"

/* Of each node, for what nobody counts: libraries, buffers of a load, the heap's own room. */
#define PLACEMENT_HEAD_ROOM ((uint64_t)32 << 20)

struct placement_cache {
    uint64_t positions; /* of all requests together */
    uint32_t requests;  /* at once */
    enum kv_format format;
};

/* The runs of the shape are all its layers; false: it cannot be counted. */
bool placement_shape_is_whole(const struct model_shape *shape);
/* Packed weights of one rank. */
uint64_t placement_weight_bytes(const struct model_shape *shape, const struct partition *cut);
/* Of these, what is read for a token; without the head, in the layers alone. */
uint64_t placement_token_bytes(const struct model_shape *shape, const struct partition *cut,
                               bool has_head);
/* Multiplications of attention for a token that sees so many positions. */
double placement_attended(const struct model_shape *shape, const struct partition *cut,
                          uint64_t positions);
/* What a rank remembers of a position in pages, and of a request in its windows and states. */
void placement_cache_sizes(const struct model_shape *shape, const struct partition *cut,
                           enum kv_format format, struct kv_sizes *sizes_out);
/* The whole KV cache of one rank, when all of it is used. */
uint64_t placement_cache_bytes(const struct model_shape *shape, const struct partition *cut,
                               const struct placement_cache *cache);

/* What costs point to. */
struct placement_layers {
    uint64_t bytes[LAYER_COUNT_MAX];
    uint64_t whole[LAYER_COUNT_MAX];
};

/* The same in pieces, for a table by memory: never less than a rank then takes. */
void placement_costs(const struct model_shape *shape, const struct placement_cache *cache,
                     struct placement_layers *layers, struct partition_costs *costs_out);
/* partition_place with these. */
MUST_CHECK enum status placement_place(const struct model_shape *shape,
                                       const struct placement_cache *cache, enum sharding sharding,
                                       const uint64_t *shares, const uint64_t *budgets,
                                       uint32_t count, struct partition *cuts_out,
                                       struct reason *reason);

/* partition_place_stages with these. */
MUST_CHECK enum status placement_place_stages(const struct model_shape *shape,
                                              const struct placement_cache *cache,
                                              const uint32_t *sizes, uint32_t stage_count,
                                              const uint64_t *shares, const uint64_t *budgets,
                                              struct partition *cuts_out, struct reason *reason);

/* What a rank takes beside weights and cache: the process, buffers of a step's rows (hidden states,
 * its part of the FFN's middle) and logits of the requests; rank 0 the tokenizer, too. */
uint64_t placement_scratch_bytes(const struct model_shape *shape, const struct partition *cut,
                                 uint32_t requests);
/* What a rank takes that only sends: the process and the load window. */
uint64_t placement_source_bytes(const struct model_shape *shape);

#endif
