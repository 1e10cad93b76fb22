/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/template/evaluate.h"

#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"

#include <math.h>
#include <string.h>

static const char *const signs[] = {
    [OPERATION_ADD] = "+",           [OPERATION_SUBTRACT] = "-", [OPERATION_MULTIPLY] = "*",
    [OPERATION_DIVIDE] = "/",        [OPERATION_FLOOR_DIVIDE] = "//",
    [OPERATION_MODULO] = "%",        [OPERATION_POWER] = "** or pow()",
};

static bool refuse_overflow(struct rendering *rendering)
{
    return rendering_fail(rendering, STATUS_UNSUPPORTED,
                          "chat template, line %u: an integer is beyond 64 bits",
                          rendering->line);
}

static bool refuse_zero(struct rendering *rendering)
{
    return rendering_fail(rendering, STATUS_INVALID, "chat template, line %u: division by zero",
                          rendering->line);
}

static bool integer_power(struct rendering *rendering, int64_t base, int64_t exponent,
                          struct value *value_out)
{
    if (exponent < 0) {
        if (base == 0)
            return refuse_zero(rendering);
        *value_out = value_float(pow((double)base, (double)exponent));
        return true;
    }
    int64_t result = 1;
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result))
            return refuse_overflow(rendering);
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base))
            return refuse_overflow(rendering);
    }
    *value_out = value_int(result);
    return true;
}

/* Rounds towards minus infinity, and the remainder takes the divisor's sign. */
static bool integer_divide(struct rendering *rendering, int64_t a, int64_t b, bool is_modulo,
                           struct value *value_out)
{
    if (b == 0)
        return refuse_zero(rendering);
    if (b == -1) {
        int64_t negated;
        if (!is_modulo && __builtin_sub_overflow((int64_t)0, a, &negated))
            return refuse_overflow(rendering);
        *value_out = value_int(is_modulo ? 0 : negated);
        return true;
    }
    int64_t quotient = a / b, remainder = a % b;
    if (remainder != 0 && (remainder < 0) != (b < 0)) {
        quotient--;
        remainder += b;
    }
    *value_out = value_int(is_modulo ? remainder : quotient);
    return true;
}

static bool integers_evaluate(struct rendering *rendering, enum operation operation, int64_t a,
                              int64_t b, struct value *value_out)
{
    int64_t result = 0;
    bool overflows = false;
    if (operation == OPERATION_ADD)
        overflows = __builtin_add_overflow(a, b, &result);
    else if (operation == OPERATION_SUBTRACT)
        overflows = __builtin_sub_overflow(a, b, &result);
    else if (operation == OPERATION_MULTIPLY)
        overflows = __builtin_mul_overflow(a, b, &result);
    else if (operation == OPERATION_POWER)
        return integer_power(rendering, a, b, value_out);
    else if (operation == OPERATION_DIVIDE) {
        if (b == 0)
            return refuse_zero(rendering);
        *value_out = value_float((double)a / (double)b);
        return true;
    } else
        return integer_divide(rendering, a, b, operation == OPERATION_MODULO, value_out);
    if (overflows)
        return refuse_overflow(rendering);
    *value_out = value_int(result);
    return true;
}

/* As CPython does it, so that the results have the same bits. */
static double float_divide(double a, double b, bool is_modulo)
{
    double remainder = fmod(a, b);
    double quotient = (a - remainder) / b;
    if (remainder != 0.0) {
        if ((b < 0) != (remainder < 0)) {
            remainder += b;
            quotient -= 1.0;
        }
    } else {
        remainder = copysign(0.0, b);
    }
    if (is_modulo)
        return remainder;
    if (quotient == 0.0)
        return copysign(0.0, a / b);
    double whole = floor(quotient);
    return quotient - whole > 0.5 ? whole + 1.0 : whole;
}

static bool floats_evaluate(struct rendering *rendering, enum operation operation, double a,
                            double b, struct value *value_out)
{
    double result = 0.0;
    if (operation == OPERATION_ADD)
        result = a + b;
    else if (operation == OPERATION_SUBTRACT)
        result = a - b;
    else if (operation == OPERATION_MULTIPLY)
        result = a * b;
    else if (operation == OPERATION_POWER) {
        result = pow(a, b);
        if ((a == 0.0 && b < 0.0) || (isnan(result) && !isnan(a) && !isnan(b)))
            return refuse_zero(rendering);
    } else {
        if (b == 0.0)
            return refuse_zero(rendering);
        result = operation == OPERATION_DIVIDE
                     ? a / b
                     : float_divide(a, b, operation == OPERATION_MODULO);
    }
    *value_out = value_float(result);
    return true;
}

static bool texts_add(struct rendering *rendering, struct value left, struct value right,
                      struct value *value_out)
{
    struct text a = left.as.text, b = right.as.text;
    bool is_markup = left.is_markup || right.is_markup;
    if (is_markup && !left.is_markup && !text_escaped(rendering, a, &a))
        return false;
    if (is_markup && !right.is_markup && !text_escaped(rendering, b, &b))
        return false;
    struct output output = {0};
    if (!output_add(rendering, &output, a) || !output_add(rendering, &output, b))
        return false;
    *value_out = value_text(output_text(&output));
    value_out->is_markup = is_markup;
    return true;
}

static bool lists_add(struct rendering *rendering, struct value left, struct value right,
                      struct value *value_out)
{
    const struct list *a = left.as.list, *b = right.as.list;
    struct list *joined = list_new(rendering, a->count + b->count);
    if (!joined || !rendering_charge(rendering, a->count + b->count))
        return false;
    if (a->count > 0)
        memcpy(joined->items, a->items, a->count * sizeof(*a->items));
    if (b->count > 0)
        memcpy(joined->items + a->count, b->items, b->count * sizeof(*b->items));
    joined->count = a->count + b->count;
    *value_out = value_of_list(left.kind, joined);
    return true;
}

static bool repeat(struct rendering *rendering, struct value value, int64_t count,
                   struct value *value_out)
{
    size_t times = count < 0 ? 0 : (size_t)count;
    if (value.kind == VALUE_STRING) {
        struct output output = {0};
        if (!output_fill(rendering, &output, value.as.text, times))
            return false;
        *value_out = value_text(output_text(&output));
        value_out->is_markup = value.is_markup;
        return true;
    }
    struct list *list = list_new(rendering, 0);
    if (!list)
        return false;
    for (size_t done = 0; done < times && value.as.list->count > 0; done++) {
        if (!rendering_charge(rendering, value.as.list->count))
            return false;
        for (size_t index = 0; index < value.as.list->count; index++)
            if (!list_push(rendering, list, value.as.list->items[index]))
                return false;
    }
    *value_out = value_of_list(value.kind, list);
    return true;
}

static bool is_repeatable(struct value value)
{
    return value.kind == VALUE_STRING || value.kind == VALUE_LIST || value.kind == VALUE_TUPLE;
}

static bool refuse_operands(struct rendering *rendering, enum operation operation,
                            struct value left, struct value right)
{
    if (left.kind == VALUE_UNDEFINED)
        return value_refuse_undefined(rendering, left);
    if (right.kind == VALUE_UNDEFINED)
        return value_refuse_undefined(rendering, right);
    if (operation == OPERATION_ADD && left.kind == VALUE_STRING)
        return rendering_fail(rendering, STATUS_INVALID,
                              "can only concatenate str (not \"%s\") to str (chat template, line "
                              "%u)",
                              value_type_name(right), rendering->line);
    return rendering_fail(rendering, STATUS_INVALID,
                          "unsupported operand type(s) for %s: '%s' and '%s' (chat template, "
                          "line %u)",
                          signs[operation], value_type_name(left), value_type_name(right),
                          rendering->line);
}

bool binary_evaluate(struct rendering *rendering, enum operation operation, struct value left,
                     struct value right, struct value *value_out)
{
    if (value_is_number(left) && value_is_number(right)) {
        if (value_is_integral(left) && value_is_integral(right))
            return integers_evaluate(rendering, operation, value_as_integer(left),
                                     value_as_integer(right), value_out);
        return floats_evaluate(rendering, operation, value_as_double(left),
                               value_as_double(right), value_out);
    }
    if (operation == OPERATION_ADD && left.kind == right.kind) {
        if (left.kind == VALUE_STRING)
            return texts_add(rendering, left, right, value_out);
        if (left.kind == VALUE_LIST || left.kind == VALUE_TUPLE)
            return lists_add(rendering, left, right, value_out);
    }
    if (operation == OPERATION_MULTIPLY && is_repeatable(left) && value_is_integral(right))
        return repeat(rendering, left, value_as_integer(right), value_out);
    if (operation == OPERATION_MULTIPLY && is_repeatable(right) && value_is_integral(left))
        return repeat(rendering, right, value_as_integer(left), value_out);
    if (operation == OPERATION_MODULO && left.kind == VALUE_STRING) {
        struct text text;
        if (!format_percent(rendering, left.as.text, right, &text))
            return false;
        *value_out = value_text(text);
        value_out->is_markup = left.is_markup;
        return true;
    }
    return refuse_operands(rendering, operation, left, right);
}

struct slice {
    int64_t start, end, step;
    size_t count;
};

static bool slice_bound(struct rendering *rendering, struct value bound, int64_t fallback,
                        int64_t *bound_out)
{
    if (bound.kind == VALUE_MISSING || bound.kind == VALUE_NONE) {
        *bound_out = fallback;
        return true;
    }
    if (!value_is_integral(bound))
        return rendering_fail(rendering, STATUS_INVALID,
                              "slice indices must be integers or None, not '%s' (chat template, "
                              "line %u)",
                              value_type_name(bound), rendering->line);
    *bound_out = value_as_integer(bound);
    return true;
}

static int64_t clamped(int64_t bound, int64_t length, int64_t lowest, int64_t highest)
{
    if (bound < 0)
        bound = bound < -length ? -1 : bound + length;
    if (bound < lowest)
        return lowest;
    return bound > highest ? highest : bound;
}

/* Python's rules for [start:end:step]. */
static bool slice_resolve(struct rendering *rendering, const struct value bounds[3],
                          size_t length, struct slice *slice_out)
{
    struct slice slice = {0};
    int64_t size = (int64_t)length;
    if (!slice_bound(rendering, bounds[2], 1, &slice.step))
        return false;
    if (slice.step == 0)
        return rendering_fail(rendering, STATUS_INVALID,
                              "slice step cannot be zero (chat template, line %u)",
                              rendering->line);
    bool forward = slice.step > 0;
    int64_t lowest = forward ? 0 : -1, highest = forward ? size : size - 1;
    bool no_start = bounds[0].kind == VALUE_MISSING || bounds[0].kind == VALUE_NONE;
    bool no_end = bounds[1].kind == VALUE_MISSING || bounds[1].kind == VALUE_NONE;
    if (!slice_bound(rendering, bounds[0], 0, &slice.start) ||
        !slice_bound(rendering, bounds[1], 0, &slice.end))
        return false;
    slice.start = no_start ? (forward ? lowest : highest)
                           : clamped(slice.start, size, lowest, highest);
    slice.end = no_end ? (forward ? highest : lowest)
                       : clamped(slice.end, size, lowest, highest);
    int64_t span = forward ? slice.end - slice.start : slice.start - slice.end;
    uint64_t stride = forward ? (uint64_t)slice.step : (uint64_t)0 - (uint64_t)slice.step;
    slice.count = span <= 0 ? 0 : (size_t)(((uint64_t)span - 1) / stride + 1);
    *slice_out = slice;
    return true;
}

static bool slice_text(struct rendering *rendering, struct text text, const struct slice *slice,
                       struct text *text_out)
{
    if (!rendering_charge(rendering, text.size / 64))
        return false;
    if (slice->count == 0) {
        *text_out = (struct text){"", 0};
        return true;
    }
    if (slice->step == 1) {
        size_t begin = text_offset(text, (size_t)slice->start);
        struct text rest = text_part(text, begin, text.size);
        *text_out = text_part(rest, 0, text_offset(rest, slice->count));
        return true;
    }
    struct list *letters;
    struct output output = {0};
    if (!value_items(rendering, value_text(text), &letters))
        return false;
    for (size_t index = 0; index < slice->count; index++) {
        size_t at = (size_t)(slice->start + (int64_t)index * slice->step);
        if (!output_add(rendering, &output, letters->items[at].as.text))
            return false;
    }
    *text_out = output_text(&output);
    return true;
}

bool slice_evaluate(struct rendering *rendering, struct value value,
                    const struct value bounds[3], struct value *value_out)
{
    struct slice slice = {0};
    size_t length;
    if (value.kind == VALUE_UNDEFINED)
        return value_refuse_undefined(rendering, value);
    if (value.kind != VALUE_STRING && !value_is_sequence(value))
        return rendering_fail(rendering, STATUS_INVALID,
                              "a part of '%s' cannot be taken (chat template, line %u)",
                              value_type_name(value), rendering->line);
    if (!value_length(rendering, value, &length) ||
        !slice_resolve(rendering, bounds, length, &slice))
        return false;
    if (value.kind == VALUE_STRING) {
        struct text text;
        if (!slice_text(rendering, value.as.text, &slice, &text))
            return false;
        *value_out = value_text(text);
        value_out->is_markup = value.is_markup;
        return true;
    }
    struct list *part = list_new(rendering, slice.count);
    if (!part || !rendering_charge(rendering, slice.count))
        return false;
    for (size_t index = 0; index < slice.count; index++)
        part->items[index] =
            value.as.list->items[slice.start + (int64_t)index * slice.step];
    part->count = slice.count;
    if (value.kind == VALUE_RANGE) {
        part->step = value.as.list->step * slice.step;
        part->start = value.as.list->start + slice.start * value.as.list->step;
        part->stop = value.as.list->start + slice.end * value.as.list->step;
    }
    *value_out = value_of_list(value.kind, part);
    return true;
}
