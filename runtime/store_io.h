/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_io: the calls by which the model store touches the disk, in one place, so that a test can
 * fail any of them.
 *
 * Every name is relative to an open directory and no symbolic link is followed.
 *
 * Memory   none.
 * Threads  any; the test hooks belong to one test at a time.
 * Fails    as the system call does: a negative result and errno.
 */
#ifndef TROUPE_RUNTIME_STORE_IO_H
#define TROUPE_RUNTIME_STORE_IO_H

#include "protocol/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

MUST_CHECK int store_open_directory(int parent, const char *name);
MUST_CHECK int store_open_file(int directory, const char *name);
/* The directory `levels` above an open one, as the disk has it. */
MUST_CHECK int store_open_above(int directory, int levels);
/* A file of ours for reading and writing, made when there is none. */
MUST_CHECK int store_open_own(int directory, const char *name, mode_t mode);
/* The same, but one that is there. */
MUST_CHECK int store_open_there(int directory, const char *name);
/* A new file of ours; one of that name must not be there. */
MUST_CHECK int store_create_file(int directory, const char *name);
MUST_CHECK int store_make_directory(int parent, const char *name);
/* As the user's mask has it, for others to read; one that is there is fine. */
MUST_CHECK int store_share_directory(int parent, const char *name);
/* `size` bytes, all of them with their place on the disk where the file system can promise it. */
MUST_CHECK int store_allocate(int file, uint64_t size);
/* At most `size` bytes, without a NUL. */
MUST_CHECK int64_t store_read_link(int directory, const char *name, char *target_out, size_t size);
MUST_CHECK int store_make_link(int directory, const char *name, const char *target);
MUST_CHECK int store_unlink(int directory, const char *name);
/* An empty directory. */
MUST_CHECK int store_remove_directory(int parent, const char *name);
/* Without waiting: EWOULDBLOCK when another has it. */
MUST_CHECK int store_lock(int file);
void store_unlock(int file);
/* A file of ours once more, for writing past the page cache; negative where that cannot be. */
MUST_CHECK int store_open_direct(int directory, const char *name);
/* All of it, at a place of the file.  `direct` is of store_open_direct for the same file, or
 * negative: it takes what lies in whole blocks in memory and file, `file` the rest. */
MUST_CHECK int store_write_at(int file, int direct, const void *bytes, size_t size,
                              uint64_t offset);
/* All of it, whatever the system takes at a time. */
MUST_CHECK int store_write_all(int file, const void *bytes, size_t size);
/* Up to `size` bytes, fewer only at the end of the file. */
MUST_CHECK int64_t store_read_at(int file, void *bytes_out, size_t size, uint64_t offset);
MUST_CHECK int store_sync(int file);
MUST_CHECK int store_stat(int directory, const char *name, struct stat *facts_out);
MUST_CHECK int store_rename(int parent, const char *from, const char *to);
/* Both names exist; they change places in one stroke. */
MUST_CHECK int store_exchange(int parent, const char *one, const char *other);
MUST_CHECK int store_link(int from, int to, const char *name);
MUST_CHECK int store_free_bytes(int directory, uint64_t *bytes_out);
/* Removes a file, a link, or a directory with all that is in it; nothing there is fine. */
MUST_CHECK int store_remove_tree(int parent, const char *name);

/* Tests only: after `calls` more calls one fails with `error`; UINT64_MAX switches it off. */
void store_io_fail_after(uint64_t calls, int error);
/* Tests only: true when that one has failed since. */
bool store_io_has_failed(void);
/* Tests only: what store_free_bytes says; UINT64_MAX: the truth. */
void store_io_pretend_free(uint64_t bytes);

#endif
