/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/sse.h"

#include <string.h>

static const char field[] = "data:";

void sse_init(struct sse_reader *reader,
              enum status (*take)(void *self, const char *value, size_t size), void *self)
{
    *reader = (struct sse_reader){.take = take, .self = self};
    buffer_init(&reader->line, SSE_EVENT_SIZE_MAX);
    buffer_init(&reader->value, SSE_EVENT_SIZE_MAX);
}

void sse_fini(struct sse_reader *reader)
{
    buffer_fini(&reader->line);
    buffer_fini(&reader->value);
}

/* Comments and other fields are nothing to us; an empty line ends an event. */
static enum status take_line(struct sse_reader *reader)
{
    const char *line = (const char *)reader->line.bytes;
    size_t size = reader->line.size;
    enum status status = STATUS_OK;
    if (size > 0 && line[size - 1] == '\r')
        size--;
    if (size == 0) {
        if (reader->has_value) {
            status = buffer_append(&reader->value, "", 1);
            if (status == STATUS_OK)
                status = reader->take(reader->self, (const char *)reader->value.bytes,
                                      reader->value.size - 1);
        }
        buffer_clear(&reader->value);
        reader->has_value = false;
        return status;
    }
    const size_t prefix = sizeof(field) - 1;
    if (size < prefix || memcmp(line, field, prefix) != 0)
        return STATUS_OK;
    size_t start = prefix;
    if (start < size && line[start] == ' ')
        start++;
    if (reader->has_value)
        status = buffer_append(&reader->value, "\n", 1);
    reader->has_value = true;
    return status == STATUS_OK ? buffer_append(&reader->value, line + start, size - start)
                               : status;
}

enum status sse_feed(struct sse_reader *reader, const char *bytes, size_t size)
{
    while (size > 0) {
        const char *feed = memchr(bytes, '\n', size);
        const size_t piece = feed ? (size_t)(feed - bytes) : size;
        enum status status = buffer_append(&reader->line, bytes, piece);
        if (status == STATUS_OK && feed) {
            status = take_line(reader);
            buffer_clear(&reader->line);
        }
        if (status != STATUS_OK)
            return status;
        bytes += piece + (feed ? 1 : 0);
        size -= piece + (feed ? 1 : 0);
    }
    return STATUS_OK;
}
