/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory_disk: a disk in memory that forgets what was not synced, tears writes, fails calls and
 * fills up.
 *
 * Owner    a test or the simulator.
 * Memory   all files, and a copy of each write until it is synced.
 * Threads  one.
 *
 * What a crash leaves: every synced byte; of each write since, any of its 512-byte sectors or
 * none; of the names made, changed or removed since the directory was synced, those before a
 * random point.
 * A sync that is told to fail loses the writes it should have kept, as Linux does: they can be
 * read until `forget` or a crash.
 */
#ifndef TROUPE_TESTS_SUPPORT_MEMORY_DISK_H
#define TROUPE_TESTS_SUPPORT_MEMORY_DISK_H

#include "runtime/disk.h"
#include "tests/support/seeded.h"

#include <stdbool.h>

struct memory_disk;

struct memory_disk *memory_disk_create(void);
void memory_disk_free(struct memory_disk *disk);
/* The table to give to whoever reads and writes. */
const struct disk_ops *memory_disk_ops(struct memory_disk *disk);
/* Another disk with the same files, all synced. */
struct memory_disk *memory_disk_clone(const struct memory_disk *disk);

/* Fails the call that is `calls` calls from now (0: the next) with `error`; `for_good`: and all
 * after it.  Only calls that change something or sync are counted unless `reads_too`. */
struct memory_fault {
    uint64_t calls;
    int error; /* 0 with `is_short`: the call only writes less than it was given */
    bool for_good;
    bool reads_too;
    bool is_short; /* a failing write first writes half */
};
void memory_disk_fail(struct memory_disk *disk, const struct memory_fault *fault);
void memory_disk_heal(struct memory_disk *disk);
/* Did the fault come to pass? */
bool memory_disk_has_failed(const struct memory_disk *disk);
/* Bytes that files may hold in all; UINT64_MAX: no limit. */
void memory_disk_limit(struct memory_disk *disk, uint64_t size);
uint64_t memory_disk_used(const struct memory_disk *disk);

/* Loses power: descriptors are closed, what was not synced survives in part. */
void memory_disk_crash(struct memory_disk *disk, struct seeded *seeded);
/* The process dies, the machine does not: descriptors are closed, nothing is lost. */
void memory_disk_kill(struct memory_disk *disk);
size_t memory_disk_open_count(const struct memory_disk *disk);

/* The bytes of a file as they are now; NULL when there is none. */
const uint8_t *memory_disk_bytes(const struct memory_disk *disk, const char *path,
                                 size_t *size_out);
/* Flips bits of one byte on the disk. */
void memory_disk_flip(struct memory_disk *disk, const char *path, size_t offset, uint8_t bits);
/* Makes or replaces a file, synced. */
void memory_disk_put(struct memory_disk *disk, const char *path, const void *bytes, size_t size);
/* Cuts a file, synced. */
void memory_disk_cut(struct memory_disk *disk, const char *path, size_t size);
size_t memory_disk_file_count(const struct memory_disk *disk);
/* In the order in which they were made. */
const char *memory_disk_file_path(const struct memory_disk *disk, size_t position);

#endif
