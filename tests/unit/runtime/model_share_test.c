/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/model_share.h"

#include "protocol/memory.h"
#include "runtime/chunk_digest.h"
#include "runtime/store_io.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WEIGHTS "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define SMALL "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define LAST_SIZE 1000u
#define WEIGHTS_SIZE (2ull * LEDGER_CHUNK_SIZE + LAST_SIZE)

static struct scratch scratch;
static struct model_store store;
static struct download_record download;
static struct model_share share;
static struct reason reason;
static uint8_t *bytes;
static char places[2][256];

static void add_file(const char *path, const char *etag, uint64_t size)
{
    struct download_file *file = record_list_push(
        &download_file_type, RECORD_LIST(download.files), NULL, MODEL_FILE_COUNT_MAX);
    ck_assert(file && text_set(&file->path, path) && text_set(&file->etag, etag));
    file->size = size;
}

static void setup(void)
{
    scratch_open(&scratch);
    const struct model_store_places own = {scratch_path(&scratch, "store", places[0]),
                                           scratch_path(&scratch, "holdings", places[1]), NULL};
    ck_assert_msg(model_store_open(&store, &own, "test", &reason) == STATUS_OK, "%s", reason.text);
    memset(&download, 0, sizeof(download));
    ck_assert(text_set(&download.model_id, "org/m"));
    add_file("config.json", SMALL, 5);
    add_file("model.safetensors", WEIGHTS, WEIGHTS_SIZE);
    bytes = memory_zeroed(1, LEDGER_CHUNK_SIZE);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_msg(model_share_open(&store, &download, &share, &reason) == STATUS_OK, "%s",
                  reason.text);
}

static void teardown(void)
{
    model_share_close(&share);
    record_fini(&download_record_type, &download);
    memory_free(bytes);
    model_store_close(&store);
    scratch_close(&scratch);
}

/* What the downloader makes before anything comes. */
static int make_partial(void)
{
    struct chunk_ledger ledger;
    uint8_t head[LEDGER_HEAD_SIZE];
    char path[256];
    int file = -1;
    ck_assert_int_eq(hub_cache_partial_open(&store.cache, "org/m", WEIGHTS, WEIGHTS_SIZE, &file,
                                            &reason), STATUS_OK);
    ck_assert_int_eq(chunk_ledger_init(&ledger, WEIGHTS, WEIGHTS_SIZE, &reason), STATUS_OK);
    chunk_ledger_head(&ledger, head);
    file_put(scratch_path(&scratch, "holdings/" WEIGHTS ".ledger", path), head, sizeof(head));
    chunk_ledger_fini(&ledger);
    return file;
}

static struct hash fill(uint8_t with, uint32_t size)
{
    struct hash hash;
    memset(bytes, with, size);
    chunk_digest_of(bytes, size, &hash);
    return hash;
}

START_TEST(chunks_are_counted_over_all_files)
{
    struct chunk_place place;
    ck_assert_uint_eq(share.count, 4);
    ck_assert(model_share_place(&share, 0, &place));
    ck_assert_uint_eq(place.file, 0);
    ck_assert_uint_eq(place.size, 5);
    ck_assert(model_share_place(&share, 3, &place));
    ck_assert_uint_eq(place.file, 1);
    ck_assert_uint_eq(place.size, LAST_SIZE);
    ck_assert(!model_share_place(&share, 4, &place));
}
END_TEST

START_TEST(what_is_not_wanted_is_not_written)
{
    ck_assert_int_eq(model_share_begin(&share, 1, &reason), STATUS_NOT_FOUND);
    model_share_look(&share);
    for (uint32_t i = 0; i < 4; i++)
        ck_assert(!chunk_has(share.have, i));
}
END_TEST

START_TEST(only_one_writes_at_a_time)
{
    const int file = make_partial();
    ck_assert_int_eq(store_lock(file), 0);
    ck_assert_int_eq(model_share_begin(&share, 1, &reason), STATUS_BUSY);
    store_unlock(file);
    ck_assert_int_eq(model_share_begin(&share, 1, &reason), STATUS_OK);
    ck_assert_int_ne(store_lock(file), 0);
    model_share_yield(&share, 1);
    ck_assert_int_eq(store_lock(file), 0);
    (void)close(file);
}
END_TEST

START_TEST(a_chunk_that_was_put_is_had_by_others_and_has_its_digest)
{
    struct model_share other;
    struct hash digest;
    const struct hash told = fill(7, LEDGER_CHUNK_SIZE);
    (void)close(make_partial());
    ck_assert_int_eq(model_share_begin(&share, 1, &reason), STATUS_OK);
    ck_assert_int_eq(model_share_put(&share, 2, bytes, &told, &reason), STATUS_OK);
    ck_assert_int_eq(model_share_open(&store, &download, &other, &reason), STATUS_OK);
    model_share_look(&other);
    ck_assert(chunk_has(other.have, 2) && !chunk_has(other.have, 1));
    memset(bytes, 0, LEDGER_CHUNK_SIZE);
    ck_assert_int_eq(model_share_read_part(&other, 2, 0, LEDGER_CHUNK_SIZE, bytes), STATUS_OK);
    ck_assert(model_share_digest(&other, 2, &digest) && ID_EQUAL(digest, told));
    ck_assert(bytes[0] == 7 && bytes[LEDGER_CHUNK_SIZE - 1] == 7);
    ck_assert_int_eq(model_share_read_part(&other, 1, 0, 1, bytes), STATUS_NOT_FOUND);
    /* Of a file that is not whole nothing is had strictly. */
    uint8_t set[1];
    model_share_held(&other, true, set);
    ck_assert(!chunk_has(set, 2));
    model_share_held(&other, false, set);
    ck_assert(chunk_has(set, 2));
    model_share_close(&other);
}
END_TEST

START_TEST(a_chunk_with_another_digest_is_not_stored)
{
    struct hash told = fill(7, LAST_SIZE);
    told.bytes[3] ^= 1;
    (void)close(make_partial());
    ck_assert_int_eq(model_share_begin(&share, 1, &reason), STATUS_OK);
    ck_assert_int_eq(model_share_put(&share, 3, bytes, &told, &reason), STATUS_HASH_MISMATCH);
    model_share_look(&share);
    ck_assert(!chunk_has(share.have, 3));
}
END_TEST

START_TEST(a_chunk_that_is_here_is_not_written_over)
{
    struct hash digest;
    const struct hash first = fill(7, LAST_SIZE);
    (void)close(make_partial());
    ck_assert_int_eq(model_share_begin(&share, 1, &reason), STATUS_OK);
    ck_assert_int_eq(model_share_put(&share, 3, bytes, &first, &reason), STATUS_OK);
    const struct hash second = fill(8, LAST_SIZE);
    ck_assert_int_eq(model_share_put(&share, 3, bytes, &second, &reason), STATUS_OK);
    ck_assert_int_eq(model_share_read_part(&share, 3, 0, LAST_SIZE, bytes), STATUS_OK);
    ck_assert(model_share_digest(&share, 3, &digest) && ID_EQUAL(digest, first) && bytes[0] == 7);
}
END_TEST

START_TEST(a_file_that_was_placed_is_whole_and_not_written)
{
    struct hash digest = fill(7, LAST_SIZE);
    const int file = make_partial();
    ck_assert_int_eq(model_share_begin(&share, 1, &reason), STATUS_OK);
    ck_assert_int_eq(model_share_put(&share, 3, bytes, &digest, &reason), STATUS_OK);
    ck_assert(model_share_digest(&share, 3, &digest));
    model_share_yield(&share, 1);
    ck_assert_int_eq(hub_cache_blob_place(&store.cache, "org/m", WEIGHTS, file, &reason),
                     STATUS_OK);
    (void)close(file);
    model_share_look(&share);
    for (uint32_t i = 1; i < 4; i++)
        ck_assert(chunk_has(share.have, i));
    ck_assert_int_ne(model_share_begin(&share, 1, &reason), STATUS_OK);
    ck_assert_int_eq(model_share_read_part(&share, 3, 0, LAST_SIZE, bytes), STATUS_OK);
    ck_assert_int_eq(model_share_read_part(&share, 3, 1, LAST_SIZE, bytes), STATUS_NOT_FOUND);
    /* Whoever placed it may have replaced a chunk since we looked. */
    ck_assert(!model_share_digest(&share, 3, &digest));
}
END_TEST

START_TEST(a_ledger_that_began_anew_is_read_anew)
{
    const struct hash told = fill(7, LAST_SIZE);
    (void)close(make_partial());
    ck_assert_int_eq(model_share_begin(&share, 1, &reason), STATUS_OK);
    ck_assert_int_eq(model_share_put(&share, 3, bytes, &told, &reason), STATUS_OK);
    model_share_yield(&share, 1);
    (void)close(make_partial()); /* an empty ledger again */
    model_share_look(&share);
    ck_assert(!chunk_has(share.have, 3));
    ck_assert(share.files[1].was_reset);
}
END_TEST

START_TEST(a_torn_record_is_no_chunk_and_is_written_over)
{
    char path[256];
    const struct hash told = fill(7, LAST_SIZE);
    (void)close(make_partial());
    const int ledger = open(scratch_path(&scratch, "holdings/" WEIGHTS ".ledger", path),
                            O_WRONLY | O_APPEND);
    ck_assert_int_eq(write(ledger, "torn in the middle of a record of a chunk..", 43), 43);
    (void)close(ledger);
    ck_assert_int_eq(model_share_begin(&share, 1, &reason), STATUS_OK);
    ck_assert_int_eq(model_share_put(&share, 3, bytes, &told, &reason), STATUS_OK);
    model_share_close(&share);
    ck_assert_int_eq(model_share_open(&store, &download, &share, &reason), STATUS_OK);
    model_share_look(&share);
    ck_assert(chunk_has(share.have, 3));
}
END_TEST

START_TEST(lists_that_are_not_to_be_trusted_are_refused)
{
    struct model_share other;
    add_file("x.safetensors", "../../etc/passwd", 5);
    ck_assert_int_eq(model_share_open(&store, &download, &other, &reason), STATUS_MALFORMED);
    ck_assert(text_set(&download.files.items[2].etag, SMALL));
    download.files.items[2].size = UINT64_MAX - 1;
    ck_assert_int_eq(model_share_open(&store, &download, &other, &reason), STATUS_MALFORMED);
    download.files.items[2].size = 5;
    ck_assert(text_set(&download.model_id, "../m"));
    ck_assert_int_eq(model_share_open(&store, &download, &other, &reason), STATUS_MALFORMED);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("model share");
    const TTest *const tests[] = {
        chunks_are_counted_over_all_files,
        what_is_not_wanted_is_not_written,
        only_one_writes_at_a_time,
        a_chunk_that_was_put_is_had_by_others_and_has_its_digest,
        a_chunk_with_another_digest_is_not_stored,
        a_chunk_that_is_here_is_not_written_over,
        a_file_that_was_placed_is_whole_and_not_written,
        a_ledger_that_began_anew_is_read_anew,
        a_torn_record_is_no_chunk_and_is_written_over,
        lists_that_are_not_to_be_trusted_are_refused,
    };
    TCase *group = tcase_create("share");
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
