/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool: a few threads for work that would keep the loop from its sockets.
 *
 * Owner    the loop.
 * Memory   one small block for each waiting piece of work.
 * Threads  work_pool_add from any; open and close from one.  Threads are made when first needed and
 *          block all signals.
 * Fails    STATUS_NO_MEMORY; STATUS_ENDED once closed.
 */
#ifndef TROUPE_RUNTIME_POOL_H
#define TROUPE_RUNTIME_POOL_H

#include "protocol/status.h"

struct work_pool;

enum { POOL_THREADS_MAX = 4 };

MUST_CHECK enum status work_pool_open(struct work_pool **work_pool_out);
/* In order; `cancel(argument)` is called instead when the pool closes first. */
MUST_CHECK enum status work_pool_add(struct work_pool *pool, void (*work)(void *argument),
                                void (*cancel)(void *argument), void *argument);
/* Waits for what runs, cancels what waits, refuses what comes.  Accepts NULL. */
void work_pool_close(struct work_pool *pool);
/* After work_pool_close, when nobody can call any more.  Accepts NULL. */
void work_pool_free(struct work_pool *pool);

#endif
