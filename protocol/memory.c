/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

static atomic_uint_fast64_t calls_left = UINT64_MAX;

static int may_allocate(size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size)
        return 0;
    uint64_t left = atomic_load_explicit(&calls_left, memory_order_relaxed);
    if (left == UINT64_MAX)
        return 1;
    if (left == 0)
        return 0;
    atomic_store_explicit(&calls_left, left - 1, memory_order_relaxed);
    return 1;
}

void *memory_zeroed(size_t count, size_t size)
{
    if (!may_allocate(count, size))
        return NULL;
    if (count == 0 || size == 0)
        return calloc(1, 1);
    return calloc(count, size);
}

void *memory_resized(void *block, size_t count, size_t size)
{
    if (!may_allocate(count, size))
        return NULL;
    size_t total = count * size;
    return realloc(block, total == 0 ? 1 : total);
}

void *memory_copied(const void *bytes, size_t size)
{
    void *copy = memory_zeroed(size, 1);
    if (copy && size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

char *memory_text(const char *text, size_t length)
{
    if (length == SIZE_MAX)
        return NULL;
    char *copy = memory_zeroed(length + 1, 1);
    if (copy && length > 0)
        memcpy(copy, text, length);
    return copy;
}

void memory_free(void *block)
{
    free(block);
}

void memory_trim(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

void memory_keep(int bytes)
{
#ifdef __GLIBC__
    (void)mallopt(M_MMAP_THRESHOLD, bytes);
    (void)mallopt(M_TRIM_THRESHOLD, 8 * bytes);
#else
    (void)bytes;
#endif
}

void memory_fail_after(uint64_t calls)
{
    atomic_store(&calls_left, calls);
}
