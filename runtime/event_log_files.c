/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a log: their names, their list, making and cutting segments, the mark.
 */
#include "runtime/event_log_internal.h"

#include "protocol/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPY_SIZE ((size_t)256 << 10)

const char *segment_name(uint64_t first_index, char *name_out)
{
    (void)snprintf(name_out, EVENT_LOG_NAME_SIZE, "%020" PRIu64 ".segment", first_index);
    return name_out;
}

const char *snapshot_name(uint64_t index, char *name_out)
{
    (void)snprintf(name_out, EVENT_LOG_NAME_SIZE, "%020" PRIu64 ".snapshot", index);
    return name_out;
}

/* "<20 digits><ending>" and nothing else. */
static bool name_number(const char *name, const char *ending, uint64_t *number_out)
{
    if (strlen(name) != 20 + strlen(ending) || strcmp(name + 20, ending) != 0)
        return false;
    uint64_t number = 0;
    for (int i = 0; i < 20; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        if (__builtin_mul_overflow(number, (uint64_t)10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(name[i] - '0'), &number))
            return false;
    }
    *number_out = number;
    return true;
}

static bool number_push(uint64_t **numbers, size_t *count, uint64_t number)
{
    uint64_t *grown = memory_resized(*numbers, *count + 1, sizeof(number));
    if (!grown)
        return false;
    grown[(*count)++] = number;
    *numbers = grown;
    return true;
}

static bool part_push(struct log_listing *listing, const char *name)
{
    char(*grown)[EVENT_LOG_NAME_SIZE] =
        memory_resized(listing->parts, listing->part_count + 1, sizeof(*grown));
    if (!grown)
        return false;
    listing->parts = grown;
    (void)snprintf(grown[listing->part_count++], sizeof(*grown), "%s", name);
    return true;
}

static void listing_visit(void *visitor, const char *name)
{
    struct log_listing *listing = visitor;
    size_t length = strlen(name);
    uint64_t number = 0;
    bool kept = true;
    if (name_number(name, ".segment", &number))
        kept = number_push(&listing->segments, &listing->segment_count, number);
    else if (name_number(name, ".snapshot", &number))
        kept = number_push(&listing->snapshots, &listing->snapshot_count, number);
    else if (strncmp(name, "damaged-", 8) == 0)
        listing->damaged_count++;
    else if (length > 5 && length < EVENT_LOG_NAME_SIZE && strcmp(name + length - 5, ".part") == 0)
        kept = part_push(listing, name);
    listing->no_memory = listing->no_memory || !kept;
}

static int number_compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

enum status log_listing_read(struct log_listing *listing, const struct disk_ops *disk,
                             const char *path, struct reason *reason)
{
    *listing = (struct log_listing){0};
    int error = -disk->list(disk->owner, path, listing_visit, listing);
    if (error || listing->no_memory) {
        log_listing_fini(listing);
        if (error)
            return refuse(reason, status_from_errno(error), "%s: could not be listed: %s", path,
                          strerror(error));
        return refuse(reason, STATUS_NO_MEMORY, "%s: no memory for the list of its files", path);
    }
    if (listing->segment_count > 1)
        qsort(listing->segments, listing->segment_count, sizeof(uint64_t), number_compare);
    if (listing->snapshot_count > 1)
        qsort(listing->snapshots, listing->snapshot_count, sizeof(uint64_t), number_compare);
    return STATUS_OK;
}

void log_listing_fini(struct log_listing *listing)
{
    memory_free(listing->segments);
    memory_free(listing->snapshots);
    memory_free(listing->parts);
    *listing = (struct log_listing){0};
}

enum status segment_list_push(struct event_log *log, uint64_t first_index, uint64_t size,
                              struct reason *reason)
{
    if (log->segment_count == log->segment_capacity) {
        size_t capacity = log->segment_capacity ? 2 * log->segment_capacity : 16;
        struct log_segment *grown = memory_resized(log->segments, capacity, sizeof(*grown));
        if (!grown)
            return refuse(reason, STATUS_NO_MEMORY, "%s: no memory for %zu segments", log->path,
                          capacity);
        log->segments = grown;
        log->segment_capacity = capacity;
    }
    log->segments[log->segment_count++] = (struct log_segment){first_index, size};
    return STATUS_OK;
}

enum status log_file_put(struct event_log *log, const char *name,
                         const struct disk_piece *pieces, size_t piece_count,
                         struct reason *reason)
{
    enum status status =
        disk_file_put(log->disk, log->path, name, pieces, piece_count, reason);
    return status == STATUS_IO ? log_poison(log, status) : status;
}

enum status log_file_move(struct event_log *log, const char *from, const char *to,
                          struct reason *reason)
{
    enum status status = disk_file_move(log->disk, log->path, from, to, reason);
    return status == STATUS_IO ? log_poison(log, status) : status;
}

enum status segment_activate(struct event_log *log, struct reason *reason)
{
    char name[EVENT_LOG_NAME_SIZE];
    char path[DISK_PATH_SIZE];
    ASSERT(log->segment_count > 0);
    uint64_t first_index = log->segments[log->segment_count - 1].first_index;
    int file = -1;
    enum status status = disk_path(log->path, segment_name(first_index, name), path, reason);
    if (status == STATUS_OK)
        status = disk_file_open(log->disk, path, DISK_WRITE, &file, reason);
    if (status != STATUS_OK)
        return status;
    if (log->active >= 0)
        log->disk->close(log->disk->owner, log->active);
    log->active = file;
    log->room_end = 0;
    return STATUS_OK;
}

enum status segment_begin(struct event_log *log, const struct event_stamp *base,
                          struct reason *reason)
{
    char name[EVENT_LOG_NAME_SIZE];
    uint8_t header[SEGMENT_HEADER_SIZE];
    const struct segment_header fields = {.cluster = log->cluster, .base = *base};
    segment_header_encode(header, &fields);
    const struct disk_piece piece = {header, sizeof(header)};
    enum status status =
        log_file_put(log, segment_name(base->index + 1, name), &piece, 1, reason);
    if (status != STATUS_OK)
        return status;
    status = segment_list_push(log, base->index + 1, SEGMENT_HEADER_SIZE, reason);
    if (status != STATUS_OK)
        return status;
    status = segment_activate(log, reason);
    if (status != STATUS_OK)
        log->segment_count--; /* the file is empty and is made again by the next try */
    return status;
}

enum status segment_cut(struct event_log *log, uint64_t size, struct reason *reason)
{
    log->room_end = 0; /* cutting gives it back */
    int error = -log->disk->truncate(log->disk->owner, log->active, size);
    if (!error)
        error = -log->disk->sync(log->disk->owner, log->active);
    if (error)
        return log_poison(log, refuse(reason, STATUS_IO,
                                      "%s: the log could not be cut to %" PRIu64 " bytes: %s; "
                                      "check the disk, then start again",
                                      log->path, size, strerror(error)));
    return STATUS_OK;
}

static size_t segment_find(const struct event_log *log, uint64_t index)
{
    size_t low = 0;
    size_t high = log->segment_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (log->segments[middle].first_index <= index)
            low = middle;
        else
            high = middle;
    }
    return low;
}

enum status log_locate(const struct event_log *log, uint64_t index, struct log_place *place_out,
                       struct reason *reason)
{
    char name[EVENT_LOG_NAME_SIZE];
    char path[DISK_PATH_SIZE];
    if (log->segment_count == 0 || index < log->base.index || index > log->durable.index)
        return refuse(reason, STATUS_NOT_FOUND,
                      "%s: event %" PRIu64 " is not in the log, which holds %" PRIu64
                      " to %" PRIu64, log->path, index, log->base.index + 1, log->durable.index);
    struct log_place place = {.segment = segment_find(log, index)};
    const struct log_segment *segment = &log->segments[place.segment];
    enum status status =
        disk_path(log->path, segment_name(segment->first_index, name), path, reason);
    struct segment_scan scan;
    if (status == STATUS_OK)
        status = segment_scan_open(&scan, log->disk, path, SEEK_WINDOW_SIZE, reason);
    if (status == STATUS_MALFORMED)
        segment_scan_close(&scan);
    if (status != STATUS_OK)
        return status == STATUS_MALFORMED ? STATUS_DAMAGED : status;
    while (status == STATUS_OK && scan.before.index < index) {
        struct event_record record;
        status = segment_scan_next(&scan, false, &record, reason);
    }
    place.offset = scan.offset;
    place.stamp = scan.before;
    segment_scan_close(&scan);
    if (status == STATUS_MALFORMED || status == STATUS_ENDED)
        return refuse(reason, STATUS_DAMAGED, "%s: event %" PRIu64 " was there and is not any more",
                      path, index);
    if (status == STATUS_OK)
        *place_out = place;
    return status;
}

struct mark mark_at(const struct event_log *log, const struct event_stamp *stamp, size_t segment,
                    uint64_t offset)
{
    return (struct mark){.index = stamp->index,
                         .chain = stamp->chain,
                         .segment_first_index = log->segments[segment].first_index,
                         .offset = offset};
}

void mark_advance(struct event_log *log)
{
    uint8_t value[MARK_VALUE_SIZE];
    size_t last = log->segment_count - 1;
    log->mark = mark_at(log, &log->durable, last, log->segments[last].size);
    mark_encode(&log->mark, value);
    /* The group is on disk whether or not this works: settling tries again and tells. */
    log->mark_unwritten =
        slot_file_write(&log->mark_slots, value, sizeof(value), NULL) != STATUS_OK;
    log->mark_unsynced = !log->mark_unwritten;
    log->mark_single = true;
}

static enum status mark_write(struct event_log *log, struct reason *reason)
{
    uint8_t value[MARK_VALUE_SIZE];
    mark_encode(&log->mark, value);
    enum status status = slot_file_write(&log->mark_slots, value, sizeof(value), reason);
    if (status == STATUS_OK) {
        log->mark_unwritten = false;
        log->mark_unsynced = true;
    }
    return status;
}

enum status mark_settle(struct event_log *log, struct reason *reason)
{
    enum status status = log->mark_unwritten ? mark_write(log, reason) : STATUS_OK;
    if (status != STATUS_OK || !log->mark_unsynced)
        return status;
    status = slot_file_sync(&log->mark_slots, reason);
    if (status != STATUS_OK)
        return log_poison(log, status);
    log->mark_unsynced = false;
    return STATUS_OK;
}

enum status event_log_settle(struct event_log *log, struct reason *reason)
{
    if (log->poisoned)
        return log_usable(log, reason);
    if (log->damaged)
        return STATUS_OK; /* the mark stands until the repair is done */
    enum status status = mark_settle(log, reason);
    if (status != STATUS_OK || !log->mark_single)
        return status;
    status = mark_write(log, reason);
    if (status == STATUS_OK)
        status = mark_settle(log, reason);
    if (status == STATUS_OK)
        log->mark_single = false;
    return status;
}

enum status mark_create(struct event_log *log, const struct mark *mark, struct reason *reason)
{
    uint8_t value[MARK_VALUE_SIZE];
    mark_encode(mark, value);
    slot_file_close(&log->mark_slots);
    enum status status = slot_file_create(log->disk, log->path, MARK_NAME, MARK_MAGIC, value,
                                          sizeof(value), reason);
    if (status == STATUS_OK)
        status = slot_file_open(&log->mark_slots, log->disk, DISK_WRITE, log->path, MARK_NAME,
                                MARK_MAGIC, value, sizeof(value), reason);
    if (status != STATUS_OK) /* there is no open mark any more */
        return log_poison(log, status);
    log->mark = *mark;
    log->mark_lost = false;
    log->mark_unwritten = false;
    log->mark_unsynced = false;
    log->mark_single = false;
    return STATUS_OK;
}

enum status mark_move(struct event_log *log, const struct mark *mark, struct reason *reason)
{
    if (log->mark_lost)
        return mark_create(log, mark, reason);
    enum status status = mark_settle(log, reason);
    if (status != STATUS_OK)
        return status;
    struct mark before = log->mark;
    log->mark = *mark;
    log->mark_single = true;
    status = mark_write(log, reason);
    if (status != STATUS_OK) {
        log->mark = before;
        return status;
    }
    return mark_settle(log, reason);
}

/* Appends the bytes [from, to) of one file to another. */
static enum status piece_copy(struct event_log *log, const struct file_piece *piece,
                              const char *to_path, int to_file, uint64_t *to_offset,
                              struct reason *reason)
{
    char path[DISK_PATH_SIZE];
    int file = -1;
    enum status status = disk_path(log->path, piece->name, path, reason);
    if (status == STATUS_OK)
        status = disk_file_open(log->disk, path, DISK_READ, &file, reason);
    if (status != STATUS_OK)
        return status;
    uint8_t *block = memory_zeroed(COPY_SIZE, 1);
    status = block ? STATUS_OK : refuse(reason, STATUS_NO_MEMORY, "%s: no memory to copy", path);
    for (uint64_t at = piece->from; status == STATUS_OK && at < piece->to;) {
        size_t want = piece->to - at < COPY_SIZE ? (size_t)(piece->to - at) : COPY_SIZE;
        size_t have = 0;
        status = disk_read_all(log->disk, file, path, block, want, at, &have, reason);
        if (status == STATUS_OK && have < want)
            status = refuse(reason, STATUS_IO, "%s: became shorter while it was copied", path);
        if (status == STATUS_OK)
            status = disk_write_all(log->disk, to_file, to_path, block, have, *to_offset, reason);
        at += have;
        *to_offset += have;
    }
    memory_free(block);
    log->disk->close(log->disk->owner, file);
    return status;
}

static enum status assemble_part(struct event_log *log, const char *path, const void *header,
                                 size_t header_size, const struct file_piece *pieces,
                                 size_t piece_count, struct reason *reason)
{
    int file = log->disk->open(log->disk->owner, path, DISK_CREATE);
    if (file < 0)
        return refuse(reason, status_from_errno(-file), "%s: could not be made: %s", path,
                      strerror(-file));
    int error = -log->disk->truncate(log->disk->owner, file, 0);
    enum status status = error ? refuse(reason, status_from_errno(error), "%s: %s", path,
                                        strerror(error))
                               : disk_write_all(log->disk, file, path, header, header_size, 0,
                                                reason);
    uint64_t offset = header_size;
    for (size_t i = 0; i < piece_count && status == STATUS_OK; i++)
        status = piece_copy(log, &pieces[i], path, file, &offset, reason);
    if (status == STATUS_OK) {
        error = -log->disk->sync(log->disk->owner, file);
        if (error)
            status = log_poison(log, refuse(reason, STATUS_IO,
                                            "%s: could not be made durable: %s; check the disk",
                                            path, strerror(error)));
    }
    log->disk->close(log->disk->owner, file);
    return status;
}

enum status file_assemble(struct event_log *log, const char *name, const void *header,
                          size_t header_size, const struct file_piece *pieces,
                          size_t piece_count, struct reason *reason)
{
    char part_name[EVENT_LOG_NAME_SIZE + 8];
    char path[DISK_PATH_SIZE];
    (void)snprintf(part_name, sizeof(part_name), "%s.part", name);
    enum status status = disk_path(log->path, part_name, path, reason);
    if (status != STATUS_OK)
        return status;
    status = assemble_part(log, path, header, header_size, pieces, piece_count, reason);
    if (status != STATUS_OK) {
        (void)log->disk->remove(log->disk->owner, path);
        return status;
    }
    return log_file_move(log, part_name, name, reason);
}
