/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_file: a piece of an open file on its way to a client.
 *
 * Bytes are read when the client takes them, so an answer of any size costs one block of memory.
 * The system is told ahead what will be read, so that a disk is seldom waited for.
 *
 * Owner    the answer it belongs to.
 * Memory   one heap object; the descriptor is its own.
 * Threads  one at a time.
 * Fails    http_file_read: negative when the file ended early or cannot be read.
 */
#ifndef TROUPE_ACTORS_GATEWAY_HTTP_FILE_H
#define TROUPE_ACTORS_GATEWAY_HTTP_FILE_H

#include "protocol/assert.h"

#include <stddef.h>
#include <stdint.h>

#define HTTP_FILE_BLOCK_SIZE ((size_t)128 << 10)
#define HTTP_FILE_AHEAD_SIZE ((uint64_t)4 << 20)

struct http_file; /* opaque */

/* `descriptor` is the file's from here on, also when there is no memory: then NULL. */
MUST_CHECK struct http_file *http_file_open(int descriptor, uint64_t first, uint64_t size);
/* Bytes from `position` of the piece on, at most `size`. */
MUST_CHECK int64_t http_file_read(struct http_file *file, uint64_t position, char *bytes_out,
                                  size_t size);
uint64_t http_file_size(const struct http_file *file);
/* Accepts NULL. */
void http_file_close(void *file);

#endif
