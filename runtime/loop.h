/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop: the one event loop; carries inputs to an actor's step and carries out its outbox.
 *
 * It sleeps in poll until a socket, a watched descriptor, a posted result or the wake-up asked for;
 * an idle process costs nothing.  SIGTERM and SIGINT become INPUT_STOP; an actor that has not
 * exited `stop_ms` later is ended.  When the supervisor pings (runtime/spawn.h) the loop answers,
 * and when the supervisor dies the loop ends the process.
 *
 * Owner    main; one loop per process.
 * Memory   the loop owns the actor's memory; settings, transport and shell are borrowed.
 * Threads  everything on the thread of loop_run, but loop_post and loop_work, which any may call,
 *          and the work itself, which runs on a thread of the loop's small pool.
 * Fails    loop_run returns the first failure of init, step or shell with its reason.
 */
#ifndef TROUPE_RUNTIME_LOOP_H
#define TROUPE_RUNTIME_LOOP_H

#include "runtime/actor.h"
#include "runtime/transport.h"

struct loop;

/* The impure half of an actor; every call may be NULL. */
struct shell {
    void *self;
    /* Before INPUT_START. */
    enum status (*open)(void *self, struct loop *loop, struct reason *reason);
    /* Does the effect, or hands it to loop_work, and answers by loop_post, now or later.  Not OK
     * ends the process. */
    enum status (*perform)(void *self, struct loop *loop, struct effect *effect,
                           struct reason *reason);
    /* After each batch of inputs: the place for one fdatasync for all that was appended. */
    enum status (*after_batch)(void *self, struct loop *loop, struct reason *reason);
    /* After the last step; the pool has ended. */
    void (*close)(void *self);
};

struct loop_options {
    const struct actor_ops *ops;
    const void *settings;
    struct transport *transport; /* may be NULL for a process without links */
    struct shell shell;
    uint32_t batch_max;  /* inputs before after_batch; 0: 256 */
    uint32_t stop_ms;    /* 0: 5000 */
    bool notify_service; /* tells systemd READY, STOPPING, WATCHDOG (supervisor only) */
};

MUST_CHECK enum status loop_create(const struct loop_options *options, struct loop **loop_out,
                                   struct reason *reason);
/* Returns when the actor exits; `exit_code_out` is what it asked for. */
MUST_CHECK enum status loop_run(struct loop *loop, int *exit_code_out, struct reason *reason);
/* Accepts NULL. */
void loop_free(struct loop *loop);

/* The actor's memory, for a shell on the loop's thread and for tests. */
void *loop_actor(struct loop *loop);

/* From any thread: brings INPUT_RESULT to the step.  `value` is the loop's from now on, also when
 * the loop has ended. */
void loop_post(struct loop *loop, const struct result *result);

/* From any thread: runs `work(argument)` on a pool thread (4 at most, made when first needed, work
 * waits in order).  `work` answers by loop_post.  After the loop has ended it is not run and
 * `cancel(argument)` is called instead. */
MUST_CHECK enum status loop_work(struct loop *loop, void (*work)(void *argument),
                                 void (*cancel)(void *argument), void *argument);

/* On the loop's thread: calls `ready(argument, ready_fd)` when the descriptor can be read. */
MUST_CHECK enum status loop_watch(struct loop *loop, int fd, void (*ready)(void *argument, int fd),
                                  void *argument);
void loop_unwatch(struct loop *loop, int fd);
/* On the loop's thread, from a watch: an input about a child. */
void loop_child(struct loop *loop, enum input_kind kind, const struct child_event *child);
/* From any thread: as SIGTERM does. */
void loop_stop(struct loop *loop);
/* From any thread: true once the loop is ending; long work then gives up. */
bool loop_is_ending(const struct loop *loop);

struct loop_counters {
    uint64_t inputs;
    uint64_t batches;
    uint64_t messages_malformed; /* from peers: refused, counted, dropped */
};
const struct loop_counters *loop_counters(const struct loop *loop);

#endif
