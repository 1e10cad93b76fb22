/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk: the calls by which durable files are read and written, in one table, so that a test or the
 * simulator can fail any of them, tear a write or lose what was not synced.
 *
 * Each call returns 0, a count or a descriptor, or a negative errno.  A read or write may be short.
 *
 * Memory   none of its own.
 * Threads  those of the implementation; `disk_machine` takes any.
 */
#ifndef TROUPE_RUNTIME_DISK_H
#define TROUPE_RUNTIME_DISK_H

#include "protocol/status.h"

#include <stddef.h>
#include <stdint.h>

enum disk_open { DISK_READ, DISK_WRITE, DISK_CREATE };

struct disk_ops {
    void *owner; /* given to every call */
    /* DISK_WRITE: an existing file, for both; DISK_CREATE: the same, made (0600) when absent. */
    int (*open)(void *owner, const char *path, enum disk_open how);
    void (*close)(void *owner, int file);
    int64_t (*read_at)(void *owner, int file, void *bytes_out, size_t size, uint64_t offset);
    int64_t (*write_at)(void *owner, int file, const void *bytes, size_t size, uint64_t offset);
    int64_t (*size)(void *owner, int file);
    int (*truncate)(void *owner, int file, uint64_t size);
    /* Takes room for what will be written from `offset` on; the file's size stays.  NULL: there is
     * no such thing; a failure is no harm. */
    int (*reserve)(void *owner, int file, uint64_t offset, uint64_t size);
    /* fdatasync: content and size are on the disk when it returns 0. */
    int (*sync)(void *owner, int file);
    /* Drops what the machine holds of the file in memory, so that the next read is of the disk. */
    int (*forget)(void *owner, int file);
    /* -EWOULDBLOCK when another holds the lock; it ends with the descriptor. */
    int (*lock)(void *owner, int file);
    int (*rename)(void *owner, const char *from, const char *to);
    int (*remove)(void *owner, const char *path);
    int (*make_directory)(void *owner, const char *path);
    int (*sync_directory)(void *owner, const char *path);
    /* Calls `visit` with the name of each entry but "." and "..". */
    int (*list)(void *owner, const char *path, void (*visit)(void *visitor, const char *name),
                void *visitor);
};

/* The machine's own files. */
extern const struct disk_ops disk_machine;

MUST_CHECK enum status disk_file_open(const struct disk_ops *disk, const char *path,
                                      enum disk_open how, int *file_out, struct reason *reason);
/* Until all is written.  On failure some of it may be. */
MUST_CHECK enum status disk_write_all(const struct disk_ops *disk, int file, const char *path,
                                      const void *bytes, size_t size, uint64_t offset,
                                      struct reason *reason);
/* Up to `size` bytes, fewer only at the end of the file. */
MUST_CHECK enum status disk_read_all(const struct disk_ops *disk, int file, const char *path,
                                     void *bytes_out, size_t size, uint64_t offset,
                                     size_t *size_out, struct reason *reason);

/* One piece of a file to be put. */
struct disk_piece {
    const void *bytes;
    size_t size;
};

/* Makes or replaces a file in one stroke: "<directory>/<name>.part" is written, synced and renamed
 * and the directory synced.  After a failure the old file, if any, is still whole; STATUS_IO
 * means that the disk can not be trusted. */
MUST_CHECK enum status disk_file_put(const struct disk_ops *disk, const char *directory,
                                     const char *name, const struct disk_piece *pieces,
                                     size_t piece_count, struct reason *reason);

/* Renames or removes within a directory and syncs it.  `to` NULL removes. */
MUST_CHECK enum status disk_file_move(const struct disk_ops *disk, const char *directory,
                                      const char *from, const char *to, struct reason *reason);

#define DISK_PATH_SIZE 1024
/* "<directory>/<name>" into DISK_PATH_SIZE bytes; STATUS_TOO_LARGE when it does not fit. */
MUST_CHECK enum status disk_path(const char *directory, const char *name, char *path_out,
                                 struct reason *reason);

#endif
