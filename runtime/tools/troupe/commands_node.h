/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands_node: the commands that start and end the node itself.
 *
 *     troupe up [--foreground] [settings as --key value]
 *     troupe stop [--home DIR]
 *
 * argv[0] is the command's name.  The exit code is that of enum exit_code (runtime/process.h); of
 * a node that does not start, that of its supervisor.
 */
#ifndef TROUPE_RUNTIME_TOOLS_TROUPE_COMMANDS_NODE_H
#define TROUPE_RUNTIME_TOOLS_TROUPE_COMMANDS_NODE_H

int command_up(int argc, char **argv);
int command_stop(int argc, char **argv);

#endif
