/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/commands.h"

#include "runtime/tools/troupe/import_watch.h"

#include <string.h>

const struct option_row pull_options[] = {
    {"node", "NODE", "whose disk; default: this node"},
    {.name = NULL},
};

static int send_pull(struct import_watch *watch, const char *revision)
{
    struct message command;
    struct message answer;
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_PULL_MODEL);
    if (status != STATUS_OK)
        return cli_failed(watch->cli, status, NULL);
    struct pull_model *body = command.body;
    body->node_id = watch->node_id;
    int code = text_set(&body->model_id, watch->model_id) && text_set(&body->hub_revision, revision)
                   ? cli_command(watch->cli, &command, &answer)
                   : cli_failed(watch->cli, STATUS_NO_MEMORY, NULL);
    message_fini(&command);
    if (code != EXIT_CODE_OK)
        return code;
    code = import_watch(watch, answer.head.index);
    message_fini(&answer);
    return code;
}

int command_pull(struct cli *cli)
{
    const char *node = cli_option(cli, "node");
    char name[NAME_SIZE_MAX + 1];
    const char *word = cli->words[0];
    const char *at = strchr(word, '@');
    const size_t size = at ? (size_t)(at - word) : strlen(word);
    const char *revision = at ? at + 1 : "";
    if (size == 0 || size > NAME_SIZE_MAX || (at && !revision[0]))
        return cli_usage_failed(cli,
                                "%.200s is no model of a hub; give ORG/NAME or "
                                "ORG/NAME@REVISION",
                                word);
    memcpy(name, word, size);
    name[size] = '\0';
    struct import_watch watch = {.cli = cli, .model_id = name, .progress = {.cli = cli}};
    cli_catch_interrupt();
    int code = cli_connect(cli, true);
    if (code == EXIT_CODE_OK)
        watch.node_id = troupe_client_welcome(cli->client)->node_id;
    if (code == EXIT_CODE_OK && node)
        code = cli_find_node(cli, node, &watch.node_id);
    return code == EXIT_CODE_OK ? send_pull(&watch, revision) : code;
}
