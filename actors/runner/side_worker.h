/* SPDX-License-Identifier: Apache-2.0 */
/*
 * side_worker: one thread that does one job at a time beside its owner.
 *
 * Owner    one thread, which starts jobs and waits for them.
 * Memory   the job's argument is the owner's and untouched by it until the wait.
 * Threads  the owner's and its own; side_worker_wait orders memory between the two.
 * Fails    STATUS_NO_MEMORY when no thread can be made.
 */
#ifndef TROUPE_ACTORS_RUNNER_SIDE_WORKER_H
#define TROUPE_ACTORS_RUNNER_SIDE_WORKER_H

#include "protocol/status.h"

struct side_worker;

MUST_CHECK enum status side_worker_open(struct side_worker **worker_out, struct reason *reason);
/* Waits for the job at work.  Accepts NULL. */
void side_worker_close(struct side_worker *worker);
/* The one before must have been waited for. */
void side_worker_start(struct side_worker *worker, void (*job)(void *argument), void *argument);
/* Returns at once when no job is at work. */
void side_worker_wait(struct side_worker *worker);

#endif
