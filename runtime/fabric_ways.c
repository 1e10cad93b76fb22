/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/fabric_ways.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* ---- text ---- */

/* An address up to `end`, which it passes. */
static bool parse_address(const char **text, const char *ends, uint8_t address_out[4])
{
    char one[INET_ADDRSTRLEN];
    const size_t length = strcspn(*text, "/,");
    if (length == 0 || length >= sizeof(one) || !strchr(ends, (*text)[length]))
        return false;
    memcpy(one, *text, length);
    one[length] = '\0';
    *text += length + ((*text)[length] != '\0');
    return inet_pton(AF_INET, one, address_out) == 1;
}

enum status fabric_ways_parse(const char *text, struct fabric_ways *ways_out,
                              struct reason *reason)
{
    ways_out->count = 0;
    while (text && *text) {
        const char *entry = text;
        if (ways_out->count == RANK_COUNT_MAX)
            return refuse(reason, STATUS_TOO_LARGE, "more ways than ranks are possible");
        struct fabric_way *way = &ways_out->items[ways_out->count++];
        if (!parse_address(&text, "/", way->known) || !parse_address(&text, "/", way->own) ||
            !parse_address(&text, ",", way->peer))
            return refuse(reason, STATUS_INVALID,
                          "%.60s is no way to a rank; it is three IPv4 addresses with / between",
                          entry);
    }
    return STATUS_OK;
}

/* ---- of a placement ---- */

static const struct rank_way *find_way(const struct rank_record *rank, const struct node_id *from)
{
    for (uint32_t i = 0; i < rank->ways.count; i++)
        if (ID_EQUAL(rank->ways.items[i].node_id, *from))
            return &rank->ways.items[i];
    return NULL;
}

/* By which all of its world know the rank. */
static const char *known_of(const struct state *state, const struct rank_record *rank)
{
    const struct node_record *node = state_find_node(state, &rank->node_id);
    return text_or_empty(rank->fabric)[0] ? rank->fabric
                                          : text_or_empty(node ? node->fabric : NULL);
}

const char *fabric_host(const struct state *state, const struct rank_record *rank,
                        const struct node_id *from)
{
    const struct rank_way *way = find_way(rank, from);
    return way ? text_or_empty(way->host) : known_of(state, rank);
}

static bool is_written(const char *text, const char *known)
{
    const size_t length = strlen(known);
    for (const char *at = text; at && *at; at = strchr(at, ','), at += at ? 1 : 0)
        if (strncmp(at, known, length) == 0 && at[length] == '/')
            return true;
    return false;
}

enum status fabric_ways_write(const struct state *state, const struct instance_record *instance,
                              uint32_t rank, char text_out[WAYS_SIZE_MAX])
{
    const struct rank_record *self = &instance->ranks.items[rank];
    size_t used = 0;
    text_out[0] = '\0';
    for (uint32_t i = 0; i < instance->ranks.count; i++) {
        const struct rank_record *peer = &instance->ranks.items[i];
        const char *known = known_of(state, peer);
        const char *own = fabric_host(state, self, &peer->node_id);
        const char *host = fabric_host(state, peer, &self->node_id);
        if (i == rank || (strcmp(own, known_of(state, self)) == 0 && strcmp(host, known) == 0) ||
            is_written(text_out, known)) /* another rank of its machine */
            continue;
        const int length = snprintf(text_out + used, WAYS_SIZE_MAX - used, "%s%s/%s/%s",
                                    used ? "," : "", known, own, host);
        if (length < 0 || (size_t)length >= WAYS_SIZE_MAX - used)
            return STATUS_TOO_LARGE;
        used += (size_t)length;
    }
    return STATUS_OK;
}

static void with_host(const char *host, const char *address, char address_out[ADDRESS_SIZE_MAX])
{
    const char *port = strrchr(address, ':');
    if (*host && port)
        (void)snprintf(address_out, ADDRESS_SIZE_MAX, "tcp://%.200s%.8s", host, port);
    else
        (void)snprintf(address_out, ADDRESS_SIZE_MAX, "%s", address);
}

void fabric_address(const struct rank_record *rank, const struct node_id *from,
                    const char *address, char address_out[ADDRESS_SIZE_MAX])
{
    const struct rank_way *way = find_way(rank, from);
    with_host(way ? text_or_empty(way->host) : "", address, address_out);
}

void fabric_told(const char *bound, const char *fabric, char address_out[ADDRESS_SIZE_MAX])
{
    const bool is_any = strncmp(bound, "tcp://0.0.0.0:", 14) == 0;
    with_host(is_any ? fabric : "", bound, address_out);
}
