/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event_log: the ordered events of a cluster on this node's disk, each chained by hash to the one
 * before.  The format is at the top of event_log_format.c.
 *
 * Owner    the master, one writer at a time (a lock file says so); readers (event_log_reader.h)
 *          need no lock.
 * Memory   what waits to be synced (at most 8 MiB, then an append syncs by itself), the list of
 *          segments, a window of 2 MiB while recovering.
 * Threads  one at a time.  event_log_sync blocks for the disk.
 * Fails    STATUS_NO_SPACE: nothing was taken, the log goes on when space returns.
 *          STATUS_DAMAGED: acknowledged bytes are wrong; the reason names file, offset, remedy.
 *          STATUS_IO: the disk can not be trusted.  After a failed fsync the log is poisoned: each
 *          later call fails with STATUS_IO, and the process should exit and recover from disk.
 *
 * A directory holds
 *   lock                            held by the writer
 *   mark                            the acknowledged length, in two slots
 *   00000000000000000001.segment    records from index 1 on; the last one is written to, a segment
 *                                   that has a successor is sealed and never written again
 *   00000000000000004096.snapshot   a state as it was after index 4096
 *   branch-*.segment                events cut by event_log_truncate_to
 *   damaged-*                       files set aside by event_log_replace_from
 *
 * Recovery.  A record is valid if and only if
 *   (1) its header lies within the file and begins with the magic, at a multiple of 8;
 *   (2) the header's CRC32C holds;
 *   (3) its body lies within the file, is at most EVENT_BODY_SIZE_MAX, padded with zeros to 8,
 *       and the body's CRC32C holds;
 *   (4) its index is one more than that of the record before;
 *   (5) its epoch is not before the epoch of the record before;
 *   (6) its chain is the hash of the chain before and of the record.
 * A segment is valid if and only if (1) magic, version, size and CRC32C of its header hold, (2) it
 * is of this cluster, (3) its header continues index and chain of the segment before (the first
 * one: the genesis chain, or a valid snapshot at or after its beginning), (4) all its bytes are
 * valid records; of the last segment, those before the torn tail.
 * The first invalid byte X is a torn tail, cut and reported, if and only if (1) it is in the last
 * segment, (2) the mark is readable and not above the last index before X, and (3) no valid record
 * after X says that a record at or after X had been acknowledged when it was written.  Anything
 * else is damage and nothing is changed: STATUS_DAMAGED.
 * The mark is written after each sync and itself synced before the next group is acknowledged, so
 * it is at most one group behind.  Of its two slots the older valid one is overwritten.  When both
 * are unreadable every byte counts as acknowledged; a log that is whole to its last byte is then
 * taken as it is, which is reported (mark_lost).
 */
#ifndef TROUPE_RUNTIME_EVENT_LOG_H
#define TROUPE_RUNTIME_EVENT_LOG_H

#include "protocol/hash.h"
#include "protocol/status.h"
#include "runtime/disk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An event above this is refused; it bounds what a reader must hold. */
#define EVENT_BODY_SIZE_MAX ((size_t)1 << 20)

/* Who leads, compared number first, then leader. */
struct event_epoch {
    uint64_t number;
    struct node_id leader;
};

/* A point in a log: all up to `index`. */
struct event_stamp {
    uint64_t index; /* 0: before the first event */
    struct event_epoch epoch;
    struct hash chain;
};

struct event_record {
    struct event_stamp stamp;
    uint64_t time_ms; /* since 1970, at the leader */
    uint16_t kind;    /* what the body is; opaque here */
    const uint8_t *body;
    size_t body_size;
};

struct event_log_options {
    const char *path;             /* the directory; made when absent */
    const struct disk_ops *disk;  /* NULL: disk_machine */
    struct cluster_id cluster;    /* another cluster's log is refused */
    uint64_t segment_size;        /* a segment is sealed beyond this; 0: 16 MiB */
    uint64_t retain_size;         /* event_log_retire keeps this much; 0: 1 GiB */
    bool accept_damage;           /* open a damaged log too, to repair it */
};

/* What opening found and did. */
struct event_log_recovery {
    uint64_t first_index;       /* of the records here */
    uint64_t record_count;
    uint64_t mark_index;        /* the mark as it was found */
    bool mark_lost;             /* both slots unreadable; every byte then counts as acknowledged */
    uint64_t cut_size;          /* bytes of torn tail cut; 0: none */
    uint64_t cut_offset;
    char cut_file[64];
    uint32_t snapshots_refused; /* unreadable ones, passed over for an older one */
};

/* What is missing of a damaged log. */
struct event_log_damage {
    uint64_t first_index; /* the first event that must be had from a peer */
    uint64_t last_index;  /* the log is whole again when it holds this one */
    uint64_t offset;      /* of the first invalid byte in `file` */
    char file[64];
    char sentence[400];
};

struct event_log;

/* Recovers and locks.  STATUS_BUSY: another process writes this log.  STATUS_REFUSED: it belongs to
 * another cluster.  STATUS_DAMAGED unless `accept_damage`.  `recovery_out` may be NULL. */
MUST_CHECK enum status event_log_open(const struct event_log_options *options,
                                      struct event_log **log_out,
                                      struct event_log_recovery *recovery_out,
                                      struct reason *reason);
/* Writes nothing that waits; settles the mark.  Accepts NULL. */
void event_log_close(struct event_log *log);

/* --- writing --- */

/* Takes one event of the leader; it is durable after the next event_log_sync.  The record's index
 * and chain are made here and written to `stamp_out` (may be NULL). STATUS_STALE: `epoch` is before
 * the last one. */
MUST_CHECK enum status event_log_append(struct event_log *log, struct event_epoch epoch,
                                        uint64_t time_ms, uint16_t kind, const void *body,
                                        size_t body_size, struct event_stamp *stamp_out,
                                        struct reason *reason);
/* Takes a record of another node's log.  STATUS_GAP: not the next index.  STATUS_HASH_MISMATCH: it
 * does not continue this log (find the common prefix and truncate). */
MUST_CHECK enum status event_log_append_copy(struct event_log *log,
                                             const struct event_record *record,
                                             struct reason *reason);
/* Makes all that waits durable: one write and one fdatasync (and, when the owner did not settle
 * since the last group, the fdatasync of the mark before).  On STATUS_NO_SPACE what waits goes on
 * waiting: sync again, or forget it. */
MUST_CHECK enum status event_log_sync(struct event_log *log, struct reason *reason);
/* Drops what waits; the next append takes its indexes again. */
void event_log_forget_waiting(struct event_log *log);
/* Makes the mark of the last group durable, in both slots, so that then no single fault can make it
 * fall behind; to be called when idle, costs nothing when done. */
MUST_CHECK enum status event_log_settle(struct event_log *log, struct reason *reason);

/* --- asking --- */

/* The last durable record; index 0 of an empty log. */
struct event_stamp event_log_durable(const struct event_log *log);
/* The last record taken, durable or not. */
struct event_stamp event_log_last(const struct event_log *log);
/* Of the oldest record still here, or the next index of an empty log. */
uint64_t event_log_first_index(const struct event_log *log);
/* Of a durable record, or of the point just before the first one.  STATUS_NOT_FOUND: not here. */
MUST_CHECK enum status event_log_stamp(const struct event_log *log, uint64_t index,
                                       struct event_stamp *stamp_out, struct reason *reason);
/* NULL when whole. */
const struct event_log_damage *event_log_damage(const struct event_log *log);
bool event_log_is_poisoned(const struct event_log *log);
/* Bytes of all segments. */
uint64_t event_log_size(const struct event_log *log);

/* --- cutting and repairing --- */

/* Cuts every record after `index` (durable ones too; what waits is forgotten).  The branch is first
 * copied to a file of its own, whose name goes to `branch_out` (may be NULL, else at least
 * EVENT_LOG_NAME_SIZE bytes; empty when there was nothing to cut).  Snapshots after `index` go.
 * STATUS_NOT_FOUND: `index` is before the records here, only a snapshot helps. */
#define EVENT_LOG_NAME_SIZE 128
MUST_CHECK enum status event_log_truncate_to(struct event_log *log, uint64_t index,
                                             char *branch_out, struct reason *reason);

/* Begins the repair of a damaged log: keeps what is before `index` (at most damage->first_index),
 * sets the rest aside and takes event_log_append_copy from `index` on.  event_log_damage stays
 * until damage->last_index is durable, also over a restart, or until event_log_truncate_to says
 * that no more is wanted (a higher epoch won).  STATUS_NOT_FOUND: the beginning is lost too, only
 * event_log_install_snapshot helps. */
MUST_CHECK enum status event_log_replace_from(struct event_log *log, uint64_t index,
                                              struct reason *reason);

/* --- snapshots --- */

struct event_snapshot {
    struct event_stamp stamp;
    struct hash state_hash; /* the owner's; opaque here */
    uint8_t *state;         /* heap, to be freed with event_snapshot_fini */
    size_t state_size;
};

#define EVENT_SNAPSHOT_SIZE_MAX ((size_t)1 << 30)

void event_snapshot_fini(struct event_snapshot *snapshot);
/* Writes the state as it is after the durable record `index`; the two newest stay. */
MUST_CHECK enum status event_log_snapshot_write(struct event_log *log, uint64_t index,
                                                const struct hash *state_hash, const void *state,
                                                size_t state_size, struct reason *reason);
/* The newest valid one.  STATUS_NOT_FOUND: none, begin with an empty state. */
MUST_CHECK enum status event_log_snapshot_read(const struct event_log *log,
                                               struct event_snapshot *snapshot_out,
                                               struct reason *reason);
/* Begins the log anew after a peer's snapshot; all records here go (set aside when the log is
 * damaged or reaches beyond the snapshot). */
MUST_CHECK enum status event_log_install_snapshot(struct event_log *log,
                                                  const struct event_snapshot *snapshot,
                                                  struct reason *reason);
/* Removes the oldest segments while the log is above `retain_size` and all their records are
 * in both kept snapshots. */
MUST_CHECK enum status event_log_retire(struct event_log *log, struct reason *reason);

/* Negative, zero or positive. */
int event_epoch_compare(const struct event_epoch *a, const struct event_epoch *b);

#endif
