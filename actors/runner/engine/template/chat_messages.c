/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/template/chat_template.h"

#include "actors/runner/engine/template/json_value.h"
#include "protocol/buffer.h"
#include "protocol/memory.h"

#include <string.h>

static enum status no_memory(struct reason *reason)
{
    return refuse(reason, STATUS_NO_MEMORY, "no memory to prepare the messages");
}

static const json_t *reasoning_of(const json_t *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    for (size_t index = 0; index < COUNT_OF(names); index++) {
        const json_t *found = json_object_get(message, names[index]);
        if (found && !json_is_null(found))
            return found;
    }
    return NULL;
}

/* A new reference to a value that the result only reads. */
static json_t *shared(const json_t *value)
{
    return json_incref((json_t *)(uintptr_t)value);
}

/* A new string: `text`, then `size` bytes. */
static json_t *text_joined(const json_t *text, const char *bytes, size_t size)
{
    size_t length = json_string_length(text);
    char *joined = memory_zeroed(length + size + 1, 1);
    if (!joined)
        return NULL;
    memcpy(joined, json_string_value(text), length);
    memcpy(joined + length, bytes, size);
    json_t *string = json_stringn_nocheck(joined, length + size);
    memory_free(joined);
    return string;
}

static json_t *message_aliased(const json_t *message)
{
    const json_t *reasoning = reasoning_of(message);
    if (!reasoning)
        return shared(message);
    json_t *aliased = json_object();
    bool done = aliased && json_object_set_new(aliased, "thinking", shared(reasoning)) == 0;
    for (void *at = json_object_iter((json_t *)(uintptr_t)message); done && at;
         at = json_object_iter_next((json_t *)(uintptr_t)message, at))
        done = json_object_set_new(aliased, json_object_iter_key(at),
                                   shared(json_object_iter_value(at))) == 0;
    done = done && json_object_set_new(aliased, "reasoning_content", shared(reasoning)) == 0;
    if (done)
        return aliased;
    json_decref(aliased);
    return NULL;
}

static enum status each_message(const json_t *messages, json_t *(*change)(const json_t *message),
                                json_t **messages_out, struct reason *reason)
{
    if (!json_is_array(messages))
        return refuse(reason, STATUS_INVALID, "messages must be a list");
    json_t *changed = json_array();
    for (size_t index = 0; index < json_array_size(messages); index++) {
        const json_t *message = json_array_get(messages, index);
        if (!json_is_object(message)) {
            json_decref(changed);
            return refuse(reason, STATUS_INVALID, "messages[%zu] must be an object", index);
        }
        if (!changed || json_array_append_new(changed, change(message)) != 0) {
            json_decref(changed);
            return no_memory(reason);
        }
    }
    *messages_out = changed;
    return changed ? STATUS_OK : no_memory(reason);
}

enum status chat_messages_alias_reasoning(const json_t *messages, json_t **aliased_out,
                                          struct reason *reason)
{
    return each_message(messages, message_aliased, aliased_out, reason);
}

/* What holds the text of a message, and under which key: itself, or its last part with text. */
static json_t *text_holder(json_t *message, const char **key_out)
{
    json_t *content = json_object_get(message, "content");
    *key_out = "content";
    if (!json_is_array(content))
        return message;
    *key_out = "text";
    for (size_t index = json_array_size(content); index > 0; index--) {
        json_t *part = json_array_get(content, index - 1);
        if (json_object_get(part, "text"))
            return part;
    }
    return NULL;
}

enum status chat_messages_mark_final(json_t *messages, const char *mark,
                                     const json_t **text_out, struct reason *reason)
{
    size_t count = json_array_size(messages);
    json_t *last = json_deep_copy(json_array_get(messages, count - 1));
    const char *key = NULL;
    json_t *holder = last ? text_holder(last, &key) : NULL;
    const json_t *text = holder ? json_object_get(holder, key) : NULL;
    if (!json_is_string(text)) {
        json_decref(last);
        return refuse(reason, STATUS_INVALID,
                      "continue_final_message needs a last message with text");
    }
    json_t *marked = text_joined(text, mark, strlen(mark));
    *text_out = shared(text);
    bool done = marked && json_object_set_new(holder, key, marked) == 0;
    done = json_array_set_new(messages, count - 1, last) == 0 && done;
    if (done)
        return STATUS_OK;
    json_decref((json_t *)(uintptr_t)text);
    return no_memory(reason);
}

static bool is_text_part(const json_t *part)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    return type && strcmp(type, "text") == 0 && json_is_string(json_object_get(part, "text"));
}

/* The texts as one, or NULL when there are other parts too: those stay for the template. */
static json_t *parts_joined(const json_t *parts)
{
    json_t *joined = json_string("");
    for (size_t index = 0; joined && index < json_array_size(parts); index++) {
        const json_t *part = json_array_get(parts, index);
        const json_t *text = json_object_get(part, "text");
        if (!is_text_part(part)) {
            json_decref(joined);
            return shared(parts);
        }
        json_t *longer = text_joined(joined, json_string_value(text), json_string_length(text));
        json_decref(joined);
        joined = longer;
    }
    return joined;
}

static json_t *content_prepared(const json_t *content)
{
    if (!content || json_is_null(content))
        return json_string("");
    return json_is_array(content) ? parts_joined(content) : shared(content);
}

/* A number of a JSON text that is whole and beyond 64 bits. */
static bool is_long(const char *text, size_t size)
{
    static const char most[2][20] = {"9223372036854775807", "9223372036854775808"};
    const size_t sign = text[0] == '-';
    const size_t digits = size - sign;
    for (size_t at = sign; at < size; at++)
        if (text[at] < '0' || text[at] > '9')
            return false;
    return text[sign] != '0' &&
           (digits > 19 || (digits == 19 && memcmp(text + sign, most[sign], digits) > 0));
}

/* The JSON with such numbers as marked texts, which templates print as the numbers they are. */
static json_t *parsed_marked(const char *text, size_t size)
{
    static const char mark[] = {'"', '\\', 'u', '0', '0', '0', '0' + JSON_DIGITS_MARK};
    struct buffer marked;
    bool in_string = false;
    enum status status = STATUS_OK;
    buffer_init(&marked, SIZE_MAX / 2);
    for (size_t at = 0; at < size && status == STATUS_OK;) {
        const size_t number = in_string ? 0 : strspn(text + at, "+-.0123456789eE");
        const size_t step = number > 0 ? number : in_string && text[at] == '\\' ? 2 : 1;
        const bool is_marked = number > 0 && is_long(text + at, number);
        in_string = in_string != (text[at] == '"');
        if (is_marked)
            status = buffer_append(&marked, mark, sizeof(mark));
        if (status == STATUS_OK)
            status = buffer_append(&marked, text + at, step < size - at ? step : size - at);
        if (status == STATUS_OK && is_marked)
            status = buffer_append_text(&marked, "\"");
        at += step;
    }
    json_t *json = status == STATUS_OK && marked.size > 0
                       ? json_loadb((const char *)marked.bytes, marked.size, 0, NULL)
                       : NULL;
    buffer_fini(&marked);
    return json;
}

/* Arguments that are no JSON object stay as they were: the template or the model may cope. */
static bool arguments_parse(json_t *function)
{
    const json_t *arguments = json_object_get(function, "arguments");
    if (!json_is_string(arguments))
        return true;
    if (json_string_length(arguments) == 0)
        return json_object_set_new(function, "arguments", json_object()) == 0;
    json_error_t error;
    json_t *parsed = json_loadb(json_string_value(arguments), json_string_length(arguments), 0,
                                &error);
    if (!parsed && json_error_code(&error) == json_error_numeric_overflow)
        parsed = parsed_marked(json_string_value(arguments), json_string_length(arguments));
    if (!json_is_object(parsed)) {
        json_decref(parsed);
        return true;
    }
    return json_object_set_new(function, "arguments", parsed) == 0;
}

static json_t *call_prepared(const json_t *call)
{
    json_t *prepared = json_deep_copy(call);
    json_t *function = json_object_get(prepared, "function");
    if (prepared && !arguments_parse(json_is_object(function) ? function : prepared)) {
        json_decref(prepared);
        return NULL;
    }
    return prepared;
}

static json_t *calls_prepared(const json_t *calls)
{
    json_t *prepared = json_array();
    for (size_t index = 0; prepared && index < json_array_size(calls); index++) {
        if (json_array_append_new(prepared, call_prepared(json_array_get(calls, index))) != 0) {
            json_decref(prepared);
            return NULL;
        }
    }
    return prepared;
}

static json_t *message_prepared(const json_t *message)
{
    json_t *prepared = json_copy((json_t *)(uintptr_t)message);
    const json_t *calls = json_object_get(message, "tool_calls");
    bool done = prepared &&
                json_object_set_new(prepared, "content",
                                    content_prepared(json_object_get(message, "content"))) == 0;
    if (done && json_is_array(calls) && json_array_size(calls) > 0)
        done = json_object_set_new(prepared, "tool_calls", calls_prepared(calls)) == 0;
    else if (done && calls)
        /* Templates ask whether there are calls by asking for the key. */
        done = json_object_del(prepared, "tool_calls") == 0;
    if (done)
        return prepared;
    json_decref(prepared);
    return NULL;
}

enum status chat_messages_prepare(const json_t *messages, json_t **prepared_out,
                                  struct reason *reason)
{
    return each_message(messages, message_prepared, prepared_out, reason);
}
