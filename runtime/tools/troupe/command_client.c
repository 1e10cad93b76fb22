/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command_client: programs and people elsewhere that may connect over the network.
 */
#include "runtime/tools/troupe/commands.h"

#include "runtime/identity.h"
#include "runtime/tools/troupe/connection.h"
#include "runtime/tools/troupe/output.h"

#include <string.h>

const struct option_row client_options[] = {
    {"role", "ROLE", "read, operate (default) or admin"},
    {"out", "FILE", "where add writes the connection; default: NAME.json"},
    {.name = NULL},
};

static int send_admit(struct cli *cli, const struct public_key *key, const char *name,
                      uint32_t role)
{
    struct message command;
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_ADMIT_CLIENT);
    if (status != STATUS_OK)
        return cli_failed(cli, status, NULL);
    struct admit_client *body = command.body;
    body->key = *key;
    body->role = role;
    int code = text_set(&body->name, name) ? cli_command(cli, &command, NULL)
                                           : cli_failed(cli, STATUS_NO_MEMORY, NULL);
    message_fini(&command);
    return code;
}

static int client_add(struct cli *cli, const char *name)
{
    struct connection connection = {.address = ""};
    struct reason reason = {""};
    char standard[NAME_SIZE_MAX + 8];
    const char *path = cli_option(cli, "out");
    const char *word = cli_option(cli, "role") ? cli_option(cli, "role") : "operate";
    uint32_t role = ROLE_READ;
    while (role <= ROLE_ADMIN && strcmp(client_role_name(role), word) != 0)
        role++;
    if (role > ROLE_ADMIN)
        return cli_usage_failed(cli, "--role is read, operate or admin, not %.40s", word);
    for (uint32_t i = 0; i < cli->state->clients.count; i++)
        if (strcmp(text_or_empty(cli->state->clients.items[i].name), name) == 0)
            return cli_failed(cli,
                              refuse(&reason, STATUS_EXISTS,
                                     "there is a client %.60s already; troupe client remove it "
                                     "first", name),
                              &reason);
    if (!*name || name[0] == '.' || strlen(name) >= NAME_SIZE_MAX ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
            strlen(name))
        return cli_usage_failed(cli, "%.60s is no name for a client; use letters, digits, . _ and "
                                "-, at most %d", name, NAME_SIZE_MAX - 1);
    if (!path) {
        (void)snprintf(standard, sizeof(standard), "%.*s.json", NAME_SIZE_MAX, name);
        path = standard;
    }
    const struct welcome *welcome = troupe_client_welcome(cli->client);
    (void)snprintf(connection.address, sizeof(connection.address), "%s",
                   text_or_empty(welcome->address));
    connection.server_key = welcome->key;
    enum status status = key_pair_make(&connection.pair);
    if (status == STATUS_OK)
        status = connection_write(path, &connection, &reason);
    int code = status == STATUS_OK
                   ? send_admit(cli, &connection.pair.public_key, name, role)
                   : cli_failed(cli, status, &reason);
    if (code != EXIT_CODE_OK && status == STATUS_OK)
        (void)remove(path);
    char hex[HEX_SIZE(32)];
    hex_print(&connection.pair.public_key, 32, hex);
    key_pair_fini(&connection.pair);
    if (code != EXIT_CODE_OK)
        return code;
    if (cli->is_json)
        return json_finish(cli,
                           json_pack("{s:s, s:s, s:s, s:s}", "name", name, "role", word, "key",
                                     hex, "file", path),
                           false);
    (void)printf("%s may %s; its connection is in %s, which holds a secret: troupe ps --connect "
                 "%s\n", name, word, path, path);
    return EXIT_CODE_OK;
}

static int client_remove(struct cli *cli, const char *name)
{
    struct message command;
    struct reason reason;
    const struct client_record *found = NULL;
    for (uint32_t i = 0; i < cli->state->clients.count; i++) {
        char hex[HEX_SIZE(32)];
        const struct client_record *client = &cli->state->clients.items[i];
        if (strcmp(text_or_empty(client->name), name) == 0 ||
            strcmp(hex_print(&client->key, 32, hex), name) == 0)
            found = client;
    }
    if (!found)
        return cli_failed(cli,
                          refuse(&reason, STATUS_NOT_FOUND,
                                 "there is no client %.60s; troupe client list shows them", name),
                          &reason);
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_REMOVE_CLIENT);
    if (status != STATUS_OK)
        return cli_failed(cli, status, NULL);
    MESSAGE_BODY(&command, remove_client)->key = found->key;
    int code = cli_command(cli, &command, NULL);
    message_fini(&command);
    if (code == EXIT_CODE_OK && cli->is_json)
        return json_finish(cli, json_pack("{s:s}", "removed", name), false);
    if (code == EXIT_CODE_OK)
        (void)printf("%s may not connect any more\n", name);
    return code;
}

static int client_list(struct cli *cli)
{
    static const char *const headings[] = {"NAME", "ROLE", "KEY"};
    struct table table;
    struct document document;
    document_init(&document);
    document_add(&document, "{\"clients\": [");
    table_init(&table, headings, COUNT_OF(headings));
    for (uint32_t i = 0; i < cli->state->clients.count; i++) {
        const struct client_record *client = &cli->state->clients.items[i];
        char hex[HEX_SIZE(32)];
        table_add(&table, "%s", text_or_empty(client->name));
        table_add(&table, "%s", client_role_name(client->role));
        table_add(&table, "%s", hex_print(&client->key, 32, hex));
        document_add(&document, "%s", i > 0 ? ", " : "");
        document_add_record(&document, &client_record_type, client);
    }
    document_add(&document, "]}");
    if (cli->is_json) {
        table_fini(&table);
        return document_finish(cli, &document);
    }
    buffer_fini(&document.text);
    return table_print(&table, cli) ? EXIT_CODE_OK : cli_failed(cli, STATUS_NO_MEMORY, NULL);
}

int command_client(struct cli *cli)
{
    const char *what = cli->words[0];
    const bool is_list = strcmp(what, "list") == 0;
    const bool is_add = strcmp(what, "add") == 0;
    if (!is_list && !is_add && strcmp(what, "remove") != 0)
        return cli_usage_failed(cli, "troupe client takes add, remove or list, not %.40s", what);
    if (cli->word_count != (is_list ? 1 : 2))
        return cli_usage_failed(cli, is_list ? "troupe client list takes no name"
                                             : "which client? troupe client %.10s NAME", what);
    int code = cli_connect(cli, false);
    if (code != EXIT_CODE_OK || is_list)
        return code == EXIT_CODE_OK ? client_list(cli) : code;
    return is_add ? client_add(cli, cli->words[1]) : client_remove(cli, cli->words[1]);
}
