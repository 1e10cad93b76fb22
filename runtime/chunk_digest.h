/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunk_digest: the digest of a chunk of a model, by which every node knows it: SHA-256, at once or
 * piece by piece.
 *
 * It is what a receiver spends most on, and all nodes must use one, so it was chosen by measurement
 * among what the libraries have.  GB/s of one core (AMD EPYC, AVX2 and SHA extensions), 1 MiB at a
 * time, scripts/bars/03-distribute prints its own:
 *
 *   SHA-256, libcrypto    1.5; 0.5 where a processor has no SHA extensions (x86 before 2019)
 *   BLAKE2b, libsodium    0.9
 *   BLAKE2b, libcrypto    0.6
 *
 * Everything else that is hashed is hashed by protocol/hash.h.
 *
 * Memory   none of its own; a stream lies where the caller puts it and needs no end.
 * Threads  any; a stream belongs to one thread at a time.
 * Fails    never.
 */
#ifndef TROUPE_RUNTIME_CHUNK_DIGEST_H
#define TROUPE_RUNTIME_CHUNK_DIGEST_H

#include "protocol/ids.h"

#include <stddef.h>
#include <stdint.h>

struct chunk_digest {
    uint64_t opaque[14]; /* the library's */
};

void chunk_digest_init(struct chunk_digest *digest);
void chunk_digest_update(struct chunk_digest *digest, const void *bytes, size_t size);
/* The stream must be initialised again before its next use. */
void chunk_digest_final(struct chunk_digest *digest, struct hash *hash_out);

void chunk_digest_of(const void *bytes, size_t size, struct hash *hash_out);

#endif
