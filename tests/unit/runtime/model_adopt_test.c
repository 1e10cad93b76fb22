/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models that are used where others put them, and stores that two nodes share.
 */
#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/chunk_digest.h"
#include "runtime/hub_link.h"
#include "runtime/model_store.h"
#include "runtime/store_io.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODEL "scripts/demo-model/model"
#define MODEL_ID "org/demo"
#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static const char *const model_files[] = {
    "chat_template.jinja", "config.json",       "generation_config.json",       "model.safetensors",
    "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
};

/* Two nodes, `b` and `other`, with one cache. */
struct fixture {
    struct scratch scratch;
    char hub[256];
    char mlx[256]; /* model_directories of both */
    char holdings[2][256];
    struct model_store_places places[2];
    struct model_store stores[2];
};

static void fixture_open(struct fixture *fixture)
{
    struct reason reason = {""};
    scratch_open(&fixture->scratch);
    (void)scratch_path(&fixture->scratch, "hub", fixture->hub);
    (void)scratch_path(&fixture->scratch, "mlx", fixture->mlx);
    ck_assert_int_eq(mkdir(fixture->mlx, 0700), 0);
    (void)scratch_path(&fixture->scratch, "one", fixture->holdings[0]);
    (void)scratch_path(&fixture->scratch, "two", fixture->holdings[1]);
    for (int i = 0; i < 2; i++) {
        fixture->places[i] = (struct model_store_places){fixture->hub, fixture->holdings[i],
                                                         fixture->mlx};
        ck_assert_msg(model_store_open(&fixture->stores[i], &fixture->places[i], "test",
                                       &reason) == STATUS_OK, "%s", reason.text);
    }
}

static void fixture_close(struct fixture *fixture)
{
    for (int i = 0; i < 2; i++)
        model_store_close(&fixture->stores[i]);
    scratch_close(&fixture->scratch);
}

static char *content_of(const char *name, size_t *size_out)
{
    char path[512];
    char inside[128];
    (void)snprintf(inside, sizeof(inside), MODEL "/%s", name);
    return file_bytes(source_path(inside, path), size_out);
}

/* As the hub's client leaves it: blobs, links, main. */
static void put_snapshot(struct fixture *fixture)
{
    const struct hub_cache *cache = &fixture->stores[0].cache;
    struct reason reason = {""};
    for (size_t i = 0; i < COUNT_OF(model_files); i++) {
        char etag[ETAG_SIZE];
        size_t size = 0;
        int file = -1;
        char *bytes = content_of(model_files[i], &size);
        /* tokenizer.json is large on the hub, so it is named by its SHA-256 there. */
        const enum etag_kind kind = strstr(model_files[i], "tokenizer.json") ||
                                            strstr(model_files[i], ".safetensors")
                                        ? ETAG_SHA256
                                        : ETAG_GIT_SHA1;
        ck_assert_int_eq(etag_of(kind, bytes, size, etag, &reason), STATUS_OK);
        ck_assert_int_eq(hub_cache_partial_open(cache, MODEL_ID, etag, size, &file, &reason),
                         STATUS_OK);
        ck_assert_int_eq(pwrite(file, bytes, size, 0), (ssize_t)size);
        ck_assert_int_eq(hub_cache_blob_place(cache, MODEL_ID, etag, file, &reason), STATUS_OK);
        ck_assert_int_eq(hub_cache_snapshot_link(cache, MODEL_ID, COMMIT, model_files[i], etag,
                                                 &reason), STATUS_OK);
        (void)close(file);
        memory_free(bytes);
    }
    ck_assert_int_eq(hub_cache_ref_set(cache, MODEL_ID, "main", COMMIT, &reason), STATUS_OK);
}

static void put_directory(const char *directory)
{
    char path[600];
    (void)mkdir(directory, 0700);
    for (size_t i = 0; i < COUNT_OF(model_files); i++) {
        size_t size = 0;
        char *bytes = content_of(model_files[i], &size);
        (void)snprintf(path, sizeof(path), "%s/%s", directory, model_files[i]);
        file_put(path, bytes, size);
        memory_free(bytes);
    }
}

static enum status take_in(struct fixture *fixture, int node, const char *model_id,
                           const char *source, struct reason *reason)
{
    const struct model_import import = {.model_id = model_id, .source = source};
    struct model_record record = {0};
    enum status status = model_store_import(&fixture->stores[node], &import, &record, reason);
    record_fini(&model_record_type, &record);
    return status;
}

static enum model_holding held(const struct fixture *fixture, int node, const char *model_id)
{
    struct reason reason;
    return model_store_check(&fixture->stores[node], model_id, NULL, &reason);
}

static int entries_of(const char *path)
{
    int count = 0;
    const struct dirent *entry;
    DIR *directory = opendir(path);
    if (!directory)
        return -1;
    while ((entry = readdir(directory)))
        count += entry->d_name[0] != '.';
    (void)closedir(directory);
    return count;
}

static const char *blobs_of(const struct fixture *fixture, char path_out[512])
{
    (void)snprintf(path_out, 512, "%s/models--org--demo/blobs", fixture->hub);
    return path_out;
}

/* The file behind the weights of the snapshot. */
static void weights_blob(const struct fixture *fixture, char path_out[1024])
{
    char link[600];
    char target[256] = "";
    (void)snprintf(link, sizeof(link), "%s/models--org--demo/snapshots/" COMMIT
                   "/model.safetensors", fixture->hub);
    ck_assert_int_gt(readlink(link, target, sizeof(target) - 1), 0);
    ck_assert_int_lt(snprintf(path_out, 1024, "%s/models--org--demo/%s", fixture->hub,
                              target + strlen("../../")), 1024);
}

START_TEST(what_the_hubs_client_pulled_is_adopted_without_a_copy)
{
    struct fixture fixture;
    struct model_manifest manifest = {0};
    struct reason reason = {""};
    char path[MODEL_STORE_PATH_SIZE];
    char blobs[512];
    struct stat before;
    struct stat after;
    char blob[1024];
    fixture_open(&fixture);
    ck_assert_int_eq(model_store_find(&fixture.stores[0], MODEL_ID, NULL, path, sizeof(path),
                                      &reason), STATUS_NOT_FOUND);
    put_snapshot(&fixture);
    weights_blob(&fixture, blob);
    ck_assert_int_eq(stat(blob, &before), 0);
    ck_assert_msg(model_store_find(&fixture.stores[0], MODEL_ID, NULL, path, sizeof(path),
                                   &reason) == STATUS_OK, "%s", reason.text);
    ck_assert_ptr_nonnull(strstr(path, "/snapshots/" COMMIT));
    ck_assert_int_eq(held(&fixture, 0, MODEL_ID), MODEL_ABSENT); /* nothing is done unasked */
    ck_assert_msg(take_in(&fixture, 0, MODEL_ID, path, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert_int_eq(held(&fixture, 0, MODEL_ID), MODEL_WHOLE);
    ck_assert_int_eq(entries_of(blobs_of(&fixture, blobs)), (int)COUNT_OF(model_files));
    ck_assert_int_eq(stat(blob, &after), 0);
    ck_assert(before.st_ino == after.st_ino && before.st_mtime == after.st_mtime);
    ck_assert_int_eq(model_manifest_read(fixture.stores[0].holdings, MODEL_ID, &manifest,
                                         &reason), STATUS_OK);
    ck_assert_str_eq(manifest.commit, COMMIT);
    ck_assert_ptr_null(manifest.location);
    for (uint32_t i = 0; i < manifest.record.files.count; i++)
        if (strcmp(manifest.record.files.items[i].name, "tokenizer.json") == 0)
            ck_assert_int_eq(etag_kind_of(manifest.files[i].etag), ETAG_SHA256);
    model_manifest_fini(&manifest);
    /* Under another name it is used where it lies, too. */
    ck_assert_int_eq(take_in(&fixture, 0, "alias", path, &reason), STATUS_OK);
    ck_assert_int_eq(held(&fixture, 0, "alias"), MODEL_WHOLE);
    ck_assert_int_eq(entries_of(fixture.hub), 2); /* the model and the tag */
    ck_assert_int_eq(model_store_delete(&fixture.stores[0], "alias", &reason), STATUS_OK);
    ck_assert_int_eq(held(&fixture, 0, MODEL_ID), MODEL_WHOLE);
    ck_assert_int_eq(model_store_delete(&fixture.stores[0], MODEL_ID, &reason), STATUS_OK);
    ck_assert_int_eq(entries_of(fixture.hub), 1);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_blob_with_a_flipped_bit_or_a_link_in_its_place_is_not_adopted)
{
    struct fixture fixture;
    struct reason reason = {""};
    char path[MODEL_STORE_PATH_SIZE];
    char blob[1024];
    char secret[256];
    char byte = 0;
    fixture_open(&fixture);
    put_snapshot(&fixture);
    weights_blob(&fixture, blob);
    ck_assert_int_eq(model_store_find(&fixture.stores[0], MODEL_ID, "main", path, sizeof(path),
                                      &reason), STATUS_OK);
    int file = open(blob, O_RDWR);
    ck_assert_int_ge(file, 0);
    ck_assert_int_eq(pread(file, &byte, 1, 100000), 1);
    byte ^= 4;
    ck_assert_int_eq(pwrite(file, &byte, 1, 100000), 1);
    ck_assert_int_eq(take_in(&fixture, 0, MODEL_ID, path, &reason), STATUS_HASH_MISMATCH);
    ck_assert_ptr_nonnull(strstr(reason.text, "model.safetensors"));
    ck_assert_int_eq(held(&fixture, 0, MODEL_ID), MODEL_ABSENT);
    byte ^= 4;
    ck_assert_int_eq(pwrite(file, &byte, 1, 100000), 1);
    (void)close(file);
    (void)scratch_path(&fixture.scratch, "secret", secret);
    ck_assert_int_eq(rename(blob, secret), 0);
    ck_assert_int_eq(symlink(secret, blob), 0);
    ck_assert_int_eq(take_in(&fixture, 0, MODEL_ID, path, &reason), STATUS_REFUSED);
    ck_assert_int_eq(held(&fixture, 0, MODEL_ID), MODEL_ABSENT);
    ck_assert_int_eq(model_store_find(&fixture.stores[0], MODEL_ID, NULL, path, sizeof(path),
                                      &reason), STATUS_NOT_FOUND);
    ck_assert_int_eq(unlink(blob), 0);
    ck_assert_int_eq(rename(secret, blob), 0);
    ck_assert_int_eq(take_in(&fixture, 0, MODEL_ID, path, &reason), STATUS_OK);
    /* After it was adopted: seen at the next look. */
    ck_assert_int_eq(rename(blob, secret), 0);
    ck_assert_int_eq(symlink(secret, blob), 0);
    ck_assert_int_eq(held(&fixture, 0, MODEL_ID), MODEL_SMALL_FILES);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_model_in_a_directory_of_the_user_is_used_in_place)
{
    struct fixture fixture;
    struct model_record record = {0};
    struct reason reason = {""};
    char organisation[300];
    char directory[400];
    char path[MODEL_STORE_PATH_SIZE];
    char outside[256];
    fixture_open(&fixture);
    (void)snprintf(organisation, sizeof(organisation), "%s/org", fixture.mlx);
    (void)snprintf(directory, sizeof(directory), "%s/demo", organisation);
    ck_assert_int_eq(mkdir(organisation, 0700), 0);
    put_directory(directory);
    ck_assert_int_eq(model_store_find(&fixture.stores[0], MODEL_ID, NULL, path, sizeof(path),
                                      &reason), STATUS_OK);
    ck_assert_str_eq(path, directory);
    ck_assert_int_eq(take_in(&fixture, 0, MODEL_ID, path, &reason), STATUS_OK);
    ck_assert_int_eq(entries_of(fixture.hub), 1); /* its tag */
    ck_assert_int_eq(model_store_locate(&fixture.stores[0], MODEL_ID, path, sizeof(path), &record,
                                        &reason), MODEL_WHOLE);
    ck_assert_str_eq(path, directory);
    record_fini(&model_record_type, &record);
    ck_assert_int_eq(model_store_delete(&fixture.stores[0], MODEL_ID, &reason), STATUS_OK);
    ck_assert_int_eq(held(&fixture, 0, MODEL_ID), MODEL_ABSENT);
    ck_assert_int_eq(entries_of(directory), (int)COUNT_OF(model_files));
    /* Elsewhere it is copied, also when the name of the directory only begins alike. */
    (void)scratch_path(&fixture.scratch, "mlx-more", outside);
    put_directory(outside);
    ck_assert_int_eq(take_in(&fixture, 0, MODEL_ID, outside, &reason), STATUS_OK);
    ck_assert_int_eq(entries_of(fixture.hub), 2);
    ck_assert_int_eq(model_store_locate(&fixture.stores[0], MODEL_ID, path, sizeof(path), NULL,
                                        &reason), MODEL_WHOLE);
    ck_assert_ptr_nonnull(strstr(path, fixture.hub));
    fixture_close(&fixture);
}
END_TEST

START_TEST(two_nodes_share_one_cache)
{
    struct fixture fixture;
    struct reason reason = {""};
    char source[256];
    char path[MODEL_STORE_PATH_SIZE];
    char journal[400];
    char text[128];
    fixture_open(&fixture);
    (void)scratch_path(&fixture.scratch, "source", source);
    put_directory(source);
    ck_assert_int_eq(take_in(&fixture, 0, MODEL_ID, source, &reason), STATUS_OK);
    ck_assert_int_eq(held(&fixture, 1, MODEL_ID), MODEL_ABSENT);
    /* The same files again: the blobs that are there stay, so their stamps hold. */
    ck_assert_msg(take_in(&fixture, 1, MODEL_ID, source, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert_int_eq(held(&fixture, 0, MODEL_ID), MODEL_WHOLE);
    ck_assert_int_eq(held(&fixture, 1, MODEL_ID), MODEL_WHOLE);
    /* Killed in the middle of an import of what the other has: nothing of it goes. */
    ck_assert_int_eq(model_store_locate(&fixture.stores[0], MODEL_ID, path, sizeof(path), NULL,
                                        &reason), MODEL_WHOLE);
    (void)snprintf(journal, sizeof(journal), "%s/models--org--demo.holding", fixture.holdings[1]);
    ck_assert_int_eq(unlink(journal), 0);
    (void)snprintf(journal, sizeof(journal), "%s/models--org--demo.test.journal",
                   fixture.holdings[1]);
    (void)snprintf(text, sizeof(text), "made %s\nthere 1\n\n", strrchr(path, '/') + 1);
    file_put(journal, text, strlen(text));
    model_store_close(&fixture.stores[1]);
    ck_assert_int_eq(model_store_open(&fixture.stores[1], &fixture.places[1], "test", &reason),
                     STATUS_OK);
    ck_assert_int_eq(entries_of(fixture.holdings[1]), 0);
    ck_assert_int_eq(held(&fixture, 0, MODEL_ID), MODEL_WHOLE);
    /* Killed in the middle of one of its own: it goes. */
    (void)snprintf(text, sizeof(text), "made %s\nthere 0\n\n", strrchr(path, '/') + 1);
    file_put(journal, text, strlen(text));
    model_store_close(&fixture.stores[1]);
    ck_assert_int_eq(model_store_open(&fixture.stores[1], &fixture.places[1], "test", &reason),
                     STATUS_OK);
    ck_assert_int_eq(held(&fixture, 0, MODEL_ID), MODEL_DAMAGED);
    ck_assert_int_eq(entries_of(fixture.hub), 1);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_holding_keeps_digests_of_chunks_and_the_wishes_of_the_user)
{
    struct fixture fixture;
    struct model_manifest manifest = {0};
    struct reason reason = {""};
    struct hash first;
    struct hash second;
    struct hash digest;
    char source[256];
    size_t size = 0;
    fixture_open(&fixture);
    (void)scratch_path(&fixture.scratch, "source", source);
    put_directory(source);
    ck_assert_int_eq(take_in(&fixture, 0, MODEL_ID, source, &reason), STATUS_OK);
    ck_assert_int_eq(model_store_note(&fixture.stores[0], MODEL_ID, true, 77, &reason),
                     STATUS_OK);
    ck_assert_int_eq(model_store_note(&fixture.stores[0], MODEL_ID, true, 50, &reason),
                     STATUS_OK);
    ck_assert_int_eq(model_store_note(&fixture.stores[0], "other", true, 1, &reason),
                     STATUS_NOT_FOUND);
    ck_assert_int_eq(take_in(&fixture, 0, MODEL_ID, source, &reason), STATUS_OK);
    ck_assert_int_eq(model_manifest_read(fixture.stores[0].holdings, MODEL_ID, &manifest,
                                         &reason), STATUS_OK);
    ck_assert(manifest.is_pinned && manifest.is_made);
    ck_assert_uint_eq(manifest.used_ms, 77);
    char *bytes = content_of("model.safetensors", &size);
    chunk_digest_of(bytes, size, &digest);
    memory_free(bytes);
    ck_assert_uint_eq(chunk_count(size), 1);
    ck_assert_str_eq(manifest.record.files.items[3].name, "model.safetensors");
    ck_assert(ID_EQUAL(manifest.files[3].chunks[0], digest));
    ck_assert(model_manifest_digest(&manifest, &first));
    manifest.files[3].chunks[0].bytes[5] ^= 1;
    ck_assert(model_manifest_digest(&manifest, &second));
    ck_assert(!ID_EQUAL(first, second));
    memory_free(manifest.files[3].chunks);
    manifest.files[3].chunks = NULL;
    ck_assert(!model_manifest_digest(&manifest, &second));
    model_manifest_fini(&manifest);
    ck_assert_uint_eq(chunk_count(0), 0);
    ck_assert_uint_eq(chunk_count(CHUNK_SIZE), 1);
    ck_assert_uint_eq(chunk_count(CHUNK_SIZE + 1), 2);
    ck_assert_uint_eq(chunk_count(UINT64_MAX), UINT64_MAX / CHUNK_SIZE + 1);
    fixture_close(&fixture);
}
END_TEST

/* Every byte of a holding that is cut or changed is noticed, whatever it says. */
START_TEST(a_holding_that_was_cut_or_changed_is_refused)
{
    struct fixture fixture;
    struct model_manifest manifest = {0};
    struct reason reason = {""};
    char source[256];
    char path[400];
    size_t size = 0;
    fixture_open(&fixture);
    (void)scratch_path(&fixture.scratch, "source", source);
    put_directory(source);
    ck_assert_int_eq(take_in(&fixture, 0, MODEL_ID, source, &reason), STATUS_OK);
    (void)snprintf(path, sizeof(path), "%s/models--org--demo.holding", fixture.holdings[0]);
    char *bytes = file_bytes(path, &size);
    for (size_t at = 0; at < size; at += 13) {
        bytes[at] ^= 0x20;
        file_put(path, bytes, size);
        bytes[at] ^= 0x20;
        ck_assert_int_eq(model_manifest_read(fixture.stores[0].holdings, MODEL_ID, &manifest,
                                             &reason), STATUS_DAMAGED);
        file_put(path, bytes, at);
        ck_assert_int_eq(model_manifest_read(fixture.stores[0].holdings, MODEL_ID, &manifest,
                                             &reason), STATUS_DAMAGED);
    }
    /* Sound by its hash, but with sizes that overflow. */
    static const size_t offsets[] = {12, 16, 20};
    for (size_t i = 0; i < COUNT_OF(offsets); i++) {
        char kept[4];
        memcpy(kept, bytes + offsets[i], 4);
        memset(bytes + offsets[i], 0xff, 4);
        hash_of(bytes, size - 32, (struct hash *)(void *)(bytes + size - 32));
        file_put(path, bytes, size);
        memcpy(bytes + offsets[i], kept, 4);
        ck_assert_int_eq(model_manifest_read(fixture.stores[0].holdings, MODEL_ID, &manifest,
                                             &reason), STATUS_DAMAGED);
    }
    memory_free(bytes);
    fixture_close(&fixture);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("model_adopt");
    const TTest *const tests[] = {
        what_the_hubs_client_pulled_is_adopted_without_a_copy,
        a_blob_with_a_flipped_bit_or_a_link_in_its_place_is_not_adopted,
        a_model_in_a_directory_of_the_user_is_used_in_place,
        two_nodes_share_one_cache,
        a_holding_keeps_digests_of_chunks_and_the_wishes_of_the_user,
        a_holding_that_was_cut_or_changed_is_refused,
    };
    suite_add(suite, "in place", tests, COUNT_OF(tests));
    return suite;
}
