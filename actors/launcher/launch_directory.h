/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch_directory: the directory of one launcher, gone when the launcher is.
 *
 * The launcher holds a lock on a file in it.  One that was killed cannot clean up, but its lock is
 * free: the next launcher beside it removes what it left.
 *
 * Owner    pmix_host.
 * Memory   inside the caller's struct.
 * Threads  one.
 * Fails    STATUS_EXISTS when a living launcher has it, otherwise what the disk says.
 */
#ifndef TROUPE_ACTORS_LAUNCHER_LAUNCH_DIRECTORY_H
#define TROUPE_ACTORS_LAUNCHER_LAUNCH_DIRECTORY_H

#include "protocol/status.h"

#include <limits.h>

struct launch_directory {
    char path[PATH_MAX]; /* absolute */
    int lock;
};

/* Removes dead siblings (names alike up to the first '-'), then makes `path` with mode 0700. */
MUST_CHECK enum status launch_directory_open(const char *path,
                                             struct launch_directory *directory_out,
                                             struct reason *reason);
void launch_directory_close(struct launch_directory *directory);

#endif
