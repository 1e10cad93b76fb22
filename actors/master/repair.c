/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repair: a node whose log is damaged before its acknowledged length.
 *
 * It follows and nothing else: it cannot lead, and has no voice in who does, as if it were away.
 * It tells every node it knows of where its log ends, until a leader answers with what comes after;
 * one that lost its beginning asks for the state.  A leader whose log ends before what was lost
 * here is of a higher epoch: what was lost is then not wanted any more, as with a branch.
 */
#include "actors/master/master.h"

#include "protocol/memory.h"

#include <string.h>

void repair_start(struct master *master)
{
    for (uint32_t i = 0; i < master->settings->known.count; i++)
        slot_take_known(master, &master->settings->known.items[i]);
    master->repair_at_ms = master->input->now_ms + master->settings->beat_ms;
}

static bool is_noted(const struct known_node *known, const struct node_record *node)
{
    return ID_EQUAL(known->node_id, node->node_id) && ID_EQUAL(known->key, node->key) &&
           strcmp(known->address, text_or_empty(node->address)) == 0;
}

void repair_note_nodes(struct master *master)
{
    struct known_nodes *known = &master->known;
    const uint32_t count = master->state.nodes.count;
    bool is_same = known->count == count;
    for (uint32_t i = 0; is_same && i < count; i++)
        is_same = is_noted(&known->items[i], &master->state.nodes.items[i]);
    if (is_same || master->lost_index > 0 || count > COUNT_OF(known->items))
        return;
    for (uint32_t i = 0; i < count; i++) {
        const struct node_record *node = &master->state.nodes.items[i];
        struct known_node *noted = &known->items[i];
        const char *address = text_or_empty(node->address);
        *noted = (struct known_node){.node_id = node->node_id, .key = node->key};
        if (strlen(address) < sizeof(noted->address))
            memcpy(noted->address, address, strlen(address) + 1);
    }
    known->count = count;
    struct known_nodes *written = memory_copied(known, sizeof(*known));
    outbox_effect(master->outbox, 0, EFFECT_NODES_WRITE, written, memory_free);
    if (!written)
        master->outbox->failed = STATUS_NO_MEMORY;
}

void repair_tick(struct master *master)
{
    const uint64_t now_ms = master->input->now_ms;
    if (master->lost_index == 0 || (leader_is_known(master) && !master->needs_state)) {
        master->repair_at_ms = 0;
        return;
    }
    if (now_ms < master->repair_at_ms)
        return;
    master->repair_at_ms = now_ms + (master->needs_state ? 2000 : master->settings->beat_ms);
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++) {
        struct node_slot *slot = &master->nodes[i];
        struct message message;
        if (!slot->is_used || !slot_is_reachable(slot))
            continue;
        if (!master->needs_state)
            replication_tell_tail(master, slot, 0);
        else if (message_begin(master, &message, MESSAGE_LINK, LINK_ASK_STATE))
            send_to_node(master, slot, &message);
    }
}

void repair_end(struct master *master)
{
    master->lost_index = 0;
    master->repair_at_ms = 0;
    master->needs_state = false;
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++)
        master->nodes[i].is_hint = false;
}

void repair_compare(struct master *master, const struct leader_beat *beat)
{
    if (master->lost_index == 0 || master->needs_state || beat->index != master->tail.index ||
        master->matched != master->tail.index ||
        replication_last_index(master) != master->tail.index)
        return;
    /* The leader has nothing more to send. */
    replication_ask_log(master, EFFECT_LOG_TRUNCATE, master->tail.index, 0, NULL);
    repair_end(master);
}
