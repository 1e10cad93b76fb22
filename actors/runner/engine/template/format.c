/* SPDX-License-Identifier: Apache-2.0 */
/* '%s-%d' % (a, b), and '{}:{:>4}'.format(a, b). */
#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How one value is laid out. */
struct layout {
    struct text fill;
    char align; /* '<' '>' '^' '=' or 0 */
    char sign;  /* '+' '-' ' ' */
    char grouping;
    char type;
    bool is_alternate;
    int64_t width;
    int64_t precision; /* -1: none */
};

enum { WIDTH_MAX = 1000000, PRECISION_MAX = 300 };

static bool refuse_format(struct rendering *rendering, const char *what)
{
    return rendering_fail(rendering, STATUS_INVALID, "%s (chat template, line %u)", what,
                          rendering->line);
}

static bool laid_out(struct rendering *rendering, struct output *output, struct text prefix,
                     struct text body, const struct layout *layout, char default_align)
{
    char align = layout->align ? layout->align : default_align;
    int64_t count = (int64_t)(text_count(prefix) + text_count(body));
    size_t room = layout->width > count ? (size_t)(layout->width - count) : 0;
    size_t left = align == '>' ? room : align == '^' ? room / 2 : 0;
    size_t middle = align == '=' ? room : 0;
    return output_fill(rendering, output, layout->fill, left) &&
           output_add(rendering, output, prefix) &&
           output_fill(rendering, output, layout->fill, middle) &&
           output_add(rendering, output, body) &&
           output_fill(rendering, output, layout->fill, room - left - middle);
}

static void group_digits(char *digits, char separator)
{
    size_t whole = strspn(digits, "0123456789");
    for (size_t at = whole; separator && at > 3; at -= 3) {
        memmove(digits + at - 2, digits + at - 3, strlen(digits + at - 3) + 1);
        digits[at - 3] = separator;
    }
}

static struct text sign_of(bool is_negative, char sign)
{
    if (is_negative)
        return (struct text){"-", 1};
    if (sign == '+')
        return (struct text){"+", 1};
    return sign == ' ' ? (struct text){" ", 1} : (struct text){"", 0};
}

static bool add_integer(struct rendering *rendering, struct output *output, int64_t integer,
                        const struct layout *layout)
{
    char digits[200], prefix[4];
    uint64_t magnitude = integer < 0 ? (uint64_t)0 - (uint64_t)integer : (uint64_t)integer;
    unsigned base = layout->type == 'x' || layout->type == 'X' ? 16
                    : layout->type == 'o'                      ? 8
                    : layout->type == 'b'                      ? 2
                                                               : 10;
    const char *letters = layout->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    char reversed[65];
    size_t size = 0;
    do
        reversed[size++] = letters[magnitude % base];
    while ((magnitude /= base) > 0);
    size_t zeros = layout->precision > (int64_t)size ? (size_t)layout->precision - size : 0;
    if (zeros > 100)
        return refuse_format(rendering, "the precision of an integer is too large");
    memset(digits, '0', zeros);
    for (size_t index = 0; index < size; index++)
        digits[zeros + index] = reversed[size - 1 - index];
    digits[zeros + size] = 0;
    if (base == 10)
        group_digits(digits, layout->grouping);
    struct text sign = sign_of(integer < 0, layout->sign);
    snprintf(prefix, sizeof(prefix), "%.*s%s%c", (int)sign.size, sign.bytes,
             layout->is_alternate && base != 10 ? "0" : "", layout->type);
    size_t prefix_size = sign.size + (layout->is_alternate && base != 10 ? 2 : 0);
    return laid_out(rendering, output, (struct text){prefix, prefix_size},
                    (struct text){digits, strlen(digits)}, layout, '>');
}

static void drop_sign(char *digits)
{
    if (digits[0] == '-')
        memmove(digits, digits + 1, strlen(digits));
}

static bool add_float(struct rendering *rendering, struct output *output, double number,
                      const struct layout *layout)
{
    char digits[900], type = layout->type;
    int64_t precision = layout->precision;
    if (precision > PRECISION_MAX)
        return refuse_format(rendering, "the precision of a number is too large");
    bool is_percent = type == '%';
    double magnitude = fabs(is_percent ? number * 100.0 : number);
    int places = precision < 0 ? 6 : (int)precision;
    if (isnan(number) || isinf(number))
        snprintf(digits, sizeof(digits), "%s", isnan(number) ? "nan" : "inf");
    else if (type == 0 && precision < 0)
        float_repr(magnitude, digits);
    else if (type == 'e')
        snprintf(digits, sizeof(digits), "%.*e", places, magnitude);
    else if (type == 'E')
        snprintf(digits, sizeof(digits), "%.*E", places, magnitude);
    else if (type == 'G')
        snprintf(digits, sizeof(digits), "%.*G", places, magnitude);
    else if (type == 'f' || type == 'F' || is_percent)
        snprintf(digits, sizeof(digits), "%.*f", places, magnitude);
    else
        snprintf(digits, sizeof(digits), "%.*g", places, magnitude);
    drop_sign(digits);
    group_digits(digits, layout->grouping);
    size_t size = strlen(digits);
    bool looks_whole = type == 0 && precision >= 0 && !strpbrk(digits, ".en");
    snprintf(digits + size, sizeof(digits) - size, "%s",
             is_percent ? "%" : looks_whole ? ".0" : "");
    struct text sign = sign_of(signbit(number) && !isnan(number), layout->sign);
    return laid_out(rendering, output, sign, (struct text){digits, strlen(digits)}, layout,
                    '>');
}

static bool add_text(struct rendering *rendering, struct output *output, struct text text,
                     const struct layout *layout, char default_align)
{
    if (layout->precision >= 0)
        text = text_part(text, 0, text_offset(text, (size_t)layout->precision));
    return laid_out(rendering, output, (struct text){"", 0}, text, layout, default_align);
}

static bool add_letter(struct rendering *rendering, struct output *output, struct value value,
                       const struct layout *layout, char default_align)
{
    char bytes[4];
    int64_t letter = value_as_integer(value);
    if (letter < 0 || letter > 0x10ffff || (letter >= 0xd800 && letter <= 0xdfff))
        return refuse_format(rendering, "%c arg not in range(0x110000)");
    size_t size = letter_encode((uint32_t)letter, bytes);
    return add_text(rendering, output, (struct text){bytes, size}, layout, default_align);
}

static bool parse_count(struct rendering *rendering, struct text text, size_t *at,
                        int64_t *count_out)
{
    int64_t count = 0;
    for (; *at < text.size && text.bytes[*at] >= '0' && text.bytes[*at] <= '9'; ++*at) {
        count = count * 10 + (text.bytes[*at] - '0');
        if (count > WIDTH_MAX)
            return refuse_format(rendering, "a width or precision of a format is too large");
    }
    *count_out = count;
    return true;
}

/* [[fill]align][sign][#][0][width][,_][.precision][type] */
static bool parse_layout(struct rendering *rendering, struct text spec, struct layout *layout)
{
    size_t at = 0, first = spec.size > 0 ? text_step(spec, 0) : 0;
    *layout = (struct layout){.fill = {" ", 1}, .sign = '-', .precision = -1};
    if (first < spec.size && strchr("<>^=", spec.bytes[first]) && spec.bytes[first]) {
        layout->fill = text_part(spec, 0, first);
        layout->align = spec.bytes[first];
        at = first + 1;
    } else if (spec.size > 0 && strchr("<>^=", spec.bytes[0]) && spec.bytes[0]) {
        layout->align = spec.bytes[at++];
    }
    if (at < spec.size && (spec.bytes[at] == '+' || spec.bytes[at] == '-' ||
                           spec.bytes[at] == ' '))
        layout->sign = spec.bytes[at++];
    if (at < spec.size && spec.bytes[at] == '#') {
        layout->is_alternate = true;
        at++;
    }
    if (at < spec.size && spec.bytes[at] == '0') {
        if (!layout->align) {
            layout->fill = (struct text){"0", 1};
            layout->align = '=';
        }
        at++;
    }
    if (!parse_count(rendering, spec, &at, &layout->width))
        return false;
    if (at < spec.size && (spec.bytes[at] == ',' || spec.bytes[at] == '_'))
        layout->grouping = spec.bytes[at++];
    if (at < spec.size && spec.bytes[at] == '.') {
        at++;
        if (!parse_count(rendering, spec, &at, &layout->precision))
            return false;
    }
    if (at < spec.size)
        layout->type = spec.bytes[at++];
    return at == spec.size || refuse_format(rendering, "Invalid format specifier");
}

static bool add_formatted(struct rendering *rendering, struct output *output,
                          struct value value, struct text spec)
{
    struct layout layout;
    struct text text;
    if (!parse_layout(rendering, spec, &layout))
        return false;
    char type = layout.type;
    bool is_plain = !value_is_number(value) || (value.kind == VALUE_BOOL && spec.size == 0);
    if (is_plain) {
        if ((type != 0 && type != 's') || (value.kind != VALUE_STRING && spec.size > 0 &&
                                           value.kind != VALUE_BOOL))
            return refuse_format(rendering, "Unknown format code for the type of a value");
        return value_printed(rendering, value, &text) &&
               add_text(rendering, output, text, &layout, '<');
    }
    if (value_is_integral(value) && (type == 0 || (strchr("dboxXn", type) != NULL)))
        return add_integer(rendering, output, value_as_integer(value), &layout);
    if (value_is_integral(value) && type == 'c')
        return add_letter(rendering, output, value, &layout, '<');
    if (type != 0 && !strchr("eEfFgGn%", type))
        return refuse_format(rendering, "Unknown format code for a number");
    return add_float(rendering, output, value_as_double(value), &layout);
}

/* The value a field like "0.name[key]" names. */
static bool field_value(struct rendering *rendering, struct text field,
                        const struct arguments *arguments, size_t *next_index,
                        struct value *value_out)
{
    size_t at = 0;
    while (at < field.size && field.bytes[at] != '.' && field.bytes[at] != '[')
        at++;
    struct text head = text_part(field, 0, at);
    int64_t index = (int64_t)*next_index;
    size_t digits = 0;
    if (!parse_count(rendering, head, &digits, head.size > 0 ? &index : &(int64_t){0}))
        return false;
    if (digits == head.size) {
        if (head.size == 0)
            ++*next_index;
        if ((size_t)index >= arguments->count)
            return refuse_format(rendering, "Replacement index out of range");
        *value_out = arguments->values[index];
    } else {
        size_t named = 0;
        while (named < arguments->named_count &&
               !texts_equal(arguments->named[named].name, head))
            named++;
        if (named == arguments->named_count)
            return refuse_format(rendering, "a field of a format names no argument");
        *value_out = arguments->named[named].value;
    }
    while (at < field.size) {
        bool is_item = field.bytes[at] == '[';
        size_t end = ++at;
        while (end < field.size && !(is_item ? field.bytes[end] == ']'
                                             : strchr(".[", field.bytes[end]) != NULL))
            end++;
        struct value part = value_text(text_part(field, at, end));
        if (!(is_item ? value_path(rendering, *value_out, part, value_out)
                      : value_attribute(rendering, *value_out, part.as.text, value_out)))
            return false;
        at = end + is_item;
    }
    return true;
}

static bool add_field(struct rendering *rendering, struct output *output, struct text field,
                      const struct arguments *arguments, size_t *next_index)
{
    size_t colon = text_find(field, (struct text){":", 1}, 0);
    struct text spec = {"", 0}, name = field;
    char conversion = 0;
    if (colon != SIZE_MAX) {
        spec = text_part(field, colon + 1, field.size);
        name.size = colon;
    }
    if (name.size >= 2 && name.bytes[name.size - 2] == '!') {
        conversion = name.bytes[name.size - 1];
        name.size -= 2;
    }
    struct value value;
    if (!field_value(rendering, name, arguments, next_index, &value))
        return false;
    struct output inner = {0};
    if (text_find(spec, (struct text){"{", 1}, 0) != SIZE_MAX) {
        size_t close = text_find(spec, (struct text){"}", 1}, 0);
        size_t open = text_find(spec, (struct text){"{", 1}, 0);
        struct value width;
        if (close == SIZE_MAX || close < open)
            return refuse_format(rendering, "expected '}' before end of string");
        if (!field_value(rendering, text_part(spec, open + 1, close), arguments, next_index,
                         &width) ||
            !output_add(rendering, &inner, text_part(spec, 0, open)) ||
            !print_value(rendering, &inner, width) ||
            !output_add(rendering, &inner, text_part(spec, close + 1, spec.size)))
            return false;
        spec = output_text(&inner);
    }
    struct output converted = {0};
    if (conversion) {
        if (!(conversion == 's' ? print_value(rendering, &converted, value)
                                : print_repr(rendering, &converted, value)))
            return false;
        value = value_text(output_text(&converted));
    }
    return add_formatted(rendering, output, value, spec);
}

bool format_braces(struct rendering *rendering, struct text format,
                   const struct arguments *arguments, struct text *text_out)
{
    struct output output = {0};
    size_t next_index = 0;
    for (size_t at = 0; at < format.size;) {
        char letter = format.bytes[at];
        bool doubled = at + 1 < format.size && format.bytes[at + 1] == letter;
        if (letter != '{' && letter != '}') {
            if (!output_add_bytes(rendering, &output, &letter, 1))
                return false;
            at++;
            continue;
        }
        if (doubled) {
            if (!output_add_bytes(rendering, &output, &letter, 1))
                return false;
            at += 2;
            continue;
        }
        if (letter == '}')
            return refuse_format(rendering, "Single '}' encountered in format string");
        size_t end = at + 1;
        for (int level = 1; end < format.size; end++) {
            level += (format.bytes[end] == '{') - (format.bytes[end] == '}');
            if (level == 0)
                break;
        }
        if (end == format.size)
            return refuse_format(rendering, "expected '}' before end of string");
        if (!rendering_charge(rendering, 1) ||
            !add_field(rendering, &output, text_part(format, at + 1, end), arguments,
                       &next_index))
            return false;
        at = end + 1;
    }
    *text_out = output_text(&output);
    return true;
}

struct percent {
    struct value arguments;
    size_t next;
    bool used_mapping;
};

static bool next_argument(struct rendering *rendering, struct percent *percent,
                          struct value *value_out)
{
    if (percent->arguments.kind == VALUE_TUPLE) {
        if (percent->next >= percent->arguments.as.list->count)
            return refuse_format(rendering, "not enough arguments for format string");
        *value_out = percent->arguments.as.list->items[percent->next++];
        return true;
    }
    if (percent->next++ > 0)
        return refuse_format(rendering, "not enough arguments for format string");
    *value_out = percent->arguments;
    return true;
}

static bool starred_count(struct rendering *rendering, struct text format, size_t *at,
                          struct percent *percent, int64_t *count_out)
{
    struct value value;
    if (*at >= format.size || format.bytes[*at] != '*')
        return parse_count(rendering, format, at, count_out);
    ++*at;
    if (!next_argument(rendering, percent, &value) ||
        !argument_integer(rendering, value, 0, count_out))
        return false;
    return *count_out <= WIDTH_MAX && *count_out >= -WIDTH_MAX
               ? true
               : refuse_format(rendering, "a width or precision of a format is too large");
}

static bool add_percent_number(struct rendering *rendering, struct output *output,
                               struct value value, const struct layout *layout)
{
    if (!value_is_number(value))
        return refuse_format(rendering, "a number is required by a format");
    if (strchr("eEfFgG", layout->type))
        return add_float(rendering, output, value_as_double(value), layout);
    if (value.kind == VALUE_FLOAT && !strchr("diu", layout->type))
        return refuse_format(rendering, "an integer is required by a format");
    double number = value_as_double(value);
    if (value.kind == VALUE_FLOAT && !(fabs(number) < 9.2e18))
        return refuse_format(rendering, "a number is too large for its format");
    return add_integer(rendering, output,
                       value.kind == VALUE_FLOAT ? (int64_t)number : value_as_integer(value),
                       layout);
}

static bool add_percent(struct rendering *rendering, struct output *output, struct value value,
                        const struct layout *layout)
{
    struct output printed = {0};
    if (layout->type == 's' || layout->type == 'r' || layout->type == 'a') {
        bool done = layout->type == 's' ? print_value(rendering, &printed, value)
                                        : print_repr(rendering, &printed, value);
        return done && add_text(rendering, output, output_text(&printed), layout, '>');
    }
    if (layout->type == 'c') {
        if (value.kind == VALUE_STRING && text_count(value.as.text) == 1)
            return add_text(rendering, output, value.as.text, layout, '>');
        return value_is_integral(value)
                   ? add_letter(rendering, output, value, layout, '>')
                   : refuse_format(rendering, "%c requires int or char");
    }
    if (!layout->type || !strchr("diuoxXeEfFgG", layout->type))
        return refuse_format(rendering, "unsupported format character");
    return add_percent_number(rendering, output, value, layout);
}

static void percent_flags(struct text format, size_t *at, struct layout *layout)
{
    bool is_left = false, has_zero = false;
    for (; *at < format.size && format.bytes[*at] && strchr("-+ #0", format.bytes[*at]); ++*at) {
        char flag = format.bytes[*at];
        is_left = is_left || flag == '-';
        has_zero = has_zero || flag == '0';
        layout->is_alternate = layout->is_alternate || flag == '#';
        if (flag == '+' || (flag == ' ' && layout->sign != '+'))
            layout->sign = flag;
    }
    if (is_left)
        layout->align = '<';
    else if (has_zero) {
        layout->fill = (struct text){"0", 1};
        layout->align = '=';
    }
}

/* One "%..." whose first byte after the sign is at `*at`. */
static bool percent_directive(struct rendering *rendering, struct output *output,
                              struct text format, size_t *at, struct percent *percent)
{
    struct layout layout = {.fill = {" ", 1}, .sign = '-', .precision = -1};
    struct value value = {0};
    bool has_key = *at < format.size && format.bytes[*at] == '(';
    if (has_key) {
        size_t close = text_find(format, (struct text){")", 1}, *at);
        if (close == SIZE_MAX || percent->arguments.kind != VALUE_DICT)
            return refuse_format(rendering, "format requires a mapping");
        const struct entry *entry =
            dict_find(percent->arguments.as.dict, value_text(text_part(format, *at + 1, close)));
        if (!entry)
            return refuse_format(rendering, "a key of a format is not in the mapping");
        value = entry->value;
        percent->used_mapping = true;
        *at = close + 1;
    }
    percent_flags(format, at, &layout);
    if (!starred_count(rendering, format, at, percent, &layout.width))
        return false;
    if (*at < format.size && format.bytes[*at] == '.') {
        ++*at;
        if (!starred_count(rendering, format, at, percent, &layout.precision))
            return false;
    }
    while (*at < format.size && format.bytes[*at] && strchr("hlL", format.bytes[*at]))
        ++*at;
    if (*at >= format.size)
        return refuse_format(rendering, "incomplete format");
    layout.type = format.bytes[(*at)++];
    if (layout.type == '%')
        return output_add_literal(rendering, output, "%");
    if (!has_key && !next_argument(rendering, percent, &value))
        return false;
    if (layout.fill.bytes[0] == '0' && strchr("srac", layout.type)) {
        layout.fill = (struct text){" ", 1};
        layout.align = 0;
    }
    return add_percent(rendering, output, value, &layout);
}

bool format_percent(struct rendering *rendering, struct text format, struct value arguments,
                    struct text *text_out)
{
    struct output output = {0};
    struct percent percent = {.arguments = arguments};
    for (size_t at = 0; at < format.size;) {
        size_t sign = text_find(format, (struct text){"%", 1}, at);
        size_t end = sign == SIZE_MAX ? format.size : sign;
        if (!output_add(rendering, &output, text_part(format, at, end)) ||
            !rendering_charge(rendering, 1))
            return false;
        at = end + 1;
        if (sign != SIZE_MAX &&
            !percent_directive(rendering, &output, format, &at, &percent))
            return false;
    }
    bool is_open = arguments.kind == VALUE_DICT || arguments.kind == VALUE_LIST ||
                   arguments.kind == VALUE_UNDEFINED;
    bool has_left = arguments.kind == VALUE_TUPLE ? percent.next < arguments.as.list->count
                                                  : percent.next == 0 && !is_open;
    if (has_left)
        return refuse_format(rendering, "not all arguments converted during string formatting");
    *text_out = output_text(&output);
    return true;
}
