/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catch_up: a follower whose log is shorter than the leader's, or parted from it.
 *
 * The leader compares chain values: at the follower's tail first, then halving, until it knows the
 * longest common prefix; records follow from there.  A follower that ends before the oldest record
 * here gets the state itself.
 */
#include "actors/master/master.h"

#include "protocol/hash.h"
#include "protocol/memory.h"

#include <string.h>

/* Beats of a follower before a search whose answers are lost begins again. */
#define SEARCH_BEATS_MAX 8u

static void ask_chain(struct master *master, struct node_slot *slot)
{
    struct message message;
    if (!message_begin(master, &message, MESSAGE_LINK, LINK_CHAIN_ASKED))
        return;
    struct chain_asked *body = message.body;
    body->index = slot->common_low + (slot->common_high - slot->common_low + 1) / 2;
    send_to_node(master, slot, &message);
}

static void search_from(struct master *master, struct node_slot *slot, uint64_t high)
{
    slot->searching = true;
    slot->low_is_guess = false;
    slot->common_low = 0;
    slot->common_high = high;
    ask_chain(master, slot);
}

static void send_state(struct master *master, struct node_slot *slot)
{
    const struct peer own = peer_of_link(slot->link);
    if (!slot->snapshot_sent && slot_is_reachable(slot))
        slot->snapshot_sent = send_snapshot(master, slot->is_up ? &own : &slot->inbound);
}

/* What the follower told about one index, against our own log. */
static enum status compare_chain(struct master *master, struct node_slot *slot, bool is_ours_known,
                                 const struct hash *ours)
{
    const bool is_known = slot->told_known && is_ours_known;
    const bool is_common = is_known && ID_EQUAL(*ours, slot->told_chain);
    if (!slot->searching) {
        if (!is_common) {
            search_from(master, slot, slot->told_index > 0 ? slot->told_index - 1 : 0);
            return STATUS_OK;
        }
        slot->common_low = slot->common_high = slot->told_index;
        slot->low_is_guess = false;
    } else if (!is_known || is_common) {
        /* One of the logs begins after that: if they share anything, it is later. */
        slot->low_is_guess = !is_known;
        slot->common_low = slot->told_index;
    } else {
        slot->common_high = slot->told_index > 0 ? slot->told_index - 1 : 0;
    }
    if (slot->common_low < slot->common_high) {
        ask_chain(master, slot);
        return STATUS_OK;
    }
    slot->searching = false;
    if (slot->low_is_guess) {
        send_state(master, slot); /* nothing that both still have is the same */
        return STATUS_OK;
    }
    slot->tail_known = true;
    slot->is_reading = false;
    slot->odd_beats = 0;
    slot->is_parting = slot->tail_index > slot->common_low;
    slot->sent = slot->synced = slot->common_low;
    if (slot->sent == master->tail.index) {
        /* Nothing follows; it is told all the same that this much is the same. */
        struct message message;
        if (!records_begin(master, slot, &message))
            return STATUS_NO_MEMORY;
        MESSAGE_BODY(&message, records_sent)->previous_chain = master->tail.chain;
        send_to_node(master, slot, &message);
    }
    return replication_send(master, slot);
}

/* Compares now, or when the disk has told our own chain value there. */
static enum status compare_told(struct master *master, struct node_slot *slot)
{
    struct hash chain = {{0}};
    if (slot->told_index == 0 || !slot->told_known ||
        replication_chain_at(master, slot->told_index, &chain))
        return compare_chain(master, slot, true,
                             slot->told_index == 0 ? &slot->told_chain : &chain);
    replication_ask_log(master, EFFECT_LOG_CHAIN, slot->told_index, 0, slot);
    return STATUS_OK;
}

/* The follower's tail: is it a prefix of our log? */
enum status catch_up_check_tail(struct master *master, struct node_slot *slot,
                                const struct follower_beat *body)
{
    if (slot->searching && ++slot->odd_beats < SEARCH_BEATS_MAX)
        return STATUS_OK;
    slot->odd_beats = 0;
    slot->searching = slot->tail_known = false;
    slot->tail_index = body->synced;
    slot->tail_chain = body->tail_chain;
    slot->told_index = body->synced;
    slot->told_chain = body->tail_chain;
    slot->told_known = true;
    if (body->synced > master->tail.index) {
        search_from(master, slot, master->tail.index);
        return STATUS_OK;
    }
    return compare_told(master, slot);
}

static enum status chain_told(struct master *master, struct node_slot *slot,
                              const struct chain_told *body)
{
    if (!slot->searching || !is_leader(master))
        return STATUS_OK;
    slot->told_index = body->index;
    slot->told_chain = body->chain;
    slot->told_known = body->is_known;
    return compare_told(master, slot);
}

enum status replication_chain(struct master *master, struct node_slot *slot,
                              const struct message *message)
{
    if (message->head.code == LINK_CHAIN_TOLD)
        return chain_told(master, slot, MESSAGE_BODY(message, chain_told));
    const struct chain_asked *body = MESSAGE_BODY(message, chain_asked);
    replication_ask_log(master, EFFECT_LOG_CHAIN, body->index, 1, slot);
    return STATUS_OK;
}

enum status catch_up_chain_read(struct master *master, struct node_slot *slot,
                                const struct event_stamp *stamp, enum status found)
{
    if (!is_leader(master)) { /* a leader asked us */
        struct message message;
        if (!message_begin(master, &message, MESSAGE_LINK, LINK_CHAIN_TOLD))
            return STATUS_NO_MEMORY;
        struct chain_told *body = message.body;
        body->index = stamp->index;
        body->is_known = found == STATUS_OK;
        body->chain = stamp->chain;
        send_to_node(master, slot, &message);
        return STATUS_OK;
    }
    if (slot->tail_known || stamp->index != slot->told_index)
        return STATUS_OK;
    if (found != STATUS_OK && !slot->searching) {
        /* The follower ends before the oldest record here: only the state itself helps. */
        send_state(master, slot);
        return STATUS_OK;
    }
    return compare_chain(master, slot, found == STATUS_OK, &stamp->chain);
}

enum status catch_up_records_read(struct master *master, struct node_slot *slot,
                                  struct records_sent *records, enum status found)
{
    if (!is_leader(master) || !slot->is_reading)
        return STATUS_OK;
    slot->is_reading = false;
    if (!slot->tail_known)
        return STATUS_OK;
    if (found != STATUS_OK || records->records.count == 0) {
        slot->tail_known = false;
        send_state(master, slot);
        return STATUS_OK;
    }
    struct message message;
    if (records->previous_index != slot->sent)
        return replication_send(master, slot); /* read for what it lacked before */
    if (!records_begin(master, slot, &message))
        return STATUS_NO_MEMORY;
    slot->sent = records->records.items[records->records.count - 1].index;
    records->committed = master->committed;
    records->is_parting = slot->is_parting;
    *MESSAGE_BODY(&message, records_sent) = *records;
    memset(records, 0, sizeof(*records));
    send_to_node(master, slot, &message);
    return replication_send(master, slot);
}

static void snapshot_free(void *request)
{
    struct event_snapshot *snapshot = request;
    if (snapshot)
        memory_free(snapshot->state);
    memory_free(snapshot);
}

/* ---- the state of a leader, when records are not enough ---- */

enum status replication_snapshot_part(struct master *master, struct node_slot *slot,
                                      const struct message *message)
{
    const struct snapshot_part *body = MESSAGE_BODY(message, snapshot_part);
    bool accepted = false;
    if (is_leader(master) || body->index <= master->state.index)
        return STATUS_OK;
    /* Who joins has the state of whoever made its token, who lost it that of anybody with all that
     * was acknowledged; else only the leader gives it. */
    const bool is_enough = master->state.index == 0 && body->index >= master->lost_index;
    if (!is_enough) {
        enum status heard = leadership_hear(master, slot, &message->head.epoch, &accepted);
        if (heard != STATUS_OK || !accepted)
            return heard;
    }
    if (body->offset == 0)
        buffer_clear(&master->incoming);
    if (body->offset != master->incoming.size)
        return STATUS_OK;
    enum status status = buffer_append(&master->incoming, body->part.items, body->part.count);
    if (status != STATUS_OK || master->incoming.size < body->total)
        return status;
    struct state state;
    struct reason reason = {""};
    status = state_decode(master->incoming.bytes, master->incoming.size, &state, &reason);
    if (status != STATUS_OK)
        return STATUS_OK; /* a peer's nonsense */
    struct event_snapshot *snapshot = memory_zeroed(1, sizeof(*snapshot));
    if (!snapshot) {
        state_fini(&state);
        return STATUS_NO_MEMORY;
    }
    snapshot->stamp = (struct event_stamp){
        body->index, {body->record_epoch.number, body->record_epoch.leader}, body->chain};
    hash_of(master->incoming.bytes, master->incoming.size, &snapshot->state_hash);
    snapshot->state = master->incoming.bytes;
    snapshot->state_size = master->incoming.size;
    memset(&master->incoming, 0, sizeof(master->incoming));
    buffer_init(&master->incoming, 256u << 20);
    const struct event_stamp stamp = snapshot->stamp;
    outbox_effect(master->outbox, 0, EFFECT_LOG_INSTALL, snapshot, snapshot_free);
    state_fini(&master->state);
    master->state = state;
    master->tail = stamp;
    master->committed = master->matched = state.index;
    master->snapshot_index = state.index;
    repair_end(master);
    recent_cut(master, 0);
    master->recent_first = state.index + 1;
    /* Local actors learn of the jump by a snapshot of their own. */
    for (size_t i = 0; i < COUNT_OF(master->locals); i++)
        master->locals[i].wants_snapshot = master->locals[i].wants_events;
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++) {
        if (master->nodes[i].is_used)
            outbox_link_close(master->outbox, master->nodes[i].link);
        master->nodes[i].is_used = false;
    }
    slots_refresh(master);
    allow_refresh(master);
    locals_publish(master);
    master->join_at_ms = 0;
    master->describe_at_ms = master->input->now_ms;
    master->ask_at_ms = master->input->now_ms + 4 * master->settings->beat_ms;
    return STATUS_OK;
}
