/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/dialogue/dialogue_parts.h"

#include "protocol/memory.h"

#include <string.h>

void deepseek_marker(struct dialogue *dialogue, const char *marker)
{
    dialogue_enter(dialogue,
                   strcmp(marker, DEEPSEEK_CALL_BEGIN) == 0 ? MODE_SEEK_HEAD : MODE_SEEK_LIST);
    dialogue->space_count = 0; /* nothing of it is ever text */
    buffer_clear(&dialogue->raw);
}

static void list_byte(struct dialogue *dialogue, char byte)
{
    static const char *const markers[] = {DEEPSEEK_CALL_BEGIN, DEEPSEEK_CALLS_END, NULL};
    const int marker = dialogue_match(dialogue, byte, markers, dialogue_drop);
    if (marker == 0 && dialogue->call_count < DIALOGUE_CALLS_MAX) {
        buffer_clear(&dialogue->raw);
        dialogue->raw_marker = 0;
        dialogue_enter(dialogue, MODE_SEEK_HEAD);
    } else if (marker == 1) {
        dialogue->drops_space = true;
        dialogue_enter(dialogue, MODE_CONTENT);
    }
}

static void head_text(struct dialogue *dialogue, char byte)
{
    (void)dialogue_head_add(dialogue, byte);
}

static void trim(char *text)
{
    size_t size = strlen(text);
    while (size > 0 && json_is_space((uint8_t)text[size - 1]))
        text[--size] = '\0';
    const size_t first = strspn(text, " \n\t\r");
    memmove(text, text + first, size - first + 1);
}

static void begin(struct dialogue *dialogue)
{
    char name[HEAD_MAX + 1];
    memcpy(name, dialogue->head, sizeof(name));
    trim(name);
    if (!dialogue_is_name(name)) {
        dialogue_enter(dialogue, MODE_SEEK_TAIL); /* no call: nothing to show for it */
        return;
    }
    dialogue_call_begin(dialogue, name);
    dialogue_enter(dialogue, MODE_SEEK_JSON);
}

/* "function", or the name itself. */
static void head_byte(struct dialogue *dialogue, char byte)
{
    static const char *const markers[] = {DEEPSEEK_SEPARATOR, DEEPSEEK_CALL_END, DEEPSEEK_CALLS_END,
                                          NULL};
    const int marker = dialogue_match(dialogue, byte, markers, head_text);
    if (marker < 0)
        return;
    buffer_clear(&dialogue->raw);
    dialogue->space_count = 0;
    if (marker > 0) {
        dialogue_enter(dialogue, marker == 1 ? MODE_SEEK_LIST : MODE_CONTENT);
        return;
    }
    trim(dialogue->head);
    dialogue->head_size = strlen(dialogue->head);
    if (strcmp(dialogue->head, "function") == 0 && !dialogue_tool(dialogue, "function"))
        dialogue_enter(dialogue, MODE_SEEK_NAME);
    else
        begin(dialogue);
}

static void name_byte(struct dialogue *dialogue, char byte)
{
    static const char *const markers[] = {DEEPSEEK_CALL_END, DEEPSEEK_CALLS_END, NULL};
    if (byte == '\n' || byte == '{') {
        begin(dialogue);
        if (byte == '{')
            dialogue_byte(dialogue, byte);
        return;
    }
    const int marker = dialogue_match(dialogue, byte, markers, head_text);
    if (marker < 0)
        return;
    begin(dialogue);
    if (dialogue->mode == MODE_SEEK_JSON)
        dialogue_call_end(dialogue);
    dialogue_enter(dialogue, marker == 0 ? MODE_SEEK_LIST : MODE_CONTENT);
}

/* A fence before the object is passed over. */
static void json_text(struct dialogue *dialogue, char byte)
{
    if (!dialogue->arguments.has_root && byte != '{')
        return;
    if (arguments_json(dialogue, byte) == SCAN_MORE)
        return;
    dialogue_call_end(dialogue);
    dialogue_enter(dialogue, MODE_SEEK_TAIL);
}

static void json_byte(struct dialogue *dialogue, char byte)
{
    static const char *const markers[] = {DEEPSEEK_CALL_END, DEEPSEEK_CALLS_END, NULL};
    const int marker = dialogue_match(dialogue, byte, markers, json_text);
    if (marker < 0)
        return;
    dialogue_call_end(dialogue);
    dialogue_enter(dialogue, marker == 0 ? MODE_SEEK_LIST : MODE_CONTENT);
}

static void tail_byte(struct dialogue *dialogue, char byte)
{
    static const char *const markers[] = {DEEPSEEK_CALL_END, DEEPSEEK_CALLS_END, NULL};
    const int marker = dialogue_match(dialogue, byte, markers, dialogue_drop);
    if (marker >= 0)
        dialogue_enter(dialogue, marker == 0 ? MODE_SEEK_LIST : MODE_CONTENT);
}

void deepseek_byte(struct dialogue *dialogue, char byte)
{
    if (dialogue->mode == MODE_SEEK_HEAD)
        head_byte(dialogue, byte);
    else if (dialogue->mode == MODE_SEEK_NAME)
        name_byte(dialogue, byte);
    else if (dialogue->mode == MODE_SEEK_JSON)
        json_byte(dialogue, byte);
    else if (dialogue->mode == MODE_SEEK_TAIL)
        tail_byte(dialogue, byte);
    else
        list_byte(dialogue, byte);
}
