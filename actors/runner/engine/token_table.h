/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token_table: the bytes of every token id, and the id of every mergeable token's bytes.
 *
 * Owner    one tokenizer.
 * Memory   one arena of bytes and three arrays that grow while tokens are put; then read only.
 * Threads  any, once filled.
 * Fails    STATUS_NO_MEMORY; STATUS_EXISTS when an id or a mergeable token's bytes are taken.
 */
#ifndef TROUPE_ENGINE_TOKEN_TABLE_H
#define TROUPE_ENGINE_TOKEN_TABLE_H

#include "protocol/status.h"

#include <stddef.h>
#include <stdint.h>

/* Above every vocabulary known (262,144), low enough that a file cannot make us ask for much. */
enum { TOKEN_TABLE_IDS_MAX = 1 << 20 };

enum token_flag {
    TOKEN_DEFINED = 1,
    TOKEN_MERGEABLE = 2, /* merging can reach it */
    TOKEN_ADDED = 4,
    TOKEN_SPECIAL = 8,
    TOKEN_BYTE = 16, /* stands for one byte of a character without a token; never merged */
};

struct token_piece {
    const char *bytes;
    size_t size;
    unsigned flags;
};

struct token_table;

MUST_CHECK enum status token_table_open(struct token_table **table_out);
/* Accepts NULL. */
void token_table_close(struct token_table *table);

/* `id` is below TOKEN_TABLE_IDS_MAX. */
MUST_CHECK enum status token_table_put(struct token_table *table, uint32_t id, const char *bytes,
                                       size_t size, unsigned flags);
/* Adds flags to a defined id. */
void token_table_mark(struct token_table *table, uint32_t id, unsigned flags);

/* One above the highest defined id. */
size_t token_table_size(const struct token_table *table);
/* False for an id that is not defined; `piece_out` is then untouched. */
int token_table_get(const struct token_table *table, uint32_t id, struct token_piece *piece_out);
/* The mergeable token with these bytes; false when there is none. */
int token_table_find(const struct token_table *table, const char *bytes, size_t size,
                     uint32_t *id_out);

#endif
