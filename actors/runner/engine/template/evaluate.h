/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evaluate: expressions to values, statements to text.
 *
 * Owner    one rendering.
 * Memory   the rendering's arena.
 * Threads  none: one rendering, one thread; about 2 MiB of stack at the deepest.
 * Fails    false after rendering_fail.
 */
#ifndef TROUPE_ENGINE_TEMPLATE_EVALUATE_H
#define TROUPE_ENGINE_TEMPLATE_EVALUATE_H

#include "actors/runner/engine/template/syntax.h"

struct binding {
    struct text name;
    struct value value;
};

/* Names that were set; one that is not here is looked for outside. */
struct scope {
    struct scope *outer;
    struct binding *bindings;
    size_t count;
    size_t capacity;
};

struct macro {
    const struct node *node;
    struct scope *scope; /* where it was defined */
};

struct loop {
    const struct node *node;
    struct scope *scope; /* around the loop */
    struct list *source;
    size_t source_position;
    struct list *items; /* those that passed the filter, as far as read */
    size_t index;
    unsigned level;
    struct value changed;
    bool has_changed;
};

enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE, FLOW_FAIL };

MUST_CHECK bool evaluate(struct rendering *rendering, const struct node *node,
                         struct value *value_out);
MUST_CHECK enum flow execute(struct rendering *rendering, const struct node_list *body);
MUST_CHECK bool arguments_evaluate(struct rendering *rendering,
                                   const struct node_arguments *nodes,
                                   struct arguments *arguments_out);
/* Runs statements into a text of their own. */
MUST_CHECK bool execute_captured(struct rendering *rendering, const struct node_list *body,
                                 struct text *text_out);

struct scope *scope_new(struct rendering *rendering, struct scope *outer);
MUST_CHECK bool scope_set(struct rendering *rendering, struct scope *scope, struct text name,
                          struct value value);
MUST_CHECK bool name_lookup(struct rendering *rendering, struct text name,
                            struct value *value_out);
MUST_CHECK bool target_assign(struct rendering *rendering, const struct node *target,
                              struct value value);

MUST_CHECK bool macro_call(struct rendering *rendering, const struct macro *macro,
                           const struct arguments *arguments, struct value *value_out);
MUST_CHECK enum flow recursive_loop_run(struct rendering *rendering, const struct node *node,
                              struct scope *scope, struct value source, unsigned level);
MUST_CHECK bool loop_call(struct rendering *rendering, struct loop *loop,
                          const struct arguments *arguments, struct value *value_out);
/* `loop.index` and its siblings; `found_out` says whether there is such a one. */
MUST_CHECK bool loop_attribute(struct rendering *rendering, struct value self,
                               struct text name, bool *found_out, struct value *value_out);

/* `a + b` and the other operators. */
MUST_CHECK bool binary_evaluate(struct rendering *rendering, enum operation operation,
                                struct value left, struct value right,
                                struct value *value_out);
MUST_CHECK bool slice_evaluate(struct rendering *rendering, struct value value,
                               const struct value bounds[3], struct value *value_out);

#endif
