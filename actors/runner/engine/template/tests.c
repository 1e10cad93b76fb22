/* SPDX-License-Identifier: Apache-2.0 */
/* What may follow `is`. */
#include "actors/runner/engine/template/evaluate.h"
#include "actors/runner/engine/template/library.h"
#include "actors/runner/engine/template/unicode.h"

static bool is_of_kind(struct value value, enum value_kind kind, struct value *value_out)
{
    *value_out = value_bool(value.kind == kind);
    return true;
}

#define KIND_TEST(name, KIND)                                                                      \
    static bool test_##name(struct rendering *rendering, struct value self,                        \
                            const struct invocation *invocation, struct value *value_out)          \
    {                                                                                              \
        (void)rendering;                                                                           \
        (void)invocation;                                                                          \
        return is_of_kind(self, KIND, value_out);                                                  \
    }
KIND_TEST(boolean, VALUE_BOOL)
KIND_TEST(float, VALUE_FLOAT)
KIND_TEST(mapping, VALUE_DICT)
KIND_TEST(none, VALUE_NONE)
KIND_TEST(string, VALUE_STRING)
KIND_TEST(undefined, VALUE_UNDEFINED)

#define PLAIN_TEST(name, expression)                                                               \
    static bool test_##name(struct rendering *rendering, struct value self,                        \
                            const struct invocation *invocation, struct value *value_out)          \
    {                                                                                              \
        (void)rendering;                                                                           \
        (void)invocation;                                                                          \
        *value_out = value_bool(expression);                                                       \
        return true;                                                                               \
    }
PLAIN_TEST(defined, self.kind != VALUE_UNDEFINED)
PLAIN_TEST(true, self.kind == VALUE_BOOL && self.as.boolean)
PLAIN_TEST(false, self.kind == VALUE_BOOL && !self.as.boolean)
PLAIN_TEST(integer, self.kind == VALUE_INT || self.kind == VALUE_DIGITS)
PLAIN_TEST(number, value_is_number(self) || self.kind == VALUE_DIGITS)
PLAIN_TEST(escaped, self.is_markup)
PLAIN_TEST(sequence, value_is_sequence(self) || self.kind == VALUE_STRING ||
                         self.kind == VALUE_DICT || self.kind == VALUE_UNDEFINED)
PLAIN_TEST(iterable, value_is_sequence(self) || self.kind == VALUE_STRING ||
                         self.kind == VALUE_DICT || self.kind == VALUE_UNDEFINED ||
                         self.kind == VALUE_VIEW || self.kind == VALUE_ITERATOR ||
                         self.kind == VALUE_LOOP)
PLAIN_TEST(callable, self.kind == VALUE_MACRO || self.kind == VALUE_METHOD ||
                         self.kind == VALUE_FUNCTION || self.kind == VALUE_LOOP ||
                         self.kind == VALUE_JOINER || self.kind == VALUE_UNDEFINED)

static bool compare(struct rendering *rendering, struct value self,
                    const struct invocation *invocation, const char *sign, bool less, bool equal,
                    bool greater, struct value *value_out)
{
    int order;
    if (!value_order(rendering, self, invocation->bound[0], sign, &order))
        return false;
    *value_out = value_bool((order == -1 && less) || (order == 0 && equal) ||
                            (order == 1 && greater));
    return true;
}

static bool test_lt(struct rendering *rendering, struct value self,
                    const struct invocation *invocation, struct value *value_out)
{
    return compare(rendering, self, invocation, "<", true, false, false, value_out);
}

static bool test_le(struct rendering *rendering, struct value self,
                    const struct invocation *invocation, struct value *value_out)
{
    return compare(rendering, self, invocation, "<=", true, true, false, value_out);
}

static bool test_gt(struct rendering *rendering, struct value self,
                    const struct invocation *invocation, struct value *value_out)
{
    return compare(rendering, self, invocation, ">", false, false, true, value_out);
}

static bool test_ge(struct rendering *rendering, struct value self,
                    const struct invocation *invocation, struct value *value_out)
{
    return compare(rendering, self, invocation, ">=", false, true, true, value_out);
}

static bool test_eq(struct rendering *rendering, struct value self,
                    const struct invocation *invocation, struct value *value_out)
{
    bool equal;
    if (!value_equal(rendering, self, invocation->bound[0], &equal))
        return false;
    *value_out = value_bool(equal);
    return true;
}

static bool test_ne(struct rendering *rendering, struct value self,
                    const struct invocation *invocation, struct value *value_out)
{
    bool equal;
    if (!value_equal(rendering, self, invocation->bound[0], &equal))
        return false;
    *value_out = value_bool(!equal);
    return true;
}

static bool test_in(struct rendering *rendering, struct value self,
                    const struct invocation *invocation, struct value *value_out)
{
    bool contains;
    if (!value_contains(rendering, invocation->bound[0], self, &contains))
        return false;
    *value_out = value_bool(contains);
    return true;
}

static bool test_sameas(struct rendering *rendering, struct value self,
                        const struct invocation *invocation, struct value *value_out)
{
    struct value other = invocation->bound[0];
    bool same = self.kind == other.kind;
    bool is_plain = value_is_number(self) || self.kind == VALUE_NONE ||
                    self.kind == VALUE_STRING;
    if (same && is_plain && !value_equal(rendering, self, other, &same))
        return false;
    if (same && !is_plain)
        same = self.as.list == other.as.list;
    *value_out = value_bool(same);
    return true;
}

static bool remainder_is(struct rendering *rendering, struct value self, struct value divisor,
                         int64_t wanted, struct value *value_out)
{
    struct value remainder;
    bool equal;
    if (!binary_evaluate(rendering, OPERATION_MODULO, self, divisor, &remainder) ||
        !value_equal(rendering, remainder, value_int(wanted), &equal))
        return false;
    *value_out = value_bool(equal);
    return true;
}

static bool test_even(struct rendering *rendering, struct value self,
                      const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    return remainder_is(rendering, self, value_int(2), 0, value_out);
}

static bool test_odd(struct rendering *rendering, struct value self,
                     const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    return remainder_is(rendering, self, value_int(2), 1, value_out);
}

static bool test_divisibleby(struct rendering *rendering, struct value self,
                             const struct invocation *invocation, struct value *value_out)
{
    return remainder_is(rendering, self, invocation->bound[0], 0, value_out);
}

static bool case_test(struct rendering *rendering, struct value self, const char *method,
                      struct value *value_out)
{
    struct text text, name = {method, 7};
    struct arguments none = {0};
    return value_printed(rendering, self, &text) &&
           row_call(rendering, method_find(value_literal(""), name), "test", value_text(text),
                    &none, value_out);
}

static bool test_lower(struct rendering *rendering, struct value self,
                       const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    return case_test(rendering, self, "islower", value_out);
}

static bool test_upper(struct rendering *rendering, struct value self,
                       const struct invocation *invocation, struct value *value_out)
{
    (void)invocation;
    return case_test(rendering, self, "isupper", value_out);
}

static bool test_filter(struct rendering *rendering, struct value self,
                        const struct invocation *invocation, struct value *value_out)
{
    (void)rendering;
    (void)invocation;
    *value_out = value_bool(self.kind == VALUE_STRING && filter_find(self.as.text));
    return true;
}

static bool test_test(struct rendering *rendering, struct value self,
                      const struct invocation *invocation, struct value *value_out)
{
    (void)rendering;
    (void)invocation;
    *value_out = value_bool(self.kind == VALUE_STRING && test_find(self.as.text));
    return true;
}

static const struct callable_row rows[] = {
    {"boolean", "", 0, test_boolean},
    {"callable", "", 0, test_callable},
    {"defined", "", 0, test_defined},
    {"divisibleby", "num", 1, test_divisibleby},
    {"eq", "other", 1, test_eq},
    {"equalto", "other", 1, test_eq},
    {"==", "other", 1, test_eq},
    {"escaped", "", 0, test_escaped},
    {"even", "", 0, test_even},
    {"false", "", 0, test_false},
    {"filter", "", 0, test_filter},
    {"float", "", 0, test_float},
    {"ge", "other", 1, test_ge},
    {">=", "other", 1, test_ge},
    {"greaterthan", "other", 1, test_gt},
    {"gt", "other", 1, test_gt},
    {">", "other", 1, test_gt},
    {"in", "seq", 1, test_in},
    {"integer", "", 0, test_integer},
    {"iterable", "", 0, test_iterable},
    {"le", "other", 1, test_le},
    {"<=", "other", 1, test_le},
    {"lessthan", "other", 1, test_lt},
    {"lower", "", 0, test_lower},
    {"lt", "other", 1, test_lt},
    {"<", "other", 1, test_lt},
    {"mapping", "", 0, test_mapping},
    {"ne", "other", 1, test_ne},
    {"!=", "other", 1, test_ne},
    {"none", "", 0, test_none},
    {"number", "", 0, test_number},
    {"odd", "", 0, test_odd},
    {"sameas", "other", 1, test_sameas},
    {"sequence", "", 0, test_sequence},
    {"string", "", 0, test_string},
    {"test", "", 0, test_test},
    {"true", "", 0, test_true},
    {"undefined", "", 0, test_undefined},
    {"upper", "", 0, test_upper},
    {NULL, NULL, 0, NULL},
};

const struct callable_row *test_find(struct text name)
{
    return row_find(rows, name);
}
