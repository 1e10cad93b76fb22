/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/commands.h"

#include "runtime/tools/troupe/import_watch.h"

#include <string.h>

const struct option_row pull_options[] = {
    {"node", "NODE", "whose disk; default: this node"},
    {"to", "A,B", "names or ids of the nodes that shall hold it"},
    {"all", NULL, "every node that is here shall hold it"},
    {"no-peers", NULL, "each node takes all of it from the hub"},
    {"pin", NULL, "pin it then: nothing removes it to make room"},
    {.name = NULL},
};

static int add_node(struct import_watch *watch, const struct node_id *node_id)
{
    for (uint32_t i = 0; i < watch->count; i++)
        if (ID_EQUAL(watch->imports[i].node_id, *node_id))
            return EXIT_CODE_OK;
    if (watch->count == NODE_COUNT_MAX)
        return cli_usage_failed(watch->cli, "--to takes at most %d nodes", NODE_COUNT_MAX);
    watch->imports[watch->count++].node_id = *node_id;
    return EXIT_CODE_OK;
}

static int add_named(struct import_watch *watch, const char *text)
{
    int code = text[0] ? EXIT_CODE_OK : cli_usage_failed(watch->cli, "--to names no node");
    while (code == EXIT_CODE_OK && *text) {
        char name[NAME_SIZE_MAX];
        struct node_id id;
        const size_t length = strcspn(text, ",");
        if (length == 0 || length >= sizeof(name))
            return cli_usage_failed(watch->cli, "--to takes names with commas between, not %.60s",
                                    text);
        memcpy(name, text, length);
        name[length] = '\0';
        code = cli_find_node(watch->cli, name, &id);
        if (code == EXIT_CODE_OK)
            code = add_node(watch, &id);
        text += length + (text[length] == ',' ? 1 : 0);
    }
    return code;
}

/* Who shall hold it, as far as it can be known before it is asked for. */
static int read_nodes(struct import_watch *watch)
{
    struct cli *cli = watch->cli;
    const char *node = cli_option(cli, "node");
    const char *to = cli_option(cli, "to");
    struct node_id id = troupe_client_welcome(cli->client)->node_id;
    int code = EXIT_CODE_OK;
    if (cli_option(cli, "all") || (to && strcmp(to, "all") == 0)) {
        code = cli_state_at(cli, 1);
        for (uint32_t i = 0; code == EXIT_CODE_OK && i < cli->state->nodes.count; i++)
            if (cli->state->nodes.items[i].in_view)
                code = add_node(watch, &cli->state->nodes.items[i].node_id);
        return code;
    }
    if (to)
        return add_named(watch, to);
    if (node)
        code = cli_find_node(cli, node, &id);
    return code == EXIT_CODE_OK ? add_node(watch, &id) : code;
}

static int send_pull(struct import_watch *watch, const char *revision)
{
    struct message command;
    struct message answer;
    bool ok = true;
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_PULL_MODEL);
    if (status != STATUS_OK)
        return cli_failed(watch->cli, status, NULL);
    struct pull_model *body = command.body;
    body->no_peers = cli_option(watch->cli, "no-peers") != NULL;
    if (watch->count == 1) {
        body->node_id = watch->imports[0].node_id;
    } else {
        struct node_id ids[NODE_COUNT_MAX];
        for (uint32_t i = 0; i < watch->count; i++)
            ids[i] = watch->imports[i].node_id;
        ok = bytes_set(&body->node_ids, ids, watch->count * sizeof(ids[0]));
    }
    int code = ok && text_set(&body->model_id, watch->model_id) &&
                       text_set(&body->hub_revision, revision)
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
        code = read_nodes(&watch);
    if (code == EXIT_CODE_OK)
        code = send_pull(&watch, revision);
    return code == EXIT_CODE_OK && cli_option(cli, "pin") ? pin_model(cli, name, true) : code;
}
