/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv_cache: keys and values of the positions of several sequences, in pages.
 *
 * A page holds KV_PAGE_POSITIONS positions of one sequence for all layers and kv heads of the rank:
 * [layer][head][key, value][position][head_dim], f32 or f16.  Keys lie rotated.
 *
 * Owner    one engine.
 * Memory   address space for all pages; a page costs memory once it was used.
 * Threads  one at a time; rows of different heads may be written by different threads.
 * Fails    NO_CAPACITY when no page is left: nothing was taken then.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_KV_CACHE_H
#define TROUPE_ACTORS_RUNNER_ENGINE_KV_CACHE_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KV_PAGE_POSITIONS 64u
#define KV_SEQUENCES_MAX 1024u

struct kv_shape {
    uint32_t layers;
    uint32_t heads;
    uint32_t head_dim;
    bool is_half;
};

struct kv_cache;

/* Room for `positions` in all, rounded up to pages, and for `sequences` at a time. */
MUST_CHECK enum status kv_cache_open(const struct kv_shape *shape, uint64_t positions,
                                     uint32_t sequences, struct kv_cache **cache_out,
                                     struct reason *reason);
/* Accepts NULL. */
void kv_cache_close(struct kv_cache *cache);
/* Bytes of one page. */
uint64_t kv_cache_page_bytes(const struct kv_shape *shape);

MUST_CHECK enum status kv_sequence_open(struct kv_cache *cache, uint32_t *sequence_out,
                                        struct reason *reason);
void kv_sequence_close(struct kv_cache *cache, uint32_t sequence);
bool kv_sequence_is_open(const struct kv_cache *cache, uint32_t sequence);
uint32_t kv_sequence_length(const struct kv_cache *cache, uint32_t sequence);
/* Pages for `length` positions; does not change the length. */
MUST_CHECK enum status kv_sequence_reserve(struct kv_cache *cache, uint32_t sequence,
                                           uint32_t length, struct reason *reason);
/* Says that positions below `length` are written; pages must be there. */
void kv_sequence_extend(struct kv_cache *cache, uint32_t sequence, uint32_t length);
/* Forgets the positions from `length` on and gives their pages back. */
void kv_sequence_truncate(struct kv_cache *cache, uint32_t sequence, uint32_t length);

uint64_t kv_cache_positions_free(const struct kv_cache *cache);
uint8_t *const *kv_sequence_pages(const struct kv_cache *cache, uint32_t sequence);
/* Offsets in a page of the first key and value of a layer's head. */
size_t kv_key_offset(const struct kv_cache *cache, uint32_t layer, uint32_t head);
size_t kv_value_offset(const struct kv_cache *cache, uint32_t layer, uint32_t head);
const struct kv_shape *kv_cache_shape(const struct kv_cache *cache);

#endif
