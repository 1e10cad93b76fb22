/* SPDX-License-Identifier: Apache-2.0 */
/*
 * added_tokens: the texts that are one token wherever they stand, found before any splitting.
 *
 * Matching is leftmost, longest among those that start at the same place, over a byte trie.
 *
 * Owner    one tokenizer, which keeps two sets: matched on raw text, and after normalising.
 * Memory   the trie, grown while tokens are added; then read only.
 * Threads  any, once filled.
 * Fails    STATUS_NO_MEMORY; STATUS_EXISTS for a text that is in the set already.
 */
#ifndef TROUPE_ENGINE_ADDED_TOKENS_H
#define TROUPE_ENGINE_ADDED_TOKENS_H

#include "protocol/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    ADDED_TOKENS_MAX = 1 << 16,
    ADDED_TOKEN_SIZE_MAX = 1024, /* bytes of one text: a match costs at most this many steps */
};

enum added_flag {
    ADDED_SPECIAL = 1,
    ADDED_SINGLE_WORD = 2,  /* only where no word character touches it */
    ADDED_STRIPS_LEFT = 4,  /* takes the white space before it */
    ADDED_STRIPS_RIGHT = 8, /* and after it */
};

struct added_tokens;

/* Where a search stands.  White space a token took on its right is done with, but another token
 * may still begin in it, as in the reference. */
struct added_cursor {
    size_t search; /* the next match starts here or later */
    size_t done;   /* end of what the last match took */
};

struct added_match {
    size_t start; /* may lie before `done` of the cursor: then no text is between */
    size_t end;
    uint32_t id;
};

MUST_CHECK enum status added_tokens_open(struct added_tokens **set_out);
/* Accepts NULL. */
void added_tokens_close(struct added_tokens *set);

/* A space is no white space to take: it stands for a character that is none. */
void added_tokens_keep_spaces(struct added_tokens *set);

/* `size` is 1 to ADDED_TOKEN_SIZE_MAX. */
MUST_CHECK enum status added_tokens_put(struct added_tokens *set, const char *text, size_t size,
                                        uint32_t id, unsigned flags);

/* The token whose whole text this is; false when there is none. */
int added_tokens_get(const struct added_tokens *set, const char *text, size_t size,
                     uint32_t *id_out);

/* The next match in the text, false when there is none; moves the cursor's `search`, the caller
 * sets `done`.  Without `allow_special` special tokens are passed over as text. */
int added_tokens_next(const struct added_tokens *set, const char *text, size_t length,
                      struct added_cursor *cursor, int allow_special,
                      struct added_match *match_out);

#endif
