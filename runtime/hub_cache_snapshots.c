/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_cache_snapshots: what a commit of a model consists of, and where its branches stand.
 */
#include "protocol/schema.h"
#include "runtime/hub_cache.h"
#include "runtime/hub_link.h"
#include "runtime/store_io.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOBS "blobs"
#define REFS "refs"
#define SNAPSHOTS "snapshots"
#define PLACE_SIZE (sizeof(SNAPSHOTS) + HUB_COMMIT_SIZE + NAME_SIZE_MAX + 2)

/* "snapshots/COMMIT" and the directories of `path`; `name_out` is its last part. */
static enum status place_of(const char *model_id, const char *commit, const char *path,
                            char place_out[PLACE_SIZE], const char **name_out,
                            struct reason *reason)
{
    if (!hub_commit_is_sound(commit))
        return refuse(reason, STATUS_INVALID, "%.100s: %.100s is no commit; it has 40 hex digits",
                      model_id, text_or_empty(commit));
    if (!hub_path_is_sound(path))
        return refuse(reason, STATUS_INVALID, "%.100s: %.100s is no path of a file in a model",
                      model_id, text_or_empty(path));
    const char *slash = strrchr(path, '/');
    *name_out = slash ? slash + 1 : path;
    (void)snprintf(place_out, PLACE_SIZE, SNAPSHOTS "/%s%s%.*s", commit, slash ? "/" : "",
                   slash ? (int)(slash - path) : 0, path);
    return STATUS_OK;
}

static size_t depth_of(const char *path)
{
    size_t depth = 2;
    for (; *path; path++)
        depth += *path == '/';
    return depth;
}

enum status hub_cache_snapshot_path(const struct hub_cache *cache, const char *model_id,
                                    const char *commit, char *path_out, size_t path_size,
                                    struct reason *reason)
{
    char name[HUB_NAME_SIZE];
    enum status status = hub_model_name(model_id, name, reason);
    if (status != STATUS_OK)
        return status;
    if (!hub_commit_is_sound(commit))
        return refuse(reason, STATUS_INVALID, "%.100s: %.100s is no commit; it has 40 hex digits",
                      model_id, text_or_empty(commit));
    int length = snprintf(path_out, path_size, "%s/%s/" SNAPSHOTS "/%s", cache->root, name, commit);
    if (length < 0 || (size_t)length >= path_size)
        return refuse(reason, STATUS_TOO_LARGE, "the path of %.100s is too long", model_id);
    return STATUS_OK;
}

enum status hub_cache_snapshot_link(const struct hub_cache *cache, const char *model_id,
                                    const char *commit, const char *path, const char *etag,
                                    struct reason *reason)
{
    char place[PLACE_SIZE];
    char beside[NAME_SIZE_MAX + sizeof(HUB_NEW_END) + 1];
    char target[3 * (HUB_DEPTH_MAX + 2) + sizeof(BLOBS) + ETAG_SIZE] = "";
    char blob[HUB_BLOB_NAME_SIZE];
    const char *name = NULL;
    int directory = -1;
    enum status status = place_of(model_id, commit, path, place, &name, reason);
    if (status == STATUS_OK && etag_kind_of(etag) == ETAG_NONE)
        status = refuse(reason, STATUS_INVALID, "%.100s is no hash of a file", etag);
    if (status == STATUS_OK)
        status = hub_cache_directory(cache, model_id, place, true, &directory, reason);
    if (status != STATUS_OK)
        return status;
    const size_t depth = depth_of(path);
    for (size_t i = 0; i < depth; i++)
        memcpy(target + 3 * i, "../", 4);
    (void)snprintf(target + 3 * depth, sizeof(target) - 3 * depth, BLOBS "/%s", etag);
    (void)snprintf(beside, sizeof(beside), "%s" HUB_NEW_END, name);
    if (hub_link_read(directory, name, depth, blob) != 0 || strcmp(blob, etag) != 0) {
        /* One of a writer that was killed. */
        if ((store_unlink(directory, beside) != 0 && errno != ENOENT) ||
            store_make_link(directory, beside, target) != 0 ||
            store_rename(directory, beside, name) != 0 || store_sync(directory) != 0) {
            status = hub_cache_failed(cache, model_id, path, reason);
            (void)!store_unlink(directory, beside);
        }
    }
    (void)close(directory);
    return status;
}

enum status hub_cache_snapshot_resolve(const struct hub_cache *cache, const char *model_id,
                                       const char *commit, const char *path, int *file_out,
                                       uint64_t *size_out, char etag_out[ETAG_SIZE],
                                       struct reason *reason)
{
    char place[PLACE_SIZE];
    char blob[HUB_BLOB_NAME_SIZE] = "";
    const char *name = NULL;
    struct stat facts;
    int snapshot = -1;
    enum status status = place_of(model_id, commit, path, place, &name, reason);
    if (status != STATUS_OK)
        return status;
    place[sizeof(SNAPSHOTS) + HUB_COMMIT_SIZE - 1] = '\0'; /* the snapshot alone */
    status = hub_cache_directory(cache, model_id, place, false, &snapshot, reason);
    if (status != STATUS_OK)
        return status;
    const int file = hub_file_open(snapshot, path, blob);
    if (file < 0 || fstat(file, &facts) != 0)
        status = hub_cache_failed(cache, model_id, path, reason);
    (void)close(snapshot);
    if (status != STATUS_OK) {
        if (file >= 0)
            (void)close(file);
        return status;
    }
    *file_out = file;
    *size_out = (uint64_t)facts.st_size;
    if (etag_out)
        (void)snprintf(etag_out, ETAG_SIZE, "%s",
                       etag_kind_of(blob) == ETAG_NONE ? "" : blob);
    return STATUS_OK;
}

/* ---- refs ---- */

static enum status place_of_ref(const char *model_id, const char *ref, char place_out[PLACE_SIZE],
                                const char **name_out, struct reason *reason)
{
    if (!hub_path_is_sound(ref))
        return refuse(reason, STATUS_INVALID, "%.100s: %.100s is no name of a branch", model_id,
                      text_or_empty(ref));
    const char *slash = strrchr(ref, '/');
    *name_out = slash ? slash + 1 : ref;
    (void)snprintf(place_out, PLACE_SIZE, REFS "%s%.*s", slash ? "/" : "",
                   slash ? (int)(slash - ref) : 0, ref);
    return STATUS_OK;
}

enum status hub_cache_ref_set(const struct hub_cache *cache, const char *model_id,
                              const char *ref, const char *commit, struct reason *reason)
{
    char place[PLACE_SIZE];
    char beside[NAME_SIZE_MAX + sizeof(HUB_NEW_END) + 1];
    const char *name = NULL;
    int directory = -1;
    if (!hub_commit_is_sound(commit))
        return refuse(reason, STATUS_INVALID, "%.100s: %.100s is no commit; it has 40 hex digits",
                      model_id, text_or_empty(commit));
    enum status status = place_of_ref(model_id, ref, place, &name, reason);
    if (status == STATUS_OK)
        status = hub_cache_directory(cache, model_id, place, true, &directory, reason);
    if (status != STATUS_OK)
        return status;
    (void)snprintf(beside, sizeof(beside), ".%s" HUB_NEW_END, name);
    (void)!store_unlink(directory, beside);
    int file = store_open_own(directory, beside, 0666);
    if (file < 0 || store_write_all(file, commit, strlen(commit)) != 0 || store_sync(file) != 0 ||
        store_rename(directory, beside, name) != 0 || store_sync(directory) != 0) {
        status = hub_cache_failed(cache, model_id, ref, reason);
        (void)!store_unlink(directory, beside);
    }
    if (file >= 0)
        (void)close(file);
    (void)close(directory);
    return status;
}

enum status hub_ref_read(int directory, const char *name, char commit_out[HUB_COMMIT_SIZE])
{
    char text[HUB_COMMIT_SIZE + 2] = "";
    const int file = store_open_file(directory, name);
    if (file < 0)
        return status_from_errno(errno);
    const int64_t length = store_read_at(file, text, sizeof(text) - 1, 0);
    (void)close(file);
    if (length < 0)
        return STATUS_IO;
    text[strcspn(text, "\r\n")] = '\0'; /* some tools write one */
    if (!hub_commit_is_sound(text))
        return STATUS_DAMAGED;
    memcpy(commit_out, text, HUB_COMMIT_SIZE);
    return STATUS_OK;
}

enum status hub_cache_ref_get(const struct hub_cache *cache, const char *model_id, const char *ref,
                              char commit_out[HUB_COMMIT_SIZE], struct reason *reason)
{
    char place[PLACE_SIZE];
    const char *name = NULL;
    int directory = -1;
    enum status status = place_of_ref(model_id, ref, place, &name, reason);
    if (status == STATUS_OK)
        status = hub_cache_directory(cache, model_id, place, false, &directory, reason);
    if (status != STATUS_OK)
        return status;
    status = hub_ref_read(directory, name, commit_out);
    (void)close(directory);
    if (status == STATUS_OK)
        return STATUS_OK;
    return refuse(reason, status, "%.100s: the branch %.100s in %.160s %s", model_id, ref,
                  cache->root, status == STATUS_NOT_FOUND ? "is not known" : "cannot be read");
}
