/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/dialogue/dialogue.h"

#include "actors/runner/engine/dialogue/dialogue_parts.h"
#include "protocol/memory.h"

#include <string.h>

#define TEXT_SIZE_MAX (64u << 20)

/* ---- what is said ---- */

static bool add_delta(struct dialogue *dialogue, enum delta_kind kind)
{
    if (dialogue->delta_count == dialogue->delta_capacity) {
        const size_t larger = dialogue->delta_capacity ? dialogue->delta_capacity * 2 : 8;
        struct dialogue_delta *grown =
            memory_resized(dialogue->deltas, larger, sizeof(struct dialogue_delta));
        if (!grown) {
            dialogue->failed = STATUS_NO_MEMORY;
            return false;
        }
        dialogue->deltas = grown;
        dialogue->delta_capacity = larger;
    }
    dialogue->deltas[dialogue->delta_count++] =
        (struct dialogue_delta){.kind = kind,
                                .call = dialogue->call_count ? dialogue->call_count - 1 : 0,
                                .start = dialogue->text.size};
    return true;
}

void dialogue_say(struct dialogue *dialogue, enum delta_kind kind, const char *bytes, size_t size)
{
    struct dialogue_delta *last =
        dialogue->delta_count ? &dialogue->deltas[dialogue->delta_count - 1] : NULL;
    if (dialogue->failed != STATUS_OK || (size == 0 && kind != DELTA_CALL))
        return;
    if (!last || last->kind != kind || kind == DELTA_CALL) {
        if (!add_delta(dialogue, kind))
            return;
        last = &dialogue->deltas[dialogue->delta_count - 1];
    }
    const enum status status = buffer_append(&dialogue->text, bytes, size);
    if (status != STATUS_OK)
        dialogue->failed = status;
    else
        last->size += size;
}

void dialogue_flush_spaces(struct dialogue *dialogue, enum delta_kind kind)
{
    const size_t count = dialogue->space_count;
    dialogue->space_count = 0;
    dialogue_say(dialogue, kind, dialogue->spaces, count);
}

void dialogue_say_text(struct dialogue *dialogue, enum delta_kind kind, char byte)
{
    /* Nothing but its own end can drop what follows an answer without tools. */
    const bool holds = kind == DELTA_REASONING || dialogue->tools || dialogue->mode == MODE_START;
    if (json_is_space((uint8_t)byte) && (holds || dialogue->drops_space)) {
        if (dialogue->drops_space)
            return;
        if (dialogue->space_count == SPACES_MAX)
            dialogue_flush_spaces(dialogue, kind);
        dialogue->spaces[dialogue->space_count++] = byte;
        return;
    }
    dialogue->drops_space = false;
    dialogue_flush_spaces(dialogue, kind);
    dialogue_say(dialogue, kind, &byte, 1);
}

/* ---- markers ---- */

void dialogue_drop(struct dialogue *dialogue, char byte)
{
    (void)dialogue;
    (void)byte;
}

int dialogue_match(struct dialogue *dialogue, char byte, const char *const *markers,
                   void (*text)(struct dialogue *dialogue, char byte))
{
    ASSERT(dialogue->held_size < sizeof(dialogue->held));
    dialogue->held[dialogue->held_size++] = byte;
    while (dialogue->held_size > 0) {
        bool is_beginning = false;
        for (int at = 0; markers[at]; at++) {
            const size_t size = strlen(markers[at]);
            if (size < dialogue->held_size ||
                memcmp(markers[at], dialogue->held, dialogue->held_size) != 0)
                continue;
            if (size == dialogue->held_size) {
                dialogue->held_size = 0;
                return at;
            }
            is_beginning = true;
        }
        if (is_beginning)
            return -1;
        const char first = dialogue->held[0];
        memmove(dialogue->held, dialogue->held + 1, --dialogue->held_size);
        text(dialogue, first);
    }
    return -1;
}

/* ---- heads ---- */

void dialogue_head_clear(struct dialogue *dialogue)
{
    dialogue->head_size = 0;
    dialogue->head[0] = '\0';
}

bool dialogue_head_add(struct dialogue *dialogue, char byte)
{
    if (dialogue->head_size == HEAD_MAX || byte == '\0')
        return false;
    dialogue->head[dialogue->head_size++] = byte;
    dialogue->head[dialogue->head_size] = '\0';
    return true;
}

bool dialogue_is_name(const char *name)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/";
    const size_t size = strlen(name);
    return size > 0 && size <= DIALOGUE_NAME_MAX && strspn(name, letters) == size;
}

/* ---- calls ---- */

const json_t *dialogue_tool(const struct dialogue *dialogue, const char *name)
{
    for (size_t at = 0; at < json_array_size(dialogue->tools); at++) {
        const json_t *function = json_object_get(json_array_get(dialogue->tools, at), "function");
        const char *known = json_string_value(json_object_get(function, "name"));
        if (known && strcmp(known, name) == 0)
            return function;
    }
    return NULL;
}

void dialogue_call_begin(struct dialogue *dialogue, const char *name)
{
    dialogue->space_count = 0;
    buffer_clear(&dialogue->raw);
    dialogue->call_count++;
    dialogue->is_calling = true;
    dialogue_say(dialogue, DELTA_CALL, name, strlen(name));
    arguments_begin(dialogue, json_object_get(dialogue_tool(dialogue, name), "parameters"));
}

void dialogue_call_end(struct dialogue *dialogue)
{
    if (dialogue->is_calling && !dialogue->is_cut)
        arguments_end(dialogue);
    dialogue->is_calling = false;
    dialogue->drops_space = true;
}

void dialogue_enter(struct dialogue *dialogue, enum mode mode)
{
    dialogue->mode = mode;
    dialogue_head_clear(dialogue);
}

/* ---- thinking and answer ---- */

static void reasoning_text(struct dialogue *dialogue, char byte)
{
    dialogue_say_text(dialogue, DELTA_REASONING, byte);
}

static void reasoning_byte(struct dialogue *dialogue, char byte)
{
    const char *const markers[] = {dialogue->style.think_close, NULL};
    if (dialogue_match(dialogue, byte, markers, reasoning_text) < 0)
        return;
    dialogue->space_count = 0;
    dialogue->drops_space = true;
    dialogue_enter(dialogue, MODE_CONTENT);
}

/* At the beginning the opening of the thinking, or the brace of a bare call, may come; the first
 * other text is the answer. */
static void start_text(struct dialogue *dialogue, char byte)
{
    if (!json_is_space((uint8_t)byte)) {
        if (dialogue->style.tools == TOOLS_LLAMA && dialogue->tools && byte == '{' &&
            dialogue->mode == MODE_START) {
            calls_begin_bare(dialogue, byte);
            return;
        }
        dialogue->mode = MODE_CONTENT;
    }
    dialogue_say_text(dialogue, DELTA_CONTENT, byte);
}

static void content_text(struct dialogue *dialogue, char byte)
{
    dialogue_say_text(dialogue, DELTA_CONTENT, byte);
}

static void start_byte(struct dialogue *dialogue, char byte)
{
    const char *markers[8] = {NULL};
    const char *const *calls = calls_markers(dialogue);
    size_t count = 0;
    const bool may_think = dialogue->style.think_open != NULL;
    if (may_think)
        markers[count++] = dialogue->style.think_open;
    for (; *calls && count + 1 < COUNT_OF(markers); calls++)
        markers[count++] = *calls;
    const int marker = dialogue_match(dialogue, byte, markers, start_text);
    if (marker < 0)
        return;
    if (!may_think || marker > 0) {
        calls_marker(dialogue, markers[marker]);
        return;
    }
    dialogue->space_count = 0;
    dialogue->drops_space = true;
    dialogue_enter(dialogue, MODE_REASONING);
}

static void content_byte(struct dialogue *dialogue, char byte)
{
    const char *const *markers = calls_markers(dialogue);
    const int marker = dialogue_match(dialogue, byte, markers, content_text);
    if (marker >= 0)
        calls_marker(dialogue, markers[marker]);
}

void dialogue_byte(struct dialogue *dialogue, char byte)
{
    if (dialogue->mode == MODE_START)
        start_byte(dialogue, byte);
    else if (dialogue->mode == MODE_REASONING)
        reasoning_byte(dialogue, byte);
    else if (dialogue->mode == MODE_CONTENT)
        content_byte(dialogue, byte);
    else if (dialogue->mode >= MODE_HEAD)
        harmony_byte(dialogue, byte);
    else if (dialogue->mode >= MODE_SEEK_LIST)
        deepseek_byte(dialogue, byte);
    else
        calls_byte(dialogue, byte);
}

/* ---- life ---- */

enum status dialogue_open(const struct dialogue_style *style, enum thinking thinking,
                          const json_t *tools, struct dialogue **dialogue_out)
{
    struct dialogue *dialogue = memory_zeroed(1, sizeof(*dialogue));
    if (!dialogue)
        return STATUS_NO_MEMORY;
    dialogue->style = *style;
    if (json_array_size(tools) > 0)
        dialogue->tools = json_incref((json_t *)(uintptr_t)tools);
    buffer_init(&dialogue->raw, DIALOGUE_HELD_MAX);
    buffer_init(&dialogue->text, TEXT_SIZE_MAX);
    arguments_init(&dialogue->arguments);
    dialogue->body = DELTA_CONTENT;
    if (style->tools == TOOLS_HARMONY) {
        dialogue->mode = MODE_HEAD;
    } else if (style->think_open && thinking == THINKING_OPENED) {
        dialogue->mode = MODE_REASONING;
        dialogue->drops_space = true;
    } else if (thinking == THINKING_CLOSED) {
        dialogue->style.think_open = NULL; /* what looks like it now is text */
    }
    *dialogue_out = dialogue;
    return STATUS_OK;
}

void dialogue_close(struct dialogue *dialogue)
{
    if (!dialogue)
        return;
    json_decref(dialogue->tools);
    arguments_fini(&dialogue->arguments);
    buffer_fini(&dialogue->raw);
    buffer_fini(&dialogue->text);
    memory_free(dialogue->deltas);
    memory_free(dialogue);
}

enum status dialogue_push(struct dialogue *dialogue, const char *bytes, size_t size)
{
    for (size_t at = 0; at < size && dialogue->failed == STATUS_OK; at++)
        dialogue_byte(dialogue, bytes[at]);
    return dialogue->failed;
}

/* What is held is no marker any more. */
static void flush_held(struct dialogue *dialogue, enum delta_kind kind)
{
    const size_t size = dialogue->held_size;
    dialogue->held_size = 0;
    for (size_t at = 0; at < size; at++)
        dialogue_say_text(dialogue, kind, dialogue->held[at]);
    dialogue_flush_spaces(dialogue, kind);
}

enum status dialogue_finish(struct dialogue *dialogue, bool is_cut)
{
    dialogue->is_cut = is_cut;
    if (dialogue->mode >= MODE_HEAD)
        harmony_finish(dialogue);
    else if (dialogue->mode > MODE_CONTENT)
        calls_finish(dialogue);
    if (dialogue->mode == MODE_START || dialogue->mode == MODE_CONTENT)
        flush_held(dialogue, DELTA_CONTENT);
    else if (dialogue->mode == MODE_REASONING)
        flush_held(dialogue, DELTA_REASONING);
    return dialogue->failed;
}

const struct dialogue_delta *dialogue_deltas(const struct dialogue *dialogue, size_t *count_out,
                                             const char **text_out)
{
    *count_out = dialogue->delta_count;
    *text_out = dialogue->text.size ? (const char *)dialogue->text.bytes : "";
    return dialogue->deltas;
}

void dialogue_take(struct dialogue *dialogue)
{
    dialogue->delta_count = 0;
    buffer_clear(&dialogue->text);
}

uint32_t dialogue_call_count(const struct dialogue *dialogue)
{
    return dialogue->call_count;
}

bool dialogue_has_called(const struct dialogue *dialogue)
{
    return dialogue->call_count > 0 && !dialogue->is_calling;
}

bool dialogue_is_thinking(const struct dialogue *dialogue)
{
    return dialogue->mode == MODE_REASONING ||
           (dialogue->mode == MODE_BODY && dialogue->body == DELTA_REASONING);
}

size_t dialogue_memory(const struct dialogue *dialogue)
{
    return sizeof(*dialogue) + dialogue->raw.capacity + dialogue->text.capacity +
           dialogue->arguments.key.capacity + dialogue->arguments.value.capacity +
           dialogue->delta_capacity * sizeof(struct dialogue_delta);
}
