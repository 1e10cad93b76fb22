/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vocabulary: the bytes of all tokens in order, so that tokens with a common beginning are walked
 * together, as in a trie laid flat.
 *
 * A token that stands for itself (an added one) is entered with a marker byte before its text, and,
 * unless it is special, without it too.  Tokens of plain text only (whole characters, no quote,
 * backslash or control) stand apart: where a grammar allows any text they are all legal at once.
 *
 * Owner    one model; matchers borrow it.
 * Memory   about 16 bytes a token and the bytes of the added ones; texts are borrowed.
 * Threads  read only once open.
 * Fails    STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_VOCABULARY_H
#define TROUPE_ENGINE_GRAMMAR_VOCABULARY_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VOCABULARY_TOKEN_SIZE_MAX = 255 }; /* longer ones are never legal in a grammar */

struct tokenizer;

struct vocabulary_token {
    uint32_t id;
    const char *bytes; /* lives as long as the vocabulary */
    size_t size;
    bool is_added;   /* one token wherever it stands */
    bool is_special; /* and no part of a text */
    bool is_end;     /* ends the answer */
};

struct vocabulary_entry {
    const char *bytes;
    uint32_t id;
    uint8_t size;
    uint8_t shared; /* bytes it has in common with the entry before it */
};

struct vocabulary {
    size_t rows;  /* bits of a mask */
    size_t words; /* of 32 bits */
    struct vocabulary_entry *plain;
    size_t plain_count;
    struct vocabulary_entry *others;
    size_t others_count;
    uint32_t *plain_mask;
    uint32_t *end_mask;
    struct vocabulary_entry *by_id; /* as text; bytes NULL: none */
    struct vocabulary_entry *markers_by_id;
    char *marker_bytes;
};

MUST_CHECK enum status vocabulary_open(const struct vocabulary_token *tokens, size_t count,
                                       size_t rows, struct vocabulary *vocabulary_out);
/* The tokens of a model with `rows` logits. */
MUST_CHECK enum status vocabulary_open_tokenizer(const struct tokenizer *tokenizer, size_t rows,
                                                 struct vocabulary *vocabulary_out);
void vocabulary_close(struct vocabulary *vocabulary);

#endif
