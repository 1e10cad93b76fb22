/* SPDX-License-Identifier: Apache-2.0 */
/*
 * side_worker: one thread that does jobs beside its owner, one after another.
 *
 * Owner    one thread, which starts jobs and waits for them.
 * Memory   the job's argument is the owner's and untouched by it until the wait.
 * Threads  the owner's and its own; side_worker_wait orders memory between the two.
 * Fails    STATUS_NO_MEMORY when no thread can be made.
 */
#ifndef TROUPE_ACTORS_RUNNER_SIDE_WORKER_H
#define TROUPE_ACTORS_RUNNER_SIDE_WORKER_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stdint.h>

#define SIDE_JOBS_MAX 512u

struct side_worker;

MUST_CHECK enum status side_worker_open(struct side_worker **worker_out, struct reason *reason);
/* Waits for the job at work.  Accepts NULL. */
void side_worker_close(struct side_worker *worker);
/* The same, if all its jobs are done within the limit.  Else false: a job is stuck, say on a disk,
 * and worker and argument are its own till the process ends. */
MUST_CHECK bool side_worker_end(struct side_worker *worker, uint64_t limit_ms);
/* At most SIDE_JOBS_MAX may wait or be at work. */
void side_worker_start(struct side_worker *worker, void (*job)(void *argument), void *argument);
/* How many have been done since the open, in the order in which they were started. */
uint64_t side_worker_done(struct side_worker *worker);
/* Until all that were started are done. */
void side_worker_wait(struct side_worker *worker);

#endif
