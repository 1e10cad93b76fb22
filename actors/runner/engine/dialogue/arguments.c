/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/dialogue/dialogue_parts.h"

#include "protocol/memory.h"

#include <stdlib.h>
#include <string.h>

enum { MEMBERS_MAX = 4096 };

void arguments_init(struct arguments *arguments)
{
    *arguments = (struct arguments){.parameters = NULL};
    buffer_init(&arguments->key, DIALOGUE_HELD_MAX);
    buffer_init(&arguments->value, DIALOGUE_HELD_MAX);
}

void arguments_fini(struct arguments *arguments)
{
    json_decref(arguments->parameters);
    json_decref(arguments->seen);
    buffer_fini(&arguments->key);
    buffer_fini(&arguments->value);
}

static void failed_if(struct dialogue *dialogue, enum status status)
{
    if (status != STATUS_OK && dialogue->failed == STATUS_OK)
        dialogue->failed = status;
}

static void say(struct dialogue *dialogue, const char *bytes, size_t size)
{
    dialogue_say(dialogue, DELTA_ARGUMENTS, bytes, size);
}

static void say_buffer(struct dialogue *dialogue, struct buffer *text)
{
    if (text->size > 0)
        say(dialogue, (const char *)text->bytes, text->size);
    buffer_clear(text);
}

void arguments_begin(struct dialogue *dialogue, const json_t *parameters)
{
    struct arguments *arguments = &dialogue->arguments;
    arguments_fini(arguments);
    arguments_init(arguments);
    arguments->parameters = json_incref((json_t *)(uintptr_t)parameters);
    arguments->seen = json_object();
    json_scan_init(&arguments->scan);
    if (!arguments->seen)
        failed_if(dialogue, STATUS_NO_MEMORY);
}

static void open_object(struct dialogue *dialogue)
{
    if (!dialogue->arguments.is_open)
        say(dialogue, "{", 1);
    dialogue->arguments.is_open = true;
}

/* `"name":` with what comes before it; false: the name came before, its value is dropped. */
static bool say_name(struct dialogue *dialogue, const char *name, size_t size)
{
    struct arguments *arguments = &dialogue->arguments;
    struct buffer text;
    if (json_object_size(arguments->seen) >= MEMBERS_MAX ||
        json_object_getn(arguments->seen, name, size))
        return false;
    open_object(dialogue);
    buffer_init(&text, SIZE_MAX / 2);
    enum status status = STATUS_OK;
    if (arguments->has_member)
        status = buffer_append(&text, ",", 1);
    arguments->has_member = true;
    if (status == STATUS_OK)
        status = buffer_append(&text, "\"", 1);
    for (size_t at = 0; status == STATUS_OK && at < size; at++)
        status = coerce_escape(name[at], true, &text);
    if (status == STATUS_OK)
        status = buffer_append(&text, "\":", 2);
    failed_if(dialogue, status);
    say_buffer(dialogue, &text);
    buffer_fini(&text);
    /* A name that is no UTF-8 is not remembered: it may come twice. */
    (void)json_object_setn_new(arguments->seen, name, size, json_true());
    return true;
}

/* ---- texts, one by one ---- */

void arguments_member_begin(struct dialogue *dialogue, const char *name)
{
    struct arguments *arguments = &dialogue->arguments;
    arguments->types = coerce_types(arguments->parameters, name);
    arguments->in_member = true;
    arguments->is_direct = arguments->types == TYPE_STRING;
    arguments->is_dropped = arguments->is_closed || !say_name(dialogue, name, strlen(name));
    buffer_clear(&arguments->value);
    if (arguments->is_direct && !arguments->is_dropped)
        say(dialogue, "\"", 1);
}

static void say_escaped(struct dialogue *dialogue, const char *bytes, size_t size)
{
    struct buffer text;
    buffer_init(&text, SIZE_MAX / 2);
    for (size_t at = 0; at < size; at++)
        failed_if(dialogue, coerce_escape(bytes[at], true, &text));
    say_buffer(dialogue, &text);
    buffer_fini(&text);
}

void arguments_member_byte(struct dialogue *dialogue, char byte)
{
    struct arguments *arguments = &dialogue->arguments;
    if (arguments->is_dropped)
        return;
    if (arguments->is_direct) {
        say_escaped(dialogue, &byte, 1);
        return;
    }
    if (arguments->value.size < DIALOGUE_HELD_MAX) {
        failed_if(dialogue, buffer_append(&arguments->value, &byte, 1));
        return;
    }
    /* Too long to be held: a text. */
    arguments->is_direct = true;
    say(dialogue, "\"", 1);
    say_escaped(dialogue, (const char *)arguments->value.bytes, arguments->value.size);
    say_escaped(dialogue, &byte, 1);
    buffer_fini(&arguments->value);
    buffer_init(&arguments->value, DIALOGUE_HELD_MAX);
}

static void say_coerced(struct dialogue *dialogue,
                        enum status (*coerce)(const char *text, size_t size, unsigned types,
                                              struct buffer *out))
{
    struct arguments *arguments = &dialogue->arguments;
    struct buffer text;
    buffer_init(&text, SIZE_MAX / 2);
    failed_if(dialogue, coerce(arguments->value.size ? (const char *)arguments->value.bytes : "",
                               arguments->value.size, arguments->types, &text));
    say_buffer(dialogue, &text);
    buffer_fini(&text);
    buffer_clear(&arguments->value);
}

void arguments_member_end(struct dialogue *dialogue)
{
    struct arguments *arguments = &dialogue->arguments;
    if (!arguments->in_member)
        return;
    arguments->in_member = false;
    if (arguments->is_dropped)
        return;
    if (arguments->is_direct)
        say(dialogue, "\"", 1);
    else
        say_coerced(dialogue, coerce_text);
}

/* ---- JSON ---- */

/* Whether a value that begins so is written as it comes. */
static bool is_fitting(unsigned types, char byte)
{
    const bool is_number = byte == '-' || (byte >= '0' && byte <= '9');
    if (types == 0)
        return true;
    if (byte == '"')
        return (types & TYPE_STRING) != 0;
    if (types == TYPE_STRING)
        return false;
    return !is_number || (types & TYPE_NUMBER) || !(types & TYPE_INTEGER);
}

/* A byte of the value as it comes, without spaces, commas when something follows. */
static void say_value_byte(struct dialogue *dialogue, bool in_string, char byte)
{
    struct arguments *arguments = &dialogue->arguments;
    char escaped[8];
    if (!in_string && json_is_space((uint8_t)byte))
        return;
    if (!in_string && byte == ',') {
        arguments->has_comma = true;
        return;
    }
    if (arguments->has_comma)
        say(dialogue, ",", 1);
    arguments->has_comma = false;
    if (in_string && (unsigned char)byte < 0x20) {
        struct buffer text;
        buffer_init(&text, sizeof(escaped));
        failed_if(dialogue, coerce_escape(byte, false, &text));
        say_buffer(dialogue, &text);
        buffer_fini(&text);
    } else {
        say(dialogue, &byte, 1);
    }
}

static void begin_value(struct dialogue *dialogue, char byte)
{
    struct arguments *arguments = &dialogue->arguments;
    json_error_t error;
    failed_if(dialogue, buffer_append(&arguments->key, "\"", 1));
    json_t *name = json_loadb((const char *)arguments->key.bytes, arguments->key.size,
                              JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    const char *text = name ? json_string_value(name) : "";
    const size_t size = name ? json_string_length(name) : 0;
    arguments->types = coerce_types(arguments->parameters, text);
    arguments->in_member = true;
    arguments->is_direct = is_fitting(arguments->types, byte);
    arguments->is_dropped = !say_name(dialogue, text, size);
    arguments->has_comma = false;
    buffer_clear(&arguments->value);
    json_decref(name);
}

static void end_value(struct dialogue *dialogue)
{
    struct arguments *arguments = &dialogue->arguments;
    arguments->in_member = false;
    if (!arguments->is_dropped && !arguments->is_direct)
        say_coerced(dialogue, coerce_json);
}

static void hold_value_byte(struct dialogue *dialogue, bool in_string, char byte)
{
    struct buffer *value = &dialogue->arguments.value;
    if (!in_string && json_is_space((uint8_t)byte) && value->size == 0)
        return;
    if (value->size + 8 < DIALOGUE_HELD_MAX) {
        failed_if(dialogue,
                  in_string ? coerce_escape(byte, false, value) : buffer_append(value, &byte, 1));
        return;
    }
    if (dialogue->arguments.holds_root)
        return; /* what is no object is not worth more */
    /* Too long to be coerced: as it is. */
    dialogue->arguments.is_direct = true;
    say_buffer(dialogue, value);
    say_value_byte(dialogue, in_string, byte);
}

static void member_byte(struct dialogue *dialogue, const struct json_scan *before, char byte)
{
    struct arguments *arguments = &dialogue->arguments;
    const struct json_scan *scan = &arguments->scan;
    const bool was_in_string = json_scan_in_string(before);
    if (scan->depth == 1 && json_scan_in_string(scan) && scan->is_name && !was_in_string)
        buffer_clear(&arguments->key);
    if (before->depth == 1 && !arguments->in_member &&
        (was_in_string || (json_scan_in_string(scan) && scan->is_name))) {
        if (scan->place != SCAN_COLON && arguments->key.size + 8 < DIALOGUE_HELD_MAX)
            failed_if(dialogue, was_in_string ? coerce_escape(byte, false, &arguments->key)
                                              : buffer_append(&arguments->key, &byte, 1));
        return;
    }
    if (!arguments->in_member && before->depth == 1 && before->place == SCAN_VALUE &&
        scan->place != SCAN_VALUE)
        begin_value(dialogue, byte);
    if (!arguments->in_member)
        return;
    if (before->depth == 1 && before->place == SCAN_NUMBER && scan->place != SCAN_NUMBER) {
        end_value(dialogue); /* before this byte */
        return;
    }
    if (!arguments->is_dropped && arguments->is_direct)
        say_value_byte(dialogue, was_in_string, byte);
    else if (!arguments->is_dropped)
        hold_value_byte(dialogue, was_in_string, byte);
    if (scan->depth == 1 && scan->place == SCAN_AFTER)
        end_value(dialogue);
}

/* The arguments were written as another value than an object: a text with JSON, or nothing. */
static void say_held_root(struct dialogue *dialogue)
{
    struct arguments *arguments = &dialogue->arguments;
    struct buffer *held = &arguments->value;
    json_t *value =
        json_loadb(held->size ? (const char *)held->bytes : "", held->size, JSON_DECODE_ANY, NULL);
    json_t *inner = json_is_string(value)
                        ? json_loadb(json_string_value(value), json_string_length(value), 0, NULL)
                        : NULL;
    if (json_is_object(inner))
        arguments_whole(dialogue, inner);
    json_decref(inner);
    json_decref(value);
    buffer_clear(held);
}

enum scan_result arguments_json(struct dialogue *dialogue, char byte)
{
    struct arguments *arguments = &dialogue->arguments;
    const struct json_scan before = arguments->scan;
    if (arguments->is_closed)
        return SCAN_BAD;
    const enum scan_result result = json_scan_byte(&arguments->scan, (uint8_t)byte);
    if (result == SCAN_BAD)
        return result;
    if (!arguments->has_root && !json_is_space((uint8_t)byte)) {
        arguments->has_root = true;
        arguments->holds_root = byte != '{';
    }
    if (arguments->holds_root && result != SCAN_DONE_BEFORE)
        hold_value_byte(dialogue, json_scan_in_string(&before), byte);
    else if (arguments->has_root && !arguments->holds_root)
        member_byte(dialogue, &before, byte);
    if (result == SCAN_DONE || result == SCAN_DONE_BEFORE)
        arguments_end(dialogue);
    return result;
}

void arguments_whole(struct dialogue *dialogue, const json_t *value)
{
    struct arguments *arguments = &dialogue->arguments;
    for (void *at = json_object_iter((json_t *)(uintptr_t)value); at;
         at = json_object_iter_next((json_t *)(uintptr_t)value, at)) {
        const char *name = json_object_iter_key(at);
        char *text = json_dumps(json_object_iter_value(at), JSON_COMPACT | JSON_ENCODE_ANY);
        struct buffer coerced;
        buffer_init(&coerced, SIZE_MAX / 2);
        if (!text)
            failed_if(dialogue, STATUS_NO_MEMORY);
        else
            failed_if(dialogue, coerce_json(text, strlen(text),
                                            coerce_types(arguments->parameters, name), &coerced));
        if (say_name(dialogue, name, strlen(name)))
            say_buffer(dialogue, &coerced);
        buffer_fini(&coerced);
        free(text); /* style allows free: jansson allocated it */
    }
}

/* The model broke off within a value that is written as it comes. */
static void close_value(struct dialogue *dialogue)
{
    struct arguments *arguments = &dialogue->arguments;
    struct buffer rest;
    buffer_init(&rest, SIZE_MAX / 2);
    failed_if(dialogue, json_scan_close(&arguments->scan, &rest));
    if (arguments->is_direct && !arguments->is_dropped) {
        if (rest.size > 0)
            rest.size--; /* the end of the object is said below */
        say_buffer(dialogue, &rest);
    } else if (!arguments->is_dropped) {
        failed_if(dialogue, buffer_append(&arguments->value, rest.bytes, rest.size - 1));
        say_coerced(dialogue, coerce_json);
    }
    arguments->in_member = false;
    buffer_fini(&rest);
}

void arguments_end(struct dialogue *dialogue)
{
    struct arguments *arguments = &dialogue->arguments;
    if (arguments->is_closed)
        return;
    arguments->is_closed = true;
    if (arguments->holds_root)
        say_held_root(dialogue);
    else if (arguments->in_member && arguments->has_root)
        close_value(dialogue);
    else if (arguments->in_member)
        arguments_member_end(dialogue);
    open_object(dialogue);
    say(dialogue, "}", 1);
}
