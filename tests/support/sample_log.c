/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/sample_log.h"

#include "tests/support/seeded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cluster_id sample_cluster(void)
{
    struct cluster_id cluster;
    for (size_t i = 0; i < sizeof(cluster.bytes); i++)
        cluster.bytes[i] = (uint8_t)(0xc0 + i);
    return cluster;
}

struct event_epoch sample_epoch(uint64_t number, uint8_t leader)
{
    struct event_epoch epoch = {.number = number};
    memset(epoch.leader.bytes, leader, sizeof(epoch.leader.bytes));
    return epoch;
}

size_t sample_body(uint64_t index, uint8_t branch, uint8_t *bytes_out)
{
    struct seeded seeded = {.state = index * 1000 + branch};
    size_t size = (size_t)seeded_below(&seeded, SAMPLE_BODY_SIZE_MAX + 1);
    if (index % 7 == 0)
        size = 0;
    seeded_fill(&seeded, bytes_out, size);
    return size;
}

struct event_log_options sample_options(const char *path, const struct disk_ops *disk)
{
    return (struct event_log_options){.path = path,
                                      .disk = disk,
                                      .cluster = sample_cluster(),
                                      .segment_size = 4096};
}

struct event_log *sample_open(const struct event_log_options *options,
                              struct event_log_recovery *recovery_out)
{
    struct reason reason = {""};
    struct event_log *log = NULL;
    enum status status = event_log_open(options, &log, recovery_out, &reason);
    if (status != STATUS_OK) {
        (void)fprintf(stderr, "the sample log could not be opened: %s: %s\n", status_name(status),
                      reason.text);
        abort();
    }
    return log;
}

enum status sample_append(struct event_log *log, struct event_epoch epoch, struct reason *reason)
{
    uint8_t body[SAMPLE_BODY_SIZE_MAX];
    uint64_t index = event_log_last(log).index + 1;
    size_t size = sample_body(index, epoch.leader.bytes[0], body);
    return event_log_append(log, epoch, 1000 + index, (uint16_t)(index % 50), body, size, NULL,
                            reason);
}

void sample_fill(struct event_log *log, struct event_epoch epoch, uint64_t count, uint64_t group)
{
    struct reason reason = {""};
    enum status status = STATUS_OK;
    for (uint64_t i = 1; i <= count && status == STATUS_OK; i++) {
        status = sample_append(log, epoch, &reason);
        if (status == STATUS_OK && (i % group == 0 || i == count))
            status = event_log_sync(log, &reason);
    }
    if (status != STATUS_OK) {
        (void)fprintf(stderr, "the sample log could not be filled: %s\n", reason.text);
        abort();
    }
}

bool sample_is(const struct event_record *record)
{
    uint8_t body[SAMPLE_BODY_SIZE_MAX];
    uint64_t index = record->stamp.index;
    size_t size = sample_body(index, record->stamp.epoch.leader.bytes[0], body);
    return record->body_size == size && memcmp(record->body, body, size) == 0 &&
           record->time_ms == 1000 + index && record->kind == index % 50;
}

uint64_t sample_read(const char *path, const struct disk_ops *disk, uint64_t index,
                     enum status *fault_out)
{
    struct event_log_reader *reader = NULL;
    struct reason reason = {""};
    uint64_t last = index - 1;
    enum status status = event_log_reader_open(path, disk, &reader, &reason);
    if (status == STATUS_OK)
        status = event_log_reader_seek(reader, index, &reason);
    while (status == STATUS_OK) {
        struct event_record record;
        status = event_log_reader_next(reader, &record, &reason);
        if (status != STATUS_OK)
            break;
        if (record.stamp.index != last + 1 || !sample_is(&record))
            status = STATUS_MALFORMED;
        else
            last = record.stamp.index;
    }
    event_log_reader_close(reader);
    *fault_out = status;
    return last;
}

enum status sample_refill(struct event_log *log, const char *path, const struct disk_ops *disk,
                          uint64_t last, struct reason *reason)
{
    struct event_log_reader *reader = NULL;
    enum status status = event_log_reader_open(path, disk, &reader, reason);
    if (status != STATUS_OK)
        return status;
    status = event_log_reader_seek(reader, event_log_last(log).index + 1, reason);
    while (status == STATUS_OK && event_log_last(log).index < last) {
        struct event_record record;
        status = event_log_reader_next(reader, &record, reason);
        if (status == STATUS_OK)
            status = event_log_append_copy(log, &record, reason);
    }
    event_log_reader_close(reader);
    return status == STATUS_OK ? event_log_sync(log, reason) : status;
}
