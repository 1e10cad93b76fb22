/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk_lender: reads the chunks that were asked for, seals and sends them, a chunk for each stream
 * in turn.  A stream whose queue is full waits for itself alone.
 */
#include "actors/transferer/bulk.h"
#include "protocol/memory.h"
#include "runtime/bytes.h"
#include "runtime/chunk_digest.h"
#include "runtime/clock.h"
#include "runtime/log.h"

#include <stdio.h>
#include <string.h>

#define LENDER_LINK 1u
#define BLOCKED_MS 1 /* until a full queue is looked at again */
#define RATE_SLACK_US 100000u

struct lend {
    bool has_peer; /* its receiver said hello */
    struct request_id session;
    struct peer peer;
    struct seal from;
    struct seal to;
    bool has_source;
    struct model_source source;
    bool is_shared; /* of a download: then `share` */
    struct model_share share;
    bool has_digest;            /* of the first chunk asked for, when shared: what it had when it */
    struct hash came_with;      /* came here; else it is computed while it is read */
    struct chunk_digest digest;
    bool is_digest_due;
    uint32_t asked[LEND_WINDOW_MAX]; /* chunks, the first of them on its way */
    uint32_t asked_count;
    struct chunk_place place; /* of the first */
    uint32_t at;              /* what of it was sealed */
    uint8_t *sealed;          /* a piece; it stays when the queue is full.  NULL: on its way */
    size_t sealed_size;       /* 0: none waits */
    uint64_t sent;
};

struct bulk_lender {
    struct bulk_options options;
    struct bulk_thread *thread;
    struct transport *transport;
    struct lend *lends[LENDS_MAX];
    size_t turn; /* whose it is */
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
    if (lend->is_shared)
        model_share_close(&lend->share);
    memory_trim();
    seal_fini(&lend->from);
    seal_fini(&lend->to);
    memory_free(lend->sealed);
    memory_free(lend);
}

/* What of the download lies here now. */
static enum status look_at(struct lend *lend, bool is_strict, struct bytes *held_out,
                           struct reason *reason)
{
    const uint32_t size = lend->share.count / 8 + 1;
    model_share_look_everywhere(&lend->share);
    held_out->items = memory_zeroed(size, 1);
    if (!held_out->items)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to say what is here");
    held_out->count = size;
    model_share_held(&lend->share, is_strict, held_out->items);
    return STATUS_OK;
}

/* By it the state is corrected when it says that more is here. */
static void look_at_disk(const struct bulk_lender *lender, const char *model_id,
                         const struct hash *revision, struct disk_look *look_out)
{
    struct model_record found = {0};
    const enum model_holding holding = model_store_held(
        lender->options.store, model_id, NULL, 0, &found, look_out->held, &look_out->reason);
    look_out->is_made = true;
    look_out->has_small_files = holding >= MODEL_SMALL_FILES;
    if (holding >= MODEL_SMALL_FILES && !ID_EQUAL(found.revision, *revision)) {
        memset(look_out->held, 0, sizeof(look_out->held));
        look_out->has_small_files = false;
        (void)refuse(&look_out->reason, STATUS_NOT_FOUND,
                     "another revision of %.100s is stored there", model_id);
    }
    record_fini(&model_record_type, &found);
}

/* A receiver that got it wrong may have been at fault as well: only the disk counts. */
static void read_doubted(const struct bulk_lender *lender, const struct stream_request *request)
{
    const struct model_record *record = &request->record;
    struct reason why = {""};
    bool is_wrong = false;
    if (request->doubted == 0)
        return;
    const enum status status =
        model_store_doubt(lender->options.store, text_or_empty(record->model_id),
                          &record->revision, request->doubted - 1, &is_wrong, &why);
    if (status != STATUS_OK)
        log_warning("chunk %u of %.100s, which a receiver got wrong: %s", request->doubted - 1,
                    text_or_empty(record->model_id), why.text);
    else if (is_wrong)
        log_warning("chunk %u of %.100s is wrong on this disk; its file is lent no more",
                    request->doubted - 1, text_or_empty(record->model_id));
}

static enum status open_source(struct bulk_lender *lender, struct lend *lend,
                               struct stream_request *request, struct reason *reason)
{
    enum status status;
    if (!request->is_shared) {
        read_doubted(lender, request);
        status = model_source_open(lender->options.store, &request->record, &lend->source, NULL,
                                   reason);
        lend->has_source = status == STATUS_OK;
        look_at_disk(lender, text_or_empty(request->record.model_id), &request->record.revision,
                     &request->look_out);
        return status;
    }
    status = model_share_open(lender->options.store, &request->download, &lend->share, reason);
    lend->is_shared = status == STATUS_OK;
    return status == STATUS_OK ? look_at(lend, request->is_strict, &request->held_out, reason)
                               : status;
}

static enum status begin_lend(struct bulk_lender *lender, struct stream_request *request,
                              struct reason *reason)
{
    struct lend **slot = NULL;
    for (size_t i = 0; i < LENDS_MAX && !slot; i++)
        if (!lender->lends[i])
            slot = &lender->lends[i];
    struct lend *lend = slot ? memory_zeroed(1, sizeof(*lend)) : NULL;
    if (!lend)
        return refuse(reason, STATUS_BUSY, "too many nodes fetch from here");
    *slot = lend;
    lend->session = request->session;
    enum status status =
        seal_init(&lend->from, &request->key, SEAL_FROM_SOURCE, request->is_aes);
    if (status == STATUS_OK)
        status = seal_init(&lend->to, &request->key, SEAL_TO_SOURCE, request->is_aes);
    if (status != STATUS_OK)
        status = refuse(reason, status, "no memory to lend a model");
    if (status == STATUS_OK)
        status = open_source(lender, lend, request, reason);
    if (status != STATUS_OK)
        lend_free(lender, lend);
    return status;
}

/* ---- sending ---- */

/* How long until more bytes may leave. */
static uint64_t rate_wait_ms(struct bulk_lender *lender)
{
    const uint64_t rate = lender->options.rate;
    const uint64_t now_us = clock_now_us();
    if (rate == 0)
        return 0;
    const uint64_t due_us =
        lender->rate_from_us + (uint64_t)((double)lender->rate_bytes * 1e6 / (double)rate);
    if (now_us > due_us + RATE_SLACK_US) {
        lender->rate_from_us = now_us; /* what was not used is not saved up */
        lender->rate_bytes = 0;
    }
    return due_us > now_us ? (due_us - now_us + 999) / 1000 : 0;
}

static bool begin_chunk(struct lend *lend, uint32_t chunk)
{
    chunk_digest_init(&lend->digest);
    lend->is_digest_due = lend->is_shared;
    lend->has_digest =
        lend->is_shared && model_share_digest(&lend->share, chunk, &lend->came_with);
    return lend->is_shared ? model_share_place(&lend->share, chunk, &lend->place)
                           : chunk_manifest_place(&lend->source.manifest, chunk, &lend->place);
}

static enum status read_piece(struct lend *lend, uint32_t chunk, uint32_t size, uint8_t *bytes_out)
{
    if (!lend->is_shared)
        return model_source_read_part(&lend->source, &lend->place, lend->at, size, bytes_out);
    enum status status = model_share_read_part(&lend->share, chunk, lend->at, size, bytes_out);
    if (status == STATUS_OK && !lend->has_digest)
        chunk_digest_update(&lend->digest, bytes_out, size);
    return status;
}

static uint32_t read_digest(struct lend *lend, uint8_t *bytes_out)
{
    struct hash digest = lend->came_with;
    if (!lend->has_digest)
        chunk_digest_final(&lend->digest, &digest);
    lend->is_digest_due = false;
    memcpy(bytes_out, &digest, sizeof(digest));
    return (uint32_t)sizeof(digest);
}

static enum status seal_piece(struct bulk_lender *lender, struct lend *lend)
{
    uint8_t with[PIECE_WITH_SIZE];
    const uint32_t chunk = lend->asked[0];
    if (lend->at == 0 && !begin_chunk(lend, chunk))
        return STATUS_NOT_FOUND;
    if (!lend->sealed)
        lend->sealed = memory_resized(NULL, PIECE_MESSAGE_MAX, 1); /* all of it is written */
    if (!lend->sealed)
        return STATUS_NO_MEMORY;
    /* Where its cipher text will be: a second place for each piece would not stay in the cache. */
    uint8_t *bytes = lend->sealed + PIECE_HEADER_SIZE + SEAL_COUNTER_SIZE;
    const uint32_t left = lend->place.size - lend->at;
    uint32_t size = left < PIECE_SIZE ? left : (uint32_t)PIECE_SIZE;
    enum status status = STATUS_OK;
    if (left == 0)
        size = read_digest(lend, bytes);
    else
        status = read_piece(lend, chunk, size, bytes);
    if (status != STATUS_OK)
        return status;
    piece_with(&lend->session, chunk, lend->at, with);
    put_u32(lend->sealed, chunk);
    put_u32(lend->sealed + 4, lend->at);
    seal_close(&lend->from, with, sizeof(with), bytes, size,
               lend->sealed + PIECE_HEADER_SIZE);
    lend->sealed_size = PIECE_HEADER_SIZE + size + SEAL_OVERHEAD;
    lend->at += left == 0 ? 0 : size;
    lender->rate_bytes += size;
    return STATUS_OK;
}

/* The first of its chunks is sent, or cannot be. */
static void end_chunk(struct bulk_lender *lender, struct lend *lend, enum status status)
{
    struct chunk_sent *sent = memory_zeroed(1, sizeof(*sent));
    if (sent) {
        *sent = (struct chunk_sent){.session = lend->session, .chunk = lend->asked[0]};
        if (lend->has_source && (status == STATUS_NOT_FOUND || status == STATUS_DAMAGED))
            look_at_disk(lender, lend->source.model_id, &lend->source.manifest.revision,
                         &sent->look);
        bulk_post(&lender->options, BULK_CHUNK_SENT, 0, status, NULL, sent, memory_free);
    } /* else its receiver asks another after a while */
    lend->sent += status == STATUS_OK;
    lend->at = 0;
    lend->sealed_size = 0;
    lend->asked_count--;
    memmove(lend->asked, lend->asked + 1, lend->asked_count * sizeof(lend->asked[0]));
}

enum sending { SENDING, SENT, FULL };

/* SENT: the chunk is over.  FULL: its queue takes no more now. */
static enum sending send_piece(struct bulk_lender *lender, struct lend *lend)
{
    enum status status = lend->sealed_size > 0 ? STATUS_OK : seal_piece(lender, lend);
    if (status == STATUS_OK)
        status = transport_send_block(lender->transport, &lend->peer, lend->sealed,
                                      lend->sealed_size);
    if (status == STATUS_BUSY)
        return FULL;
    if (status == STATUS_OK)
        lend->sealed = NULL; /* the transport's now */
    lend->sealed_size = 0;
    if (status == STATUS_OK && (lend->at < lend->place.size || lend->is_digest_due))
        return SENDING;
    end_chunk(lender, lend, status);
    return SENT;
}

/* A chunk for one, then for the next: receivers in step would all open, and then all write. */
static int64_t work(void *self)
{
    struct bulk_lender *lender = self;
    bool is_blocked = false;
    for (size_t i = 0; i < LENDS_MAX; i++, lender->turn = (lender->turn + 1) % LENDS_MAX) {
        struct lend *lend = lender->lends[lender->turn];
        if (!lend || !lend->has_peer || lend->asked_count == 0)
            continue;
        const uint64_t wait_ms = rate_wait_ms(lender);
        if (wait_ms > 0)
            return (int64_t)wait_ms;
        const enum sending sending = send_piece(lender, lend);
        if (sending == SENT)
            lender->turn = (lender->turn + 1) % LENDS_MAX;
        if (sending != FULL)
            return 0;
        is_blocked = true;
    }
    return is_blocked ? BLOCKED_MS : -1;
}

static void take_send(struct bulk_lender *lender, const struct chunk_request *request)
{
    struct lend *lend = find(lender, &request->session);
    if (lend && lend->asked_count < LEND_WINDOW_MAX)
        lend->asked[lend->asked_count++] = request->chunk;
}

/* ---- the thread ---- */

static enum status begin(void *self, struct transport *transport, struct reason *reason)
{
    struct bulk_lender *lender = self;
    struct link_options options = {.role = LINK_BIND, .is_plain = true,
                                   .message_size_max = LENDER_MESSAGE_MAX,
                                   .queue_max = PIECES_QUEUED};
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%s", lender->options.listen);
    lender->transport = transport;
    enum status status = transport_link_open(transport, LENDER_LINK, &options, reason);
    const char *endpoint =
        status == STATUS_OK ? transport_endpoint(transport, LENDER_LINK) : NULL;
    char *text = endpoint ? memory_text(endpoint, strlen(endpoint)) : NULL;
    bulk_post(&lender->options, BULK_LENDER_BOUND, 0,
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
        bulk_post(&lender->options, BULK_LEND, effect->id, status, &reason, request,
                  stream_request_free);
    } else if (effect->kind == BULK_SEND) {
        take_send(lender, effect->request);
    } else if (effect->kind == BULK_SHARE_LOOK) {
        struct share_look *look = effect->request;
        struct lend *lend = find(lender, &look->session);
        const enum status status = lend && lend->is_shared
                                       ? look_at(lend, look->is_strict, &look->held_out, &reason)
                                       : STATUS_NOT_FOUND;
        effect->request = NULL;
        bulk_post(&lender->options, BULK_SHARE_LOOK, effect->id, status, &reason, look,
                  share_look_free);
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
}

static void take_event(void *self, const struct transport_event *event)
{
    struct bulk_lender *lender = self;
    if (event->kind == TRANSPORT_MESSAGE)
        take_hello(lender, event);
}

static const struct bulk_ops ops = {begin, end, take, take_event, work};

enum status bulk_lender_open(const struct bulk_options *options, struct bulk_lender **lender_out,
                             struct reason *reason)
{
    struct bulk_lender *lender = memory_zeroed(1, sizeof(*lender));
    if (lender)
        lender->options = *options;
    enum status status = lender
                             ? bulk_thread_open(&lender->options, &ops, lender,
                                                &lender->thread, reason)
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
    memory_free(lender);
}
