/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sweep: what a supervisor that was killed could not clean up, done by the next one.
 *
 * Its children die with it, but not in no time: until the last is gone its sockets and ports are
 * taken.  HOME/run/processes names them by pid and start time, so that a number used again is
 * nobody we kill.  Then sockets and directories below HOME/run go; other files there stay (a join
 * token).  Ranks use TCP only, so nothing of theirs can be in /dev/shm.
 *
 * Owner    main, with the lock of the home taken and HOME/run entered.
 * Memory   on the stack.
 * Fails    never: what cannot be removed is in somebody else's way, who says so.
 */
#ifndef TROUPE_ACTORS_SUPERVISOR_SWEEP_H
#define TROUPE_ACTORS_SUPERVISOR_SWEEP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct left_process {
    pid_t pid;
    uint64_t started_at; /* as the kernel counts; 0: unknown */
};

/* When the kernel started that process; 0 when it is not there or cannot be asked. */
uint64_t process_started_at(pid_t pid);
/* Replaces the list in the current directory. */
void sweep_list_write(const struct left_process *list, size_t count);
/* Ends what an earlier supervisor left and waits for it; then removes sockets and directories. */
void sweep_run(void);
/* Removes them alone: after an orderly stop. */
void sweep_files(void);

#endif
