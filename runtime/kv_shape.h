/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv_shape: the bytes of a KV cache, for the engine that lays it out and the placement that grants
 * them: the same code, so that nothing is taken that was not counted.
 *
 *   pages    KV_PAGE_POSITIONS positions of all layers that keep every position
 *   rings    for each sequence: as many pages of the layers with a window as the longest window and
 *            the rows of a step reach over
 *   states   for each sequence: so many floats of a layer
 *   tables   pointers to the pages
 *
 * Pure.
 */
#ifndef TROUPE_RUNTIME_KV_SHAPE_H
#define TROUPE_RUNTIME_KV_SHAPE_H

#include "protocol/kv_format.h"

#include <stddef.h>
#include <stdint.h>

#define KV_PAGE_POSITIONS 64u
#define KV_SEQUENCES_MAX 1024u
/* Rows the engine computes at once: positions of a window that are written before one is read. */
#define KV_STEP_ROWS 256u

/* What a layer of a rank remembers.  All zero: nothing. */
struct kv_layer {
    uint32_t heads;
    uint32_t key_dim;
    uint32_t value_dim; /* 0: the values are the front of the keys */
    uint32_t window;    /* 0: all positions */
    uint32_t state_floats;
};

/* Begins as all zero. */
struct kv_sizes {
    uint64_t page_bytes;
    uint64_t ring_page_bytes;
    uint64_t state_bytes; /* of a sequence */
    uint32_t window;      /* the longest */
};

/* Keys, or values, of one head in a page, their scales included. */
uint64_t kv_block_bytes(uint32_t dim, enum kv_format format);
uint64_t kv_head_bytes(const struct kv_layer *layer, enum kv_format format);
/* Adds `count` layers of this kind. */
void kv_sizes_add(struct kv_sizes *sizes, const struct kv_layer *layer, uint32_t count,
                  enum kv_format format);
uint64_t kv_page_count(uint64_t positions);
/* Pages of a sequence's ring in a cache of `pages`, with `rows` positions written at once. */
uint64_t kv_ring_pages(const struct kv_sizes *sizes, uint64_t pages, uint32_t rows);
/* Bytes of a sequence's ring and states. */
uint64_t kv_own_bytes(const struct kv_sizes *sizes, uint64_t pages, uint32_t rows);
/* Everything, when all of it is used; UINT64_MAX where 64 bits cannot hold it. */
uint64_t kv_total_bytes(const struct kv_sizes *sizes, uint64_t positions, uint32_t sequences,
                        uint32_t rows);

#endif
