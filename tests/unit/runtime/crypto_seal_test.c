/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/crypto_seal.h"
#include "tests/support/check_main.h"

#include <string.h>

#define SIZE 1000u
#define SEALED (SIZE + SEAL_OVERHEAD)

static const struct hash key = {{1, 2, 3}};
static const struct hash other_key = {{1, 2, 4}};
static uint8_t plain[SIZE];
static uint8_t sealed[3][SEALED];
static uint8_t opened[SIZE];
static struct seal seal;

static void begin(const struct hash *with, enum seal_direction direction, bool is_aes)
{
    seal_fini(&seal);
    ck_assert_int_eq(seal_init(&seal, with, direction, is_aes), STATUS_OK);
}

/* Three messages of one stream. */
static void close_three(bool is_aes)
{
    memset(plain, 7, sizeof(plain));
    begin(&key, SEAL_FROM_SOURCE, is_aes);
    for (size_t i = 0; i < 3; i++) {
        plain[0] = (uint8_t)i;
        seal_close(&seal, "with", 4, plain, SIZE, sealed[i]);
    }
    seal_fini(&seal);
}

/* Ciphers this processor has: 0 XChaCha20-Poly1305, 1 AES-256-GCM. */
static int cipher_end(void)
{
    return seal_has_aes() ? 2 : 1;
}

START_TEST(what_was_sealed_opens_in_its_order)
{
    for (int cipher = 0; cipher < cipher_end(); cipher++) {
        close_three(cipher == 1);
        begin(&key, SEAL_FROM_SOURCE, cipher == 1);
        for (size_t i = 0; i < 3; i++) {
            ck_assert_int_eq(seal_open(&seal, "with", 4, sealed[i], SEALED, opened), STATUS_OK);
            plain[0] = (uint8_t)i;
            ck_assert_mem_eq(opened, plain, SIZE);
            ck_assert_mem_ne(sealed[i] + 8, plain, 64);
        }
    }
}
END_TEST

START_TEST(nothing_opens_with_a_wrong_key_direction_or_companion)
{
    for (int cipher = 0; cipher < cipher_end(); cipher++) {
        close_three(cipher == 1);
        begin(&other_key, SEAL_FROM_SOURCE, cipher == 1);
        ck_assert_int_eq(seal_open(&seal, "with", 4, sealed[0], SEALED, opened),
                         STATUS_HASH_MISMATCH);
        begin(&key, SEAL_TO_SOURCE, cipher == 1);
        ck_assert_int_eq(seal_open(&seal, "with", 4, sealed[0], SEALED, opened),
                         STATUS_HASH_MISMATCH);
        begin(&key, SEAL_FROM_SOURCE, cipher == 1);
        ck_assert_int_eq(seal_open(&seal, "Mith", 4, sealed[0], SEALED, opened),
                         STATUS_HASH_MISMATCH);
        ck_assert_int_eq(seal_open(&seal, "with", 4, sealed[0], SEALED, opened), STATUS_OK);
    }
}
END_TEST

START_TEST(a_replay_a_gap_and_a_change_of_order_do_not_open)
{
    for (int cipher = 0; cipher < cipher_end(); cipher++) {
        close_three(cipher == 1);
        begin(&key, SEAL_FROM_SOURCE, cipher == 1);
        ck_assert_int_eq(seal_open(&seal, "with", 4, sealed[1], SEALED, opened),
                         STATUS_HASH_MISMATCH);
        ck_assert_int_eq(seal_open(&seal, "with", 4, sealed[0], SEALED, opened), STATUS_OK);
        ck_assert_int_eq(seal_open(&seal, "with", 4, sealed[0], SEALED, opened),
                         STATUS_HASH_MISMATCH);
        /* The counter in the clear does not help: it is the nonce too. */
        sealed[0][0] = 1;
        ck_assert_int_eq(seal_open(&seal, "with", 4, sealed[0], SEALED, opened),
                         STATUS_HASH_MISMATCH);
        ck_assert_int_eq(seal_open(&seal, "with", 4, sealed[1], SEALED, opened), STATUS_OK);
    }
}
END_TEST

START_TEST(what_was_cut_or_changed_does_not_open)
{
    static const size_t places[] = {8, 8 + SIZE / 2, 8 + SIZE, SEALED - 1};
    for (int cipher = 0; cipher < cipher_end(); cipher++) {
        close_three(cipher == 1);
        begin(&key, SEAL_FROM_SOURCE, cipher == 1);
        for (size_t size = 0; size < SEALED; size += size < 40 ? 1 : 97)
            ck_assert_int_eq(seal_open(&seal, "with", 4, sealed[0], size, opened),
                             STATUS_HASH_MISMATCH);
        for (size_t i = 0; i < COUNT_OF(places); i++) {
            sealed[0][places[i]] ^= 0x10;
            ck_assert_int_eq(seal_open(&seal, "with", 4, sealed[0], SEALED, opened),
                             STATUS_HASH_MISMATCH);
            sealed[0][places[i]] ^= 0x10;
        }
        ck_assert_int_eq(seal_open(&seal, "with", 4, sealed[0], SEALED, opened), STATUS_OK);
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("crypto seal");
    const TTest *const tests[] = {
        what_was_sealed_opens_in_its_order,
        nothing_opens_with_a_wrong_key_direction_or_companion,
        a_replay_a_gap_and_a_change_of_order_do_not_open,
        what_was_cut_or_changed_does_not_open,
    };
    suite_add(suite, "seal", tests, COUNT_OF(tests));
    return suite;
}
