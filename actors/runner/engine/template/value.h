/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value: what a template computes with, and one rendering's limits.
 *
 * Values behave as Python's do: they are small, passed by copy, and what they point to lives in
 * the rendering's arena and never changes, save namespaces, loops, cyclers and used-up iterators.
 *
 * Owner    one rendering.
 * Memory   the rendering's arena.
 * Threads  none: one rendering, one thread.
 * Fails    a function that may fail returns false after `rendering_fail` noted why; only the
 *          first failure is kept.
 */
#ifndef TROUPE_ENGINE_TEMPLATE_VALUE_H
#define TROUPE_ENGINE_TEMPLATE_VALUE_H

#include "actors/runner/engine/template/arena.h"
#include "protocol/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum value_kind {
    VALUE_MISSING, /* an argument that was not given; templates never see it */
    VALUE_UNDEFINED,
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_FLOAT,
    VALUE_DIGITS, /* a whole number beyond 64 bits, as it was written: only printed */
    VALUE_STRING,
    VALUE_LIST,
    VALUE_TUPLE,
    VALUE_RANGE,
    VALUE_VIEW,     /* dict.keys(), .values(), .items() */
    VALUE_ITERATOR, /* a generator: read once, in order */
    VALUE_DICT,
    VALUE_NAMESPACE,
    VALUE_LOOP,
    VALUE_MACRO,
    VALUE_METHOD,
    VALUE_FUNCTION,
    VALUE_CYCLER,
    VALUE_JOINER,
};

/* UTF-8, not terminated. */
struct text {
    const char *bytes;
    size_t size;
};

struct value {
    enum value_kind kind;
    bool is_markup; /* strings: passed through `safe` or `escape` */
    union {
        bool boolean;
        int64_t integer;
        double number;
        struct text text;
        struct undefined *undefined; /* may be NULL: nothing is known about it */
        struct list *list;           /* list, tuple, range, view, iterator, cycler, joiner */
        struct dict *dict;           /* dict, namespace */
        struct loop *loop;
        struct macro *macro;
        struct method *method;
        const struct callable_row *function;
    } as;
};

struct undefined {
    struct text name;
    const char *object_type; /* NULL: a variable */
    const char *hint;        /* instead of all that */
    bool is_element;
    bool is_unsafe; /* a method that would change its object */
};

struct list {
    struct value *items;
    size_t count;
    size_t capacity;
    size_t position;       /* of iterators and cyclers */
    const char *label;     /* "dict_items", "generator" */
    int64_t start, stop, step; /* of ranges */
    bool is_group;         /* tuple with the names `grouper` and `list` */
};

struct entry {
    struct value key;
    struct value value;
    uint64_t hash;
};

struct dict {
    struct entry *entries; /* in order of insertion */
    size_t count;
    size_t capacity;
    uint32_t *slots; /* entry index + 1, open addressing; NULL while small */
    size_t slot_count;
};

struct output {
    char *bytes;
    size_t size;
    size_t capacity;
};

struct scope;
struct node;

struct rendering {
    struct arena *arena;
    uint64_t steps_left;
    unsigned depth;      /* of everything that recurses */
    unsigned call_depth; /* of macros, callers and recursive loops */
    size_t output_size_max;
    struct output *output;
    struct scope *scope;
    struct dict *context;
    struct value block_text; /* input of the filter of a filter or set block */
    const struct tm *now;
    unsigned line;
    bool was_raised; /* the failure is the template's own raise_exception */
    enum status status;
    struct reason *reason;
};

struct named_value {
    struct text name;
    struct value value;
};

struct arguments {
    struct value *values;
    size_t count;
    struct named_value *named;
    size_t named_count;
};

enum { BOUND_COUNT_MAX = 8 };

/* The arguments of one call, bound to the names of the row. */
struct invocation {
    const struct arguments *all;
    struct value bound[BOUND_COUNT_MAX];
};

struct callable_row {
    const char *name;
    const char *parameters; /* names with a space between; "*": takes `all` as it is */
    unsigned required_count;
    bool (*call)(struct rendering *rendering, struct value self,
                 const struct invocation *invocation, struct value *value_out);
};

struct method {
    struct value self;
    const struct callable_row *row;
};

/* Always false, so that a failing branch is one line. */
bool rendering_fail(struct rendering *rendering, enum status status, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Counts work against the limit of steps. */
bool rendering_charge(struct rendering *rendering, uint64_t steps);
/* Every function that recurses over a peer's data enters and leaves. */
bool rendering_enter(struct rendering *rendering);
void rendering_leave(struct rendering *rendering);
/* NULL after rendering_fail. */
void *rendering_take(struct rendering *rendering, size_t size);

struct value value_none(void);
struct value value_bool(bool boolean);
struct value value_int(int64_t integer);
struct value value_float(double number);
struct value value_string(const char *bytes, size_t size);
struct value value_text(struct text text);
/* Of a C string that outlives the rendering. */
struct value value_literal(const char *literal);
struct value value_of_list(enum value_kind kind, struct list *list);
struct value value_of_dict(struct dict *dict);
bool value_undefined(struct rendering *rendering, struct undefined undefined,
                     struct value *value_out);

/* Python's name of the type: "str", "NoneType". */
const char *value_type_name(struct value value);
bool value_is_sequence(struct value value); /* has a `list` that may be indexed */
bool value_is_number(struct value value);   /* int, float or bool */
bool value_is_integral(struct value value); /* int or bool */
bool value_truth(struct value value);
/* Fails with the sentence that jinja gives for a use of this undefined value. */
bool value_refuse_undefined(struct rendering *rendering, struct value value);
double value_as_double(struct value value);
int64_t value_as_integer(struct value value);
bool value_equal(struct rendering *rendering, struct value a, struct value b, bool *equal_out);
/* -1, 0, 1; fails for what Python cannot order. `sign` names the operator in the sentence. */
bool value_order(struct rendering *rendering, struct value a, struct value b, const char *sign,
                 int *order_out);
/* Items as a list that must not be changed; uses an iterator up. */
bool value_items(struct rendering *rendering, struct value value, struct list **list_out);
bool value_length(struct rendering *rendering, struct value value, size_t *length_out);
bool value_contains(struct rendering *rendering, struct value container, struct value item,
                    bool *contains_out);

bool text_equals(struct text text, const char *literal);
bool texts_equal(struct text a, struct text b);

struct list *list_new(struct rendering *rendering, size_t capacity);
bool list_push(struct rendering *rendering, struct list *list, struct value item);

struct dict *dict_new(struct rendering *rendering, size_t capacity);
/* Fails for a key that cannot be hashed. */
bool dict_put(struct rendering *rendering, struct dict *dict, struct value key,
              struct value value);
/* NULL when it is not there or the key cannot be hashed. */
struct entry *dict_find(const struct dict *dict, struct value key);
struct entry *dict_find_text(const struct dict *dict, const char *key);

#endif
