/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/chunk_ledger.h"

#include "tests/support/check_main.h"

#include <string.h>

#define ETAG "0123456789abcdef0123456789abcdef01234567"
#define SIZE ((uint64_t)3 * LEDGER_CHUNK_SIZE + 5)

static struct reason reason;

static struct hash hash_number(uint8_t number)
{
    struct hash hash;
    memset(&hash, number, sizeof(hash));
    return hash;
}

/* A ledger file with chunks 2, 0 and 2 again. */
static size_t write_file(uint8_t *bytes)
{
    struct chunk_ledger ledger;
    static const uint8_t order[] = {2, 0, 2};
    ck_assert_int_eq(chunk_ledger_init(&ledger, ETAG, SIZE, &reason), STATUS_OK);
    chunk_ledger_head(&ledger, bytes);
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        const struct hash hash = hash_number((uint8_t)(10 + i));
        chunk_ledger_add(&ledger, order[i], &hash,
                         bytes + LEDGER_HEAD_SIZE + i * LEDGER_RECORD_SIZE);
    }
    ck_assert_uint_eq(ledger.here_count, 2);
    chunk_ledger_fini(&ledger);
    return LEDGER_HEAD_SIZE + COUNT_OF(order) * LEDGER_RECORD_SIZE;
}

START_TEST(chunks_that_came_are_recovered)
{
    uint8_t bytes[LEDGER_HEAD_SIZE + 3 * LEDGER_RECORD_SIZE];
    const size_t size = write_file(bytes);
    struct chunk_ledger ledger;
    ck_assert_int_eq(chunk_ledger_init(&ledger, ETAG, SIZE, &reason), STATUS_OK);
    ck_assert_uint_eq(ledger.chunk_count, 4);
    ck_assert_uint_eq(chunk_size_of(&ledger, 3), 5);
    ck_assert_uint_eq(chunk_ledger_recover(&ledger, bytes, size), size);
    static const enum chunk_state states[] = {CHUNK_LISTED, CHUNK_ABSENT, CHUNK_LISTED,
                                              CHUNK_ABSENT};
    for (uint32_t i = 0; i < 4; i++)
        ck_assert_int_eq(ledger.states[i], states[i]);
    /* The later hash of chunk 2 holds. */
    const struct hash right = hash_number(12);
    const struct hash wrong = hash_number(10);
    chunk_ledger_judge(&ledger, 2, &right);
    chunk_ledger_judge(&ledger, 0, &wrong);
    ck_assert_int_eq(ledger.states[2], CHUNK_HERE);
    ck_assert_int_eq(ledger.states[0], CHUNK_ABSENT);
    ck_assert_uint_eq(ledger.here_count, 1);
    chunk_ledger_forget(&ledger, 2);
    ck_assert_uint_eq(ledger.here_count, 0);
    chunk_ledger_fini(&ledger);
}
END_TEST

START_TEST(a_torn_or_flipped_record_ends_the_ledger)
{
    uint8_t bytes[LEDGER_HEAD_SIZE + 3 * LEDGER_RECORD_SIZE];
    const size_t size = write_file(bytes);
    for (size_t cut = 0; cut <= size; cut++) {
        struct chunk_ledger ledger;
        ck_assert_int_eq(chunk_ledger_init(&ledger, ETAG, SIZE, &reason), STATUS_OK);
        const size_t whole =
            cut < LEDGER_HEAD_SIZE ? 0 : cut - (cut - LEDGER_HEAD_SIZE) % LEDGER_RECORD_SIZE;
        ck_assert_uint_eq(chunk_ledger_recover(&ledger, bytes, cut), whole);
        chunk_ledger_fini(&ledger);
    }
    for (size_t bit = 0; bit < size * 8; bit++) {
        struct chunk_ledger ledger;
        ck_assert_int_eq(chunk_ledger_init(&ledger, ETAG, SIZE, &reason), STATUS_OK);
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        const size_t sound = chunk_ledger_recover(&ledger, bytes, size);
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        ck_assert_uint_le(sound, bit / 8);
        chunk_ledger_fini(&ledger);
    }
}
END_TEST

START_TEST(a_ledger_of_another_file_is_none)
{
    uint8_t bytes[LEDGER_HEAD_SIZE + 3 * LEDGER_RECORD_SIZE];
    const size_t size = write_file(bytes);
    static const struct {
        const char *etag;
        uint64_t size;
    } rows[] = {{ETAG, SIZE + 1}, {"1123456789abcdef0123456789abcdef01234567", SIZE}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct chunk_ledger ledger;
        ck_assert_int_eq(chunk_ledger_init(&ledger, rows[i].etag, rows[i].size, &reason),
                         STATUS_OK);
        ck_assert_uint_eq(chunk_ledger_recover(&ledger, bytes, size), 0);
        chunk_ledger_fini(&ledger);
    }
}
END_TEST

START_TEST(sizes_have_their_ends)
{
    struct chunk_ledger ledger;
    ck_assert_int_eq(chunk_ledger_init(&ledger, ETAG, 0, &reason), STATUS_OK);
    ck_assert_uint_eq(ledger.chunk_count, 0);
    chunk_ledger_fini(&ledger);
    ck_assert_int_eq(chunk_ledger_init(&ledger, ETAG, LEDGER_CHUNK_SIZE, &reason), STATUS_OK);
    ck_assert_uint_eq(ledger.chunk_count, 1);
    chunk_ledger_fini(&ledger);
    ck_assert_int_eq(chunk_ledger_init(&ledger, ETAG, UINT64_MAX, &reason), STATUS_TOO_LARGE);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("chunk_ledger");
    const TTest *const tests[] = {
        chunks_that_came_are_recovered,
        a_torn_or_flipped_record_ends_the_ledger,
        a_ledger_of_another_file_is_none,
        sizes_have_their_ends,
    };
    suite_add(suite, "ledger", tests, COUNT_OF(tests));
    return suite;
}
