/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/memory.h"
#include "runtime/model_receive.h"
#include "runtime/store_io.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODEL "scripts/demo-model/model"

static struct scratch scratch;
static struct model_store source;
static struct model_store target;
static struct model_record record;
static struct buffer manifest_bytes;
static struct model_source lender;
static struct model_receive receive;
static struct reason reason;

static char places[2][2][256]; /* store and holdings of each */

static void open_store(size_t at, const char *name, const char *holdings,
                       struct model_store *store)
{
    const struct model_store_places own = {scratch_path(&scratch, name, places[at][0]),
                                           scratch_path(&scratch, holdings, places[at][1]), NULL};
    ck_assert_msg(model_store_open(store, &own, "test", &reason) == STATUS_OK, "%s", reason.text);
}

/* A model in one store, and its manifest as it would be sent. */
static void setup(void)
{
    char path[512];
    const struct model_import import = {.model_id = "org/demo", .source = source_path(MODEL, path)};
    scratch_open(&scratch);
    open_store(0, "source", "source.holdings", &source);
    open_store(1, "target", "target.holdings", &target);
    memset(&record, 0, sizeof(record));
    ck_assert_msg(model_store_import(&source, &import, &record, &reason) == STATUS_OK, "%s",
                  reason.text);
    buffer_init(&manifest_bytes, CHUNK_MANIFEST_SIZE_MAX);
    ck_assert_msg(model_source_open(&source, &record, &lender, &manifest_bytes, &reason) ==
                      STATUS_OK, "%s", reason.text);
}

static void teardown(void)
{
    model_receive_close(&receive);
    record_fini(&model_record_type, &record);
    model_source_close(&lender);
    buffer_fini(&manifest_bytes);
    model_store_close(&source);
    model_store_close(&target);
    scratch_close(&scratch);
}

static enum status begin(void)
{
    const struct bytes bytes = {manifest_bytes.bytes, (uint32_t)manifest_bytes.size};
    return model_receive_open(&target, &record, &bytes, NULL, NULL, &receive, &reason);
}

/* The bytes of a chunk from the first store; the caller frees them. */
static uint8_t *chunk_bytes(uint32_t chunk)
{
    struct chunk_place place;
    uint8_t *bytes = memory_zeroed((size_t)CHUNK_SIZE, 1);
    ck_assert(bytes && chunk_manifest_place(&lender.manifest, chunk, &place));
    ck_assert_int_eq(model_source_read(&lender, &place, bytes), STATUS_OK);
    return bytes;
}

static void put(uint32_t chunk)
{
    uint8_t *bytes = chunk_bytes(chunk);
    ck_assert_msg(model_receive_put(&receive, chunk, bytes, &reason) == STATUS_OK, "%s",
                  reason.text);
    memory_free(bytes);
}

#define BLOBS "target/models--org--demo/blobs"

/* Of what is on its way to the second store. */
static unsigned entries(void)
{
    char path[256];
    unsigned count = 0;
    const struct dirent *entry;
    DIR *directory = opendir(scratch_path(&scratch, BLOBS, path));
    while (directory && (entry = readdir(directory)))
        count += strncmp(entry->d_name, RECEIVING_PREFIX, strlen(RECEIVING_PREFIX)) == 0;
    if (directory)
        (void)closedir(directory);
    return count;
}

START_TEST(a_model_received_chunk_by_chunk_is_whole)
{
    struct model_record found = {0};
    ck_assert_msg(begin() == STATUS_OK, "%s", reason.text);
    ck_assert_uint_eq(receive.here, 0);
    for (uint32_t i = receive.count; i-- > 0;) {
        ck_assert_int_eq(model_store_check(&target, "org/demo", NULL, &reason), MODEL_ABSENT);
        put(i);
    }
    ck_assert_msg(model_receive_place(&receive, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert_int_eq(model_store_check(&target, "org/demo", &found, &reason), MODEL_WHOLE);
    ck_assert(ID_EQUAL(found.revision, record.revision) &&
              ID_EQUAL(found.manifest, record.manifest));
    record_fini(&model_record_type, &found);
    ck_assert_uint_eq(entries(), 0);
    /* And it can be lent on. */
    struct model_source next;
    ck_assert_int_eq(model_source_open(&target, &record, &next, NULL, &reason), STATUS_OK);
    model_source_close(&next);
}
END_TEST

static void receive_all(void)
{
    ck_assert_msg(begin() == STATUS_OK, "%s", reason.text);
    for (uint32_t i = 0; i < receive.count; i++)
        if (!chunk_has(receive.have, i))
            put(i);
}

/* The file of that number in the second store, as its snapshot has it. */
static const char *stored_path(uint32_t file, char path_out[1024])
{
    char directory[512];
    (void)!model_store_locate(&target, "org/demo", directory, sizeof(directory), NULL, &reason);
    (void)snprintf(path_out, 1024, "%s/%s", directory, record.files.items[file].name);
    return path_out;
}

static uint32_t weight_file(void)
{
    for (uint32_t i = 0; i < record.files.count; i++)
        if (record.files.items[i].is_weight)
            return i;
    ck_abort_msg("a model without weights");
}

static void lose(uint32_t file)
{
    char path[1024];
    char real[PATH_MAX];
    ck_assert_ptr_nonnull(realpath(stored_path(file, path), real));
    ck_assert_int_eq(unlink(real), 0);
}

/* One file of several is gone: that one is received, the others are neither read nor written. */
START_TEST(what_the_store_holds_already_is_kept)
{
    struct stat before;
    struct stat after;
    struct chunk_place place;
    char path[1024];
    const uint32_t lost = weight_file();
    const uint32_t kept = lost > 0 ? 0 : 1;
    receive_all();
    ck_assert_msg(model_receive_place(&receive, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert_int_eq(stat(stored_path(kept, path), &before), 0);
    lose(lost);
    ck_assert_int_eq(model_store_check(&target, "org/demo", NULL, &reason), MODEL_SMALL_FILES);
    ck_assert_msg(begin() == STATUS_OK, "%s", reason.text);
    for (uint32_t i = 0; i < receive.count; i++) {
        ck_assert(chunk_manifest_place(&receive.manifest, i, &place));
        ck_assert_int_eq(chunk_has(receive.have, i), place.file != lost);
        if (place.file == lost)
            put(i);
    }
    ck_assert_msg(model_receive_place(&receive, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert_int_eq(model_store_check(&target, "org/demo", NULL, &reason), MODEL_WHOLE);
    ck_assert_int_eq(stat(stored_path(kept, path), &after), 0);
    ck_assert(before.st_ino == after.st_ino && before.st_mtime == after.st_mtime);
    ck_assert_uint_eq(entries(), 0);
}
END_TEST

START_TEST(what_goes_while_the_rest_is_received_makes_no_model)
{
    const uint32_t lost = weight_file();
    receive_all();
    ck_assert_int_eq(model_receive_place(&receive, &reason), STATUS_OK);
    lose(lost);
    receive_all();
    lose(lost > 0 ? 0 : 1);
    ck_assert_int_eq(model_receive_place(&receive, &reason), STATUS_STALE);
    ck_assert_ptr_nonnull(strstr(reason.text, record.files.items[lost > 0 ? 0 : 1].name));
    ck_assert_int_ne(model_store_check(&target, "org/demo", NULL, &reason), MODEL_WHOLE);
    /* Again, and then it is. */
    model_receive_close(&receive);
    receive_all();
    ck_assert_msg(model_receive_place(&receive, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert_int_eq(model_store_check(&target, "org/demo", NULL, &reason), MODEL_WHOLE);
}
END_TEST

/* The blob of the first store among those of the second, as a download leaves it. */
static void drop_blob(uint32_t file, bool is_damaged)
{
    char from[512];
    char to[512];
    size_t size = 0;
    (void)snprintf(from, sizeof(from), "%s/source/models--org--demo/blobs/%s", scratch.path,
                   record.files.items[file].etag);
    (void)snprintf(to, sizeof(to), "%s/" BLOBS "/%s", scratch.path,
                   record.files.items[file].etag);
    char *bytes = file_bytes(from, &size);
    bytes[size / 2] ^= is_damaged;
    (void)unlink(to);
    file_put(to, bytes, size);
    memory_free(bytes);
}

/* A download ended before its end; then the small files came: what it left is read and used. */
START_TEST(weights_that_a_download_left_are_taken_in)
{
    uint8_t held[FILE_SET_BYTES_MAX];
    struct model_source part;
    struct chunk_place place;
    const uint32_t weight = weight_file();
    struct bytes *contents = memory_zeroed(record.files.count, sizeof(*contents));
    for (uint32_t i = 0; i < record.files.count; i++) {
        char path[512];
        size_t size = 0;
        (void)snprintf(path, sizeof(path), "%s/source/models--org--demo/blobs/%s", scratch.path,
                       record.files.items[i].etag);
        if (model_file_is_small(&record.files.items[i])) {
            contents[i].items = (uint8_t *)file_bytes(path, &size);
            contents[i].count = (uint32_t)size;
        }
    }
    ck_assert_msg(model_store_put_small(&target, &record, contents, &reason) == STATUS_OK, "%s",
                  reason.text);
    for (uint32_t i = 0; i < record.files.count; i++)
        memory_free(contents[i].items);
    memory_free(contents);
    for (int turn = 0; turn < 3; turn++) { /* nothing, a wrong one, the right one */
        if (turn > 0)
            drop_blob(weight, turn == 1);
        ck_assert_int_eq(model_store_verify(&target, "org/demo", NULL, &reason),
                         MODEL_SMALL_FILES);
        ck_assert_int_eq(model_store_held(&target, "org/demo", NULL, 0, NULL, held, &reason),
                         MODEL_SMALL_FILES);
        ck_assert_int_eq(held[weight / 8] >> weight % 8 & 1, turn == 2);
    }
    /* The index of the weights lies there, too: then it is whole, and can be lent. */
    for (uint32_t i = 0; i < record.files.count; i++)
        if (!record.files.items[i].is_weight && !model_file_is_small(&record.files.items[i]))
            drop_blob(i, false);
    ck_assert_int_eq(model_store_verify(&target, "org/demo", NULL, &reason), MODEL_WHOLE);
    ck_assert_int_eq(model_source_open(&target, &record, &part, NULL, &reason), STATUS_OK);
    uint8_t *bytes = memory_zeroed((size_t)CHUNK_SIZE, 1);
    for (uint32_t i = 0; chunk_manifest_place(&part.manifest, i, &place); i++)
        ck_assert_int_eq(model_source_read(&part, &place, bytes), STATUS_OK);
    memory_free(bytes);
    model_source_close(&part);
}
END_TEST

/* What is held and what is on its way are lent together. */
START_TEST(a_part_of_a_model_is_lent)
{
    struct model_source part;
    struct chunk_place place;
    const uint32_t lost = weight_file();
    uint8_t *bytes = memory_zeroed((size_t)CHUNK_SIZE, 1);
    ck_assert_ptr_nonnull(bytes);
    receive_all();
    ck_assert_int_eq(model_receive_place(&receive, &reason), STATUS_OK);
    lose(lost);
    ck_assert_int_eq(model_source_open(&target, &record, &part, NULL, &reason), STATUS_OK);
    for (int turn = 0; turn < 2; turn++) {
        for (uint32_t i = 0; chunk_manifest_place(&part.manifest, i, &place); i++)
            ck_assert_int_eq(model_source_read(&part, &place, bytes),
                             place.file != lost || turn == 1 ? STATUS_OK : STATUS_NOT_FOUND);
        if (turn == 0)
            receive_all();
    }
    model_source_close(&part);
    memory_free(bytes);
}
END_TEST

START_TEST(a_wrong_chunk_changes_nothing)
{
    ck_assert_int_eq(begin(), STATUS_OK);
    uint8_t *bytes = chunk_bytes(0);
    bytes[1] ^= 1;
    ck_assert_int_eq(model_receive_put(&receive, 0, bytes, &reason), STATUS_HASH_MISMATCH);
    ck_assert_int_eq(model_receive_put(&receive, receive.count, bytes, &reason),
                     STATUS_MALFORMED);
    ck_assert_uint_eq(receive.here, 0);
    memory_free(bytes);
}
END_TEST

START_TEST(what_was_here_before_a_kill_is_here_again)
{
    ck_assert_int_eq(begin(), STATUS_OK);
    put(0);
    put(2);
    model_receive_close(&receive); /* a kill closes no better */
    ck_assert_int_eq(begin(), STATUS_OK);
    ck_assert_uint_eq(receive.here, 2);
    ck_assert(chunk_has(receive.have, 0) && !chunk_has(receive.have, 1) &&
              chunk_has(receive.have, 2));
}
END_TEST

START_TEST(half_a_chunk_on_the_disk_is_none)
{
    char path[512];
    struct chunk_place place;
    ck_assert_int_eq(begin(), STATUS_OK);
    put(0);
    ck_assert(chunk_manifest_place(&lender.manifest, 0, &place));
    (void)snprintf(path, sizeof(path), "%s/" BLOBS "/%s/file-%u", scratch.path, receive.name,
                   (unsigned)place.file);
    model_receive_close(&receive);
    FILE *file = fopen(path, "r+");
    ck_assert_ptr_nonnull(file);
    (void)fputc(0x7f, file);
    (void)fclose(file);
    ck_assert_int_eq(begin(), STATUS_OK);
    ck_assert_uint_eq(receive.here, 0);
}
END_TEST

START_TEST(a_link_in_the_place_of_a_file_is_not_followed)
{
    char path[512];
    char outside[256];
    struct chunk_place place;
    ck_assert_int_eq(begin(), STATUS_OK);
    ck_assert(chunk_manifest_place(&lender.manifest, 0, &place));
    (void)snprintf(path, sizeof(path), "%s/" BLOBS "/%s/file-%u", scratch.path, receive.name,
                   (unsigned)place.file);
    model_receive_close(&receive);
    file_put(scratch_path(&scratch, "outside", outside), "untouched", 9);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(symlink(outside, path), 0);
    ck_assert_int_ne(begin(), STATUS_OK);
    size_t size = 0;
    char *bytes = file_bytes(outside, &size);
    ck_assert_str_eq(bytes, "untouched");
    memory_free(bytes);
}
END_TEST

START_TEST(a_full_disk_names_the_bytes_and_leaves_nothing)
{
    store_io_pretend_free(1000);
    ck_assert_int_eq(begin(), STATUS_NO_SPACE);
    store_io_pretend_free(UINT64_MAX);
    ck_assert_ptr_nonnull(strstr(reason.text, "bytes"));
    ck_assert_uint_eq(entries(), 0);
}
END_TEST

/* The second would fit alone. */
START_TEST(two_at_once_are_not_promised_the_same_room)
{
    const struct bytes bytes = {manifest_bytes.bytes, (uint32_t)manifest_bytes.size};
    struct model_record other = {.model_id = NULL};
    struct model_receive second;
    uint64_t size = 0;
    ck_assert_int_eq(record_copy(&model_record_type, &record, &other), STATUS_OK);
    ck_assert(text_set(&other.model_id, "org/other"));
    for (uint32_t i = 0; i < record.files.count; i++)
        size += record.files.items[i].size;
    store_io_pretend_free(size + size / 2 + ((uint64_t)1 << 20));
    ck_assert_int_eq(begin(), STATUS_OK);
    ck_assert_int_eq(model_receive_open(&target, &other, &bytes, NULL, NULL, &second, &reason),
                     STATUS_NO_SPACE);
    ck_assert_msg(strstr(reason.text, "promised") && strstr(reason.text, "org/other needs"), "%s",
                  reason.text);
    /* Its own promise is not in its way when it begins again. */
    model_receive_close(&receive);
    ck_assert_int_eq(begin(), STATUS_OK);
    model_receive_drop(&receive);
    memset(&receive, 0, sizeof(receive));
    ck_assert_int_eq(model_receive_open(&target, &other, &bytes, NULL, NULL, &second, &reason),
                     STATUS_OK);
    model_receive_drop(&second);
    store_io_pretend_free(UINT64_MAX);
    record_fini(&model_record_type, &other);
}
END_TEST

START_TEST(a_manifest_that_is_not_the_models_makes_nothing)
{
    manifest_bytes.bytes[manifest_bytes.size / 2] ^= 1;
    ck_assert_int_eq(begin(), STATUS_HASH_MISMATCH);
    manifest_bytes.bytes[manifest_bytes.size / 2] ^= 1;
    record.files.items[0].size++;
    ck_assert_int_eq(begin(), STATUS_MALFORMED);
    ck_assert_uint_eq(entries(), 0);
}
END_TEST

START_TEST(what_nobody_wants_any_more_is_swept)
{
    char kept[1][RECEIVING_NAME_SIZE];
    ck_assert_int_eq(begin(), STATUS_OK);
    put(1);
    memcpy(kept[0], receive.name, RECEIVING_NAME_SIZE);
    model_receive_close(&receive);
    model_receive_sweep(&target, (const char(*)[RECEIVING_NAME_SIZE])kept, 1);
    ck_assert_uint_eq(entries(), 1);
    model_receive_sweep(&target, NULL, 0);
    ck_assert_uint_eq(entries(), 0);
    ck_assert_int_eq(begin(), STATUS_OK);
    model_receive_drop(&receive);
    ck_assert_uint_eq(entries(), 0);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("model receive");
    const TTest *const tests[] = {
        a_model_received_chunk_by_chunk_is_whole,
        what_the_store_holds_already_is_kept,
        what_goes_while_the_rest_is_received_makes_no_model,
        a_part_of_a_model_is_lent,
        weights_that_a_download_left_are_taken_in,
        a_wrong_chunk_changes_nothing,
        what_was_here_before_a_kill_is_here_again,
        half_a_chunk_on_the_disk_is_none,
        a_link_in_the_place_of_a_file_is_not_followed,
        a_full_disk_names_the_bytes_and_leaves_nothing,
        two_at_once_are_not_promised_the_same_room,
        a_manifest_that_is_not_the_models_makes_nothing,
        what_nobody_wants_any_more_is_swept,
    };
    TCase *group = tcase_create("receive");
    tcase_add_checked_fixture(group, setup, teardown);
    tcase_set_timeout(group, 60);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
