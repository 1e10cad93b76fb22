/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seal_bench: what one core seals, opens and digests of chunks on their way between disks.
 *
 * A line a figure, in GB/s; scripts/bars/03-distribute prints them beside what it measures.
 */
#include "protocol/memory.h"
#include "runtime/chunk_digest.h"
#include "runtime/clock.h"
#include "runtime/crypto_seal.h"

#include <stdio.h>
#include <string.h>

#define PIECE ((size_t)1 << 20)
#define ROUNDS 512u

static void print(const char *what, uint64_t from_us)
{
    const double seconds = (double)(clock_now_us() - from_us) / 1e6;
    (void)printf("%s %.2f\n", what, (double)ROUNDS * (double)PIECE / 1e9 / seconds);
}

static bool measure(const char *name, bool is_aes, uint8_t *plain, uint8_t *sealed)
{
    const struct hash key = {{1}};
    struct seal from = {.cipher = NULL};
    struct seal to = {.cipher = NULL};
    char what[64];
    bool is_right = true;
    uint64_t from_us = clock_now_us();
    if (seal_init(&from, &key, SEAL_FROM_SOURCE, is_aes) != STATUS_OK)
        return false;
    for (uint32_t i = 0; i < ROUNDS; i++)
        seal_close(&from, "", 0, plain, PIECE, sealed);
    (void)snprintf(what, sizeof(what), "%s seal", name);
    print(what, from_us);
    seal_fini(&from);
    if (seal_init(&from, &key, SEAL_FROM_SOURCE, is_aes) != STATUS_OK ||
        seal_init(&to, &key, SEAL_FROM_SOURCE, is_aes) != STATUS_OK)
        return false;
    uint64_t spent_us = 0;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        seal_close(&from, "", 0, plain, PIECE, sealed);
        const uint64_t begun_us = clock_now_us();
        is_right = is_right &&
                   seal_open(&to, "", 0, sealed, PIECE + SEAL_OVERHEAD, plain) == STATUS_OK;
        spent_us += clock_now_us() - begun_us;
    }
    (void)snprintf(what, sizeof(what), "%s open", name);
    print(what, clock_now_us() - spent_us);
    seal_fini(&from);
    seal_fini(&to);
    return is_right;
}

int main(void)
{
    uint8_t *plain = memory_zeroed(PIECE, 1);
    uint8_t *sealed = memory_zeroed(PIECE + SEAL_OVERHEAD, 1);
    struct hash digest;
    struct chunk_digest stream;
    if (!plain || !sealed)
        return 1;
    bool is_right = measure("xchacha20-poly1305", false, plain, sealed);
    if (seal_has_aes())
        is_right = measure("aes-256-gcm", true, plain, sealed) && is_right;
    const uint64_t from_us = clock_now_us();
    chunk_digest_init(&stream);
    for (uint32_t i = 0; i < ROUNDS; i++)
        chunk_digest_update(&stream, plain, PIECE);
    chunk_digest_final(&stream, &digest);
    print("chunk digest", from_us);
    memory_free(plain);
    memory_free(sealed);
    return is_right ? 0 : 1;
}
