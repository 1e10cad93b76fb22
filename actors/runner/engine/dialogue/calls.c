/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/dialogue/dialogue_parts.h"

#include "protocol/memory.h"

#include <string.h>

/* ---- where calls begin ---- */

const char *const *calls_markers(const struct dialogue *dialogue)
{
    static const char *const none[] = {NULL};
    static const char *const tags[] = {"<tool_call>", "<function=", NULL};
    static const char *const glm[] = {"<tool_call>", NULL};
    static const char *const llama[] = {"<|python_tag|>", "<function=", NULL};
    static const char *const deepseek[] = {DEEPSEEK_CALLS_BEGIN, DEEPSEEK_CALL_BEGIN, NULL};
    if (!dialogue->tools || dialogue->call_count >= DIALOGUE_CALLS_MAX)
        return none;
    switch (dialogue->style.tools) {
    case TOOLS_JSON:
    case TOOLS_XML:
        return tags;
    case TOOLS_GLM:
        return glm;
    case TOOLS_LLAMA:
        return llama;
    case TOOLS_DEEPSEEK_V3:
    case TOOLS_DEEPSEEK:
        return deepseek;
    case TOOLS_NONE:
    case TOOLS_HARMONY:
        break;
    }
    return none;
}

static void raw_add(struct dialogue *dialogue, const char *bytes, size_t size)
{
    const enum status status = buffer_append(&dialogue->raw, bytes, size);
    if (status != STATUS_OK && status != STATUS_TOO_LARGE)
        dialogue->failed = status;
}

void calls_marker(struct dialogue *dialogue, const char *marker)
{
    buffer_clear(&dialogue->raw);
    raw_add(dialogue, marker, strlen(marker));
    dialogue->raw_marker = strlen(marker);
    dialogue->is_bare = false;
    dialogue->is_tagged = strcmp(marker, "<tool_call>") == 0;
    if (strcmp(marker, "<function=") == 0)
        dialogue_enter(dialogue, MODE_XML_NAME);
    else if (dialogue->style.tools == TOOLS_DEEPSEEK_V3 || dialogue->style.tools == TOOLS_DEEPSEEK)
        deepseek_marker(dialogue, marker);
    else
        dialogue_enter(dialogue, MODE_CALL);
}

static void json_begin(struct dialogue *dialogue)
{
    dialogue_enter(dialogue, MODE_JSON);
    json_scan_init(&dialogue->outer);
    dialogue->in_arguments = dialogue->has_arguments = false;
    dialogue->name[0] = '\0';
}

/* Spaces before it may be dropped with the call or said with the text, as it turns out. */
void calls_begin_bare(struct dialogue *dialogue, char byte)
{
    buffer_clear(&dialogue->raw);
    dialogue->raw_marker = 1;
    dialogue->is_bare = true;
    dialogue->is_tagged = false;
    json_begin(dialogue);
    calls_byte(dialogue, byte);
}

/* It is no call.  Its first marker is text, and what followed is looked at again. */
void calls_give_up(struct dialogue *dialogue)
{
    char bytes[RAW_MAX + 1];
    const size_t size = dialogue->raw.size < sizeof(bytes) ? dialogue->raw.size : 0;
    const size_t marker = dialogue->raw_marker < size ? dialogue->raw_marker : size;
    dialogue_enter(dialogue, MODE_CONTENT);
    dialogue->drops_space = dialogue->drops_space && dialogue->raw.size == 0;
    dialogue_flush_spaces(dialogue, DELTA_CONTENT);
    if (size == 0) { /* long: a whole object that is no call */
        dialogue_say(dialogue, DELTA_CONTENT, (const char *)dialogue->raw.bytes,
                     dialogue->raw.size);
        buffer_clear(&dialogue->raw);
        return;
    }
    memcpy(bytes, dialogue->raw.bytes, size);
    buffer_clear(&dialogue->raw);
    dialogue_say(dialogue, DELTA_CONTENT, bytes, marker);
    for (size_t at = marker; at < size; at++)
        dialogue_byte(dialogue, bytes[at]);
}

static bool raw_is_full(struct dialogue *dialogue)
{
    if (dialogue->raw.size < RAW_MAX)
        return false;
    calls_give_up(dialogue);
    return true;
}

/* ---- the end of a call ---- */

static void after_call(struct dialogue *dialogue)
{
    dialogue_call_end(dialogue);
    if (dialogue->is_bare)
        dialogue_enter(dialogue, MODE_BETWEEN);
    else if (dialogue->style.tools == TOOLS_LLAMA && !dialogue->is_tagged)
        dialogue_enter(dialogue, MODE_BETWEEN);
    else
        dialogue_enter(dialogue, MODE_TAIL);
}

static void tail_byte(struct dialogue *dialogue, char byte)
{
    static const char *const markers[] = {"</tool_call>", "<tool_call>", NULL};
    const int marker = dialogue_match(dialogue, byte, markers, dialogue_drop);
    if (marker < 0)
        return;
    dialogue_enter(dialogue, MODE_CONTENT);
    if (marker == 1 && dialogue->call_count < DIALOGUE_CALLS_MAX)
        calls_marker(dialogue, markers[marker]);
}

/* After a call without an end tag: separators, then another one or text. */
static void between_byte(struct dialogue *dialogue, char byte)
{
    if (json_is_space((uint8_t)byte) || byte == ';' || byte == ',')
        return;
    dialogue_enter(dialogue, MODE_CONTENT);
    dialogue->drops_space = true;
    if (byte == '{' && dialogue->style.tools == TOOLS_LLAMA &&
        dialogue->call_count < DIALOGUE_CALLS_MAX)
        calls_begin_bare(dialogue, byte);
    else
        dialogue_byte(dialogue, byte);
}

/* ---- {"name": ..., "arguments": {...}} ---- */

static bool is_arguments_key(const char *key)
{
    return strcmp(key, "arguments") == 0 || strcmp(key, "parameters") == 0;
}

static bool may_be_called(const struct dialogue *dialogue, const char *name)
{
    return dialogue_is_name(name) && (!dialogue->is_bare || dialogue_tool(dialogue, name));
}

/* The object is whole and its name came late, or its arguments never did. */
static void whole_end(struct dialogue *dialogue)
{
    const size_t start = dialogue->is_bare ? 0 : dialogue->raw_marker;
    json_t *call =
        json_loadb((const char *)dialogue->raw.bytes + start, dialogue->raw.size - start, 0, NULL);
    const json_t *function = json_object_get(call, "function");
    const json_t *inner = json_is_object(function) ? function : call;
    const char *name = json_string_value(json_object_get(inner, "name"));
    json_t *arguments = json_object_get(inner, "arguments");
    arguments = arguments ? arguments : json_object_get(inner, "parameters");
    json_t *parsed = json_is_string(arguments) ? json_loads(json_string_value(arguments), 0, NULL)
                                               : json_incref(arguments);
    if (name && may_be_called(dialogue, name) && (arguments || !dialogue->is_bare)) {
        dialogue_call_begin(dialogue, name);
        arguments_whole(dialogue, parsed);
        after_call(dialogue);
    } else {
        calls_give_up(dialogue);
    }
    json_decref(parsed);
    json_decref(call);
}

static void whole_byte(struct dialogue *dialogue, char byte)
{
    const enum scan_result result = json_scan_byte(&dialogue->outer, (uint8_t)byte);
    if (result == SCAN_BAD || dialogue->raw.size >= DIALOGUE_HELD_MAX) {
        calls_give_up(dialogue);
        dialogue_byte(dialogue, byte);
        return;
    }
    raw_add(dialogue, &byte, 1);
    if (result == SCAN_DONE)
        whole_end(dialogue);
}

/* The value of a key of the call begins. */
static void json_key(struct dialogue *dialogue, char byte)
{
    const bool is_arguments = is_arguments_key(dialogue->head);
    if (!is_arguments)
        return;
    if (!dialogue->name[0] || !may_be_called(dialogue, dialogue->name) || dialogue->has_arguments) {
        if (!dialogue->has_arguments)
            dialogue->mode = MODE_JSON_WHOLE;
        return;
    }
    dialogue_call_begin(dialogue, dialogue->name);
    dialogue->in_arguments = dialogue->has_arguments = true;
    if (arguments_json(dialogue, byte) == SCAN_DONE)
        dialogue->in_arguments = false;
}

/* A byte of a name, or of the value of "name", at the first depth. */
static void json_note(struct dialogue *dialogue, const struct json_scan *before, char byte)
{
    const struct json_scan *now = &dialogue->outer;
    if (before->depth != 1)
        return;
    const bool was_in_string = json_scan_in_string(before);
    if (!was_in_string && json_scan_in_string(now) && now->is_name) {
        dialogue_head_clear(dialogue);
    } else if (was_in_string && before->is_name && json_scan_in_string(now)) {
        if (!dialogue_head_add(dialogue, byte))
            dialogue_head_clear(dialogue);
    } else if (before->place == SCAN_VALUE && now->place != SCAN_VALUE) {
        if (strcmp(dialogue->head, "name") == 0)
            dialogue->name[0] = '\0';
        json_key(dialogue, byte);
    } else if (was_in_string && !before->is_name && json_scan_in_string(now) &&
               strcmp(dialogue->head, "name") == 0 && !dialogue->has_arguments) {
        const size_t size = strlen(dialogue->name);
        if (size < DIALOGUE_NAME_MAX && byte != '\0') {
            dialogue->name[size] = byte;
            dialogue->name[size + 1] = '\0';
        } else {
            memcpy(dialogue->name, "?", 2); /* too long: no name */
        }
    }
}

static void json_call_end(struct dialogue *dialogue)
{
    if (dialogue->has_arguments)
        after_call(dialogue);
    else
        whole_end(dialogue);
}

static void json_byte(struct dialogue *dialogue, char byte)
{
    const struct json_scan before = dialogue->outer;
    const enum scan_result result = json_scan_byte(&dialogue->outer, (uint8_t)byte);
    if (result == SCAN_BAD && dialogue->has_arguments) {
        after_call(dialogue);
        dialogue_byte(dialogue, byte);
        return;
    }
    if (result == SCAN_BAD) {
        calls_give_up(dialogue);
        dialogue_byte(dialogue, byte);
        return;
    }
    if (!dialogue->has_arguments)
        raw_add(dialogue, &byte, 1);
    if (dialogue->in_arguments) {
        const enum scan_result inner = arguments_json(dialogue, byte);
        dialogue->in_arguments = inner == SCAN_MORE;
    } else {
        json_note(dialogue, &before, byte);
    }
    if (result == SCAN_DONE && dialogue->mode == MODE_JSON_WHOLE)
        whole_end(dialogue);
    else if (result == SCAN_DONE)
        json_call_end(dialogue);
    else if (!dialogue->has_arguments && dialogue->mode == MODE_JSON)
        (void)raw_is_full(dialogue);
}

/* ---- <tool_call>: which syntax follows ---- */

static void call_byte(struct dialogue *dialogue, char byte)
{
    static const char function[] = "<function=";
    if (dialogue->head_size == 0 && byte == '{') {
        json_begin(dialogue);
        calls_byte(dialogue, byte);
        return;
    }
    if (dialogue->head_size == 0 && byte != '<' && !json_is_space((uint8_t)byte)) {
        if (dialogue->style.tools == TOOLS_LLAMA) {
            dialogue_enter(dialogue, MODE_BUILTIN_NAME);
            calls_byte(dialogue, byte);
            return;
        }
        if (dialogue->style.tools != TOOLS_GLM) {
            calls_give_up(dialogue);
            dialogue_byte(dialogue, byte);
            return;
        }
        dialogue_enter(dialogue, MODE_GLM_NAME);
        calls_byte(dialogue, byte);
        return;
    }
    raw_add(dialogue, &byte, 1);
    if (json_is_space((uint8_t)byte) && dialogue->head_size == 0) {
        (void)raw_is_full(dialogue);
        return;
    }
    (void)dialogue_head_add(dialogue, byte);
    if (strncmp(dialogue->head, function, dialogue->head_size) != 0)
        calls_give_up(dialogue);
    else if (dialogue->head_size == sizeof(function) - 1)
        dialogue_enter(dialogue, MODE_XML_NAME);
}

/* ---- <function=f><parameter=k>v</parameter></function> ---- */

static void xml_name_byte(struct dialogue *dialogue, char byte)
{
    raw_add(dialogue, &byte, 1);
    if (byte == '>') {
        char name[HEAD_MAX + 1];
        memcpy(name, dialogue->head, sizeof(name));
        if (!dialogue_is_name(name)) {
            calls_give_up(dialogue);
            return;
        }
        dialogue_call_begin(dialogue, name);
        dialogue_enter(dialogue, MODE_XML_BODY);
    } else if (!dialogue_head_add(dialogue, byte) || dialogue->head_size > DIALOGUE_NAME_MAX ||
               byte == '<' || byte == '\n') {
        calls_give_up(dialogue);
    }
}

static void xml_body_text(struct dialogue *dialogue, char byte)
{
    if (byte != '{' || dialogue->arguments.is_open)
        return;
    dialogue_enter(dialogue, MODE_XML_JSON);
    if (arguments_json(dialogue, byte) != SCAN_MORE)
        dialogue_enter(dialogue, MODE_XML_BODY);
}

/* The function ended; an outer tag, if there was one, is still open. */
static void xml_end(struct dialogue *dialogue)
{
    dialogue_call_end(dialogue);
    dialogue_enter(dialogue, dialogue->is_tagged ? MODE_TAIL : MODE_CONTENT);
}

static void xml_body_byte(struct dialogue *dialogue, char byte)
{
    static const char *const markers[] = {"<parameter=", "</function>", "</tool_call>", NULL};
    const int marker = dialogue_match(dialogue, byte, markers, xml_body_text);
    if (marker == 0) {
        dialogue_enter(dialogue, MODE_XML_KEY);
    } else if (marker == 1) {
        xml_end(dialogue);
    } else if (marker == 2) {
        dialogue_call_end(dialogue);
        dialogue_enter(dialogue, MODE_CONTENT);
    }
}

static void xml_json_byte(struct dialogue *dialogue, char byte)
{
    const enum scan_result result = arguments_json(dialogue, byte);
    if (result == SCAN_MORE)
        return;
    dialogue_call_end(dialogue); /* closes what is broken */
    dialogue_enter(dialogue, MODE_XML_BODY);
    if (result != SCAN_DONE)
        dialogue_byte(dialogue, byte);
}

static void xml_key_byte(struct dialogue *dialogue, char byte)
{
    if (byte == '>') {
        char name[HEAD_MAX + 1];
        memcpy(name, dialogue->head, sizeof(name));
        arguments_member_begin(dialogue, name);
        dialogue_enter(dialogue, MODE_XML_VALUE);
    } else if (!dialogue_head_add(dialogue, byte) || byte == '<' || byte == '\n') {
        dialogue_enter(dialogue, MODE_XML_BODY); /* no key: its text is dropped */
        dialogue_byte(dialogue, byte);
    }
}

/* One line break after the opening belongs to the tags. */
static void value_text(struct dialogue *dialogue, char byte)
{
    const bool is_first = dialogue->head_size == 0;
    if (is_first)
        (void)dialogue_head_add(dialogue, 'v');
    if (!is_first || byte != '\n')
        arguments_member_byte(dialogue, byte);
}

static void xml_value_byte(struct dialogue *dialogue, char byte)
{
    static const char *const markers[] = {
        "\n</parameter>", "</parameter>", "\n<parameter=", "\n</function>", "</tool_call>", NULL};
    const int marker = dialogue_match(dialogue, byte, markers, value_text);
    if (marker < 0)
        return;
    arguments_member_end(dialogue);
    if (marker <= 1) {
        dialogue_enter(dialogue, MODE_XML_BODY);
    } else if (marker == 2) {
        dialogue_enter(dialogue, MODE_XML_KEY);
    } else if (marker == 3) {
        xml_end(dialogue);
    } else {
        dialogue_call_end(dialogue);
        dialogue_enter(dialogue, MODE_CONTENT);
    }
}

/* ---- f<arg_key>k</arg_key><arg_value>v</arg_value> ---- */

static void glm_name_byte(struct dialogue *dialogue, char byte)
{
    static const char *const ends[] = {"<arg_key>", "</tool_call>", NULL};
    raw_add(dialogue, &byte, 1);
    const bool was_cut = !dialogue_head_add(dialogue, byte);
    char *head = dialogue->head;
    for (int at = 0; ends[at] || byte == '\n'; at++) {
        const size_t size = ends[at] ? strlen(ends[at]) : 0;
        const bool is_end = ends[at] && dialogue->head_size >= size &&
                            memcmp(head + dialogue->head_size - size, ends[at], size) == 0;
        if (!is_end && byte != '\n')
            continue;
        char name[HEAD_MAX + 1];
        memcpy(name, head, sizeof(name));
        name[dialogue->head_size - (is_end ? size : 1)] = '\0';
        for (size_t length = strlen(name); length > 0 && name[length - 1] == ' '; length--)
            name[length - 1] = '\0';
        if (!dialogue_is_name(name))
            break;
        dialogue_call_begin(dialogue, name);
        dialogue_enter(dialogue, is_end && at == 0 ? MODE_GLM_KEY : MODE_GLM_BODY);
        if (is_end && at == 1) {
            dialogue_call_end(dialogue);
            dialogue_enter(dialogue, MODE_CONTENT);
        }
        return;
    }
    if (was_cut || byte == '\n' || dialogue->head_size > DIALOGUE_NAME_MAX + 16)
        calls_give_up(dialogue);
}

static void glm_body_byte(struct dialogue *dialogue, char byte)
{
    static const char *const markers[] = {"<arg_key>", "</tool_call>", NULL};
    const int marker = dialogue_match(dialogue, byte, markers, dialogue_drop);
    if (marker == 1)
        dialogue_call_end(dialogue);
    if (marker >= 0)
        dialogue_enter(dialogue, marker == 0 ? MODE_GLM_KEY : MODE_CONTENT);
}

static void glm_key_text(struct dialogue *dialogue, char byte)
{
    (void)dialogue_head_add(dialogue, byte);
}

static void glm_key_byte(struct dialogue *dialogue, char byte)
{
    static const char *const markers[] = {"</arg_key>", "</tool_call>", NULL};
    const int marker = dialogue_match(dialogue, byte, markers, glm_key_text);
    if (marker == 0) {
        dialogue->mode = MODE_GLM_GAP; /* the head is the key */
    } else if (marker == 1) {
        dialogue_call_end(dialogue);
        dialogue_enter(dialogue, MODE_CONTENT);
    }
}

static void glm_gap_byte(struct dialogue *dialogue, char byte)
{
    static const char *const markers[] = {"<arg_value>", "<arg_key>", "</tool_call>", NULL};
    const int marker = dialogue_match(dialogue, byte, markers, dialogue_drop);
    if (marker == 0) {
        char name[HEAD_MAX + 1];
        memcpy(name, dialogue->head, sizeof(name));
        arguments_member_begin(dialogue, name);
        dialogue_enter(dialogue, MODE_GLM_VALUE);
    } else if (marker == 1) {
        dialogue_enter(dialogue, MODE_GLM_KEY);
    } else if (marker == 2) {
        dialogue_call_end(dialogue);
        dialogue_enter(dialogue, MODE_CONTENT);
    }
}

static void glm_value_byte(struct dialogue *dialogue, char byte)
{
    static const char *const markers[] = {"</arg_value>", "</tool_call>", NULL};
    const int marker = dialogue_match(dialogue, byte, markers, arguments_member_byte);
    if (marker < 0)
        return;
    arguments_member_end(dialogue);
    if (marker == 1)
        dialogue_call_end(dialogue);
    dialogue_enter(dialogue, marker == 0 ? MODE_GLM_BODY : MODE_CONTENT);
}

/* ---- all of them ---- */

void calls_byte(struct dialogue *dialogue, char byte)
{
    static void (*const readers[])(struct dialogue * dialogue, char byte) = {
        [MODE_CALL] = call_byte,
        [MODE_JSON] = json_byte,
        [MODE_JSON_WHOLE] = whole_byte,
        [MODE_XML_NAME] = xml_name_byte,
        [MODE_XML_BODY] = xml_body_byte,
        [MODE_XML_JSON] = xml_json_byte,
        [MODE_XML_KEY] = xml_key_byte,
        [MODE_XML_VALUE] = xml_value_byte,
        [MODE_GLM_NAME] = glm_name_byte,
        [MODE_GLM_BODY] = glm_body_byte,
        [MODE_GLM_KEY] = glm_key_byte,
        [MODE_GLM_GAP] = glm_gap_byte,
        [MODE_GLM_VALUE] = glm_value_byte,
        [MODE_TAIL] = tail_byte,
        [MODE_BETWEEN] = between_byte,
        [MODE_BUILTIN_NAME] = builtin_byte,
        [MODE_BUILTIN_BODY] = builtin_byte,
        [MODE_BUILTIN_VALUE] = builtin_byte,
    };
    ASSERT(dialogue->mode < COUNT_OF(readers) && readers[dialogue->mode]);
    readers[dialogue->mode](dialogue, byte);
}

/* Bytes held as a possible marker within a value were part of it. */
static void flush_value(struct dialogue *dialogue)
{
    const size_t size = dialogue->held_size;
    dialogue->held_size = 0;
    for (size_t at = 0; at < size; at++) {
        if (dialogue->mode == MODE_XML_VALUE)
            value_text(dialogue, dialogue->held[at]);
        else if (dialogue->mode == MODE_GLM_VALUE)
            arguments_member_byte(dialogue, dialogue->held[at]);
    }
}

void calls_finish(struct dialogue *dialogue)
{
    while (dialogue->raw.size > 0) /* each time a marker goes */
        calls_give_up(dialogue);
    if (dialogue->mode == MODE_CONTENT)
        return;
    if (dialogue->mode == MODE_BUILTIN_VALUE)
        builtin_flush(dialogue);
    flush_value(dialogue);
    if (dialogue->mode != MODE_TAIL && dialogue->mode != MODE_BETWEEN &&
        dialogue->mode != MODE_SEEK_LIST && dialogue->mode != MODE_SEEK_TAIL)
        dialogue_call_end(dialogue);
}
