/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_incoming.h"

#include "protocol/memory.h"
#include "runtime/bytes.h"
#include "runtime/store_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW_SIZE ((uint32_t)1 << 20)
#define LEDGER_NAME_SIZE 96

static void ledger_name(const char *etag, char name_out[LEDGER_NAME_SIZE])
{
    (void)snprintf(name_out, LEDGER_NAME_SIZE, "%s.ledger", etag);
}

static enum status failed(const struct hub_incoming *blob, const char *what, struct reason *reason)
{
    const int error = errno;
    return refuse(reason, status_from_errno(error), "%s: %s: %s", blob->file->path, what,
                  strerror(error));
}

static bool write_at(int file, const uint8_t *bytes, size_t size, uint64_t offset)
{
    while (size > 0) {
        const ssize_t count = pwrite(file, bytes, size, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return false;
        bytes += count;
        offset += (uint64_t)count;
        size -= (size_t)count;
    }
    return true;
}

static bool read_at(int file, uint8_t *bytes, size_t size, uint64_t offset)
{
    while (size > 0) {
        const ssize_t count = pread(file, bytes, size, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0) {
            if (count == 0)
                errno = EIO;
            return false;
        }
        bytes += count;
        offset += (uint64_t)count;
        size -= (size_t)count;
    }
    return true;
}

/* ---- opening ---- */

static enum status busy(const struct hub_incoming *blob, struct reason *reason)
{
    return refuse(reason, STATUS_BUSY, "%s is being written by another process",
                  blob->file->path);
}

static enum status ledger_begin(struct hub_incoming *blob, struct reason *reason)
{
    uint8_t head[LEDGER_HEAD_SIZE];
    chunk_ledger_head(&blob->ledger, head);
    if (ftruncate(blob->ledger_file, 0) != 0 || !write_at(blob->ledger_file, head, sizeof(head), 0))
        return failed(blob, "its ledger cannot be written", reason);
    return STATUS_OK;
}

static enum status ledger_open(struct hub_incoming *blob, struct reason *reason)
{
    char name[LEDGER_NAME_SIZE];
    struct stat facts;
    uint8_t *bytes = NULL;
    size_t sound = 0;
    ledger_name(blob->file->etag, name);
    blob->ledger_file =
        openat(blob->place->ledgers, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (blob->ledger_file < 0 || fstat(blob->ledger_file, &facts) != 0)
        return failed(blob, "its ledger cannot be opened", reason);
    const size_t size_max =
        LEDGER_HEAD_SIZE + (size_t)LEDGER_RECORD_SIZE * 4 * ((size_t)blob->ledger.chunk_count + 1);
    const size_t size = (uint64_t)facts.st_size > size_max ? 0 : (size_t)facts.st_size;
    if (size > 0) {
        bytes = memory_zeroed(1, size);
        if (!bytes)
            return refuse(reason, STATUS_NO_MEMORY, "no memory for the ledger of %s",
                          blob->file->path);
        if (read_at(blob->ledger_file, bytes, size, 0))
            sound = chunk_ledger_recover(&blob->ledger, bytes, size);
        memory_free(bytes);
    }
    blob->ledger_read = sound ? sound : LEDGER_HEAD_SIZE;
    if (!blob->is_writer && sound == 0) {
        (void)close(blob->ledger_file);
        blob->ledger_file = -1;
        return busy(blob, reason);
    }
    if (!blob->is_writer)
        return STATUS_OK;
    if (sound == 0)
        return ledger_begin(blob, reason);
    if (ftruncate(blob->ledger_file, (off_t)sound) != 0)
        return failed(blob, "its ledger cannot be cut", reason);
    return STATUS_OK;
}

/* The records of the chunks that are here, and no others. */
static enum status ledger_again(struct hub_incoming *blob, struct reason *reason)
{
    uint8_t record[LEDGER_RECORD_SIZE];
    uint64_t end = LEDGER_HEAD_SIZE;
    enum status status = ledger_begin(blob, reason);
    for (uint32_t i = 0; i < blob->ledger.chunk_count && status == STATUS_OK; i++) {
        if (blob->ledger.states[i] != CHUNK_HERE)
            continue;
        const struct hash hash = blob->ledger.hashes[i];
        chunk_ledger_add(&blob->ledger, i, &hash, record);
        if (!write_at(blob->ledger_file, record, sizeof(record), end))
            return failed(blob, "its ledger cannot be written", reason);
        end += sizeof(record);
    }
    blob->ledger_read = end;
    blob->has_judged = false;
    return status;
}

/* What the transferer has added.  It checked each chunk itself, a moment ago. */
static void ledger_tail(struct hub_incoming *blob)
{
    uint8_t bytes[LEDGER_RECORD_SIZE * 64];
    ssize_t got;
    size_t sound = 0;
    do {
        got = pread(blob->ledger_file, bytes, sizeof(bytes), (off_t)blob->ledger_read);
        sound = got > 0 ? chunk_ledger_take(&blob->ledger, bytes, (size_t)got) : 0;
        blob->ledger_read += sound;
        for (size_t at = 0; at < sound; at += LEDGER_RECORD_SIZE) {
            const uint32_t chunk = get_u32(bytes + at);
            chunk_ledger_trust(&blob->ledger, chunk);
            blob->bytes_fed += chunk_size_of(&blob->ledger, chunk);
            blob->was_fed = true;
        }
    } while (sound == sizeof(bytes));
}

/* Between the two who may write, when nobody here works on it. */
static enum status hand_over(struct hub_incoming *blob, struct reason *reason)
{
    if (blob->is_writer && blob->has_judged) {
        enum status status = ledger_again(blob, reason);
        if (status != STATUS_OK)
            return status;
    }
    if (blob->is_writer && blob->is_fed && blob->ledger.here_count < blob->ledger.chunk_count) {
        const off_t end = lseek(blob->ledger_file, 0, SEEK_END);
        blob->ledger_read = end > 0 ? (uint64_t)end : LEDGER_HEAD_SIZE;
        store_unlock(blob->partial);
        blob->is_writer = false;
    }
    if (blob->is_writer)
        return STATUS_OK;
    ledger_tail(blob);
    if ((!blob->is_fed || blob->ledger.here_count == blob->ledger.chunk_count) &&
        store_lock(blob->partial) == 0) {
        blob->is_writer = true;
        ledger_tail(blob);
    }
    return STATUS_OK;
}

void hub_incoming_feed(struct hub_incoming *blob, bool is_fed)
{
    blob->is_fed = is_fed && !hub_incoming_is_misfed(blob);
}

bool hub_incoming_is_misfed(const struct hub_incoming *blob)
{
    return blob->refeeds >= HUB_REFEEDS_MAX;
}

static enum status whole_begin(struct hub_incoming *blob, struct reason *reason)
{
    etag_stream_close(blob->whole);
    blob->whole = NULL;
    blob->hashed = blob->hashed_in_chunk = 0;
    hash_init(&blob->digest);
    return etag_stream_open(etag_kind_of(blob->file->etag), blob->file->size, &blob->whole, reason);
}

/* What lies in the cache under that name already: right, or to be replaced. */
static enum status check_present(struct hub_incoming *blob, struct reason *reason)
{
    const struct hub_place *place = blob->place;
    struct reason why = {""};
    char etag[ETAG_SIZE];
    uint64_t size = 0;
    int file = -1;
    if (hub_cache_blob_state(place->cache, place->model_id, blob->file->etag, blob->file->size,
                             &why) != HUB_BLOB_WHOLE ||
        hub_cache_blob_open(place->cache, place->model_id, blob->file->etag, &file, &size, &why) !=
            STATUS_OK)
        return STATUS_OK;
    enum status status = whole_begin(blob, reason);
    bool is_read = status == STATUS_OK && size == blob->file->size;
    for (uint64_t at = 0; is_read && at < size; at += WINDOW_SIZE) {
        const size_t count = size - at < WINDOW_SIZE ? (size_t)(size - at) : WINDOW_SIZE;
        is_read = read_at(file, blob->window, count, at);
        if (is_read)
            etag_stream_update(blob->whole, blob->window, count);
    }
    if (is_read) {
        status = etag_stream_final(blob->whole, etag, reason);
        blob->is_placed = status == STATUS_OK && strcmp(etag, blob->file->etag) == 0;
    }
    (void)close(file);
    if (blob->is_placed)
        hub_incoming_drop(place, blob->file->etag);
    return status;
}

/* Who writes it has the ledger, and would not learn of a chunk that is judged here: what the ledger
 * names counts, and is read when the whole turns out to be wrong. */
static void trust_listed(struct hub_incoming *blob)
{
    for (uint32_t i = 0; i < blob->ledger.chunk_count; i++) {
        if (blob->ledger.states[i] != CHUNK_LISTED)
            continue;
        chunk_ledger_trust(&blob->ledger, i);
        blob->is_unread = true;
    }
}

static enum status prepare(struct hub_incoming *blob, bool follows, struct reason *reason)
{
    const struct hub_place *place = blob->place;
    enum status status = hub_cache_partial_open(place->cache, place->model_id, blob->file->etag,
                                                blob->file->size, &blob->partial, reason);
    blob->is_writer = status == STATUS_OK && store_lock(blob->partial) == 0;
    if (status == STATUS_OK && !blob->is_writer && !follows)
        status = busy(blob, reason);
    if (status == STATUS_OK)
        status = ledger_open(blob, reason);
    if (status == STATUS_OK)
        status = whole_begin(blob, reason);
    for (uint32_t i = 0; status == STATUS_OK && i < blob->ledger.chunk_count; i++)
        if (blob->ledger.states[i] == CHUNK_LISTED)
            blob->bytes_kept += chunk_size_of(&blob->ledger, i);
    if (status == STATUS_OK && !blob->is_writer)
        trust_listed(blob);
    return status;
}

static enum status open_blob(struct hub_incoming *blob, const struct hub_file *file,
                             const struct hub_place *place, uint64_t lock_timeout_ms, bool follows,
                             struct reason *reason)
{
    *blob = (struct hub_incoming){
        .file = file, .place = place, .partial = -1, .ledger_file = -1, .lock = {-1}};
    enum status status = hub_cache_lock(place->cache, place->model_id, file->etag, lock_timeout_ms,
                                        &blob->lock, reason);
    if (status != STATUS_OK)
        return status;
    blob->is_open = true;
    status = chunk_ledger_init(&blob->ledger, file->etag, file->size, reason);
    blob->window = memory_zeroed(1, WINDOW_SIZE);
    blob->taken = memory_zeroed(blob->ledger.chunk_count, 1);
    blob->doubts = memory_zeroed(blob->ledger.chunk_count, 1);
    if (status == STATUS_OK && (!blob->window || !blob->taken || !blob->doubts))
        status = refuse(reason, STATUS_NO_MEMORY, "no memory to fetch %s", file->path);
    if (status == STATUS_OK)
        status = check_present(blob, reason);
    if (status == STATUS_OK && !blob->is_placed)
        status = prepare(blob, follows, reason);
    if (status != STATUS_OK)
        hub_incoming_close(blob);
    return status;
}

enum status hub_incoming_open(struct hub_incoming *blob, const struct hub_file *file,
                              const struct hub_place *place, uint64_t lock_timeout_ms,
                              struct reason *reason)
{
    return open_blob(blob, file, place, lock_timeout_ms, false, reason);
}

enum status hub_incoming_follow(struct hub_incoming *blob, const struct hub_file *file,
                                const struct hub_place *place, struct reason *reason)
{
    return open_blob(blob, file, place, 0, true, reason);
}

/* Nothing to go on with: what was set aside is given back. */
static bool is_bare(const struct hub_incoming *blob)
{
    if (blob->is_placed || blob->partial < 0)
        return false;
    for (uint32_t i = 0; i < blob->ledger.chunk_count; i++)
        if (blob->ledger.states[i] != CHUNK_ABSENT)
            return false;
    return true;
}

void hub_incoming_close(struct hub_incoming *blob)
{
    if (!blob->is_open)
        return;
    if (blob->ledger_file >= 0 && !blob->is_writer && store_lock(blob->partial) == 0) {
        blob->is_writer = true;
        ledger_tail(blob);
    }
    if (blob->is_writer && is_bare(blob) && !blob->is_set_aside)
        hub_incoming_drop(blob->place, blob->file->etag);
    if (blob->partial >= 0)
        (void)close(blob->partial);
    if (blob->ledger_file >= 0)
        (void)close(blob->ledger_file);
    etag_stream_close(blob->whole);
    chunk_ledger_fini(&blob->ledger);
    memory_free(blob->window);
    memory_free(blob->taken);
    memory_free(blob->doubts);
    hub_cache_unlock(&blob->lock);
    blob->is_open = false;
    blob->whole = NULL;
    blob->window = blob->taken = blob->doubts = NULL;
    blob->partial = blob->ledger_file = -1;
}

enum status hub_incoming_set_aside(const struct hub_file *file, const struct hub_place *place,
                                   struct reason *reason)
{
    struct hub_incoming blob;
    const enum status status = hub_incoming_open(&blob, file, place, 0, reason);
    if (status != STATUS_OK)
        return status == STATUS_BUSY ? STATUS_OK : status;
    blob.is_set_aside = true;
    hub_incoming_close(&blob);
    return STATUS_OK;
}

void hub_incoming_drop(const struct hub_place *place, const char *etag)
{
    char name[LEDGER_NAME_SIZE];
    struct reason why;
    ledger_name(etag, name);
    (void)unlinkat(place->ledgers, name, 0);
    (void)!hub_cache_partial_drop(place->cache, place->model_id, etag, &why);
}

/* ---- chunks ---- */

/* A listed chunk is judged first: most often it is right. */
static bool is_wanted(const struct hub_incoming *blob, uint32_t chunk)
{
    if (blob->taken[chunk])
        return false;
    if (!blob->is_searching)
        return blob->ledger.states[chunk] == CHUNK_ABSENT;
    return blob->doubts[chunk] == DOUBT_DIFFERS ||
           (blob->doubts[chunk] == DOUBT_OPEN && !blob->has_found);
}

bool hub_incoming_take(struct hub_incoming *blob, uint32_t *chunk_out)
{
    if (blob->is_placed || blob->is_fed || !blob->is_writer)
        return false;
    for (uint32_t i = 0; i < blob->ledger.chunk_count; i++)
        if (is_wanted(blob, i)) {
            blob->taken[i] = 1;
            *chunk_out = i;
            return true;
        }
    return false;
}

void hub_incoming_give_back(struct hub_incoming *blob, uint32_t chunk)
{
    blob->taken[chunk] = 0;
}

bool hub_incoming_is_spared(const struct hub_incoming *blob, uint32_t chunk)
{
    return blob->is_searching && blob->has_found && blob->doubts[chunk] != DOUBT_DIFFERS;
}

static bool is_doubted(const struct hub_incoming *blob, uint32_t chunk)
{
    return blob->is_searching &&
           (blob->doubts[chunk] == DOUBT_OPEN || blob->doubts[chunk] == DOUBT_DIFFERS);
}

static bool may_write(const struct hub_incoming *blob, uint32_t chunk)
{
    return blob->is_searching ? is_doubted(blob, chunk)
                              : blob->ledger.states[chunk] == CHUNK_ABSENT;
}

void hub_cursor_set(struct hub_cursor *cursor, const struct hub_incoming *blob, uint32_t chunk)
{
    cursor->position = (uint64_t)chunk * LEDGER_CHUNK_SIZE;
    cursor->is_hashing = may_write(blob, chunk);
    chunk_digest_init(&cursor->digest);
}

static enum status chunk_came(struct hub_incoming *blob, uint32_t chunk, const struct hash *hash,
                              struct reason *reason)
{
    uint8_t record[LEDGER_RECORD_SIZE];
    if (is_doubted(blob, chunk)) {
        const bool is_same = blob->doubts[chunk] == DOUBT_OPEN;
        blob->doubts[chunk] = is_same ? DOUBT_NONE : DOUBT_REPLACED;
        blob->doubted_count--;
        if (is_same)
            return STATUS_OK;
    }
    chunk_ledger_add(&blob->ledger, chunk, hash, record);
    const off_t end = lseek(blob->ledger_file, 0, SEEK_END);
    if (end < 0 || !write_at(blob->ledger_file, record, sizeof(record), (uint64_t)end))
        return failed(blob, "its ledger cannot be written", reason);
#if defined(__linux__)
    /* The disk begins now, so that the sync at the end has little to wait for. */
    (void)sync_file_range(blob->partial, (off_t)((uint64_t)chunk * LEDGER_CHUNK_SIZE),
                          chunk_size_of(&blob->ledger, chunk), SYNC_FILE_RANGE_WRITE);
#endif
    return STATUS_OK;
}

static uint64_t end_of_chunk(const struct hub_incoming *blob, uint32_t chunk)
{
    return (uint64_t)chunk * LEDGER_CHUNK_SIZE + chunk_size_of(&blob->ledger, chunk);
}

/* What is the same is not written: a connection that stops amid a chunk leaves it as it was. */
static enum status compare(struct hub_incoming *blob, uint32_t chunk, const uint8_t *bytes,
                           size_t size, uint64_t position, struct reason *reason)
{
    while (size > 0) {
        const size_t part = size < WINDOW_SIZE ? size : WINDOW_SIZE;
        if (!read_at(blob->partial, blob->window, part, position))
            return failed(blob, "it cannot be read", reason);
        if (memcmp(blob->window, bytes, part) != 0) {
            blob->has_found = true;
            blob->doubts[chunk] = DOUBT_DIFFERS;
            if (!write_at(blob->partial, bytes, part, position))
                return failed(blob, "it cannot be written", reason);
        }
        bytes += part;
        position += part;
        size -= part;
    }
    return STATUS_OK;
}

/* Of what came, the part in the chunk where the cursor stands. */
static enum status write_part(struct hub_incoming *blob, struct hub_cursor *cursor,
                              const uint8_t *bytes, size_t size, struct reason *reason)
{
    const uint32_t chunk = (uint32_t)(cursor->position / LEDGER_CHUNK_SIZE);
    const uint64_t chunk_end = end_of_chunk(blob, chunk);
    struct hash hash;
    enum status status = STATUS_OK;
    /* Another connection was faster: what has been hashed must not be written again. */
    cursor->is_hashing = cursor->is_hashing && may_write(blob, chunk);
    if (cursor->is_hashing) {
        if (blob->is_searching)
            status = compare(blob, chunk, bytes, size, cursor->position, reason);
        else if (!write_at(blob->partial, bytes, size, cursor->position))
            status = failed(blob, "it cannot be written", reason);
        chunk_digest_update(&cursor->digest, bytes, size);
    }
    cursor->position += size;
    if (cursor->position < chunk_end || status != STATUS_OK)
        return status;
    if (cursor->is_hashing) {
        chunk_digest_final(&cursor->digest, &hash);
        status = chunk_came(blob, chunk, &hash, reason);
    }
    chunk_digest_init(&cursor->digest);
    if (cursor->position < blob->file->size)
        cursor->is_hashing = may_write(blob, chunk + 1);
    return status;
}

enum status hub_incoming_write(struct hub_incoming *blob, struct hub_cursor *cursor,
                               const uint8_t *bytes, size_t size, struct reason *reason)
{
    enum status status = STATUS_OK;
    while (size > 0 && status == STATUS_OK) {
        if (cursor->position >= blob->file->size)
            return refuse(reason, STATUS_TOO_LARGE, "the hub sends more bytes than %s has",
                          blob->file->path);
        const uint32_t chunk = (uint32_t)(cursor->position / LEDGER_CHUNK_SIZE);
        const uint64_t left = end_of_chunk(blob, chunk) - cursor->position;
        const size_t part = size < left ? size : (size_t)left;
        status = write_part(blob, cursor, bytes, part, reason);
        bytes += part;
        size -= part;
    }
    return status;
}

/* ---- the whole ---- */

static void judge_listed(struct hub_incoming *blob, uint32_t chunk)
{
    struct hash hash;
    chunk_digest_final(&blob->listed, &hash);
    chunk_ledger_judge(&blob->ledger, chunk, &hash);
    blob->has_judged = blob->has_judged || blob->ledger.states[chunk] != CHUNK_HERE;
    if (blob->ledger.states[chunk] != CHUNK_HERE)
        blob->bytes_kept -= chunk_size_of(&blob->ledger, chunk);
}

/* Reads a listed chunk apart from the whole: its bytes may be wrong. */
static enum status read_listed(struct hub_incoming *blob, uint32_t chunk, struct reason *reason)
{
    const uint32_t size = chunk_size_of(&blob->ledger, chunk);
    chunk_digest_init(&blob->listed);
    for (uint32_t at = 0; at < size; at += WINDOW_SIZE) {
        const size_t count = size - at < WINDOW_SIZE ? size - at : WINDOW_SIZE;
        if (!read_at(blob->partial, blob->window, count, (uint64_t)chunk * LEDGER_CHUNK_SIZE + at))
            return failed(blob, "it cannot be read", reason);
        chunk_digest_update(&blob->listed, blob->window, count);
    }
    judge_listed(blob, chunk);
    return STATUS_OK;
}

enum status hub_incoming_advance(struct hub_incoming *blob, bool *did_out, struct reason *reason)
{
    *did_out = false;
    if (blob->is_placed)
        return STATUS_OK;
    /* What an earlier process left is judged first: until then nobody knows what is wanted. */
    for (uint32_t i = 0; i < blob->ledger.chunk_count; i++)
        if (blob->ledger.states[i] == CHUNK_LISTED) {
            *did_out = true;
            return read_listed(blob, i, reason);
        }
    enum status status = blob->is_searching ? STATUS_OK : hand_over(blob, reason);
    if (status != STATUS_OK)
        return status;
    if (blob->is_searching || blob->hashed == blob->ledger.chunk_count ||
        blob->ledger.states[blob->hashed] != CHUNK_HERE)
        return STATUS_OK;
    const uint32_t size = chunk_size_of(&blob->ledger, blob->hashed);
    const uint32_t left = size - blob->hashed_in_chunk;
    const uint32_t count = left < WINDOW_SIZE ? left : WINDOW_SIZE;
    if (!read_at(blob->partial, blob->window, count,
                 (uint64_t)blob->hashed * LEDGER_CHUNK_SIZE + blob->hashed_in_chunk))
        return failed(blob, "it cannot be read", reason);
    etag_stream_update(blob->whole, blob->window, count);
    hash_update(&blob->digest, blob->window, count);
    blob->hashed_in_chunk += count;
    if (blob->hashed_in_chunk == size) {
        blob->hashed++;
        blob->hashed_in_chunk = 0;
    }
    *did_out = true;
    return STATUS_OK;
}

bool hub_incoming_is_full(const struct hub_incoming *blob)
{
    if (blob->is_placed)
        return true;
    if (!blob->is_searching)
        return blob->is_writer && blob->hashed == blob->ledger.chunk_count;
    /* The search ends when it replaced something, or had all again. */
    if (!blob->has_found && blob->doubted_count > 0)
        return false;
    for (uint32_t i = 0; i < blob->ledger.chunk_count; i++)
        if (blob->taken[i] || blob->doubts[i] == DOUBT_DIFFERS)
            return false;
    return true;
}

/* No hash of the hub says which of the chunks that peers sent are wrong: all of them come again. */
static enum status begin_anew(struct hub_incoming *blob, struct reason *reason)
{
    for (uint32_t i = 0; i < blob->ledger.chunk_count; i++)
        chunk_ledger_forget(&blob->ledger, i);
    blob->refeeds++;
    blob->was_fed = false;
    if (hub_incoming_is_misfed(blob))
        blob->is_fed = false;
    enum status status = ledger_again(blob, reason);
    return status == STATUS_OK ? whole_begin(blob, reason) : status;
}

/* What counted unread is read first: those that are wrong alone come again. */
static enum status read_again(struct hub_incoming *blob, struct reason *reason)
{
    blob->is_unread = false;
    blob->bytes_kept = 0;
    for (uint32_t i = 0; i < blob->ledger.chunk_count; i++) {
        chunk_ledger_doubt(&blob->ledger, i);
        blob->bytes_kept += chunk_size_of(&blob->ledger, i);
    }
    return whole_begin(blob, reason);
}

/* In a new round those that differed in the last one; in the first, and when none did, all. */
static bool doubt_again(struct hub_incoming *blob)
{
    bool has_replaced = false;
    for (uint32_t i = 0; i < blob->ledger.chunk_count; i++)
        has_replaced = has_replaced || blob->doubts[i] == DOUBT_REPLACED;
    blob->doubted_count = 0;
    for (uint32_t i = 0; i < blob->ledger.chunk_count; i++) {
        const bool is_open = !has_replaced || blob->doubts[i] == DOUBT_REPLACED;
        blob->doubts[i] = is_open ? DOUBT_OPEN : DOUBT_NONE;
        blob->doubted_count += is_open;
    }
    blob->searches++;
    return has_replaced;
}

static enum status begin_search(struct hub_incoming *blob, struct reason *reason)
{
    if (blob->doubted_count == 0)
        (void)doubt_again(blob);
    if (blob->searches > HUB_SEARCHES_MAX)
        return refuse(reason, STATUS_HASH_MISMATCH,
                      "%s: what the hub sends has not the hash it names, also when fetched again; "
                      "what is between this machine and the hub changes it",
                      blob->file->path);
    blob->is_searching = true;
    blob->has_found = false;
    return STATUS_OK;
}

/* It replaced a chunk: the whole may be right now.  Or all of the round came twice alike: those
 * that differed before are fetched once more, and if none did, it is the hub that has it so. */
static enum status end_search(struct hub_incoming *blob, struct reason *reason)
{
    blob->is_searching = false;
    if (blob->has_found)
        return whole_begin(blob, reason);
    if (doubt_again(blob))
        return begin_search(blob, reason);
    return refuse(reason, STATUS_HASH_MISMATCH,
                  "%s: the hub sends the same bytes twice, and they have not the hash it names; "
                  "the file is damaged at the hub",
                  blob->file->path);
}

enum status hub_incoming_finish(struct hub_incoming *blob, struct reason *reason)
{
    const struct hub_place *place = blob->place;
    char etag[ETAG_SIZE];
    if (blob->is_placed)
        return STATUS_OK;
    if (blob->is_searching) {
        const enum status ended = end_search(blob, reason);
        if (ended == STATUS_HASH_MISMATCH)
            hub_incoming_drop(place, blob->file->etag);
        return ended;
    }
    enum status status = etag_stream_final(blob->whole, etag, reason);
    if (status != STATUS_OK)
        return status;
    if (strcmp(etag, blob->file->etag) != 0 && blob->is_unread)
        return read_again(blob, reason);
    if (strcmp(etag, blob->file->etag) != 0 && blob->was_fed)
        return begin_anew(blob, reason);
    if (strcmp(etag, blob->file->etag) != 0) {
        status = begin_search(blob, reason);
        if (status != STATUS_OK)
            hub_incoming_drop(place, blob->file->etag);
        return status;
    }
    status = hub_cache_blob_place(place->cache, place->model_id, blob->file->etag, blob->partial,
                                  reason);
    if (status == STATUS_OK) {
        char name[LEDGER_NAME_SIZE];
        ledger_name(blob->file->etag, name);
        (void)unlinkat(place->ledgers, name, 0);
        blob->is_placed = true;
    }
    return status;
}

enum status hub_incoming_known(struct hub_incoming *blob, struct known_blob *known_out)
{
    struct stat facts;
    if (!blob->is_placed || blob->partial < 0 || fstat(blob->partial, &facts) != 0)
        return STATUS_NOT_FOUND;
    const size_t size = (size_t)blob->ledger.chunk_count * sizeof(struct hash);
    known_out->chunks =
        size > 0 ? memory_copied(blob->ledger.hashes, size) : memory_zeroed(1, sizeof(struct hash));
    if (!known_out->chunks)
        return STATUS_NO_MEMORY;
    (void)snprintf(known_out->etag, sizeof(known_out->etag), "%s", blob->file->etag);
    known_out->stamp = file_stamp_of(&facts);
    hash_final(&blob->digest, &known_out->digest);
    return STATUS_OK;
}

uint64_t hub_incoming_bytes(const struct hub_incoming *blob)
{
    uint64_t bytes = 0;
    if (blob->is_placed)
        return blob->file->size;
    for (uint32_t i = 0; blob->is_open && i < blob->ledger.chunk_count; i++)
        if (blob->ledger.states[i] != CHUNK_ABSENT)
            bytes += chunk_size_of(&blob->ledger, i);
    return bytes;
}
