/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/store_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define TREE_DEPTH_MAX 16
#define DIRECT_BLOCK ((size_t)4096) /* what any disk takes past the page cache */

static atomic_uint_fast64_t calls_left = UINT64_MAX;
static atomic_int failing_error = EIO;
static atomic_uint_fast64_t pretended_free = UINT64_MAX;

void store_io_fail_after(uint64_t calls, int error)
{
    atomic_store(&failing_error, error);
    atomic_store(&calls_left, calls);
}

bool store_io_has_failed(void)
{
    return atomic_load(&calls_left) == UINT64_MAX;
}

void store_io_pretend_free(uint64_t bytes)
{
    atomic_store(&pretended_free, bytes);
}

static bool fails(void)
{
    if (atomic_load(&calls_left) == UINT64_MAX)
        return false;
    if (atomic_fetch_sub(&calls_left, 1) > 0)
        return false;
    atomic_store(&calls_left, UINT64_MAX);
    errno = atomic_load(&failing_error);
    return true;
}

int store_open_directory(int parent, const char *name)
{
    if (fails())
        return -1;
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int store_open_file(int directory, const char *name)
{
    struct stat facts;
    if (fails())
        return -1;
    int file = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (file >= 0 && (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode))) {
        (void)close(file);
        errno = EINVAL;
        return -1;
    }
    return file;
}

int store_create_file(int directory, const char *name)
{
    if (fails())
        return -1;
    return openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

/* One that is none of ours alone is closed. */
static int regular(int file)
{
    struct stat facts;
    if (file >= 0 && (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode) || facts.st_nlink > 1)) {
        (void)close(file);
        errno = EINVAL;
        return -1;
    }
    return file;
}

int store_open_own(int directory, const char *name, mode_t mode)
{
    if (fails())
        return -1;
    return regular(openat(directory, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK,
                          mode));
}

int store_open_there(int directory, const char *name)
{
    if (fails())
        return -1;
    return regular(openat(directory, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
}

int store_open_above(int directory, int levels)
{
    char path[3 * 32 + 1] = "";
    if (fails())
        return -1;
    for (int i = 0; i < levels && i < 32; i++)
        memcpy(path + 3 * i, "../", 4);
    return openat(directory, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int store_make_directory(int parent, const char *name)
{
    return fails() ? -1 : mkdirat(parent, name, 0700);
}

int store_share_directory(int parent, const char *name)
{
    if (fails())
        return -1;
    return mkdirat(parent, name, 0777) == 0 || errno == EEXIST ? 0 : -1;
}

int store_allocate(int file, uint64_t size)
{
    if (fails() || ftruncate(file, (off_t)size) != 0)
        return -1;
#ifdef __linux__
    if (size > 0 && fallocate(file, 0, 0, (off_t)size) != 0 && errno != EOPNOTSUPP)
        return -1;
#endif
    return 0;
}

int64_t store_read_link(int directory, const char *name, char *target_out, size_t size)
{
    return fails() ? -1 : readlinkat(directory, name, target_out, size);
}

int store_make_link(int directory, const char *name, const char *target)
{
    return fails() ? -1 : symlinkat(target, directory, name);
}

int store_unlink(int directory, const char *name)
{
    return fails() ? -1 : unlinkat(directory, name, 0);
}

int store_remove_directory(int parent, const char *name)
{
    return fails() ? -1 : unlinkat(parent, name, AT_REMOVEDIR);
}

int store_lock(int file)
{
    int result = fails() ? -1 : flock(file, LOCK_EX | LOCK_NB);
    while (result != 0 && errno == EINTR)
        result = flock(file, LOCK_EX | LOCK_NB);
    return result;
}

void store_unlock(int file)
{
    (void)flock(file, LOCK_UN);
}

int store_write_all(int file, const void *bytes, size_t size)
{
    const char *at = bytes;
    if (fails())
        return -1;
    while (size > 0) {
        ssize_t count = write(file, at, size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -1;
        at += count;
        size -= (size_t)count;
    }
    return 0;
}

int store_open_direct(int directory, const char *name)
{
#ifdef O_DIRECT
    return openat(directory, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_DIRECT);
#else
    (void)directory;
    (void)name;
    errno = ENOTSUP;
    return -1;
#endif
}

/* How much of it the system took. */
static size_t write_some(int file, const uint8_t *bytes, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        const ssize_t count = pwrite(file, bytes + done, size - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        done += (size_t)count;
    }
    return done;
}

int store_write_at(int file, int direct, const void *bytes, size_t size, uint64_t offset)
{
    const bool is_even = offset % DIRECT_BLOCK == 0 && (uintptr_t)bytes % DIRECT_BLOCK == 0;
    size_t done = 0;
    if (fails())
        return -1;
    /* What it does not take, for whatever reason, is said by the write that follows. */
    if (direct >= 0 && is_even)
        done = write_some(direct, bytes, size - size % DIRECT_BLOCK, offset);
    done += write_some(file, (const uint8_t *)bytes + done, size - done, offset + done);
    return done == size ? 0 : -1;
}

int64_t store_read_at(int file, void *bytes_out, size_t size, uint64_t offset)
{
    size_t have = 0;
    if (fails())
        return -1;
    while (have < size) {
        ssize_t count = pread(file, (char *)bytes_out + have, size - have, (off_t)(offset + have));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -1;
        if (count == 0)
            break;
        have += (size_t)count;
    }
    return (int64_t)have;
}

int store_sync(int file)
{
    if (fails())
        return -1;
#ifdef __APPLE__
    /* fsync leaves the bytes in the drive's cache there; not every file system can do better. */
    if (fcntl(file, F_FULLFSYNC) == 0)
        return 0;
#endif
    return fsync(file);
}

int store_stat(int directory, const char *name, struct stat *facts_out)
{
    return fails() ? -1 : fstatat(directory, name, facts_out, AT_SYMLINK_NOFOLLOW);
}

int store_rename(int parent, const char *from, const char *to)
{
    return fails() ? -1 : renameat(parent, from, parent, to);
}

int store_exchange(int parent, const char *one, const char *other)
{
    if (fails())
        return -1;
#if defined(__linux__) && defined(RENAME_EXCHANGE)
    return renameat2(parent, one, parent, other, RENAME_EXCHANGE);
#elif defined(__APPLE__) && defined(RENAME_SWAP)
    return renameatx_np(parent, one, parent, other, RENAME_SWAP);
#else
    errno = EINVAL;
    return -1;
#endif
}

int store_link(int from, int to, const char *name)
{
    return fails() ? -1 : linkat(from, name, to, name, 0);
}

int store_free_bytes(int directory, uint64_t *bytes_out)
{
    struct statvfs facts;
    if (fails() || fstatvfs(directory, &facts) != 0)
        return -1;
    uint64_t pretended = atomic_load(&pretended_free);
    *bytes_out = (uint64_t)facts.f_bavail * (uint64_t)facts.f_frsize;
    if (pretended != UINT64_MAX)
        *bytes_out = pretended;
    return 0;
}

static int remove_below(int parent, const char *name, int depth)
{
    struct stat facts;
    if (fstatat(parent, name, &facts, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : -1;
    if (!S_ISDIR(facts.st_mode))
        return unlinkat(parent, name, 0);
    int opened = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = opened >= 0 ? fdopendir(opened) : NULL;
    int result = directory && depth < TREE_DEPTH_MAX ? 0 : -1;
    const struct dirent *entry;
    while (result == 0 && (entry = readdir(directory)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = remove_below(dirfd(directory), entry->d_name, depth + 1);
    if (directory)
        (void)closedir(directory);
    else if (opened >= 0)
        (void)close(opened);
    return result == 0 ? unlinkat(parent, name, AT_REMOVEDIR) : result;
}

int store_remove_tree(int parent, const char *name)
{
    return fails() ? -1 : remove_below(parent, name, 0);
}
