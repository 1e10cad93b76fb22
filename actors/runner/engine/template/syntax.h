/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syntax: the tree of a parsed template.
 *
 * One kind of node for all; which members it uses is said at its kind.
 *
 * Owner    the chat template.
 * Memory   the template's arena; never changes after parsing.
 * Threads  any, for reading.
 */
#ifndef TROUPE_ENGINE_TEMPLATE_SYNTAX_H
#define TROUPE_ENGINE_TEMPLATE_SYNTAX_H

#include "actors/runner/engine/template/lexer.h"

enum node_kind {
    /* expressions */
    NODE_CONSTANT,      /* constant */
    NODE_BLOCK_TEXT,    /* the text of the filter or set block around it */
    NODE_NAME,          /* name */
    NODE_NAMESPACE_REF, /* name, attribute; only assigned to */
    NODE_LIST,          /* items */
    NODE_TUPLE,         /* items */
    NODE_DICT,          /* items are keys, values */
    NODE_NEGATE,        /* left */
    NODE_POSITIVE,      /* left */
    NODE_NOT,           /* left */
    NODE_AND,           /* left, right */
    NODE_OR,            /* left, right */
    NODE_BINARY,        /* operation, left, right */
    NODE_CONCAT,        /* items */
    NODE_COMPARE,       /* left, items are NODE_OPERAND */
    NODE_OPERAND,       /* operation, left */
    NODE_CONDITION,     /* left if right else third (may be NULL) */
    NODE_ATTRIBUTE,     /* left, name */
    NODE_SUBSCRIPT,     /* left, right */
    NODE_SLICE,         /* left:right:third, each may be NULL */
    NODE_CALL,          /* left, arguments */
    NODE_FILTER,        /* left, name, callable, arguments */
    NODE_TEST,          /* left, name, callable, arguments */
    /* statements */
    NODE_DATA,         /* constant */
    NODE_OUTPUT,       /* left */
    NODE_IF,           /* left, body, otherwise */
    NODE_FOR,          /* left target, right source, third filter, body, otherwise, flag */
    NODE_SET,          /* left target, right */
    NODE_SET_BLOCK,    /* left target, right filters or NULL, body */
    NODE_MACRO,        /* name, items are parameters, values their defaults, body */
    NODE_CALL_BLOCK,   /* left the call, right the NODE_MACRO of the caller */
    NODE_FILTER_BLOCK, /* right filters, body */
    NODE_WITH,         /* items are targets, values, body */
    NODE_SCOPE,        /* body: `generation` and `block` */
    NODE_BREAK,
    NODE_CONTINUE,
};

enum operation {
    OPERATION_ADD,
    OPERATION_SUBTRACT,
    OPERATION_MULTIPLY,
    OPERATION_DIVIDE,
    OPERATION_FLOOR_DIVIDE,
    OPERATION_MODULO,
    OPERATION_POWER,
    OPERATION_EQUAL,
    OPERATION_NOT_EQUAL,
    OPERATION_LESS,
    OPERATION_LESS_EQUAL,
    OPERATION_GREATER,
    OPERATION_GREATER_EQUAL,
    OPERATION_IN,
    OPERATION_NOT_IN,
};

struct node_list {
    struct node **nodes;
    size_t count;
    size_t capacity;
};

struct node_arguments {
    struct node_list values;
    struct node_list named; /* NODE_OPERAND: name, left */
    struct node *spread;
    struct node *spread_named;
};

struct node {
    enum node_kind kind;
    enum operation operation;
    unsigned line;
    unsigned height;
    bool is_recursive; /* for */
    bool uses_caller, uses_varargs, uses_kwargs;
    struct text name;
    struct text attribute;
    struct value constant;
    struct node *left, *right, *third;
    struct node_list items, values, body, otherwise;
    struct node_arguments arguments;
    const struct callable_row *callable; /* NULL: no such filter or test */
};

/* Parses a whole template. */
MUST_CHECK enum status syntax_parse(struct arena *arena, struct text source,
                                    struct node_list *body_out, struct reason *reason);

#endif
