/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parser: what the statement parser and the expression parser share.
 *
 * A parsing function returns NULL (or false) after the reason was noted.  Nesting is limited, so
 * that a template cannot exhaust the stack, here or where the tree is evaluated.
 *
 * Owner    syntax_parse, for as long as it runs.
 * Memory   the template's arena.
 */
#ifndef TROUPE_ENGINE_TEMPLATE_PARSER_H
#define TROUPE_ENGINE_TEMPLATE_PARSER_H

#include "actors/runner/engine/template/syntax.h"

struct parser {
    struct arena *arena;
    const struct token *token; /* the current one */
    unsigned depth;
    unsigned loop_depth;
    unsigned condition_depth; /* inside an `if`, where an unknown filter may never run */
    struct node *macro;       /* the innermost one */
    enum status status;
    struct reason *reason;
};

void *parser_refuse(struct parser *parser, const char *format, ...) PRINTF_LIKE(2, 3);
bool parser_enter(struct parser *parser);
void parser_leave(struct parser *parser);

bool token_is(const struct token *token, const char *sign_or_word);
bool parser_skip(struct parser *parser, const char *sign_or_word);
bool parser_expect(struct parser *parser, const char *sign_or_word);
bool parser_expect_name(struct parser *parser, struct text *name_out);

struct node *node_new(struct parser *parser, enum node_kind kind);
bool node_list_add(struct parser *parser, struct node_list *list, struct node *node);
/* Notes the height of a node whose children are set; NULL when it is too high. */
struct node *node_done(struct parser *parser, struct node *node);

struct node *parse_expression(struct parser *parser);
/* Without `a if b`. */
struct node *parse_or(struct parser *parser);
/* One expression, or a tuple without parentheses. */
struct node *parse_tuple(struct parser *parser, bool with_condition);
/* `|a|b(1)` applied to `node`. */
struct node *parse_filters(struct parser *parser, struct node *node);
/* What an assignment may have on its left. */
struct node *parse_target(struct parser *parser, bool with_namespace);
struct node *parse_call(struct parser *parser, struct node *callee);
struct node *parse_unary(struct parser *parser, bool with_filter);
/* `name | after the pipe`: the rest of one filter. */
struct node *parse_one_filter(struct parser *parser, struct node *node);

#endif
