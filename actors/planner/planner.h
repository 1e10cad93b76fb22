/* SPDX-License-Identifier: Apache-2.0 */
/*
 * planner: gives this node's actors their tasks.
 *
 * Accepts  the state and events of its master; answers to tasks.
 * Emits    tasks (start_process, stop_process to the supervisor; import_model to the downloader;
 *          fetch_small_files to the transferer; list_tasks at the start to all of them).
 * Owner    runtime/loop.h; pure, the rules are in plan.c.
 * Memory   the mirror of the state, the tasks in flight.
 * Threads  one.
 * Fails    only without memory.
 */
#ifndef TROUPE_ACTORS_PLANNER_PLANNER_H
#define TROUPE_ACTORS_PLANNER_PLANNER_H

#include "actors/planner/plan.h"
#include "runtime/session.h"

struct planner {
    struct session session;
    struct in_flight in_flight;
    uint32_t lists_wanted; /* bit per actor asked what it holds and not answered yet */
    uint64_t ask_at_ms;    /* when the lists are asked for again */
    bool is_ready_told;
};

extern const struct actor_ops planner_ops;

#endif
