/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of strings that take apart and join; the methods of the other kinds; the lookup. */
#include "actors/runner/engine/template/evaluate.h"
#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"

static bool part_push(struct rendering *rendering, struct list *parts, struct value self,
                      struct text part)
{
    struct value value = value_text(part);
    value.is_markup = self.is_markup;
    return list_push(rendering, parts, value);
}

/* Where the next separator stands: white space as one when `separator` is not given. */
static bool next_separator(struct text text, struct text separator, size_t from,
                           size_t *begin_out, size_t *end_out)
{
    if (separator.bytes) {
        *begin_out = text_find(text, separator, from);
        *end_out = *begin_out + separator.size;
        return *begin_out != SIZE_MAX;
    }
    size_t at = from;
    while (at < text.size && !letter_is_space(text_letter(text, at)))
        at += text_step(text, at);
    *begin_out = at;
    while (at < text.size && letter_is_space(text_letter(text, at)))
        at += text_step(text, at);
    *end_out = at;
    return *begin_out < text.size;
}

static bool split_forward(struct rendering *rendering, struct value self, struct text separator,
                          int64_t count_max, struct list *parts)
{
    struct text text = self.as.text;
    size_t from = 0, begin, end;
    if (!separator.bytes)
        text = text_stripped(text, separator, true, false);
    if (!separator.bytes && text.size == 0)
        return true;
    for (int64_t count = 0; (count_max < 0 || count < count_max) &&
                            next_separator(text, separator, from, &begin, &end);
         count++) {
        if (!part_push(rendering, parts, self, text_part(text, from, begin)))
            return false;
        from = end;
    }
    if (!separator.bytes && from == text.size)
        return true;
    return part_push(rendering, parts, self, text_part(text, from, text.size));
}

/* From the end: the last separators first; the parts are put in order afterwards. */
static bool split_backward(struct rendering *rendering, struct value self, struct text separator,
                           int64_t count_max, struct list *parts)
{
    struct text text = self.as.text;
    if (!separator.bytes)
        text = text_stripped(text, separator, false, true);
    for (int64_t count = 0; text.size > 0 || separator.bytes; count++) {
        size_t begin = SIZE_MAX, end = 0;
        if (!text_charge_last(rendering, text, separator))
            return false;
        if (separator.bytes) {
            begin = text_find_last(text, separator);
            end = begin + separator.size;
        } else {
            for (size_t at = 0; at < text.size; at += text_step(text, at))
                if (letter_is_space(text_letter(text, at))) {
                    begin = at;
                    end = at + text_step(text, at);
                }
        }
        if (begin == SIZE_MAX || (count_max >= 0 && count >= count_max)) {
            if (!part_push(rendering, parts, self, text))
                return false;
            break;
        }
        if (!part_push(rendering, parts, self, text_part(text, end, text.size)))
            return false;
        text.size = begin;
        if (!separator.bytes)
            text = text_stripped(text, separator, false, true);
    }
    for (size_t index = 0; index < parts->count / 2; index++) {
        struct value swapped = parts->items[index];
        parts->items[index] = parts->items[parts->count - 1 - index];
        parts->items[parts->count - 1 - index] = swapped;
    }
    return true;
}

static bool split(struct rendering *rendering, struct value self,
                  const struct invocation *invocation, bool is_backward,
                  struct value *value_out)
{
    struct text separator = {0};
    int64_t count_max;
    struct list *parts = list_new(rendering, 0);
    if (!parts ||
        (invocation->bound[0].kind != VALUE_NONE &&
         !argument_text(rendering, invocation->bound[0], NULL, &separator)) ||
        !argument_integer(rendering, invocation->bound[1], -1, &count_max) ||
        !rendering_charge(rendering, 1 + self.as.text.size / 64))
        return false;
    if (separator.bytes && separator.size == 0)
        return rendering_fail(rendering, STATUS_INVALID,
                              "empty separator (chat template, line %u)", rendering->line);
    if (!(is_backward && count_max >= 0
              ? split_backward(rendering, self, separator, count_max, parts)
              : split_forward(rendering, self, separator, count_max, parts)))
        return false;
    *value_out = value_of_list(VALUE_LIST, parts);
    return true;
}

static bool method_split(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    return split(rendering, self, invocation, false, value_out);
}

static bool method_rsplit(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    return split(rendering, self, invocation, true, value_out);
}

static bool partition(struct rendering *rendering, struct value self,
                      const struct invocation *invocation, bool is_last,
                      struct value *value_out)
{
    struct text separator, text = self.as.text, empty = {"", 0};
    struct list *parts = list_new(rendering, 3);
    if (!parts || !argument_text(rendering, invocation->bound[0], "", &separator) ||
        !text_charge_last(rendering, text, separator))
        return false;
    if (separator.size == 0)
        return rendering_fail(rendering, STATUS_INVALID,
                              "empty separator (chat template, line %u)", rendering->line);
    size_t at = is_last ? text_find_last(text, separator) : text_find(text, separator, 0);
    bool found = at != SIZE_MAX;
    struct text before = found ? text_part(text, 0, at) : is_last ? empty : text;
    struct text after = found ? text_part(text, at + separator.size, text.size)
                              : is_last ? text : empty;
    *value_out = value_of_list(VALUE_TUPLE, parts);
    return part_push(rendering, parts, self, before) &&
           part_push(rendering, parts, self, found ? separator : empty) &&
           part_push(rendering, parts, self, after);
}

static bool method_partition(struct rendering *rendering, struct value self,
                             const struct invocation *invocation, struct value *value_out)
{
    return partition(rendering, self, invocation, false, value_out);
}

static bool method_rpartition(struct rendering *rendering, struct value self,
                              const struct invocation *invocation, struct value *value_out)
{
    return partition(rendering, self, invocation, true, value_out);
}

static bool method_splitlines(struct rendering *rendering, struct value self,
                              const struct invocation *invocation, struct value *value_out)
{
    struct list *lines;
    if (!text_lines(rendering, self.as.text, value_truth(invocation->bound[0]), &lines))
        return false;
    *value_out = value_of_list(VALUE_LIST, lines);
    return true;
}

static bool method_join(struct rendering *rendering, struct value self,
                        const struct invocation *invocation, struct value *value_out)
{
    struct list *items;
    struct output output = {0};
    if (!value_items(rendering, invocation->bound[0], &items))
        return false;
    for (size_t index = 0; index < items->count; index++) {
        struct value item = items->items[index];
        if (item.kind != VALUE_STRING)
            return rendering_fail(rendering, STATUS_INVALID,
                                  "sequence item %zu: expected str instance, %s found (chat "
                                  "template, line %u)",
                                  index, value_type_name(item), rendering->line);
        if (self.is_markup && !item.is_markup &&
            !text_escaped(rendering, item.as.text, &item.as.text))
            return false;
        if ((index > 0 && !output_add(rendering, &output, self.as.text)) ||
            !output_add(rendering, &output, item.as.text))
            return false;
    }
    *value_out = value_text(output_text(&output));
    value_out->is_markup = self.is_markup;
    return true;
}

const struct callable_row text_split_methods[] = {
    {"join", "iterable", 1, method_join},
    {"partition", "sep", 1, method_partition},
    {"rpartition", "sep", 1, method_rpartition},
    {"rsplit", "sep maxsplit", 0, method_rsplit},
    {"split", "sep maxsplit", 0, method_split},
    {"splitlines", "keepends", 0, method_splitlines},
    {NULL, NULL, 0, NULL},
};

static bool dict_view(struct rendering *rendering, const struct dict *dict, const char *label,
                      bool keys, bool values, struct value *value_out)
{
    struct list *view = list_new(rendering, dict->count);
    for (size_t index = 0; view && index < dict->count; index++) {
        const struct entry *entry = &dict->entries[index];
        struct value item = keys ? entry->key : entry->value;
        if (keys && values) {
            struct list *pair = list_new(rendering, 2);
            if (!pair || !list_push(rendering, pair, entry->key) ||
                !list_push(rendering, pair, entry->value))
                return false;
            item = value_of_list(VALUE_TUPLE, pair);
        }
        if (!rendering_charge(rendering, 1) || !list_push(rendering, view, item))
            return false;
    }
    if (view)
        view->label = label;
    *value_out = value_of_list(VALUE_VIEW, view);
    return view != NULL;
}

static bool method_items(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    return dict_view(rendering, self.as.dict, "dict_items", true, true, value_out);
}

static bool method_keys(struct rendering *rendering, struct value self,
                        const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    return dict_view(rendering, self.as.dict, "dict_keys", true, false, value_out);
}

static bool method_values(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    return dict_view(rendering, self.as.dict, "dict_values", false, true, value_out);
}

static bool method_get(struct rendering *rendering, struct value self,
                       const struct invocation *invocation, struct value *value_out)
{
    struct value key = invocation->bound[0];
    if (key.kind == VALUE_LIST || key.kind == VALUE_DICT)
        return type_refuse(rendering, "unhashable type:", key);
    const struct entry *entry = dict_find(self.as.dict, key);
    *value_out = entry                             ? entry->value
                 : is_given(invocation->bound[1]) ? invocation->bound[1]
                                                   : value_none();
    return rendering_charge(rendering,
                            key.kind == VALUE_STRING ? key.as.text.size / 256 : 0);
}

static bool method_copy(struct rendering *rendering, struct value self,
                        const struct invocation *invocation, struct value *value_out)
{
    /* Nothing can change it, so that it is its own copy. */
    (void)rendering;
    (void)invocation;
    *value_out = self;
    return true;
}

static bool method_list_count(struct rendering *rendering, struct value self,
                              const struct invocation *invocation, struct value *value_out)
{
    int64_t count = 0;
    for (size_t index = 0; index < self.as.list->count; index++) {
        bool equal;
        if (!value_equal(rendering, self.as.list->items[index], invocation->bound[0], &equal))
            return false;
        count += equal;
    }
    *value_out = value_int(count);
    return true;
}

static bool method_list_index(struct rendering *rendering, struct value self,
                              const struct invocation *invocation, struct value *value_out)
{
    for (size_t index = 0; index < self.as.list->count; index++) {
        bool equal;
        if (!value_equal(rendering, self.as.list->items[index], invocation->bound[0], &equal))
            return false;
        if (equal) {
            *value_out = value_int((int64_t)index);
            return true;
        }
    }
    return rendering_fail(rendering, STATUS_INVALID,
                          "the value is not in the list (chat template, line %u)",
                          rendering->line);
}

static bool method_cycle(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    const struct arguments *all = invocation->all;
    if (all->count == 0)
        return rendering_fail(rendering, STATUS_INVALID,
                              "no items for cycling given (chat template, line %u)",
                              rendering->line);
    *value_out = all->values[self.as.loop->index % all->count];
    return true;
}

static bool method_changed(struct rendering *rendering, struct value self,
                           const struct invocation *invocation, struct value *value_out)
{
    struct loop *loop = self.as.loop;
    struct list *values = list_new(rendering, invocation->all->count);
    bool same = false;
    for (size_t index = 0; values && index < invocation->all->count; index++)
        if (!list_push(rendering, values, invocation->all->values[index]))
            return false;
    if (!values)
        return false;
    struct value now = value_of_list(VALUE_TUPLE, values);
    if (loop->has_changed && !value_equal(rendering, loop->changed, now, &same))
        return false;
    loop->has_changed = true;
    loop->changed = now;
    *value_out = value_bool(!same);
    return true;
}

static bool method_next(struct rendering *rendering, struct value self,
                        const struct invocation *invocation, struct value *value_out)
{
    (void)rendering;
    (void)invocation;
    struct list *list = self.as.list;
    *value_out = list->items[list->position];
    list->position = (list->position + 1) % list->count;
    return true;
}

static bool method_reset(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    (void)rendering;
    (void)invocation;
    self.as.list->position = 0;
    *value_out = value_none();
    return true;
}

static bool method_is_integer(struct rendering *rendering, struct value self,
                              const struct invocation *invocation, struct value *value_out)
{
    (void)rendering;
    (void)invocation;
    double number = value_as_double(self);
    *value_out = value_bool(number - (double)(int64_t)number == 0.0);
    if (!(number < 9e15 && number > -9e15))
        *value_out = value_bool(number - number == 0.0);
    return true;
}

static const struct callable_row dict_methods[] = {
    {"copy", "", 0, method_copy},     {"get", "key default", 1, method_get},
    {"items", "", 0, method_items},   {"keys", "", 0, method_keys},
    {"values", "", 0, method_values}, {NULL, NULL, 0, NULL},
};

static const struct callable_row list_methods[] = {
    {"copy", "", 0, method_copy},
    {"count", "value", 1, method_list_count},
    {"index", "value", 1, method_list_index},
    {NULL, NULL, 0, NULL},
};

static const struct callable_row loop_methods[] = {
    {"changed", "*", 0, method_changed},
    {"cycle", "*", 0, method_cycle},
    {NULL, NULL, 0, NULL},
};

static const struct callable_row cycler_methods[] = {
    {"next", "", 0, method_next},
    {"reset", "", 0, method_reset},
    {NULL, NULL, 0, NULL},
};

static const struct callable_row float_methods[] = {
    {"is_integer", "", 0, method_is_integer},
    {NULL, NULL, 0, NULL},
};

const struct callable_row *method_find(struct value self, struct text name)
{
    if (self.kind == VALUE_STRING) {
        const struct callable_row *row = row_find(text_methods, name);
        return row ? row : row_find(text_split_methods, name);
    }
    if (self.kind == VALUE_DICT)
        return row_find(dict_methods, name);
    if (value_is_sequence(self)) {
        const struct callable_row *row = row_find(list_methods, name);
        return row && row->call == method_copy && self.kind != VALUE_LIST ? NULL : row;
    }
    if (self.kind == VALUE_LOOP)
        return row_find(loop_methods, name);
    if (self.kind == VALUE_CYCLER)
        return row_find(cycler_methods, name);
    if (self.kind == VALUE_FLOAT)
        return row_find(float_methods, name);
    return NULL;
}

bool method_is_unsafe(struct value self, struct text name)
{
    static const char *const of_lists[] = {"append",  "clear", "extend", "insert", "pop",
                                           "remove", "reverse", "sort",  NULL};
    static const char *const of_dicts[] = {"clear", "pop", "popitem", "setdefault", "update",
                                           NULL};
    const char *const *names = self.kind == VALUE_LIST   ? of_lists
                               : self.kind == VALUE_DICT ? of_dicts
                                                         : NULL;
    for (; names && *names; names++)
        if (text_equals(name, *names))
            return true;
    return false;
}
