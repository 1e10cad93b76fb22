/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting to a common prefix and refilling a damaged log.
 *
 * Each step leaves a directory that recovery reads rightly: a cut lowers the mark before it
 * removes a byte; a refill leaves the mark above the end until the last lost event is back, so a
 * crash in between is found as the same damage again.
 */
#include "runtime/event_log_internal.h"

#include "protocol/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum status segments_clear(struct event_log *log, const struct log_listing *listing, size_t from,
                           bool set_aside, struct reason *reason)
{
    char name[EVENT_LOG_NAME_SIZE];
    char aside[EVENT_LOG_NAME_SIZE];
    size_t aside_count = listing->damaged_count;
    for (size_t i = listing->segment_count; i > from; i--) {
        (void)snprintf(aside, sizeof(aside), "damaged-%020" PRIu64 "-%zu.segment",
                       listing->segments[i - 1], ++aside_count);
        enum status status = log_file_move(log, segment_name(listing->segments[i - 1], name),
                                           set_aside ? aside : NULL, reason);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* --- cutting --- */

static enum status branch_write(struct event_log *log, const struct log_place *place,
                                char *name_out, struct reason *reason)
{
    size_t count = log->segment_count - place->segment;
    struct file_piece *pieces = memory_zeroed(count, sizeof(*pieces));
    if (!pieces)
        return refuse(reason, STATUS_NO_MEMORY, "%s: no memory to keep the branch", log->path);
    for (size_t i = 0; i < count; i++) {
        const struct log_segment *segment = &log->segments[place->segment + i];
        (void)segment_name(segment->first_index, pieces[i].name);
        pieces[i].from = i == 0 ? place->offset : SEGMENT_HEADER_SIZE;
        pieces[i].to = segment->size;
    }
    /* The end's hash in the name: the same branch has the same name, another one another. */
    char chain[HEX_SIZE(8)];
    (void)snprintf(name_out, EVENT_LOG_NAME_SIZE,
                   "branch-%020" PRIu64 "-%020" PRIu64 "-%s.segment", place->stamp.index + 1,
                   log->durable.index, hex_print(&log->durable.chain, 8, chain));
    uint8_t header[SEGMENT_HEADER_SIZE];
    const struct segment_header fields = {.cluster = log->cluster, .base = place->stamp};
    segment_header_encode(header, &fields);
    enum status status =
        file_assemble(log, name_out, header, sizeof(header), pieces, count, reason);
    memory_free(pieces);
    return status;
}

/* STATUS_NOT_FOUND when no state could be rebuilt after the cut. */
static enum status check_snapshot_stays(const struct event_log *log,
                                        const struct log_listing *listing, uint64_t index,
                                        struct reason *reason)
{
    if (log->base.index == 0)
        return STATUS_OK;
    for (size_t i = 0; i < listing->snapshot_count; i++) {
        struct snapshot_header header;
        if (listing->snapshots[i] >= log->base.index && listing->snapshots[i] <= index &&
            snapshot_load(log, listing->snapshots[i], &header, NULL, NULL) == STATUS_OK)
            return STATUS_OK;
    }
    return refuse(reason, STATUS_NOT_FOUND,
                  "%s: no snapshot is left at or before event %" PRIu64 "; a peer's snapshot must "
                  "be installed", log->path, index);
}

static enum status snapshots_clear(struct event_log *log, const struct log_listing *listing,
                                   uint64_t above, struct reason *reason)
{
    for (size_t i = listing->snapshot_count; i > 0 && listing->snapshots[i - 1] > above; i--) {
        char name[EVENT_LOG_NAME_SIZE];
        enum status status =
            log_file_move(log, snapshot_name(listing->snapshots[i - 1], name), NULL, reason);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status cut_records(struct event_log *log, const struct log_listing *listing,
                               const struct log_place *place, struct reason *reason)
{
    size_t keep = 0;
    while (keep < listing->segment_count &&
           listing->segments[keep] <= log->segments[place->segment].first_index)
        keep++;
    enum status status = snapshots_clear(log, listing, place->stamp.index, reason);
    if (status == STATUS_OK)
        status = segments_clear(log, listing, keep, false, reason);
    if (status != STATUS_OK)
        return status;
    log->segment_count = place->segment + 1;
    status = segment_activate(log, reason);
    if (status == STATUS_OK)
        status = segment_cut(log, place->offset, reason);
    log->segments[place->segment].size = place->offset;
    return status;
}

static enum status truncate_listed(struct event_log *log, const struct log_listing *listing,
                                   const struct log_place *place, char *branch,
                                   struct reason *reason)
{
    enum status status = check_snapshot_stays(log, listing, place->stamp.index, reason);
    if (status == STATUS_OK && place->stamp.index < log->durable.index)
        status = branch_write(log, place, branch, reason);
    if (status != STATUS_OK)
        return status;
    const struct mark mark = mark_at(log, &place->stamp, place->segment, place->offset);
    status = mark_move(log, &mark, reason);
    if (status == STATUS_OK)
        status = cut_records(log, listing, place, reason);
    if (status != STATUS_OK) /* memory and disk may differ now: recover from disk */
        return log_poison(log, status);
    log->durable = log->last = place->stamp;
    log->damaged = false; /* what was lost beyond the end is not wanted any more */
    log->refilling = false;
    return STATUS_OK;
}

enum status event_log_truncate_to(struct event_log *log, uint64_t index, char *branch_out,
                                  struct reason *reason)
{
    char branch[EVENT_LOG_NAME_SIZE] = "";
    struct log_listing listing = {0};
    struct log_place place;
    enum status status = log_usable(log, reason);
    if (status != STATUS_OK)
        return status;
    event_log_forget_waiting(log);
    status = log_locate(log, index, &place, reason);
    if (status != STATUS_OK)
        return status;
    if (index < log->durable.index || log->damaged) {
        status = log_listing_read(&listing, log->disk, log->path, reason);
        if (status == STATUS_OK)
            status = truncate_listed(log, &listing, &place, branch, reason);
        log_listing_fini(&listing);
    }
    if (status == STATUS_OK && branch_out)
        memcpy(branch_out, branch, sizeof(branch));
    return status;
}

/* --- refilling --- */

/* The mark names the last lost event, also when it had been lost itself or was behind. */
static enum status mark_raise(struct event_log *log, struct reason *reason)
{
    if (!log->mark_lost && log->mark.index >= log->damage.last_index)
        return STATUS_OK;
    const struct mark mark = {.index = log->damage.last_index}; /* nobody knows its chain */
    return mark_move(log, &mark, reason);
}

/* Keeps the damaged rest of the segment that also holds valid records. */
static enum status rest_set_aside(struct event_log *log, const struct log_listing *listing,
                                  const struct log_place *place, struct reason *reason)
{
    enum status status = segment_activate(log, reason);
    if (status != STATUS_OK)
        return status;
    int64_t size = log->disk->size(log->disk->owner, log->active);
    if (size < 0)
        return refuse(reason, status_from_errno((int)-size), "%s: a segment's size is not known",
                      log->path);
    if ((uint64_t)size <= place->offset)
        return STATUS_OK;
    uint64_t first_index = log->segments[place->segment].first_index;
    char name[EVENT_LOG_NAME_SIZE];
    struct file_piece piece = {.from = SEGMENT_HEADER_SIZE, .to = (uint64_t)size};
    (void)segment_name(first_index, piece.name);
    (void)snprintf(name, sizeof(name), "damaged-%020" PRIu64 "-%zu.segment", first_index,
                   listing->damaged_count + listing->segment_count + 1);
    uint8_t header[SEGMENT_HEADER_SIZE];
    struct segment_header fields = {.cluster = log->cluster, .base = log->base};
    if (place->segment > 0) {
        struct log_place before;
        status = log_locate(log, first_index - 1, &before, reason);
        if (status != STATUS_OK)
            return status;
        fields.base = before.stamp;
    }
    segment_header_encode(header, &fields);
    status = file_assemble(log, name, header, sizeof(header), &piece, 1, reason);
    if (status == STATUS_OK)
        status = segment_cut(log, place->offset, reason);
    return status;
}

static enum status refill_listed(struct event_log *log, const struct log_listing *listing,
                                 uint64_t index, struct reason *reason)
{
    struct log_place place = {.stamp = log->base};
    size_t keep = 0;
    enum status status = mark_raise(log, reason);
    if (status == STATUS_OK && log->segment_count > 0) {
        status = log_locate(log, index - 1, &place, reason);
        while (status == STATUS_OK && keep < listing->segment_count &&
               listing->segments[keep] <= log->segments[place.segment].first_index)
            keep++;
    }
    if (status == STATUS_OK)
        status = segments_clear(log, listing, keep, true, reason);
    if (status != STATUS_OK)
        return status;
    if (keep == 0) {
        log->segment_count = 0;
        status = segment_begin(log, &log->base, reason);
    } else {
        log->segment_count = place.segment + 1;
        log->segments[place.segment].size = place.offset;
        status = rest_set_aside(log, listing, &place, reason);
    }
    log->durable = log->last = place.stamp;
    log->damage.first_index = place.stamp.index + 1;
    return status;
}

enum status event_log_replace_from(struct event_log *log, uint64_t index, struct reason *reason)
{
    if (log->poisoned)
        return log_usable(log, reason);
    if (!log->damaged)
        return refuse(reason, STATUS_INVALID, "%s: the log is whole; cut it instead", log->path);
    if (log->base_lost)
        return refuse(reason, STATUS_NOT_FOUND,
                      "%s: the beginning is lost too; a peer's snapshot must be installed",
                      log->path);
    if (index <= log->base.index || index > log->durable.index + 1)
        return refuse(reason, STATUS_INVALID,
                      "%s: a repair must begin at an event from %" PRIu64 " to %" PRIu64,
                      log->path, log->base.index + 1, log->durable.index + 1);
    event_log_forget_waiting(log);
    struct log_listing listing;
    enum status status = log_listing_read(&listing, log->disk, log->path, reason);
    if (status != STATUS_OK)
        return status;
    status = refill_listed(log, &listing, index, reason);
    log_listing_fini(&listing);
    if (status != STATUS_OK)
        return log_poison(log, status);
    log->refilling = true;
    return STATUS_OK;
}
