/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command_queue: what the actor loop wants of the engine thread, in order.
 *
 * Owner    the engine thread; closed by it.
 * Memory   one heap block per command; whoever takes a command owns its request.
 * Threads  any may put; one takes.
 * Fails    STATUS_NO_MEMORY; STATUS_TIMED_OUT when nothing came in time.
 */
#ifndef TROUPE_ACTORS_RUNNER_COMMAND_QUEUE_H
#define TROUPE_ACTORS_RUNNER_COMMAND_QUEUE_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stdint.h>

#define COMMAND_STOP UINT32_MAX
#define COMMAND_WAIT_FOR_EVER UINT64_MAX

struct engine_command {
    uint32_t effect; /* enum runner_effect, or COMMAND_STOP */
    uint64_t id;
    void *request;
};

struct command_queue;

MUST_CHECK enum status command_queue_open(struct command_queue **queue_out);
void command_queue_close(struct command_queue *queue);
/* Takes `request` on success. */
MUST_CHECK enum status command_queue_put(struct command_queue *queue,
                                         const struct engine_command *command);
/* The next command; with `only` not 0, the next of that effect (or a stop), leaving others in
 * place.  `limit_ms` 0 does not wait. */
MUST_CHECK enum status command_queue_take(struct command_queue *queue, uint32_t only,
                                          uint64_t limit_ms, struct engine_command *command_out);

#endif
