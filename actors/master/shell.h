/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shell: the disk of a master.  Carries out the effects of its step: the event log, the epoch file,
 * snapshots; reads the log back at the start.
 *
 * Owner    main.c; the simulator gives it a disk of its own.
 * Memory   the log's; one state while recovering.
 * Threads  the loop's; blocks for the disk (that is what groups commits).
 * Fails    with the sentence of the log; a full disk is told to the step, not a failure.
 */
#ifndef TROUPE_ACTORS_MASTER_SHELL_H
#define TROUPE_ACTORS_MASTER_SHELL_H

#include "actors/master/master.h"
#include "runtime/event_log_reader.h"
#include "runtime/loop.h"

enum lost_end {
    LOST_REFILLED, /* they came from a peer, one by one */
    LOST_COVERED,  /* a peer's state holds what they did */
    LOST_PARTED    /* the leader's log, of a higher epoch, goes on without them */
};

struct master_shell {
    const struct disk_ops *disk; /* NULL: the machine's */
    const char *log_path;
    const char *listen;     /* of this master: which of its addresses are told */
    uint32_t thunderbolt_mbit; /* speed of its Thunderbolt interfaces; 0: not told */
    const char *store_path; /* whose free space is told; NULL: that of the log */
    const char *kernels_path; /* of runtime/kernel_rates.h; NULL: none */
    uint64_t segment_size; /* of the log; 0: as event_log.h says */
    uint64_t retain_size;
    struct event_log *log;
    struct event_log_reader *reader; /* for followers far behind; opened when first needed */
    bool has_appended;
    uint64_t reported;           /* durable index the step knows of */
    uint64_t lost_first;         /* damaged events that are being had from a peer; 0: none */
    uint64_t lost_last;
    enum lost_end lost_end;      /* how they were made good */
    void (*tell)(struct master_shell *shell, const char *sentence); /* for people; may be NULL */
    void (*post)(struct master_shell *shell, const struct result *result);
    void *target;                /* of post */
};

/* Opens the log, replays it into `settings` (state, tail, promised).  Writes notices to `notice`,
 * one sentence, empty when there is nothing to say. */
MUST_CHECK enum status master_shell_open(struct master_shell *shell,
                                         struct master_settings *settings, struct reason *notice,
                                         struct reason *reason);
MUST_CHECK enum status master_shell_perform(struct master_shell *shell, struct effect *effect,
                                            struct reason *reason);
/* One fdatasync for all that was appended since the last. */
MUST_CHECK enum status master_shell_after_batch(struct master_shell *shell,
                                                struct reason *reason);
void master_shell_close(struct master_shell *shell);

/* ---- shell_repair.c ---- */

/* The log is damaged: finds out whom to ask and makes room for the events that are missing; without
 * `has_state` not even the beginning can be read.  STATUS_DAMAGED: nobody is known. */
MUST_CHECK enum status shell_repair_open(struct master_shell *shell,
                                         struct master_settings *settings, bool has_state,
                                         struct reason *notice, struct reason *reason);
/* Keeps, beside the log, whom to ask when it is damaged one day. */
MUST_CHECK enum status shell_nodes_write(struct master_shell *shell,
                                         const struct known_nodes *nodes, struct reason *reason);
/* event_log_append_copy, into a log that is being repaired too. */
MUST_CHECK enum status shell_repair_append(struct master_shell *shell,
                                           const struct event_record *record,
                                           struct reason *reason);
/* Tells that this node's events were cut, which were acknowledged here perhaps. */
void shell_tell_branch(struct master_shell *shell, uint64_t first, uint64_t last,
                       const char *branch);
/* Tells when the log is whole again. */
void shell_repair_check(struct master_shell *shell);

#endif
