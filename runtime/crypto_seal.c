/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/crypto_seal.h"

#include "runtime/bytes.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>

#define COUNTER_SIZE 8u
#define TAG_SIZE 16u

_Static_assert(COUNTER_SIZE + TAG_SIZE == SEAL_OVERHEAD, "what a sealed message is longer by");
_Static_assert(TAG_SIZE == crypto_aead_aes256gcm_ABYTES, "tags of both ciphers");
_Static_assert(TAG_SIZE == crypto_aead_xchacha20poly1305_ietf_ABYTES, "are of one size");
_Static_assert(sizeof(crypto_aead_aes256gcm_state) <= sizeof(((struct seal *)0)->state),
               "a seal holds the library's state");

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void open_library(void)
{
    ASSERT(sodium_init() >= 0);
}

bool seal_has_aes(void)
{
    pthread_once(&library_once, open_library);
    return crypto_aead_aes256gcm_is_available() != 0;
}

void seal_init(struct seal *seal, const struct hash *key, enum seal_direction direction,
               bool is_aes)
{
    pthread_once(&library_once, open_library);
    memset(seal, 0, sizeof(*seal));
    seal->direction = (uint32_t)direction;
    seal->is_aes = is_aes;
    if (is_aes)
        crypto_aead_aes256gcm_beforenm((crypto_aead_aes256gcm_state *)(void *)seal->state,
                                       key->bytes);
    else
        memcpy(seal->state, key->bytes, sizeof(key->bytes));
}

void seal_fini(struct seal *seal)
{
    sodium_memzero(seal, sizeof(*seal));
}

/* The shorter nonce is the beginning of the longer one. */
static void make_nonce(const struct seal *seal, uint8_t nonce[24])
{
    memset(nonce, 0, 24);
    put_u32(nonce, seal->direction);
    put_u64(nonce + 4, seal->counter);
}

void seal_close(struct seal *seal, const void *with, size_t with_size, const void *bytes,
                size_t size, uint8_t *sealed_out)
{
    uint8_t nonce[24];
    make_nonce(seal, nonce);
    put_u64(sealed_out, seal->counter++);
    if (seal->is_aes)
        (void)crypto_aead_aes256gcm_encrypt_afternm(
            sealed_out + COUNTER_SIZE, NULL, bytes, size, with, with_size, NULL, nonce,
            (const crypto_aead_aes256gcm_state *)(const void *)seal->state);
    else
        (void)crypto_aead_xchacha20poly1305_ietf_encrypt(sealed_out + COUNTER_SIZE, NULL, bytes,
                                                         size, with, with_size, NULL, nonce,
                                                         seal->state);
}

enum status seal_open(struct seal *seal, const void *with, size_t with_size, const uint8_t *sealed,
                      size_t sealed_size, uint8_t *bytes_out)
{
    uint8_t nonce[24];
    if (sealed_size < SEAL_OVERHEAD || get_u64(sealed) != seal->counter)
        return STATUS_HASH_MISMATCH;
    make_nonce(seal, nonce);
    const size_t size = sealed_size - COUNTER_SIZE;
    const int opened =
        seal->is_aes
            ? crypto_aead_aes256gcm_decrypt_afternm(
                  bytes_out, NULL, NULL, sealed + COUNTER_SIZE, size, with, with_size, nonce,
                  (const crypto_aead_aes256gcm_state *)(const void *)seal->state)
            : crypto_aead_xchacha20poly1305_ietf_decrypt(bytes_out, NULL, NULL,
                                                         sealed + COUNTER_SIZE, size, with,
                                                         with_size, nonce, seal->state);
    if (opened != 0)
        return STATUS_HASH_MISMATCH;
    seal->counter++;
    return STATUS_OK;
}
