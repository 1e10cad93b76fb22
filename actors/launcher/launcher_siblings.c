/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launcher_siblings: the conversation of the launchers of one generation.
 *
 * Each connects to each; what a launcher says goes over its own connections, what it hears comes
 * over its bound link, where the key of the connection says who speaks.
 */
#include "actors/launcher/launcher.h"

#include "protocol/hello.h"
#include "protocol/memory.h"
#include "runtime/fabric_ways.h"

#include <inttypes.h>
#include <string.h>

static void request_free(void *request)
{
    pmix_host_event_fini(request);
    memory_free(request);
}

static struct peer peer_of_rank(uint32_t rank)
{
    return peer_of_link(LAUNCHER_LINK_SIBLING + rank);
}

/* The sibling on the other end of a bound connection, or UINT32_MAX. */
static uint32_t rank_of_key(const struct launcher *launcher, const struct public_key *key)
{
    for (uint32_t rank = 0; rank < launcher->rank_count; rank++)
        if (rank != launcher->settings->rank && ID_EQUAL(launcher->siblings[rank].key, *key))
            return rank;
    return UINT32_MAX;
}

void siblings_open(struct launcher *launcher, const struct instance_record *instance)
{
    struct public_key allowed[RANK_COUNT_MAX];
    size_t allowed_count = 0;
    launcher->rank_count = instance->ranks.count;
    for (uint32_t rank = 0; rank < launcher->rank_count; rank++) {
        const struct rank_record *record = &instance->ranks.items[rank];
        launcher->siblings[rank] = (struct sibling){
            .key = record->launcher_key, .lost_at_ms = launcher->input->now_ms};
        if (rank == launcher->settings->rank)
            continue;
        struct link_options options = {.role = LINK_CONNECT, .server_key = record->launcher_key};
        char address[ADDRESS_SIZE_MAX];
        fabric_address(record, &launcher->session.mirror.node_id,
                       text_or_empty(record->launcher_address), address);
        size_t length = strlen(address);
        if (length >= sizeof(options.endpoint)) {
            launcher_end(launcher, "the address of the launcher of rank %" PRIu32 " is too long",
                         rank);
            return;
        }
        memcpy(options.endpoint, address, length + 1);
        allowed[allowed_count++] = record->launcher_key;
        outbox_link_open(launcher->outbox, LAUNCHER_LINK_SIBLING + rank, &options);
    }
    outbox_link_allow(launcher->outbox, LAUNCHER_LINK_BOUND, allowed, allowed_count);
}

bool siblings_all_met(const struct launcher *launcher)
{
    for (uint32_t rank = 0; rank < launcher->rank_count; rank++)
        if (rank != launcher->settings->rank &&
            (!launcher->siblings[rank].has_said_hello || !launcher->siblings[rank].was_up))
            return false;
    return launcher->rank_count > 0;
}

static enum status send_hello(struct launcher *launcher, uint32_t rank)
{
    const struct launcher_settings *settings = launcher->settings;
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_HELLO);
    if (status != STATUS_OK)
        return status;
    struct hello *hello = message.body;
    status = hello_fill(hello, ACTOR_LAUNCHER, settings->incarnation, settings->build);
    hello->node_id = launcher->session.mirror.node_id;
    hello->instance_id = settings->instance_id;
    hello->generation = settings->generation;
    hello->rank = settings->rank;
    hello->world_size = launcher->rank_count;
    struct peer peer = peer_of_rank(rank);
    if (status == STATUS_OK)
        outbox_send(launcher->outbox, &peer, &message);
    message_fini(&message);
    return status;
}

void sibling_link_changed(struct launcher *launcher, uint32_t rank, bool is_up)
{
    if (rank >= launcher->rank_count)
        return;
    struct sibling *sibling = &launcher->siblings[rank];
    if (sibling->is_released)
        is_up = false;
    sibling->is_up = is_up;
    sibling->was_up = sibling->was_up || is_up;
    sibling->lost_at_ms = is_up ? 0 : launcher->input->now_ms;
    if (!is_up)
        return;
    if (send_hello(launcher, rank) != STATUS_OK)
        launcher_end(launcher, "no memory to greet the launcher of rank %" PRIu32, rank);
    /* What was on its way when a connection broke is lost: a repeated blob changes nothing. */
    struct peer peer = peer_of_rank(rank);
    for (size_t i = 0; i < launcher->blob_count; i++)
        outbox_send_bytes(launcher->outbox, &peer, launcher->blobs[i].bytes,
                          launcher->blobs[i].size);
}

uint32_t sibling_unreached(const struct launcher *launcher)
{
    for (uint32_t rank = 0; rank < launcher->rank_count; rank++)
        if (rank != launcher->settings->rank && !launcher->siblings[rank].was_up)
            return rank;
    return UINT32_MAX;
}

void siblings_release(struct launcher *launcher, const struct instance_record *instance)
{
    for (uint32_t rank = 0; rank < launcher->rank_count && rank < instance->ranks.count; rank++) {
        struct sibling *sibling = &launcher->siblings[rank];
        if (sibling->is_released || instance->ranks.items[rank].status != RANK_RELEASED)
            continue;
        sibling->is_released = true;
        sibling->is_up = false;
        if (rank != launcher->settings->rank)
            outbox_link_close(launcher->outbox, LAUNCHER_LINK_SIBLING + rank);
    }
}

uint32_t sibling_lost(const struct launcher *launcher, uint64_t *next_ms_out)
{
    uint32_t lost = UINT32_MAX;
    *next_ms_out = UINT64_MAX;
    for (uint32_t rank = 0; rank < launcher->rank_count; rank++) {
        const struct sibling *sibling = &launcher->siblings[rank];
        /* One that never came is the business of meet_ms and reach_ms. */
        if (rank == launcher->settings->rank || sibling->lost_at_ms == 0 ||
            (!sibling->has_said_hello && !sibling->was_up) || sibling->is_released)
            continue;
        uint64_t end_ms = sibling->lost_at_ms + launcher->times.loss_ms;
        if (end_ms <= launcher->input->now_ms)
            lost = rank;
        else if (end_ms < *next_ms_out)
            *next_ms_out = end_ms;
    }
    return lost;
}

/* ---- what a sibling says ---- */

static void hear_hello(struct launcher *launcher, uint32_t rank, const struct hello *hello)
{
    const struct launcher_settings *settings = launcher->settings;
    struct hash schema = schema_hash();
    if (!ID_EQUAL(hello->instance_id, settings->instance_id) ||
        !generation_equal(&hello->generation, &settings->generation) || hello->rank != rank)
        launcher_end(launcher, "the launcher of rank %" PRIu32 " is of another generation", rank);
    else if (hello->world_size != launcher->rank_count)
        launcher_end(launcher, "the launcher of rank %" PRIu32 " counts %" PRIu32 " ranks, this one"
                     " %" PRIu32, rank, hello->world_size, launcher->rank_count);
    else if (strcmp(text_or_empty(hello->build), settings->build) != 0 ||
             !ID_EQUAL(hello->schema, schema))
        launcher_end(launcher, "the node of rank %" PRIu32 " runs build %.60s, this one %.60s;"
                     " install the same on both", rank, text_or_empty(hello->build),
                     settings->build);
    else
        launcher->siblings[rank].has_said_hello = true;
}

/* Hands what a sibling said to PMIx. */
static enum status pass_on(struct launcher *launcher, enum launcher_effect effect,
                           const struct pmix_host_event *what, const struct bytes *bytes)
{
    struct pmix_host_event *request = memory_copied(what, sizeof(*what));
    if (!request)
        return STATUS_NO_MEMORY;
    request->bytes = NULL;
    if (bytes && bytes->count) {
        request->bytes = memory_copied(bytes->items, bytes->count);
        request->size = bytes->count;
        if (!request->bytes) {
            memory_free(request);
            return STATUS_NO_MEMORY;
        }
    }
    outbox_effect(launcher->outbox, effect, effect, request, request_free);
    return STATUS_OK;
}

static enum status hear_fence(struct launcher *launcher, uint32_t rank,
                              const struct fence_contributed *body)
{
    struct pmix_host_event what = {
        .kind = PMIX_HOST_FENCE, .rank = rank, .sequence = body->number};
    const char *signature = text_or_empty(body->signature);
    if (strlen(signature) >= sizeof(what.signature) ||
        !generation_equal(&body->generation, &launcher->settings->generation))
        return STATUS_OK;
    memcpy(what.signature, signature, strlen(signature) + 1);
    return pass_on(launcher, EFFECT_FENCE, &what, &body->blob);
}

static enum status hear_modex_asked(struct launcher *launcher, uint32_t rank,
                                    const struct modex_asked *body)
{
    struct pmix_host_event what = {
        .kind = PMIX_HOST_MODEX_WANTED, .rank = rank, .request = body->ticket};
    return pass_on(launcher, EFFECT_MODEX_LOOKUP, &what, NULL);
}

static enum status hear_modex_told(struct launcher *launcher, uint32_t rank,
                                   const struct modex_told *body)
{
    struct pmix_host_event what = {
        .kind = PMIX_HOST_MODEX_FOUND,
        .rank = rank,
        .request = body->ticket,
        .status = body->blob.count ? STATUS_OK : STATUS_NOT_FOUND,
    };
    return pass_on(launcher, EFFECT_MODEX_ANSWER, &what, &body->blob);
}

enum status sibling_message(struct launcher *launcher)
{
    const struct message *message = launcher->input->message;
    uint32_t rank = rank_of_key(launcher, &launcher->input->peer.key);
    /* Only keys of the allow-list come here; one that is on it no more is not listened to. */
    if (rank == UINT32_MAX || message->head.kind != MESSAGE_LINK)
        return STATUS_OK;
    switch (message->head.code) {
    case LINK_HELLO:
        hear_hello(launcher, rank, message->body);
        return STATUS_OK;
    case LINK_FENCE_CONTRIBUTED:
        return hear_fence(launcher, rank, message->body);
    case LINK_MODEX_ASKED:
        return hear_modex_asked(launcher, rank, message->body);
    case LINK_MODEX_TOLD:
        return hear_modex_told(launcher, rank, message->body);
    case LINK_RANK_ENDED: {
        const struct process_ended *ended = message->body;
        if (launcher->phase < LAUNCHER_ENDING && !launcher->siblings[rank].is_released)
            launcher_end(launcher, "rank %" PRIu32 " ended: %.300s", rank,
                         text_or_empty(ended->reason));
        return STATUS_OK;
    }
    default:
        return STATUS_OK;
    }
}

/* ---- what the siblings are told ---- */

static enum status keep_blob(struct launcher *launcher, const struct message *message)
{
    struct buffer bytes;
    buffer_init(&bytes, MESSAGE_SIZE_MAX);
    enum status status = message_encode(message, &bytes);
    if (status != STATUS_OK) {
        buffer_fini(&bytes);
        return status;
    }
    if (launcher->blob_count == FENCE_PENDING_MAX) {
        memory_free(launcher->blobs[0].bytes);
        memmove(&launcher->blobs[0], &launcher->blobs[1],
                (FENCE_PENDING_MAX - 1) * sizeof(launcher->blobs[0]));
        launcher->blob_count--;
    }
    launcher->blobs[launcher->blob_count++] =
        (struct kept_blob){.bytes = bytes.bytes, .size = bytes.size};
    return STATUS_OK;
}

static enum status tell_fence(struct launcher *launcher, const struct pmix_host_event *event)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_FENCE_CONTRIBUTED);
    if (status != STATUS_OK)
        return status;
    struct fence_contributed *body = message.body;
    body->generation = launcher->settings->generation;
    body->number = event->sequence;
    body->rank = launcher->settings->rank;
    if (!text_set(&body->signature, event->signature) ||
        !bytes_set(&body->blob, event->bytes, event->size))
        status = STATUS_NO_MEMORY;
    if (status == STATUS_OK)
        status = keep_blob(launcher, &message);
    for (uint32_t rank = 0; rank < launcher->rank_count && status == STATUS_OK; rank++) {
        struct peer peer = peer_of_rank(rank);
        if (rank != launcher->settings->rank && launcher->siblings[rank].is_up)
            outbox_send(launcher->outbox, &peer, &message);
    }
    message_fini(&message);
    return status;
}

static enum status tell_modex(struct launcher *launcher, const struct pmix_host_event *event)
{
    bool asks = event->kind == PMIX_HOST_MODEX_WANTED;
    struct peer peer = peer_of_rank(event->rank);
    struct message message;
    enum status status =
        message_init(&message, MESSAGE_LINK, asks ? LINK_MODEX_ASKED : LINK_MODEX_TOLD);
    if (status != STATUS_OK)
        return status;
    if (asks) {
        MESSAGE_BODY(&message, modex_asked)->rank = event->rank;
        MESSAGE_BODY(&message, modex_asked)->ticket = event->request;
    } else {
        struct modex_told *body = message.body;
        body->ticket = event->request;
        if (event->status == STATUS_OK && !bytes_set(&body->blob, event->bytes, event->size))
            status = STATUS_NO_MEMORY;
    }
    if (status == STATUS_OK)
        outbox_send(launcher->outbox, &peer, &message);
    message_fini(&message);
    return status;
}

enum status siblings_tell(struct launcher *launcher, const struct pmix_host_event *event)
{
    if (event->kind == PMIX_HOST_FENCE)
        return tell_fence(launcher, event);
    if (event->rank >= launcher->rank_count || event->rank == launcher->settings->rank)
        return STATUS_OK;
    return tell_modex(launcher, event);
}

enum status siblings_tell_end(struct launcher *launcher, const struct process_ended *ended)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_RANK_ENDED);
    if (status != STATUS_OK)
        return status;
    record_fini(&process_ended_type, message.body);
    status = record_copy(&process_ended_type, ended, message.body);
    for (uint32_t rank = 0; rank < launcher->rank_count && status == STATUS_OK; rank++) {
        struct peer peer = peer_of_rank(rank);
        if (rank != launcher->settings->rank && launcher->siblings[rank].is_up)
            outbox_send(launcher->outbox, &peer, &message);
    }
    message_fini(&message);
    return status;
}
