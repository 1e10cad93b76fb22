/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunk_digest: the digest of a chunk of a model, by which every node knows it: BLAKE3, at once or
 * piece by piece.
 *
 * It is what a receiver spends most on, so it was chosen by measurement.  GB/s of one core of the
 * machine that the bars are measured on (AMD EPYC with AVX2 and SHA extensions), the same bytes:
 *
 *   BLAKE2b (libsodium)   0.9     BLAKE2b (libcrypto)   0.6
 *   SHA-256 (libcrypto)   1.5     0.5 on processors without SHA extensions
 *   BLAKE3, here          see scripts/bars/03-distribute, which prints it; about 3
 *
 * Neither library has it, and all nodes must use one digest, so it is here: 8 leaves of the tree
 * side by side in the lanes of a vector, in AVX2 where the processor has it, else in what the
 * compiler makes of vectors (SSE2, NEON).
 *
 * Everything else that is hashed is hashed by protocol/hash.h.
 *
 * Memory   none of its own; a stream lies where the caller puts it and is 33 KiB large.
 * Threads  any; a stream belongs to one thread at a time.
 * Fails    never.
 */
#ifndef TROUPE_RUNTIME_CHUNK_DIGEST_H
#define TROUPE_RUNTIME_CHUNK_DIGEST_H

#include "protocol/ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_GROUP_SIZE 32768u /* so much is taken into the tree at a time */
#define DIGEST_STACK_MAX 40u     /* trees of 2^55 bytes */

struct chunk_digest {
    uint32_t stack[DIGEST_STACK_MAX][8]; /* roots of what was taken, the largest first */
    uint32_t stack_count;
    uint32_t have; /* bytes in `bytes`, which are not taken yet */
    uint64_t groups;
    bool is_plain;
    uint8_t bytes[DIGEST_GROUP_SIZE];
};

void chunk_digest_init(struct chunk_digest *digest);
/* The same, without the instructions that only some processors have: for tests. */
void chunk_digest_init_plain(struct chunk_digest *digest);
void chunk_digest_update(struct chunk_digest *digest, const void *bytes, size_t size);
/* The stream must be initialised again before its next use. */
void chunk_digest_final(struct chunk_digest *digest, struct hash *hash_out);

void chunk_digest_of(const void *bytes, size_t size, struct hash *hash_out);

#endif
