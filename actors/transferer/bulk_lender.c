/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk_lender: reads the chunks that were asked for, seals and sends them.
 */
#include "actors/transferer/bulk.h"
#include "protocol/memory.h"
#include "runtime/bytes.h"
#include "runtime/clock.h"
#include "runtime/log.h"

#include <stdio.h>
#include <string.h>

#define LENDER_LINK 1u

struct lend {
    bool is_used;
    bool has_peer; /* its receiver said hello */
    struct request_id session;
    struct peer peer;
    struct seal from;
    struct seal to;
    bool has_source;
    struct model_source source;
    uint32_t waiting[16]; /* chunks asked for before the hello came */
    uint32_t waiting_count;
    uint64_t sent;
};

struct bulk_lender {
    struct bulk_options options;
    struct bulk_thread *thread;
    struct transport *transport;
    struct lend *lends[LENDS_MAX];
    uint8_t *chunk;
    uint8_t *sealed;
    uint64_t rate_from_us; /* the bytes allowed are counted from here */
    uint64_t rate_bytes;
    uint64_t strangers; /* messages that were nobody's hello */
};

static struct lend *find(struct bulk_lender *lender, const struct request_id *session)
{
    for (size_t i = 0; i < LENDS_MAX; i++)
        if (lender->lends[i] && ID_EQUAL(lender->lends[i]->session, *session))
            return lender->lends[i];
    return NULL;
}

static void lend_free(struct bulk_lender *lender, struct lend *lend)
{
    char hex[HEX_SIZE(4)];
    for (size_t i = 0; i < LENDS_MAX; i++)
        if (lender->lends[i] == lend)
            lender->lends[i] = NULL;
    log_notice("lent %llu chunks over stream %s", (unsigned long long)lend->sent,
               hex_print(&lend->session, 4, hex));
    if (lend->has_source)
        model_source_close(&lend->source);
    seal_fini(&lend->from);
    seal_fini(&lend->to);
    memory_free(lend);
}

static enum status begin_lend(struct bulk_lender *lender, const struct stream_request *request,
                              struct reason *reason)
{
    struct lend **slot = NULL;
    for (size_t i = 0; i < LENDS_MAX && !slot; i++)
        if (!lender->lends[i])
            slot = &lender->lends[i];
    struct lend *lend = slot ? memory_zeroed(1, sizeof(*lend)) : NULL;
    if (!lend)
        return refuse(reason, STATUS_BUSY, "too many nodes fetch from here");
    lend->session = request->session;
    seal_init(&lend->from, &request->key, SEAL_FROM_SOURCE, request->is_aes);
    seal_init(&lend->to, &request->key, SEAL_TO_SOURCE, request->is_aes);
    enum status status = model_source_open(lender->options.store, &request->record, &lend->source,
                                           NULL, reason);
    lend->has_source = status == STATUS_OK;
    *slot = lend;
    if (status != STATUS_OK)
        lend_free(lender, lend);
    return status;
}

/* ---- sending ---- */

/* Waits until so many more bytes may leave. */
static void keep_rate(struct bulk_lender *lender, size_t size)
{
    const uint64_t rate = lender->options.rate;
    const uint64_t now_us = clock_now_us();
    if (rate == 0)
        return;
    const uint64_t due_us =
        lender->rate_from_us + (uint64_t)((double)lender->rate_bytes * 1e6 / (double)rate);
    if (now_us > due_us + 100000) {
        lender->rate_from_us = now_us; /* what was not used is not saved up */
        lender->rate_bytes = 0;
    } else if (due_us > now_us) {
        clock_sleep_ms((due_us - now_us + 999) / 1000);
    }
    lender->rate_bytes += size;
}

static enum status send_pieces(struct bulk_lender *lender, struct lend *lend, uint32_t chunk,
                               uint32_t size)
{
    enum status status = STATUS_OK;
    for (uint32_t at = 0; at < size && status == STATUS_OK; at += (uint32_t)PIECE_SIZE) {
        uint8_t with[PIECE_WITH_SIZE];
        const size_t piece = size - at < PIECE_SIZE ? size - at : PIECE_SIZE;
        keep_rate(lender, piece);
        piece_with(&lend->session, chunk, at, with);
        put_u32(lender->sealed, chunk);
        put_u32(lender->sealed + 4, at);
        seal_close(&lend->from, with, sizeof(with), lender->chunk + at, piece,
                   lender->sealed + PIECE_HEADER_SIZE);
        status = transport_send(lender->transport, &lend->peer, lender->sealed,
                                PIECE_HEADER_SIZE + piece + SEAL_OVERHEAD);
    }
    return status;
}

static void send_chunk(struct bulk_lender *lender, struct lend *lend, uint32_t chunk)
{
    struct chunk_place place;
    struct chunk_sent *sent = memory_zeroed(1, sizeof(*sent));
    enum status status = chunk_manifest_place(&lend->source.manifest, chunk, &place)
                             ? model_source_read(&lend->source, &place, lender->chunk)
                             : STATUS_NOT_FOUND;
    if (status == STATUS_OK)
        status = send_pieces(lender, lend, chunk, place.size);
    lend->sent += status == STATUS_OK;
    if (!sent)
        return; /* its receiver asks another after a while */
    *sent = (struct chunk_sent){lend->session, chunk};
    bulk_post(lender->options.loop, BULK_CHUNK_SENT, 0, status, NULL, sent, memory_free);
}

static void take_send(struct bulk_lender *lender, const struct chunk_request *request)
{
    struct lend *lend = find(lender, &request->session);
    if (!lend)
        return;
    if (lend->has_peer)
        send_chunk(lender, lend, request->chunk);
    else if (lend->waiting_count < COUNT_OF(lend->waiting))
        lend->waiting[lend->waiting_count++] = request->chunk;
}

/* ---- the thread ---- */

static enum status begin(void *self, struct transport *transport, struct reason *reason)
{
    struct bulk_lender *lender = self;
    struct link_options options = {.role = LINK_BIND, .is_plain = true,
                                   .message_size_max = LENDER_MESSAGE_MAX};
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%s", lender->options.listen);
    lender->transport = transport;
    enum status status = transport_link_open(transport, LENDER_LINK, &options, reason);
    const char *endpoint =
        status == STATUS_OK ? transport_endpoint(transport, LENDER_LINK) : NULL;
    char *text = endpoint ? memory_text(endpoint, strlen(endpoint)) : NULL;
    bulk_post(lender->options.loop, BULK_LENDER_BOUND, 0,
              text ? STATUS_OK : status == STATUS_OK ? STATUS_NO_MEMORY : status, reason, text,
              memory_free);
    return status;
}

static void end(void *self)
{
    struct bulk_lender *lender = self;
    for (size_t i = 0; i < LENDS_MAX; i++)
        if (lender->lends[i])
            lend_free(lender, lender->lends[i]);
}

static void take(void *self, struct effect *effect)
{
    struct bulk_lender *lender = self;
    struct reason reason = {""};
    if (effect->kind == BULK_LEND) {
        struct stream_request *request = effect->request;
        const enum status status = begin_lend(lender, request, &reason);
        effect->request = NULL;
        bulk_post(lender->options.loop, BULK_LEND, effect->id, status, &reason, request,
                  stream_request_free);
    } else if (effect->kind == BULK_SEND) {
        take_send(lender, effect->request);
    } else if (effect->kind == BULK_LEAVE_LENT) {
        const struct chunk_request *request = effect->request;
        struct lend *lend = find(lender, &request->session);
        if (lend)
            lend_free(lender, lend);
    }
}

static void take_hello(struct bulk_lender *lender, const struct transport_event *event)
{
    struct request_id session;
    struct lend *lend = NULL;
    uint8_t with[PIECE_WITH_SIZE];
    uint8_t nothing[1];
    if (event->size == HELLO_SIZE) {
        memcpy(&session, event->bytes, sizeof(session));
        lend = find(lender, &session);
    }
    if (lend)
        piece_with(&session, 0, 0, with);
    if (!lend || lend->has_peer ||
        seal_open(&lend->to, with, sizeof(with), event->bytes + 16, SEAL_OVERHEAD, nothing) !=
            STATUS_OK) {
        lender->strangers++;
        transport_peer_drop(lender->transport, &event->peer);
        return;
    }
    lend->peer = event->peer;
    lend->has_peer = true;
    for (uint32_t i = 0; i < lend->waiting_count; i++)
        send_chunk(lender, lend, lend->waiting[i]);
    lend->waiting_count = 0;
}

static void take_event(void *self, const struct transport_event *event)
{
    struct bulk_lender *lender = self;
    if (event->kind == TRANSPORT_MESSAGE)
        take_hello(lender, event);
}

static const struct bulk_ops ops = {begin, end, take, take_event};

enum status bulk_lender_open(const struct bulk_options *options, struct bulk_lender **lender_out,
                             struct reason *reason)
{
    struct bulk_lender *lender = memory_zeroed(1, sizeof(*lender));
    if (lender) {
        lender->options = *options;
        lender->chunk = memory_zeroed((size_t)CHUNK_SIZE, 1);
        lender->sealed = memory_zeroed(PIECE_MESSAGE_MAX, 1);
    }
    enum status status = lender && lender->chunk && lender->sealed
                             ? bulk_thread_open(&ops, lender, &lender->thread, reason)
                             : refuse(reason, STATUS_NO_MEMORY, "no memory to lend models");
    if (status == STATUS_OK)
        *lender_out = lender;
    else
        bulk_lender_close(lender);
    return status;
}

struct bulk_thread *bulk_lender_thread(struct bulk_lender *lender)
{
    return lender->thread;
}

void bulk_lender_close(struct bulk_lender *lender)
{
    if (!lender)
        return;
    bulk_thread_close(lender->thread);
    memory_free(lender->chunk);
    memory_free(lender->sealed);
    memory_free(lender);
}
