/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/model_store.h"

#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/chunk_digest.h"
#include "runtime/hub_link.h"
#include "runtime/paths.h"
#include "runtime/store_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define READ_SIZE ((size_t)1 << 20)

/* ---- opening ---- */

static enum status open_holdings(struct model_store *store, const char *path,
                                 struct reason *reason)
{
    struct hash hash;
    hash_of(path, strlen(path), &hash);
    (void)hex_print(&hash, (sizeof(store->tag) - 1) / 2, store->tag);
    store->holdings = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->holdings >= 0)
        return STATUS_OK;
    return refuse(reason, status_from_errno(errno), "%.300s cannot be opened: %s", path,
                  strerror(errno));
}

struct model_store_places model_store_places_of(const struct paths *paths)
{
    return (struct model_store_places){paths->models, paths->holdings, paths->directories};
}

static void start(struct model_store *store, const struct model_store_places *places,
                  const char *owner)
{
    memset(store, 0, sizeof(*store));
    store->cache.directory = -1;
    store->holdings = -1;
    store->directories = places->directories ? places->directories : "";
    (void)snprintf(store->owner, sizeof(store->owner), "%s", owner);
}

enum status model_store_open(struct model_store *store, const struct model_store_places *places,
                             const char *owner, struct reason *reason)
{
    start(store, places, owner);
    enum status status = directory_make(places->holdings, reason);
    if (status == STATUS_OK)
        status = hub_cache_open(&store->cache, places->store, reason);
    if (status == STATUS_OK)
        status = open_holdings(store, places->holdings, reason);
    if (status == STATUS_OK)
        status = store_journals_settle(store, reason);
    if (status != STATUS_OK)
        model_store_close(store);
    return status;
}

enum status model_store_open_read(struct model_store *store,
                                  const struct model_store_places *places, struct reason *reason)
{
    start(store, places, "");
    enum status status = hub_cache_open_read(&store->cache, places->store, reason);
    if (status == STATUS_OK)
        status = open_holdings(store, places->holdings, reason);
    if (status != STATUS_OK)
        model_store_close(store);
    return status;
}

void model_store_close(struct model_store *store)
{
    hub_cache_close(&store->cache);
    if (store->holdings >= 0)
        (void)close(store->holdings);
    store->holdings = -1;
}

enum status store_open_model(const struct model_store *store,
                             const struct model_manifest *manifest, int *directory_out,
                             struct reason *reason)
{
    char place[16 + HUB_COMMIT_SIZE];
    if (!manifest->location) {
        (void)snprintf(place, sizeof(place), "snapshots/%s", manifest->commit);
        const enum status status = hub_cache_directory(
            &store->cache, manifest->record.model_id, place, false, directory_out, reason);
        if (status != STATUS_NOT_FOUND)
            return status;
        return refuse(reason, status, "%.100s cannot be opened: %s is gone from %.160s; take the "
                      "model in again", manifest->record.model_id, place, store->cache.root);
    }
    *directory_out = store_open_directory(AT_FDCWD, manifest->location);
    if (*directory_out >= 0)
        return STATUS_OK;
    return refuse(reason, status_from_errno(errno), "%.300s, where %.80s lies, cannot be opened: "
                  "%s", manifest->location, manifest->record.model_id, strerror(errno));
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
            status = refuse(reason, status_from_errno(errno), "%.100s cannot be read: %s", name,
                            strerror(errno));
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
                                      uint8_t *held_out, struct reason *reason)
{
    enum model_holding holding = MODEL_WHOLE;
    for (uint32_t i = 0; i < manifest->record.files.count; i++) {
        const struct file_entry *entry = &manifest->record.files.items[i];
        const struct file_stamp *stamp = &manifest->files[i].stamp;
        struct stat facts;
        const bool is_expected = stamp->inode != 0;
        const int file = is_expected ? hub_file_open(directory, entry->name, NULL) : -1;
        const bool is_there = file >= 0 && fstat(file, &facts) == 0;
        const struct file_stamp now = is_there ? file_stamp_of(&facts) : (struct file_stamp){0};
        if (file >= 0)
            (void)close(file);
        if (is_there && file_stamp_equal(&now, stamp)) {
            held_out[i / 8] |= (uint8_t)(1u << i % 8);
            continue;
        }
        if (is_expected)
            (void)refuse(reason, STATUS_DAMAGED,
                         "%.100s of %.100s %s since it was stored; take the model in again",
                         entry->name, manifest->record.model_id, is_there ? "changed" : "went");
        if (model_file_is_small(entry))
            return MODEL_DAMAGED;
        holding = MODEL_SMALL_FILES;
    }
    return holding;
}

static enum model_holding look(const struct model_store *store,
                               const struct model_manifest *manifest,
                               uint8_t held_out[FILE_SET_BYTES_MAX], struct reason *reason)
{
    int directory = -1;
    if (store_open_model(store, manifest, &directory, reason) != STATUS_OK)
        return MODEL_DAMAGED;
    const enum model_holding holding = check_files(directory, manifest, held_out, reason);
    (void)close(directory);
    return holding;
}

static enum status path_of(const struct model_store *store, const struct model_manifest *manifest,
                           char *path_out, size_t path_size, struct reason *reason)
{
    if (!manifest->location)
        return hub_cache_snapshot_path(&store->cache, manifest->record.model_id, manifest->commit,
                                       path_out, path_size, reason);
    int length = snprintf(path_out, path_size, "%s", manifest->location);
    return length >= 0 && (size_t)length < path_size
               ? STATUS_OK
               : refuse(reason, STATUS_TOO_LARGE, "%.100s... is too long a path",
                        manifest->location);
}

enum model_holding model_store_held(const struct model_store *store, const char *model_id,
                                    char *path_out, size_t path_size,
                                    struct model_record *record_out,
                                    uint8_t held_out[FILE_SET_BYTES_MAX], struct reason *reason)
{
    struct model_manifest manifest = {0};
    memset(held_out, 0, FILE_SET_BYTES_MAX);
    if (record_out)
        memset(record_out, 0, sizeof(*record_out));
    const enum status status = model_manifest_read(store->holdings, model_id, &manifest, reason);
    if (status != STATUS_OK)
        return status == STATUS_NOT_FOUND || status == STATUS_INVALID ? MODEL_ABSENT
                                                                      : MODEL_DAMAGED;
    enum model_holding holding = look(store, &manifest, held_out, reason);
    if (path_out && path_of(store, &manifest, path_out, path_size, reason) != STATUS_OK)
        holding = MODEL_DAMAGED;
    if (holding == MODEL_DAMAGED)
        memset(held_out, 0, FILE_SET_BYTES_MAX);
    if (record_out)
        model_manifest_take_record(&manifest, record_out);
    model_manifest_fini(&manifest);
    return holding;
}

enum model_holding model_store_locate(const struct model_store *store, const char *model_id,
                                      char *path_out, size_t path_size,
                                      struct model_record *record_out, struct reason *reason)
{
    uint8_t held[FILE_SET_BYTES_MAX];
    return model_store_held(store, model_id, path_out, path_size, record_out, held, reason);
}

enum model_holding model_store_check(const struct model_store *store, const char *model_id,
                                     struct model_record *record_out, struct reason *reason)
{
    return model_store_locate(store, model_id, NULL, 0, record_out, reason);
}

/* True when the stamp was renewed. */
static bool renew_stamp(int directory, const struct file_entry *entry, struct file_stamp *stamp)
{
    struct stat facts;
    struct hash digest;
    struct reason reason;
    int file = hub_file_open(directory, entry->name, NULL);
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

/* Both digests of an open file: as the record has it, and of its chunks. */
static bool read_digests(int file, const struct file_entry *entry, struct hash *digest_out,
                         struct hash *chunks_out)
{
    struct hash_stream stream;
    struct chunk_digest chunk;
    uint8_t *bytes = memory_zeroed(READ_SIZE, 1);
    bool is_read = bytes != NULL;
    hash_init(&stream);
    chunk_digest_init(&chunk);
    for (uint64_t offset = 0; offset < entry->size && is_read;) {
        const uint64_t left = entry->size - offset;
        const size_t want = left < READ_SIZE ? (size_t)left : READ_SIZE;
        is_read = store_read_at(file, bytes, want, offset) == (int64_t)want;
        hash_update(&stream, bytes, want);
        chunk_digest_update(&chunk, bytes, want);
        offset += want;
        if (offset % CHUNK_SIZE == 0 || offset == entry->size) {
            chunk_digest_final(&chunk, &chunks_out[(offset - 1) / CHUNK_SIZE]);
            chunk_digest_init(&chunk);
        }
    }
    hash_final(&stream, digest_out);
    memory_free(bytes);
    return is_read;
}

/* A file that lies among the blobs under its hub's name, of a download that ended before its end:
 * read once, and when it is the model's, it is here.  True when it was taken in. */
static bool adopt_blob(const struct model_store *store, struct model_manifest *manifest,
                       uint32_t at)
{
    const struct file_entry *entry = &manifest->record.files.items[at];
    struct file_facts *facts = &manifest->files[at];
    struct hash digest;
    struct stat found;
    struct reason unread;
    int blobs = -1;
    if (facts->stamp.inode != 0 || manifest->location ||
        etag_kind_of(text_or_empty(entry->etag)) == ETAG_NONE ||
        hub_cache_directory(&store->cache, manifest->record.model_id, "blobs", false, &blobs,
                            &unread) != STATUS_OK)
        return false;
    const int file = store_open_file(blobs, entry->etag);
    (void)close(blobs);
    struct hash *chunks = memory_zeroed((size_t)chunk_count(entry->size) + 1, sizeof(*chunks));
    const bool is_right = file >= 0 && chunks && fstat(file, &found) == 0 &&
                          S_ISREG(found.st_mode) && (uint64_t)found.st_size == entry->size &&
                          read_digests(file, entry, &digest, chunks) &&
                          ID_EQUAL(digest, entry->digest) &&
                          hub_cache_snapshot_link(&store->cache, manifest->record.model_id,
                                                  manifest->commit, entry->name, entry->etag,
                                                  &unread) == STATUS_OK;
    if (file >= 0)
        (void)close(file);
    if (!is_right) {
        memory_free(chunks);
        return false;
    }
    memory_free(facts->chunks);
    facts->chunks = chunks;
    facts->stamp = file_stamp_of(&found);
    (void)snprintf(facts->etag, sizeof(facts->etag), "%s", entry->etag);
    return true;
}

/* Unless it was changed meanwhile.  What cannot be written is checked again at each start. */
static void write_renewed(const struct model_store *store, const struct model_manifest *manifest)
{
    const char *model_id = manifest->record.model_id;
    struct model_manifest now = {0};
    struct hub_lock lock = {-1};
    struct reason unread;
    if (store_lock_model(store, model_id, 0, NULL, &lock, &unread) != STATUS_OK)
        return;
    if (model_manifest_read(store->holdings, model_id, &now, &unread) == STATUS_OK &&
        ID_EQUAL(now.record.revision, manifest->record.revision) &&
        strcmp(now.commit, manifest->commit) == 0)
        (void)!model_manifest_write(store->holdings, store->owner, manifest, &unread);
    model_manifest_fini(&now);
    hub_cache_unlock(&lock);
}

enum model_holding model_store_verify(const struct model_store *store, const char *model_id,
                                      struct model_record *record_out, struct reason *reason)
{
    struct model_manifest manifest = {0};
    struct reason unread;
    int directory = -1;
    if (model_manifest_read(store->holdings, model_id, &manifest, &unread) == STATUS_OK &&
        store_open_model(store, &manifest, &directory, &unread) == STATUS_OK) {
        bool is_renewed = false;
        for (uint32_t i = 0; i < manifest.record.files.count; i++)
            is_renewed = renew_stamp(directory, &manifest.record.files.items[i],
                                     &manifest.files[i].stamp) ||
                         adopt_blob(store, &manifest, i) || is_renewed;
        if (is_renewed)
            write_renewed(store, &manifest);
        (void)close(directory);
    }
    model_manifest_fini(&manifest);
    return model_store_check(store, model_id, record_out, reason);
}

enum status model_store_list(const struct model_store *store,
                             enum status (*visit)(void *who, const char *model_id), void *who,
                             struct reason *reason)
{
    const int opened = openat(store->holdings, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = opened >= 0 ? fdopendir(opened) : NULL;
    enum status status = STATUS_OK;
    if (!entries) {
        status = refuse(reason, status_from_errno(errno),
                        "the holdings of this node cannot be read: %s", strerror(errno));
        if (opened >= 0)
            (void)close(opened);
        return status;
    }
    const struct dirent *entry;
    while (status == STATUS_OK && (entry = readdir(entries))) {
        struct model_manifest manifest = {0};
        char name[HUB_NAME_SIZE];
        char model_id[HUB_NAME_SIZE];
        struct reason unread;
        const size_t length = strlen(entry->d_name);
        if (length <= strlen(HOLDING_END) || length >= sizeof(name) ||
            strcmp(entry->d_name + length - strlen(HOLDING_END), HOLDING_END) != 0)
            continue;
        (void)snprintf(name, sizeof(name), "%.*s", (int)(length - strlen(HOLDING_END)),
                       entry->d_name);
        if (hub_model_id(name, model_id) &&
            model_manifest_read(store->holdings, model_id, &manifest, &unread) == STATUS_OK)
            status = visit(who, model_id);
        model_manifest_fini(&manifest);
    }
    (void)closedir(entries);
    return status;
}

/* ---- changing ---- */

enum status store_link_all(struct model_store *store, const struct model_manifest *manifest,
                           struct reason *reason)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < manifest->record.files.count && status == STATUS_OK; i++)
        if (manifest->files[i].stamp.inode != 0)
            status = hub_cache_snapshot_link(&store->cache, manifest->record.model_id,
                                             manifest->commit,
                                             manifest->record.files.items[i].name,
                                             manifest->files[i].etag, reason);
    return status;
}

enum status store_set_main(struct model_store *store, const struct model_manifest *manifest,
                           const char *old_commit, struct reason *reason)
{
    const char *model_id = manifest->record.model_id;
    char commit[HUB_COMMIT_SIZE];
    const enum status status = hub_cache_ref_get(&store->cache, model_id, "main", commit, reason);
    if (status == STATUS_NOT_FOUND || (status == STATUS_OK && strcmp(commit, old_commit) == 0))
        return hub_cache_ref_set(&store->cache, model_id, "main", manifest->commit, reason);
    return status;
}

static enum status delete_locked(struct model_store *store, const char *model_id,
                                 struct reason *reason)
{
    struct store_journal journal = {.model_id = model_id};
    char name[HOLDING_NAME_SIZE];
    struct model_manifest manifest = {0};
    enum status status = model_holding_name(model_id, name, reason);
    if (status == STATUS_OK)
        status = store_journal_settle(store, model_id, reason);
    if (status != STATUS_OK)
        return status;
    status = model_manifest_read(store->holdings, model_id, &manifest, reason);
    if (status == STATUS_NOT_FOUND)
        return STATUS_OK;
    if (status != STATUS_OK && status != STATUS_DAMAGED)
        return status;
    const bool is_in_store = status == STATUS_OK && !manifest.location;
    if (is_in_store)
        memcpy(journal.removed, manifest.commit, HUB_COMMIT_SIZE);
    journal.gone = &manifest;
    /* Of a damaged holding only the holding goes: whose the files are is not known any more. */
    status = is_in_store ? store_journal_put(store, &journal, reason) : STATUS_OK;
    model_manifest_fini(&manifest);
    /* Gone in one stroke: it is no model of this node any more before its files go. */
    if (status == STATUS_OK && (store_unlink(store->holdings, name) != 0 ||
                                store_sync(store->holdings) != 0))
        status = refuse(reason, status_from_errno(errno), "%.200s cannot be removed: %s", name,
                        strerror(errno));
    const enum status settled = store_journal_settle(store, model_id, reason);
    return status == STATUS_OK ? settled : status;
}

enum status model_store_delete(struct model_store *store, const char *model_id,
                               struct reason *reason)
{
    struct hub_lock lock = {-1};
    enum status status =
        store_lock_model(store, model_id, STORE_WAIT_LONG_MS, NULL, &lock, reason);
    if (status == STATUS_OK)
        status = delete_locked(store, model_id, reason);
    hub_cache_unlock(&lock);
    return status;
}

enum status model_store_note(struct model_store *store, const char *model_id, bool is_pinned,
                             uint64_t used_ms, struct reason *reason)
{
    struct model_manifest manifest = {0};
    struct hub_lock lock = {-1};
    enum status status = store_lock_model(store, model_id, STORE_WAIT_MS, NULL, &lock, reason);
    if (status == STATUS_OK)
        status = model_manifest_read(store->holdings, model_id, &manifest, reason);
    if (status == STATUS_OK && (manifest.is_pinned != is_pinned || manifest.used_ms < used_ms)) {
        manifest.is_pinned = is_pinned;
        manifest.used_ms = used_ms > manifest.used_ms ? used_ms : manifest.used_ms;
        status = model_manifest_write(store->holdings, store->owner, &manifest, reason);
    }
    model_manifest_fini(&manifest);
    hub_cache_unlock(&lock);
    return status;
}
