/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk_receiver: opens what comes over the streams, checks each chunk and stores it.
 *
 * Each lane is a thread with sockets of its own; a stream belongs to one.  The receive is shared:
 * lanes read it and write its files under `lock` as readers, the first lane opens and ends it as
 * the writer.  A stream of a receive that ended is deaf until the loop says to leave it.
 */
#include "actors/transferer/bulk.h"
#include "protocol/hash.h"
#include "protocol/memory.h"
#include "runtime/bytes.h"
#include "runtime/log.h"

#include <pthread.h>
#include <string.h>

#define PAGE ((size_t)4096)

struct stream {
    bool is_used;
    bool is_open; /* the hello went out */
    uint32_t link;
    uint64_t receive; /* the number of its receive */
    struct request_id session;
    struct seal from;
    struct seal to;
    void *memory;
    uint8_t *bytes; /* of the chunk that comes, in `memory` from a page on */
    uint32_t chunk; /* CHUNK_NONE: none begun */
    uint32_t have;
    struct hash_stream digest;
    struct chunk_place place;
};

struct lane {
    struct bulk_receiver *receiver;
    struct bulk_thread *thread;
    struct transport *transport;
    struct stream streams[STREAMS_MAX];
};

struct bulk_receiver {
    struct bulk_options options;
    struct lane lanes[BULK_LANES];
    pthread_rwlock_t lock;
    struct model_receive receive;
    bool is_receiving;
    uint64_t number; /* of the receive, as the loop counts them */
    pthread_mutex_t note_lock; /* for what readers of `lock` change: what is noted in `receive` */
    uint64_t stored; /* chunks since it was opened */
    uint64_t wrong;
};

static struct stream *find(struct lane *lane, uint32_t link)
{
    for (size_t i = 0; i < STREAMS_MAX; i++)
        if (lane->streams[i].is_used && lane->streams[i].link == link)
            return &lane->streams[i];
    return NULL;
}

static void stream_fini(struct stream *stream)
{
    memory_free(stream->memory);
    seal_fini(&stream->from);
    seal_fini(&stream->to);
    memset(stream, 0, sizeof(*stream));
}

static void leave(struct lane *lane, struct stream *stream)
{
    transport_link_close(lane->transport, stream->link);
    stream_fini(stream);
}

static void tell(struct lane *lane, const struct stream *stream, uint32_t chunk, uint64_t bytes,
                 enum status status, const struct reason *reason)
{
    struct chunk_told *told = memory_zeroed(1, sizeof(*told));
    if (!told)
        return; /* the loop asks again after a while */
    *told = (struct chunk_told){stream->link, chunk, bytes};
    bulk_post(&lane->receiver->options, BULK_CHUNK_TOLD, stream->receive, status, reason, told,
              memory_free);
}

static void broke(struct lane *lane, struct stream *stream, enum status status, const char *what)
{
    struct reason reason;
    tell(lane, stream, CHUNK_NONE, 0, refuse(&reason, status, "%s", what), &reason);
    leave(lane, stream);
}

/* ---- streams ---- */

static enum status stream_init(struct stream *stream, const struct stream_request *request,
                               uint64_t receive)
{
    *stream = (struct stream){.link = request->link, .receive = receive,
                              .session = request->session, .chunk = CHUNK_NONE};
    stream->memory = memory_zeroed((size_t)CHUNK_SIZE + PAGE, 1);
    if (!stream->memory)
        return STATUS_NO_MEMORY;
    stream->bytes = (uint8_t *)stream->memory + (PAGE - (uintptr_t)stream->memory % PAGE) % PAGE;
    return bulk_seals_init(request, &stream->from, &stream->to);
}

static void join(struct lane *lane, const struct stream_request *request, uint64_t receive)
{
    struct stream *stream = NULL;
    struct reason reason = {""};
    for (size_t i = 0; i < STREAMS_MAX && !stream; i++)
        if (!lane->streams[i].is_used)
            stream = &lane->streams[i];
    if (!stream)
        return; /* the source is left when nothing comes */
    enum status status = stream_init(stream, request, receive);
    if (status != STATUS_OK)
        status = refuse(&reason, status, "no memory for a stream");
    else
        status = bulk_connect(lane->transport, request, &reason);
    stream->is_used = status == STATUS_OK;
    if (status == STATUS_OK)
        return;
    tell(lane, stream, CHUNK_NONE, 0, status, &reason);
    stream_fini(stream);
}

static void say_hello(struct lane *lane, struct stream *stream)
{
    stream->is_open = true;
    if (bulk_send_hello(lane->transport, stream->link, &stream->session, &stream->to) !=
        STATUS_OK)
        broke(lane, stream, STATUS_UNREACHABLE, "cannot be reached for the bytes");
}

/* ---- pieces ---- */

static bool begin_chunk(const struct bulk_receiver *receiver, struct stream *stream,
                        uint32_t chunk)
{
    if (!chunk_manifest_place(&receiver->receive.manifest, chunk, &stream->place))
        return false;
    stream->chunk = chunk;
    stream->have = 0;
    hash_init(&stream->digest);
    return true;
}

static void store_chunk(struct lane *lane, struct stream *stream)
{
    struct bulk_receiver *receiver = lane->receiver;
    struct reason reason = {""};
    struct hash digest;
    const uint32_t chunk = stream->chunk;
    hash_final(&stream->digest, &digest);
    const enum status status =
        model_receive_write(&receiver->receive, chunk, stream->bytes, &digest, &reason);
    stream->chunk = CHUNK_NONE;
    (void)pthread_mutex_lock(&receiver->note_lock);
    if (status == STATUS_OK)
        model_receive_note(&receiver->receive, chunk);
    receiver->stored += status == STATUS_OK;
    receiver->wrong += status == STATUS_HASH_MISMATCH;
    (void)pthread_mutex_unlock(&receiver->note_lock);
    tell(lane, stream, chunk, stream->place.size, status, &reason);
}

/* NULL, or what is wrong with it. */
static const char *open_piece(struct lane *lane, struct stream *stream,
                              const struct transport_event *event, enum status *status_out)
{
    uint8_t with[PIECE_WITH_SIZE];
    *status_out = STATUS_MALFORMED;
    if (event->size <= PIECE_HEADER_SIZE + SEAL_OVERHEAD)
        return "sent a piece that is none";
    const uint32_t chunk = get_u32(event->bytes);
    const uint32_t offset = get_u32(event->bytes + 4);
    const size_t size = event->size - PIECE_HEADER_SIZE - SEAL_OVERHEAD;
    if (stream->chunk == CHUNK_NONE && !begin_chunk(lane->receiver, stream, chunk))
        return "sent a chunk that does not exist";
    if (chunk != stream->chunk || offset != stream->have ||
        size > stream->place.size - stream->have)
        return "sent a piece out of order";
    piece_with(&stream->session, chunk, offset, with);
    *status_out = seal_open(&stream->from, with, sizeof(with), event->bytes + PIECE_HEADER_SIZE,
                            event->size - PIECE_HEADER_SIZE, stream->bytes + offset);
    if (*status_out != STATUS_OK)
        return "sent bytes whose seal is broken";
    hash_update(&stream->digest, stream->bytes + offset, size);
    stream->have += (uint32_t)size;
    return NULL;
}

static void take_piece(struct lane *lane, struct stream *stream,
                       const struct transport_event *event)
{
    struct bulk_receiver *receiver = lane->receiver;
    enum status status = STATUS_OK;
    const char *wrong = NULL;
    (void)pthread_rwlock_rdlock(&receiver->lock);
    if (receiver->is_receiving && receiver->number == stream->receive) {
        wrong = open_piece(lane, stream, event, &status);
        if (!wrong && stream->have == stream->place.size)
            store_chunk(lane, stream);
    }
    (void)pthread_rwlock_unlock(&receiver->lock);
    if (wrong)
        broke(lane, stream, status, wrong);
}

static void take_event(void *self, const struct transport_event *event)
{
    struct lane *lane = self;
    struct stream *stream = find(lane, event->peer.link);
    if (!stream)
        return;
    if (event->kind == TRANSPORT_UP && !stream->is_open)
        say_hello(lane, stream);
    else if (event->kind == TRANSPORT_DOWN || event->kind == TRANSPORT_REFUSED)
        broke(lane, stream, STATUS_UNREACHABLE, "closed the stream");
    else if (event->kind == TRANSPORT_MESSAGE)
        take_piece(lane, stream, event);
}

/* ---- the receive ---- */

static bool is_ending(void *who)
{
    return bulk_thread_is_ending(((struct bulk_receiver *)who)->lanes[0].thread);
}

/* As the writer of `lock`. */
static void close_receive(struct bulk_receiver *receiver, bool is_dropped)
{
    memory_trim();
    if (!receiver->is_receiving)
        return;
    receiver->is_receiving = false;
    if (is_dropped)
        model_receive_drop(&receiver->receive);
    else
        model_receive_close(&receiver->receive);
}

static enum status begin_receive(struct bulk_receiver *receiver, struct receive_request *request,
                                 uint64_t number, struct reason *reason)
{
    struct model_receive *receive = &receiver->receive;
    enum status status =
        model_receive_open(receiver->options.store, &request->record, &request->manifest,
                           is_ending, receiver, receive, reason);
    if (status != STATUS_OK)
        return status;
    receiver->is_receiving = true;
    receiver->number = number;
    receiver->stored = receiver->wrong = 0;
    request->count_out = receive->count;
    request->bytes_out = receive->bytes_here;
    request->have_out = memory_zeroed(receive->count / 8 + 1, 1);
    if (!request->have_out)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to receive a model");
    memcpy(request->have_out, receive->have, receive->count / 8 + 1);
    log_notice("receives %s: %u of %u chunks are here", receive->record.model_id,
               (unsigned)receive->here, (unsigned)receive->count);
    return STATUS_OK;
}

static void open_receive(struct bulk_receiver *receiver, struct effect *effect)
{
    struct receive_request *request = effect->request;
    struct reason reason = {""};
    effect->request = NULL;
    (void)pthread_rwlock_wrlock(&receiver->lock);
    close_receive(receiver, false);
    const enum status status = begin_receive(receiver, request, effect->id, &reason);
    (void)pthread_rwlock_unlock(&receiver->lock);
    bulk_post(&receiver->options, BULK_RECEIVE_OPEN, effect->id, status, &reason, request,
              receive_request_free);
}

static void place_receive(struct bulk_receiver *receiver, const struct effect *effect)
{
    struct reason reason = {""};
    (void)pthread_rwlock_wrlock(&receiver->lock);
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
        memory_trim();
    }
    (void)pthread_rwlock_unlock(&receiver->lock);
    bulk_post(&receiver->options, BULK_RECEIVE_PLACE, effect->id, status, &reason, NULL, NULL);
}

static void end_receive(struct bulk_receiver *receiver, bool is_dropped)
{
    (void)pthread_rwlock_wrlock(&receiver->lock);
    close_receive(receiver, is_dropped);
    (void)pthread_rwlock_unlock(&receiver->lock);
}

static void take(void *self, struct effect *effect)
{
    struct lane *lane = self;
    struct bulk_receiver *receiver = lane->receiver;
    if (effect->kind == BULK_RECEIVE_OPEN) {
        open_receive(receiver, effect);
    } else if (effect->kind == BULK_JOIN) {
        join(lane, effect->request, effect->id);
    } else if (effect->kind == BULK_LEAVE) {
        const struct stream_request *request = effect->request;
        struct stream *stream = find(lane, request->link);
        if (stream)
            leave(lane, stream);
    } else if (effect->kind == BULK_RECEIVE_PLACE) {
        place_receive(receiver, effect);
    } else if (effect->kind == BULK_RECEIVE_CLOSE || effect->kind == BULK_RECEIVE_DROP) {
        end_receive(receiver, effect->kind == BULK_RECEIVE_DROP);
    } else if (effect->kind == BULK_SWEEP) {
        const struct sweep_request *request = effect->request;
        model_receive_sweep(receiver->options.store, request->kept, request->count);
    }
}

/* ---- the threads ---- */

static enum status begin(void *self, struct transport *transport, struct reason *reason)
{
    (void)reason;
    ((struct lane *)self)->transport = transport;
    return STATUS_OK;
}

static void end(void *self)
{
    struct lane *lane = self;
    for (size_t i = 0; i < STREAMS_MAX; i++)
        if (lane->streams[i].is_used)
            leave(lane, &lane->streams[i]);
}

static const struct bulk_ops ops = {begin, end, take, take_event, NULL};

enum status bulk_receiver_open(const struct bulk_options *options,
                               struct bulk_receiver **receiver_out, struct reason *reason)
{
    struct bulk_receiver *receiver = memory_zeroed(1, sizeof(*receiver));
    enum status status = STATUS_OK;
    if (!receiver)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to receive models");
    receiver->options = *options;
    ASSERT(pthread_rwlock_init(&receiver->lock, NULL) == 0 &&
           pthread_mutex_init(&receiver->note_lock, NULL) == 0);
    for (size_t i = 0; i < BULK_LANES && status == STATUS_OK; i++) {
        receiver->lanes[i].receiver = receiver;
        status = bulk_thread_open(&ops, &receiver->lanes[i], &receiver->lanes[i].thread, reason);
    }
    if (status == STATUS_OK)
        *receiver_out = receiver;
    else
        bulk_receiver_close(receiver);
    return status;
}

struct bulk_thread *bulk_receiver_thread(struct bulk_receiver *receiver,
                                         const struct effect *effect)
{
    const bool is_of_stream = effect->kind == BULK_JOIN || effect->kind == BULK_LEAVE;
    const struct stream_request *request = effect->request;
    return receiver->lanes[is_of_stream ? request->link % BULK_LANES : 0].thread;
}

void bulk_receiver_close(struct bulk_receiver *receiver)
{
    if (!receiver)
        return;
    for (size_t i = 0; i < BULK_LANES; i++)
        bulk_thread_close(receiver->lanes[i].thread);
    close_receive(receiver, false);
    (void)pthread_rwlock_destroy(&receiver->lock);
    (void)pthread_mutex_destroy(&receiver->note_lock);
    memory_free(receiver);
}
