/* SPDX-License-Identifier: Apache-2.0 */
/*
 * troupe: the command line.  Each command is a row here and a file of its own.
 */
#include "runtime/tools/troupe/commands.h"
#include "runtime/tools/troupe/commands_node.h"

#include <signal.h>
#include <string.h>

static const struct option_row up_options[] = {
    {"foreground", NULL, "stay, as a service manager wants it; the log goes to standard error"},
    {"KEY", "VALUE", "any setting; troupe up --help lists them, HOME/config.ini keeps them"},
    {.name = NULL},
};
static const struct option_row join_options[] = {
    {"KEY", "VALUE", "any setting, as for troupe up"},
    {.name = NULL},
};

static const struct command commands[] = {
    {.name = "up",
     .arguments = "",
     .sentence = "start this machine's node",
     .details = "Returns when the node is ready.  It goes on in the background; troupe stop ends\n"
                "it.  The first start makes the node's identity and a cluster of its own.",
     .options = up_options,
     .run_alone = command_up},
    {.name = "stop",
     .arguments = "",
     .sentence = "end this machine's node",
     .details = "Returns when all its processes are gone.",
     .run_alone = command_stop},
    {.name = "token",
     .arguments = "",
     .sentence = "print a token that lets one more node join",
     .details = "It works once and for a limited time.  Whoever has it can join: pass it on as\n"
                "you would a password.  The secret half is made here and sent nowhere.",
     .options = token_options,
     .run = command_token},
    {.name = "join",
     .arguments = "[-]",
     .sentence = "start this machine's node and join it to a cluster",
     .details = "Asks for the token, or reads it from standard input, and waits until the cluster\n"
                "has admitted the node.  A token on the command line works too, but others on\n"
                "this machine can see it there.  A home that was in a cluster with others, or\n"
                "has models, is refused.",
     .options = join_options,
     .words_max = 1,
     .takes_settings = true,
     .run = command_join},
    {.name = "nodes",
     .arguments = "",
     .sentence = "list the nodes of the cluster",
     .details = "--links shows which reach each other: how long an answer takes, and how fast a\n"
                "burst through the sealed connection was while nothing else needed the link.\n"
                "An address counts as proven when each node reached the other.",
     .options = nodes_options,
     .run = command_nodes},
    {.name = "remove-node",
     .arguments = "NODE",
     .sentence = "take a node out of the cluster",
     .details = "NODE is a name, an id or the beginning of one.",
     .words_min = 1,
     .words_max = 1,
     .run = command_remove_node},
    {.name = "models",
     .arguments = "",
     .sentence = "list the models: size, last use, whether pinned, who has them",
     .run = command_models},
    {.name = "add",
     .arguments = "DIR",
     .sentence = "take a model directory into a node's store",
     .details = "DIR is a directory in the MLX layout: config.json, tokenizer and safetensors.\n"
                "It is copied, or used where it lies when that is the store or one of\n"
                "model_directories; verified, and then known to the whole cluster.",
     .options = add_options,
     .words_min = 1,
     .words_max = 1,
     .run = command_add},
    {.name = "pull",
     .arguments = "MODEL[@REVISION]",
     .sentence = "bring a model from the Hugging Face hub to a node's disk",
     .details = "MODEL is ORG/NAME as the hub has it, REVISION a branch, a tag or a commit.  What\n"
                "is in the Hugging Face cache already is checked and not fetched again; what was\n"
                "interrupted goes on.  The variables HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE... and\n"
                "proxies are those the node was started with.  After Ctrl-C the node goes on;\n"
                "troupe rm ends it.  Several nodes together fetch each file once from the hub and\n"
                "take the rest from each other; a node that asks later joins them.",
     .options = pull_options,
     .words_min = 1,
     .words_max = 1,
     .run = command_pull},
    {.name = "remove",
     .arguments = "MODEL",
     .sentence = "forget a model and delete its files from every store, or end its pull",
     .words_min = 1,
     .words_max = 1,
     .run = command_remove},
    {.name = "rm",
     .arguments = "MODEL",
     .sentence = "the same as remove",
     .words_min = 1,
     .words_max = 1,
     .run = command_remove},
    {.name = "pin",
     .arguments = "MODEL",
     .sentence = "keep a model: neither the quota nor rm removes it",
     .words_min = 1,
     .words_max = 1,
     .run = command_pin},
    {.name = "unpin",
     .arguments = "MODEL",
     .sentence = "let it be removed again",
     .words_min = 1,
     .words_max = 1,
     .run = command_unpin},
    {.name = "distribute",
     .arguments = "MODEL",
     .sentence = "copy a model to the disks of other nodes",
     .details = "Returns at once; the nodes fetch it from those who have it, and from each other.\n"
                "Whoever has it already is done.  It goes on after any restart.",
     .options = distribute_options,
     .words_min = 1,
     .words_max = 1,
     .run = command_distribute},
    {.name = "transfers",
     .arguments = "",
     .sentence = "list the copies under way and how the last ones ended",
     .options = transfers_options,
     .run = command_transfers},
    {.name = "run",
     .arguments = "MODEL [PROMPT]",
     .sentence = "chat with a model, which is placed if it does not run yet",
     .details = "Without PROMPT it is a conversation in the terminal, or one question from\n"
                "standard input.  The answer goes to standard output as it comes.",
     .options = run_options,
     .words_min = 1,
     .words_max = 2,
     .run = command_run},
    {.name = "ps",
     .arguments = "",
     .sentence = "list what runs, with its ranks",
     .run = command_ps},
    {.name = "previews",
     .arguments = "MODEL",
     .sentence = "show how a model could be placed, and why not otherwise",
     .options = previews_options,
     .words_min = 1,
     .words_max = 1,
     .run = command_previews},
    {.name = "place",
     .arguments = "MODEL",
     .sentence = "run a model on the best nodes, or on these",
     .options = place_options,
     .words_min = 1,
     .words_max = 1,
     .run = command_place},
    {.name = "delete",
     .arguments = "INSTANCE",
     .sentence = "stop an instance and forget it",
     .details = "INSTANCE is an id, the beginning of one, or the model if it runs once.",
     .words_min = 1,
     .words_max = 1,
     .run = command_delete},
    {.name = "retry",
     .arguments = "INSTANCE",
     .sentence = "start a failed instance again now",
     .words_min = 1,
     .words_max = 1,
     .run = command_retry},
    {.name = "events",
     .arguments = "",
     .sentence = "show what happened, and what happens",
     .details = "troupe-log shows more: filters, states, checks.",
     .options = events_options,
     .run = command_events},
    {.name = "client",
     .arguments = "add|remove|list [NAME]",
     .sentence = "let programs elsewhere connect to this cluster, or not any more",
     .details = "add makes a key pair, admits its public half and writes a file with which\n"
                "troupe --connect FILE, or any program, reaches this node.",
     .options = client_options,
     .words_min = 1,
     .words_max = 2,
     .run = command_client},
};

const struct command *command_rows(size_t *count_out)
{
    *count_out = COUNT_OF(commands);
    return commands;
}

static const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[COUNT_OF(commands)];
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        names[i] = commands[i].name;
    const char *nearest = nearest_name(name, names, COUNT_OF(commands));
    if (nearest)
        (void)fprintf(stderr, "troupe: there is no command %.60s; did you mean %s?\n", name,
                      nearest);
    else
        (void)fprintf(stderr, "troupe: there is no command %.60s; see troupe --help\n", name);
    return EXIT_CODE_USAGE;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct cli cli;
    if (command->run_alone)
        return command->run_alone(argc, argv);
    if (wants_help(argc, argv)) {
        print_command_help(stdout, command);
        return EXIT_CODE_OK;
    }
    int code = cli_init(&cli, command, argc - 1, argv + 1);
    if (code == EXIT_CODE_OK)
        code = command->run(&cli);
    cli_fini(&cli);
    if (fflush(stdout) != 0 && code == EXIT_CODE_OK)
        code = EXIT_CODE_FAILED;
    return code;
}

/* `troupe --home DIR ps` is `troupe ps --home DIR`: flags before the command go behind it. */
static void command_first(int argc, char **argv)
{
    int at = 1;
    while (at < argc && strncmp(argv[at], "--", 2) == 0) {
        const bool has_value = strcmp(argv[at], "--home") == 0 ||
                               strcmp(argv[at], "--connect") == 0;
        at += has_value ? 2 : 1;
    }
    if (at >= argc)
        return;
    char *name = argv[at];
    memmove(&argv[2], &argv[1], (size_t)(at - 1) * sizeof(argv[0]));
    argv[1] = name;
}

int main(int argc, char **argv)
{
    (void)signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        print_help(stderr);
        return EXIT_CODE_USAGE;
    }
    command_first(argc, argv);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        (strcmp(argv[1], "help") == 0 && argc == 2)) {
        print_help(stdout);
        return EXIT_CODE_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("troupe %s, protocol %d to %d\n", TROUPE_BUILD, PROTOCOL_MIN, PROTOCOL_MAX);
        return EXIT_CODE_OK;
    }
    if (strcmp(argv[1], "--manual") == 0) {
        print_manual(stdout);
        return EXIT_CODE_OK;
    }
    if (strcmp(argv[1], "help") == 0) {
        const struct command *about = command_find(argv[2]);
        char *arguments[] = {argv[2], (char[]){"--help"}, NULL};
        return about ? run(about, 2, arguments) : unknown_command(argv[2]);
    }
    const struct command *command = command_find(argv[1]);
    return command ? run(command, argc - 1, argv + 1) : unknown_command(argv[1]);
}
