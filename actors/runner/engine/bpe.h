/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe: byte pair merging, lowest rank first, leftmost among equals.
 *
 * A piece of n bytes takes O(n log n): short ones are scanned, long ones go through a heap, so a
 * megabyte of one letter costs a fraction of a second.
 *
 * Owner    one tokenizer.
 * Memory   the merges at open; `struct bpe_work` grows with the longest piece and is reused.
 * Threads  merging may run in several threads, each with its own work.
 * Fails    STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ENGINE_BPE_H
#define TROUPE_ENGINE_BPE_H

#include "actors/runner/engine/token_table.h"
#include "protocol/status.h"

#include <stddef.h>
#include <stdint.h>

/* Above every list known (446,000). */
enum { BPE_MERGES_MAX = 1 << 21 };

struct bpe;

struct bpe_work {
    struct bpe_symbol *symbols;
    size_t symbol_capacity;
    struct bpe_candidate *heap;
    size_t heap_capacity;
};

/* A growing list of ids; memory is the caller's to free. */
struct token_list {
    uint32_t *ids;
    size_t count;
    size_t capacity;
};

MUST_CHECK enum status token_list_add(struct token_list *list, uint32_t id);
void token_list_free(struct token_list *list);

MUST_CHECK enum status bpe_open(struct bpe **bpe_out);
/* Accepts NULL. */
void bpe_close(struct bpe *bpe);

/* The id of a single byte's token. */
void bpe_set_byte(struct bpe *bpe, unsigned char byte, uint32_t id);
/* `rank` is the place in the list: lower merges earlier.  Of a pair listed twice the later place
 * counts, as in the reference. */
MUST_CHECK enum status bpe_add(struct bpe *bpe, uint32_t left, uint32_t right, uint32_t merged,
                               uint32_t rank);

/* Merging begins with the tokens of characters in `table` (borrowed) instead of bytes; a character
 * without one begins as its bytes. */
void bpe_use_characters(struct bpe *bpe, const struct token_table *table);

/* Appends the ids of one piece of UTF-8, whose bytes all have a token. */
MUST_CHECK enum status bpe_merge(const struct bpe *bpe, struct bpe_work *work, const char *piece,
                                 size_t size, struct token_list *list);
void bpe_work_free(struct bpe_work *work);

#endif
