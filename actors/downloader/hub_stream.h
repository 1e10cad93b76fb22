/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_stream: one connection of a download and the file it works on; between hub_download.c and
 * hub_stream.c alone.
 *
 * Owner    hub_download_files.
 * Memory   part of the download's.
 * Threads  one.
 * Fails    hub_stream_ended: the pull cannot go on.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_HUB_STREAM_H
#define TROUPE_ACTORS_DOWNLOADER_HUB_STREAM_H

#include "actors/downloader/hub_download.h"

struct hub_stream;

/* A file of the download and where it was found. */
struct hub_source {
    struct hub_incoming blob;
    const struct hub_file *file;
    bool is_over;    /* in the cache, whole */
    bool is_claimed; /* it is this node that shall fetch it */
    bool is_fed;     /* its chunks come from other nodes, as long as they have some */
    bool was_tried;  /* fed: to open it, in this round */
    uint64_t fed_ms; /* when the last of them came, or the claim */
    bool has_location;
    struct hub_url location;
    char validator[160];
    uint32_t changes;
    bool has_no_ranges;            /* the server sends the whole, whatever is asked */
    struct hub_stream *sequential; /* who reads it then */
};

enum hub_verdict {
    HUB_VERDICT_NONE, /* no head has come */
    HUB_VERDICT_BODY,
    HUB_VERDICT_FOLLOW,
    HUB_VERDICT_TROUBLE,
    HUB_VERDICT_CHANGED, /* another file than the list named */
    HUB_VERDICT_MOVED,   /* the CDN has it under another validator: ask the hub again */
    HUB_VERDICT_ENCODED,
    HUB_VERDICT_BAD_RANGE,
    HUB_VERDICT_ENOUGH, /* all that was asked for, and more, which is not taken */
    HUB_VERDICT_YIELD /* another connection reads the whole file already */
};

struct hub_stream {
    struct hub_download *download;
    struct hub_source *source; /* NULL: idle */
    struct hub_question_running *running;
    uint32_t chunk;
    bool is_sequential;
    struct hub_cursor cursor;
    uint64_t end;
    struct hub_url url;
    uint32_t host; /* of session->hosts, while it runs */
    uint32_t hops;
    uint64_t rest_until_ms;
    uint32_t tries;
    uint64_t fresh_bytes; /* since the tries were counted anew */
    enum hub_verdict verdict;
    bool is_answered; /* `done` was called: hub_stream_ended is due */
    enum status status;
    struct hub_head head;
    struct reason reason;
};

/* Gives an idle connection a chunk, or the whole of a file without ranges. */
void hub_stream_begin(struct hub_stream *stream, struct hub_source *source, uint32_t chunk);
/* Sends its question, if it may. */
MUST_CHECK enum status hub_stream_start(struct hub_stream *stream, uint64_t now_ms,
                                        struct reason *reason);
/* Judges an answer: the stream is idle, rests, or follows a redirect. */
MUST_CHECK enum status hub_stream_ended(struct hub_stream *stream, uint64_t now_ms,
                                        struct reason *reason);
/* Makes it idle without a word. */
void hub_stream_leave(struct hub_stream *stream);

#endif
