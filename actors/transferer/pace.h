/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pace: how much of the processors transfers may take while the node generates.  Pure.
 *
 * A generation computes on all cores in step, so time taken from any of them slows the whole of it;
 * a low priority alone does not help, as it does not hold back memory, caches and the kernel's work
 * for the network.  So while a rank of this node computes, all threads of the transferer together
 * may spend PACE_SHARE of one core; it was measured that a generation keeps its speed by that
 * (scripts/bars/03-beside).  What was not spent is not saved up.  Whoever is over rests between two
 * pieces, but never longer than PACE_REST_MS_MAX: whatever else the process does, transfers go on.
 * Without a generation there is no limit.
 *
 * A rank that computes says so four times a second (the signal heartbeat), and when it begins.
 *
 * Owner    bulk.c, under its lock.
 * Memory   none.
 * Threads  one at a time.
 * Fails    never.
 */
#ifndef TROUPE_ACTORS_TRANSFERER_PACE_H
#define TROUPE_ACTORS_TRANSFERER_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define PACE_SHARE 0.02       /* of one core */
#define PACE_SLACK_US 2000u   /* of processor time, more than is due: the work of a piece or two */
#define PACE_REST_MS_MAX 250u /* after it comes a piece in any case */
#define PACE_BEAT_LIFE_MS 1500u /* how long one beat of a rank counts */

struct pace {
    bool is_limited;
    uint64_t from_us;  /* when the share is counted from, */
    uint64_t spent_us; /* and what had been spent by then */
    uint64_t worked_us; /* when somebody was let go on last */
};

/* In so many ms work may go on; 0: now.  `spent_us` is processor time since ever. */
uint64_t pace_rest_ms(struct pace *pace, bool is_generating, uint64_t now_us, uint64_t spent_us);

#endif
