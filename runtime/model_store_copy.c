/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_store_copy: how a model is taken in: copied from a directory into the store, or read where
 * it lies, every byte once, for the digests of files, chunks and blobs together.
 */
#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/chunk_digest.h"
#include "runtime/hub_link.h"
#include "runtime/model_chunks.h"
#include "runtime/model_store.h"
#include "runtime/safetensors.h"
#include "runtime/store_io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPY_SIZE ((size_t)1 << 20)
#define PROGRESS_STEP ((uint64_t)16 << 20)
/* The hub keeps larger plain files by their SHA-256 too. */
#define PLAIN_SIZE_MAX ((uint64_t)10 << 20)

_Static_assert(CHUNK_SIZE % COPY_SIZE == 0, "a chunk ends with a window");

struct taking {
    struct model_store *store;
    const struct model_import *import;
    struct model_manifest manifest;
    char real[PATH_MAX]; /* of the source */
    bool is_in_place;
    int source;
    int blobs; /* where files are copied to */
    char (*partials)[STORE_PARTIAL_SIZE]; /* one per file */
    char old_commit[HUB_COMMIT_SIZE]; /* snapshot this node made before, under the same name */
    struct model_manifest old;        /* its holding */
    uint8_t *window;
    uint64_t bytes_have;
    uint64_t bytes_total;
    uint64_t bytes_told;
    struct reason *reason;
};

static enum status no_memory(struct reason *reason)
{
    return refuse(reason, STATUS_NO_MEMORY, "no memory for the list of files of a model");
}

/* The name borrowed: refusals name the file, not the directory it is copied to. */
static enum status copy_failed(struct taking *taking, const char *name)
{
    const int error = errno;
    if (error == ENOSPC)
        return refuse(taking->reason, STATUS_NO_SPACE,
                      "the disk of %.200s is full: %.80s needs %llu bytes in all; free some or "
                      "move the model store", taking->store->cache.root,
                      taking->import->model_id, (unsigned long long)taking->bytes_total);
    if (taking->is_in_place)
        return refuse(taking->reason, status_from_errno(error), "%.100s cannot be read in %.200s: "
                      "%s", name, taking->real, strerror(error));
    return refuse(taking->reason, status_from_errno(error), "%.100s cannot be copied to %.200s: "
                  "%s", name, taking->store->cache.root, strerror(error));
}

static void tell_progress(struct taking *taking)
{
    if (taking->import->progress &&
        (taking->bytes_have - taking->bytes_told >= PROGRESS_STEP ||
         taking->bytes_have == taking->bytes_total)) {
        taking->bytes_told = taking->bytes_have;
        taking->import->progress(taking->import->who, taking->bytes_have, taking->bytes_total);
    }
}

/* What is taken in: the files we can read, nothing else that lies in the directory. */
static enum status choose_files(struct taking *taking, const struct model_card *card)
{
    struct model_record *record = &taking->manifest.record;
    for (size_t i = 0; i < card->file_count; i++) {
        const struct model_card_file *file = &card->files[i];
        if (!model_file_name_is_sound(file->name)) {
            if (file->is_weight)
                return refuse(taking->reason, STATUS_INVALID,
                              "%.150s is no name for a weight file; rename it", file->name);
            continue;
        }
        if (!file->is_weight && model_file_is_weight_kind(file->name))
            continue; /* the model does not use it */
        if (!file->is_weight && file->size > SMALL_FILE_SIZE_MAX)
            return refuse(taking->reason, STATUS_TOO_LARGE,
                          "%.100s has %llu bytes, at most %llu are taken; remove it from the "
                          "directory", file->name, (unsigned long long)file->size,
                          (unsigned long long)SMALL_FILE_SIZE_MAX);
        if (record->files.count == MODEL_FILE_COUNT_MAX)
            return refuse(taking->reason, STATUS_TOO_LARGE, "the model has more than %d files",
                          MODEL_FILE_COUNT_MAX);
        struct file_entry *entry = record_list_push(&file_entry_type, RECORD_LIST(record->files),
                                                    NULL, MODEL_FILE_COUNT_MAX);
        if (!entry || !text_set(&entry->name, file->name))
            return no_memory(taking->reason);
        entry->size = file->size;
        entry->is_weight = file->is_weight;
        taking->bytes_total += file->size;
    }
    taking->partials = memory_zeroed(record->files.count, STORE_PARTIAL_SIZE);
    taking->window = memory_zeroed(COPY_SIZE, 1);
    if (!taking->partials || !taking->window ||
        !text_set(&record->model_id, taking->import->model_id))
        return no_memory(taking->reason);
    return model_manifest_make_files(&taking->manifest, taking->reason);
}

/* ---- where it lies ---- */

/* The rest of `path` below `root`, "" for itself; NULL: it lies elsewhere. */
static const char *path_below(const char *path, const char *root)
{
    const size_t length = strlen(root);
    if (length < 2 || strncmp(path, root, length) != 0)
        return NULL;
    return path[length] == '/' ? path + length + 1 : path[length] ? NULL : path + length;
}

/* "models--org--name/snapshots/COMMIT". */
static bool parse_snapshot(const char *rest, char model_id_out[HUB_NAME_SIZE],
                           char commit_out[HUB_COMMIT_SIZE])
{
    char name[HUB_NAME_SIZE];
    const size_t length = strcspn(rest, "/");
    if (length >= sizeof(name) || strncmp(rest + length, "/snapshots/", 11) != 0 ||
        !hub_commit_is_sound(rest + length + 11))
        return false;
    memcpy(name, rest, length);
    name[length] = '\0';
    memcpy(commit_out, rest + length + 11, HUB_COMMIT_SIZE);
    return hub_model_id(name, model_id_out);
}

static bool is_below_directories(const char *directories, const char *path)
{
    char one[PATH_MAX];
    char real[PATH_MAX];
    for (const char *at = directories; *at; at += at[strcspn(at, ":")] ? strcspn(at, ":") + 1
                                                                      : strcspn(at, ":")) {
        const size_t length = strcspn(at, ":");
        if (length == 0 || length >= sizeof(one))
            continue;
        memcpy(one, at, length);
        one[length] = '\0';
        if (realpath(one, real) && path_below(path, real))
            return true;
    }
    return false;
}

/* In place or not, and under which commit. */
static enum status settle_place(struct taking *taking)
{
    char root[PATH_MAX];
    char model_id[HUB_NAME_SIZE];
    struct model_manifest *manifest = &taking->manifest;
    if (!realpath(taking->import->source, taking->real))
        return refuse(taking->reason, status_from_errno(errno), "%.300s cannot be opened: %s",
                      taking->import->source, strerror(errno));
    const char *rest = realpath(taking->store->cache.root, root) ? path_below(taking->real, root)
                                                                 : NULL;
    bool is_located = false;
    if (rest && parse_snapshot(rest, model_id, manifest->commit)) {
        taking->is_in_place = true;
        is_located = strcmp(model_id, taking->import->model_id) != 0;
    } else if (is_below_directories(taking->store->directories, taking->real)) {
        const char *base = strrchr(taking->real, '/') + 1;
        taking->is_in_place = is_located = true;
        if (hub_commit_is_sound(base))
            memcpy(manifest->commit, base, HUB_COMMIT_SIZE);
    }
    manifest->is_made = !taking->is_in_place;
    if (is_located && !(manifest->location = memory_text(taking->real, strlen(taking->real))))
        return no_memory(taking->reason);
    taking->source = open(taking->real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (taking->source < 0)
        return copy_failed(taking, taking->real);
    return STATUS_OK;
}

/* ---- one file ---- */

static enum status changed(struct taking *taking, const char *name)
{
    return refuse(taking->reason, STATUS_STALE,
                  "%.100s changed while it was copied; wait until its writer is done and add the "
                  "model again", name);
}

/* `to` is negative when the file is read where it lies. */
static enum status read_bytes(struct taking *taking, struct file_entry *entry,
                              struct file_facts *facts, int from, int to,
                              struct etag_stream *etag)
{
    struct hash_stream whole;
    struct chunk_digest chunk;
    hash_init(&whole);
    chunk_digest_init(&chunk);
    for (uint64_t offset = 0; offset < entry->size;) {
        uint64_t left = entry->size - offset;
        size_t want = left < COPY_SIZE ? (size_t)left : COPY_SIZE;
        if (taking->import->is_cancelled && taking->import->is_cancelled(taking->import->who))
            return refuse(taking->reason, STATUS_CANCELLED, "taking in %.100s was interrupted",
                          taking->import->model_id);
        int64_t count = store_read_at(from, taking->window, want, offset);
        if (count < 0)
            return copy_failed(taking, entry->name);
        if (count != (int64_t)want)
            return changed(taking, entry->name);
        hash_update(&whole, taking->window, want);
        chunk_digest_update(&chunk, taking->window, want);
        etag_stream_update(etag, taking->window, want);
        if (to >= 0 && store_write_all(to, taking->window, want) != 0)
            return copy_failed(taking, entry->name);
        offset += want;
        if (offset % CHUNK_SIZE == 0 || offset == entry->size) {
            chunk_digest_final(&chunk, &facts->chunks[(offset - 1) / CHUNK_SIZE]);
            chunk_digest_init(&chunk);
        }
        taking->bytes_have += want;
        tell_progress(taking);
    }
    hash_final(&whole, &entry->digest);
    return etag_stream_final(etag, facts->etag, taking->reason);
}

/* From the disk again: what was written must be what is there. */
static enum status read_back(struct taking *taking, struct file_entry *entry, int file)
{
    struct hash digest;
    if (store_sync(file) != 0)
        return copy_failed(taking, entry->name);
#ifdef POSIX_FADV_DONTNEED
    (void)posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
#endif
    enum status status = store_file_digest(file, entry->name, entry->size, &digest,
                                           taking->reason);
    if (status == STATUS_OK && !ID_EQUAL(digest, entry->digest))
        return refuse(taking->reason, STATUS_HASH_MISMATCH,
                      "%.100s reads back from %.200s otherwise than it was written; the disk is "
                      "not to be trusted", entry->name, taking->store->cache.root);
    return status;
}

/* `blob_out` is the name the cache has for it, if it lies in one. */
static enum status open_source(struct taking *taking, const char *name, int *file_out,
                               char blob_out[HUB_BLOB_NAME_SIZE])
{
    uint64_t size = 0;
    *file_out = hub_file_open(taking->source, name, blob_out);
    if (*file_out >= 0)
        return STATUS_OK;
    /* It says what is wrong. */
    return model_file_open(taking->real, name, file_out, &size, taking->reason);
}

static enum status read_one(struct taking *taking, uint32_t at, int from, const char *blob)
{
    struct file_entry *entry = &taking->manifest.record.files.items[at];
    struct file_facts *facts = &taking->manifest.files[at];
    struct etag_stream *etag = NULL;
    int to = -1;
    enum etag_kind kind = etag_kind_of(blob);
    if (kind == ETAG_NONE)
        kind = entry->is_weight || entry->size > PLAIN_SIZE_MAX ? ETAG_SHA256 : ETAG_GIT_SHA1;
    facts->chunks = memory_zeroed((size_t)chunk_count(entry->size), sizeof(struct hash));
    enum status status = facts->chunks ? STATUS_OK : no_memory(taking->reason);
    if (status == STATUS_OK && !taking->is_in_place)
        status = store_partial_make(taking->store, taking->import->model_id, taking->blobs,
                                    taking->partials[at], &to, taking->reason);
    if (status == STATUS_OK)
        status = etag_stream_open(kind, entry->size, &etag, taking->reason);
    if (status == STATUS_OK)
        status = read_bytes(taking, entry, facts, from, to, etag);
    if (status == STATUS_OK && taking->is_in_place && etag_kind_of(blob) != ETAG_NONE &&
        strcmp(blob, facts->etag) != 0)
        status = refuse(taking->reason, STATUS_HASH_MISMATCH,
                        "%.100s of %.80s in %.120s does not have the hash it is named by; remove "
                        "blobs/%s and download the model again", entry->name,
                        taking->import->model_id, taking->real, blob);
    if (status == STATUS_OK && to >= 0)
        status = read_back(taking, entry, to);
    etag_stream_close(etag);
    if (to >= 0)
        (void)close(to);
    return status;
}

/* NULL: it must be read. */
static const struct known_blob *find_known(const struct taking *taking, const char *blob,
                                           const struct stat *facts)
{
    const struct file_stamp stamp = file_stamp_of(facts);
    for (uint32_t i = 0; taking->is_in_place && i < taking->import->known_count; i++)
        if (strcmp(taking->import->known[i].etag, blob) == 0 &&
            file_stamp_equal(&taking->import->known[i].stamp, &stamp))
            return &taking->import->known[i];
    return NULL;
}

static enum status take_known(struct taking *taking, uint32_t at, const struct known_blob *known)
{
    struct file_entry *entry = &taking->manifest.record.files.items[at];
    struct file_facts *facts = &taking->manifest.files[at];
    const size_t count = (size_t)chunk_count(entry->size);
    facts->chunks = count > 0 ? memory_copied(known->chunks, count * sizeof(struct hash))
                              : memory_zeroed(1, sizeof(struct hash));
    if (!facts->chunks)
        return no_memory(taking->reason);
    (void)snprintf(facts->etag, sizeof(facts->etag), "%s", known->etag);
    facts->stamp = known->stamp;
    entry->digest = known->digest;
    taking->bytes_have += entry->size;
    tell_progress(taking);
    return STATUS_OK;
}

static enum status take_file(struct taking *taking, uint32_t at)
{
    struct file_entry *entry = &taking->manifest.record.files.items[at];
    char blob[HUB_BLOB_NAME_SIZE] = "";
    struct stat before;
    struct stat after;
    int from = -1;
    enum status status = open_source(taking, entry->name, &from, blob);
    if (status != STATUS_OK)
        return status;
    if (fstat(from, &before) != 0)
        status = copy_failed(taking, entry->name);
    else if ((uint64_t)before.st_size != entry->size)
        status = changed(taking, entry->name);
    const struct known_blob *known =
        status == STATUS_OK ? find_known(taking, blob, &before) : NULL;
    if (known) {
        (void)close(from);
        return take_known(taking, at, known);
    }
    if (status == STATUS_OK)
        status = read_one(taking, at, from, blob);
    if (status == STATUS_OK && fstat(from, &after) != 0)
        status = copy_failed(taking, entry->name);
    if (status == STATUS_OK) {
        const struct file_stamp first = file_stamp_of(&before);
        const struct file_stamp last = file_stamp_of(&after);
        if (!file_stamp_equal(&first, &last))
            status = changed(taking, entry->name);
        taking->manifest.files[at].stamp = last; /* of a copy, when it is in its place */
    }
    (void)close(from);
    return status;
}

/* ---- the whole ---- */

/* What was taken is judged like the source: whatever changed in between, it is sound. */
static enum status judge(struct taking *taking, const char *path)
{
    struct model_card *card = NULL;
    enum status status = model_card_read(path, MODEL_CARD_WITH_TOKENIZER, &card, taking->reason);
    if (status == STATUS_OK)
        status = model_record_fill(card, &taking->manifest.record, taking->reason);
    model_card_free(card);
    return status;
}

static enum status place_all(struct taking *taking)
{
    struct model_manifest *manifest = &taking->manifest;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < manifest->record.files.count && status == STATUS_OK; i++)
        status = store_partial_place(taking->store, taking->import->model_id, taking->blobs,
                                     taking->partials[i], &manifest->record.files.items[i],
                                     &manifest->files[i], taking->reason);
    if (status == STATUS_OK && store_sync(taking->blobs) != 0)
        status = copy_failed(taking, "blobs");
    return status;
}

/* Blobs, links, judgement, branch: everything but the holding. */
static enum status put_into_cache(struct taking *taking)
{
    struct model_manifest *manifest = &taking->manifest;
    struct store_journal journal = {.model_id = taking->import->model_id,
                                    .blobs = manifest,
                                    .gone = &taking->old};
    const struct hub_cache *cache = &taking->store->cache;
    char path[MODEL_STORE_PATH_SIZE];
    char place[16 + HUB_COMMIT_SIZE];
    int snapshot = -1;
    (void)snprintf(place, sizeof(place), "snapshots/%s", manifest->commit);
    enum status status = hub_cache_directory(cache, journal.model_id, place, false, &snapshot,
                                             taking->reason);
    journal.was_there = status == STATUS_OK;
    if (snapshot >= 0)
        (void)close(snapshot);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    memcpy(journal.made, manifest->commit, HUB_COMMIT_SIZE);
    if (strcmp(taking->old_commit, manifest->commit) != 0)
        memcpy(journal.removed, taking->old_commit, HUB_COMMIT_SIZE);
    status = store_journal_put(taking->store, &journal, taking->reason);
    if (status == STATUS_OK)
        status = place_all(taking);
    if (status == STATUS_OK)
        status = store_link_all(taking->store, manifest, taking->reason);
    if (status == STATUS_OK)
        status = hub_cache_snapshot_path(cache, journal.model_id, manifest->commit, path,
                                         sizeof(path), taking->reason);
    if (status == STATUS_OK)
        status = judge(taking, path);
    if (status == STATUS_OK)
        status = store_set_main(taking->store, manifest, taking->old_commit, taking->reason);
    return status;
}

static enum status take_all(struct taking *taking)
{
    struct model_manifest *manifest = &taking->manifest;
    struct model_record *record = &manifest->record;
    struct store_journal journal = {.model_id = taking->import->model_id, .gone = &taking->old};
    int snapshots = -1;
    enum status status = STATUS_OK;
    if (taking->is_in_place)
        memcpy(journal.removed, taking->old_commit, HUB_COMMIT_SIZE);
    if (!taking->is_in_place || journal.removed[0])
        status = store_journal_put(taking->store, &journal, taking->reason);
    if (status == STATUS_OK && !taking->is_in_place) {
        /* Without it others take the directory of the model for damaged. */
        status = hub_cache_directory(&taking->store->cache, journal.model_id, "snapshots", true,
                                     &snapshots, taking->reason);
        if (snapshots >= 0)
            (void)close(snapshots);
        if (status == STATUS_OK)
            status = hub_cache_directory(&taking->store->cache, journal.model_id, "blobs", true,
                                         &taking->blobs, taking->reason);
    }
    for (uint32_t i = 0; i < record->files.count && status == STATUS_OK; i++)
        status = take_file(taking, i);
    if (status != STATUS_OK)
        return status;
    record->revision = model_revision(record);
    const struct hash *used = taking->import->revision_in_use;
    if (used && !ID_IS_ZERO(*used) && !ID_EQUAL(*used, record->revision))
        return refuse(taking->reason, STATUS_EXISTS,
                      "an instance of %.100s exists, and these are not its files: end it with "
                      "`troupe delete`, or take them in under another name",
                      taking->import->model_id);
    if (!manifest->commit[0])
        model_commit(&record->revision, manifest->commit);
    status = taking->is_in_place ? judge(taking, taking->real) : put_into_cache(taking);
    if (status == STATUS_OK)
        status = model_chunks_name(manifest, taking->reason);
    if (status == STATUS_OK)
        status = model_manifest_write(taking->store->holdings, taking->store->owner, manifest,
                                      taking->reason);
    return status;
}

/* What stood under this name: it is replaced, or stays when this import fails. */
static void read_old(struct taking *taking)
{
    struct model_manifest *old = &taking->old;
    struct reason unread;
    if (model_manifest_read(taking->store->holdings, taking->import->model_id, old, &unread) !=
        STATUS_OK)
        return;
    if (old->is_made && !old->location)
        memcpy(taking->old_commit, old->commit, HUB_COMMIT_SIZE);
    taking->manifest.is_pinned = old->is_pinned;
    taking->manifest.used_ms = old->used_ms;
}

enum status model_store_import(struct model_store *store, const struct model_import *import,
                               struct model_record *record_out, struct reason *reason)
{
    struct taking taking = {.store = store, .import = import, .source = -1, .blobs = -1,
                            .reason = reason};
    struct model_card *card = NULL;
    char place[HUB_NAME_SIZE];
    struct hub_lock lock = {-1};
    struct reason unread;
    enum status status = hub_model_name(import->model_id, place, reason);
    if (status == STATUS_OK)
        status = model_card_read(import->source, MODEL_CARD_WITH_TOKENIZER, &card, reason);
    if (status == STATUS_OK)
        status = settle_place(&taking);
    if (status == STATUS_OK)
        status = choose_files(&taking, card);
    if (status == STATUS_OK && !taking.is_in_place && import->make_room)
        status = import->make_room(import->who, taking.bytes_total, reason);
    if (status == STATUS_OK && !taking.is_in_place)
        status = hub_cache_room_check(&store->cache, import->model_id, NULL, taking.bytes_total,
                                      reason);
    if (status == STATUS_OK)
        status = store_lock_model(store, import->model_id, STORE_WAIT_LONG_MS, import, &lock,
                                  reason);
    if (status == STATUS_OK)
        status = store_journal_settle(store, import->model_id, reason);
    if (status == STATUS_OK) {
        read_old(&taking);
        status = take_all(&taking);
        /* Forwards or backwards; what cannot be settled now is at the next start. */
        (void)!store_journal_settle(store, import->model_id, &unread);
    }
    if (status == STATUS_OK)
        model_manifest_take_record(&taking.manifest, record_out);
    hub_cache_unlock(&lock);
    model_card_free(card);
    if (taking.source >= 0)
        (void)close(taking.source);
    if (taking.blobs >= 0)
        (void)close(taking.blobs);
    memory_free(taking.partials);
    memory_free(taking.window);
    model_manifest_fini(&taking.old);
    model_manifest_fini(&taking.manifest);
    return status;
}
