/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_cache_remove: takes a snapshot out of a cache that others use too.
 */
#include "protocol/memory.h"
#include "protocol/schema.h"
#include "runtime/hub_cache.h"
#include "runtime/hub_link.h"
#include "runtime/store_io.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOBS "blobs"
#define NO_EXIST ".no_exist"
#define REFS "refs"
#define SNAPSHOTS "snapshots"
#define TREES "trees"
#define PLACE_SIZE 128
/* Of all snapshots of a model; more are never removed. */
#define LINK_COUNT_MAX 65536u

struct blob_names {
    char (*names)[HUB_BLOB_NAME_SIZE];
    size_t count;
};

static enum status names_add(struct blob_names *list, const char *name, struct reason *reason)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->names[i], name) == 0)
            return STATUS_OK;
    if (list->count == LINK_COUNT_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "a model with more than %u files", LINK_COUNT_MAX);
    void *grown = memory_resized(list->names, list->count + 1, HUB_BLOB_NAME_SIZE);
    if (!grown)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the list of files of a model");
    list->names = grown;
    (void)snprintf(list->names[list->count++], HUB_BLOB_NAME_SIZE, "%s", name);
    return STATUS_OK;
}

struct visitor {
    enum status (*visit)(void *who, int directory, const char *name, size_t depth);
    void *who;
};

/* Every entry that is no directory, `depth` as hub_link_read wants it; `directory` is closed. */
static enum status walk(int directory, size_t depth, const struct visitor *visitor)
{
    const struct dirent *entry;
    struct stat facts;
    enum status status = STATUS_OK;
    DIR *entries = fdopendir(directory);
    if (!entries) {
        (void)close(directory);
        return STATUS_NO_MEMORY;
    }
    while (status == STATUS_OK && (entry = readdir(entries))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (store_stat(directory, entry->d_name, &facts) != 0) {
            status = errno == ENOENT ? STATUS_OK : status_from_errno(errno);
        } else if (!S_ISDIR(facts.st_mode)) {
            status = visitor->visit(visitor->who, directory, entry->d_name, depth);
        } else if (depth < HUB_DEPTH_MAX + 2) {
            const int below = store_open_directory(directory, entry->d_name);
            status = below >= 0 ? walk(below, depth + 1, visitor) : status_from_errno(errno);
        }
    }
    (void)closedir(entries);
    return status;
}

static enum status walk_all(const struct hub_cache *cache, const char *model_id, int directory,
                            size_t depth, const struct visitor *visitor, struct reason *reason)
{
    const enum status status = walk(directory, depth, visitor);
    if (status == STATUS_OK)
        return status;
    return refuse(reason, status, "%.100s in %.160s cannot be removed: %s", model_id, cache->root,
                  status_text(status));
}

/* A part of the directory of a model; -1 when it is not there, and then the status is OK. */
static enum status open_part(const struct hub_cache *cache, const char *model_id, const char *part,
                             int *directory_out, struct reason *reason)
{
    *directory_out = -1;
    enum status status = hub_cache_directory(cache, model_id, part, false, directory_out, reason);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status drop_ref(void *who, int directory, const char *name, size_t depth)
{
    char commit[HUB_COMMIT_SIZE];
    const char *end = strstr(name, HUB_NEW_END);
    (void)depth;
    /* One of ours that a kill left. */
    if (end && !end[strlen(HUB_NEW_END)] && store_unlink(directory, name) != 0)
        return status_from_errno(errno);
    if (end && !end[strlen(HUB_NEW_END)])
        return STATUS_OK;
    const enum status status = hub_ref_read(directory, name, commit);
    if (status != STATUS_OK) /* what is no ref stays */
        return status == STATUS_DAMAGED || status == STATUS_NOT_FOUND || status == STATUS_INVALID
                   ? STATUS_OK
                   : status;
    if (strcmp(commit, who) == 0 && store_unlink(directory, name) != 0)
        return status_from_errno(errno);
    return STATUS_OK;
}

static enum status collect(void *who, int directory, const char *name, size_t depth)
{
    char blob[HUB_BLOB_NAME_SIZE];
    if (hub_link_read(directory, name, depth, blob) == 0)
        return names_add(who, blob, NULL);
    /* What is no link of the cache holds no blob; one that cannot be read may hold any. */
    return errno == ELOOP || errno == EINVAL || errno == ENOENT ? STATUS_OK
                                                                : status_from_errno(errno);
}

static enum status drop_snapshot(const struct hub_cache *cache, const char *model_id,
                                 const char *commit, struct blob_names *blobs,
                                 struct reason *reason)
{
    char place[PLACE_SIZE];
    char of_refs[HUB_COMMIT_SIZE];
    int directory = -1;
    (void)snprintf(of_refs, sizeof(of_refs), "%s", commit);
    (void)snprintf(place, sizeof(place), SNAPSHOTS "/%s", commit);
    enum status status = open_part(cache, model_id, REFS, &directory, reason);
    if (status == STATUS_OK && directory >= 0)
        status = walk_all(cache, model_id, directory, 2,
                          &(struct visitor){drop_ref, of_refs}, reason);
    if (status == STATUS_OK)
        status = open_part(cache, model_id, place, &directory, reason);
    if (status == STATUS_OK && directory >= 0)
        status = walk_all(cache, model_id, directory, 2,
                          &(struct visitor){collect, blobs}, reason);
    if (status == STATUS_OK)
        status = open_part(cache, model_id, SNAPSHOTS, &directory, reason);
    if (status == STATUS_OK && directory >= 0) {
        if (store_remove_tree(directory, commit) != 0 || store_sync(directory) != 0)
            status = hub_cache_failed(cache, model_id, place, reason);
        (void)close(directory);
    }
    return status;
}

/* One that is being written, or read by a program that locks what it reads, stays. */
static enum status drop_blob(const struct hub_cache *cache, const char *model_id, int blobs,
                             const char *name, struct reason *reason)
{
    struct hub_lock lock = {-1};
    enum status status = STATUS_OK;
    if (etag_kind_of(name) != ETAG_NONE) {
        status = hub_cache_lock(cache, model_id, name, 0, &lock, reason);
        if (status == STATUS_OK)
            status = hub_cache_partial_drop(cache, model_id, name, reason);
    }
    if (status == STATUS_OK && store_unlink(blobs, name) != 0 && errno != ENOENT)
        status = hub_cache_failed(cache, model_id, name, reason);
    hub_cache_unlock(&lock);
    return status == STATUS_BUSY ? STATUS_OK : status;
}

static bool has_name(const struct blob_names *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->names[i], name) == 0)
            return true;
    return false;
}

static enum status drop_blobs(const struct hub_cache *cache, const char *model_id,
                              const struct blob_names *names, struct reason *reason)
{
    struct blob_names used = {NULL, 0};
    int directory = -1;
    int blobs = -1;
    enum status status = open_part(cache, model_id, SNAPSHOTS, &directory, reason);
    if (status == STATUS_OK && directory >= 0)
        status = walk_all(cache, model_id, directory, 1,
                          &(struct visitor){collect, &used}, reason);
    if (status == STATUS_OK)
        status = open_part(cache, model_id, BLOBS, &blobs, reason);
    for (size_t i = 0; i < names->count && blobs >= 0 && status == STATUS_OK; i++)
        if (!has_name(&used, names->names[i]))
            status = drop_blob(cache, model_id, blobs, names->names[i], reason);
    if (blobs >= 0)
        (void)close(blobs);
    memory_free(used.names);
    return status;
}

static bool drop_below(int model, const char *part, const char *name)
{
    const int directory = store_open_directory(model, part);
    if (directory < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
    const bool is_gone = store_remove_tree(directory, name) == 0;
    (void)close(directory);
    return is_gone;
}

/* Empty directories of a model nobody has a snapshot of; "snapshots" stays as long as anything
 * does, for without it others take the directory for damaged. */
static bool drop_directories(const struct hub_cache *cache, int model, const char *name)
{
    static const char *const parts[] = {REFS "/refs/pr", REFS "/refs", REFS, TREES, NO_EXIST,
                                        BLOBS, SNAPSHOTS};
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        if (store_remove_directory(model, parts[i]) == 0 || errno == ENOENT)
            continue;
        return errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR;
    }
    return store_remove_directory(cache->directory, name) == 0 || errno == ENOENT ||
           errno == ENOTEMPTY || errno == EEXIST;
}

/* What is left of a commit, and of a model nobody has a snapshot of. */
static enum status drop_empty(const struct hub_cache *cache, const char *model_id,
                              const char *commit, struct reason *reason)
{
    char name[HUB_NAME_SIZE];
    struct stat facts;
    int model = -1;
    enum status status = open_part(cache, model_id, "", &model, reason);
    if (status != STATUS_OK || model < 0)
        return status;
    (void)snprintf(name, sizeof(name), "%s.json", commit);
    bool is_done = drop_below(model, TREES, name) && drop_below(model, NO_EXIST, commit) &&
                   hub_model_name(model_id, name, reason) == STATUS_OK;
    if (is_done && store_stat(model, SNAPSHOTS, &facts) != 0)
        is_done = errno == ENOENT && drop_directories(cache, model, name);
    else if (is_done && facts.st_nlink <= 2)
        is_done = drop_directories(cache, model, name);
    if (!is_done)
        status = hub_cache_failed(cache, model_id, "an empty directory", reason);
    (void)close(model);
    return status;
}

enum status hub_cache_snapshot_remove(const struct hub_cache *cache, const char *model_id,
                                      const char *commit, const char *const *etags,
                                      size_t etag_count, struct reason *reason)
{
    struct blob_names names = {NULL, 0};
    enum status status = STATUS_OK;
    if (!hub_commit_is_sound(commit))
        return refuse(reason, STATUS_INVALID, "%.100s: %.100s is no commit; it has 40 hex digits",
                      model_id, text_or_empty(commit));
    for (size_t i = 0; i < etag_count && status == STATUS_OK; i++)
        status = etag_kind_of(etags[i]) == ETAG_NONE ? STATUS_OK
                                                     : names_add(&names, etags[i], reason);
    if (status == STATUS_OK)
        status = drop_snapshot(cache, model_id, commit, &names, reason);
    if (status == STATUS_OK)
        status = drop_blobs(cache, model_id, &names, reason);
    if (status == STATUS_OK)
        status = drop_empty(cache, model_id, commit, reason);
    memory_free(names.names);
    return status;
}
