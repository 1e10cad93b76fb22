/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/template/parser.h"

#include "actors/runner/engine/template/library.h"

#include <string.h>

static struct node *unary_node(struct parser *parser, enum node_kind kind, struct node *left)
{
    struct node *node = left ? node_new(parser, kind) : NULL;
    if (!node)
        return NULL;
    node->left = left;
    return node_done(parser, node);
}

static struct node *binary_node(struct parser *parser, enum node_kind kind,
                                enum operation operation, struct node *left, struct node *right)
{
    struct node *node = left && right ? node_new(parser, kind) : NULL;
    if (!node)
        return NULL;
    node->operation = operation;
    node->left = left;
    node->right = right;
    return node_done(parser, node);
}

static struct node *constant_node(struct parser *parser, struct value constant)
{
    struct node *node = node_new(parser, NODE_CONSTANT);
    if (node)
        node->constant = constant;
    return node;
}

/* Strings that follow each other are one. */
static struct node *parse_string(struct parser *parser)
{
    const struct token *first = parser->token;
    size_t size = 0;
    while (parser->token->kind == TOKEN_STRING)
        size += (parser->token++)->text.size;
    if (parser->token == first + 1)
        return constant_node(parser, value_text(first->text));
    char *bytes = arena_take(parser->arena, size);
    if (!bytes)
        return parser_refuse(parser, "the chat template is too large");
    size_t at = 0;
    for (const struct token *token = first; token < parser->token; token++) {
        if (token->text.size > 0)
            memcpy(bytes + at, token->text.bytes, token->text.size);
        at += token->text.size;
    }
    return constant_node(parser, value_string(bytes, size));
}

static struct node *parse_list(struct parser *parser)
{
    struct node *node = node_new(parser, NODE_LIST);
    if (!node || !parser_expect(parser, "["))
        return NULL;
    while (!token_is(parser->token, "]")) {
        if (node->items.count > 0 && !parser_expect(parser, ","))
            return NULL;
        if (token_is(parser->token, "]"))
            break;
        if (!node_list_add(parser, &node->items, parse_expression(parser)))
            return NULL;
    }
    return parser_expect(parser, "]") ? node_done(parser, node) : NULL;
}

static struct node *parse_dict(struct parser *parser)
{
    struct node *node = node_new(parser, NODE_DICT);
    if (!node || !parser_expect(parser, "{"))
        return NULL;
    while (!token_is(parser->token, "}")) {
        if (node->items.count > 0 && !parser_expect(parser, ","))
            return NULL;
        if (token_is(parser->token, "}"))
            break;
        if (!node_list_add(parser, &node->items, parse_expression(parser)) ||
            !parser_expect(parser, ":") ||
            !node_list_add(parser, &node->values, parse_expression(parser)))
            return NULL;
    }
    return parser_expect(parser, "}") ? node_done(parser, node) : NULL;
}

static void note_macro_name(struct parser *parser, struct text name)
{
    if (!parser->macro)
        return;
    parser->macro->uses_caller |= text_equals(name, "caller");
    parser->macro->uses_varargs |= text_equals(name, "varargs");
    parser->macro->uses_kwargs |= text_equals(name, "kwargs");
}

static struct node *parse_name(struct parser *parser)
{
    struct text name = parser->token->text;
    parser->token++;
    if (text_equals(name, "true") || text_equals(name, "True"))
        return constant_node(parser, value_bool(true));
    if (text_equals(name, "false") || text_equals(name, "False"))
        return constant_node(parser, value_bool(false));
    if (text_equals(name, "none") || text_equals(name, "None"))
        return constant_node(parser, value_none());
    struct node *node = node_new(parser, NODE_NAME);
    if (node)
        node->name = name;
    note_macro_name(parser, name);
    return node;
}

static struct node *parse_parenthesised(struct parser *parser)
{
    parser->token++;
    if (parser_skip(parser, ")"))
        return node_new(parser, NODE_TUPLE);
    struct node *node = parse_tuple(parser, true);
    return node && parser_expect(parser, ")") ? node : NULL;
}

static struct node *parse_primary(struct parser *parser)
{
    const struct token *token = parser->token;
    if (token->kind == TOKEN_NAME)
        return parse_name(parser);
    if (token->kind == TOKEN_STRING)
        return parse_string(parser);
    if (token->kind == TOKEN_INTEGER || token->kind == TOKEN_FLOAT) {
        parser->token++;
        return constant_node(parser, token->kind == TOKEN_INTEGER
                                         ? value_int(token->integer)
                                         : value_float(token->number));
    }
    if (token_is(token, "("))
        return parse_parenthesised(parser);
    if (token_is(token, "["))
        return parse_list(parser);
    if (token_is(token, "{"))
        return parse_dict(parser);
    if (token->kind == TOKEN_OPERATOR)
        return parser_refuse(parser, "unexpected '%.*s'", (int)token->text.size,
                             token->text.bytes);
    return parser_refuse(parser, "an expression is missing");
}

static bool ends_subscript(const struct token *token)
{
    return token_is(token, "]") || token_is(token, ",");
}

static struct node *parse_subscribed(struct parser *parser)
{
    struct node *first = NULL;
    if (!token_is(parser->token, ":")) {
        first = parse_expression(parser);
        if (!first || !token_is(parser->token, ":"))
            return first;
    }
    struct node *slice = node_new(parser, NODE_SLICE);
    if (!slice || !parser_expect(parser, ":"))
        return NULL;
    slice->left = first;
    if (!token_is(parser->token, ":") && !ends_subscript(parser->token)) {
        slice->right = parse_expression(parser);
        if (!slice->right)
            return NULL;
    }
    if (parser_skip(parser, ":") && !ends_subscript(parser->token)) {
        slice->third = parse_expression(parser);
        if (!slice->third)
            return NULL;
    }
    return node_done(parser, slice);
}

static struct node *parse_subscript(struct parser *parser, struct node *left)
{
    if (parser_skip(parser, ".")) {
        const struct token *token = parser->token;
        if (token->kind == TOKEN_INTEGER) {
            parser->token++;
            return binary_node(parser, NODE_SUBSCRIPT, OPERATION_ADD, left,
                               constant_node(parser, value_int(token->integer)));
        }
        struct text name;
        if (!parser_expect_name(parser, &name))
            return NULL;
        struct node *node = unary_node(parser, NODE_ATTRIBUTE, left);
        if (node)
            node->name = name;
        return node;
    }
    parser->token++;
    struct node *right = parse_subscribed(parser);
    if (!right)
        return NULL;
    if (token_is(parser->token, ",")) {
        struct node *tuple = node_new(parser, NODE_TUPLE);
        if (!tuple || !node_list_add(parser, &tuple->items, right))
            return NULL;
        while (parser_skip(parser, ","))
            if (!node_list_add(parser, &tuple->items, parse_subscribed(parser)))
                return NULL;
        right = node_done(parser, tuple);
    }
    if (!right || !parser_expect(parser, "]"))
        return NULL;
    return binary_node(parser, NODE_SUBSCRIPT, OPERATION_ADD, left, right);
}

static bool parse_argument(struct parser *parser, struct node_arguments *arguments)
{
    if (parser_skip(parser, "**")) {
        if (arguments->spread_named)
            return parser_refuse(parser, "two ** arguments in one call");
        arguments->spread_named = parse_expression(parser);
        return arguments->spread_named != NULL;
    }
    if (arguments->spread_named)
        return parser_refuse(parser, "an argument after **");
    if (parser_skip(parser, "*")) {
        if (arguments->spread)
            return parser_refuse(parser, "two * arguments in one call");
        arguments->spread = parse_expression(parser);
        return arguments->spread != NULL;
    }
    if (parser->token->kind == TOKEN_NAME && token_is(parser->token + 1, "=")) {
        struct node *named = node_new(parser, NODE_OPERAND);
        if (!named)
            return false;
        named->name = parser->token->text;
        parser->token += 2;
        named->left = parse_expression(parser);
        return named->left && node_list_add(parser, &arguments->named, node_done(parser, named));
    }
    if (arguments->spread || arguments->named.count > 0)
        return parser_refuse(parser, "a positional argument after a named one");
    return node_list_add(parser, &arguments->values, parse_expression(parser));
}

static bool parse_arguments(struct parser *parser, struct node_arguments *arguments)
{
    if (!parser_expect(parser, "("))
        return false;
    bool needs_comma = false;
    while (!token_is(parser->token, ")")) {
        if (needs_comma && !parser_expect(parser, ","))
            return false;
        if (token_is(parser->token, ")"))
            break;
        if (!parse_argument(parser, arguments))
            return false;
        needs_comma = true;
    }
    return parser_expect(parser, ")");
}

struct node *parse_call(struct parser *parser, struct node *callee)
{
    struct node *node = callee ? node_new(parser, NODE_CALL) : NULL;
    if (!node)
        return NULL;
    node->left = callee;
    return parse_arguments(parser, &node->arguments) ? node_done(parser, node) : NULL;
}

static struct node *parse_postfix(struct parser *parser, struct node *node)
{
    while (node) {
        if (token_is(parser->token, ".") || token_is(parser->token, "["))
            node = parse_subscript(parser, node);
        else if (token_is(parser->token, "("))
            node = parse_call(parser, node);
        else
            break;
    }
    return node;
}

/* "a.b.c" as one name, copied; filters and tests may be named so. */
static bool parse_dotted_name(struct parser *parser, struct text *name_out)
{
    if (!parser_expect_name(parser, name_out))
        return false;
    while (parser_skip(parser, ".")) {
        struct text part;
        if (!parser_expect_name(parser, &part))
            return false;
        *name_out = part;
    }
    return true;
}

struct node *parse_one_filter(struct parser *parser, struct node *left)
{
    struct node *node = left ? node_new(parser, NODE_FILTER) : NULL;
    if (!node || !parse_dotted_name(parser, &node->name))
        return NULL;
    node->left = left;
    node->callable = filter_find(node->name);
    if (!node->callable && parser->condition_depth == 0)
        return parser_refuse(parser, "no filter named '%.*s'", (int)node->name.size,
                             node->name.bytes);
    if (token_is(parser->token, "(") && !parse_arguments(parser, &node->arguments))
        return NULL;
    return node_done(parser, node);
}

struct node *parse_filters(struct parser *parser, struct node *node)
{
    while (node && parser_skip(parser, "|"))
        node = parse_one_filter(parser, node);
    return node;
}

static bool begins_test_argument(const struct token *token)
{
    if (token->kind == TOKEN_NAME)
        return !token_is(token, "else") && !token_is(token, "or") && !token_is(token, "and");
    return token->kind == TOKEN_STRING || token->kind == TOKEN_INTEGER ||
           token->kind == TOKEN_FLOAT || token_is(token, "[") || token_is(token, "{");
}

static struct node *parse_test(struct parser *parser, struct node *left)
{
    parser->token++;
    bool negated = parser_skip(parser, "not");
    struct node *node = node_new(parser, NODE_TEST);
    if (!node || !parse_dotted_name(parser, &node->name))
        return NULL;
    node->left = left;
    node->callable = test_find(node->name);
    if (!node->callable && parser->condition_depth == 0)
        return parser_refuse(parser, "no test named '%.*s'", (int)node->name.size,
                             node->name.bytes);
    if (token_is(parser->token, "(")) {
        if (!parse_arguments(parser, &node->arguments))
            return NULL;
    } else if (begins_test_argument(parser->token)) {
        if (token_is(parser->token, "is"))
            return parser_refuse(parser, "tests cannot be chained with 'is'");
        struct node *argument = parse_postfix(parser, parse_primary(parser));
        if (!node_list_add(parser, &node->arguments.values, argument))
            return NULL;
    }
    node = node_done(parser, node);
    return negated ? unary_node(parser, NODE_NOT, node) : node;
}

struct node *parse_unary(struct parser *parser, bool with_filter)
{
    if (!parser_enter(parser))
        return NULL;
    struct node *node;
    if (parser_skip(parser, "-"))
        node = unary_node(parser, NODE_NEGATE, parse_unary(parser, false));
    else if (parser_skip(parser, "+"))
        node = unary_node(parser, NODE_POSITIVE, parse_unary(parser, false));
    else
        node = parse_primary(parser);
    node = parse_postfix(parser, node);
    while (with_filter && node) {
        if (token_is(parser->token, "|"))
            node = parse_filters(parser, node);
        else if (token_is(parser->token, "is"))
            node = parse_test(parser, node);
        else if (token_is(parser->token, "("))
            node = parse_call(parser, node);
        else
            break;
    }
    parser_leave(parser);
    return node;
}

struct operation_row {
    const char *sign;
    enum operation operation;
};

static const struct operation_row *operation_find(const struct token *token,
                                                  const struct operation_row *rows)
{
    for (; rows->sign; rows++)
        if (token_is(token, rows->sign))
            return rows;
    return NULL;
}

static struct node *parse_power(struct parser *parser)
{
    struct node *left = parse_unary(parser, true);
    while (left && parser_skip(parser, "**"))
        left = binary_node(parser, NODE_BINARY, OPERATION_POWER, left,
                           parse_unary(parser, true));
    return left;
}

static struct node *parse_product(struct parser *parser)
{
    static const struct operation_row rows[] = {{"*", OPERATION_MULTIPLY},
                                                {"/", OPERATION_DIVIDE},
                                                {"//", OPERATION_FLOOR_DIVIDE},
                                                {"%", OPERATION_MODULO},
                                                {NULL, OPERATION_ADD}};
    struct node *left = parse_power(parser);
    const struct operation_row *row;
    while (left && (row = operation_find(parser->token, rows))) {
        parser->token++;
        left = binary_node(parser, NODE_BINARY, row->operation, left, parse_power(parser));
    }
    return left;
}

static struct node *parse_concat(struct parser *parser)
{
    struct node *first = parse_product(parser);
    if (!first || !token_is(parser->token, "~"))
        return first;
    struct node *node = node_new(parser, NODE_CONCAT);
    if (!node || !node_list_add(parser, &node->items, first))
        return NULL;
    while (parser_skip(parser, "~"))
        if (!node_list_add(parser, &node->items, parse_product(parser)))
            return NULL;
    return node_done(parser, node);
}

static struct node *parse_sum(struct parser *parser)
{
    static const struct operation_row rows[] = {
        {"+", OPERATION_ADD}, {"-", OPERATION_SUBTRACT}, {NULL, OPERATION_ADD}};
    struct node *left = parse_concat(parser);
    const struct operation_row *row;
    while (left && (row = operation_find(parser->token, rows))) {
        parser->token++;
        left = binary_node(parser, NODE_BINARY, row->operation, left, parse_concat(parser));
    }
    return left;
}

static struct node *parse_compare(struct parser *parser)
{
    static const struct operation_row rows[] = {
        {"==", OPERATION_EQUAL},   {"!=", OPERATION_NOT_EQUAL},  {"<", OPERATION_LESS},
        {"<=", OPERATION_LESS_EQUAL}, {">", OPERATION_GREATER},  {">=", OPERATION_GREATER_EQUAL},
        {"in", OPERATION_IN},      {NULL, OPERATION_ADD}};
    struct node *left = parse_sum(parser);
    struct node *compare = NULL;
    while (left) {
        const struct operation_row *row = operation_find(parser->token, rows);
        bool is_not_in = token_is(parser->token, "not") && token_is(parser->token + 1, "in");
        if (!row && !is_not_in)
            break;
        parser->token += is_not_in ? 2 : 1;
        struct node *operand = unary_node(parser, NODE_OPERAND, parse_sum(parser));
        if (!operand)
            return NULL;
        operand->operation = is_not_in ? OPERATION_NOT_IN : row->operation;
        if (!compare) {
            compare = node_new(parser, NODE_COMPARE);
            if (!compare)
                return NULL;
            compare->left = left;
        }
        if (!node_list_add(parser, &compare->items, operand))
            return NULL;
    }
    return left && compare ? node_done(parser, compare) : left;
}

static struct node *parse_not(struct parser *parser)
{
    if (!parser_skip(parser, "not"))
        return parse_compare(parser);
    if (!parser_enter(parser))
        return NULL;
    struct node *node = unary_node(parser, NODE_NOT, parse_not(parser));
    parser_leave(parser);
    return node;
}

static struct node *parse_and(struct parser *parser)
{
    struct node *left = parse_not(parser);
    while (left && parser_skip(parser, "and"))
        left = binary_node(parser, NODE_AND, OPERATION_ADD, left, parse_not(parser));
    return left;
}

struct node *parse_or(struct parser *parser)
{
    struct node *left = parse_and(parser);
    while (left && parser_skip(parser, "or"))
        left = binary_node(parser, NODE_OR, OPERATION_ADD, left, parse_and(parser));
    return left;
}

struct node *parse_expression(struct parser *parser)
{
    if (!parser_enter(parser))
        return NULL;
    struct node *node = parse_or(parser);
    while (node && parser_skip(parser, "if")) {
        struct node *condition = node_new(parser, NODE_CONDITION);
        if (!condition)
            return NULL;
        condition->left = node;
        condition->right = parse_or(parser);
        if (!condition->right)
            return NULL;
        if (parser_skip(parser, "else")) {
            condition->third = parse_expression(parser);
            if (!condition->third)
                return NULL;
        }
        node = node_done(parser, condition);
    }
    parser_leave(parser);
    return node;
}

static bool ends_tuple(const struct token *token)
{
    return token->kind == TOKEN_VARIABLE_END || token->kind == TOKEN_BLOCK_END ||
           token_is(token, ")") || token_is(token, "in") || token_is(token, "recursive") ||
           token_is(token, "=") || token_is(token, "if");
}

struct node *parse_tuple(struct parser *parser, bool with_condition)
{
    struct node *first = with_condition ? parse_expression(parser) : parse_or(parser);
    if (!first || !token_is(parser->token, ","))
        return first;
    struct node *tuple = node_new(parser, NODE_TUPLE);
    if (!tuple || !node_list_add(parser, &tuple->items, first))
        return NULL;
    while (parser_skip(parser, ",") && !ends_tuple(parser->token)) {
        struct node *item = with_condition ? parse_expression(parser) : parse_or(parser);
        if (!node_list_add(parser, &tuple->items, item))
            return NULL;
    }
    return node_done(parser, tuple);
}

static struct node *parse_target_item(struct parser *parser, bool with_namespace)
{
    if (parser_skip(parser, "(")) {
        if (!parser_enter(parser))
            return NULL;
        struct node *inner = parse_target(parser, with_namespace);
        parser_leave(parser);
        return inner && parser_expect(parser, ")") ? inner : NULL;
    }
    struct node *node = node_new(parser, NODE_NAME);
    if (!node || !parser_expect_name(parser, &node->name))
        return NULL;
    static const char *const constants[] = {"true", "false", "none", "True", "False", "None"};
    for (size_t index = 0; index < sizeof(constants) / sizeof(constants[0]); index++)
        if (text_equals(node->name, constants[index]))
            return parser_refuse(parser, "cannot assign to '%s'", constants[index]);
    if (with_namespace && parser_skip(parser, ".")) {
        node->kind = NODE_NAMESPACE_REF;
        if (!parser_expect_name(parser, &node->attribute))
            return NULL;
    }
    return node;
}

struct node *parse_target(struct parser *parser, bool with_namespace)
{
    struct node *first = parse_target_item(parser, with_namespace);
    if (!first || !token_is(parser->token, ","))
        return first;
    struct node *tuple = node_new(parser, NODE_TUPLE);
    if (!tuple || !node_list_add(parser, &tuple->items, first))
        return NULL;
    while (parser_skip(parser, ",") && !ends_tuple(parser->token))
        if (!node_list_add(parser, &tuple->items, parse_target_item(parser, with_namespace)))
            return NULL;
    return node_done(parser, tuple);
}
