/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening: find what is valid by the rules in event_log.h, cut a torn tail, refuse damage.
 *
 * Nothing is changed on disk before everything has been read, except that half-made "*.part"
 * files are removed.
 */
#include "runtime/event_log_internal.h"

#include "protocol/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SEGMENT_SIZE_DEFAULT ((uint64_t)16 << 20)
#define RETAIN_SIZE_DEFAULT ((uint64_t)1 << 30)

struct recovery {
    struct event_log *log;
    struct log_listing listing;
    struct event_log_recovery found;
    struct snapshot_header snapshot; /* the newest whole one */
    bool has_snapshot;
    bool has_mark;
    struct event_stamp end; /* the last valid record so far */
    /* The first invalid byte. */
    bool has_fault;
    size_t fault_segment; /* position in the listing */
    uint64_t fault_offset;
    char why[96];
    /* What lies after it. */
    uint64_t index_after;
    uint64_t durable_after;
};

static enum status remove_parts(struct recovery *recovery, struct reason *reason)
{
    const struct event_log *log = recovery->log;
    for (size_t i = 0; i < recovery->listing.part_count; i++) {
        enum status status =
            disk_file_move(log->disk, log->path, recovery->listing.parts[i], NULL, reason);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* A file may show bytes that a failed fsync left in memory only: what is read after this is what
 * the disk holds. */
static enum status reread_from_disk(const struct event_log *log, const char *path,
                                    struct reason *reason)
{
    int file = -1;
    enum status status = disk_file_open(log->disk, path, DISK_WRITE, &file, reason);
    if (status != STATUS_OK)
        return status;
    int error = -log->disk->sync(log->disk->owner, file);
    if (!error)
        (void)log->disk->forget(log->disk->owner, file); /* best effort: not all disks can */
    log->disk->close(log->disk->owner, file);
    if (error)
        return refuse(reason, STATUS_IO, "%s: could not be made durable: %s; check the disk", path,
                      strerror(error));
    return STATUS_OK;
}

static enum status read_mark(struct recovery *recovery, struct reason *reason)
{
    struct event_log *log = recovery->log;
    uint8_t value[MARK_VALUE_SIZE];
    char path[DISK_PATH_SIZE];
    enum status status = disk_path(log->path, MARK_NAME, path, reason);
    if (status == STATUS_OK)
        status = reread_from_disk(log, path, reason);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    status = slot_file_open(&log->mark_slots, log->disk, DISK_WRITE, log->path,
                                        MARK_NAME, MARK_MAGIC, value, sizeof(value), reason);
    if (status == STATUS_OK) {
        log->mark = mark_decode(value);
        log->mark_single = true;
        recovery->has_mark = true;
        recovery->found.mark_index = log->mark.index;
    } else if (status == STATUS_DAMAGED || status == STATUS_NOT_FOUND) {
        /* It is made before the first segment: where there are segments, it was lost. */
        recovery->found.mark_lost =
            status == STATUS_DAMAGED || recovery->listing.segment_count > 0;
        status = STATUS_OK;
    }
    return status;
}

static enum status find_snapshot(struct recovery *recovery, struct reason *reason)
{
    for (size_t i = recovery->listing.snapshot_count; i > 0; i--) {
        enum status status = snapshot_load(recovery->log, recovery->listing.snapshots[i - 1],
                                           &recovery->snapshot, NULL, reason);
        if (status == STATUS_OK) {
            recovery->has_snapshot = true;
            return STATUS_OK;
        }
        if (status != STATUS_MALFORMED)
            return status;
        recovery->found.snapshots_refused++;
    }
    return STATUS_OK;
}

static void fault_set(struct recovery *recovery, size_t segment, uint64_t offset, const char *why)
{
    recovery->has_fault = true;
    recovery->fault_segment = segment;
    recovery->fault_offset = offset;
    (void)snprintf(recovery->why, sizeof(recovery->why), "%s", why);
}

/* Rules (2) and (3) of a segment; NULL or what is wrong. */
static const char *base_fault(const struct recovery *recovery, size_t position,
                              const struct segment_header *header)
{
    const struct event_stamp *base = &header->base;
    if (base->index + 1 != recovery->listing.segments[position])
        return "the segment's header names another index than its file";
    if (position > 0) {
        bool goes_on = base->index == recovery->end.index &&
                       memcmp(&base->chain, &recovery->end.chain, sizeof(base->chain)) == 0;
        return goes_on ? NULL : "the segment does not continue the one before";
    }
    if (base->index == 0) {
        struct hash genesis;
        chain_genesis(&recovery->log->cluster, &genesis);
        return memcmp(&genesis, &base->chain, sizeof(genesis)) == 0
                   ? NULL
                   : "the first segment does not begin the chain of this cluster";
    }
    if (!recovery->has_snapshot || recovery->snapshot.stamp.index < base->index)
        return "no whole snapshot covers the events before this segment";
    if (recovery->snapshot.stamp.index == base->index &&
        memcmp(&recovery->snapshot.stamp.chain, &base->chain, sizeof(base->chain)) != 0)
        return "the segment does not continue the snapshot before it";
    return NULL;
}

/* A whole record that contradicts the mark or the snapshot. */
static const char *witness_fault(struct recovery *recovery, const struct event_stamp *stamp)
{
    const struct mark *mark = &recovery->log->mark;
    if (recovery->has_mark && stamp->index == mark->index && !ID_IS_ZERO(mark->chain) &&
        memcmp(&stamp->chain, &mark->chain, sizeof(stamp->chain)) != 0)
        return "the event is not the one that was acknowledged";
    if (!recovery->has_snapshot || stamp->index != recovery->snapshot.stamp.index ||
        memcmp(&stamp->chain, &recovery->snapshot.stamp.chain, sizeof(stamp->chain)) == 0)
        return NULL;
    if (recovery->log->base.index > 0)
        return "the event is not the one that the snapshot holds";
    /* The state can be had from the events alone: the snapshot is of another branch. */
    recovery->has_snapshot = false;
    recovery->found.snapshots_refused++;
    return NULL;
}

/* The highest index that the mark, or a snapshot made here, proves to have been acknowledged. */
static uint64_t acknowledged(const struct recovery *recovery)
{
    uint64_t index = recovery->has_mark ? recovery->log->mark.index : 0;
    if (recovery->has_snapshot && !recovery->snapshot.installed &&
        recovery->snapshot.stamp.index > index)
        index = recovery->snapshot.stamp.index;
    return index;
}

static enum status scan_records(struct recovery *recovery, size_t position,
                                struct segment_scan *scan, struct reason *reason)
{
    struct event_log *log = recovery->log;
    for (;;) {
        struct event_record record;
        uint64_t offset = scan->offset;
        enum status status = segment_scan_next(scan, true, &record, reason);
        if (status == STATUS_ENDED)
            return STATUS_OK;
        if (status == STATUS_MALFORMED) {
            fault_set(recovery, position, offset, scan->why);
            return segment_scan_search(scan, offset + 8, &recovery->index_after,
                                       &recovery->durable_after, reason);
        }
        if (status != STATUS_OK)
            return status;
        const char *fault = witness_fault(recovery, &record.stamp);
        if (fault) {
            fault_set(recovery, position, offset, fault);
            recovery->index_after = recovery->durable_after = record.stamp.index;
            return STATUS_OK;
        }
        recovery->end = record.stamp;
        recovery->found.record_count++;
        log->segments[log->segment_count - 1].size = scan->offset;
    }
}

static enum status scan_opened(struct recovery *recovery, size_t position,
                               struct segment_scan *scan, struct reason *reason)
{
    struct event_log *log = recovery->log;
    if (memcmp(&scan->header.cluster, &log->cluster, sizeof(log->cluster)) != 0) {
        char theirs[HEX_SIZE(16)];
        char ours[HEX_SIZE(16)];
        return refuse(reason, STATUS_REFUSED,
                      "%s: the log belongs to cluster %s, not to %s; use another directory",
                      log->path, hex_print(&scan->header.cluster, 16, theirs),
                      hex_print(&log->cluster, 16, ours));
    }
    const char *fault = base_fault(recovery, position, &scan->header);
    if (fault) {
        fault_set(recovery, position, 0, fault);
        return segment_scan_search(scan, SEGMENT_HEADER_SIZE, &recovery->index_after,
                                   &recovery->durable_after, reason);
    }
    if (position == 0) {
        log->base = scan->header.base;
        recovery->end = log->base;
    }
    enum status status = segment_list_push(log, recovery->listing.segments[position],
                                           SEGMENT_HEADER_SIZE, reason);
    return status == STATUS_OK ? scan_records(recovery, position, scan, reason) : status;
}

static enum status scan_segment(struct recovery *recovery, size_t position,
                                struct reason *reason)
{
    const struct event_log *log = recovery->log;
    char name[EVENT_LOG_NAME_SIZE];
    char path[DISK_PATH_SIZE];
    enum status status = disk_path(
        log->path, segment_name(recovery->listing.segments[position], name), path, reason);
    if (status == STATUS_OK && position + 1 == recovery->listing.segment_count)
        status = reread_from_disk(log, path, reason);
    if (status != STATUS_OK)
        return status;
    struct segment_scan scan;
    status = segment_scan_open(&scan, log->disk, path, RECOVERY_WINDOW_SIZE, reason);
    if (status == STATUS_MALFORMED) {
        fault_set(recovery, position, 0, scan.why);
        status = segment_scan_search(&scan, SEGMENT_HEADER_SIZE, &recovery->index_after,
                                     &recovery->durable_after, reason);
    } else if (status == STATUS_OK) {
        status = scan_opened(recovery, position, &scan, reason);
    } else {
        return status;
    }
    segment_scan_close(&scan);
    return status;
}

/* What the segments after the fault prove to have been acknowledged. */
static void look_behind_fault(struct recovery *recovery)
{
    const struct log_listing *listing = &recovery->listing;
    size_t last = listing->segment_count - 1;
    if (recovery->fault_segment < last && listing->segments[last] - 1 > recovery->durable_after)
        recovery->durable_after = listing->segments[last] - 1;
}

static bool fault_is_torn_tail(const struct recovery *recovery)
{
    return recovery->fault_segment + 1 == recovery->listing.segment_count &&
           recovery->fault_offset >= SEGMENT_HEADER_SIZE && !recovery->found.mark_lost &&
           acknowledged(recovery) <= recovery->end.index &&
           recovery->durable_after <= recovery->end.index;
}

static enum status cut_tail(struct recovery *recovery, struct reason *reason)
{
    struct event_log *log = recovery->log;
    char name[EVENT_LOG_NAME_SIZE];
    uint64_t first_index = log->segments[log->segment_count - 1].first_index;
    (void)snprintf(recovery->found.cut_file, sizeof(recovery->found.cut_file), "%.60s",
                   segment_name(first_index, name));
    int64_t size = log->disk->size(log->disk->owner, log->active);
    if (size < 0)
        return refuse(reason, status_from_errno((int)-size), "%s/%s: its size is not known: %s",
                      log->path, name, strerror((int)-size));
    recovery->found.cut_offset = recovery->fault_offset;
    recovery->found.cut_size = (uint64_t)size - recovery->fault_offset;
    return segment_cut(log, recovery->fault_offset, reason);
}

/* Where the valid prefix ends when the first segment's header does not hold. */
static void find_lost_base(struct recovery *recovery)
{
    struct event_log *log = recovery->log;
    if (log->segment_count > 0)
        return;
    uint64_t first = recovery->listing.segment_count ? recovery->listing.segments[0] : 1;
    if (recovery->has_snapshot && recovery->snapshot.stamp.index + 1 >= first) {
        log->base = recovery->snapshot.stamp;
    } else if (first == 1) {
        log->base = (struct event_stamp){0};
        chain_genesis(&log->cluster, &log->base.chain);
    } else {
        log->base_lost = true;
        log->base = (struct event_stamp){.index = first - 1};
    }
    recovery->end = log->base;
}

static enum status damage_found(struct recovery *recovery, bool accept, struct reason *reason)
{
    struct event_log *log = recovery->log;
    struct event_log_damage *damage = &log->damage;
    char name[EVENT_LOG_NAME_SIZE] = MARK_NAME;
    find_lost_base(recovery);
    uint64_t last = recovery->end.index + 1;
    if (acknowledged(recovery) > last)
        last = acknowledged(recovery);
    if (recovery->durable_after > last)
        last = recovery->durable_after;
    if (recovery->found.mark_lost && recovery->index_after > last)
        last = recovery->index_after; /* for want of a mark, every whole event counts */
    if (recovery->listing.segment_count > 0)
        (void)segment_name(recovery->listing.segments[recovery->fault_segment], name);
    *damage = (struct event_log_damage){.first_index = recovery->end.index + 1,
                                        .last_index = last,
                                        .offset = recovery->fault_offset};
    (void)snprintf(damage->file, sizeof(damage->file), "%.60s", name);
    (void)snprintf(damage->sentence, sizeof(damage->sentence),
                   "%.120s/%s is damaged at byte %" PRIu64 ": %s; events %" PRIu64 " to %" PRIu64
                   " must come from a peer or from a copy of the directory", log->path,
                   damage->file, damage->offset, recovery->why, damage->first_index, last);
    log->damaged = true;
    log->mark_lost = !recovery->has_mark;
    log->durable = log->last = recovery->end;
    if (!accept)
        return refuse(reason, STATUS_DAMAGED, "%s", damage->sentence);
    return STATUS_OK;
}

/* An empty directory, or one whose first start was interrupted. */
static enum status begin_log(struct recovery *recovery, struct reason *reason)
{
    struct event_log *log = recovery->log;
    chain_genesis(&log->cluster, &log->base.chain);
    const struct mark mark = {.segment_first_index = 1, .offset = SEGMENT_HEADER_SIZE};
    enum status status = recovery->has_mark ? STATUS_OK : mark_create(log, &mark, reason);
    if (status == STATUS_OK)
        status = segment_begin(log, &log->base, reason);
    log->durable = log->last = log->base;
    return status;
}

/* Names that a process made and died before it had synced them must not be built upon. */
static enum status sync_names(const struct event_log *log, struct reason *reason)
{
    char parent[DISK_PATH_SIZE];
    (void)snprintf(parent, sizeof(parent), "%s", log->path);
    size_t length = strlen(parent);
    while (length > 1 && parent[length - 1] == '/')
        parent[--length] = '\0';
    char *slash = strrchr(parent, '/');
    if (slash)
        slash[slash == parent ? 1 : 0] = '\0';
    int error = -log->disk->sync_directory(log->disk->owner, slash ? parent : ".");
    if (error == EACCES || error == EPERM)
        error = 0; /* not ours to sync: whoever made the directory did */
    if (!error)
        error = -log->disk->sync_directory(log->disk->owner, log->path);
    if (error)
        return refuse(reason, STATUS_IO,
                      "%s: the directory could not be made durable: %s; check the disk", log->path,
                      strerror(error));
    return STATUS_OK;
}

/* A peer's snapshot was put in place and the log not yet begun after it. */
static bool install_is_unfinished(const struct recovery *recovery)
{
    const struct log_listing *listing = &recovery->listing;
    uint64_t index = recovery->snapshot.stamp.index;
    if (!recovery->has_snapshot || !recovery->snapshot.installed || index <= recovery->end.index)
        return false;
    if (listing->segment_count > 0 && listing->segments[listing->segment_count - 1] > index)
        return false; /* it was begun */
    return index >= (recovery->has_mark ? recovery->log->mark.index : recovery->index_after);
}

static enum status finish_install(struct recovery *recovery, struct reason *reason)
{
    struct event_log *log = recovery->log;
    bool set_aside = recovery->has_fault || recovery->log->mark.index > recovery->end.index;
    log->segment_count = 0;
    recovery->found.record_count = 0;
    if (!recovery->has_mark) {
        const struct mark mark = {.index = recovery->snapshot.stamp.index,
                                  .chain = recovery->snapshot.stamp.chain};
        enum status status = mark_create(log, &mark, reason);
        if (status != STATUS_OK)
            return status;
    }
    return snapshot_begin_log(log, &recovery->snapshot.stamp, set_aside, reason);
}

static enum status finish_whole(struct recovery *recovery, struct reason *reason)
{
    struct event_log *log = recovery->log;
    enum status status = segment_activate(log, reason);
    if (status == STATUS_OK && recovery->has_fault)
        status = cut_tail(recovery, reason);
    if (status != STATUS_OK)
        return status;
    log->durable = log->last = recovery->end;
    if (!recovery->has_mark) {
        size_t last = log->segment_count - 1;
        const struct mark mark = mark_at(log, &log->durable, last, log->segments[last].size);
        return mark_create(log, &mark, reason);
    }
    if (log->mark.index != log->durable.index) {
        mark_advance(log);
        status = event_log_settle(log, reason);
    }
    return status;
}

static enum status recover(struct recovery *recovery, bool accept, struct reason *reason)
{
    struct event_log *log = recovery->log;
    size_t count = recovery->listing.segment_count;
    enum status status = remove_parts(recovery, reason);
    if (status == STATUS_OK)
        status = sync_names(log, reason);
    if (status == STATUS_OK)
        status = read_mark(recovery, reason);
    if (status == STATUS_OK)
        status = find_snapshot(recovery, reason);
    for (size_t i = 0; i < count && status == STATUS_OK && !recovery->has_fault; i++)
        status = scan_segment(recovery, i, reason);
    if (status != STATUS_OK)
        return status;
    if (install_is_unfinished(recovery))
        return finish_install(recovery, reason);
    if (count == 0) {
        if (!recovery->found.mark_lost && log->mark.index == 0 && !recovery->has_snapshot)
            return begin_log(recovery, reason);
        (void)snprintf(recovery->why, sizeof(recovery->why), "all segments are gone");
        return damage_found(recovery, accept, reason);
    }
    if (recovery->has_fault) {
        look_behind_fault(recovery);
        if (!fault_is_torn_tail(recovery))
            return damage_found(recovery, accept, reason);
    } else if (acknowledged(recovery) > recovery->end.index) {
        fault_set(recovery, count - 1, log->segments[log->segment_count - 1].size,
                  "the log ends before the length that was acknowledged");
        return damage_found(recovery, accept, reason);
    }
    return finish_whole(recovery, reason);
}

static enum status lock_directory(struct event_log *log, struct reason *reason)
{
    char path[DISK_PATH_SIZE];
    int error = -log->disk->make_directory(log->disk->owner, log->path);
    if (error && error != EEXIST)
        return refuse(reason, status_from_errno(error), "%s: the directory could not be made: %s",
                      log->path, strerror(error));
    int file = -1;
    enum status status = disk_path(log->path, "lock", path, reason);
    if (status == STATUS_OK)
        status = disk_file_open(log->disk, path, DISK_CREATE, &file, reason);
    if (status != STATUS_OK)
        return status;
    log->lock_file = file;
    error = -log->disk->lock(log->disk->owner, file);
    if (error == EWOULDBLOCK)
        return refuse(reason, STATUS_BUSY, "%s: another process writes this log; stop it first",
                      log->path);
    if (error)
        return refuse(reason, status_from_errno(error), "%s: could not be locked: %s", path,
                      strerror(error));
    return STATUS_OK;
}

static enum status log_create(const struct event_log_options *options, struct event_log **log_out,
                              struct reason *reason)
{
    size_t length = strlen(options->path);
    if (length == 0 || length >= DISK_PATH_SIZE - EVENT_LOG_NAME_SIZE)
        return refuse(reason, STATUS_TOO_LARGE, "the path of the log must have 1 to %d bytes",
                      DISK_PATH_SIZE - EVENT_LOG_NAME_SIZE);
    struct event_log *log = memory_zeroed(1, sizeof(*log));
    if (!log)
        return refuse(reason, STATUS_NO_MEMORY, "%s: no memory for the log", options->path);
    memcpy(log->path, options->path, length + 1);
    log->disk = options->disk ? options->disk : &disk_machine;
    log->cluster = options->cluster;
    log->segment_size = options->segment_size ? options->segment_size : SEGMENT_SIZE_DEFAULT;
    log->retain_size = options->retain_size ? options->retain_size : RETAIN_SIZE_DEFAULT;
    log->lock_file = -1;
    log->active = -1;
    log->mark_slots.file = -1;
    *log_out = log;
    return STATUS_OK;
}

enum status event_log_open(const struct event_log_options *options, struct event_log **log_out,
                           struct event_log_recovery *recovery_out, struct reason *reason)
{
    struct recovery recovery = {0};
    enum status status = log_create(options, &recovery.log, reason);
    if (status != STATUS_OK)
        return status;
    status = lock_directory(recovery.log, reason);
    if (status == STATUS_OK)
        status = log_listing_read(&recovery.listing, recovery.log->disk, recovery.log->path,
                                  reason);
    if (status == STATUS_OK)
        status = recover(&recovery, options->accept_damage, reason);
    log_listing_fini(&recovery.listing);
    if (status != STATUS_OK) {
        log_poison(recovery.log, status); /* closing writes nothing */
        event_log_close(recovery.log);
        return status;
    }
    recovery.found.first_index = recovery.log->base.index + 1;
    if (recovery_out)
        *recovery_out = recovery.found;
    *log_out = recovery.log;
    return STATUS_OK;
}
