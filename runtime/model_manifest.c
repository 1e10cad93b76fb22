/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/model_manifest.h"

#include "protocol/hash.h"
#include "protocol/memory.h"
#include "protocol/message.h"
#include "runtime/bytes.h"
#include "runtime/store_io.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define MAGIC "TROUPEMF"
#define MAGIC_SIZE 8u
#define HEADER_SIZE 16u
#define STAMP_SIZE 24u
#define VERSION 1u
#define MANIFEST_SIZE_MAX ((size_t)4 << 20)
#define NEW_NAME MODEL_MANIFEST_NAME ".new"

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '.' || c == '_' || c == '-';
}

enum status model_directory_name(const char *model_id, char name_out[MODEL_DIRECTORY_NAME_SIZE],
                                 struct reason *reason)
{
    size_t size = 0;
    if (!model_id_is_sound(model_id))
        return refuse(reason, STATUS_INVALID,
                      "%.100s is no name for a model; use letters, digits, . _ - and /, without "
                      "\"..\" or \"--\"", text_or_empty(model_id));
    for (const char *at = model_id; *at; at++) {
        if (size + 3 >= MODEL_DIRECTORY_NAME_SIZE)
            return refuse(reason, STATUS_TOO_LARGE, "%.100s is too long a name", model_id);
        name_out[size++] = *at == '/' ? '-' : *at;
        if (*at == '/')
            name_out[size++] = '-';
    }
    name_out[size] = '\0';
    return STATUS_OK;
}

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

bool model_file_name_is_sound(const char *name)
{
    size_t length = name ? strlen(name) : 0;
    if (length == 0 || length > NAME_SIZE_MAX || name[0] == '.' || name[0] == '-')
        return false;
    for (size_t i = 0; i < length; i++)
        if (!is_plain(name[i]) && name[i] != '+' && name[i] != '@' && name[i] != '=')
            return false;
    return model_file_is_weight_kind(name) || ends_with(name, ".json") ||
           ends_with(name, ".jinja") || ends_with(name, ".txt") || ends_with(name, ".model");
}

struct hash model_revision(const struct model_record *record)
{
    struct hash_stream stream;
    struct hash revision;
    hash_init(&stream);
    for (uint32_t i = 0; i < record->files.count; i++) {
        const struct file_entry *file = &record->files.items[i];
        const char *name = text_or_empty(file->name);
        uint8_t size[8];
        put_u64(size, file->size);
        hash_update(&stream, name, strlen(name) + 1);
        hash_update(&stream, size, sizeof(size));
        hash_update(&stream, &file->digest, sizeof(file->digest));
    }
    hash_final(&stream, &revision);
    return revision;
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

static enum status encode(const struct model_manifest *manifest, struct buffer *bytes)
{
    uint8_t header[HEADER_SIZE] = MAGIC;
    enum status status = buffer_append(bytes, header, sizeof(header));
    if (status == STATUS_OK)
        status = record_encode(&model_record_type, &manifest->record, bytes);
    if (status != STATUS_OK)
        return status;
    put_u32(bytes->bytes + MAGIC_SIZE, VERSION);
    put_u32(bytes->bytes + MAGIC_SIZE + 4, (uint32_t)(bytes->size - HEADER_SIZE));
    for (uint32_t i = 0; i < manifest->record.files.count && status == STATUS_OK; i++) {
        uint8_t stamp[STAMP_SIZE];
        put_u64(stamp, manifest->stamps[i].inode);
        put_u64(stamp + 8, manifest->stamps[i].size);
        put_u64(stamp + 16, manifest->stamps[i].changed_ns);
        status = buffer_append(bytes, stamp, sizeof(stamp));
    }
    struct hash hash;
    hash_of(bytes->bytes, bytes->size, &hash);
    return status == STATUS_OK ? buffer_append(bytes, &hash, sizeof(hash)) : status;
}

static enum status put_file(int directory, const struct buffer *bytes, struct reason *reason)
{
    if (store_remove_tree(directory, NEW_NAME) != 0)
        return refuse(reason, status_from_errno(errno), NEW_NAME ": %s", strerror(errno));
    int file = store_create_file(directory, NEW_NAME);
    if (file < 0)
        return refuse(reason, status_from_errno(errno), NEW_NAME ": %s", strerror(errno));
    bool is_written = store_write_all(file, bytes->bytes, bytes->size) == 0 &&
                      store_sync(file) == 0;
    int error = errno;
    (void)close(file);
    if (is_written && store_rename(directory, NEW_NAME, MODEL_MANIFEST_NAME) == 0 &&
        store_sync(directory) == 0)
        return STATUS_OK;
    error = is_written ? errno : error;
    return refuse(reason, status_from_errno(error), MODEL_MANIFEST_NAME ": %s", strerror(error));
}

enum status model_manifest_write(int directory, const struct model_manifest *manifest,
                                 struct reason *reason)
{
    struct buffer bytes;
    buffer_init(&bytes, MANIFEST_SIZE_MAX);
    enum status status = encode(manifest, &bytes);
    if (status != STATUS_OK)
        status = refuse(reason, status, "the manifest of %.100s: %s",
                        text_or_empty(manifest->record.model_id), status_text(status));
    else
        status = put_file(directory, &bytes, reason);
    buffer_fini(&bytes);
    return status;
}

static enum status damaged(struct reason *reason, const char *what)
{
    return refuse(reason, STATUS_DAMAGED, MODEL_MANIFEST_NAME " %s; take the model in again", what);
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

static enum status decode(const uint8_t *bytes, size_t size, struct model_manifest *manifest,
                          struct reason *reason)
{
    struct hash hash;
    if (size < HEADER_SIZE + sizeof(hash) || memcmp(bytes, MAGIC, MAGIC_SIZE) != 0)
        return damaged(reason, "is cut");
    hash_of(bytes, size - sizeof(hash), &hash);
    if (memcmp(&hash, bytes + size - sizeof(hash), sizeof(hash)) != 0)
        return damaged(reason, "does not match its hash");
    if (get_u32(bytes + MAGIC_SIZE) != VERSION)
        return damaged(reason, "is of another version");
    size_t record_size = get_u32(bytes + MAGIC_SIZE + 4);
    size_t room = size - HEADER_SIZE - sizeof(hash);
    if (record_size > room)
        return damaged(reason, "is cut");
    enum status status = record_decode(&model_record_type, bytes + HEADER_SIZE, record_size,
                                       &manifest->record, reason);
    if (status != STATUS_OK)
        return status;
    uint32_t count = manifest->record.files.count;
    if (room - record_size != (size_t)count * STAMP_SIZE || !record_is_sound(&manifest->record))
        return damaged(reason, "names impossible files");
    manifest->stamps = memory_zeroed(count, sizeof(manifest->stamps[0]));
    if (!manifest->stamps)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the manifest of a model");
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *at = bytes + HEADER_SIZE + record_size + (size_t)i * STAMP_SIZE;
        manifest->stamps[i] = (struct file_stamp){get_u64(at), get_u64(at + 8), get_u64(at + 16)};
    }
    return STATUS_OK;
}

enum status model_manifest_read(int directory, struct model_manifest *manifest_out,
                                struct reason *reason)
{
    struct stat facts;
    int file = store_open_file(directory, MODEL_MANIFEST_NAME);
    if (file < 0 && errno == ENOENT)
        return refuse(reason, STATUS_NOT_FOUND, "there is no " MODEL_MANIFEST_NAME
                      "; take the model in with `troupe add`");
    if (file < 0)
        return refuse(reason, status_from_errno(errno), MODEL_MANIFEST_NAME ": %s",
                      strerror(errno));
    if (fstat(file, &facts) != 0 || facts.st_size > (off_t)MANIFEST_SIZE_MAX) {
        (void)close(file);
        return damaged(reason, "is too large");
    }
    size_t size = (size_t)facts.st_size;
    uint8_t *bytes = memory_zeroed(size + 1, 1);
    struct model_manifest manifest = {0};
    enum status status = bytes ? STATUS_OK : STATUS_NO_MEMORY;
    if (status == STATUS_OK && store_read_at(file, bytes, size, 0) != (int64_t)size)
        status = refuse(reason, STATUS_IO, MODEL_MANIFEST_NAME ": %s", strerror(errno));
    (void)close(file);
    if (status == STATUS_OK)
        status = decode(bytes, size, &manifest, reason);
    memory_free(bytes);
    if (status != STATUS_OK) {
        model_manifest_fini(&manifest);
        return status;
    }
    *manifest_out = manifest;
    return STATUS_OK;
}

void model_manifest_fini(struct model_manifest *manifest)
{
    record_fini(&model_record_type, &manifest->record);
    memory_free(manifest->stamps);
    manifest->stamps = NULL;
}
