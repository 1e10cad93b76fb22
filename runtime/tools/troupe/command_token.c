/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/commands.h"

#include "runtime/clock.h"
#include "runtime/identity.h"
#include "runtime/tools/troupe/output.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <string.h>

const struct option_row token_options[] = {
    {"minutes", "N", "how long it is good for; default 60"},
    {"label", "TEXT", "a word for people, shown in the event log"},
    {.name = NULL},
};

static void add_address(struct join_token *token, const char *text, size_t length)
{
    while (length > 0 && *text == ' ') {
        text++;
        length--;
    }
    if (length == 0 || token->address_count == JOIN_ADDRESSES_MAX)
        return;
    (void)snprintf(token->addresses[token->address_count++], LINK_ENDPOINT_SIZE, "%s%.*s",
                   strncmp(text, "tcp://", 6) == 0 ? "" : "tcp://", (int)length, text);
}

/* A node that listens on every address is reached by those of its interfaces. */
static void add_interfaces(struct join_token *token, const char *port)
{
    struct ifaddrs *first = NULL;
    if (getifaddrs(&first) != 0)
        return;
    for (const struct ifaddrs *at = first; at; at = at->ifa_next) {
        char host[INET_ADDRSTRLEN];
        char text[LINK_ENDPOINT_SIZE];
        if (!at->ifa_addr || at->ifa_addr->sa_family != AF_INET ||
            (at->ifa_flags & (unsigned)IFF_LOOPBACK) != 0 ||
            (at->ifa_flags & (unsigned)IFF_UP) == 0)
            continue;
        const struct sockaddr_in *address = (const void *)at->ifa_addr;
        if (!inet_ntop(AF_INET, &address->sin_addr, host, sizeof(host)))
            continue;
        (void)snprintf(text, sizeof(text), "%s%s", host, port);
        add_address(token, text, strlen(text));
    }
    freeifaddrs(first);
}

static void fill_addresses(struct join_token *token, const char *address)
{
    const char *port = strrchr(address, ':');
    if (strncmp(address, "tcp://0.0.0.0:", 14) == 0 || strncmp(address, "tcp://[::]:", 11) == 0 ||
        strncmp(address, "tcp://*:", 8) == 0)
        add_interfaces(token, port);
    while (token->address_count == 0 && *address) {
        while (*address) {
            size_t length = strcspn(address, ",");
            add_address(token, address, length);
            address += length + (address[length] == ',' ? 1 : 0);
        }
    }
}

static int create(struct cli *cli, struct join_token *token, const char *label)
{
    struct message command;
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_CREATE_TOKEN);
    if (status != STATUS_OK)
        return cli_failed(cli, status, NULL);
    struct create_token *body = command.body;
    body->key = token->pair.public_key;
    body->expires_ms = token->expires_ms;
    int code = text_set(&body->label, label) ? cli_command(cli, &command, NULL)
                                             : cli_failed(cli, STATUS_NO_MEMORY, NULL);
    message_fini(&command);
    return code;
}

static int print_token(struct cli *cli, const struct join_token *token)
{
    char text[JOIN_TOKEN_TEXT_SIZE];
    struct reason reason = {""};
    enum status status = join_token_print(token, text, &reason);
    if (status != STATUS_OK)
        return cli_failed(cli, status, &reason);
    if (cli->is_json) {
        json_t *addresses = json_array();
        for (uint32_t i = 0; i < token->address_count; i++)
            (void)json_array_append_new(addresses, json_string(token->addresses[i]));
        return json_finish(cli,
                           json_pack("{s:s, s:I, s:o}", "token", text, "expires_ms",
                                     (json_int_t)token->expires_ms, "addresses", addresses),
                           false);
    }
    (void)printf("%s\n", text);
    (void)fflush(stdout);
    cli_say(cli, "on the other machine: troupe join, and paste it there");
    uint32_t loopback_count = 0;
    for (uint32_t i = 0; i < token->address_count; i++)
        loopback_count += strncmp(token->addresses[i], "tcp://127.", 10) == 0 ||
                          strncmp(token->addresses[i], "tcp://[::1]", 11) == 0;
    if (loopback_count == token->address_count)
        cli_say(cli, "this node listens on this machine only (%s); to let others join, start it "
                     "with --listen ADDRESS:PORT of your network",
                token->addresses[0]);
    return EXIT_CODE_OK;
}

int command_token(struct cli *cli)
{
    uint64_t minutes = 0;
    const char *label = cli_option(cli, "label");
    struct join_token token = {.address_count = 0};
    if (!cli_number(cli, "minutes", 60 * 24 * 30, 60, &minutes))
        return EXIT_CODE_USAGE;
    if (minutes == 0)
        return cli_usage_failed(cli, "--minutes takes at least 1");
    int code = cli_connect_bare(cli, false, false);
    if (code != EXIT_CODE_OK)
        return code;
    const struct welcome *welcome = troupe_client_welcome(cli->client);
    token.cluster = welcome->cluster_id;
    token.master_key = welcome->key;
    token.expires_ms = clock_wall_ms() + minutes * 60000;
    fill_addresses(&token, text_or_empty(welcome->address));
    enum status status = key_pair_make(&token.pair);
    if (status != STATUS_OK)
        return cli_failed(cli, status, NULL);
    code = create(cli, &token, label ? label : "");
    /* The first token of a new node may come before its cluster was founded. */
    if (code == EXIT_CODE_OK && ID_IS_ZERO(token.cluster)) {
        troupe_client_close(cli->client);
        cli->client = NULL;
        code = cli_connect_bare(cli, false, false);
        if (code == EXIT_CODE_OK)
            token.cluster = troupe_client_welcome(cli->client)->cluster_id;
    }
    if (code == EXIT_CODE_OK)
        code = print_token(cli, &token);
    join_token_fini(&token);
    return code;
}
