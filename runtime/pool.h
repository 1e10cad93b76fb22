/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool: a few threads for work that would keep the loop from its sockets.
 *
 * Owner    the loop.
 * Memory   one small block for each waiting piece of work.
 * Threads  pool_add from any; open and close from one.  Threads are made when first needed and
 *          block all signals.
 * Fails    STATUS_NO_MEMORY; STATUS_ENDED once closed.
 */
#ifndef TROUPE_RUNTIME_POOL_H
#define TROUPE_RUNTIME_POOL_H

#include "protocol/status.h"

struct pool;

enum { POOL_THREADS_MAX = 4 };

MUST_CHECK enum status pool_open(struct pool **pool_out);
/* In order; `cancel(argument)` is called instead when the pool closes first. */
MUST_CHECK enum status pool_add(struct pool *pool, void (*work)(void *argument),
                                void (*cancel)(void *argument), void *argument);
/* Waits for what runs, cancels what waits, refuses what comes.  Accepts NULL. */
void pool_close(struct pool *pool);
/* After pool_close, when nobody can call any more.  Accepts NULL. */
void pool_free(struct pool *pool);

#endif
