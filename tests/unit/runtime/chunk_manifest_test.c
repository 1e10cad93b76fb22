/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/hash.h"
#include "protocol/message.h"
#include "runtime/chunk_choice.h"
#include "runtime/model_manifest.h"
#include "tests/support/check_main.h"

#include <string.h>

static struct model_record record;
static struct chunk_manifest manifest;

static void add_file(const char *name, uint64_t size, uint64_t chunks)
{
    struct file_entry *entry =
        record_list_push(&file_entry_type, RECORD_LIST(record.files), NULL, 10);
    struct manifest_file *file =
        record_list_push(&manifest_file_type, RECORD_LIST(manifest.files), NULL, 10);
    uint8_t digests[8 * sizeof(struct hash)];
    for (size_t i = 0; i < sizeof(digests); i++)
        digests[i] = (uint8_t)(i + size);
    ck_assert(entry && file && text_set(&entry->name, name) && text_set(&file->name, name));
    ck_assert_uint_le(chunks, 8);
    entry->size = file->size = size;
    entry->digest.bytes[0] = file->digest.bytes[0] = (uint8_t)size;
    ck_assert(bytes_set(&file->chunks, digests, (size_t)chunks * sizeof(struct hash)));
}

/* Three files of 0, 1 and 3 chunks. */
static void setup(void)
{
    memset(&record, 0, sizeof(record));
    memset(&manifest, 0, sizeof(manifest));
    ck_assert(text_set(&record.model_id, "org/m"));
    add_file("config.json", 0, 0);
    add_file("model.safetensors", 2 * CHUNK_SIZE + 5, 3);
    add_file("tokenizer.json", 7, 1);
    record.revision = manifest.revision = model_revision(&record);
}

static void teardown(void)
{
    record_fini(&model_record_type, &record);
    record_fini(&chunk_manifest_type, &manifest);
}

/* Encodes what is there, names it in the record and reads it back. */
static enum status pass(struct reason *reason)
{
    struct buffer bytes;
    struct chunk_manifest read;
    buffer_init(&bytes, CHUNK_MANIFEST_SIZE_MAX);
    ck_assert_int_eq(chunk_manifest_encode(&manifest, &bytes, &record.manifest), STATUS_OK);
    enum status status =
        chunk_manifest_decode(bytes.bytes, bytes.size, &record, &read, reason);
    if (status == STATUS_OK) {
        ck_assert(record_equal(&chunk_manifest_type, &read, &manifest));
        record_fini(&chunk_manifest_type, &read);
    }
    buffer_fini(&bytes);
    return status;
}

static void refused(enum status expected)
{
    struct reason reason = {""};
    ck_assert_int_eq(pass(&reason), expected);
    ck_assert_uint_gt(strlen(reason.text), 0);
}

/* The same wrong thing in the record, so that only its being possible is judged. */
static void rename_file(uint32_t file, const char *name)
{
    ck_assert(text_set(&record.files.items[file].name, name) &&
              text_set(&manifest.files.items[file].name, name));
    record.revision = manifest.revision = model_revision(&record);
}

START_TEST(a_manifest_comes_back_as_it_was)
{
    struct reason reason;
    ck_assert_int_eq(pass(&reason), STATUS_OK);
    ck_assert_uint_eq(chunk_manifest_count(&manifest), 4);
}
END_TEST

START_TEST(chunks_are_numbered_over_all_files)
{
    struct chunk_place place;
    ck_assert(chunk_manifest_place(&manifest, 0, &place));
    ck_assert(place.file == 1 && place.offset == 0 && place.size == CHUNK_SIZE);
    ck_assert(chunk_manifest_place(&manifest, 2, &place));
    ck_assert(place.file == 1 && place.offset == 2 * CHUNK_SIZE && place.size == 5);
    const struct hash digest = chunk_manifest_chunk(&manifest, &place);
    ck_assert_mem_eq(&digest, manifest.files.items[1].chunks.items + 64, 32);
    ck_assert(chunk_manifest_place(&manifest, 3, &place));
    ck_assert(place.file == 2 && place.size == 7);
    ck_assert(!chunk_manifest_place(&manifest, 4, &place));
    ck_assert(!chunk_manifest_place(&manifest, UINT32_MAX, &place));
}
END_TEST

START_TEST(another_than_the_record_names_is_refused_before_it_is_read)
{
    struct buffer bytes;
    struct chunk_manifest read;
    struct reason reason;
    buffer_init(&bytes, CHUNK_MANIFEST_SIZE_MAX);
    ck_assert_int_eq(chunk_manifest_encode(&manifest, &bytes, &record.manifest), STATUS_OK);
    bytes.bytes[bytes.size / 2] ^= 1;
    ck_assert_int_eq(chunk_manifest_decode(bytes.bytes, bytes.size, &record, &read, &reason),
                     STATUS_HASH_MISMATCH);
    bytes.bytes[bytes.size / 2] ^= 1;
    ck_assert_int_eq(chunk_manifest_decode(bytes.bytes, bytes.size - 1, &record, &read, &reason),
                     STATUS_HASH_MISMATCH);
    memset(&record.manifest, 0, sizeof(record.manifest));
    ck_assert_int_eq(chunk_manifest_decode(bytes.bytes, bytes.size, &record, &read, &reason),
                     STATUS_HASH_MISMATCH);
    ck_assert_int_eq(chunk_manifest_decode(bytes.bytes, 0, &record, &read, &reason),
                     STATUS_MALFORMED);
    buffer_fini(&bytes);
}
END_TEST

START_TEST(names_that_lead_out_of_the_store_are_refused)
{
    static const char *const names[] = {"../m.safetensors", "/etc/m.safetensors", "..", "",
                                        "a/../../m.safetensors", "m\\x.safetensors",
                                        ".troupe-manifest", "m\n.safetensors"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        rename_file(1, names[i]);
        refused(STATUS_MALFORMED);
    }
    rename_file(1, "tokenizer.json"); /* twice the same */
    refused(STATUS_MALFORMED);
}
END_TEST

START_TEST(a_path_that_is_a_file_and_a_directory_is_refused)
{
    struct reason reason = {""};
    rename_file(1, "config/model.safetensors");
    ck_assert_int_eq(pass(&reason), STATUS_OK);
    rename_file(1, "config.json/model.safetensors");
    refused(STATUS_MALFORMED);
}
END_TEST

START_TEST(a_manifest_of_no_file_is_refused)
{
    while (record.files.count > 0) {
        record_list_remove(&file_entry_type, RECORD_LIST(record.files), 0);
        record_list_remove(&manifest_file_type, RECORD_LIST(manifest.files), 0);
    }
    record.revision = manifest.revision = model_revision(&record);
    refused(STATUS_MALFORMED);
}
END_TEST

START_TEST(a_file_without_its_chunks_is_refused)
{
    manifest.files.items[1].chunks.count = 0;
    refused(STATUS_MALFORMED);
    manifest.files.items[1].chunks.count = 2 * sizeof(struct hash);
    refused(STATUS_MALFORMED);
    manifest.files.items[1].chunks.count = 3 * sizeof(struct hash) - 1;
    refused(STATUS_MALFORMED);
}
END_TEST

START_TEST(a_thousand_million_chunks_and_sizes_that_overflow_are_refused)
{
    static const uint64_t sizes[] = {UINT64_MAX, UINT64_MAX - CHUNK_SIZE,
                                     CHUNK_SIZE * UINT64_C(1000000000),
                                     CHUNK_SIZE * CHUNK_COUNT_MAX + 1};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        record.files.items[1].size = manifest.files.items[1].size = sizes[i];
        record.revision = manifest.revision = model_revision(&record);
        refused(STATUS_MALFORMED);
    }
    ck_assert_uint_eq(chunks_of_size(UINT64_MAX), UINT64_MAX / CHUNK_SIZE + 1);
    ck_assert_uint_eq(chunks_of_size(0), 0);
    ck_assert_uint_eq(chunks_of_size(CHUNK_SIZE), 1);
}
END_TEST

START_TEST(another_file_than_in_the_record_is_refused)
{
    manifest.files.items[1].digest.bytes[5] ^= 1;
    refused(STATUS_MALFORMED);
    manifest.files.items[1].digest.bytes[5] ^= 1;
    manifest.revision.bytes[0] ^= 1;
    refused(STATUS_MALFORMED);
}
END_TEST

START_TEST(its_signature_holds_for_that_model_alone)
{
    struct identity identity;
    struct identity other;
    struct reason reason;
    ck_assert_int_eq(pass(&reason), STATUS_OK);
    ck_assert_int_eq(identity_make(&identity), STATUS_OK);
    ck_assert_int_eq(identity_make(&other), STATUS_OK);
    ck_assert_int_eq(chunk_manifest_sign(&identity, &record), STATUS_OK);
    ck_assert(ID_EQUAL(record.signer, identity.node));
    ck_assert(chunk_manifest_is_signed(&record, &identity.sign_key));
    ck_assert(!chunk_manifest_is_signed(&record, &other.sign_key));
    record.manifest.bytes[3] ^= 1;
    ck_assert(!chunk_manifest_is_signed(&record, &identity.sign_key));
    record.manifest.bytes[3] ^= 1;
    ck_assert(text_set(&record.model_id, "org/n"));
    ck_assert(!chunk_manifest_is_signed(&record, &identity.sign_key));
    identity_fini(&identity);
    identity_fini(&other);
}
END_TEST

/* ---- which chunk ---- */

static uint8_t have[2];
static uint8_t asked[2];
static uint8_t held[2];
static uint8_t available[10];

static uint32_t choose(uint32_t start, const uint8_t *of_source)
{
    const struct chunk_question question = {10, start, have, asked, of_source, available};
    return chunk_choose(&question);
}

static void clear_sets(void)
{
    memset(have, 0, sizeof(have));
    memset(asked, 0, sizeof(asked));
    memset(held, 0, sizeof(held));
    memset(available, 3, sizeof(available));
}

START_TEST(the_rarest_chunk_is_asked_for_first)
{
    clear_sets();
    available[7] = 1;
    available[4] = 2;
    ck_assert_uint_eq(choose(0, NULL), 7);
    chunk_add(have, 7);
    ck_assert_uint_eq(choose(0, NULL), 4);
    chunk_add(asked, 4);
    ck_assert_uint_eq(choose(0, NULL), 0);
}
END_TEST

START_TEST(receivers_of_one_source_begin_at_different_chunks)
{
    clear_sets();
    ck_assert_uint_eq(choose(6, NULL), 6);
    ck_assert_uint_eq(choose(9, NULL), 9);
    chunk_add(asked, 9);
    ck_assert_uint_eq(choose(9, NULL), 0);
}
END_TEST

START_TEST(a_source_is_asked_only_for_what_it_has)
{
    clear_sets();
    ck_assert_uint_eq(choose(0, held), CHUNK_NONE);
    chunk_add(held, 8);
    ck_assert_uint_eq(choose(0, held), 8);
    chunk_add(asked, 8);
    ck_assert_uint_eq(choose(0, held), CHUNK_NONE);
    chunk_remove(asked, 8);
    chunk_add(have, 8);
    ck_assert_uint_eq(choose(0, held), CHUNK_NONE);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("chunk manifest");
    const TTest *const manifests[] = {
        a_manifest_comes_back_as_it_was,
        chunks_are_numbered_over_all_files,
        another_than_the_record_names_is_refused_before_it_is_read,
        names_that_lead_out_of_the_store_are_refused,
        a_path_that_is_a_file_and_a_directory_is_refused,
        a_manifest_of_no_file_is_refused,
        a_file_without_its_chunks_is_refused,
        a_thousand_million_chunks_and_sizes_that_overflow_are_refused,
        another_file_than_in_the_record_is_refused,
        its_signature_holds_for_that_model_alone,
    };
    const TTest *const choices[] = {
        the_rarest_chunk_is_asked_for_first,
        receivers_of_one_source_begin_at_different_chunks,
        a_source_is_asked_only_for_what_it_has,
    };
    TCase *group = tcase_create("manifest");
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(manifests); i++)
        tcase_add_test(group, manifests[i]);
    suite_add_tcase(suite, group);
    suite_add(suite, "choice", choices, COUNT_OF(choices));
    return suite;
}
