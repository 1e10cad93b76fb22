/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots: writing, reading, installing a peer's, and retiring segments that they cover.
 */
#include "runtime/event_log_internal.h"

#include "protocol/memory.h"
#include "runtime/crc32c.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* How many stay; an older one helps when the newest is damaged. */
#define SNAPSHOT_COUNT_KEPT 2
#define SNAPSHOT_WINDOW_SIZE ((size_t)1 << 20)

void event_snapshot_fini(struct event_snapshot *snapshot)
{
    memory_free(snapshot->state);
    *snapshot = (struct event_snapshot){0};
}

static enum status refuse_snapshot(struct reason *reason, const char *path)
{
    return refuse(reason, STATUS_MALFORMED, "%s: the snapshot is not whole", path);
}

/* Reads the state in windows, to check it, or whole into `state_out`. */
static enum status state_check(const struct event_log *log, int file, const char *path,
                               const struct snapshot_header *header, uint8_t *state_out,
                               struct reason *reason)
{
    uint8_t *window = state_out ? state_out : memory_zeroed(SNAPSHOT_WINDOW_SIZE, 1);
    if (!window)
        return refuse(reason, STATUS_NO_MEMORY, "%s: no memory to read it", path);
    enum status status = STATUS_OK;
    uint32_t crc = 0;
    for (uint64_t at = 0; at < header->state_size && status == STATUS_OK;) {
        uint64_t left = header->state_size - at;
        size_t want = left < SNAPSHOT_WINDOW_SIZE ? (size_t)left : SNAPSHOT_WINDOW_SIZE;
        uint8_t *into = state_out ? state_out + at : window;
        size_t have = 0;
        status = disk_read_all(log->disk, file, path, into, want, SNAPSHOT_HEADER_SIZE + at, &have,
                               reason);
        if (status == STATUS_OK && have < want)
            status = refuse_snapshot(reason, path);
        crc = crc32c(crc, into, have);
        at += have;
    }
    if (status == STATUS_OK && crc != header->state_crc)
        status = refuse_snapshot(reason, path);
    if (!state_out)
        memory_free(window);
    return status;
}

static enum status snapshot_load_file(const struct event_log *log, int file, const char *path,
                                      uint64_t index, struct snapshot_header *header_out,
                                      struct event_snapshot *snapshot_out, struct reason *reason)
{
    uint8_t bytes[SNAPSHOT_HEADER_SIZE];
    struct snapshot_header header;
    size_t have = 0;
    enum status status =
        disk_read_all(log->disk, file, path, bytes, sizeof(bytes), 0, &have, reason);
    if (status != STATUS_OK)
        return status;
    int64_t size = log->disk->size(log->disk->owner, file);
    if (have < sizeof(bytes) || !snapshot_header_decode(bytes, &header) ||
        memcmp(&header.cluster, &log->cluster, sizeof(header.cluster)) != 0 ||
        header.stamp.index != index || header.state_size > EVENT_SNAPSHOT_SIZE_MAX ||
        size != (int64_t)(SNAPSHOT_HEADER_SIZE + header.state_size))
        return refuse_snapshot(reason, path);
    uint8_t *state = NULL;
    if (snapshot_out) {
        state = memory_zeroed(header.state_size ? (size_t)header.state_size : 1, 1);
        if (!state)
            return refuse(reason, STATUS_NO_MEMORY, "%s: no memory for %" PRIu64 " bytes", path,
                          header.state_size);
    }
    status = state_check(log, file, path, &header, state, reason);
    if (status != STATUS_OK) {
        memory_free(state);
        return status;
    }
    *header_out = header;
    if (snapshot_out)
        *snapshot_out = (struct event_snapshot){.stamp = header.stamp,
                                                .state_hash = header.state_hash,
                                                .state = state,
                                                .state_size = (size_t)header.state_size};
    return STATUS_OK;
}

enum status snapshot_load(const struct event_log *log, uint64_t index,
                          struct snapshot_header *header_out, struct event_snapshot *snapshot_out,
                          struct reason *reason)
{
    char name[EVENT_LOG_NAME_SIZE];
    char path[DISK_PATH_SIZE];
    int file = -1;
    enum status status = disk_path(log->path, snapshot_name(index, name), path, reason);
    if (status == STATUS_OK)
        status = disk_file_open(log->disk, path, DISK_READ, &file, reason);
    if (status != STATUS_OK)
        return status;
    status = snapshot_load_file(log, file, path, index, header_out, snapshot_out, reason);
    log->disk->close(log->disk->owner, file);
    return status;
}

static enum status snapshot_put(struct event_log *log, const struct snapshot_header *header,
                                const void *state, struct reason *reason)
{
    uint8_t bytes[SNAPSHOT_HEADER_SIZE];
    char name[EVENT_LOG_NAME_SIZE];
    snapshot_header_encode(bytes, header);
    const struct disk_piece pieces[] = {{bytes, sizeof(bytes)},
                                        {state, (size_t)header->state_size}};
    return log_file_put(log, snapshot_name(header->stamp.index, name), pieces, COUNT_OF(pieces),
                        reason);
}

static enum status remove_older(struct event_log *log, struct reason *reason)
{
    struct log_listing listing;
    enum status status = log_listing_read(&listing, log->disk, log->path, reason);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i + SNAPSHOT_COUNT_KEPT < listing.snapshot_count && status == STATUS_OK;
         i++) {
        char name[EVENT_LOG_NAME_SIZE];
        status = log_file_move(log, snapshot_name(listing.snapshots[i], name), NULL, reason);
    }
    log_listing_fini(&listing);
    return status;
}

enum status event_log_snapshot_write(struct event_log *log, uint64_t index,
                                     const struct hash *state_hash, const void *state,
                                     size_t state_size, struct reason *reason)
{
    struct snapshot_header header = {.cluster = log->cluster,
                                     .state_hash = *state_hash,
                                     .state_size = state_size,
                                     .state_crc = crc32c(0, state, state_size)};
    enum status status = log_usable(log, reason);
    if (status == STATUS_OK && log->damaged)
        status = refuse(reason, STATUS_DAMAGED, "%s", log->damage.sentence);
    if (status != STATUS_OK)
        return status;
    if (state_size > EVENT_SNAPSHOT_SIZE_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "%s: a state of %zu bytes is above the limit",
                      log->path, state_size);
    status = event_log_stamp(log, index, &header.stamp, reason);
    if (status != STATUS_OK)
        return status;
    if (index == log->base.index)
        return STATUS_OK; /* the log begins after one already, or with an empty state */
    status = snapshot_put(log, &header, state, reason);
    return status == STATUS_OK ? remove_older(log, reason) : status;
}

enum status event_log_snapshot_read(const struct event_log *log,
                                    struct event_snapshot *snapshot_out, struct reason *reason)
{
    struct log_listing listing;
    enum status status = log_listing_read(&listing, log->disk, log->path, reason);
    if (status != STATUS_OK)
        return status;
    enum status found = STATUS_NOT_FOUND;
    for (size_t i = listing.snapshot_count; i > 0 && found == STATUS_NOT_FOUND; i--) {
        struct event_snapshot snapshot;
        struct snapshot_header header;
        struct event_stamp stamp;
        uint64_t index = listing.snapshots[i - 1];
        if (event_log_stamp(log, index, &stamp, NULL) != STATUS_OK)
            continue;
        status = snapshot_load(log, index, &header, &snapshot, reason);
        if (status == STATUS_MALFORMED)
            continue; /* opening has counted it */
        found = status;
        if (status != STATUS_OK)
            break;
        if (memcmp(&header.stamp.chain, &stamp.chain, sizeof(stamp.chain)) == 0) {
            *snapshot_out = snapshot;
            break;
        }
        event_snapshot_fini(&snapshot);
        found = STATUS_NOT_FOUND;
    }
    log_listing_fini(&listing);
    if (found == STATUS_NOT_FOUND)
        return refuse(reason, STATUS_NOT_FOUND, "%s: there is no snapshot", log->path);
    return found;
}

enum status snapshot_newest(const struct event_log *log, uint64_t index_max,
                            struct event_snapshot *snapshot_out, struct reason *reason)
{
    struct log_listing listing;
    enum status status = log_listing_read(&listing, log->disk, log->path, reason);
    if (status != STATUS_OK)
        return status;
    status = refuse(reason, STATUS_NOT_FOUND, "%s: there is no whole snapshot of event %" PRIu64
                    " or before", log->path, index_max);
    for (size_t i = listing.snapshot_count; i > 0; i--) {
        struct snapshot_header header;
        if (listing.snapshots[i - 1] > index_max)
            continue;
        enum status loaded =
            snapshot_load(log, listing.snapshots[i - 1], &header, snapshot_out, NULL);
        if (loaded == STATUS_MALFORMED || loaded == STATUS_NOT_FOUND)
            continue;
        status = loaded;
        break;
    }
    log_listing_fini(&listing);
    return status;
}

enum status snapshot_begin_log(struct event_log *log, const struct event_stamp *stamp,
                               bool set_aside, struct reason *reason)
{
    struct log_listing listing;
    enum status status = log_listing_read(&listing, log->disk, log->path, reason);
    if (status != STATUS_OK)
        return log_poison(log, status);
    status = segments_clear(log, &listing, 0, set_aside, reason);
    for (size_t i = 0; i < listing.snapshot_count && status == STATUS_OK; i++) {
        char name[EVENT_LOG_NAME_SIZE];
        if (listing.snapshots[i] != stamp->index)
            status = log_file_move(log, snapshot_name(listing.snapshots[i], name), NULL, reason);
    }
    log_listing_fini(&listing);
    log->segment_count = 0;
    if (status == STATUS_OK)
        status = segment_begin(log, stamp, reason);
    if (status != STATUS_OK)
        return log_poison(log, status);
    log->base = log->durable = log->last = *stamp;
    log->waiting_size = 0;
    log->base_lost = false;
    log->damaged = false;
    log->refilling = false;
    mark_advance(log);
    status = event_log_settle(log, reason);
    return status == STATUS_OK ? STATUS_OK : log_poison(log, status);
}

enum status event_log_install_snapshot(struct event_log *log,
                                       const struct event_snapshot *snapshot,
                                       struct reason *reason)
{
    if (log->poisoned)
        return log_usable(log, reason);
    if (snapshot->state_size > EVENT_SNAPSHOT_SIZE_MAX || snapshot->stamp.index == 0)
        return refuse(reason, STATUS_TOO_LARGE, "%s: a snapshot of %zu bytes at event %" PRIu64
                      " is refused", log->path, snapshot->state_size, snapshot->stamp.index);
    struct snapshot_header header = {.cluster = log->cluster,
                                     .stamp = snapshot->stamp,
                                     .state_hash = snapshot->state_hash,
                                     .state_size = snapshot->state_size,
                                     .state_crc = crc32c(0, snapshot->state, snapshot->state_size),
                                     .installed = true};
    bool set_aside = log->damaged || log->durable.index >= snapshot->stamp.index;
    enum status status = snapshot_put(log, &header, snapshot->state, reason);
    if (status != STATUS_OK)
        return status;
    if (log->mark_lost || log->mark.index > snapshot->stamp.index) {
        /* A longer log of another branch loses its claim first: a crash in between then leaves
         * a log that contradicts its mark, and recovery goes on with the snapshot. */
        const struct mark mark = {.index = snapshot->stamp.index, .chain = snapshot->stamp.chain};
        status = mark_move(log, &mark, reason);
        if (status != STATUS_OK)
            return log_poison(log, status);
    }
    return snapshot_begin_log(log, &snapshot->stamp, set_aside, reason);
}

/* Are all records of the segment in each kept snapshot? */
static enum status oldest_snapshot(struct event_log *log, uint64_t *index_out,
                                   struct reason *reason)
{
    struct log_listing listing;
    enum status status = log_listing_read(&listing, log->disk, log->path, reason);
    if (status != STATUS_OK)
        return status;
    *index_out = listing.snapshot_count >= SNAPSHOT_COUNT_KEPT ? listing.snapshots[0] : 0;
    for (size_t i = 0; i < listing.snapshot_count && status == STATUS_OK; i++) {
        struct snapshot_header header;
        status = snapshot_load(log, listing.snapshots[i], &header, NULL, reason);
        if (status == STATUS_MALFORMED) {
            *index_out = 0; /* a damaged snapshot covers nothing: keep everything */
            status = STATUS_OK;
        }
    }
    log_listing_fini(&listing);
    return status;
}

enum status event_log_retire(struct event_log *log, struct reason *reason)
{
    enum status status = log_usable(log, reason);
    if (status != STATUS_OK || log->damaged || log->segment_count < 2 ||
        event_log_size(log) <= log->retain_size)
        return status;
    uint64_t covered = 0;
    status = oldest_snapshot(log, &covered, reason);
    while (status == STATUS_OK && log->segment_count > 1 &&
           event_log_size(log) > log->retain_size && log->segments[1].first_index - 1 <= covered) {
        char name[EVENT_LOG_NAME_SIZE];
        struct event_stamp base;
        status = event_log_stamp(log, log->segments[1].first_index - 1, &base, reason);
        if (status == STATUS_OK)
            status = log_file_move(log, segment_name(log->segments[0].first_index, name), NULL,
                                   reason);
        if (status != STATUS_OK)
            break;
        log->segment_count--;
        memmove(log->segments, log->segments + 1, log->segment_count * sizeof(*log->segments));
        log->base = base;
    }
    return status;
}
