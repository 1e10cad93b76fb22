/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/model_receive.h"

#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/chunk_digest.h"
#include "runtime/hub_link.h"
#include "runtime/model_chunks.h"
#include "runtime/store_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum status failed(const struct model_receive *receive, const char *name,
                          struct reason *reason)
{
    const int error = errno;
    if (error == ENOSPC)
        return refuse(reason, STATUS_NO_SPACE,
                      "the disk is full: %.100s needs %llu bytes more; free some and ask again",
                      text_or_empty(receive->record.model_id),
                      (unsigned long long)receive->record.shape.weight_bytes);
    return refuse(reason, status_from_errno(error), "%.100s of %.100s cannot be stored: %s", name,
                  text_or_empty(receive->record.model_id), strerror(error));
}

void model_receive_name(const char *model_id, const struct hash *revision,
                        char name_out[RECEIVING_NAME_SIZE])
{
    struct hash_stream stream;
    struct hash hash;
    const size_t prefix = strlen(RECEIVING_PREFIX);
    hash_init(&stream);
    hash_update(&stream, model_id, strlen(model_id) + 1);
    hash_update(&stream, revision, sizeof(*revision));
    hash_final(&stream, &hash);
    memcpy(name_out, RECEIVING_PREFIX, prefix);
    hex_print(&hash, 16, name_out + prefix);
}

/* ---- opening ---- */

/* It is in the store already, as it was verified: nothing of it is received. */
static bool is_kept(const struct model_receive *receive, uint32_t file)
{
    return (receive->kept[file / 8] >> file % 8 & 1) != 0;
}

/* What of that revision lies in the store, opened, so that it stays readable.  Elsewhere, in a
 * directory that is used in place, it is not the store's to build upon. */
static void open_kept(struct model_receive *receive)
{
    struct model_manifest held = {0};
    struct reason unread;
    int directory = -1;
    if (model_store_held(receive->store, receive->record.model_id, NULL, 0, NULL, receive->kept,
                         &unread) < MODEL_SMALL_FILES ||
        model_manifest_read(receive->store->holdings, receive->record.model_id, &held, &unread) !=
            STATUS_OK ||
        held.location || !ID_EQUAL(held.record.revision, receive->record.revision) ||
        store_open_model(receive->store, &held, &directory, &unread) != STATUS_OK)
        memset(receive->kept, 0, sizeof(receive->kept));
    model_manifest_fini(&held);
    for (uint32_t i = 0; i < receive->record.files.count; i++) {
        if (is_kept(receive, i))
            receive->files[i] =
                hub_file_open(directory, receive->record.files.items[i].name, NULL);
        if (receive->files[i] < 0)
            receive->kept[i / 8] &= (uint8_t)~(1u << i % 8);
    }
    if (directory >= 0)
        (void)close(directory);
}

/* A file of ours alone: no link, no second name, nothing else. */
static int open_own(int directory, const char *name)
{
    struct stat facts;
    /* One that has a second name was on its way into the cache when a kill came. */
    if (store_stat(directory, name, &facts) == 0 && facts.st_nlink > 1 &&
        store_unlink(directory, name) != 0)
        return -1;
    return store_open_own(directory, name, 0666);
}

/* No name of a peer is a name on our disk before the model is whole. */
static const char *file_name(uint32_t at, char name_out[32])
{
    (void)snprintf(name_out, 32, "file-%u", (unsigned)at);
    return name_out;
}

/* What the files of an earlier try have taken already.  No place is taken before it is needed:
 * writing where it was costs five times as much on ext4. */
static uint64_t taken_bytes(const struct model_receive *receive)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < receive->record.files.count; i++) {
        struct stat facts;
        char name[32];
        if (store_stat(receive->directory, file_name(i, name), &facts) == 0)
            bytes += (uint64_t)facts.st_blocks * 512;
    }
    return bytes;
}

static enum status open_files(struct model_receive *receive, struct reason *reason)
{
    const uint32_t count = receive->record.files.count;
    uint64_t needed = 0;
    for (uint32_t i = 0; i < count; i++)
        needed += is_kept(receive, i) ? 0 : receive->record.files.items[i].size;
    const uint64_t taken = taken_bytes(receive);
    enum status status = hub_cache_room_check(&receive->store->cache, receive->record.model_id,
                                              receive->name,
                                              needed > taken ? needed - taken : 0, reason);
    for (uint32_t i = 0; i < count && status == STATUS_OK; i++) {
        const struct file_entry *file = &receive->record.files.items[i];
        char name[32];
        if (is_kept(receive, i))
            continue;
        receive->files[i] = open_own(receive->directory, file_name(i, name));
        if (receive->files[i] < 0 || ftruncate(receive->files[i], (off_t)file->size) != 0)
            status = failed(receive, file->name, reason);
        else if (file->is_weight)
            receive->direct[i] = store_open_direct(receive->directory, name);
    }
    return status;
}

/* Has the file bytes there, or a hole?  Where nobody can tell: bytes. */
static bool has_bytes(int file, const struct chunk_place *place)
{
#ifdef SEEK_DATA
    const off_t at = lseek(file, (off_t)place->offset, SEEK_DATA);
    if (at < 0)
        return errno != ENXIO;
    return (uint64_t)at < place->offset + place->size;
#else
    (void)file;
    (void)place;
    return true;
#endif
}

static bool is_right(const struct model_receive *receive, const struct chunk_place *place,
                     const uint8_t *bytes)
{
    struct hash digest;
    const struct hash expected = chunk_manifest_chunk(&receive->manifest, place);
    chunk_digest_of(bytes, place->size, &digest);
    return ID_EQUAL(digest, expected);
}

static void note(struct model_receive *receive, uint32_t chunk, const struct chunk_place *place)
{
    if (chunk_has(receive->have, chunk))
        return;
    chunk_add(receive->have, chunk);
    receive->here++;
    receive->bytes_here += place->size;
}

static enum status scan(struct model_receive *receive, bool (*is_cancelled)(void *who), void *who,
                        struct reason *reason)
{
    uint8_t *window = memory_zeroed((size_t)CHUNK_SIZE, 1);
    struct chunk_place place;
    if (!window)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to receive a model");
    for (uint32_t i = 0; i < receive->count; i++) {
        if (is_cancelled && is_cancelled(who))
            break; /* what is not known to be here is fetched again, or scanned by the next */
        if (!chunk_manifest_place(&receive->manifest, i, &place))
            continue;
        if (is_kept(receive, place.file)) {
            note(receive, i, &place);
            continue;
        }
        if (!has_bytes(receive->files[place.file], &place) ||
            store_read_at(receive->files[place.file], window, place.size, place.offset) !=
                (int64_t)place.size)
            continue;
        if (is_right(receive, &place, window))
            note(receive, i, &place);
    }
    memory_free(window);
    return STATUS_OK;
}

/* The directory of a model has all its parts from the beginning: others look into it. */
static enum status open_blobs(struct model_receive *receive, struct reason *reason)
{
    const struct hub_cache *cache = &receive->store->cache;
    int snapshots = -1;
    enum status status = hub_cache_directory(cache, receive->record.model_id, "snapshots", true,
                                             &snapshots, reason);
    if (snapshots >= 0)
        (void)close(snapshots);
    return status == STATUS_OK ? hub_cache_directory(cache, receive->record.model_id, "blobs",
                                                     true, &receive->blobs, reason)
                               : status;
}

static enum status open_directory(struct model_receive *receive, const struct bytes *manifest,
                                  struct reason *reason)
{
    enum status status = open_blobs(receive, reason);
    if (status != STATUS_OK)
        return status;
    receive->directory = store_open_directory(receive->blobs, receive->name);
    if (receive->directory < 0 && errno == ENOENT &&
        store_make_directory(receive->blobs, receive->name) == 0)
        receive->directory = store_open_directory(receive->blobs, receive->name);
    if (receive->directory < 0)
        return failed(receive, receive->name, reason);
    open_kept(receive);
    status = open_files(receive, reason);
    return status == STATUS_OK ? model_chunks_write(receive->directory, manifest->items,
                                                    manifest->count, reason)
                               : status;
}

static enum status copy_record(struct model_receive *receive, const struct model_record *record,
                               struct reason *reason)
{
    if (record_copy(&model_record_type, record, &receive->record) != STATUS_OK)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to receive a model");
    while (receive->record.holders.count > 0)
        record_list_remove(&holder_record_type, RECORD_LIST(receive->record.holders),
                           receive->record.holders.count - 1);
    receive->files = memory_zeroed(2 * (size_t)record->files.count + 1, sizeof(int));
    if (!receive->files)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to receive a model");
    receive->direct = receive->files + record->files.count;
    for (uint32_t i = 0; i < 2 * record->files.count; i++)
        receive->files[i] = -1;
    return STATUS_OK;
}

enum status model_receive_open(struct model_store *store, const struct model_record *record,
                               const struct bytes *manifest_bytes,
                               bool (*is_cancelled)(void *who), void *who,
                               struct model_receive *receive_out, struct reason *reason)
{
    struct model_receive receive = {.store = store, .blobs = -1, .directory = -1};
    const struct hash revision = model_revision(record);
    if (!model_id_is_sound(record->model_id) || !ID_EQUAL(revision, record->revision))
        return refuse(reason, STATUS_MALFORMED, "the record of %.100s is not to be trusted",
                      text_or_empty(record->model_id));
    model_receive_name(record->model_id, &record->revision, receive.name);
    enum status status = chunk_manifest_decode(manifest_bytes->items, manifest_bytes->count,
                                               record, &receive.manifest, reason);
    if (status == STATUS_OK)
        status = copy_record(&receive, record, reason);
    if (status == STATUS_OK) {
        receive.count = chunk_manifest_count(&receive.manifest);
        receive.have = memory_zeroed(receive.count / 8 + 1, 1);
        if (!receive.have)
            status = refuse(reason, STATUS_NO_MEMORY, "no memory to receive a model");
    }
    if (status == STATUS_OK)
        status = open_directory(&receive, manifest_bytes, reason);
    if (status == STATUS_OK)
        status = scan(&receive, is_cancelled, who, reason);
    if (status == STATUS_OK)
        *receive_out = receive;
    else if (status == STATUS_NO_SPACE)
        model_receive_drop(&receive);
    else
        model_receive_close(&receive);
    return status;
}

/* ---- chunks ---- */

enum status model_receive_write(const struct model_receive *receive, uint32_t chunk,
                                const uint8_t *bytes, const struct hash *digest,
                                struct reason *reason)
{
    struct chunk_place place;
    if (!chunk_manifest_place(&receive->manifest, chunk, &place))
        return refuse(reason, STATUS_MALFORMED, "there is no chunk %u", (unsigned)chunk);
    const struct hash expected = chunk_manifest_chunk(&receive->manifest, &place);
    if (!ID_EQUAL(*digest, expected))
        return refuse(reason, STATUS_HASH_MISMATCH, "chunk %u of %.100s is wrong",
                      (unsigned)chunk, text_or_empty(receive->record.model_id));
    if (store_write_at(receive->files[place.file], receive->direct[place.file], bytes, place.size,
                       place.offset) != 0)
        return failed(receive, receive->record.files.items[place.file].name, reason);
    return STATUS_OK;
}

void model_receive_note(struct model_receive *receive, uint32_t chunk)
{
    struct chunk_place place;
    if (chunk_manifest_place(&receive->manifest, chunk, &place))
        note(receive, chunk, &place);
}

enum status model_receive_put(struct model_receive *receive, uint32_t chunk, const uint8_t *bytes,
                              struct reason *reason)
{
    struct chunk_place place;
    struct hash digest = {{0}};
    if (chunk_manifest_place(&receive->manifest, chunk, &place))
        chunk_digest_of(bytes, place.size, &digest);
    enum status status = model_receive_write(receive, chunk, bytes, &digest, reason);
    if (status == STATUS_OK)
        model_receive_note(receive, chunk);
    return status;
}

static void close_files(struct model_receive *receive)
{
    for (uint32_t i = 0; receive->files && i < 2 * receive->record.files.count; i++)
        if (receive->files[i] >= 0)
            (void)close(receive->files[i]);
    memory_free(receive->files);
    receive->files = receive->direct = NULL;
}

/* ---- the end: into the cache ---- */

/* As of an import (model_store_copy.c). */
#define PLAIN_SIZE_MAX ((uint64_t)10 << 20)
#define WINDOW_SIZE ((size_t)1 << 20)

struct placing {
    struct model_receive *receive;
    struct model_manifest manifest;
    char old_commit[HUB_COMMIT_SIZE]; /* of ours, in the cache; empty: none */
    char removed[HUB_COMMIT_SIZE];
    char (*partials)[STORE_PARTIAL_SIZE];
    struct reason *reason;
};

/* The hash by which others know the file: as who took it in found it, else from the disk. */
static enum status name_file(struct placing *placing, uint32_t at, uint8_t *window)
{
    const struct hash *known = &placing->receive->manifest.files.items[at].sha256;
    const struct file_entry *entry = &placing->manifest.record.files.items[at];
    struct file_facts *facts = &placing->manifest.files[at];
    const int file = placing->receive->files[at];
    struct etag_stream *stream = NULL;
    if (is_kept(placing->receive, at))
        return STATUS_OK; /* as it is called already: read_old */
    const enum etag_kind kind =
        entry->is_weight || entry->size > PLAIN_SIZE_MAX ? ETAG_SHA256 : ETAG_GIT_SHA1;
    if (!ID_IS_ZERO(*known)) {
        hex_print(known, sizeof(*known), facts->etag);
        return STATUS_OK;
    }
    enum status status = etag_stream_open(kind, entry->size, &stream, placing->reason);
    for (uint64_t offset = 0; offset < entry->size && status == STATUS_OK;) {
        const uint64_t left = entry->size - offset;
        const size_t want = left < WINDOW_SIZE ? (size_t)left : WINDOW_SIZE;
        if (store_read_at(file, window, want, offset) != (int64_t)want)
            status = failed(placing->receive, entry->name, placing->reason);
        else
            etag_stream_update(stream, window, want);
        offset += want;
    }
    if (status == STATUS_OK)
        status = etag_stream_final(stream, facts->etag, placing->reason);
    etag_stream_close(stream);
    return status;
}

static enum status fill_facts(struct placing *placing)
{
    const struct chunk_manifest *chunks = &placing->receive->manifest;
    uint8_t *window = memory_zeroed(WINDOW_SIZE, 1);
    enum status status = window ? STATUS_OK : STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < chunks->files.count && status == STATUS_OK; i++) {
        const struct bytes *digests = &chunks->files.items[i].chunks;
        struct file_facts *facts = &placing->manifest.files[i];
        facts->chunks = digests->count > 0
                            ? memory_copied(digests->items, digests->count)
                            : memory_zeroed(1, sizeof(struct hash));
        if (!facts->chunks)
            status = STATUS_NO_MEMORY;
        else if (store_sync(placing->receive->files[i]) != 0)
            status = failed(placing->receive, chunks->files.items[i].name, placing->reason);
        if (status == STATUS_OK)
            status = name_file(placing, i, window);
    }
    memory_free(window);
    return status == STATUS_NO_MEMORY
               ? refuse(placing->reason, status, "no memory to finish a model")
               : status;
}

/* What stood under this name. */
static void read_old(struct placing *placing)
{
    struct model_manifest *manifest = &placing->manifest;
    struct model_manifest old = {0};
    struct reason unread;
    model_record_commit(&manifest->record, manifest->commit);
    manifest->is_made = true;
    if (model_manifest_read(placing->receive->store->holdings, manifest->record.model_id, &old,
                            &unread) != STATUS_OK)
        return;
    manifest->is_pinned = old.is_pinned;
    manifest->used_ms = old.used_ms;
    if (!old.location && ID_EQUAL(old.record.revision, manifest->record.revision)) {
        manifest->is_made = old.is_made;
        memcpy(manifest->commit, old.commit, HUB_COMMIT_SIZE);
        for (uint32_t i = 0; i < manifest->record.files.count; i++) {
            if (!is_kept(placing->receive, i))
                continue;
            manifest->files[i].stamp = old.files[i].stamp;
            memcpy(manifest->files[i].etag, old.files[i].etag, ETAG_SIZE);
        }
    } else if (old.is_made && !old.location) {
        memcpy(placing->removed, old.commit, HUB_COMMIT_SIZE);
        memcpy(placing->old_commit, old.commit, HUB_COMMIT_SIZE);
    }
    model_manifest_fini(&old);
}

/* A second name among the blobs: what a kill undoes there is still ours. */
static enum status link_partials(struct placing *placing)
{
    struct model_receive *receive = placing->receive;
    const uint32_t count = placing->manifest.record.files.count;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < count && status == STATUS_OK; i++) {
        char name[32];
        int file = -1;
        if (is_kept(receive, i))
            continue;
        status = store_partial_make(receive->store, receive->record.model_id, receive->blobs,
                                    placing->partials[i], &file, placing->reason);
        if (status != STATUS_OK)
            break;
        (void)close(file);
        if (store_unlink(receive->blobs, placing->partials[i]) != 0 ||
            linkat(receive->directory, file_name(i, name), receive->blobs, placing->partials[i],
                   0) != 0)
            status = failed(receive, placing->manifest.record.files.items[i].name,
                            placing->reason);
    }
    return status;
}

static enum status place_all(struct placing *placing)
{
    struct model_receive *receive = placing->receive;
    struct model_manifest *manifest = &placing->manifest;
    struct store_journal journal = {.model_id = manifest->record.model_id};
    struct reason unread;
    int snapshot = -1;
    enum status status = store_journal_put(receive->store, &journal, placing->reason);
    if (status == STATUS_OK)
        status = link_partials(placing);
    if (status != STATUS_OK)
        return status;
    journal.blobs = manifest;
    journal.was_there =
        store_open_model(receive->store, manifest, &snapshot, &unread) == STATUS_OK;
    if (snapshot >= 0)
        (void)close(snapshot);
    memcpy(journal.made, manifest->commit, HUB_COMMIT_SIZE);
    memcpy(journal.removed, placing->removed, HUB_COMMIT_SIZE);
    status = store_journal_put(receive->store, &journal, placing->reason);
    for (uint32_t i = 0; i < manifest->record.files.count && status == STATUS_OK; i++)
        if (!is_kept(receive, i))
            status = store_partial_place(receive->store, journal.model_id, receive->blobs,
                                         placing->partials[i], &manifest->record.files.items[i],
                                         &manifest->files[i], placing->reason);
    if (status == STATUS_OK && store_sync(receive->blobs) != 0)
        status = failed(receive, "blobs", placing->reason);
    if (status == STATUS_OK)
        status = store_link_all(receive->store, manifest, placing->reason);
    if (status == STATUS_OK)
        status = store_set_main(receive->store, manifest, placing->old_commit, placing->reason);
    if (status == STATUS_OK)
        status = model_manifest_write(receive->store->holdings, receive->store->owner, manifest,
                                      placing->reason);
    return status;
}

/* What was there at the beginning may have gone meanwhile; then the next try receives it. */
static enum status check_kept(struct placing *placing)
{
    const struct model_receive *receive = placing->receive;
    uint8_t held[FILE_SET_BYTES_MAX];
    struct reason unread;
    (void)!model_store_held(receive->store, receive->record.model_id, NULL, 0, NULL, held,
                            &unread);
    for (uint32_t i = 0; i < receive->record.files.count; i++)
        if (is_kept(receive, i) && (held[i / 8] >> i % 8 & 1) == 0)
            return refuse(placing->reason, STATUS_STALE,
                          "%.100s of %.100s went or changed while the rest was copied; ask again",
                          receive->record.files.items[i].name, receive->record.model_id);
    return STATUS_OK;
}

static enum status place_locked(struct placing *placing)
{
    struct model_receive *receive = placing->receive;
    struct reason unread;
    enum status status =
        store_journal_settle(receive->store, receive->record.model_id, placing->reason);
    if (status == STATUS_OK)
        status = model_manifest_make_files(&placing->manifest, placing->reason);
    if (status == STATUS_OK)
        status = check_kept(placing);
    if (status == STATUS_OK) {
        read_old(placing);
        status = fill_facts(placing);
    }
    if (status == STATUS_OK) {
        status = place_all(placing);
        (void)!store_journal_settle(receive->store, receive->record.model_id, &unread);
    }
    return status;
}

enum status model_receive_place(struct model_receive *receive, struct reason *reason)
{
    struct placing placing = {.receive = receive, .reason = reason};
    struct hub_lock lock = {-1};
    ASSERT(receive->here == receive->count);
    placing.partials = memory_zeroed(receive->record.files.count, STORE_PARTIAL_SIZE);
    if (!placing.partials ||
        record_copy(&model_record_type, &receive->record, &placing.manifest.record) != STATUS_OK) {
        memory_free(placing.partials);
        return refuse(reason, STATUS_NO_MEMORY, "no memory to finish a model");
    }
    enum status status = store_lock_model(receive->store, receive->record.model_id,
                                          STORE_WAIT_LONG_MS, NULL, &lock, reason);
    if (status == STATUS_OK) {
        status = place_locked(&placing);
        hub_cache_unlock(&lock);
    }
    model_manifest_fini(&placing.manifest);
    memory_free(placing.partials);
    if (status == STATUS_OK)
        model_receive_drop(receive); /* the model has the files by other names */
    return status;
}

void model_receive_close(struct model_receive *receive)
{
    close_files(receive);
    if (receive->directory > 0)
        (void)close(receive->directory);
    if (receive->blobs > 0)
        (void)close(receive->blobs);
    memory_free(receive->have);
    record_fini(&model_record_type, &receive->record);
    record_fini(&chunk_manifest_type, &receive->manifest);
    memset(receive, 0, sizeof(*receive));
    receive->directory = receive->blobs = -1;
}

void model_receive_drop(struct model_receive *receive)
{
    char name[RECEIVING_NAME_SIZE];
    const int blobs = receive->blobs > 0 ? dup(receive->blobs) : -1;
    memcpy(name, receive->name, sizeof(name));
    model_receive_close(receive);
    if (blobs < 0)
        return;
    (void)!store_remove_tree(blobs, name); /* else swept at the next start */
    (void)close(blobs);
}

/* In the directory "blobs" of one model. */
static void sweep_blobs(int blobs, const char (*kept)[RECEIVING_NAME_SIZE], size_t kept_count)
{
    const int opened = openat(blobs, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = opened >= 0 ? fdopendir(opened) : NULL;
    const struct dirent *entry;
    if (!entries) {
        if (opened >= 0)
            (void)close(opened);
        return;
    }
    while ((entry = readdir(entries))) {
        bool is_kept = strncmp(entry->d_name, RECEIVING_PREFIX, strlen(RECEIVING_PREFIX)) != 0;
        for (size_t i = 0; i < kept_count; i++)
            is_kept = is_kept || strcmp(entry->d_name, kept[i]) == 0;
        if (!is_kept)
            (void)!store_remove_tree(blobs, entry->d_name);
    }
    (void)closedir(entries);
}

void model_receive_sweep(struct model_store *store, const char (*kept)[RECEIVING_NAME_SIZE],
                         size_t kept_count)
{
    const int opened = openat(store->cache.directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = opened >= 0 ? fdopendir(opened) : NULL;
    const struct dirent *entry;
    while (entries && (entry = readdir(entries))) {
        char model_id[HUB_NAME_SIZE];
        struct reason unread;
        int blobs = -1;
        if (!hub_model_id(entry->d_name, model_id) ||
            hub_cache_directory(&store->cache, model_id, "blobs", false, &blobs, &unread) !=
                STATUS_OK)
            continue;
        sweep_blobs(blobs, kept, kept_count);
        (void)close(blobs);
    }
    if (entries)
        (void)closedir(entries);
    else if (opened >= 0)
        (void)close(opened);
}

/* ---- lending ---- */

static enum status copy_stamps(const struct model_manifest *held, struct model_source *source,
                               struct reason *reason)
{
    const uint32_t count = held->record.files.count;
    source->stamps = memory_zeroed((size_t)count + 1, sizeof(*source->stamps));
    if (!source->stamps)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to send a model");
    for (uint32_t i = 0; i < count; i++)
        source->stamps[i] = held->files[i].stamp;
    return STATUS_OK;
}

/* Another may have written over it since the store looked. */
static bool is_unchanged(const struct model_source *source)
{
    const uint32_t at = source->file_at;
    struct stat facts;
    if (!source->stamps || (source->held[at / 8] >> at % 8 & 1) == 0)
        return true; /* on its way here: its chunks are checked by who gets them */
    if (fstat(source->file, &facts) != 0)
        return false;
    const struct file_stamp now = file_stamp_of(&facts);
    return file_stamp_equal(&now, &source->stamps[at]);
}

static enum status open_held(const struct model_store *store, const struct model_record *record,
                             struct model_source *source, struct reason *reason)
{
    struct model_manifest held = {0};
    struct reason unread;
    enum status status =
        model_manifest_read(store->holdings, text_or_empty(record->model_id), &held, reason);
    if (status == STATUS_OK && !ID_EQUAL(held.record.revision, record->revision))
        status = refuse(reason, STATUS_NOT_FOUND, "another revision of %.100s is stored here",
                        record->model_id);
    if (status == STATUS_OK)
        status = model_chunks_of(&held, &source->manifest, reason);
    if (status == STATUS_OK)
        status = store_open_model(store, &held, &source->directory, reason);
    if (status == STATUS_OK)
        status = copy_stamps(&held, source, reason);
    if (status == STATUS_OK)
        (void)!model_store_held(store, record->model_id, NULL, 0, NULL, source->held, &unread);
    if (status != STATUS_OK && source->directory >= 0) {
        (void)close(source->directory);
        source->directory = -1;
    }
    if (status != STATUS_OK)
        record_fini(&chunk_manifest_type, &source->manifest);
    model_manifest_fini(&held);
    return status;
}

/* What of it is on its way to this store; negative: nothing. */
static int open_receiving(const struct model_store *store, const char *model_id,
                          const struct hash *revision)
{
    char name[RECEIVING_NAME_SIZE];
    struct reason unread;
    int blobs = -1;
    if (hub_cache_directory(&store->cache, model_id, "blobs", false, &blobs, &unread) != STATUS_OK)
        return -1;
    model_receive_name(model_id, revision, name);
    const int directory = store_open_directory(blobs, name);
    (void)close(blobs);
    return directory;
}

static enum status open_received(const struct model_store *store,
                                 const struct model_record *record, struct model_source *source,
                                 struct reason *reason)
{
    const int directory =
        open_receiving(store, text_or_empty(record->model_id), &record->revision);
    if (directory < 0)
        return refuse(reason, STATUS_NOT_FOUND, "%.100s is not in this store", record->model_id);
    const enum status status =
        model_chunks_read(directory, record, NULL, &source->manifest, reason);
    (void)close(directory);
    return status;
}

enum status model_source_open(const struct model_store *store, const struct model_record *record,
                              struct model_source *source_out, struct buffer *bytes,
                              struct reason *reason)
{
    struct model_source source = {.store = store, .directory = -1, .file = -1};
    struct reason unread;
    (void)snprintf(source.model_id, sizeof(source.model_id), "%s",
                   text_or_empty(record->model_id));
    enum status status = open_held(store, record, &source, &unread);
    if (status != STATUS_OK)
        status = open_received(store, record, &source, reason);
    if (status == STATUS_OK && bytes) {
        status = chunk_manifest_encode(&source.manifest, bytes, NULL);
        if (status != STATUS_OK)
            model_source_close(&source);
    }
    if (status == STATUS_OK)
        *source_out = source;
    return status;
}

/* As it was verified in the store, else what was received of it by now. */
static enum status open_source_file(struct model_source *source, uint32_t at)
{
    char name[32];
    if (source->file >= 0 && source->file_at == at)
        return STATUS_OK;
    if (source->file >= 0)
        (void)close(source->file);
    source->file_at = at;
    if ((source->held[at / 8] >> at % 8 & 1) != 0) {
        source->file =
            hub_file_open(source->directory, source->manifest.files.items[at].name, NULL);
        return source->file >= 0 ? STATUS_OK : STATUS_NOT_FOUND;
    }
    const int directory =
        open_receiving(source->store, source->model_id, &source->manifest.revision);
    source->file = directory >= 0 ? store_open_file(directory, file_name(at, name)) : -1;
    if (directory >= 0)
        (void)close(directory);
    return source->file >= 0 ? STATUS_OK : STATUS_NOT_FOUND;
}

enum status model_source_read_part(struct model_source *source, const struct chunk_place *place,
                                   uint32_t offset, size_t size, uint8_t *bytes_out)
{
    ASSERT(offset <= place->size && size <= place->size - offset);
    enum status status = open_source_file(source, place->file);
    if (status == STATUS_OK &&
        (store_read_at(source->file, bytes_out, size, place->offset + offset) != (int64_t)size ||
         !is_unchanged(source)))
        status = STATUS_DAMAGED;
    return status;
}

enum status model_source_read(struct model_source *source, const struct chunk_place *place,
                              uint8_t *bytes_out)
{
    return model_source_read_part(source, place, 0, place->size, bytes_out);
}

void model_source_close(struct model_source *source)
{
    if (source->file >= 0)
        (void)close(source->file);
    if (source->directory >= 0)
        (void)close(source->directory);
    memory_free(source->stamps);
    source->stamps = NULL;
    record_fini(&chunk_manifest_type, &source->manifest);
}
