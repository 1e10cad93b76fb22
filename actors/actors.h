/* SPDX-License-Identifier: Apache-2.0 */
/*
 * actors: every process in one list: when it is started again, how long it may take to stop, what
 * it decides alone.  The supervisor, the units and the pages expand these rows.
 *
 * A(NAME, name, restart, ready_ms, stop_ms, rights, decides)
 *
 * ALWAYS   the supervisor starts it with the node and starts it again when it dies, after a
 *          backoff, until it died too often (settings deaths_max, deaths_window_s): then it gives
 *          up, tells the service manager and ends the node, whose parent decides.
 * ASKED    started and stopped by tasks of the planner; a death is reported, never mended here: the
 *          unit of recovery is the generation.
 * PARENT   started by its launcher (a rank of a generation of several), dies with it.
 *
 * `rights` is what stays of the process's rights after its init; runtime/rights.h has the words.
 * A launcher keeps what its rank needs, and a supervisor what all of them need.
 */
#ifndef TROUPE_ACTORS_ACTORS_H
#define TROUPE_ACTORS_ACTORS_H

#include "protocol/kinds.h"

#define ACTOR_LIST(A)                                                                              \
    A(MASTER, master, ALWAYS, 10000, 5000, "run log net", "the order of events; placement")        \
    A(PLANNER, planner, ALWAYS, 5000, 1000, "", "the next task of this node")                      \
    A(DOWNLOADER, downloader, ALWAYS, 5000, 3000, "store source hub", "how a model comes to disk") \
    A(TRANSFERER, transferer, ALWAYS, 5000, 3000, "store net", "how bytes go between disks")       \
    A(GATEWAY, gateway, ALWAYS, 5000, 3000, "run read http net", "how HTTP clients are served")    \
    A(LAUNCHER, launcher, ASKED, 10000, 2000, "run read net mpi spawn",                            \
      "nothing: dies with its rank")                                                               \
    A(RUNNER, runner, ASKED, 10000, 3000, "run read net mpi", "the next token")

#define SUPERVISOR_RIGHTS "home store source http net mpi spawn"

/* Of the row of `kind`. */
static inline const char *actor_rights(enum actor_kind kind)
{
#define ACTOR_RIGHTS(NAME, name, restart, ready_ms, stop_ms, rights, decides)                      \
    kind == ACTOR_##NAME ? rights:
    return ACTOR_LIST(ACTOR_RIGHTS) SUPERVISOR_RIGHTS;
#undef ACTOR_RIGHTS
}

#endif
