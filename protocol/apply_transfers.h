/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply_transfers: what the events about transfers mean, and what others mean to transfers.
 *
 * Owner    protocol/apply.c alone.
 * Fails    false without memory.
 */
#ifndef TROUPE_PROTOCOL_APPLY_TRANSFERS_H
#define TROUPE_PROTOCOL_APPLY_TRANSFERS_H

#include "protocol/state.h"

bool transfers_apply_requested(struct state *state, const struct message *event);
bool transfers_apply_started(struct state *state, const struct message *event);
/* The target holds the model from here on, when it ended well: see apply_transfer_ended. */
bool transfers_apply_ended(struct state *state, const struct transfer_ended *body,
                           bool *is_held_out);
bool transfers_apply_cancelled(struct state *state, const struct message *event);

/* The node is gone: it is not waited for any more. */
bool transfers_forget_node(struct state *state, const struct node_id *node_id);
/* The model is gone, or has another revision (`kept`, may be NULL): nobody gets the old one. */
bool transfers_forget_model(struct state *state, const char *model_id, const struct hash *kept);

#endif
