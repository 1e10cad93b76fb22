/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/chunk_digest.h"

#include "protocol/memory.h"
#include "tests/support/check_main.h"

#include <string.h>

#define SIZE_MAX_USED ((size_t)1048577)

/* Of bytes 0, 1, ... 250, 0, 1, ...; the first ones stand in the published test vectors, all were
 * made with the authors' own program. */
static const struct {
    size_t size;
    const char *digest;
} rows[] = {
    {0,
     "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
    {1,
     "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"},
    {64,
     "4eed7141ea4a5cd4b788606bd23f46e212af9cacebacdc7d1f4c6dc7f2511b98"},
    {65,
     "de1e5fa0be70df6d2be8fffd0e99ceaa8eb6e8c93a63f2d8d1c30ecb6b263dee"},
    {1023,
     "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11"},
    {1024,
     "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"},
    {1025,
     "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"},
    {2048,
     "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a"},
    {3073,
     "7124b49501012f81cc7f11ca069ec9226cecb8a2c850cfe644e327d22d3e1cd3"},
    {8192,
     "aae792484c8efe4f19e2ca7d371d8c467ffb10748d8a5a1ae579948f718a2a63"},
    {8193,
     "bab6c09cb8ce8cf459261398d2e7aef35700bf488116ceb94a36d0f5f1b7bc3b"},
    {31744,
     "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47"},
    {32768,
     "162183d1f9184474f5a5c9e6224e66720cdb6523f822e52d9b1efa30893f48f9"},
    {32769,
     "da589428d9b32c97658a04a21c0c8a38aad2ac402120819d956fd6d62bbfa36e"},
    {65536,
     "68d647e619a930e7b1082f74f334b0c65a315725569bdc123f0ee11881717bfe"},
    {98305,
     "2d314cb0cfd4e133686b30ce6440808144ca5e6c6e257fcc2feb2e730a4577d1"},
    {131073,
     "f837d4254d24ba3d50fe3743d46e4af6db5f5d6ab0469197d94e7ba1e906c4d8"},
    {1048577,
     "2f053cd7472cf0cd2f9adaf45c1180255b91b9a865404a63671a0ee5f792ed33"},
};

static uint8_t *input(void)
{
    uint8_t *bytes = memory_zeroed(SIZE_MAX_USED, 1);
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < SIZE_MAX_USED; i++)
        bytes[i] = (uint8_t)(i % 251);
    return bytes;
}

static void check(const struct hash *hash, const char *expected)
{
    char hex[HEX_SIZE(sizeof(*hash))];
    ck_assert_str_eq(hex_print(hash, sizeof(*hash), hex), expected);
}

START_TEST(digests_are_those_of_the_authors_program)
{
    struct hash hash;
    uint8_t *bytes = input();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        chunk_digest_of(bytes, rows[i].size, &hash);
        check(&hash, rows[i].digest);
    }
    memory_free(bytes);
}
END_TEST

static void check_pieces(const uint8_t *bytes, size_t size, size_t step, const char *expected)
{
    for (int plain = 0; plain < 2; plain++) {
        struct chunk_digest digest;
        struct hash hash;
        if (plain)
            chunk_digest_init_plain(&digest);
        else
            chunk_digest_init(&digest);
        for (size_t at = 0; at < size; at += step)
            chunk_digest_update(&digest, bytes + at, size - at < step ? size - at : step);
        chunk_digest_final(&digest, &hash);
        check(&hash, expected);
    }
}

/* Whatever the pieces, wherever they lie, with and without the faster instructions. */
START_TEST(pieces_and_instructions_make_no_difference)
{
    static const size_t steps[] = {1, 63, 1000, 1024, 32767, 32768, 32769, 524288};
    uint8_t *bytes = input();
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        for (size_t k = 0; k < COUNT_OF(steps); k++)
            if (rows[i].size / steps[k] < 20000)
                check_pieces(bytes, rows[i].size, steps[k], rows[i].digest);
    memory_free(bytes);
}
END_TEST

START_TEST(one_bit_anywhere_makes_another_digest)
{
    static const size_t places[] = {0, 1023, 1024, 32767, 32768, 65536, SIZE_MAX_USED - 1};
    uint8_t *bytes = input();
    struct hash right;
    struct hash other;
    chunk_digest_of(bytes, SIZE_MAX_USED, &right);
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        bytes[places[i]] ^= 0x80;
        chunk_digest_of(bytes, SIZE_MAX_USED, &other);
        bytes[places[i]] ^= 0x80;
        ck_assert(!ID_EQUAL(right, other));
    }
    memory_free(bytes);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("chunk_digest");
    const TTest *const tests[] = {
        digests_are_those_of_the_authors_program,
        pieces_and_instructions_make_no_difference,
        one_bit_anywhere_makes_another_digest,
    };
    suite_add(suite, "digest", tests, COUNT_OF(tests));
    return suite;
}
