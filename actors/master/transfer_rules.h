/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer_rules: may this model be copied to those nodes?  Pure.
 *
 * Everything that is wrong with a request is said here, at the command.  A target that holds the
 * model already is done at once; the source among the targets is left out; a request that a
 * transfer under way fulfils joins it: it is accepted without an event.
 *
 * Memory   the event is the caller's; without one its body stays NULL.
 * Threads  any.
 * Fails    INVALID, NOT_FOUND, REFUSED, BUSY, NO_MEMORY; one sentence.
 */
#ifndef TROUPE_ACTORS_MASTER_TRANSFER_RULES_H
#define TROUPE_ACTORS_MASTER_TRANSFER_RULES_H

#include "protocol/state.h"

/* `command` is a distribute_model. */
MUST_CHECK enum status transfer_rules_distribute(const struct state *state,
                                                 const struct message *command,
                                                 struct message *event_out,
                                                 struct reason *reason);
/* `command` is a cancel_transfer; one that is over already is accepted without an event. */
MUST_CHECK enum status transfer_rules_cancel(const struct state *state,
                                             const struct message *command,
                                             struct message *event_out, struct reason *reason);

#endif
