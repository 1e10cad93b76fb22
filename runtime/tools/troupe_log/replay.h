/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay: the state at an index, from the newest snapshot before it and the events after that.
 *
 * Owner    the state and verify commands.
 * Threads  one.
 * Fails    STATUS_NOT_FOUND: the events up to there are not all here; STATUS_DAMAGED;
 *          STATUS_HASH_MISMATCH: a snapshot is not what the events make.
 */
#ifndef TROUPE_RUNTIME_TOOLS_TROUPE_LOG_REPLAY_H
#define TROUPE_RUNTIME_TOOLS_TROUPE_LOG_REPLAY_H

#include "protocol/state.h"
#include "runtime/event_log_reader.h"

/* Fills an initialised state with the newest snapshot up to `index_max`, and stands `reader` after
 * it; with none, before the first event. STATUS_NOT_FOUND: that is not event 1. */
MUST_CHECK enum status replay_begin(struct event_log_reader *reader, uint64_t index_max,
                                    struct state *state, struct reason *reason);
/* Applies the event of a record. */
MUST_CHECK enum status replay_apply(struct state *state, const struct event_record *record,
                                    struct reason *reason);

#endif
