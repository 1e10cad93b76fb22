/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/hub_link.h"

#include "runtime/hub_names.h"
#include "runtime/store_io.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define UP "../"
#define BLOBS "blobs"
#define LINK_SIZE 512
#define SHARED_HASH_LENGTH 64u

static int failed(int error)
{
    errno = error;
    return -1;
}

static void close_quietly(int file)
{
    const int error = errno;
    if (file >= 0)
        (void)close(file);
    errno = error;
}

/* Below `directory`, which is closed. */
static int descend(int directory, const char *name)
{
    const int below = directory >= 0 ? store_open_directory(directory, name) : -1;
    close_quietly(directory);
    return below;
}

/* What stands after exactly `depth` times "../" and "blobs/"; NULL: another form. */
static const char *after_blobs(const char *target, size_t depth)
{
    for (size_t i = 0; i < depth; i++, target += strlen(UP))
        if (strncmp(target, UP, strlen(UP)) != 0)
            return NULL;
    return strncmp(target, BLOBS "/", strlen(BLOBS) + 1) == 0 ? target + strlen(BLOBS) + 1 : NULL;
}

static bool read_target(int directory, const char *name, char target_out[LINK_SIZE])
{
    const int64_t length = store_read_link(directory, name, target_out, LINK_SIZE);
    if (length >= 0 && length < LINK_SIZE) {
        target_out[length] = '\0';
        return true;
    }
    if (length >= LINK_SIZE)
        errno = ELOOP;
    return false;
}

int hub_link_read(int directory, const char *name, size_t depth,
                  char blob_out[HUB_BLOB_NAME_SIZE])
{
    char target[LINK_SIZE];
    if (!read_target(directory, name, target))
        return -1;
    const char *blob = after_blobs(target, depth);
    if (!blob || !hub_blob_name_is_sound(blob, strlen(blob)))
        return failed(ELOOP);
    memcpy(blob_out, blob, strlen(blob) + 1);
    return 0;
}

/* "../../blobs/XX/HASH", seen from the blobs of a model. */
static int open_shared(int blobs, const char *name)
{
    char target[LINK_SIZE];
    char prefix[3];
    if (!read_target(blobs, name, target))
        return -1;
    const char *rest = after_blobs(target, 2);
    if (!rest || strlen(rest) != 3 + SHARED_HASH_LENGTH || rest[2] != '/' ||
        strspn(rest + 3, "0123456789abcdef") != SHARED_HASH_LENGTH || rest[0] != rest[3] ||
        rest[1] != rest[4])
        return failed(ELOOP);
    memcpy(prefix, rest, 2);
    prefix[2] = '\0';
    const int directory = descend(descend(store_open_above(blobs, 2), BLOBS), prefix);
    const int file = directory >= 0 ? store_open_file(directory, rest + 3) : -1;
    close_quietly(directory);
    return file;
}

int hub_blob_open(int blobs, const char *name)
{
    const int file = store_open_file(blobs, name);
    return file < 0 && errno == ELOOP ? open_shared(blobs, name) : file;
}

/* `depth`: how far up the directory of the blobs is. */
static int open_entry(int directory, const char *name, size_t depth,
                      char blob_out[HUB_BLOB_NAME_SIZE])
{
    int file = store_open_file(directory, name);
    blob_out[0] = '\0';
    if (file >= 0 || errno != ELOOP)
        return file;
    if (hub_link_read(directory, name, depth, blob_out) != 0)
        return -1;
    const int blobs = descend(store_open_above(directory, (int)depth), BLOBS);
    file = blobs >= 0 ? hub_blob_open(blobs, blob_out) : -1;
    close_quietly(blobs);
    return file;
}

int hub_file_open(int directory, const char *path, char blob_out[HUB_BLOB_NAME_SIZE])
{
    char blob[HUB_BLOB_NAME_SIZE];
    char part[256];
    size_t depth = 2;
    if (!hub_path_is_sound(path))
        return failed(EINVAL);
    int at = -1;
    const char *slash;
    while ((slash = strchr(path, '/'))) {
        (void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        at = at < 0 ? store_open_directory(directory, part) : descend(at, part);
        if (at < 0)
            return -1;
        path = slash + 1;
        depth++;
    }
    const int file = open_entry(at < 0 ? directory : at, path, depth, blob_out ? blob_out : blob);
    close_quietly(at);
    return file;
}
