/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/template/parser.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The parser recurses over nested brackets and blocks, the evaluator over the height of the tree,
 * which long chains of `a + b + c` raise too. */
enum { PARSE_DEPTH_MAX = 100, HEIGHT_MAX = 400 };

void *parser_refuse(struct parser *parser, const char *format, ...)
{
    if (parser->status == STATUS_OK) {
        char sentence[200];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(sentence, sizeof(sentence), format, arguments);
        va_end(arguments);
        parser->status = refuse(parser->reason, STATUS_MALFORMED, "chat template, line %u: %s",
                                parser->token->line, sentence);
    }
    return NULL;
}

bool parser_enter(struct parser *parser)
{
    if (parser->depth >= PARSE_DEPTH_MAX)
        return parser_refuse(parser, "expressions or blocks nest too deeply") != NULL;
    parser->depth++;
    return true;
}

void parser_leave(struct parser *parser)
{
    parser->depth--;
}

bool token_is(const struct token *token, const char *sign_or_word)
{
    return (token->kind == TOKEN_OPERATOR || token->kind == TOKEN_NAME) &&
           text_equals(token->text, sign_or_word);
}

bool parser_skip(struct parser *parser, const char *sign_or_word)
{
    if (!token_is(parser->token, sign_or_word))
        return false;
    parser->token++;
    return true;
}

bool parser_expect(struct parser *parser, const char *sign_or_word)
{
    if (parser_skip(parser, sign_or_word))
        return true;
    return parser_refuse(parser, "'%s' is missing", sign_or_word) != NULL;
}

bool parser_expect_name(struct parser *parser, struct text *name_out)
{
    if (parser->token->kind != TOKEN_NAME)
        return parser_refuse(parser, "a name is missing") != NULL;
    *name_out = parser->token->text;
    parser->token++;
    return true;
}

struct node *node_new(struct parser *parser, enum node_kind kind)
{
    struct node *node = arena_take(parser->arena, sizeof(*node));
    if (!node)
        return parser_refuse(parser, "the template is too large");
    node->kind = kind;
    node->line = parser->token->line;
    node->height = 1;
    return node;
}

bool node_list_add(struct parser *parser, struct node_list *list, struct node *node)
{
    if (!node)
        return false;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 4 : list->capacity * 2;
        struct node **nodes = arena_take(parser->arena, capacity * sizeof(*nodes));
        if (!nodes)
            return parser_refuse(parser, "the template is too large") != NULL;
        if (list->count > 0)
            memcpy(nodes, list->nodes, list->count * sizeof(*nodes));
        list->nodes = nodes;
        list->capacity = capacity;
    }
    list->nodes[list->count++] = node;
    return true;
}

static void raise_height(struct node *node, const struct node *child)
{
    if (child && child->height >= node->height)
        node->height = child->height + 1;
}

static void raise_heights(struct node *node, const struct node_list *children)
{
    for (size_t index = 0; index < children->count; index++)
        raise_height(node, children->nodes[index]);
}

struct node *node_done(struct parser *parser, struct node *node)
{
    if (!node)
        return NULL;
    raise_height(node, node->left);
    raise_height(node, node->right);
    raise_height(node, node->third);
    raise_height(node, node->arguments.spread);
    raise_height(node, node->arguments.spread_named);
    raise_heights(node, &node->items);
    raise_heights(node, &node->values);
    raise_heights(node, &node->body);
    raise_heights(node, &node->otherwise);
    raise_heights(node, &node->arguments.values);
    raise_heights(node, &node->arguments.named);
    if (node->height > HEIGHT_MAX)
        return parser_refuse(parser, "expressions or blocks nest too deeply");
    return node;
}

static bool at_end_word(const struct parser *parser, const char *const *end_words)
{
    for (; *end_words; end_words++)
        if (token_is(parser->token, *end_words))
            return true;
    return false;
}

static struct node *parse_statement(struct parser *parser);

static struct node *parse_data(struct parser *parser)
{
    struct node *node = node_new(parser, NODE_DATA);
    if (node)
        node->constant = value_text(parser->token->text);
    parser->token++;
    return node;
}

static struct node *parse_output(struct parser *parser)
{
    parser->token++;
    struct node *node = node_new(parser, NODE_OUTPUT);
    if (!node)
        return NULL;
    if (parser->token->kind == TOKEN_VARIABLE_END)
        return parser_refuse(parser, "an expression is missing between {{ and }}");
    node->left = parse_tuple(parser, true);
    if (!node->left)
        return NULL;
    if (parser->token->kind != TOKEN_VARIABLE_END)
        return parser_refuse(parser, "}} is missing after the expression");
    parser->token++;
    return node_done(parser, node);
}

static bool expect_block_end(struct parser *parser)
{
    if (parser->token->kind != TOKEN_BLOCK_END)
        return parser_refuse(parser, "%%} is missing") != NULL;
    parser->token++;
    return true;
}

/* Statements up to a tag named by one of `end_words` (NULL-terminated), whose name is then the
 * current token; no words: up to the end of the template. */
static bool parse_body(struct parser *parser, const char *const *end_words,
                       struct node_list *body)
{
    if (!parser_enter(parser))
        return false;
    for (;;) {
        struct node *node = NULL;
        if (parser->token->kind == TOKEN_END) {
            if (*end_words)
                return parser_refuse(parser, "'%s' is missing at the end", *end_words) != NULL;
            break;
        }
        if (parser->token->kind == TOKEN_DATA) {
            node = parse_data(parser);
        } else if (parser->token->kind == TOKEN_VARIABLE_BEGIN) {
            node = parse_output(parser);
        } else {
            parser->token++;
            if (at_end_word(parser, end_words))
                break;
            node = parse_statement(parser);
            if (node && !expect_block_end(parser))
                return false;
        }
        if (!node_list_add(parser, body, node))
            return false;
    }
    parser_leave(parser);
    return true;
}

/* From "%}" to the end word, which is taken too. */
static bool parse_block(struct parser *parser, const char *end_word, struct node_list *body)
{
    const char *const end_words[] = {end_word, NULL};
    if (!expect_block_end(parser) || !parse_body(parser, end_words, body))
        return false;
    parser->token++;
    return true;
}

static struct node *parse_if(struct parser *parser)
{
    static const char *const end_words[] = {"elif", "else", "endif", NULL};
    struct node *node = node_new(parser, NODE_IF);
    if (!node || !(node->left = parse_tuple(parser, false)))
        return NULL;
    parser->condition_depth++;
    if (!expect_block_end(parser) || !parse_body(parser, end_words, &node->body))
        return NULL;
    if (parser_skip(parser, "elif")) {
        /* A chain of these counts as nesting, which keeps its evaluation within bounds. */
        struct node *other = parser_enter(parser) ? parse_if(parser) : NULL;
        parser->condition_depth--;
        if (!node_list_add(parser, &node->otherwise, other))
            return NULL;
        parser_leave(parser);
        return node_done(parser, node);
    }
    if (parser_skip(parser, "else")) {
        if (!parse_block(parser, "endif", &node->otherwise))
            return NULL;
    } else {
        parser->token++;
    }
    parser->condition_depth--;
    return node_done(parser, node);
}

static struct node *parse_for(struct parser *parser)
{
    static const char *const end_words[] = {"endfor", "else", NULL};
    struct node *node = node_new(parser, NODE_FOR);
    if (!node || !(node->left = parse_target(parser, false)) || !parser_expect(parser, "in") ||
        !(node->right = parse_tuple(parser, false)))
        return NULL;
    if (parser_skip(parser, "if") && !(node->third = parse_expression(parser)))
        return NULL;
    node->is_recursive = parser_skip(parser, "recursive");
    parser->loop_depth++;
    if (!expect_block_end(parser) || !parse_body(parser, end_words, &node->body))
        return NULL;
    parser->loop_depth--;
    bool has_else = token_is(parser->token, "else");
    parser->token++;
    if (has_else && !parse_block(parser, "endfor", &node->otherwise))
        return NULL;
    return node_done(parser, node);
}

static struct node *parse_set(struct parser *parser)
{
    struct node *node = node_new(parser, NODE_SET);
    if (!node || !(node->left = parse_target(parser, true)))
        return NULL;
    if (parser_skip(parser, "=")) {
        node->right = parse_tuple(parser, true);
        return node->right ? node_done(parser, node) : NULL;
    }
    node->kind = NODE_SET_BLOCK;
    if (token_is(parser->token, "|")) {
        node->right = parse_filters(parser, node_new(parser, NODE_BLOCK_TEXT));
        if (!node->right)
            return NULL;
    }
    return parse_block(parser, "endset", &node->body) ? node_done(parser, node) : NULL;
}

static bool parse_parameters(struct parser *parser, struct node *macro)
{
    if (!parser_expect(parser, "("))
        return false;
    while (!token_is(parser->token, ")")) {
        if (macro->items.count > 0 && !parser_expect(parser, ","))
            return false;
        if (token_is(parser->token, ")"))
            break;
        struct node *parameter = node_new(parser, NODE_NAME);
        if (!parameter || !parser_expect_name(parser, &parameter->name) ||
            !node_list_add(parser, &macro->items, parameter))
            return false;
        if (parser_skip(parser, "=")) {
            if (!node_list_add(parser, &macro->values, parse_expression(parser)))
                return false;
        } else if (macro->values.count > 0) {
            return parser_refuse(parser, "a parameter without a default follows one with it") !=
                   NULL;
        }
    }
    return parser_expect(parser, ")");
}

/* A macro's body stands for itself: neither a loop nor a macro around it reaches in. */
static bool parse_macro_body(struct parser *parser, struct node *macro, const char *end_word)
{
    struct node *outer_macro = parser->macro;
    unsigned outer_loops = parser->loop_depth;
    parser->macro = macro;
    parser->loop_depth = 0;
    bool done = parse_block(parser, end_word, &macro->body);
    parser->loop_depth = outer_loops;
    parser->macro = outer_macro;
    if (outer_macro) {
        /* A name used in an inner body is the outer macro's, too. */
        outer_macro->uses_caller |= macro->uses_caller;
        outer_macro->uses_varargs |= macro->uses_varargs;
        outer_macro->uses_kwargs |= macro->uses_kwargs;
    }
    return done && node_done(parser, macro);
}

static struct node *parse_macro(struct parser *parser)
{
    struct node *node = node_new(parser, NODE_MACRO);
    if (!node || !parser_expect_name(parser, &node->name) || !parse_parameters(parser, node))
        return NULL;
    return parse_macro_body(parser, node, "endmacro") ? node : NULL;
}

static struct node *parse_call_block(struct parser *parser)
{
    struct node *node = node_new(parser, NODE_CALL_BLOCK);
    struct node *caller = node_new(parser, NODE_MACRO);
    if (!node || !caller)
        return NULL;
    caller->name = (struct text){"caller", 6};
    if (token_is(parser->token, "(") && !parse_parameters(parser, caller))
        return NULL;
    node->left = parse_unary(parser, true);
    if (!node->left)
        return NULL;
    if (node->left->kind != NODE_CALL)
        return parser_refuse(parser, "a call is missing after 'call'");
    if (!parse_macro_body(parser, caller, "endcall"))
        return NULL;
    node->right = caller;
    return node_done(parser, node);
}

static struct node *parse_filter_block(struct parser *parser)
{
    struct node *node = node_new(parser, NODE_FILTER_BLOCK);
    if (!node)
        return NULL;
    node->right = parse_one_filter(parser, node_new(parser, NODE_BLOCK_TEXT));
    node->right = parse_filters(parser, node->right);
    if (!node->right || !parse_block(parser, "endfilter", &node->body))
        return NULL;
    return node_done(parser, node);
}

static struct node *parse_with(struct parser *parser)
{
    struct node *node = node_new(parser, NODE_WITH);
    if (!node)
        return NULL;
    while (parser->token->kind != TOKEN_BLOCK_END) {
        if (node->items.count > 0 && !parser_expect(parser, ","))
            return NULL;
        if (!node_list_add(parser, &node->items, parse_target(parser, false)) ||
            !parser_expect(parser, "=") ||
            !node_list_add(parser, &node->values, parse_expression(parser)))
            return NULL;
    }
    return parse_block(parser, "endwith", &node->body) ? node_done(parser, node) : NULL;
}

static struct node *parse_generation(struct parser *parser)
{
    struct node *node = node_new(parser, NODE_SCOPE);
    unsigned outer_loops = parser->loop_depth;
    if (!node)
        return NULL;
    parser->loop_depth = 0;
    bool done = parse_block(parser, "endgeneration", &node->body);
    parser->loop_depth = outer_loops;
    return done ? node_done(parser, node) : NULL;
}

static struct node *parse_jump(struct parser *parser, enum node_kind kind)
{
    if (parser->loop_depth == 0)
        return parser_refuse(parser, "'break' or 'continue' outside of a loop");
    return node_new(parser, kind);
}

static struct node *parse_break(struct parser *parser)
{
    return parse_jump(parser, NODE_BREAK);
}

static struct node *parse_continue(struct parser *parser)
{
    return parse_jump(parser, NODE_CONTINUE);
}

static struct node *parse_statement(struct parser *parser)
{
    static const struct {
        const char *word;
        struct node *(*parse)(struct parser *parser);
    } rows[] = {
        {"if", parse_if},
        {"for", parse_for},
        {"set", parse_set},
        {"macro", parse_macro},
        {"call", parse_call_block},
        {"filter", parse_filter_block},
        {"with", parse_with},
        {"generation", parse_generation},
        {"break", parse_break},
        {"continue", parse_continue},
    };
    struct text word = parser->token->text;
    if (parser->token->kind != TOKEN_NAME)
        return parser_refuse(parser, "a tag name is missing");
    for (size_t index = 0; index < sizeof(rows) / sizeof(rows[0]); index++) {
        if (text_equals(word, rows[index].word)) {
            parser->token++;
            return rows[index].parse(parser);
        }
    }
    return parser_refuse(parser, "unknown tag '%.*s'", (int)word.size, word.bytes);
}

enum status syntax_parse(struct arena *arena, struct text source, struct node_list *body_out,
                         struct reason *reason)
{
    static const char *const no_words[] = {NULL};
    struct token_list tokens;
    enum status status = lexer_tokens(arena, source, &tokens, reason);
    if (status != STATUS_OK)
        return status;
    struct parser parser = {.arena = arena, .token = tokens.tokens, .reason = reason};
    struct node_list body = {0};
    if (!parse_body(&parser, no_words, &body))
        return parser.status != STATUS_OK ? parser.status : STATUS_MALFORMED;
    *body_out = body;
    return STATUS_OK;
}
