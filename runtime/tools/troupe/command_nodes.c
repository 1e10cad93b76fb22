/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/commands.h"

#include "protocol/sharding.h"
#include "runtime/link_view.h"
#include "runtime/rank_shares.h"
#include "runtime/tools/troupe/output.h"
#include "runtime/tools/troupe/place.h"

#include <inttypes.h>
#include <string.h>

const struct option_row nodes_options[] = {
    {"links", NULL, "how they reach each other, instead"},
    {.name = NULL},
};

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

/* ---- what they carry ---- */

static bool is_carried(const struct rank_record *rank, const struct node_id *node_id)
{
    return ID_EQUAL(rank->node_id, *node_id) && rank->status != RANK_RELEASED;
}

/* A member of the node's object: its ranks with their shares and bytes. */
static void add_carried(struct document *document, const struct state *state,
                        const struct node_id *node_id)
{
    const char *comma = "";
    document_add(document, ", \"carries\": [");
    for (uint32_t i = 0; i < state->instances.count; i++) {
        const struct instance_record *instance = &state->instances.items[i];
        for (uint32_t k = 0; k < instance->ranks.count; k++) {
            const struct rank_record *rank = &instance->ranks.items[k];
            char hex[HEX_SIZE(16)];
            if (!is_carried(rank, node_id))
                continue;
            document_add(document, "%s{\"instance_id\": \"%s\", \"model_id\": ", comma,
                         hex_print(&instance->instance_id, 16, hex));
            document_add_text(document, text_or_empty(instance->model_id));
            document_add(document, ", \"sharding\": \"%s\", \"is_asymmetric\": %s, \"rank\": %u, "
                         "\"is_source\": %s, \"share_percent\": %u.%02u, \"layers\": [%u, %u], "
                         "\"weight_bytes\": %" PRIu64 ", \"cache_bytes\": %" PRIu64
                         ", \"scratch_bytes\": %" PRIu64 "}",
                         sharding_name(instance->sharding),
                         instance->is_asymmetric ? "true" : "false", k,
                         rank->is_source ? "true" : "false", rank->share / 100, rank->share % 100,
                         rank->layer_first, rank->layer_end, rank->weight_bytes, rank->cache_bytes,
                         rank->scratch_bytes);
            comma = ", ";
        }
    }
    document_add(document, "]");
}

/* "demo asymmetric 75.0 % (1.2 GB)", "demo layers 0-13 (1.2 GB), other as a source (70 MB)". */
static const char *print_carried(const struct state *state, const struct node_id *node_id,
                                 char text_out[CELL_SIZE])
{
    size_t used = (size_t)snprintf(text_out, CELL_SIZE, "-");
    bool is_first = true;
    for (uint32_t i = 0; i < state->instances.count; i++) {
        const struct instance_record *instance = &state->instances.items[i];
        for (uint32_t k = 0; k < instance->ranks.count && used + 1 < CELL_SIZE; k++) {
            const struct rank_record *rank = &instance->ranks.items[k];
            const char *model_id = text_or_empty(instance->model_id);
            char what[48] = "all";
            char share[SHARE_SIZE];
            char size[16];
            if (!is_carried(rank, node_id))
                continue;
            if (rank->is_source)
                (void)snprintf(what, sizeof(what), "as a source");
            else if (instance->sharding == SHARDING_PIPELINE)
                (void)snprintf(what, sizeof(what), "layers %u-%u", rank->layer_first,
                               rank->layer_end > 0 ? rank->layer_end - 1 : 0);
            else if (instance->sharding != SHARDING_NONE)
                (void)snprintf(what, sizeof(what), "%s%s",
                               instance->is_asymmetric ? "asymmetric " : "",
                               share_print(rank->share, share));
            used = is_first ? 0 : used;
            const int length = snprintf(
                text_out + used, CELL_SIZE - used, "%s%.60s %s (%s)", is_first ? "" : ", ",
                model_id, what,
                size_print(rank->weight_bytes + rank->cache_bytes + rank->scratch_bytes, size));
            used += length > 0 ? (size_t)length : 0;
            is_first = false;
        }
    }
    return text_out;
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
        document_add(&document, ", \"is_leader\": %s, \"is_here\": %s",
                     is_leader ? "true" : "false", is_here ? "true" : "false");
        add_carried(&document, cli->state, &node->node_id);
        document_add(&document, "}");
    }
    document_add(&document, "]}");
    return document_finish(cli, &document);
}

/* ---- links ---- */

/* One of its other addresses that answers; NULL: none does. */
static const struct way_measured *way_found(const struct link_measured *link)
{
    for (uint32_t i = 0; i < link->ways.count; i++)
        if (link->ways.items[i].reaches)
            return &link->ways.items[i];
    return NULL;
}

/* "0.31 ms, 940 Mb/s" */
static void print_cell(struct table *table, const struct links_listed *listed,
                       const struct node_record *from, const struct node_record *to)
{
    const struct link_measured *link = link_view_find(listed, &from->node_id, &to->node_id);
    const struct way_measured *way = link && !link->reaches ? way_found(link) : NULL;
    char speed[32] = "";
    if (link && link->bytes_per_s > 0)
        (void)snprintf(speed, sizeof(speed), ", %.3g Mb/s", (double)link->bytes_per_s * 8e-6);
    if (from == to)
        table_add(table, "-");
    else if (!link)
        table_add(table, "unknown");
    else if (way)
        table_add(table, "%.2f ms at %.46s", (double)way->latency_us / 1000.0,
                  text_or_empty(way->host));
    else if (!link->reaches)
        table_add(table, "no answer");
    else if (link->latency_us > 0)
        table_add(table, "%.2f ms%s", (double)link->latency_us / 1000.0, speed);
    else
        table_add(table, "answers%s", speed);
}

/* The rows say from where, the columns to where; beyond TABLE_COLUMNS_MAX the pairs in a list. */
static int print_links(struct cli *cli, const struct links_listed *listed)
{
    static const char *const pairs[] = {"FROM", "TO", "LINK"};
    const char *headings[TABLE_COLUMNS_MAX] = {"FROM \\ TO"};
    const struct state *state = cli->state;
    const uint32_t count = state->nodes.count;
    const bool is_matrix = count < TABLE_COLUMNS_MAX;
    struct table table;
    for (uint32_t i = 0; is_matrix && i < count; i++)
        headings[i + 1] = text_or_empty(state->nodes.items[i].name);
    table_init(&table, is_matrix ? headings : pairs, is_matrix ? count + 1 : COUNT_OF(pairs));
    for (uint32_t i = 0; i < count; i++) {
        if (is_matrix)
            table_add(&table, "%s", text_or_empty(state->nodes.items[i].name));
        for (uint32_t j = 0; j < count; j++) {
            if (!is_matrix && i == j)
                continue;
            if (!is_matrix)
                table_add(&table, "%s", text_or_empty(state->nodes.items[i].name));
            if (!is_matrix)
                table_add(&table, "%s", text_or_empty(state->nodes.items[j].name));
            print_cell(&table, listed, &state->nodes.items[i], &state->nodes.items[j]);
        }
    }
    return table_print(&table, cli) ? EXIT_CODE_OK : cli_failed(cli, STATUS_NO_MEMORY, NULL);
}

static void say_one_way(const struct cli *cli, const struct links_listed *listed)
{
    const struct state *state = cli->state;
    for (uint32_t i = 0; i < state->nodes.count; i++)
        for (uint32_t j = 0; j < state->nodes.count; j++) {
            const struct node_record *from = &state->nodes.items[i];
            const struct node_record *to = &state->nodes.items[j];
            const struct link_measured *back = link_view_find(listed, &to->node_id, &from->node_id);
            if (i != j && back &&
                link_view_state(listed, &from->node_id, &to->node_id) == LINK_STATE_ONE_WAY)
                cli_say(cli,
                        "one way only: %s reaches %s, but %s does not reach %s at %s; look at the "
                        "firewall of %s and at its settings listen and advertise",
                        text_or_empty(from->name), text_or_empty(to->name),
                        text_or_empty(to->name), text_or_empty(from->name),
                        text_or_empty(back->address), text_or_empty(from->name));
        }
}

static int links_shown(struct cli *cli, const struct links_listed *listed)
{
    if (!cli->is_json) {
        const int code = print_links(cli, listed);
        say_one_way(cli, listed);
        return code;
    }
    struct document document;
    document_init(&document);
    if (link_view_print(listed, cli->state, &document.text) != STATUS_OK)
        document.is_broken = true;
    return document_finish(cli, &document);
}

static int command_links(struct cli *cli)
{
    struct message command;
    struct message answer;
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_ASK_LINKS);
    if (status != STATUS_OK)
        return cli_failed(cli, status, NULL);
    int code = cli_command(cli, &command, &answer);
    message_fini(&command);
    if (code != EXIT_CODE_OK)
        return code;
    code = message_is(&answer, MESSAGE_ANSWER, ANSWER_LINKS)
               ? links_shown(cli, answer.body)
               : cli_failed(cli, STATUS_MALFORMED, NULL);
    message_fini(&answer);
    return code;
}

int command_nodes(struct cli *cli)
{
    static const char *const headings[] = {"NAME",  "ID",      "ROLE", "STATE",
                                           "CORES", "MEMORY", "HTTP", "ADDRESS", "CARRIES"};
    struct table table;
    int code = cli_connect(cli, false);
    if (code != EXIT_CODE_OK)
        return code;
    if (cli_option(cli, "links"))
        return command_links(cli);
    if (cli->is_json)
        return print_json(cli);
    const struct welcome *welcome = troupe_client_welcome(cli->client);
    table_init(&table, headings, COUNT_OF(headings));
    for (uint32_t i = 0; i < cli->state->nodes.count; i++) {
        const struct node_record *node = &cli->state->nodes.items[i];
        char size[16];
        char id[9];
        char carried[CELL_SIZE];
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
        table_add(&table, "%s", print_carried(cli->state, &node->node_id, carried));
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
