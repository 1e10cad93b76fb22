/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto_hash: the hashes by which hubs name what they keep: SHA-256 of large files, git's SHA-1
 * ("blob SIZE", NUL, the bytes) of small ones, in lower-case hex.
 *
 * Owner    whoever opens a stream.
 * Memory   one heap object and what the library takes.
 * Threads  any; a stream belongs to one thread at a time.
 * Fails    NO_MEMORY; INTERNAL when the library refuses.
 */
#ifndef TROUPE_RUNTIME_CRYPTO_HASH_H
#define TROUPE_RUNTIME_CRYPTO_HASH_H

#include "protocol/status.h"

#include <stdbool.h>

enum etag_kind { ETAG_NONE = 0, ETAG_SHA256 = 1, ETAG_GIT_SHA1 = 2 };

#define ETAG_BYTES_MAX 32
#define ETAG_SIZE (2 * ETAG_BYTES_MAX + 1) /* of the text, NUL included */

struct etag_stream; /* opaque */

/* 64 or 40 lower-case hex digits; ETAG_NONE for anything else. */
enum etag_kind etag_kind_of(const char *etag);

/* `size` is the whole file's: git's hash begins with it. */
MUST_CHECK enum status etag_stream_open(enum etag_kind kind, uint64_t size,
                                        struct etag_stream **stream_out, struct reason *reason);
void etag_stream_update(struct etag_stream *stream, const void *bytes, size_t size);
/* The text; INTERNAL when an update failed.  The stream must still be closed. */
MUST_CHECK enum status etag_stream_final(struct etag_stream *stream, char etag_out[ETAG_SIZE],
                                         struct reason *reason);
/* Accepts NULL. */
void etag_stream_close(struct etag_stream *stream);

/* At once. */
MUST_CHECK enum status etag_of(enum etag_kind kind, const void *bytes, size_t size,
                               char etag_out[ETAG_SIZE], struct reason *reason);

#endif
