/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoch_file: the highest epoch this node has promised, durable before it is announced.
 *
 * Memory   none.
 * Threads  any, one writer.
 * Fails    STATUS_NOT_FOUND: never written; STATUS_DAMAGED: both slots are unreadable (take the
 *          highest epoch of the log and of the peers, and write it); STATUS_NO_SPACE; STATUS_IO:
 *          not durable, the process should exit.
 */
#ifndef TROUPE_RUNTIME_EPOCH_FILE_H
#define TROUPE_RUNTIME_EPOCH_FILE_H

#include "runtime/event_log.h"

/* `directory` must exist; the file in it is "epoch".  `disk` NULL: disk_machine. */
MUST_CHECK enum status epoch_file_read(const struct disk_ops *disk, const char *directory,
                                       struct event_epoch *epoch_out, struct reason *reason);
/* Returns when it is on the disk.  A torn write leaves the epoch before. */
MUST_CHECK enum status epoch_file_write(const struct disk_ops *disk, const char *directory,
                                        const struct event_epoch *epoch, struct reason *reason);

#endif
