/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/chunk_digest.h"

#include "protocol/assert.h"

/* The functions that take no memory; version 3 of the library would rather have those that do. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

_Static_assert(sizeof(SHA256_CTX) <= sizeof(struct chunk_digest), "the library's state fits");
_Static_assert(sizeof(struct hash) == SHA256_DIGEST_LENGTH, "a digest is a hash");

static SHA256_CTX *state_of(struct chunk_digest *digest)
{
    return (SHA256_CTX *)(void *)digest->opaque;
}

void chunk_digest_init(struct chunk_digest *digest)
{
    const int is_done = SHA256_Init(state_of(digest));
    ASSERT(is_done == 1);
}

void chunk_digest_update(struct chunk_digest *digest, const void *bytes, size_t size)
{
    const int is_done = SHA256_Update(state_of(digest), bytes, size);
    ASSERT(is_done == 1);
}

void chunk_digest_final(struct chunk_digest *digest, struct hash *hash_out)
{
    const int is_done = SHA256_Final(hash_out->bytes, state_of(digest));
    ASSERT(is_done == 1);
}

void chunk_digest_of(const void *bytes, size_t size, struct hash *hash_out)
{
    struct chunk_digest digest;
    chunk_digest_init(&digest);
    chunk_digest_update(&digest, bytes, size);
    chunk_digest_final(&digest, hash_out);
}
