/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/template/evaluate.h"

#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"

#include <string.h>

enum { CALL_DEPTH_MAX = 100 };

static bool call_enter(struct rendering *rendering)
{
    if (rendering->call_depth >= CALL_DEPTH_MAX)
        return rendering_fail(rendering, STATUS_TOO_LARGE,
                              "chat template, line %u: macros or loops recurse too deeply",
                              rendering->line);
    rendering->call_depth++;
    return true;
}

static bool is_parameter(const struct node *node, struct text name)
{
    for (size_t index = 0; index < node->items.count; index++)
        if (texts_equal(node->items.nodes[index]->name, name))
            return true;
    return false;
}

/* Named arguments that no parameter takes: the caller, `kwargs`, or a mistake. */
static bool spare_arguments(struct rendering *rendering, const struct node *node,
                            const struct arguments *arguments, struct scope *scope)
{
    struct dict *spare = node->uses_kwargs ? dict_new(rendering, 0) : NULL;
    if (node->uses_kwargs && !spare)
        return false;
    for (size_t index = 0; index < arguments->named_count; index++) {
        const struct named_value *named = &arguments->named[index];
        if (is_parameter(node, named->name))
            continue;
        bool done;
        if (node->uses_caller && text_equals(named->name, "caller"))
            done = scope_set(rendering, scope, named->name, named->value);
        else if (spare)
            done = dict_put(rendering, spare, value_text(named->name), named->value);
        else
            done = rendering_fail(rendering, STATUS_INVALID,
                                  "macro '%.*s' takes no keyword argument '%.*s' (chat template, "
                                  "line %u)",
                                  (int)node->name.size, node->name.bytes,
                                  (int)named->name.size, named->name.bytes, rendering->line);
        if (!done)
            return false;
    }
    if (spare &&
        !scope_set(rendering, scope, (struct text){"kwargs", 6}, value_of_dict(spare)))
        return false;
    if (!node->uses_varargs) {
        if (arguments->count <= node->items.count)
            return true;
        return rendering_fail(rendering, STATUS_INVALID,
                              "macro '%.*s' takes not more than %zu argument(s) (chat template, "
                              "line %u)",
                              (int)node->name.size, node->name.bytes, node->items.count,
                              rendering->line);
    }
    struct list *rest = list_new(rendering, 0);
    for (size_t index = node->items.count; rest && index < arguments->count; index++)
        if (!list_push(rendering, rest, arguments->values[index]))
            return false;
    return rest && scope_set(rendering, scope, (struct text){"varargs", 7},
                             value_of_list(VALUE_TUPLE, rest));
}

static bool parameter_value(struct rendering *rendering, const struct node *node,
                            const struct arguments *arguments, size_t index,
                            struct value *value_out)
{
    struct text name = node->items.nodes[index]->name;
    bool is_positional = index < arguments->count;
    if (is_positional)
        *value_out = arguments->values[index];
    for (size_t at = 0; at < arguments->named_count; at++) {
        if (!texts_equal(arguments->named[at].name, name))
            continue;
        if (is_positional)
            return rendering_fail(rendering, STATUS_INVALID,
                                  "macro '%.*s' got multiple values for argument '%.*s' (chat "
                                  "template, line %u)",
                                  (int)node->name.size, node->name.bytes, (int)name.size,
                                  name.bytes, rendering->line);
        *value_out = arguments->named[at].value;
        return true;
    }
    if (is_positional)
        return true;
    size_t without_default = node->items.count - node->values.count;
    if (index >= without_default)
        return evaluate(rendering, node->values.nodes[index - without_default], value_out);
    struct undefined undefined = {.name = name, .hint = "a parameter was not provided"};
    return value_undefined(rendering, undefined, value_out);
}

static bool macro_run(struct rendering *rendering, const struct node *node,
                      const struct arguments *arguments, struct scope *scope,
                      struct value *value_out)
{
    for (size_t index = 0; index < node->items.count; index++) {
        struct value value;
        if (!parameter_value(rendering, node, arguments, index, &value) ||
            !scope_set(rendering, scope, node->items.nodes[index]->name, value))
            return false;
    }
    struct text text;
    if (!spare_arguments(rendering, node, arguments, scope) ||
        !execute_captured(rendering, &node->body, &text))
        return false;
    *value_out = value_text(text);
    return true;
}

bool macro_call(struct rendering *rendering, const struct macro *macro,
                const struct arguments *arguments, struct value *value_out)
{
    struct scope *scope = scope_new(rendering, macro->scope);
    if (!scope || !call_enter(rendering))
        return false;
    struct scope *outer = rendering->scope;
    rendering->scope = scope;
    bool done = macro_run(rendering, macro->node, arguments, scope, value_out);
    rendering->scope = outer;
    rendering->call_depth--;
    return done;
}

bool value_call(struct rendering *rendering, struct value callee,
                const struct arguments *arguments, struct value *value_out)
{
    if (callee.kind == VALUE_MACRO)
        return macro_call(rendering, callee.as.macro, arguments, value_out);
    if (callee.kind == VALUE_METHOD)
        return row_call(rendering, callee.as.method->row, "method", callee.as.method->self,
                        arguments, value_out);
    if (callee.kind == VALUE_FUNCTION)
        return row_call(rendering, callee.as.function, "function", value_none(), arguments,
                        value_out);
    if (callee.kind == VALUE_LOOP)
        return loop_call(rendering, callee.as.loop, arguments, value_out);
    if (callee.kind == VALUE_JOINER) {
        /* Nothing the first time, then the separator. */
        bool was_used = callee.as.list->position++ > 0;
        *value_out = was_used ? callee.as.list->items[0] : value_literal("");
        return true;
    }
    if (callee.kind == VALUE_UNDEFINED)
        return value_refuse_undefined(rendering, callee);
    return rendering_fail(rendering, STATUS_INVALID,
                          "'%s' object is not callable (chat template, line %u)",
                          value_type_name(callee), rendering->line);
}

/* Reads on until item `index` is known or the source ends. */
static bool loop_fetch(struct rendering *rendering, struct loop *loop, size_t index)
{
    while (loop->items->count <= index && loop->source_position < loop->source->count) {
        struct value item = loop->source->items[loop->source_position++];
        struct value passes = value_bool(true);
        if (loop->node->third) {
            struct scope *outer = rendering->scope;
            rendering->scope = scope_new(rendering, loop->scope);
            bool done = rendering->scope &&
                        target_assign(rendering, loop->node->left, item) &&
                        evaluate(rendering, loop->node->third, &passes);
            rendering->scope = outer;
            if (!done)
                return false;
        }
        if (!rendering_charge(rendering, 1) ||
            (value_truth(passes) && !list_push(rendering, loop->items, item)))
            return false;
    }
    return true;
}

static enum flow loop_turn(struct rendering *rendering, struct loop *loop)
{
    struct scope *scope = scope_new(rendering, loop->scope);
    if (!scope)
        return FLOW_FAIL;
    struct value self = {.kind = VALUE_LOOP, .as.loop = loop};
    rendering->scope = scope;
    if (!scope_set(rendering, scope, (struct text){"loop", 4}, self) ||
        !target_assign(rendering, loop->node->left, loop->items->items[loop->index]))
        return FLOW_FAIL;
    return execute(rendering, &loop->node->body);
}

enum flow recursive_loop_run(struct rendering *rendering, const struct node *node,
                             struct scope *scope, struct value source, unsigned level)
{
    struct loop *loop = rendering_take(rendering, sizeof(*loop));
    struct list *items = list_new(rendering, 0);
    struct list *sources;
    if (!loop || !items || !value_items(rendering, source, &sources))
        return FLOW_FAIL;
    *loop = (struct loop){.node = node, .scope = scope, .source = sources, .items = items,
                          .level = level};
    struct scope *outer = rendering->scope;
    enum flow flow = FLOW_ON;
    bool has_ended = false; /* a turn, by itself */
    for (;; loop->index++) {
        if (!loop_fetch(rendering, loop, loop->index))
            flow = FLOW_FAIL;
        if (flow == FLOW_FAIL || loop->index >= loop->items->count)
            break;
        flow = loop_turn(rendering, loop);
        rendering->scope = outer;
        has_ended = has_ended || flow == FLOW_ON;
        if (flow == FLOW_BREAK || flow == FLOW_FAIL)
            break;
    }
    if (flow == FLOW_FAIL)
        return FLOW_FAIL;
    /* Jinja takes note of a turn at its end: one that is left early does not count. */
    if (has_ended || node->otherwise.count == 0)
        return FLOW_ON;
    rendering->scope = scope_new(rendering, scope);
    flow = rendering->scope ? execute(rendering, &node->otherwise) : FLOW_FAIL;
    rendering->scope = outer;
    return flow;
}

bool loop_call(struct rendering *rendering, struct loop *loop,
               const struct arguments *arguments, struct value *value_out)
{
    if (!loop->node->is_recursive)
        return rendering_fail(rendering, STATUS_INVALID,
                              "the loop must have the 'recursive' marker to be called (chat "
                              "template, line %u)",
                              rendering->line);
    if (arguments->count != 1 || arguments->named_count > 0)
        return rendering_fail(rendering, STATUS_INVALID,
                              "loop() takes one argument (chat template, line %u)",
                              rendering->line);
    if (!call_enter(rendering))
        return false;
    struct output output = {0};
    struct output *outer = rendering->output;
    rendering->output = &output;
    enum flow flow = recursive_loop_run(rendering, loop->node, loop->scope, arguments->values[0],
                              loop->level + 1);
    rendering->output = outer;
    rendering->call_depth--;
    *value_out = value_text(output_text(&output));
    return flow != FLOW_FAIL;
}

static bool neighbour(struct rendering *rendering, struct loop *loop, bool is_next,
                      struct value *value_out)
{
    size_t index = is_next ? loop->index + 1 : loop->index - 1;
    if (is_next && !loop_fetch(rendering, loop, index))
        return false;
    if ((!is_next && loop->index == 0) || index >= loop->items->count) {
        struct undefined undefined = {.hint = is_next ? "there is no next item"
                                                      : "there is no previous item"};
        return value_undefined(rendering, undefined, value_out);
    }
    *value_out = loop->items->items[index];
    return true;
}

static bool loop_method(struct rendering *rendering, struct value self, struct text name,
                        bool *found_out, struct value *value_out)
{
    const struct callable_row *row = method_find(self, name);
    *found_out = row != NULL;
    if (!row)
        return true;
    struct method *method = rendering_take(rendering, sizeof(*method));
    if (!method)
        return false;
    *method = (struct method){self, row};
    *value_out = (struct value){.kind = VALUE_METHOD, .as.method = method};
    return true;
}

bool loop_attribute(struct rendering *rendering, struct value self, struct text name,
                    bool *found_out, struct value *value_out)
{
    static const char *const counts[] = {"index", "index0", "depth", "depth0", "first"};
    static const char *const totals[] = {"length", "revindex", "revindex0"};
    struct loop *loop = self.as.loop;
    int64_t index = (int64_t)loop->index;
    *found_out = true;
    for (size_t at = 0; at < sizeof(counts) / sizeof(counts[0]); at++) {
        const int64_t numbers[] = {index + 1, index, (int64_t)loop->level + 1,
                                   (int64_t)loop->level};
        if (!text_equals(name, counts[at]))
            continue;
        *value_out = at < 4 ? value_int(numbers[at]) : value_bool(index == 0);
        return true;
    }
    if (text_equals(name, "last")) {
        bool done = loop_fetch(rendering, loop, loop->index + 1);
        *value_out = value_bool(loop->items->count == loop->index + 1);
        return done;
    }
    if (text_equals(name, "previtem") || text_equals(name, "nextitem"))
        return neighbour(rendering, loop, name.bytes[0] == 'n', value_out);
    for (size_t at = 0; at < sizeof(totals) / sizeof(totals[0]); at++) {
        if (!text_equals(name, totals[at]))
            continue;
        bool done = loop_fetch(rendering, loop, SIZE_MAX);
        int64_t length = (int64_t)loop->items->count;
        *value_out = value_int(at == 0 ? length : length - index - (at == 1 ? 0 : 1));
        return done;
    }
    return loop_method(rendering, self, name, found_out, value_out);
}
