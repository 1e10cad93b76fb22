/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place: a placement as asked for on the command line, and waiting until it serves.
 *
 * Shared by place, previews and run.
 */
#ifndef TROUPE_RUNTIME_TOOLS_TROUPE_PLACE_H
#define TROUPE_RUNTIME_TOOLS_TROUPE_PLACE_H

#include "protocol/sharding.h"
#include "runtime/tools/troupe/cli.h"

/* What place and previews have in common, for their option tables. */
#define PLACE_OPTION_ROWS                                                                          \
    {"sharding", "WAY", SHARDING_NAMES ", or asymmetric; else the best"},                          \
        {"mode", "MODE", "fast (default) or exact"},                                               \
        {"nodes", "A,B", "these nodes and no others, in the order of the ranks"},                  \
        {"kv-cache", "FORMAT", "bf16 or int8; else the leader's kv_cache"},                        \
        {"requests", "N", "computed at once; else the leader's requests_running"},                 \
        {"min-nodes", "N", "at least so many nodes"},                                              \
        {"shares", "50,30,20", "how much each rank gets; else by memory"},                         \
        {"table", "FILE", "JSON of what each rank holds, as in README.md; else by shares"},      \
        {"stages", "2,1", "ranks of each stage of pipeline-tensor; else by the links"},            \
        {"context", "N", "tokens of context to promise; else the most that fits, to 32768"},       \
        {"no-download", NULL, "refuse ORG/NAME that no node knows, instead of asking the hub"},    \
    {                                                                                              \
        "threads", "N", "threads of each rank; else the node's cores are shared"                   \
    }

/* Fills the request from MODEL and the options of the rows above. */
int place_request(struct cli *cli, const char *model_id, struct place_instance *request);
/* Sends the request; the id of the new instance.  cli->state then holds it. */
int place_send(struct cli *cli, struct message *command, struct instance_id *id_out);
/* Shows progress until it is ready; else says why not. */
int place_wait(struct cli *cli, const struct instance_id *id);
enum { SHARE_SIZE = 16 };
/* "33.3 %" of hundredths of a percent; returns text_out. */
const char *share_print(uint32_t share, char text_out[SHARE_SIZE]);
/* "rank 0 on alpha: layers 0-3, 1.2 MB; rank 1 on beta: ..." to standard output, a line a rank. */
void place_print(const struct cli *cli, const struct instance_record *instance);

#endif
