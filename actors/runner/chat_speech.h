/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chat_speech: from the bytes of tokens to the answer's text, the thinking and the calls of tools.
 *
 * The answer's text goes into the caller's stream, which looks for stop texts; thinking and calls
 * are collected until they are taken.
 *
 * Owner    a chat.
 * Memory   the parser's, and what was not taken yet.
 * Threads  the engine thread's.
 * Fails    STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ACTORS_RUNNER_CHAT_SPEECH_H
#define TROUPE_ACTORS_RUNNER_CHAT_SPEECH_H

#include "actors/runner/engine/dialogue/dialogue.h"
#include "actors/runner/engine/text_stream.h"
#include "protocol/schema.h"

struct chat_speech;

MUST_CHECK enum status chat_speech_open(const struct dialogue_style *style, enum thinking thinking,
                                        const json_t *tools, struct chat_speech **speech_out);
/* Accepts NULL. */
void chat_speech_close(struct chat_speech *speech);
/* A special token with this text means something. */
bool chat_speech_has_marker(const struct chat_speech *speech, const char *text, size_t size);
/* The next token belongs to the thinking. */
bool chat_speech_is_thinking(const struct chat_speech *speech);
/* A tool was called, and the call is whole. */
bool chat_speech_has_called(const struct chat_speech *speech);
MUST_CHECK enum status chat_speech_push(struct chat_speech *speech, const char *bytes, size_t size,
                                        struct text_stream *answer);
MUST_CHECK enum status chat_speech_finish(struct chat_speech *speech, bool is_cut,
                                          struct text_stream *answer);
/* Moves what was collected into the fields of a message. */
MUST_CHECK enum status chat_speech_take(struct chat_speech *speech, char **reasoning_out,
                                        struct record_list *calls_out);
/* Forgets it. */
void chat_speech_drop(struct chat_speech *speech);

#endif
