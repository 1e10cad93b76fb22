/* SPDX-License-Identifier: Apache-2.0 */
/* troupe-engine: the engine without actors, for people who debug models and for tests. */
#include "actors/runner/engine/commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    const char *help;
    int (*run)(int argc, char **argv);
} commands[] = {
#define ENGINE_COMMAND_ROW(name, help) {#name, help, engine_command_##name},
    ENGINE_COMMAND_LIST(ENGINE_COMMAND_ROW)
#undef ENGINE_COMMAND_ROW
};

static void print_help(FILE *stream)
{
    (void)fputs("usage: troupe-engine COMMAND ...\n\n", stream);
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        (void)fprintf(stream, "  %-10s %s\n", commands[i].name, commands[i].help);
}

int engine_command_failed(enum status status, const struct reason *reason)
{
    const char *text = reason && reason->text[0] != '\0' ? reason->text : status_text(status);
    (void)fprintf(stderr, "troupe-engine: %s\n", text);
    return ENGINE_EXIT_FAILED;
}

int engine_command_usage(const char *command, const char *problem)
{
    (void)fprintf(stderr, "troupe-engine %s: %s; see troupe-engine --help\n", command, problem);
    return ENGINE_EXIT_USAGE;
}

bool engine_command_number(const char *text, uint64_t low, uint64_t high, uint64_t *value_out)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || strchr(text, '-') || value < low ||
        value > high)
        return false;
    *value_out = value;
    return true;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return ENGINE_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return ENGINE_EXIT_OK;
    }
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    return engine_command_usage(argv[1], "no such command");
}
