/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn: start a process of the troupe, hear from it, end it with all it started.
 *
 * A child leads its own process group, has no descriptor and no environment but what is given, and
 * dies with its parent: Linux kills it by PR_SET_PDEATHSIG, elsewhere its loop sees the beat
 * channel close.  Beats: the parent writes a byte, the child's loop answers with one, so an idle
 * child costs one wake-up per ping and a hung, stopped or deadlocked one is silent.
 *
 * Owner    the supervisor or launcher, whose step does all the waiting and deciding.
 * Memory   a struct child is the caller's; child_fini closes its descriptors.
 * Threads  one; the thread that spawned must live as long as the child (PR_SET_PDEATHSIG).
 * Fails    STATUS_NOT_FOUND, STATUS_NO_PERMISSION, STATUS_IO with a sentence naming the program.
 *          A program that cannot be executed is reported by child_spawn itself.
 */
#ifndef TROUPE_RUNTIME_SPAWN_H
#define TROUPE_RUNTIME_SPAWN_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define READY_FD_VARIABLE "TROUPE_READY_FD"
#define BEAT_FD_VARIABLE "TROUPE_BEAT_FD"

struct spawn_options {
    const char *program;                 /* path; no search */
    const char *const *arguments;        /* NULL-terminated, without the program's name */
    const char *const *environment;      /* NULL-terminated "NAME=value"; all there is, but for the
                                            two variables above, which are added */
    const char *directory;               /* NULL: the parent's */
    int error_fd;                        /* becomes standard error; -1: the parent's */
    int output_fd;                       /* becomes standard output; -1: the parent's */
};

struct child {
    pid_t pid;     /* 0: none */
    int ready_fd;  /* readable when the child says ready, or dies first */
    int beat_fd;   /* readable when the child answered a ping, or died */
    int death_fd;  /* readable when the child ended */
};

struct child_end {
    int exit_code; /* -1 when killed */
    int signal;    /* 0 when it exited */
};

MUST_CHECK enum status child_spawn(const struct spawn_options *options, struct child *child_out,
                                   struct reason *reason);
/* After ready_fd became readable: true once, when the child has said it; closes ready_fd. */
bool child_is_ready(struct child *child);
/* Asks for a beat; never blocks. */
void child_ping(struct child *child);
/* After beat_fd became readable: number of answers read; 0 when the child closed it. */
unsigned child_beats(struct child *child);
/* True when it has ended and was collected; never blocks.  The group is killed too then, so that
 * nothing it started outlives it. */
bool child_reap(struct child *child, struct child_end *end_out);
/* SIGTERM to the child. */
void child_stop(struct child *child);
/* SIGKILL to its whole group. */
void child_kill(struct child *child);
/* Closes descriptors; a child that still runs is killed and collected. */
void child_fini(struct child *child);

/* The child's side: says ready to the parent, once; nothing happens without one. */
void ready_notify(void);
/* The child's end of the beat channel, or -1; the loop answers pings on it. */
int beat_fd_inherited(void);

#endif
