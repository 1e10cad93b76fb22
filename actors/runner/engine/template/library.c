/* SPDX-License-Identifier: Apache-2.0 */
/* How rows are found and called, and how attributes and items are found. */
#include "actors/runner/engine/template/library.h"

#include "actors/runner/engine/template/evaluate.h"
#include "actors/runner/engine/template/unicode.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const struct callable_row *row_find(const struct callable_row *rows, struct text name)
{
    for (; rows->name; rows++)
        if (text_equals(name, rows->name))
            return rows;
    return NULL;
}

const struct callable_row *filter_find(struct text name)
{
    const struct callable_row *const tables[] = {sequence_filters, selection_filters,
                                                 text_filters, number_filters};
    for (size_t index = 0; index < sizeof(tables) / sizeof(tables[0]); index++) {
        const struct callable_row *row = row_find(tables[index], name);
        if (row)
            return row;
    }
    return NULL;
}

bool is_given(struct value argument)
{
    return argument.kind != VALUE_MISSING;
}

/* The place of a name among "a b c", or -1. */
static int parameter_index(const char *parameters, struct text name)
{
    int index = 0;
    for (const char *at = parameters; *at; index++) {
        size_t size = strcspn(at, " ");
        if (size == name.size && memcmp(at, name.bytes, size) == 0)
            return index;
        at += size + strspn(at + size, " ");
    }
    return -1;
}

static size_t parameter_count(const char *parameters)
{
    size_t count = *parameters != 0;
    for (; *parameters; parameters++)
        count += *parameters == ' ';
    return count;
}

static bool refuse_arguments(struct rendering *rendering, const struct callable_row *row,
                             const char *what, const char *problem)
{
    return rendering_fail(rendering, STATUS_INVALID, "chat template, line %u: %s '%s' %s",
                          rendering->line, what, row->name, problem);
}

static bool bind(struct rendering *rendering, const struct callable_row *row, const char *what,
                 const struct arguments *arguments, struct invocation *invocation)
{
    size_t count = parameter_count(row->parameters);
    if (arguments->count > count)
        return refuse_arguments(rendering, row, what, "got too many arguments");
    for (size_t index = 0; index < arguments->count; index++)
        invocation->bound[index] = arguments->values[index];
    for (size_t index = 0; index < arguments->named_count; index++) {
        int place = parameter_index(row->parameters, arguments->named[index].name);
        if (place < 0)
            return refuse_arguments(rendering, row, what, "got an unknown named argument");
        if (is_given(invocation->bound[place]))
            return refuse_arguments(rendering, row, what, "got an argument twice");
        invocation->bound[place] = arguments->named[index].value;
    }
    for (unsigned index = 0; index < row->required_count; index++)
        if (!is_given(invocation->bound[index]))
            return refuse_arguments(rendering, row, what, "lacks an argument");
    return true;
}

bool row_call(struct rendering *rendering, const struct callable_row *row, const char *what,
              struct value self, const struct arguments *arguments, struct value *value_out)
{
    struct invocation invocation = {.all = arguments};
    if (strcmp(row->parameters, "*") != 0 &&
        !bind(rendering, row, what, arguments, &invocation))
        return false;
    if (arguments->count < row->required_count && row->parameters[0] == '*')
        return refuse_arguments(rendering, row, what, "lacks an argument");
    return rendering_charge(rendering, 1) &&
           row->call(rendering, self, &invocation, value_out);
}

bool type_refuse(struct rendering *rendering, const char *what, struct value value)
{
    if (value.kind == VALUE_UNDEFINED)
        return value_refuse_undefined(rendering, value);
    return rendering_fail(rendering, STATUS_INVALID, "%s '%s' (chat template, line %u)", what,
                          value_type_name(value), rendering->line);
}

bool argument_integer(struct rendering *rendering, struct value argument, int64_t fallback,
                      int64_t *integer_out)
{
    if (!is_given(argument)) {
        *integer_out = fallback;
        return true;
    }
    if (!value_is_integral(argument))
        return type_refuse(rendering, "an argument must be an integer, not", argument);
    *integer_out = value_as_integer(argument);
    return true;
}

bool argument_text(struct rendering *rendering, struct value argument, const char *fallback,
                   struct text *text_out)
{
    if (!is_given(argument)) {
        *text_out = (struct text){fallback, fallback ? strlen(fallback) : 0};
        return true;
    }
    if (argument.kind != VALUE_STRING)
        return type_refuse(rendering, "an argument must be a string, not", argument);
    *text_out = argument.as.text;
    return true;
}

static bool method_value(struct rendering *rendering, struct value self, struct text name,
                         bool *found_out, struct value *value_out)
{
    const struct callable_row *row = method_find(self, name);
    *found_out = true;
    if (row) {
        struct method *method = rendering_take(rendering, sizeof(*method));
        if (!method)
            return false;
        *method = (struct method){self, row};
        *value_out = (struct value){.kind = VALUE_METHOD, .as.method = method};
        return true;
    }
    if (method_is_unsafe(self, name)) {
        struct undefined undefined = {
            .name = name, .object_type = value_type_name(self), .is_unsafe = true};
        return value_undefined(rendering, undefined, value_out);
    }
    if (self.kind == VALUE_LOOP)
        return loop_attribute(rendering, self, name, found_out, value_out);
    *found_out = false;
    if (self.kind == VALUE_TUPLE && self.as.list->is_group && self.as.list->count == 2) {
        *found_out = text_equals(name, "grouper") || text_equals(name, "list");
        *value_out = self.as.list->items[text_equals(name, "list")];
    } else if (self.kind == VALUE_MACRO && text_equals(name, "name")) {
        *found_out = true;
        *value_out = value_text(self.as.macro->node->name);
    } else if (self.kind == VALUE_CYCLER && text_equals(name, "current")) {
        *found_out = true;
        *value_out = self.as.list->items[self.as.list->position];
    }
    return true;
}

bool value_attribute(struct rendering *rendering, struct value value, struct text name,
                     struct value *value_out)
{
    bool found;
    if (value.kind == VALUE_UNDEFINED)
        return value_refuse_undefined(rendering, value);
    if (!method_value(rendering, value, name, &found, value_out))
        return false;
    if (found)
        return true;
    if (value.kind == VALUE_DICT || value.kind == VALUE_NAMESPACE) {
        const struct entry *entry = dict_find(value.as.dict, value_text(name));
        if (entry) {
            *value_out = entry->value;
            return true;
        }
    }
    struct undefined undefined = {.name = name, .object_type = value_type_name(value)};
    return value_undefined(rendering, undefined, value_out);
}

static bool text_index(struct rendering *rendering, struct text text, int64_t index,
                       bool *found_out, struct value *value_out)
{
    if (!rendering_charge(rendering, text.size / 128))
        return false;
    int64_t count = (int64_t)text_count(text);
    if (index < 0)
        index += count;
    *found_out = index >= 0 && index < count;
    if (*found_out) {
        size_t offset = text_offset(text, (size_t)index);
        *value_out = value_string(text.bytes + offset, text_step(text, offset));
    }
    return true;
}

static bool item_find(struct rendering *rendering, struct value value, struct value key,
                      bool *found_out, struct value *value_out)
{
    *found_out = false;
    if (value.kind == VALUE_DICT) {
        const struct entry *entry = dict_find(value.as.dict, key);
        size_t size = key.kind == VALUE_STRING ? key.as.text.size : 0;
        *found_out = entry != NULL;
        if (entry)
            *value_out = entry->value;
        return rendering_charge(rendering, size / 256);
    }
    if (!value_is_integral(key))
        return true;
    int64_t index = value_as_integer(key);
    if (value.kind == VALUE_STRING)
        return text_index(rendering, value.as.text, index, found_out, value_out);
    if (!value_is_sequence(value))
        return true;
    int64_t count = (int64_t)value.as.list->count;
    if (index < 0)
        index += count;
    *found_out = index >= 0 && index < count;
    if (*found_out)
        *value_out = value.as.list->items[index];
    return true;
}

bool value_subscript(struct rendering *rendering, struct value value, struct value key,
                     struct value *value_out)
{
    bool found;
    if (value.kind == VALUE_UNDEFINED)
        return value_refuse_undefined(rendering, value);
    if (!item_find(rendering, value, key, &found, value_out))
        return false;
    if (found)
        return true;
    if (key.kind == VALUE_STRING) {
        if (value.kind == VALUE_NAMESPACE)
            return value_attribute(rendering, value, key.as.text, value_out);
        if (!method_value(rendering, value, key.as.text, &found, value_out))
            return false;
        if (found)
            return true;
    }
    struct output name = {0};
    if (!(key.kind == VALUE_STRING ? output_add(rendering, &name, key.as.text)
                                   : print_repr(rendering, &name, key)))
        return false;
    struct undefined undefined = {.name = output_text(&name),
                                  .object_type = value_type_name(value),
                                  .is_element = key.kind != VALUE_STRING};
    return value_undefined(rendering, undefined, value_out);
}

static bool is_digits(struct text text)
{
    for (size_t index = 0; index < text.size; index++)
        if (text.bytes[index] < '0' || text.bytes[index] > '9')
            return false;
    return text.size > 0 && text.size < 10;
}

bool value_path(struct rendering *rendering, struct value value, struct value path,
                struct value *value_out)
{
    if (path.kind != VALUE_STRING)
        return value_subscript(rendering, value, path, value_out);
    struct text rest = path.as.text;
    for (bool more = true; more;) {
        size_t dot = text_find(rest, (struct text){".", 1}, 0);
        struct text part = text_part(rest, 0, dot == SIZE_MAX ? rest.size : dot);
        struct value key = value_text(part);
        if (is_digits(part)) {
            int64_t number = 0;
            for (size_t index = 0; index < part.size; index++)
                number = number * 10 + (part.bytes[index] - '0');
            key = value_int(number);
        }
        if (!value_subscript(rendering, value, key, &value))
            return false;
        more = dot != SIZE_MAX;
        if (more)
            rest = text_part(rest, dot + 1, rest.size);
    }
    *value_out = value;
    return true;
}
