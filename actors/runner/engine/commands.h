/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands: the subcommands of troupe-engine, one function and one file each.
 *
 * `argv[0]` is the name of the subcommand, `argv[-1]` the program's.  Results go to standard
 * output, one sentence about a failure to standard error; the exit code is one of enum engine_exit.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_COMMANDS_H
#define TROUPE_ACTORS_RUNNER_ENGINE_COMMANDS_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stdint.h>

/*    X(name, one line of help) */
#define ENGINE_COMMAND_LIST(X)                                                                     \
    X(card, "--model DIR [--json]: what a model directory holds")                                  \
    X(families, "the table of supported families, as a page")                                      \
    X(render, "--model DIR [--lines] [--now TIME] [--as-api]: messages to a prompt")               \
    X(eval, "--model DIR --ids 1,2,3 [--greedy N] [--json] ...: logits, tokens, states, experts")  \
    X(loss, "--model DIR [--fast] [--json] ...: how well it foretells known token ids")            \
    X(bench, "--model DIR [--prompt N,..] [--context N,..] [--batch N,..] ...: speed")             \
    X(measure, "--out FILE [--after SECONDS] [--turns N] [--bits N]: what kernels manage")         \
    X(shape, "--like NAME --out DIR [--layers N]: random weights of a real model's shape")         \
    X(tokenize, "--model DIR [--special-as-text] [--post-process]: JSON strings to ids")           \
    X(detokenize, "--model DIR [--skip-special] [--pieces]: lists of ids to JSON strings")

#define ENGINE_COMMAND_PROTOTYPE(name, help) int engine_command_##name(int argc, char **argv);
ENGINE_COMMAND_LIST(ENGINE_COMMAND_PROTOTYPE)
#undef ENGINE_COMMAND_PROTOTYPE

enum engine_exit {
    ENGINE_EXIT_OK = 0,
    ENGINE_EXIT_FAILED = 1, /* a sentence on standard error says why */
    ENGINE_EXIT_USAGE = 2,
};

/* Prints "troupe-engine: <reason or the status' own text>" and returns ENGINE_EXIT_FAILED. */
int engine_command_failed(enum status status, const struct reason *reason);
/* Prints what is wrong with the arguments and how to ask for help; returns ENGINE_EXIT_USAGE. */
int engine_command_usage(const char *command, const char *problem);
/* A whole number in [low, high]; false otherwise. */
bool engine_command_number(const char *text, uint64_t low, uint64_t high, uint64_t *value_out);

#endif
