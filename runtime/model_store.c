/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/model_store.h"

#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/store_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PARTIAL_PREFIX ".partial-"
#define ASIDE_END "-old"
#define ROOM_TO_SPARE ((uint64_t)1 << 20)
#define READ_SIZE ((size_t)1 << 20)

static enum status failed(struct reason *reason, const char *path, const char *what)
{
    const int error = errno;
    return refuse(reason, status_from_errno(error), "%.300s: %s: %s", path, what,
                  strerror(error));
}

/* ---- opening ---- */

/* A kill between the two renames of store_partial_place left the old model aside: it goes back. */
static bool put_back(struct model_store *store, const char *aside)
{
    struct model_manifest manifest = {0};
    char place[MODEL_DIRECTORY_NAME_SIZE];
    struct stat facts;
    struct reason unread;
    bool is_back = false;
    size_t length = strlen(aside);
    if (length < strlen(ASIDE_END) || strcmp(aside + length - strlen(ASIDE_END), ASIDE_END) != 0)
        return false;
    int directory = store_open_directory(store->directory, aside);
    if (directory < 0)
        return false;
    if (model_manifest_read(directory, &manifest, &unread) == STATUS_OK &&
        model_directory_name(manifest.record.model_id, place, &unread) == STATUS_OK &&
        store_stat(store->directory, place, &facts) != 0 && errno == ENOENT)
        is_back = store_rename(store->directory, aside, place) == 0;
    model_manifest_fini(&manifest);
    (void)close(directory);
    return is_back;
}

static enum status open_entries(const struct model_store *store, DIR **entries_out,
                                struct reason *reason)
{
    const int opened = openat(store->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = opened >= 0 ? fdopendir(opened) : NULL;
    if (!entries) {
        const enum status status = failed(reason, store->path, "the model store cannot be read");
        if (opened >= 0)
            (void)close(opened);
        return status;
    }
    *entries_out = entries;
    return STATUS_OK;
}

static enum status sweep(struct model_store *store, struct reason *reason)
{
    char prefix[64];
    int length = snprintf(prefix, sizeof(prefix), PARTIAL_PREFIX "%s-", store->owner);
    DIR *directory = NULL;
    enum status status = open_entries(store, &directory, reason);
    if (status != STATUS_OK)
        return status;
    const struct dirent *entry;
    while (status == STATUS_OK && (entry = readdir(directory)))
        if (strncmp(entry->d_name, prefix, (size_t)length) == 0 &&
            !put_back(store, entry->d_name) &&
            store_remove_tree(store->directory, entry->d_name) != 0)
            status = failed(reason, store->path, "a half-copied model cannot be removed");
    (void)closedir(directory);
    return status;
}

enum status model_store_open(struct model_store *store, const char *path, const char *owner,
                             struct reason *reason)
{
    memset(store, 0, sizeof(*store));
    int length = snprintf(store->path, sizeof(store->path), "%s", path);
    if (length < 0 || (size_t)length >= sizeof(store->path))
        return refuse(reason, STATUS_TOO_LARGE, "%.100s... is too long a path for a model store",
                      path);
    (void)snprintf(store->owner, sizeof(store->owner), "%s", owner);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return failed(reason, path, "the model store cannot be made");
    store->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->directory < 0)
        return failed(reason, path, "the model store cannot be opened");
    enum status status = sweep(store, reason);
    if (status != STATUS_OK)
        model_store_close(store);
    return status;
}

void model_store_close(struct model_store *store)
{
    if (store->directory > 0)
        (void)close(store->directory);
    store->directory = -1;
}

enum status model_store_path(const char *store_path, const char *model_id, char *path_out,
                             size_t path_size, struct reason *reason)
{
    char name[MODEL_DIRECTORY_NAME_SIZE];
    enum status status = model_directory_name(model_id, name, reason);
    if (status != STATUS_OK)
        return status;
    int length = snprintf(path_out, path_size, "%s/%s", store_path, name);
    if (length < 0 || (size_t)length >= path_size)
        return refuse(reason, STATUS_TOO_LARGE, "the path of %.100s is too long", model_id);
    return STATUS_OK;
}

/* ---- parts shared by import and small files ---- */

enum status store_partial_make(struct model_store *store, char name_out[64], int *directory_out,
                               struct reason *reason)
{
    for (int tries = 0; tries < 1000; tries++) {
        unsigned number = atomic_fetch_add(&store->counter, 1);
        (void)snprintf(name_out, 64, PARTIAL_PREFIX "%s-%u", store->owner, number);
        if (store_make_directory(store->directory, name_out) == 0) {
            *directory_out = store_open_directory(store->directory, name_out);
            if (*directory_out >= 0)
                return STATUS_OK;
            enum status status = failed(reason, store->path, "a new directory cannot be opened");
            store_partial_drop(store, name_out, -1);
            return status;
        }
        if (errno != EEXIST)
            return failed(reason, store->path, "no directory can be made in the model store");
    }
    return refuse(reason, STATUS_EXISTS, "%.300s: too many half-made models", store->path);
}

void store_partial_drop(struct model_store *store, const char *name, int directory)
{
    if (directory >= 0)
        (void)close(directory);
    /* What cannot be removed now is swept at the next start. */
    (void)!store_remove_tree(store->directory, name);
}

enum status store_partial_place(struct model_store *store, const char *name, int directory,
                                const char *model_id, struct reason *reason)
{
    char place[MODEL_DIRECTORY_NAME_SIZE];
    char aside[64 + 8];
    struct stat facts;
    enum status status = model_directory_name(model_id, place, reason);
    if (status != STATUS_OK)
        return status;
    if (store_sync(directory) != 0)
        return failed(reason, store->path, "a directory cannot be synced");
    bool is_done = false;
    bool is_there = store_stat(store->directory, place, &facts) == 0;
    if (!is_there && errno != ENOENT)
        return failed(reason, store->path, place);
    if (is_there)
        is_done = store_exchange(store->directory, name, place) == 0;
    if (is_there && !is_done) {
        /* A file system that cannot exchange: for a moment the model is absent, never half. */
        (void)snprintf(aside, sizeof(aside), "%s" ASIDE_END, name);
        if (store_rename(store->directory, place, aside) != 0)
            return failed(reason, store->path, place);
        is_done = store_rename(store->directory, name, place) == 0;
        if (!is_done) {
            status = failed(reason, store->path, place);
            (void)!store_rename(store->directory, aside, place);
            return status;
        }
        (void)!store_remove_tree(store->directory, aside);
    } else if (!is_there && store_rename(store->directory, name, place) != 0) {
        return failed(reason, store->path, place);
    }
    if (store_sync(store->directory) != 0)
        return failed(reason, store->path, "the model store cannot be synced");
    /* After an exchange the old model has the partial name; it is nobody's any more. */
    if (is_there)
        (void)!store_remove_tree(store->directory, name);
    return STATUS_OK;
}

enum status store_room_check(const struct model_store *store, const char *model_id, uint64_t bytes,
                             struct reason *reason)
{
    uint64_t room = 0;
    if (store_free_bytes(store->directory, &room) != 0)
        return failed(reason, store->path, "the free space cannot be read");
    if (room >= bytes && room - bytes >= ROOM_TO_SPARE)
        return STATUS_OK;
    return refuse(reason, STATUS_NO_SPACE,
                  "%.100s needs %llu bytes, beside which %llu must stay free, and the disk of "
                  "%.160s has %llu free; free some or move the model store with the setting store",
                  model_id, (unsigned long long)bytes, (unsigned long long)ROOM_TO_SPARE,
                  store->path, (unsigned long long)room);
}

enum status store_file_digest(int file, const char *name, uint64_t size, struct hash *digest_out,
                              struct reason *reason)
{
    struct hash_stream stream;
    uint8_t *bytes = memory_zeroed(READ_SIZE, 1);
    if (!bytes)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to read %.100s", name);
    enum status status = STATUS_OK;
    hash_init(&stream);
    for (uint64_t offset = 0; offset < size && status == STATUS_OK;) {
        size_t want = size - offset < READ_SIZE ? (size_t)(size - offset) : READ_SIZE;
        int64_t count = store_read_at(file, bytes, want, offset);
        if (count < 0)
            status = failed(reason, name, "it cannot be read");
        else if (count != (int64_t)want)
            status = refuse(reason, STATUS_STALE, "%.100s shrank while it was read", name);
        hash_update(&stream, bytes, count > 0 ? (size_t)count : 0);
        offset += want;
    }
    hash_final(&stream, digest_out);
    memory_free(bytes);
    return status;
}

/* ---- looking ---- */

static enum model_holding check_files(int directory, const struct model_manifest *manifest,
                                      struct reason *reason)
{
    enum model_holding holding = MODEL_WHOLE;
    for (uint32_t i = 0; i < manifest->record.files.count; i++) {
        const struct file_entry *file = &manifest->record.files.items[i];
        const struct file_stamp *stamp = &manifest->stamps[i];
        struct stat facts;
        bool is_expected = stamp->inode != 0;
        bool is_there = is_expected && store_stat(directory, file->name, &facts) == 0;
        const struct file_stamp now = is_there ? file_stamp_of(&facts) : (struct file_stamp){0};
        if (is_there && S_ISREG(facts.st_mode) && file_stamp_equal(&now, stamp))
            continue;
        if (is_expected)
            (void)refuse(reason, STATUS_DAMAGED,
                         "%.100s of %.100s %s since it was stored; take the model in again",
                         file->name, manifest->record.model_id, is_there ? "changed" : "went");
        if (!file->is_weight)
            return MODEL_DAMAGED;
        holding = MODEL_SMALL_FILES;
    }
    return holding;
}

static enum model_holding check_directory(int directory, struct model_record *record_out,
                                          struct reason *reason)
{
    struct model_manifest manifest = {0};
    if (model_manifest_read(directory, &manifest, reason) != STATUS_OK)
        return MODEL_DAMAGED;
    enum model_holding holding = check_files(directory, &manifest, reason);
    if (record_out) {
        *record_out = manifest.record;
        memset(&manifest.record, 0, sizeof(manifest.record));
    }
    model_manifest_fini(&manifest);
    return holding;
}

enum model_holding model_store_check(const struct model_store *store, const char *model_id,
                                     struct model_record *record_out, struct reason *reason)
{
    char name[MODEL_DIRECTORY_NAME_SIZE];
    if (record_out)
        memset(record_out, 0, sizeof(*record_out));
    if (model_directory_name(model_id, name, reason) != STATUS_OK)
        return MODEL_ABSENT;
    int directory = store_open_directory(store->directory, name);
    if (directory < 0) {
        const bool is_absent = errno == ENOENT;
        (void)failed(reason, name, "the model cannot be opened");
        return is_absent ? MODEL_ABSENT : MODEL_DAMAGED;
    }
    enum model_holding holding = check_directory(directory, record_out, reason);
    (void)close(directory);
    return holding;
}

enum model_holding model_directory_check(const char *path, struct model_record *record_out,
                                         struct reason *reason)
{
    if (record_out)
        memset(record_out, 0, sizeof(*record_out));
    int directory = store_open_directory(AT_FDCWD, path);
    if (directory < 0) {
        const bool is_absent = errno == ENOENT;
        (void)failed(reason, path, "the model cannot be opened");
        return is_absent ? MODEL_ABSENT : MODEL_DAMAGED;
    }
    enum model_holding holding = check_directory(directory, record_out, reason);
    (void)close(directory);
    return holding;
}

/* True when the stamp was renewed. */
static bool renew_stamp(int directory, const struct file_entry *entry, struct file_stamp *stamp)
{
    struct stat facts;
    struct hash digest;
    struct reason reason;
    int file = store_open_file(directory, entry->name);
    if (file < 0)
        return false;
    bool is_same = fstat(file, &facts) == 0 && (uint64_t)facts.st_size == entry->size;
    const struct file_stamp now = is_same ? file_stamp_of(&facts) : *stamp;
    is_same = is_same && !file_stamp_equal(&now, stamp) &&
              store_file_digest(file, entry->name, entry->size, &digest, &reason) == STATUS_OK &&
              ID_EQUAL(digest, entry->digest);
    (void)close(file);
    if (is_same)
        *stamp = now;
    return is_same;
}

enum model_holding model_store_verify(const struct model_store *store, const char *model_id,
                                      struct model_record *record_out, struct reason *reason)
{
    char name[MODEL_DIRECTORY_NAME_SIZE];
    struct model_manifest manifest = {0};
    struct reason unread;
    if (model_directory_name(model_id, name, reason) != STATUS_OK)
        return MODEL_ABSENT;
    int directory = store_open_directory(store->directory, name);
    if (directory >= 0 && model_manifest_read(directory, &manifest, &unread) == STATUS_OK) {
        bool is_renewed = false;
        for (uint32_t i = 0; i < manifest.record.files.count; i++)
            is_renewed = renew_stamp(directory, &manifest.record.files.items[i],
                                     &manifest.stamps[i]) || is_renewed;
        /* A store that cannot be written is checked again at each start. */
        if (is_renewed)
            (void)!model_manifest_write(directory, &manifest, &unread);
        model_manifest_fini(&manifest);
    }
    if (directory >= 0)
        (void)close(directory);
    return model_store_check(store, model_id, record_out, reason);
}

enum status model_store_list(const struct model_store *store,
                             enum status (*visit)(void *who, const char *model_id), void *who,
                             struct reason *reason)
{
    DIR *directory = NULL;
    enum status status = open_entries(store, &directory, reason);
    if (status != STATUS_OK)
        return status;
    const struct dirent *entry;
    while (status == STATUS_OK && (entry = readdir(directory))) {
        struct model_manifest manifest = {0};
        char name[MODEL_DIRECTORY_NAME_SIZE];
        struct reason unread;
        if (entry->d_name[0] == '.')
            continue;
        int model = store_open_directory(store->directory, entry->d_name);
        if (model < 0)
            continue;
        if (model_manifest_read(model, &manifest, &unread) == STATUS_OK &&
            model_directory_name(manifest.record.model_id, name, &unread) == STATUS_OK &&
            strcmp(name, entry->d_name) == 0)
            status = visit(who, manifest.record.model_id);
        model_manifest_fini(&manifest);
        (void)close(model);
    }
    (void)closedir(directory);
    return status;
}

enum status model_store_delete(struct model_store *store, const char *model_id,
                               struct reason *reason)
{
    char name[MODEL_DIRECTORY_NAME_SIZE];
    char aside[64];
    int empty = -1;
    struct stat facts;
    enum status status = model_directory_name(model_id, name, reason);
    if (status != STATUS_OK)
        return status;
    if (store_stat(store->directory, name, &facts) != 0)
        return errno == ENOENT ? STATUS_OK : failed(reason, store->path, name);
    /* Gone in one stroke: its place in the store is taken from it before its files are. */
    status = store_partial_make(store, aside, &empty, reason);
    if (status != STATUS_OK)
        return status;
    store_partial_drop(store, aside, empty);
    if (store_rename(store->directory, name, aside) != 0)
        return failed(reason, store->path, name);
    if (store_sync(store->directory) != 0 || store_remove_tree(store->directory, aside) != 0)
        return failed(reason, store->path, "the files of a deleted model cannot be removed");
    return STATUS_OK;
}
