/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv_cache: what the layers of a rank remember of several sequences.
 *
 *   full and latent   in pages of KV_PAGE_POSITIONS positions, taken as a sequence grows.  A page
 *                     holds all such layers: [layer][head][key, value][position][dim].
 *   window            a ring of pages of its own for each sequence, window + `rows` positions long,
 *                     laid out alike.
 *   state             so many floats for each sequence, zero at its start.
 *
 * Keys lie rotated.  Keys and values are f32, bf16 or int8 (then each block of keys or values ends
 * with its scales: [position] of f32), states f32.  A latent layer has one head whose values are
 * the front of its keys.  runtime/kv_shape.h has the bytes of all of it.
 *
 * Owner    one engine.
 * Memory   address space for all pages and sequences; it costs memory once it was used.
 * Threads  one at a time; rows of different heads may be written by different threads.
 * Fails    NO_CAPACITY when no page is left: nothing was taken then.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_KV_CACHE_H
#define TROUPE_ACTORS_RUNNER_ENGINE_KV_CACHE_H

#include "protocol/status.h"
#include "runtime/kv_shape.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kv_shape {
    const struct kv_layer *layers; /* copied */
    uint32_t layer_count;
    uint32_t rows; /* positions written at once, before any of them is read */
    enum kv_format format;
};

struct kv_cache;

/* Room for `positions` in all, rounded up to pages, and for `sequences` at a time. */
MUST_CHECK enum status kv_cache_open(const struct kv_shape *shape, uint64_t positions,
                                     uint32_t sequences, struct kv_cache **cache_out,
                                     struct reason *reason);
/* Accepts NULL. */
void kv_cache_close(struct kv_cache *cache);
/* Bytes of all pages, of all sequences and of their tables when everything is used. */
uint64_t kv_cache_bytes(const struct kv_cache *cache);

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
/* Forgets the positions from `length` on and gives their pages back.  Returns what is left: less
 * than `length` (nothing) when a window or a state cannot go back so far. */
uint32_t kv_sequence_truncate(struct kv_cache *cache, uint32_t sequence, uint32_t length);

uint64_t kv_cache_positions_free(const struct kv_cache *cache);
/* Page p holds positions p * KV_PAGE_POSITIONS and following, as far as the layer sees them. */
uint8_t *const *kv_sequence_pages(const struct kv_cache *cache, uint32_t sequence,
                                  uint32_t layer);
/* Offsets in a page of the first key and value of a layer's head. */
size_t kv_key_offset(const struct kv_cache *cache, uint32_t layer, uint32_t head);
size_t kv_value_offset(const struct kv_cache *cache, uint32_t layer, uint32_t head);
/* Offsets of the scales of that head's keys and values, in an int8 cache. */
size_t kv_key_scale_offset(const struct kv_cache *cache, uint32_t layer, uint32_t head);
size_t kv_value_scale_offset(const struct kv_cache *cache, uint32_t layer, uint32_t head);
/* The state of a layer. */
float *kv_state(const struct kv_cache *cache, uint32_t sequence, uint32_t layer);

#endif
