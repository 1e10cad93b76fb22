/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands: the functions and option rows of the commands, for the table in main.c alone.
 *
 * Each connects by itself, prints its result and returns an exit code.
 */
#ifndef TROUPE_RUNTIME_TOOLS_TROUPE_COMMANDS_H
#define TROUPE_RUNTIME_TOOLS_TROUPE_COMMANDS_H

#include "runtime/tools/troupe/cli.h"

int command_token(struct cli *cli);
extern const struct option_row token_options[];
int command_join(struct cli *cli);
int command_nodes(struct cli *cli);
extern const struct option_row nodes_options[];
int command_remove_node(struct cli *cli);
int command_models(struct cli *cli);
int command_remove(struct cli *cli);
int command_pin(struct cli *cli);
int command_unpin(struct cli *cli);
/* On an open connection; the exit code. */
int pin_model(struct cli *cli, const char *model_id, bool is_pinned);
int command_add(struct cli *cli);
extern const struct option_row add_options[];
int command_distribute(struct cli *cli);
extern const struct option_row distribute_options[];
int command_transfers(struct cli *cli);
extern const struct option_row transfers_options[];
int command_pull(struct cli *cli);
extern const struct option_row pull_options[];
int command_ps(struct cli *cli);
int command_place(struct cli *cli);
extern const struct option_row place_options[];
int command_previews(struct cli *cli);
extern const struct option_row previews_options[];
int command_delete(struct cli *cli);
int command_retry(struct cli *cli);
int command_run(struct cli *cli);
extern const struct option_row run_options[];
int command_events(struct cli *cli);
extern const struct option_row events_options[];
int command_client(struct cli *cli);
extern const struct option_row client_options[];

#endif
