/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arguments: with what a child is started: its flags, and an environment that holds nothing but
 * what it needs.
 *
 * Settings that came by flag or environment are passed on as flags; those of HOME/config.ini it
 * reads itself.
 *
 * Memory   plain struct; pointers go into it, so it is not copied.
 * Fails    STATUS_TOO_LARGE.
 */
#ifndef TROUPE_ACTORS_SUPERVISOR_ARGUMENTS_H
#define TROUPE_ACTORS_SUPERVISOR_ARGUMENTS_H

#include "actors/supervisor/supervisor.h"
#include "runtime/config.h"
#include "runtime/paths.h"

enum {
    CHILD_ARGUMENTS_MAX = 2 * CONFIG_KEY_COUNT + 24,
    CHILD_VARIABLES_MAX = 40,
    CHILD_TEXT_SIZE = 32768
};

struct child_arguments {
    const char *arguments[CHILD_ARGUMENTS_MAX + 1];
    const char *environment[CHILD_VARIABLES_MAX + 1];
    size_t argument_count;
    size_t variable_count;
    char text[CHILD_TEXT_SIZE];
    size_t text_size;
    bool is_full;
};

/* `programs` is the directory of our own executable: a launcher is told where the runner is. */
MUST_CHECK enum status child_arguments_make(struct child_arguments *arguments_out,
                                            const struct config *config,
                                            const struct paths *paths, const char *programs,
                                            const struct spawn_request *request,
                                            struct reason *reason);

#endif
