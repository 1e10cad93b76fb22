/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/crypto_mac.h"

#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/identity.h"

#include <openssl/evp.h>
#include <string.h>

struct crypto_mac {
    EVP_MAC *method;
};

enum status crypto_mac_open(struct crypto_mac **mac_out, struct reason *reason)
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

bool crypto_mac_of(const struct crypto_mac *mac, const struct mac_key *key, const void *label,
                   size_t label_size, const void *bytes, size_t size, struct mac *mac_out)
{
    struct hash_stream stream;
    struct hash own_key;
    struct mac made = {{0}};
    size_t made_size = 0;
    hash_init(&stream);
    hash_update(&stream, key->bytes, sizeof(key->bytes));
    hash_update(&stream, label, label_size);
    hash_final(&stream, &own_key);
    EVP_MAC_CTX *work = EVP_MAC_CTX_new(mac->method);
    const bool is_made = work && EVP_MAC_init(work, own_key.bytes, sizeof(own_key.bytes), NULL) &&
                         EVP_MAC_update(work, bytes, size) &&
                         EVP_MAC_final(work, made.bytes, &made_size, sizeof(made.bytes)) &&
                         made_size == sizeof(made.bytes);
    EVP_MAC_CTX_free(work);
    *mac_out = is_made ? made : (struct mac){{0}};
    return is_made;
}
