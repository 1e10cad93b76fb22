/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/disk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A disk that takes nothing, or says "interrupted" for ever, must not hang its caller. */
#define INTERRUPTIONS_MAX 1000

enum status disk_path(const char *directory, const char *name, char *path_out,
                      struct reason *reason)
{
    int length = snprintf(path_out, DISK_PATH_SIZE, "%s/%s", directory, name);
    if (length < 0 || length >= DISK_PATH_SIZE)
        return refuse(reason, STATUS_TOO_LARGE, "%.80s...: the path is longer than %d bytes; "
                      "choose a shorter directory", directory, DISK_PATH_SIZE - 1);
    return STATUS_OK;
}

enum status disk_file_open(const struct disk_ops *disk, const char *path, enum disk_open how,
                           int *file_out, struct reason *reason)
{
    const int file = disk->open(disk->owner, path, how);
    if (file < 0)
        return refuse(reason, status_from_errno(-file), "%s: could not be opened: %s", path,
                      strerror(-file));
    *file_out = file;
    return STATUS_OK;
}

static enum status refuse_write(struct reason *reason, int error, const char *path, size_t size)
{
    if (status_from_errno(error) == STATUS_NO_SPACE)
        return refuse(reason, STATUS_NO_SPACE, "%s: the disk has no space for %zu bytes more; free "
                      "some space there or move the directory", path, size);
    return refuse(reason, status_from_errno(error), "%s: %zu bytes could not be written: %s", path,
                  size, strerror(error));
}

enum status disk_write_all(const struct disk_ops *disk, int file, const char *path,
                           const void *bytes, size_t size, uint64_t offset, struct reason *reason)
{
    const uint8_t *at = bytes;
    int interruptions = 0;
    while (size > 0) {
        int64_t count = disk->write_at(disk->owner, file, at, size, offset);
        if (count == -EINTR && ++interruptions < INTERRUPTIONS_MAX)
            continue;
        if (count <= 0)
            return refuse_write(reason, count == 0 ? ENOSPC : (int)-count, path, size);
        ASSERT((uint64_t)count <= size);
        at += count;
        size -= (size_t)count;
        offset += (uint64_t)count;
    }
    return STATUS_OK;
}

enum status disk_read_all(const struct disk_ops *disk, int file, const char *path, void *bytes_out,
                          size_t size, uint64_t offset, size_t *size_out, struct reason *reason)
{
    uint8_t *at = bytes_out;
    size_t have = 0;
    int interruptions = 0;
    while (have < size) {
        int64_t count = disk->read_at(disk->owner, file, at + have, size - have, offset + have);
        if (count == -EINTR && ++interruptions < INTERRUPTIONS_MAX)
            continue;
        if (count < 0)
            return refuse(reason, status_from_errno((int)-count),
                          "%s: could not be read at byte %" PRIu64 ": %s; check the disk", path,
                          offset + have, strerror((int)-count));
        if (count == 0)
            break;
        have += (size_t)count;
    }
    *size_out = have;
    return STATUS_OK;
}

static enum status write_pieces(const struct disk_ops *disk, const char *path,
                                const struct disk_piece *pieces, size_t piece_count,
                                struct reason *reason)
{
    int file = disk->open(disk->owner, path, DISK_CREATE);
    if (file < 0)
        return refuse_write(reason, -file, path, 0);
    int error = -disk->truncate(disk->owner, file, 0);
    enum status status =
        error ? refuse_write(reason, error, path, 0) : STATUS_OK;
    uint64_t offset = 0;
    for (size_t i = 0; i < piece_count && status == STATUS_OK; i++) {
        status = disk_write_all(disk, file, path, pieces[i].bytes, pieces[i].size, offset, reason);
        offset += pieces[i].size;
    }
    if (status == STATUS_OK) {
        error = -disk->sync(disk->owner, file);
        if (error)
            status = refuse(reason, STATUS_IO, "%s: could not be made durable: %s; check the disk",
                            path, strerror(error));
    }
    disk->close(disk->owner, file);
    return status;
}

static enum status sync_directory(const struct disk_ops *disk, const char *directory,
                                  struct reason *reason)
{
    int error = -disk->sync_directory(disk->owner, directory);
    if (error)
        return refuse(reason, STATUS_IO,
                      "%s: the directory could not be made durable: %s; check the disk", directory,
                      strerror(error));
    return STATUS_OK;
}

enum status disk_file_put(const struct disk_ops *disk, const char *directory, const char *name,
                          const struct disk_piece *pieces, size_t piece_count,
                          struct reason *reason)
{
    char path[DISK_PATH_SIZE];
    char part[DISK_PATH_SIZE];
    char part_name[256];
    (void)snprintf(part_name, sizeof(part_name), "%s.part", name);
    enum status status = disk_path(directory, name, path, reason);
    if (status == STATUS_OK)
        status = disk_path(directory, part_name, part, reason);
    if (status != STATUS_OK)
        return status;
    status = write_pieces(disk, part, pieces, piece_count, reason);
    if (status != STATUS_OK) {
        (void)disk->remove(disk->owner, part);
        return status;
    }
    int error = -disk->rename(disk->owner, part, path);
    if (error) {
        (void)disk->remove(disk->owner, part);
        return refuse_write(reason, error, path, 0);
    }
    return sync_directory(disk, directory, reason);
}

enum status disk_file_move(const struct disk_ops *disk, const char *directory, const char *from,
                           const char *to, struct reason *reason)
{
    char from_path[DISK_PATH_SIZE];
    char to_path[DISK_PATH_SIZE];
    enum status status = disk_path(directory, from, from_path, reason);
    if (status == STATUS_OK && to)
        status = disk_path(directory, to, to_path, reason);
    if (status != STATUS_OK)
        return status;
    int error = to ? -disk->rename(disk->owner, from_path, to_path)
                   : -disk->remove(disk->owner, from_path);
    if (error)
        return refuse(reason, status_from_errno(error), "%s: could not be %s: %s", from_path,
                      to ? "set aside" : "removed", strerror(error));
    return sync_directory(disk, directory, reason);
}
