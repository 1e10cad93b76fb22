/* SPDX-License-Identifier: Apache-2.0 */
/* The second way Llama calls: <|python_tag|>name.call(key="value", key="value") */
#include "actors/runner/engine/dialogue/dialogue_parts.h"

#include "protocol/memory.h"

#include <string.h>

static bool is_letter(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '_' || byte == '-' || byte == '.';
}

static void name_byte(struct dialogue *dialogue, char byte)
{
    static const char end[] = ".call";
    const size_t size = dialogue->head_size;
    const size_t end_size = sizeof(end) - 1;
    const enum status status = buffer_append(&dialogue->raw, &byte, 1);
    if (status != STATUS_OK && status != STATUS_TOO_LARGE)
        dialogue->failed = status;
    if (is_letter(byte) && size < DIALOGUE_NAME_MAX + end_size) {
        (void)dialogue_head_add(dialogue, byte);
        return;
    }
    char name[HEAD_MAX + 1];
    memcpy(name, dialogue->head, sizeof(name));
    if (byte != '(' || size <= end_size || strcmp(name + size - end_size, end) != 0) {
        calls_give_up(dialogue);
        return;
    }
    name[size - end_size] = '\0';
    if (!dialogue_tool(dialogue, name)) {
        calls_give_up(dialogue);
        return;
    }
    dialogue_call_begin(dialogue, name);
    dialogue_enter(dialogue, MODE_BUILTIN_BODY);
}

static void end(struct dialogue *dialogue)
{
    dialogue_call_end(dialogue);
    dialogue_enter(dialogue, MODE_BETWEEN);
}

/* Between arguments, then the name of one. */
static void body_byte(struct dialogue *dialogue, char byte)
{
    if (byte == ')') {
        end(dialogue);
    } else if (byte == '=' && dialogue->head_size > 0) {
        char name[HEAD_MAX + 1];
        memcpy(name, dialogue->head, sizeof(name));
        arguments_member_begin(dialogue, name);
        dialogue_enter(dialogue, MODE_BUILTIN_VALUE);
    } else if (is_letter(byte)) {
        (void)dialogue_head_add(dialogue, byte);
    }
}

/* The quote before the value belongs to it as little as the one behind. */
static void value_text(struct dialogue *dialogue, char byte)
{
    if (dialogue->head_size == 0) {
        (void)dialogue_head_add(dialogue, byte);
        if (byte == '"')
            return;
    }
    arguments_member_byte(dialogue, byte);
}

static void value_byte(struct dialogue *dialogue, char byte)
{
    static const char *const quoted[] = {"\")", "\", ", NULL};
    static const char *const bare[] = {")", ",", NULL};
    const bool is_quoted = dialogue->head_size == 0 ? byte == '"' : dialogue->head[0] == '"';
    if (dialogue->head_size == 0 && is_quoted) {
        value_text(dialogue, byte);
        return;
    }
    const int marker = dialogue_match(dialogue, byte, is_quoted ? quoted : bare, value_text);
    if (marker < 0)
        return;
    arguments_member_end(dialogue);
    dialogue_enter(dialogue, MODE_BUILTIN_BODY);
    if (marker == 0)
        end(dialogue);
}

void builtin_byte(struct dialogue *dialogue, char byte)
{
    if (dialogue->mode == MODE_BUILTIN_NAME)
        name_byte(dialogue, byte);
    else if (dialogue->mode == MODE_BUILTIN_BODY)
        body_byte(dialogue, byte);
    else
        value_byte(dialogue, byte);
}

void builtin_flush(struct dialogue *dialogue)
{
    const size_t size = dialogue->held_size;
    dialogue->held_size = 0;
    if (size == 1 && dialogue->held[0] == '"' && dialogue->head[0] == '"')
        return; /* only the bracket is missing */
    for (size_t at = 0; at < size; at++)
        value_text(dialogue, dialogue->held[at]);
}
