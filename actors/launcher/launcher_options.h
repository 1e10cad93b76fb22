/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launcher_options: the command line by which a supervisor starts a launcher.
 *
 *     troupe-launcher --instance HEX --generation EPOCH:LEADER:COUNTER --rank N
 *                     --fabric ADDRESS [--fabric-ports FIRST:COUNT] [--rdma DEVICE]
 *                     [--ways WAYS] [--incarnation N] [--rank-incarnation N]
 *                     -- PROGRAM [ARGUMENT...]
 *
 * INSTANCE and LEADER are 32 hex digits; ADDRESS is numeric, of this node; PROGRAM is the runner.
 * WAYS are those of runtime/fabric_ways.h; with them it listens at all addresses of its node.
 *
 * Memory   plain struct; borrows the arguments.
 * Fails    STATUS_INVALID with a sentence that names the option.
 */
#ifndef TROUPE_ACTORS_LAUNCHER_LAUNCHER_OPTIONS_H
#define TROUPE_ACTORS_LAUNCHER_LAUNCHER_OPTIONS_H

#include "actors/launcher/launcher.h"

struct launcher_options {
    struct launcher_settings settings; /* without key and build */
    struct pmix_host_fabric fabric;
    char fabric_address[64];
    char rdma[64];
    char ways[WAYS_SIZE_MAX];
    char directory[160]; /* of the PMIx server, below the working directory */
    const char *const *command;
};

/* `arguments` is that of main; `command` points into it. */
MUST_CHECK enum status launcher_options_parse(int count, char **arguments,
                                              struct launcher_options *options_out,
                                              struct reason *reason);

#endif
