/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop_internal: what loop.c and loop_outbox.c share.
 */
#ifndef TROUPE_RUNTIME_LOOP_INTERNAL_H
#define TROUPE_RUNTIME_LOOP_INTERNAL_H

#include "runtime/loop.h"
#include "runtime/pool.h"

#include <pthread.h>
#include <stdatomic.h>

enum { LOOP_RANDOM_COUNT = 64, LOOP_WATCH_MAX = 1024 };

struct loop_watch {
    int fd;
    void (*ready)(void *argument, int fd); /* NULL: unwatched during this round */
    void *argument;
};

/* An input the loop made itself. */
struct pending {
    enum input_kind kind;
    struct peer peer;
    struct child_event child;
    enum status status;
    struct reason reason;
    struct result result;
};

struct pending_list {
    struct pending *items;
    size_t count;
    size_t capacity;
    size_t taken; /* of `count`, already delivered */
};

struct loop {
    struct loop_options options;
    void *actor;
    bool is_actor_open;
    bool is_shell_open;
    struct outbox outbox;
    struct transport *transport;
    bool owns_transport;
    struct work_pool *pool;

    pthread_mutex_t lock;       /* guards `posted` and `is_closed` */
    struct pending_list posted; /* from any thread */
    bool is_closed;
    atomic_bool is_ending;
    atomic_bool is_stop_wanted;

    struct pending_list pending; /* the loop's thread only */
    struct loop_watch watches[LOOP_WATCH_MAX];
    size_t watch_count;
    struct transport_watch polled[LOOP_WATCH_MAX];

    int wake_fds[2];
    uint64_t random[LOOP_RANDOM_COUNT];
    size_t random_left;
    bool is_stop_told;
    uint64_t stop_deadline_ms;
    uint64_t watchdog_ms;
    uint64_t watchdog_at_ms;
    bool is_exiting;
    int exit_code;
    struct loop_counters counters;
    uint64_t malformed_said_ms; /* when the log last spoke of them */
};

MUST_CHECK enum status pending_push(struct pending_list *list, const struct pending *pending);
void pending_list_fini(struct pending_list *list);

/* loop_outbox.c: carries out what one step asked for, in order. */
MUST_CHECK enum status loop_carry_out(struct loop *loop, struct reason *reason);

#endif
