/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply_downloads: what the events about downloads mean, and what others mean to downloads.
 *
 * A download is there while it has a target, and each target has an import_record, which says when
 * it is over.  How it ended for a target is kept, for the last DOWNLOAD_END_COUNT_MAX of them.
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
bool downloads_apply_paused(struct state *state, const struct message *event);

/* How a target ended, by the event of that index. */
struct download_ending {
    enum status status; /* OK: the node has it */
    const char *reason;
    uint64_t index;
};
/* The node has it, could not, or is gone (`model_id` NULL: of all downloads). */
bool downloads_end_target(struct state *state, const struct node_id *node_id,
                          const char *model_id, const struct download_ending *ending);
/* Nobody wants it any more. */
bool downloads_end_model(struct state *state, const char *model_id, uint64_t index);

#endif
