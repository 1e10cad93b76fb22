/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collective_mpi: joining and leaving the world of a generation's ranks.
 *
 * The process must have been started by a launcher, which gives it the environment.  A rank that
 * waits inside yields its core.  The program that links this exports its symbols (-rdynamic), so
 * that Open MPI listens and connects where the placement says: collective_fabric.h.
 *
 * Owner    the engine thread of a rank: it opens, calls and closes; no other thread touches MPI.
 * Memory   a scratch that grows to the largest sum; given back at close.
 * Fails    STATUS_INVALID when the world is not of the expected size, STATUS_IO otherwise.
 */
#ifndef TROUPE_ACTORS_RUNNER_COLLECTIVE_MPI_H
#define TROUPE_ACTORS_RUNNER_COLLECTIVE_MPI_H

#include "actors/runner/collective.h"
#include "protocol/status.h"

#include <stdint.h>

/* Blocks until all ranks have come; the launcher's watchdog ends a wait that is too long.  May be
 * called once in the life of a process. */
MUST_CHECK enum status collective_mpi_open(uint32_t expected_size,
                                           struct collective **collective_out,
                                           struct reason *reason);
/* Leaves in order, which needs all ranks; after a failure end the process instead. */
void collective_mpi_close(struct collective *collective);

#endif
