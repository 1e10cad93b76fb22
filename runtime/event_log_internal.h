/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event_log_internal: the open log, shared by the files that make it.
 *
 * Owner    event_log*.c; nobody else includes it.
 */
#ifndef TROUPE_RUNTIME_EVENT_LOG_INTERNAL_H
#define TROUPE_RUNTIME_EVENT_LOG_INTERNAL_H

#include "runtime/event_log.h"
#include "runtime/event_log_format.h"
#include "runtime/slot_file.h"

/* What one write of a group may hold. */
#define GROUP_SIZE_MAX ((size_t)8 << 20)
/* What recovery reads at once; whole records of any size fit. */
#define RECOVERY_WINDOW_SIZE ((size_t)2 << 20)
#define SEEK_WINDOW_SIZE ((size_t)256 << 10)

_Static_assert(RECOVERY_WINDOW_SIZE >= RECORD_SIZE_MAX, "a record fits into the window");
_Static_assert(GROUP_SIZE_MAX >= RECORD_SIZE_MAX, "a group holds at least one record");

struct log_segment {
    uint64_t first_index;
    uint64_t size; /* up to the last durable record */
};

struct event_log {
    const struct disk_ops *disk;
    char path[DISK_PATH_SIZE];
    struct cluster_id cluster;
    uint64_t segment_size;
    uint64_t retain_size;
    int lock_file;

    struct slot_file mark_slots;
    struct mark mark;    /* as last written, or as it should be */
    bool mark_unwritten; /* the slot could not be written yet */
    bool mark_unsynced;  /* written, not yet durable */
    bool mark_single;    /* durable in one slot; the other says something older */

    struct log_segment *segments; /* ascending; the last one is written to */
    size_t segment_count;
    size_t segment_capacity;
    int active; /* its file; -1 in a damaged log */
    uint64_t room_end; /* of it, up to which the disk has given room already */

    struct event_stamp base;    /* the point before the first record */
    struct event_stamp durable; /* the last record on disk */
    struct event_stamp last;    /* with what waits */

    uint8_t *waiting;
    size_t waiting_size;
    size_t waiting_capacity;

    bool poisoned;
    bool damaged;
    bool refilling;  /* damaged, and event_log_replace_from was called */
    bool base_lost;  /* damaged so that even `base` is unknown */
    bool mark_lost;  /* damaged, and there is no mark to write to */
    struct event_log_damage damage;
};

/* --- event_log_files.c --- */

struct log_listing {
    uint64_t *segments; /* first indexes, ascending */
    size_t segment_count;
    uint64_t *snapshots; /* indexes, ascending */
    size_t snapshot_count;
    char (*parts)[EVENT_LOG_NAME_SIZE]; /* what a crash left half made */
    size_t part_count;
    size_t damaged_count; /* files set aside so far */
    bool no_memory;
};

MUST_CHECK enum status log_listing_read(struct log_listing *listing, const struct disk_ops *disk,
                                        const char *path, struct reason *reason);
void log_listing_fini(struct log_listing *listing);

/* "00000000000000000001.segment" into EVENT_LOG_NAME_SIZE bytes; returns it. */
const char *segment_name(uint64_t first_index, char *name_out);
const char *snapshot_name(uint64_t index, char *name_out);

MUST_CHECK enum status segment_list_push(struct event_log *log, uint64_t first_index,
                                         uint64_t size, struct reason *reason);
/* Makes the segment after `base` and writes to it from now on. */
MUST_CHECK enum status segment_begin(struct event_log *log, const struct event_stamp *base,
                                     struct reason *reason);
/* Opens the last segment of the list for writing. */
MUST_CHECK enum status segment_activate(struct event_log *log, struct reason *reason);
/* Cuts the last segment to `size`, durably; STATUS_IO when that failed. */
MUST_CHECK enum status segment_cut(struct event_log *log, uint64_t size, struct reason *reason);

/* Where the record after `index` begins; `index` from the base to the last durable one. */
struct log_place {
    size_t segment;  /* position in the list, the one that holds `stamp` (or begins after it) */
    uint64_t offset; /* just after the record */
    struct event_stamp stamp;
};
MUST_CHECK enum status log_locate(const struct event_log *log, uint64_t index,
                                  struct log_place *place_out, struct reason *reason);

/* The mark of the point `stamp` that ends at `offset` of a segment of the list. */
struct mark mark_at(const struct event_log *log, const struct event_stamp *stamp, size_t segment,
                    uint64_t offset);
/* Sets the mark to the last durable record and writes it, not yet durably. */
void mark_advance(struct event_log *log);
/* Makes the file anew, both slots saying `mark`. */
MUST_CHECK enum status mark_create(struct event_log *log, const struct mark *mark,
                                   struct reason *reason);
/* The mark as it should be is durable in one slot at least. */
MUST_CHECK enum status mark_settle(struct event_log *log, struct reason *reason);
/* Says `mark`, durably, whatever it said before. */
MUST_CHECK enum status mark_move(struct event_log *log, const struct mark *mark,
                                 struct reason *reason);

/* A piece of a file. */
struct file_piece {
    char name[EVENT_LOG_NAME_SIZE];
    uint64_t from;
    uint64_t to;
};
/* Makes the file `name` of a header and pieces of other files, by way of "<name>.part". */
MUST_CHECK enum status file_assemble(struct event_log *log, const char *name, const void *header,
                                     size_t header_size, const struct file_piece *pieces,
                                     size_t piece_count, struct reason *reason);
/* disk_file_move that poisons when the disk failed. */
MUST_CHECK enum status log_file_move(struct event_log *log, const char *from, const char *to,
                                     struct reason *reason);
MUST_CHECK enum status log_file_put(struct event_log *log, const char *name,
                                    const struct disk_piece *pieces, size_t piece_count,
                                    struct reason *reason);

/* --- event_log.c --- */

/* STATUS_IO when poisoned, STATUS_DAMAGED when damaged and not being refilled. */
MUST_CHECK enum status log_usable(const struct event_log *log, struct reason *reason);
/* Marks the log as not to be trusted any more and returns `status`. */
enum status log_poison(struct event_log *log, enum status status);

/* --- event_log_snapshot.c --- */

/* Reads and checks one; STATUS_MALFORMED when it is not whole or not of this cluster.  The state
 * is read only when `snapshot_out` is not NULL. */
MUST_CHECK enum status snapshot_load(const struct event_log *log, uint64_t index,
                                     struct snapshot_header *header_out,
                                     struct event_snapshot *snapshot_out, struct reason *reason);
/* The newest whole one of an index up to `index_max`; STATUS_NOT_FOUND: none. */
MUST_CHECK enum status snapshot_newest(const struct event_log *log, uint64_t index_max,
                                       struct event_snapshot *snapshot_out,
                                       struct reason *reason);
/* Clears away what is before an installed snapshot and begins the log after it. */
MUST_CHECK enum status snapshot_begin_log(struct event_log *log, const struct event_stamp *stamp,
                                          bool set_aside, struct reason *reason);

/* --- event_log_repair.c --- */

/* Renames the segments from position `from` of the listing on, newest first: to damaged-* when
 * `set_aside`, else away. */
MUST_CHECK enum status segments_clear(struct event_log *log, const struct log_listing *listing,
                                      size_t from, bool set_aside, struct reason *reason);

#endif
