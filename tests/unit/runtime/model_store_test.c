/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/model_store.h"
#include "runtime/store_io.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODEL "scripts/demo-model/model"
#define MODEL_ID "troupe/demo-chat"

struct fixture {
    struct scratch scratch;
    char models[256];
    char holdings[256];
    char source[256];
    struct model_store_places places;
    struct model_store store;
};

static const char *const model_files[] = {
    "chat_template.jinja", "config.json",       "generation_config.json",       "model.safetensors",
    "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
};

/* The shipped model in a directory of the test, so that it may be spoilt. */
static void copy_model(const char *directory)
{
    char path[512];
    char name[128];
    ck_assert_int_eq(mkdir(directory, 0700), 0);
    for (size_t i = 0; i < COUNT_OF(model_files); i++) {
        size_t size = 0;
        ck_assert_int_lt(snprintf(name, sizeof(name), MODEL "/%s", model_files[i]), 128);
        char *bytes = file_bytes(source_path(name, path), &size);
        ck_assert_int_lt(snprintf(path, sizeof(path), "%s/%s", directory, model_files[i]), 512);
        file_put(path, bytes, size);
        memory_free(bytes);
    }
}

static void fixture_open(struct fixture *fixture)
{
    struct reason reason = {""};
    scratch_open(&fixture->scratch);
    (void)scratch_path(&fixture->scratch, "models", fixture->models);
    (void)scratch_path(&fixture->scratch, "holdings", fixture->holdings);
    fixture->places = (struct model_store_places){fixture->models, fixture->holdings, NULL};
    (void)scratch_path(&fixture->scratch, "source", fixture->source);
    copy_model(fixture->source);
    ck_assert_msg(model_store_open(&fixture->store, &fixture->places, "test", &reason) ==
                      STATUS_OK, "%s", reason.text);
}

static void fixture_close(struct fixture *fixture)
{
    model_store_close(&fixture->store);
    scratch_close(&fixture->scratch);
}

static enum status take_in(struct fixture *fixture, struct model_record *record,
                           struct reason *reason)
{
    const struct model_import import = {.model_id = MODEL_ID, .source = fixture->source};
    memset(record, 0, sizeof(*record));
    return model_store_import(&fixture->store, &import, record, reason);
}

static const char *in_source(const struct fixture *fixture, const char *name, char path_out[512])
{
    ck_assert_int_lt(snprintf(path_out, 512, "%s/%s", fixture->source, name), 512);
    return path_out;
}

/* Through the one snapshot that is there. */
static const char *in_store(const struct fixture *fixture, const char *name, char path_out[512])
{
    char snapshots[400];
    char commit[64] = "";
    const struct dirent *entry;
    (void)snprintf(snapshots, sizeof(snapshots), "%s/models--troupe--demo-chat/snapshots",
                   fixture->models);
    DIR *directory = opendir(snapshots);
    ck_assert_ptr_nonnull(directory);
    while ((entry = readdir(directory)))
        if (entry->d_name[0] != '.')
            (void)snprintf(commit, sizeof(commit), "%.63s", entry->d_name);
    (void)closedir(directory);
    ck_assert_uint_eq(strlen(commit), HUB_COMMIT_SIZE - 1);
    ck_assert_int_lt(snprintf(path_out, 512, "%s/%s/%s", snapshots, commit, name), 512);
    return path_out;
}

static enum status count_model(void *who, const char *model_id)
{
    ck_assert_str_eq(model_id, MODEL_ID);
    ++*(int *)who;
    return STATUS_OK;
}

/* Entries that begin with `prefix`, "" for all but the hidden ones. */
static int entries_of(const char *path, const char *prefix)
{
    int count = 0;
    const struct dirent *entry;
    DIR *directory = opendir(path);
    ck_assert_ptr_nonnull(directory);
    while ((entry = readdir(directory)))
        count += entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    (void)closedir(directory);
    return count;
}

/* Models of which anything at all is there; what is noted of them, journals included. */
static int models_of(const struct fixture *fixture)
{
    ck_assert_int_eq(entries_of(fixture->holdings, ""),
                     entries_of(fixture->models, "models--"));
    return entries_of(fixture->models, "models--");
}

START_TEST(an_imported_model_is_whole)
{
    struct fixture fixture;
    struct model_record record;
    struct model_record seen;
    struct reason reason = {""};
    int count = 0;
    fixture_open(&fixture);
    ck_assert_msg(take_in(&fixture, &record, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert_str_eq(record.model_id, MODEL_ID);
    ck_assert_uint_eq(record.files.count, COUNT_OF(model_files));
    ck_assert_uint_eq(record.holders.count, 0);
    ck_assert_str_eq(record.shape.model_type, "qwen3");
    ck_assert_uint_eq(record.shape.runs.count, 1);
    ck_assert_uint_eq(record.shape.runs.items[0].layers, record.shape.layers);
    ck_assert_uint_gt(record.shape.runs.items[0].mixer_bytes, 0);
    ck_assert_uint_gt(record.shape.weight_bytes, record.shape.runs.items[0].ffn_bytes);
    for (uint32_t i = 0; i < record.files.count; i++) {
        char path[512];
        size_t size = 0;
        struct hash digest;
        const struct file_entry *file = &record.files.items[i];
        ck_assert_str_eq(file->name, model_files[i]);
        ck_assert(file->is_weight == (strcmp(file->name, "model.safetensors") == 0));
        char *bytes = file_bytes(in_store(&fixture, file->name, path), &size);
        hash_of(bytes, size, &digest);
        memory_free(bytes);
        ck_assert_uint_eq(size, file->size);
        ck_assert(ID_EQUAL(digest, file->digest));
    }
    ck_assert_int_eq(model_store_check(&fixture.store, MODEL_ID, &seen, &reason), MODEL_WHOLE);
    ck_assert(record_equal(&model_record_type, &record, &seen));
    ck_assert_int_eq(model_store_list(&fixture.store, count_model, &count, &reason), STATUS_OK);
    ck_assert_int_eq(count, 1);
    ck_assert_int_eq(models_of(&fixture), 1);
    record_fini(&model_record_type, &record);
    record_fini(&model_record_type, &seen);
    fixture_close(&fixture);
}
END_TEST

START_TEST(the_same_files_have_the_same_revision_and_others_another)
{
    struct fixture fixture;
    struct model_record first;
    struct model_record second;
    struct model_record third;
    struct reason reason = {""};
    char path[512];
    fixture_open(&fixture);
    ck_assert_int_eq(take_in(&fixture, &first, &reason), STATUS_OK);
    ck_assert_int_eq(take_in(&fixture, &second, &reason), STATUS_OK);
    ck_assert(ID_EQUAL(first.revision, second.revision));
    file_put(in_source(&fixture, "generation_config.json", path), "{}", 2);
    file_put(in_source(&fixture, "notes.md", path), "x", 1); /* not a kind we read */
    ck_assert_int_eq(take_in(&fixture, &third, &reason), STATUS_OK);
    ck_assert(!ID_EQUAL(first.revision, third.revision));
    ck_assert_uint_eq(third.files.count, first.files.count);
    ck_assert_int_eq(models_of(&fixture), 1);
    record_fini(&model_record_type, &first);
    record_fini(&model_record_type, &second);
    record_fini(&model_record_type, &third);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_spoilt_directory_is_refused_with_the_thing_named)
{
    static const struct {
        const char *file;
        const char *text; /* NULL: removed */
        const char *said;
    } rows[] = {
        {"tokenizer.json", NULL, "tokenizer.json"},
        {"config.json", NULL, "config.json"},
        {"config.json", "{\"model_type\": \"mamba9\"}", "mamba9"},
        {"model.safetensors", "short", "model.safetensors"},
        {"model.safetensors", NULL, "model.safetensors"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct fixture fixture;
        struct model_record record;
        struct reason reason = {""};
        char path[512];
        fixture_open(&fixture);
        (void)in_source(&fixture, rows[i].file, path);
        ck_assert_int_eq(unlink(path), 0);
        if (rows[i].text)
            file_put(path, rows[i].text, strlen(rows[i].text));
        ck_assert_int_ne(take_in(&fixture, &record, &reason), STATUS_OK);
        ck_assert_msg(strstr(reason.text, rows[i].said) != NULL, "row %zu: %s", i, reason.text);
        ck_assert_int_eq(model_store_check(&fixture.store, MODEL_ID, NULL, &reason),
                         MODEL_ABSENT);
        ck_assert_int_eq(models_of(&fixture), 0);
        fixture_close(&fixture);
    }
}
END_TEST

START_TEST(a_weight_file_cut_short_is_refused)
{
    struct fixture fixture;
    struct model_record record;
    struct reason reason = {""};
    char path[512];
    struct stat facts;
    fixture_open(&fixture);
    (void)in_source(&fixture, "model.safetensors", path);
    ck_assert_int_eq(stat(path, &facts), 0);
    ck_assert_int_eq(truncate(path, facts.st_size - 100), 0);
    ck_assert_int_ne(take_in(&fixture, &record, &reason), STATUS_OK);
    ck_assert_ptr_nonnull(strstr(reason.text, "model.safetensors"));
    ck_assert_int_eq(models_of(&fixture), 0);
    fixture_close(&fixture);
}
END_TEST

START_TEST(names_that_lead_out_of_the_store_are_refused)
{
    static const char *const bad_ids[] = {"",      "..",       "../x",   "a/../b", "/etc", "a//b",
                                          "a/",    ".hidden",  "a/.b",   "a--b",   "a b",  "a\nb",
                                          "-x",    "a/-b",     "a-/b",   "x\\y",   "a:b"};
    static const char *const bad_files[] = {"", "..", "../config.json", "/etc/passwd",
                                            "a/../b.json",
                                            ".troupe-manifest", ".json", "x.sh", "config.json/",
                                            "a\nb.json", "-x.json", "x.safetensors.exe"};
    static const char *const good_ids[] = {"demo", "org/name", "mlx-community/Qwen3-0.6B-4bit",
                                           "a/b/c", "x_1.5"};
    char name[HOLDING_NAME_SIZE];
    struct reason reason;
    for (size_t i = 0; i < COUNT_OF(bad_ids); i++)
        ck_assert_msg(model_holding_name(bad_ids[i], name, &reason) == STATUS_INVALID, "%s",
                      bad_ids[i]);
    for (size_t i = 0; i < COUNT_OF(bad_files); i++)
        ck_assert_msg(!model_file_name_is_sound(bad_files[i]), "%s", bad_files[i]);
    for (size_t i = 0; i < COUNT_OF(good_ids); i++)
        ck_assert_int_eq(model_holding_name(good_ids[i], name, &reason), STATUS_OK);
    ck_assert_int_eq(model_holding_name("org/name", name, &reason), STATUS_OK);
    ck_assert_str_eq(name, "models--org--name.holding");
    ck_assert(model_file_name_is_sound("model-00001-of-00002.safetensors"));
}
END_TEST

START_TEST(what_a_kill_left_is_removed_and_never_seen)
{
    struct fixture fixture;
    struct model_store other;
    struct model_record record;
    struct reason reason = {""};
    char path[512];
    char blobs[400];
    int count = 0;
    fixture_open(&fixture);
    ck_assert_int_eq(take_in(&fixture, &record, &reason), STATUS_OK);
    record_fini(&model_record_type, &record);
    (void)snprintf(blobs, sizeof(blobs), "%s/models--troupe--demo-chat/blobs", fixture.models);
    ck_assert_int_eq(entries_of(blobs, ""), (int)COUNT_OF(model_files));
    /* Killed while it copied a newer one, by this owner and by the other. */
    static const char *const owners[] = {"test", "other"};
    for (size_t i = 0; i < COUNT_OF(owners); i++) {
        (void)snprintf(path, sizeof(path), "%s/import-%s-%s-7" HUB_PARTIAL_END, blobs,
                       fixture.store.tag, owners[i]);
        file_put(path, "half", 4);
        (void)snprintf(path, sizeof(path), "%s/models--troupe--demo-chat.%s.journal",
                       fixture.holdings, owners[i]);
        file_put(path, "\n", 1);
        (void)snprintf(path, sizeof(path), "%s/models--troupe--demo-chat.holding.%s.new",
                       fixture.holdings, owners[i]);
        file_put(path, "half", 4);
    }
    ck_assert_int_eq(model_store_list(&fixture.store, count_model, &count, &reason), STATUS_OK);
    ck_assert_int_eq(count, 1);
    ck_assert_int_eq(model_store_open(&other, &fixture.places, "test", &reason), STATUS_OK);
    /* The other owner may be at work: what is its own stays. */
    ck_assert_int_eq(entries_of(blobs, "import-"), 1);
    ck_assert_int_eq(entries_of(fixture.holdings, ""), 3);
    model_store_close(&other);
    ck_assert_int_eq(model_store_open(&other, &fixture.places, "other", &reason), STATUS_OK);
    ck_assert_int_eq(entries_of(blobs, ""), (int)COUNT_OF(model_files));
    ck_assert_int_eq(models_of(&fixture), 1);
    model_store_close(&other);
    ck_assert_int_eq(model_store_check(&fixture.store, MODEL_ID, NULL, &reason), MODEL_WHOLE);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_full_disk_names_the_bytes_needed)
{
    struct fixture fixture;
    struct model_record record;
    struct reason reason = {""};
    fixture_open(&fixture);
    store_io_pretend_free(1000000);
    enum status status = take_in(&fixture, &record, &reason);
    store_io_pretend_free(UINT64_MAX);
    ck_assert_int_eq(status, STATUS_NO_SPACE);
    ck_assert_ptr_nonnull(strstr(reason.text, "1000000 free"));
    ck_assert_ptr_nonnull(strstr(reason.text, "needs "));
    ck_assert_ptr_nonnull(strstr(reason.text, " must stay free"));
    ck_assert_int_eq(models_of(&fixture), 0);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_store_that_may_not_be_written_says_so)
{
    struct fixture fixture;
    struct model_record record = {0};
    struct reason reason = {""};
    struct reason unread;
    bool is_said = false;
    fixture_open(&fixture);
    for (uint64_t calls = 0; calls < 60 && !is_said; calls++) {
        if (geteuid() != 0)
            ck_assert_int_eq(chmod(fixture.models, 0500), 0);
        else
            store_io_fail_after(calls, EACCES); /* one of them makes the new directory */
        enum status status = take_in(&fixture, &record, &reason);
        store_io_fail_after(UINT64_MAX, 0);
        ck_assert_int_eq(chmod(fixture.models, 0700), 0);
        is_said = status == STATUS_NO_PERMISSION && strstr(reason.text, fixture.models);
        /* Some have another way. */
        ck_assert(status == STATUS_NO_PERMISSION || geteuid() == 0);
        ck_assert(status == STATUS_OK || model_store_check(&fixture.store, MODEL_ID, NULL,
                                                           &unread) == MODEL_ABSENT);
        record_fini(&model_record_type, &record);
        ck_assert_int_eq(model_store_delete(&fixture.store, MODEL_ID, &unread), STATUS_OK);
        ck_assert_int_eq(models_of(&fixture), 0);
    }
    ck_assert(is_said);
    fixture_close(&fixture);
}
END_TEST

struct meddling {
    const struct fixture *fixture;
    const char *name;
    bool grows;
    bool cancels;
    int calls;
};

static void meddle(void *who, uint64_t bytes_have, uint64_t bytes_total)
{
    struct meddling *meddling = who;
    char path[512];
    (void)bytes_have;
    (void)bytes_total;
    meddling->calls++;
    if (!meddling->name)
        return;
    (void)in_source(meddling->fixture, meddling->name, path);
    if (meddling->grows) {
        FILE *file = fopen(path, "ab");
        ck_assert_ptr_nonnull(file);
        ck_assert_int_eq(fputc('x', file), 'x');
        ck_assert_int_eq(fclose(file), 0);
    } else {
        ck_assert_int_eq(truncate(path, 10), 0);
    }
}

static bool wants_cancel(void *who)
{
    struct meddling *meddling = who;
    return meddling->cancels;
}

START_TEST(a_source_that_changes_while_it_is_copied_is_refused)
{
    /* The last progress comes within the last file, after its bytes and before its facts. */
    for (int grows = 0; grows < 2; grows++) {
        struct fixture fixture;
        struct model_record record = {0};
        struct reason reason = {""};
        fixture_open(&fixture);
        struct meddling meddling = {&fixture, "tokenizer_config.json", grows != 0, false, 0};
        const struct model_import import = {.model_id = MODEL_ID, .source = fixture.source,
                                            .progress = meddle, .who = &meddling};
        ck_assert_int_eq(model_store_import(&fixture.store, &import, &record, &reason),
                         STATUS_STALE);
        ck_assert_int_gt(meddling.calls, 0);
        ck_assert_ptr_nonnull(strstr(reason.text, "tokenizer_config.json changed"));
        ck_assert_int_eq(models_of(&fixture), 0);
        fixture_close(&fixture);
    }
}
END_TEST

START_TEST(a_cancelled_import_leaves_nothing)
{
    struct fixture fixture;
    struct model_record record = {0};
    struct reason reason = {""};
    fixture_open(&fixture);
    struct meddling meddling = {&fixture, NULL, false, true, 0};
    const struct model_import import = {.model_id = MODEL_ID, .source = fixture.source,
                                        .is_cancelled = wants_cancel, .who = &meddling};
    ck_assert_int_eq(model_store_import(&fixture.store, &import, &record, &reason),
                     STATUS_CANCELLED);
    ck_assert_int_eq(models_of(&fixture), 0);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_file_changed_after_it_was_stored_is_seen)
{
    struct fixture fixture;
    struct model_record record;
    struct reason reason = {""};
    char path[512];
    fixture_open(&fixture);
    ck_assert_int_eq(take_in(&fixture, &record, &reason), STATUS_OK);
    record_fini(&model_record_type, &record);
    ck_assert_int_eq(truncate(in_store(&fixture, "model.safetensors", path), 1000), 0);
    ck_assert_int_eq(model_store_verify(&fixture.store, MODEL_ID, NULL, &reason),
                     MODEL_SMALL_FILES);
    ck_assert_ptr_nonnull(strstr(reason.text, "model.safetensors"));
    file_put(in_store(&fixture, "config.json", path), "{}", 2);
    ck_assert_int_eq(model_store_check(&fixture.store, MODEL_ID, NULL, &reason), MODEL_DAMAGED);
    ck_assert_ptr_nonnull(strstr(reason.text, "config.json"));
    (void)snprintf(path, sizeof(path), "%s/models--troupe--demo-chat.holding", fixture.holdings);
    file_put(path, "TROUPEHO", 8);
    ck_assert_int_eq(model_store_check(&fixture.store, MODEL_ID, NULL, &reason), MODEL_DAMAGED);
    ck_assert_int_eq(model_store_delete(&fixture.store, MODEL_ID, &reason), STATUS_OK);
    ck_assert_int_eq(model_store_check(&fixture.store, MODEL_ID, NULL, &reason), MODEL_ABSENT);
    ck_assert_int_eq(take_in(&fixture, &record, &reason), STATUS_OK);
    record_fini(&model_record_type, &record);
    ck_assert_int_eq(model_store_delete(&fixture.store, MODEL_ID, &reason), STATUS_OK);
    ck_assert_int_eq(model_store_check(&fixture.store, MODEL_ID, NULL, &reason), MODEL_ABSENT);
    ck_assert_int_eq(models_of(&fixture), 0);
    ck_assert_int_eq(model_store_delete(&fixture.store, MODEL_ID, &reason), STATUS_OK);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_file_is_opened_as_long_as_it_is_the_one_that_was_verified)
{
    struct fixture fixture;
    struct model_record record;
    struct reason reason = {""};
    struct hash other = {{1}};
    char path[512];
    int file = -1;
    fixture_open(&fixture);
    ck_assert_int_eq(take_in(&fixture, &record, &reason), STATUS_OK);
    for (uint32_t i = 0; i < record.files.count; i++) {
        ck_assert_int_eq(model_store_open_file(&fixture.store, MODEL_ID, &record.revision,
                                               record.files.items[i].name, &file, &reason),
                         STATUS_OK);
        ck_assert_int_eq(lseek(file, 0, SEEK_END), (off_t)record.files.items[i].size);
        ck_assert_int_eq(close(file), 0);
    }
    ck_assert_int_eq(model_store_open_file(&fixture.store, MODEL_ID, &other, "config.json", &file,
                                           &reason), STATUS_STALE);
    static const char *const absent[] = {"../config.json", "/etc/passwd", "none.json", ""};
    for (size_t i = 0; i < COUNT_OF(absent); i++)
        ck_assert_int_eq(model_store_open_file(&fixture.store, MODEL_ID, &record.revision,
                                               absent[i], &file, &reason), STATUS_NOT_FOUND);
    file_put(in_store(&fixture, "config.json", path), "{}", 2);
    ck_assert_int_eq(model_store_open_file(&fixture.store, MODEL_ID, &record.revision,
                                           "config.json", &file, &reason), STATUS_DAMAGED);
    ck_assert_int_eq(unlink(in_store(&fixture, "config.json", path)), 0);
    ck_assert_int_eq(model_store_open_file(&fixture.store, MODEL_ID, &record.revision,
                                           "config.json", &file, &reason), STATUS_NOT_FOUND);
    record_fini(&model_record_type, &record);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_copied_store_is_read_again_and_trusted)
{
    struct fixture fixture;
    struct model_record record;
    struct reason reason = {""};
    char path[512];
    size_t size = 0;
    fixture_open(&fixture);
    ck_assert_int_eq(take_in(&fixture, &record, &reason), STATUS_OK);
    record_fini(&model_record_type, &record);
    for (size_t i = 0; i < COUNT_OF(model_files); i++) {
        char *bytes = file_bytes(in_store(&fixture, model_files[i], path), &size);
        ck_assert_int_eq(unlink(path), 0);
        file_put(path, bytes, size);
        if (i == 0) { /* same bytes, another time */
            const struct timespec times[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
            ck_assert_int_eq(utimensat(-1, path, times, 0), 0);
        }
        memory_free(bytes);
    }
    ck_assert_int_eq(model_store_check(&fixture.store, MODEL_ID, NULL, &reason), MODEL_DAMAGED);
    ck_assert_int_eq(model_store_verify(&fixture.store, MODEL_ID, NULL, &reason), MODEL_WHOLE);
    ck_assert_int_eq(model_store_check(&fixture.store, MODEL_ID, NULL, &reason), MODEL_WHOLE);
    fixture_close(&fixture);
}
END_TEST

static struct bytes *contents_of(const struct fixture *fixture, const struct model_record *record)
{
    struct bytes *contents = memory_zeroed(record->files.count, sizeof(*contents));
    ck_assert_ptr_nonnull(contents);
    for (uint32_t i = 0; i < record->files.count; i++) {
        char path[512];
        size_t size = 0;
        if (record->files.items[i].is_weight)
            continue;
        char *bytes = file_bytes(in_source(fixture, record->files.items[i].name, path), &size);
        ck_assert(bytes_set(&contents[i], bytes, size));
        memory_free(bytes);
    }
    return contents;
}

static void contents_free(struct bytes *contents, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        memory_free(contents[i].items);
    memory_free(contents);
}

START_TEST(small_files_of_a_peer_are_stored_when_they_are_right)
{
    struct fixture fixture;
    struct model_record record;
    struct reason reason = {""};
    char path[512];
    fixture_open(&fixture);
    ck_assert_int_eq(take_in(&fixture, &record, &reason), STATUS_OK);
    ck_assert_int_eq(model_store_delete(&fixture.store, MODEL_ID, &reason), STATUS_OK);
    struct bytes *contents = contents_of(&fixture, &record);
    contents[0].items[0] ^= 1;
    ck_assert_int_eq(model_store_put_small(&fixture.store, &record, contents, &reason),
                     STATUS_HASH_MISMATCH);
    ck_assert_int_eq(models_of(&fixture), 0);
    contents[0].items[0] ^= 1;
    ck_assert_int_eq(model_store_put_small(&fixture.store, &record, contents, &reason),
                     STATUS_OK);
    ck_assert_int_eq(model_store_check(&fixture.store, MODEL_ID, NULL, &reason),
                     MODEL_SMALL_FILES);
    ck_assert_int_ne(access(in_store(&fixture, "model.safetensors", path), F_OK), 0);
    ck_assert_int_ne(access(in_store(&fixture, "model.safetensors.index.json", path), F_OK), 0);
    ck_assert_int_eq(access(in_store(&fixture, "tokenizer.json", path), F_OK), 0);
    contents_free(contents, record.files.count);
    record_fini(&model_record_type, &record);
    fixture_close(&fixture);
}
END_TEST

/* A full disk shows that nothing is written: what is here needs no room. */
START_TEST(small_files_that_are_here_are_not_written_again)
{
    struct fixture fixture;
    struct model_record record;
    struct reason reason = {""};
    struct stat before;
    struct stat after;
    char path[512];
    fixture_open(&fixture);
    ck_assert_int_eq(take_in(&fixture, &record, &reason), STATUS_OK);
    struct bytes *contents = contents_of(&fixture, &record);
    ck_assert_int_eq(stat(in_store(&fixture, "tokenizer.json", path), &before), 0);
    store_io_pretend_free(0);
    ck_assert_int_eq(model_store_put_small(&fixture.store, &record, contents, &reason),
                     STATUS_OK);
    file_put(in_store(&fixture, "config.json", path), "{}", 2);
    ck_assert_int_eq(model_store_put_small(&fixture.store, &record, contents, &reason),
                     STATUS_NO_SPACE);
    store_io_pretend_free(UINT64_MAX);
    ck_assert_int_eq(model_store_put_small(&fixture.store, &record, contents, &reason),
                     STATUS_OK);
    ck_assert_int_eq(model_store_check(&fixture.store, MODEL_ID, NULL, &reason), MODEL_WHOLE);
    ck_assert_int_eq(stat(in_store(&fixture, "tokenizer.json", path), &after), 0);
    ck_assert_uint_eq(before.st_ino, after.st_ino);
    ck_assert_int_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    contents_free(contents, record.files.count);
    record_fini(&model_record_type, &record);
    fixture_close(&fixture);
}
END_TEST

START_TEST(weights_that_are_here_outlive_new_small_files)
{
    struct fixture fixture;
    struct model_record record;
    struct reason reason = {""};
    char path[512];
    fixture_open(&fixture);
    ck_assert_int_eq(take_in(&fixture, &record, &reason), STATUS_OK);
    struct bytes *contents = contents_of(&fixture, &record);
    file_put(in_store(&fixture, "config.json", path), "{}", 2);
    ck_assert_int_eq(model_store_check(&fixture.store, MODEL_ID, NULL, &reason), MODEL_DAMAGED);
    ck_assert_int_eq(model_store_put_small(&fixture.store, &record, contents, &reason),
                     STATUS_OK);
    ck_assert_int_eq(model_store_check(&fixture.store, MODEL_ID, NULL, &reason), MODEL_WHOLE);
    contents_free(contents, record.files.count);
    record_fini(&model_record_type, &record);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_record_with_a_name_that_leads_out_is_refused)
{
    static const char *const names[] = {"../config.json", "a/../config.json", "a\\config.json",
                                        "..%2fconfig.json", ".troupe-manifest"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct fixture fixture;
        struct model_record record;
        struct reason reason = {""};
        fixture_open(&fixture);
        ck_assert_int_eq(take_in(&fixture, &record, &reason), STATUS_OK);
        ck_assert_int_eq(model_store_delete(&fixture.store, MODEL_ID, &reason), STATUS_OK);
        struct bytes *contents = contents_of(&fixture, &record);
        ck_assert(text_set(&record.files.items[0].name, names[i]));
        record.revision = model_revision(&record);
        ck_assert_int_eq(model_store_put_small(&fixture.store, &record, contents, &reason),
                         STATUS_INVALID);
        ck_assert_int_eq(models_of(&fixture), 0);
        contents_free(contents, record.files.count);
        record_fini(&model_record_type, &record);
        fixture_close(&fixture);
    }
}
END_TEST

START_TEST(only_small_files_of_the_manifest_are_read_out)
{
    struct fixture fixture;
    struct model_record record;
    struct reason reason = {""};
    char path[512];
    uint32_t size = 0;
    uint64_t total = 0;
    uint8_t *part = memory_zeroed(FILE_PART_SIZE, 1);
    fixture_open(&fixture);
    ck_assert_int_eq(take_in(&fixture, &record, &reason), STATUS_OK);
    const struct {
        const char *model_id;
        const char *name;
        uint64_t offset;
        enum status status;
    } rows[] = {
        {MODEL_ID, "config.json", 0, STATUS_OK},
        {MODEL_ID, "model.safetensors", 0, STATUS_REFUSED},
        {MODEL_ID, "model.safetensors.index.json", 0, STATUS_REFUSED},
        {MODEL_ID, "../../secret.json", 0, STATUS_REFUSED},
        {MODEL_ID, ".troupe-manifest", 0, STATUS_REFUSED},
        {MODEL_ID, "config.json", 1u << 30, STATUS_REFUSED},
        {"../models", "config.json", 0, STATUS_INVALID},
        {"other", "config.json", 0, STATUS_NOT_FOUND},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        ck_assert_int_eq(model_store_read_small(&fixture.store, rows[i].model_id,
                                                &record.revision, rows[i].name, rows[i].offset,
                                                part, &size, &total, &reason), rows[i].status);
    struct hash other = record.revision;
    other.bytes[0] ^= 1;
    ck_assert_int_eq(model_store_read_small(&fixture.store, MODEL_ID, &other, "config.json", 0,
                                            part, &size, &total, &reason), STATUS_STALE);
    /* A link put in the place of a file is not followed. */
    ck_assert_int_eq(unlink(in_store(&fixture, "config.json", path)), 0);
    ck_assert_int_eq(symlink("/etc/passwd", path), 0);
    ck_assert_int_ne(model_store_read_small(&fixture.store, MODEL_ID, &record.revision,
                                            "config.json", 0, part, &size, &total, &reason),
                     STATUS_OK);
    ck_assert_int_eq(model_store_check(&fixture.store, MODEL_ID, NULL, &reason), MODEL_DAMAGED);
    memory_free(part);
    record_fini(&model_record_type, &record);
    fixture_close(&fixture);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("model_store");
    const TTest *const importing[] = {
        an_imported_model_is_whole,
        the_same_files_have_the_same_revision_and_others_another,
        a_spoilt_directory_is_refused_with_the_thing_named,
        a_weight_file_cut_short_is_refused,
        a_full_disk_names_the_bytes_needed,
        a_store_that_may_not_be_written_says_so,
        a_source_that_changes_while_it_is_copied_is_refused,
        a_cancelled_import_leaves_nothing,
    };
    const TTest *const keeping[] = {
        what_a_kill_left_is_removed_and_never_seen,
        a_file_changed_after_it_was_stored_is_seen,
        a_file_is_opened_as_long_as_it_is_the_one_that_was_verified,
        a_copied_store_is_read_again_and_trusted,
    };
    const TTest *const peers[] = {
        names_that_lead_out_of_the_store_are_refused,
        small_files_of_a_peer_are_stored_when_they_are_right,
        small_files_that_are_here_are_not_written_again,
        weights_that_are_here_outlive_new_small_files,
        a_record_with_a_name_that_leads_out_is_refused,
        only_small_files_of_the_manifest_are_read_out,
    };
    suite_add(suite, "importing", importing, COUNT_OF(importing));
    suite_add(suite, "keeping", keeping, COUNT_OF(keeping));
    suite_add(suite, "peers", peers, COUNT_OF(peers));
    return suite;
}
