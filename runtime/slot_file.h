/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slot_file: a small value in two slots, written in turn, so that a torn write leaves the one
 * before.
 * The format is at the top of slot_file.c.
 *
 * Owner    the event log (its mark) and the epoch file.
 * Memory   none of its own.
 * Threads  one at a time.
 * Fails    STATUS_DAMAGED: neither slot is readable.
 */
#ifndef TROUPE_RUNTIME_SLOT_FILE_H
#define TROUPE_RUNTIME_SLOT_FILE_H

#include "runtime/disk.h"

#include <stdbool.h>

#define SLOT_VALUE_SIZE_MAX ((size_t)200)

struct slot_file {
    const struct disk_ops *disk;
    char path[DISK_PATH_SIZE];
    int file;
    uint64_t magic;
    uint64_t sequence; /* of the newest slot */
    uint32_t newest;   /* 0 or 1 */
};

/* Makes or replaces the file, both slots holding `value`, durable. */
MUST_CHECK enum status slot_file_create(const struct disk_ops *disk, const char *directory,
                                        const char *name, uint64_t magic, const void *value,
                                        size_t size, struct reason *reason);
/* Opens (DISK_READ or DISK_WRITE) and reads the newest valid value of exactly `size` bytes. */
MUST_CHECK enum status slot_file_open(struct slot_file *slots, const struct disk_ops *disk,
                                      enum disk_open how, const char *directory,
                                      const char *name, uint64_t magic, void *value_out,
                                      size_t size, struct reason *reason);
/* Writes the older slot; not durable before slot_file_sync.  Two writes without a sync between them
 * could both be torn: the caller syncs first. */
MUST_CHECK enum status slot_file_write(struct slot_file *slots, const void *value, size_t size,
                                       struct reason *reason);
/* STATUS_IO when the disk failed. */
MUST_CHECK enum status slot_file_sync(struct slot_file *slots, struct reason *reason);
void slot_file_close(struct slot_file *slots);

#endif
