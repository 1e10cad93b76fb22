/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/gateway.h"
#include "actors/gateway/hub.h"
#include "actors/gateway/relay.h"

#include "protocol/hash.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

const struct state *gateway_state(const struct gateway *gateway)
{
    return &gateway->session.mirror.state;
}

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
        message.head.node_id = gateway->session.mirror.node_id;
        message.head.actor = ACTOR_GATEWAY;
        message.head.incarnation = gateway->settings->session.incarnation;
        message.head.expires_ms = gateway->input->wall_ms + 2 * GATEWAY_BEAT_MS;
    }
    struct peer peer = peer_of_link(link);
    outbox_send(gateway->outbox, &peer, &message);
}

/* ---- the master ---- */

static void tell_ready(struct gateway *gateway)
{
    if (!gateway->is_ready_told)
        outbox_ready(gateway->outbox);
    gateway->is_ready_told = true;
}

/* What the master said, after the session took it. */
static void master_message(struct gateway *gateway, const struct message *message,
                           enum mirror_change change)
{
    switch (change) {
    case MIRROR_UNTOUCHED:
        if (message->head.kind == MESSAGE_ANSWER)
            asks_answered(gateway, message);
        transfer_progress_take(&gateway->transfers, message, gateway->input->now_ms);
        pulls_note(gateway, message);
        pace_table_take(&gateway->paces, gateway_state(gateway), message);
        return;
    case MIRROR_WELCOMED:
        tell_ready(gateway);
        asks_resend(gateway);
        return;
    case MIRROR_REPLACED:
        feed_restart(gateway);
        break;
    case MIRROR_APPLIED:
        feed_event(gateway, message);
        break;
    }
    asks_applied(gateway);
    runners_sync(gateway);
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
        relay_forget(gateway, arrival->exchange);
        break;
    case HTTP_ARRIVAL_DRAINED:
        /* What a stream's slow client is owed waits in the server, which cuts who takes nothing. */
        relay_drained(gateway, arrival->exchange);
        break;
    }
}

static void link_up(struct gateway *gateway, uint32_t link)
{
    if (link >= GATEWAY_LINK_HOLDER)
        relay_link_up(gateway, link - GATEWAY_LINK_HOLDER);
    else if (link >= GATEWAY_LINK_RUNNER)
        runners_up(gateway, link - GATEWAY_LINK_RUNNER);
}

static void link_down(struct gateway *gateway, const struct input *input, const char *sentence)
{
    const uint32_t link = input->peer.link;
    if (link >= GATEWAY_LINK_HOLDER)
        relay_link_down(gateway, link - GATEWAY_LINK_HOLDER, input->kind == INPUT_LINK_REFUSED);
    else if (link >= GATEWAY_LINK_RUNNER)
        runners_down(gateway, link - GATEWAY_LINK_RUNNER, sentence);
}

static void send_failed(struct gateway *gateway, const struct input *input)
{
    if (input->peer.link == GATEWAY_LINK_MASTER)
        return; /* asked again after the next welcome, or answered at the deadline */
    if (input->status == STATUS_UNREACHABLE || input->peer.link >= GATEWAY_LINK_HOLDER)
        link_down(gateway, input, "the runner cannot be reached");
    else
        chats_lose(gateway, input->peer.link - GATEWAY_LINK_RUNNER,
                   "the runner takes no more messages");
}

static void take_message(struct gateway *gateway, const struct input *input,
                         enum mirror_change change)
{
    const uint32_t link = input->peer.link;
    if (link == GATEWAY_LINK_MASTER)
        master_message(gateway, input->message, change);
    else if (link >= GATEWAY_LINK_HOLDER)
        relay_message(gateway, link - GATEWAY_LINK_HOLDER, input->message);
    else
        chat_message(gateway, link - GATEWAY_LINK_RUNNER, input->message);
}

static void take_result(struct gateway *gateway, struct result *result)
{
    if (result->kind == GATEWAY_RESULT_HTTP)
        take_arrival(gateway, result->value);
    else if (result->kind == GATEWAY_OPEN_FILE)
        hub_file_opened(gateway, result);
    else if (result->kind == GATEWAY_CHECK_PIECE)
        relay_checked(gateway, result);
}

static void start(struct gateway *gateway)
{
    (void)snprintf(gateway->session.address, sizeof(gateway->session.address), "%s",
                   text_or_empty(gateway->settings->http));
    session_open(&gateway->session, gateway->outbox);
    memcpy(gateway->seed, gateway->input->seed, sizeof(gateway->seed));
    gateway->started_ms = gateway->input->now_ms;
}

static void stop(struct gateway *gateway)
{
    chats_end_all(gateway);
    feed_end_all(gateway);
    outbox_exit(gateway->outbox, 0);
}

static bool is_busy(const struct gateway *gateway)
{
    bool is_busy = feed_has_watchers(gateway) || !gateway->is_ready_told ||
                   relays_are_busy(gateway);
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
        relays_tick(gateway);
    }
    if (is_busy(gateway))
        outbox_wake(gateway->outbox, gateway->tick_at_ms);
}

static void take_input(struct gateway *gateway, const struct input *input,
                       enum mirror_change change)
{
    switch (input->kind) {
    case INPUT_START:
        start(gateway);
        break;
    case INPUT_LINK_UP:
        link_up(gateway, input->peer.link);
        break;
    case INPUT_LINK_DOWN:
        link_down(gateway, input, "the connection to the runner ended");
        break;
    case INPUT_LINK_REFUSED:
        link_down(gateway, input, "the runner's address cannot be used");
        break;
    case INPUT_SEND_FAILED:
        send_failed(gateway, input);
        break;
    case INPUT_MESSAGE:
        take_message(gateway, input, change);
        break;
    case INPUT_RESULT:
        take_result(gateway, input->result);
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
}

static enum status gateway_step(void *actor, const struct input *input, struct outbox *outbox,
                                struct reason *reason)
{
    struct gateway *gateway = actor;
    enum mirror_change change;
    gateway->input = input;
    gateway->outbox = outbox;
    enum status status = session_take(&gateway->session, input, outbox, &change, reason);
    if (status == STATUS_OK) {
        take_input(gateway, input, change);
        relays_turn(gateway);
        tick(gateway);
    }
    gateway->input = NULL;
    gateway->outbox = NULL;
    return status;
}

static enum status gateway_init(void *actor, const void *settings, struct reason *reason)
{
    struct gateway *gateway = actor;
    (void)reason;
    gateway->settings = settings;
    session_init(&gateway->session, &gateway->settings->session);
    return STATUS_OK;
}

static void gateway_fini(void *actor)
{
    struct gateway *gateway = actor;
    chats_fini(gateway);
    asks_fini(gateway);
    feed_fini(gateway);
    relays_fini(gateway);
    transfer_progress_fini(&gateway->transfers);
    pulls_fini(gateway);
    session_fini(&gateway->session);
}

const struct actor_ops gateway_ops = {.name = "gateway",
                                      .memory_size = sizeof(struct gateway),
                                      .init = gateway_init,
                                      .step = gateway_step,
                                      .fini = gateway_fini};
