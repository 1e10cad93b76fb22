/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/openai_fields.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

#define MESSAGE_COUNT_MAX 4096
#define TOOL_COUNT_MAX 128

static int append_json(const char *bytes, size_t size, void *target)
{
    return buffer_append(target, bytes, size) == STATUS_OK ? 0 : -1;
}

bool json_to_text(const json_t *value, const char *field, char **text_out,
                  struct http_fault *fault_out)
{
    struct buffer text;
    buffer_init(&text, MESSAGES_JSON_SIZE_MAX);
    bool is_written = json_dump_callback(value, append_json, &text, JSON_COMPACT) == 0;
    char *taken = is_written ? buffer_take_text(&text) : NULL;
    buffer_fini(&text);
    if (!taken)
        return http_fault_set_param(fault_out, 413, "too_large", field,
                                    "%s is larger than %u bytes.", field, MESSAGES_JSON_SIZE_MAX);
    *text_out = taken;
    return true;
}

/* One text of all text parts. */
static json_t *join_parts(const json_t *parts, const char *field, struct http_fault *fault_out)
{
    struct buffer text;
    buffer_init(&text, MESSAGES_JSON_SIZE_MAX);
    bool is_good = true;
    size_t index = 0;
    const json_t *part = NULL;
    json_array_foreach(parts, index, part)
    {
        char name[64];
        (void)snprintf(name, sizeof(name), "%.32s[%zu]", field, index);
        const char *type = json_string_value(json_object_get(part, "type"));
        const char *key = type && strcmp(type, "refusal") == 0 ? "refusal" : "text";
        const json_t *value = json_object_get(part, key);
        if (!type)
            is_good = field_is_wrong(fault_out, name, "an object with a type");
        else if (strcmp(type, "text") != 0 && strcmp(type, "refusal") != 0)
            is_good = field_is_unsupported(fault_out, name,
                                           "this model takes text parts only, no images, audio "
                                           "or files");
        else if (!json_is_string(value))
            is_good = field_is_wrong(fault_out, name, "a part with a text");
        else if (buffer_append(&text, json_string_value(value), json_string_length(value)) !=
                 STATUS_OK)
            is_good = http_fault_set_param(fault_out, 413, "too_large", name,
                                           "The text of the message is too large.");
        if (!is_good)
            break;
    }
    json_t *joined =
        is_good ? json_stringn(text.size ? (const char *)text.bytes : "", text.size) : NULL;
    buffer_fini(&text);
    return joined;
}

static bool take_content(json_t *content, const char *field, bool may_be_absent, json_t *target,
                         struct http_fault *fault_out)
{
    if (!content || json_is_null(content)) {
        if (!may_be_absent)
            return field_is_wrong(fault_out, field, "a string or a list of parts");
        return json_object_set_new(target, "content", json_string("")) == 0;
    }
    if (json_is_string(content))
        return json_object_set(target, "content", content) == 0;
    if (!json_is_array(content))
        return field_is_wrong(fault_out, field, "a string or a list of parts");
    json_t *joined = join_parts(content, field, fault_out);
    return joined && json_object_set_new(target, "content", joined) == 0;
}

static bool check_tool_calls(const json_t *calls, const char *field, struct http_fault *fault_out)
{
    if (!json_is_array(calls))
        return field_is_wrong(fault_out, field, "a list of tool calls");
    size_t index = 0;
    const json_t *call = NULL;
    json_array_foreach(calls, index, call)
    {
        const json_t *function = json_object_get(call, "function");
        const char *type = json_string_value(json_object_get(call, "type"));
        if (type && strcmp(type, "function") != 0)
            return field_is_unsupported(fault_out, field, "only calls of functions are known");
        if (!json_is_string(json_object_get(function, "name")) ||
            !json_is_string(json_object_get(function, "arguments")))
            return field_is_wrong(fault_out, field,
                                  "calls with function.name and function.arguments as strings");
    }
    return true;
}

/* The keys of a message beside role and content. */
static bool take_key(const char *key, json_t *value, const char *field, json_t *target,
                     struct http_fault *fault_out)
{
    static const char *const texts[] = {"name", "tool_call_id", "reasoning_content", "reasoning"};
    static const char *const dropped[] = {"refusal", "annotations"};
    static const char *const refused[] = {"audio", "function_call"};
    char name[64];
    (void)snprintf(name, sizeof(name), "%.24s.%.32s", field, key);
    if (json_is_null(value) || strcmp(key, "role") == 0 || strcmp(key, "content") == 0)
        return true;
    for (size_t i = 0; i < COUNT_OF(dropped); i++)
        if (strcmp(key, dropped[i]) == 0)
            return true;
    for (size_t i = 0; i < COUNT_OF(refused); i++)
        if (strcmp(key, refused[i]) == 0)
            return field_is_unsupported(fault_out, name, "use content and tool_calls");
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (strcmp(key, texts[i]) != 0)
            continue;
        if (!json_is_string(value))
            return field_is_wrong(fault_out, name, "a string");
        return json_object_set(target, key, value) == 0;
    }
    if (strcmp(key, "tool_calls") == 0)
        return check_tool_calls(value, name, fault_out) && json_object_set(target, key, value) == 0;
    return http_fault_set_param(fault_out, 400, "unknown_parameter", name,
                                "%s is no field of a message.", name);
}

static bool take_message(json_t *message, size_t index, json_t *target,
                         struct http_fault *fault_out)
{
    static const char *const roles[][2] = {{"system", "system"},
                                           {"developer", "system"},
                                           {"user", "user"},
                                           {"assistant", "assistant"},
                                           {"tool", "tool"}};
    char field[64];
    (void)snprintf(field, sizeof(field), "messages[%zu]", index);
    if (!json_is_object(message))
        return field_is_wrong(fault_out, field, "an object");
    const char *role = json_string_value(json_object_get(message, "role"));
    const char *known = NULL;
    for (size_t i = 0; role && i < COUNT_OF(roles); i++)
        if (strcmp(role, roles[i][0]) == 0)
            known = roles[i][1];
    if (!known) {
        (void)snprintf(field, sizeof(field), "messages[%zu].role", index);
        return field_is_wrong(fault_out, field, "system, developer, user, assistant or tool");
    }
    if (json_object_set_new(target, "role", json_string(known)) != 0)
        return http_fault_set(fault_out, 503, "no_memory", "No memory for the request.");
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(message, key, value)
    {
        if (!take_key(key, value, field, target, fault_out))
            return false;
    }
    bool has_calls = json_object_get(target, "tool_calls") != NULL;
    (void)snprintf(field, sizeof(field), "messages[%zu].content", index);
    return take_content(json_object_get(message, "content"), field,
                        has_calls && strcmp(known, "assistant") == 0, target, fault_out);
}

bool openai_parse_messages(const json_t *messages, char **json_out, struct http_fault *fault_out)
{
    size_t count = json_array_size(messages);
    if (count == 0 || count > MESSAGE_COUNT_MAX)
        return field_is_wrong(fault_out, "messages", "a list of 1 to 4096 messages");
    json_t *list = json_array();
    (void)http_fault_set(fault_out, 503, "no_memory", "No memory for the request.");
    bool is_good = list != NULL;
    for (size_t i = 0; is_good && i < count; i++) {
        json_t *target = json_object();
        is_good = target && take_message(json_array_get(messages, i), i, target, fault_out) &&
                  json_array_append(list, target) == 0;
        json_decref(target);
    }
    is_good = is_good && json_to_text(list, "messages", json_out, fault_out);
    json_decref(list);
    return is_good;
}

bool openai_parse_tools(const json_t *tools, char **json_out, struct http_fault *fault_out)
{
    size_t count = json_array_size(tools);
    if (!json_is_array(tools) || count > TOOL_COUNT_MAX)
        return field_is_wrong(fault_out, "tools", "a list of at most 128 tools");
    for (size_t i = 0; i < count; i++) {
        char field[64];
        (void)snprintf(field, sizeof(field), "tools[%zu]", i);
        const json_t *tool = json_array_get(tools, i);
        const char *type = json_string_value(json_object_get(tool, "type"));
        if (!type || strcmp(type, "function") != 0)
            return field_is_unsupported(fault_out, field, "only tools of type function are known");
        const json_t *function = json_object_get(tool, "function");
        const char *name = json_string_value(json_object_get(function, "name"));
        if (!name || !*name || strlen(name) > 64)
            return field_is_wrong(fault_out, field, "a function with a name of 1 to 64 characters");
        const json_t *strict = json_object_get(function, "strict");
        if (strict && !json_is_boolean(strict) && !json_is_null(strict))
            return field_is_wrong(fault_out, field, "a function whose strict is true or false");
        const json_t *parameters = json_object_get(function, "parameters");
        if (parameters && !json_is_object(parameters) && !json_is_null(parameters))
            return field_is_wrong(fault_out, field, "function.parameters as a JSON schema object");
    }
    if (count == 0)
        return true;
    return json_to_text(tools, "tools", json_out, fault_out);
}
