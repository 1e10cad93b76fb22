/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool: the threads of one engine; they split rows and heads, never sums.
 *
 * Owner    the engine; one caller at a time runs work, and works itself.
 * Memory   a scratch for each thread.
 * Threads  threads - 1 of its own; with 1 there is none.  A waiting thread spins for some tens of
 *          microseconds, then sleeps.
 * Fails    NO_MEMORY, IO when a thread cannot start.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_POOL_H
#define TROUPE_ACTORS_RUNNER_ENGINE_POOL_H

#include "protocol/status.h"

#include <stddef.h>
#include <stdint.h>

#define POOL_THREADS_MAX 256u

struct pool;

/* Does items [first, end) of the work; which thread does which changes from run to run. */
typedef void pool_work(void *work, size_t first, size_t end, float *scratch);

MUST_CHECK enum status pool_open(uint32_t threads, size_t scratch_floats, struct pool **pool_out,
                                 struct reason *reason);
/* Accepts NULL. */
void pool_close(struct pool *pool);
/* Calls `run` over [0, count) in pieces of up to `grain`; returns when all are done. */
void pool_run(struct pool *pool, size_t count, size_t grain, pool_work *run, void *work);
struct profile;
/* Counts runs and waits from now on; NULL: no more. */
void pool_profile(struct pool *pool, struct profile *profile);
uint32_t pool_threads(const struct pool *pool);

#endif
