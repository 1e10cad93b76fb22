/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/template/value.h"

#include "actors/runner/engine/template/unicode.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Deep enough for 100 macros within each other, shallow enough for a stack of 4 MiB. */
enum { DEPTH_MAX = 1500 };

bool rendering_fail(struct rendering *rendering, enum status status, const char *format, ...)
{
    if (rendering->status != STATUS_OK)
        return false;
    rendering->status = status;
    if (rendering->reason) {
        char sentence[sizeof(rendering->reason->text)];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(sentence, sizeof(sentence), format, arguments);
        va_end(arguments);
        snprintf(rendering->reason->text, sizeof(rendering->reason->text), "%s", sentence);
    }
    return false;
}

bool rendering_charge(struct rendering *rendering, uint64_t steps)
{
    if (steps > rendering->steps_left)
        return rendering_fail(rendering, STATUS_TOO_LARGE,
                              "the chat template takes too many steps (line %u)",
                              rendering->line);
    rendering->steps_left -= steps;
    return true;
}

bool rendering_enter(struct rendering *rendering)
{
    if (rendering->depth >= DEPTH_MAX)
        return rendering_fail(rendering, STATUS_TOO_LARGE,
                              "the chat template nests too deeply (line %u)", rendering->line);
    rendering->depth++;
    return true;
}

void rendering_leave(struct rendering *rendering)
{
    rendering->depth--;
}

void *rendering_take(struct rendering *rendering, size_t size)
{
    if (!rendering_charge(rendering, size / 1024))
        return NULL;
    void *taken = arena_take(rendering->arena, size);
    bool is_within = size <= rendering->arena->size_max &&
                     rendering->arena->size_taken <= rendering->arena->size_max - size;
    if (!taken && is_within)
        (void)rendering_fail(rendering, STATUS_NO_MEMORY, "no memory to render the messages");
    else if (!taken)
        (void)rendering_fail(rendering, STATUS_TOO_LARGE,
                             "the chat template takes more memory than its limit of %zu bytes",
                             rendering->arena->size_max);
    return taken;
}

struct value value_none(void)
{
    return (struct value){.kind = VALUE_NONE};
}

struct value value_bool(bool boolean)
{
    return (struct value){.kind = VALUE_BOOL, .as.boolean = boolean};
}

struct value value_int(int64_t integer)
{
    return (struct value){.kind = VALUE_INT, .as.integer = integer};
}

struct value value_float(double number)
{
    return (struct value){.kind = VALUE_FLOAT, .as.number = number};
}

struct value value_string(const char *bytes, size_t size)
{
    return (struct value){.kind = VALUE_STRING, .as.text = {bytes, size}};
}

struct value value_text(struct text text)
{
    return (struct value){.kind = VALUE_STRING, .as.text = text};
}

struct value value_literal(const char *literal)
{
    return value_string(literal, strlen(literal));
}

struct value value_of_list(enum value_kind kind, struct list *list)
{
    return (struct value){.kind = kind, .as.list = list};
}

struct value value_of_dict(struct dict *dict)
{
    return (struct value){.kind = VALUE_DICT, .as.dict = dict};
}

bool value_undefined(struct rendering *rendering, struct undefined undefined,
                     struct value *value_out)
{
    struct undefined *kept = rendering_take(rendering, sizeof(*kept));
    if (!kept)
        return false;
    *kept = undefined;
    *value_out = (struct value){.kind = VALUE_UNDEFINED, .as.undefined = kept};
    return true;
}

const char *value_type_name(struct value value)
{
    static const char *const names[] = {
        [VALUE_MISSING] = "missing",     [VALUE_UNDEFINED] = "Undefined",
        [VALUE_NONE] = "NoneType",       [VALUE_BOOL] = "bool",
        [VALUE_INT] = "int",             [VALUE_FLOAT] = "float",
        [VALUE_DIGITS] = "int",
        [VALUE_STRING] = "str",          [VALUE_LIST] = "list",
        [VALUE_TUPLE] = "tuple",         [VALUE_RANGE] = "range",
        [VALUE_VIEW] = "dict view",      [VALUE_ITERATOR] = "generator",
        [VALUE_DICT] = "dict",           [VALUE_NAMESPACE] = "Namespace",
        [VALUE_LOOP] = "LoopContext",    [VALUE_MACRO] = "Macro",
        [VALUE_METHOD] = "method",       [VALUE_FUNCTION] = "function",
        [VALUE_CYCLER] = "Cycler",       [VALUE_JOINER] = "Joiner",
    };
    if (value.kind == VALUE_STRING && value.is_markup)
        return "Markup";
    if ((value.kind == VALUE_VIEW || value.kind == VALUE_ITERATOR) && value.as.list->label)
        return value.as.list->label;
    return names[value.kind];
}

bool value_is_sequence(struct value value)
{
    return value.kind == VALUE_LIST || value.kind == VALUE_TUPLE || value.kind == VALUE_RANGE;
}

bool value_is_integral(struct value value)
{
    return value.kind == VALUE_INT || value.kind == VALUE_BOOL;
}

bool value_is_number(struct value value)
{
    return value.kind == VALUE_FLOAT || value_is_integral(value);
}

int64_t value_as_integer(struct value value)
{
    return value.kind == VALUE_BOOL ? value.as.boolean : value.as.integer;
}

double value_as_double(struct value value)
{
    return value.kind == VALUE_FLOAT ? value.as.number : (double)value_as_integer(value);
}

static bool has_list(struct value value)
{
    return value_is_sequence(value) || value.kind == VALUE_VIEW;
}

bool value_truth(struct value value)
{
    if (value.kind == VALUE_UNDEFINED || value.kind == VALUE_NONE || value.kind == VALUE_MISSING)
        return false;
    if (value_is_integral(value))
        return value_as_integer(value) != 0;
    if (value.kind == VALUE_FLOAT)
        return value.as.number != 0.0;
    if (value.kind == VALUE_STRING)
        return value.as.text.size > 0;
    if (has_list(value))
        return value.as.list->count > 0;
    if (value.kind == VALUE_DICT)
        return value.as.dict->count > 0;
    return true;
}

bool value_refuse_undefined(struct rendering *rendering, struct value value)
{
    const struct undefined *undefined = value.as.undefined;
    if (!undefined)
        return rendering_fail(rendering, STATUS_INVALID,
                              "chat template, line %u: an undefined value is used",
                              rendering->line);
    int size = undefined->name.size > 100 ? 100 : (int)undefined->name.size;
    if (undefined->hint)
        return rendering_fail(rendering, STATUS_INVALID, "%s (chat template, line %u)",
                              undefined->hint, rendering->line);
    if (undefined->is_unsafe)
        return rendering_fail(rendering, STATUS_REFUSED,
                              "access to attribute '%.*s' of '%s' object is unsafe (chat "
                              "template, line %u)",
                              size, undefined->name.bytes, undefined->object_type,
                              rendering->line);
    if (!undefined->object_type)
        return rendering_fail(rendering, STATUS_INVALID,
                              "'%.*s' is undefined (chat template, line %u)", size,
                              undefined->name.bytes, rendering->line);
    bool is_none = strcmp(undefined->object_type, "NoneType") == 0;
    return rendering_fail(rendering, STATUS_INVALID, "'%s%s' has no %s '%.*s' (chat template, "
                          "line %u)",
                          is_none ? "None" : undefined->object_type, is_none ? "" : " object",
                          undefined->is_element ? "element" : "attribute", size,
                          undefined->name.bytes, rendering->line);
}

static bool lists_equal(struct rendering *rendering, const struct list *a, const struct list *b,
                        bool *equal_out)
{
    bool equal = a->count == b->count;
    for (size_t index = 0; equal && index < a->count; index++)
        if (!value_equal(rendering, a->items[index], b->items[index], &equal))
            return false;
    *equal_out = equal;
    return true;
}

static bool dicts_equal(struct rendering *rendering, const struct dict *a, const struct dict *b,
                        bool *equal_out)
{
    bool equal = a->count == b->count;
    for (size_t index = 0; equal && index < a->count; index++) {
        const struct entry *other = dict_find(b, a->entries[index].key);
        if (!other)
            equal = false;
        else if (!value_equal(rendering, a->entries[index].value, other->value, &equal))
            return false;
    }
    *equal_out = equal;
    return true;
}

static bool scalars_equal(struct value a, struct value b)
{
    if (value_is_number(a) && value_is_number(b)) {
        if (value_is_integral(a) && value_is_integral(b))
            return value_as_integer(a) == value_as_integer(b);
        return value_as_double(a) == value_as_double(b);
    }
    if (a.kind != b.kind)
        return false;
    if (a.kind == VALUE_STRING || a.kind == VALUE_DIGITS)
        return texts_equal(a.as.text, b.as.text);
    if (a.kind == VALUE_UNDEFINED || a.kind == VALUE_NONE)
        return true;
    if (a.kind == VALUE_METHOD)
        return a.as.method->row == b.as.method->row;
    return a.as.list == b.as.list;
}

bool value_equal(struct rendering *rendering, struct value a, struct value b, bool *equal_out)
{
    bool both_texts = a.kind == VALUE_STRING && b.kind == VALUE_STRING;
    if (!rendering_charge(rendering, 1 + (both_texts ? a.as.text.size / 1024 : 0)))
        return false;
    bool both_lists = a.kind == b.kind && (has_list(a) && a.kind != VALUE_VIEW);
    bool both_dicts = a.kind == VALUE_DICT && b.kind == VALUE_DICT;
    if (!both_lists && !both_dicts) {
        *equal_out = scalars_equal(a, b);
        return true;
    }
    if (!rendering_enter(rendering))
        return false;
    bool done = both_lists ? lists_equal(rendering, a.as.list, b.as.list, equal_out)
                           : dicts_equal(rendering, a.as.dict, b.as.dict, equal_out);
    rendering_leave(rendering);
    return done;
}

static int text_order(struct text a, struct text b)
{
    size_t shared = a.size < b.size ? a.size : b.size;
    int order = shared ? memcmp(a.bytes, b.bytes, shared) : 0;
    if (order == 0)
        order = a.size < b.size ? -1 : a.size > b.size;
    return order < 0 ? -1 : order > 0;
}

static bool lists_order(struct rendering *rendering, const struct list *a, const struct list *b,
                        const char *sign, int *order_out)
{
    size_t shared = a->count < b->count ? a->count : b->count;
    for (size_t index = 0; index < shared; index++) {
        bool equal;
        if (!value_equal(rendering, a->items[index], b->items[index], &equal))
            return false;
        if (!equal)
            return value_order(rendering, a->items[index], b->items[index], sign, order_out);
    }
    *order_out = a->count < b->count ? -1 : a->count > b->count;
    return true;
}

bool value_order(struct rendering *rendering, struct value a, struct value b, const char *sign,
                 int *order_out)
{
    bool both_texts = a.kind == VALUE_STRING && b.kind == VALUE_STRING;
    if (!rendering_charge(rendering, 1 + (both_texts ? a.as.text.size / 1024 : 0)))
        return false;
    if (value_is_number(a) && value_is_number(b)) {
        if (value_is_integral(a) && value_is_integral(b)) {
            int64_t x = value_as_integer(a), y = value_as_integer(b);
            *order_out = x < y ? -1 : x > y;
        } else {
            double x = value_as_double(a), y = value_as_double(b);
            /* 2: not ordered at all, for NaN; no comparison holds. */
            *order_out = x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
        }
        return true;
    }
    if (both_texts) {
        *order_out = text_order(a.as.text, b.as.text);
        return true;
    }
    if (a.kind == b.kind && (a.kind == VALUE_LIST || a.kind == VALUE_TUPLE)) {
        if (!rendering_enter(rendering))
            return false;
        bool done = lists_order(rendering, a.as.list, b.as.list, sign, order_out);
        rendering_leave(rendering);
        return done;
    }
    if (a.kind == VALUE_UNDEFINED)
        return value_refuse_undefined(rendering, a);
    if (b.kind == VALUE_UNDEFINED)
        return value_refuse_undefined(rendering, b);
    return rendering_fail(rendering, STATUS_INVALID,
                          "'%s' not supported between instances of '%s' and '%s' (chat template, "
                          "line %u)",
                          sign, value_type_name(a), value_type_name(b), rendering->line);
}

static bool text_items(struct rendering *rendering, struct text text, struct list **list_out)
{
    struct list *list = list_new(rendering, text_count(text));
    if (!list)
        return false;
    for (size_t offset = 0; offset < text.size;) {
        size_t size = text_step(text, offset);
        if (!list_push(rendering, list, value_string(text.bytes + offset, size)))
            return false;
        offset += size;
    }
    *list_out = list;
    return true;
}

static bool dict_items(struct rendering *rendering, const struct dict *dict,
                       struct list **list_out)
{
    struct list *list = list_new(rendering, dict->count);
    if (!list)
        return false;
    for (size_t index = 0; index < dict->count; index++)
        if (!list_push(rendering, list, dict->entries[index].key))
            return false;
    *list_out = list;
    return true;
}

bool value_items(struct rendering *rendering, struct value value, struct list **list_out)
{
    if (has_list(value)) {
        *list_out = value.as.list;
        return rendering_charge(rendering, value.as.list->count);
    }
    if (value.kind == VALUE_STRING)
        return text_items(rendering, value.as.text, list_out);
    if (value.kind == VALUE_DICT)
        return dict_items(rendering, value.as.dict, list_out);
    if (value.kind == VALUE_UNDEFINED) {
        if (value.as.undefined && value.as.undefined->is_unsafe)
            return value_refuse_undefined(rendering, value);
        *list_out = list_new(rendering, 0);
        return *list_out != NULL;
    }
    if (value.kind == VALUE_ITERATOR) {
        struct list *rest = list_new(rendering, 0);
        if (!rest)
            return false;
        struct list *source = value.as.list;
        rest->items = source->items + source->position;
        rest->count = source->count - source->position;
        source->position = source->count;
        *list_out = rest;
        return rendering_charge(rendering, rest->count);
    }
    return rendering_fail(rendering, STATUS_INVALID,
                          "'%s' object is not iterable (chat template, line %u)",
                          value_type_name(value), rendering->line);
}

bool value_length(struct rendering *rendering, struct value value, size_t *length_out)
{
    if (value.kind == VALUE_STRING) {
        *length_out = text_count(value.as.text);
        return rendering_charge(rendering, value.as.text.size / 256);
    }
    if (has_list(value))
        *length_out = value.as.list->count;
    else if (value.kind == VALUE_DICT)
        *length_out = value.as.dict->count;
    else if (value.kind == VALUE_UNDEFINED)
        *length_out = 0;
    else
        return rendering_fail(rendering, STATUS_INVALID,
                              "object of type '%s' has no len() (chat template, line %u)",
                              value_type_name(value), rendering->line);
    return true;
}

bool value_contains(struct rendering *rendering, struct value container, struct value item,
                    bool *contains_out)
{
    *contains_out = false;
    if (container.kind == VALUE_STRING) {
        if (item.kind == VALUE_UNDEFINED)
            return value_refuse_undefined(rendering, item);
        if (item.kind != VALUE_STRING)
            return rendering_fail(rendering, STATUS_INVALID,
                                  "'in <string>' requires string as left operand, not %s (chat "
                                  "template, line %u)",
                                  value_type_name(item), rendering->line);
        *contains_out = text_find(container.as.text, item.as.text, 0) != SIZE_MAX;
        return rendering_charge(rendering, container.as.text.size / 256);
    }
    if (container.kind == VALUE_DICT) {
        *contains_out = dict_find(container.as.dict, item) != NULL;
        if (item.kind == VALUE_LIST || item.kind == VALUE_DICT)
            return rendering_fail(rendering, STATUS_INVALID,
                                  "unhashable type: '%s' (chat template, line %u)",
                                  value_type_name(item), rendering->line);
        return true;
    }
    if (value_is_number(container) || container.kind == VALUE_NONE)
        return rendering_fail(rendering, STATUS_INVALID,
                              "argument of type '%s' is not iterable (chat template, line %u)",
                              value_type_name(container), rendering->line);
    struct list *list;
    if (!value_items(rendering, container, &list))
        return false;
    for (size_t index = 0; index < list->count && !*contains_out; index++)
        if (!value_equal(rendering, list->items[index], item, contains_out))
            return false;
    return true;
}

bool text_equals(struct text text, const char *literal)
{
    size_t size = strlen(literal);
    return text.size == size && (size == 0 || memcmp(text.bytes, literal, size) == 0);
}

bool texts_equal(struct text a, struct text b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.bytes, b.bytes, a.size) == 0);
}

struct list *list_new(struct rendering *rendering, size_t capacity)
{
    struct list *list = rendering_take(rendering, sizeof(*list));
    if (!list || capacity == 0)
        return list;
    if (capacity > SIZE_MAX / sizeof(struct value) / 2)
        capacity = SIZE_MAX / sizeof(struct value) / 2;
    list->items = rendering_take(rendering, capacity * sizeof(struct value));
    list->capacity = capacity;
    return list->items ? list : NULL;
}

bool list_push(struct rendering *rendering, struct list *list, struct value item)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity < 4 ? 8 : list->capacity * 2;
        struct value *items = rendering_take(rendering, capacity * sizeof(*items));
        if (!items)
            return false;
        if (list->count > 0)
            memcpy(items, list->items, list->count * sizeof(*items));
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = item;
    return true;
}
