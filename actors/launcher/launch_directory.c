/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/launcher/launch_directory.h"

#include "runtime/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char lock_name[] = "owner.lock";

static int remove_entry(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat;
    (void)kind;
    (void)walk;
    (void)remove(path);
    return 0;
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* The lock file's descriptor, or -1 with errno; EWOULDBLOCK when its owner lives. */
static int lock_in(const char *path, int flags)
{
    char name[PATH_MAX + sizeof(lock_name) + 1];
    (void)snprintf(name, sizeof(name), "%s/%s", path, lock_name);
    int lock = open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (lock < 0)
        return -1;
    struct stat stat;
    int error = 0;
    if (flock(lock, LOCK_EX | LOCK_NB) != 0)
        error = errno;
    else if (fstat(lock, &stat) != 0 || stat.st_nlink == 0)
        error = ENOENT; /* a sweeper removed it between the two calls */
    if (error == 0)
        return lock;
    (void)close(lock);
    errno = error;
    return -1;
}

/* A sweeper may hold the lock for a moment, or remove the directory under us. */
static int lock_made(const char *path)
{
    int lock = -1;
    for (int attempt = 0; attempt < 20 && lock < 0; attempt++) {
        if (attempt)
            clock_sleep_ms(5);
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return -1;
        lock = lock_in(path, O_CREAT);
        if (lock < 0 && errno != EWOULDBLOCK && errno != ENOENT)
            return -1;
    }
    return lock;
}

/* A directory without a lock file may be one that is being made: it is left alone. */
static void remove_if_dead(const char *path)
{
    int lock = lock_in(path, 0);
    if (lock < 0)
        return;
    remove_tree(path);
    (void)close(lock);
}

static void sweep(const char *parent, const char *name)
{
    const char *dash = strchr(name, '-');
    size_t prefix_size = dash ? (size_t)(dash - name) + 1 : strlen(name);
    DIR *stream = opendir(parent);
    if (!stream)
        return;
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        if (strncmp(entry->d_name, name, prefix_size) != 0)
            continue;
        char path[PATH_MAX];
        int length = snprintf(path, sizeof(path), "%s/%s", parent, entry->d_name);
        if (length > 0 && (size_t)length < sizeof(path))
            remove_if_dead(path);
    }
    (void)closedir(stream);
}

enum status launch_directory_open(const char *path, struct launch_directory *directory_out,
                                  struct reason *reason)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    if (strlen(path) >= sizeof(parent) || *name == '\0')
        return refuse(reason, STATUS_INVALID, "%s cannot be a launcher's directory", path);
    (void)snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 1,
                   slash ? path : ".");
    sweep(parent, name);
    struct launch_directory directory = {.lock = lock_made(path)};
    if (directory.lock < 0) {
        int error = errno;
        bool taken = error == EWOULDBLOCK;
        return refuse(reason, taken ? STATUS_EXISTS : status_from_errno(error),
                      "cannot make the directory %s: %s", path,
                      taken ? "another launcher of this generation runs" : strerror(error));
    }
    if (!realpath(path, directory.path)) {
        int error = errno;
        (void)close(directory.lock);
        return refuse(reason, status_from_errno(error), "cannot resolve %s: %s", path,
                      strerror(error));
    }
    *directory_out = directory;
    return STATUS_OK;
}

void launch_directory_close(struct launch_directory *directory)
{
    if (directory->lock < 0)
        return;
    remove_tree(directory->path);
    (void)close(directory->lock);
    directory->lock = -1;
}
