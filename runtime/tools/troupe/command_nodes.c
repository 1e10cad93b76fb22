/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/commands.h"

#include "runtime/tools/troupe/output.h"

#include <string.h>

/* What the gateway has bound, else what it was told to. */
static const char *http_of(const struct state *state, const struct node_record *node)
{
    const struct endpoint_record *gateway =
        state_find_endpoint(state, &node->node_id, ACTOR_GATEWAY);
    const char *address = gateway ? text_or_empty(gateway->address) : "";
    if (strncmp(address, "http://", 7) == 0)
        address += 7;
    return address[0] ? address : text_or_empty(node->http);
}

static int print_json(struct cli *cli)
{
    struct document document;
    const struct welcome *welcome = troupe_client_welcome(cli->client);
    document_init(&document);
    document_add(&document, "{\"nodes\": [");
    for (uint32_t i = 0; i < cli->state->nodes.count; i++) {
        const struct node_record *node = &cli->state->nodes.items[i];
        const bool is_leader = ID_EQUAL(node->node_id, cli->state->epoch.leader);
        const bool is_here = ID_EQUAL(node->node_id, welcome->node_id);
        document_add(&document, "%s", i > 0 ? ", " : "");
        document_add_record(&document, &node_record_type, node);
        document_reopen(&document);
        document_add(&document, ", \"gateway\": ");
        document_add_text(&document, http_of(cli->state, node));
        document_add(&document, ", \"is_leader\": %s, \"is_here\": %s}",
                     is_leader ? "true" : "false", is_here ? "true" : "false");
    }
    document_add(&document, "]}");
    return document_finish(cli, &document);
}

int command_nodes(struct cli *cli)
{
    static const char *const headings[] = {"NAME",  "ID",      "ROLE", "STATE",
                                           "CORES", "MEMORY", "HTTP", "ADDRESS"};
    struct table table;
    int code = cli_connect(cli, false);
    if (code != EXIT_CODE_OK)
        return code;
    if (cli->is_json)
        return print_json(cli);
    const struct welcome *welcome = troupe_client_welcome(cli->client);
    table_init(&table, headings, COUNT_OF(headings));
    for (uint32_t i = 0; i < cli->state->nodes.count; i++) {
        const struct node_record *node = &cli->state->nodes.items[i];
        char size[16];
        char id[9];
        const bool is_leader = ID_EQUAL(node->node_id, cli->state->epoch.leader);
        const bool is_here = ID_EQUAL(node->node_id, welcome->node_id);
        table_add(&table, "%s", text_or_empty(node->name));
        table_add(&table, "%s", id_print_short(&node->node_id, id));
        table_add(&table, "%s%s", is_leader ? "leader" : "follower", is_here ? " (here)" : "");
        table_add(&table, "%s", node->in_view ? "up" : "away");
        table_add(&table, "%u", node->cores);
        table_add(&table, "%s", size_print(node->memory_bytes, size));
        table_add(&table, "%s", http_of(cli->state, node));
        table_add(&table, "%s", text_or_empty(node->address));
    }
    return table_print(&table, cli) ? EXIT_CODE_OK : cli_failed(cli, STATUS_NO_MEMORY, NULL);
}

int command_remove_node(struct cli *cli)
{
    struct message command;
    struct node_id id;
    int code = cli_connect(cli, false);
    if (code == EXIT_CODE_OK)
        code = cli_find_node(cli, cli->words[0], &id);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_REMOVE_NODE);
    if (status != STATUS_OK)
        return cli_failed(cli, status, NULL);
    MESSAGE_BODY(&command, remove_node)->node_id = id;
    char hex[HEX_SIZE(16)];
    char name[NAME_SIZE_MAX + 1];
    (void)snprintf(name, sizeof(name), "%s", cli_node_name(cli->state, &id));
    code = cli_command(cli, &command, NULL);
    message_fini(&command);
    if (code == EXIT_CODE_OK && cli->is_json)
        return json_finish(
            cli, json_pack("{s:s, s:s}", "removed", hex_print(&id, 16, hex), "name", name), false);
    if (code == EXIT_CODE_OK)
        (void)printf("%s is no longer a node of this cluster\n", name);
    return code;
}
