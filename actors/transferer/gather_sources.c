/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gather_sources: whom chunks of a download are asked of, and which.
 */
#include "actors/transferer/gather.h"

#include "actors/transferer/transferer.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

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
           (holder && (holder->has_weights || holder->held.count > 0));
}

/* Those who fetch first: what the others have comes from them.  Nobody twice before each once. */
static void connect_more(struct transferer_step *step, struct gather *gather,
                         const struct download_record *download)
{
    struct transferer *transferer = step->transferer;
    const struct state *state = &transferer->session.mirror.state;
    for (uint32_t pass = 0; pass < 2 * GATHER_CONNECTIONS; pass++) {
        for (uint32_t i = 0; i < state->nodes.count; i++) {
            const struct node_id *id = &state->nodes.items[i].node_id;
            if (is_fetcher(download, id) != (pass % 2 == 0) ||
                !may_have(transferer, download, id))
                continue;
            const struct endpoint_record *endpoint = sources_endpoint(
                transferer, &gather->sources, id, pass / 2 + 1, step->input->now_ms);
            if (endpoint && !sources_connect(step, &gather->sources, endpoint))
                return;
        }
    }
}

/* ---- asking ---- */

static enum status ask_source(struct transferer_step *step, const struct gather *gather,
                              struct source *source)
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
    return source_send(step, source, &message,
                       text_set(&body->model_id, gather->model_id) &&
                           text_set(&body->commit, gather->commit));
}

enum status gather_fill(struct transferer_step *step, struct gather *gather)
{
    const struct download_record *download = gather_download(step->transferer, gather);
    if (!download || !gather->is_ready)
        return STATUS_OK;
    connect_more(step, gather, download);
    return sources_ask(step, &gather->sources);
}

/* ---- what they say ---- */

static enum status source_failed(struct transferer_step *step, struct gather *gather,
                                 struct source *source, bool is_wrong)
{
    return sources_fail(step, &gather->sources, source, is_wrong);
}

static enum status take_told(struct transferer_step *step, struct gather *gather,
                             struct source *source, const struct source_told *told)
{
    gather->answered_ms = step->input->now_ms;
    sources_rest(&gather->sources, &source->node_id)->answered_ms = step->input->now_ms;
    if (told->status != STATUS_OK || !sources_fit(&gather->sources, told))
        return source_failed(step, gather, source, told->status == STATUS_OK);
    enum status status = sources_take_told(step, &gather->sources, source, told);
    if (status == STATUS_OK)
        status = gather_judge(step, gather, source);
    return status == STATUS_OK ? gather_fill(step, gather) : status;
}

/* It is on the disk, whoever it came from: also when that one was left before we heard of it. */
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
    struct source *source = sources_find(&gather->sources, told->link);
    const bool is_chunk = told->chunk != CHUNK_NONE;
    const bool is_wrong =
        result->status == STATUS_HASH_MISMATCH || result->status == STATUS_MALFORMED;
    enum status status = STATUS_OK;
    if (is_chunk && result->status == STATUS_OK && told->chunk < gather->sources.chunk_count)
        note_stored(step, gather, told->chunk);
    if (source) {
        gather->answered_ms = step->input->now_ms;
        if (!is_chunk || !sources_credit_return(&gather->sources, source, told->chunk))
            status = source_failed(step, gather, source, is_wrong || is_chunk);
        else if (result->status != STATUS_OK)
            /* A disk that takes nothing is the downloader's to tell. */
            status = source_failed(step, gather, source, is_wrong);
    }
    return status == STATUS_OK ? gather_fill(step, gather) : status;
}

static enum status take_refused(struct transferer_step *step, struct gather *gather,
                                struct source *source, const struct chunk_refused *refused)
{
    if (!sources_credit_return(&gather->sources, source, refused->chunk))
        return STATUS_OK;
    /* It had it a moment ago; what it has now it says when it is asked again. */
    if (source->held && refused->chunk < gather->sources.chunk_count)
        chunk_remove(source->held, refused->chunk);
    return gather_fill(step, gather);
}

enum status gather_source_input(struct transferer_step *step, struct gather *gather,
                                struct source *source)
{
    const struct input *input = step->input;
    enum status status = STATUS_OK;
    if (input->kind == INPUT_LINK_UP && source->phase == SOURCE_CONNECTING) {
        source->phase = SOURCE_ASKED;
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
    for (size_t i = 0; i < SOURCES_MAX && status == STATUS_OK; i++) {
        struct source *source = &gather->sources.items[i];
        if (source->phase == SOURCE_NONE)
            continue;
        /* An open one is asked again and again; it may be busy with chunks. */
        const bool is_silent =
            source->phase == SOURCE_OPEN && source->owed == CHUNK_NONE &&
            now_ms - sources_rest(&gather->sources, &source->node_id)->answered_ms >=
                GATHER_ANSWER_MS;
        if (is_silent || source_is_late(source, false, now_ms))
            status = source_failed(step, gather, source, false);
        else if (source->phase == SOURCE_OPEN && now_ms >= source->poll_ms)
            status = ask_source(step, gather, source);
    }
    return status == STATUS_OK ? gather_fill(step, gather) : status;
}
