/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef CLOCK_BOOTTIME
#define CLOCK_OF_INTERVALS CLOCK_BOOTTIME
#else
#define CLOCK_OF_INTERVALS CLOCK_MONOTONIC
#endif

static uint64_t read_ns(clockid_t id)
{
    struct timespec now;
    (void)clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t read_us(clockid_t id)
{
    return read_ns(id) / 1000u;
}

uint64_t clock_now_ms(void)
{
    return read_us(CLOCK_OF_INTERVALS) / 1000u;
}

uint64_t clock_now_us(void)
{
    return read_us(CLOCK_OF_INTERVALS);
}

uint64_t clock_now_ns(void)
{
    return read_ns(CLOCK_OF_INTERVALS);
}

uint64_t clock_spent_us(void)
{
    return read_us(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t clock_thread_spent_ns(pthread_t thread)
{
#if defined(__linux__)
    clockid_t id;
    if (pthread_getcpuclockid(thread, &id) == 0)
        return read_ns(id);
#else
    (void)thread;
#endif
    return clock_now_ns();
}

uint64_t clock_process_spent_ns(pid_t process)
{
#if defined(__linux__)
    clockid_t id;
    if (clock_getcpuclockid(process, &id) == 0)
        return read_ns(id);
#else
    (void)process;
#endif
    return clock_now_ns();
}

void clock_thread_turns(pid_t thread, uint64_t *delayed_ns_out, uint64_t *turns_out)
{
    *delayed_ns_out = 0;
    *turns_out = 0;
    char path[64];
    char line[96] = "";
    char *rest = NULL;
    (void)snprintf(path, sizeof(path), "/proc/self/task/%ld/schedstat", (long)thread);
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    const bool is_read = fgets(line, sizeof(line), file) != NULL;
    (void)fclose(file);
    if (!is_read)
        return;
    (void)strtoull(line, &rest, 10); /* what it ran */
    *delayed_ns_out = strtoull(rest, &rest, 10);
    *turns_out = strtoull(rest, NULL, 10);
}

uint64_t clock_wall_ms(void)
{
    return read_us(CLOCK_REALTIME) / 1000u;
}

void clock_sleep_ms(uint64_t duration_ms)
{
    struct timespec wait = {(time_t)(duration_ms / 1000u), (long)(duration_ms % 1000u) * 1000000L};
    (void)nanosleep(&wait, NULL);
}
