/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli: what the commands of `troupe` share: their rows, their options, the connection to the node,
 * how they say what went wrong.
 *
 * Each command is a row of main.c and a file of its own.  The help and the manual page are printed
 * from the same rows.
 *
 * Owner    main.
 * Memory   words and options are borrowed from argv; cli_fini gives the rest back.
 * Threads  one.
 * Fails    a command returns an exit code (runtime/process.h), its sentence already printed.
 */
#ifndef TROUPE_RUNTIME_TOOLS_TROUPE_CLI_H
#define TROUPE_RUNTIME_TOOLS_TROUPE_CLI_H

#include "protocol/client.h"
#include "runtime/config.h"
#include "runtime/paths.h"
#include "runtime/process.h"

#include <stdio.h>

enum { CLI_OPTIONS_MAX = 24, CLI_WORDS_MAX = 64 };

#define EXIT_CODE_INTERRUPTED 130

struct option_row {
    const char *name;     /* without the dashes */
    const char *value;    /* "DIR"; NULL: a switch */
    const char *sentence;
};

struct cli;

struct command {
    const char *name;
    const char *arguments; /* "MODEL [PROMPT]" */
    const char *sentence;
    const char *details;   /* a paragraph or more, lines of at most 78 characters; may be NULL */
    const struct option_row *options; /* ends with a row without a name; may be NULL */
    int words_min;
    int words_max;
    bool takes_settings; /* --KEY VALUE of config_keys.h go into cli->settings */
    int (*run)(struct cli *cli);
    /* Instead of `run`: reads all its arguments and its help itself. */
    int (*run_alone)(int argc, char **argv);
};

/* The rows, in the order of the help; `count_out` is their number. */
const struct command *command_rows(size_t *count_out);

struct cli {
    const struct command *command;
    const char *values[CLI_OPTIONS_MAX]; /* by row of the command; NULL: not given */
    const char *words[CLI_WORDS_MAX];
    int word_count;
    char *settings[2 * CONFIG_KEY_COUNT + 2]; /* flags for the node, as they were written */
    int setting_count;
    const char *home_flag;
    const char *connect_flag;
    bool is_json;
    bool is_terminal; /* of standard error: progress is drawn in place */
    bool is_without_progress; /* HF_HUB_DISABLE_PROGRESS_BARS asks for silence */
    bool has_colour;
    struct config config;
    struct paths paths;
    struct troupe_client *client;
    const struct state *state; /* after cli_connect */
};

/* Fills `cli` from the arguments after the command's name.  Not EXIT_CODE_OK: said and done. */
int cli_init(struct cli *cli, const struct command *command, int argc, char **argv);
void cli_fini(struct cli *cli);
/* NULL when it was not given; "" for a switch that was. */
const char *cli_option(const struct cli *cli, const char *name);
/* A number from the option, `standard` when not given; false with the sentence printed. */
MUST_CHECK bool cli_number(const struct cli *cli, const char *name, uint64_t most,
                           uint64_t standard, uint64_t *number_out);

/* What the gateway of this node has bound, from HOME/run/http.address; false: it says nothing. */
MUST_CHECK bool cli_bound_http(const struct paths *paths, char *address_out, size_t size);

/* Connects and gets the state.  Not EXIT_CODE_OK: said. */
int cli_connect(struct cli *cli, bool wants_messages);
/* Connects only: for a node that may not be in a cluster yet. */
int cli_connect_bare(struct cli *cli, bool wants_state, bool wants_messages);

/* Prints "troupe place: sentence" and gives the exit code. */
int cli_failed(const struct cli *cli, enum status status, const struct reason *reason);
int cli_usage_failed(const struct cli *cli, const char *format, ...) PRINTF_LIKE(2, 3);
int cli_exit_code(enum status status);
/* A line on standard error, unless --json. */
void cli_say(const struct cli *cli, const char *format, ...) PRINTF_LIKE(2, 3);

/* Sends the command and waits for its answer; fills `answer_out` when not NULL.  Not OK: said. */
int cli_command(struct cli *cli, struct message *command, struct message *answer_out);
/* Refreshes cli->state up to `index`. */
int cli_state_at(struct cli *cli, uint64_t index);

/* By name, id or unique prefix of an id.  Not OK: said. */
int cli_find_node(struct cli *cli, const char *name, struct node_id *id_out);
/* By id, unique prefix of an id, or the model when it has one instance alone. */
int cli_find_instance(struct cli *cli, const char *name, struct instance_id *id_out);
const char *cli_node_name(const struct state *state, const struct node_id *id);

/* The nearest of `count` names, or NULL when none is near. */
const char *nearest_name(const char *wrong, const char *const *names, size_t count);

/* True after SIGINT; the first one only says so. */
bool cli_is_interrupted(void);
void cli_catch_interrupt(void);

/* The help of one command, of all, and the manual page in roff. */
void print_command_help(FILE *stream, const struct command *command);
void print_help(FILE *stream);
void print_manual(FILE *stream);

#endif
