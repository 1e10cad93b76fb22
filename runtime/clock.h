/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock: the only readers of the time.  Steps get the time in their input.
 */
#ifndef TROUPE_RUNTIME_CLOCK_H
#define TROUPE_RUNTIME_CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

/* Milliseconds since boot, suspended time counted (CLOCK_BOOTTIME; monotonic elsewhere). */
uint64_t clock_now_ms(void);
/* Microseconds of the same clock, for measurements. */
uint64_t clock_now_us(void);
/* Nanoseconds of it, for what is counted many times. */
uint64_t clock_now_ns(void);
/* Processor time of all threads of this process. */
uint64_t clock_spent_us(void);
/* Nanoseconds of processor time of one thread that has not been joined; where the system does not
 * tell, those of the clock. */
uint64_t clock_thread_spent_ns(pthread_t thread);
/* The same of all threads of a process that has not been collected. */
uint64_t clock_process_spent_ns(pid_t process);
/* How long a thread of this process was ready to run and did not, and how often it was let run;
 * both 0 where nothing tells. */
void clock_thread_turns(pid_t thread, uint64_t *delayed_ns_out, uint64_t *turns_out);
/* Milliseconds since 1970, UTC; may jump. */
uint64_t clock_wall_ms(void);
/* Sleeps; returns early on a signal. */
void clock_sleep_ms(uint64_t duration_ms);

#endif
