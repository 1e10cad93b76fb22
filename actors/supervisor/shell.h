/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shell: the impure half of the supervisor: starts and ends processes, hears from them, passes on
 * what they say.
 *
 * What a child writes to standard error goes line by line to our own; its last line is kept as the
 * reason of its death.  Where our own is HOME/supervisor.log, that file is moved to
 * supervisor.log.1 when it has grown to LOG_FILE_SIZE_MAX.
 *
 * HOME/run/processes lists who was started, so that the next supervisor can end what a killed one
 * left (see sweep.h).
 *
 * Owner    main.
 * Memory   one row a child, fixed.
 * Threads  the loop's, which must be the main thread: children die with it.
 * Fails    what cannot be started is told to the step, which decides.
 */
#ifndef TROUPE_ACTORS_SUPERVISOR_SHELL_H
#define TROUPE_ACTORS_SUPERVISOR_SHELL_H

#include "actors/supervisor/supervisor.h"
#include "runtime/config.h"
#include "runtime/loop.h"
#include "runtime/paths.h"
#include "runtime/spawn.h"

enum { STDERR_LINE_SIZE = 1024 };
#define LOG_FILE_SIZE_MAX (4u << 20)

struct supervisor_shell;

struct shell_child {
    struct supervisor_shell *shell;
    uint64_t id; /* 0: free */
    const struct actor_row *row;
    struct child child;
    int error_fd; /* our end of its standard error */
    char line[STDERR_LINE_SIZE]; /* not yet ended */
    size_t line_size;
    char last_line[STDERR_LINE_SIZE];
};

struct supervisor_shell {
    struct loop *loop;
    const struct config *config;
    const struct paths *paths;
    char programs[PATH_SIZE];    /* directory of our own executable */
    char log_path[PATH_SIZE + 32];
    struct shell_child children[CHILDREN_MAX];
    struct child measuring; /* what the kernels of this machine manage, once; without a pid: none */
};

struct shell supervisor_shell_calls(struct supervisor_shell *shell);

#endif
