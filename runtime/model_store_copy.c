/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_store_copy: how a model comes into the store: from a directory, or its small files from a
 * peer.
 */
#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/model_store.h"
#include "runtime/safetensors.h"
#include "runtime/store_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define COPY_SIZE ((size_t)1 << 20)
#define PROGRESS_STEP ((uint64_t)16 << 20)

struct copying {
    struct model_store *store;
    const struct model_import *import;
    struct model_manifest manifest;
    char partial[64];
    int directory;
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
static enum status copy_failed(struct copying *copying, const char *name)
{
    const int error = errno;
    if (error == ENOSPC)
        return refuse(copying->reason, STATUS_NO_SPACE,
                      "the disk of %.200s is full: %.80s needs %llu bytes in all; free some or "
                      "move the model store", copying->store->path, copying->import->model_id,
                      (unsigned long long)copying->bytes_total);
    return refuse(copying->reason, status_from_errno(error), "%.100s cannot be copied to %.200s: "
                  "%s", name, copying->store->path, strerror(error));
}

static void tell_progress(struct copying *copying)
{
    if (copying->import->progress &&
        (copying->bytes_have - copying->bytes_told >= PROGRESS_STEP ||
         copying->bytes_have == copying->bytes_total)) {
        copying->bytes_told = copying->bytes_have;
        copying->import->progress(copying->import->who, copying->bytes_have,
                                  copying->bytes_total);
    }
}

/* What is taken in: the files we can read, nothing else that lies in the directory. */
static enum status choose_files(struct copying *copying, const struct model_card *card)
{
    struct model_record *record = &copying->manifest.record;
    for (size_t i = 0; i < card->file_count; i++) {
        const struct model_card_file *file = &card->files[i];
        if (!model_file_name_is_sound(file->name)) {
            if (file->is_weight)
                return refuse(copying->reason, STATUS_INVALID,
                              "%.150s is no name for a weight file; rename it", file->name);
            continue;
        }
        if (!file->is_weight && model_file_is_weight_kind(file->name))
            continue; /* the model does not use it */
        if (!file->is_weight && file->size > SMALL_FILE_SIZE_MAX)
            return refuse(copying->reason, STATUS_TOO_LARGE,
                          "%.100s has %llu bytes, at most %llu are taken; remove it from the "
                          "directory", file->name, (unsigned long long)file->size,
                          (unsigned long long)SMALL_FILE_SIZE_MAX);
        if (record->files.count == MODEL_FILE_COUNT_MAX)
            return refuse(copying->reason, STATUS_TOO_LARGE, "the model has more than %d files",
                          MODEL_FILE_COUNT_MAX);
        struct file_entry *entry = record_list_push(&file_entry_type, RECORD_LIST(record->files),
                                                    NULL, MODEL_FILE_COUNT_MAX);
        if (!entry || !text_set(&entry->name, file->name))
            return no_memory(copying->reason);
        entry->size = file->size;
        entry->is_weight = file->is_weight;
        copying->bytes_total += file->size;
    }
    copying->manifest.stamps = memory_zeroed(record->files.count, sizeof(struct file_stamp));
    return copying->manifest.stamps ? STATUS_OK : no_memory(copying->reason);
}

static enum status changed(struct copying *copying, const char *name)
{
    return refuse(copying->reason, STATUS_STALE,
                  "%.100s changed while it was copied; wait until its writer is done and add the "
                  "model again", name);
}

static enum status copy_bytes(struct copying *copying, struct file_entry *entry, int from, int to)
{
    struct hash_stream stream;
    hash_init(&stream);
    for (uint64_t offset = 0; offset < entry->size;) {
        uint64_t left = entry->size - offset;
        size_t want = left < COPY_SIZE ? (size_t)left : COPY_SIZE;
        if (copying->import->is_cancelled && copying->import->is_cancelled(copying->import->who))
            return refuse(copying->reason, STATUS_CANCELLED, "taking in %.100s was interrupted",
                          copying->import->model_id);
        int64_t count = store_read_at(from, copying->window, want, offset);
        if (count < 0)
            return copy_failed(copying, entry->name);
        if (count != (int64_t)want)
            return changed(copying, entry->name);
        hash_update(&stream, copying->window, want);
        if (store_write_all(to, copying->window, want) != 0)
            return copy_failed(copying, entry->name);
        offset += want;
        copying->bytes_have += want;
        tell_progress(copying);
    }
    hash_final(&stream, &entry->digest);
    return STATUS_OK;
}

/* From the disk again: what was written must be what is there. */
static enum status read_back(struct copying *copying, struct file_entry *entry, int file,
                             struct file_stamp *stamp_out)
{
    struct hash digest;
    struct stat facts;
    if (store_sync(file) != 0)
        return copy_failed(copying, entry->name);
#ifdef POSIX_FADV_DONTNEED
    (void)posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
#endif
    enum status status = store_file_digest(file, entry->name, entry->size, &digest,
                                           copying->reason);
    if (status != STATUS_OK)
        return status;
    if (fstat(file, &facts) != 0)
        return copy_failed(copying, entry->name);
    if (!ID_EQUAL(digest, entry->digest))
        return refuse(copying->reason, STATUS_HASH_MISMATCH,
                      "%.100s reads back from %.200s otherwise than it was written; the disk is "
                      "not to be trusted", entry->name, copying->store->path);
    *stamp_out = file_stamp_of(&facts);
    return STATUS_OK;
}

static enum status copy_file(struct copying *copying, uint32_t at)
{
    struct file_entry *entry = &copying->manifest.record.files.items[at];
    struct stat before;
    struct stat after;
    int from = -1;
    uint64_t size = 0;
    enum status status = model_file_open(copying->import->source, entry->name, &from, &size,
                                         copying->reason);
    if (status != STATUS_OK)
        return status;
    int to = store_create_file(copying->directory, entry->name);
    if (to < 0 || fstat(from, &before) != 0)
        status = copy_failed(copying, entry->name);
    else if (size != entry->size)
        status = changed(copying, entry->name);
    if (status == STATUS_OK)
        status = copy_bytes(copying, entry, from, to);
    if (status == STATUS_OK && fstat(from, &after) != 0)
        status = copy_failed(copying, entry->name);
    if (status == STATUS_OK) {
        const struct file_stamp first = file_stamp_of(&before);
        const struct file_stamp last = file_stamp_of(&after);
        if (!file_stamp_equal(&first, &last))
            status = changed(copying, entry->name);
    }
    if (status == STATUS_OK)
        status = read_back(copying, entry, to, &copying->manifest.stamps[at]);
    (void)close(from);
    if (to >= 0)
        (void)close(to);
    return status;
}

static bool run_holds(const struct layer_run *run, const struct layer_run *next)
{
    struct layer_run one = *run;
    one.layers = next->layers;
    return record_equal(&layer_run_type, &one, next);
}

static bool add_layer(struct model_shape *shape, const struct model_card_layer *cost)
{
    const struct layer_run next = {.layers = 1,
                                   .units = cost->units,
                                   .heads = cost->cache.heads,
                                   .key_dim = cost->cache.key_dim,
                                   .value_dim = cost->cache.value_dim,
                                   .window = cost->cache.window,
                                   .state_floats = cost->cache.state_floats,
                                   .is_shared = cost->is_shared,
                                   .mixer_bytes = cost->mixer_bytes,
                                   .ffn_bytes = cost->ffn_bytes,
                                   .whole_bytes = cost->whole_bytes};
    struct layer_run *last =
        shape->runs.count ? &shape->runs.items[shape->runs.count - 1] : NULL;
    if (!last || !run_holds(last, &next))
        return record_list_push(&layer_run_type, RECORD_LIST(shape->runs), &next,
                                LAYER_COUNT_MAX) != NULL;
    last->layers++;
    return true;
}

enum status model_record_fill(const struct model_card *card, struct model_record *record,
                              struct reason *reason)
{
    struct model_shape *shape = &record->shape;
    if (card->layers > LAYER_COUNT_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "%u layers; at most %d", card->layers,
                      LAYER_COUNT_MAX);
    shape->layers = card->layers;
    shape->hidden = card->hidden;
    shape->heads = card->heads;
    /* What the placement shares, whatever the family calls it. */
    shape->kv_heads = card->mixer_units;
    shape->intermediate = card->ffn_columns;
    shape->ffn_unit = card->ffn_unit;
    shape->kv_unit = card->kv_unit;
    shape->vocab = card->vocab;
    shape->tied = card->tied;
    shape->context = card->context;
    shape->embedding_bytes = card->embedding_bytes;
    shape->head_bytes = card->head_bytes;
    shape->norm_bytes = card->other_bytes;
    shape->weight_bytes = card->weight_bytes;
    for (uint32_t i = 0; i < card->layers; i++)
        if (!add_layer(shape, &card->costs[i]))
            return no_memory(reason);
    return text_set(&shape->model_type, card->model_type) ? STATUS_OK : no_memory(reason);
}

/* The copy is judged like the source: whatever changed in between, what is stored is sound. */
static enum status judge_copy(struct copying *copying)
{
    char path[MODEL_STORE_PATH_SIZE + 64];
    struct model_card *card = NULL;
    (void)snprintf(path, sizeof(path), "%s/%s", copying->store->path, copying->partial);
    enum status status = model_card_read(path, MODEL_CARD_WITH_TOKENIZER, &card, copying->reason);
    if (status == STATUS_OK)
        status = model_record_fill(card, &copying->manifest.record, copying->reason);
    model_card_free(card);
    copying->manifest.record.revision = model_revision(&copying->manifest.record);
    return status;
}

static enum status copy_into_partial(struct copying *copying)
{
    struct model_record *record = &copying->manifest.record;
    enum status status = STATUS_OK;
    copying->window = memory_zeroed(COPY_SIZE, 1);
    if (!copying->window || !text_set(&record->model_id, copying->import->model_id))
        return no_memory(copying->reason);
    for (uint32_t i = 0; i < record->files.count && status == STATUS_OK; i++)
        status = copy_file(copying, i);
    if (status == STATUS_OK)
        status = judge_copy(copying);
    if (status == STATUS_OK)
        status = model_manifest_write(copying->directory, &copying->manifest, copying->reason);
    return status;
}

enum status model_store_import(struct model_store *store, const struct model_import *import,
                               struct model_record *record_out, struct reason *reason)
{
    struct copying copying = {.store = store, .import = import, .directory = -1, .reason = reason};
    struct model_card *card = NULL;
    char place[MODEL_DIRECTORY_NAME_SIZE];
    enum status status = model_directory_name(import->model_id, place, reason);
    if (status == STATUS_OK)
        status = model_card_read(import->source, MODEL_CARD_WITH_TOKENIZER, &card, reason);
    if (status == STATUS_OK)
        status = choose_files(&copying, card);
    if (status == STATUS_OK)
        status = store_room_check(store, import->model_id, copying.bytes_total, reason);
    if (status == STATUS_OK)
        status = store_partial_make(store, copying.partial, &copying.directory, reason);
    if (status == STATUS_OK) {
        status = copy_into_partial(&copying);
        if (status == STATUS_OK)
            status = store_partial_place(store, copying.partial, copying.directory,
                                         import->model_id, reason);
        if (status == STATUS_OK)
            (void)close(copying.directory);
        else
            store_partial_drop(store, copying.partial, copying.directory);
    }
    if (status == STATUS_OK) {
        *record_out = copying.manifest.record;
        memset(&copying.manifest.record, 0, sizeof(copying.manifest.record));
    }
    model_card_free(card);
    memory_free(copying.window);
    model_manifest_fini(&copying.manifest);
    return status;
}

/* ---- small files ---- */

/* Weights that are here and whole stay: the new directory gets a second name of the same file. */
static void keep_weights(struct model_store *store, struct model_manifest *manifest, int directory,
                         const char *place)
{
    struct model_manifest old = {0};
    struct reason unread;
    struct stat facts;
    int from = store_open_directory(store->directory, place);
    if (from < 0)
        return;
    if (model_manifest_read(from, &old, &unread) == STATUS_OK &&
        ID_EQUAL(old.record.revision, manifest->record.revision)) {
        for (uint32_t i = 0; i < old.record.files.count; i++) {
            const struct file_entry *entry = &old.record.files.items[i];
            if (!entry->is_weight || old.stamps[i].inode == 0 ||
                store_stat(from, entry->name, &facts) != 0 || !S_ISREG(facts.st_mode))
                continue;
            const struct file_stamp now = file_stamp_of(&facts);
            if (file_stamp_equal(&now, &old.stamps[i]) &&
                store_link(from, directory, entry->name) == 0)
                manifest->stamps[i] = now; /* the same revision has the same list of files */
        }
    }
    model_manifest_fini(&old);
    (void)close(from);
}

static enum status put_file(int directory, const struct file_entry *entry,
                            const struct bytes *content, struct file_stamp *stamp_out,
                            struct reason *reason)
{
    struct hash digest;
    struct stat facts;
    hash_of(content->items, content->count, &digest);
    if (content->count != entry->size || !ID_EQUAL(digest, entry->digest))
        return refuse(reason, STATUS_HASH_MISMATCH, "%.100s is not what its manifest says",
                      entry->name);
    int file = store_create_file(directory, entry->name);
    bool is_put = file >= 0 && store_write_all(file, content->items, content->count) == 0 &&
                  store_sync(file) == 0 && fstat(file, &facts) == 0;
    const int error = errno;
    if (file >= 0)
        (void)close(file);
    if (!is_put)
        return refuse(reason, status_from_errno(error), "%.100s cannot be stored: %s",
                      entry->name, strerror(error));
    *stamp_out = file_stamp_of(&facts);
    return STATUS_OK;
}

static enum status put_small(struct model_store *store, struct model_manifest *manifest,
                             const struct bytes *contents, int directory, struct reason *reason)
{
    char place[MODEL_DIRECTORY_NAME_SIZE];
    enum status status = model_directory_name(manifest->record.model_id, place, reason);
    for (uint32_t i = 0; i < manifest->record.files.count && status == STATUS_OK; i++)
        if (!manifest->record.files.items[i].is_weight)
            status = put_file(directory, &manifest->record.files.items[i], &contents[i],
                              &manifest->stamps[i], reason);
    if (status != STATUS_OK)
        return status;
    keep_weights(store, manifest, directory, place);
    return model_manifest_write(directory, manifest, reason);
}

static enum status small_record_check(const struct model_store *store,
                                      const struct model_record *record, struct reason *reason)
{
    uint64_t bytes = 0;
    const struct hash revision = model_revision(record);
    for (uint32_t i = 0; i < record->files.count; i++) {
        const struct file_entry *file = &record->files.items[i];
        if (!model_file_name_is_sound(file->name) ||
            (i > 0 && strcmp(record->files.items[i - 1].name, file->name) >= 0))
            return refuse(reason, STATUS_INVALID, "%.100s is no name for a file of a model",
                          text_or_empty(file->name));
        bytes += file->is_weight ? 0 : file->size;
    }
    if (!ID_EQUAL(revision, record->revision))
        return refuse(reason, STATUS_HASH_MISMATCH, "the list of files of %.100s does not match "
                      "its revision", text_or_empty(record->model_id));
    return store_room_check(store, text_or_empty(record->model_id), bytes, reason);
}

enum status model_store_put_small(struct model_store *store, const struct model_record *record,
                                  const struct bytes *contents, struct reason *reason)
{
    struct model_manifest manifest = {0};
    char partial[64];
    int directory = -1;
    enum status status = small_record_check(store, record, reason);
    if (status != STATUS_OK)
        return status;
    status = record_copy(&model_record_type, record, &manifest.record);
    if (status != STATUS_OK)
        return no_memory(reason);
    while (manifest.record.holders.count > 0)
        record_list_remove(&holder_record_type, RECORD_LIST(manifest.record.holders),
                           manifest.record.holders.count - 1);
    manifest.stamps = memory_zeroed(record->files.count, sizeof(struct file_stamp));
    status = manifest.stamps ? store_partial_make(store, partial, &directory, reason)
                             : no_memory(reason);
    if (status == STATUS_OK) {
        status = put_small(store, &manifest, contents, directory, reason);
        if (status == STATUS_OK)
            status = store_partial_place(store, partial, directory, record->model_id, reason);
        if (status == STATUS_OK)
            (void)close(directory);
        else
            store_partial_drop(store, partial, directory);
    }
    model_manifest_fini(&manifest);
    return status;
}

static enum status read_part(int directory, const struct file_entry *entry, uint64_t offset,
                             uint8_t *part_out, uint32_t *size_out, struct reason *reason)
{
    uint64_t left = entry->size - offset;
    size_t want = left < FILE_PART_SIZE ? (size_t)left : FILE_PART_SIZE;
    int file = store_open_file(directory, entry->name);
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
    char place[MODEL_DIRECTORY_NAME_SIZE];
    struct model_manifest manifest = {0};
    enum status status = model_directory_name(model_id, place, reason);
    if (status != STATUS_OK)
        return status;
    int directory = store_open_directory(store->directory, place);
    if (directory < 0)
        return refuse(reason, status_from_errno(errno), "%.100s is not in this store", model_id);
    status = model_manifest_read(directory, &manifest, reason);
    const struct file_entry *entry = NULL;
    for (uint32_t i = 0; status == STATUS_OK && i < manifest.record.files.count; i++)
        if (strcmp(manifest.record.files.items[i].name, name) == 0)
            entry = &manifest.record.files.items[i];
    if (status == STATUS_OK && !ID_EQUAL(manifest.record.revision, *revision))
        status = refuse(reason, STATUS_STALE, "another revision of %.100s is stored here",
                        model_id);
    else if (status == STATUS_OK && (!entry || entry->is_weight || offset > entry->size))
        status = refuse(reason, STATUS_REFUSED, "%.100s is no small file of %.100s", name,
                        model_id);
    if (status == STATUS_OK)
        status = read_part(directory, entry, offset, part_out, size_out, reason);
    if (status == STATUS_OK)
        *total_out = entry->size;
    model_manifest_fini(&manifest);
    (void)close(directory);
    return status;
}
