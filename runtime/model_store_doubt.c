/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_store_doubt: what a peer got wrong is read again, whatever the stamp of its file says.
 */
#include "runtime/model_store.h"

#include "protocol/memory.h"
#include "runtime/chunk_digest.h"
#include "runtime/store_io.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Which file that chunk of the whole model is of, and which of its chunks; false: none. */
static bool find_chunk(const struct model_manifest *manifest, uint64_t chunk, uint32_t *file_out,
                       uint64_t *number_out)
{
    for (uint32_t i = 0; i < manifest->record.files.count; i++) {
        const uint64_t count = chunk_count(manifest->record.files.items[i].size);
        if (chunk < count) {
            *file_out = i;
            *number_out = chunk;
            return true;
        }
        chunk -= count;
    }
    return false;
}

static enum status read_chunk(const struct model_store *store,
                              const struct model_manifest *manifest, uint32_t file,
                              uint64_t number, struct hash *hash_out, struct reason *reason)
{
    const struct file_entry *entry = &manifest->record.files.items[file];
    const uint64_t from = number * CHUNK_SIZE;
    const uint64_t left = entry->size - from;
    const size_t size = (size_t)(left < CHUNK_SIZE ? left : CHUNK_SIZE);
    int opened = -1;
    enum status status = model_store_open_file(store, manifest->record.model_id,
                                               &manifest->record.revision, entry->name, &opened,
                                               reason);
    if (status != STATUS_OK)
        return status;
    uint8_t *bytes = memory_zeroed(size, 1);
    if (!bytes)
        status = refuse(reason, STATUS_NO_MEMORY, "no memory to read %.100s again", entry->name);
    else if (store_read_at(opened, bytes, size, from) != (int64_t)size)
        status = refuse(reason, STATUS_IO, "%.100s cannot be read again: %s", entry->name,
                        strerror(errno));
    else
        chunk_digest_of(bytes, size, hash_out);
    memory_free(bytes);
    (void)close(opened);
    return status;
}

enum status model_store_doubt(struct model_store *store, const char *model_id,
                              const struct hash *revision, uint32_t chunk, bool *is_wrong_out,
                              struct reason *reason)
{
    struct model_manifest manifest = {0};
    struct hub_lock lock = {-1};
    struct hash hash;
    uint32_t file = 0;
    uint64_t number = 0;
    *is_wrong_out = false;
    enum status status = store_lock_model(store, model_id, STORE_WAIT_MS, NULL, &lock, reason);
    if (status == STATUS_OK)
        status = model_manifest_read(store->holdings, model_id, &manifest, reason);
    if (status == STATUS_OK && ID_EQUAL(manifest.record.revision, *revision) &&
        find_chunk(&manifest, chunk, &file, &number) && manifest.files[file].chunks) {
        status = read_chunk(store, &manifest, file, number, &hash, reason);
        *is_wrong_out =
            status == STATUS_OK && !ID_EQUAL(hash, manifest.files[file].chunks[number]);
    }
    if (*is_wrong_out) {
        /* No file has that time: whoever looks at the stamps finds it changed, and who reads all
         * of it finds it wrong. */
        manifest.files[file].stamp.changed_ns = 1;
        status = model_manifest_write(store->holdings, store->owner, &manifest, reason);
    }
    model_manifest_fini(&manifest);
    hub_cache_unlock(&lock);
    return status;
}
