/* SPDX-License-Identifier: Apache-2.0 */
/* Filters that apply another filter or a test to each item. */
#include "actors/runner/engine/template/evaluate.h"
#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"

static struct value named_argument(const struct arguments *arguments, const char *name)
{
    for (size_t index = 0; index < arguments->named_count; index++)
        if (text_equals(arguments->named[index].name, name))
            return arguments->named[index].value;
    return (struct value){.kind = VALUE_MISSING};
}

static bool no_items(struct rendering *rendering, struct value *value_out)
{
    struct list *list = list_new(rendering, 0);
    if (list)
        list->label = "generator";
    *value_out = value_of_list(VALUE_ITERATOR, list);
    return list != NULL;
}

/* The row a first argument names, and the arguments after it. */
static bool row_named(struct rendering *rendering, const struct arguments *arguments,
                      size_t place, bool is_test, const struct callable_row **row_out,
                      struct arguments *rest_out)
{
    const char *what = is_test ? "test" : "filter";
    struct text name = {"", 0};
    if (arguments->count > place && arguments->values[place].kind == VALUE_STRING)
        name = arguments->values[place].as.text;
    *row_out = is_test ? test_find(name) : filter_find(name);
    if (!*row_out)
        return rendering_fail(rendering, STATUS_UNSUPPORTED,
                              "chat template, line %u: no %s named '%.*s'", rendering->line,
                              what, (int)(name.size > 100 ? 100 : name.size), name.bytes);
    *rest_out = *arguments;
    rest_out->values += place + 1;
    rest_out->count -= place + 1;
    return true;
}

static bool filter_map(struct rendering *rendering, struct value self,
                       const struct invocation *invocation, struct value *value_out)
{
    const struct callable_row *row = NULL;
    struct arguments rest = {0};
    struct value path = named_argument(invocation->all, "attribute");
    struct value fallback = named_argument(invocation->all, "default");
    struct list *items;
    bool by_path = invocation->all->count == 0 && is_given(path);
    if (!value_truth(self))
        return no_items(rendering, value_out);
    if (!by_path && !row_named(rendering, invocation->all, 0, false, &row, &rest))
        return false;
    if (!value_items(rendering, self, &items) || !rendering_enter(rendering))
        return false;
    struct list *mapped = list_new(rendering, items->count);
    bool done = mapped != NULL;
    for (size_t index = 0; done && index < items->count; index++) {
        struct value item = items->items[index];
        done = by_path ? value_path(rendering, item, path, &item)
                       : row_call(rendering, row, "filter", item, &rest, &item);
        if (done && by_path && item.kind == VALUE_UNDEFINED && is_given(fallback))
            item = fallback;
        done = done && list_push(rendering, mapped, item);
    }
    rendering_leave(rendering);
    if (done) {
        mapped->label = "generator";
        *value_out = value_of_list(VALUE_ITERATOR, mapped);
    }
    return done;
}

/* select, reject and their siblings that look at an attribute. */
static bool choose(struct rendering *rendering, struct value self,
                   const struct invocation *invocation, bool by_path, bool wanted,
                   struct value *value_out)
{
    const struct arguments *arguments = invocation->all;
    const struct callable_row *row = NULL;
    struct arguments rest = {0};
    struct list *items, *chosen;
    size_t place = by_path ? 1 : 0;
    if (!value_truth(self))
        return no_items(rendering, value_out);
    if (by_path && arguments->count == 0)
        return rendering_fail(rendering, STATUS_INVALID,
                              "chat template, line %u: Missing parameter for attribute name",
                              rendering->line);
    if (arguments->count > place &&
        !row_named(rendering, arguments, place, true, &row, &rest))
        return false;
    if (!value_items(rendering, self, &items) || !(chosen = list_new(rendering, 0)) ||
        !rendering_enter(rendering))
        return false;
    bool done = true;
    for (size_t index = 0; done && index < items->count; index++) {
        struct value subject = items->items[index];
        if (by_path)
            done = value_path(rendering, subject, arguments->values[0], &subject);
        if (done && row)
            done = row_call(rendering, row, "test", subject, &rest, &subject);
        if (done && value_truth(subject) == wanted)
            done = list_push(rendering, chosen, items->items[index]);
    }
    rendering_leave(rendering);
    chosen->label = "generator";
    *value_out = value_of_list(VALUE_ITERATOR, chosen);
    return done;
}

static bool filter_select(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    return choose(rendering, self, invocation, false, true, value_out);
}

static bool filter_reject(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    return choose(rendering, self, invocation, false, false, value_out);
}

static bool filter_selectattr(struct rendering *rendering, struct value self,
                              const struct invocation *invocation, struct value *value_out)
{
    return choose(rendering, self, invocation, true, true, value_out);
}

static bool filter_rejectattr(struct rendering *rendering, struct value self,
                              const struct invocation *invocation, struct value *value_out)
{
    return choose(rendering, self, invocation, true, false, value_out);
}

static bool filter_default(struct rendering *rendering, struct value self,
                           const struct invocation *invocation, struct value *value_out)
{
    (void)rendering;
    bool replaces = self.kind == VALUE_UNDEFINED ||
                    (value_truth(invocation->bound[1]) && !value_truth(self));
    *value_out = !replaces                         ? self
                 : is_given(invocation->bound[0]) ? invocation->bound[0]
                                                   : value_literal("");
    return true;
}

/* Only attributes, never items. */
static bool filter_attr(struct rendering *rendering, struct value self,
                        const struct invocation *invocation, struct value *value_out)
{
    struct text name;
    if (!argument_text(rendering, invocation->bound[0], "", &name))
        return false;
    if (self.kind != VALUE_DICT)
        return value_attribute(rendering, self, name, value_out);
    struct dict *empty = dict_new(rendering, 0);
    return empty && value_attribute(rendering, value_of_dict(method_find(self, name)
                                                                 ? self.as.dict
                                                                 : empty),
                                    name, value_out);
}

const struct callable_row selection_filters[] = {
    {"attr", "name", 1, filter_attr},
    {"d", "default_value boolean", 0, filter_default},
    {"default", "default_value boolean", 0, filter_default},
    {"map", "*", 0, filter_map},
    {"reject", "*", 0, filter_reject},
    {"rejectattr", "*", 0, filter_rejectattr},
    {"select", "*", 0, filter_select},
    {"selectattr", "*", 0, filter_selectattr},
    {NULL, NULL, 0, NULL},
};
