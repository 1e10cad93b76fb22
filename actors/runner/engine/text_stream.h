/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_stream: bytes of tokens in, whole characters out, up to a stop string.
 *
 * Tokens end in the middle of characters.  The stream holds back the 1 to 3 bytes that may still
 * become a character, gives U+FFFD for bytes that never can and for NUL, and holds back what may be
 * the beginning of a stop string, so that no byte of one is ever handed out.
 *
 * Owner    one generated choice.
 * Memory   a buffer that grows with what is not taken yet; stop strings are copied at open.
 * Threads  none.
 * Fails    STATUS_INVALID (too many or too long stop strings), STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ENGINE_TEXT_STREAM_H
#define TROUPE_ENGINE_TEXT_STREAM_H

#include "protocol/status.h"

#include <stddef.h>

enum {
    STOP_STRINGS_MAX = 16,
    STOP_STRING_SIZE_MAX = 1024,
};

struct text_stream;

struct stop_string {
    const char *text;
    size_t size;
};

/* Stop strings are 1 to STOP_STRING_SIZE_MAX bytes of UTF-8. */
MUST_CHECK enum status text_stream_open(const struct stop_string *stops, size_t stop_count,
                                        struct text_stream **stream_out, struct reason *reason);
/* Accepts NULL. */
void text_stream_close(struct text_stream *stream);

/* From here on NUL is text like any other: for callers that keep the length. */
void text_stream_keep_nul(struct text_stream *stream);

/* Adds bytes; after a stop string they are dropped. */
MUST_CHECK enum status text_stream_push(struct text_stream *stream, const char *bytes,
                                        size_t size);

/* No more bytes come: what was held back is text now, an unfinished character is U+FFFD. */
MUST_CHECK enum status text_stream_finish(struct text_stream *stream);

/* Text that may be handed out and was not taken yet; valid until the next call. */
const char *text_stream_text(const struct text_stream *stream, size_t *length_out);

/* Forgets what text_stream_text gave. */
void text_stream_take(struct text_stream *stream);

/* The number of the stop string that was met, or -1.  The text ends before it. */
int text_stream_stopped(const struct text_stream *stream);

#endif
