/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rights: what a process keeps of its rights for the rest of its life, in words, like pledge.
 *
 *   home    writes below HOME                 read    reads the model store and its holdings
 *   run     writes below HOME/run             source  reads any directory: users name their models'
 *   log     writes the event log              net     binds and connects tcp
 *   store   writes those two                  hub     connects tcp, binds none
 *   http    writes the journal of requests,   spawn   starts processes
 *           reads the file of HTTP keys       mpi     tcp, shared memory, files below TMPDIR
 *
 * Both `store` and `read` read the directories of the setting model_directories.
 *
 * Whatever the words: no new privileges, no core dump, no debugger (setting `debuggable` allows
 * both), reading only of libraries, programs, /etc, /proc, /sys and what a word names, no system
 * call that no actor needs, no socket but unix, internet and netlink.  Without `spawn` no fork and
 * no exec, without net, hub and mpi no internet socket, without net and mpi nobody can connect to
 * it.  Only the master has read HOME/identity before, and after it only `source` could.  Processes
 * that it starts keep no more than it has.
 *
 * Linux: Landlock for files and tcp, seccomp for system calls; each is used as far as this kernel
 * has it.  Elsewhere only the core dumps end.  A build with the address or thread sanitizer keeps
 * its system calls and may be traced: the leak check is done by a thread that traces the others.
 * It also reads the file of suppressions that its options name.
 *
 * Owner    main, at the end of init.
 * Memory   none is kept.
 * Threads  call it before any is started: Landlock holds for the caller's and those it starts.
 * Fails    STATUS_INVALID for an unknown word.  A kernel without Landlock or seccomp is no failure:
 *          `kept` says so.
 */
#ifndef TROUPE_RUNTIME_RIGHTS_H
#define TROUPE_RUNTIME_RIGHTS_H

#include "protocol/status.h"
#include "runtime/paths.h"

#include <stdbool.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RIGHTS_UNDER_SANITIZER 1
#else
#define RIGHTS_UNDER_SANITIZER 0
#endif

struct rights_places {
    const struct paths *paths;
    const char *key_file; /* of HTTP keys; NULL or empty: none */
    const char *program;  /* that `spawn` starts, where it lies apart; NULL: none */
    bool is_debuggable;
};

struct rights_kept {
    int landlock_version; /* 0: not available */
    bool has_filter;      /* of system calls */
};

MUST_CHECK enum status rights_keep(const char *words, const struct rights_places *places,
                                   struct rights_kept *kept_out, struct reason *reason);

#endif
