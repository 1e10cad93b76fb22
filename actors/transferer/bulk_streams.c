/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/transferer/bulk_streams.h"

#include "protocol/memory.h"
#include "runtime/bytes.h"

#include <stdio.h>
#include <string.h>

#define PAGE ((size_t)4096)

struct stream *streams_find(struct streams *streams, uint32_t link)
{
    for (size_t i = 0; i < STREAMS_MAX; i++)
        if (streams->items[i].is_used && streams->items[i].link == link)
            return &streams->items[i];
    return NULL;
}

static void stream_fini(struct stream *stream)
{
    memory_free(stream->memory);
    seal_fini(&stream->from);
    seal_fini(&stream->to);
    memset(stream, 0, sizeof(*stream));
}

void streams_leave(struct streams *streams, struct stream *stream)
{
    transport_link_close(streams->transport, stream->link);
    stream_fini(stream);
}

void streams_leave_link(struct streams *streams, uint32_t link)
{
    struct stream *stream = streams_find(streams, link);
    if (stream)
        streams_leave(streams, stream);
}

void streams_close(struct streams *streams)
{
    for (size_t i = 0; i < STREAMS_MAX; i++)
        if (streams->items[i].is_used)
            streams_leave(streams, &streams->items[i]);
}

/* ---- telling the loop ---- */

static void tell(const struct streams *streams, const struct stream *stream, uint32_t chunk,
                 enum status status, const struct reason *reason)
{
    struct chunk_told *told = memory_zeroed(1, sizeof(*told));
    if (!told)
        return; /* the loop asks again after a while */
    *told = (struct chunk_told){stream->link, chunk, chunk == CHUNK_NONE ? 0 : stream->place.size};
    bulk_post(streams->options, BULK_CHUNK_TOLD, stream->number, status, reason, told,
              memory_free);
}

void streams_tell(struct streams *streams, struct stream *stream, enum status status,
                  const struct reason *reason)
{
    tell(streams, stream, stream->chunk, status, reason);
    stream->chunk = CHUNK_NONE;
}

void streams_break(struct streams *streams, struct stream *stream, enum status status,
                   const char *what)
{
    struct reason reason;
    tell(streams, stream, CHUNK_NONE, refuse(&reason, status, "%s", what), &reason);
    streams_leave(streams, stream);
}

/* ---- coming ---- */

static enum status stream_init(struct stream *stream, const struct stream_request *request,
                               uint64_t number)
{
    *stream = (struct stream){.link = request->link, .number = number, .gather = request->gather,
                              .is_shared = request->is_shared, .session = request->session,
                              .chunk = CHUNK_NONE};
    stream->memory = memory_zeroed((size_t)CHUNK_SIZE + PAGE + sizeof(*stream->digest), 1);
    if (!stream->memory)
        return STATUS_NO_MEMORY;
    stream->bytes = (uint8_t *)stream->memory + (PAGE - (uintptr_t)stream->memory % PAGE) % PAGE;
    stream->digest = (struct chunk_digest *)(void *)(stream->bytes + CHUNK_SIZE);
    return bulk_seals_init(request, &stream->from, &stream->to);
}

static enum status connect_stream(const struct streams *streams,
                                  const struct stream_request *request, struct reason *reason)
{
    struct link_options options = {.role = LINK_CONNECT, .is_plain = true,
                                   .message_size_max = PIECE_MESSAGE_MAX,
                                   .queue_max = PIECES_QUEUED};
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%s", request->address);
    return transport_link_open(streams->transport, request->link, &options, reason);
}

void streams_join(struct streams *streams, const struct stream_request *request, uint64_t number)
{
    struct stream *stream = NULL;
    struct reason reason = {""};
    for (size_t i = 0; i < STREAMS_MAX && !stream; i++)
        if (!streams->items[i].is_used)
            stream = &streams->items[i];
    if (!stream)
        return;
    enum status status = stream_init(stream, request, number);
    if (status != STATUS_OK)
        status = refuse(&reason, status, "no memory for a stream");
    else
        status = connect_stream(streams, request, &reason);
    stream->is_used = status == STATUS_OK;
    if (status == STATUS_OK)
        return;
    tell(streams, stream, CHUNK_NONE, status, &reason);
    stream_fini(stream);
}

static void say_hello(struct streams *streams, struct stream *stream)
{
    uint8_t hello[HELLO_SIZE];
    uint8_t with[PIECE_WITH_SIZE];
    const struct peer peer = peer_of_link(stream->link);
    stream->is_open = true;
    piece_with(&stream->session, 0, 0, with);
    memcpy(hello, &stream->session, 16);
    seal_close(&stream->to, with, sizeof(with), "", 0, hello + 16);
    if (transport_send(streams->transport, &peer, hello, sizeof(hello)) != STATUS_OK)
        streams_break(streams, stream, STATUS_UNREACHABLE, "cannot be reached for the bytes");
}

struct stream *streams_take(struct streams *streams, const struct transport_event *event)
{
    struct stream *stream = streams_find(streams, event->peer.link);
    if (stream && event->kind == TRANSPORT_MESSAGE)
        return stream;
    if (stream && event->kind == TRANSPORT_UP && !stream->is_open)
        say_hello(streams, stream);
    else if (stream && (event->kind == TRANSPORT_DOWN || event->kind == TRANSPORT_REFUSED))
        streams_break(streams, stream, STATUS_UNREACHABLE, "closed the stream");
    return NULL;
}

/* ---- pieces ---- */

static bool begin_chunk(const struct streams *streams, struct stream *stream, uint32_t chunk)
{
    if (!streams->place(streams->owner, stream, chunk, &stream->place))
        return false;
    stream->chunk = chunk;
    stream->have = 0;
    if (!stream->is_shared)
        chunk_digest_init(stream->digest);
    return true;
}

const char *stream_open_piece(const struct streams *streams, struct stream *stream,
                              const struct transport_event *event, enum status *status_out)
{
    uint8_t with[PIECE_WITH_SIZE];
    *status_out = STATUS_MALFORMED;
    if (event->size <= PIECE_HEADER_SIZE + SEAL_OVERHEAD)
        return "sent a piece that is none";
    const uint32_t chunk = get_u32(event->bytes);
    const uint32_t offset = get_u32(event->bytes + 4);
    const size_t size = event->size - PIECE_HEADER_SIZE - SEAL_OVERHEAD;
    if (stream->chunk == CHUNK_NONE && !begin_chunk(streams, stream, chunk))
        return "sent a chunk that does not exist";
    const bool is_digest = stream->is_shared && stream->have == stream->place.size;
    const size_t room = is_digest ? sizeof(stream->told) : stream->place.size - stream->have;
    if (chunk != stream->chunk || offset != stream->have || size > room ||
        (is_digest && size < room))
        return "sent a piece out of order";
    uint8_t *bytes = is_digest ? stream->told.bytes : stream->bytes + offset;
    piece_with(&stream->session, chunk, offset, with);
    *status_out = seal_open(&stream->from, with, sizeof(with), event->bytes + PIECE_HEADER_SIZE,
                            event->size - PIECE_HEADER_SIZE, bytes);
    if (*status_out != STATUS_OK)
        return "sent bytes whose seal is broken";
    if (!stream->is_shared)
        chunk_digest_update(stream->digest, bytes, size);
    stream->have += (uint32_t)size;
    return NULL;
}

bool stream_has_chunk(const struct stream *stream)
{
    const size_t size =
        stream->place.size + (stream->is_shared ? sizeof(stream->told) : 0);
    return stream->chunk != CHUNK_NONE && stream->have == size;
}
