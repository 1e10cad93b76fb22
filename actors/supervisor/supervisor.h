/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervisor: who is alive on this node; the pure half.
 *
 * It starts every ALWAYS actor with the node and again when it dies, gives up on one that dies too
 * often, and starts and stops launchers and runners as tasks of the planner ask.  It knows no model
 * and no placement: of the state it reads only which generations are still wanted.
 *
 * State x event of a child:
 *
 *   state     | spawned    | ready    | due             | ended               | stop
 *   ----------|------------|----------|-----------------|---------------------|------------------
 *   WAITING   |            |          | spawn: STARTING |                     | NONE
 *   STARTING  |            | SERVING  | kill: KILLED    | WAITING or give up  | SIGTERM: STOPPING
 *   SERVING   |            |          | (no beat) KILLED| WAITING or give up  | SIGTERM: STOPPING
 *   STOPPING  |            |          | kill: KILLED    | NONE                |
 *   KILLED    |            |          |                 | as before the kill  | remembers it
 *
 * A spawn that fails is an end.  A launcher or runner that ends is reported and forgotten: what
 * follows is decided by the leader.
 *
 * Owner    the loop.
 * Memory   one struct; the mirror of the state inside the session.
 * Threads  one.
 * Fails    never for what a child does; STATUS_NO_MEMORY otherwise.
 */
#ifndef TROUPE_ACTORS_SUPERVISOR_SUPERVISOR_H
#define TROUPE_ACTORS_SUPERVISOR_SUPERVISOR_H

#include "runtime/actor.h"
#include "runtime/session.h"

enum {
    ACTOR_ROWS_MAX = 16,
    RANK_PROCESSES_MAX = 128, /* launchers and runners of one node at a time */
    CHILDREN_MAX = ACTOR_ROWS_MAX + RANK_PROCESSES_MAX,
    DEATHS_KEPT_MAX = 1000, /* the most `deaths_max` may be */
    ENDED_KEPT_MAX = 64     /* ended ranks remembered, to answer a repeated task */
};

enum restart_rule { RESTART_ALWAYS, RESTART_ASKED };

struct actor_row {
    enum actor_kind kind;
    const char *name;
    enum restart_rule restart;
    uint32_t ready_ms;
    uint32_t stop_ms;
};

/* The rows of actors/actors.h. */
extern const struct actor_row actor_rows[];
extern const size_t actor_row_count;

/* Borrowed for the actor's life. */
struct supervisor_settings {
    const struct actor_row *rows; /* in the order of starting */
    size_t row_count;
    uint64_t hang_ms;
    uint64_t ping_ms;
    uint32_t deaths_max;
    uint64_t deaths_window_ms;
    uint64_t backoff_min_ms;
    uint64_t backoff_max_ms;
    uint64_t healthy_ms;
    struct session_settings session;
};

/* Effects, by the child's number in effect.id; all but SPAWN are not answered. */
enum supervisor_effect {
    SUPERVISOR_SPAWN = 1, /* struct spawn_request; answered with its status */
    SUPERVISOR_TERMINATE, /* SIGTERM */
    SUPERVISOR_KILL,      /* SIGKILL to its group */
    SUPERVISOR_PING,
    SUPERVISOR_SAY        /* struct say_request: a line of log */
};

/* Result kinds beyond those of the effects: id is the child's number, `value` a struct child_end
 * (runtime/spawn.h), the reason its last words. */
#define SUPERVISOR_ENDED 100u

struct spawn_request {
    const struct actor_row *row;
    uint64_t incarnation;
    bool has_rank;
    struct instance_id instance_id;
    struct generation generation;
    uint32_t rank;
    uint32_t threads;
    char fabric[ADDRESS_SIZE_MAX];
    char front[ADDRESS_SIZE_MAX];
    char rdma[NAME_SIZE_MAX];
    char ways[WAYS_SIZE_MAX];
};

struct say_request {
    bool is_error; /* else a notice */
    char text[640];
};

extern const struct actor_ops supervisor_ops;

/* How long a whole node may take to stop. */
uint64_t supervisor_stop_ms(const struct actor_row *rows, size_t row_count);

#endif
