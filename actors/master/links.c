/* SPDX-License-Identifier: Apache-2.0 */
/*
 * links: which nodes this one reaches, how soon and how fast, told to all and heard from all.
 *
 * Each node asks every other over its own connection to the other's address, so an answer proves
 * that way alone; the other way is proven by what the other tells of its own.  Signals only:
 * nothing of it stands in the log.
 */
#include "actors/master/master.h"

#include "runtime/link_view.h"

#include <string.h>

enum {
    TELL_AFTER_MS = 500, /* the answers of a turn are in by then, over most links */
    ASK_AFTER_MS = 100   /* several connections that come up together are one turn */
};

static struct link_measure *measure_of(struct master *master, const struct node_slot *slot)
{
    struct link_measure *measure = &master->links.measures[slot->link - MASTER_LINK_NODE];
    if (!ID_EQUAL(measure->node_id, slot->node_id))
        link_measure_begin(measure, &slot->node_id, master->input->now_ms);
    return measure;
}

static bool is_measured(const struct node_slot *slot)
{
    return slot->is_used && !slot->is_hint && slot->address[0] && !ID_IS_ZERO(slot->node_id);
}

/* ---- asking ---- */

/* Nothing on either node needs the link: no rank, no transfer, no download. */
static bool is_quiet(const struct master *master, const struct node_id *node)
{
    const struct state *state = &master->state;
    if (state->downloads.count > 0)
        return false;
    for (uint32_t i = 0; i < state->transfers.count; i++)
        for (uint32_t t = 0; t < state->transfers.items[i].targets.count; t++)
            if (transfer_target_is_open(&state->transfers.items[i].targets.items[t]))
                return false;
    for (uint32_t i = 0; i < state->instances.count; i++)
        for (uint32_t r = 0; r < state->instances.items[i].ranks.count; r++) {
            const struct node_id *at = &state->instances.items[i].ranks.items[r].node_id;
            if (ID_EQUAL(*at, *node) || ID_EQUAL(*at, master->settings->node_id))
                return false;
        }
    return true;
}

static bool is_bursting(const struct master *master)
{
    for (size_t i = 0; i < COUNT_OF(master->links.measures); i++)
        if (master->links.measures[i].is_bursting)
            return true;
    return false;
}

static void send_echo(struct master *master, struct node_slot *slot, uint64_t number, uint32_t load)
{
    static const uint8_t zeros[LINK_LOAD_MAX];
    struct message message;
    if (!message_begin(master, &message, MESSAGE_LINK, LINK_ECHO_ASKED))
        return;
    struct echo_asked *body = message.body;
    body->number = number;
    if (load == 0 || bytes_set(&body->load, zeros, load)) {
        const struct peer peer = peer_of_link(slot->link);
        outbox_send(master->outbox, &peer, &message);
    }
    message_fini(&message);
}

static void ask(struct master *master, struct node_slot *slot)
{
    struct link_measure *measure = measure_of(master, slot);
    const bool may_burst =
        is_quiet(master, &slot->node_id) && (measure->is_bursting || !is_bursting(master));
    const uint64_t number = ++master->links.number;
    const uint32_t load = link_measure_ask(measure, number, master->input->now_ms,
                                           master->input->now_us, may_burst);
    send_echo(master, slot, number, load);
}

static void answer_echo(struct master *master, const struct echo_asked *asked)
{
    struct message message;
    if (!message_begin(master, &message, MESSAGE_LINK, LINK_ECHO_TOLD))
        return;
    struct echo_told *body = message.body;
    body->number = asked->number;
    body->size = asked->load.count;
    outbox_send(master->outbox, &master->input->peer, &message);
    message_fini(&message);
}

void links_message(struct master *master, struct node_slot *slot, const struct message *message)
{
    if (message->head.code == LINK_ECHO_ASKED) {
        if (is_measured(slot) &&
            link_measure_heard(measure_of(master, slot), master->input->now_ms))
            links_tell_soon(master);
        answer_echo(master, message->body);
        return;
    }
    if (master->input->peer.link != slot->link || !is_measured(slot))
        return;
    struct link_measure *measure = measure_of(master, slot);
    const bool was_silent = measure->answered_ms == 0;
    if (link_measure_told(measure, message->body, master->input->now_ms, master->input->now_us))
        ask(master, slot);
    if (was_silent && measure->answered_ms > 0)
        links_tell_soon(master);
}

void links_tell_soon(struct master *master)
{
    master->links.tell_at_ms = master->input->now_ms + TELL_AFTER_MS;
}

void links_up(struct master *master)
{
    const uint64_t soon_ms = master->input->now_ms + ASK_AFTER_MS;
    if (master->links.turn_at_ms > soon_ms)
        master->links.turn_at_ms = soon_ms;
}

void links_lost(struct master *master, const struct node_slot *slot)
{
    link_measure_lost(&master->links.measures[slot->link - MASTER_LINK_NODE],
                      master->input->now_ms);
}

/* ---- telling ---- */

static bool make_offer(const struct interface_offer *offer, struct address_offered *offered)
{
    const struct interface *interface = &offer->interface;
    offered->speed_mbit = interface->speed_mbit;
    return text_set(&offered->host, offer->host) && text_set(&offered->network, offer->network) &&
           text_set(&offered->interface, interface->name) &&
           text_set(&offered->rdma, interface->rdma) &&
           text_set(&offered->kind, interface->kind ? interface_kind_name(interface->kind) : "");
}

static bool make_own(struct master *master, struct links_measured *row)
{
    const struct interface_offers *offers = &master->links.offers;
    row->node_id = master->settings->node_id;
    for (uint32_t i = 0; i < offers->count; i++) {
        struct address_offered *offered = record_list_push(
            &address_offered_type, RECORD_LIST(row->offers), NULL, ADDRESS_OFFER_COUNT_MAX);
        if (!offered || !make_offer(&offers->items[i], offered))
            return false;
    }
    if (offers->count > 0) {
        const struct address_offered *best = &row->offers.items[0];
        row->speed_mbit = best->speed_mbit;
        if (!text_set(&row->interface, best->interface) || !text_set(&row->rdma, best->rdma) ||
            !text_set(&row->kind, best->kind))
            return false;
    }
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++) {
        struct node_slot *slot = &master->nodes[i];
        if (!is_measured(slot))
            continue;
        struct link_measured told = {.address = slot->address};
        const bool is_known =
            link_measure_tell(measure_of(master, slot), master->input->now_ms, &told);
        bool ok = ways_tell(master, slot, &told);
        if (ok && (is_known || told.ways.count > 0))
            ok = record_list_push(&link_measured_type, RECORD_LIST(row->links), &told,
                                  NODE_COUNT_MAX) != NULL;
        told.address = NULL; /* the slot's own */
        record_fini(&link_measured_type, &told);
        if (!ok)
            return false;
    }
    return true;
}

/* Freed by the caller when it is made. */
static bool make_row(struct master *master, struct message *signal)
{
    if (!message_begin(master, signal, MESSAGE_SIGNAL, SIGNAL_LINKS_MEASURED))
        return false;
    signal->head.expires_ms = master->input->wall_ms + LINK_ROW_LIFE_MS;
    if (make_own(master, signal->body))
        return true;
    message_fini(signal);
    return false;
}

void links_tell_local(struct master *master, const struct peer *peer)
{
    struct message signal;
    if (master->state.nodes.count < 2 || !make_row(master, &signal))
        return;
    outbox_send(master->outbox, peer, &signal);
    message_fini(&signal);
}

static void tell(struct master *master)
{
    struct message signal;
    struct buffer bytes;
    if (!make_row(master, &signal))
        return;
    locals_signal(master, &signal, true);
    buffer_init(&bytes, PART_SIZE_MAX);
    const bool is_made = message_encode(&signal, &bytes) == STATUS_OK;
    for (size_t i = 0; is_made && i < COUNT_OF(master->nodes); i++) {
        struct node_slot *slot = &master->nodes[i];
        struct message message;
        if (!slot->is_used || !slot_is_reachable(slot) ||
            !message_begin(master, &message, MESSAGE_LINK, LINK_FORWARDED))
            continue;
        if (bytes_set(&MESSAGE_BODY(&message, forwarded)->message, bytes.bytes, bytes.size))
            send_to_node(master, slot, &message);
        else
            message_fini(&message);
    }
    buffer_fini(&bytes);
    message_fini(&signal);
}

void links_take(struct master *master, const struct node_slot *slot,
                const struct links_measured *told)
{
    struct links_heard *place = &master->links.heard[slot->link - MASTER_LINK_NODE];
    struct links_measured copy;
    if (!ID_EQUAL(told->node_id, slot->node_id) ||
        record_copy(&links_measured_type, told, &copy) != STATUS_OK)
        return;
    record_fini(&links_measured_type, &place->row);
    place->row = copy;
    place->heard_ms = master->input->now_ms;
}

/* That a node which has just come back is not reached was told while it was away. */
static bool is_outdated(const struct master *master, const struct link_measured *link,
                        uint64_t heard_ms)
{
    for (size_t i = 0; i < COUNT_OF(master->links.measures) && !link->reaches; i++) {
        const struct link_measure *measure = &master->links.measures[i];
        if (ID_EQUAL(measure->node_id, link->node_id) && measure->back_ms > 0)
            return heard_ms < measure->back_ms + LINK_TURN_MS;
    }
    return false;
}

static void drop_outdated(const struct master *master, struct links_measured *row,
                          uint64_t heard_ms)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < row->links.count; i++) {
        if (is_outdated(master, &row->links.items[i], heard_ms))
            record_fini(&link_measured_type, &row->links.items[i]);
        else
            row->links.items[kept++] = row->links.items[i];
    }
    row->links.count = kept;
}

bool links_list(struct master *master, struct links_listed *listed)
{
    struct links_measured own;
    memset(&own, 0, sizeof(own));
    bool ok = make_own(master, &own) &&
              record_list_push(&links_measured_type, RECORD_LIST(listed->rows), &own,
                               NODE_COUNT_MAX);
    record_fini(&links_measured_type, &own);
    for (size_t i = 0; ok && i < COUNT_OF(master->nodes); i++) {
        const struct node_slot *slot = &master->nodes[i];
        struct links_heard *heard = &master->links.heard[i];
        const uint64_t age_ms = master->input->now_ms - heard->heard_ms;
        if (!slot->is_used || heard->heard_ms == 0 || age_ms >= LINK_ROW_LIFE_MS ||
            !ID_EQUAL(heard->row.node_id, slot->node_id))
            continue;
        heard->row.age_ms = age_ms;
        struct links_measured *row = record_list_push(
            &links_measured_type, RECORD_LIST(listed->rows), &heard->row, NODE_COUNT_MAX);
        ok = row != NULL;
        if (ok)
            drop_outdated(master, row, heard->heard_ms);
    }
    return ok;
}

void links_answer(struct master *master, const struct peer *peer, const struct message *asked)
{
    struct message answer;
    if (!message_begin(master, &answer, MESSAGE_ANSWER, ANSWER_LINKS))
        return;
    answer.head.key = asked->head.key;
    if (links_list(master, answer.body))
        outbox_send(master->outbox, peer, &answer);
    else
        master->outbox->failed = STATUS_NO_MEMORY;
    message_fini(&answer);
}

/* ---- time ---- */

void links_tick(struct master *master)
{
    struct links *links = &master->links;
    const uint64_t now_ms = master->input->now_ms;
    if (master->state.nodes.count < 2)
        return;
    if (now_ms >= links->turn_at_ms) {
        links->turn_at_ms = now_ms + LINK_TURN_MS;
        links->tell_at_ms = now_ms + TELL_AFTER_MS;
        for (size_t i = 0; i < COUNT_OF(master->nodes); i++) {
            if (is_measured(&master->nodes[i]) && master->nodes[i].is_up)
                ask(master, &master->nodes[i]);
            if (is_measured(&master->nodes[i]))
                ways_ask(master, &master->nodes[i]);
        }
    }
    if (links->tell_at_ms > 0 && now_ms >= links->tell_at_ms) {
        links->tell_at_ms = 0;
        tell(master);
    }
}

uint64_t links_wake_ms(const struct master *master)
{
    const struct links *links = &master->links;
    if (master->state.nodes.count < 2)
        return UINT64_MAX;
    return links->tell_at_ms > 0 && links->tell_at_ms < links->turn_at_ms ? links->tell_at_ms
                                                                          : links->turn_at_ms;
}

void links_fini(struct links *links)
{
    for (size_t i = 0; i < COUNT_OF(links->heard); i++)
        record_fini(&links_measured_type, &links->heard[i].row);
}
