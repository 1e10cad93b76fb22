/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/chunk_digest.h"

#include "protocol/memory.h"
#include "tests/support/check_main.h"

#include <string.h>

#define SIZE_MAX_USED ((size_t)1048577)

/* Of bytes 0, 1, ... 250, 0, 1, ..., by Python's hashlib. */
static const struct {
    size_t size;
    const char *digest;
} rows[] = {
    {0,
     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {1,
     "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
    {55,
     "463eb28e72f82e0a96c0a4cc53690c571281131f672aa229e0d45ae59b598b59"},
    {56,
     "da2ae4d6b36748f2a318f23e7ab1dfdf45acdc9d049bd80e59de82a60895f562"},
    {63,
     "29af2686fd53374a36b0846694cc342177e428d1647515f078784d69cdb9e488"},
    {64,
     "fdeab9acf3710362bd2658cdc9a29e8f9c757fcf9811603a8c447cd1d9151108"},
    {65,
     "4bfd2c8b6f1eec7a2afeb48b934ee4b2694182027e6d0fc075074f2fabb31781"},
    {1023,
     "1c5e88a585b61754df6137d66632a7348557a88358afc401b0a0a4fc427104a9"},
    {1024,
     "2bce1ba628720664be4b9fdd77aae0678e5f0f3f02fc6ff641ec879094f6a404"},
    {1025,
     "bc0b6b10b89b9487a12fda2a8cc13194e7091c217aabf8b92846274026f4bcd0"},
    {65536,
     "4b640d85ab3ba30fd02c9fc9db4a8928f416322ad27022ea58a65aaee68a4df2"},
    {98305,
     "beaaa7bf1a6fec021672f21cdefde0541df07ab19b9740d4f3749a5e0367cb55"},
    {1048577,
     "5769f52bc3eef28afa39c6fc68cadb7d0bd69812ae3a3d71452f519ec3c7aa56"},
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

START_TEST(digests_are_those_of_another_program)
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
    struct chunk_digest digest;
    struct hash hash;
    chunk_digest_init(&digest);
    for (size_t at = 0; at < size; at += step)
        chunk_digest_update(&digest, bytes + at, size - at < step ? size - at : step);
    chunk_digest_final(&digest, &hash);
    check(&hash, expected);
}

/* Whatever the pieces, wherever they lie. */
START_TEST(pieces_make_no_difference)
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
        digests_are_those_of_another_program,
        pieces_make_no_difference,
        one_bit_anywhere_makes_another_digest,
    };
    suite_add(suite, "digest", tests, COUNT_OF(tests));
    return suite;
}
