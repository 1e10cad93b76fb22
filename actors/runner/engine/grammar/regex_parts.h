/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regex_parts: the tree of a regular expression, between its parser and its builder.
 *
 * Owner    regex.c.
 * Memory   the nodes and the sets of their characters, until regex_tree_fini.
 * Threads  none of its own.
 * Fails    as regex.h says.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_REGEX_PARTS_H
#define TROUPE_ENGINE_GRAMMAR_REGEX_PARTS_H

#include "actors/runner/engine/grammar/code_points.h"

#define REGEX_ENDLESS UINT32_MAX

enum regex_kind {
    REGEX_SET = 1,
    REGEX_REPEAT, /* of its one child */
    REGEX_EITHER,
    REGEX_CHAIN,
    REGEX_START, /* ^ */
    REGEX_END,   /* $ */
};

struct regex_node {
    enum regex_kind kind;
    uint32_t child; /* the first; 0: none */
    uint32_t next;  /* sibling; 0: none */
    uint32_t least, most;
    struct code_set *set;
};

struct regex_tree {
    struct regex_node *nodes; /* nodes[0] is none */
    uint32_t count, capacity;
    uint32_t root;
};

MUST_CHECK enum status regex_parse(const char *pattern, size_t size, struct regex_tree *tree_out,
                                   struct reason *reason);
void regex_tree_fini(struct regex_tree *tree);

#endif
