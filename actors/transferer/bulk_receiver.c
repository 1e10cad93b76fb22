/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk_receiver: opens what comes over the streams, checks each chunk and stores it.
 */
#include "actors/transferer/bulk.h"
#include "protocol/memory.h"
#include "runtime/bytes.h"
#include "runtime/log.h"

#include <stdio.h>
#include <string.h>

struct stream {
    bool is_used;
    bool is_open; /* the hello went out */
    uint32_t link;
    struct request_id session;
    struct seal from;
    struct seal to;
    uint8_t *bytes; /* of the chunk that comes */
    uint32_t chunk; /* CHUNK_NONE: none begun */
    uint32_t have;
    struct chunk_place place;
};

struct bulk_receiver {
    struct bulk_options options;
    struct bulk_thread *thread;
    struct transport *transport;
    struct stream streams[STREAMS_MAX];
    struct model_receive receive;
    bool is_receiving;
    uint64_t number; /* of the receive, as the loop counts them */
    uint64_t stored; /* chunks since it was opened */
    uint64_t wrong;
};

static struct stream *find(struct bulk_receiver *receiver, uint32_t link)
{
    for (size_t i = 0; i < STREAMS_MAX; i++)
        if (receiver->streams[i].is_used && receiver->streams[i].link == link)
            return &receiver->streams[i];
    return NULL;
}

static void leave(struct bulk_receiver *receiver, struct stream *stream)
{
    transport_link_close(receiver->transport, stream->link);
    memory_free(stream->bytes);
    seal_fini(&stream->from);
    seal_fini(&stream->to);
    memset(stream, 0, sizeof(*stream));
}

static void leave_all(struct bulk_receiver *receiver)
{
    for (size_t i = 0; i < STREAMS_MAX; i++)
        if (receiver->streams[i].is_used)
            leave(receiver, &receiver->streams[i]);
}

static void tell(struct bulk_receiver *receiver, uint32_t link, uint32_t chunk, uint64_t bytes,
                 enum status status, const struct reason *reason)
{
    struct chunk_told *told = memory_zeroed(1, sizeof(*told));
    if (!told)
        return; /* the loop asks again after a while */
    *told = (struct chunk_told){link, chunk, bytes};
    bulk_post(receiver->options.loop, BULK_CHUNK_TOLD, receiver->number, status, reason, told,
              memory_free);
}

static void broke(struct bulk_receiver *receiver, struct stream *stream, enum status status,
                  const char *what)
{
    struct reason reason;
    const uint32_t link = stream->link;
    leave(receiver, stream);
    tell(receiver, link, CHUNK_NONE, 0, refuse(&reason, status, "%s", what), &reason);
}

/* ---- streams ---- */

static void join(struct bulk_receiver *receiver, const struct stream_request *request)
{
    struct stream *stream = NULL;
    struct reason reason = {""};
    struct link_options options = {.role = LINK_CONNECT, .is_plain = true,
                                   .message_size_max = PIECE_MESSAGE_MAX, .queue_max = 64};
    for (size_t i = 0; i < STREAMS_MAX && !stream; i++)
        if (!receiver->streams[i].is_used)
            stream = &receiver->streams[i];
    if (!stream || !receiver->is_receiving)
        return;
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%s", request->address);
    uint8_t *bytes = memory_zeroed((size_t)CHUNK_SIZE, 1);
    enum status status =
        bytes ? transport_link_open(receiver->transport, request->link, &options, &reason)
              : refuse(&reason, STATUS_NO_MEMORY, "no memory for a stream");
    if (status != STATUS_OK) {
        memory_free(bytes);
        tell(receiver, request->link, CHUNK_NONE, 0, status, &reason);
        return;
    }
    *stream = (struct stream){.is_used = true, .link = request->link,
                              .session = request->session, .bytes = bytes, .chunk = CHUNK_NONE};
    seal_init(&stream->from, &request->key, SEAL_FROM_SOURCE, request->is_aes);
    seal_init(&stream->to, &request->key, SEAL_TO_SOURCE, request->is_aes);
}

static void say_hello(struct bulk_receiver *receiver, struct stream *stream)
{
    uint8_t hello[HELLO_SIZE];
    uint8_t with[PIECE_WITH_SIZE];
    const struct peer peer = peer_of_link(stream->link);
    piece_with(&stream->session, 0, 0, with);
    memcpy(hello, &stream->session, 16);
    seal_close(&stream->to, with, sizeof(with), "", 0, hello + 16);
    stream->is_open = true;
    if (transport_send(receiver->transport, &peer, hello, sizeof(hello)) != STATUS_OK)
        broke(receiver, stream, STATUS_UNREACHABLE, "cannot be reached for the bytes");
}

/* ---- pieces ---- */

static bool begin_chunk(const struct bulk_receiver *receiver, struct stream *stream,
                        uint32_t chunk)
{
    if (!chunk_manifest_place(&receiver->receive.manifest, chunk, &stream->place))
        return false;
    stream->chunk = chunk;
    stream->have = 0;
    return true;
}

static void store_chunk(struct bulk_receiver *receiver, struct stream *stream)
{
    struct reason reason = {""};
    const uint32_t chunk = stream->chunk;
    const enum status status =
        model_receive_put(&receiver->receive, chunk, stream->bytes, &reason);
    stream->chunk = CHUNK_NONE;
    receiver->stored += status == STATUS_OK;
    receiver->wrong += status == STATUS_HASH_MISMATCH;
    tell(receiver, stream->link, chunk, stream->place.size, status, &reason);
}

static void take_piece(struct bulk_receiver *receiver, struct stream *stream,
                       const struct transport_event *event)
{
    uint8_t with[PIECE_WITH_SIZE];
    if (event->size <= PIECE_HEADER_SIZE + SEAL_OVERHEAD) {
        broke(receiver, stream, STATUS_MALFORMED, "sent a piece that is none");
        return;
    }
    const uint32_t chunk = get_u32(event->bytes);
    const uint32_t offset = get_u32(event->bytes + 4);
    const size_t size = event->size - PIECE_HEADER_SIZE - SEAL_OVERHEAD;
    if (stream->chunk == CHUNK_NONE && !begin_chunk(receiver, stream, chunk)) {
        broke(receiver, stream, STATUS_MALFORMED, "sent a chunk that does not exist");
        return;
    }
    if (chunk != stream->chunk || offset != stream->have ||
        size > stream->place.size - stream->have) {
        broke(receiver, stream, STATUS_MALFORMED, "sent a piece out of order");
        return;
    }
    piece_with(&stream->session, chunk, offset, with);
    if (seal_open(&stream->from, with, sizeof(with), event->bytes + PIECE_HEADER_SIZE,
                  event->size - PIECE_HEADER_SIZE, stream->bytes + offset) != STATUS_OK) {
        broke(receiver, stream, STATUS_HASH_MISMATCH, "sent bytes whose seal is broken");
        return;
    }
    stream->have += (uint32_t)size;
    if (stream->have == stream->place.size)
        store_chunk(receiver, stream);
}

static void take_event(void *self, const struct transport_event *event)
{
    struct bulk_receiver *receiver = self;
    struct stream *stream = find(receiver, event->peer.link);
    if (!stream)
        return;
    if (event->kind == TRANSPORT_UP && !stream->is_open)
        say_hello(receiver, stream);
    else if (event->kind == TRANSPORT_DOWN || event->kind == TRANSPORT_REFUSED)
        broke(receiver, stream, STATUS_UNREACHABLE, "closed the stream");
    else if (event->kind == TRANSPORT_MESSAGE)
        take_piece(receiver, stream, event);
}

/* ---- the receive ---- */

static bool is_ending(void *who)
{
    return bulk_thread_is_ending(((struct bulk_receiver *)who)->thread);
}

static void close_receive(struct bulk_receiver *receiver, bool is_dropped)
{
    leave_all(receiver);
    if (!receiver->is_receiving)
        return;
    receiver->is_receiving = false;
    if (is_dropped)
        model_receive_drop(&receiver->receive);
    else
        model_receive_close(&receiver->receive);
}

static void open_receive(struct bulk_receiver *receiver, struct effect *effect)
{
    struct receive_request *request = effect->request;
    struct reason reason = {""};
    close_receive(receiver, false);
    receiver->number = effect->id;
    effect->request = NULL;
    enum status status =
        model_receive_open(receiver->options.store, &request->record, &request->manifest,
                           is_ending, receiver, &receiver->receive, &reason);
    if (status == STATUS_OK) {
        const struct model_receive *receive = &receiver->receive;
        receiver->is_receiving = true;
        receiver->stored = receiver->wrong = 0;
        request->count_out = receive->count;
        request->bytes_out = receive->bytes_here;
        request->have_out = memory_zeroed(receive->count / 8 + 1, 1);
        if (request->have_out)
            memcpy(request->have_out, receive->have, receive->count / 8 + 1);
        else
            status = refuse(&reason, STATUS_NO_MEMORY, "no memory to receive a model");
        log_notice("receives %s: %u of %u chunks are here", receive->record.model_id,
                   (unsigned)receive->here, (unsigned)receive->count);
    }
    bulk_post(receiver->options.loop, BULK_RECEIVE_OPEN, effect->id, status, &reason, request,
              receive_request_free);
}

static void place_receive(struct bulk_receiver *receiver, const struct effect *effect)
{
    struct reason reason = {""};
    leave_all(receiver);
    enum status status = receiver->is_receiving
                             ? STATUS_OK
                             : refuse(&reason, STATUS_ENDED, "the transfer is over");
    if (status == STATUS_OK) {
        log_notice("received %s: %llu chunks stored, %llu were wrong",
                   receiver->receive.record.model_id, (unsigned long long)receiver->stored,
                   (unsigned long long)receiver->wrong);
        status = model_receive_place(&receiver->receive, &reason);
        if (status == STATUS_OK)
            receiver->is_receiving = false;
        else
            close_receive(receiver, true);
    }
    bulk_post(receiver->options.loop, BULK_RECEIVE_PLACE, effect->id, status, &reason, NULL, NULL);
}

static void take(void *self, struct effect *effect)
{
    struct bulk_receiver *receiver = self;
    if (effect->kind == BULK_RECEIVE_OPEN) {
        open_receive(receiver, effect);
    } else if (effect->kind == BULK_JOIN) {
        join(receiver, effect->request);
    } else if (effect->kind == BULK_LEAVE) {
        const struct stream_request *request = effect->request;
        struct stream *stream = find(receiver, request->link);
        if (stream)
            leave(receiver, stream);
    } else if (effect->kind == BULK_RECEIVE_PLACE) {
        place_receive(receiver, effect);
    } else if (effect->kind == BULK_RECEIVE_CLOSE || effect->kind == BULK_RECEIVE_DROP) {
        close_receive(receiver, effect->kind == BULK_RECEIVE_DROP);
    } else if (effect->kind == BULK_SWEEP) {
        const struct sweep_request *request = effect->request;
        model_receive_sweep(receiver->options.store, request->kept, request->count);
    }
}

static enum status begin(void *self, struct transport *transport, struct reason *reason)
{
    (void)reason;
    ((struct bulk_receiver *)self)->transport = transport;
    return STATUS_OK;
}

static void end(void *self)
{
    close_receive(self, false);
}

static const struct bulk_ops ops = {begin, end, take, take_event};

enum status bulk_receiver_open(const struct bulk_options *options,
                               struct bulk_receiver **receiver_out, struct reason *reason)
{
    struct bulk_receiver *receiver = memory_zeroed(1, sizeof(*receiver));
    if (!receiver)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to receive models");
    receiver->options = *options;
    enum status status = bulk_thread_open(&ops, receiver, &receiver->thread, reason);
    if (status == STATUS_OK)
        *receiver_out = receiver;
    else
        bulk_receiver_close(receiver);
    return status;
}

struct bulk_thread *bulk_receiver_thread(struct bulk_receiver *receiver)
{
    return receiver->thread;
}

void bulk_receiver_close(struct bulk_receiver *receiver)
{
    if (!receiver)
        return;
    bulk_thread_close(receiver->thread);
    memory_free(receiver);
}
