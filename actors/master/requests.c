/* SPDX-License-Identifier: Apache-2.0 */
/*
 * requests: commands and reports on their way to becoming events, and the answers back.
 *
 * Every one is answered: refused at once, or accepted when its event is committed.  At a follower
 * it is forwarded to the leader; without a leader it waits, and is refused after three seconds.
 * A report that finds no leader waits as long as there is room: its sender keeps it too.
 *
 * What waits stays in the order in which it came and is passed on again in that order: the leader
 * keeps only the last sequence of an incarnation, so a report that overtakes another buries it.
 */
#include "actors/master/master.h"

#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/chunk_manifest.h"

#include <string.h>

#define REQUEST_DEADLINE_MS 3000u
#define REPORT_DEADLINE_MS 30000u
/* What was passed on and not answered is passed on again: keys and sequences make it harmless. */
#define PASS_AGAIN_MS 1000u
#define MINORITY_SENTENCE                                                                          \
    "quorum = true, and no majority of the nodes is here; start more of them, then send it again"

/* ---- answering ---- */

static uint32_t nodes_in_view(const struct master *master)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < master->state.nodes.count; i++)
        count += master->state.nodes.items[i].in_view;
    return count;
}

/* Sends `answer` where the request came from; frees it. */
static void send_answer(struct master *master, const struct pending *pending,
                        struct message *answer)
{
    answer->head.key = pending->head.key;
    answer->head.incarnation = pending->head.incarnation;
    answer->head.sequence = pending->head.sequence;
    if (!pending->is_from_node) {
        outbox_send(master->outbox, &pending->peer, answer);
        message_fini(answer);
        return;
    }
    struct node_slot *slot = slot_find(master, &pending->node);
    struct message back;
    if (slot && message_begin(master, &back, MESSAGE_LINK, LINK_FORWARDED_BACK)) {
        struct forwarded *body = back.body;
        struct buffer bytes;
        buffer_init(&bytes, MESSAGE_SIZE_MAX);
        body->ticket = pending->ticket;
        if (message_encode(answer, &bytes) == STATUS_OK &&
            bytes_set(&body->message, bytes.bytes, bytes.size))
            send_to_node(master, slot, &back);
        else
            message_fini(&back);
        buffer_fini(&bytes);
    }
    message_fini(answer);
}

static void answer_with(struct master *master, const struct pending *pending, enum status how,
                        const char *sentence)
{
    struct message answer;
    if (!message_begin(master, &answer, MESSAGE_ANSWER, ANSWER_DONE))
        return;
    answer.head.status = how;
    answer.head.index = how == STATUS_OK ? pending->index : 0;
    if (how == STATUS_OK) {
        answer.head.holders = nodes_in_view(master);
        answer.head.nodes = master->state.nodes.count;
    } else if (!text_set(&answer.head.reason,
                         sentence && sentence[0] ? sentence : status_text(how))) {
        message_fini(&answer);
        return;
    }
    send_answer(master, pending, &answer);
}

static void pending_fini(struct pending *pending)
{
    record_fini(&envelope_type, &pending->head);
    memory_free(pending->bytes);
    memset(pending, 0, sizeof(*pending));
}

static void pending_forget(struct master *master, uint32_t at)
{
    master->pending_count--;
    memmove(&master->pending[at], &master->pending[at + 1],
            (master->pending_count - at) * sizeof(master->pending[0]));
    memset(&master->pending[master->pending_count], 0, sizeof(master->pending[0]));
}

static void pending_remove(struct master *master, uint32_t at)
{
    pending_fini(&master->pending[at]);
    pending_forget(master, at);
}

/* ---- taking ---- */

static bool describe_request(struct master *master, const struct message *message,
                             const struct node_slot *slot, uint64_t ticket,
                             struct pending *pending_out)
{
    *pending_out = (struct pending){.is_from_node = slot != NULL, .ticket = ticket};
    pending_out->peer = master->input->peer;
    if (slot)
        pending_out->node = slot->node_id;
    pending_out->deadline_ms =
        master->input->now_ms +
        (message->head.kind == MESSAGE_REPORT ? REPORT_DEADLINE_MS : REQUEST_DEADLINE_MS);
    return record_copy(&envelope_type, &message->head, &pending_out->head) == STATUS_OK;
}

static enum status keep(struct master *master, struct pending *pending)
{
    if (master->pending_count == PENDING_COUNT_MAX) {
        answer_with(master, pending, STATUS_BUSY, "too many requests wait; try again");
        pending_fini(pending);
        return STATUS_OK;
    }
    master->pending[master->pending_count++] = *pending;
    return STATUS_OK;
}

/* Leader: decides; `pending` is moved or answered. */
static enum status decide(struct master *master, const struct message *message,
                          struct pending *pending)
{
    struct message event = {.body = NULL};
    struct reason reason = {""};
    bool has_event = false;
    if (message_is(message, MESSAGE_COMMAND, COMMAND_ASK_CANDIDATES)) {
        struct message answer;
        enum status status = command_candidates(master, message, &answer);
        if (status == STATUS_OK)
            send_answer(master, pending, &answer);
        else
            answer_with(master, pending, status, NULL);
        pending_fini(pending);
        return STATUS_OK;
    }
    if (!majority_is_here(master) && message->head.kind == MESSAGE_COMMAND) {
        answer_with(master, pending, STATUS_NO_LEADER, MINORITY_SENTENCE);
        pending_fini(pending);
        return STATUS_OK;
    }
    /* What is on its way to the disk waits for space; nothing is added to it. */
    if (master->disk_is_full && message->head.kind == MESSAGE_COMMAND) {
        answer_with(master, pending, STATUS_NO_SPACE, FULL_SENTENCE);
        pending_fini(pending);
        return STATUS_OK;
    }
    enum status how =
        message->head.kind == MESSAGE_COMMAND
            ? command_decide(master, message, pending->is_from_node ? NULL : &pending->peer, &event,
                             &has_event, &reason)
            : report_decide(master, message, &event, &has_event, &reason);
    if (how != STATUS_OK || !has_event) {
        /* A repeated command: the index of its first event.  Else it is true already, by an event
         * that may still be on its way to the disks. */
        pending->index = event.head.index ? event.head.index : master->state.index;
        message_fini(&event);
        if (how == STATUS_OK && pending->index > master->committed)
            return keep(master, pending);
        answer_with(master, pending, how, reason.text);
        pending_fini(pending);
        return STATUS_OK;
    }
    if (message->head.kind == MESSAGE_COMMAND) {
        event.head.key = message->head.key;
    } else {
        event.head.node_id = message->head.node_id;
        event.head.actor = message->head.actor;
        event.head.incarnation = message->head.incarnation;
        event.head.sequence = message->head.sequence;
    }
    enum status status = replication_append(master, &event);
    pending->index = event.head.index;
    message_fini(&event);
    if (status != STATUS_OK) {
        pending_fini(pending);
        return status;
    }
    return keep(master, pending);
}

/* Follower: passes it on, under a ticket of our own. */
static enum status forward(struct master *master, struct node_slot *leader, struct pending *pending)
{
    struct message message;
    if (!message_begin(master, &message, MESSAGE_LINK, LINK_FORWARDED))
        return STATUS_NO_MEMORY;
    struct forwarded *body = message.body;
    if (pending->own_ticket == 0)
        pending->own_ticket = ++master->ticket_next;
    pending->again_ms = master->input->now_ms + PASS_AGAIN_MS;
    body->ticket = pending->own_ticket;
    if (!bytes_set(&body->message, pending->bytes, pending->size)) {
        message_fini(&message);
        return STATUS_NO_MEMORY;
    }
    send_to_node(master, leader, &message);
    return STATUS_OK;
}

static enum status keep_bytes(struct pending *pending, const struct message *message)
{
    struct buffer bytes;
    buffer_init(&bytes, MESSAGE_SIZE_MAX);
    enum status status = message_encode(message, &bytes);
    pending->bytes = bytes.bytes;
    pending->size = bytes.size;
    return status;
}

/* A key for a command that came without one, so that passing it on twice does it once. */
static struct command_key own_key(struct master *master)
{
    struct hash_stream stream;
    struct hash hash;
    struct command_key key;
    const uint64_t numbers[] = {master->settings->incarnation, ++master->ticket_next};
    hash_init(&stream);
    hash_update(&stream, &master->settings->node_id, sizeof(struct node_id));
    hash_update(&stream, numbers, sizeof(numbers));
    hash_final(&stream, &hash);
    memcpy(&key, &hash, sizeof(key));
    return key;
}

/* What the sender left to its own master: a key, and "the node asked". */
static enum status complete(struct master *master, const struct message *message,
                            struct message *copy_out)
{
    enum status status = message_copy(message, copy_out);
    /* Only the master has the key by which a node vouches for what it took in. */
    if (status == STATUS_OK && master->settings->identity &&
        message_is(message, MESSAGE_REPORT, REPORT_MODEL_IMPORTED))
        status = chunk_manifest_sign(master->settings->identity,
                                     &MESSAGE_BODY(copy_out, model_imported)->model);
    if (status != STATUS_OK || message->head.kind != MESSAGE_COMMAND)
        return status;
    if (ID_IS_ZERO(copy_out->head.key) && !message_is(message, MESSAGE_COMMAND,
                                                      COMMAND_ASK_CANDIDATES))
        copy_out->head.key = own_key(master);
    if (message_is(message, MESSAGE_COMMAND, COMMAND_ADD_MODEL) &&
        ID_IS_ZERO(MESSAGE_BODY(copy_out, add_model)->node_id))
        MESSAGE_BODY(copy_out, add_model)->node_id = master->settings->node_id;
    if (message_is(message, MESSAGE_COMMAND, COMMAND_PULL_MODEL) &&
        ID_IS_ZERO(MESSAGE_BODY(copy_out, pull_model)->node_id))
        MESSAGE_BODY(copy_out, pull_model)->node_id = master->settings->node_id;
    return STATUS_OK;
}

/* Its sender said it again, perhaps over a new connection; the first is on its way. */
static bool waits_already(struct master *master, const struct message *message)
{
    if (message->head.kind != MESSAGE_REPORT)
        return false;
    for (uint32_t i = 0; i < master->pending_count; i++) {
        struct pending *pending = &master->pending[i];
        if (pending->is_from_node || pending->head.kind != MESSAGE_REPORT ||
            pending->head.incarnation != message->head.incarnation ||
            pending->head.sequence != message->head.sequence)
            continue;
        pending->peer = master->input->peer;
        return true;
    }
    return false;
}

/* At the node where the request enters the cluster. */
static enum status take_here(struct master *master, const struct message *message,
                             struct pending *pending)
{
    struct message whole;
    enum status status = complete(master, message, &whole);
    if (status != STATUS_OK) {
        pending_fini(pending);
        return status;
    }
    if (is_leader(master)) {
        status = decide(master, &whole, pending);
        message_fini(&whole);
        return status;
    }
    struct node_slot *leader = leader_slot(master);
    status = keep_bytes(pending, &whole);
    message_fini(&whole);
    if (status == STATUS_OK && leader)
        status = forward(master, leader, pending);
    if (status != STATUS_OK) {
        pending_fini(pending);
        return status;
    }
    return keep(master, pending);
}

enum status request_take(struct master *master, const struct message *message,
                         struct node_slot *slot, uint64_t ticket)
{
    struct pending pending;
    if (!slot && waits_already(master, message))
        return STATUS_OK;
    if (!describe_request(master, message, slot, ticket, &pending))
        return STATUS_NO_MEMORY;
    if (slot && is_leader(master))
        return decide(master, message, &pending);
    if (slot) {
        answer_with(master, &pending, STATUS_NO_LEADER, "this node does not lead any more");
        pending_fini(&pending);
        return STATUS_OK;
    }
    if (message_is(message, MESSAGE_COMMAND, COMMAND_JOIN) &&
        !ID_EQUAL(MESSAGE_BODY(message, join)->token_key, master->input->peer.key)) {
        /* Checked here, where the connection ends; the leader trusts a master's word for it. */
        answer_with(master, &pending, STATUS_NOT_ADMITTED, "the token is not the connection's key");
        pending_fini(&pending);
        return STATUS_OK;
    }
    return take_here(master, message, &pending);
}

enum status request_own(struct master *master, struct message *report)
{
    report->head.node_id = master->settings->node_id;
    report->head.actor = ACTOR_MASTER;
    report->head.incarnation = master->settings->incarnation;
    report->head.sequence = ++master->sequence;
    memset(&report->head.epoch, 0, sizeof(report->head.epoch));
    struct message event = {.body = NULL};
    struct reason reason = {""};
    bool has_event = false;
    if (is_leader(master)) {
        enum status status = report_decide(master, report, &event, &has_event, &reason);
        if (status == STATUS_OK && has_event) {
            event.head.node_id = report->head.node_id;
            event.head.actor = report->head.actor;
            event.head.incarnation = report->head.incarnation;
            event.head.sequence = report->head.sequence;
            status = replication_append(master, &event);
            message_fini(&event);
            return status;
        }
        message_fini(&event);
        return STATUS_OK; /* what is not true any more is told again when it is */
    }
    struct node_slot *leader = leader_slot(master);
    struct pending pending = {.is_from_node = false};
    enum status status = keep_bytes(&pending, report);
    if (status == STATUS_OK && leader)
        status = forward(master, leader, &pending);
    pending_fini(&pending); /* own reports are told again by describe_tick, not kept */
    return status;
}

/* ---- answers that come back ---- */

static struct pending *pending_by_ticket(struct master *master, uint64_t ticket, uint32_t *at_out)
{
    for (uint32_t i = 0; i < master->pending_count; i++) {
        if (master->pending[i].own_ticket == ticket) {
            *at_out = i;
            return &master->pending[i];
        }
    }
    return NULL;
}

static void pass_signal(struct master *master, const struct message *signal)
{
    pace_table_take(&master->paces, &master->state, signal);
    locals_signal(master, signal, false);
}

enum status request_forwarded(struct master *master, struct node_slot *slot,
                              const struct message *message)
{
    const struct forwarded *body = MESSAGE_BODY(message, forwarded);
    struct message inner;
    struct reason reason = {""};
    if (message_decode(body->message.items, body->message.count, &inner, &reason) != STATUS_OK) {
        master->refused_count++;
        return STATUS_OK;
    }
    enum status status = STATUS_OK;
    if (message->head.code == LINK_FORWARDED) {
        const bool is_progress = message_is(&inner, MESSAGE_SIGNAL, SIGNAL_TRANSFER_PROGRESSED) ||
                                 message_is(&inner, MESSAGE_SIGNAL, SIGNAL_IMPORT_PROGRESSED) ||
                                 message_is(&inner, MESSAGE_SIGNAL, SIGNAL_PACE_MEASURED);
        const bool is_beat = message_is(&inner, MESSAGE_SIGNAL, SIGNAL_HEARTBEAT);
        const bool is_of_links = message_is(&inner, MESSAGE_SIGNAL, SIGNAL_LINKS_MEASURED);
        const bool is_lie = (inner.head.kind == MESSAGE_REPORT || is_progress || is_beat) &&
                            !ID_EQUAL(inner.head.node_id, slot->node_id);
        if (is_lie)
            master->refused_count++; /* a node speaks for itself only */
        else if (inner.head.kind == MESSAGE_COMMAND || inner.head.kind == MESSAGE_REPORT)
            status = request_take(master, &inner, slot, body->ticket);
        else if (is_of_links)
            links_take(master, slot, inner.body);
        else if (is_progress || is_beat)
            pass_signal(master, &inner);
        else if (inner.head.kind == MESSAGE_SIGNAL && is_leader(master))
            duties_signal(master, &inner);
    } else {
        uint32_t at = 0;
        struct pending *pending =
            body->ticket ? pending_by_ticket(master, body->ticket, &at) : NULL;
        if (pending && inner.head.kind == MESSAGE_ANSWER &&
            inner.head.status != STATUS_NO_LEADER) { /* else it is passed on again */
            struct message answer = message_take(&inner);
            send_answer(master, pending, &answer);
            pending_remove(master, at);
        }
    }
    message_fini(&inner);
    return status;
}

void requests_committed(struct master *master)
{
    for (uint32_t i = master->pending_count; i-- > 0;) {
        const struct pending *pending = &master->pending[i];
        if (pending->index == 0 || pending->index > master->committed)
            continue;
        answer_with(master, pending, STATUS_OK, NULL);
        pending_remove(master, i);
    }
}

/* This node leads now: it decides what it kept for another leader. */
static enum status decide_kept(struct master *master, uint32_t at)
{
    struct pending pending = master->pending[at];
    struct message message;
    struct reason reason = {""};
    pending_forget(master, at);
    enum status status = message_decode(pending.bytes, pending.size, &message, &reason);
    memory_free(pending.bytes);
    pending.bytes = NULL;
    pending.size = 0;
    if (status != STATUS_OK) {
        pending_fini(&pending);
        return status;
    }
    status = decide(master, &message, &pending);
    message_fini(&message);
    return status;
}

enum status requests_retry(struct master *master)
{
    struct node_slot *leader = leader_slot(master);
    enum status status = STATUS_OK;
    /* What is decided is kept again behind the others, so only those here now are looked at. */
    uint32_t left = master->pending_count;
    for (uint32_t i = 0; status == STATUS_OK && left > 0; left--) {
        struct pending *pending = &master->pending[i];
        if (pending->index != 0 || !pending->bytes) {
            i++;
        } else if (is_leader(master)) {
            status = decide_kept(master, i);
        } else {
            if (leader)
                status = forward(master, leader, pending);
            i++;
        }
    }
    return status;
}

void requests_again(struct master *master, const struct node_slot *slot)
{
    for (uint32_t i = 0; slot == leader_slot(master) && i < master->pending_count; i++)
        master->pending[i].again_ms = 0;
}

static const char *why_no_leader(const struct master *master)
{
    if (master->lost_index > 0)
        return "the event log of this node is damaged and no other node sent what is missing yet; "
               "start another node, then try again";
    return majority_is_here(master) ? "no leader could take it within its time; try again"
                                    : MINORITY_SENTENCE;
}

enum status requests_tick(struct master *master)
{
    struct node_slot *leader = leader_slot(master);
    bool is_due = false;
    for (uint32_t i = master->pending_count; i-- > 0;) {
        const struct pending *pending = &master->pending[i];
        if (master->input->now_ms < pending->deadline_ms) {
            is_due = is_due || (pending->index == 0 && master->input->now_ms >= pending->again_ms);
            continue;
        }
        if (pending->index != 0 && master->disk_is_full)
            answer_with(master, pending, STATUS_NO_SPACE,
                        "the disk of the event log is full; free some space, the event is then "
                        "written");
        else
            answer_with(master, pending, STATUS_NO_LEADER, why_no_leader(master));
        pending_remove(master, i);
    }
    /* One is due: all go again, in their order. */
    return is_due && leader && slot_is_reachable(leader) ? requests_retry(master) : STATUS_OK;
}

void requests_forget_peer(struct master *master, const struct peer *peer)
{
    for (uint32_t i = master->pending_count; i-- > 0;)
        if (!master->pending[i].is_from_node && peer_equal(&master->pending[i].peer, peer) &&
            master->pending[i].head.kind != MESSAGE_REPORT)
            pending_remove(master, i);
}
