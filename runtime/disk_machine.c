/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_machine: the table of disk.h over the machine's own files.
 */
#include "runtime/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int machine_open(void *owner, const char *path, enum disk_open how)
{
    (void)owner;
    int flags = O_CLOEXEC | (how == DISK_READ ? O_RDONLY : O_RDWR);
    if (how == DISK_CREATE)
        flags |= O_CREAT;
    int file = open(path, flags, 0600);
    return file < 0 ? -errno : file;
}

static void machine_close(void *owner, int file)
{
    (void)owner;
    (void)close(file);
}

static int64_t machine_read_at(void *owner, int file, void *bytes_out, size_t size,
                               uint64_t offset)
{
    (void)owner;
    ssize_t count = pread(file, bytes_out, size, (off_t)offset);
    return count < 0 ? -errno : count;
}

static int64_t machine_write_at(void *owner, int file, const void *bytes, size_t size,
                                uint64_t offset)
{
    (void)owner;
    ssize_t count = pwrite(file, bytes, size, (off_t)offset);
    return count < 0 ? -errno : count;
}

static int64_t machine_size(void *owner, int file)
{
    (void)owner;
    struct stat stat;
    return fstat(file, &stat) != 0 ? -errno : (int64_t)stat.st_size;
}

static int machine_truncate(void *owner, int file, uint64_t size)
{
    (void)owner;
    return ftruncate(file, (off_t)size) != 0 ? -errno : 0;
}

#ifdef FALLOC_FL_KEEP_SIZE
static int machine_reserve(void *owner, int file, uint64_t offset, uint64_t size)
{
    (void)owner;
    return fallocate(file, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size) != 0 ? -errno : 0;
}
#else
#define machine_reserve NULL
#endif

static int machine_sync(void *owner, int file)
{
    (void)owner;
#ifdef __APPLE__
    /* fsync leaves the bytes in the drive's cache there. */
    return fcntl(file, F_FULLFSYNC) != 0 ? -errno : 0;
#else
    return fdatasync(file) != 0 ? -errno : 0;
#endif
}

static int machine_forget(void *owner, int file)
{
    (void)owner;
#ifdef POSIX_FADV_DONTNEED
    return -posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
#else
    (void)file;
    return 0;
#endif
}

static int machine_lock(void *owner, int file)
{
    (void)owner;
    return flock(file, LOCK_EX | LOCK_NB) != 0 ? -errno : 0;
}

static int machine_rename(void *owner, const char *from, const char *to)
{
    (void)owner;
    return rename(from, to) != 0 ? -errno : 0;
}

static int machine_remove(void *owner, const char *path)
{
    (void)owner;
    return unlink(path) != 0 ? -errno : 0;
}

static int machine_make_directory(void *owner, const char *path)
{
    (void)owner;
    return mkdir(path, 0700) != 0 ? -errno : 0;
}

static int machine_sync_directory(void *owner, const char *path)
{
    (void)owner;
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return -errno;
    int error = fsync(directory) != 0 ? -errno : 0;
    (void)close(directory);
    return error;
}

static int machine_list(void *owner, const char *path,
                        void (*visit)(void *visitor, const char *name), void *visitor)
{
    (void)owner;
    DIR *directory = opendir(path);
    if (!directory)
        return -errno;
    int error = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (!entry) {
            error = -errno;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            visit(visitor, entry->d_name);
    }
    (void)closedir(directory);
    return error;
}

const struct disk_ops disk_machine = {
    .open = machine_open,
    .close = machine_close,
    .read_at = machine_read_at,
    .write_at = machine_write_at,
    .size = machine_size,
    .truncate = machine_truncate,
    .reserve = machine_reserve,
    .sync = machine_sync,
    .forget = machine_forget,
    .lock = machine_lock,
    .rename = machine_rename,
    .remove = machine_remove,
    .make_directory = machine_make_directory,
    .sync_directory = machine_sync_directory,
    .list = machine_list,
};
