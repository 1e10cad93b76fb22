/* SPDX-License-Identifier: Apache-2.0 */
/* What templates may call by name. */
#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"

#include <stdio.h>
#include <string.h>

/* The sandbox's own limit on range(). */
enum { RANGE_MAX = 100000 };

static bool function_raise_exception(struct rendering *rendering, struct value self,
                                     const struct invocation *invocation,
                                     struct value *value_out)
{
    (void)self;
    (void)value_out;
    struct text message;
    if (!value_printed(rendering, invocation->bound[0], &message))
        return false;
    rendering->was_raised = rendering->status == STATUS_OK;
    return rendering_fail(rendering, STATUS_REFUSED, "%.*s",
                          (int)(message.size > 4096 ? 4096 : message.size), message.bytes);
}

/* One directive at a time, so that no width in the format makes an endless text. */
static bool add_directive(struct rendering *rendering, struct output *output, char flag,
                          char letter)
{
    char directive[4] = {'%', letter, 0, 0};
    char text[256];
    if (flag) {
        directive[1] = flag;
        directive[2] = letter;
    }
    if (letter == 'f')
        return output_add_literal(rendering, output, "000000");
    if (letter == 'z' || letter == 'Z')
        return true;
    if (!strchr("aAwdbBmyYHIpMSjUWcxX%GuVeDFTRrCgnthklPs", letter)) {
        char plain[3] = {'%', letter, 0};
        return output_add_literal(rendering, output, plain);
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t size = strftime(text, sizeof(text), directive, rendering->now);
#pragma GCC diagnostic pop
    return output_add_bytes(rendering, output, text, size);
}

bool strftime_text(struct rendering *rendering, struct text format, struct text *text_out)
{
    struct output output = {0};
    if (!rendering->now)
        return rendering_fail(rendering, STATUS_INVALID,
                              "the chat template asks for the time, which was not given");
    for (size_t at = 0; at < format.size;) {
        size_t sign = text_find(format, (struct text){"%", 1}, at);
        size_t end = sign == SIZE_MAX ? format.size : sign;
        if (!output_add(rendering, &output, text_part(format, at, end)) ||
            !rendering_charge(rendering, 1))
            return false;
        at = end + 1;
        if (sign == SIZE_MAX)
            break;
        char flag = 0;
        if (at < format.size && format.bytes[at] && strchr("-_0^#", format.bytes[at]))
            flag = format.bytes[at++];
        if (at >= format.size || !format.bytes[at]) {
            if (!output_add_literal(rendering, &output, "%"))
                return false;
            continue;
        }
        if (!add_directive(rendering, &output, flag, format.bytes[at++]))
            return false;
    }
    *text_out = output_text(&output);
    return true;
}

static bool function_strftime_now(struct rendering *rendering, struct value self,
                                  const struct invocation *invocation, struct value *value_out)
{
    (void)self;
    struct text text;
    if (!argument_text(rendering, invocation->bound[0], "", &text) ||
        !strftime_text(rendering, text, &text))
        return false;
    *value_out = value_text(text);
    return true;
}

static bool put_pairs(struct rendering *rendering, struct dict *dict, struct value source)
{
    struct list *pairs;
    if (source.kind == VALUE_DICT) {
        for (size_t index = 0; index < source.as.dict->count; index++)
            if (!dict_put(rendering, dict, source.as.dict->entries[index].key,
                          source.as.dict->entries[index].value))
                return false;
        return true;
    }
    if (!value_items(rendering, source, &pairs))
        return false;
    for (size_t index = 0; index < pairs->count; index++) {
        struct list *pair;
        if (!value_items(rendering, pairs->items[index], &pair))
            return false;
        if (pair->count != 2)
            return type_refuse(rendering, "dict() needs pairs, not", pairs->items[index]);
        if (!dict_put(rendering, dict, pair->items[0], pair->items[1]))
            return false;
    }
    return true;
}

static bool dict_made(struct rendering *rendering, const struct arguments *arguments,
                      struct dict **dict_out)
{
    struct dict *dict = dict_new(rendering, arguments->named_count);
    if (!dict)
        return false;
    if (arguments->count > 1)
        return rendering_fail(rendering, STATUS_INVALID,
                              "dict expected at most 1 argument, got %zu (chat template, line %u)",
                              arguments->count, rendering->line);
    if (arguments->count == 1 && !put_pairs(rendering, dict, arguments->values[0]))
        return false;
    for (size_t index = 0; index < arguments->named_count; index++)
        if (!dict_put(rendering, dict, value_text(arguments->named[index].name),
                      arguments->named[index].value))
            return false;
    *dict_out = dict;
    return true;
}

static bool function_dict(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    (void)self;
    struct dict *dict = NULL;
    if (!dict_made(rendering, invocation->all, &dict))
        return false;
    *value_out = value_of_dict(dict);
    return true;
}

static bool function_namespace(struct rendering *rendering, struct value self,
                               const struct invocation *invocation, struct value *value_out)
{
    if (!function_dict(rendering, self, invocation, value_out))
        return false;
    value_out->kind = VALUE_NAMESPACE;
    return true;
}

static bool function_range(struct rendering *rendering, struct value self,
                           const struct invocation *invocation, struct value *value_out)
{
    (void)self;
    const struct value *bound = invocation->bound;
    int64_t start, stop, step;
    bool only_stop = !is_given(bound[1]);
    if (!argument_integer(rendering, only_stop ? (struct value){.kind = VALUE_MISSING} : bound[0],
                          0, &start) ||
        !argument_integer(rendering, only_stop ? bound[0] : bound[1], 0, &stop) ||
        !argument_integer(rendering, bound[2], 1, &step))
        return false;
    if (step == 0)
        return rendering_fail(rendering, STATUS_INVALID,
                              "range() arg 3 must not be zero (chat template, line %u)",
                              rendering->line);
    bool is_empty = step > 0 ? start >= stop : start <= stop;
    uint64_t span = step > 0 ? (uint64_t)stop - (uint64_t)start
                             : (uint64_t)start - (uint64_t)stop;
    uint64_t stride = step > 0 ? (uint64_t)step : (uint64_t)0 - (uint64_t)step;
    uint64_t count = is_empty ? 0 : (span - 1) / stride + 1;
    if (count > RANGE_MAX)
        return rendering_fail(rendering, STATUS_TOO_LARGE,
                              "Range too big. The sandbox blocks ranges larger than %d. (chat "
                              "template, line %u)",
                              RANGE_MAX, rendering->line);
    struct list *list = list_new(rendering, (size_t)count);
    if (!list || !rendering_charge(rendering, count / 8))
        return false;
    for (uint64_t index = 0; index < count; index++)
        if (!list_push(rendering, list, value_int(start + (int64_t)index * step)))
            return false;
    list->start = start;
    list->stop = stop;
    list->step = step;
    *value_out = value_of_list(VALUE_RANGE, list);
    return true;
}

static bool function_cycler(struct rendering *rendering, struct value self,
                            const struct invocation *invocation, struct value *value_out)
{
    (void)self;
    struct list *list = list_new(rendering, invocation->all->count);
    for (size_t index = 0; list && index < invocation->all->count; index++)
        if (!list_push(rendering, list, invocation->all->values[index]))
            return false;
    *value_out = value_of_list(VALUE_CYCLER, list);
    return list != NULL;
}

static bool function_joiner(struct rendering *rendering, struct value self,
                            const struct invocation *invocation, struct value *value_out)
{
    (void)self;
    struct list *list = list_new(rendering, 1);
    struct value separator = is_given(invocation->bound[0]) ? invocation->bound[0]
                                                            : value_literal(", ");
    *value_out = value_of_list(VALUE_JOINER, list);
    return list && list_push(rendering, list, separator);
}

static const struct callable_row functions[] = {
    {"cycler", "*", 1, function_cycler},
    {"dict", "*", 0, function_dict},
    {"joiner", "sep", 0, function_joiner},
    {"namespace", "*", 0, function_namespace},
    {"raise_exception", "message", 1, function_raise_exception},
    {"range", "start stop step", 1, function_range},
    {"strftime_now", "format", 1, function_strftime_now},
    {NULL, NULL, 0, NULL},
};

const struct callable_row *function_find(struct text name)
{
    return row_find(functions, name);
}
