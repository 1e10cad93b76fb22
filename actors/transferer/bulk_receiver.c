/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk_receiver: opens what comes over the streams, checks each chunk and stores it.
 *
 * Each lane is a thread with sockets of its own; a stream belongs to one.  The receive is shared:
 * lanes read it and write its files under `lock` as readers, the first lane opens and ends it as
 * the writer.  A stream of a receive that ended is deaf until the loop says to leave it.
 */
#include "actors/transferer/bulk_streams.h"
#include "protocol/memory.h"
#include "runtime/log.h"

#include <pthread.h>
#include <string.h>

struct lane {
    struct bulk_receiver *receiver;
    struct bulk_thread *thread;
    struct streams streams;
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

/* ---- chunks ---- */

static bool find_place(const void *owner, const struct stream *stream, uint32_t chunk,
                       struct chunk_place *place_out)
{
    (void)stream;
    return chunk_manifest_place(&((const struct bulk_receiver *)owner)->receive.manifest, chunk,
                                place_out);
}

static void store_chunk(struct lane *lane, struct stream *stream)
{
    struct bulk_receiver *receiver = lane->receiver;
    struct reason reason = {""};
    struct hash digest;
    chunk_digest_final(stream->digest, &digest);
    const enum status status = model_receive_write(&receiver->receive, stream->chunk,
                                                   stream->bytes, &digest, &reason);
    (void)pthread_mutex_lock(&receiver->note_lock);
    if (status == STATUS_OK)
        model_receive_note(&receiver->receive, stream->chunk);
    receiver->stored += status == STATUS_OK;
    receiver->wrong += status == STATUS_HASH_MISMATCH;
    (void)pthread_mutex_unlock(&receiver->note_lock);
    streams_tell(&lane->streams, stream, status, &reason);
}

static void take_event(void *self, const struct transport_event *event)
{
    struct lane *lane = self;
    struct bulk_receiver *receiver = lane->receiver;
    struct stream *stream = streams_take(&lane->streams, event);
    enum status status = STATUS_OK;
    const char *wrong = NULL;
    if (!stream)
        return;
    (void)pthread_rwlock_rdlock(&receiver->lock);
    if (receiver->is_receiving && receiver->number == stream->number) {
        wrong = stream_open_piece(&lane->streams, stream, event, &status);
        if (!wrong && stream_has_chunk(stream))
            store_chunk(lane, stream);
    }
    (void)pthread_rwlock_unlock(&receiver->lock);
    if (wrong)
        streams_break(&lane->streams, stream, status, wrong);
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
        streams_join(&lane->streams, effect->request, effect->id);
    } else if (effect->kind == BULK_LEAVE) {
        const struct stream_request *request = effect->request;
        streams_leave_link(&lane->streams, request->link);
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
    ((struct lane *)self)->streams.transport = transport;
    return STATUS_OK;
}

static void end(void *self)
{
    streams_close(&((struct lane *)self)->streams);
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
        receiver->lanes[i].streams =
            (struct streams){.options = &receiver->options, .owner = receiver, .place = find_place};
        status = bulk_thread_open(&receiver->options, &ops, &receiver->lanes[i],
                                  &receiver->lanes[i].thread, reason);
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
