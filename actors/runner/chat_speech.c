/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/chat_speech.h"

#include "protocol/buffer.h"
#include "protocol/limits.h"
#include "protocol/memory.h"

#include <string.h>

struct chat_speech {
    struct dialogue_style style;
    struct text_stream *whole; /* characters, whatever the tokens cut */
    struct dialogue *dialogue;
    struct buffer reasoning;
    struct token_streamed said; /* its calls */
};

enum status chat_speech_open(const struct dialogue_style *style, enum thinking thinking,
                             const json_t *tools, struct chat_speech **speech_out)
{
    struct chat_speech *speech = memory_zeroed(1, sizeof(*speech));
    if (!speech)
        return STATUS_NO_MEMORY;
    speech->style = *style;
    buffer_init(&speech->reasoning, SAID_SIZE_MAX);
    enum status status = text_stream_open(NULL, 0, &speech->whole, NULL);
    if (status == STATUS_OK)
        status = dialogue_open(style, thinking, tools, &speech->dialogue);
    if (status != STATUS_OK) {
        chat_speech_close(speech);
        return status;
    }
    *speech_out = speech;
    return STATUS_OK;
}

void chat_speech_close(struct chat_speech *speech)
{
    if (!speech)
        return;
    text_stream_close(speech->whole);
    dialogue_close(speech->dialogue);
    buffer_fini(&speech->reasoning);
    record_fini(&token_streamed_type, &speech->said);
    memory_free(speech);
}

bool chat_speech_has_marker(const struct chat_speech *speech, const char *text, size_t size)
{
    return dialogue_style_has_marker(&speech->style, text, size);
}

bool chat_speech_is_thinking(const struct chat_speech *speech)
{
    return dialogue_is_thinking(speech->dialogue);
}

bool chat_speech_has_called(const struct chat_speech *speech)
{
    return dialogue_has_called(speech->dialogue);
}

static enum status collect_call(struct chat_speech *speech, const struct dialogue_delta *delta,
                                const char *text)
{
    struct call_piece *piece = record_list_push(&call_piece_type, RECORD_LIST(speech->said.calls),
                                                NULL, CALL_PIECE_COUNT_MAX);
    if (!piece)
        return STATUS_NO_MEMORY;
    piece->number = delta->call;
    char **field = delta->kind == DELTA_CALL ? &piece->name : &piece->arguments;
    *field = memory_text(text + delta->start, delta->size);
    return *field ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status collect(struct chat_speech *speech, struct text_stream *answer)
{
    size_t count = 0;
    const char *text = NULL;
    const struct dialogue_delta *deltas = dialogue_deltas(speech->dialogue, &count, &text);
    enum status status = STATUS_OK;
    for (size_t at = 0; status == STATUS_OK && at < count; at++) {
        const struct dialogue_delta *delta = &deltas[at];
        if (delta->kind == DELTA_CONTENT)
            status = text_stream_push(answer, text + delta->start, delta->size);
        else if (delta->kind == DELTA_REASONING)
            status = buffer_append(&speech->reasoning, text + delta->start, delta->size);
        else
            status = collect_call(speech, delta, text);
    }
    dialogue_take(speech->dialogue);
    return status;
}

static enum status push_whole(struct chat_speech *speech)
{
    size_t size = 0;
    const char *text = text_stream_text(speech->whole, &size);
    const enum status status = dialogue_push(speech->dialogue, text, size);
    text_stream_take(speech->whole);
    return status;
}

enum status chat_speech_push(struct chat_speech *speech, const char *bytes, size_t size,
                             struct text_stream *answer)
{
    enum status status = text_stream_push(speech->whole, bytes, size);
    if (status == STATUS_OK)
        status = push_whole(speech);
    return status == STATUS_OK ? collect(speech, answer) : status;
}

enum status chat_speech_finish(struct chat_speech *speech, bool is_cut, struct text_stream *answer)
{
    enum status status = text_stream_finish(speech->whole);
    if (status == STATUS_OK)
        status = push_whole(speech);
    if (status == STATUS_OK)
        status = dialogue_finish(speech->dialogue, is_cut);
    return status == STATUS_OK ? collect(speech, answer) : status;
}

enum status chat_speech_take(struct chat_speech *speech, char **reasoning_out,
                             struct record_list *calls_out)
{
    if (speech->reasoning.size > 0) {
        char *text = buffer_take_text(&speech->reasoning);
        if (!text)
            return STATUS_NO_MEMORY;
        memory_free(*reasoning_out);
        *reasoning_out = text;
        buffer_init(&speech->reasoning, SAID_SIZE_MAX);
    }
    struct record_list *calls = RECORD_LIST(speech->said.calls);
    *calls_out = *calls;
    *calls = (struct record_list){0};
    return STATUS_OK;
}

void chat_speech_drop(struct chat_speech *speech)
{
    buffer_clear(&speech->reasoning);
    record_fini(&token_streamed_type, &speech->said);
    speech->said = (struct token_streamed){.attempt = 0};
}
