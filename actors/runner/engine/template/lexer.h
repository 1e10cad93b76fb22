/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lexer: template text to tokens, with the white space rules of trim_blocks and lstrip_blocks.
 *
 * Owner    the chat template.
 * Memory   tokens and changed texts in the arena; texts otherwise lie in the source.
 * Threads  none.
 * Fails    STATUS_MALFORMED with the line, STATUS_TOO_LARGE.
 */
#ifndef TROUPE_ENGINE_TEMPLATE_LEXER_H
#define TROUPE_ENGINE_TEMPLATE_LEXER_H

#include "actors/runner/engine/template/value.h"

enum token_kind {
    TOKEN_END,
    TOKEN_DATA,
    TOKEN_VARIABLE_BEGIN,
    TOKEN_VARIABLE_END,
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_NAME,
    TOKEN_STRING,
    TOKEN_INTEGER,
    TOKEN_FLOAT,
    TOKEN_OPERATOR,
};

struct token {
    enum token_kind kind;
    unsigned line;
    struct text text; /* of operators: the sign itself */
    int64_t integer;
    double number;
};

struct token_list {
    struct token *tokens; /* the last one is TOKEN_END */
    size_t count;
    size_t capacity;
};

/* `source` is valid UTF-8 and outlives the tokens. */
MUST_CHECK enum status lexer_tokens(struct arena *arena, struct text source,
                                    struct token_list *tokens_out, struct reason *reason);

#endif
