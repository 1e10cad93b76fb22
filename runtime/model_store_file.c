/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_store_file: one verified file of a model, open for whoever sends it on; and what all of
 * them take.
 */
#include "protocol/schema.h"
#include "runtime/hub_link.h"
#include "runtime/model_store.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static const struct file_entry *find_file(const struct model_manifest *manifest, const char *name,
                                          const struct file_stamp **stamp_out)
{
    for (uint32_t i = 0; i < manifest->record.files.count; i++) {
        if (strcmp(manifest->record.files.items[i].name, name) != 0)
            continue;
        *stamp_out = &manifest->files[i].stamp;
        return &manifest->record.files.items[i];
    }
    return NULL;
}

static enum status open_entry(const struct model_store *store,
                              const struct model_manifest *manifest,
                              const struct file_entry *entry, const struct file_stamp *stamp,
                              int *file_out, struct reason *reason)
{
    const char *model_id = manifest->record.model_id;
    struct stat facts;
    int directory = -1;
    const enum status status = store_open_model(store, manifest, &directory, reason);
    if (status != STATUS_OK)
        return status;
    const int file = hub_file_open(directory, entry->name, NULL);
    const bool is_there = file >= 0 && fstat(file, &facts) == 0;
    const int error = errno;
    (void)close(directory);
    const struct file_stamp now = is_there ? file_stamp_of(&facts) : (struct file_stamp){0};
    if (is_there && file_stamp_equal(&now, stamp)) {
        *file_out = file;
        return STATUS_OK;
    }
    if (file >= 0)
        (void)close(file);
    if (!is_there)
        return refuse(reason, status_from_errno(error), "%.100s of %.100s cannot be opened: %s",
                      entry->name, model_id, strerror(error));
    return refuse(reason, STATUS_DAMAGED, "%.100s of %.100s changed since it was stored; take the "
                  "model in again", entry->name, model_id);
}

enum status model_store_open_file(const struct model_store *store, const char *model_id,
                                  const struct hash *revision, const char *name, int *file_out,
                                  struct reason *reason)
{
    struct model_manifest manifest = {0};
    const struct file_stamp *stamp = NULL;
    enum status status = model_manifest_read(store->holdings, model_id, &manifest, reason);
    if (status != STATUS_OK)
        return status;
    const struct file_entry *entry = find_file(&manifest, name, &stamp);
    if (!ID_EQUAL(manifest.record.revision, *revision))
        status = refuse(reason, STATUS_STALE, "another revision of %.100s is stored here",
                        model_id);
    else if (!entry || stamp->inode == 0)
        status = refuse(reason, STATUS_NOT_FOUND, "%.100s of %.100s is not on this node's disk",
                        name, model_id);
    else
        status = open_entry(store, &manifest, entry, stamp, file_out, reason);
    model_manifest_fini(&manifest);
    return status;
}

enum status model_store_open_in_place(const struct model_store *store, const char *model_id,
                                      const char *etag, int *file_out, struct reason *reason)
{
    struct model_manifest manifest = {0};
    enum status status = model_manifest_read(store->holdings, model_id, &manifest, reason);
    if (status != STATUS_OK)
        return status;
    const struct file_entry *files = manifest.record.files.items;
    uint32_t i = 0;
    while (i < manifest.record.files.count && strcmp(text_or_empty(files[i].etag), etag) != 0)
        i++;
    if (!manifest.location || i == manifest.record.files.count ||
        manifest.files[i].stamp.inode == 0)
        status = refuse(reason, STATUS_NOT_FOUND, "no directory has %.80s of %.100s", etag,
                        model_id);
    else
        status = open_entry(store, &manifest, &files[i], &manifest.files[i].stamp, file_out,
                            reason);
    model_manifest_fini(&manifest);
    return status;
}

enum status model_store_usage(const struct model_store *store, const char *model_id,
                              struct model_usage *usage_out, struct reason *reason)
{
    struct model_manifest manifest = {0};
    const enum status status =
        model_manifest_read(store->holdings, model_id, &manifest, reason);
    if (status != STATUS_OK)
        return status;
    struct model_usage usage = {.used_ms = manifest.used_ms, .is_pinned = manifest.is_pinned};
    for (uint32_t i = 0; i < manifest.record.files.count && !manifest.location; i++)
        if (manifest.files[i].stamp.inode != 0)
            usage.bytes += manifest.record.files.items[i].size;
    model_manifest_fini(&manifest);
    *usage_out = usage;
    return STATUS_OK;
}
