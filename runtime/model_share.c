/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/model_share.h"

#include "protocol/memory.h"
#include "runtime/chunk_digest.h"
#include "runtime/store_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEDGER_NAME_SIZE (ETAG_SIZE + 16)
#define SHARE_FILE_SIZE_MAX ((uint64_t)1 << 43)

_Static_assert(LEDGER_CHUNK_SIZE == CHUNK_SIZE, "chunks of a download are those of a manifest");

/* ---- opening ---- */

static enum status open_file(struct model_share *share, const struct download_file *file,
                             struct reason *reason)
{
    struct share_file *made = &share->files[share->file_count];
    const uint64_t chunks = chunks_of_size(file->size);
    if (etag_kind_of(text_or_empty(file->etag)) == ETAG_NONE || file->size > SHARE_FILE_SIZE_MAX ||
        chunks > CHUNK_COUNT_MAX - share->count)
        return refuse(reason, STATUS_MALFORMED, "the list of files of %.100s is not to be trusted",
                      share->model_id);
    enum status status = chunk_ledger_init(&made->ledger, file->etag, file->size, reason);
    if (status != STATUS_OK)
        return status;
    made->partial = made->ledger_file = -1;
    made->first = share->count;
    share->count += (uint32_t)chunks;
    share->file_count++;
    return STATUS_OK;
}

enum status model_share_open(const struct model_store *store,
                             const struct download_record *download, struct model_share *share_out,
                             struct reason *reason)
{
    struct model_share share = {.store = store, .opened = -1};
    enum status status = STATUS_OK;
    if (!model_id_is_sound(text_or_empty(download->model_id)))
        return refuse(reason, STATUS_MALFORMED, "%.100s is no name of a model",
                      text_or_empty(download->model_id));
    (void)snprintf(share.model_id, sizeof(share.model_id), "%s", download->model_id);
    share.files = memory_zeroed((size_t)download->files.count + 1, sizeof(*share.files));
    if (!share.files)
        status = refuse(reason, STATUS_NO_MEMORY, "no memory for the files of a download");
    for (uint32_t i = 0; i < download->files.count && status == STATUS_OK; i++)
        status = open_file(&share, &download->files.items[i], reason);
    share.have = status == STATUS_OK ? memory_zeroed(share.count / 8 + 1, 1) : NULL;
    if (status == STATUS_OK && !share.have)
        status = refuse(reason, STATUS_NO_MEMORY, "no memory for the files of a download");
    if (status == STATUS_OK)
        *share_out = share;
    else
        model_share_close(&share);
    return status;
}

void model_share_close(struct model_share *share)
{
    for (uint32_t i = 0; i < share->file_count; i++) {
        model_share_yield(share, i);
        chunk_ledger_fini(&share->files[i].ledger);
    }
    if (share->files && share->opened >= 0)
        (void)close(share->opened);
    memory_free(share->files);
    memory_free(share->have);
    memset(share, 0, sizeof(*share));
}

/* ---- looking ---- */

static void mark(struct model_share *share, const struct share_file *file)
{
    for (uint32_t i = 0; i < file->ledger.chunk_count; i++) {
        if (file->is_placed || file->ledger.states[i] != CHUNK_ABSENT)
            chunk_add(share->have, file->first + i);
        else
            chunk_remove(share->have, file->first + i);
    }
}

static int open_ledger(const struct model_share *share, const struct share_file *file,
                       bool for_writing)
{
    char name[LEDGER_NAME_SIZE];
    (void)snprintf(name, sizeof(name), "%s.ledger", file->ledger.etag);
    return for_writing ? store_open_there(share->store->holdings, name)
                       : store_open_file(share->store->holdings, name);
}

/* Forgets what the ledger said. */
static void forget(struct share_file *file)
{
    file->ledger_read = 0;
    for (uint32_t i = 0; i < file->ledger.chunk_count; i++)
        chunk_ledger_forget(&file->ledger, i);
}

static void begin_anew(struct share_file *file)
{
    file->was_reset = file->was_reset || file->ledger_read > LEDGER_HEAD_SIZE;
    forget(file);
}

static void take_records(struct share_file *file, int ledger, uint64_t size)
{
    uint8_t bytes[LEDGER_RECORD_SIZE * 64];
    while (file->ledger_read + LEDGER_RECORD_SIZE <= size) {
        const int64_t got = store_read_at(ledger, bytes, sizeof(bytes), file->ledger_read);
        const size_t sound = got > 0 ? chunk_ledger_take(&file->ledger, bytes, (size_t)got) : 0;
        file->ledger_read += sound;
        if (sound == 0)
            return;
    }
}

static void read_ledger(struct model_share *share, struct share_file *file)
{
    uint8_t head[LEDGER_HEAD_SIZE];
    uint8_t expected[LEDGER_HEAD_SIZE];
    struct stat facts;
    const int ledger = open_ledger(share, file, false);
    if (ledger < 0 || fstat(ledger, &facts) != 0) {
        if (ledger >= 0)
            (void)close(ledger);
        begin_anew(file);
        return;
    }
    if ((uint64_t)facts.st_size < file->ledger_read)
        begin_anew(file);
    chunk_ledger_head(&file->ledger, expected);
    if (file->ledger_read == 0 &&
        store_read_at(ledger, head, sizeof(head), 0) == (int64_t)sizeof(head) &&
        memcmp(head, expected, sizeof(head)) == 0)
        file->ledger_read = LEDGER_HEAD_SIZE;
    if (file->ledger_read > 0)
        take_records(file, ledger, (uint64_t)facts.st_size);
    (void)close(ledger);
}

static void look_at(struct model_share *share, struct share_file *file)
{
    struct reason unread;
    const enum hub_blob state = hub_cache_blob_state(&share->store->cache, share->model_id,
                                                     file->ledger.etag, file->ledger.file_size,
                                                     &unread);
    file->is_placed = state == HUB_BLOB_WHOLE;
    if (state == HUB_BLOB_PARTIAL)
        read_ledger(share, file);
    else if (file->is_placed)
        forget(file); /* a chunk may have been replaced since: its digest would be another's */
    else
        begin_anew(file);
    mark(share, file);
}

void model_share_look(struct model_share *share)
{
    for (uint32_t i = 0; i < share->file_count; i++)
        if (!share->files[i].is_placed)
            look_at(share, &share->files[i]);
}

static void take_in_place(struct model_share *share, const struct model_manifest *manifest)
{
    for (uint32_t i = 0; i < share->file_count; i++) {
        struct share_file *file = &share->files[i];
        for (uint32_t k = 0; k < manifest->record.files.count && !file->is_placed; k++) {
            const struct file_entry *entry = &manifest->record.files.items[k];
            file->is_placed = file->is_in_place =
                strcmp(text_or_empty(entry->etag), file->ledger.etag) == 0 &&
                entry->size == file->ledger.file_size && manifest->files[k].stamp.inode != 0;
        }
        if (file->is_in_place) {
            forget(file);
            mark(share, file);
        }
    }
}

void model_share_look_everywhere(struct model_share *share)
{
    char name[HOLDING_NAME_SIZE];
    struct model_manifest manifest = {0};
    struct reason unread;
    struct stat facts;
    model_share_look(share);
    if (model_holding_name(share->model_id, name, &unread) != STATUS_OK ||
        fstatat(share->store->holdings, name, &facts, AT_SYMLINK_NOFOLLOW) != 0)
        return;
    const struct file_stamp now = file_stamp_of(&facts);
    if (file_stamp_equal(&now, &share->holding))
        return;
    share->holding = now;
    if (model_manifest_read(share->store->holdings, share->model_id, &manifest, &unread) ==
        STATUS_OK) {
        if (manifest.location)
            take_in_place(share, &manifest);
        model_manifest_fini(&manifest);
    }
}

bool model_share_place(const struct model_share *share, uint32_t chunk,
                       struct chunk_place *place_out)
{
    for (uint32_t i = 0; i < share->file_count; i++) {
        const struct share_file *file = &share->files[i];
        if (chunk < file->first || chunk - file->first >= file->ledger.chunk_count)
            continue;
        *place_out = (struct chunk_place){i, (uint64_t)(chunk - file->first) * LEDGER_CHUNK_SIZE,
                                          chunk_size_of(&file->ledger, chunk - file->first)};
        return true;
    }
    return false;
}

void model_share_held(const struct model_share *share, bool is_strict, uint8_t *set_out)
{
    memcpy(set_out, share->have, share->count / 8 + 1);
    for (uint32_t i = 0; i < share->file_count && is_strict; i++)
        for (uint32_t k = 0; k < share->files[i].ledger.chunk_count; k++)
            if (!share->files[i].is_placed)
                chunk_remove(set_out, share->files[i].first + k);
}

/* ---- reading ---- */

static int open_for_reading(const struct model_share *share, const struct share_file *file)
{
    struct reason unread;
    uint64_t size = 0;
    int opened = -1;
    if (hub_cache_blob_open(&share->store->cache, share->model_id, file->ledger.etag, &opened,
                            &size, &unread) == STATUS_OK)
        return opened;
    return hub_cache_partial_find(&share->store->cache, share->model_id, file->ledger.etag, &opened,
                                  &unread) == STATUS_OK
               ? opened
               : -1;
}

/* Stays open: to find it the holding is read. */
static int open_in_place(struct model_share *share, uint32_t file)
{
    struct reason unread;
    if (share->opened >= 0 && share->opened_file == file)
        return share->opened;
    if (share->opened >= 0)
        (void)close(share->opened);
    share->opened_file = file;
    if (model_store_open_in_place(share->store, share->model_id, share->files[file].ledger.etag,
                                  &share->opened, &unread) != STATUS_OK)
        share->opened = -1;
    return share->opened;
}

enum status model_share_read_part(struct model_share *share, uint32_t chunk, uint32_t offset,
                                  uint32_t size, uint8_t *bytes_out)
{
    struct chunk_place place;
    if (!model_share_place(share, chunk, &place) || !chunk_has(share->have, chunk) ||
        offset > place.size || size > place.size - offset)
        return STATUS_NOT_FOUND;
    const bool is_in_place = share->files[place.file].is_in_place;
    const int opened = is_in_place ? open_in_place(share, place.file)
                                   : open_for_reading(share, &share->files[place.file]);
    if (opened < 0)
        return STATUS_NOT_FOUND;
    const int64_t got = store_read_at(opened, bytes_out, size, place.offset + offset);
    if (!is_in_place)
        (void)close(opened);
    return got == (int64_t)size ? STATUS_OK : STATUS_DAMAGED;
}

bool model_share_digest(const struct model_share *share, uint32_t chunk, struct hash *digest_out)
{
    struct chunk_place place;
    if (!model_share_place(share, chunk, &place))
        return false;
    const struct share_file *file = &share->files[place.file];
    if (file->ledger.states[chunk - file->first] == CHUNK_ABSENT)
        return false;
    *digest_out = file->ledger.hashes[chunk - file->first];
    return true;
}

/* ---- writing ---- */

enum status model_share_begin(struct model_share *share, uint32_t file, struct reason *reason)
{
    struct share_file *begun = &share->files[file];
    const struct hub_cache *cache = &share->store->cache;
    struct stat facts;
    if (begun->partial >= 0)
        return STATUS_OK;
    enum status status = hub_cache_partial_find(cache, share->model_id, begun->ledger.etag,
                                                &begun->partial, reason);
    if (status != STATUS_OK)
        return status;
    if (store_lock(begun->partial) != 0)
        status = refuse(reason, STATUS_BUSY, "the downloader writes it");
    else if (!hub_cache_partial_is(cache, share->model_id, begun->ledger.etag, begun->partial) ||
             fstat(begun->partial, &facts) != 0 ||
             (uint64_t)facts.st_size != begun->ledger.file_size)
        status = refuse(reason, STATUS_STALE, "it is another file now");
    if (status == STATUS_OK) {
        begun->ledger_file = open_ledger(share, begun, true);
        if (begun->ledger_file < 0)
            status = refuse(reason, STATUS_NOT_FOUND, "it has no ledger yet");
    }
    if (status == STATUS_OK)
        look_at(share, begun); /* nobody else adds to it from here on */
    if (status == STATUS_OK && begun->ledger_read == 0)
        status = refuse(reason, STATUS_NOT_FOUND, "its ledger has not begun");
    if (status != STATUS_OK)
        model_share_yield(share, file);
    return status;
}

void model_share_yield(struct model_share *share, uint32_t file)
{
    struct share_file *left = &share->files[file];
    if (left->partial >= 0)
        (void)close(left->partial);
    if (left->ledger_file >= 0)
        (void)close(left->ledger_file);
    left->partial = left->ledger_file = -1;
}

static bool write_at(int file, const uint8_t *bytes, size_t size, uint64_t offset)
{
    while (size > 0) {
        const ssize_t count = pwrite(file, bytes, size, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        bytes += count;
        offset += (uint64_t)count;
        size -= (size_t)count;
    }
    return true;
}

enum status model_share_put(struct model_share *share, uint32_t chunk, const uint8_t *bytes,
                            const struct hash *told, struct reason *reason)
{
    uint8_t record[LEDGER_RECORD_SIZE];
    struct chunk_place place;
    struct hash digest;
    if (!model_share_place(share, chunk, &place))
        return refuse(reason, STATUS_MALFORMED, "there is no chunk %u", (unsigned)chunk);
    struct share_file *file = &share->files[place.file];
    if (file->partial < 0 || chunk_has(share->have, chunk))
        return STATUS_OK; /* the downloader has taken it over */
    chunk_digest_of(bytes, place.size, &digest);
    if (!ID_EQUAL(digest, *told))
        return refuse(reason, STATUS_HASH_MISMATCH, "chunk %u of %.100s is wrong", (unsigned)chunk,
                      share->model_id);
    if (!write_at(file->partial, bytes, place.size, place.offset))
        return refuse(reason, status_from_errno(errno), "%.100s cannot be stored: %s",
                      share->model_id, strerror(errno));
    chunk_ledger_add(&file->ledger, chunk - file->first, &digest, record);
    if (!write_at(file->ledger_file, record, sizeof(record), file->ledger_read))
        return refuse(reason, status_from_errno(errno), "the ledger of %.100s: %s",
                      share->model_id, strerror(errno));
    file->ledger_read += sizeof(record);
    chunk_add(share->have, chunk);
    return STATUS_OK;
}
