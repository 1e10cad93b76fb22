/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link_ways: the addresses of a node beside the one its master is connected to.
 *
 * A node with several tells all of them in its record.  Each other master keeps a connection to
 * each, over which nothing but small echoes go: an address counts as soon as its own node answered
 * there, which its key proves.  When the connection in use breaks and another address answers, the
 * masters talk over that one.
 */
#include "actors/master/master.h"

#include "runtime/link_view.h"

#include <stdio.h>
#include <string.h>

enum {
    READ_MS = 5000,       /* between readings of our own interfaces */
    /* One that was made a moment ago comes up sooner, mostly; a node that starts and waits for
     * longer takes itself for the only one. */
    SWITCH_AFTER_MS = 200,
    SWITCH_LOOK_MS = 100,
    SWITCH_WITHIN_MS = 5000 /* after that the common ticks are often enough */
};

static struct node_ways *ways_of(struct master *master, const struct node_slot *slot)
{
    return &master->links.ways[slot->link - MASTER_LINK_NODE];
}

static uint32_t link_of(const struct master *master, const struct node_ways *ways, uint32_t way)
{
    const uint32_t at = (uint32_t)(ways - master->links.ways);
    return MASTER_LINK_WAY + at * ADDRESS_OFFER_COUNT_MAX + way;
}

static struct link_way *way_of_link(struct master *master, uint32_t link)
{
    if (link < MASTER_LINK_WAY ||
        link >= MASTER_LINK_WAY + NODE_COUNT_MAX * ADDRESS_OFFER_COUNT_MAX)
        return NULL;
    const uint32_t at = link - MASTER_LINK_WAY;
    struct node_ways *ways = &master->links.ways[at / ADDRESS_OFFER_COUNT_MAX];
    return at % ADDRESS_OFFER_COUNT_MAX < ways->count ? &ways->items[at % ADDRESS_OFFER_COUNT_MAX]
                                                      : NULL;
}

/* ---- opening ---- */

static void ways_close(struct master *master, struct node_ways *ways)
{
    for (uint32_t i = 0; i < ways->count; i++)
        outbox_link_close(master->outbox, link_of(master, ways, i));
    memset(ways, 0, sizeof(*ways));
}

static void way_open(struct master *master, struct node_ways *ways, const struct node_slot *slot,
                     const char *host)
{
    const char *port = strrchr(slot->told, ':');
    struct link_options options = {
        .role = LINK_CONNECT, .server_key = slot->key, .message_size_max = MESSAGE_SIZE_MAX};
    struct link_way *way = &ways->items[ways->count];
    memset(way, 0, sizeof(*way));
    (void)snprintf(way->host, sizeof(way->host), "%s", host);
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "tcp://%s%.8s", host,
                   port ? port : "");
    link_measure_begin(&way->measure, &slot->node_id, master->input->now_ms);
    outbox_link_open(master->outbox, link_of(master, ways, ways->count), &options);
    ways->count++;
}

/* What the record of the node tells now, without the address in use. */
static void ways_refresh(struct master *master, struct node_slot *slot)
{
    struct node_ways *ways = ways_of(master, slot);
    const struct node_record *node = state_find_node(&master->state, &slot->node_id);
    const char *hosts = slot->is_used && !slot->is_hint && node ? text_or_empty(node->hosts) : "";
    if (ID_EQUAL(ways->node_id, slot->node_id) && strcmp(ways->hosts, hosts) == 0 &&
        strcmp(ways->address, slot->address) == 0)
        return;
    ways_close(master, ways);
    ways->node_id = slot->node_id;
    (void)snprintf(ways->hosts, sizeof(ways->hosts), "%s", hosts);
    (void)snprintf(ways->address, sizeof(ways->address), "%s", slot->address);
    char host[INTERFACE_ADDRESS_SIZE + 2];
    while (ways->count < ADDRESS_OFFER_COUNT_MAX && state_host_next(&hosts, host, sizeof(host)))
        if (!link_view_address_is(slot->address, host))
            way_open(master, ways, slot, host);
}

/* ---- asking ---- */

static void way_ask(struct master *master, struct node_ways *ways, uint32_t at)
{
    struct link_way *way = &ways->items[at];
    struct message message;
    if (!message_begin(master, &message, MESSAGE_LINK, LINK_ECHO_ASKED))
        return;
    const uint64_t number = ++master->links.number;
    (void)link_measure_ask(&way->measure, number, master->input->now_ms, master->input->now_us,
                           false);
    MESSAGE_BODY(&message, echo_asked)->number = number;
    const struct peer peer = peer_of_link(link_of(master, ways, at));
    outbox_send(master->outbox, &peer, &message);
    message_fini(&message);
}

void ways_ask(struct master *master, struct node_slot *slot)
{
    struct node_ways *ways = ways_of(master, slot);
    for (uint32_t i = 0; i < ways->count; i++)
        if (ways->items[i].is_up)
            way_ask(master, ways, i);
}

/* Ours to it is down: another address of it that answers takes its place. */
static void switch_address(struct master *master, struct node_slot *slot)
{
    const struct node_ways *ways = ways_of(master, slot);
    char address[LINK_ENDPOINT_SIZE];
    const char *port = strrchr(slot->told, ':');
    if (!slot->address[0] || slot->is_up || slot->is_hint ||
        master->input->now_ms - slot->down_ms < SWITCH_AFTER_MS)
        return;
    for (uint32_t i = 0; i < ways->count && port; i++) {
        if (!ways->items[i].is_up || ways->items[i].measure.answered_ms == 0)
            continue;
        (void)snprintf(address, sizeof(address), "tcp://%s%.8s", ways->items[i].host, port);
        slot_connect_to(master, slot, address);
        return;
    }
    if (slot->told[0] && strcmp(slot->told, slot->address) != 0 && ways->count == 0) {
        (void)snprintf(address, sizeof(address), "%s", slot->told);
        slot_connect_to(master, slot, address);
    }
}

bool ways_link_changed(struct master *master, uint32_t link, bool is_up)
{
    struct link_way *way = way_of_link(master, link);
    if (!way)
        return link >= MASTER_LINK_WAY;
    way->is_up = is_up;
    const uint32_t at = link - MASTER_LINK_WAY;
    if (is_up)
        way_ask(master, &master->links.ways[at / ADDRESS_OFFER_COUNT_MAX],
                at % ADDRESS_OFFER_COUNT_MAX);
    else
        link_measure_lost(&way->measure, master->input->now_ms);
    return true;
}

void ways_message(struct master *master, uint32_t link, const struct message *message)
{
    struct link_way *way = way_of_link(master, link);
    if (!way || !message_is(message, MESSAGE_LINK, LINK_ECHO_TOLD))
        return;
    const bool was_silent = way->measure.answered_ms == 0;
    (void)link_measure_told(&way->measure, message->body, master->input->now_ms,
                            master->input->now_us);
    if (was_silent && way->measure.answered_ms > 0)
        links_tell_soon(master);
    struct node_slot *slot = &master->nodes[(link - MASTER_LINK_WAY) / ADDRESS_OFFER_COUNT_MAX];
    if (slot->is_used)
        switch_address(master, slot);
}

bool ways_tell(struct master *master, const struct node_slot *slot, struct link_measured *told)
{
    const struct node_ways *ways = ways_of(master, slot);
    if (!ID_EQUAL(ways->node_id, slot->node_id))
        return true;
    for (uint32_t i = 0; i < ways->count; i++) {
        struct link_measured measured = {.address = NULL};
        struct way_measured way = {.reaches = false};
        if (!link_measure_tell(&ways->items[i].measure, master->input->now_ms, &measured))
            continue;
        way.reaches = measured.reaches;
        way.latency_us = measured.latency_us;
        const bool ok = text_set(&way.host, ways->items[i].host) &&
                        record_list_push(&way_measured_type, RECORD_LIST(told->ways), &way,
                                         ADDRESS_OFFER_COUNT_MAX);
        record_fini(&way_measured_type, &way);
        if (!ok)
            return false;
    }
    return true;
}

/* ---- our own ---- */

const char *ways_own_address(const struct master *master, char address_out[LINK_ENDPOINT_SIZE])
{
    const struct interface_offers *offers = &master->links.offers;
    const char *port = strrchr(master->endpoint, ':');
    if (master->settings->advertise[0])
        return master->settings->advertise;
    if (!offers->is_any || offers->count == 0 || !port)
        return master->endpoint;
    (void)snprintf(address_out, LINK_ENDPOINT_SIZE, "tcp://%s%.8s",
                   offers->items[master->links.own].host, port);
    return address_out;
}

const char *ways_all_addresses(const struct master *master, char addresses_out[ADDRESS_SIZE_MAX])
{
    const struct interface_offers *offers = &master->links.offers;
    const char *port = strrchr(master->endpoint, ':');
    char own[LINK_ENDPOINT_SIZE];
    size_t used = (size_t)snprintf(addresses_out, ADDRESS_SIZE_MAX, "%s",
                                   ways_own_address(master, own));
    for (uint32_t i = 0; i < offers->count && offers->is_any && port; i++) {
        char address[LINK_ENDPOINT_SIZE];
        const size_t length = (size_t)snprintf(address, sizeof(address), ",tcp://%s%.8s",
                                               offers->items[i].host, port);
        if (master->settings->advertise[0] || i == master->links.own ||
            used + length >= ADDRESS_SIZE_MAX)
            continue;
        memcpy(addresses_out + used, address, length + 1);
        used += length;
    }
    return addresses_out;
}

bool ways_describe(const struct master *master, struct node_record *node)
{
    const struct interface_offers *offers = &master->links.offers;
    char hosts[SENTENCE_SIZE_MAX] = "";
    size_t used = 0;
    if (!offers->is_any || offers->count == 0)
        return text_set(&node->hosts, "");
    for (uint32_t i = 0; i < offers->count; i++)
        used += (size_t)snprintf(hosts + used, sizeof(hosts) - used, "%s%s", i ? " " : "",
                                 offers->items[i].host);
    return text_set(&node->hosts, hosts) &&
           text_set(&node->fabric, offers->items[master->links.own].host);
}

static bool are_same(const struct interface_offers *a, const struct interface_offers *b)
{
    bool are_equal = a->count == b->count;
    for (uint32_t i = 0; i < a->count && are_equal; i++)
        are_equal = strcmp(a->items[i].host, b->items[i].host) == 0;
    return are_equal;
}

void ways_offers_read(struct master *master, const struct interface_offers *offers)
{
    struct links *links = &master->links;
    const bool are_new = !are_same(offers, &links->offers);
    if (offers->count == 0 && links->offers.count > 0)
        return; /* no network at all: what there was may come back */
    uint32_t own = 0; /* what it is known by stays, where it is still there */
    for (uint32_t i = 0; i < offers->count; i++)
        own = strcmp(offers->items[i].host, links->offers.items[links->own].host) == 0 ? i : own;
    if (are_new)
        links->own = links->own_next = own;
    links->offers = *offers;
    if (are_new) {
        links_tell_soon(master);
        links->are_offers_settled = false;
    } else if (!links->are_offers_settled) {
        /* Twice the same: the others may open connections to it. */
        links->are_offers_settled = true;
        master->describe_at_ms = master->input->now_ms;
    }
}

/* How many of those that told of late reach that one. */
static uint32_t proofs_of(const struct master *master, const char *host)
{
    uint32_t count = 0;
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++) {
        const struct links_heard *heard = &master->links.heard[i];
        if (!master->nodes[i].is_used || heard->heard_ms == 0 ||
            master->input->now_ms - heard->heard_ms >= LINK_ROW_LIFE_MS)
            continue;
        const struct link_measured *link =
            link_view_of(&heard->row, &master->settings->node_id);
        count += link_view_proof(link, host) == PROOF_GIVEN;
    }
    return count;
}

/* The best of those that most others reach is what this node is known by; twice the same, before
 * it is told. */
static void choose_own(struct master *master)
{
    struct links *links = &master->links;
    uint32_t best = 0;
    uint32_t most = 0;
    for (uint32_t i = 0; i < links->offers.count && links->offers.is_any; i++) {
        const uint32_t proofs = proofs_of(master, links->offers.items[i].host);
        best = proofs > most ? i : best;
        most = proofs > most ? proofs : most;
    }
    if (most == 0)
        return; /* nobody says anything: what there is stays */
    if (best != links->own && best == links->own_next) {
        links->own = best;
        master->describe_at_ms = master->input->now_ms;
    }
    links->own_next = best;
}

/* ---- time ---- */

void ways_tick(struct master *master)
{
    struct links *links = &master->links;
    if (master->settings->watches_interfaces && master->input->now_ms >= links->read_at_ms) {
        links->read_at_ms = master->input->now_ms + READ_MS;
        outbox_effect(master->outbox, 0, EFFECT_INTERFACES, NULL, NULL);
        choose_own(master);
    }
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++) {
        struct node_slot *slot = &master->nodes[i];
        if (!slot->is_used || ID_IS_ZERO(slot->node_id)) {
            if (links->ways[i].count > 0)
                ways_close(master, &links->ways[i]);
            continue;
        }
        ways_refresh(master, slot);
        switch_address(master, slot);
    }
}

uint64_t ways_wake_ms(const struct master *master)
{
    const uint64_t now_ms = master->input->now_ms;
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++) {
        const struct node_slot *slot = &master->nodes[i];
        if (slot->is_used && slot->address[0] && !slot->is_up &&
            master->links.ways[i].count > 0 && now_ms - slot->down_ms < SWITCH_WITHIN_MS)
            return now_ms + SWITCH_LOOK_MS;
    }
    return UINT64_MAX;
}
