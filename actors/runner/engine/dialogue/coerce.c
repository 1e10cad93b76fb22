/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/dialogue/dialogue_parts.h"

#include "protocol/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the types of an argument ---- */

static const struct {
    const char *name;
    unsigned types;
} type_names[] = {{"string", TYPE_STRING},   {"integer", TYPE_INTEGER}, {"number", TYPE_NUMBER},
                  {"boolean", TYPE_BOOLEAN}, {"null", TYPE_NULL},       {"object", TYPE_OBJECT},
                  {"array", TYPE_ARRAY},     {"int", TYPE_INTEGER},     {"float", TYPE_NUMBER},
                  {"bool", TYPE_BOOLEAN},    {"str", TYPE_STRING},      {"dict", TYPE_OBJECT},
                  {"list", TYPE_ARRAY}};

static unsigned type_of_name(const json_t *name)
{
    const char *text = json_string_value(name);
    for (size_t at = 0; text && at < COUNT_OF(type_names); at++)
        if (strcmp(text, type_names[at].name) == 0)
            return type_names[at].types;
    return 0;
}

static unsigned type_of_value(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return TYPE_OBJECT;
    case JSON_ARRAY:
        return TYPE_ARRAY;
    case JSON_STRING:
        return TYPE_STRING;
    case JSON_INTEGER:
        return TYPE_INTEGER;
    case JSON_REAL:
        return TYPE_NUMBER;
    case JSON_TRUE:
    case JSON_FALSE:
        return TYPE_BOOLEAN;
    case JSON_NULL:
        return TYPE_NULL;
    }
    return 0;
}

static const json_t *resolved(const json_t *root, const char *reference)
{
    const json_t *found = reference[0] == '#' ? root : NULL;
    const char *at = reference + (reference[0] == '#');
    while (found && *at == '/') {
        char key[128];
        const size_t size = strcspn(at + 1, "/");
        (void)snprintf(key, sizeof(key), "%.*s", (int)(size < 127 ? size : 127), at + 1);
        found = json_object_get(found, key);
        at += 1 + size;
    }
    return found;
}

static unsigned types_of(const json_t *root, const json_t *schema, unsigned depth)
{
    static const char *const lists[] = {"anyOf", "oneOf", "allOf"};
    const json_t *type = json_object_get(schema, "type");
    const char *reference = json_string_value(json_object_get(schema, "$ref"));
    const json_t *values = json_object_get(schema, "enum");
    const json_t *constant = json_object_get(schema, "const");
    unsigned types = type_of_name(type);
    if (depth > 4 || !json_is_object(schema))
        return 0;
    for (size_t at = 0; at < json_array_size(type); at++)
        types |= type_of_name(json_array_get(type, at));
    if (!type && reference)
        types |= types_of(root, resolved(root, reference), depth + 1);
    for (size_t list = 0; !type && list < COUNT_OF(lists); list++) {
        const json_t *parts = json_object_get(schema, lists[list]);
        for (size_t at = 0; at < json_array_size(parts); at++)
            types |= types_of(root, json_array_get(parts, at), depth + 1);
    }
    for (size_t at = 0; !type && at < json_array_size(values); at++)
        types |= type_of_value(json_array_get(values, at));
    if (!type && constant)
        types |= type_of_value(constant);
    return json_is_true(json_object_get(schema, "nullable")) ? types | TYPE_NULL : types;
}

unsigned coerce_types(const json_t *parameters, const char *name)
{
    const json_t *schema = json_object_get(json_object_get(parameters, "properties"), name);
    const unsigned types = types_of(parameters, schema, 0);
    return types;
}

/* ---- texts ---- */

enum status coerce_escape(char byte, bool escapes_quotes, struct buffer *out)
{
    switch (byte) {
    case '\n':
        return buffer_append(out, "\\n", 2);
    case '\r':
        return buffer_append(out, "\\r", 2);
    case '\t':
        return buffer_append(out, "\\t", 2);
    default:
        break;
    }
    if ((unsigned char)byte < 0x20)
        return buffer_append_format(out, "\\u%04x", (unsigned)(unsigned char)byte);
    if (escapes_quotes && (byte == '"' || byte == '\\')) {
        const char escaped[2] = {'\\', byte};
        return buffer_append(out, escaped, 2);
    }
    return buffer_append(out, &byte, 1);
}

static enum status put_string(const char *text, size_t size, struct buffer *out)
{
    enum status status = buffer_append(out, "\"", 1);
    for (size_t at = 0; status == STATUS_OK && at < size; at++)
        status = coerce_escape(text[at], true, out);
    return status == STATUS_OK ? buffer_append(out, "\"", 1) : status;
}

/* ---- values ---- */

static bool allows(unsigned types, unsigned one)
{
    return types == 0 || (types & one) != 0;
}

static bool is_text(const char *text, size_t size, const char *wanted)
{
    return strlen(wanted) == size && memcmp(text, wanted, size) == 0;
}

/* Words that JSON and Python have for the same. */
static const char *word_of(const char *text, size_t size, unsigned types)
{
    if (allows(types, TYPE_BOOLEAN) && (is_text(text, size, "true") || is_text(text, size, "True")))
        return "true";
    if (allows(types, TYPE_BOOLEAN) &&
        (is_text(text, size, "false") || is_text(text, size, "False")))
        return "false";
    if (allows(types, TYPE_NULL) && (is_text(text, size, "null") || is_text(text, size, "None")))
        return "null";
    return NULL;
}

/* Whole numbers beyond 64 bits are read as others are; they are written as they stand. */
static json_t *parsed_value(const char *text, size_t size, unsigned *type_out)
{
    json_error_t error;
    json_t *value = json_loadb(text, size, JSON_DECODE_ANY, &error);
    const bool is_long = !value && json_error_code(&error) == json_error_numeric_overflow;
    if (is_long)
        value = json_loadb(text, size, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
    bool is_whole = is_long && json_is_real(value);
    for (size_t at = 0; is_whole && at < size; at++)
        is_whole = !memchr(".eE", text[at], 3);
    if (value)
        *type_out = is_whole ? (unsigned)TYPE_INTEGER : type_of_value(value);
    return value;
}

/* The text is JSON of a type that is allowed: it is taken over, as short as can be. */
static bool put_parsed(const char *text, size_t size, unsigned types, struct buffer *out)
{
    unsigned type = 0;
    json_t *value = parsed_value(text, size, &type);
    if (!value)
        return false;
    const double number = json_number_value(value);
    bool good = false;
    if (type == TYPE_NUMBER && !allows(types, TYPE_NUMBER) && allows(types, TYPE_INTEGER) &&
        floor(number) >= number && fabs(number) < 9e15) {
        good = buffer_append_format(out, "%.0f", number) == STATUS_OK;
    } else if (allows(types, type) || (type == TYPE_INTEGER && allows(types, TYPE_NUMBER))) {
        /* As it was written: numbers keep their digits. */
        struct json_scan scan;
        json_scan_init(&scan);
        good = true;
        for (size_t at = 0; good && at < size; at++) {
            const bool in_string = json_scan_in_string(&scan);
            (void)json_scan_byte(&scan, (uint8_t)text[at]);
            if (in_string || !json_is_space((uint8_t)text[at]))
                good = buffer_append(out, &text[at], 1) == STATUS_OK;
        }
    }
    json_decref(value);
    return good;
}

enum status coerce_text(const char *text, size_t size, unsigned types, struct buffer *out)
{
    const char *trimmed = text;
    size_t length = size;
    while (length > 0 && json_is_space((uint8_t)*trimmed)) {
        trimmed++;
        length--;
    }
    while (length > 0 && json_is_space((uint8_t)trimmed[length - 1]))
        length--;
    if (types != TYPE_STRING && length > 0) {
        const char *word = word_of(trimmed, length, types);
        if (word)
            return buffer_append_text(out, word);
        /* A quoted text stays a text: its quotes were meant only where nothing else is known. */
        const unsigned parsed = types == 0 ? 0 : types & ~(unsigned)TYPE_STRING;
        if ((parsed != 0 || types == 0) && put_parsed(trimmed, length, parsed, out))
            return STATUS_OK;
    }
    return put_string(text, size, out);
}

enum status coerce_json(const char *json, size_t size, unsigned types, struct buffer *out)
{
    if (size > 0 && json[0] == '"') {
        json_t *text = json_loadb(json, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        enum status status =
            text ? coerce_text(json_string_value(text), json_string_length(text), types, out)
                 : buffer_append(out, json, size);
        json_decref(text);
        return status;
    }
    if (types == TYPE_STRING)
        return put_string(json, size, out);
    return put_parsed(json, size, types, out) ? STATUS_OK : buffer_append(out, json, size);
}
