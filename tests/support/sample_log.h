/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample_log: events whose every byte follows from their index, so that a log can be judged after
 * any damage.
 */
#ifndef TROUPE_TESTS_SUPPORT_SAMPLE_LOG_H
#define TROUPE_TESTS_SUPPORT_SAMPLE_LOG_H

#include "runtime/event_log.h"
#include "runtime/event_log_reader.h"

#define SAMPLE_BODY_SIZE_MAX ((size_t)400)

struct cluster_id sample_cluster(void);
/* Epoch `number` of node `leader`. */
struct event_epoch sample_epoch(uint64_t number, uint8_t leader);
/* The body of event `index` in a branch; its size is 0 to SAMPLE_BODY_SIZE_MAX. */
size_t sample_body(uint64_t index, uint8_t branch, uint8_t *bytes_out);
struct event_log_options sample_options(const char *path, const struct disk_ops *disk);

/* Aborts when it cannot be opened. */
struct event_log *sample_open(const struct event_log_options *options,
                              struct event_log_recovery *recovery_out);
/* Appends the next event of a branch (the epoch's leader); not synced. */
enum status sample_append(struct event_log *log, struct event_epoch epoch, struct reason *reason);
/* Appends and syncs `count` events, `group` at a time; aborts when that fails. */
void sample_fill(struct event_log *log, struct event_epoch epoch, uint64_t count, uint64_t group);
/* Is it the event that sample_append wrote? */
bool sample_is(const struct event_record *record);
/* Reads from `index` to the end; returns the last index read, or `index` - 1.  `fault_out` gets
 * the status that ended reading (STATUS_ENDED), STATUS_MALFORMED for a wrong event. */
uint64_t sample_read(const char *path, const struct disk_ops *disk, uint64_t index,
                     enum status *fault_out);
/* Copies events from the log at `path` after the last one of `log`, up to `last`, and syncs. */
enum status sample_refill(struct event_log *log, const char *path, const struct disk_ops *disk,
                          uint64_t last, struct reason *reason);

#endif
