/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Not a test: what tests/process/test_dialogue.py compares.
 *
 * usage: dialogue-samples <LINES
 * Each line is {"template": "...", "tail": "...", "tools": [...], "pieces": ["...", ...]}; for it
 * one line comes back, what the pieces said: {"content": "...", "reasoning": "...", "calls":
 * [{"name": "...", "arguments": "..."}]}.  `tail` is the end of the prompt.
 */
#include "actors/runner/engine/dialogue/dialogue.h"
#include "protocol/buffer.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <stdlib.h>

struct said {
    struct buffer content, reasoning, arguments;
    json_t *calls;
};

static void must(bool good)
{
    if (!good)
        abort();
}

static json_t *text_of(struct buffer *buffer)
{
    json_t *text = json_stringn_nocheck(buffer->size ? (const char *)buffer->bytes : "",
                                        buffer->size);
    buffer_clear(buffer);
    return text;
}

static void end_call(struct said *said)
{
    json_t *last = json_array_get(said->calls, json_array_size(said->calls) - 1);
    if (last)
        must(json_object_set_new(last, "arguments", text_of(&said->arguments)) == 0);
}

static void take(struct dialogue *dialogue, struct said *said)
{
    size_t count = 0;
    const char *text = NULL;
    const struct dialogue_delta *deltas = dialogue_deltas(dialogue, &count, &text);
    for (size_t at = 0; at < count; at++) {
        const char *bytes = text + deltas[at].start;
        const size_t size = deltas[at].size;
        struct buffer *const into[] = {[DELTA_CONTENT] = &said->content,
                                       [DELTA_REASONING] = &said->reasoning,
                                       [DELTA_ARGUMENTS] = &said->arguments};
        if (deltas[at].kind == DELTA_CALL) {
            end_call(said);
            must(json_array_append_new(said->calls, json_pack("{s:s%}", "name", bytes, size)) == 0);
        } else {
            must(buffer_append(into[deltas[at].kind], bytes, size) == STATUS_OK);
        }
    }
    dialogue_take(dialogue);
}

static void answer(const json_t *task)
{
    const json_t *form = json_object_get(task, "template");
    const json_t *tail = json_object_get(task, "tail");
    const json_t *pieces = json_object_get(task, "pieces");
    const struct dialogue_style style =
        dialogue_style_of(json_string_value(form), json_string_length(form));
    const enum thinking thinking =
        dialogue_thinking_of(&style, json_string_value(tail), json_string_length(tail));
    struct dialogue *dialogue = NULL;
    struct said said = {.calls = json_array()};
    buffer_init(&said.content, SIZE_MAX / 2);
    buffer_init(&said.reasoning, SIZE_MAX / 2);
    buffer_init(&said.arguments, SIZE_MAX / 2);
    must(dialogue_open(&style, thinking, json_object_get(task, "tools"), &dialogue) == STATUS_OK);
    for (size_t at = 0; at < json_array_size(pieces); at++) {
        const json_t *piece = json_array_get(pieces, at);
        must(dialogue_push(dialogue, json_string_value(piece), json_string_length(piece)) ==
             STATUS_OK);
        take(dialogue, &said);
    }
    must(dialogue_finish(dialogue, false) == STATUS_OK);
    take(dialogue, &said);
    end_call(&said);
    json_t *line = json_pack("{s:o,s:o,s:o}", "content", text_of(&said.content), "reasoning",
                             text_of(&said.reasoning), "calls", said.calls);
    char *text = json_dumps(line, JSON_COMPACT);
    must(text != NULL);
    puts(text);
    free(text);
    json_decref(line);
    buffer_fini(&said.content);
    buffer_fini(&said.reasoning);
    buffer_fini(&said.arguments);
    dialogue_close(dialogue);
}

int main(void)
{
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        json_t *task = json_loads(line, JSON_ALLOW_NUL, NULL);
        answer(task);
        json_decref(task);
    }
    free(line);
    return EXIT_SUCCESS;
}
