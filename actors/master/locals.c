/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locals: the actors and clients of this node, and remote clients.
 *
 * Each says hello, is welcomed, gets the state as a snapshot (or the events it lacks) and then
 * every committed event in order.  Whether this master leads is not their business.
 */
#include "actors/master/master.h"

#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

struct local *local_find(struct master *master, const struct peer *peer)
{
    for (size_t i = 0; i < COUNT_OF(master->locals); i++)
        if (master->locals[i].is_used && peer_equal(&master->locals[i].peer, peer))
            return &master->locals[i];
    return NULL;
}

void local_forget(struct master *master, const struct peer *peer)
{
    struct local *local = local_find(master, peer);
    if (local)
        *local = (struct local){.is_used = false};
}

static struct local *local_of_actor(struct master *master, uint32_t actor)
{
    for (size_t i = 0; i < COUNT_OF(master->locals); i++)
        if (master->locals[i].is_used && !master->locals[i].is_remote &&
            master->locals[i].actor == actor)
            return &master->locals[i];
    return NULL;
}

bool send_snapshot(struct master *master, const struct peer *peer)
{
    if (master->committed != master->state.index || master->state.index == 0)
        return false;
    const struct recent *recent = recent_find(master, master->state.index);
    if (master->tail.index != master->state.index && !(recent && recent->has_chain))
        return false;
    struct buffer bytes;
    buffer_init(&bytes, 256u << 20);
    bool is_sent = state_encode(&master->state, &bytes) == STATUS_OK;
    for (size_t offset = 0; is_sent && offset < bytes.size;) {
        size_t size =
            bytes.size - offset < PART_SIZE_MAX / 2 ? bytes.size - offset : PART_SIZE_MAX / 2;
        struct message message;
        if (!message_begin(master, &message, MESSAGE_LINK, LINK_SNAPSHOT_PART)) {
            is_sent = false;
            break;
        }
        struct snapshot_part *part = message.body;
        part->index = master->state.index;
        part->offset = offset;
        part->total = bytes.size;
        const bool is_tail = master->tail.index == master->state.index;
        part->chain = is_tail ? master->tail.chain : recent->record.chain;
        part->record_epoch =
            is_tail ? (struct epoch){master->tail.epoch.number, master->tail.epoch.leader}
                    : recent->record.epoch;
        part->time_ms = master->state.time_ms;
        is_sent = bytes_set(&part->part, bytes.bytes + offset, size);
        if (is_sent)
            outbox_send(master->outbox, peer, &message);
        message_fini(&message);
        offset += size;
    }
    buffer_fini(&bytes);
    return is_sent;
}

/* The state is ahead of the disk until there is space again: a client that has none is told so. */
static void refuse_full(struct master *master, struct local *local)
{
    struct message answer;
    if (!message_begin(master, &answer, MESSAGE_ANSWER, ANSWER_DONE))
        return;
    answer.head.status = STATUS_NO_SPACE;
    if (text_set(&answer.head.reason, FULL_SENTENCE))
        outbox_send(master->outbox, &local->peer, &answer);
    message_fini(&answer);
    local->wants_events = local->wants_snapshot = false;
}

/* What one local lacks: a snapshot, or the events since the last one sent. */
static void bring_up_to_date(struct master *master, struct local *local)
{
    if (!local->is_used || !local->wants_events || master->committed == 0)
        return; /* after a start nothing is known to be committed before a leader says so */
    if (local->wants_snapshot || local->sent > master->committed ||
        (local->sent < master->committed && !recent_find(master, local->sent + 1))) {
        local->wants_snapshot = true;
        if (send_snapshot(master, &local->peer)) {
            local->wants_snapshot = false;
            local->sent = master->state.index;
        } else if (master->disk_is_full && local->actor == ACTOR_CLIENT) {
            refuse_full(master, local);
        }
        return;
    }
    while (local->sent < master->committed) {
        const struct recent *recent = recent_find(master, local->sent + 1);
        if (!recent)
            return;
        outbox_send_bytes(master->outbox, &local->peer, recent->record.body.items,
                          recent->record.body.count);
        local->sent++;
    }
}

void locals_publish(struct master *master)
{
    for (size_t i = 0; i < COUNT_OF(master->locals); i++)
        bring_up_to_date(master, &master->locals[i]);
}

/* Does it connect to actors of other nodes by what the state tells of those? */
static bool meets_nodes(const struct local *local)
{
    return !local->is_remote &&
           (local->actor == ACTOR_GATEWAY || local->actor == ACTOR_TRANSFERER);
}

void locals_signal(struct master *master, const struct message *signal, bool is_own)
{
    for (size_t i = 0; i < COUNT_OF(master->locals); i++) {
        const struct local *local = &master->locals[i];
        bool is_watching = local->actor == ACTOR_GATEWAY || local->actor == ACTOR_CLIENT;
        /* That a rank computes is for its siblings, and on its node for those who hold back. */
        if (signal->head.code == SIGNAL_HEARTBEAT)
            is_watching =
                local->actor == ACTOR_RUNNER || (is_own && local->actor == ACTOR_TRANSFERER);
        else if (signal->head.code == SIGNAL_LINKS_MEASURED)
            is_watching = meets_nodes(local);
        if (local->is_used && local->wants_events && is_watching)
            outbox_send(master->outbox, &local->peer, signal);
    }
}

/* ---- hello ---- */

static enum status hello_check(struct master *master, const struct hello *hello, bool is_remote,
                               char sentence[SENTENCE_SIZE_MAX])
{
    const struct hash own = schema_hash();
    (void)master;
    if (hello->actor == ACTOR_NONE || hello->actor == ACTOR_MASTER ||
        (is_remote && hello->actor != ACTOR_CLIENT)) {
        (void)snprintf(sentence, SENTENCE_SIZE_MAX, "a %s may not connect here",
                       actor_kind_name(hello->actor));
        return STATUS_REFUSED;
    }
    if (hello->actor != ACTOR_CLIENT && !ID_EQUAL(hello->schema, own)) {
        (void)snprintf(sentence, SENTENCE_SIZE_MAX,
                       "this %s is of another build (%.40s) than the master; restart the node",
                       actor_kind_name(hello->actor), text_or_empty(hello->build));
        return STATUS_VERSION;
    }
    if (hello->protocol_max < PROTOCOL_MIN || hello->protocol_min > PROTOCOL_MAX) {
        (void)snprintf(sentence, SENTENCE_SIZE_MAX,
                       "the client speaks protocol %u to %u, this node %d to %d; update the older",
                       hello->protocol_min, hello->protocol_max, PROTOCOL_MIN, PROTOCOL_MAX);
        return STATUS_VERSION;
    }
    return STATUS_OK;
}

static void refuse_hello(struct master *master, enum status status, const char *sentence)
{
    struct message answer;
    if (!message_begin(master, &answer, MESSAGE_ANSWER, ANSWER_DONE))
        return;
    answer.head.status = status;
    if (text_set(&answer.head.reason, sentence))
        outbox_send(master->outbox, &master->input->peer, &answer);
    message_fini(&answer);
}

static void send_welcome(struct master *master, const struct peer *peer)
{
    struct message message;
    if (!message_begin(master, &message, MESSAGE_LINK, LINK_WELCOME))
        return;
    struct welcome *body = message.body;
    body->node_id = master->settings->node_id;
    body->cluster_id = master->state.cluster_id;
    body->index = master->committed;
    body->epoch.number = leader_is_known(master) ? master->epoch.number : 0;
    body->epoch.leader = master->leader;
    body->key = master->settings->key;
    body->is_leader = is_leader(master);
    char addresses[ADDRESS_SIZE_MAX];
    if (text_set(&body->address, ways_all_addresses(master, addresses)))
        outbox_send(master->outbox, peer, &message);
    message_fini(&message);
}

static enum status report_endpoint(struct master *master, const struct local *local)
{
    struct message report;
    if (!message_begin(master, &report, MESSAGE_REPORT, REPORT_ENDPOINT_OPENED))
        return STATUS_NO_MEMORY;
    struct endpoint_record *endpoint = &MESSAGE_BODY(&report, endpoint_opened)->endpoint;
    endpoint->node_id = master->settings->node_id;
    endpoint->actor = local->actor;
    endpoint->incarnation = local->incarnation;
    endpoint->key = local->key;
    enum status status =
        text_set(&endpoint->address, local->address) ? STATUS_OK : STATUS_NO_MEMORY;
    if (status == STATUS_OK)
        status = request_own(master, &report);
    message_fini(&report);
    return status;
}

/* Processes with an address of their own: the cluster learns where they are.  Told until the state
 * shows it, so that nothing is lost with a leader. */
enum status locals_tick(struct master *master)
{
    const struct node_id *node_id = &master->settings->node_id;
    if (!leader_is_known(master) || !state_find_node(&master->state, node_id))
        return STATUS_OK;
    for (size_t i = 0; i < COUNT_OF(master->locals); i++) {
        struct local *local = &master->locals[i];
        if (!local->is_used || local->is_remote || ID_IS_ZERO(local->key) ||
            local->actor == ACTOR_CLIENT || local->actor == ACTOR_LAUNCHER ||
            local->actor == ACTOR_RUNNER)
            continue;
        const struct endpoint_record *known =
            state_find_endpoint(&master->state, node_id, (enum actor_kind)local->actor);
        if (known && known->incarnation == local->incarnation && ID_EQUAL(known->key, local->key) &&
            strcmp(text_or_empty(known->address), local->address) == 0)
            continue;
        if (master->input->now_ms >= local->report_at_ms) {
            local->report_at_ms = master->input->now_ms + 1000;
            enum status status = report_endpoint(master, local);
            if (status != STATUS_OK)
                return status;
        }
        outbox_wake(master->outbox, local->report_at_ms);
    }
    return STATUS_OK;
}

/* The next life of an actor may speak before the end of the last is seen: tasks go to it, and only
 * its address counts. */
static void forget_last_life(struct master *master, const struct hello *hello,
                             const struct local *present)
{
    for (size_t i = 0; i < COUNT_OF(master->locals); i++) {
        struct local *local = &master->locals[i];
        if (local != present && local->is_used && !local->is_remote &&
            local->actor == hello->actor && hello->actor != ACTOR_CLIENT &&
            hello->actor != ACTOR_LAUNCHER && hello->actor != ACTOR_RUNNER)
            *local = (struct local){.is_used = false};
    }
}

/* Is the state that it holds one of our log?  An index and the epoch of its event name a log up to
 * there; a branch that was cut here has others. */
static bool fits_log(struct master *master, const struct hello *hello)
{
    const struct recent *recent = recent_find(master, hello->index);
    if (hello->index == 0)
        return false;
    if (ID_IS_ZERO(hello->epoch.leader) || hello->index > master->state.index)
        return true; /* not told; or seen to be ahead of us when events are published */
    if (hello->index == master->state.index)
        return epoch_compare(&hello->epoch, &master->state.epoch) == 0;
    return recent && epoch_compare(&hello->epoch, &recent->record.epoch) == 0;
}

enum status local_hello(struct master *master, const struct message *message)
{
    const struct hello *hello = MESSAGE_BODY(message, hello);
    const struct peer *peer = &master->input->peer;
    const bool is_remote = peer->link == MASTER_LINK_PEERS;
    const struct client_record *client =
        is_remote ? state_find_client(&master->state, &peer->key) : NULL;
    char sentence[SENTENCE_SIZE_MAX] = "";
    if (is_remote && !client)
        return STATUS_OK;
    enum status status = hello_check(master, hello, is_remote, sentence);
    struct local *local = local_find(master, peer);
    for (size_t i = 0; !local && i < COUNT_OF(master->locals); i++)
        if (!master->locals[i].is_used)
            local = &master->locals[i];
    if (status == STATUS_OK && !local) {
        status = STATUS_BUSY;
        (void)snprintf(sentence, sizeof(sentence), "too many connections; close some");
    }
    if (status != STATUS_OK) {
        refuse_hello(master, status, sentence);
        return STATUS_OK;
    }
    *local = (struct local){.peer = *peer,
                            .is_used = true,
                            .is_remote = is_remote,
                            .role = client ? client->role : ROLE_ADMIN,
                            .actor = hello->actor,
                            .incarnation = hello->incarnation,
                            .key = hello->key,
                            .wants_events = hello->wants_events,
                            .wants_snapshot = hello->wants_events && !fits_log(master, hello),
                            .sent = hello->index};
    if (!is_remote)
        forget_last_life(master, hello, local);
    send_welcome(master, peer);
    (void)snprintf(local->address, sizeof(local->address), "%s", text_or_empty(hello->address));
    if (!is_remote && hello->actor == ACTOR_GATEWAY)
        master->describe_at_ms = master->input->now_ms;
    if (meets_nodes(local))
        links_tell_local(master, peer);
    bring_up_to_date(master, local);
    return STATUS_OK;
}

/* ---- what they say ---- */

static void answer_task(struct master *master, const struct peer *peer, const struct message *task,
                        enum status how, const char *sentence)
{
    struct message answer;
    if (!message_begin(master, &answer, MESSAGE_ANSWER, ANSWER_DONE))
        return;
    answer.head.key = task->head.key;
    answer.head.status = how;
    if (text_set(&answer.head.reason, sentence))
        outbox_send(master->outbox, peer, &answer);
    message_fini(&answer);
}

/* Planner to local actor. */
static void route_task(struct master *master, struct local *from, const struct message *task)
{
    struct local *target = local_of_actor(master, task->head.route);
    if (from->actor != ACTOR_PLANNER) {
        answer_task(master, &from->peer, task, STATUS_REFUSED, "only the planner gives tasks");
        return;
    }
    if (!target) {
        answer_task(master, &from->peer, task, STATUS_UNREACHABLE,
                    "the actor the task is for is not here");
        return;
    }
    outbox_send_bytes(master->outbox, &target->peer, master->input->bytes, master->input->size);
}

static void route_answer(struct master *master)
{
    struct local *planner = local_of_actor(master, ACTOR_PLANNER);
    if (planner)
        outbox_send_bytes(master->outbox, &planner->peer, master->input->bytes,
                          master->input->size);
}

static void forward_signal(struct master *master, struct node_slot *slot)
{
    struct message message;
    if (!message_begin(master, &message, MESSAGE_LINK, LINK_FORWARDED))
        return;
    struct forwarded *body = message.body;
    if (bytes_set(&body->message, master->input->bytes, master->input->size))
        send_to_node(master, slot, &message);
    else
        message_fini(&message);
}

/* To the nodes of its siblings, which wait for it inside MPI. */
static void forward_heartbeat(struct master *master, const struct heartbeat *beat)
{
    const struct instance_record *instance =
        state_find_instance(&master->state, &beat->instance_id);
    if (!instance ||
        (instance->status != INSTANCE_STARTING && instance->status != INSTANCE_READY))
        return;
    for (size_t i = 0; i < COUNT_OF(master->nodes); i++) {
        bool is_sibling = false;
        for (uint32_t rank = 0; rank < instance->ranks.count; rank++)
            is_sibling = is_sibling || ID_EQUAL(instance->ranks.items[rank].node_id,
                                                master->nodes[i].node_id);
        if (is_sibling && master->nodes[i].is_used && slot_is_reachable(&master->nodes[i]))
            forward_signal(master, &master->nodes[i]);
    }
}

static void route_signal(struct master *master, const struct message *signal)
{
    /* Whoever watches a transfer, a pull or an instance does so at any node. */
    const bool is_for_all = signal->head.code == SIGNAL_TRANSFER_PROGRESSED ||
                            signal->head.code == SIGNAL_IMPORT_PROGRESSED ||
                            signal->head.code == SIGNAL_PACE_MEASURED;
    struct node_slot *leader = leader_slot(master);
    locals_signal(master, signal, true);
    pace_table_take(&master->paces, &master->state, signal);
    if (message_is(signal, MESSAGE_SIGNAL, SIGNAL_HEARTBEAT)) {
        forward_heartbeat(master, MESSAGE_BODY(signal, heartbeat));
        return;
    }
    if (is_leader(master))
        duties_signal(master, signal);
    for (size_t i = 0; is_for_all && i < COUNT_OF(master->nodes); i++)
        if (master->nodes[i].is_used && slot_is_reachable(&master->nodes[i]))
            forward_signal(master, &master->nodes[i]);
    if (!is_for_all && leader)
        forward_signal(master, leader);
}

/* What a remote client of that role may say. */
static bool role_allows(const struct local *local, const struct message *message)
{
    if (!local->is_remote)
        return true;
    if (message->head.kind == MESSAGE_LINK)
        return true;
    if (message->head.kind != MESSAGE_COMMAND)
        return false;
    switch ((enum command_code)message->head.code) {
    case COMMAND_ASK_CANDIDATES:
    case COMMAND_ASK_LINKS:
    case COMMAND_ASK_PACES:
        return local->role >= ROLE_READ;
    case COMMAND_PLACE_INSTANCE:
    case COMMAND_DELETE_INSTANCE:
    case COMMAND_RETRY_INSTANCE:
    case COMMAND_DISTRIBUTE_MODEL:
    case COMMAND_CANCEL_TRANSFER:
        return local->role >= ROLE_OPERATE;
    case COMMAND_NONE:
    case COMMAND_JOIN:
        return false;
    case COMMAND_ADD_MODEL:
    case COMMAND_PULL_MODEL:
    case COMMAND_REMOVE_MODEL:
    case COMMAND_PIN_MODEL:
    case COMMAND_CREATE_TOKEN:
    case COMMAND_REVOKE_TOKEN:
    case COMMAND_REMOVE_NODE:
    case COMMAND_ADMIT_CLIENT:
    case COMMAND_REMOVE_CLIENT:
        return local->role >= ROLE_ADMIN;
    }
    return false;
}

static enum status local_link(struct master *master, struct local *local,
                              const struct message *message)
{
    if (message->head.code == LINK_ASK_STATE) {
        if (!send_snapshot(master, &local->peer))
            send_welcome(master, &local->peer); /* nothing to show yet: index tells */
    } else if (message->head.code == LINK_ASK_EVENTS) {
        const struct ask_events *body = MESSAGE_BODY(message, ask_events);
        local->wants_events = true;
        local->sent = body->index > 0 ? body->index - 1 : master->committed;
        local->wants_snapshot = false;
        if (!recent_find(master, local->sent + 1))
            local->sent = master->committed;
        bring_up_to_date(master, local);
    }
    return STATUS_OK;
}

static void answer_paces(struct master *master, const struct peer *peer,
                         const struct message *asked)
{
    struct message answer;
    if (!message_begin(master, &answer, MESSAGE_ANSWER, ANSWER_PACES))
        return;
    struct paces_listed *body = answer.body;
    answer.head.key = asked->head.key;
    for (uint32_t i = 0; i < master->paces.count; i++)
        if (!record_list_push(&pace_measured_type, RECORD_LIST(body->paces),
                              &master->paces.items[i], INSTANCE_COUNT_MAX))
            master->outbox->failed = STATUS_NO_MEMORY;
    outbox_send(master->outbox, peer, &answer);
    message_fini(&answer);
}

enum status local_message(struct master *master, struct local *local, const struct message *message)
{
    if (!role_allows(local, message)) {
        answer_task(master, &local->peer, message, STATUS_REFUSED,
                    "the role of this client does not allow that");
        return STATUS_OK;
    }
    switch ((enum message_kind)message->head.kind) {
    case MESSAGE_COMMAND:
        if (message->head.code == COMMAND_ASK_LINKS) {
            links_answer(master, &local->peer, message);
            return STATUS_OK;
        }
        if (message->head.code == COMMAND_ASK_PACES) {
            answer_paces(master, &local->peer, message);
            return STATUS_OK;
        }
        return request_take(master, message, NULL, 0);
    case MESSAGE_REPORT:
        return request_take(master, message, NULL, 0);
    case MESSAGE_TASK:
        route_task(master, local, message);
        return STATUS_OK;
    case MESSAGE_ANSWER:
        route_answer(master);
        return STATUS_OK;
    case MESSAGE_SIGNAL:
        route_signal(master, message);
        return STATUS_OK;
    case MESSAGE_LINK:
        return local_link(master, local, message);
    case MESSAGE_NONE:
    case MESSAGE_EVENT:
    case MESSAGE_KIND_END:
        break;
    }
    master->refused_count++;
    return STATUS_OK;
}

/* ---- who may connect over the network ---- */

void allow_refresh(struct master *master)
{
    struct public_key keys[COUNT_OF(master->allowed)];
    uint32_t count = 0;
    const struct state *state = &master->state;
    if (!master->is_started || master->endpoint[0] == '\0')
        return;
    for (uint32_t i = 0; i < state->nodes.count; i++)
        keys[count++] = state->nodes.items[i].key;
    for (size_t i = 0; i < COUNT_OF(master->nodes) && count < NODE_COUNT_MAX; i++)
        if (master->nodes[i].is_used && master->nodes[i].is_hint &&
            !state_find_node(state, &master->nodes[i].node_id))
            keys[count++] = master->nodes[i].key;
    for (uint32_t i = 0; i < state->tokens.count; i++)
        if (state->tokens.items[i].expires_ms > master->input->wall_ms)
            keys[count++] = state->tokens.items[i].key;
    for (uint32_t i = 0; i < state->clients.count; i++)
        keys[count++] = state->clients.items[i].key;
    if (count == 0 && master->settings->join)
        keys[count++] = master->settings->join->master_key;
    if (count == master->allowed_count &&
        memcmp(keys, master->allowed, count * sizeof(keys[0])) == 0)
        return;
    memcpy(master->allowed, keys, count * sizeof(keys[0]));
    master->allowed_count = count;
    outbox_link_allow(master->outbox, MASTER_LINK_PEERS, keys, count);
}
