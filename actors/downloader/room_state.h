/* SPDX-License-Identifier: Apache-2.0 */
/*
 * room_state: what the state says about the room of this node's store.
 *
 * Memory   none.
 * Threads  any; pure.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_ROOM_STATE_H
#define TROUPE_ACTORS_DOWNLOADER_ROOM_STATE_H

#include "actors/downloader/room_choice.h"
#include "protocol/state.h"

/* Pinned, running, on its way from or to somebody, or not yet known to the cluster. */
bool room_is_kept(const struct state *state, const char *model_id);
/* The model when an instance of that name exists, else NULL: no other revision takes its place, as
 * the instance could not start again. */
const struct model_record *room_in_use(const struct state *state, const char *model_id);
/* Bytes of the models that peers copy to this node, but for that one. */
uint64_t room_promised(const struct state *state, const struct node_id *node_id,
                       const char *but_for);

#endif
