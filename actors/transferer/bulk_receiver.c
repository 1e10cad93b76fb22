/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk_receiver: opens what comes over the streams, checks each chunk and stores it.
 *
 * Each lane is a thread with sockets of its own; a stream belongs to one.  Receives are shared:
 * lanes write the files of one under its lock as readers.  The keeper, a thread without sockets,
 * opens receives and ends them, which may take long and holds up nobody's stream: as the writer it
 * only says whether there is one.  A stream of a receive that ended is deaf until the loop says to
 * leave it.
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

/* The receive whose number is this place modulo RECEIVES_MAX. */
struct place {
    pthread_rwlock_t lock;
    bool is_receiving;
    uint64_t number; /* of the receive, as the loop counts them */
    struct model_receive receive;
    pthread_mutex_t note_lock; /* for what readers of `lock` change, in `receive` and here */
    uint64_t stored; /* chunks since it was opened */
    uint64_t wrong;
};

struct bulk_receiver {
    struct bulk_options options;
    struct lane lanes[BULK_LANES];
    struct bulk_thread *keeper;
    struct place places[RECEIVES_MAX];
};

static struct place *place_of(struct bulk_receiver *receiver, uint64_t number)
{
    return &receiver->places[number % RECEIVES_MAX];
}

/* ---- chunks ---- */

static bool find_place(const void *owner, const struct stream *stream, uint32_t chunk,
                       struct chunk_place *place_out)
{
    const struct bulk_receiver *receiver = owner;
    return chunk_manifest_place(
        &receiver->places[stream->number % RECEIVES_MAX].receive.manifest, chunk, place_out);
}

static void store_chunk(struct lane *lane, struct place *place, struct stream *stream)
{
    struct reason reason = {""};
    struct hash digest;
    chunk_digest_final(stream->digest, &digest);
    const enum status status = model_receive_write(&place->receive, stream->chunk, stream->bytes,
                                                   &digest, &reason);
    (void)pthread_mutex_lock(&place->note_lock);
    if (status == STATUS_OK)
        model_receive_note(&place->receive, stream->chunk);
    place->stored += status == STATUS_OK;
    place->wrong += status == STATUS_HASH_MISMATCH;
    (void)pthread_mutex_unlock(&place->note_lock);
    streams_tell(&lane->streams, stream, status, &reason);
}

static void take_event(void *self, const struct transport_event *event)
{
    struct lane *lane = self;
    struct stream *stream = streams_take(&lane->streams, event);
    enum status status = STATUS_OK;
    const char *wrong = NULL;
    if (!stream)
        return;
    struct place *place = place_of(lane->receiver, stream->number);
    (void)pthread_rwlock_rdlock(&place->lock);
    if (place->is_receiving && place->number == stream->number) {
        wrong = stream_open_piece(&lane->streams, stream, event, &status);
        if (!wrong && stream_has_chunk(stream))
            store_chunk(lane, place, stream);
    }
    (void)pthread_rwlock_unlock(&place->lock);
    if (wrong)
        streams_break(&lane->streams, stream, status, wrong);
}

/* ---- receives, by the keeper ---- */

static bool is_ending(void *who)
{
    return bulk_thread_is_ending(((struct bulk_receiver *)who)->keeper);
}

/* Lanes leave it alone from now on; false: there was none. */
static bool stop(struct place *place)
{
    (void)pthread_rwlock_wrlock(&place->lock);
    const bool was_receiving = place->is_receiving;
    place->is_receiving = false;
    (void)pthread_rwlock_unlock(&place->lock);
    return was_receiving;
}

static enum status answer_open(const struct model_receive *receive,
                               struct receive_request *request, struct reason *reason)
{
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
    struct place *place = place_of(receiver, effect->id);
    struct model_receive receive;
    struct reason reason = {""};
    effect->request = NULL;
    if (stop(place))
        model_receive_close(&place->receive);
    enum status status = model_receive_open(receiver->options.store, &request->record,
                                            &request->manifest, is_ending, receiver, &receive,
                                            &reason);
    if (status == STATUS_OK && (status = answer_open(&receive, request, &reason)) != STATUS_OK)
        model_receive_close(&receive);
    if (status == STATUS_OK) {
        (void)pthread_rwlock_wrlock(&place->lock);
        place->receive = receive;
        place->number = effect->id;
        place->stored = place->wrong = 0;
        place->is_receiving = true;
        (void)pthread_rwlock_unlock(&place->lock);
    }
    bulk_post(&receiver->options, BULK_RECEIVE_OPEN, effect->id, status, &reason, request,
              receive_request_free);
}

static void place_receive(struct bulk_receiver *receiver, const struct effect *effect)
{
    struct place *place = place_of(receiver, effect->id);
    struct model_receive *receive = &place->receive;
    struct reason reason = {""};
    enum status status =
        stop(place) ? STATUS_OK : refuse(&reason, STATUS_ENDED, "the transfer is over");
    if (status == STATUS_OK) {
        log_notice("received %s: %llu chunks stored, %llu were wrong", receive->record.model_id,
                   (unsigned long long)place->stored, (unsigned long long)place->wrong);
        status = model_receive_place(receive, &reason);
        if (status != STATUS_OK)
            model_receive_drop(receive);
        memory_trim();
    }
    bulk_post(&receiver->options, BULK_RECEIVE_PLACE, effect->id, status, &reason, NULL, NULL);
}

static void drop_receive(struct bulk_receiver *receiver, const struct effect *effect)
{
    struct place *place = place_of(receiver, effect->id);
    if (stop(place))
        model_receive_drop(&place->receive);
    memory_trim();
}

static void keep(void *self, struct effect *effect)
{
    struct bulk_receiver *receiver = self;
    if (effect->kind == BULK_RECEIVE_OPEN) {
        open_receive(receiver, effect);
    } else if (effect->kind == BULK_RECEIVE_PLACE) {
        place_receive(receiver, effect);
    } else if (effect->kind == BULK_RECEIVE_DROP) {
        drop_receive(receiver, effect);
    } else if (effect->kind == BULK_SWEEP) {
        const struct sweep_request *request = effect->request;
        model_receive_sweep(receiver->options.store, request->kept, request->count);
    }
}

static enum status begin_keeping(void *self, struct transport *transport, struct reason *reason)
{
    (void)self;
    (void)transport;
    (void)reason;
    return STATUS_OK;
}

static void end_keeping(void *self)
{
    (void)self;
}

static void ignore_event(void *self, const struct transport_event *event)
{
    (void)self;
    (void)event;
}

static const struct bulk_ops keeper_ops = {begin_keeping, end_keeping, keep, ignore_event, NULL};

/* ---- lanes ---- */

static void take(void *self, struct effect *effect)
{
    struct lane *lane = self;
    const struct stream_request *request = effect->request;
    if (effect->kind == BULK_JOIN)
        streams_join(&lane->streams, request, effect->id);
    else if (effect->kind == BULK_LEAVE)
        streams_leave_link(&lane->streams, request->link);
}

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
    for (size_t i = 0; i < RECEIVES_MAX; i++)
        ASSERT(pthread_rwlock_init(&receiver->places[i].lock, NULL) == 0 &&
               pthread_mutex_init(&receiver->places[i].note_lock, NULL) == 0);
    status = bulk_thread_open(&receiver->options, &keeper_ops, receiver, &receiver->keeper,
                              reason);
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
    const struct stream_request *request = effect->request;
    return effect->kind == BULK_JOIN || effect->kind == BULK_LEAVE
               ? receiver->lanes[request->link % BULK_LANES].thread
               : receiver->keeper;
}

void bulk_receiver_close(struct bulk_receiver *receiver)
{
    if (!receiver)
        return;
    for (size_t i = 0; i < BULK_LANES; i++)
        bulk_thread_close(receiver->lanes[i].thread);
    bulk_thread_close(receiver->keeper);
    for (size_t i = 0; i < RECEIVES_MAX; i++) {
        if (stop(&receiver->places[i]))
            model_receive_close(&receiver->places[i].receive);
        (void)pthread_rwlock_destroy(&receiver->places[i].lock);
        (void)pthread_mutex_destroy(&receiver->places[i].note_lock);
    }
    memory_free(receiver);
}
