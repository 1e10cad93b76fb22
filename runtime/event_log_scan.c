/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk over one segment, by the rules in event_log.h.
 */
#include "runtime/event_log_format.h"

#include "protocol/memory.h"
#include "runtime/bytes.h"
#include "runtime/crc32c.h"

#include <errno.h>
#include <string.h>

/* Makes `size` bytes from `offset` on lie in the window, or as many as the file has. */
static enum status window_fill(struct segment_scan *scan, uint64_t offset, size_t size,
                               size_t *have_out, struct reason *reason)
{
    uint64_t end = scan->window_offset + scan->window_size;
    if (offset >= scan->window_offset && offset + size <= end) {
        *have_out = size;
        return STATUS_OK;
    }
    size_t kept = 0;
    if (offset >= scan->window_offset && offset < end) {
        kept = (size_t)(end - offset);
        memmove(scan->window, scan->window + (offset - scan->window_offset), kept);
    }
    scan->window_offset = offset;
    scan->window_size = kept;
    if (size > scan->window_capacity) {
        uint8_t *grown = memory_resized(scan->window, size, 1);
        if (!grown)
            return refuse(reason, STATUS_NO_MEMORY, "%s: no memory for a window of %zu bytes",
                          scan->path, size);
        scan->window = grown;
        scan->window_capacity = size;
    }
    size_t have = 0;
    enum status status = disk_read_all(scan->disk, scan->file, scan->path, scan->window + kept,
                                       scan->window_capacity - kept, offset + kept, &have, reason);
    if (status != STATUS_OK)
        return status;
    scan->window_size += have;
    *have_out = scan->window_size < size ? scan->window_size : size;
    return STATUS_OK;
}

static const uint8_t *window_at(const struct segment_scan *scan, uint64_t offset)
{
    return scan->window + (offset - scan->window_offset);
}

void segment_scan_refresh(struct segment_scan *scan)
{
    scan->window_size = 0;
    scan->window_offset = scan->offset;
}

enum status segment_scan_open(struct segment_scan *scan, const struct disk_ops *disk,
                              const char *path, size_t window_size, struct reason *reason)
{
    *scan = (struct segment_scan){.disk = disk, .file = -1};
    if (strlen(path) >= sizeof(scan->path))
        return refuse(reason, STATUS_TOO_LARGE, "%.80s...: the path is too long", path);
    memcpy(scan->path, path, strlen(path) + 1);
    enum status status = disk_file_open(disk, path, DISK_READ, &scan->file, reason);
    if (status != STATUS_OK)
        return status;
    scan->window = memory_zeroed(window_size, 1);
    scan->window_capacity = window_size;
    if (!scan->window) {
        segment_scan_close(scan);
        return refuse(reason, STATUS_NO_MEMORY, "%s: no memory for a window of %zu bytes", path,
                      window_size);
    }
    size_t have = 0;
    status = window_fill(scan, 0, SEGMENT_HEADER_SIZE, &have, reason);
    if (status != STATUS_OK) {
        segment_scan_close(scan);
        return status;
    }
    scan->why = "the file is shorter than a segment's header";
    status = have < SEGMENT_HEADER_SIZE
                 ? STATUS_MALFORMED
                 : segment_header_decode(window_at(scan, 0), &scan->header, &scan->why);
    if (status == STATUS_VERSION)
        segment_scan_close(scan);
    if (status != STATUS_OK)
        return refuse(reason, status, "%s: %s", path, scan->why);
    scan->offset = SEGMENT_HEADER_SIZE;
    scan->before = scan->header.base;
    return STATUS_OK;
}

void segment_scan_close(struct segment_scan *scan)
{
    if (scan->file >= 0)
        scan->disk->close(scan->disk->owner, scan->file);
    memory_free(scan->window);
    scan->file = -1;
    scan->window = NULL;
}

/* Rules (1) and (2): NULL, or what is wrong. */
static const char *header_fault(const uint8_t *header)
{
    static const uint8_t zeros[6] = {0};
    if (memcmp(header, "TREC", 4) != 0)
        return "no record begins here";
    if (get_u32(header + 4) != crc32c(0, header + 8, RECORD_HEADER_SIZE - 8))
        return "the checksum of a record's header does not hold";
    if (memcmp(header + 18, zeros, sizeof(zeros)) != 0)
        return "a record's header is not of this version";
    if (get_u32(header + 8) > EVENT_BODY_SIZE_MAX)
        return "a record is larger than its limit";
    return NULL;
}

/* Rule (3), of a header that holds and a body that is there. */
static const char *body_fault(const uint8_t *record)
{
    size_t body_size = get_u32(record + 8);
    size_t padded = event_record_size(body_size) - RECORD_HEADER_SIZE;
    if (get_u32(record + 12) != crc32c(0, record + RECORD_HEADER_SIZE, padded))
        return "the checksum of a record's body does not hold";
    for (size_t i = body_size; i < padded; i++)
        if (record[RECORD_HEADER_SIZE + i] != 0)
            return "a record is not padded with zeros";
    return NULL;
}

static void event_record_decode(const uint8_t *bytes, struct event_record *record_out)
{
    record_out->stamp.index = get_u64(bytes + 24);
    record_out->stamp.epoch.number = get_u64(bytes + 32);
    memcpy(record_out->stamp.epoch.leader.bytes, bytes + 40, 16);
    memcpy(record_out->stamp.chain.bytes, bytes + 72, sizeof(record_out->stamp.chain.bytes));
    record_out->time_ms = get_u64(bytes + 56);
    record_out->kind = get_u16(bytes + 16);
    record_out->body = bytes + RECORD_HEADER_SIZE;
    record_out->body_size = get_u32(bytes + 8);
}

/* Rules (4) to (6). */
static const char *sequence_fault(const struct segment_scan *scan, const uint8_t *bytes,
                                  const struct event_record *record, bool check_chain)
{
    if (record->stamp.index != scan->before.index + 1)
        return "a record's index does not follow the one before";
    if (event_epoch_compare(&record->stamp.epoch, &scan->before.epoch) < 0)
        return "a record's epoch is before the one before it";
    if (!check_chain)
        return NULL;
    struct hash chain;
    event_record_chain_encoded(bytes, &scan->before.chain, &chain);
    if (memcmp(&chain, &record->stamp.chain, sizeof(chain)) != 0)
        return "a record's hash does not continue the chain";
    return NULL;
}

static enum status refuse_record(struct segment_scan *scan, const char *why, struct reason *reason)
{
    scan->why = why;
    return refuse(reason, STATUS_MALFORMED, "%s: %s, at byte %llu", scan->path, why,
                  (unsigned long long)scan->offset);
}

enum status segment_scan_next(struct segment_scan *scan, bool check_all,
                              struct event_record *record_out, struct reason *reason)
{
    size_t have = 0;
    enum status status = window_fill(scan, scan->offset, RECORD_HEADER_SIZE, &have, reason);
    if (status != STATUS_OK)
        return status;
    if (have == 0)
        return STATUS_ENDED;
    if (have < RECORD_HEADER_SIZE)
        return refuse_record(scan, "the file ends within a record", reason);
    const char *fault = header_fault(window_at(scan, scan->offset));
    if (fault)
        return refuse_record(scan, fault, reason);
    size_t size = event_record_size(get_u32(window_at(scan, scan->offset) + 8));
    status = window_fill(scan, scan->offset, size, &have, reason);
    if (status != STATUS_OK)
        return status;
    if (have < size)
        return refuse_record(scan, "the file ends within a record", reason);
    const uint8_t *bytes = window_at(scan, scan->offset);
    struct event_record record;
    event_record_decode(bytes, &record);
    fault = check_all ? body_fault(bytes) : NULL;
    if (!fault)
        fault = sequence_fault(scan, bytes, &record, check_all);
    if (fault)
        return refuse_record(scan, fault, reason);
    scan->offset += size;
    scan->before = record.stamp;
    *record_out = record;
    return STATUS_OK;
}

enum status segment_scan_search(struct segment_scan *scan, uint64_t offset,
                                uint64_t *index_max_out, uint64_t *durable_max_out,
                                struct reason *reason)
{
    uint64_t index_max = 0;
    uint64_t durable_max = 0;
    for (uint64_t at = (offset + 7) & ~(uint64_t)7;; at += 8) {
        size_t have = 0;
        enum status status = window_fill(scan, at, RECORD_HEADER_SIZE, &have, reason);
        if (status != STATUS_OK)
            return status;
        if (have < RECORD_HEADER_SIZE)
            break;
        if (header_fault(window_at(scan, at)))
            continue;
        size_t size = event_record_size(get_u32(window_at(scan, at) + 8));
        status = window_fill(scan, at, size, &have, reason);
        if (status != STATUS_OK)
            return status;
        const uint8_t *bytes = window_at(scan, at);
        if (have < size || body_fault(bytes))
            continue;
        index_max = get_u64(bytes + 24) > index_max ? get_u64(bytes + 24) : index_max;
        durable_max = get_u64(bytes + 64) > durable_max ? get_u64(bytes + 64) : durable_max;
    }
    *index_max_out = index_max;
    *durable_max_out = durable_max;
    return STATUS_OK;
}
