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
 * `rights` is what stays of the process's rights after its init, one word each:
 *   run    writes below HOME/run only       log    writes the event log
 *   store  writes the model store           read   reads the model store
 *   net    binds and connects tcp           hub    connects to hubs
 *   spawn  starts processes                 mpi    shared memory and sockets of MPI
 */
#ifndef TROUPE_ACTORS_ACTORS_H
#define TROUPE_ACTORS_ACTORS_H

#define ACTOR_LIST(A)                                                                              \
    A(MASTER, master, ALWAYS, 10000, 5000, "log net", "the order of events; placement")            \
    A(PLANNER, planner, ALWAYS, 5000, 1000, "run", "the next task of this node")                   \
    A(DOWNLOADER, downloader, ALWAYS, 5000, 3000, "store hub", "how a model comes to disk")        \
    A(TRANSFERER, transferer, ALWAYS, 5000, 3000, "store net", "how bytes go between disks")       \
    A(GATEWAY, gateway, ALWAYS, 5000, 3000, "net", "how HTTP clients are served")                  \
    A(LAUNCHER, launcher, ASKED, 10000, 2000, "spawn net mpi", "nothing: dies with its rank")      \
    A(RUNNER, runner, ASKED, 10000, 3000, "read net mpi", "the next token")

#endif
