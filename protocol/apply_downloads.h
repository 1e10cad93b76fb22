/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply_downloads: what the events about downloads mean, and what others mean to downloads.
 *
 * A download is there while it has a target, and each target has an import_record, which says when
 * it is over.
 *
 * Owner    protocol/apply.c alone.
 * Fails    false without memory.
 */
#ifndef TROUPE_PROTOCOL_APPLY_DOWNLOADS_H
#define TROUPE_PROTOCOL_APPLY_DOWNLOADS_H

#include "protocol/state.h"

bool downloads_apply_requested(struct state *state, const struct message *event);
bool downloads_apply_resolved(struct state *state, const struct message *event);
bool downloads_apply_assigned(struct state *state, const struct message *event);
bool downloads_apply_file(struct state *state, const struct message *event);
bool downloads_apply_lacking(struct state *state, const struct message *event);
bool downloads_apply_hindered(struct state *state, const struct message *event);

/* The node has it, could not, or is gone (`model_id` NULL: of all downloads). */
void downloads_forget_target(struct state *state, const struct node_id *node_id,
                             const char *model_id);
/* Nobody wants it any more. */
void downloads_forget_model(struct state *state, const char *model_id);

#endif
