/* SPDX-License-Identifier: Apache-2.0 */
/*
 * library: the filters, tests, methods and functions that templates may call.
 *
 * Memory   results in the rendering's arena.
 * Threads  none: one rendering, one thread.
 * Fails    false after rendering_fail.
 */
#ifndef TROUPE_ENGINE_TEMPLATE_LIBRARY_H
#define TROUPE_ENGINE_TEMPLATE_LIBRARY_H

#include "actors/runner/engine/template/value.h"

/* NULL when there is none of the name. */
const struct callable_row *filter_find(struct text name);
const struct callable_row *test_find(struct text name);
const struct callable_row *function_find(struct text name);
const struct callable_row *method_find(struct value self, struct text name);
/* A method Python has there, which would change the object: the sandbox denies it. */
bool method_is_unsafe(struct value self, struct text name);

/* One row of a table that ends with a NULL name. */
const struct callable_row *row_find(const struct callable_row *rows, struct text name);

extern const struct callable_row sequence_filters[];
extern const struct callable_row selection_filters[];
extern const struct callable_row text_filters[];
extern const struct callable_row number_filters[];
extern const struct callable_row text_methods[];
extern const struct callable_row text_split_methods[];

/* Calls a row with its arguments bound to its parameters. `what` is "filter", "test"... */
bool row_call(struct rendering *rendering, const struct callable_row *row, const char *what,
              struct value self, const struct arguments *arguments, struct value *value_out);
bool is_given(struct value argument);
/* A bound argument as what it must be; `fallback` when it was not given. */
bool argument_integer(struct rendering *rendering, struct value argument, int64_t fallback,
                      int64_t *integer_out);
bool argument_text(struct rendering *rendering, struct value argument, const char *fallback,
                   struct text *text_out);
bool type_refuse(struct rendering *rendering, const char *what, struct value value);

/* str(value) and repr(value). */
bool print_value(struct rendering *rendering, struct output *output, struct value value);
bool print_repr(struct rendering *rendering, struct output *output, struct value value);
/* str(value) as a text; of a string, the string itself. */
bool value_printed(struct rendering *rendering, struct value value, struct text *text_out);
enum { FLOAT_TEXT_SIZE = 40 };
/* Python's shortest form that reads back the same; the buffer has FLOAT_TEXT_SIZE bytes. */
void float_repr(double number, char *text_out);
bool text_escaped(struct rendering *rendering, struct text text, struct text *text_out);

struct json_style {
    bool is_ascii;
    bool is_sorted;
    bool is_indented;
    struct text indent;
    struct text item_separator;
    struct text key_separator;
};
bool print_json(struct rendering *rendering, struct output *output, struct value value,
                const struct json_style *style, unsigned level);
bool filter_tojson(struct rendering *rendering, struct value self,
                   const struct invocation *invocation, struct value *value_out);

/* '%s-%d' % (a, b) and '{}:{}'.format(a, b). */
bool format_percent(struct rendering *rendering, struct text format, struct value arguments,
                    struct text *text_out);
bool format_braces(struct rendering *rendering, struct text format,
                   const struct arguments *arguments, struct text *text_out);

/* value.name and value[key] as jinja's sandbox finds them. */
bool value_attribute(struct rendering *rendering, struct value value, struct text name,
                     struct value *value_out);
bool value_subscript(struct rendering *rendering, struct value value, struct value key,
                     struct value *value_out);
/* A path like "function.name" or 0, as `map(attribute=...)` takes it. */
bool value_path(struct rendering *rendering, struct value value, struct value path,
                struct value *value_out);
/* What `{{ value(...) }}` does. */
bool value_call(struct rendering *rendering, struct value callee,
                const struct arguments *arguments, struct value *value_out);
bool value_sorted(struct rendering *rendering, struct list *list, bool is_case_sensitive,
                  struct value path, bool is_reversed, struct list **list_out);
bool strftime_text(struct rendering *rendering, struct text format, struct text *text_out);

#endif
