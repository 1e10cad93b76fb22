/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/openai_fields.h"

#include <stdio.h>
#include <string.h>

/* The field of the outermost object in which byte `end` lies; what comes before it is good JSON. */
static void field_at(const char *body, size_t end, char *field_out, size_t field_size)
{
    size_t depth = 0;
    size_t text = 0; /* the last text: where it begins */
    size_t text_end = 0;
    field_out[0] = '\0';
    for (size_t at = 0; at < end; at++) {
        const char byte = body[at];
        if (byte == '"') {
            text = ++at;
            while (at < end && body[at] != '"')
                at += body[at] == '\\' ? 2 : 1;
            text_end = at;
        } else if (byte == '{' || byte == '[') {
            depth++;
        } else if (byte == '}' || byte == ']') {
            depth--;
        } else if (byte == ':' && depth == 1 && text_end <= end) {
            (void)snprintf(field_out, field_size, "%.*s", (int)(text_end - text), body + text);
        }
    }
}

static bool say_overflow(const char *body, size_t size, const json_error_t *error,
                         struct http_fault *fault_out)
{
    char field[sizeof(fault_out->param)];
    const size_t position = error->position > 0 ? (size_t)error->position : 0;
    field_at(body, position < size ? position : size, field, sizeof(field));
    return http_fault_set_param(fault_out, 400, "invalid_value", field,
                                "%s holds a number that is too large: whole numbers must be from "
                                "-9223372036854775808 to 9223372036854775807, others at most "
                                "1.7e308.",
                                *field ? field : "The body");
}

json_t *openai_parse_body(const char *body, size_t size, struct http_fault *fault_out)
{
    json_error_t error;
    json_t *root = json_loadb(body, size, JSON_REJECT_DUPLICATES, &error);
    if (!root && json_error_code(&error) == json_error_null_character)
        (void)http_fault_set(fault_out, 400, "invalid_value",
                             "Line %d, column %d holds the character \\u0000, which no text may "
                             "hold; leave it out.",
                             error.line, error.column);
    else if (!root && json_error_code(&error) == json_error_numeric_overflow)
        (void)say_overflow(body, size, &error, fault_out);
    else if (!root)
        (void)http_fault_set(fault_out, 400, "invalid_json",
                             "The body is no JSON: line %d, column %d: %.120s.", error.line,
                             error.column, error.text);
    else if (!json_is_object(root))
        (void)http_fault_set(fault_out, 400, "invalid_json", "The body must be a JSON object.");
    if (json_is_object(root))
        return root;
    json_decref(root);
    return NULL;
}
