/* SPDX-License-Identifier: Apache-2.0 */
/* Filters of strings. */
#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"

#include <stdio.h>
#include <string.h>

static bool recase(struct rendering *rendering, struct value self, enum text_case to,
                   struct value *value_out)
{
    struct text text;
    if (!value_printed(rendering, self, &text) || !text_recased(rendering, text, to, &text))
        return false;
    *value_out = value_text(text);
    value_out->is_markup = self.is_markup;
    return true;
}

static bool filter_upper(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    return recase(rendering, self, CASE_UPPER, value_out);
}

static bool filter_lower(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    return recase(rendering, self, CASE_LOWER, value_out);
}

static bool filter_capitalize(struct rendering *rendering, struct value self,
                              const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    return recase(rendering, self, CASE_CAPITAL, value_out);
}

/* jinja begins a word only after white space, a hyphen or an opening bracket. */
static bool filter_title(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    struct text text;
    struct output output = {0};
    if (!value_printed(rendering, self, &text))
        return false;
    for (size_t begin = 0; begin < text.size;) {
        size_t end = begin;
        bool separates = false;
        while (end < text.size) {
            uint32_t letter = text_letter(text, end);
            bool is_separator = letter_is_space(letter) ||
                                (letter < 0x80 && strchr("-({[<", (int)letter) && letter);
            if (end > begin && is_separator != separates)
                break;
            separates = is_separator;
            end += text_step(text, end);
        }
        struct text word = text_part(text, begin, end);
        size_t first = text_step(word, 0);
        struct text head, tail;
        if (!text_recased(rendering, text_part(word, 0, first), CASE_UPPER, &head) ||
            !text_recased(rendering, text_part(word, first, word.size), CASE_LOWER, &tail) ||
            !output_add(rendering, &output, head) || !output_add(rendering, &output, tail))
            return false;
        begin = end;
    }
    *value_out = value_text(output_text(&output));
    return true;
}

static bool filter_trim(struct rendering *rendering, struct value self,
                        const struct invocation *invocation, struct value *value_out)
{
    struct text text, letters = {0};
    if (!value_printed(rendering, self, &text))
        return false;
    if (invocation->bound[0].kind != VALUE_NONE &&
        !argument_text(rendering, invocation->bound[0], NULL, &letters))
        return false;
    if (!rendering_charge(rendering, 1 + text.size * (1 + letters.size / 8) / 64))
        return false;
    *value_out = value_text(text_stripped(text, letters, true, true));
    value_out->is_markup = self.is_markup;
    return true;
}

static bool filter_replace(struct rendering *rendering, struct value self,
                           const struct invocation *invocation, struct value *value_out)
{
    struct text text, old, fresh;
    int64_t count = -1;
    if (!value_printed(rendering, self, &text) ||
        !value_printed(rendering, invocation->bound[0], &old) ||
        !value_printed(rendering, invocation->bound[1], &fresh))
        return false;
    if (invocation->bound[2].kind != VALUE_NONE &&
        !argument_integer(rendering, invocation->bound[2], -1, &count))
        return false;
    if (!text_replaced(rendering, text, old, fresh, count, &text))
        return false;
    *value_out = value_text(text);
    value_out->is_markup = self.is_markup;
    return true;
}

static bool filter_string(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    struct text text;
    if (!value_printed(rendering, self, &text))
        return false;
    *value_out = value_text(text);
    value_out->is_markup = self.is_markup;
    return true;
}

static bool filter_safe(struct rendering *rendering, struct value self,
                        const struct invocation *invocation, struct value *value_out)
{
    if (!filter_string(rendering, self, invocation, value_out))
        return false;
    value_out->is_markup = true;
    return true;
}

static bool filter_forceescape(struct rendering *rendering, struct value self,
                               const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    struct text text;
    if (!value_printed(rendering, self, &text) || !text_escaped(rendering, text, &text))
        return false;
    *value_out = value_text(text);
    value_out->is_markup = true;
    return true;
}

static bool filter_escape(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    if (self.is_markup) {
        *value_out = self;
        return true;
    }
    return filter_forceescape(rendering, self, invocation, value_out);
}

static bool filter_center(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    struct text text;
    struct value width = is_given(invocation->bound[0]) ? invocation->bound[0] : value_int(80);
    struct arguments arguments = {.values = &width, .count = 1};
    const struct callable_row *row = method_find(value_literal(""), (struct text){"center", 6});
    return value_printed(rendering, self, &text) &&
           row_call(rendering, row, "filter", value_text(text), &arguments, value_out);
}

static bool indent_lines(struct rendering *rendering, struct text text, struct text indent,
                         bool first, bool blank, struct output *output)
{
    struct output ended = {0};
    struct list *lines;
    /* jinja splits the text with one more end of line. */
    if (!output_add(rendering, &ended, text) || !output_add_literal(rendering, &ended, "\n") ||
        !text_lines(rendering, output_text(&ended), false, &lines))
        return false;
    for (size_t index = 0; index < lines->count; index++) {
        struct text line = lines->items[index].as.text;
        bool indents = index == 0 ? first : blank || line.size > 0;
        if ((index > 0 && !output_add_literal(rendering, output, "\n")) ||
            (indents && !output_add(rendering, output, indent)) ||
            !output_add(rendering, output, line))
            return false;
    }
    return true;
}

static bool filter_indent(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    struct output blanks = {0}, output = {0};
    struct value width = invocation->bound[0];
    int64_t count = 0;
    struct text text;
    if (self.kind != VALUE_STRING)
        return type_refuse(rendering, "indent needs a string, not", self);
    text = self.as.text;
    if (width.kind == VALUE_STRING) {
        if (!output_add(rendering, &blanks, width.as.text))
            return false;
    } else if (!argument_integer(rendering, width, 4, &count) ||
               !output_fill(rendering, &blanks, (struct text){" ", 1},
                            count < 0 ? 0 : (size_t)count)) {
        return false;
    }
    if (!indent_lines(rendering, text, output_text(&blanks), value_truth(invocation->bound[1]),
                      value_truth(invocation->bound[2]), &output))
        return false;
    *value_out = value_text(output_text(&output));
    return true;
}

static bool filter_truncate(struct rendering *rendering, struct value self,
                            const struct invocation *invocation, struct value *value_out)
{
    int64_t length, leeway;
    struct text end;
    if (self.kind != VALUE_STRING)
        return type_refuse(rendering, "truncate needs a string, not", self);
    if (!argument_integer(rendering, invocation->bound[0], 255, &length) ||
        !argument_text(rendering, invocation->bound[2], "...", &end) ||
        !argument_integer(rendering, invocation->bound[3], 5, &leeway))
        return false;
    struct text text = self.as.text;
    int64_t end_count = (int64_t)text_count(end), count = (int64_t)text_count(text);
    if (length < end_count || leeway < 0 || length > INT64_MAX - leeway)
        return rendering_fail(rendering, STATUS_INVALID,
                              "chat template, line %u: truncate needs a length of at least its "
                              "end and a leeway of at least 0",
                              rendering->line);
    *value_out = self;
    if (count <= length + leeway)
        return true;
    text = text_part(text, 0, text_offset(text, (size_t)(length - end_count)));
    if (!value_truth(invocation->bound[1])) {
        size_t space = text_find_last(text, (struct text){" ", 1});
        if (space != SIZE_MAX)
            text.size = space;
    }
    struct output output = {0};
    if (!output_add(rendering, &output, text) || !output_add(rendering, &output, end))
        return false;
    *value_out = value_text(output_text(&output));
    return rendering_charge(rendering, self.as.text.size / 64);
}

static bool filter_wordcount(struct rendering *rendering, struct value self,
                             const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    struct text text;
    if (!value_printed(rendering, self, &text))
        return false;
    int64_t count = 0;
    bool in_word = false;
    for (size_t offset = 0; offset < text.size; offset += text_step(text, offset)) {
        bool is_word = letter_is_word(text_letter(text, offset));
        count += is_word && !in_word;
        in_word = is_word;
    }
    *value_out = value_int(count);
    return rendering_charge(rendering, text.size / 64);
}

static bool quote_add(struct rendering *rendering, struct output *output, struct value value,
                      bool for_query)
{
    struct text text;
    if (!value_printed(rendering, value, &text) ||
        !rendering_charge(rendering, text.size / 64))
        return false;
    for (size_t index = 0; index < text.size; index++) {
        unsigned char byte = (unsigned char)text.bytes[index];
        bool is_plain = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                        (byte >= 'A' && byte <= 'Z') || (byte && strchr("_.-~", byte)) ||
                        (byte == '/' && !for_query);
        char escape[4] = {(char)byte, 0, 0, 0};
        if (byte == ' ' && for_query)
            escape[0] = '+';
        else if (!is_plain)
            snprintf(escape, sizeof(escape), "%%%02X", byte);
        if (!output_add_bytes(rendering, output, escape, is_plain || escape[0] == '+'
                                                             ? 1
                                                             : 3))
            return false;
    }
    return true;
}

static bool filter_urlencode(struct rendering *rendering, struct value self,
                             const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    struct output output = {0};
    struct list *pairs;
    if (self.kind == VALUE_DICT) {
        for (size_t index = 0; index < self.as.dict->count; index++)
            if ((index > 0 && !output_add_literal(rendering, &output, "&")) ||
                !quote_add(rendering, &output, self.as.dict->entries[index].key, true) ||
                !output_add_literal(rendering, &output, "=") ||
                !quote_add(rendering, &output, self.as.dict->entries[index].value, true))
                return false;
    } else if (value_is_sequence(self)) {
        if (!value_items(rendering, self, &pairs))
            return false;
        for (size_t index = 0; index < pairs->count; index++) {
            struct list *pair;
            if (!value_items(rendering, pairs->items[index], &pair))
                return false;
            if (pair->count != 2)
                return type_refuse(rendering, "urlencode needs pairs, not",
                                   pairs->items[index]);
            if ((index > 0 && !output_add_literal(rendering, &output, "&")) ||
                !quote_add(rendering, &output, pair->items[0], true) ||
                !output_add_literal(rendering, &output, "=") ||
                !quote_add(rendering, &output, pair->items[1], true))
                return false;
        }
    } else if (!quote_add(rendering, &output, self, false)) {
        return false;
    }
    *value_out = value_text(output_text(&output));
    return true;
}

static bool filter_format(struct rendering *rendering, struct value self,
                          const struct invocation *invocation, struct value *value_out)
{
    const struct arguments *all = invocation->all;
    struct text text;
    if (all->count > 0 && all->named_count > 0)
        return rendering_fail(rendering, STATUS_INVALID,
                              "can't handle positional and keyword arguments at the same time "
                              "(chat template, line %u)",
                              rendering->line);
    struct list values = {.items = all->values, .count = all->count};
    struct value arguments = value_of_list(VALUE_TUPLE, &values);
    if (all->named_count > 0) {
        struct dict *named = dict_new(rendering, all->named_count);
        for (size_t index = 0; named && index < all->named_count; index++)
            if (!dict_put(rendering, named, value_text(all->named[index].name),
                          all->named[index].value))
                return false;
        if (!named)
            return false;
        arguments = value_of_dict(named);
    }
    if (!value_printed(rendering, self, &text) ||
        !format_percent(rendering, text, arguments, &text))
        return false;
    *value_out = value_text(text);
    return true;
}

const struct callable_row text_filters[] = {
    {"capitalize", "", 0, filter_capitalize},
    {"center", "width", 0, filter_center},
    {"e", "", 0, filter_escape},
    {"escape", "", 0, filter_escape},
    {"forceescape", "", 0, filter_forceescape},
    {"format", "*", 0, filter_format},
    {"indent", "width first blank", 0, filter_indent},
    {"lower", "", 0, filter_lower},
    {"replace", "old new count", 2, filter_replace},
    {"safe", "", 0, filter_safe},
    {"string", "", 0, filter_string},
    {"title", "", 0, filter_title},
    {"tojson", "ensure_ascii indent separators sort_keys", 0, filter_tojson},
    {"trim", "chars", 0, filter_trim},
    {"truncate", "length killwords end leeway", 0, filter_truncate},
    {"upper", "", 0, filter_upper},
    {"urlencode", "", 0, filter_urlencode},
    {"wordcount", "", 0, filter_wordcount},
    {NULL, NULL, 0, NULL},
};
