/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/model_manifest.h"

#include "protocol/hash.h"
#include "protocol/memory.h"
#include "protocol/message.h"
#include "runtime/bytes.h"
#include "runtime/store_io.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAGIC "TROUPEHO"
#define MAGIC_SIZE 8u
#define HEADER_SIZE 80u
#define FILE_SIZE 64u
#define VERSION 2u
/* A model of 4 TB has 16 MB of chunk digests. */
#define HOLDING_SIZE_MAX ((size_t)64 << 20)
#define LOCATION_SIZE_MAX 4096u
#define FLAG_PINNED 1u
#define FLAG_MADE 2u
#define INDEX_END ".safetensors.index.json"

/* ---- names and digests ---- */

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name);
    size_t end_length = strlen(end);
    return length > end_length && strcmp(name + length - end_length, end) == 0;
}

bool model_file_is_weight_kind(const char *name)
{
    return ends_with(name, ".safetensors");
}

bool model_file_is_small(const struct file_entry *file)
{
    return !file->is_weight && !ends_with(text_or_empty(file->name), INDEX_END);
}

bool model_file_name_is_sound(const char *name)
{
    return hub_path_is_sound(name) &&
           (model_file_is_weight_kind(name) || ends_with(name, ".json") ||
            ends_with(name, ".jinja") || ends_with(name, ".txt") || ends_with(name, ".model"));
}

static void hash_file_entry(struct hash_stream *stream, const struct file_entry *file)
{
    const char *name = text_or_empty(file->name);
    uint8_t size[8];
    put_u64(size, file->size);
    hash_update(stream, name, strlen(name) + 1);
    hash_update(stream, size, sizeof(size));
    hash_update(stream, &file->digest, sizeof(file->digest));
}

struct hash model_revision(const struct model_record *record)
{
    struct hash_stream stream;
    struct hash revision;
    hash_init(&stream);
    for (uint32_t i = 0; i < record->files.count; i++)
        hash_file_entry(&stream, &record->files.items[i]);
    hash_final(&stream, &revision);
    return revision;
}

void model_commit(const struct hash *revision, char commit_out[HUB_COMMIT_SIZE])
{
    (void)hex_print(revision, (HUB_COMMIT_SIZE - 1) / 2, commit_out);
}

void model_record_commit(const struct model_record *record, char commit_out[HUB_COMMIT_SIZE])
{
    if (hub_commit_is_sound(record->commit))
        memcpy(commit_out, record->commit, HUB_COMMIT_SIZE);
    else
        model_commit(&record->revision, commit_out);
}

uint64_t chunk_count(uint64_t size)
{
    return size / CHUNK_SIZE + (size % CHUNK_SIZE > 0);
}

bool model_manifest_digest(const struct model_manifest *manifest, struct hash *digest_out)
{
    struct hash_stream stream;
    hash_init(&stream);
    hash_update(&stream, &manifest->record.revision, sizeof(manifest->record.revision));
    for (uint32_t i = 0; i < manifest->record.files.count; i++) {
        const struct file_entry *file = &manifest->record.files.items[i];
        const uint64_t count = chunk_count(file->size);
        uint8_t number[8];
        if (count > 0 && !manifest->files[i].chunks)
            return false;
        put_u64(number, count);
        hash_file_entry(&stream, file);
        hash_update(&stream, number, sizeof(number));
        if (count > 0)
            hash_update(&stream, manifest->files[i].chunks, (size_t)count * sizeof(struct hash));
    }
    hash_final(&stream, digest_out);
    return true;
}

struct file_stamp file_stamp_of(const struct stat *facts)
{
#ifdef __APPLE__
    const struct timespec *changed = &facts->st_mtimespec;
#else
    const struct timespec *changed = &facts->st_mtim;
#endif
    return (struct file_stamp){(uint64_t)facts->st_ino, (uint64_t)facts->st_size,
                               (uint64_t)changed->tv_sec * UINT64_C(1000000000) +
                                   (uint64_t)changed->tv_nsec};
}

bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b)
{
    return a->inode == b->inode && a->size == b->size && a->changed_ns == b->changed_ns;
}

enum status model_manifest_make_files(struct model_manifest *manifest, struct reason *reason)
{
    manifest->files = memory_zeroed(manifest->record.files.count, sizeof(manifest->files[0]));
    return manifest->files ? STATUS_OK
                           : refuse(reason, STATUS_NO_MEMORY, "no memory for the files of a model");
}

enum status model_holding_name(const char *model_id, char name_out[HOLDING_NAME_SIZE],
                               struct reason *reason)
{
    char name[HUB_NAME_SIZE];
    enum status status = hub_model_name(model_id, name, reason);
    if (status == STATUS_OK)
        (void)snprintf(name_out, HOLDING_NAME_SIZE, "%s" HOLDING_END, name);
    return status;
}

/* ---- writing ---- */

static bool append(struct buffer *bytes, const void *from, size_t size)
{
    return buffer_append(bytes, from, size) == STATUS_OK;
}

static bool append_file(struct buffer *bytes, const struct file_facts *facts)
{
    uint8_t row[FILE_SIZE] = {0};
    const enum etag_kind kind = etag_kind_of(facts->etag);
    put_u64(row, facts->stamp.inode);
    put_u64(row + 8, facts->stamp.size);
    put_u64(row + 16, facts->stamp.changed_ns);
    row[24] = (uint8_t)kind;
    row[25] = facts->chunks != NULL;
    return (kind == ETAG_NONE || hex_parse(facts->etag, row + 32, strlen(facts->etag) / 2)) &&
           append(bytes, row, sizeof(row));
}

static enum status encode(const struct model_manifest *manifest, struct buffer *bytes)
{
    const struct model_record *record = &manifest->record;
    const size_t location_size = manifest->location ? strlen(manifest->location) : 0;
    uint8_t header[HEADER_SIZE] = {0};
    struct hash hash;
    uint64_t chunks = 0;
    memcpy(header, MAGIC, MAGIC_SIZE);
    bool fits = append(bytes, header, sizeof(header));
    enum status status = fits ? record_encode(&model_record_type, record, bytes)
                              : STATUS_NO_MEMORY;
    if (status != STATUS_OK)
        return status;
    put_u32(header + 12, (uint32_t)(bytes->size - HEADER_SIZE));
    fits = append(bytes, text_or_empty(manifest->location), location_size);
    for (uint32_t i = 0; fits && i < record->files.count; i++) {
        fits = append_file(bytes, &manifest->files[i]);
        chunks += manifest->files[i].chunks ? chunk_count(record->files.items[i].size) : 0;
    }
    for (uint32_t i = 0; fits && i < record->files.count; i++)
        if (manifest->files[i].chunks)
            fits = append(bytes, manifest->files[i].chunks,
                          (size_t)chunk_count(record->files.items[i].size) * sizeof(struct hash));
    if (!fits)
        return STATUS_TOO_LARGE;
    put_u32(header + 8, VERSION);
    put_u32(header + 16, (uint32_t)location_size);
    put_u32(header + 20, (uint32_t)chunks);
    header[24] = (uint8_t)((manifest->is_pinned ? FLAG_PINNED : 0) |
                           (manifest->is_made ? FLAG_MADE : 0));
    put_u64(header + 32, manifest->used_ms);
    memcpy(header + 40, manifest->commit, HUB_COMMIT_SIZE - 1);
    memcpy(bytes->bytes, header, sizeof(header));
    hash_of(bytes->bytes, bytes->size, &hash);
    return append(bytes, &hash, sizeof(hash)) ? STATUS_OK : STATUS_TOO_LARGE;
}

enum status holding_file_put(int holdings, const char *owner, const char *name, const void *bytes,
                             size_t size, struct reason *reason)
{
    char beside[HOLDING_NAME_SIZE + 64];
    (void)snprintf(beside, sizeof(beside), "%s.%.32s" HOLDING_NEW_END, name, owner);
    (void)!store_unlink(holdings, beside);
    int file = store_create_file(holdings, beside);
    const bool is_written =
        file >= 0 && store_write_all(file, bytes, size) == 0 && store_sync(file) == 0;
    int error = errno;
    if (file >= 0)
        (void)close(file);
    if (is_written && store_rename(holdings, beside, name) == 0 && store_sync(holdings) == 0)
        return STATUS_OK;
    error = is_written ? errno : error;
    (void)!store_unlink(holdings, beside);
    return refuse(reason, status_from_errno(error), "%.200s: %s", name, strerror(error));
}

enum status model_manifest_write(int holdings, const char *owner,
                                 const struct model_manifest *manifest, struct reason *reason)
{
    struct buffer bytes;
    char name[HOLDING_NAME_SIZE];
    enum status status = model_holding_name(manifest->record.model_id, name, reason);
    if (status != STATUS_OK)
        return status;
    buffer_init(&bytes, HOLDING_SIZE_MAX);
    status = encode(manifest, &bytes);
    if (status != STATUS_OK)
        status = refuse(reason, status, "%.200s: %s", name, status_text(status));
    else
        status = holding_file_put(holdings, owner, name, bytes.bytes, bytes.size, reason);
    buffer_fini(&bytes);
    return status;
}

/* ---- reading ---- */

static enum status damaged(struct reason *reason, const char *what)
{
    return refuse(reason, STATUS_DAMAGED, "what this node noted of the model %s; take the model in "
                  "again", what);
}

static bool record_is_sound(const struct model_record *record)
{
    if (!model_id_is_sound(record->model_id) || record->files.count == 0 ||
        record->holders.count > 0)
        return false;
    for (uint32_t i = 0; i < record->files.count; i++) {
        const struct file_entry *file = &record->files.items[i];
        if (!model_file_name_is_sound(file->name) ||
            (!file->is_weight && file->size > SMALL_FILE_SIZE_MAX) ||
            (i > 0 && strcmp(record->files.items[i - 1].name, file->name) >= 0))
            return false;
    }
    const struct hash revision = model_revision(record);
    return ID_EQUAL(revision, record->revision);
}

/* The rows of the files and their chunks, which fill what is left exactly. */
static enum status decode_files(const uint8_t *bytes, size_t size, uint64_t chunks,
                                struct model_manifest *manifest, struct reason *reason)
{
    const uint32_t count = manifest->record.files.count;
    uint64_t chunks_left = chunks;
    if ((uint64_t)count * FILE_SIZE + chunks * sizeof(struct hash) != size)
        return damaged(reason, "is cut");
    enum status status = model_manifest_make_files(manifest, reason);
    const uint8_t *chunk = bytes + (size_t)count * FILE_SIZE;
    for (uint32_t i = 0; i < count && status == STATUS_OK; i++) {
        const uint8_t *row = bytes + (size_t)i * FILE_SIZE;
        struct file_facts *facts = &manifest->files[i];
        const uint64_t own = row[25] ? chunk_count(manifest->record.files.items[i].size) : 0;
        facts->stamp = (struct file_stamp){get_u64(row), get_u64(row + 8), get_u64(row + 16)};
        if (row[24] != ETAG_NONE)
            (void)hex_print(row + 32, row[24] == ETAG_SHA256 ? 32 : 20, facts->etag);
        if (own > chunks_left)
            return damaged(reason, "has other chunks than its files");
        chunks_left -= own;
        facts->chunks = row[25] ? memory_zeroed((size_t)own, sizeof(struct hash)) : NULL;
        if (row[25] && !facts->chunks)
            status = refuse(reason, STATUS_NO_MEMORY, "no memory for the chunks of a model");
        else if (own > 0)
            memcpy(facts->chunks, chunk, (size_t)own * sizeof(struct hash));
        chunk += own * sizeof(struct hash);
    }
    if (status == STATUS_OK && chunks_left > 0)
        return damaged(reason, "has other chunks than its files");
    return status;
}

/* The record says what hubs call the model and its files, too, without memory not yet; and what is
 * noted of the model here, for a state that does not know it. */
static void name_record(struct model_manifest *manifest)
{
    struct model_record *record = &manifest->record;
    bool is_set = true;
    for (uint32_t i = 0; manifest->files && i < record->files.count && is_set; i++)
        is_set = !manifest->files[i].etag[0] ||
                 text_set(&record->files.items[i].etag, manifest->files[i].etag);
    is_set = is_set && text_set(&record->commit, manifest->commit);
    (void)is_set;
    record->is_pinned = manifest->is_pinned;
    record->used_ms = manifest->used_ms;
}

static enum status decode(const uint8_t *bytes, size_t size, struct model_manifest *manifest,
                          struct reason *reason)
{
    struct hash hash;
    if (size < HEADER_SIZE + sizeof(hash) || memcmp(bytes, MAGIC, MAGIC_SIZE) != 0)
        return damaged(reason, "is cut");
    hash_of(bytes, size - sizeof(hash), &hash);
    if (memcmp(&hash, bytes + size - sizeof(hash), sizeof(hash)) != 0)
        return damaged(reason, "does not match its hash");
    if (get_u32(bytes + 8) != VERSION)
        return damaged(reason, "is of another version");
    const size_t record_size = get_u32(bytes + 12);
    const size_t location_size = get_u32(bytes + 16);
    const size_t room = size - HEADER_SIZE - sizeof(hash);
    if (record_size > room || location_size > room - record_size ||
        location_size > LOCATION_SIZE_MAX)
        return damaged(reason, "is cut");
    const uint8_t *location = bytes + HEADER_SIZE + record_size;
    enum status status = record_decode(&model_record_type, bytes + HEADER_SIZE, record_size,
                                       &manifest->record, reason);
    if (status != STATUS_OK)
        return status;
    memcpy(manifest->commit, bytes + 40, HUB_COMMIT_SIZE - 1);
    if (!record_is_sound(&manifest->record) || !hub_commit_is_sound(manifest->commit) ||
        (location_size > 0 && (location[0] != '/' || memchr(location, '\0', location_size))))
        return damaged(reason, "names impossible files");
    manifest->is_pinned = bytes[24] & FLAG_PINNED;
    manifest->is_made = bytes[24] & FLAG_MADE;
    manifest->used_ms = get_u64(bytes + 32);
    if (location_size > 0 &&
        !(manifest->location = memory_text((const char *)location, location_size)))
        return refuse(reason, STATUS_NO_MEMORY, "no memory for what is noted of a model");
    status = decode_files(location + location_size, room - record_size - location_size,
                          get_u32(bytes + 20), manifest, reason);
    if (status == STATUS_OK)
        name_record(manifest);
    return status;
}

enum status holding_file_read(int holdings, const char *name, uint8_t **bytes_out,
                              size_t *size_out, struct reason *reason)
{
    struct stat facts;
    int file = store_open_file(holdings, name);
    if (file < 0)
        return refuse(reason, status_from_errno(errno), "%.200s: %s", name, strerror(errno));
    uint8_t *bytes = NULL;
    enum status status = STATUS_OK;
    if (fstat(file, &facts) != 0 || facts.st_size > (off_t)HOLDING_SIZE_MAX)
        status = refuse(reason, STATUS_DAMAGED, "%.200s is too large; take the model in again",
                        name);
    else if (!(bytes = memory_zeroed((size_t)facts.st_size + 1, 1)))
        status = refuse(reason, STATUS_NO_MEMORY, "no memory to read %.200s", name);
    else if (store_read_at(file, bytes, (size_t)facts.st_size, 0) != (int64_t)facts.st_size)
        status = refuse(reason, STATUS_IO, "%.200s: %s", name, strerror(errno));
    (void)close(file);
    if (status != STATUS_OK) {
        memory_free(bytes);
        return status;
    }
    *bytes_out = bytes;
    *size_out = (size_t)facts.st_size;
    return STATUS_OK;
}

enum status model_manifest_read(int holdings, const char *model_id,
                                struct model_manifest *manifest_out, struct reason *reason)
{
    char name[HOLDING_NAME_SIZE];
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct model_manifest manifest = {0};
    enum status status = model_holding_name(model_id, name, reason);
    if (status == STATUS_OK)
        status = holding_file_read(holdings, name, &bytes, &size, reason);
    if (status == STATUS_NOT_FOUND)
        return refuse(reason, STATUS_NOT_FOUND, "%.100s is not on this node's disk; take it in "
                      "with `troupe add`", model_id);
    if (status == STATUS_OK)
        status = decode(bytes, size, &manifest, reason);
    memory_free(bytes);
    if (status == STATUS_OK && strcmp(manifest.record.model_id, model_id) != 0)
        status = damaged(reason, "is another's");
    if (status != STATUS_OK) {
        model_manifest_fini(&manifest);
        return status;
    }
    *manifest_out = manifest;
    return STATUS_OK;
}

void model_manifest_take_record(struct model_manifest *manifest, struct model_record *record_out)
{
    name_record(manifest);
    /* The lists of the files are freed by the count of the record. */
    for (uint32_t i = 0; i < manifest->record.files.count; i++) {
        memory_free(manifest->files[i].chunks);
        manifest->files[i].chunks = NULL;
    }
    *record_out = manifest->record;
    memset(&manifest->record, 0, sizeof(manifest->record));
}

void model_manifest_fini(struct model_manifest *manifest)
{
    for (uint32_t i = 0; manifest->files && i < manifest->record.files.count; i++)
        memory_free(manifest->files[i].chunks);
    memory_free(manifest->files);
    memory_free(manifest->location);
    record_fini(&model_record_type, &manifest->record);
    memset(manifest, 0, sizeof(*manifest));
}
