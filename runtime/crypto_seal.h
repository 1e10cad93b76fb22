/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto_seal: one direction of a sealed stream.
 *
 * AES-256-GCM where both processors have it, else XChaCha20-Poly1305.  Each message is
 *
 *   8      counter, little-endian: 0, 1, 2, ... of this direction
 *   size   the bytes, enciphered
 *   16     tag over them and what goes with them (`with`, which travels in the clear or not at all)
 *
 * The nonce is the direction and the counter, and a key is used for one stream alone.  A message
 * that is repeated, out of order, cut, of another direction or of another stream does not open.
 *
 * Owner    one thread at a time; one seal for each direction.
 * Memory   a context of the library; seal_fini frees and wipes.
 * Fails    HASH_MISMATCH for everything that does not open, without a word more; NO_MEMORY.
 */
#ifndef TROUPE_RUNTIME_CRYPTO_SEAL_H
#define TROUPE_RUNTIME_CRYPTO_SEAL_H

#include "protocol/ids.h"
#include "protocol/status.h"

#include <stdbool.h>

#define SEAL_COUNTER_SIZE 8u
#define SEAL_OVERHEAD 24u

enum seal_direction { SEAL_FROM_SOURCE = 1, SEAL_TO_SOURCE = 2 };

struct seal {
    struct hash key;
    void *cipher; /* of libcrypto, twice as fast as libsodium's AES; NULL: XChaCha20 */
    uint64_t counter;
    uint32_t direction;
};

/* This processor has what AES-256-GCM needs. */
bool seal_has_aes(void);
MUST_CHECK enum status seal_init(struct seal *seal, const struct hash *key,
                                 enum seal_direction direction, bool is_aes);
/* Accepts a zeroed seal. */
void seal_fini(struct seal *seal);
/* Writes size + SEAL_OVERHEAD bytes; `size` is below 2^31.  The bytes may lie where they will be
 * enciphered: at sealed_out + SEAL_COUNTER_SIZE. */
void seal_close(struct seal *seal, const void *with, size_t with_size, const void *bytes,
                size_t size, uint8_t *sealed_out);
/* Writes sealed_size - SEAL_OVERHEAD bytes, of no worth unless OK. */
MUST_CHECK enum status seal_open(struct seal *seal, const void *with, size_t with_size,
                                 const uint8_t *sealed, size_t sealed_size, uint8_t *bytes_out);

#endif
