/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dialogue: what a model says, taken apart while it streams: thinking, answer, calls of tools.
 *
 * Works on bytes one by one, so that the result does not depend on how a text is cut into pieces.
 * What may be the beginning of a marker, or of a call whose name is not known yet, is held back:
 * no delta is ever taken back.  What looks like a call and is none is the text it is.  Arguments
 * are one JSON object, whatever the syntax; each is coerced to the type its tool's schema gives;
 * when the model breaks off in the middle the object is closed.
 *
 * White space around the thinking and between answer and calls belongs to the syntax and is
 * dropped.
 *
 * Owner    one answer.
 * Memory   at most DIALOGUE_HELD_MAX held back, and the deltas not taken yet.
 * Threads  none of its own.
 * Fails    STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ENGINE_DIALOGUE_DIALOGUE_H
#define TROUPE_ENGINE_DIALOGUE_DIALOGUE_H

#include "actors/runner/engine/dialogue/style.h"
#include "protocol/status.h"

#include <jansson.h>
#include <stdint.h>

enum {
    DIALOGUE_HELD_MAX = 1 << 20, /* an argument that is no text; a call with its name at the end */
    DIALOGUE_CALLS_MAX = 256,    /* further ones are text */
    DIALOGUE_NAME_MAX = 64,      /* bytes of a tool's name */
};

enum delta_kind {
    DELTA_CONTENT = 1,
    DELTA_REASONING,
    DELTA_CALL,      /* a call begins; the text is its name */
    DELTA_ARGUMENTS, /* of the last call */
};

struct dialogue_delta {
    enum delta_kind kind;
    uint32_t call; /* from 0 */
    size_t start;  /* in the text of all deltas */
    size_t size;
};

struct dialogue;

/* `tools` as the client gave them, borrowed for the call only; NULL: calls are no calls but text.
 */
MUST_CHECK enum status dialogue_open(const struct dialogue_style *style, enum thinking thinking,
                                     const json_t *tools, struct dialogue **dialogue_out);
/* Accepts NULL. */
void dialogue_close(struct dialogue *dialogue);

/* Whole characters are not asked for. */
MUST_CHECK enum status dialogue_push(struct dialogue *dialogue, const char *bytes, size_t size);
/* The model ended; with `is_cut` at a limit, in the middle of what it wanted to say. */
MUST_CHECK enum status dialogue_finish(struct dialogue *dialogue, bool is_cut);

/* What is certain since the last dialogue_take, and the text its places mean. */
const struct dialogue_delta *dialogue_deltas(const struct dialogue *dialogue, size_t *count_out,
                                             const char **text_out);
void dialogue_take(struct dialogue *dialogue);

uint32_t dialogue_call_count(const struct dialogue *dialogue);
/* A call was made, and the last one is whole. */
bool dialogue_has_called(const struct dialogue *dialogue);
/* The next byte belongs to the thinking. */
bool dialogue_is_thinking(const struct dialogue *dialogue);
/* Bytes in use. */
size_t dialogue_memory(const struct dialogue *dialogue);

#endif
