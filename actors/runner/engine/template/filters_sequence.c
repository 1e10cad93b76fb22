/* SPDX-License-Identifier: Apache-2.0 */
/* Filters that order, group and take apart sequences. */
#include "actors/runner/engine/template/evaluate.h"
#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"

#include <string.h>

static struct value generator_of(struct list *list, const char *label)
{
    list->label = label;
    list->position = 0;
    return value_of_list(VALUE_ITERATOR, list);
}

static bool undefined_with_hint(struct rendering *rendering, const char *hint,
                                struct value *value_out)
{
    return value_undefined(rendering, (struct undefined){.hint = hint}, value_out);
}

/* The value at `path` (or itself), strings in lower case unless case matters. */
static bool sort_key(struct rendering *rendering, struct value item, struct value path,
                     bool is_case_sensitive, struct value *key_out)
{
    if (is_given(path) && path.kind != VALUE_NONE) {
        if (!value_path(rendering, item, path, &item))
            return false;
    }
    if (item.kind == VALUE_STRING && !is_case_sensitive &&
        !text_recased(rendering, item.as.text, CASE_LOWER, &item.as.text))
        return false;
    *key_out = item;
    return true;
}

/* A number is the place of the key itself.  Anything else makes a list, as in Python, which orders
 * values of a list only where they differ: several that are undefined or None keep their order.
 * Paths with commas between them make several parts. */
static bool sort_keys(struct rendering *rendering, struct value item, struct value path,
                      bool is_case_sensitive, struct value *key_out)
{
    if (path.kind == VALUE_INT)
        return sort_key(rendering, item, path, is_case_sensitive, key_out);
    struct list *parts = list_new(rendering, 2);
    struct text rest = path.kind == VALUE_STRING ? path.as.text : (struct text){"", 0};
    if (parts && path.kind != VALUE_STRING) {
        struct value key;
        if (!sort_key(rendering, item, path, is_case_sensitive, &key) ||
            !list_push(rendering, parts, key))
            return false;
    }
    while (parts && path.kind == VALUE_STRING) {
        size_t comma = text_find(rest, (struct text){",", 1}, 0);
        struct value part = value_text(text_part(rest, 0, comma == SIZE_MAX ? rest.size : comma));
        struct value key;
        if (!sort_key(rendering, item, part, is_case_sensitive, &key) ||
            !list_push(rendering, parts, key))
            return false;
        if (comma == SIZE_MAX)
            break;
        rest = text_part(rest, comma + 1, rest.size);
    }
    *key_out = value_of_list(VALUE_LIST, parts);
    return parts != NULL;
}

struct sorted {
    struct value key;
    struct value item;
};

/* Stable; equal keys keep their order in reverse too, as Python does it. */
static bool merge(struct rendering *rendering, struct sorted *rows, struct sorted *room,
                  size_t begin, size_t middle, size_t end, bool is_reversed)
{
    size_t left = begin, right = middle, at = begin;
    while (left < middle && right < end) {
        int order;
        struct value a = rows[is_reversed ? left : right].key;
        struct value b = rows[is_reversed ? right : left].key;
        if (!value_order(rendering, a, b, "<", &order))
            return false;
        room[at++] = order == -1 ? rows[right++] : rows[left++];
    }
    while (left < middle)
        room[at++] = rows[left++];
    while (right < end)
        room[at++] = rows[right++];
    memcpy(rows + begin, room + begin, (end - begin) * sizeof(*rows));
    return true;
}

bool value_sorted(struct rendering *rendering, struct list *list, bool is_case_sensitive,
                  struct value path, bool is_reversed, struct list **list_out)
{
    size_t count = list->count;
    struct list *sorted = list_new(rendering, count);
    struct sorted *rows = rendering_take(rendering, (count + 1) * sizeof(*rows));
    struct sorted *room = rendering_take(rendering, (count + 1) * sizeof(*room));
    if (!sorted || !rows || !room || !rendering_charge(rendering, count))
        return false;
    for (size_t index = 0; index < count; index++) {
        rows[index].item = list->items[index];
        if (!sort_keys(rendering, list->items[index], path, is_case_sensitive,
                       &rows[index].key))
            return false;
    }
    for (size_t width = 1; width < count; width *= 2)
        for (size_t begin = 0; begin + width < count; begin += 2 * width) {
            size_t end = begin + 2 * width < count ? begin + 2 * width : count;
            if (!merge(rendering, rows, room, begin, begin + width, end, is_reversed))
                return false;
        }
    for (size_t index = 0; index < count; index++)
        if (!list_push(rendering, sorted, rows[index].item))
            return false;
    *list_out = sorted;
    return true;
}

static bool filter_sort(struct rendering *rendering, struct value self,
                        const struct invocation *invocation, struct value *value_out)
{
    struct list *list;
    if (!value_items(rendering, self, &list) ||
        !value_sorted(rendering, list, value_truth(invocation->bound[1]), invocation->bound[2],
                      value_truth(invocation->bound[0]), &list))
        return false;
    *value_out = value_of_list(VALUE_LIST, list);
    return true;
}

static bool pairs_of(struct rendering *rendering, const struct dict *dict,
                     struct list **list_out)
{
    struct list *pairs = list_new(rendering, dict->count);
    for (size_t index = 0; pairs && index < dict->count; index++) {
        struct list *pair = list_new(rendering, 2);
        if (!pair || !list_push(rendering, pair, dict->entries[index].key) ||
            !list_push(rendering, pair, dict->entries[index].value) ||
            !list_push(rendering, pairs, value_of_list(VALUE_TUPLE, pair)))
            return false;
    }
    *list_out = pairs;
    return pairs && rendering_charge(rendering, dict->count);
}

static bool filter_dictsort(struct rendering *rendering, struct value self,
                            const struct invocation *invocation, struct value *value_out)
{
    struct text by;
    struct list *pairs;
    if (self.kind != VALUE_DICT)
        return type_refuse(rendering, "dictsort needs a mapping, not", self);
    if (!argument_text(rendering, invocation->bound[1], "key", &by))
        return false;
    if (!text_equals(by, "key") && !text_equals(by, "value"))
        return rendering_fail(rendering, STATUS_INVALID,
                              "You can only sort by either \"key\" or \"value\"");
    if (!pairs_of(rendering, self.as.dict, &pairs) ||
        !value_sorted(rendering, pairs, value_truth(invocation->bound[0]),
                      value_int(text_equals(by, "value")), value_truth(invocation->bound[2]),
                      &pairs))
        return false;
    *value_out = value_of_list(VALUE_LIST, pairs);
    return true;
}

static bool filter_items(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    struct list *pairs = NULL;
    if (self.kind == VALUE_UNDEFINED)
        pairs = list_new(rendering, 0);
    else if (self.kind != VALUE_DICT)
        return rendering_fail(rendering, STATUS_INVALID,
                              "Can only get item pairs from a mapping. (chat template, line %u)",
                              rendering->line);
    else if (!pairs_of(rendering, self.as.dict, &pairs))
        return false;
    if (pairs)
        *value_out = generator_of(pairs, "generator");
    return pairs != NULL;
}

static bool filter_list(struct rendering *rendering, struct value self,
                        const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    struct list *items;
    if (!value_items(rendering, self, &items))
        return false;
    *value_out = value_of_list(VALUE_LIST, items);
    return true;
}

static bool filter_length(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    size_t length;
    if (!value_length(rendering, self, &length))
        return false;
    *value_out = value_int((int64_t)length);
    return true;
}

static bool filter_first(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    if (self.kind == VALUE_ITERATOR && self.as.list->position < self.as.list->count) {
        *value_out = self.as.list->items[self.as.list->position++];
        return true;
    }
    if (self.kind == VALUE_STRING && self.as.text.size > 0) {
        *value_out = value_string(self.as.text.bytes, text_step(self.as.text, 0));
        return true;
    }
    struct list *items;
    if (!value_items(rendering, self, &items))
        return false;
    if (items->count == 0)
        return undefined_with_hint(rendering, "No first item, sequence was empty.", value_out);
    *value_out = items->items[0];
    return true;
}

static bool filter_last(struct rendering *rendering, struct value self,
                        const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    struct list *items;
    if (self.kind == VALUE_ITERATOR)
        return type_refuse(rendering, "last needs a sequence, not", self);
    if (!value_items(rendering, self, &items))
        return false;
    if (items->count == 0)
        return undefined_with_hint(rendering, "No last item, sequence was empty.", value_out);
    *value_out = items->items[items->count - 1];
    return true;
}

static bool filter_reverse(struct rendering *rendering, struct value self,
                           const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    struct list *items;
    if (!value_items(rendering, self, &items))
        return false;
    struct list *reversed = list_new(rendering, items->count);
    if (!reversed)
        return false;
    struct output output = {0};
    for (size_t index = items->count; index > 0; index--) {
        struct value item = items->items[index - 1];
        if (!(self.kind == VALUE_STRING ? output_add(rendering, &output, item.as.text)
                                        : list_push(rendering, reversed, item)))
            return false;
    }
    *value_out = self.kind == VALUE_STRING     ? value_text(output_text(&output))
                 : self.kind == VALUE_ITERATOR ? value_of_list(VALUE_LIST, reversed)
                                               : generator_of(reversed, "list_reverseiterator");
    return true;
}

static bool filter_join(struct rendering *rendering, struct value self,
                        const struct invocation *invocation, struct value *value_out)
{
    struct list *items;
    struct text separator = {"", 0};
    struct output output = {0};
    struct value path = invocation->bound[1];
    if (is_given(invocation->bound[0]) &&
        !value_printed(rendering, invocation->bound[0], &separator))
        return false;
    if (!value_items(rendering, self, &items))
        return false;
    for (size_t index = 0; index < items->count; index++) {
        struct value item = items->items[index];
        if (is_given(path) && path.kind != VALUE_NONE &&
            !value_path(rendering, item, path, &item))
            return false;
        if ((index > 0 && !output_add(rendering, &output, separator)) ||
            !print_value(rendering, &output, item))
            return false;
    }
    *value_out = value_text(output_text(&output));
    return true;
}

static bool filter_sum(struct rendering *rendering, struct value self,
                       const struct invocation *invocation, struct value *value_out)
{
    struct list *items;
    struct value path = invocation->bound[0];
    struct value total = is_given(invocation->bound[1]) ? invocation->bound[1] : value_int(0);
    if (total.kind == VALUE_STRING)
        return type_refuse(rendering, "sum() can't sum strings, not", total);
    if (!value_items(rendering, self, &items))
        return false;
    for (size_t index = 0; index < items->count; index++) {
        struct value item = items->items[index], sum;
        if (is_given(path) && path.kind != VALUE_NONE &&
            !value_path(rendering, item, path, &item))
            return false;
        if (!rendering_charge(rendering, 1) ||
            !binary_evaluate(rendering, OPERATION_ADD, total, item, &sum))
            return false;
        total = sum;
    }
    *value_out = total;
    return true;
}

static bool extreme(struct rendering *rendering, struct value self,
                    const struct invocation *invocation, int wanted, struct value *value_out)
{
    struct list *items;
    struct value best_key, key;
    if (!value_items(rendering, self, &items))
        return false;
    if (items->count == 0)
        return undefined_with_hint(rendering, "No aggregated item, sequence was empty.",
                                   value_out);
    for (size_t index = 0; index < items->count; index++) {
        int order = wanted;
        if (!sort_key(rendering, items->items[index], invocation->bound[1],
                      value_truth(invocation->bound[0]), &key))
            return false;
        if (index > 0 && !value_order(rendering, key, best_key, wanted < 0 ? "<" : ">", &order))
            return false;
        if (order == wanted) {
            best_key = key;
            *value_out = items->items[index];
        }
    }
    return true;
}

static bool filter_max(struct rendering *rendering, struct value self,
                       const struct invocation *invocation, struct value *value_out)
{
    return extreme(rendering, self, invocation, 1, value_out);
}

static bool filter_min(struct rendering *rendering, struct value self,
                       const struct invocation *invocation, struct value *value_out)
{
    return extreme(rendering, self, invocation, -1, value_out);
}

static bool filter_unique(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    struct list *items, *unique = list_new(rendering, 0);
    struct dict *seen = dict_new(rendering, 0);
    if (!unique || !seen || !value_items(rendering, self, &items))
        return false;
    for (size_t index = 0; index < items->count; index++) {
        struct value key;
        if (!sort_key(rendering, items->items[index], invocation->bound[1],
                      value_truth(invocation->bound[0]), &key))
            return false;
        size_t count = seen->count;
        if (!dict_put(rendering, seen, key, value_none()) ||
            (seen->count > count && !list_push(rendering, unique, items->items[index])))
            return false;
    }
    *value_out = generator_of(unique, "generator");
    return true;
}

static bool group_new(struct rendering *rendering, struct value grouper, struct list *groups,
                      struct list **members_out)
{
    struct list *group = list_new(rendering, 2);
    struct list *members = list_new(rendering, 0);
    if (!group || !members)
        return false;
    group->is_group = true;
    *members_out = members;
    return list_push(rendering, group, grouper) &&
           list_push(rendering, group, value_of_list(VALUE_LIST, members)) &&
           list_push(rendering, groups, value_of_list(VALUE_TUPLE, group));
}

static bool group_key(struct rendering *rendering, struct value item,
                      const struct invocation *invocation, bool is_case_sensitive,
                      struct value *key_out)
{
    struct value key;
    if (!value_path(rendering, item, invocation->bound[0], &key))
        return false;
    if (key.kind == VALUE_UNDEFINED && is_given(invocation->bound[1]))
        key = invocation->bound[1];
    return sort_key(rendering, key, (struct value){.kind = VALUE_MISSING}, is_case_sensitive,
                    key_out);
}

static bool filter_groupby(struct rendering *rendering, struct value self,
                           const struct invocation *invocation, struct value *value_out)
{
    bool is_case_sensitive = value_truth(invocation->bound[2]);
    struct list *items, *keyed = list_new(rendering, 0), *groups = list_new(rendering, 0);
    if (!keyed || !groups || !value_items(rendering, self, &items))
        return false;
    for (size_t index = 0; index < items->count; index++) {
        struct list *pair = list_new(rendering, 2);
        struct value key;
        if (!pair ||
            !group_key(rendering, items->items[index], invocation, is_case_sensitive, &key) ||
            !list_push(rendering, pair, key) ||
            !list_push(rendering, pair, items->items[index]) ||
            !list_push(rendering, keyed, value_of_list(VALUE_TUPLE, pair)))
            return false;
    }
    if (!value_sorted(rendering, keyed, true, value_int(0), false, &keyed))
        return false;
    struct list *members = NULL;
    struct value last = {0};
    for (size_t index = 0; index < keyed->count; index++) {
        const struct list *pair = keyed->items[index].as.list;
        bool same = false;
        if (members && !value_equal(rendering, last, pair->items[0], &same))
            return false;
        struct value grouper;
        if (!same && (!group_key(rendering, pair->items[1], invocation, true, &grouper) ||
                      !group_new(rendering, grouper, groups, &members)))
            return false;
        last = pair->items[0];
        if (!list_push(rendering, members, pair->items[1]))
            return false;
    }
    *value_out = value_of_list(VALUE_LIST, groups);
    return true;
}

static bool part_push(struct rendering *rendering, struct list *parts, const struct list *items,
                      size_t begin, size_t end, struct value filler, size_t filler_count)
{
    struct list *part = list_new(rendering, end - begin + 1);
    for (size_t index = begin; part && index < end; index++)
        if (!list_push(rendering, part, items->items[index]))
            return false;
    for (size_t count = 0; part && count < filler_count; count++)
        if (!rendering_charge(rendering, 1) || !list_push(rendering, part, filler))
            return false;
    return part && list_push(rendering, parts, value_of_list(VALUE_LIST, part));
}

static bool filter_batch(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    struct list *items, *parts = list_new(rendering, 0);
    struct value filler = invocation->bound[1];
    bool fills = is_given(filler) && filler.kind != VALUE_NONE;
    int64_t width;
    if (!parts || !argument_integer(rendering, invocation->bound[0], 0, &width) ||
        !value_items(rendering, self, &items))
        return false;
    if (width < 1)
        return rendering_fail(rendering, STATUS_INVALID,
                              "chat template, line %u: batch needs at least 1 item a batch",
                              rendering->line);
    for (size_t begin = 0; begin < items->count;) {
        size_t left = items->count - begin;
        size_t size = left < (size_t)width ? left : (size_t)width;
        if (!part_push(rendering, parts, items, begin, begin + size, filler,
                       fills ? (size_t)width - size : 0))
            return false;
        begin += size;
    }
    *value_out = generator_of(parts, "generator");
    return true;
}

static bool filter_slice(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    struct list *items, *parts = list_new(rendering, 0);
    struct value filler = invocation->bound[1];
    bool fills = is_given(filler) && filler.kind != VALUE_NONE;
    int64_t count;
    if (!parts || !argument_integer(rendering, invocation->bound[0], 0, &count) ||
        !value_items(rendering, self, &items))
        return false;
    if (count < 1)
        return rendering_fail(rendering, STATUS_INVALID,
                              "chat template, line %u: slice needs at least 1 slice",
                              rendering->line);
    size_t size = items->count / (size_t)count, extra = items->count % (size_t)count;
    size_t begin = 0;
    for (size_t index = 0; index < (size_t)count; index++) {
        size_t end = begin + size + (index < extra ? 1 : 0);
        if (!rendering_charge(rendering, 1) ||
            !part_push(rendering, parts, items, begin, end, filler, fills && index >= extra))
            return false;
        begin = end;
    }
    *value_out = generator_of(parts, "generator");
    return true;
}

const struct callable_row sequence_filters[] = {
    {"batch", "linecount fill_with", 1, filter_batch},
    {"count", "", 0, filter_length},
    {"dictsort", "case_sensitive by reverse", 0, filter_dictsort},
    {"first", "", 0, filter_first},
    {"groupby", "attribute default case_sensitive", 1, filter_groupby},
    {"items", "", 0, filter_items},
    {"join", "d attribute", 0, filter_join},
    {"last", "", 0, filter_last},
    {"length", "", 0, filter_length},
    {"list", "", 0, filter_list},
    {"max", "case_sensitive attribute", 0, filter_max},
    {"min", "case_sensitive attribute", 0, filter_min},
    {"reverse", "", 0, filter_reverse},
    {"slice", "slices fill_with", 1, filter_slice},
    {"sort", "reverse case_sensitive attribute", 0, filter_sort},
    {"sum", "attribute start", 0, filter_sum},
    {"unique", "case_sensitive attribute", 0, filter_unique},
    {NULL, NULL, 0, NULL},
};
