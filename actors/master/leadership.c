/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leadership: who leads.  An epoch is (number, node id of its leader), on disk before it is told.
 *
 * A leader keeps its place while its lease holds: it must have turned at least once in lease_ms
 * (time counts while the machine sleeps); a longer log elsewhere never deposes it.  A candidate
 * asks every known master, waits one beat, defers to the highest epoch, then the longest log, then
 * the higher node id, and takes the number after the highest it has seen.
 */
#include "actors/master/master.h"

#include "protocol/memory.h"

#include <string.h>

bool leader_is_known(const struct master *master)
{
    if (master->role == ROLE_LEADER)
        return true;
    return !ID_IS_ZERO(master->leader) && master->input->now_ms < master->lease_until_ms;
}

struct node_slot *leader_slot(struct master *master)
{
    if (master->role == ROLE_LEADER || !leader_is_known(master))
        return NULL;
    return slot_find(master, &master->leader);
}

void leadership_start(struct master *master)
{
    /* Alone there is nobody to ask; else a living leader may beat first. */
    const bool is_alone = master->state.nodes.count <= 1;
    master->role = ROLE_FOLLOWER;
    master->ask_at_ms = master->input->now_ms + (is_alone ? 0 : 2 * master->settings->beat_ms);
    /* Connections come up after us: silence means nothing before they had time to. */
    master->contact_until_ms =
        master->input->now_ms + (is_alone ? 0 : 2 * master->settings->lease_ms);
}

static void promise(struct master *master, const struct epoch *epoch)
{
    master->epoch = *epoch;
    struct epoch *written = memory_copied(epoch, sizeof(*epoch));
    outbox_effect(master->outbox, 0, EFFECT_EPOCH_WRITE, written, memory_free);
    if (!written)
        master->outbox->failed = STATUS_NO_MEMORY;
}

/* Of the last record on disk, applied or not: what is on disk may be acknowledged. */
static struct epoch last_epoch(const struct master *master)
{
    return (struct epoch){master->tail.epoch.number, master->tail.epoch.leader};
}

static void send_candidacy(struct master *master, struct node_slot *slot, bool is_question)
{
    struct message message;
    if (!message_begin(master, &message, MESSAGE_LINK, LINK_CANDIDACY))
        return;
    struct candidacy *body = message.body;
    const bool asker_led = ID_EQUAL(master->leader, slot->node_id);
    body->last_epoch = last_epoch(master);
    body->index = master->tail.index;
    if (master->lost_index > 0) { /* what it held counts: nobody with less may lead */
        body->last_epoch = master->epoch;
        body->index = master->lost_index;
    }
    body->seen_epoch = master->epoch;
    body->is_question = is_question;
    body->has_leader = master->role == ROLE_LEADER || (leader_is_known(master) && !asker_led);
    if (!text_set(&body->address, master->endpoint)) {
        message_fini(&message);
        return;
    }
    send_to_node(master, slot, &message);
}

static void ask_all(struct master *master)
{
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++)
        if (master->nodes[i].is_used && !master->nodes[i].has_answered)
            send_candidacy(master, &master->nodes[i], true);
}

static void become_candidate(struct master *master)
{
    master->role = ROLE_CANDIDATE;
    memset(&master->leader, 0, sizeof(master->leader));
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++)
        master->nodes[i].has_answered = false;
    const bool is_alone = master->state.nodes.count <= 1;
    master->decide_at_ms = master->input->now_ms + (is_alone ? 0 : master->settings->beat_ms);
    ask_all(master);
}

/* Would that node lead rather than we? */
static bool is_better(const struct master *master, const struct node_slot *slot)
{
    const struct epoch own = last_epoch(master);
    int order = epoch_compare(&slot->answer.last_epoch, &own);
    if (order != 0)
        return order > 0;
    if (slot->answer.index != master->tail.index)
        return slot->answer.index > master->tail.index;
    return memcmp(&slot->node_id, &master->settings->node_id, sizeof(slot->node_id)) > 0;
}

static enum status begin_epoch(struct master *master)
{
    struct message event;
    if (!message_begin(master, &event, MESSAGE_EVENT, EVENT_EPOCH_BEGUN))
        return STATUS_NO_MEMORY;
    struct epoch_begun *body = event.body;
    body->epoch = master->epoch;
    /* Those who answered are waited for from the start: nothing is acknowledged behind their backs.
     */
    struct buffer ids;
    buffer_init(&ids, NODE_COUNT_MAX * sizeof(struct node_id));
    enum status status = buffer_append(&ids, &master->settings->node_id, sizeof(struct node_id));
    for (size_t i = 0; status == STATUS_OK && i < COUNT_OF(master->nodes); i++)
        if (master->nodes[i].is_used && master->nodes[i].has_answered)
            status = buffer_append(&ids, &master->nodes[i].node_id, sizeof(struct node_id));
    if (status == STATUS_OK && !bytes_set(&body->view, ids.bytes, ids.size))
        status = STATUS_NO_MEMORY;
    buffer_fini(&ids);
    if (status == STATUS_OK)
        status = replication_append(master, &event);
    message_fini(&event);
    return status;
}

static enum status found_cluster(struct master *master)
{
    struct message event;
    if (!message_begin(master, &event, MESSAGE_EVENT, EVENT_CLUSTER_FOUNDED))
        return STATUS_NO_MEMORY;
    struct cluster_founded *body = event.body;
    const struct master_settings *settings = master->settings;
    char address[LINK_ENDPOINT_SIZE];
    body->cluster_id = settings->cluster_id;
    enum status status = record_copy(&node_record_type, &settings->self, &body->node);
    body->node.node_id = settings->node_id;
    body->node.key = settings->key;
    body->node.sign_key = settings->sign_key;
    body->node.in_view = body->node.counts = true;
    if (status == STATUS_OK &&
        (!text_set(&body->node.address, ways_own_address(master, address)) ||
         !ways_describe(master, &body->node)))
        status = STATUS_NO_MEMORY;
    if (status == STATUS_OK)
        status = replication_append(master, &event);
    message_fini(&event);
    return status;
}

static void take_lead(struct master *master)
{
    struct epoch epoch = {master->epoch.number, master->settings->node_id};
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++)
        if (master->nodes[i].is_used && master->nodes[i].has_answered &&
            master->nodes[i].answer.seen_epoch.number > epoch.number)
            epoch.number = master->nodes[i].answer.seen_epoch.number;
    epoch.number++;
    promise(master, &epoch);
    enum status status = replication_apply_all(master);
    master->role = ROLE_LEADER;
    master->leader = master->settings->node_id;
    master->load_count = 0;
    master->probe_at_ms = master->input->now_ms;
    master->describe_at_ms = master->input->now_ms;
    memset(master->progress, 0, sizeof(master->progress));
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++) {
        struct node_slot *slot = &master->nodes[i];
        slot->tail_known = slot->searching = slot->snapshot_sent = slot->is_parting = false;
        slot->synced = 0;
        slot->heard_ms = slot->moved_ms = master->input->now_ms;
    }
    if (status == STATUS_OK && master->state.index == 0)
        status = found_cluster(master);
    if (status == STATUS_OK)
        status = begin_epoch(master);
    if (status == STATUS_OK)
        status = duties_begin(master);
    if (status == STATUS_OK)
        status = requests_retry(master);
    if (status != STATUS_OK)
        master->outbox->failed = status;
    replication_send_beats(master);
}

/* The answers are in, or the wait is over. */
static void decide(struct master *master)
{
    bool somebody_leads = false;
    bool somebody_is_better = false;
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++) {
        const struct node_slot *slot = &master->nodes[i];
        if (!slot->is_used || !slot->has_answered)
            continue;
        somebody_leads = somebody_leads || slot->answer.has_leader;
        somebody_is_better = somebody_is_better || is_better(master, slot);
    }
    uint32_t answered = 1;
    uint32_t voices = 1;
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++) {
        const struct node_slot *slot = &master->nodes[i];
        const struct node_record *node =
            slot->is_used ? state_find_node(&master->state, &slot->node_id) : NULL;
        answered += slot->is_used && slot->has_answered;
        voices += node && node->counts && slot->has_answered;
    }
    const bool too_few = !majority_is(master, voices);
    const bool too_early = answered < master->state.nodes.count && !somebody_leads &&
                           master->input->now_ms < master->contact_until_ms;
    if (too_early) {
        master->decide_at_ms = master->input->now_ms + master->settings->beat_ms;
        ask_all(master);
        return;
    }
    if (!somebody_leads && !somebody_is_better && !too_few) {
        take_lead(master);
        return;
    }
    master->role = ROLE_FOLLOWER;
    master->ask_at_ms = master->input->now_ms + master->settings->lease_ms +
                        master->input->random % (master->settings->beat_ms + 1);
}

static bool all_answered(const struct master *master)
{
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++)
        if (master->nodes[i].is_used && !master->nodes[i].has_answered)
            return false;
    return true;
}

/* Leaving the lead.  Events that are not committed stay applied here: the next leader has them, or
 * has others in their place, and then our log is cut and read again. */
static void step_down(struct master *master)
{
    master->role = ROLE_FOLLOWER;
    memset(&master->leader, 0, sizeof(master->leader));
    master->ask_at_ms = master->input->now_ms + master->settings->beat_ms;
}

void leadership_check_lease(struct master *master)
{
    if (master->role == ROLE_LEADER && master->had_peers &&
        master->input->now_ms - master->last_tick_ms > master->settings->lease_ms)
        step_down(master); /* we slept through our own lease: somebody else may lead */
}

void leadership_tick(struct master *master)
{
    const uint64_t now_ms = master->input->now_ms;
    if (master->join_at_ms != 0 && master->state.index == 0)
        return; /* not of any cluster yet */
    if (master->role == ROLE_LEADER) {
        if (now_ms >= master->beat_at_ms)
            replication_send_beats(master);
        return;
    }
    if (master->role == ROLE_CANDIDATE) {
        if (now_ms >= master->decide_at_ms || all_answered(master))
            decide(master);
        else
            ask_all(master);
        return;
    }
    if (leader_is_known(master)) {
        master->ask_at_ms = master->lease_until_ms;
        return;
    }
    if (master->lost_index > 0)
        return; /* it can not lead */
    if (now_ms >= master->ask_at_ms)
        become_candidate(master);
}

enum status leadership_candidacy(struct master *master, struct node_slot *slot,
                                 const struct message *message)
{
    const struct candidacy *body = MESSAGE_BODY(message, candidacy);
    if (body->is_question) {
        if (ID_EQUAL(master->leader, slot->node_id) && master->role == ROLE_FOLLOWER) {
            /* Our leader asks who leads: it was started anew and will not resume its epoch. */
            memset(&master->leader, 0, sizeof(master->leader));
            master->ask_at_ms = master->input->now_ms;
        }
        /* One whose log is not whole has a voice only where a majority could not be had without. */
        if (master->lost_index == 0 || master->settings->quorum)
            send_candidacy(master, slot, false);
        if (master->role == ROLE_LEADER)
            replication_send_beats(master);
    }
    /* A question says the same of its sender as an answer would. */
    record_fini(&candidacy_type, &slot->answer);
    slot->has_answered = record_copy(&candidacy_type, body, &slot->answer) == STATUS_OK;
    if (epoch_compare(&body->seen_epoch, &master->epoch) > 0 && master->role != ROLE_LEADER) {
        struct epoch seen = body->seen_epoch;
        promise(master, &seen);
    }
    return STATUS_OK;
}

enum status leadership_yield(struct master *master, const struct epoch *epoch)
{
    if (epoch_compare(epoch, &master->epoch) > 0)
        promise(master, epoch);
    step_down(master);
    return STATUS_OK;
}

enum status leadership_hear(struct master *master, struct node_slot *slot,
                            const struct epoch *epoch, bool *accepted_out)
{
    *accepted_out = false;
    int order = epoch_compare(epoch, &master->epoch);
    if (order < 0 || !ID_EQUAL(epoch->leader, slot->node_id))
        return STATUS_OK;
    enum status status = STATUS_OK;
    if (order > 0)
        promise(master, epoch);
    const bool is_new = !ID_EQUAL(master->leader, slot->node_id) || order > 0;
    master->role = ROLE_FOLLOWER;
    master->leader = slot->node_id;
    master->lease_until_ms = master->input->now_ms + master->settings->lease_ms;
    master->ask_at_ms = master->lease_until_ms;
    *accepted_out = true;
    if (is_new) {
        master->matched = master->committed; /* the rest of our log is yet to be compared */
        master->probe_at_ms = master->input->now_ms;
        master->describe_at_ms = master->input->now_ms;
        status = requests_retry(master);
    }
    return status;
}
