/* SPDX-License-Identifier: Apache-2.0 */
/* A check sees every bit of the bytes, of the key and of the label. */
#include "runtime/crypto_mac.h"
#include "tests/support/check_main.h"

#include <string.h>

static struct crypto_mac *mac;
static struct mac_key key;

static void setup(void)
{
    struct reason reason = {""};
    ck_assert_int_eq(mac_key_draw(&key), STATUS_OK);
    ck_assert_int_eq(crypto_mac_open(&key, &mac, &reason), STATUS_OK);
}

static void teardown(void)
{
    crypto_mac_close(mac);
}

static struct mac check_of(const uint8_t *bytes, size_t size, uint32_t label)
{
    struct mac made;
    ck_assert(crypto_mac_of(mac, &label, sizeof(label), bytes, size, &made));
    return made;
}

static bool is_same(struct mac a, struct mac b)
{
    return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
}

START_TEST(one_bit_changes_the_check)
{
    uint8_t bytes[5000];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7);
    const struct mac expected = check_of(bytes, sizeof(bytes), 1);
    ck_assert(is_same(check_of(bytes, sizeof(bytes), 1), expected));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] ^= (uint8_t)(1u << (i % 8));
        ck_assert(!is_same(check_of(bytes, sizeof(bytes), 1), expected));
        bytes[i] ^= (uint8_t)(1u << (i % 8));
    }
    ck_assert(!is_same(check_of(bytes, sizeof(bytes) - 1, 1), expected));
}
END_TEST

START_TEST(another_label_or_key_gives_another_check)
{
    static const uint8_t bytes[64];
    const struct mac expected = check_of(bytes, sizeof(bytes), 1);
    ck_assert(!is_same(check_of(bytes, sizeof(bytes), 2), expected));
    key.bytes[31] ^= 0x80;
    crypto_mac_close(mac);
    struct reason reason = {""};
    ck_assert_int_eq(crypto_mac_open(&key, &mac, &reason), STATUS_OK);
    ck_assert(!is_same(check_of(bytes, sizeof(bytes), 1), expected));
}
END_TEST

START_TEST(both_ways_of_adding_up_agree)
{
    uint32_t words[CRYPTO_NH_KEY_WORDS];
    uint8_t block[CRYPTO_NH_BLOCK + 1];
    for (int turn = 0; turn < 50; turn++) {
        uint64_t plain[2];
        uint64_t usual[2];
        ck_assert_int_eq(mac_key_draw(&key), STATUS_OK);
        for (size_t i = 0; i < CRYPTO_NH_KEY_WORDS; i++)
            words[i] = (uint32_t)(i * 2654435761u) ^ (uint32_t)(key.bytes[i % 32] * 16777619u);
        for (size_t i = 0; i < sizeof(block); i++)
            block[i] = turn == 0 ? 0xff : (uint8_t)(key.bytes[(i / 3) % 32] + i);
        crypto_nh(words, block + turn % 2, true, plain); /* also where nothing is aligned */
        crypto_nh(words, block + turn % 2, false, usual);
        ck_assert_uint_eq(plain[0], usual[0]);
        ck_assert_uint_eq(plain[1], usual[1]);
        ck_assert_uint_ne(plain[0], plain[1]);
    }
}
END_TEST

START_TEST(zeros_at_the_end_count)
{
    static const uint8_t bytes[4096];
    ck_assert(!is_same(check_of(bytes, 2000, 1), check_of(bytes, 2048, 1)));
    ck_assert(!is_same(check_of(bytes, 0, 1), check_of(bytes, 1024, 1)));
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("crypto_mac");
    TCase *tests = tcase_create("crypto_mac");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, one_bit_changes_the_check);
    tcase_add_test(tests, another_label_or_key_gives_another_check);
    tcase_add_test(tests, both_ways_of_adding_up_agree);
    tcase_add_test(tests, zeros_at_the_end_count);
    suite_add_tcase(suite, tests);
    return suite;
}
