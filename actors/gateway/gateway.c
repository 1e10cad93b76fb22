/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/gateway.h"

#include "protocol/hash.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

#define SNAPSHOT_SIZE_MAX (256u << 20)

void gateway_draw_id(struct gateway *gateway, void *id_out)
{
    struct hash_stream stream;
    struct hash hash;
    gateway->id_count++;
    hash_init(&stream);
    hash_update(&stream, gateway->seed, sizeof(gateway->seed));
    hash_update(&stream, &gateway->id_count, sizeof(gateway->id_count));
    hash_final(&stream, &hash);
    memcpy(id_out, hash.bytes, 16);
}

void gateway_send(struct gateway *gateway, uint32_t link, uint32_t kind, uint32_t code, void *body)
{
    struct message message = {.head = {.kind = kind, .code = code}, .body = body};
    if (kind == MESSAGE_SIGNAL) {
        message.head.node_id = gateway->node_id;
        message.head.actor = ACTOR_GATEWAY;
        message.head.incarnation = gateway->settings->incarnation;
        message.head.expires_ms = gateway->input->wall_ms + 2 * GATEWAY_BEAT_MS;
    }
    struct peer peer = peer_of_link(link);
    outbox_send(gateway->outbox, &peer, &message);
}

/* ---- the master ---- */

static void say_hello(struct gateway *gateway)
{
    char build[BUILD_SIZE_MAX];
    (void)snprintf(build, sizeof(build), "%s", gateway->settings->build);
    char address[192] = "";
    (void)snprintf(address, sizeof(address), "%s",
                   gateway->settings->http ? gateway->settings->http : "");
    struct hello hello = {.actor = ACTOR_GATEWAY,
                          .incarnation = gateway->settings->incarnation,
                          .address = address,
                          .schema = schema_hash(),
                          .protocol_min = PROTOCOL_MIN,
                          .protocol_max = PROTOCOL_MAX,
                          .build = build,
                          .index = gateway->has_state ? gateway->state.index : 0,
                          .epoch = gateway->state.epoch,
                          .wants_events = true,
                          .key = gateway->settings->key};
    gateway->snapshot.size = 0;
    gateway_send(gateway, GATEWAY_LINK_MASTER, MESSAGE_LINK, LINK_HELLO, &hello);
}

static void tell_ready(struct gateway *gateway)
{
    if (!gateway->is_ready_told)
        outbox_ready(gateway->outbox);
    gateway->is_ready_told = true;
}

static enum status take_welcome(struct gateway *gateway, const struct welcome *welcome)
{
    gateway->node_id = welcome->node_id;
    gateway->is_welcomed = true;
    tell_ready(gateway);
    asks_resend(gateway);
    return STATUS_OK;
}

static enum status take_snapshot(struct gateway *gateway, const struct snapshot_part *part,
                                 struct reason *reason)
{
    if (part->offset == 0)
        buffer_clear(&gateway->snapshot);
    if (part->offset != gateway->snapshot.size || part->total > SNAPSHOT_SIZE_MAX)
        return STATUS_OK; /* of an older answer; the right one follows */
    enum status status =
        buffer_append(&gateway->snapshot, part->part.items ? (const void *)part->part.items : "",
                      part->part.count);
    if (status != STATUS_OK || gateway->snapshot.size < part->total)
        return status;
    struct state state;
    status = state_decode(gateway->snapshot.bytes, gateway->snapshot.size, &state, reason);
    buffer_fini(&gateway->snapshot);
    buffer_init(&gateway->snapshot, SNAPSHOT_SIZE_MAX);
    if (status != STATUS_OK)
        return status;
    state_fini(&gateway->state);
    gateway->state = state;
    gateway->has_state = true;
    feed_restart(gateway);
    asks_applied(gateway);
    runners_sync(gateway);
    return STATUS_OK;
}

static enum status take_event(struct gateway *gateway, const struct message *event)
{
    if (event->head.index <= gateway->state.index && gateway->has_state)
        return STATUS_OK; /* sent twice around a reconnect */
    enum status status = state_apply(&gateway->state, event);
    if (status == STATUS_GAP) {
        gateway->has_state = false; /* ask for all of it */
        say_hello(gateway);
        return STATUS_OK;
    }
    if (status != STATUS_OK)
        return status;
    gateway->has_state = true;
    feed_event(gateway, event);
    asks_applied(gateway);
    runners_sync(gateway);
    return STATUS_OK;
}

static enum status master_message(struct gateway *gateway, const struct message *message,
                                  struct reason *reason)
{
    switch (message->head.kind) {
    case MESSAGE_EVENT:
        return take_event(gateway, message);
    case MESSAGE_ANSWER:
        asks_answered(gateway, message);
        return STATUS_OK;
    case MESSAGE_LINK:
        if (message->head.code == LINK_WELCOME)
            return take_welcome(gateway, message->body);
        if (message->head.code == LINK_SNAPSHOT_PART)
            return take_snapshot(gateway, message->body, reason);
        return STATUS_OK;
    default:
        return STATUS_OK; /* signals of others */
    }
}

/* ---- the step ---- */

static void take_arrival(struct gateway *gateway, const struct http_arrival *arrival)
{
    switch (arrival->kind) {
    case HTTP_ARRIVAL_REQUEST:
        route_request(gateway, arrival);
        break;
    case HTTP_ARRIVAL_GONE:
        chats_forget(gateway, arrival->exchange);
        asks_forget(gateway, arrival->exchange);
        feed_forget(gateway, arrival->exchange);
        break;
    case HTTP_ARRIVAL_DRAINED:
        break; /* what a slow client is owed waits in the server, which cuts who takes nothing */
    }
}

static void link_up(struct gateway *gateway, uint32_t link)
{
    if (link == GATEWAY_LINK_MASTER) {
        gateway->master_is_up = true;
        say_hello(gateway);
    } else if (link - GATEWAY_LINK_RUNNER < GATEWAY_RUNNER_COUNT_MAX) {
        runners_up(gateway, link - GATEWAY_LINK_RUNNER);
    }
}

static void link_down(struct gateway *gateway, uint32_t link, const char *sentence)
{
    if (link == GATEWAY_LINK_MASTER) {
        gateway->master_is_up = false;
        gateway->is_welcomed = false;
    } else if (link - GATEWAY_LINK_RUNNER < GATEWAY_RUNNER_COUNT_MAX) {
        runners_down(gateway, link - GATEWAY_LINK_RUNNER, sentence);
    }
}

static void start(struct gateway *gateway)
{
    struct link_options options = {.role = LINK_CONNECT, .message_size_max = MESSAGE_SIZE_MAX};
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "ipc://master.sock");
    memcpy(gateway->seed, gateway->input->seed, sizeof(gateway->seed));
    gateway->started_ms = gateway->input->now_ms;
    outbox_link_open(gateway->outbox, GATEWAY_LINK_MASTER, &options);
}

static void stop(struct gateway *gateway)
{
    chats_end_all(gateway);
    feed_end_all(gateway);
    outbox_exit(gateway->outbox, 0);
}

static bool is_busy(const struct gateway *gateway)
{
    bool is_busy = feed_has_watchers(gateway) || !gateway->is_ready_told;
    for (size_t i = 0; !is_busy && i < GATEWAY_CHAT_COUNT_MAX; i++)
        is_busy = gateway->chats[i] != NULL;
    for (size_t i = 0; !is_busy && i < GATEWAY_ASK_COUNT_MAX; i++)
        is_busy = gateway->asks[i].is_used;
    return is_busy;
}

/* An idle gateway asks for no time at all. */
static void tick(struct gateway *gateway)
{
    uint64_t now_ms = gateway->input->now_ms;
    if (now_ms >= gateway->tick_at_ms) {
        gateway->tick_at_ms = now_ms + GATEWAY_TICK_MS;
        if (now_ms - gateway->started_ms >= GATEWAY_READY_MS)
            tell_ready(gateway);
        chats_tick(gateway);
        asks_tick(gateway);
        feed_tick(gateway);
        runners_tick(gateway);
    }
    if (is_busy(gateway))
        outbox_wake(gateway->outbox, gateway->tick_at_ms);
}

static enum status take_input(struct gateway *gateway, const struct input *input,
                              struct reason *reason)
{
    switch (input->kind) {
    case INPUT_START:
        start(gateway);
        break;
    case INPUT_LINK_UP:
        link_up(gateway, input->peer.link);
        break;
    case INPUT_LINK_DOWN:
        link_down(gateway, input->peer.link, "the connection to the runner ended");
        break;
    case INPUT_LINK_REFUSED:
        link_down(gateway, input->peer.link, "the runner's address cannot be used");
        break;
    case INPUT_SEND_FAILED:
        if (input->peer.link == GATEWAY_LINK_MASTER)
            break; /* asked again after the next welcome, or answered at the deadline */
        if (input->status == STATUS_UNREACHABLE)
            link_down(gateway, input->peer.link, "the runner cannot be reached");
        else
            chats_lose(gateway, input->peer.link - GATEWAY_LINK_RUNNER,
                       "the runner takes no more messages");
        break;
    case INPUT_MESSAGE:
        if (input->peer.link == GATEWAY_LINK_MASTER)
            return master_message(gateway, input->message, reason);
        chat_message(gateway, input->peer.link - GATEWAY_LINK_RUNNER, input->message);
        break;
    case INPUT_RESULT:
        if (input->result->kind == GATEWAY_RESULT_HTTP)
            take_arrival(gateway, input->result->value);
        break;
    case INPUT_STOP:
        stop(gateway);
        break;
    case INPUT_WAKE:
    case INPUT_LINK_BOUND:
    case INPUT_CHILD_READY:
    case INPUT_CHILD_BEAT:
    case INPUT_CHILD_ENDED:
        break;
    }
    return STATUS_OK;
}

static enum status gateway_step(void *actor, const struct input *input, struct outbox *outbox,
                                struct reason *reason)
{
    struct gateway *gateway = actor;
    gateway->input = input;
    gateway->outbox = outbox;
    enum status status = take_input(gateway, input, reason);
    if (status == STATUS_OK)
        tick(gateway);
    gateway->input = NULL;
    gateway->outbox = NULL;
    return status;
}

static enum status gateway_init(void *actor, const void *settings, struct reason *reason)
{
    struct gateway *gateway = actor;
    (void)reason;
    gateway->settings = settings;
    state_init(&gateway->state);
    buffer_init(&gateway->snapshot, SNAPSHOT_SIZE_MAX);
    return STATUS_OK;
}

static void gateway_fini(void *actor)
{
    struct gateway *gateway = actor;
    chats_fini(gateway);
    asks_fini(gateway);
    feed_fini(gateway);
    buffer_fini(&gateway->snapshot);
    state_fini(&gateway->state);
}

const struct actor_ops gateway_ops = {.name = "gateway",
                                      .memory_size = sizeof(struct gateway),
                                      .init = gateway_init,
                                      .step = gateway_step,
                                      .fini = gateway_fini};
