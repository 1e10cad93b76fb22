/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication: the same log on every node.
 *
 * The leader makes an event durable and sends it to every follower whose log is a prefix of its
 * own. It is committed when it is on the disk of the leader and of every follower in the view.
 * Where the logs part is found by halving over chain values; what the follower has beyond it is cut
 * and kept aside.  A follower too far behind for the records in memory is read to from disk.
 */
#include "actors/master/master.h"

#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/process.h"

#include <stdio.h>
#include <string.h>

#define RECORDS_PER_MESSAGE 64u
#define RECORDS_IN_FLIGHT 512u
#define SNAPSHOT_EVERY 4096u
#define ODD_BEATS_MAX 4u

struct recent *recent_find(struct master *master, uint64_t index)
{
    if (index < master->recent_first || index - master->recent_first >= master->recent_count)
        return NULL;
    return &master->recent[index % RECENT_COUNT_MAX];
}

static enum status recent_push(struct master *master, const struct log_record *record,
                               bool has_chain)
{
    if (master->recent_count == 0)
        master->recent_first = record->index;
    ASSERT(record->index == master->recent_first + master->recent_count);
    if (master->recent_count == RECENT_COUNT_MAX) {
        record_fini(&log_record_type,
                    &master->recent[master->recent_first % RECENT_COUNT_MAX].record);
        master->recent_first++;
        master->recent_count--;
    }
    struct recent *place = &master->recent[record->index % RECENT_COUNT_MAX];
    enum status status = record_copy(&log_record_type, record, &place->record);
    place->has_chain = has_chain;
    master->recent_count += status == STATUS_OK;
    return status;
}

/* Forgets the records after `index`. */
void recent_cut(struct master *master, uint64_t index)
{
    while (master->recent_count > 0 && master->recent_first + master->recent_count - 1 > index) {
        uint64_t last = master->recent_first + master->recent_count - 1;
        record_fini(&log_record_type, &master->recent[last % RECENT_COUNT_MAX].record);
        master->recent_count--;
    }
}

static void log_write_free(void *request)
{
    struct log_write *write = request;
    if (write)
        record_fini(&log_record_type, &write->record);
    memory_free(write);
}

static enum status log_write(struct master *master, enum master_effect effect,
                             const struct log_record *record, uint32_t kind)
{
    struct log_write *write = memory_zeroed(1, sizeof(*write));
    if (!write)
        return STATUS_NO_MEMORY;
    write->epoch = record->epoch;
    write->kind = kind;
    enum status status = record_copy(&log_record_type, record, &write->record);
    if (status != STATUS_OK) {
        memory_free(write);
        return status;
    }
    outbox_effect(master->outbox, 0, effect, write, log_write_free);
    return STATUS_OK;
}

void replication_ask_log(struct master *master, enum master_effect effect, uint64_t index,
                         uint32_t count, const struct node_slot *slot)
{
    struct log_question *question = memory_zeroed(1, sizeof(*question));
    if (!question) {
        master->outbox->failed = STATUS_NO_MEMORY;
        return;
    }
    question->index = index;
    question->count = count;
    if (slot)
        question->node = slot->node_id;
    outbox_effect(master->outbox, slot ? slot->link : 0, effect, question, memory_free);
}

static enum status apply(struct master *master, const struct message *event)
{
    enum status status = state_apply(&master->state, event);
    if (status != STATUS_OK)
        return refuse(master->reason, status, "event %llu cannot be applied: %s",
                      (unsigned long long)event->head.index, status_text(status));
    slots_refresh(master);
    allow_refresh(master);
    return STATUS_OK;
}

enum status replication_append(struct master *master, struct message *event)
{
    event->head.index = master->state.index + 1;
    event->head.time_ms = master->input->wall_ms > master->state.time_ms ? master->input->wall_ms
                                                                         : master->state.time_ms;
    event->head.kind = MESSAGE_EVENT;
    memset(&event->head.epoch, 0, sizeof(event->head.epoch));
    if (event->head.incarnation == 0) {
        memset(&event->head.node_id, 0, sizeof(event->head.node_id));
        event->head.actor = 0;
    }
    struct buffer bytes;
    buffer_init(&bytes, EVENT_BODY_SIZE_MAX);
    enum status status = message_encode(event, &bytes);
    struct log_record record = {.index = event->head.index,
                                .epoch = master->epoch,
                                .time_ms = event->head.time_ms,
                                .body = {bytes.bytes, (uint32_t)bytes.size}};
    if (status == STATUS_OK)
        status = apply(master, event);
    if (status == STATUS_OK)
        status = recent_push(master, &record, false);
    if (status == STATUS_OK)
        status = log_write(master, EFFECT_LOG_APPEND, &record, event->head.code);
    buffer_fini(&bytes);
    return status == STATUS_OK ? duties_after(master, event) : status;
}

/* ---- sending ---- */

bool replication_chain_at(struct master *master, uint64_t index, struct hash *chain_out)
{
    const struct recent *recent = recent_find(master, index);
    if (recent && recent->has_chain) {
        *chain_out = recent->record.chain;
        return true;
    }
    if (index == master->tail.index) {
        *chain_out = master->tail.chain;
        return true;
    }
    return false;
}

bool records_begin(struct master *master, const struct node_slot *slot, struct message *message)
{
    if (!message_begin(master, message, MESSAGE_LINK, LINK_RECORDS_SENT))
        return false;
    struct records_sent *body = message->body;
    body->previous_index = slot->sent;
    body->committed = master->committed;
    body->is_parting = slot->is_parting;
    return true;
}

/* Records after slot->sent, from memory when they are there, else asked from the disk. */
enum status replication_send(struct master *master, struct node_slot *slot)
{
    while (slot->tail_known && slot_is_reachable(slot) && slot->sent < master->tail.index &&
           !slot->is_reading && slot->sent - slot->synced < RECORDS_IN_FLIGHT) {
        struct hash previous;
        if (!recent_find(master, slot->sent + 1) ||
            !replication_chain_at(master, slot->sent, &previous)) {
            slot->is_reading = true;
            replication_ask_log(master, EFFECT_LOG_READ, slot->sent + 1, RECORDS_PER_MESSAGE, slot);
            return STATUS_OK;
        }
        struct message message;
        if (!records_begin(master, slot, &message))
            return STATUS_NO_MEMORY;
        struct records_sent *body = message.body;
        body->previous_chain = previous;
        size_t size = 0;
        while (slot->sent < master->tail.index && body->records.count < RECORDS_PER_MESSAGE &&
               size < PART_SIZE_MAX) {
            const struct recent *recent = recent_find(master, slot->sent + 1);
            if (!recent || !recent->has_chain)
                break;
            if (!record_list_push(&log_record_type, RECORD_LIST(body->records), &recent->record,
                                  RECORDS_PER_APPEND_MAX)) {
                message_fini(&message);
                return STATUS_NO_MEMORY;
            }
            size += recent->record.body.count;
            slot->sent++;
        }
        send_to_node(master, slot, &message);
    }
    return STATUS_OK;
}

static enum status send_all(struct master *master)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < COUNT_OF(master->nodes); i++)
        if (master->nodes[i].is_used)
            status = replication_send(master, &master->nodes[i]);
    return status;
}

void replication_send_beats(struct master *master)
{
    master->beat_count++;
    master->beat_at_ms = master->input->now_ms + master->settings->beat_ms;
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++) {
        struct node_slot *slot = &master->nodes[i];
        struct message message;
        if (!slot->is_used || !slot_is_reachable(slot) ||
            !message_begin(master, &message, MESSAGE_LINK, LINK_LEADER_BEAT))
            continue;
        struct leader_beat *body = message.body;
        body->index = master->tail.index;
        body->committed = master->committed;
        body->count = master->beat_count;
        send_to_node(master, slot, &message);
    }
}

void replication_tell_tail(struct master *master, struct node_slot *slot, uint64_t count)
{
    struct message message;
    if (master->needs_state)
        return; /* records could not be taken */
    if (!message_begin(master, &message, MESSAGE_LINK, LINK_FOLLOWER_BEAT))
        return;
    struct follower_beat *body = message.body;
    body->synced = master->tail.index;
    body->count = count;
    body->tail_epoch = (struct epoch){master->tail.epoch.number, master->tail.epoch.leader};
    body->tail_chain = master->tail.chain;
    send_to_node(master, slot, &message);
}

/* ---- committing ---- */

enum status view_ids(const struct master *master, const struct node_id *without,
                     const struct node_id *with, struct bytes *ids_out)
{
    struct buffer ids;
    buffer_init(&ids, NODE_COUNT_MAX * sizeof(struct node_id));
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < master->state.nodes.count; i++) {
        const struct node_record *node = &master->state.nodes.items[i];
        bool is_in = node->in_view || (with && ID_EQUAL(node->node_id, *with));
        if (is_in && !(without && ID_EQUAL(node->node_id, *without)))
            status = buffer_append(&ids, &node->node_id, sizeof(node->node_id));
    }
    if (status == STATUS_OK && !bytes_set(ids_out, ids.bytes, ids.size))
        status = STATUS_NO_MEMORY;
    buffer_fini(&ids);
    return status;
}

static enum status change_view(struct master *master, const struct node_id *without,
                               const struct node_id *with, const char *reason)
{
    struct message event;
    if (!message_begin(master, &event, MESSAGE_EVENT, EVENT_VIEW_CHANGED))
        return STATUS_NO_MEMORY;
    struct view_changed *body = event.body;
    enum status status = view_ids(master, without, with, &body->view);
    if (status == STATUS_OK && !text_set(&body->reason, reason))
        status = STATUS_NO_MEMORY;
    if (status == STATUS_OK)
        status = replication_append(master, &event);
    message_fini(&event);
    return status;
}

bool majority_is(const struct master *master, uint32_t count)
{
    uint32_t all = 0;
    for (uint32_t i = 0; i < master->state.nodes.count; i++)
        all += master->state.nodes.items[i].counts || master->state.nodes.items[i].in_view;
    return !master->settings->quorum || count * 2 > all;
}

bool majority_is_here(const struct master *master)
{
    uint32_t here = 1;
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++) {
        const struct node_slot *slot = &master->nodes[i];
        const struct node_record *node =
            slot->is_used ? state_find_node(&master->state, &slot->node_id) : NULL;
        here += node && node->counts && slot_is_reachable(slot) &&
                master->input->now_ms < slot->heard_ms + 2 * master->settings->view_timeout_ms;
    }
    return majority_is(master, here);
}

static uint32_t view_count(const struct master *master)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < master->state.nodes.count; i++)
        count += master->state.nodes.items[i].in_view;
    return count;
}

enum status view_check(struct master *master)
{
    char reason[128];
    for (uint32_t i = 0; i < master->state.nodes.count; i++) {
        const struct node_record *node = &master->state.nodes.items[i];
        const struct node_slot *slot = slot_find(master, &node->node_id);
        if (!slot)
            continue;
        uint64_t silent_ms = master->input->now_ms - slot->heard_ms;
        if (slot->heard_ms > master->input->now_ms)
            silent_ms = 0;
        /* It beats, but its disk does not take what we send. */
        const bool is_stuck =
            slot->synced < master->tail.index && slot->moved_ms < master->input->now_ms &&
            master->input->now_ms - slot->moved_ms > 2 * master->settings->view_timeout_ms;
        const bool may_shrink = majority_is(master, view_count(master) - 1);
        const struct node_id id = node->node_id;
        const bool is_silent = silent_ms > master->settings->view_timeout_ms;
        if (node->in_view && (is_silent || is_stuck) && may_shrink) {
            (void)snprintf(reason, sizeof(reason),
                           is_silent ? "%.60s was silent for %llu ms"
                                     : "%.60s wrote none of our events for %llu ms",
                           text_or_empty(node->name),
                           (unsigned long long)(is_silent
                                                    ? silent_ms
                                                    : master->input->now_ms - slot->moved_ms));
            enum status status = change_view(master, &id, NULL, reason);
            return status == STATUS_OK ? replication_commit(master) : status;
        }
        if (!node->in_view && slot->tail_known && slot_is_reachable(slot) &&
            slot->synced >= master->tail.index && silent_ms < master->settings->view_timeout_ms) {
            (void)snprintf(reason, sizeof(reason), "%.60s has the whole log",
                           text_or_empty(node->name));
            return change_view(master, NULL, &id, reason);
        }
    }
    return STATUS_OK;
}

enum status replication_commit(struct master *master)
{
    if (!is_leader(master))
        return STATUS_OK;
    uint64_t held = master->tail.index;
    uint32_t holders = 1;
    for (uint32_t i = 0; i < master->state.nodes.count; i++) {
        const struct node_record *node = &master->state.nodes.items[i];
        const struct node_slot *slot = slot_find(master, &node->node_id);
        if (!node->in_view || !slot)
            continue;
        holders++;
        if (slot->synced < held)
            held = slot->synced;
    }
    if (!majority_is(master, holders))
        return STATUS_OK;
    if (held <= master->committed)
        return STATUS_OK;
    master->committed = held;
    locals_publish(master);
    requests_committed(master);
    /* Followers apply when they hear of it: at once, not with the next beat. */
    if (master->state.nodes.count > 1)
        replication_send_beats(master);
    return STATUS_OK;
}

/* ---- following ---- */

static enum status apply_recent(struct master *master, const struct recent *recent)
{
    struct message event;
    struct reason reason = {""};
    enum status status =
        message_decode(recent->record.body.items, recent->record.body.count, &event, &reason);
    if (status != STATUS_OK)
        return refuse(master->reason, status, "event %llu of the log cannot be read: %s",
                      (unsigned long long)recent->record.index, reason.text);
    status = apply(master, &event);
    message_fini(&event);
    return status;
}

static void state_write_free(void *request)
{
    struct state_write *write = request;
    if (write)
        buffer_fini(&write->bytes);
    memory_free(write);
}

static void snapshot_when_due(struct master *master)
{
    const uint64_t every =
        master->settings->snapshot_every ? master->settings->snapshot_every : SNAPSHOT_EVERY;
    if (master->state.index < master->snapshot_index + every ||
        master->state.index > master->tail.index)
        return;
    struct state_write *write = memory_zeroed(1, sizeof(*write));
    if (!write)
        return;
    write->index = master->state.index;
    buffer_init(&write->bytes, 256u << 20);
    if (state_encode(&master->state, &write->bytes) != STATUS_OK) {
        buffer_fini(&write->bytes);
        memory_free(write);
        return;
    }
    hash_of(write->bytes.bytes, write->bytes.size, &write->hash);
    master->snapshot_index = master->state.index;
    outbox_effect(master->outbox, 0, EFFECT_SNAPSHOT_WRITE, write, state_write_free);
}

static enum status apply_up_to(struct master *master, uint64_t index)
{
    enum status status = STATUS_OK;
    while (status == STATUS_OK && master->state.index < index) {
        const struct recent *recent = recent_find(master, master->state.index + 1);
        if (!recent || recent->record.index > master->tail.index)
            break;
        status = apply_recent(master, recent);
    }
    return status;
}

/* Follower: the leader says that events up to `committed` are.  Only what is known to be the same
 * in its log may be applied: ours may have parted from it. */
static enum status follow_commit(struct master *master, uint64_t committed)
{
    uint64_t known = committed < master->matched ? committed : master->matched;
    enum status status = apply_up_to(master, known);
    if (status != STATUS_OK)
        return status;
    if (known > master->state.index)
        known = master->state.index;
    if (known > master->committed) {
        master->committed = known;
        locals_publish(master);
        requests_committed(master); /* of when this node led itself */
    }
    snapshot_when_due(master);
    return STATUS_OK;
}

enum status replication_apply_all(struct master *master)
{
    /* Records that wait for the disk stand before anything this leader will append. */
    enum status status = STATUS_OK;
    const struct recent *recent = NULL;
    while (status == STATUS_OK && (recent = recent_find(master, master->state.index + 1)) != NULL)
        status = apply_recent(master, recent);
    return status;
}

enum status replication_beat(struct master *master, struct node_slot *slot,
                             const struct message *message)
{
    const struct leader_beat *body = MESSAGE_BODY(message, leader_beat);
    bool accepted = false;
    enum status status = leadership_hear(master, slot, &message->head.epoch, &accepted);
    if (status == STATUS_OK && accepted)
        status = follow_commit(master, body->committed);
    if (status == STATUS_OK && accepted)
        repair_compare(master, body);
    if (status == STATUS_OK)
        replication_tell_tail(master, slot, body->count);
    return status;
}

uint64_t replication_last_index(const struct master *master)
{
    return master->recent_count > 0 ? master->recent_first + master->recent_count - 1
                                    : master->tail.index;
}

/* The records after body->previous_index that are not in our log yet go to disk.  Stops at one that
 * is not ours, or not known to be: our beat tells the leader where we stand. */
static enum status take_records(struct master *master, struct node_slot *slot,
                                const struct records_sent *body)
{
    uint64_t last = replication_last_index(master);
    for (uint32_t i = 0; i < body->records.count; i++) {
        const struct log_record *record = &body->records.items[i];
        struct hash chain;
        if (record->index != body->previous_index + 1 + i)
            break;
        if (record->index <= last) {
            const bool is_known = replication_chain_at(master, record->index, &chain);
            if (is_known ? !ID_EQUAL(chain, record->chain) : record->index > master->matched)
                break;
        } else {
            enum status status = recent_push(master, record, true);
            if (status == STATUS_OK)
                status = log_write(master, EFFECT_LOG_COPY, record, 0);
            if (status != STATUS_OK)
                return status;
            last++;
        }
        if (record->index > master->matched)
            master->matched = record->index;
    }
    if (last == master->tail.index)
        replication_tell_tail(master, slot, 0); /* nothing to sync, so nothing else would answer */
    return STATUS_OK;
}

/* Cuts what we have after the common prefix. */
static void cut_to(struct master *master, uint64_t index, const struct hash *chain)
{
    replication_ask_log(master, EFFECT_LOG_TRUNCATE, index, 0, NULL);
    recent_cut(master, index);
    master->tail.index = index;
    if (chain)
        master->tail.chain = *chain;
    if (index < master->state.index)
        outbox_exit(master->outbox, EXIT_CODE_AGAIN); /* the state holds what is cut */
}

/* The first record of the message that is not ours; false when all of them are. */
static bool find_parting(struct master *master, const struct records_sent *body,
                         uint64_t *index_out, const struct hash **chain_out)
{
    *index_out = body->previous_index;
    *chain_out = &body->previous_chain;
    for (uint32_t i = 0; i < body->records.count; i++) {
        struct hash chain;
        if (!replication_chain_at(master, *index_out + 1, &chain) ||
            !ID_EQUAL(chain, body->records.items[i].chain))
            return true;
        (*index_out)++;
        *chain_out = &body->records.items[i].chain;
    }
    return body->records.count == 0;
}

enum status replication_records(struct master *master, struct node_slot *slot,
                                const struct message *message)
{
    const struct records_sent *body = MESSAGE_BODY(message, records_sent);
    bool accepted = false;
    enum status status = leadership_hear(master, slot, &message->head.epoch, &accepted);
    if (status != STATUS_OK || !accepted || body->previous_index > replication_last_index(master)) {
        replication_tell_tail(master, slot, 0);
        return status;
    }
    struct hash chain;
    uint64_t parting = 0;
    const struct hash *parting_chain = NULL;
    if (body->is_parting && body->previous_index < replication_last_index(master)) {
        /* The leader has compared both logs, ours as our disk told it. */
        if (find_parting(master, body, &parting, &parting_chain) &&
            parting < replication_last_index(master)) {
            cut_to(master, parting, parting_chain);
            if (parting < master->state.index)
                return STATUS_OK;
        }
    } else if (body->previous_index > master->matched &&
               !(replication_chain_at(master, body->previous_index, &chain) &&
                 ID_EQUAL(chain, body->previous_chain))) {
        replication_tell_tail(master, slot, 0);
        return STATUS_OK;
    }
    if (body->previous_index > master->matched)
        master->matched = body->previous_index;
    status = take_records(master, slot, body);
    return status == STATUS_OK ? follow_commit(master, body->committed) : status;
}

/* ---- the leader hears a follower ---- */

/* Is the tail it tells of in our log?  Beats cross with what we send, so one that is not may be
 * late. */
static bool beat_fits(struct master *master, const struct node_slot *slot,
                      const struct follower_beat *body)
{
    struct hash chain;
    if (body->synced > master->tail.index || body->synced < slot->synced)
        return false;
    if (replication_chain_at(master, body->synced, &chain))
        return ID_EQUAL(chain, body->tail_chain);
    /* Older than what is in memory: it is what we have read for it from the disk. */
    return body->synced <= slot->sent &&
           !(slot->is_parting && ID_EQUAL(body->tail_chain, slot->tail_chain));
}

static void beat_taken(struct master *master, struct node_slot *slot,
                       const struct follower_beat *body)
{
    const bool has_moved = body->synced > slot->synced || body->synced >= master->tail.index;
    slot->odd_beats = 0;
    slot->is_parting = false;
    slot->synced = body->synced;
    if (slot->sent < slot->synced)
        slot->sent = slot->synced;
    if (has_moved)
        slot->moved_ms = master->input->now_ms;
    if (body->count == 0)
        return;
    if (has_moved || slot->synced >= slot->sent) {
        slot->count_answered = body->count;
    } else if (body->count > slot->count_answered + 8 && !slot->is_reading) {
        slot->sent = slot->synced; /* what was on the way is lost */
        slot->count_answered = body->count;
    }
}

enum status replication_follower_beat(struct master *master, struct node_slot *slot,
                                      const struct message *message)
{
    const struct follower_beat *body = MESSAGE_BODY(message, follower_beat);
    if (epoch_compare(&message->head.epoch, &master->epoch) > 0)
        return leadership_yield(master, &message->head.epoch);
    if (!is_leader(master))
        return STATUS_OK;
    if (slot->snapshot_sent && body->synced > slot->told_index)
        slot->snapshot_sent = false; /* it has taken it in */
    enum status status = STATUS_OK;
    if (slot->tail_known && beat_fits(master, slot, body))
        beat_taken(master, slot, body);
    else if (!slot->tail_known || ++slot->odd_beats >= ODD_BEATS_MAX)
        status = catch_up_check_tail(master, slot, body);
    if (status == STATUS_OK)
        status = replication_send(master, slot);
    return status == STATUS_OK ? replication_commit(master) : status;
}

/* ---- results ---- */

enum status replication_synced(struct master *master, const struct log_synced *synced)
{
    master->disk_is_full = false;
    if (master->lost_index > 0 && !synced->is_damaged)
        repair_end(master);
    for (uint32_t i = 0; i < synced->count; i++) {
        struct recent *recent = recent_find(master, synced->stamps[i].index);
        if (recent && !recent->has_chain) {
            recent->record.chain = synced->stamps[i].chain;
            recent->has_chain = true;
        }
        master->tail = synced->stamps[i];
    }
    if (is_leader(master)) {
        enum status status = send_all(master);
        if (status == STATUS_OK)
            status = replication_commit(master);
        snapshot_when_due(master);
        return status;
    }
    struct node_slot *slot = leader_slot(master);
    if (slot)
        replication_tell_tail(master, slot, 0);
    return STATUS_OK;
}

enum status replication_result(struct master *master, struct result *result)
{
    struct node_slot *slot = NULL;
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++)
        if (master->nodes[i].is_used && result->id == master->nodes[i].link)
            slot = &master->nodes[i];
    switch (result->kind) {
    case RESULT_LOG_SYNCED:
        return replication_synced(master, result->value);
    case RESULT_LOG_FULL:
        master->disk_is_full = true;
        return STATUS_OK;
    case EFFECT_LOG_READ:
        return slot ? catch_up_records_read(master, slot, result->value, result->status)
                    : STATUS_OK;
    case EFFECT_LOG_CHAIN:
        return slot ? catch_up_chain_read(master, slot, result->value, result->status) : STATUS_OK;
    case EFFECT_INTERFACES:
        ways_offers_read(master, result->value);
        return STATUS_OK;
    case EFFECT_PROBE: {
        struct message signal;
        if (!message_begin(master, &signal, MESSAGE_SIGNAL, SIGNAL_NODE_LOAD))
            return STATUS_NO_MEMORY;
        enum status status =
            record_copy(&node_load_type, result->value, MESSAGE_BODY(&signal, node_load));
        if (status == STATUS_OK)
            duties_signal(master, &signal);
        message_fini(&signal);
        return status;
    }
    default:
        return STATUS_OK;
    }
}
