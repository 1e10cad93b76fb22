/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/crypto_seal.h"

#include "runtime/bytes.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>

#define TAG_SIZE 16u

_Static_assert(SEAL_COUNTER_SIZE + TAG_SIZE == SEAL_OVERHEAD, "what a sealed message is longer by");
_Static_assert(TAG_SIZE == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tags are of one size");
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

enum status seal_init(struct seal *seal, const struct hash *key, enum seal_direction direction,
                      bool is_aes)
{
    pthread_once(&library_once, open_library);
    *seal = (struct seal){.key = *key, .direction = (uint32_t)direction};
    if (is_aes && !(seal->cipher = EVP_CIPHER_CTX_new()))
        return STATUS_NO_MEMORY;
    return STATUS_OK;
}

void seal_fini(struct seal *seal)
{
    EVP_CIPHER_CTX_free(seal->cipher);
    sodium_memzero(seal, sizeof(*seal));
}

/* The shorter nonce is the beginning of the longer one. */
static void make_nonce(const struct seal *seal, uint8_t nonce[24])
{
    memset(nonce, 0, 24);
    put_u32(nonce, seal->direction);
    put_u64(nonce + 4, seal->counter);
}

/* Enciphers or deciphers; the tag is made, or has to be right. */
static bool run_aes(const struct seal *seal, const uint8_t *nonce, bool is_closing,
                    const void *with, size_t with_size, const uint8_t *from, size_t size,
                    uint8_t *to, uint8_t *tag)
{
    EVP_CIPHER_CTX *cipher = seal->cipher;
    int done = 0;
    int last = 0;
    ASSERT(size <= INT32_MAX && with_size <= INT32_MAX);
    return EVP_CipherInit_ex(cipher, EVP_aes_256_gcm(), NULL, seal->key.bytes, nonce,
                             is_closing) == 1 &&
           (with_size == 0 ||
            EVP_CipherUpdate(cipher, NULL, &done, with, (int)with_size) == 1) &&
           (size == 0 || EVP_CipherUpdate(cipher, to, &done, from, (int)size) == 1) &&
           (is_closing || EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, TAG_SIZE, tag) == 1) &&
           EVP_CipherFinal_ex(cipher, to + size, &last) == 1 &&
           (!is_closing || EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, TAG_SIZE, tag) == 1);
}

void seal_close(struct seal *seal, const void *with, size_t with_size, const void *bytes,
                size_t size, uint8_t *sealed_out)
{
    uint8_t nonce[24];
    uint8_t *to = sealed_out + SEAL_COUNTER_SIZE;
    make_nonce(seal, nonce);
    put_u64(sealed_out, seal->counter++);
    if (!seal->cipher)
        (void)crypto_aead_xchacha20poly1305_ietf_encrypt(to, NULL, bytes, size, with, with_size,
                                                         NULL, nonce, seal->key.bytes);
    else if (!run_aes(seal, nonce, true, with, with_size, bytes, size, to, to + size))
        memset(to, 0, size + TAG_SIZE); /* without memory: opens nowhere */
}

enum status seal_open(struct seal *seal, const void *with, size_t with_size, const uint8_t *sealed,
                      size_t sealed_size, uint8_t *bytes_out)
{
    uint8_t nonce[24];
    uint8_t tag[TAG_SIZE];
    if (sealed_size < SEAL_OVERHEAD || get_u64(sealed) != seal->counter)
        return STATUS_HASH_MISMATCH;
    make_nonce(seal, nonce);
    const uint8_t *from = sealed + SEAL_COUNTER_SIZE;
    const size_t size = sealed_size - SEAL_OVERHEAD;
    memcpy(tag, from + size, TAG_SIZE);
    const bool is_opened =
        seal->cipher ? run_aes(seal, nonce, false, with, with_size, from, size, bytes_out, tag)
                     : crypto_aead_xchacha20poly1305_ietf_decrypt(
                           bytes_out, NULL, NULL, from, size + TAG_SIZE, with, with_size, nonce,
                           seal->key.bytes) == 0;
    if (!is_opened)
        return STATUS_HASH_MISMATCH;
    seal->counter++;
    return STATUS_OK;
}
