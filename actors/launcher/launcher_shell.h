/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launcher_shell: the launcher's hands: the PMIx server and the rank's process.
 *
 * Owner    main; the loop calls.
 * Memory   plain struct; borrows the options.
 * Threads  the loop's.
 * Fails    what pmix_host and spawn fail with, as the result of EFFECT_RANK_START.
 */
#ifndef TROUPE_ACTORS_LAUNCHER_LAUNCHER_SHELL_H
#define TROUPE_ACTORS_LAUNCHER_LAUNCHER_SHELL_H

#include "actors/launcher/pmix_host.h"
#include "runtime/loop.h"
#include "runtime/spawn.h"

#include <stdbool.h>

struct launcher_shell {
    const char *const *command; /* the rank's program and its arguments, NULL after them */
    char *const *environment;   /* what the rank inherits of ours */
    struct pmix_host_fabric fabric;
    const char *directory; /* of this generation's PMIx server; see pmix_host_options */
    struct pmix_host *host;
    struct child child;
    bool has_child;   /* it lives */
    bool was_spawned; /* `child` has descriptors */
    bool has_answered; /* a ping: its loop runs */
    uint64_t spent_ns; /* processor time of the child at the last ping, until then */
};

/* The calls for loop_options; `shell` is filled by the caller and lives as long as the loop. */
struct shell launcher_shell_calls(struct launcher_shell *shell);

#endif
