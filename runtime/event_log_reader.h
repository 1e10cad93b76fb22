/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event_log_reader: events from an index on, beside a living writer.
 *
 * Owner    whoever streams, replays or inspects; any number at once, no lock.
 * Memory   one window of 256 KiB, grown to the largest record met (at most 2 MiB).
 * Threads  one at a time each.
 * Fails    STATUS_ENDED: no further record yet (call again to follow); STATUS_NOT_FOUND: the index
 *          is not here (removed, or before a snapshot); STATUS_STALE: the writer cut the log before
 *          this point, seek again; STATUS_DAMAGED with file and offset.
 *
 * Every record is checked by CRC and chain from the place sought.  Records that are written but not
 * yet synced can be seen: whoever publishes bounds by what is committed.
 */
#ifndef TROUPE_RUNTIME_EVENT_LOG_READER_H
#define TROUPE_RUNTIME_EVENT_LOG_READER_H

#include "runtime/event_log.h"

struct event_log_reader;

/* `disk` NULL: disk_machine. `path` is a log directory, or one file in the format of a segment
 * (a branch, a segment).  Stands before the first record. */
MUST_CHECK enum status event_log_reader_open(const char *path, const struct disk_ops *disk,
                                             struct event_log_reader **reader_out,
                                             struct reason *reason);
void event_log_reader_close(struct event_log_reader *reader);

/* The next event_log_reader_next gives `index`, now or when it is written.  Binary search over
 * segments, then the headers of one.  Index 0: the first one here. */
MUST_CHECK enum status event_log_reader_seek(struct event_log_reader *reader, uint64_t index,
                                             struct reason *reason);
/* The body is borrowed until the next call. */
MUST_CHECK enum status event_log_reader_next(struct event_log_reader *reader,
                                             struct event_record *record_out,
                                             struct reason *reason);

/* The newest whole snapshot of a state after event `index_max` or an earlier one; the caller
 * compares its chain with that of the record.  STATUS_NOT_FOUND: none. */
MUST_CHECK enum status event_log_reader_snapshot(const struct event_log_reader *reader,
                                                 uint64_t index_max,
                                                 struct event_snapshot *snapshot_out,
                                                 struct reason *reason);

/* Is there a file for a snapshot of exactly this event? */
bool event_log_reader_has_snapshot(const struct event_log_reader *reader, uint64_t index);

/* The index that the mark says is acknowledged; 0 when there is none or it can not be read. */
uint64_t event_log_reader_mark(const struct event_log_reader *reader);

/* Of the record given last, or of the point before the next. */
struct event_stamp event_log_reader_stamp(const struct event_log_reader *reader);
/* Where the next record is expected: the file's name within the log, and the offset. */
const char *event_log_reader_file(const struct event_log_reader *reader, uint64_t *offset_out);
/* From the header of the segment. */
struct cluster_id event_log_reader_cluster(const struct event_log_reader *reader);

#endif
