/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/template/evaluate.h"

#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"

static bool unpack(struct rendering *rendering, const struct node *target, struct value value)
{
    struct list *items;
    if (!value_items(rendering, value, &items))
        return false;
    if (items->count != target->items.count)
        return rendering_fail(rendering, STATUS_INVALID,
                              "%s values to unpack (expected %zu, got %zu; chat template, line "
                              "%u)",
                              items->count < target->items.count ? "not enough" : "too many",
                              target->items.count, items->count, target->line);
    for (size_t index = 0; index < items->count; index++)
        if (!target_assign(rendering, target->items.nodes[index], items->items[index]))
            return false;
    return true;
}

static bool namespace_assign(struct rendering *rendering, const struct node *target,
                             struct value value)
{
    struct value space;
    if (!name_lookup(rendering, target->name, &space))
        return false;
    if (space.kind != VALUE_NAMESPACE)
        return rendering_fail(rendering, STATUS_INVALID,
                              "cannot assign attribute on non-namespace object '%.*s' (chat "
                              "template, line %u)",
                              (int)target->name.size, target->name.bytes, target->line);
    return dict_put(rendering, space.as.dict, value_text(target->attribute), value);
}

bool target_assign(struct rendering *rendering, const struct node *target, struct value value)
{
    if (target->kind == NODE_NAME)
        return scope_set(rendering, rendering->scope, target->name, value);
    if (target->kind == NODE_NAMESPACE_REF)
        return namespace_assign(rendering, target, value);
    return unpack(rendering, target, value);
}

static enum flow flow_of(bool done)
{
    return done ? FLOW_ON : FLOW_FAIL;
}

static enum flow data_execute(struct rendering *rendering, const struct node *node)
{
    return flow_of(output_add(rendering, rendering->output, node->constant.as.text));
}

static enum flow output_execute(struct rendering *rendering, const struct node *node)
{
    struct value value;
    return flow_of(evaluate(rendering, node->left, &value) &&
                   print_value(rendering, rendering->output, value));
}

static enum flow if_execute(struct rendering *rendering, const struct node *node)
{
    struct value condition;
    if (!evaluate(rendering, node->left, &condition))
        return FLOW_FAIL;
    return execute(rendering, value_truth(condition) ? &node->body : &node->otherwise);
}

static enum flow for_execute(struct rendering *rendering, const struct node *node)
{
    struct value source;
    if (!evaluate(rendering, node->right, &source))
        return FLOW_FAIL;
    return recursive_loop_run(rendering, node, rendering->scope, source, 0);
}

static enum flow set_execute(struct rendering *rendering, const struct node *node)
{
    struct value value;
    return flow_of(evaluate(rendering, node->right, &value) &&
                   target_assign(rendering, node->left, value));
}

/* Runs statements in a scope of their own; their flow goes on to the caller. */
static enum flow scope_execute(struct rendering *rendering, const struct node_list *body)
{
    struct scope *outer = rendering->scope;
    struct scope *inner = scope_new(rendering, outer);
    if (!inner)
        return FLOW_FAIL;
    rendering->scope = inner;
    enum flow flow = execute(rendering, body);
    rendering->scope = outer;
    return flow;
}

static enum flow captured_flow(struct rendering *rendering, const struct node_list *body,
                               struct text *text_out)
{
    struct output output = {0};
    struct output *outer = rendering->output;
    rendering->output = &output;
    enum flow flow = scope_execute(rendering, body);
    rendering->output = outer;
    *text_out = output_text(&output);
    return flow;
}

bool execute_captured(struct rendering *rendering, const struct node_list *body,
                      struct text *text_out)
{
    return captured_flow(rendering, body, text_out) != FLOW_FAIL;
}

/* The captured body through the block's filters, if it has some. */
static enum flow filtered(struct rendering *rendering, const struct node *node,
                          struct value *value_out)
{
    struct text text;
    enum flow flow = captured_flow(rendering, &node->body, &text);
    if (flow != FLOW_ON)
        return flow;
    *value_out = value_text(text);
    if (!node->right)
        return FLOW_ON;
    struct value outer = rendering->block_text;
    rendering->block_text = *value_out;
    bool done = evaluate(rendering, node->right, value_out);
    rendering->block_text = outer;
    return flow_of(done);
}

static enum flow set_block_execute(struct rendering *rendering, const struct node *node)
{
    struct value value;
    enum flow flow = filtered(rendering, node, &value);
    return flow == FLOW_ON ? flow_of(target_assign(rendering, node->left, value)) : flow;
}

static enum flow filter_block_execute(struct rendering *rendering, const struct node *node)
{
    struct value value;
    enum flow flow = filtered(rendering, node, &value);
    return flow == FLOW_ON ? flow_of(print_value(rendering, rendering->output, value)) : flow;
}

static bool macro_value(struct rendering *rendering, const struct node *node,
                        struct value *value_out)
{
    struct macro *macro = rendering_take(rendering, sizeof(*macro));
    if (!macro)
        return false;
    *macro = (struct macro){node, rendering->scope};
    *value_out = (struct value){.kind = VALUE_MACRO, .as.macro = macro};
    return true;
}

static enum flow macro_execute(struct rendering *rendering, const struct node *node)
{
    struct value macro;
    return flow_of(macro_value(rendering, node, &macro) &&
                   scope_set(rendering, rendering->scope, node->name, macro));
}

static enum flow call_block_execute(struct rendering *rendering, const struct node *node)
{
    struct value caller, callee, value;
    struct arguments arguments;
    if (!macro_value(rendering, node->right, &caller) ||
        !evaluate(rendering, node->left->left, &callee) ||
        !arguments_evaluate(rendering, &node->left->arguments, &arguments))
        return FLOW_FAIL;
    size_t count = arguments.named_count;
    struct named_value *named = rendering_take(rendering, (count + 1) * sizeof(*named));
    if (!named)
        return FLOW_FAIL;
    for (size_t index = 0; index < count; index++)
        named[index] = arguments.named[index];
    named[count] = (struct named_value){{"caller", 6}, caller};
    arguments.named = named;
    arguments.named_count = count + 1;
    return flow_of(value_call(rendering, callee, &arguments, &value) &&
                   print_value(rendering, rendering->output, value));
}

static enum flow with_execute(struct rendering *rendering, const struct node *node)
{
    struct scope *outer = rendering->scope;
    struct scope *inner = scope_new(rendering, outer);
    if (!inner)
        return FLOW_FAIL;
    enum flow flow = FLOW_ON;
    for (size_t index = 0; flow == FLOW_ON && index < node->items.count; index++) {
        struct value value;
        /* The values are of the outer scope. */
        flow = flow_of(evaluate(rendering, node->values.nodes[index], &value));
        rendering->scope = inner;
        if (flow == FLOW_ON)
            flow = flow_of(target_assign(rendering, node->items.nodes[index], value));
        rendering->scope = outer;
    }
    rendering->scope = inner;
    if (flow == FLOW_ON)
        flow = execute(rendering, &node->body);
    rendering->scope = outer;
    return flow;
}

static enum flow scope_node_execute(struct rendering *rendering, const struct node *node)
{
    return scope_execute(rendering, &node->body);
}

static enum flow jump_execute(struct rendering *rendering, const struct node *node)
{
    (void)rendering;
    return node->kind == NODE_BREAK ? FLOW_BREAK : FLOW_CONTINUE;
}

enum flow execute(struct rendering *rendering, const struct node_list *body)
{
    static enum flow (*const executors[])(struct rendering *, const struct node *) = {
        [NODE_DATA] = data_execute,
        [NODE_OUTPUT] = output_execute,
        [NODE_IF] = if_execute,
        [NODE_FOR] = for_execute,
        [NODE_SET] = set_execute,
        [NODE_SET_BLOCK] = set_block_execute,
        [NODE_MACRO] = macro_execute,
        [NODE_CALL_BLOCK] = call_block_execute,
        [NODE_FILTER_BLOCK] = filter_block_execute,
        [NODE_WITH] = with_execute,
        [NODE_SCOPE] = scope_node_execute,
        [NODE_BREAK] = jump_execute,
        [NODE_CONTINUE] = jump_execute,
    };
    if (!rendering_enter(rendering))
        return FLOW_FAIL;
    enum flow flow = FLOW_ON;
    for (size_t index = 0; flow == FLOW_ON && index < body->count; index++) {
        const struct node *node = body->nodes[index];
        rendering->line = node->line;
        flow = rendering_charge(rendering, 1) ? executors[node->kind](rendering, node)
                                              : FLOW_FAIL;
    }
    rendering_leave(rendering);
    return flow;
}
