/* SPDX-License-Identifier: Apache-2.0 */
/* The `tojson` filter: Python's json.dumps. */
#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static bool print_json_letter(struct rendering *rendering, struct output *output,
                              uint32_t letter, bool is_ascii)
{
    static const char letters[] = "\"\\\n\r\t\b\f";
    static const char names[] = "\"\\nrtbf";
    char escape[16];
    const char *known = letter > 0 && letter < 0x80 ? strchr(letters, (int)letter) : NULL;
    if (known)
        snprintf(escape, sizeof(escape), "\\%c", names[known - letters]);
    else if (letter < 0x20 || (is_ascii && letter >= 0x7f && letter < 0x10000))
        snprintf(escape, sizeof(escape), "\\u%04" PRIx32, letter);
    else if (is_ascii && letter >= 0x10000)
        snprintf(escape, sizeof(escape), "\\u%04" PRIx32 "\\u%04" PRIx32,
                 0xd800 + ((letter - 0x10000) >> 10), 0xdc00 + ((letter - 0x10000) & 0x3ff));
    else
        return output_add_letter(rendering, output, letter);
    return output_add_literal(rendering, output, escape);
}

static bool print_json_text(struct rendering *rendering, struct output *output,
                            struct text text, bool is_ascii)
{
    if (!rendering_charge(rendering, text.size / 64) ||
        !output_add_literal(rendering, output, "\""))
        return false;
    for (size_t offset = 0; offset < text.size; offset += text_step(text, offset))
        if (!print_json_letter(rendering, output, text_letter(text, offset), is_ascii))
            return false;
    return output_add_literal(rendering, output, "\"");
}

static bool print_json_scalar(struct rendering *rendering, struct output *output,
                              struct value value)
{
    char number[48];
    if (value.kind == VALUE_NONE)
        return output_add_literal(rendering, output, "null");
    if (value.kind == VALUE_BOOL)
        return output_add_literal(rendering, output, value.as.boolean ? "true" : "false");
    if (value.kind == VALUE_INT)
        snprintf(number, sizeof(number), "%" PRId64, value.as.integer);
    else if (isnan(value.as.number))
        snprintf(number, sizeof(number), "NaN");
    else if (isinf(value.as.number))
        snprintf(number, sizeof(number), "%sInfinity", value.as.number < 0 ? "-" : "");
    else
        float_repr(value.as.number, number);
    return output_add_literal(rendering, output, number);
}

static bool print_break(struct rendering *rendering, struct output *output,
                        const struct json_style *style, unsigned level)
{
    if (!style->is_indented)
        return true;
    return output_add_literal(rendering, output, "\n") &&
           output_fill(rendering, output, style->indent, level);
}

static bool print_json_list(struct rendering *rendering, struct output *output,
                            const struct list *list, const struct json_style *style,
                            unsigned level)
{
    if (list->count == 0)
        return output_add_literal(rendering, output, "[]");
    if (!output_add_literal(rendering, output, "["))
        return false;
    for (size_t index = 0; index < list->count; index++)
        if ((index > 0 && !output_add(rendering, output, style->item_separator)) ||
            !print_break(rendering, output, style, level + 1) ||
            !print_json(rendering, output, list->items[index], style, level + 1))
            return false;
    return print_break(rendering, output, style, level) &&
           output_add_literal(rendering, output, "]");
}

static bool print_json_key(struct rendering *rendering, struct output *output,
                           struct value key, const struct json_style *style)
{
    if (key.kind == VALUE_STRING)
        return print_json_text(rendering, output, key.as.text, style->is_ascii);
    if (key.kind != VALUE_NONE && !value_is_number(key))
        return type_refuse(rendering, "keys must be str, int, float, bool or None, not", key);
    return output_add_literal(rendering, output, "\"") &&
           print_json_scalar(rendering, output, key) &&
           output_add_literal(rendering, output, "\"");
}

static bool keys_of(struct rendering *rendering, const struct dict *dict, bool is_sorted,
                    struct list **keys_out)
{
    struct list *keys;
    if (!value_items(rendering, (struct value){.kind = VALUE_DICT,
                                               .as.dict = (struct dict *)(uintptr_t)dict},
                     &keys))
        return false;
    *keys_out = keys;
    return !is_sorted || value_sorted(rendering, keys, true,
                                      (struct value){.kind = VALUE_MISSING}, false, keys_out);
}

static bool print_json_dict(struct rendering *rendering, struct output *output,
                            const struct dict *dict, const struct json_style *style,
                            unsigned level)
{
    struct list *keys;
    if (dict->count == 0)
        return output_add_literal(rendering, output, "{}");
    if (!keys_of(rendering, dict, style->is_sorted, &keys) ||
        !output_add_literal(rendering, output, "{"))
        return false;
    for (size_t index = 0; index < keys->count; index++)
        if ((index > 0 && !output_add(rendering, output, style->item_separator)) ||
            !print_break(rendering, output, style, level + 1) ||
            !print_json_key(rendering, output, keys->items[index], style) ||
            !output_add(rendering, output, style->key_separator) ||
            !print_json(rendering, output, dict_find(dict, keys->items[index])->value, style,
                        level + 1))
            return false;
    return print_break(rendering, output, style, level) &&
           output_add_literal(rendering, output, "}");
}

bool print_json(struct rendering *rendering, struct output *output, struct value value,
                const struct json_style *style, unsigned level)
{
    if (!rendering_charge(rendering, 1))
        return false;
    if (value.kind == VALUE_STRING)
        return print_json_text(rendering, output, value.as.text, style->is_ascii);
    if (value.kind == VALUE_DIGITS)
        return output_add(rendering, output, value.as.text);
    if (value.kind == VALUE_NONE || value_is_number(value))
        return print_json_scalar(rendering, output, value);
    bool is_list = value.kind == VALUE_LIST || value.kind == VALUE_TUPLE;
    if (!is_list && value.kind != VALUE_DICT)
        return rendering_fail(rendering, STATUS_INVALID,
                              "Object of type %s is not JSON serializable (chat template, line "
                              "%u)",
                              value_type_name(value), rendering->line);
    if (!rendering_enter(rendering))
        return false;
    bool done = is_list ? print_json_list(rendering, output, value.as.list, style, level)
                        : print_json_dict(rendering, output, value.as.dict, style, level);
    rendering_leave(rendering);
    return done;
}

static bool style_indent(struct rendering *rendering, struct value indent,
                         struct json_style *style)
{
    if (!is_given(indent) || indent.kind == VALUE_NONE)
        return true;
    style->is_indented = true;
    style->item_separator = (struct text){",", 1};
    if (indent.kind == VALUE_STRING) {
        style->indent = indent.as.text;
        return true;
    }
    if (!value_is_integral(indent))
        return type_refuse(rendering, "indent must be an integer or a string, not", indent);
    struct output blanks = {0};
    int64_t width = value_as_integer(indent);
    if (!output_fill(rendering, &blanks, (struct text){" ", 1}, width < 0 ? 0 : (size_t)width))
        return false;
    style->indent = output_text(&blanks);
    return true;
}

bool filter_tojson(struct rendering *rendering, struct value self,
                   const struct invocation *invocation, struct value *value_out)
{
    const struct value *bound = invocation->bound;
    struct json_style style = {
        .is_ascii = value_truth(bound[0]),
        .is_sorted = value_truth(bound[3]),
        .item_separator = {", ", 2},
        .key_separator = {": ", 2},
    };
    if (!style_indent(rendering, bound[1], &style))
        return false;
    if (is_given(bound[2]) && bound[2].kind != VALUE_NONE) {
        struct list *separators;
        if (!value_items(rendering, bound[2], &separators))
            return false;
        if (separators->count != 2 || separators->items[0].kind != VALUE_STRING ||
            separators->items[1].kind != VALUE_STRING)
            return type_refuse(rendering, "separators must be two strings, not", bound[2]);
        style.item_separator = separators->items[0].as.text;
        style.key_separator = separators->items[1].as.text;
    }
    struct output output = {0};
    if (!print_json(rendering, &output, self, &style, 0))
        return false;
    *value_out = value_text(output_text(&output));
    return true;
}
