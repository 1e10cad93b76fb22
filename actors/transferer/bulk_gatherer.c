/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk_gatherer: opens the chunks of downloads that come over the streams and stores them in the
 * partial files (runtime/model_share.h), on a thread of its own.
 */
#include "actors/transferer/bulk.h"
#include "protocol/memory.h"
#include "runtime/bytes.h"

#include <string.h>

struct stream {
    bool is_used;
    bool is_open; /* the hello went out */
    uint32_t link;
    uint32_t gather;
    struct request_id session;
    struct seal from;
    struct seal to;
    uint8_t *bytes; /* of the chunk that comes */
    uint32_t chunk; /* CHUNK_NONE: none begun */
    uint32_t have;  /* the size of the place: its digest is to come */
    struct chunk_place place;
};

struct bulk_gatherer {
    struct bulk_options options;
    struct bulk_thread *thread;
    struct transport *transport;
    struct stream streams[GATHER_STREAMS_MAX];
    struct model_share shares[GATHERS_MAX];
    bool is_open[GATHERS_MAX];
};

static struct stream *find(struct bulk_gatherer *gatherer, uint32_t link)
{
    for (size_t i = 0; i < GATHER_STREAMS_MAX; i++)
        if (gatherer->streams[i].is_used && gatherer->streams[i].link == link)
            return &gatherer->streams[i];
    return NULL;
}

static void stream_fini(struct stream *stream)
{
    memory_free(stream->bytes);
    seal_fini(&stream->from);
    seal_fini(&stream->to);
    memset(stream, 0, sizeof(*stream));
}

static void leave(struct bulk_gatherer *gatherer, struct stream *stream)
{
    transport_link_close(gatherer->transport, stream->link);
    stream_fini(stream);
}

static void tell(struct bulk_gatherer *gatherer, uint32_t link, uint32_t chunk, uint64_t bytes,
                 enum status status, const struct reason *reason)
{
    struct chunk_told *told = memory_zeroed(1, sizeof(*told));
    if (!told)
        return; /* the loop asks again after a while */
    *told = (struct chunk_told){link, chunk, bytes};
    bulk_post(&gatherer->options, BULK_CHUNK_TOLD, 0, status, reason, told, memory_free);
}

static void broke(struct bulk_gatherer *gatherer, struct stream *stream, enum status status,
                  const char *what)
{
    struct reason reason;
    tell(gatherer, stream->link, CHUNK_NONE, 0, refuse(&reason, status, "%s", what), &reason);
    leave(gatherer, stream);
}

/* ---- streams ---- */

static enum status stream_init(struct stream *stream, const struct stream_request *request)
{
    *stream = (struct stream){.link = request->link, .gather = request->gather,
                              .session = request->session, .chunk = CHUNK_NONE};
    stream->bytes = memory_zeroed((size_t)CHUNK_SIZE, 1);
    if (!stream->bytes)
        return STATUS_NO_MEMORY;
    return bulk_seals_init(request, &stream->from, &stream->to);
}

static void join(struct bulk_gatherer *gatherer, const struct stream_request *request)
{
    struct stream *stream = NULL;
    struct reason reason = {""};
    for (size_t i = 0; i < GATHER_STREAMS_MAX && !stream; i++)
        if (!gatherer->streams[i].is_used)
            stream = &gatherer->streams[i];
    if (!stream || request->gather >= GATHERS_MAX || !gatherer->is_open[request->gather])
        return; /* the source is left when nothing comes */
    enum status status = stream_init(stream, request);
    if (status != STATUS_OK)
        status = refuse(&reason, status, "no memory for a stream");
    else
        status = bulk_connect(gatherer->transport, request, &reason);
    stream->is_used = status == STATUS_OK;
    if (status == STATUS_OK)
        return;
    tell(gatherer, request->link, CHUNK_NONE, 0, status, &reason);
    stream_fini(stream);
}

static void say_hello(struct bulk_gatherer *gatherer, struct stream *stream)
{
    stream->is_open = true;
    if (bulk_send_hello(gatherer->transport, stream->link, &stream->session, &stream->to) !=
        STATUS_OK)
        broke(gatherer, stream, STATUS_UNREACHABLE, "cannot be reached for the bytes");
}

/* ---- pieces ---- */

static bool begin_chunk(const struct bulk_gatherer *gatherer, struct stream *stream,
                        uint32_t chunk)
{
    if (!model_share_place(&gatherer->shares[stream->gather], chunk, &stream->place))
        return false;
    stream->chunk = chunk;
    stream->have = 0;
    return true;
}

static void store_chunk(struct bulk_gatherer *gatherer, struct stream *stream,
                        const struct hash *digest)
{
    struct reason reason = {""};
    const uint32_t chunk = stream->chunk;
    const enum status status = model_share_put(&gatherer->shares[stream->gather], chunk,
                                               stream->bytes, digest, &reason);
    stream->chunk = CHUNK_NONE;
    tell(gatherer, stream->link, chunk, stream->place.size, status, &reason);
}

/* NULL, or what is wrong with it. */
static const char *open_piece(struct bulk_gatherer *gatherer, struct stream *stream,
                              const struct transport_event *event, enum status *status_out)
{
    uint8_t with[PIECE_WITH_SIZE];
    struct hash digest;
    *status_out = STATUS_MALFORMED;
    if (event->size <= PIECE_HEADER_SIZE + SEAL_OVERHEAD)
        return "sent a piece that is none";
    const uint32_t chunk = get_u32(event->bytes);
    const uint32_t offset = get_u32(event->bytes + 4);
    const size_t size = event->size - PIECE_HEADER_SIZE - SEAL_OVERHEAD;
    if (stream->chunk == CHUNK_NONE && !begin_chunk(gatherer, stream, chunk))
        return "sent a chunk that does not exist";
    const bool is_digest = stream->have == stream->place.size;
    const size_t room = is_digest ? sizeof(digest) : stream->place.size - stream->have;
    if (chunk != stream->chunk || offset != stream->have || size > room ||
        (is_digest && size < room))
        return "sent a piece out of order";
    piece_with(&stream->session, chunk, offset, with);
    *status_out = seal_open(&stream->from, with, sizeof(with), event->bytes + PIECE_HEADER_SIZE,
                            event->size - PIECE_HEADER_SIZE,
                            is_digest ? digest.bytes : stream->bytes + offset);
    if (*status_out != STATUS_OK)
        return "sent bytes whose seal is broken";
    if (is_digest)
        store_chunk(gatherer, stream, &digest);
    else
        stream->have += (uint32_t)size;
    return NULL;
}

static void take_event(void *self, const struct transport_event *event)
{
    struct bulk_gatherer *gatherer = self;
    struct stream *stream = find(gatherer, event->peer.link);
    enum status status = STATUS_OK;
    const char *wrong = NULL;
    if (!stream)
        return;
    if (event->kind == TRANSPORT_UP && !stream->is_open)
        say_hello(gatherer, stream);
    else if (event->kind == TRANSPORT_DOWN || event->kind == TRANSPORT_REFUSED)
        broke(gatherer, stream, STATUS_UNREACHABLE, "closed the stream");
    else if (event->kind == TRANSPORT_MESSAGE)
        wrong = open_piece(gatherer, stream, event, &status);
    if (wrong)
        broke(gatherer, stream, status, wrong);
}

/* ---- the files ---- */

static void close_gather(struct bulk_gatherer *gatherer, uint32_t gather)
{
    for (size_t i = 0; i < GATHER_STREAMS_MAX; i++)
        if (gatherer->streams[i].is_used && gatherer->streams[i].gather == gather)
            leave(gatherer, &gatherer->streams[i]);
    if (gatherer->is_open[gather])
        model_share_close(&gatherer->shares[gather]);
    gatherer->is_open[gather] = false;
}

static bool is_full(const struct model_share *share, const struct share_file *file)
{
    for (uint32_t i = 0; i < file->ledger.chunk_count; i++)
        if (!chunk_has(share->have, file->first + i))
            return false;
    return true;
}

/* The files that peers shall fill are ours to write; the others the downloader's. */
static enum status look_at(struct model_share *share, struct gather_look *look,
                           struct reason *reason)
{
    struct reason unread;
    look->open_out = memory_zeroed((size_t)share->file_count + 1, 1);
    look->have_out = memory_zeroed(share->count / 8 + 1, 1);
    if (!look->open_out || !look->have_out)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to take a download from others");
    model_share_look(share);
    for (uint32_t i = 0; i < share->file_count; i++) {
        const struct share_file *file = &share->files[i];
        look->was_reset_out = look->was_reset_out || file->was_reset;
        if (is_full(share, file) || !look->wanted || !look->wanted[i])
            model_share_yield(share, i);
        else
            look->open_out[i] = model_share_begin(share, i, &unread) == STATUS_OK;
    }
    memcpy(look->have_out, share->have, share->count / 8 + 1);
    look->count_out = share->count;
    return STATUS_OK;
}

static void gather(struct bulk_gatherer *gatherer, struct effect *effect)
{
    struct gather_look *look = effect->request;
    struct model_share *share = &gatherer->shares[look->gather];
    struct reason reason = {""};
    enum status status = STATUS_OK;
    effect->request = NULL;
    if (effect->kind == BULK_GATHER_OPEN) {
        close_gather(gatherer, look->gather);
        status = model_share_open(gatherer->options.store, &look->download, share, &reason);
        gatherer->is_open[look->gather] = status == STATUS_OK;
    }
    if (status == STATUS_OK)
        status = gatherer->is_open[look->gather] ? look_at(share, look, &reason) : STATUS_ENDED;
    bulk_post(&gatherer->options, effect->kind, effect->id, status, &reason, look,
              gather_look_free);
}

/* ---- the thread ---- */

static void take(void *self, struct effect *effect)
{
    struct bulk_gatherer *gatherer = self;
    if (effect->kind == BULK_GATHER_JOIN) {
        join(gatherer, effect->request);
    } else if (effect->kind == BULK_GATHER_LEAVE) {
        struct stream *stream =
            find(gatherer, ((const struct stream_request *)effect->request)->link);
        if (stream)
            leave(gatherer, stream);
    } else if (effect->kind == BULK_GATHER_CLOSE) {
        close_gather(gatherer, ((const struct gather_look *)effect->request)->gather);
    } else {
        gather(gatherer, effect);
    }
}

static enum status begin(void *self, struct transport *transport, struct reason *reason)
{
    (void)reason;
    ((struct bulk_gatherer *)self)->transport = transport;
    return STATUS_OK;
}

static void end(void *self)
{
    for (uint32_t i = 0; i < GATHERS_MAX; i++)
        close_gather(self, i);
}

static const struct bulk_ops ops = {begin, end, take, take_event, NULL};

enum status bulk_gatherer_open(const struct bulk_options *options,
                               struct bulk_gatherer **gatherer_out, struct reason *reason)
{
    struct bulk_gatherer *gatherer = memory_zeroed(1, sizeof(*gatherer));
    if (!gatherer)
        return refuse(reason, STATUS_NO_MEMORY, "no memory to take downloads from others");
    gatherer->options = *options;
    enum status status = bulk_thread_open(&ops, gatherer, &gatherer->thread, reason);
    if (status == STATUS_OK)
        *gatherer_out = gatherer;
    else
        bulk_gatherer_close(gatherer);
    return status;
}

struct bulk_thread *bulk_gatherer_thread(struct bulk_gatherer *gatherer)
{
    return gatherer->thread;
}

void bulk_gatherer_close(struct bulk_gatherer *gatherer)
{
    if (!gatherer)
        return;
    bulk_thread_close(gatherer->thread);
    memory_free(gatherer);
}
