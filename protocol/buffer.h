/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffer: growing bytes, born with a ceiling.
 *
 * Owner    whoever initialised it.
 * Memory   doubles up to the ceiling; buffer_fini gives all back.
 * Threads  one at a time.
 * Fails    STATUS_TOO_LARGE at the ceiling, STATUS_NO_MEMORY; both leave the content as it was.
 */
#ifndef TROUPE_PROTOCOL_BUFFER_H
#define TROUPE_PROTOCOL_BUFFER_H

#include "protocol/status.h"

#include <stddef.h>
#include <stdint.h>

struct buffer {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    size_t ceiling;
};

void buffer_init(struct buffer *buffer, size_t ceiling);
/* Accepts a buffer that was zeroed or finished before. */
void buffer_fini(struct buffer *buffer);
/* Forgets the content, keeps the memory. */
void buffer_clear(struct buffer *buffer);
/* Room for `size` more bytes. */
MUST_CHECK enum status buffer_reserve(struct buffer *buffer, size_t size);
MUST_CHECK enum status buffer_append(struct buffer *buffer, const void *bytes, size_t size);
MUST_CHECK enum status buffer_append_text(struct buffer *buffer, const char *text);
MUST_CHECK enum status buffer_append_format(struct buffer *buffer, const char *format, ...)
    PRINTF_LIKE(2, 3);
/* Removes the first `size` bytes. */
void buffer_consume(struct buffer *buffer, size_t size);
/* NUL-terminated text; the caller frees it with memory_free; the buffer is empty afterwards. */
MUST_CHECK char *buffer_take_text(struct buffer *buffer);

#endif
