/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_rules: how the model comes to the disk of rank 0 of an instance that is `copying`.
 *
 * Pure, from the state alone, so that any leader goes on where another ended.  The instance names
 * the transfer that brings the model: one that was on its way already, or one of its own, which is
 * asked for by an event and is cancelled when no instance waits for it any more.
 *
 * Owner    the leading master.
 * Memory   an event is the caller's.
 * Threads  none.
 * Fails    STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ACTORS_MASTER_COPY_RULES_H
#define TROUPE_ACTORS_MASTER_COPY_RULES_H

#include "protocol/state.h"

/* The id of the transfer that brings a model to a node: that of one on its way, else a new one. */
struct transfer_id copy_rules_transfer(const struct state *state, const char *model_id,
                                       const struct instance_id *instance_id,
                                       const struct node_id *node_id);

enum copy_step {
    COPY_WAITS,
    COPY_BEGINS,   /* its transfer was not asked for yet: copy_rules_request */
    COPY_IS_THERE, /* or the model is gone: the instance is placed again */
    COPY_FAILED    /* with the reason; hopeless when no second try could help */
};
enum copy_step copy_rules_next(const struct state *state, const struct instance_record *instance,
                               bool *is_hopeless_out, struct reason *reason);

/* The event that asks for the transfer of the instance. */
MUST_CHECK enum status copy_rules_request(const struct state *state,
                                          const struct instance_record *instance,
                                          struct message *event_out);

/* A transfer on its way that a placement asked for and no instance waits for; NULL: none. */
const struct transfer_record *copy_rules_unwanted(const struct state *state);

#endif
