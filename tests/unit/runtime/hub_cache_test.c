/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/limits.h"
#include "protocol/memory.h"
#include "runtime/hub_cache.h"
#include "runtime/hub_link.h"
#include "runtime/store_io.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODEL_ID "org/name"
#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define OTHER_COMMIT "ffffffffffffffffffffffffffffffffffffffff"
#define SHARED "ab23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define TEXT "what stands in it"

struct fixture {
    struct scratch scratch;
    char root[256];
    struct hub_cache cache;
    char etag[ETAG_SIZE]; /* of TEXT */
};

static void fixture_open(struct fixture *fixture)
{
    struct reason reason = {""};
    scratch_open(&fixture->scratch);
    (void)scratch_path(&fixture->scratch, "hub", fixture->root);
    ck_assert_msg(hub_cache_open(&fixture->cache, fixture->root, &reason) == STATUS_OK, "%s",
                  reason.text);
    ck_assert_int_eq(etag_of(ETAG_SHA256, TEXT, strlen(TEXT), fixture->etag, &reason), STATUS_OK);
}

static void fixture_close(struct fixture *fixture)
{
    hub_cache_close(&fixture->cache);
    scratch_close(&fixture->scratch);
}

static const char *inside(const struct fixture *fixture, const char *name, char path_out[1024])
{
    ck_assert_int_lt(snprintf(path_out, 1024, "%s/%s", fixture->root, name), 1024);
    return path_out;
}

static const char *blob_path(const struct fixture *fixture, const char *end, char path_out[1024])
{
    char name[256];
    (void)snprintf(name, sizeof(name), "models--org--name/blobs/%s%s", fixture->etag, end);
    return inside(fixture, name, path_out);
}

/* The blob of TEXT, as a downloader makes it. */
static void put_blob(struct fixture *fixture)
{
    struct reason reason = {""};
    int file = -1;
    ck_assert_msg(hub_cache_partial_open(&fixture->cache, MODEL_ID, fixture->etag, strlen(TEXT),
                                         &file, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert_int_eq(pwrite(file, TEXT, strlen(TEXT), 0), strlen(TEXT));
    ck_assert_msg(hub_cache_blob_place(&fixture->cache, MODEL_ID, fixture->etag, file, &reason) ==
                      STATUS_OK, "%s", reason.text);
    (void)close(file);
}

static void link_blob(struct fixture *fixture, const char *commit, const char *path)
{
    struct reason reason = {""};
    ck_assert_msg(hub_cache_snapshot_link(&fixture->cache, MODEL_ID, commit, path, fixture->etag,
                                          &reason) == STATUS_OK, "%s", reason.text);
}

static enum status resolve(const struct fixture *fixture, const char *path, struct reason *reason)
{
    char etag[ETAG_SIZE];
    char text[64] = "";
    int file = -1;
    uint64_t size = 0;
    enum status status = hub_cache_snapshot_resolve(&fixture->cache, MODEL_ID, COMMIT, path, &file,
                                                    &size, etag, reason);
    if (status != STATUS_OK)
        return status;
    ck_assert_uint_eq(size, strlen(TEXT));
    ck_assert_int_eq(pread(file, text, sizeof(text), 0), strlen(TEXT));
    ck_assert_str_eq(text, TEXT);
    (void)close(file);
    return STATUS_OK;
}

/* What a test puts aside for a link that leads out. */
static void put_secret(const struct fixture *fixture, char path_out[256])
{
    (void)scratch_path(&fixture->scratch, "secret", path_out);
    file_put(path_out, TEXT, strlen(TEXT));
}

START_TEST(hashes_are_those_of_the_hub)
{
    char etag[ETAG_SIZE];
    struct reason reason;
    ck_assert_int_eq(etag_of(ETAG_SHA256, "abc", 3, etag, &reason), STATUS_OK);
    ck_assert_str_eq(etag, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    /* git hash-object of "hello\n" and of nothing */
    ck_assert_int_eq(etag_of(ETAG_GIT_SHA1, "hello\n", 6, etag, &reason), STATUS_OK);
    ck_assert_str_eq(etag, "ce013625030ba8dba906f756967f9e9ca394464a");
    ck_assert_int_eq(etag_of(ETAG_GIT_SHA1, "", 0, etag, &reason), STATUS_OK);
    ck_assert_str_eq(etag, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    ck_assert_int_eq(etag_kind_of(etag), ETAG_GIT_SHA1);
    ck_assert_int_eq(etag_kind_of("E69DE29BB2D1D6434B8B29AE775AD8C2E48C5391"), ETAG_NONE);
    ck_assert_int_eq(etag_kind_of("../../../../../../../../../../../etc/hosts"), ETAG_NONE);
    ck_assert_int_eq(etag_kind_of(""), ETAG_NONE);
}
END_TEST

START_TEST(names_go_to_directories_and_back)
{
    static const char *const sound[] = {"org/name", "gpt2", "a.b/c_d-e.F"};
    static const char *const unsound[] = {"",        "a--b",   "../x",   "a/../b", "/a",  "a/",
                                          "a//b",    ".a",     "-a",     "a/-b",   "a\\b", "a b",
                                          "a\x01", "\xe2\x80\xa4\xe2\x80\xa4/x", "a%2e", "a/.."};
    char name[HUB_NAME_SIZE];
    char back[HUB_NAME_SIZE];
    char longest[NAME_SIZE_MAX + 2];
    struct reason reason;
    for (size_t i = 0; i < COUNT_OF(sound); i++) {
        ck_assert_int_eq(hub_model_name(sound[i], name, &reason), STATUS_OK);
        ck_assert(hub_model_id(name, back));
        ck_assert_str_eq(back, sound[i]);
    }
    for (size_t i = 0; i < COUNT_OF(unsound); i++)
        ck_assert_msg(hub_model_name(unsound[i], name, &reason) == STATUS_INVALID, "%s",
                      unsound[i]);
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    ck_assert_int_eq(hub_model_name(longest, name, &reason), STATUS_INVALID);
    ck_assert_int_eq(hub_model_name(longest + 1, name, &reason), STATUS_OK);
    ck_assert(!hub_model_id("datasets--org--name", back));
    ck_assert(!hub_model_id("models--", back));
    ck_assert(!hub_model_id("models--..--x", back));
    ck_assert(!hub_model_id("blobs", back));
}
END_TEST

START_TEST(a_path_that_leads_out_is_refused_before_the_disk_is_touched)
{
    static const char *const paths[] = {
        "", ".", "..", "../x", "a/../b", "a/..", "/etc/passwd", "a//b", "a/", "/", "./a", "a/./b",
        "..\\x", "a\\b", "C:\\x", "C:/x", "%2e%2e/x", "a%2fb", "a\nb", "a\x7f", "\x01", "~/x",
        "-rf", "a/-b", ".ssh/key", "a/.git/x", "\xe2\x80\xa4\xe2\x80\xa4/x",
        "\xef\xbc\x8e\xef\xbc\x8e/x",
        "\xc0\xae\xc0\xae/x", "a:b", "a*b", "a?b", "a|b", "a b", "a\tb", "a;b", "$HOME/x",
        "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", "con\xff"};
    char longest[NAME_SIZE_MAX + 2];
    struct fixture fixture;
    struct reason reason;
    struct stat facts;
    char path[1024];
    fixture_open(&fixture);
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    ck_assert(!hub_path_is_sound(longest));
    ck_assert(hub_path_is_sound(longest + 1));
    ck_assert(hub_path_is_sound("a/b/model-00001-of-00002.safetensors"));
    ck_assert(!hub_path_is_sound(NULL));
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        ck_assert_msg(!hub_path_is_sound(paths[i]), "%s", paths[i]);
        ck_assert_int_eq(hub_cache_snapshot_link(&fixture.cache, MODEL_ID, COMMIT, paths[i],
                                                 fixture.etag, &reason), STATUS_INVALID);
        ck_assert_int_eq(resolve(&fixture, paths[i], &reason), STATUS_INVALID);
        ck_assert_int_eq(hub_cache_ref_set(&fixture.cache, MODEL_ID, paths[i], COMMIT, &reason),
                         STATUS_INVALID);
        ck_assert_int_eq(hub_cache_snapshot_link(&fixture.cache, MODEL_ID, paths[i], "a",
                                                 fixture.etag, &reason), STATUS_INVALID);
        ck_assert_int_eq(hub_cache_snapshot_link(&fixture.cache, MODEL_ID, COMMIT, "a", paths[i],
                                                 &reason), STATUS_INVALID);
    }
    ck_assert_int_ne(stat(inside(&fixture, "models--org--name", path), &facts), 0);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_blob_appears_whole_and_is_found_through_its_links)
{
    struct fixture fixture;
    struct reason reason = {""};
    struct stat facts;
    char path[1024];
    char target[256] = "";
    char commit[HUB_COMMIT_SIZE];
    fixture_open(&fixture);
    ck_assert_int_eq(hub_cache_blob_state(&fixture.cache, MODEL_ID, fixture.etag, strlen(TEXT),
                                          &reason), HUB_BLOB_ABSENT);
    int file = -1;
    ck_assert_int_eq(hub_cache_partial_open(&fixture.cache, MODEL_ID, fixture.etag, strlen(TEXT),
                                            &file, &reason), STATUS_OK);
    ck_assert_int_eq(fstat(file, &facts), 0);
    ck_assert_int_eq(facts.st_size, strlen(TEXT));
    (void)close(file);
    ck_assert_int_eq(hub_cache_blob_state(&fixture.cache, MODEL_ID, fixture.etag, strlen(TEXT),
                                          &reason), HUB_BLOB_PARTIAL);
    put_blob(&fixture);
    ck_assert_int_eq(hub_cache_blob_state(&fixture.cache, MODEL_ID, fixture.etag, strlen(TEXT),
                                          &reason), HUB_BLOB_WHOLE);
    ck_assert_int_eq(hub_cache_blob_state(&fixture.cache, MODEL_ID, fixture.etag, 3, &reason),
                     HUB_BLOB_WRONG);
    ck_assert_int_ne(stat(blob_path(&fixture, HUB_PARTIAL_END, path), &facts), 0);
    link_blob(&fixture, COMMIT, "config.json");
    link_blob(&fixture, COMMIT, "config.json"); /* again: nothing to do */
    link_blob(&fixture, COMMIT, "original/part/a.json");
    ck_assert_int_eq(resolve(&fixture, "config.json", &reason), STATUS_OK);
    ck_assert_msg(resolve(&fixture, "original/part/a.json", &reason) == STATUS_OK, "%s",
                  reason.text);
    ck_assert_int_eq(resolve(&fixture, "absent.json", &reason), STATUS_NOT_FOUND);
    ck_assert_int_gt(readlink(inside(&fixture, "models--org--name/snapshots/" COMMIT
                                               "/original/part/a.json", path), target,
                              sizeof(target) - 1), 0);
    ck_assert_msg(strncmp(target, "../../../../blobs/", 18) == 0, "%s", target);
    ck_assert_int_eq(hub_cache_ref_get(&fixture.cache, MODEL_ID, "main", commit, &reason),
                     STATUS_NOT_FOUND);
    ck_assert_int_eq(hub_cache_ref_set(&fixture.cache, MODEL_ID, "refs/pr/1", COMMIT, &reason),
                     STATUS_OK);
    ck_assert_int_eq(hub_cache_ref_set(&fixture.cache, MODEL_ID, "main", COMMIT, &reason),
                     STATUS_OK);
    ck_assert_int_eq(hub_cache_ref_get(&fixture.cache, MODEL_ID, "main", commit, &reason),
                     STATUS_OK);
    ck_assert_str_eq(commit, COMMIT);
    size_t size = 0;
    char *text = file_bytes(inside(&fixture, "models--org--name/refs/main", path), &size);
    ck_assert_uint_eq(size, HUB_COMMIT_SIZE - 1); /* no newline */
    memory_free(text);
    ck_assert_int_eq(stat(inside(&fixture, "CACHEDIR.TAG", path), &facts), 0);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_link_that_leads_out_is_refused)
{
    static const char *const snapshot = "models--org--name/snapshots/" COMMIT;
    struct fixture fixture;
    struct reason reason = {""};
    char path[1024];
    char secret[256];
    char target[600];
    fixture_open(&fixture);
    put_secret(&fixture, secret);
    put_blob(&fixture);
    link_blob(&fixture, COMMIT, "config.json");
    link_blob(&fixture, COMMIT, "sub/a.json");
    const char *const targets[] = {secret, "../../../../secret", "../../blobs/../../../secret",
                                   "../../blobs/.hidden", "../blobs/x", "../../../blobs/x",
                                   "../../blobs/", "../../snapshots/x"};
    for (size_t i = 0; i < COUNT_OF(targets); i++) {
        (void)snprintf(target, sizeof(target), "%s/bad.json", snapshot);
        (void)unlink(inside(&fixture, target, path));
        ck_assert_int_eq(symlink(targets[i], path), 0);
        ck_assert_msg(resolve(&fixture, "bad.json", &reason) == STATUS_REFUSED, "%s", targets[i]);
    }
    /* The blob itself a link, the directory of blobs, a directory of the snapshot. */
    ck_assert_int_eq(unlink(blob_path(&fixture, "", path)), 0);
    ck_assert_int_eq(symlink(secret, path), 0);
    ck_assert_int_eq(resolve(&fixture, "config.json", &reason), STATUS_REFUSED);
    ck_assert_int_eq(hub_cache_blob_state(&fixture.cache, MODEL_ID, fixture.etag, strlen(TEXT),
                                          &reason), HUB_BLOB_WRONG);
    put_blob(&fixture); /* a rename over it */
    ck_assert_int_eq(resolve(&fixture, "config.json", &reason), STATUS_OK);
    ck_assert_int_eq(symlink(secret, blob_path(&fixture, HUB_PARTIAL_END, path)), 0);
    int file = -1;
    ck_assert_int_eq(hub_cache_partial_open(&fixture.cache, MODEL_ID, fixture.etag, 4, &file,
                                            &reason), STATUS_REFUSED);
    char moved[1024];
    char place[1024];
    ck_assert_int_eq(rename(inside(&fixture, "models--org--name/blobs", place),
                            inside(&fixture, "elsewhere", moved)), 0);
    ck_assert_int_eq(symlink("../elsewhere", place), 0);
    ck_assert_int_ne(resolve(&fixture, "config.json", &reason), STATUS_OK);
    ck_assert_int_eq(hub_cache_partial_open(&fixture.cache, MODEL_ID, fixture.etag, 4, &file,
                                            &reason), STATUS_REFUSED);
    ck_assert_int_eq(unlink(place), 0);
    ck_assert_int_eq(rename(moved, place), 0);
    ck_assert_int_eq(resolve(&fixture, "sub/a.json", &reason), STATUS_OK);
    (void)snprintf(target, sizeof(target), "%s/sub", snapshot);
    ck_assert_int_eq(rename(inside(&fixture, target, place), moved), 0);
    ck_assert_int_eq(symlink(moved, place), 0);
    ck_assert_int_ne(resolve(&fixture, "sub/a.json", &reason), STATUS_OK);
    fixture_close(&fixture);
}
END_TEST

/* Newer clients keep what models share in ROOT/blobs and link to it from the blobs of a model. */
START_TEST(a_blob_that_models_share_is_followed_and_nothing_else)
{
    struct fixture fixture;
    struct reason reason = {""};
    char path[1024];
    char secret[256];
    fixture_open(&fixture);
    put_secret(&fixture, secret);
    put_blob(&fixture);
    link_blob(&fixture, COMMIT, "config.json");
    ck_assert_int_eq(mkdir(inside(&fixture, "blobs", path), 0700), 0);
    ck_assert_int_eq(mkdir(inside(&fixture, "blobs/ab", path), 0700), 0);
    char shared[1024];
    char blob[1024];
    ck_assert_int_eq(rename(blob_path(&fixture, "", blob),
                            inside(&fixture, "blobs/ab/" SHARED, shared)), 0);
    ck_assert_int_eq(symlink("../../blobs/ab/" SHARED, blob), 0);
    ck_assert_msg(resolve(&fixture, "config.json", &reason) == STATUS_OK, "%s", reason.text);
    ck_assert_int_eq(hub_cache_blob_state(&fixture.cache, MODEL_ID, fixture.etag, strlen(TEXT),
                                          &reason), HUB_BLOB_WHOLE);
    const char *const targets[] = {"../../blobs/cd/" SHARED, "../../blobs/ab/../../secret",
                                   "../../blobs/ab/short", "../../../secret"};
    for (size_t i = 0; i < COUNT_OF(targets); i++) {
        ck_assert_int_eq(unlink(blob), 0);
        ck_assert_int_eq(symlink(targets[i], blob), 0);
        ck_assert_msg(resolve(&fixture, "config.json", &reason) == STATUS_REFUSED, "%s",
                      targets[i]);
    }
    ck_assert_int_eq(unlink(blob), 0);
    ck_assert_int_eq(symlink("../../blobs/ab/" SHARED, blob), 0);
    ck_assert_int_eq(unlink(shared), 0);
    ck_assert_int_eq(symlink(secret, shared), 0);
    ck_assert_int_eq(resolve(&fixture, "config.json", &reason), STATUS_REFUSED);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_lock_is_waited_for_and_its_owner_named)
{
    struct fixture fixture;
    struct reason reason = {""};
    struct hub_lock first = {-1};
    struct hub_lock second = {-1};
    char path[1024];
    char name[256];
    fixture_open(&fixture);
    ck_assert_msg(hub_cache_lock(&fixture.cache, MODEL_ID, fixture.etag, 0, &first, &reason) ==
                      STATUS_OK, "%s", reason.text);
    ck_assert_int_eq(hub_cache_lock(&fixture.cache, MODEL_ID, fixture.etag, 50, &second, &reason),
                     STATUS_BUSY);
    ck_assert_ptr_nonnull(strstr(reason.text, fixture.etag));
    /* A lock file that was removed is no lock: the next one makes another. */
    (void)snprintf(name, sizeof(name), ".locks/models--org--name/%s.lock", fixture.etag);
    ck_assert_int_eq(unlink(inside(&fixture, name, path)), 0);
    ck_assert_int_eq(hub_cache_lock(&fixture.cache, MODEL_ID, fixture.etag, 0, &second, &reason),
                     STATUS_OK);
    hub_cache_unlock(&second);
    hub_cache_unlock(&first);
    hub_cache_unlock(&first);
    ck_assert_int_eq(hub_cache_lock(&fixture.cache, MODEL_ID, "..", 0, &second, &reason),
                     STATUS_INVALID);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_partial_file_keeps_its_bytes_and_asks_for_its_room_first)
{
    struct fixture fixture;
    struct reason reason = {""};
    char text[8] = "";
    char path[1024];
    int file = -1;
    fixture_open(&fixture);
    ck_assert_int_eq(hub_cache_partial_open(&fixture.cache, MODEL_ID, fixture.etag, 1 << 20, &file,
                                            &reason), STATUS_OK);
    ck_assert_int_eq(pwrite(file, "kept", 4, 1000), 4);
    (void)close(file);
    ck_assert_int_eq(hub_cache_partial_open(&fixture.cache, MODEL_ID, fixture.etag, 1 << 20, &file,
                                            &reason), STATUS_OK);
    ck_assert_int_eq(pread(file, text, 4, 1000), 4);
    ck_assert_str_eq(text, "kept");
    /* Replaced by another under its name: not placed. */
    ck_assert_int_eq(unlink(blob_path(&fixture, HUB_PARTIAL_END, path)), 0);
    file_put(path, "other", 5);
    ck_assert_int_eq(hub_cache_blob_place(&fixture.cache, MODEL_ID, fixture.etag, file, &reason),
                     STATUS_STALE);
    (void)close(file);
    ck_assert_int_eq(hub_cache_partial_drop(&fixture.cache, MODEL_ID, fixture.etag, &reason),
                     STATUS_OK);
    ck_assert_int_eq(hub_cache_partial_drop(&fixture.cache, MODEL_ID, fixture.etag, &reason),
                     STATUS_OK);
    store_io_pretend_free(1 << 20);
    ck_assert_int_eq(hub_cache_partial_open(&fixture.cache, MODEL_ID, fixture.etag, 77777777, &file,
                                            &reason), STATUS_NO_SPACE);
    ck_assert_ptr_nonnull(strstr(reason.text, "77777777"));
    store_io_pretend_free(UINT64_MAX);
    ck_assert_int_eq(hub_cache_partial_open(&fixture.cache, MODEL_ID, fixture.etag, UINT64_MAX,
                                            &file, &reason), STATUS_TOO_LARGE);
    fixture_close(&fixture);
}
END_TEST

START_TEST(removing_a_snapshot_spares_what_others_link_to)
{
    struct fixture fixture;
    struct reason reason = {""};
    struct stat facts;
    char path[1024];
    char commit[HUB_COMMIT_SIZE];
    fixture_open(&fixture);
    put_blob(&fixture);
    link_blob(&fixture, COMMIT, "a.json");
    link_blob(&fixture, COMMIT, "sub/b.json");
    link_blob(&fixture, OTHER_COMMIT, "sub/c.json");
    ck_assert_int_eq(hub_cache_ref_set(&fixture.cache, MODEL_ID, "main", COMMIT, &reason),
                     STATUS_OK);
    ck_assert_int_eq(hub_cache_ref_set(&fixture.cache, MODEL_ID, "old", OTHER_COMMIT, &reason),
                     STATUS_OK);
    ck_assert_msg(hub_cache_snapshot_remove(&fixture.cache, MODEL_ID, COMMIT, NULL, 0, &reason) ==
                      STATUS_OK, "%s", reason.text);
    ck_assert_int_eq(resolve(&fixture, "a.json", &reason), STATUS_NOT_FOUND);
    ck_assert_int_eq(stat(blob_path(&fixture, "", path), &facts), 0);
    ck_assert_int_eq(hub_cache_ref_get(&fixture.cache, MODEL_ID, "main", commit, &reason),
                     STATUS_NOT_FOUND);
    ck_assert_int_eq(hub_cache_ref_get(&fixture.cache, MODEL_ID, "old", commit, &reason),
                     STATUS_OK);
    /* One that is being written stays. */
    struct hub_lock lock = {-1};
    link_blob(&fixture, COMMIT, "a.json");
    ck_assert_int_eq(hub_cache_lock(&fixture.cache, MODEL_ID, fixture.etag, 0, &lock, &reason),
                     STATUS_OK);
    ck_assert_int_eq(hub_cache_snapshot_remove(&fixture.cache, MODEL_ID, OTHER_COMMIT, NULL, 0,
                                               &reason), STATUS_OK);
    ck_assert_int_eq(hub_cache_snapshot_remove(&fixture.cache, MODEL_ID, COMMIT, NULL, 0,
                                               &reason), STATUS_OK);
    ck_assert_int_eq(stat(blob_path(&fixture, "", path), &facts), 0);
    hub_cache_unlock(&lock);
    const char *const etags[] = {fixture.etag, ".."};
    ck_assert_int_eq(hub_cache_snapshot_remove(&fixture.cache, MODEL_ID, COMMIT, etags, 2,
                                               &reason), STATUS_OK);
    ck_assert_int_ne(stat(inside(&fixture, "models--org--name", path), &facts), 0);
    ck_assert_int_eq(hub_cache_snapshot_remove(&fixture.cache, MODEL_ID, COMMIT, etags, 2,
                                               &reason), STATUS_OK);
    ck_assert_int_eq(hub_cache_snapshot_remove(&fixture.cache, MODEL_ID, "..", etags, 2, &reason),
                     STATUS_INVALID);
    fixture_close(&fixture);
}
END_TEST

START_TEST(removing_does_not_follow_links_out_of_the_cache)
{
    struct fixture fixture;
    struct reason reason = {""};
    struct stat facts;
    char path[1024];
    char outside[256];
    char kept[512];
    fixture_open(&fixture);
    put_blob(&fixture);
    link_blob(&fixture, COMMIT, "a.json");
    (void)scratch_path(&fixture.scratch, "outside", outside);
    ck_assert_int_eq(mkdir(outside, 0700), 0);
    (void)snprintf(kept, sizeof(kept), "%s/" COMMIT, outside);
    file_put(kept, COMMIT, HUB_COMMIT_SIZE - 1);
    ck_assert_int_eq(symlink(outside, inside(&fixture, "models--org--name/.no_exist", path)), 0);
    ck_assert_int_eq(symlink(outside, inside(&fixture, "models--org--name/trees", path)), 0);
    ck_assert_int_eq(symlink(outside, inside(&fixture, "models--org--name/snapshots/" COMMIT
                                                       "/more", path)), 0);
    ck_assert_int_eq(hub_cache_snapshot_remove(&fixture.cache, MODEL_ID, COMMIT, NULL, 0,
                                               &reason), STATUS_OK);
    ck_assert_int_eq(stat(kept, &facts), 0);
    ck_assert_int_ne(stat(blob_path(&fixture, "", path), &facts), 0);
    fixture_close(&fixture);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("hub_cache");
    const TTest *const names[] = {
        hashes_are_those_of_the_hub,
        names_go_to_directories_and_back,
        a_path_that_leads_out_is_refused_before_the_disk_is_touched,
    };
    const TTest *const files[] = {
        a_blob_appears_whole_and_is_found_through_its_links,
        a_link_that_leads_out_is_refused,
        a_blob_that_models_share_is_followed_and_nothing_else,
        a_lock_is_waited_for_and_its_owner_named,
        a_partial_file_keeps_its_bytes_and_asks_for_its_room_first,
        removing_a_snapshot_spares_what_others_link_to,
        removing_does_not_follow_links_out_of_the_cache,
    };
    suite_add(suite, "names", names, COUNT_OF(names));
    suite_add(suite, "files", files, COUNT_OF(files));
    return suite;
}
