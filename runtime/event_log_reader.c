/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading beside a living writer.
 *
 * A segment that has a successor is never written again, so the end of one is told from a tail that
 * is being written by whether a segment begins with the next index.  At the tail the mark tells
 * bytes that were acknowledged, and must be whole, from a group on its way.
 */
#include "runtime/event_log_reader.h"

#include "protocol/memory.h"
#include "runtime/event_log_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The writer may retire the segment that was just found; then a newer list is read. */
#define SEEK_ATTEMPTS_MAX 5

struct event_log_reader {
    const struct disk_ops *disk;
    char path[DISK_PATH_SIZE];
    bool is_file;
    bool is_open; /* the scan */
    struct segment_scan scan;
    char name[EVENT_LOG_NAME_SIZE];
    uint64_t wanted; /* records before this index are passed over */
};

static void name_set(struct event_log_reader *reader, const char *path)
{
    const char *slash = strrchr(path, '/');
    (void)snprintf(reader->name, sizeof(reader->name), "%.100s", slash ? slash + 1 : path);
}

/* Replaces the open scan by one of the file at `path`. */
static enum status scan_switch(struct event_log_reader *reader, const char *path,
                               struct reason *reason)
{
    struct segment_scan scan;
    enum status status =
        segment_scan_open(&scan, reader->disk, path, SEEK_WINDOW_SIZE, reason);
    if (status == STATUS_MALFORMED) {
        segment_scan_close(&scan);
        return STATUS_DAMAGED;
    }
    if (status != STATUS_OK)
        return status;
    if (reader->is_open)
        segment_scan_close(&reader->scan);
    reader->scan = scan;
    reader->is_open = true;
    name_set(reader, path);
    return STATUS_OK;
}

static enum status scan_switch_to(struct event_log_reader *reader, uint64_t first_index,
                                  struct reason *reason)
{
    char name[EVENT_LOG_NAME_SIZE];
    char path[DISK_PATH_SIZE];
    enum status status =
        disk_path(reader->path, segment_name(first_index, name), path, reason);
    return status == STATUS_OK ? scan_switch(reader, path, reason) : status;
}

enum status event_log_reader_open(const char *path, const struct disk_ops *disk,
                                  struct event_log_reader **reader_out, struct reason *reason)
{
    size_t length = strlen(path);
    if (length == 0 || length >= DISK_PATH_SIZE - EVENT_LOG_NAME_SIZE)
        return refuse(reason, STATUS_TOO_LARGE, "the path of a log must have 1 to %d bytes",
                      DISK_PATH_SIZE - EVENT_LOG_NAME_SIZE);
    struct event_log_reader *reader = memory_zeroed(1, sizeof(*reader));
    if (!reader)
        return refuse(reason, STATUS_NO_MEMORY, "%s: no memory to read it", path);
    reader->disk = disk ? disk : &disk_machine;
    memcpy(reader->path, path, length + 1);
    struct log_listing listing;
    enum status status = log_listing_read(&listing, reader->disk, path, NULL);
    log_listing_fini(&listing);
    reader->is_file = status != STATUS_OK; /* "not a directory" counts as "not found" */
    status = event_log_reader_seek(reader, 0, reason);
    if (status != STATUS_OK) {
        event_log_reader_close(reader);
        return status;
    }
    *reader_out = reader;
    return STATUS_OK;
}

void event_log_reader_close(struct event_log_reader *reader)
{
    if (!reader)
        return;
    if (reader->is_open)
        segment_scan_close(&reader->scan);
    memory_free(reader);
}

/* The first index of the segment that holds `index` or will. */
static enum status segment_for(const struct event_log_reader *reader, uint64_t index,
                               uint64_t *first_out, struct reason *reason)
{
    struct log_listing listing;
    enum status status = log_listing_read(&listing, reader->disk, reader->path, reason);
    if (status != STATUS_OK)
        return status;
    if (listing.segment_count == 0) {
        status = refuse(reason, STATUS_NOT_FOUND, "%s: there is no event log", reader->path);
    } else if (index > 0 && index < listing.segments[0]) {
        status = refuse(reason, STATUS_NOT_FOUND,
                        "%s: event %" PRIu64 " is not here any more; the oldest is %" PRIu64,
                        reader->path, index, listing.segments[0]);
    } else {
        size_t low = 0;
        for (size_t high = listing.segment_count; high - low > 1 && index > 0;) {
            size_t middle = low + (high - low) / 2;
            if (listing.segments[middle] <= index)
                low = middle;
            else
                high = middle;
        }
        *first_out = listing.segments[low];
    }
    log_listing_fini(&listing);
    return status;
}

static enum status seek_segment(struct event_log_reader *reader, uint64_t index,
                                struct reason *reason)
{
    if (reader->is_file)
        return scan_switch(reader, reader->path, reason);
    enum status status = STATUS_OK;
    for (int attempt = 0; attempt < SEEK_ATTEMPTS_MAX; attempt++) {
        uint64_t first = 0;
        status = segment_for(reader, index, &first, reason);
        if (status != STATUS_OK)
            return status;
        status = scan_switch_to(reader, first, reason);
        if (status != STATUS_NOT_FOUND)
            return status;
    }
    return status;
}

enum status event_log_reader_seek(struct event_log_reader *reader, uint64_t index,
                                  struct reason *reason)
{
    enum status status = seek_segment(reader, index, reason);
    if (status != STATUS_OK)
        return status;
    reader->wanted = index;
    if (index > 0 && index <= reader->scan.before.index)
        return refuse(reason, STATUS_NOT_FOUND, "%s: it begins with event %" PRIu64,
                      reader->scan.path, reader->scan.before.index + 1);
    while (reader->scan.before.index + 1 < index) {
        struct event_record record;
        status = segment_scan_next(&reader->scan, false, &record, NULL);
        if (status == STATUS_ENDED || status == STATUS_MALFORMED)
            break; /* reading on says what it is */
        if (status != STATUS_OK)
            return refuse(reason, status, "%s: could not be read", reader->scan.path);
    }
    return STATUS_OK;
}

static uint64_t mark_index(const struct event_log_reader *reader)
{
    struct slot_file slots;
    uint8_t value[MARK_VALUE_SIZE];
    if (slot_file_open(&slots, reader->disk, DISK_READ, reader->path, MARK_NAME, MARK_MAGIC, value,
                       sizeof(value), NULL) != STATUS_OK)
        return 0;
    slot_file_close(&slots);
    return mark_decode(value).index;
}

/* Is the point where the reader stands still in the segment's file? */
static bool place_is_kept(const struct event_log_reader *reader)
{
    struct segment_scan scan;
    enum status status =
        segment_scan_open(&scan, reader->disk, reader->scan.path, SEEK_WINDOW_SIZE, NULL);
    if (status != STATUS_OK) {
        if (status == STATUS_MALFORMED)
            segment_scan_close(&scan);
        return false;
    }
    while (status == STATUS_OK && scan.before.index < reader->scan.before.index) {
        struct event_record record;
        status = segment_scan_next(&scan, false, &record, NULL);
    }
    bool kept = status == STATUS_OK &&
                memcmp(&scan.before, &reader->scan.before, sizeof(scan.before)) == 0;
    segment_scan_close(&scan);
    return kept;
}

static enum status refuse_stale(const struct event_log_reader *reader, struct reason *reason)
{
    return refuse(reason, STATUS_STALE, "%s: the log was cut before event %" PRIu64, reader->path,
                  reader->scan.before.index + 1);
}

static enum status refuse_damage(const struct event_log_reader *reader, const char *why,
                                 struct reason *reason)
{
    return refuse(reason, STATUS_DAMAGED, "%s is damaged at byte %" PRIu64 ": %s",
                  reader->scan.path, reader->scan.offset, why);
}

/* What is known before the tail is read once more: a writer may go on in between. */
struct tail_view {
    bool is_tail; /* no later segment */
    uint64_t mark_index;
};

static enum status tail_look(const struct event_log_reader *reader, struct tail_view *view_out,
                             struct reason *reason)
{
    struct log_listing listing;
    uint64_t index = mark_index(reader);
    enum status status = log_listing_read(&listing, reader->disk, reader->path, reason);
    if (status != STATUS_OK)
        return status;
    view_out->mark_index = index;
    uint64_t next = reader->scan.before.index + 1;
    view_out->is_tail = listing.segment_count > 0 &&
                        listing.segments[listing.segment_count - 1] <= next;
    log_listing_fini(&listing);
    return STATUS_OK;
}

/* STATUS_OK: now stands at the beginning of the next segment.  STATUS_NOT_FOUND: there is none. */
static enum status segment_follow(struct event_log_reader *reader, struct reason *reason)
{
    struct event_stamp before = reader->scan.before;
    if (before.index == reader->scan.header.base.index)
        return STATUS_NOT_FOUND; /* still empty, and itself named so */
    struct reason why;
    enum status status = scan_switch_to(reader, before.index + 1, &why);
    if (status != STATUS_OK)
        return status == STATUS_NOT_FOUND ? status : refuse(reason, status, "%s", why.text);
    bool goes_on =
        memcmp(&reader->scan.header.base.chain, &before.chain, sizeof(before.chain)) == 0;
    return goes_on ? STATUS_OK : refuse_stale(reader, reason);
}

/* The tail was read twice and ends here: for now, or because of a cut, or by damage. */
static enum status end_explain(const struct event_log_reader *reader, const char *why,
                               const struct tail_view *view, struct reason *reason)
{
    if (!place_is_kept(reader))
        return refuse_stale(reader, reason);
    if (view->is_tail && view->mark_index <= reader->scan.before.index)
        return STATUS_ENDED;
    return refuse_damage(reader, why ? why : "the log ends before its acknowledged length", reason);
}

enum status event_log_reader_next(struct event_log_reader *reader,
                                  struct event_record *record_out, struct reason *reason)
{
    struct tail_view view = {0};
    bool has_view = false;
    for (;;) {
        struct event_record record;
        enum status status = segment_scan_next(&reader->scan, true, &record, reason);
        if (status == STATUS_OK && record.stamp.index < reader->wanted)
            continue;
        if (status == STATUS_OK)
            *record_out = record;
        if (status != STATUS_ENDED && status != STATUS_MALFORMED)
            return status;
        const char *why = status == STATUS_MALFORMED ? reader->scan.why : NULL;
        if (reader->is_file)
            return why ? refuse_damage(reader, why, reason) : STATUS_ENDED;
        status = why ? STATUS_NOT_FOUND : segment_follow(reader, reason);
        if (status == STATUS_NOT_FOUND && has_view)
            return end_explain(reader, why, &view, reason);
        has_view = status == STATUS_NOT_FOUND;
        if (has_view)
            status = tail_look(reader, &view, reason);
        if (status != STATUS_OK)
            return status;
        if (has_view)
            segment_scan_refresh(&reader->scan);
    }
}

enum status event_log_reader_snapshot(const struct event_log_reader *reader, uint64_t index_max,
                                      struct event_snapshot *snapshot_out, struct reason *reason)
{
    struct event_log log = {.disk = reader->disk, .cluster = reader->scan.header.cluster};
    memcpy(log.path, reader->path, sizeof(log.path));
    if (reader->is_file)
        return refuse(reason, STATUS_NOT_FOUND, "%s is one file; snapshots lie in a log directory",
                      reader->path);
    return snapshot_newest(&log, index_max, snapshot_out, reason);
}

bool event_log_reader_has_snapshot(const struct event_log_reader *reader, uint64_t index)
{
    char name[EVENT_LOG_NAME_SIZE];
    char path[DISK_PATH_SIZE];
    if (reader->is_file ||
        disk_path(reader->path, snapshot_name(index, name), path, NULL) != STATUS_OK)
        return false;
    int file = reader->disk->open(reader->disk->owner, path, DISK_READ);
    if (file >= 0)
        reader->disk->close(reader->disk->owner, file);
    return file >= 0;
}

uint64_t event_log_reader_mark(const struct event_log_reader *reader)
{
    return reader->is_file ? 0 : mark_index(reader);
}

struct event_stamp event_log_reader_stamp(const struct event_log_reader *reader)
{
    return reader->scan.before;
}

const char *event_log_reader_file(const struct event_log_reader *reader, uint64_t *offset_out)
{
    *offset_out = reader->scan.offset;
    return reader->name;
}

struct cluster_id event_log_reader_cluster(const struct event_log_reader *reader)
{
    return reader->scan.header.cluster;
}
