/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a mark and a segment: opening recovers a prefix, or refuses with the damage; what
 * was opened can be read, written and opened again; what was refused can be repaired to a log that
 * can.
 *
 *   OFFSET  SIZE  DESCRIPTION
 *        0     1  bit 0: checksums of the segment are made right first, so that what lies behind
 *                 them is reached; bit 1: chains too; bit 2: there is a mark
 *        1     2  n, size of the mark, little-endian
 *        3     n  the mark
 *      3+n        the segment
 */
#include "protocol/assert.h"
#include "runtime/bytes.h"
#include "runtime/crc32c.h"
#include "runtime/event_log_format.h"
#include "tests/support/memory_disk.h"
#include "tests/support/sample_log.h"

#include <string.h>

#define SEGMENT_PATH "log/00000000000000000001.segment"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Every 8-aligned place that begins like a record gets the checksums it would need. */
static void make_right(uint8_t *segment, size_t size, bool chains)
{
    struct hash before;
    if (size < SEGMENT_HEADER_SIZE)
        return;
    put_u32(segment + 124, crc32c(0, segment, 124));
    memcpy(&before, segment + 64, sizeof(before));
    for (size_t at = SEGMENT_HEADER_SIZE; at + RECORD_HEADER_SIZE <= size;) {
        uint8_t *record = segment + at;
        size_t body = get_u32(record + 8);
        if (memcmp(record, "TREC", 4) != 0 || body > size || at + event_record_size(body) > size) {
            at += 8;
            continue;
        }
        size_t padded = event_record_size(body) - RECORD_HEADER_SIZE;
        put_u32(record + 12, crc32c(0, record + RECORD_HEADER_SIZE, padded));
        if (chains) {
            event_record_chain_encoded(record, &before, &before);
            memcpy(record + 72, &before, sizeof(before));
        }
        put_u32(record + 4, crc32c(0, record + 8, RECORD_HEADER_SIZE - 8));
        at += event_record_size(body);
    }
}

/* A log that says it is whole must take events and be whole again. */
static void go_on(struct event_log *log, const struct event_log_options *options)
{
    struct reason reason;
    struct event_stamp last = event_log_durable(log);
    enum status status = event_log_append(log, last.epoch, 5, 6, "more", 4, NULL, &reason);
    ASSERT(status == STATUS_OK);
    status = event_log_sync(log, &reason);
    ASSERT(status == STATUS_OK);
    uint64_t first = event_log_first_index(log);
    event_log_close(log);
    struct event_log_recovery recovery;
    status = event_log_open(options, &log, &recovery, &reason);
    ASSERT(status == STATUS_OK && recovery.cut_size == 0);
    ASSERT(event_log_durable(log).index == last.index + 1);
    ASSERT(recovery.record_count == last.index + 2 - first);
    event_log_close(log);
    struct event_log_reader *reader = NULL;
    struct event_record record;
    uint64_t count = 0;
    status = event_log_reader_open("log", options->disk, &reader, &reason);
    while (status == STATUS_OK &&
           (status = event_log_reader_next(reader, &record, &reason)) == STATUS_OK)
        count++;
    ASSERT(status == STATUS_ENDED && count == recovery.record_count);
    event_log_reader_close(reader);
}

static void try_log(struct memory_disk *disk)
{
    struct event_log_options options = sample_options("log", memory_disk_ops(disk));
    struct event_log *log = NULL;
    struct event_log_recovery recovery;
    struct reason reason;
    enum status status = event_log_open(&options, &log, &recovery, &reason);
    if (status == STATUS_OK) {
        go_on(log, &options);
        return;
    }
    ASSERT(memory_disk_open_count(disk) == 0);
    if (status == STATUS_REFUSED || status == STATUS_VERSION)
        return;
    ASSERT(status == STATUS_DAMAGED && reason.text[0] != '\0');
    options.accept_damage = true;
    status = event_log_open(&options, &log, &recovery, &reason);
    ASSERT(status == STATUS_OK);
    const struct event_log_damage *damage = event_log_damage(log);
    ASSERT(damage && damage->first_index <= damage->last_index);
    status = event_log_replace_from(log, damage->first_index, &reason);
    ASSERT(status == STATUS_OK);
    status = event_log_truncate_to(log, event_log_durable(log).index, NULL, &reason);
    ASSERT(status == STATUS_OK && !event_log_damage(log));
    options.accept_damage = false;
    go_on(log, &options);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static uint8_t segment[1 << 17];
    if (size < 3 || size > sizeof(segment))
        return 0;
    size_t mark_size = get_u16(bytes + 1);
    mark_size = mark_size < size - 3 ? mark_size : size - 3;
    size_t segment_size = size - 3 - mark_size;
    memcpy(segment, bytes + 3 + mark_size, segment_size);
    if (bytes[0] & 1)
        make_right(segment, segment_size, (bytes[0] & 2) != 0);
    struct memory_disk *disk = memory_disk_create();
    if (bytes[0] & 4)
        memory_disk_put(disk, "log/mark", bytes + 3, mark_size);
    memory_disk_put(disk, SEGMENT_PATH, segment, segment_size);
    try_log(disk);
    memory_disk_free(disk);
    return 0;
}
