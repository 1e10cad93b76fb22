/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/gateway.h"
#include "protocol/memory.h"
#include "runtime/link_view.h"

#include <inttypes.h>
#include <string.h>

static void ask_end(struct ask *ask)
{
    buffer_fini(&ask->bytes);
    *ask = (struct ask){0};
}

static void send_ask(struct gateway *gateway, const struct ask *ask)
{
    struct peer peer = peer_of_link(GATEWAY_LINK_MASTER);
    outbox_send_bytes(gateway->outbox, &peer, ask->bytes.bytes, ask->bytes.size);
}

void ask_begin(struct gateway *gateway, enum ask_kind kind, uint64_t exchange, uint32_t code,
               void *body, const struct instance_id *instance_id)
{
    struct http_fault fault;
    for (size_t i = 0; i < GATEWAY_ASK_COUNT_MAX; i++) {
        struct ask *ask = &gateway->asks[i];
        if (ask->is_used)
            continue;
        ask->is_used = true;
        ask->kind = kind;
        ask->exchange = exchange;
        ask->deadline_ms = gateway->input->now_ms + GATEWAY_ANSWER_MS;
        if (instance_id)
            ask->instance_id = *instance_id;
        gateway_draw_id(gateway, &ask->key);
        struct message message = {.head = {.kind = MESSAGE_COMMAND, .code = code, .key = ask->key},
                                  .body = body};
        buffer_init(&ask->bytes, MESSAGE_SIZE_MAX);
        enum status status = message_encode(&message, &ask->bytes);
        if (status != STATUS_OK) {
            fault_of_status(&fault, status, NULL);
            reply_fault(gateway, exchange, &fault);
            ask_end(ask);
            return;
        }
        if (gateway->session.is_welcome)
            send_ask(gateway, ask);
        return;
    }
    (void)http_fault_set(&fault, 429, "queue_full", "Too many commands wait; try again soon.");
    reply_fault(gateway, exchange, &fault);
}

void asks_resend(struct gateway *gateway)
{
    for (size_t i = 0; i < GATEWAY_ASK_COUNT_MAX; i++)
        if (gateway->asks[i].is_used && gateway->asks[i].index == 0)
            send_ask(gateway, &gateway->asks[i]);
}

/* The command became the event `ask->index`, and our state has it. */
static void answer_applied(struct gateway *gateway, struct ask *ask)
{
    struct buffer json;
    buffer_init(&json, 4u << 20);
    enum status status = buffer_append_format(
        &json, "{\"accepted\":true,\"index\":%" PRIu64 ",\"held_by\":%u,\"nodes\":%u", ask->index,
        ask->holders, ask->nodes);
    const struct instance_record *found = NULL;
    for (uint32_t i = 0; ask->kind == ASK_PLACE && i < gateway_state(gateway)->instances.count; i++)
        if (ID_EQUAL(gateway_state(gateway)->instances.items[i].instance_id, ask->instance_id))
            found = &gateway_state(gateway)->instances.items[i];
    char id[HEX_SIZE(16)];
    if (status == STATUS_OK && !ID_IS_ZERO(ask->instance_id))
        status = buffer_append_format(&json, ",\"instance_id\":\"%s\"",
                                      hex_print(&ask->instance_id, sizeof(ask->instance_id), id));
    if (status == STATUS_OK && found) {
        status = buffer_append_text(&json, ",\"instance\":");
        if (status == STATUS_OK)
            status = instance_print(gateway, found, &json);
    }
    if (status == STATUS_OK &&
        (ask->kind == ASK_DISTRIBUTE || ask->kind == ASK_CANCEL_TRANSFER))
        status = transfer_print_asked(gateway, ask, &json);
    if (status == STATUS_OK)
        status = buffer_append_text(&json, "}");
    if (status != STATUS_OK)
        gateway->outbox->failed = status;
    reply(gateway, ask->exchange, ask->kind == ASK_DISTRIBUTE ? 202 : 200, &json);
    ask_end(ask);
}

/* Called after each event, so that the instance an event placed is known by its index. */
void asks_applied(struct gateway *gateway)
{
    const struct input *input = gateway->input;
    const struct message *event =
        input->kind == INPUT_MESSAGE && input->message &&
                message_is(input->message, MESSAGE_EVENT, EVENT_INSTANCE_PLACED)
            ? input->message
            : NULL;
    for (size_t i = 0; i < GATEWAY_ASK_COUNT_MAX; i++) {
        struct ask *ask = &gateway->asks[i];
        if (!ask->is_used)
            continue;
        if (event && ask->kind == ASK_PLACE && ID_EQUAL(event->head.key, ask->key))
            ask->instance_id = MESSAGE_BODY(event, instance_placed)->instance.instance_id;
        if (ask->index > 0 && ask->index <= gateway_state(gateway)->index)
            answer_applied(gateway, ask);
    }
}

static void reply_links(struct gateway *gateway, uint64_t exchange,
                        const struct links_listed *listed)
{
    struct buffer json;
    buffer_init(&json, 4u << 20);
    const enum status status = link_view_print(listed, gateway_state(gateway), &json);
    if (status != STATUS_OK)
        gateway->outbox->failed = status;
    reply(gateway, exchange, 200, &json);
}

void asks_answered(struct gateway *gateway, const struct message *answer)
{
    struct http_fault fault;
    for (size_t i = 0; i < GATEWAY_ASK_COUNT_MAX; i++) {
        struct ask *ask = &gateway->asks[i];
        if (!ask->is_used || !ID_EQUAL(ask->key, answer->head.key))
            continue;
        if (answer->head.status != STATUS_OK) {
            fault_of_status(&fault, answer->head.status, answer->head.reason);
            reply_fault(gateway, ask->exchange, &fault);
            ask_end(ask);
        } else if (answer->head.code == ANSWER_CANDIDATES) {
            reply_candidates(gateway, ask->exchange, answer->body);
            ask_end(ask);
        } else if (answer->head.code == ANSWER_LINKS) {
            reply_links(gateway, ask->exchange, answer->body);
            ask_end(ask);
        } else {
            ask->index = answer->head.index;
            ask->holders = answer->head.holders;
            ask->nodes = answer->head.nodes;
            if (ask->index <= gateway_state(gateway)->index)
                answer_applied(gateway, ask);
        }
        return;
    }
}

void asks_tick(struct gateway *gateway)
{
    struct http_fault fault;
    for (size_t i = 0; i < GATEWAY_ASK_COUNT_MAX; i++) {
        struct ask *ask = &gateway->asks[i];
        if (!ask->is_used || gateway->input->now_ms + GATEWAY_TICK_MS / 2 < ask->deadline_ms)
            continue;
        if (ask->index > 0) { /* it is done, only our copy is late */
            answer_applied(gateway, ask);
            continue;
        }
        (void)http_fault_set(&fault, 503, "no_leader",
                             "No leader answered within 3 s; the command may still be carried out. "
                             "Look at GET /state, then try again.");
        reply_fault(gateway, ask->exchange, &fault);
        ask_end(ask);
    }
}

void asks_forget(struct gateway *gateway, uint64_t exchange)
{
    for (size_t i = 0; i < GATEWAY_ASK_COUNT_MAX; i++)
        if (gateway->asks[i].is_used && gateway->asks[i].exchange == exchange)
            ask_end(&gateway->asks[i]);
}

void asks_fini(struct gateway *gateway)
{
    for (size_t i = 0; i < GATEWAY_ASK_COUNT_MAX; i++)
        if (gateway->asks[i].is_used)
            ask_end(&gateway->asks[i]);
}
