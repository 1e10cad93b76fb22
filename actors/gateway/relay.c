/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/relay.h"

#include "actors/gateway/hub.h"
#include "protocol/memory.h"
#include "runtime/chunk_manifest.h"

#include <stdio.h>
#include <string.h>

void piece_check_free(void *argument)
{
    struct piece_check *check = argument;
    if (!check)
        return;
    buffer_fini(&check->bytes);
    memory_free(check);
}

static void fail(struct gateway *gateway)
{
    gateway->outbox->failed = STATUS_NO_MEMORY;
}

static struct relay *find(const struct gateway *gateway, uint64_t exchange)
{
    struct relay *relay = gateway->relays ? gateway->relays->first : NULL;
    while (relay && (relay->wish->exchange != exchange || relay->phase == RELAY_OVER))
        relay = relay->next;
    return relay;
}

static void relay_free(struct relay *relay)
{
    file_wish_free(relay->wish);
    buffer_fini(&relay->manifest);
    buffer_fini(&relay->piece);
    memory_free(relay);
}

/* Nobody can send it: 503, or what was begun is cut. */
static void give_up(struct gateway *gateway, struct relay *relay)
{
    const struct file_wish *wish = relay->wish;
    if (relay->is_begun)
        stream_end(gateway, wish->exchange);
    else
        hub_refuse(gateway, wish->exchange, 503, "", "Retry-After: 5",
                   "The file %.100s of %.100s cannot be had through this node now: %.200s.",
                   wish->name, wish->model_id,
                   relay->last[0] ? relay->last : "no node that has it is here");
    relay->phase = RELAY_OVER;
}

/* ---- asking ---- */

static void send_to(struct gateway *gateway, const struct relay *relay, struct message *message,
                    bool is_filled)
{
    const struct peer peer = peer_of_link(GATEWAY_LINK_HOLDER + relay->slot);
    if (is_filled)
        outbox_send(gateway->outbox, &peer, message);
    else
        fail(gateway);
    message_fini(message);
}

static void ask_manifest(struct gateway *gateway, struct relay *relay)
{
    struct message message;
    relay->phase = RELAY_MANIFEST;
    relay->deadline_ms = gateway->input->now_ms + RELAY_PART_MS;
    if (message_init(&message, MESSAGE_LINK, LINK_MANIFEST_ASKED) != STATUS_OK) {
        fail(gateway);
        return;
    }
    struct manifest_asked *body = message.body;
    body->revision = relay->wish->revision;
    body->offset = relay->manifest.size;
    send_to(gateway, relay, &message, text_set(&body->model_id, relay->wish->model_id));
}

/* The chunk with the next byte, whole: else it could not be checked. */
static void ask_piece(struct gateway *gateway, struct relay *relay)
{
    struct message message;
    relay->phase = RELAY_PIECE;
    relay->deadline_ms = gateway->input->now_ms + RELAY_PART_MS;
    if (message_init(&message, MESSAGE_LINK, LINK_FILE_ASKED) != STATUS_OK) {
        fail(gateway);
        return;
    }
    struct file_asked *body = message.body;
    body->revision = relay->wish->revision;
    body->offset = relay->piece_offset;
    body->size = relay->piece_size;
    send_to(gateway, relay, &message,
            text_set(&body->model_id, relay->wish->model_id) &&
                text_set(&body->name, relay->wish->name));
}

static const struct manifest_file *file_of(const struct chunk_manifest *manifest, const char *name)
{
    for (uint32_t i = 0; i < manifest->files.count; i++)
        if (strcmp(text_or_empty(manifest->files.items[i].name), name) == 0)
            return &manifest->files.items[i];
    return NULL;
}

/* Asks what is next of the holder it is connected to. */
static void ask(struct gateway *gateway, struct relay *relay)
{
    const struct model_record *model = relay_model(gateway, relay);
    const struct chunk_manifest *manifest =
        model ? relay_manifest_find(gateway, model) : NULL;
    const struct manifest_file *file =
        manifest ? file_of(manifest, relay->wish->name) : NULL;
    if (!manifest) {
        relay->manifest.size = 0;
        ask_manifest(gateway, relay);
        return;
    }
    if (!file || relay->end > file->size) {
        (void)snprintf(relay->last, sizeof(relay->last), "its manifest does not name it");
        give_up(gateway, relay);
        return;
    }
    relay->piece_offset = relay->at / CHUNK_SIZE * CHUNK_SIZE;
    const uint64_t left = file->size - relay->piece_offset;
    relay->piece_size = (uint32_t)(left < CHUNK_SIZE ? left : CHUNK_SIZE);
    memcpy(&relay->piece_digest,
           file->chunks.items + relay->piece_offset / CHUNK_SIZE * sizeof(relay->piece_digest),
           sizeof(relay->piece_digest));
    buffer_fini(&relay->piece);
    buffer_init(&relay->piece, relay->piece_size);
    if (buffer_reserve(&relay->piece, relay->piece_size) != STATUS_OK) {
        fail(gateway);
        return;
    }
    ask_piece(gateway, relay);
}

static void rest(struct gateway *gateway, struct relay *relay)
{
    const uint64_t now_ms = gateway->input->now_ms;
    relay->tried_count = 0;
    const bool is_alone = !relay_find_holder(gateway, relay);
    const uint64_t limit_ms = is_alone ? RELAY_ALONE_MS : RELAY_SILENCE_MS;
    /* When only those are left that sent wrong bytes there is nothing to wait for. */
    if (now_ms >= relay->fruitful_ms + limit_ms || !relay_model(gateway, relay) ||
        (is_alone && relay->wrong_count > 0)) {
        give_up(gateway, relay);
        return;
    }
    relay->phase = RELAY_RESTING;
    relay->deadline_ms = now_ms + RELAY_REST_MS;
}

/* The holder it has, or the next, or a pause. */
static void take_turn(struct gateway *gateway, struct relay *relay)
{
    struct relay_desk *desk = gateway->relays;
    const struct endpoint_record *endpoint =
        relay->tried_count < NODE_COUNT_MAX ? relay_find_holder(gateway, relay) : NULL;
    const int slot = endpoint ? relay_connect(gateway, endpoint) : -1;
    if (slot < 0) {
        rest(gateway, relay);
        return;
    }
    relay->turn = ++desk->turns;
    relay->slot = (uint32_t)slot;
    relay->holder = endpoint->node_id;
    relay->phase = RELAY_CONNECTING;
    relay->deadline_ms = gateway->input->now_ms + RELAY_CONNECT_MS;
    if (desk->holders[slot].is_up)
        ask(gateway, relay);
}

static void holder_failed(struct gateway *gateway, struct relay *relay, const char *what)
{
    (void)snprintf(relay->last, sizeof(relay->last), "%.60s %.90s",
                   state_node_name(gateway_state(gateway), &relay->holder), what);
    if (relay->tried_count < NODE_COUNT_MAX)
        relay->tried[relay->tried_count++] = relay->holder;
    relay->phase = RELAY_READY;
}

static void holder_wrong(struct gateway *gateway, struct relay *relay, const char *what)
{
    if (relay->wrong_count < NODE_COUNT_MAX)
        relay->wrong[relay->wrong_count++] = relay->holder;
    holder_failed(gateway, relay, what);
}

/* ---- beginning ---- */

void relay_begin(struct gateway *gateway, struct file_wish *wish)
{
    if (!gateway->relays)
        gateway->relays = memory_zeroed(1, sizeof(*gateway->relays));
    struct relay_desk *desk = gateway->relays;
    struct relay *relay = desk ? memory_zeroed(1, sizeof(*relay)) : NULL;
    if (!relay) {
        file_wish_free(wish);
        fail(gateway);
        return;
    }
    *relay = (struct relay){.phase = RELAY_READY, .wish = wish, .at = wish->first,
                            .end = wish->first + wish->size,
                            .fruitful_ms = gateway->input->now_ms};
    buffer_init(&relay->manifest, CHUNK_MANIFEST_SIZE_MAX);
    struct relay **link = &desk->first;
    while (*link)
        link = &(*link)->next;
    *link = relay;
}

/* ---- what holders say ---- */

static void take_manifest(struct gateway *gateway, struct relay *relay,
                          const struct manifest_part *part)
{
    const struct model_record *model = relay_model(gateway, relay);
    struct chunk_manifest manifest = {0};
    struct reason reason;
    if (part->status != STATUS_OK) {
        holder_failed(gateway, relay, status_text((enum status)part->status));
        return;
    }
    if (!model || part->offset != relay->manifest.size || part->part.count == 0 ||
        part->total > CHUNK_MANIFEST_SIZE_MAX || part->total < relay->manifest.size ||
        part->part.count > part->total - relay->manifest.size) {
        holder_wrong(gateway, relay, "sent no part of the manifest");
        return;
    }
    if (buffer_append(&relay->manifest, part->part.items, part->part.count) != STATUS_OK) {
        fail(gateway);
        return;
    }
    if (relay->manifest.size < part->total) {
        ask_manifest(gateway, relay);
        return;
    }
    const enum status status = chunk_manifest_decode(relay->manifest.bytes, relay->manifest.size,
                                                     model, &manifest, &reason);
    buffer_fini(&relay->manifest);
    if (status != STATUS_OK) {
        holder_wrong(gateway, relay, "sent a manifest that is not the model's");
        return;
    }
    (void)relay_manifest_keep(gateway, model, &manifest);
    ask(gateway, relay);
}

/* It is hashed beside the loop, which carries the tokens of others. */
static void check_piece(struct gateway *gateway, struct relay *relay)
{
    struct piece_check *check = memory_zeroed(1, sizeof(*check));
    if (!check) {
        fail(gateway);
        return;
    }
    check->exchange = relay->wish->exchange;
    check->bytes = relay->piece;
    check->digest = relay->piece_digest;
    buffer_init(&relay->piece, 0);
    relay->phase = RELAY_CHECKING;
    outbox_effect(gateway->outbox, check->exchange, GATEWAY_CHECK_PIECE, check,
                  piece_check_free);
}

static void take_part(struct gateway *gateway, struct relay *relay, const struct file_part *part)
{
    if (part->status != STATUS_OK) {
        holder_failed(gateway, relay, status_text((enum status)part->status));
        return;
    }
    if (part->part.count == 0 || part->part.count > relay->piece_size - relay->piece.size) {
        holder_wrong(gateway, relay, "sent a part of a wrong size");
        return;
    }
    if (buffer_append(&relay->piece, part->part.items, part->part.count) != STATUS_OK) {
        fail(gateway);
        return;
    }
    relay->deadline_ms = gateway->input->now_ms + RELAY_PART_MS;
    if (relay->piece.size == relay->piece_size)
        check_piece(gateway, relay);
}

static bool awaits_part(const struct relay *relay, uint32_t slot, const struct file_part *part)
{
    return relay->phase == RELAY_PIECE && relay->slot == slot &&
           ID_EQUAL(relay->wish->revision, part->revision) &&
           part->offset == relay->piece_offset + relay->piece.size &&
           strcmp(relay->wish->name, text_or_empty(part->name)) == 0 &&
           strcmp(relay->wish->model_id, text_or_empty(part->model_id)) == 0;
}

/* What nobody awaits is of a client that left, or of a holder that was given up. */
void relay_message(struct gateway *gateway, uint32_t slot, const struct message *message)
{
    if (!gateway->relays)
        return;
    for (struct relay *relay = gateway->relays->first; relay; relay = relay->next) {
        if (message_is(message, MESSAGE_LINK, LINK_FILE_PART) &&
            awaits_part(relay, slot, message->body)) {
            take_part(gateway, relay, message->body);
            return;
        }
        if (message_is(message, MESSAGE_LINK, LINK_MANIFEST_PART) &&
            relay->phase == RELAY_MANIFEST && relay->slot == slot &&
            ID_EQUAL(relay->wish->revision,
                     MESSAGE_BODY(message, manifest_part)->revision) &&
            MESSAGE_BODY(message, manifest_part)->offset == relay->manifest.size) {
            take_manifest(gateway, relay, message->body);
            return;
        }
    }
}

void relay_link_up(struct gateway *gateway, uint32_t slot)
{
    if (!gateway->relays || !gateway->relays->holders[slot].is_used)
        return;
    gateway->relays->holders[slot].is_up = true;
    gateway->relays->holders[slot].is_lost = false;
    for (struct relay *relay = gateway->relays->first; relay; relay = relay->next)
        if (relay->phase == RELAY_CONNECTING && relay->slot == slot)
            ask(gateway, relay);
}

void relay_link_down(struct gateway *gateway, uint32_t slot, bool is_closed)
{
    if (!gateway->relays)
        return;
    gateway->relays->holders[slot].is_up = false;
    gateway->relays->holders[slot].is_lost = gateway->relays->holders[slot].is_used;
    if (is_closed)
        gateway->relays->holders[slot] = (struct relay_holder){0};
    for (struct relay *relay = gateway->relays->first; relay; relay = relay->next)
        if (relay->slot == slot && relay_is_asking(relay) &&
            (is_closed || relay->phase != RELAY_CONNECTING))
            holder_failed(gateway, relay, "went away");
}

/* ---- what the client gets ---- */

static void begin_answer(struct gateway *gateway, struct relay *relay)
{
    relay->is_begun = true;
    pipe_begin(gateway, file_wish_output(relay->wish));
}

/* The part of the piece that was asked for. */
static void send_piece(struct gateway *gateway, struct relay *relay, struct buffer *bytes)
{
    const uint64_t piece_end = relay->piece_offset + relay->piece_size;
    const uint64_t end = piece_end < relay->end ? piece_end : relay->end;
    buffer_consume(bytes, (size_t)(relay->at - relay->piece_offset));
    bytes->size = (size_t)(end - relay->at);
    if (!relay->is_begun)
        begin_answer(gateway, relay);
    relay->at = end;
    relay->pieces++;
    pipe_write(gateway, relay->wish->exchange, bytes);
}

void relay_checked(struct gateway *gateway, const struct result *result)
{
    struct piece_check *check = result->value;
    struct relay *relay = find(gateway, result->id);
    if (!relay || relay->phase != RELAY_CHECKING)
        return;
    if (result->status != STATUS_OK) {
        holder_wrong(gateway, relay, "sent bytes that are not the model's");
        return;
    }
    relay->fruitful_ms = gateway->input->now_ms;
    relay->tried_count = 0;
    send_piece(gateway, relay, &check->bytes);
    /* What the client has not taken is the server's. */
    relay->phase = relay->at == relay->end              ? RELAY_OVER
                   : relay->pieces < RELAY_PIECES_MAX ? RELAY_READY
                                                        : RELAY_FULL;
}

void relay_drained(struct gateway *gateway, uint64_t exchange)
{
    struct relay *relay = find(gateway, exchange);
    if (!relay || relay->pieces == 0)
        return;
    relay->pieces--;
    if (relay->phase != RELAY_FULL)
        return;
    relay->fruitful_ms = gateway->input->now_ms; /* the client was waited for, no holder */
    relay->phase = RELAY_READY;
}

void relay_forget(struct gateway *gateway, uint64_t exchange)
{
    struct relay *relay = find(gateway, exchange);
    if (relay)
        relay->phase = RELAY_OVER;
}

/* ---- time ---- */

static void look_at(struct gateway *gateway, struct relay *relay)
{
    const uint64_t now_ms = gateway->input->now_ms;
    switch (relay->phase) {
    case RELAY_READY:
        if (relay->pieces == 0 && now_ms >= relay->fruitful_ms + RELAY_SILENCE_MS) {
            (void)snprintf(relay->last, sizeof(relay->last), "too many files are sent now");
            give_up(gateway, relay);
        }
        break;
    case RELAY_CONNECTING:
    case RELAY_MANIFEST:
    case RELAY_PIECE:
        if (now_ms >= relay->deadline_ms)
            holder_failed(gateway, relay,
                          relay->phase == RELAY_CONNECTING ? "cannot be reached" : "fell silent");
        break;
    case RELAY_RESTING:
        if (now_ms >= relay->deadline_ms)
            relay->phase = RELAY_READY;
        break;
    case RELAY_CHECKING:
    case RELAY_FULL:
    case RELAY_OVER:
        break; /* the effect is always answered; who takes no bytes is cut by the server */
    }
}

void relays_tick(struct gateway *gateway)
{
    if (!gateway->relays)
        return;
    for (struct relay *relay = gateway->relays->first; relay; relay = relay->next)
        look_at(gateway, relay);
    relay_holders_tick(gateway);
}

struct use {
    uint32_t asking;
    uint32_t chunks;
};

static struct use use_of(const struct relay_desk *desk)
{
    struct use use = {0, 0};
    for (const struct relay *relay = desk->first; relay; relay = relay->next) {
        use.asking += relay_is_asking(relay);
        use.chunks += relay->pieces + (relay_is_asking(relay) || relay->phase == RELAY_CHECKING);
    }
    return use;
}

/* Who asked longest ago, or never; one whose client has a piece comes when there is plenty. */
static struct relay *next_turn(const struct relay_desk *desk, uint32_t chunks)
{
    struct relay *next = NULL;
    for (struct relay *relay = desk->first; relay; relay = relay->next)
        if (relay->phase == RELAY_READY && (relay->pieces == 0 || chunks < RELAY_CHUNKS_MAX / 2) &&
            (!next || relay->turn < next->turn))
            next = relay;
    return next;
}

void relays_turn(struct gateway *gateway)
{
    struct relay_desk *desk = gateway->relays;
    if (!desk)
        return;
    for (;;) {
        const struct use use = use_of(desk);
        struct relay *relay = use.asking < RELAY_ASKING_MAX && use.chunks < RELAY_CHUNKS_MAX
                                  ? next_turn(desk, use.chunks)
                                  : NULL;
        if (!relay || gateway->outbox->failed != STATUS_OK)
            break;
        take_turn(gateway, relay);
    }
    for (struct relay **link = &desk->first; *link;) {
        struct relay *relay = *link;
        if (relay->phase != RELAY_OVER) {
            link = &relay->next;
            continue;
        }
        *link = relay->next;
        relay_free(relay);
    }
}

bool relays_are_busy(const struct gateway *gateway)
{
    bool is_busy = gateway->relays && gateway->relays->first;
    for (size_t i = 0; !is_busy && gateway->relays && i < RELAY_HOLDERS_MAX; i++)
        is_busy = gateway->relays->holders[i].is_used;
    return is_busy;
}

void relays_fini(struct gateway *gateway)
{
    struct relay_desk *desk = gateway->relays;
    while (desk && desk->first) {
        struct relay *relay = desk->first;
        desk->first = relay->next;
        relay_free(relay);
    }
    for (size_t i = 0; desk && i < RELAY_MANIFESTS_MAX; i++)
        if (desk->manifests[i].is_known)
            record_fini(&chunk_manifest_type, &desk->manifests[i].manifest);
    memory_free(desk);
    gateway->relays = NULL;
}
