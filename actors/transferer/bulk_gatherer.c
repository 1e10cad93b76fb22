/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk_gatherer: opens the chunks of downloads that come over the streams and stores them in the
 * partial files (runtime/model_share.h), on a thread of its own.
 */
#include "actors/transferer/bulk_streams.h"
#include "protocol/memory.h"

#include <string.h>

struct bulk_gatherer {
    struct bulk_options options;
    struct bulk_thread *thread;
    struct streams streams;
    struct model_share shares[GATHERS_MAX];
    bool is_open[GATHERS_MAX];
};

/* ---- chunks ---- */

static bool find_place(const void *owner, const struct stream *stream, uint32_t chunk,
                       struct chunk_place *place_out)
{
    const struct bulk_gatherer *gatherer = owner;
    return model_share_place(&gatherer->shares[stream->gather], chunk, place_out);
}

static void take_event(void *self, const struct transport_event *event)
{
    struct bulk_gatherer *gatherer = self;
    struct stream *stream = streams_take(&gatherer->streams, event);
    struct reason reason = {""};
    enum status status = STATUS_OK;
    if (!stream)
        return;
    const char *wrong = stream_open_piece(&gatherer->streams, stream, event, &status);
    if (wrong) {
        streams_break(&gatherer->streams, stream, status, wrong);
    } else if (stream_has_chunk(stream)) {
        status = model_share_put(&gatherer->shares[stream->gather], stream->chunk, stream->bytes,
                                 &stream->told, &reason);
        streams_tell(&gatherer->streams, stream, status, &reason);
    }
}

/* ---- the files ---- */

static void close_gather(struct bulk_gatherer *gatherer, uint32_t gather)
{
    struct streams *streams = &gatherer->streams;
    for (size_t i = 0; i < STREAMS_MAX; i++)
        if (streams->items[i].is_used && streams->items[i].gather == gather)
            streams_leave(streams, &streams->items[i]);
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
        const struct stream_request *request = effect->request;
        if (request->gather < GATHERS_MAX && gatherer->is_open[request->gather])
            streams_join(&gatherer->streams, request, effect->id);
    } else if (effect->kind == BULK_GATHER_LEAVE) {
        const struct stream_request *request = effect->request;
        streams_leave_link(&gatherer->streams, request->link);
    } else if (effect->kind == BULK_GATHER_CLOSE) {
        close_gather(gatherer, ((const struct gather_look *)effect->request)->gather);
    } else {
        gather(gatherer, effect);
    }
}

static enum status begin(void *self, struct transport *transport, struct reason *reason)
{
    (void)reason;
    ((struct bulk_gatherer *)self)->streams.transport = transport;
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
    gatherer->streams =
        (struct streams){.options = &gatherer->options, .owner = gatherer, .place = find_place};
    enum status status = bulk_thread_open(&gatherer->options, &ops, gatherer,
                                          &gatherer->thread, reason);
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
