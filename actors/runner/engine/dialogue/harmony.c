/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of gpt-oss, of which the prompt has written `<|start|>assistant`:
 *
 *     <|channel|>analysis<|message|>...<|end|><|start|>assistant
 *     <|channel|>commentary to=functions.f <|constrain|>json<|message|>{...}<|call|>
 *     to=functions.f<|channel|>commentary json<|message|>{...}<|call|>
 *     <|channel|>final<|message|>...<|return|>
 *
 * In the head of a message a line break stands for `<|channel|>`, a blank for `<|constrain|>`.
 */
#include "actors/runner/engine/dialogue/dialogue_parts.h"

#include "protocol/memory.h"

#include <string.h>

enum { MARK_START, MARK_CHANNEL, MARK_MESSAGE, MARK_END, MARK_CALL, MARK_RETURN, MARK_CONSTRAIN };

static const char *const markers[] = {"<|start|>", "<|channel|>", "<|message|>",   "<|end|>",
                                      "<|call|>",  "<|return|>",  "<|constrain|>", NULL};

/* ---- heads ---- */

/* The word after `before` in the head, up to white space; empty when there is none. */
static void word_after(const char *head, const char *before, char *word_out, size_t size)
{
    const char *found = strstr(head, before);
    word_out[0] = '\0';
    if (!found)
        return;
    found += strlen(before);
    const size_t length = strcspn(found, " \n\t\r");
    if (length >= size)
        return;
    memcpy(word_out, found, length);
    word_out[length] = '\0';
}

static bool begin_call(struct dialogue *dialogue, const char *recipient)
{
    static const char prefix[] = "functions.";
    const bool is_function = strncmp(recipient, prefix, sizeof(prefix) - 1) == 0;
    const char *name = is_function ? recipient + sizeof(prefix) - 1 : recipient;
    if (!dialogue->tools || dialogue->call_count >= DIALOGUE_CALLS_MAX || !dialogue_is_name(name) ||
        (!is_function && !dialogue_tool(dialogue, name)))
        return false;
    dialogue_call_begin(dialogue, name);
    return true;
}

static void begin_body(struct dialogue *dialogue)
{
    char channel[HEAD_MAX];
    char recipient[HEAD_MAX];
    word_after(dialogue->head, "\n", channel, sizeof(channel));
    word_after(dialogue->head, "to=", recipient, sizeof(recipient));
    dialogue->body = strcmp(channel, "analysis") == 0 ? DELTA_REASONING : DELTA_CONTENT;
    if (recipient[0] && begin_call(dialogue, recipient))
        dialogue->body = DELTA_ARGUMENTS;
    dialogue->space_count = 0;
    dialogue->drops_space = dialogue->body == DELTA_REASONING;
    dialogue_enter(dialogue, MODE_BODY);
}

/* Text where a head or nothing should be: an answer without a head. */
static void begin_answer(struct dialogue *dialogue)
{
    char head[HEAD_MAX + 1];
    const size_t size = dialogue->head_size;
    memcpy(head, dialogue->head, sizeof(head));
    dialogue->body = DELTA_CONTENT;
    dialogue->space_count = 0;
    dialogue_enter(dialogue, MODE_BODY);
    for (size_t at = 0; at < size; at++)
        dialogue_say_text(dialogue, DELTA_CONTENT, head[at]);
}

/* Before any marker only a recipient may come. */
static bool may_be_head(const struct dialogue *dialogue)
{
    const char *head = dialogue->head + strspn(dialogue->head, " \n\t\r");
    const size_t size = strlen(head);
    return dialogue->has_begun || strncmp(head, "to=", size < 3 ? size : 3) == 0;
}

static void head_text(struct dialogue *dialogue, char byte)
{
    const bool is_full = !dialogue_head_add(dialogue, byte);
    if (!is_full && may_be_head(dialogue))
        return;
    begin_answer(dialogue);
    if (is_full)
        dialogue_say_text(dialogue, DELTA_CONTENT, byte);
}

/* ---- bodies ---- */

static void body_text(struct dialogue *dialogue, char byte)
{
    if (dialogue->body != DELTA_ARGUMENTS) {
        dialogue_say_text(dialogue, dialogue->body, byte);
        return;
    }
    if (!dialogue->arguments.is_closed && arguments_json(dialogue, byte) == SCAN_BAD)
        arguments_end(dialogue);
}

static void end_body(struct dialogue *dialogue)
{
    if (dialogue->body == DELTA_ARGUMENTS)
        dialogue_call_end(dialogue);
    else if (dialogue->body == DELTA_REASONING)
        dialogue->space_count = 0;
    else
        dialogue_flush_spaces(dialogue, DELTA_CONTENT);
    dialogue->drops_space = false;
    dialogue->body = DELTA_CONTENT;
}

static void gap_text(struct dialogue *dialogue, char byte)
{
    if (json_is_space((uint8_t)byte))
        return;
    dialogue_enter(dialogue, MODE_BODY);
    dialogue_say_text(dialogue, DELTA_CONTENT, byte);
}

static void text_byte(struct dialogue *dialogue, char byte)
{
    if (dialogue->mode == MODE_HEAD)
        head_text(dialogue, byte);
    else if (dialogue->mode == MODE_BODY)
        body_text(dialogue, byte);
    else
        gap_text(dialogue, byte);
}

void harmony_byte(struct dialogue *dialogue, char byte)
{
    const int marker = dialogue_match(dialogue, byte, markers, text_byte);
    if (marker < 0)
        return;
    if (dialogue->mode == MODE_BODY && marker != MARK_MESSAGE && marker != MARK_CONSTRAIN)
        end_body(dialogue);
    dialogue->has_begun = true;
    switch (marker) {
    case MARK_START:
        dialogue_enter(dialogue, MODE_HEAD);
        break;
    case MARK_CHANNEL:
        if (dialogue->mode != MODE_HEAD)
            dialogue_enter(dialogue, MODE_HEAD);
        (void)dialogue_head_add(dialogue, '\n');
        break;
    case MARK_MESSAGE:
        if (dialogue->mode != MODE_BODY)
            begin_body(dialogue);
        break;
    case MARK_CONSTRAIN:
        if (dialogue->mode == MODE_HEAD)
            (void)dialogue_head_add(dialogue, ' ');
        break;
    default:
        dialogue_enter(dialogue, MODE_GAP);
    }
}

void harmony_finish(struct dialogue *dialogue)
{
    const size_t size = dialogue->held_size;
    dialogue->held_size = 0;
    for (size_t at = 0; at < size && dialogue->mode == MODE_BODY; at++)
        body_text(dialogue, dialogue->held[at]);
    /* A head that broke off before any marker was the beginning of an answer. */
    if (dialogue->mode == MODE_HEAD && !dialogue->has_begun) {
        begin_answer(dialogue);
        for (size_t at = 0; at < size; at++)
            dialogue_say_text(dialogue, DELTA_CONTENT, dialogue->held[at]);
    }
    if (dialogue->mode == MODE_BODY && dialogue->body == DELTA_REASONING)
        dialogue_flush_spaces(dialogue, DELTA_REASONING);
    if (dialogue->mode == MODE_BODY)
        end_body(dialogue);
}
