/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/buffer.h"

#include "protocol/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void buffer_init(struct buffer *buffer, size_t ceiling)
{
    *buffer = (struct buffer){.ceiling = ceiling};
}

void buffer_fini(struct buffer *buffer)
{
    memory_free(buffer->bytes);
    *buffer = (struct buffer){.ceiling = buffer->ceiling};
}

void buffer_clear(struct buffer *buffer)
{
    buffer->size = 0;
}

enum status buffer_reserve(struct buffer *buffer, size_t size)
{
    if (size > buffer->ceiling || buffer->size > buffer->ceiling - size)
        return STATUS_TOO_LARGE;
    size_t needed = buffer->size + size;
    if (needed <= buffer->capacity)
        return STATUS_OK;
    size_t capacity = buffer->capacity ? buffer->capacity : 256;
    while (capacity < needed)
        capacity = capacity > buffer->ceiling / 2 ? buffer->ceiling : capacity * 2;
    uint8_t *bytes = memory_resized(buffer->bytes, capacity, 1);
    if (!bytes)
        return STATUS_NO_MEMORY;
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return STATUS_OK;
}

enum status buffer_append(struct buffer *buffer, const void *bytes, size_t size)
{
    enum status status = buffer_reserve(buffer, size);
    if (status != STATUS_OK)
        return status;
    if (size > 0)
        memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
    return STATUS_OK;
}

enum status buffer_append_text(struct buffer *buffer, const char *text)
{
    return buffer_append(buffer, text, strlen(text));
}

enum status buffer_append_format(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    enum status status = STATUS_INTERNAL;
    if (length >= 0)
        status = buffer_reserve(buffer, (size_t)length + 1);
    if (status == STATUS_OK) {
        (void)vsnprintf((char *)buffer->bytes + buffer->size, (size_t)length + 1, format, again);
        buffer->size += (size_t)length;
    }
    va_end(again);
    return status;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    ASSERT(size <= buffer->size);
    if (size == 0)
        return;
    memmove(buffer->bytes, buffer->bytes + size, buffer->size - size);
    buffer->size -= size;
}

char *buffer_take_text(struct buffer *buffer)
{
    char *text = memory_text((const char *)buffer->bytes, buffer->size);
    if (text)
        buffer_fini(buffer);
    return text;
}
