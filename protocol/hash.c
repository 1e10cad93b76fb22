/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/hash.h"

#include "protocol/assert.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>

_Static_assert(sizeof(crypto_generichash_state) == sizeof(struct hash_stream),
               "a stream holds the library's state");

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

/* The library picks its fastest code when it is initialised, and plain code before that. */
static void open_library(void)
{
    ASSERT(sodium_init() >= 0);
}

void hash_init(struct hash_stream *stream)
{
    crypto_generichash_state state;
    pthread_once(&library_once, open_library);
    crypto_generichash_init(&state, NULL, 0, sizeof(struct hash));
    memcpy(stream, &state, sizeof(state));
}

void hash_update(struct hash_stream *stream, const void *bytes, size_t size)
{
    crypto_generichash_state state;
    memcpy(&state, stream, sizeof(state));
    crypto_generichash_update(&state, bytes, size);
    memcpy(stream, &state, sizeof(state));
}

void hash_final(struct hash_stream *stream, struct hash *hash_out)
{
    crypto_generichash_state state;
    memcpy(&state, stream, sizeof(state));
    crypto_generichash_final(&state, hash_out->bytes, sizeof(hash_out->bytes));
}

void hash_of(const void *bytes, size_t size, struct hash *hash_out)
{
    struct hash_stream stream;
    hash_init(&stream);
    hash_update(&stream, bytes, size);
    hash_final(&stream, hash_out);
}
