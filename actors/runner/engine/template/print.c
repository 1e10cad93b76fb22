/* SPDX-License-Identifier: Apache-2.0 */
/* str() and repr() as Python writes them. */
#include "actors/runner/engine/template/evaluate.h"
#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Digits and the exponent of the first one, from "d.ddde+xx". */
static int split_scientific(const char *scientific, char *digits_out)
{
    size_t count = 0;
    const char *at = scientific;
    for (; *at && *at != 'e'; at++)
        if (*at >= '0' && *at <= '9')
            digits_out[count++] = *at;
    while (count > 1 && digits_out[count - 1] == '0')
        count--;
    digits_out[count] = 0;
    return *at == 'e' ? (int)strtol(at + 1, NULL, 10) : 0;
}

void float_repr(double number, char *text_out)
{
    if (isnan(number) || isinf(number)) {
        snprintf(text_out, FLOAT_TEXT_SIZE, "%s",
                 isnan(number) ? "nan" : number < 0 ? "-inf" : "inf");
        return;
    }
    char scientific[40], digits[40];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(scientific, sizeof(scientific), "%.*e", precision, fabs(number));
        if (strtod(scientific, NULL) == fabs(number))
            break;
    }
    int exponent = split_scientific(scientific, digits);
    int count = (int)strlen(digits);
    const char *sign = signbit(number) ? "-" : "";
    static const char zeros[] = "0000000000000000";
    size_t room = FLOAT_TEXT_SIZE;
    if (exponent < -4 || exponent >= 16)
        snprintf(text_out, room, "%s%c%s%.16se%c%02d", sign, digits[0], count > 1 ? "." : "",
                 digits + 1, exponent < 0 ? '-' : '+', abs(exponent));
    else if (exponent < 0)
        snprintf(text_out, room, "%s0.%.*s%.17s", sign, -exponent - 1, zeros, digits);
    else if (count <= exponent + 1)
        snprintf(text_out, room, "%s%.17s%.*s.0", sign, digits, exponent + 1 - count, zeros);
    else
        snprintf(text_out, room, "%s%.*s.%.17s", sign, exponent + 1, digits,
                 digits + exponent + 1);
}

static bool letter_is_printable(uint32_t letter)
{
    if (letter == ' ')
        return true;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)letter);
    return category != UTF8PROC_CATEGORY_CN && category < UTF8PROC_CATEGORY_ZS;
}

static bool print_letter_repr(struct rendering *rendering, struct output *output,
                              uint32_t letter, char quote)
{
    char escape[16];
    if (letter == (uint32_t)quote || letter == '\\')
        snprintf(escape, sizeof(escape), "\\%c", (char)letter);
    else if (letter == '\n' || letter == '\r' || letter == '\t')
        snprintf(escape, sizeof(escape), "\\%c",
                 letter == '\n' ? 'n' : letter == '\r' ? 'r' : 't');
    else if (letter_is_printable(letter))
        return output_add_letter(rendering, output, letter);
    else
        snprintf(escape, sizeof(escape),
                 letter < 0x100     ? "\\x%02" PRIx32
                 : letter < 0x10000 ? "\\u%04" PRIx32
                                    : "\\U%08" PRIx32,
                 letter);
    return output_add_literal(rendering, output, escape);
}

static bool print_text_repr(struct rendering *rendering, struct output *output,
                            struct value value)
{
    struct text text = value.as.text;
    bool has_single = text.size > 0 && memchr(text.bytes, '\'', text.size);
    bool has_double = text.size > 0 && memchr(text.bytes, '"', text.size);
    char quote = has_single && !has_double ? '"' : '\'';
    if (!rendering_charge(rendering, text.size / 64) ||
        (value.is_markup && !output_add_literal(rendering, output, "Markup(")) ||
        !output_add_bytes(rendering, output, &quote, 1))
        return false;
    for (size_t offset = 0; offset < text.size; offset += text_step(text, offset))
        if (!print_letter_repr(rendering, output, text_letter(text, offset), quote))
            return false;
    return output_add_bytes(rendering, output, &quote, 1) &&
           (!value.is_markup || output_add_literal(rendering, output, ")"));
}

static bool print_items(struct rendering *rendering, struct output *output, const char *open,
                        const struct list *list, const char *close)
{
    if (!output_add_literal(rendering, output, open))
        return false;
    for (size_t index = 0; index < list->count; index++)
        if ((index > 0 && !output_add_literal(rendering, output, ", ")) ||
            !print_repr(rendering, output, list->items[index]))
            return false;
    return output_add_literal(rendering, output, close);
}

static bool print_dict(struct rendering *rendering, struct output *output,
                       const struct dict *dict)
{
    if (!output_add_literal(rendering, output, "{"))
        return false;
    for (size_t index = 0; index < dict->count; index++)
        if ((index > 0 && !output_add_literal(rendering, output, ", ")) ||
            !print_repr(rendering, output, dict->entries[index].key) ||
            !output_add_literal(rendering, output, ": ") ||
            !print_repr(rendering, output, dict->entries[index].value))
            return false;
    return output_add_literal(rendering, output, "}");
}

static bool print_number(struct rendering *rendering, struct output *output, struct value value)
{
    char text[48];
    if (value.kind == VALUE_FLOAT)
        float_repr(value.as.number, text);
    else
        snprintf(text, sizeof(text), "%" PRId64, value.as.integer);
    return output_add_literal(rendering, output, text);
}

static bool print_range(struct rendering *rendering, struct output *output,
                        const struct list *list)
{
    char text[100];
    if (list->step == 1)
        snprintf(text, sizeof(text), "range(%" PRId64 ", %" PRId64 ")", list->start, list->stop);
    else
        snprintf(text, sizeof(text), "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")",
                 list->start, list->stop, list->step);
    return output_add_literal(rendering, output, text);
}

static bool print_view(struct rendering *rendering, struct output *output, struct value value)
{
    return output_add_literal(rendering, output, value.as.list->label) &&
           print_items(rendering, output, "([", value.as.list, "])");
}

static bool print_loop(struct rendering *rendering, struct output *output, struct loop *loop)
{
    struct value length;
    bool found;
    char text[80];
    if (!loop_attribute(rendering, (struct value){.kind = VALUE_LOOP, .as.loop = loop},
                        (struct text){"length", 6}, &found, &length))
        return false;
    snprintf(text, sizeof(text), "<LoopContext %zu/%" PRId64 ">", loop->index + 1,
             length.as.integer);
    return output_add_literal(rendering, output, text);
}

/* What has no printed form of its own worth copying. */
static bool print_object(struct rendering *rendering, struct output *output, struct value value)
{
    char text[160];
    if (value.kind == VALUE_MACRO)
        snprintf(text, sizeof(text), "<Macro '%.*s'>",
                 (int)(value.as.macro->node->name.size > 100 ? 100
                                                             : value.as.macro->node->name.size),
                 value.as.macro->node->name.bytes);
    else if (value.kind == VALUE_LOOP)
        return print_loop(rendering, output, value.as.loop);
    else
        snprintf(text, sizeof(text), "<%s object>", value_type_name(value));
    return output_add_literal(rendering, output, text);
}

static bool print_container(struct rendering *rendering, struct output *output,
                            struct value value)
{
    if (value.kind == VALUE_LIST)
        return print_items(rendering, output, "[", value.as.list, "]");
    if (value.kind == VALUE_TUPLE)
        return print_items(rendering, output, "(", value.as.list,
                           value.as.list->count == 1 ? ",)" : ")");
    if (value.kind == VALUE_RANGE)
        return print_range(rendering, output, value.as.list);
    if (value.kind == VALUE_VIEW)
        return print_view(rendering, output, value);
    if (value.kind == VALUE_DICT)
        return print_dict(rendering, output, value.as.dict);
    if (value.kind == VALUE_NAMESPACE)
        return output_add_literal(rendering, output, "<Namespace ") &&
               print_dict(rendering, output, value.as.dict) &&
               output_add_literal(rendering, output, ">");
    return print_object(rendering, output, value);
}

bool print_repr(struct rendering *rendering, struct output *output, struct value value)
{
    if (!rendering_charge(rendering, 1))
        return false;
    if (value.kind == VALUE_STRING)
        return print_text_repr(rendering, output, value);
    if (value.kind == VALUE_DIGITS)
        return output_add(rendering, output, value.as.text);
    if (value.kind == VALUE_NONE)
        return output_add_literal(rendering, output, "None");
    if (value.kind == VALUE_UNDEFINED || value.kind == VALUE_MISSING)
        return output_add_literal(rendering, output, "Undefined");
    if (value.kind == VALUE_BOOL)
        return output_add_literal(rendering, output, value.as.boolean ? "True" : "False");
    if (value.kind == VALUE_INT || value.kind == VALUE_FLOAT)
        return print_number(rendering, output, value);
    if (!rendering_enter(rendering))
        return false;
    bool done = print_container(rendering, output, value);
    rendering_leave(rendering);
    return done;
}

bool print_value(struct rendering *rendering, struct output *output, struct value value)
{
    if (value.kind == VALUE_STRING)
        return output_add(rendering, output, value.as.text);
    if (value.kind == VALUE_UNDEFINED) {
        if (value.as.undefined && value.as.undefined->is_unsafe)
            return value_refuse_undefined(rendering, value);
        return true;
    }
    return print_repr(rendering, output, value);
}

bool value_printed(struct rendering *rendering, struct value value, struct text *text_out)
{
    if (value.kind == VALUE_STRING) {
        *text_out = value.as.text;
        return true;
    }
    struct output output = {0};
    if (!print_value(rendering, &output, value))
        return false;
    *text_out = output_text(&output);
    return true;
}

bool text_escaped(struct rendering *rendering, struct text text, struct text *text_out)
{
    struct output output = {0};
    for (size_t index = 0; index < text.size; index++) {
        char letter = text.bytes[index];
        const char *escape = letter == '&'    ? "&amp;"
                             : letter == '<'  ? "&lt;"
                             : letter == '>'  ? "&gt;"
                             : letter == '"'  ? "&#34;"
                             : letter == '\'' ? "&#39;"
                                              : NULL;
        if (!(escape ? output_add_literal(rendering, &output, escape)
                     : output_add_bytes(rendering, &output, &letter, 1)))
            return false;
    }
    *text_out = output_text(&output);
    return rendering_charge(rendering, text.size / 64);
}
