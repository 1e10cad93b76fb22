/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/template/evaluate.h"

#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"

#include <string.h>

struct scope *scope_new(struct rendering *rendering, struct scope *outer)
{
    struct scope *scope = rendering_take(rendering, sizeof(*scope));
    if (scope)
        scope->outer = outer;
    return scope;
}

bool scope_set(struct rendering *rendering, struct scope *scope, struct text name,
               struct value value)
{
    for (size_t index = 0; index < scope->count; index++) {
        if (texts_equal(scope->bindings[index].name, name)) {
            scope->bindings[index].value = value;
            return true;
        }
    }
    if (scope->count == scope->capacity) {
        size_t capacity = scope->capacity == 0 ? 8 : scope->capacity * 2;
        struct binding *bindings = rendering_take(rendering, capacity * sizeof(*bindings));
        if (!bindings)
            return false;
        if (scope->count > 0)
            memcpy(bindings, scope->bindings, scope->count * sizeof(*bindings));
        scope->bindings = bindings;
        scope->capacity = capacity;
    }
    scope->bindings[scope->count++] = (struct binding){name, value};
    return true;
}

bool name_lookup(struct rendering *rendering, struct text name, struct value *value_out)
{
    for (const struct scope *scope = rendering->scope; scope; scope = scope->outer) {
        for (size_t index = 0; index < scope->count; index++) {
            if (texts_equal(scope->bindings[index].name, name)) {
                *value_out = scope->bindings[index].value;
                return true;
            }
        }
    }
    const struct entry *entry = dict_find(rendering->context, value_text(name));
    if (entry) {
        *value_out = entry->value;
        return true;
    }
    const struct callable_row *function = function_find(name);
    if (function) {
        *value_out = (struct value){.kind = VALUE_FUNCTION, .as.function = function};
        return true;
    }
    return value_undefined(rendering, (struct undefined){.name = name}, value_out);
}

static bool list_evaluate(struct rendering *rendering, const struct node *node,
                          struct value *value_out)
{
    struct list *list = list_new(rendering, node->items.count);
    if (!list)
        return false;
    for (size_t index = 0; index < node->items.count; index++) {
        struct value item;
        if (!evaluate(rendering, node->items.nodes[index], &item) ||
            !list_push(rendering, list, item))
            return false;
    }
    *value_out = value_of_list(node->kind == NODE_LIST ? VALUE_LIST : VALUE_TUPLE, list);
    return true;
}

static bool dict_evaluate(struct rendering *rendering, const struct node *node,
                          struct value *value_out)
{
    struct dict *dict = dict_new(rendering, node->items.count);
    if (!dict)
        return false;
    for (size_t index = 0; index < node->items.count; index++) {
        struct value key, value;
        if (!evaluate(rendering, node->items.nodes[index], &key) ||
            !evaluate(rendering, node->values.nodes[index], &value) ||
            !dict_put(rendering, dict, key, value))
            return false;
    }
    *value_out = value_of_dict(dict);
    return true;
}

static bool sign_evaluate(struct rendering *rendering, const struct node *node,
                          struct value *value_out)
{
    struct value value;
    if (!evaluate(rendering, node->left, &value))
        return false;
    if (value.kind == VALUE_UNDEFINED)
        return value_refuse_undefined(rendering, value);
    if (!value_is_number(value))
        return type_refuse(rendering, "bad operand type for unary sign", value);
    if (value.kind == VALUE_FLOAT) {
        *value_out = node->kind == NODE_NEGATE ? value_float(-value.as.number) : value;
        return true;
    }
    if (node->kind == NODE_NEGATE)
        return binary_evaluate(rendering, OPERATION_SUBTRACT, value_int(0), value, value_out);
    *value_out = value_int(value_as_integer(value));
    return true;
}

static bool logic_evaluate(struct rendering *rendering, const struct node *node,
                           struct value *value_out)
{
    struct value left;
    if (!evaluate(rendering, node->left, &left))
        return false;
    if (node->kind == NODE_NOT) {
        *value_out = value_bool(!value_truth(left));
        return true;
    }
    if (value_truth(left) == (node->kind == NODE_OR)) {
        *value_out = left;
        return true;
    }
    return evaluate(rendering, node->right, value_out);
}

static bool binary_node_evaluate(struct rendering *rendering, const struct node *node,
                                 struct value *value_out)
{
    struct value left, right;
    return evaluate(rendering, node->left, &left) && evaluate(rendering, node->right, &right) &&
           binary_evaluate(rendering, node->operation, left, right, value_out);
}

static bool concat_evaluate(struct rendering *rendering, const struct node *node,
                            struct value *value_out)
{
    struct output output = {0};
    for (size_t index = 0; index < node->items.count; index++) {
        struct value item;
        if (!evaluate(rendering, node->items.nodes[index], &item) ||
            !print_value(rendering, &output, item))
            return false;
    }
    *value_out = value_text(output_text(&output));
    return true;
}

static bool compare_once(struct rendering *rendering, enum operation operation,
                         struct value left, struct value right, bool *holds_out)
{
    static const char *const order_signs[] = {
        [OPERATION_LESS] = "<",
        [OPERATION_LESS_EQUAL] = "<=",
        [OPERATION_GREATER] = ">",
        [OPERATION_GREATER_EQUAL] = ">=",
    };
    bool is_plain = operation == OPERATION_EQUAL || operation == OPERATION_IN;
    bool holds;
    if (is_plain || operation == OPERATION_NOT_EQUAL || operation == OPERATION_NOT_IN) {
        bool is_in = operation == OPERATION_IN || operation == OPERATION_NOT_IN;
        if (!(is_in ? value_contains(rendering, right, left, &holds)
                    : value_equal(rendering, left, right, &holds)))
            return false;
        *holds_out = holds == is_plain;
        return true;
    }
    int order;
    if (!value_order(rendering, left, right, order_signs[operation], &order))
        return false;
    *holds_out = operation == OPERATION_LESS         ? order == -1
                 : operation == OPERATION_LESS_EQUAL ? order == -1 || order == 0
                 : operation == OPERATION_GREATER    ? order == 1
                                                     : order == 1 || order == 0;
    return true;
}

static bool compare_evaluate(struct rendering *rendering, const struct node *node,
                             struct value *value_out)
{
    struct value left;
    bool holds = true;
    if (!evaluate(rendering, node->left, &left))
        return false;
    for (size_t index = 0; holds && index < node->items.count; index++) {
        const struct node *operand = node->items.nodes[index];
        struct value right;
        if (!evaluate(rendering, operand->left, &right) ||
            !compare_once(rendering, operand->operation, left, right, &holds))
            return false;
        left = right;
    }
    *value_out = value_bool(holds);
    return true;
}

static bool condition_evaluate(struct rendering *rendering, const struct node *node,
                               struct value *value_out)
{
    struct value condition;
    if (!evaluate(rendering, node->right, &condition))
        return false;
    if (value_truth(condition))
        return evaluate(rendering, node->left, value_out);
    if (node->third)
        return evaluate(rendering, node->third, value_out);
    struct undefined undefined = {
        .hint = "the inline if-expression evaluated to false and no else section was defined"};
    return value_undefined(rendering, undefined, value_out);
}

static bool attribute_evaluate(struct rendering *rendering, const struct node *node,
                               struct value *value_out)
{
    struct value value;
    return evaluate(rendering, node->left, &value) &&
           value_attribute(rendering, value, node->name, value_out);
}

static bool bound_evaluate(struct rendering *rendering, const struct node *node,
                           struct value *value_out)
{
    *value_out = (struct value){.kind = VALUE_MISSING};
    return !node || evaluate(rendering, node, value_out);
}

static bool is_literal(const struct node *node)
{
    return !node || node->kind == NODE_CONSTANT;
}

/* Jinja evaluates it while it compiles: what cannot be sliced is then undefined, not an error. */
static bool is_folded_slice(const struct node *node)
{
    return is_literal(node->left) && is_literal(node->right->left) &&
           is_literal(node->right->right) && is_literal(node->right->third);
}

static bool subscript_evaluate(struct rendering *rendering, const struct node *node,
                               struct value *value_out)
{
    struct value value, key, bounds[3];
    if (!evaluate(rendering, node->left, &value))
        return false;
    if (node->right->kind != NODE_SLICE)
        return evaluate(rendering, node->right, &key) &&
               value_subscript(rendering, value, key, value_out);
    if (is_folded_slice(node) && value.kind != VALUE_STRING) {
        struct undefined undefined = {.name = {"slice", 5},
                                      .object_type = value_type_name(value),
                                      .is_element = true};
        return value_undefined(rendering, undefined, value_out);
    }
    return bound_evaluate(rendering, node->right->left, &bounds[0]) &&
           bound_evaluate(rendering, node->right->right, &bounds[1]) &&
           bound_evaluate(rendering, node->right->third, &bounds[2]) &&
           slice_evaluate(rendering, value, bounds, value_out);
}

static bool spread_evaluate(struct rendering *rendering, const struct node *node,
                            struct list *values)
{
    struct value value;
    struct list *items;
    if (!evaluate(rendering, node, &value) || !value_items(rendering, value, &items))
        return false;
    for (size_t index = 0; index < items->count; index++)
        if (!list_push(rendering, values, items->items[index]))
            return false;
    return true;
}

static bool named_evaluate(struct rendering *rendering, const struct node_arguments *nodes,
                           struct arguments *arguments)
{
    struct value spread = {0};
    size_t spread_count = 0;
    if (nodes->spread_named) {
        if (!evaluate(rendering, nodes->spread_named, &spread))
            return false;
        if (spread.kind != VALUE_DICT)
            return type_refuse(rendering, "argument after ** must be a mapping, not", spread);
        spread_count = spread.as.dict->count;
    }
    size_t count = nodes->named.count + spread_count;
    if (count == 0)
        return true;
    arguments->named = rendering_take(rendering, count * sizeof(*arguments->named));
    if (!arguments->named)
        return false;
    for (size_t index = 0; index < nodes->named.count; index++) {
        struct named_value *named = &arguments->named[arguments->named_count];
        named->name = nodes->named.nodes[index]->name;
        if (!evaluate(rendering, nodes->named.nodes[index]->left, &named->value))
            return false;
        arguments->named_count++;
    }
    for (size_t index = 0; index < spread_count; index++) {
        const struct entry *entry = &spread.as.dict->entries[index];
        if (entry->key.kind != VALUE_STRING)
            return type_refuse(rendering, "keywords must be strings, not", entry->key);
        arguments->named[arguments->named_count++] =
            (struct named_value){entry->key.as.text, entry->value};
    }
    return true;
}

bool arguments_evaluate(struct rendering *rendering, const struct node_arguments *nodes,
                        struct arguments *arguments_out)
{
    struct arguments arguments = {0};
    struct list *values = list_new(rendering, nodes->values.count);
    if (!values)
        return false;
    for (size_t index = 0; index < nodes->values.count; index++) {
        struct value value;
        if (!evaluate(rendering, nodes->values.nodes[index], &value) ||
            !list_push(rendering, values, value))
            return false;
    }
    if (nodes->spread && !spread_evaluate(rendering, nodes->spread, values))
        return false;
    if (!named_evaluate(rendering, nodes, &arguments))
        return false;
    arguments.values = values->items;
    arguments.count = values->count;
    *arguments_out = arguments;
    return true;
}

static bool call_evaluate(struct rendering *rendering, const struct node *node,
                          struct value *value_out)
{
    struct value callee;
    struct arguments arguments;
    if (!evaluate(rendering, node->left, &callee) ||
        !arguments_evaluate(rendering, &node->arguments, &arguments))
        return false;
    rendering->line = node->line;
    return value_call(rendering, callee, &arguments, value_out);
}

static bool filter_evaluate(struct rendering *rendering, const struct node *node,
                            struct value *value_out)
{
    const char *what = node->kind == NODE_FILTER ? "filter" : "test";
    struct value self;
    struct arguments arguments;
    if (!evaluate(rendering, node->left, &self) ||
        !arguments_evaluate(rendering, &node->arguments, &arguments))
        return false;
    rendering->line = node->line;
    if (!node->callable)
        return rendering_fail(rendering, STATUS_UNSUPPORTED,
                              "chat template, line %u: no %s named '%.*s'", node->line, what,
                              (int)node->name.size, node->name.bytes);
    return row_call(rendering, node->callable, what, self, &arguments, value_out);
}

typedef bool evaluator(struct rendering *rendering, const struct node *node,
                       struct value *value_out);

static bool leaf_evaluate(struct rendering *rendering, const struct node *node,
                          struct value *value_out)
{
    if (node->kind == NODE_NAME)
        return name_lookup(rendering, node->name, value_out);
    *value_out = node->kind == NODE_CONSTANT ? node->constant : rendering->block_text;
    return true;
}

bool evaluate(struct rendering *rendering, const struct node *node, struct value *value_out)
{
    static evaluator *const evaluators[] = {
        [NODE_CONSTANT] = leaf_evaluate,        [NODE_BLOCK_TEXT] = leaf_evaluate,
        [NODE_NAME] = leaf_evaluate,            [NODE_LIST] = list_evaluate,
        [NODE_TUPLE] = list_evaluate,           [NODE_DICT] = dict_evaluate,
        [NODE_NEGATE] = sign_evaluate,          [NODE_POSITIVE] = sign_evaluate,
        [NODE_NOT] = logic_evaluate,            [NODE_AND] = logic_evaluate,
        [NODE_OR] = logic_evaluate,             [NODE_BINARY] = binary_node_evaluate,
        [NODE_CONCAT] = concat_evaluate,        [NODE_COMPARE] = compare_evaluate,
        [NODE_CONDITION] = condition_evaluate,  [NODE_ATTRIBUTE] = attribute_evaluate,
        [NODE_SUBSCRIPT] = subscript_evaluate,  [NODE_CALL] = call_evaluate,
        [NODE_FILTER] = filter_evaluate,        [NODE_TEST] = filter_evaluate,
    };
    if (!rendering_charge(rendering, 1) || !rendering_enter(rendering))
        return false;
    rendering->line = node->line;
    bool is_known = node->kind < sizeof(evaluators) / sizeof(evaluators[0]) &&
                    evaluators[node->kind];
    struct value value = {0};
    bool done = is_known ? evaluators[node->kind](rendering, node, &value)
                         : rendering_fail(rendering, STATUS_MALFORMED,
                                          "chat template, line %u: a slice stands alone",
                                          node->line);
    rendering_leave(rendering);
    if (done)
        *value_out = value;
    return done;
}
