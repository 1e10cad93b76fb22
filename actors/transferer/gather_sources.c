/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gather_sources: whom chunks of a download are asked of, and which.
 */
#include "actors/transferer/gather.h"

#include "actors/transferer/transferer.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

/* ---- leaving ---- */

enum status gather_leave(struct transferer_step *step, struct gather *gather,
                         struct gather_source *source)
{
    for (uint32_t i = 0; i < source->window_count; i++)
        chunk_remove(gather->asked, source->window[i]);
    if (source->is_joined) {
        struct stream_request *request = memory_zeroed(1, sizeof(*request));
        if (!request)
            return STATUS_NO_MEMORY;
        request->link = source->link;
        outbox_effect(step->outbox, gather->number, BULK_GATHER_LEAVE, request,
                      stream_request_free);
    }
    outbox_link_close(step->outbox, source->link);
    memory_free(source->held);
    memset(source, 0, sizeof(*source));
    return STATUS_OK;
}

static struct gather_rest *rest_of(struct gather *gather, const struct node_id *node_id)
{
    for (uint32_t i = 0; i < gather->rest_count; i++)
        if (ID_EQUAL(gather->rests[i].node_id, *node_id))
            return &gather->rests[i];
    if (gather->rest_count == NODE_COUNT_MAX)
        return &gather->rests[0];
    gather->rests[gather->rest_count] = (struct gather_rest){.node_id = *node_id};
    return &gather->rests[gather->rest_count++];
}

static enum status source_failed(struct transferer_step *step, struct gather *gather,
                                 struct gather_source *source, bool is_wrong)
{
    struct gather_rest *rest = rest_of(gather, &source->node_id);
    rest->wrong += is_wrong;
    rest->until_ms = step->input->now_ms + GATHER_REST_MS;
    return gather_leave(step, gather, source);
}

/* ---- whom ---- */

static bool is_fetcher(const struct download_record *download, const struct node_id *id)
{
    for (uint32_t i = 0; i < download->files.count; i++)
        if (ID_EQUAL(download->files.items[i].node_id, *id))
            return true;
    return false;
}

static bool may_have(const struct transferer *transferer, const struct download_record *download,
                     const struct node_id *id)
{
    const struct state *state = &transferer->session.mirror.state;
    const struct model_record *model = state_find_model(state, text_or_empty(download->model_id));
    const struct holder_record *holder = model ? model_find_holder(model, id) : NULL;
    return is_fetcher(download, id) || download_find_target(download, id) ||
           (holder && holder->has_weights);
}

static bool is_free(const struct gather *gather, const struct node_id *id, uint64_t now_ms)
{
    for (size_t i = 0; i < GATHER_SOURCES_MAX; i++)
        if (gather->sources[i].phase != GATHER_SOURCE_NONE &&
            ID_EQUAL(gather->sources[i].node_id, *id))
            return false;
    for (uint32_t i = 0; i < gather->rest_count; i++)
        if (ID_EQUAL(gather->rests[i].node_id, *id))
            return gather->rests[i].wrong < GATHER_WRONG_MAX &&
                   now_ms >= gather->rests[i].until_ms;
    return true;
}

static void connect(struct transferer_step *step, struct gather_source *source,
                    const struct endpoint_record *endpoint)
{
    struct transferer *transferer = step->transferer;
    const struct hash session = transferer_draw(transferer);
    *source = (struct gather_source){
        .phase = GATHER_SOURCE_CONNECTING,
        .node_id = endpoint->node_id,
        .link = GATHER_LINK_FIRST + transferer->gather_links++ % GATHER_LINK_COUNT,
        .key = transferer_draw(transferer),
        .deadline_ms = step->input->now_ms + GATHER_CONNECT_MS};
    memcpy(&source->session, &session, sizeof(source->session));
    (void)snprintf(source->host, sizeof(source->host), "%s", endpoint->address);
    source_connect(step, source->link, endpoint);
}

static struct gather_source *unused(struct gather *gather)
{
    for (size_t i = 0; i < GATHER_SOURCES_MAX; i++)
        if (gather->sources[i].phase == GATHER_SOURCE_NONE)
            return &gather->sources[i];
    return NULL;
}

/* Those who fetch first: what the others have comes from them. */
static void connect_more(struct transferer_step *step, struct gather *gather,
                         const struct download_record *download)
{
    struct transferer *transferer = step->transferer;
    const struct state *state = &transferer->session.mirror.state;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < state->nodes.count; i++) {
            const struct node_id *id = &state->nodes.items[i].node_id;
            const struct endpoint_record *endpoint =
                state_find_endpoint(state, id, ACTOR_TRANSFERER);
            struct gather_source *source = unused(gather);
            if (!source)
                return;
            if (!source_has_address(endpoint) ||
                ID_EQUAL(*id, transferer->session.mirror.node_id) ||
                is_fetcher(download, id) != (pass == 0) || !may_have(transferer, download, id) ||
                !is_free(gather, id, step->input->now_ms))
                continue;
            connect(step, source, endpoint);
        }
    }
}

/* ---- asking ---- */

static enum status ask_source(struct transferer_step *step, const struct gather *gather,
                              struct gather_source *source)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_SHARE_ASKED);
    if (status != STATUS_OK)
        return status;
    struct share_asked *body = message.body;
    body->session = source->session;
    body->key = source->key;
    body->has_aes = seal_has_aes();
    body->is_strict = gather->is_strict;
    source->poll_ms = step->input->now_ms + GATHER_POLL_MS;
    return source_send(step, source->link, &message,
                       text_set(&body->model_id, gather->model_id) &&
                           text_set(&body->commit, gather->commit));
}

static enum status ask_chunk(struct transferer_step *step, struct gather *gather,
                             struct gather_source *source, uint32_t chunk)
{
    chunk_add(gather->asked, chunk);
    if (source->window_count == 0)
        source->deadline_ms = step->input->now_ms + GATHER_CHUNK_MS;
    source->window[source->window_count++] = chunk;
    return source_ask_chunk(step, source->link, &source->session, chunk);
}

static void count_available(struct gather *gather)
{
    memset(gather->available, 0, gather->count);
    for (size_t i = 0; i < GATHER_SOURCES_MAX; i++) {
        const struct gather_source *source = &gather->sources[i];
        for (uint32_t k = 0; source->phase == GATHER_SOURCE_OPEN && k < gather->count; k++)
            gather->available[k] =
                (uint8_t)(gather->available[k] + (source->held && chunk_has(source->held, k)));
    }
}

static uint32_t choose(const struct transferer *transferer, const struct gather *gather,
                       const struct gather_source *source)
{
    const struct chunk_question question = {
        .count = gather->count,
        .start = gather->count ? source_first_chunk(transferer, gather->count) : 0,
        .have = gather->blocked,
        .asked = gather->asked,
        .held = source->held,
        .available = gather->available};
    return source->held && gather->count > 0 ? chunk_choose(&question) : CHUNK_NONE;
}

/* One credit for each source in turn. */
static enum status ask_chunks(struct transferer_step *step, struct gather *gather)
{
    bool is_more = true;
    for (uint32_t turn = 0; turn < GATHER_WINDOW && is_more; turn++) {
        is_more = false;
        for (size_t i = 0; i < GATHER_SOURCES_MAX; i++) {
            struct gather_source *source = &gather->sources[i];
            if (source->phase != GATHER_SOURCE_OPEN || !source->is_joined ||
                source->window_count == GATHER_WINDOW)
                continue;
            const uint32_t chunk = choose(step->transferer, gather, source);
            if (chunk == CHUNK_NONE)
                continue;
            enum status status = ask_chunk(step, gather, source, chunk);
            if (status != STATUS_OK)
                return status;
            is_more = true;
        }
    }
    return STATUS_OK;
}

enum status gather_fill(struct transferer_step *step, struct gather *gather)
{
    const struct download_record *download = gather_download(step->transferer, gather);
    if (!download || !gather->is_ready)
        return STATUS_OK;
    connect_more(step, gather, download);
    return ask_chunks(step, gather);
}

/* ---- what they say ---- */

static enum status join_stream(struct transferer_step *step, const struct gather *gather,
                               struct gather_source *source, const struct source_told *told)
{
    struct stream_request *request = memory_zeroed(1, sizeof(*request));
    if (!request)
        return STATUS_NO_MEMORY;
    request->link = source->link;
    request->session = source->session;
    request->key = source->key;
    request->is_aes = told->is_aes;
    request->is_shared = true;
    request->gather = (uint32_t)(gather - step->transferer->gathers);
    /* Its port, at the host the state knows: nobody sends us elsewhere. */
    transferer_address(text_or_empty(told->address), source->host, request->address);
    source->is_joined = true;
    outbox_effect(step->outbox, gather->number, BULK_GATHER_JOIN, request, stream_request_free);
    return STATUS_OK;
}

static enum status take_told(struct transferer_step *step, struct gather *gather,
                             struct gather_source *source, const struct source_told *told)
{
    gather->answered_ms = step->input->now_ms;
    if (told->status != STATUS_OK)
        return source_failed(step, gather, source, false);
    if (told->held.count != gather->count / 8 + 1)
        return source_failed(step, gather, source, true);
    source->phase = GATHER_SOURCE_OPEN;
    if (!source->held)
        source->held = memory_zeroed(told->held.count, 1);
    if (!source->held)
        return STATUS_NO_MEMORY;
    memcpy(source->held, told->held.items, told->held.count);
    count_available(gather);
    enum status status =
        source->is_joined ? STATUS_OK : join_stream(step, gather, source, told);
    if (status == STATUS_OK)
        status = gather_judge(step, gather, source);
    return status == STATUS_OK ? gather_fill(step, gather) : status;
}

static bool credit_return(struct gather *gather, struct gather_source *source, uint32_t chunk)
{
    return source_credit_return(source->window, &source->window_count, gather->asked, chunk);
}

static void note_stored(struct transferer_step *step, struct gather *gather, uint32_t chunk)
{
    const struct download_record *download = gather_download(step->transferer, gather);
    const uint32_t file = download ? gather_file_of(download, chunk) : UINT32_MAX;
    chunk_add(gather->have, chunk);
    chunk_add(gather->blocked, chunk);
    if (file < gather->file_count)
        gather->fed_ms[file] = step->input->now_ms;
}

enum status gather_chunk(struct transferer_step *step, struct gather *gather,
                         const struct chunk_told *told)
{
    const struct result *result = step->input->result;
    const bool is_wrong =
        result->status == STATUS_HASH_MISMATCH || result->status == STATUS_MALFORMED;
    struct gather_source *source = NULL;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < GATHER_SOURCES_MAX; i++)
        if (gather->sources[i].phase != GATHER_SOURCE_NONE &&
            gather->sources[i].link == told->link)
            source = &gather->sources[i];
    if (!source)
        return STATUS_OK;
    gather->answered_ms = step->input->now_ms;
    if (told->chunk == CHUNK_NONE || !credit_return(gather, source, told->chunk)) {
        status = source_failed(step, gather, source, is_wrong || told->chunk != CHUNK_NONE);
    } else if (result->status != STATUS_OK) {
        /* A disk that takes nothing is the downloader's to tell. */
        status = source_failed(step, gather, source, is_wrong);
    } else {
        source->deadline_ms = step->input->now_ms + GATHER_CHUNK_MS;
        note_stored(step, gather, told->chunk);
    }
    return status == STATUS_OK ? gather_fill(step, gather) : status;
}

static enum status take_refused(struct transferer_step *step, struct gather *gather,
                                struct gather_source *source, const struct chunk_refused *refused)
{
    if (!credit_return(gather, source, refused->chunk))
        return STATUS_OK;
    /* It had it a moment ago; what it has now it says when it is asked again. */
    if (source->held && refused->chunk < gather->count)
        chunk_remove(source->held, refused->chunk);
    return gather_fill(step, gather);
}

enum status gather_source_input(struct transferer_step *step, struct gather *gather,
                                struct gather_source *source)
{
    const struct input *input = step->input;
    enum status status = STATUS_OK;
    if (input->kind == INPUT_LINK_UP && source->phase == GATHER_SOURCE_CONNECTING) {
        source->phase = GATHER_SOURCE_ASKED;
        source->deadline_ms = input->now_ms + GATHER_ANSWER_MS;
        return ask_source(step, gather, source);
    }
    if (input->kind == INPUT_MESSAGE && message_is(input->message, MESSAGE_LINK, LINK_SOURCE_TOLD))
        return take_told(step, gather, source, input->message->body);
    if (input->kind == INPUT_MESSAGE &&
        message_is(input->message, MESSAGE_LINK, LINK_CHUNK_REFUSED))
        return take_refused(step, gather, source, input->message->body);
    if (input->kind == INPUT_LINK_REFUSED || input->kind == INPUT_LINK_DOWN ||
        input->kind == INPUT_SEND_FAILED)
        status = source_failed(step, gather, source, false);
    else if (input->kind == INPUT_MESSAGE)
        status = source_failed(step, gather, source, true);
    return status == STATUS_OK ? gather_fill(step, gather) : status;
}

enum status gather_sources_time(struct transferer_step *step, struct gather *gather)
{
    const uint64_t now_ms = step->input->now_ms;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < GATHER_SOURCES_MAX && status == STATUS_OK; i++) {
        struct gather_source *source = &gather->sources[i];
        const bool is_waited_for =
            source->phase == GATHER_SOURCE_CONNECTING || source->phase == GATHER_SOURCE_ASKED ||
            (source->phase == GATHER_SOURCE_OPEN && source->window_count > 0);
        if (is_waited_for && now_ms >= source->deadline_ms)
            status = source_failed(step, gather, source, false);
        else if (source->phase == GATHER_SOURCE_OPEN && now_ms >= source->poll_ms)
            status = ask_source(step, gather, source);
    }
    return status == STATUS_OK ? gather_fill(step, gather) : status;
}
