/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/http_file.h"

#include "protocol/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct http_file {
    int descriptor;
    uint64_t first;
    uint64_t size;
    uint64_t told; /* so far of the piece the system knows that it will be read */
};

struct http_file *http_file_open(int descriptor, uint64_t first, uint64_t size)
{
    struct http_file *file = memory_zeroed(1, sizeof(*file));
    if (!file) {
        (void)close(descriptor);
        return NULL;
    }
    *file = (struct http_file){.descriptor = descriptor, .first = first, .size = size};
    return file;
}

static void tell_ahead(struct http_file *file, uint64_t position)
{
#ifdef POSIX_FADV_WILLNEED
    const uint64_t end = position + HTTP_FILE_AHEAD_SIZE < file->size
                             ? position + HTTP_FILE_AHEAD_SIZE
                             : file->size;
    if (file->told > position && end < file->told + HTTP_FILE_AHEAD_SIZE / 2 && end < file->size)
        return;
    if (end > file->told)
        (void)posix_fadvise(file->descriptor, (off_t)(file->first + file->told),
                            (off_t)(end - file->told), POSIX_FADV_WILLNEED);
    file->told = end > file->told ? end : file->told;
#else
    (void)file;
    (void)position;
#endif
}

int64_t http_file_read(struct http_file *file, uint64_t position, char *bytes_out, size_t size)
{
    if (position >= file->size)
        return -1;
    const uint64_t left = file->size - position;
    ssize_t count = -1;
    tell_ahead(file, position);
    do {
        count = pread(file->descriptor, bytes_out, left < size ? (size_t)left : size,
                      (off_t)(file->first + position));
    } while (count < 0 && errno == EINTR);
    return count > 0 ? (int64_t)count : -1; /* none: it was cut since it was opened */
}

uint64_t http_file_size(const struct http_file *file)
{
    return file->size;
}

void http_file_close(void *argument)
{
    struct http_file *file = argument;
    if (!file)
        return;
    (void)close(file->descriptor);
    memory_free(file);
}
