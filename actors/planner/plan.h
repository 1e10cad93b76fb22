/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan: the next task of this node, from the state alone.
 *
 * Pure.  plan_rules is an ordered array; the first rule that finds something to do wins.  The
 * caller puts the task in flight and asks again until there is none.
 *
 * Memory   none; texts of a task are borrowed from the state.
 * Fails    never.
 */
#ifndef TROUPE_ACTORS_PLANNER_PLAN_H
#define TROUPE_ACTORS_PLANNER_PLAN_H

#include "protocol/state.h"

#define IN_FLIGHT_COUNT_MAX 256

/* A task that was given and has not come to its end. */
struct task_in_flight {
    struct command_key key;
    uint32_t code; /* enum task_code */
    uint32_t actor; /* launcher or runner, of a process */
    struct instance_id instance_id;
    struct generation generation;
    uint32_t rank;
    char model_id[NAME_SIZE_MAX + 1];
    struct hash revision;
    struct transfer_id transfer_id;
    bool is_held;         /* the actor works on it (a process: it runs) */
    bool is_ended;        /* the process ended; its generation does not start it again */
    bool is_failed;       /* it answered that it could not */
    uint64_t retry_at_ms; /* a failed one may be given again then */
};

struct in_flight {
    struct task_in_flight items[IN_FLIGHT_COUNT_MAX];
    uint32_t count;
};

struct plan_question {
    const struct state *state;
    const struct node_id *node;
    const struct in_flight *in_flight;
    uint64_t now_ms;
};

/* code is TASK_CODE_NONE when there is nothing to do. */
struct planned_task {
    enum task_code code;
    enum actor_kind route; /* who does it */
    uint32_t actor;
    const struct instance_record *instance;
    struct instance_id instance_id;
    struct generation generation;
    uint32_t rank;
    const struct rank_record *rank_record;
    const char *model_id;
    const char *path;         /* empty: from the hub */
    const char *hub_revision; /* of an import */
    const char *commit; /* of a download */
    struct hash revision;
    struct transfer_id transfer_id;
};

struct planned_task plan_next(const struct plan_question *question);

/* The id of a task follows from its kind, subject and generation. */
struct command_key planned_task_key(const struct planned_task *task);

#endif
