/* SPDX-License-Identifier: Apache-2.0 */
/*
 * programs: where the executables of the other actors lie.
 *
 * Beside our own (an installed tree keeps all of them in one directory), or each in its folder
 * beside ours (a build tree: actors/NAME/troupe-NAME, actors/runner/NAME/troupe-NAME).
 *
 * Memory   plain text.
 * Fails    STATUS_NOT_FOUND with a sentence naming the file that is missing.
 */
#ifndef TROUPE_ACTORS_SUPERVISOR_PROGRAMS_H
#define TROUPE_ACTORS_SUPERVISOR_PROGRAMS_H

#include "protocol/status.h"
#include "runtime/paths.h"

#define PROGRAM_PATH_SIZE (PATH_SIZE + 128)

/* The directory of our own executable. */
MUST_CHECK enum status programs_directory(char *directory_out, size_t size,
                                           struct reason *reason);
/* The path of troupe-NAME. */
MUST_CHECK enum status program_find(const char *directory, const char *name, char *path_out,
                                    size_t size, struct reason *reason);

#endif
