/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vocabulary: the bytes of all tokens as tries laid flat, so that tokens with a common beginning
 * are walked together and left together.
 *
 * A token that stands for itself (an added one) is entered with a marker byte before its text, and,
 * unless it is special, without it too.  Tokens of plain text only (few whole characters, no quote,
 * backslash, control or end of line) stand apart: where a grammar allows any text of so many
 * characters they are all legal at once.
 *
 * Owner    one model; matchers borrow it.
 * Memory   about 50 bytes a token, and a mask for each number of plain characters; texts are
 *          borrowed.
 * Threads  read only once open.
 * Fails    STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_VOCABULARY_H
#define TROUPE_ENGINE_GRAMMAR_VOCABULARY_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VOCABULARY_TOKEN_SIZE_MAX = 255, /* longer ones are never legal in a grammar */
    VOCABULARY_PLAIN_MAX = 24,       /* characters of a plain token */
};

struct tokenizer;

struct vocabulary_token {
    uint32_t id;
    const char *bytes; /* lives as long as the vocabulary */
    size_t size;
    bool is_added;   /* one token wherever it stands */
    bool is_special; /* and no part of a text */
    bool is_end;     /* ends the answer */
};

struct vocabulary_text {
    const char *bytes; /* NULL: none */
    uint32_t id;
    uint8_t size;
};

/* One byte after those of the node above; children follow their parent. */
struct vocabulary_node {
    uint32_t skip;   /* the first node that is not below this one */
    uint32_t id_end; /* its tokens: those before this place that the node before does not have */
    uint8_t byte;
    uint8_t most; /* characters of the longest token below, as plain text */
};

struct vocabulary_trie {
    struct vocabulary_node *nodes; /* nodes[0] is the root, which stands for no byte */
    uint32_t node_count;
    uint32_t *ids;
};

struct vocabulary {
    size_t rows;  /* bits of a mask */
    size_t words; /* of 32 bits */
    struct vocabulary_trie plain;
    struct vocabulary_trie others;
    uint32_t *plain_masks; /* [VOCABULARY_PLAIN_MAX + 1][words]: of at most so many characters */
    uint32_t *end_mask;
    struct vocabulary_text *by_id;   /* as text */
    struct vocabulary_text *markers; /* of added tokens, in order of ids */
    size_t marker_count;
    char *marker_bytes;
};

MUST_CHECK enum status vocabulary_open(const struct vocabulary_token *tokens, size_t count,
                                       size_t rows, struct vocabulary *vocabulary_out);
/* The tokens of a model with `rows` logits. */
MUST_CHECK enum status vocabulary_open_tokenizer(const struct tokenizer *tokenizer, size_t rows,
                                                 struct vocabulary *vocabulary_out);
void vocabulary_close(struct vocabulary *vocabulary);
/* The token as a marker; NULL when it is none. */
const struct vocabulary_text *vocabulary_marker(const struct vocabulary *vocabulary, uint32_t id);
size_t vocabulary_memory(const struct vocabulary *vocabulary);

#endif
