/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/master.h"

#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

bool is_leader(const struct master *master)
{
    return master->role == ROLE_LEADER;
}

bool message_begin(struct master *master, struct message *message, enum message_kind kind,
                   uint32_t code)
{
    if (message_init(message, kind, code) != STATUS_OK)
        return false;
    message->head.epoch = master->epoch;
    message->head.node_id = master->settings->node_id;
    message->head.actor = ACTOR_MASTER;
    return true;
}

struct node_slot *slot_find(struct master *master, const struct node_id *node_id)
{
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++)
        if (master->nodes[i].is_used && ID_EQUAL(master->nodes[i].node_id, *node_id))
            return &master->nodes[i];
    return NULL;
}

struct node_slot *slot_find_key(struct master *master, const struct public_key *key)
{
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++)
        if (master->nodes[i].is_used && ID_EQUAL(master->nodes[i].key, *key))
            return &master->nodes[i];
    return NULL;
}

static struct node_slot *slot_of_link(struct master *master, uint32_t link)
{
    if (link < MASTER_LINK_NODE || link >= MASTER_LINK_NODE + COUNT_OF(master->nodes))
        return NULL;
    struct node_slot *slot = &master->nodes[link - MASTER_LINK_NODE];
    return slot->is_used ? slot : NULL;
}

static void slot_connect(struct master *master, struct node_slot *slot)
{
    struct link_options options = {
        .role = LINK_CONNECT, .server_key = slot->key, .message_size_max = MESSAGE_SIZE_MAX};
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%s", slot->address);
    slot->is_up = false;
    slot->down_ms = master->input->now_ms;
    outbox_link_open(master->outbox, slot->link, &options);
}

void slot_connect_to(struct master *master, struct node_slot *slot, const char *address)
{
    if (slot->address[0])
        outbox_link_close(master->outbox, slot->link);
    links_lost(master, slot); /* nothing is proven of the new one */
    (void)snprintf(slot->address, sizeof(slot->address), "%s", address);
    if (slot->address[0])
        slot_connect(master, slot);
}

static struct node_slot *slot_take(struct master *master, const struct node_id *node_id,
                                   const struct public_key *key)
{
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++) {
        struct node_slot *slot = &master->nodes[i];
        if (slot->is_used)
            continue;
        record_fini(&candidacy_type, &slot->answer);
        *slot = (struct node_slot){.node_id = *node_id,
                                   .key = *key,
                                   .link = MASTER_LINK_NODE + (uint32_t)i,
                                   .is_used = true,
                                   .heard_ms = 0};
        return slot;
    }
    return NULL;
}

void slot_take_known(struct master *master, const struct known_node *known)
{
    struct node_slot *slot = slot_find(master, &known->node_id);
    if (slot || !known->address[0])
        return;
    slot = slot_take(master, &known->node_id, &known->key);
    if (!slot)
        return;
    slot->is_hint = true;
    (void)snprintf(slot->address, sizeof(slot->address), "%s", known->address);
    slot_connect(master, slot);
}

void slots_refresh(struct master *master)
{
    struct state *state = &master->state;
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++) {
        struct node_slot *slot = &master->nodes[i];
        if (!slot->is_used || slot->is_hint || state_find_node(state, &slot->node_id))
            continue;
        outbox_link_close(master->outbox, slot->link);
        slot->is_used = false;
    }
    for (uint32_t i = 0; i < state->nodes.count; i++) {
        const struct node_record *node = &state->nodes.items[i];
        const char *address = text_or_empty(node->address);
        if (ID_EQUAL(node->node_id, master->settings->node_id))
            continue;
        struct node_slot *slot = slot_find(master, &node->node_id);
        if (!slot)
            slot = slot_take(master, &node->node_id, &node->key);
        if (!slot || slot->is_hint || strcmp(slot->told, address) == 0 ||
            strlen(address) >= sizeof(slot->told))
            continue;
        memcpy(slot->told, address, strlen(address) + 1);
        /* One that works stays: what a node tells first may be what we do not reach. */
        if (strcmp(slot->address, address) != 0 && !(slot->address[0] && slot->is_up))
            slot_connect_to(master, slot, address);
    }
}

void send_to_node(struct master *master, struct node_slot *slot, struct message *message)
{
    if (slot->address[0] && slot->is_up) {
        const struct peer peer = peer_of_link(slot->link);
        outbox_send(master->outbox, &peer, message);
    } else if (slot->has_inbound) {
        outbox_send(master->outbox, &slot->inbound, message);
    }
    message_fini(message);
}

bool slot_is_reachable(const struct node_slot *slot)
{
    return (slot->address[0] && slot->is_up) || slot->has_inbound;
}

/* ---- start ---- */

static void open_join_link(struct master *master)
{
    const struct join_token *token = master->settings->join;
    struct link_options options = {.role = LINK_CONNECT,
                                   .server_key = token->master_key,
                                   .has_own_pair = true,
                                   .own_pair = token->pair};
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%s",
                   token->addresses[master->join_turn % token->address_count]);
    outbox_link_open(master->outbox, MASTER_LINK_JOIN, &options);
}

static enum status master_start(struct master *master)
{
    const struct link_options local = {
        .role = LINK_BIND, .endpoint = "ipc://master.sock", .message_size_max = MESSAGE_SIZE_MAX};
    struct link_options peers = {.role = LINK_BIND, .message_size_max = MESSAGE_SIZE_MAX};
    (void)snprintf(peers.endpoint, sizeof(peers.endpoint), "tcp://%.100s",
                   master->settings->listen);
    outbox_link_open(master->outbox, MASTER_LINK_LOCAL, &local);
    if (!master->settings->is_bound)
        outbox_link_open(master->outbox, MASTER_LINK_PEERS, &peers);
    if (master->lost_index > 0)
        repair_start(master);
    slots_refresh(master);
    master->is_started = true;
    master->last_tick_ms = master->input->now_ms;
    master->probe_at_ms = master->input->now_ms;
    if (master->settings->join && master->lost_index == 0 &&
        !state_find_node(&master->state, &master->settings->node_id)) {
        memcpy(&master->join_key, master->input->seed, sizeof(master->join_key));
        master->join_at_ms = master->input->now_ms + 2000;
        open_join_link(master);
        return STATUS_OK;
    }
    leadership_start(master);
    return STATUS_OK;
}

static void send_join(struct master *master)
{
    const struct master_settings *settings = master->settings;
    struct message message;
    if (master->endpoint[0] == '\0' ||
        !message_begin(master, &message, MESSAGE_COMMAND, COMMAND_JOIN))
        return;
    struct join *join = message.body;
    message.head.key = master->join_key;
    join->node_id = settings->node_id;
    join->key = settings->key;
    join->sign_key = settings->sign_key;
    join->signature = settings->join_signature;
    join->token_key = settings->join->pair.public_key;
    char own[LINK_ENDPOINT_SIZE];
    const char *address = ways_own_address(master, own);
    if (text_set(&join->name, settings->self.name) && text_set(&join->address, address)) {
        const struct peer peer = peer_of_link(MASTER_LINK_JOIN);
        outbox_send(master->outbox, &peer, &message);
    }
    message_fini(&message);
}

/* The answer to our join.  Accepted: the cluster's masters will come to us; whoever made the token
 * is asked for the state with our own key. */
static enum status join_answered(struct master *master, const struct message *answer)
{
    if (answer->head.status != STATUS_OK) {
        if (answer->head.status == STATUS_NO_LEADER || answer->head.status == STATUS_BUSY)
            return STATUS_OK; /* asked again at join_at_ms */
        return refuse(
            master->reason, (enum status)answer->head.status,
            "joining was refused: %s; ask for a fresh token (troupe token) and join again",
            text_or_empty(answer->head.reason));
    }
    outbox_link_close(master->outbox, MASTER_LINK_JOIN);
    const struct join_token *token = master->settings->join;
    struct node_slot *slot = &master->nodes[0];
    *slot = (struct node_slot){.key = token->master_key, .is_used = true, .link = MASTER_LINK_NODE};
    (void)snprintf(slot->address, sizeof(slot->address), "%s",
                   token->addresses[master->join_turn % token->address_count]);
    slot_connect(master, slot);
    allow_refresh(master);
    return STATUS_OK;
}

static void join_tick(struct master *master)
{
    if (!master->settings->join || master->join_at_ms == 0 ||
        master->input->now_ms < master->join_at_ms)
        return;
    master->join_at_ms = master->input->now_ms + 2000;
    if (state_find_node(&master->state, &master->settings->node_id)) {
        master->join_at_ms = 0;
        return;
    }
    if (master->nodes[0].is_used) { /* accepted, but the state has not come yet */
        struct message message;
        if (master->nodes[0].is_up && message_begin(master, &message, MESSAGE_LINK, LINK_ASK_STATE))
            send_to_node(master, &master->nodes[0], &message);
        return;
    }
    outbox_link_close(master->outbox, MASTER_LINK_JOIN);
    master->join_turn++;
    open_join_link(master);
}

/* ---- dispatch ---- */

/* Words of another master; `slot` is who its key says it is. */
static enum status node_message(struct master *master, struct node_slot *slot,
                                const struct message *message)
{
    slot->heard_ms = master->input->now_ms;
    if (message->head.kind != MESSAGE_LINK)
        return STATUS_OK;
    if (master->needs_state && message->head.code == LINK_RECORDS_SENT)
        return STATUS_OK; /* there is nothing here that they could continue */
    switch (message->head.code) {
    case LINK_CANDIDACY:
        return leadership_candidacy(master, slot, message);
    case LINK_LEADER_BEAT:
        return replication_beat(master, slot, message);
    case LINK_FOLLOWER_BEAT:
        return replication_follower_beat(master, slot, message);
    case LINK_RECORDS_SENT:
        return replication_records(master, slot, message);
    case LINK_SNAPSHOT_PART:
        return replication_snapshot_part(master, slot, message);
    case LINK_CHAIN_ASKED:
    case LINK_CHAIN_TOLD:
        return replication_chain(master, slot, message);
    case LINK_FORWARDED:
    case LINK_FORWARDED_BACK:
        return request_forwarded(master, slot, message);
    case LINK_ECHO_ASKED:
    case LINK_ECHO_TOLD:
        links_message(master, slot, message);
        return STATUS_OK;
    case LINK_ASK_STATE:
        (void)send_snapshot(master, &master->input->peer); /* it asks again */
        return STATUS_OK;
    default:
        master->refused_count++;
        return STATUS_OK;
    }
}

static enum status peer_message(struct master *master, const struct message *message)
{
    const struct peer *peer = &master->input->peer;
    struct node_slot *slot = slot_find_key(master, &peer->key);
    if (slot) {
        if (message_is(message, MESSAGE_LINK, LINK_HELLO))
            return STATUS_OK;
        if (message_is(message, MESSAGE_LINK, LINK_ECHO_ASKED)) {
            links_message(master, slot, message); /* it only tries this way */
            return STATUS_OK;
        }
        slot->inbound = *peer;
        slot->has_inbound = true;
        return node_message(master, slot, message);
    }
    if (message_is(message, MESSAGE_COMMAND, COMMAND_JOIN))
        return request_take(master, message, NULL, 0);
    if (state_find_token(&master->state, &peer->key)) {
        master->refused_count++; /* a token may say join and nothing else */
        return STATUS_OK;
    }
    struct local *local = local_find(master, peer);
    if (message_is(message, MESSAGE_LINK, LINK_HELLO))
        return local_hello(master, message);
    return local ? local_message(master, local, message) : STATUS_OK;
}

static enum status master_message(struct master *master)
{
    const struct message *message = master->input->message;
    const uint32_t link = master->input->peer.link;
    if (link == MASTER_LINK_PEERS)
        return peer_message(master, message);
    if (link == MASTER_LINK_JOIN)
        return message->head.kind == MESSAGE_ANSWER ? join_answered(master, message) : STATUS_OK;
    if (link >= MASTER_LINK_WAY) {
        ways_message(master, link, message);
        return STATUS_OK;
    }
    struct node_slot *slot = slot_of_link(master, link);
    if (slot)
        return node_message(master, slot, message);
    if (message_is(message, MESSAGE_LINK, LINK_HELLO))
        return local_hello(master, message);
    struct local *local = local_find(master, &master->input->peer);
    if (!local) {
        /* It connected before we were started anew: it says hello when the link comes up again. */
        outbox_peer_drop(master->outbox, &master->input->peer);
        return STATUS_OK;
    }
    return local_message(master, local, message);
}

/* What was on the way to it may be lost: its next word tells where it stands. */
static void slot_forget_sent(struct node_slot *slot)
{
    slot->tail_known = slot->searching = slot->snapshot_sent = slot->is_reading = false;
}

static enum status link_up(struct master *master)
{
    const uint32_t link = master->input->peer.link;
    if (link == MASTER_LINK_JOIN) {
        send_join(master);
        return STATUS_OK;
    }
    if (ways_link_changed(master, link, true))
        return STATUS_OK;
    struct node_slot *slot = slot_of_link(master, link);
    if (!slot)
        return STATUS_OK;
    slot->is_up = true;
    links_up(master);
    slot_forget_sent(slot);
    struct message message;
    if (ID_IS_ZERO(slot->node_id)) {
        if (message_begin(master, &message, MESSAGE_LINK, LINK_ASK_STATE))
            send_to_node(master, slot, &message);
    } else if (is_leader(master)) {
        replication_send_beats(master);
    } else if (master->role == ROLE_CANDIDATE || !leader_is_known(master)) {
        leadership_tick(master);
    } else if (slot == leader_slot(master)) {
        return requests_retry(master); /* in order, before anything newer goes this way */
    }
    return STATUS_OK;
}

static enum status link_bound(struct master *master)
{
    if (master->input->peer.link != MASTER_LINK_PEERS)
        return STATUS_OK;
    (void)snprintf(master->endpoint, sizeof(master->endpoint), "%s", master->input->endpoint);
    master->describe_at_ms = master->input->now_ms;
    allow_refresh(master);
    outbox_ready(master->outbox);
    return STATUS_OK;
}

static enum status link_down(struct master *master)
{
    const struct peer *peer = &master->input->peer;
    if (ways_link_changed(master, peer->link, false))
        return STATUS_OK;
    struct node_slot *slot = slot_of_link(master, peer->link);
    for (size_t i = 0; i < COUNT_OF(master->nodes) && peer->link == MASTER_LINK_PEERS; i++) {
        struct node_slot *other = &master->nodes[i];
        if (!other->is_used || !other->has_inbound || !peer_equal(&other->inbound, peer))
            continue;
        other->has_inbound = false;
        if (!other->is_up)
            slot = other;
    }
    if (!slot) {
        local_forget(master, peer);
        requests_forget_peer(master, peer);
        return STATUS_OK;
    }
    if (peer->link != MASTER_LINK_PEERS) {
        slot->is_up = false;
        slot->down_ms = master->input->now_ms;
        links_lost(master, slot);
    }
    slot_forget_sent(slot);
    return slot == leader_slot(master) ? requests_retry(master) : STATUS_OK;
}

/* A queue was full: as if the connection had broken. */
static enum status send_failed(struct master *master)
{
    const struct peer *peer = &master->input->peer;
    struct node_slot *slot = slot_of_link(master, peer->link);
    for (size_t i = 0; i < COUNT_OF(master->nodes) && peer->link == MASTER_LINK_PEERS; i++)
        if (master->nodes[i].is_used && master->nodes[i].has_inbound &&
            peer_equal(&master->nodes[i].inbound, peer))
            slot = &master->nodes[i];
    if (slot) {
        slot_forget_sent(slot);
        requests_again(master, slot);
        return STATUS_OK;
    }
    struct local *local = local_find(master, peer);
    if (local && local->wants_events)
        local->wants_snapshot = true; /* an event is missing on its side */
    return STATUS_OK;
}

/* Where HTTP clients really find this node: what its gateway bound, else the setting. */
static const char *http_address(const struct master *master)
{
    static const char scheme[] = "http://";
    for (size_t i = 0; i < COUNT_OF(master->locals); i++) {
        const struct local *local = &master->locals[i];
        if (local->is_used && !local->is_remote && local->actor == ACTOR_GATEWAY &&
            strncmp(local->address, scheme, strlen(scheme)) == 0)
            return local->address + strlen(scheme);
    }
    const struct node_record *known = state_find_node(&master->state, &master->settings->node_id);
    return known && text_or_empty(known->http)[0] ? known->http : master->settings->self.http;
}

/* Tells the cluster where this node is and how big, when that is not what the state says. */
static enum status describe_tick(struct master *master)
{
    const struct master_settings *settings = master->settings;
    const struct node_record *known = state_find_node(&master->state, &settings->node_id);
    if (master->describe_at_ms == 0 || master->input->now_ms < master->describe_at_ms || !known ||
        master->endpoint[0] == '\0' || !leader_is_known(master))
        return STATUS_OK;
    struct node_record wanted;
    if (record_copy(&node_record_type, &settings->self, &wanted) != STATUS_OK)
        return STATUS_NO_MEMORY;
    wanted.node_id = settings->node_id;
    wanted.key = settings->key;
    wanted.sign_key = settings->sign_key;
    wanted.in_view = known->in_view;
    wanted.counts = known->counts;
    struct message report = {.body = NULL};
    char address[LINK_ENDPOINT_SIZE];
    bool ok = text_set(&wanted.address, ways_own_address(master, address)) &&
              ways_describe(master, &wanted) && text_set(&wanted.http, http_address(master));
    bool same = ok && record_equal(&node_record_type, known, &wanted);
    enum status status = ok ? STATUS_OK : STATUS_NO_MEMORY;
    master->describe_at_ms = same ? 0 : master->input->now_ms + 1000;
    if (ok && !same && message_begin(master, &report, MESSAGE_REPORT, REPORT_NODE_DESCRIBED)) {
        struct node_described *body = report.body;
        status = record_copy(&node_record_type, &wanted, &body->node);
        if (status == STATUS_OK)
            status = request_own(master, &report);
    }
    record_fini(&node_record_type, &wanted);
    message_fini(&report);
    return status;
}

static enum status master_tick(struct master *master)
{
    const uint64_t now_ms = master->input->now_ms;
    leadership_tick(master);
    repair_tick(master);
    repair_note_nodes(master);
    links_tick(master);
    join_tick(master);
    enum status status = describe_tick(master);
    if (status == STATUS_OK)
        status = locals_tick(master);
    if (status == STATUS_OK && is_leader(master))
        status = view_check(master);
    if (status == STATUS_OK && is_leader(master))
        status = duties_tick(master);
    if (status == STATUS_OK)
        status = requests_tick(master);
    if (now_ms >= master->probe_at_ms) {
        master->probe_at_ms = now_ms + 2000;
        outbox_effect(master->outbox, 0, EFFECT_PROBE, NULL, NULL);
    }
    ways_tick(master);
    master->last_tick_ms = now_ms;
    master->had_peers = master->state.nodes.count > 1;
    return status;
}

static uint64_t not_before(uint64_t at_ms, uint64_t least_ms)
{
    return at_ms > least_ms ? at_ms : least_ms;
}

static void wake_next(struct master *master)
{
    uint64_t at_ms = master->probe_at_ms;
    const uint64_t wishes[] = {
        is_leader(master) && master->state.nodes.count > 1 ? master->beat_at_ms : UINT64_MAX,
        master->role == ROLE_CANDIDATE ? master->decide_at_ms : UINT64_MAX,
        master->role == ROLE_FOLLOWER && master->ask_at_ms && master->lost_index == 0
            ? master->ask_at_ms
            : UINT64_MAX,
        master->join_at_ms ? master->join_at_ms : UINT64_MAX,
        master->repair_at_ms ? master->repair_at_ms : UINT64_MAX,
        /* What waits for a leader is done when one is heard, not at a time. */
        master->describe_at_ms > master->input->now_ms ? master->describe_at_ms : UINT64_MAX,
        links_wake_ms(master),
        ways_wake_ms(master),
        master->pending_count > 0 ? master->input->now_ms + 250 : UINT64_MAX,
    };
    for (size_t i = 0; i < COUNT_OF(wishes); i++)
        if (wishes[i] < at_ms)
            at_ms = wishes[i];
    for (uint32_t i = 0; is_leader(master) && i < master->state.instances.count; i++) {
        const struct instance_record *instance = &master->state.instances.items[i];
        uint64_t look_ms = master->input->now_ms + 500;
        if (instance->status != INSTANCE_READY && instance->status != INSTANCE_FAILED) {
            if (instance->retry_at_ms > master->input->wall_ms)
                look_ms = master->input->now_ms + instance->retry_at_ms - master->input->wall_ms;
            if (look_ms < at_ms)
                at_ms = look_ms;
        }
    }
    outbox_wake(master->outbox, not_before(at_ms, master->input->now_ms + 1));
}

static enum status master_input(struct master *master)
{
    switch (master->input->kind) {
    case INPUT_START:
        return master_start(master);
    case INPUT_MESSAGE:
        return master_message(master);
    case INPUT_LINK_BOUND:
        return link_bound(master);
    case INPUT_LINK_REFUSED:
        if (master->input->peer.link >= MASTER_LINK_JOIN)
            return STATUS_OK;
        return refuse(master->reason, master->input->status, "%s", master->input->reason);
    case INPUT_LINK_UP:
        return link_up(master);
    case INPUT_LINK_DOWN:
        return link_down(master);
    case INPUT_RESULT:
        return replication_result(master, master->input->result);
    case INPUT_STOP:
        outbox_exit(master->outbox, 0);
        return STATUS_OK;
    case INPUT_SEND_FAILED:
        return send_failed(master);
    case INPUT_WAKE:
    case INPUT_CHILD_READY:
    case INPUT_CHILD_BEAT:
    case INPUT_CHILD_ENDED:
        return STATUS_OK;
    }
    return STATUS_OK;
}

static enum status master_step(void *actor, const struct input *input, struct outbox *outbox,
                               struct reason *reason)
{
    struct master *master = actor;
    master->input = input;
    master->outbox = outbox;
    master->reason = reason;
    if (master->is_started)
        leadership_check_lease(master);
    enum status status = master_input(master);
    if (status == STATUS_OK && master->is_started && input->kind != INPUT_STOP)
        status = master_tick(master);
    if (status == STATUS_OK)
        wake_next(master);
    master->input = NULL;
    master->outbox = NULL;
    return status;
}

static enum status master_init(void *actor, const void *settings, struct reason *reason)
{
    (void)reason;
    struct master *master = actor;
    master->settings = settings;
    if (master->settings->state) {
        master->state = *master->settings->state;
        memset(master->settings->state, 0, sizeof(struct state));
    }
    master->links.offers = master->settings->offers;
    master->links.are_offers_settled = true;
    master->tail = master->settings->tail;
    master->epoch = master->settings->promised;
    master->lost_index = master->settings->lost_index;
    master->needs_state = master->settings->needs_state;
    master->recent_first = master->state.index + 1;
    master->snapshot_index = master->state.index;
    buffer_init(&master->incoming, 256u << 20);
    return STATUS_OK;
}

static void master_fini(void *actor)
{
    struct master *master = actor;
    state_fini(&master->state);
    for (uint32_t i = 0; i < master->recent_count; i++)
        record_fini(&log_record_type,
                    &master->recent[(master->recent_first + i) % RECENT_COUNT_MAX].record);
    for (uint32_t i = 0; i < master->pending_count; i++) {
        record_fini(&envelope_type, &master->pending[i].head);
        memory_free(master->pending[i].bytes);
    }
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++)
        record_fini(&candidacy_type, &master->nodes[i].answer);
    links_fini(&master->links);
    buffer_fini(&master->incoming);
}

const struct actor_ops master_ops = {
    .name = "master",
    .memory_size = sizeof(struct master),
    .init = master_init,
    .step = master_step,
    .fini = master_fini,
};
