/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quiet: whether others leave this machine's processors alone, for what must be measured without
 * them.
 *
 * Memory   the caller's.
 * Threads  any; a watch is one thread's.
 * Fails    never: where the system does not say what its processors do, it counts as quiet.
 */
#ifndef TROUPE_RUNTIME_QUIET_H
#define TROUPE_RUNTIME_QUIET_H

#include <stdbool.h>
#include <stdint.h>

/* The share of all processors that others may take while it is quiet. */
#define QUIET_SHARE 0.1

/* From when on. */
struct quiet_watch {
    uint64_t at_us;
    uint64_t busy_us;
    uint64_t own_us;
    bool is_known;
};

void quiet_watch_start(struct quiet_watch *watch_out);
/* The share of all processors that others took since then, 0 to 1; our own process is left out. */
double quiet_watch_others(const struct quiet_watch *watch);
/* Looks for a second, then after 1, 2, 4 ... 60 seconds again, and not at the same moments as
 * others who wait.  False: not quiet within the limit, or our parent died. */
bool quiet_wait(uint64_t limit_ms);

#endif
