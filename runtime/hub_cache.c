/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/hub_cache.h"

#include "runtime/clock.h"
#include "runtime/paths.h"
#include "runtime/store_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/sysmacros.h>
#endif
#include <unistd.h>

#define TAG_NAME "CACHEDIR.TAG"
#define TAG_TEXT                                                                                   \
    "Signature: 8a477f597d28d172789f06886806bc55\n"                                                \
    "# Models in the layout of the Hugging Face cache; see https://bford.info/cachedir/\n"
#define LOCKS ".locks"
#define LOCK_STEP_MS 20u
#define REPLACED_MAX 100 /* times in a row that a lock file is another than the one locked */

enum status hub_cache_failed(const struct hub_cache *cache, const char *model_id,
                             const char *what, struct reason *reason)
{
    const int error = errno;
    if (error == ELOOP)
        return refuse(reason, STATUS_REFUSED,
                      "%.120s in %.160s: %.80s is a symbolic link that is none of the cache's; "
                      "remove it", model_id, cache->root, what);
    if (error == ENOENT)
        return refuse(reason, STATUS_NOT_FOUND, "%.120s: %.80s is not in %.160s", model_id, what,
                      cache->root);
    return refuse(reason, status_from_errno(error), "%.120s in %.160s: %.80s: %s", model_id,
                  cache->root, what, strerror(error));
}

/* ---- opening ---- */

static enum status open_root(struct hub_cache *cache, const char *root, struct reason *reason)
{
    memset(cache, 0, sizeof(*cache));
    cache->directory = -1;
    int length = snprintf(cache->root, sizeof(cache->root), "%s", root);
    if (length < 0 || (size_t)length >= sizeof(cache->root))
        return refuse(reason, STATUS_TOO_LARGE, "%.100s... is too long a path for a model store",
                      root);
    cache->directory = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cache->directory >= 0)
        return STATUS_OK;
    return refuse(reason, status_from_errno(errno), "%.300s: the model store cannot be opened: %s",
                  root, strerror(errno));
}

/* As others do, best effort: a cache without its tag is still one. */
static void put_tag(const struct hub_cache *cache)
{
    struct stat facts;
    if (store_stat(cache->directory, TAG_NAME, &facts) == 0)
        return;
    int file = store_open_own(cache->directory, TAG_NAME, 0666);
    if (file < 0)
        return;
    (void)!store_write_all(file, TAG_TEXT, strlen(TAG_TEXT));
    (void)close(file);
}

enum status hub_cache_open(struct hub_cache *cache, const char *root, struct reason *reason)
{
    *cache = (struct hub_cache){.directory = -1};
    enum status status = directory_make(root, reason);
    if (status == STATUS_OK)
        status = open_root(cache, root, reason);
    if (status == STATUS_OK)
        put_tag(cache);
    return status;
}

enum status hub_cache_open_read(struct hub_cache *cache, const char *root, struct reason *reason)
{
    return open_root(cache, root, reason);
}

void hub_cache_close(struct hub_cache *cache)
{
    if (cache->directory >= 0)
        (void)close(cache->directory);
    cache->directory = -1;
}

/* `directory` is closed unless it is the root's. */
static int enter(const struct hub_cache *cache, int directory, const char *name, bool makes)
{
    int below = -1;
    struct stat facts;
    if (!makes || store_share_directory(directory, name) == 0)
        below = store_open_directory(directory, name);
    int error = errno;
    /* What O_DIRECTORY with O_NOFOLLOW says of a link. */
    if (below < 0 && error == ENOTDIR && store_stat(directory, name, &facts) == 0 &&
        S_ISLNK(facts.st_mode))
        error = ELOOP;
    if (directory != cache->directory)
        (void)close(directory);
    errno = error;
    return below;
}

enum status hub_cache_directory(const struct hub_cache *cache, const char *model_id,
                                const char *path, bool makes, int *directory_out,
                                struct reason *reason)
{
    char name[HUB_NAME_SIZE];
    char part[256];
    enum status status = hub_model_name(model_id, name, reason);
    if (status != STATUS_OK)
        return status;
    const char *at = path;
    int directory = enter(cache, cache->directory, name, makes);
    while (directory >= 0 && *at) {
        const size_t length = strcspn(at, "/");
        ASSERT(length > 0 && length < sizeof(part));
        memcpy(part, at, length);
        part[length] = '\0';
        directory = enter(cache, directory, part, makes);
        at += length + (at[length] == '/');
    }
    if (directory < 0)
        return hub_cache_failed(cache, model_id, *path ? path : name, reason);
    *directory_out = directory;
    return STATUS_OK;
}

/* ---- locks ---- */

/* The process that has this file locked, as Linux tells it; 0: it does not. */
static long lock_owner(int file)
{
    struct stat facts;
    char line[256];
    char place[64];
    long owner = 0;
    FILE *locks = fstat(file, &facts) == 0 ? fopen("/proc/locks", "re") : NULL;
    if (!locks)
        return 0;
#ifdef __linux__
    (void)snprintf(place, sizeof(place), " %02x:%02x:%llu ", major(facts.st_dev),
                   minor(facts.st_dev), (unsigned long long)facts.st_ino);
#else
    place[0] = '\0';
#endif
    while (place[0] && owner == 0 && fgets(line, sizeof(line), locks)) {
        const char *at = strstr(line, "FLOCK");
        const char *end = strstr(line, place);
        if (!at || !end || strstr(line, "->"))
            continue;
        while (end > at && end[-1] != ' ')
            end--;
        owner = strtol(end, NULL, 10);
    }
    (void)fclose(locks);
    return owner;
}

static enum status busy(const struct hub_cache *cache, const char *model_id, const char *etag,
                        int file, struct reason *reason)
{
    char path[64];
    char name[32] = "";
    const long owner = lock_owner(file);
    (void)snprintf(path, sizeof(path), "/proc/%ld/comm", owner);
    FILE *command = owner > 0 ? fopen(path, "re") : NULL;
    if (command) {
        if (fgets(name, sizeof(name), command))
            name[strcspn(name, "\n")] = '\0';
        (void)fclose(command);
    }
    if (owner > 0)
        return refuse(reason, STATUS_BUSY,
                      "%.100s: process %ld (%s) is writing %.64s in %.160s; wait until it is done",
                      model_id, owner, name[0] ? name : "of another user", etag, cache->root);
    return refuse(reason, STATUS_BUSY, "%.100s: another process is writing %.64s in %.160s; wait "
                  "until it is done", model_id, etag, cache->root);
}

/* True while the locked file is the one of that name: others may remove lock files. */
static bool is_in_place(int directory, const char *name, int file)
{
    struct stat held;
    struct stat named;
    return fstat(file, &held) == 0 && store_stat(directory, name, &named) == 0 &&
           held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

static int open_locks(const struct hub_cache *cache, const char *model_name)
{
    const int locks = enter(cache, cache->directory, LOCKS, true);
    return locks >= 0 ? enter(cache, locks, model_name, true) : -1;
}

enum status hub_cache_lock(const struct hub_cache *cache, const char *model_id, const char *etag,
                           uint64_t timeout_ms, struct hub_lock *lock_out, struct reason *reason)
{
    char model_name[HUB_NAME_SIZE];
    char name[ETAG_SIZE + 8];
    enum status status = hub_model_name(model_id, model_name, reason);
    if (status != STATUS_OK)
        return status;
    if (etag_kind_of(etag) == ETAG_NONE)
        return refuse(reason, STATUS_INVALID, "%.100s is no hash of a file", etag);
    (void)snprintf(name, sizeof(name), "%s.lock", etag);
    const int directory = open_locks(cache, model_name);
    if (directory < 0)
        return hub_cache_failed(cache, model_id, LOCKS, reason);
    const uint64_t limit_ms = clock_now_ms() + timeout_ms;
    for (int replaced = 0;;) {
        int file = store_open_own(directory, name, 0666);
        const bool is_held = file >= 0 && store_lock(file) == 0;
        if (is_held && is_in_place(directory, name, file)) {
            (void)close(directory);
            lock_out->file = file;
            return STATUS_OK;
        }
        if (is_held && ++replaced < REPLACED_MAX) {
            (void)close(file);
            continue;
        }
        if (file < 0 || (!is_held && errno != EWOULDBLOCK))
            status = hub_cache_failed(cache, model_id, name, reason);
        else if (clock_now_ms() >= limit_ms)
            status = busy(cache, model_id, etag, file, reason);
        if (file >= 0)
            (void)close(file);
        if (status != STATUS_OK)
            break;
        clock_sleep_ms(LOCK_STEP_MS);
    }
    (void)close(directory);
    return status;
}

void hub_cache_unlock(struct hub_lock *lock)
{
    if (lock->file >= 0)
        (void)close(lock->file);
    lock->file = -1;
}
