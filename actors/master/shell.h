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

struct master_shell {
    const struct disk_ops *disk; /* NULL: the machine's */
    const char *log_path;
    struct event_log *log;
    struct event_log_reader *reader; /* for followers far behind; opened when first needed */
    bool has_appended;
    uint64_t reported;           /* durable index the step knows of */
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

#endif
