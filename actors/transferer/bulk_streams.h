/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk_streams: the sealed streams over which a thread takes chunks from lenders (bulk.h says what
 * goes over them), for copies (bulk_receiver.c) as for downloads (bulk_gatherer.c); between the
 * files of bulk alone.
 *
 * A stream opens pieces one after the other into the bytes of one chunk.  Where a chunk belongs,
 * and what becomes of it when it is whole, is the owner's.
 *
 * Owner    one thread of a receiver or gatherer.
 * Memory   one chunk for each stream.
 * Threads  the owner's.
 * Fails    into results: BULK_CHUNK_TOLD without a chunk, and the stream is left.
 */
#ifndef TROUPE_ACTORS_TRANSFERER_BULK_STREAMS_H
#define TROUPE_ACTORS_TRANSFERER_BULK_STREAMS_H

#include "actors/transferer/bulk.h"
#include "runtime/chunk_digest.h"

struct stream {
    bool is_used;
    bool is_open;    /* the hello went out */
    uint32_t link;
    uint64_t number; /* of what it is for: results have it */
    uint32_t gather; /* of a download: which one */
    bool is_shared;  /* of a download: after each chunk comes its digest */
    struct request_id session;
    struct seal from;
    struct seal to;
    void *memory;
    uint8_t *bytes; /* of the chunk that comes, in `memory` from a page on */
    uint32_t chunk; /* CHUNK_NONE: none begun */
    uint32_t have;  /* bytes of it, and of its digest */
    struct chunk_digest *digest; /* of what came; not of a download; in `memory`, too */
    struct hash told;            /* of a download: what its lender says */
    struct chunk_place place;
};

struct streams {
    const struct bulk_options *options;
    struct transport *transport;
    struct stream items[STREAMS_MAX];
    void *owner;
    /* Where a chunk that begins belongs; false: there is no such chunk. */
    bool (*place)(const void *owner, const struct stream *stream, uint32_t chunk,
                  struct chunk_place *place_out);
};

/* NULL: none has that link. */
struct stream *streams_find(struct streams *streams, uint32_t link);
/* Without room nothing is done: the source is left when nothing comes. */
void streams_join(struct streams *streams, const struct stream_request *request, uint64_t number);
void streams_leave(struct streams *streams, struct stream *stream);
/* Leaves the stream of that link, if there is one. */
void streams_leave_link(struct streams *streams, uint32_t link);
void streams_close(struct streams *streams);
/* The stream that a message came over; NULL: it is dealt with, or nobody's. */
struct stream *streams_take(struct streams *streams, const struct transport_event *event);

/* NULL, or what is wrong with the piece. */
const char *stream_open_piece(const struct streams *streams, struct stream *stream,
                              const struct transport_event *event, enum status *status_out);
/* All of a chunk is here; `chunk` is CHUNK_NONE again when it was told. */
bool stream_has_chunk(const struct stream *stream);
/* What became of the chunk. */
void streams_tell(struct streams *streams, struct stream *stream, enum status status,
                  const struct reason *reason);
/* Tells that the stream broke, and leaves it. */
void streams_break(struct streams *streams, struct stream *stream, enum status status,
                   const char *what);

#endif
