/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scratch: a directory of its own for a test, removed with all that is in it.
 */
#ifndef TROUPE_TESTS_SUPPORT_SCRATCH_H
#define TROUPE_TESTS_SUPPORT_SCRATCH_H

#include <stddef.h>

struct scratch {
    char path[128];
};

/* Makes the directory under $TMPDIR or /tmp; aborts the test when it cannot. */
void scratch_open(struct scratch *scratch);
/* Removes the tree. */
void scratch_close(struct scratch *scratch);
/* Writes "<scratch>/<name>" into a buffer of at least 256 bytes and returns it. */
const char *scratch_path(const struct scratch *scratch, const char *name, char *path_out);
/* "<source tree>/<name>"; the buffer has at least 512 bytes. */
const char *source_path(const char *name, char *path_out);
/* Whole file, NUL after it; the caller frees with memory_free.  Aborts when it cannot be read. */
char *file_bytes(const char *path, size_t *size_out);
/* Writes a whole file; aborts when it cannot. */
void file_put(const char *path, const void *bytes, size_t size);

#endif
