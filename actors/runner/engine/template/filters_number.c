/* SPDX-License-Identifier: Apache-2.0 */
/* Filters of numbers. */
#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_SIZE_MAX = 400 };

static bool filter_abs(struct rendering *rendering, struct value self,
                       const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    if (!value_is_number(self))
        return type_refuse(rendering, "bad operand type for abs():", self);
    if (self.kind == VALUE_FLOAT) {
        *value_out = value_float(fabs(self.as.number));
        return true;
    }
    int64_t integer = value_as_integer(self);
    if (integer == INT64_MIN)
        return rendering_fail(rendering, STATUS_UNSUPPORTED,
                              "chat template, line %u: an integer is beyond 64 bits",
                              rendering->line);
    *value_out = value_int(integer < 0 ? -integer : integer);
    return true;
}

/* The number without white space around it and `_` between digits, as C reads it. */
static bool number_spelled(struct text text, char *spelled_out)
{
    text = text_stripped(text, (struct text){0}, true, true);
    size_t size = 0;
    if (text.size == 0 || text.size >= NUMBER_SIZE_MAX)
        return false;
    for (size_t index = 0; index < text.size; index++) {
        char letter = text.bytes[index];
        bool between = index > 0 && index + 1 < text.size && text.bytes[index - 1] != '_';
        if (letter == '_' && between)
            continue;
        if (letter == '_' || letter <= ' ' || letter > '~')
            return false;
        spelled_out[size++] = letter;
    }
    spelled_out[size] = 0;
    return true;
}

static bool text_as_integer(struct text text, int base, int64_t *integer_out)
{
    char spelled[NUMBER_SIZE_MAX];
    char *end;
    if (!number_spelled(text, spelled))
        return false;
    const char *digits = spelled + (spelled[0] == '-' || spelled[0] == '+');
    char prefix = digits[0] == '0' ? (char)(digits[1] | 0x20) : 0;
    bool has_prefix = (prefix == 'x' && (base == 16 || base == 0)) ||
                      (prefix == 'o' && (base == 8 || base == 0)) ||
                      (prefix == 'b' && (base == 2 || base == 0));
    if (has_prefix) {
        base = prefix == 'x' ? 16 : prefix == 'o' ? 8 : 2;
        digits += 2;
    } else if (base == 0) {
        base = 10;
    }
    if (digits[0] == '-' || digits[0] == '+' || digits[0] == 0)
        return false;
    errno = 0;
    long long integer = strtoll(digits, &end, base);
    if (*end || end == digits || errno != 0)
        return false;
    *integer_out = spelled[0] == '-' ? -integer : integer;
    return true;
}

static bool text_as_float(struct text text, double *number_out)
{
    char spelled[NUMBER_SIZE_MAX];
    char *end;
    if (!number_spelled(text, spelled) || strpbrk(spelled, "xXpP("))
        return false;
    *number_out = strtod(spelled, &end);
    return end != spelled && *end == 0;
}

static bool value_as_float(struct value value, double *number_out)
{
    if (value.kind == VALUE_STRING)
        return text_as_float(value.as.text, number_out);
    if (!value_is_number(value))
        return false;
    *number_out = value_as_double(value);
    return true;
}

static bool filter_int(struct rendering *rendering, struct value self,
                       const struct invocation *invocation, struct value *value_out)
{
    int64_t base, integer;
    double number;
    struct value fallback = is_given(invocation->bound[0]) ? invocation->bound[0] : value_int(0);
    if (self.kind == VALUE_UNDEFINED)
        return value_refuse_undefined(rendering, self);
    if (!argument_integer(rendering, invocation->bound[1], 10, &base))
        return false;
    if (base != 0 && (base < 2 || base > 36)) {
        *value_out = fallback;
        return true;
    }
    if (value_is_integral(self))
        *value_out = value_int(value_as_integer(self));
    else if (self.kind == VALUE_STRING &&
             text_as_integer(self.as.text, (int)base, &integer))
        *value_out = value_int(integer);
    else if (value_as_float(self, &number) && fabs(number) < 9.2e18)
        *value_out = value_int((int64_t)number);
    else if (value_as_float(self, &number) && isfinite(number))
        return rendering_fail(rendering, STATUS_UNSUPPORTED,
                              "chat template, line %u: an integer is beyond 64 bits",
                              rendering->line);
    else
        *value_out = fallback;
    return true;
}

static bool filter_float(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    double number;
    if (self.kind == VALUE_UNDEFINED)
        return value_refuse_undefined(rendering, self);
    if (value_as_float(self, &number))
        *value_out = value_float(number);
    else
        *value_out = is_given(invocation->bound[0]) ? invocation->bound[0] : value_float(0.0);
    return true;
}

/* Decimal rounding with ties to even, of the number's exact value. */
static double rounded(double number, int64_t precision)
{
    if (!isfinite(number) || precision > 300)
        return number;
    if (precision < -300)
        return copysign(0.0, number);
    if (precision < 0) {
        double scale = pow(10.0, (double)-precision);
        return nearbyint(number / scale) * scale;
    }
    char text[800];
    snprintf(text, sizeof(text), "%.*f", (int)precision, number);
    return strtod(text, NULL);
}

static bool filter_round(struct rendering *rendering, struct value self,
                         const struct invocation *invocation, struct value *value_out)
{
    int64_t precision;
    struct text how;
    if (!argument_integer(rendering, invocation->bound[0], 0, &precision) ||
        !argument_text(rendering, invocation->bound[1], "common", &how))
        return false;
    bool is_common = text_equals(how, "common"), is_ceil = text_equals(how, "ceil");
    if (!is_common && !is_ceil && !text_equals(how, "floor"))
        return rendering_fail(rendering, STATUS_INVALID,
                              "method must be common, ceil or floor (chat template, line %u)",
                              rendering->line);
    if (!value_is_number(self))
        return type_refuse(rendering, "round needs a number, not", self);
    if (is_common && value_is_integral(self)) {
        int64_t integer = value_as_integer(self);
        *value_out = precision >= 0
                         ? value_int(integer)
                         : value_int((int64_t)rounded((double)integer, precision));
        return true;
    }
    double number = value_as_double(self);
    if (is_common) {
        *value_out = value_float(rounded(number, precision));
        return true;
    }
    double scale = pow(10.0, (double)precision);
    double whole = is_ceil ? ceil(number * scale) : floor(number * scale);
    *value_out = value_float(whole / scale);
    return true;
}

const struct callable_row number_filters[] = {
    {"abs", "", 0, filter_abs},
    {"float", "default", 0, filter_float},
    {"int", "default base", 0, filter_int},
    {"round", "precision method", 0, filter_round},
    {NULL, NULL, 0, NULL},
};
