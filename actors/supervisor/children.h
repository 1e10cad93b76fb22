/* SPDX-License-Identifier: Apache-2.0 */
/*
 * children: what supervisor.c, children.c and tasks.c share.
 *
 * Owner, memory, threads and failures: as supervisor.h.
 */
#ifndef TROUPE_ACTORS_SUPERVISOR_CHILDREN_H
#define TROUPE_ACTORS_SUPERVISOR_CHILDREN_H

#include "actors/supervisor/supervisor.h"
#include "runtime/spawn.h"

enum child_state {
    CHILD_NONE,     /* a free slot, or an actor that is not to run */
    CHILD_WAITING,  /* for its backoff */
    CHILD_STARTING, /* spawned, not ready */
    CHILD_SERVING,
    CHILD_STOPPING, /* told to end */
    CHILD_KILLED    /* killed, its end not yet seen */
};

/* What a log that was cut does not know of ends after this (DESIGN 4). */
#define COMPARE_WAIT_MS 30000u

struct supervised {
    enum child_state state;
    const struct actor_row *row;
    uint64_t id; /* of this spawn; never used twice */
    uint64_t incarnation;
    bool has_rank;
    bool was_asked;       /* we told it to end */
    bool has_been_ready;  /* in any of its lives */
    struct instance_id instance_id;
    struct generation generation;
    uint32_t rank;
    uint32_t threads;
    char fabric[ADDRESS_SIZE_MAX];
    char front[ADDRESS_SIZE_MAX];
    char rdma[NAME_SIZE_MAX];
    char ways[WAYS_SIZE_MAX];
    struct command_key key; /* of the task that asked for it */
    uint64_t ready_at_ms;   /* of this life; 0: not yet */
    uint64_t due_ms;        /* see supervisor.h; UINT64_MAX: never */
    uint64_t again_ms;      /* when it last asked to be started again; 0: never */
    uint32_t backoffs;      /* in a row */
    struct reason why;      /* why we killed it; empty when we did not */
};

/* Times of deaths, the oldest overwritten. */
struct tally {
    uint64_t times_ms[DEATHS_KEPT_MAX];
    size_t count;
};

struct ended_rank {
    struct instance_id instance_id;
    struct generation generation;
    uint32_t rank;
    uint32_t actor;
    bool was_asked;
};

struct supervisor {
    const struct supervisor_settings *settings;
    struct session session;
    const struct input *input; /* of the present step */
    struct outbox *outbox;
    uint64_t random; /* of the present step, advanced with each use */
    uint64_t last_id;
    uint64_t ping_at_ms;
    struct supervised children[CHILDREN_MAX]; /* one for each row, then ranks */
    struct tally tallies[ACTOR_ROWS_MAX];
    struct ended_rank ended[ENDED_KEPT_MAX];
    size_t ended_count;
    bool is_ready;
    bool is_stopping;
    bool is_told_lost;  /* ranks of an earlier life were reported */
    bool must_compare;  /* the connection is new: children may not be wanted any more */
    uint64_t compare_by_ms; /* ... and then the mirror need not be where it was: a log may be cut */
    uint64_t reached;      /* highest index the mirror ever had */
    uint64_t master_index; /* of the last welcome */
    int32_t exit_code;
    struct reason given_up; /* why the node stops by itself; empty when it does not */
    char status_line[256];
};

/* children.c */
void say(struct supervisor *supervisor, bool is_error, const char *format, ...) PRINTF_LIKE(3, 4);
uint64_t random_next(struct supervisor *supervisor);
struct supervised *child_of_id(struct supervisor *supervisor, uint64_t id);
void child_start(struct supervisor *supervisor, struct supervised *child);
/* Asks it to end; harmless when it ends already. */
void child_end_politely(struct supervisor *supervisor, struct supervised *child);
void child_became_ready(struct supervisor *supervisor, struct supervised *child);
void child_was_heard(struct supervisor *supervisor, struct supervised *child);
void child_has_ended(struct supervisor *supervisor, struct supervised *child,
                     const struct child_end *end, const char *words);
void child_spawn_failed(struct supervisor *supervisor, struct supervised *child,
                        enum status status, const char *sentence);
/* Deadlines and pings; asks for the next wake-up. */
void children_tick(struct supervisor *supervisor);

/* supervisor.c: the node stops with this code and sentence. */
void supervisor_give_up(struct supervisor *supervisor, const struct supervised *child,
                        int32_t exit_code, const char *sentence);

/* tasks.c */
MUST_CHECK enum status task_take(struct supervisor *supervisor, const struct message *task);
/* After a new connection, once the mirror has caught up. */
void ranks_compare(struct supervisor *supervisor);
void report_ended(struct supervisor *supervisor, const struct supervised *child,
                  const struct child_end *end, bool was_asked, const char *sentence);
void report_given_up(struct supervisor *supervisor, const struct supervised *child,
                     const char *sentence);
void rank_remember(struct supervisor *supervisor, const struct supervised *child);

#endif
