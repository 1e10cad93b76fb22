/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appending, group commit and what can be asked.  Opening is event_log_recover.c.
 */
#include "runtime/event_log_internal.h"

#include "protocol/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum status log_poison(struct event_log *log, enum status status)
{
    log->poisoned = true;
    return status;
}

enum status log_usable(const struct event_log *log, struct reason *reason)
{
    if (log->poisoned)
        return refuse(reason, STATUS_IO, "%s: the disk failed before and what it holds is not "
                      "known; end this process and start it again", log->path);
    if (log->damaged && !log->refilling)
        return refuse(reason, STATUS_DAMAGED, "%s", log->damage.sentence);
    return STATUS_OK;
}

void event_log_close(struct event_log *log)
{
    if (!log)
        return;
    if (!log->poisoned) {
        /* What is on disk stays valid without it. */
        enum status settled = event_log_settle(log, NULL);
        (void)settled;
    }
    if (log->active >= 0)
        log->disk->close(log->disk->owner, log->active);
    slot_file_close(&log->mark_slots);
    if (log->lock_file >= 0)
        log->disk->close(log->disk->owner, log->lock_file);
    memory_free(log->segments);
    memory_free(log->waiting);
    memory_free(log);
}

/* Room for `size` bytes more in the group; syncs when it is full. */
static enum status waiting_reserve(struct event_log *log, size_t size, struct reason *reason)
{
    if (log->waiting_size + size > GROUP_SIZE_MAX) {
        enum status status = event_log_sync(log, reason);
        if (status != STATUS_OK)
            return status;
    }
    if (log->waiting_size + size <= log->waiting_capacity)
        return STATUS_OK;
    size_t capacity = log->waiting_capacity ? log->waiting_capacity : 64 << 10;
    while (capacity < log->waiting_size + size)
        capacity *= 2;
    uint8_t *grown = memory_resized(log->waiting, capacity, 1);
    if (!grown)
        return refuse(reason, STATUS_NO_MEMORY, "%s: no memory for %zu bytes of waiting events",
                      log->path, capacity);
    log->waiting = grown;
    log->waiting_capacity = capacity;
    return STATUS_OK;
}

static enum status check_body(const struct event_log *log, const void *body, size_t body_size,
                              struct reason *reason)
{
    ASSERT(body || body_size == 0);
    if (body_size > EVENT_BODY_SIZE_MAX)
        return refuse(reason, STATUS_TOO_LARGE,
                      "%s: an event of %zu bytes is larger than the limit of %zu", log->path,
                      body_size, EVENT_BODY_SIZE_MAX);
    return STATUS_OK;
}

enum status event_log_append(struct event_log *log, struct event_epoch epoch, uint64_t time_ms,
                             uint16_t kind, const void *body, size_t body_size,
                             struct event_stamp *stamp_out, struct reason *reason)
{
    enum status status = log_usable(log, reason);
    if (status == STATUS_OK && log->damaged)
        status = refuse(reason, STATUS_DAMAGED, "%s", log->damage.sentence);
    if (status == STATUS_OK)
        status = check_body(log, body, body_size, reason);
    if (status != STATUS_OK)
        return status;
    if (event_epoch_compare(&epoch, &log->last.epoch) < 0)
        return refuse(reason, STATUS_STALE,
                      "%s: epoch %" PRIu64 " is before epoch %" PRIu64 " of the last event",
                      log->path, epoch.number, log->last.epoch.number);
    size_t size = event_record_size(body_size);
    status = waiting_reserve(log, size, reason);
    if (status != STATUS_OK)
        return status;
    struct event_record record = {.stamp = {.index = log->last.index + 1, .epoch = epoch},
                                  .time_ms = time_ms,
                                  .kind = kind,
                                  .body = body,
                                  .body_size = body_size};
    event_record_encode(log->waiting + log->waiting_size, &record, &log->last.chain,
                        log->durable.index);
    log->waiting_size += size;
    log->last = record.stamp;
    if (stamp_out)
        *stamp_out = record.stamp;
    return STATUS_OK;
}

/* Does the copy continue this log, and does a repaired log end as the lost one did? */
static enum status check_copy(const struct event_log *log, const struct event_record *record,
                              struct reason *reason)
{
    if (record->stamp.index != log->last.index + 1)
        return refuse(reason, STATUS_GAP, "%s: event %" PRIu64 " came where %" PRIu64 " is next",
                      log->path, record->stamp.index, log->last.index + 1);
    struct hash chain;
    event_record_chain(record, &log->last.chain, &chain);
    if (memcmp(&chain, &record->stamp.chain, sizeof(chain)) != 0 ||
        event_epoch_compare(&record->stamp.epoch, &log->last.epoch) < 0)
        return refuse(reason, STATUS_HASH_MISMATCH,
                      "%s: event %" PRIu64 " of the peer does not continue this log; find the "
                      "common prefix and cut to it", log->path, record->stamp.index);
    if (log->damaged && record->stamp.index == log->mark.index && !ID_IS_ZERO(log->mark.chain) &&
        memcmp(&chain, &log->mark.chain, sizeof(chain)) != 0)
        return refuse(reason, STATUS_HASH_MISMATCH,
                      "%s: event %" PRIu64 " of the peer is not the one that was lost here; if "
                      "the peer's epoch is higher, cut to the event before it", log->path,
                      record->stamp.index);
    return STATUS_OK;
}

enum status event_log_append_copy(struct event_log *log, const struct event_record *record,
                                  struct reason *reason)
{
    enum status status = log_usable(log, reason);
    if (status == STATUS_OK)
        status = check_body(log, record->body, record->body_size, reason);
    if (status == STATUS_OK)
        status = check_copy(log, record, reason);
    size_t size = event_record_size(record->body_size);
    if (status == STATUS_OK)
        status = waiting_reserve(log, size, reason);
    if (status != STATUS_OK)
        return status;
    struct event_record copy = *record;
    event_record_encode(log->waiting + log->waiting_size, &copy, &log->last.chain,
                        log->durable.index);
    log->waiting_size += size;
    log->last = copy.stamp;
    return STATUS_OK;
}

/* When the disk runs full, how things ended can still be told: whoever waits for an end would wait
 * until there is room again. */
static void room_keep(struct event_log *log, uint64_t size)
{
    enum { ROOM_SIZE = 16u << 10 };
    if (!log->disk->reserve || size + ROOM_SIZE / 2 <= log->room_end)
        return;
    if (log->disk->reserve(log->disk->owner, log->active, size, ROOM_SIZE) == 0)
        log->room_end = size + ROOM_SIZE;
}

/* Writes the group after the last durable record; on failure nothing of it stays in the file. */
static enum status group_write(struct event_log *log, struct reason *reason)
{
    struct log_segment *segment = &log->segments[log->segment_count - 1];
    enum status status = disk_write_all(log->disk, log->active, log->path, log->waiting,
                                        log->waiting_size, segment->size, reason);
    if (status != STATUS_OK) {
        /* Durably, or a crash could bring back whole records that were refused. */
        struct reason cut;
        if (segment_cut(log, segment->size, &cut) != STATUS_OK)
            return refuse(reason, STATUS_IO, "%s", cut.text);
        return status;
    }
    int error = -log->disk->sync(log->disk->owner, log->active);
    if (error)
        return log_poison(log, refuse(reason, STATUS_IO,
                                      "%s: the log could not be made durable: %s; check the disk, "
                                      "then start again", log->path, strerror(error)));
    segment->size += log->waiting_size;
    room_keep(log, segment->size);
    return STATUS_OK;
}

enum status event_log_sync(struct event_log *log, struct reason *reason)
{
    enum status status = log_usable(log, reason);
    if (status != STATUS_OK || log->waiting_size == 0)
        return status;
    status = mark_settle(log, reason);
    if (status != STATUS_OK)
        return status;
    const struct log_segment *segment = &log->segments[log->segment_count - 1];
    if (segment->size >= log->segment_size && log->durable.index >= segment->first_index)
        status = segment_begin(log, &log->durable, reason);
    if (status == STATUS_OK)
        status = group_write(log, reason);
    if (status != STATUS_OK)
        return status;
    log->waiting_size = 0;
    log->durable = log->last;
    if (!log->damaged || log->durable.index >= log->damage.last_index) {
        log->damaged = false;
        log->refilling = false;
        mark_advance(log);
    }
    return STATUS_OK;
}

void event_log_forget_waiting(struct event_log *log)
{
    log->waiting_size = 0;
    log->last = log->durable;
}

struct event_stamp event_log_durable(const struct event_log *log)
{
    return log->durable;
}

struct event_stamp event_log_last(const struct event_log *log)
{
    return log->last;
}

uint64_t event_log_first_index(const struct event_log *log)
{
    return log->base.index + 1;
}

enum status event_log_stamp(const struct event_log *log, uint64_t index,
                            struct event_stamp *stamp_out, struct reason *reason)
{
    if (index == log->durable.index && !log->base_lost) {
        *stamp_out = log->durable;
        return STATUS_OK;
    }
    struct log_place place;
    enum status status = log_locate(log, index, &place, reason);
    if (status == STATUS_OK)
        *stamp_out = place.stamp;
    return status;
}

const struct event_log_damage *event_log_damage(const struct event_log *log)
{
    return log->damaged ? &log->damage : NULL;
}

bool event_log_is_poisoned(const struct event_log *log)
{
    return log->poisoned;
}

uint64_t event_log_size(const struct event_log *log)
{
    uint64_t size = 0;
    for (size_t i = 0; i < log->segment_count; i++)
        size += log->segments[i].size;
    return size;
}
