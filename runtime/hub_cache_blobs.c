/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_cache_blobs: the files of a cache, whole and on their way.
 */
#include "runtime/hub_cache.h"
#include "runtime/hub_link.h"
#include "runtime/store_io.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOBS "blobs"
#define PARTIAL_NAME_SIZE (ETAG_SIZE + sizeof(HUB_PARTIAL_END))
#define STAT_BLOCK 512u

static enum status open_blobs(const struct hub_cache *cache, const char *model_id,
                              const char *etag, bool makes, int *blobs_out,
                              struct reason *reason)
{
    if (etag_kind_of(etag) == ETAG_NONE)
        return refuse(reason, STATUS_INVALID, "%.100s is no hash of a file", etag);
    return hub_cache_directory(cache, model_id, BLOBS, makes, blobs_out, reason);
}

static void partial_name(const char *etag, char name_out[PARTIAL_NAME_SIZE])
{
    (void)snprintf(name_out, PARTIAL_NAME_SIZE, "%s" HUB_PARTIAL_END, etag);
}

enum hub_blob hub_cache_blob_state(const struct hub_cache *cache, const char *model_id,
                                   const char *etag, uint64_t size, struct reason *reason)
{
    char name[PARTIAL_NAME_SIZE];
    struct stat facts;
    int blobs = -1;
    const enum status status = open_blobs(cache, model_id, etag, false, &blobs, reason);
    if (status != STATUS_OK)
        return status == STATUS_NOT_FOUND ? HUB_BLOB_ABSENT : HUB_BLOB_WRONG;
    enum hub_blob state = HUB_BLOB_WRONG;
    const int file = hub_blob_open(blobs, etag);
    partial_name(etag, name);
    if (file < 0 && errno == ENOENT && store_stat(blobs, etag, &facts) != 0)
        state = store_stat(blobs, name, &facts) == 0 ? HUB_BLOB_PARTIAL : HUB_BLOB_ABSENT;
    else if (file < 0)
        (void)hub_cache_failed(cache, model_id, etag, reason);
    else if (fstat(file, &facts) != 0 || (uint64_t)facts.st_size != size)
        (void)refuse(reason, STATUS_DAMAGED, "%.100s in %.160s: %s has %llu bytes and not %llu",
                     model_id, cache->root, etag, (unsigned long long)facts.st_size,
                     (unsigned long long)size);
    else
        state = HUB_BLOB_WHOLE;
    if (file >= 0)
        (void)close(file);
    (void)close(blobs);
    return state;
}

enum status hub_cache_blob_open(const struct hub_cache *cache, const char *model_id,
                                const char *etag, int *file_out, uint64_t *size_out,
                                struct reason *reason)
{
    struct stat facts;
    int blobs = -1;
    enum status status = open_blobs(cache, model_id, etag, false, &blobs, reason);
    if (status != STATUS_OK)
        return status;
    const int file = hub_blob_open(blobs, etag);
    if (file < 0 || fstat(file, &facts) != 0)
        status = hub_cache_failed(cache, model_id, etag, reason);
    (void)close(blobs);
    if (status != STATUS_OK) {
        if (file >= 0)
            (void)close(file);
        return status;
    }
    *file_out = file;
    *size_out = (uint64_t)facts.st_size;
    return STATUS_OK;
}

/* ---- on their way ---- */

static enum status give_room(const struct hub_cache *cache, const char *model_id, const char *name,
                             int file, uint64_t size, struct reason *reason)
{
    struct stat facts;
    if (fstat(file, &facts) != 0)
        return hub_cache_failed(cache, model_id, "a partial file", reason);
    const uint64_t have = (uint64_t)facts.st_blocks * STAT_BLOCK;
    enum status status = STATUS_OK;
    if (have < size)
        status = hub_cache_room_check(cache, model_id, name, size - have, reason);
    if (status == STATUS_OK && ((uint64_t)facts.st_size != size || have < size) &&
        store_allocate(file, size) != 0) {
        if (errno == ENOSPC)
            return refuse(reason, STATUS_NO_SPACE,
                          "%.100s needs %llu bytes more and the disk of %.160s is full; free some "
                          "or move the model store with the setting store", model_id,
                          (unsigned long long)(size - have), cache->root);
        return hub_cache_failed(cache, model_id, "a partial file", reason);
    }
    return status;
}

enum status hub_cache_partial_open(const struct hub_cache *cache, const char *model_id,
                                   const char *etag, uint64_t size, int *file_out,
                                   struct reason *reason)
{
    char name[PARTIAL_NAME_SIZE];
    int blobs = -1;
    if (size > (uint64_t)INT64_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "%.100s: a file of %llu bytes is impossible",
                      model_id, (unsigned long long)size);
    enum status status = open_blobs(cache, model_id, etag, true, &blobs, reason);
    if (status != STATUS_OK)
        return status;
    partial_name(etag, name);
    const int file = store_open_own(blobs, name, 0666);
    if (file < 0)
        status = hub_cache_failed(cache, model_id, name, reason);
    else
        status = give_room(cache, model_id, name, file, size, reason);
    (void)close(blobs);
    if (status == STATUS_OK)
        *file_out = file;
    else if (file >= 0)
        (void)close(file);
    return status;
}

static bool is_same_file(int directory, const char *name, int file)
{
    struct stat named;
    struct stat held;
    return store_stat(directory, name, &named) == 0 && fstat(file, &held) == 0 &&
           S_ISREG(named.st_mode) && named.st_ino == held.st_ino && named.st_dev == held.st_dev;
}

enum status hub_cache_partial_find(const struct hub_cache *cache, const char *model_id,
                                   const char *etag, int *file_out, struct reason *reason)
{
    char name[PARTIAL_NAME_SIZE];
    int blobs = -1;
    enum status status = open_blobs(cache, model_id, etag, false, &blobs, reason);
    if (status != STATUS_OK)
        return status;
    partial_name(etag, name);
    const int file = store_open_there(blobs, name);
    if (file < 0)
        status = hub_cache_failed(cache, model_id, name, reason);
    (void)close(blobs);
    if (status == STATUS_OK)
        *file_out = file;
    return status;
}

bool hub_cache_partial_is(const struct hub_cache *cache, const char *model_id, const char *etag,
                          int file)
{
    char name[PARTIAL_NAME_SIZE];
    struct reason unread;
    int blobs = -1;
    if (open_blobs(cache, model_id, etag, false, &blobs, &unread) != STATUS_OK)
        return false;
    partial_name(etag, name);
    const bool is_it = is_same_file(blobs, name, file);
    (void)close(blobs);
    return is_it;
}

enum status hub_cache_blob_place(const struct hub_cache *cache, const char *model_id,
                                 const char *etag, int file, struct reason *reason)
{
    char name[PARTIAL_NAME_SIZE];
    int blobs = -1;
    enum status status = open_blobs(cache, model_id, etag, false, &blobs, reason);
    if (status != STATUS_OK)
        return status;
    partial_name(etag, name);
    if (!is_same_file(blobs, name, file))
        status = refuse(reason, STATUS_STALE, "%.100s in %.160s: %s was replaced while it was "
                        "written", model_id, cache->root, name);
    else if (store_sync(file) != 0 || store_rename(blobs, name, etag) != 0 ||
             store_sync(blobs) != 0)
        status = hub_cache_failed(cache, model_id, name, reason);
    (void)close(blobs);
    return status;
}

enum status hub_cache_partial_drop(const struct hub_cache *cache, const char *model_id,
                                   const char *etag, struct reason *reason)
{
    char name[PARTIAL_NAME_SIZE];
    int blobs = -1;
    enum status status = open_blobs(cache, model_id, etag, false, &blobs, reason);
    if (status != STATUS_OK)
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    partial_name(etag, name);
    if (store_unlink(blobs, name) != 0 && errno != ENOENT)
        status = hub_cache_failed(cache, model_id, name, reason);
    (void)close(blobs);
    return status;
}
