/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/quiet.h"

#include "runtime/clock.h"
#include "runtime/machine.h"

#include <sys/resource.h>
#include <unistd.h>

#define LOOK_MS 1000u
#define PAUSE_MAX_MS 60000u

static uint64_t own_us(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 0;
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

void quiet_watch_start(struct quiet_watch *watch_out)
{
    *watch_out = (struct quiet_watch){.at_us = clock_now_us(), .own_us = own_us()};
    watch_out->is_known = machine_busy_us(&watch_out->busy_us);
}

double quiet_watch_others(const struct quiet_watch *watch)
{
    struct quiet_watch now;
    quiet_watch_start(&now);
    if (!watch->is_known || !now.is_known || now.at_us <= watch->at_us)
        return 0;
    const double passed = (double)(now.at_us - watch->at_us) * machine_cores();
    const double others = (double)(now.busy_us - watch->busy_us) -
                          (double)(now.own_us - watch->own_us);
    const double share = others / passed;
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

bool quiet_wait(uint64_t limit_ms)
{
    const uint64_t end_us = clock_now_us() + limit_ms * 1000;
    const pid_t parent = getppid();
    struct quiet_watch watch;
    uint32_t pause_ms = LOOK_MS;
    while (getppid() == parent) {
        quiet_watch_start(&watch);
        clock_sleep_ms(LOOK_MS);
        if (quiet_watch_others(&watch) < QUIET_SHARE)
            return true;
        if (clock_now_us() >= end_us)
            return false;
        /* Two that wait for each other's end would find the machine busy for ever in step. */
        const uint64_t mixed = (clock_now_us() + (uint64_t)parent) * 0x9e3779b97f4a7c15u;
        clock_sleep_ms(pause_ms / 2 + (mixed >> 32) % pause_ms);
        pause_ms = pause_ms < PAUSE_MAX_MS / 2 ? pause_ms * 2 : PAUSE_MAX_MS;
    }
    return false;
}
