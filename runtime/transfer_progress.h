/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer_progress: how far the transfers are, as their targets told last.
 *
 * Signals may be lost and are soon old: what is not told again is forgotten.
 *
 * Owner    whoever shows transfers: a gateway, the command line.
 * Memory   TRANSFER_PROGRESS_MAX entries at most; the oldest goes.
 * Threads  one.
 * Fails    without memory a signal is lost.
 */
#ifndef TROUPE_RUNTIME_TRANSFER_PROGRESS_H
#define TROUPE_RUNTIME_TRANSFER_PROGRESS_H

#include "protocol/message.h"

#define TRANSFER_PROGRESS_MAX 64u
#define TRANSFER_PROGRESS_LIFE_MS 5000u /* told twice a second */

struct transfer_progress {
    struct node_id node_id; /* the target */
    struct transfer_progressed told;
    uint64_t expires_ms; /* 0: this entry is free */
};

struct transfer_progress_table {
    struct transfer_progress entries[TRANSFER_PROGRESS_MAX];
};

/* Any message; those that are not of this kind are none of its business. */
void transfer_progress_take(struct transfer_progress_table *table, const struct message *message,
                            uint64_t now_ms);
/* NULL: nothing was told lately. */
const struct transfer_progressed *transfer_progress_find(
    const struct transfer_progress_table *table, const struct transfer_id *transfer,
    const struct node_id *target, uint64_t now_ms);
/* UINT64_MAX: nobody can tell. */
uint64_t transfer_seconds_left(const struct transfer_progressed *told);
void transfer_progress_fini(struct transfer_progress_table *table);

#endif
