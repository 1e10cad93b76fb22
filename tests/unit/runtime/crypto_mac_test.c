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
    ck_assert_int_eq(crypto_mac_open(&mac, &reason), STATUS_OK);
    ck_assert_int_eq(mac_key_draw(&key), STATUS_OK);
}

static void teardown(void)
{
    crypto_mac_close(mac);
}

static struct mac check_of(const uint8_t *bytes, size_t size, uint32_t label)
{
    struct mac made;
    ck_assert(crypto_mac_of(mac, &key, &label, sizeof(label), bytes, size, &made));
    return made;
}

static bool is_same(struct mac a, struct mac b)
{
    return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
}

START_TEST(one_bit_changes_the_check)
{
    uint8_t bytes[1000];
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
    ck_assert(!is_same(check_of(bytes, sizeof(bytes), 1), expected));
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("crypto_mac");
    TCase *tests = tcase_create("crypto_mac");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, one_bit_changes_the_check);
    tcase_add_test(tests, another_label_or_key_gives_another_check);
    suite_add_tcase(suite, tests);
    return suite;
}
