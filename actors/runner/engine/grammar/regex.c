/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/regex.h"

#include "actors/runner/engine/grammar/regex_parts.h"
#include "protocol/memory.h"

#include <string.h>

/* ---- the tree becomes states ---- */

struct builder {
    const struct regex_tree *tree;
    struct automaton *automaton;
    enum code_form form;
};

static void build(const struct builder *builder, uint32_t index, uint32_t from, uint32_t to);

static void build_repeat(const struct builder *builder, const struct regex_node *node,
                         uint32_t from, uint32_t to)
{
    struct automaton *automaton = builder->automaton;
    for (uint32_t count = 0; count < node->least && automaton->failed == STATUS_OK; count++) {
        const uint32_t next = automaton_state(automaton);
        build(builder, node->child, from, next);
        from = next;
    }
    if (node->most == REGEX_ENDLESS) {
        const uint32_t loop = automaton_state(automaton);
        automaton_skip(automaton, from, loop);
        build(builder, node->child, loop, loop);
        automaton_skip(automaton, loop, to);
        return;
    }
    for (uint32_t count = node->least; count < node->most && automaton->failed == STATUS_OK;
         count++) {
        const uint32_t next = automaton_state(automaton);
        automaton_skip(automaton, from, to);
        build(builder, node->child, from, next);
        from = next;
    }
    automaton_skip(automaton, from, to);
}

/* Children are a list by `next`; recursion is as deep as the groups of the pattern. */
static void build(const struct builder *builder, uint32_t index, uint32_t from, uint32_t to)
{
    struct automaton *automaton = builder->automaton;
    const struct regex_node *node = &builder->tree->nodes[index];
    if (automaton->failed != STATUS_OK)
        return;
    switch (node->kind) {
    case REGEX_SET:
        code_set_build(node->set, builder->form, automaton, from, to);
        break;
    case REGEX_REPEAT:
        build_repeat(builder, node, from, to);
        break;
    case REGEX_EITHER:
        for (uint32_t child = node->child; child; child = builder->tree->nodes[child].next) {
            /* A state of its own, so that loops of one branch do not lead into another. */
            const uint32_t begin = automaton_state(automaton);
            automaton_skip(automaton, from, begin);
            build(builder, child, begin, to);
        }
        break;
    case REGEX_CHAIN:
        for (uint32_t child = node->child; child; child = builder->tree->nodes[child].next) {
            const uint32_t next = automaton_state(automaton);
            build(builder, child, from, next);
            from = next;
        }
        automaton_skip(automaton, from, to);
        break;
    case REGEX_START: /* regex_build looked at them */
    case REGEX_END:
        automaton_skip(automaton, from, to);
    }
}

/* ---- anchors ---- */

static bool has_anchor(const struct regex_tree *tree, uint32_t index)
{
    const struct regex_node *node = &tree->nodes[index];
    if (node->kind == REGEX_START || node->kind == REGEX_END)
        return true;
    for (uint32_t child = node->child; child; child = tree->nodes[child].next)
        if (has_anchor(tree, child))
            return true;
    return false;
}

/* The chain without its anchors, which are told; false: one stands where it cannot be obeyed. */
static bool take_anchors(struct regex_tree *tree, uint32_t chain, bool *starts_out, bool *ends_out)
{
    struct regex_node *nodes = tree->nodes;
    *starts_out = *ends_out = false;
    while (nodes[chain].child && nodes[nodes[chain].child].kind == REGEX_START) {
        *starts_out = true;
        nodes[chain].child = nodes[nodes[chain].child].next;
    }
    uint32_t before = 0; /* the last that is no $ */
    for (uint32_t child = nodes[chain].child; child; child = nodes[child].next)
        if (nodes[child].kind != REGEX_END)
            before = child;
    uint32_t *tail = before ? &nodes[before].next : &nodes[chain].child;
    *ends_out = *tail != 0;
    *tail = 0;
    return !has_anchor(tree, chain);
}

/* `(^a|b$)` alone in its group is `^a|b$`. */
static uint32_t unwrapped(const struct regex_tree *tree, uint32_t index)
{
    const struct regex_node *node = &tree->nodes[index];
    while (node->kind == REGEX_CHAIN && node->child && !tree->nodes[node->child].next &&
           (tree->nodes[node->child].kind == REGEX_CHAIN ||
            tree->nodes[node->child].kind == REGEX_EITHER)) {
        index = node->child;
        node = &tree->nodes[index];
    }
    return index;
}

static void build_any(const struct builder *builder, uint32_t from, uint32_t to)
{
    static const struct code_set all = {.ranges = {{0, CODE_POINT_LAST}}, .count = 1};
    const uint32_t loop = automaton_state(builder->automaton);
    automaton_skip(builder->automaton, from, loop);
    code_set_build(&all, builder->form, builder->automaton, loop, loop);
    automaton_skip(builder->automaton, loop, to);
}

static bool build_branch(const struct builder *builder, struct regex_tree *tree, uint32_t branch,
                         enum regex_match match, uint32_t from, uint32_t to)
{
    struct automaton *automaton = builder->automaton;
    branch = unwrapped(tree, branch);
    bool good = true;
    if (tree->nodes[branch].kind == REGEX_EITHER) {
        for (uint32_t child = tree->nodes[branch].child; child && good;
             child = tree->nodes[child].next)
            good = build_branch(builder, tree, child, match, from, to);
        return good;
    }
    bool starts = false;
    bool ends = false;
    if (tree->nodes[branch].kind == REGEX_CHAIN)
        good = take_anchors(tree, branch, &starts, &ends);
    else
        good = !has_anchor(tree, branch);
    const uint32_t begin = automaton_state(automaton);
    const uint32_t end = automaton_state(automaton);
    if (match == REGEX_SEARCH && !starts)
        build_any(builder, from, begin);
    else
        automaton_skip(automaton, from, begin);
    build(builder, branch, begin, end);
    if (match == REGEX_SEARCH && !ends)
        build_any(builder, end, to);
    else
        automaton_skip(automaton, end, to);
    return good;
}

enum { COUNT_SUSPECT = 8 };

/* The largest product of nested counts; an endless one counts as what it must have. */
static uint32_t count_of(const struct regex_tree *tree, uint32_t index)
{
    const struct regex_node *node = &tree->nodes[index];
    uint64_t count = 1;
    for (uint32_t child = node->child; child; child = tree->nodes[child].next) {
        const uint32_t one = count_of(tree, child);
        count = one > count ? one : count;
    }
    const uint32_t most = node->most == REGEX_ENDLESS ? node->least : node->most;
    if (node->kind == REGEX_REPEAT && most > 1)
        count *= most;
    return count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
}

enum status regex_build(const char *pattern, size_t size, enum regex_match match,
                        enum code_form form, struct automaton *automaton, uint32_t from,
                        uint32_t to, struct reason *reason)
{
    struct regex_tree tree;
    enum status status = regex_parse(pattern, size, &tree, reason);
    if (status != STATUS_OK)
        return status;
    const struct builder builder = {&tree, automaton, form};
    const uint32_t count = count_of(&tree, tree.root);
    if (count >= COUNT_SUSPECT)
        automaton_suspect(automaton, from, count, pattern, size);
    if (!build_branch(&builder, &tree, tree.root, match, from, to))
        status = refuse(reason, STATUS_UNSUPPORTED,
                        "regular expression: ^ and $ are supported only at the ends of the "
                        "expression or of its alternatives");
    else if (automaton->failed == STATUS_TOO_LARGE)
        status = refuse(reason, STATUS_TOO_LARGE,
                        "the regular expression %.*s explodes: it takes more than %d states or %d "
                        "edges; use smaller counts or fewer alternatives",
                        (int)(size < 48 ? size : 48), pattern, AUTOMATON_STATES_MAX,
                        AUTOMATON_EDGES_MAX);
    regex_tree_fini(&tree);
    return status;
}
