/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/link_view.h"

#include "protocol/ids.h"
#include "protocol/record.h"

#include <inttypes.h>
#include <string.h>

const char *link_state_name(enum link_state state)
{
    switch (state) {
    case LINK_STATE_NONE:
        return "none";
    case LINK_STATE_ONE_WAY:
        return "one_way";
    case LINK_STATE_BACKWARD:
        return "backward";
    case LINK_STATE_PROVEN:
        return "proven";
    case LINK_STATE_UNKNOWN:
        break;
    }
    return "unknown";
}

const struct links_measured *link_view_row(const struct links_listed *listed,
                                           const struct node_id *node)
{
    for (uint32_t r = 0; r < listed->rows.count; r++) {
        const struct links_measured *row = &listed->rows.items[r];
        if (ID_EQUAL(row->node_id, *node) && row->age_ms < LINK_ROW_LIFE_MS)
            return row;
    }
    return NULL;
}

const struct link_measured *link_view_of(const struct links_measured *row,
                                         const struct node_id *to)
{
    for (uint32_t i = 0; row && i < row->links.count; i++)
        if (ID_EQUAL(row->links.items[i].node_id, *to))
            return &row->links.items[i];
    return NULL;
}

const struct link_measured *link_view_find(const struct links_listed *listed,
                                           const struct node_id *from, const struct node_id *to)
{
    return link_view_of(link_view_row(listed, from), to);
}

bool link_view_address_is(const char *address, const char *host)
{
    static const char scheme[] = "tcp://";
    const size_t length = strlen(host);
    if (strncmp(address, scheme, strlen(scheme)) == 0)
        address += strlen(scheme);
    if (length == 0 || strncmp(address, host, length) != 0)
        return false;
    return address[length] == '\0' ||
           (address[length] == ':' && !strchr(address + length + 1, ':'));
}

enum proof link_view_proof(const struct link_measured *link, const char *host)
{
    if (!link)
        return PROOF_UNKNOWN;
    if (link_view_address_is(text_or_empty(link->address), host))
        return link->reaches ? PROOF_GIVEN : PROOF_NONE;
    for (uint32_t i = 0; i < link->ways.count; i++)
        if (strcmp(text_or_empty(link->ways.items[i].host), host) == 0)
            return link->ways.items[i].reaches ? PROOF_GIVEN : PROOF_NONE;
    return PROOF_UNKNOWN;
}

bool link_view_reaches(const struct link_measured *link)
{
    bool reaches = link->reaches;
    for (uint32_t i = 0; i < link->ways.count && !reaches; i++)
        reaches = link->ways.items[i].reaches;
    return reaches;
}

enum link_state link_view_state(const struct links_listed *listed, const struct node_id *from,
                                const struct node_id *to)
{
    const struct link_measured *forth = link_view_find(listed, from, to);
    const struct link_measured *back = link_view_find(listed, to, from);
    if (!forth || !back)
        return LINK_STATE_UNKNOWN;
    if (link_view_reaches(forth))
        return link_view_reaches(back) ? LINK_STATE_PROVEN : LINK_STATE_ONE_WAY;
    return link_view_reaches(back) ? LINK_STATE_BACKWARD : LINK_STATE_NONE;
}

/* ---- JSON ---- */

static enum status print_text(struct buffer *json, const char *key, const char *text)
{
    enum status status = buffer_append_format(json, ",\"%s\":", key);
    if (status != STATUS_OK)
        return status;
    return text && *text ? json_append_text(json, text, strlen(text))
                         : buffer_append_text(json, "null");
}

static enum status print_number(struct buffer *json, const char *key, uint64_t number)
{
    return number > 0 ? buffer_append_format(json, ",\"%s\":%" PRIu64, key, number)
                      : buffer_append_format(json, ",\"%s\":null", key);
}

static enum status print_offers(const struct links_measured *row, struct buffer *json)
{
    enum status status = buffer_append_text(json, ",\"addresses\":[");
    for (uint32_t i = 0; row && i < row->offers.count && status == STATUS_OK; i++) {
        const struct address_offered *offer = &row->offers.items[i];
        status = buffer_append_format(json, "%s{\"place\":%" PRIu32, i ? "," : "", i);
        if (status == STATUS_OK)
            status = print_text(json, "host", offer->host);
        if (status == STATUS_OK)
            status = print_text(json, "network", offer->network);
        if (status == STATUS_OK)
            status = print_text(json, "interface", offer->interface);
        if (status == STATUS_OK)
            status = print_text(json, "kind", offer->kind);
        if (status == STATUS_OK)
            status = print_number(json, "speed_mbit", offer->speed_mbit);
        if (status == STATUS_OK)
            status = print_text(json, "rdma", offer->rdma);
        if (status == STATUS_OK)
            status = buffer_append_text(json, "}");
    }
    return status == STATUS_OK ? buffer_append_text(json, "]}") : status;
}

static enum status print_node(const struct links_listed *listed, const struct node_record *node,
                              struct buffer *json)
{
    const struct links_measured *row = link_view_row(listed, &node->node_id);
    char id[HEX_SIZE(16)];
    enum status status = buffer_append_format(json, "{\"node_id\":\"%s\"",
                                              hex_print(&node->node_id, 16, id));
    if (status == STATUS_OK)
        status = print_text(json, "name", node->name);
    if (status == STATUS_OK)
        status = print_text(json, "interface", row ? row->interface : NULL);
    if (status == STATUS_OK)
        status = print_text(json, "kind", row ? row->kind : NULL);
    if (status == STATUS_OK)
        status = print_number(json, "speed_mbit", row ? row->speed_mbit : 0);
    if (status == STATUS_OK)
        status = print_text(json, "rdma", row ? row->rdma : NULL);
    return status == STATUS_OK ? print_offers(row, json) : status;
}

/* Its other addresses, and which of them answered. */
static enum status print_ways(const struct link_measured *link, struct buffer *json)
{
    enum status status = buffer_append_text(json, ",\"ways\":[");
    for (uint32_t i = 0; link && i < link->ways.count && status == STATUS_OK; i++) {
        const struct way_measured *way = &link->ways.items[i];
        status = buffer_append_format(json, "%s{\"reaches\":%s", i ? "," : "",
                                      way->reaches ? "true" : "false");
        if (status == STATUS_OK)
            status = print_text(json, "host", way->host);
        if (status == STATUS_OK)
            status = print_number(json, "latency_us", way->latency_us);
        if (status == STATUS_OK)
            status = buffer_append_text(json, "}");
    }
    return status == STATUS_OK ? buffer_append_text(json, "]}") : status;
}

static enum status print_link(const struct links_listed *listed, const struct node_record *from,
                              const struct node_record *to, struct buffer *json)
{
    const struct link_measured *link = link_view_find(listed, &from->node_id, &to->node_id);
    const bool is_timed = link && link->bytes_per_s > 0;
    char id[HEX_SIZE(16)];
    enum status status = buffer_append_format(
        json, "{\"from\":\"%s\"", hex_print(&from->node_id, 16, id));
    if (status == STATUS_OK)
        status = buffer_append_format(
            json, ",\"to\":\"%s\",\"state\":\"%s\"", hex_print(&to->node_id, 16, id),
            link_state_name(link_view_state(listed, &from->node_id, &to->node_id)));
    if (status == STATUS_OK)
        status = print_text(json, "address", link ? link->address : NULL);
    if (status == STATUS_OK)
        status = print_number(json, "latency_us", link ? link->latency_us : 0);
    if (status == STATUS_OK)
        status = print_number(json, "bytes_per_s", is_timed ? link->bytes_per_s : 0);
    if (status == STATUS_OK && is_timed)
        status = buffer_append_format(json, ",\"bytes_age_ms\":%" PRIu64, link->bytes_age_ms);
    return status == STATUS_OK ? print_ways(link, json) : status;
}

enum status link_view_print(const struct links_listed *listed, const struct state *state,
                            struct buffer *json)
{
    enum status status = buffer_append_text(json, "{\"nodes\":[");
    for (uint32_t i = 0; status == STATUS_OK && i < state->nodes.count; i++) {
        status = buffer_append_text(json, i ? "," : "");
        if (status == STATUS_OK)
            status = print_node(listed, &state->nodes.items[i], json);
    }
    if (status == STATUS_OK)
        status = buffer_append_text(json, "],\"links\":[");
    const uint32_t count = state->nodes.count;
    bool is_first = true;
    for (uint32_t i = 0; status == STATUS_OK && i < count * count; i++) {
        if (i / count == i % count)
            continue;
        status = buffer_append_text(json, is_first ? "" : ",");
        is_first = false;
        if (status == STATUS_OK)
            status = print_link(listed, &state->nodes.items[i / count],
                                &state->nodes.items[i % count], json);
    }
    return status == STATUS_OK ? buffer_append_text(json, "]}") : status;
}
