/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_store_small: the small files of a model, had from a peer and given to one.
 */
#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/chunk_digest.h"
#include "runtime/hub_link.h"
#include "runtime/model_store.h"
#include "runtime/store_io.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* As of an import (model_store_copy.c). */
#define PLAIN_SIZE_MAX ((uint64_t)10 << 20)

struct putting {
    struct model_store *store;
    struct model_manifest manifest;
    struct model_manifest old;      /* of the same revision, in the store; or zero */
    struct model_manifest replaced; /* of another; or zero */
    const struct bytes *contents;
    char removed[HUB_COMMIT_SIZE];
    char (*partials)[STORE_PARTIAL_SIZE];
    bool *is_lacking; /* one per file */
    uint64_t bytes_lacking;
    int blobs;
    struct reason *reason;
};

static enum status no_memory(struct reason *reason)
{
    return refuse(reason, STATUS_NO_MEMORY, "no memory for the list of files of a model");
}

/* Files that are here and whole stay: what a peer does not send, and what it calls them. */
static enum status keep_known(struct putting *putting)
{
    struct model_manifest *manifest = &putting->manifest;
    struct reason unread;
    int directory = -1;
    if (!putting->old.files ||
        store_open_model(putting->store, &putting->old, &directory, &unread) != STATUS_OK)
        return STATUS_OK;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < manifest->record.files.count && status == STATUS_OK; i++) {
        const struct file_facts *old = &putting->old.files[i]; /* one revision has one list */
        struct file_facts *facts = &manifest->files[i];
        const uint64_t count = chunk_count(manifest->record.files.items[i].size);
        struct stat found;
        memcpy(facts->etag, old->etag, sizeof(facts->etag));
        if (old->chunks && !(facts->chunks = memory_copied(old->chunks, (size_t)count *
                                                                       sizeof(struct hash))))
            status = no_memory(putting->reason);
        const int file = old->stamp.inode
                             ? hub_file_open(directory, manifest->record.files.items[i].name, NULL)
                             : -1;
        if (file >= 0 && fstat(file, &found) == 0) {
            const struct file_stamp now = file_stamp_of(&found);
            if (file_stamp_equal(&now, &old->stamp))
                facts->stamp = now;
        }
        if (file >= 0)
            (void)close(file);
    }
    (void)close(directory);
    return status;
}

static void read_old(struct putting *putting)
{
    struct model_manifest *manifest = &putting->manifest;
    struct model_manifest *old = &putting->old;
    struct reason unread;
    model_record_commit(&manifest->record, manifest->commit);
    manifest->is_made = true;
    if (model_manifest_read(putting->store->holdings, manifest->record.model_id, old, &unread) !=
        STATUS_OK)
        return;
    manifest->is_pinned = old->is_pinned;
    manifest->used_ms = old->used_ms;
    if (!old->location && ID_EQUAL(old->record.revision, manifest->record.revision)) {
        manifest->is_made = old->is_made;
        memcpy(manifest->commit, old->commit, HUB_COMMIT_SIZE);
        return;
    }
    if (old->is_made && !old->location)
        memcpy(putting->removed, old->commit, HUB_COMMIT_SIZE);
    putting->replaced = *old;
    memset(old, 0, sizeof(*old));
}

static enum status make_chunks(struct file_facts *facts, const struct bytes *content,
                               struct reason *reason)
{
    const uint64_t count = chunk_count(content->count);
    if (!facts->chunks)
        facts->chunks = memory_zeroed((size_t)count, sizeof(struct hash));
    if (!facts->chunks)
        return no_memory(reason);
    for (uint64_t i = 0; i < count; i++) {
        const size_t offset = (size_t)(i * CHUNK_SIZE);
        const size_t left = content->count - offset;
        chunk_digest_of(content->items + offset, left < CHUNK_SIZE ? left : (size_t)CHUNK_SIZE,
                        &facts->chunks[i]);
    }
    return STATUS_OK;
}

/* It is what its record says, and has a name among the blobs; what lies there already under that
 * name stays. */
static enum status name_file(struct putting *putting, uint32_t at)
{
    const struct file_entry *entry = &putting->manifest.record.files.items[at];
    struct file_facts *facts = &putting->manifest.files[at];
    const struct bytes *content = &putting->contents[at];
    struct hash digest;
    hash_of(content->items, content->count, &digest);
    if (content->count != entry->size || !ID_EQUAL(digest, entry->digest))
        return refuse(putting->reason, STATUS_HASH_MISMATCH, "%.100s is not what its manifest says",
                      entry->name);
    enum etag_kind kind = etag_kind_of(facts->etag);
    if (kind == ETAG_NONE)
        kind = entry->size > PLAIN_SIZE_MAX ? ETAG_SHA256 : ETAG_GIT_SHA1;
    enum status status = etag_of(kind, content->items, content->count, facts->etag,
                                 putting->reason);
    if (status == STATUS_OK)
        status = make_chunks(facts, content, putting->reason);
    if (status == STATUS_OK && !store_blob_is_there(putting->blobs, entry, facts)) {
        putting->is_lacking[at] = true;
        putting->bytes_lacking += entry->size;
    }
    return status;
}

static enum status write_file(struct putting *putting, uint32_t at)
{
    const struct bytes *content = &putting->contents[at];
    int file = -1;
    enum status status = store_partial_make(putting->store, putting->manifest.record.model_id,
                                            putting->blobs, putting->partials[at], &file,
                                            putting->reason);
    if (status != STATUS_OK)
        return status;
    if (store_write_all(file, content->items, content->count) != 0 || store_sync(file) != 0)
        status = refuse(putting->reason, status_from_errno(errno), "%.100s cannot be stored: %s",
                        putting->manifest.record.files.items[at].name, strerror(errno));
    (void)close(file);
    return status;
}

static enum status open_blobs(struct putting *putting)
{
    const char *model_id = putting->manifest.record.model_id;
    const struct store_journal journal = {.model_id = model_id};
    int snapshots = -1;
    enum status status = store_journal_put(putting->store, &journal, putting->reason);
    if (status == STATUS_OK)
        status = hub_cache_directory(&putting->store->cache, model_id, "snapshots", true,
                                     &snapshots, putting->reason);
    if (snapshots >= 0)
        (void)close(snapshots);
    if (status == STATUS_OK)
        status = hub_cache_directory(&putting->store->cache, model_id, "blobs", true,
                                     &putting->blobs, putting->reason);
    return status;
}

static enum status place_all(struct putting *putting)
{
    struct model_manifest *manifest = &putting->manifest;
    struct store_journal journal = {.model_id = manifest->record.model_id,
                                    .blobs = manifest,
                                    .gone = &putting->replaced};
    int directory = -1;
    enum status status = store_open_model(putting->store, manifest, &directory, putting->reason);
    if (directory >= 0)
        (void)close(directory);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    journal.was_there = status == STATUS_OK;
    memcpy(journal.made, manifest->commit, HUB_COMMIT_SIZE);
    memcpy(journal.removed, putting->removed, HUB_COMMIT_SIZE);
    status = store_journal_put(putting->store, &journal, putting->reason);
    for (uint32_t i = 0; i < manifest->record.files.count && status == STATUS_OK; i++)
        if (putting->partials[i][0])
            status = store_partial_place(putting->store, journal.model_id, putting->blobs,
                                         putting->partials[i], &manifest->record.files.items[i],
                                         &manifest->files[i], putting->reason);
    if (status == STATUS_OK && store_sync(putting->blobs) != 0)
        status = hub_cache_failed(&putting->store->cache, journal.model_id, "blobs",
                                  putting->reason);
    if (status == STATUS_OK)
        status = store_link_all(putting->store, manifest, putting->reason);
    if (status == STATUS_OK)
        status = model_manifest_write(putting->store->holdings, putting->store->owner, manifest,
                                      putting->reason);
    return status;
}

static enum status put_all(struct putting *putting)
{
    const struct model_record *record = &putting->manifest.record;
    putting->partials = memory_zeroed(record->files.count, STORE_PARTIAL_SIZE);
    putting->is_lacking = memory_zeroed(record->files.count, sizeof(bool));
    enum status status = putting->partials && putting->is_lacking ? keep_known(putting)
                                                                  : no_memory(putting->reason);
    if (status == STATUS_OK)
        status = open_blobs(putting);
    for (uint32_t i = 0; i < record->files.count && status == STATUS_OK; i++)
        if (model_file_is_small(&record->files.items[i]))
            status = name_file(putting, i);
    if (status == STATUS_OK && putting->bytes_lacking > 0)
        status = hub_cache_room_check(&putting->store->cache, record->model_id, NULL,
                                      putting->bytes_lacking, putting->reason);
    for (uint32_t i = 0; i < record->files.count && status == STATUS_OK; i++)
        if (putting->is_lacking[i])
            status = write_file(putting, i);
    return status == STATUS_OK ? place_all(putting) : status;
}

static enum status small_record_check(const struct model_record *record, struct reason *reason)
{
    const struct hash revision = model_revision(record);
    for (uint32_t i = 0; i < record->files.count; i++) {
        const struct file_entry *file = &record->files.items[i];
        if (!model_file_name_is_sound(file->name) ||
            (i > 0 && strcmp(record->files.items[i - 1].name, file->name) >= 0))
            return refuse(reason, STATUS_INVALID, "%.100s is no name for a file of a model",
                          text_or_empty(file->name));
    }
    return ID_EQUAL(revision, record->revision)
               ? STATUS_OK
               : refuse(reason, STATUS_HASH_MISMATCH, "the list of files of %.100s does not match "
                        "its revision", text_or_empty(record->model_id));
}

enum status model_store_put_small(struct model_store *store, const struct model_record *record,
                                  const struct bytes *contents, struct reason *reason)
{
    struct putting putting = {.store = store, .contents = contents, .blobs = -1, .reason = reason};
    struct model_record *own = &putting.manifest.record;
    char name[HUB_NAME_SIZE];
    struct reason unread;
    struct hub_lock lock = {-1};
    enum status status = hub_model_name(text_or_empty(record->model_id), name, reason);
    if (status == STATUS_OK)
        status = small_record_check(record, reason);
    if (status == STATUS_OK && record_copy(&model_record_type, record, own) != STATUS_OK)
        status = no_memory(reason);
    if (status == STATUS_OK)
        status = store_lock_model(store, own->model_id, STORE_WAIT_MS, NULL, &lock, reason);
    if (status == STATUS_OK)
        status = store_journal_settle(store, own->model_id, reason);
    if (status != STATUS_OK) {
        model_manifest_fini(&putting.manifest);
        hub_cache_unlock(&lock);
        return status;
    }
    while (own->holders.count > 0)
        record_list_remove(&holder_record_type, RECORD_LIST(own->holders),
                           own->holders.count - 1);
    status = model_manifest_make_files(&putting.manifest, reason);
    if (status == STATUS_OK) {
        read_old(&putting);
        status = put_all(&putting);
        (void)!store_journal_settle(store, record->model_id, &unread);
    }
    if (putting.blobs >= 0)
        (void)close(putting.blobs);
    hub_cache_unlock(&lock);
    memory_free(putting.partials);
    memory_free(putting.is_lacking);
    model_manifest_fini(&putting.old);
    model_manifest_fini(&putting.replaced);
    model_manifest_fini(&putting.manifest);
    return status;
}

static enum status read_part(int directory, const struct file_entry *entry, uint64_t offset,
                             uint8_t *part_out, uint32_t *size_out, struct reason *reason)
{
    uint64_t left = entry->size - offset;
    size_t want = left < FILE_PART_SIZE ? (size_t)left : FILE_PART_SIZE;
    int file = hub_file_open(directory, entry->name, NULL);
    int64_t count = file >= 0 ? store_read_at(file, part_out, want, offset) : -1;
    const int error = errno;
    if (file >= 0)
        (void)close(file);
    if (count < 0)
        return refuse(reason, status_from_errno(error), "%.100s: %s", entry->name,
                      strerror(error));
    if (count != (int64_t)want)
        return refuse(reason, STATUS_DAMAGED, "%.100s is shorter than it was", entry->name);
    *size_out = (uint32_t)want;
    return STATUS_OK;
}

enum status model_store_read_small(const struct model_store *store, const char *model_id,
                                   const struct hash *revision, const char *name, uint64_t offset,
                                   uint8_t *part_out, uint32_t *size_out, uint64_t *total_out,
                                   struct reason *reason)
{
    struct model_manifest manifest = {0};
    int directory = -1;
    enum status status = model_manifest_read(store->holdings, model_id, &manifest, reason);
    if (status != STATUS_OK)
        return status;
    const struct file_entry *entry = NULL;
    for (uint32_t i = 0; i < manifest.record.files.count; i++)
        if (strcmp(manifest.record.files.items[i].name, name) == 0)
            entry = &manifest.record.files.items[i];
    if (!ID_EQUAL(manifest.record.revision, *revision))
        status = refuse(reason, STATUS_STALE, "another revision of %.100s is stored here",
                        model_id);
    else if (!entry || !model_file_is_small(entry) || offset > entry->size)
        status = refuse(reason, STATUS_REFUSED, "%.100s is no small file of %.100s", name,
                        model_id);
    if (status == STATUS_OK)
        status = store_open_model(store, &manifest, &directory, reason);
    if (status == STATUS_OK)
        status = read_part(directory, entry, offset, part_out, size_out, reason);
    if (status == STATUS_OK)
        *total_out = entry->size;
    if (directory >= 0)
        (void)close(directory);
    model_manifest_fini(&manifest);
    return status;
}
