/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory: the only callers of malloc and its family.
 *
 * Memory   the caller owns what it gets and gives it back with memory_free.
 * Threads  any.
 * Fails    NULL when there is no memory or when count * size overflows.
 *
 * A test may make the Nth call fail (`memory_fail_after`), for every N.
 */
#ifndef TROUPE_PROTOCOL_MEMORY_H
#define TROUPE_PROTOCOL_MEMORY_H

#include "protocol/assert.h"

#include <stddef.h>
#include <stdint.h>

/* `count` zeroed things of `size` bytes; a count of 0 gives a unique pointer. */
MUST_CHECK void *memory_zeroed(size_t count, size_t size);
/* Like realloc for an array; new bytes are not zeroed.  The old block stays valid on failure. */
MUST_CHECK void *memory_resized(void *block, size_t count, size_t size);
/* A copy of `size` bytes. */
MUST_CHECK void *memory_copied(const void *bytes, size_t size);
/* A copy of a string of known length, with a NUL after it. */
MUST_CHECK char *memory_text(const char *text, size_t length);
/* Accepts NULL. */
void memory_free(void *block);

/* Gives freed pages back to the system where the C library can: after reading a large file. */
void memory_trim(void);

/* Blocks of up to `bytes` are kept when they are freed, where the C library can: for who frees and
 * takes large ones all the time.  memory_trim gives them back. */
void memory_keep(int bytes);

/* Tests only: after `calls` more successes every call fails; UINT64_MAX switches it off. */
void memory_fail_after(uint64_t calls);

#endif
