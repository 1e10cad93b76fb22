/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/crypto_mac.h"

#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/identity.h"

#include <openssl/evp.h>
#include <string.h>

/* NH makes this much for Poly1305 at a time. */
#define GROUP_BLOCKS ((size_t)64)

struct crypto_mac {
    EVP_MAC *method;
    struct mac_key key;
    uint32_t nh_key[CRYPTO_NH_KEY_WORDS];
};

/* The key of NH may be the same for all messages, as Poly1305's is not. */
static void make_nh_key(struct crypto_mac *mac)
{
    uint8_t bytes[sizeof(mac->nh_key) + sizeof(struct hash)];
    for (uint32_t i = 0; (size_t)i * sizeof(struct hash) < sizeof(mac->nh_key); i++) {
        const char label[] = "nh";
        struct hash_stream stream;
        struct hash part;
        hash_init(&stream);
        hash_update(&stream, mac->key.bytes, sizeof(mac->key.bytes));
        hash_update(&stream, label, sizeof(label));
        hash_update(&stream, &i, sizeof(i));
        hash_final(&stream, &part);
        memcpy(bytes + (size_t)i * sizeof(part), part.bytes, sizeof(part));
    }
    memcpy(mac->nh_key, bytes, sizeof(mac->nh_key));
}

enum status crypto_mac_open(const struct mac_key *key, struct crypto_mac **mac_out,
                            struct reason *reason)
{
    struct crypto_mac *mac = memory_zeroed(1, sizeof(*mac));
    if (!mac)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a check of messages");
    mac->method = EVP_MAC_fetch(NULL, "POLY1305", NULL);
    if (!mac->method) {
        memory_free(mac);
        return refuse(reason, STATUS_NO_CAPACITY, "libcrypto on this machine has no Poly1305, by"
                      " which weights are checked on their way; see its configuration");
    }
    mac->key = *key;
    make_nh_key(mac);
    *mac_out = mac;
    return STATUS_OK;
}

void crypto_mac_close(struct crypto_mac *mac)
{
    if (!mac)
        return;
    EVP_MAC_free(mac->method);
    memory_free(mac);
}

enum status mac_key_draw(struct mac_key *key_out)
{
    return identity_random(key_out->bytes, sizeof(key_out->bytes));
}

/* Whole blocks through NH, the rest filled up with zeros, and the size after it. */
static bool update(const struct crypto_mac *mac, EVP_MAC_CTX *work, const uint8_t *bytes,
                   size_t size)
{
    uint64_t sums[GROUP_BLOCKS * 2];
    const uint64_t whole_size = size;
    size_t count = 0;
    for (; size >= CRYPTO_NH_BLOCK; size -= CRYPTO_NH_BLOCK, bytes += CRYPTO_NH_BLOCK) {
        crypto_nh(mac->nh_key, bytes, false, &sums[count * 2]);
        if (++count == GROUP_BLOCKS) {
            if (!EVP_MAC_update(work, (const uint8_t *)sums, sizeof(sums)))
                return false;
            count = 0;
        }
    }
    if (size > 0) {
        uint8_t last[CRYPTO_NH_BLOCK] = {0};
        memcpy(last, bytes, size);
        crypto_nh(mac->nh_key, last, false, &sums[count++ * 2]);
    }
    return EVP_MAC_update(work, (const uint8_t *)sums, count * 2 * sizeof(*sums)) &&
           EVP_MAC_update(work, (const uint8_t *)&whole_size, sizeof(whole_size));
}

bool crypto_mac_of(const struct crypto_mac *mac, const void *label, size_t label_size,
                   const void *bytes, size_t size, struct mac *mac_out)
{
    struct hash_stream stream;
    struct hash own_key;
    struct mac made = {{0}};
    size_t made_size = 0;
    hash_init(&stream);
    hash_update(&stream, mac->key.bytes, sizeof(mac->key.bytes));
    hash_update(&stream, label, label_size);
    hash_final(&stream, &own_key);
    EVP_MAC_CTX *work = EVP_MAC_CTX_new(mac->method);
    const bool is_made = work && EVP_MAC_init(work, own_key.bytes, sizeof(own_key.bytes), NULL) &&
                         update(mac, work, bytes, size) &&
                         EVP_MAC_final(work, made.bytes, &made_size, sizeof(made.bytes)) &&
                         made_size == sizeof(made.bytes);
    EVP_MAC_CTX_free(work);
    *mac_out = is_made ? made : (struct mac){{0}};
    return is_made;
}
