/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/actors.h"
#include "actors/launcher/launcher_options.h"
#include "actors/launcher/launcher_shell.h"
#include "runtime/identity.h"
#include "runtime/log.h"
#include "runtime/process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { COMMAND_MAX = 256 };

extern char **environ;

/* Ranks of one generation are of one build: the version and what its rows say. */
static void print_build(char text_out[BUILD_SIZE_MAX])
{
    struct hash schema = schema_hash();
    char digits[HEX_SIZE(16)];
    (void)snprintf(text_out, BUILD_SIZE_MAX, "%s+%s", TROUPE_VERSION,
                   hex_print(schema.bytes, 16, digits));
}

/* The settings stand in the command of its rank, after the program. */
static enum status keep_rights(const struct launcher_options *options, struct reason *reason)
{
    struct config config;
    struct paths paths;
    char *arguments[COMMAND_MAX + 1];
    int count = 0;
    union {
        const char *borrowed;
        char *wanted;
    } argument;
    while (count < COMMAND_MAX && options->command[count]) {
        argument.borrowed = options->command[count];
        arguments[count++] = argument.wanted;
    }
    arguments[count] = NULL;
    enum status status = config_load(&config, &count, arguments, true, reason);
    if (status != STATUS_OK)
        return status;
    status = paths_init(&paths, config_text(&config, CONFIG_KEY_HOME),
                        config_text(&config, CONFIG_KEY_STORE), reason);
    if (status == STATUS_OK)
        status = paths_set_directories(
            &paths, config_text(&config, CONFIG_KEY_MODEL_DIRECTORIES), reason);
    /* HOME/run, as its directory stands; by hand and in tests it may be another. */
    if (status == STATUS_OK && !getcwd(paths.run, sizeof(paths.run)))
        status = refuse(reason, status_from_errno(errno), "the working directory has no name");
    if (status == STATUS_OK)
        status = process_keep_rights(actor_rights(ACTOR_LAUNCHER), &config, &paths,
                                     options->command[0], reason);
    config_fini(&config);
    return status;
}

static enum status run(struct launcher_options *options, int *exit_code_out,
                       struct reason *reason)
{
    struct key_pair pair;
    enum status status = key_pair_make(&pair);
    if (status != STATUS_OK)
        return refuse(reason, status, "no random numbers for a key");
    options->settings.key = pair.public_key;
    print_build(options->settings.build);
    options->fabric.address = options->fabric_address;
    options->fabric.rdma = options->rdma;
    options->fabric.ways = options->ways;
    struct launcher_shell shell = {
        .command = options->command,
        .environment = environ,
        .fabric = options->fabric,
        .directory = options->directory,
    };
    struct transport_options transport_options = {.pair = pair};
    struct transport *transport = NULL;
    struct loop *loop = NULL;
    status = keep_rights(options, reason);
    if (status == STATUS_OK)
        status = transport_open(&transport_options, &transport, reason);
    key_pair_fini(&pair);
    const struct loop_options loop_options = {
        .ops = &launcher_ops,
        .settings = &options->settings,
        .transport = transport,
        .shell = launcher_shell_calls(&shell),
    };
    if (status == STATUS_OK)
        status = loop_create(&loop_options, &loop, reason);
    if (status == STATUS_OK)
        status = loop_run(loop, exit_code_out, reason);
    loop_free(loop);
    transport_close(transport, 200);
    return status;
}

int main(int count, char **arguments)
{
    struct launcher_options options;
    struct reason reason = {""};
    int exit_code = EXIT_FAILURE;
    log_init("troupe-launcher", LOG_LEVEL_NOTICE);
    if (launcher_options_parse(count, arguments, &options, &reason) != STATUS_OK) {
        log_error("%s", reason.text);
        return 64;
    }
    if (run(&options, &exit_code, &reason) != STATUS_OK) {
        log_error("%s", reason.text);
        return EXIT_FAILURE;
    }
    return exit_code;
}
