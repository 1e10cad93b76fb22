/* SPDX-License-Identifier: Apache-2.0 */
/*
 * troupe: the command line.  Each command is a row; its function reads its own arguments.
 */
#include "runtime/process.h"
#include "runtime/tools/troupe/commands_node.h"

#include <stdio.h>
#include <string.h>

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *sentence;
};

static const struct command commands[] = {
    {"up", command_up, "start this machine's node"},
    {"stop", command_stop, "end it"},
};

static void print_usage(FILE *stream)
{
    (void)fputs("usage: troupe COMMAND [ARGUMENT]...\n\n", stream);
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        (void)fprintf(stream, "  %-12s %s\n", commands[i].name, commands[i].sentence);
    (void)fputs("\ntroupe COMMAND --help says more.\n", stream);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_CODE_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(stdout);
        return EXIT_CODE_OK;
    }
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (strcmp(commands[i].name, argv[1]) == 0)
            return commands[i].run(argc - 1, argv + 1);
    (void)fprintf(stderr, "troupe: %s is no command; see troupe --help\n", argv[1]);
    return EXIT_CODE_USAGE;
}
