/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/schema.h"

#include "actors/runner/engine/grammar/schema_parts.h"
#include "protocol/memory.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- failures and where they are ---- */

bool schema_fail(struct schema_compiler *compiler, enum status status, const char *format, ...)
{
    if (compiler->status != STATUS_OK)
        return false;
    char sentence[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    compiler->status = refuse(compiler->reason, status, "%.120s: %s", compiler->path, sentence);
    return false;
}

size_t schema_down(struct schema_compiler *compiler, const char *key)
{
    const size_t before = compiler->path_size;
    const size_t room = sizeof(compiler->path) - before;
    const int size = snprintf(compiler->path + before, room, "/%.64s", key);
    compiler->path_size += size < 0 ? 0 : (size_t)size < room ? (size_t)size : room - 1;
    return before;
}

void schema_up(struct schema_compiler *compiler, size_t path_size)
{
    compiler->path_size = path_size;
    compiler->path[path_size] = '\0';
}

/* ---- keywords ---- */

static bool is_known(const char *key)
{
    static const char *const known[] = {"$ref",
                                        "type",
                                        "properties",
                                        "required",
                                        "additionalProperties",
                                        "items",
                                        "prefixItems",
                                        "additionalItems",
                                        "minItems",
                                        "maxItems",
                                        "enum",
                                        "const",
                                        "anyOf",
                                        "oneOf",
                                        "allOf",
                                        "pattern",
                                        "format",
                                        "minLength",
                                        "maxLength",
                                        "minimum",
                                        "maximum",
                                        "multipleOf",
                                        "exclusiveMinimum",
                                        "nullable",
                                        "exclusiveMaximum",
                                        "minProperties",
                                        "maxProperties",
                                        "propertyNames"};
    for (size_t at = 0; at < COUNT_OF(known); at++)
        if (strcmp(key, known[at]) == 0)
            return true;
    return schema_is_annotation(key);
}

static bool check_keys(struct schema_compiler *compiler, const json_t *schema)
{
    for (void *at = json_object_iter((json_t *)(uintptr_t)schema); at;
         at = json_object_iter_next((json_t *)(uintptr_t)schema, at)) {
        const char *key = json_object_iter_key(at);
        if (!is_known(key))
            return schema_fail(compiler, STATUS_UNSUPPORTED, "the keyword %.64s is not supported",
                               key);
    }
    return true;
}

bool schema_is_any(const json_t *schema)
{
    if (json_is_true(schema))
        return true;
    bool is_any = json_is_object(schema);
    for (void *at = json_object_iter((json_t *)(uintptr_t)schema); at && is_any;
         at = json_object_iter_next((json_t *)(uintptr_t)schema, at))
        is_any = schema_is_annotation(json_object_iter_key(at));
    return is_any;
}

/* ---- references ---- */

/* One step of a JSON pointer: ~1 is /, ~0 is ~, %xx is left as it is. */
static const json_t *step_down(const json_t *value, const char *name, size_t size)
{
    char key[256];
    size_t length = 0;
    for (size_t at = 0; at < size && length + 1 < sizeof(key); at++) {
        const bool is_escape = name[at] == '~' && at + 1 < size;
        key[length++] = !is_escape ? name[at] : name[at + 1] == '1' ? '/' : '~';
        at += is_escape;
    }
    key[length] = '\0';
    if (json_is_array(value)) {
        char *end = NULL;
        const unsigned long index = strtoul(key, &end, 10);
        return length > 0 && !*end ? json_array_get(value, index) : NULL;
    }
    return json_object_get(value, key);
}

const json_t *schema_resolve(struct schema_compiler *compiler, const char *reference)
{
    const json_t *found = compiler->root;
    if (!reference || reference[0] != '#') {
        (void)schema_fail(compiler, STATUS_UNSUPPORTED,
                          "$ref %.64s leads out of the document; only #/... is supported",
                          reference ? reference : "");
        return NULL;
    }
    const char *at = reference + 1;
    while (found && *at == '/') {
        const size_t size = strcspn(at + 1, "/");
        found = step_down(found, at + 1, size);
        at += 1 + size;
    }
    if (!found || *at) {
        (void)schema_fail(compiler, STATUS_INVALID, "$ref %.64s leads to nothing", reference);
        return NULL;
    }
    return found;
}

/* The rule of a key, or a new one, which is to be built. */
static bool rule_of_key(struct schema_compiler *compiler, const char *key, uint32_t *rule_out,
                        bool *is_new_out)
{
    const json_t *known = json_object_get(compiler->rules, key);
    *is_new_out = known == NULL;
    if (known) {
        *rule_out = (uint32_t)json_integer_value(known);
        return true;
    }
    *rule_out = automaton_rule(compiler->automaton);
    return json_object_set_new(compiler->rules, key, json_integer(*rule_out)) == 0 ||
           schema_fail(compiler, STATUS_NO_MEMORY, "no memory");
}

static bool build_reference(struct schema_compiler *compiler, const char *reference, uint32_t from,
                            uint32_t to)
{
    uint32_t rule = 0;
    bool is_new = false;
    const json_t *target = schema_resolve(compiler, reference);
    if (!target || !rule_of_key(compiler, reference, &rule, &is_new))
        return false;
    automaton_call(compiler->automaton, from, rule, to);
    if (!is_new || compiler->automaton->failed != STATUS_OK)
        return true;
    const size_t up = compiler->path_size;
    char path[sizeof(compiler->path)];
    memcpy(path, compiler->path, sizeof(path));
    schema_up(compiler, strcspn(compiler->path, "#"));
    (void)snprintf(compiler->path + compiler->path_size, sizeof(path) - compiler->path_size,
                   "%.128s", reference);
    compiler->path_size = strlen(compiler->path);
    const bool good = schema_value(compiler, target, compiler->automaton->rules[rule].start,
                                   compiler->automaton->rules[rule].end);
    memcpy(compiler->path, path, sizeof(path));
    compiler->path_size = up;
    return good;
}

bool schema_rule(struct schema_compiler *compiler, const json_t *schema, uint32_t *rule_out)
{
    if (schema_is_any(schema)) {
        *rule_out = compiler->value;
        return true;
    }
    *rule_out = automaton_rule(compiler->automaton);
    return schema_value(compiler, schema, compiler->automaton->rules[*rule_out].start,
                        compiler->automaton->rules[*rule_out].end);
}

/* ---- combinations ---- */

/* A schema made by merging: the same text again is the same rule, so that circles end. */
static bool build_merged(struct schema_compiler *compiler, json_t *merged, uint32_t from,
                         uint32_t to)
{
    if (!merged)
        return schema_fail(compiler, STATUS_NO_MEMORY, "no memory");
    uint32_t rule = 0;
    bool is_new = false;
    char *text = json_dumps(merged, JSON_COMPACT);
    bool good = json_array_append_new(compiler->merged, merged) == 0 && text;
    good = good && rule_of_key(compiler, text, &rule, &is_new);
    free(text); /* style allows free: jansson allocated it */
    if (!good)
        return schema_fail(compiler, STATUS_NO_MEMORY, "no memory");
    automaton_call(compiler->automaton, from, rule, to);
    if (!is_new || compiler->automaton->failed != STATUS_OK)
        return true;
    return schema_value(compiler, merged, compiler->automaton->rules[rule].start,
                        compiler->automaton->rules[rule].end);
}

static bool build_all(struct schema_compiler *compiler, const json_t *schema, uint32_t from,
                      uint32_t to)
{
    const json_t *parts = json_object_get(schema, "allOf");
    if (!json_is_array(parts) || json_array_size(parts) == 0)
        return schema_fail(compiler, STATUS_INVALID, "allOf must be a list of schemas");
    json_t *merged = schema_without(schema, "allOf");
    for (size_t at = 0; merged && at < json_array_size(parts); at++) {
        json_t *more = schema_merge(compiler, merged, json_array_get(parts, at));
        json_decref(merged);
        merged = more;
    }
    return merged ? build_merged(compiler, merged, from, to)
                  : schema_fail(compiler, STATUS_NO_MEMORY, "no memory");
}

/* What a schema allows as a value of `key` among properties: a const, or an enum of them. */
static const json_t *values_of(struct schema_compiler *compiler, const json_t *schema)
{
    const json_t *reference = json_object_get(schema, "$ref");
    if (reference)
        schema = schema_resolve(compiler, json_string_value(reference));
    const json_t *constant = json_object_get(schema, "const");
    return constant ? constant : json_object_get(schema, "enum");
}

static bool are_apart(const json_t *left, const json_t *right)
{
    const size_t left_count = json_is_array(left) ? json_array_size(left) : 1;
    const size_t right_count = json_is_array(right) ? json_array_size(right) : 1;
    for (size_t at = 0; at < left_count; at++) {
        const json_t *one = json_is_array(left) ? json_array_get(left, at) : left;
        for (size_t other = 0; other < right_count; other++)
            if (json_equal(one, json_is_array(right) ? json_array_get(right, other) : right))
                return false;
    }
    return true;
}

static unsigned types_of(const json_t *schema)
{
    static const char *const names[] = {"object",  "array",   "string", "number",
                                        "integer", "boolean", "null"};
    const json_t *type = json_object_get(schema, "type");
    unsigned types = 0;
    const size_t count = json_is_array(type) ? json_array_size(type) : 1;
    for (size_t at = 0; at < count; at++) {
        const char *name = json_string_value(json_is_array(type) ? json_array_get(type, at) : type);
        for (unsigned kind = 0; name && kind < COUNT_OF(names); kind++)
            if (strcmp(name, names[kind]) == 0)
                types |= 1u << (kind == 4 ? 3 : kind);
    }
    if (types && json_is_true(json_object_get(schema, "nullable")))
        types |= 1u << 6;
    return types ? types : ~0u;
}

/* No value fits both: of other types, or told apart by a required member or by their values. */
static bool exclude_each_other(struct schema_compiler *compiler, const json_t *left,
                               const json_t *right)
{
    const json_t *both[2] = {left, right};
    for (size_t side = 0; side < 2; side++) {
        const json_t *reference = json_object_get(both[side], "$ref");
        if (reference && !(both[side] = schema_resolve(compiler, json_string_value(reference))))
            return true; /* failed already */
    }
    if (!(types_of(both[0]) & types_of(both[1])))
        return true;
    const json_t *values[2] = {values_of(compiler, both[0]), values_of(compiler, both[1])};
    if (values[0] && values[1] && are_apart(values[0], values[1]))
        return true;
    const json_t *required = json_object_get(both[0], "required");
    for (size_t at = 0; at < json_array_size(required); at++) {
        const char *key = json_string_value(json_array_get(required, at));
        for (size_t side = 0; key && side < 2; side++) {
            const json_t *property =
                json_object_get(json_object_get(both[side], "properties"), key);
            values[side] = values_of(compiler, property);
        }
        if (key && values[0] && values[1] && are_apart(values[0], values[1]))
            return true;
    }
    return false;
}

static bool check_one(struct schema_compiler *compiler, const json_t *alternatives)
{
    const size_t count = json_array_size(alternatives);
    for (size_t left = 0; left < count; left++)
        for (size_t right = left + 1; right < count; right++)
            if (!exclude_each_other(compiler, json_array_get(alternatives, left),
                                    json_array_get(alternatives, right)))
                return schema_fail(compiler, STATUS_UNSUPPORTED,
                                   "oneOf: a value may fit alternatives %zu and %zu; give them "
                                   "types or a const that differ, or use anyOf",
                                   left, right);
    return compiler->status == STATUS_OK;
}

static bool build_any(struct schema_compiler *compiler, const json_t *schema, const char *key,
                      uint32_t from, uint32_t to)
{
    const json_t *alternatives = json_object_get(schema, key);
    const size_t count = json_array_size(alternatives);
    if (count == 0 || count > 256)
        return schema_fail(compiler, STATUS_INVALID, "%s must be a list of 1 to 256 schemas", key);
    if (key[0] == 'o' && !check_one(compiler, alternatives))
        return false;
    json_t *base = schema_without(schema, key);
    bool good = base && json_array_append_new(compiler->merged, base) == 0;
    for (size_t at = 0; good && at < count; at++) {
        const json_t *alternative = json_array_get(alternatives, at);
        char name[48];
        (void)snprintf(name, sizeof(name), "%s/%zu", key, at);
        const size_t up = schema_down(compiler, name);
        const uint32_t begin = automaton_state(compiler->automaton);
        automaton_skip(compiler->automaton, from, begin);
        if (schema_is_any(base)) {
            good = schema_value(compiler, alternative, begin, to);
        } else {
            json_t *merged = schema_merge(compiler, base, alternative);
            good = merged && build_merged(compiler, merged, begin, to);
        }
        schema_up(compiler, up);
    }
    return good || schema_fail(compiler, STATUS_NO_MEMORY, "no memory");
}

/* ---- values ---- */

static bool is_of_type(const json_t *value, const char *type)
{
    if (strcmp(type, "object") == 0)
        return json_is_object(value);
    if (strcmp(type, "array") == 0)
        return json_is_array(value);
    if (strcmp(type, "string") == 0)
        return json_is_string(value);
    if (strcmp(type, "integer") == 0)
        return json_is_integer(value) ||
               (json_is_real(value) && !(floor(json_real_value(value)) < json_real_value(value)));
    if (strcmp(type, "number") == 0)
        return json_is_number(value);
    if (strcmp(type, "boolean") == 0)
        return json_is_boolean(value);
    return strcmp(type, "null") == 0 && json_is_null(value);
}

static bool fits_types(const json_t *value, const json_t *type)
{
    const size_t count = json_is_array(type) ? json_array_size(type) : type != NULL;
    bool fits = count == 0;
    for (size_t at = 0; at < count; at++) {
        const char *name = json_string_value(json_is_array(type) ? json_array_get(type, at) : type);
        fits = fits || (name && is_of_type(value, name));
    }
    return fits;
}

/* What may stand beside enum and const: more would need every value to be validated. */
static bool check_beside_values(struct schema_compiler *compiler, const json_t *schema)
{
    for (void *at = json_object_iter((json_t *)(uintptr_t)schema); at;
         at = json_object_iter_next((json_t *)(uintptr_t)schema, at)) {
        const char *key = json_object_iter_key(at);
        if (strcmp(key, "enum") != 0 && strcmp(key, "const") != 0 && strcmp(key, "type") != 0 &&
            strcmp(key, "nullable") != 0 && !schema_is_annotation(key))
            return schema_fail(compiler, STATUS_UNSUPPORTED,
                               "%.64s beside enum or const is not supported", key);
    }
    return true;
}

static bool build_values(struct schema_compiler *compiler, const json_t *schema, uint32_t from,
                         uint32_t to)
{
    const json_t *constant = json_object_get(schema, "const");
    const json_t *list = json_object_get(schema, "enum");
    const json_t *type = json_object_get(schema, "type");
    if (list && (!json_is_array(list) || json_array_size(list) == 0))
        return schema_fail(compiler, STATUS_INVALID, "enum must be a list of values");
    if (!check_beside_values(compiler, schema))
        return false;
    bool is_listed = !list;
    bool is_nullable = json_is_true(json_object_get(schema, "nullable"));
    for (size_t at = 0; at < json_array_size(list); at++) {
        const json_t *value = json_array_get(list, at);
        is_listed = is_listed || json_equal(value, constant);
        if (!constant && (fits_types(value, type) || (is_nullable && json_is_null(value))) &&
            !schema_literal(compiler, value, from, to))
            return false;
    }
    if (constant && is_listed && fits_types(constant, type))
        return schema_literal(compiler, constant, from, to);
    return true; /* no value fits: the closing of the automaton says so, unless others do */
}

static bool build_type(struct schema_compiler *compiler, const json_t *schema, const char *type,
                       uint32_t from, uint32_t to)
{
    struct automaton *automaton = compiler->automaton;
    const uint32_t begin = automaton_state(automaton);
    automaton_skip(automaton, from, begin);
    if (strcmp(type, "object") == 0)
        return schema_object(compiler, schema, begin, to);
    if (strcmp(type, "array") == 0)
        return schema_array(compiler, schema, begin, to);
    if (strcmp(type, "string") == 0)
        return schema_text(compiler, schema, begin, to);
    if (strcmp(type, "integer") == 0 || strcmp(type, "number") == 0)
        return schema_number(compiler, schema, type[0] == 'i', begin, to);
    if (strcmp(type, "boolean") == 0) {
        automaton_skip(automaton, automaton_text(automaton, begin, "true", 4), to);
        automaton_skip(automaton, automaton_text(automaton, begin, "false", 5), to);
        return true;
    }
    if (strcmp(type, "null") == 0) {
        automaton_skip(automaton, automaton_text(automaton, begin, "null", 4), to);
        return true;
    }
    return schema_fail(compiler, STATUS_INVALID, "%.32s is no type", type);
}

/* The type a schema means that names none: the one its keywords are about. */
static const char *implied_type(const json_t *schema)
{
    static const char *const rows[][2] = {{"properties", "object"},
                                          {"required", "object"},
                                          {"additionalProperties", "object"},
                                          {"minProperties", "object"},
                                          {"maxProperties", "object"},
                                          {"propertyNames", "object"},
                                          {"items", "array"},
                                          {"prefixItems", "array"},
                                          {"minItems", "array"},
                                          {"maxItems", "array"},
                                          {"pattern", "string"},
                                          {"format", "string"},
                                          {"minLength", "string"},
                                          {"maxLength", "string"},
                                          {"minimum", "number"},
                                          {"maximum", "number"},
                                          {"multipleOf", "number"},
                                          {"exclusiveMinimum", "number"},
                                          {"exclusiveMaximum", "number"}};
    for (size_t at = 0; at < COUNT_OF(rows); at++)
        if (json_object_get(schema, rows[at][0]))
            return rows[at][1];
    return NULL;
}

static bool build_types(struct schema_compiler *compiler, const json_t *schema, uint32_t from,
                        uint32_t to)
{
    const json_t *type = json_object_get(schema, "type");
    if (json_is_true(json_object_get(schema, "nullable")) &&
        !build_type(compiler, schema, "null", from, to))
        return false;
    if (!type) {
        const char *implied = implied_type(schema);
        if (implied)
            return build_type(compiler, schema, implied, from, to);
        automaton_call(compiler->automaton, from, compiler->value, to);
        return true;
    }
    const size_t count = json_is_array(type) ? json_array_size(type) : 1;
    for (size_t at = 0; at < count; at++) {
        const char *name = json_string_value(json_is_array(type) ? json_array_get(type, at) : type);
        if (!name)
            return schema_fail(compiler, STATUS_INVALID, "type must be a name or a list of them");
        if (!build_type(compiler, schema, name, from, to))
            return false;
    }
    return true;
}

static bool build_schema(struct schema_compiler *compiler, const json_t *schema, uint32_t from,
                         uint32_t to)
{
    const json_t *reference = json_object_get(schema, "$ref");
    if (!check_keys(compiler, schema))
        return false;
    if (reference) {
        if (!json_is_string(reference))
            return schema_fail(compiler, STATUS_INVALID, "$ref must be a string");
        json_t *rest = schema_without(schema, "$ref");
        if (!rest || json_array_append_new(compiler->merged, rest) != 0)
            return schema_fail(compiler, STATUS_NO_MEMORY, "no memory");
        if (schema_is_any(rest))
            return build_reference(compiler, json_string_value(reference), from, to);
        json_t *merged = schema_merge(compiler, schema, rest);
        return merged && build_merged(compiler, merged, from, to);
    }
    if (json_object_get(schema, "allOf"))
        return build_all(compiler, schema, from, to);
    if (json_object_get(schema, "anyOf"))
        return build_any(compiler, schema, "anyOf", from, to);
    if (json_object_get(schema, "oneOf"))
        return build_any(compiler, schema, "oneOf", from, to);
    if (json_object_get(schema, "const") || json_object_get(schema, "enum"))
        return build_values(compiler, schema, from, to);
    return build_types(compiler, schema, from, to);
}

/* Told where it happened, and by the key that counts, if there is one. */
static bool check_size(struct schema_compiler *compiler, const json_t *schema)
{
    static const char *const counts[] = {
        "maxItems", "maxLength", "maxProperties", "minItems", "minLength",  "minProperties",
        "pattern",  "format",    "multipleOf",    "enum",     "properties", "prefixItems"};
    if (compiler->automaton->failed != STATUS_TOO_LARGE)
        return true;
    for (size_t at = 0; at < COUNT_OF(counts); at++) {
        const json_t *value = json_object_get(schema, counts[at]);
        if (json_is_number(value))
            return schema_fail(compiler, STATUS_TOO_LARGE,
                               "%s %.0f makes the grammar explode (more than %d states); use a "
                               "smaller number",
                               counts[at], json_number_value(value), AUTOMATON_STATES_MAX);
        if (value)
            return schema_fail(compiler, STATUS_TOO_LARGE,
                               "%s makes the grammar explode (more than %d states); make the "
                               "schema smaller",
                               counts[at], AUTOMATON_STATES_MAX);
    }
    return schema_fail(compiler, STATUS_TOO_LARGE,
                       "the grammar explodes (more than %d states); make the schema smaller",
                       AUTOMATON_STATES_MAX);
}

bool schema_value(struct schema_compiler *compiler, const json_t *schema, uint32_t from,
                  uint32_t to)
{
    if (compiler->automaton->failed != STATUS_OK)
        return true; /* told when it is closed */
    if (schema_is_any(schema)) {
        automaton_call(compiler->automaton, from, compiler->value, to);
        return true;
    }
    if (json_is_false(schema))
        return true;
    if (!json_is_object(schema))
        return schema_fail(compiler, STATUS_INVALID, "a schema must be an object, true or false");
    if (compiler->depth >= SCHEMA_DEPTH_MAX)
        return schema_fail(compiler, STATUS_TOO_LARGE, "the schema is nested more than %d deep",
                           SCHEMA_DEPTH_MAX);
    compiler->depth++;
    const bool good = build_schema(compiler, schema, from, to);
    compiler->depth--;
    return good && check_size(compiler, schema);
}

/* ---- what every schema may use ---- */

static void build_space(struct automaton *automaton, uint32_t rule)
{
    const uint32_t start = automaton->rules[rule].start;
    const uint32_t end = automaton->rules[rule].end;
    automaton_skip(automaton, start, end);
    automaton_bytes(automaton, start, ' ', ' ', end);
    uint32_t place = automaton_state(automaton);
    automaton_bytes(automaton, start, '\n', '\n', place);
    for (int count = 0; count < 32; count++) {
        const uint32_t next = automaton_state(automaton);
        automaton_skip(automaton, place, end);
        automaton_bytes(automaton, place, ' ', ' ', next);
        automaton_bytes(automaton, place, '\t', '\t', next);
        place = next;
    }
    automaton_skip(automaton, place, end);
}

static bool build_common(struct schema_compiler *compiler)
{
    struct automaton *automaton = compiler->automaton;
    uint32_t *const rules[] = {&compiler->space,   &compiler->colon,  &compiler->text,
                               &compiler->wide,    &compiler->number, &compiler->integer,
                               &compiler->literal, &compiler->value,  &compiler->object,
                               &compiler->array};
    for (size_t at = 0; at < COUNT_OF(rules); at++)
        *rules[at] = automaton_rule(automaton);
    if (automaton->failed != STATUS_OK)
        return true;
    build_space(automaton, compiler->space);
    const struct rule colon = automaton->rules[compiler->colon];
    const uint32_t after = automaton_text(automaton, colon.start, ":", 1);
    automaton_skip(automaton, after, colon.end);
    automaton_bytes(automaton, after, ' ', ' ', colon.end);
    const struct rule text = automaton->rules[compiler->text];
    const uint32_t loop = automaton_text(automaton, text.start, "\"", 1);
    schema_character(automaton, true, loop, loop);
    automaton_bytes(automaton, loop, '"', '"', text.end);
    const struct rule wide = automaton->rules[compiler->wide];
    schema_wide(automaton, false, wide.start, wide.end);
    const struct rule literal = automaton->rules[compiler->literal];
    const json_t *nothing = compiler->rules; /* no key of a schema */
    bool good = schema_number(compiler, nothing, false, automaton->rules[compiler->number].start,
                              automaton->rules[compiler->number].end) &&
                schema_number(compiler, nothing, true, automaton->rules[compiler->integer].start,
                              automaton->rules[compiler->integer].end) &&
                build_type(compiler, nothing, "boolean", literal.start, literal.end) &&
                build_type(compiler, nothing, "null", literal.start, literal.end) &&
                schema_object(compiler, nothing, automaton->rules[compiler->object].start,
                              automaton->rules[compiler->object].end) &&
                schema_array(compiler, nothing, automaton->rules[compiler->array].start,
                             automaton->rules[compiler->array].end);
    const struct rule value = automaton->rules[compiler->value];
    const uint32_t kinds[] = {compiler->text, compiler->number, compiler->literal, compiler->object,
                              compiler->array};
    for (size_t at = 0; at < COUNT_OF(kinds); at++)
        automaton_call(automaton, value.start, kinds[at], value.end);
    return good;
}

static enum status compile(const json_t *root, const json_t *schema, const char *name,
                           struct automaton *automaton, uint32_t *rule_out, struct reason *reason)
{
    struct schema_compiler compiler = {.automaton = automaton,
                                       .root = root,
                                       .rules = json_object(),
                                       .merged = json_array(),
                                       .reason = reason};
    (void)snprintf(compiler.path, sizeof(compiler.path), "%.64s#", name);
    compiler.path_size = strlen(compiler.path);
    bool good = compiler.rules && compiler.merged;
    good = good && build_common(&compiler);
    if (good && !schema)
        *rule_out = compiler.object;
    else
        good = good && schema_rule(&compiler, schema, rule_out);
    json_decref(compiler.rules);
    json_decref(compiler.merged);
    if (good)
        return STATUS_OK;
    return compiler.status != STATUS_OK ? compiler.status
                                        : refuse(reason, STATUS_NO_MEMORY, "no memory");
}

enum status schema_build(const json_t *root, const json_t *schema, const char *name,
                         struct automaton *automaton, uint32_t *rule_out, struct reason *reason)
{
    ASSERT(schema != NULL);
    return compile(root, schema, name, automaton, rule_out, reason);
}

enum status schema_build_object(struct automaton *automaton, uint32_t *rule_out,
                                struct reason *reason)
{
    return compile(NULL, NULL, "", automaton, rule_out, reason);
}
