/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import_watch: waits until nodes have taken a model in, and shows how far they are: for
 * `troupe add` and `troupe pull`.
 *
 * Memory   borrowed names; the progress line.
 * Threads  one.
 * Fails    an exit code, its sentence printed.
 */
#ifndef TROUPE_RUNTIME_TOOLS_TROUPE_IMPORT_WATCH_H
#define TROUPE_RUNTIME_TOOLS_TROUPE_IMPORT_WATCH_H

#include "runtime/tools/troupe/output.h"

struct import_watch {
    struct cli *cli;
    const char *model_id;
    struct progress progress;
    struct watched_import {
        struct node_id node_id;
        bool is_over;
        uint64_t bytes_have, bytes_total, bytes_per_s;
    } imports[NODE_COUNT_MAX];
    uint32_t count;
    uint64_t index; /* of the event that asked for it */
    int code; /* of the first that failed */
};

/* From the event of that index on; prints what came of it. */
int import_watch(struct import_watch *watch, uint64_t index);

#endif
