/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_store_find: models that are on this machine already, put there by others.
 */
#include "protocol/schema.h"
#include "runtime/hub_link.h"
#include "runtime/model_store.h"
#include "runtime/safetensors.h"
#include "runtime/store_io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* All that a model needs: its configuration, its tokenizer, every file of its weights. */
static bool is_whole(const char *path)
{
    static const char *const needed[] = {"config.json", "tokenizer.json"};
    struct tensor_table *table = NULL;
    struct reason unread;
    for (size_t i = 0; i < COUNT_OF(needed); i++) {
        uint64_t size = 0;
        int file = -1;
        if (model_file_open(path, needed[i], &file, &size, &unread) != STATUS_OK)
            return false;
        (void)close(file);
    }
    const bool has_weights = safetensors_open(path, &table, &unread) == STATUS_OK;
    tensor_table_free(table);
    return has_weights;
}

static bool find_snapshot(const struct hub_cache *cache, const char *model_id,
                          const char *revision, char *path_out, size_t path_size)
{
    char commit[HUB_COMMIT_SIZE];
    struct reason unread;
    if (hub_commit_is_sound(revision))
        memcpy(commit, revision, HUB_COMMIT_SIZE);
    else if (hub_cache_ref_get(cache, model_id, revision, commit, &unread) != STATUS_OK)
        return false;
    return hub_cache_snapshot_path(cache, model_id, commit, path_out, path_size, &unread) ==
               STATUS_OK &&
           is_whole(path_out);
}

static bool find_in_cache(const char *root, const char *model_id, const char *revision,
                          char *path_out, size_t path_size)
{
    struct hub_cache cache;
    struct reason unread;
    if (hub_cache_open_read(&cache, root, &unread) != STATUS_OK)
        return false;
    const bool is_found = find_snapshot(&cache, model_id, revision, path_out, path_size);
    hub_cache_close(&cache);
    return is_found;
}

/* A cache of others, a directory of "org/name" directories, or the model itself. */
static bool find_below(const char *root, const char *model_id, const char *revision,
                       char *path_out, size_t path_size)
{
    const char *base = strrchr(root, '/');
    if (find_in_cache(root, model_id, revision, path_out, path_size))
        return true;
    int length = snprintf(path_out, path_size, "%s/%s", root, model_id);
    if (length > 0 && (size_t)length < path_size && is_whole(path_out))
        return true;
    length = snprintf(path_out, path_size, "%s", root);
    const char *name = strrchr(model_id, '/');
    return base && strcmp(base + 1, name ? name + 1 : model_id) == 0 && length > 0 &&
           (size_t)length < path_size && is_whole(path_out);
}

typedef bool find_in(const char *root, const char *model_id, const char *revision, char *path_out,
                     size_t path_size);

static bool find_in_each(const struct model_store *store, find_in *find, const char *model_id,
                         const char *revision, char *path_out, size_t path_size)
{
    char root[PATH_MAX];
    bool is_found = false;
    for (const char *at = store->directories; *at && !is_found;) {
        const size_t length = strcspn(at, ":");
        if (length > 0 && length < sizeof(root)) {
            memcpy(root, at, length);
            root[length] = '\0';
            is_found = find(root, model_id, revision, path_out, path_size);
        }
        at += length + (at[length] == ':');
    }
    return is_found;
}

bool model_store_find_commit(const struct model_store *store, const char *model_id,
                             const char *commit, char *path_out, size_t path_size)
{
    return model_id_is_sound(model_id) && hub_commit_is_sound(commit) &&
           find_in_each(store, find_in_cache, model_id, commit, path_out, path_size);
}

enum status model_store_find(const struct model_store *store, const char *model_id,
                             const char *revision, char *path_out, size_t path_size,
                             struct reason *reason)
{
    char path[PATH_MAX];
    const char *wanted = revision ? revision : "main";
    if (!model_id_is_sound(model_id))
        return refuse(reason, STATUS_INVALID, "%.100s is no name for a model",
                      text_or_empty(model_id));
    const bool is_found =
        find_snapshot(&store->cache, model_id, wanted, path, sizeof(path)) ||
        find_in_each(store, find_below, model_id, wanted, path, sizeof(path));
    if (!is_found)
        return refuse(reason, STATUS_NOT_FOUND, "%.100s is neither in %.160s nor in a directory of "
                      "model_directories", model_id, store->cache.root);
    if (strlen(path) >= path_size)
        return refuse(reason, STATUS_TOO_LARGE, "%.200s... is too long a path", path);
    memcpy(path_out, path, strlen(path) + 1);
    return STATUS_OK;
}
