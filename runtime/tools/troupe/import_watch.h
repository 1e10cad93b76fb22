/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import_watch: waits until a node has taken a model in, and shows how far it is: for `troupe add`
 * and `troupe pull`.
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
    struct node_id node_id;
    const char *model_id;
    struct progress progress;
};

/* From the event of that index on; prints what came of it. */
int import_watch(struct import_watch *watch, uint64_t index);

#endif
