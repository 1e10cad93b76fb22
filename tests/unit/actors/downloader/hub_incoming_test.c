/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_incoming.h"

#include "protocol/memory.h"
#include "runtime/chunk_digest.h"
#include "runtime/crypto_hash.h"
#include "runtime/model_share.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LAST_SIZE 1000u
#define CHUNKS 3u
#define FILE_SIZE (2ull * LEDGER_CHUNK_SIZE + LAST_SIZE)

/* A file of three chunks that the transferer of this node receives: its share and our end. */
static struct scratch scratch;
static struct model_store store;
static struct download_record download;
static struct model_share share;
static struct hub_incoming blob;
static struct hub_place place;
static struct hub_file file;
static struct reason reason;
static uint8_t *bytes; /* of the whole file */
static char etag[ETAG_SIZE];
static char places[2][256];

static void setup(void)
{
    scratch_open(&scratch);
    const struct model_store_places own = {scratch_path(&scratch, "store", places[0]),
                                           scratch_path(&scratch, "holdings", places[1]), NULL};
    ck_assert_msg(model_store_open(&store, &own, "test", &reason) == STATUS_OK, "%s", reason.text);
    bytes = memory_zeroed(1, FILE_SIZE);
    ck_assert_ptr_nonnull(bytes);
    for (uint32_t i = 0; i < CHUNKS; i++)
        memset(bytes + (size_t)i * LEDGER_CHUNK_SIZE, (int)i + 1,
               i + 1 < CHUNKS ? LEDGER_CHUNK_SIZE : LAST_SIZE);
    ck_assert_int_eq(etag_of(ETAG_SHA256, bytes, FILE_SIZE, etag, &reason), STATUS_OK);
    memset(&download, 0, sizeof(download));
    ck_assert(text_set(&download.model_id, "org/m"));
    struct download_file *listed = record_list_push(
        &download_file_type, RECORD_LIST(download.files), NULL, MODEL_FILE_COUNT_MAX);
    ck_assert(listed && text_set(&listed->path, "w.safetensors") && text_set(&listed->etag, etag));
    listed->size = FILE_SIZE;
    memset(&file, 0, sizeof(file));
    (void)snprintf(file.path, sizeof(file.path), "w.safetensors");
    (void)snprintf(file.etag, sizeof(file.etag), "%s", etag);
    file.size = FILE_SIZE;
    place = (struct hub_place){&store.cache, "org/m", open(places[1], O_RDONLY | O_DIRECTORY)};
    ck_assert_int_ge(place.ledgers, 0);
    ck_assert_int_eq(hub_incoming_set_aside(&file, &place, &reason), STATUS_OK);
    ck_assert_msg(model_share_open(&store, &download, &share, &reason) == STATUS_OK, "%s",
                  reason.text);
}

static void teardown(void)
{
    hub_incoming_close(&blob);
    (void)close(place.ledgers);
    model_share_close(&share);
    record_fini(&download_record_type, &download);
    memory_free(bytes);
    model_store_close(&store);
    scratch_close(&scratch);
}

static uint32_t size_of(uint32_t chunk)
{
    return chunk + 1 < CHUNKS ? LEDGER_CHUNK_SIZE : LAST_SIZE;
}

/* As a peer's chunk comes. */
static void put(uint32_t chunk)
{
    struct hash digest;
    const uint8_t *first = bytes + (size_t)chunk * LEDGER_CHUNK_SIZE;
    chunk_digest_of(first, size_of(chunk), &digest);
    ck_assert_msg(model_share_put(&share, chunk, first, &digest, &reason) == STATUS_OK, "%s",
                  reason.text);
}

/* All that can be hashed now. */
static void advance(void)
{
    bool did = true;
    while (did)
        ck_assert_msg(hub_incoming_advance(&blob, &did, &reason) == STATUS_OK, "%s", reason.text);
}

static void follow(void)
{
    ck_assert_msg(hub_incoming_follow(&blob, &file, &place, &reason) == STATUS_OK, "%s",
                  reason.text);
    hub_incoming_feed(&blob, true);
}

START_TEST(what_the_transferer_writes_already_is_hashed_while_it_comes)
{
    ck_assert_int_eq(model_share_begin(&share, 0, &reason), STATUS_OK);
    put(0);
    ck_assert_int_eq(hub_incoming_open(&blob, &file, &place, 0, &reason), STATUS_BUSY);
    follow();
    advance();
    ck_assert_uint_eq(blob.hashed, 1);
    put(2);
    advance();
    ck_assert_uint_eq(blob.hashed, 1);
    put(1);
    advance();
    ck_assert_uint_eq(blob.hashed, CHUNKS);
    ck_assert(!hub_incoming_is_full(&blob)); /* it is still the transferer's */
    model_share_yield(&share, 0);
    advance();
    ck_assert(hub_incoming_is_full(&blob));
    ck_assert_msg(hub_incoming_finish(&blob, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert(blob.is_placed);
    model_share_look(&share);
    ck_assert(share.files[0].is_placed);
}
END_TEST

/* A bit that turned on the disk between two processes costs its chunk, not the file. */
START_TEST(a_wrong_chunk_of_an_earlier_process_alone_comes_again)
{
    uint8_t turned = 0;
    ck_assert_int_eq(model_share_begin(&share, 0, &reason), STATUS_OK);
    put(0);
    put(1);
    const int partial = share.files[0].partial;
    ck_assert_int_eq(pwrite(partial, &turned, 1, LEDGER_CHUNK_SIZE + 77), 1);
    follow();
    put(2);
    model_share_yield(&share, 0);
    advance();
    ck_assert(hub_incoming_is_full(&blob));
    ck_assert_msg(hub_incoming_finish(&blob, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert(!blob.is_placed);
    advance();
    ck_assert_uint_eq(blob.ledger.here_count, CHUNKS - 1);
    ck_assert_uint_eq(blob.ledger.states[1], CHUNK_ABSENT);
    model_share_look(&share);
    ck_assert(chunk_has(share.have, 0) && !chunk_has(share.have, 1) && chunk_has(share.have, 2));
    ck_assert_int_eq(model_share_begin(&share, 0, &reason), STATUS_OK);
    put(1);
    model_share_yield(&share, 0);
    advance();
    ck_assert(hub_incoming_is_full(&blob));
    ck_assert_msg(hub_incoming_finish(&blob, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert(blob.is_placed);
}
END_TEST

/* What another holds before its ledger begins is tried again, and keeps its room. */
START_TEST(a_file_without_a_ledger_is_busy_and_stays)
{
    char path[256];
    char name[128];
    char named[160];
    ck_assert_int_eq(model_share_begin(&share, 0, &reason), STATUS_OK);
    (void)snprintf(name, sizeof(name), "%.100s.ledger", etag);
    (void)snprintf(named, sizeof(named), "holdings/%s", name);
    ck_assert_int_eq(truncate(scratch_path(&scratch, named, path), 0), 0);
    ck_assert_int_eq(hub_incoming_follow(&blob, &file, &place, &reason), STATUS_BUSY);
    ck_assert(!blob.is_open);
    model_share_yield(&share, 0);
    ck_assert_int_eq(hub_incoming_follow(&blob, &file, &place, &reason), STATUS_OK);
    ck_assert(blob.is_writer);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("hub incoming");
    TCase *followed = tcase_create("followed");
    tcase_add_checked_fixture(followed, setup, teardown);
    tcase_add_test(followed, what_the_transferer_writes_already_is_hashed_while_it_comes);
    tcase_add_test(followed, a_wrong_chunk_of_an_earlier_process_alone_comes_again);
    tcase_add_test(followed, a_file_without_a_ledger_is_busy_and_stays);
    suite_add_tcase(suite, followed);
    return suite;
}
