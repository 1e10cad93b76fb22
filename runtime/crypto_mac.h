/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto_mac: a check of many bytes under a key of its own, by NH and Poly1305.
 *
 * The construction is that of NHPoly1305 (Crowley and Biggers, "Adiantum", 2018) with two passes of
 * NH: each 1,024 bytes become 16 by sums of products of 32 bits, which Poly1305 then checks.  Two
 * messages that differ have one check with a probability below 2^-63.  It is this and not a
 * cipher's check because both ends of a fast link have to make it beside the work of the link
 * itself: one core here checks 15 to 20 GB/s so where AVX2 is, against libcrypto's Poly1305 3.9,
 * its AES-GMAC 3.1 to 4.7, libsodium's Poly1305 1.9 and BLAKE2b-256 0.8.
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

MUST_CHECK enum status mac_key_draw(struct mac_key *key_out);

/* For messages under keys made from `key`. */
MUST_CHECK enum status crypto_mac_open(const struct mac_key *key, struct crypto_mac **mac_out,
                                       struct reason *reason);
/* Accepts NULL. */
void crypto_mac_close(struct crypto_mac *mac);

/* The check of `bytes` under a key made from that of the open and `label`, so that no two messages
 * share one.  False, and a check of zeros, when the library finds no memory. */
bool crypto_mac_of(const struct crypto_mac *mac, const void *label, size_t label_size,
                   const void *bytes, size_t size, struct mac *mac_out);

/* --- for tests: what the two ways of adding up make of whole blocks is the same --- */

#define CRYPTO_NH_BLOCK ((size_t)1024)
#define CRYPTO_NH_KEY_WORDS (CRYPTO_NH_BLOCK / 4 + 4)

/* The two sums of one block; `is_plain` keeps to plain C. */
void crypto_nh(const uint32_t key[CRYPTO_NH_KEY_WORDS], const uint8_t *block, bool is_plain,
               uint64_t sums_out[2]);

#endif
