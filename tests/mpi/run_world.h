/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_world: runs one world of ranks to its end.
 */
#ifndef TROUPE_TESTS_MPI_RUN_WORLD_H
#define TROUPE_TESTS_MPI_RUN_WORLD_H

#include "tests/support/scratch.h"

#include <stddef.h>

/* Runs tests/mpi/launch_world; `options` and `program` are words parted by spaces.  What launchers
 * and ranks say goes to `text_out`.  Returns the exit code: 0 when every rank ended well. */
int run_world(const struct scratch *scratch, const char *options, int ranks, const char *program,
              char *text_out, size_t text_size);

/* Entries of a directory whose names have `word` in them. */
int count_entries(const char *path, const char *word);

#endif
