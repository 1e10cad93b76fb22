/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/model_chunks.h"

#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/store_io.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define NEW_NAME MODEL_CHUNKS_NAME ".new"

static enum status failed(struct reason *reason, const char *name)
{
    const int error = errno;
    return refuse(reason, status_from_errno(error), "%.100s: %s", name, strerror(error));
}

static enum status no_memory(struct reason *reason)
{
    return refuse(reason, STATUS_NO_MEMORY, "no memory for the chunks of a model");
}

enum status model_chunks_of(const struct model_manifest *held, struct chunk_manifest *manifest_out,
                            struct reason *reason)
{
    struct chunk_manifest manifest = {.revision = held->record.revision};
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < held->record.files.count && status == STATUS_OK; i++) {
        const struct file_entry *entry = &held->record.files.items[i];
        const uint64_t count = chunks_of_size(entry->size);
        struct manifest_file *file =
            record_list_push(&manifest_file_type, RECORD_LIST(manifest.files), NULL,
                             MODEL_FILE_COUNT_MAX);
        if (count > CHUNK_COUNT_MAX)
            status = refuse(reason, STATUS_TOO_LARGE, "%.100s is larger than any model",
                            entry->name);
        else if (count > 0 && !held->files[i].chunks)
            status = refuse(reason, STATUS_NOT_FOUND, "the chunks of %.100s are not known here",
                            entry->name);
        else if (!file || !text_set(&file->name, entry->name) ||
                 !bytes_set(&file->chunks, count > 0 ? held->files[i].chunks : NULL,
                            (size_t)count * sizeof(struct hash)))
            status = no_memory(reason);
        if (status != STATUS_OK)
            break;
        file->size = entry->size;
        file->digest = entry->digest;
        /* Of weights alone: a hub may name small files either way, and all who hold the revision
         * must come to the same manifest. */
        if (entry->is_weight && etag_kind_of(held->files[i].etag) == ETAG_SHA256)
            ASSERT(hex_parse(held->files[i].etag, &file->sha256, sizeof(file->sha256)));
    }
    if (status == STATUS_OK)
        *manifest_out = manifest;
    else
        record_fini(&chunk_manifest_type, &manifest);
    return status;
}

enum status model_chunks_name(struct model_manifest *held, struct reason *reason)
{
    struct chunk_manifest manifest;
    struct buffer bytes;
    enum status status = model_chunks_of(held, &manifest, reason);
    if (status != STATUS_OK)
        return status;
    buffer_init(&bytes, CHUNK_MANIFEST_SIZE_MAX);
    status = chunk_manifest_encode(&manifest, &bytes, &held->record.manifest);
    buffer_fini(&bytes);
    record_fini(&chunk_manifest_type, &manifest);
    return status == STATUS_OK ? status : no_memory(reason);
}

enum status model_chunks_write(int directory, const void *bytes, size_t size,
                               struct reason *reason)
{
    if (store_remove_tree(directory, NEW_NAME) != 0)
        return failed(reason, NEW_NAME);
    const int file = store_create_file(directory, NEW_NAME);
    if (file < 0)
        return failed(reason, NEW_NAME);
    const bool is_written = store_write_all(file, bytes, size) == 0 && store_sync(file) == 0;
    const enum status status = is_written ? STATUS_OK : failed(reason, NEW_NAME);
    (void)close(file);
    if (is_written && (store_rename(directory, NEW_NAME, MODEL_CHUNKS_NAME) != 0 ||
                       store_sync(directory) != 0))
        return failed(reason, MODEL_CHUNKS_NAME);
    return status;
}

enum status model_chunks_read(int directory, const struct model_record *record,
                              struct buffer *bytes, struct chunk_manifest *manifest_out,
                              struct reason *reason)
{
    struct stat facts;
    struct chunk_manifest manifest;
    const int file = store_open_file(directory, MODEL_CHUNKS_NAME);
    if (file < 0)
        return failed(reason, MODEL_CHUNKS_NAME);
    enum status status = STATUS_OK;
    uint8_t *read = NULL;
    size_t size = 0;
    if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode) || facts.st_size <= 0 ||
        facts.st_size > (off_t)CHUNK_MANIFEST_SIZE_MAX) {
        status = refuse(reason, STATUS_MALFORMED, MODEL_CHUNKS_NAME " has an impossible size");
    } else {
        size = (size_t)facts.st_size;
        read = memory_zeroed(size, 1);
        if (!read)
            status = refuse(reason, STATUS_NO_MEMORY, "no memory for the chunks of a model");
        else if (store_read_at(file, read, size, 0) != (int64_t)size)
            status = failed(reason, MODEL_CHUNKS_NAME);
    }
    (void)close(file);
    if (status == STATUS_OK)
        status = chunk_manifest_decode(read, size, record, &manifest, reason);
    if (status == STATUS_OK && bytes)
        status = buffer_append(bytes, read, size);
    if (status == STATUS_OK && manifest_out)
        *manifest_out = manifest;
    else if (status == STATUS_OK)
        record_fini(&chunk_manifest_type, &manifest);
    memory_free(read);
    return status;
}
