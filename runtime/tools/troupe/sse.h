/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sse: server-sent events out of the pieces of a stream (WHATWG HTML, 9.2): the value of each
 * event, whole.
 *
 * Memory   one event, at most SSE_EVENT_SIZE_MAX.
 * Fails    STATUS_TOO_LARGE, STATUS_NO_MEMORY, or what `take` said.
 */
#ifndef TROUPE_RUNTIME_TOOLS_TROUPE_SSE_H
#define TROUPE_RUNTIME_TOOLS_TROUPE_SSE_H

#include "protocol/buffer.h"

#include <stdbool.h>

enum { SSE_EVENT_SIZE_MAX = 4 << 20 };

struct sse_reader {
    struct buffer line;
    struct buffer value;
    bool has_value;
    enum status (*take)(void *self, const char *value, size_t size);
    void *self;
};

void sse_init(struct sse_reader *reader,
              enum status (*take)(void *self, const char *value, size_t size), void *self);
void sse_fini(struct sse_reader *reader);
MUST_CHECK enum status sse_feed(struct sse_reader *reader, const char *bytes, size_t size);

#endif
