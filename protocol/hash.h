/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash: BLAKE2b-256, at once or piece by piece.
 *
 * Memory   none of its own; a stream lies where the caller puts it.
 * Threads  any; a stream belongs to one thread at a time.
 * Fails    never.
 */
#ifndef TROUPE_PROTOCOL_HASH_H
#define TROUPE_PROTOCOL_HASH_H

#include "protocol/ids.h"

#include <stddef.h>
#include <stdint.h>

/* Room for libsodium's state.  It may lie anywhere, so in any allocation: hash.c works on a copy
 * that lies as the library demands (64 bytes, more than memory_zeroed promises). */
struct hash_stream {
    uint64_t opaque[48];
};

void hash_init(struct hash_stream *stream);
void hash_update(struct hash_stream *stream, const void *bytes, size_t size);
/* The stream must be initialised again before its next use. */
void hash_final(struct hash_stream *stream, struct hash *hash_out);

void hash_of(const void *bytes, size_t size, struct hash *hash_out);

#endif
