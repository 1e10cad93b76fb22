/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event_log_format: the bytes of a log, and the walk over one segment that writer, recovery and
 * readers share.
 *
 * Owner    event_log*.c and event_log_reader.c; nobody else includes it.
 * Memory   a scan has one window, grown to the largest record met.
 * Threads  one at a time each.
 * Fails    STATUS_MALFORMED: not a valid record (or header) at this offset.
 */
#ifndef TROUPE_RUNTIME_EVENT_LOG_FORMAT_H
#define TROUPE_RUNTIME_EVENT_LOG_FORMAT_H

#include "runtime/event_log.h"

#define RECORD_HEADER_SIZE ((size_t)104)
#define SEGMENT_HEADER_SIZE ((size_t)128)
#define SNAPSHOT_HEADER_SIZE ((size_t)192)
#define RECORD_SIZE_MAX (RECORD_HEADER_SIZE + EVENT_BODY_SIZE_MAX)

/* Of a whole record with its padding. */
static inline size_t event_record_size(size_t body_size)
{
    return RECORD_HEADER_SIZE + ((body_size + 7) & ~(size_t)7);
}

/* The chain before the first event of a cluster. */
void chain_genesis(const struct cluster_id *cluster, struct hash *chain_out);

/* Writes event_record_size(body_size) bytes.  `record->stamp.chain` is made from `before` and
 * written to the record; `durable_index` is what the writer has acknowledged. */
void event_record_encode(uint8_t *bytes_out, struct event_record *record,
                         const struct hash *before, uint64_t durable_index);
/* The chain that the record at `bytes` must have after `before`. */
void event_record_chain_encoded(const uint8_t *bytes, const struct hash *before,
                                struct hash *chain_out);
/* The same for a record that is not encoded yet. */
void event_record_chain(const struct event_record *record, const struct hash *before,
                        struct hash *chain_out);

struct segment_header {
    struct cluster_id cluster;
    struct event_stamp base; /* the point before the first record */
};

void segment_header_encode(uint8_t *bytes_out, const struct segment_header *header);
/* STATUS_MALFORMED or STATUS_VERSION; `why_out` says more. */
MUST_CHECK enum status segment_header_decode(const uint8_t *bytes,
                                             struct segment_header *header_out,
                                             const char **why_out);

struct snapshot_header {
    struct cluster_id cluster;
    struct event_stamp stamp;
    struct hash state_hash;
    uint64_t state_size;
    uint32_t state_crc;
    bool installed; /* came from a peer: the log may begin after it */
};

void snapshot_header_encode(uint8_t *bytes_out, const struct snapshot_header *header);
bool snapshot_header_decode(const uint8_t *bytes, struct snapshot_header *header_out);

struct mark {
    uint64_t index;
    struct hash chain;
    uint64_t segment_first_index;
    uint64_t offset; /* of the first byte after the record, in that segment */
};

#define MARK_NAME "mark"
#define MARK_MAGIC 0x4b52414d55525400u /* "\0TRUMARK" */
#define MARK_VALUE_SIZE 56

void mark_encode(const struct mark *mark, uint8_t *value_out);
struct mark mark_decode(const uint8_t *value);

/* --- walking one segment --- */

struct segment_scan {
    const struct disk_ops *disk;
    int file;
    char path[DISK_PATH_SIZE];
    uint8_t *window;
    size_t window_capacity;
    size_t window_size;     /* valid bytes in it */
    uint64_t window_offset; /* where they begin in the file */
    uint64_t offset;        /* of the next record */
    struct segment_header header;
    struct event_stamp before; /* the record before `offset` */
    const char *why;           /* after STATUS_MALFORMED */
};

/* Opens and checks the header; STATUS_MALFORMED leaves the scan open for segment_scan_search.
 * `window_size` is what is read at once. */
MUST_CHECK enum status segment_scan_open(struct segment_scan *scan, const struct disk_ops *disk,
                                         const char *path, size_t window_size,
                                         struct reason *reason);
void segment_scan_close(struct segment_scan *scan);
/* The next record, its body within the window until the next call.  STATUS_ENDED: the file ends
 * exactly here.  `check_all` false leaves body and chain unchecked, for seeking. */
MUST_CHECK enum status segment_scan_next(struct segment_scan *scan, bool check_all,
                                         struct event_record *record_out, struct reason *reason);
/* Looks at every aligned place from `offset` on for records that stand for themselves (rules 1 to
 * 3) and gives the highest index and acknowledged index that they name; 0: none. */
MUST_CHECK enum status segment_scan_search(struct segment_scan *scan, uint64_t offset,
                                           uint64_t *index_max_out, uint64_t *durable_max_out,
                                           struct reason *reason);
/* Forgets the window, so that a writer's new bytes are seen. */
void segment_scan_refresh(struct segment_scan *scan);

#endif
