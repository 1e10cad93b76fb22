/* SPDX-License-Identifier: Apache-2.0 */
/*
 * receive_sources: whom chunks are asked of, and which.
 */
#include "actors/transferer/transferer.h"

#include "protocol/holdings.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

static const char *node_name(const struct transferer *transferer, const struct node_id *id)
{
    return state_node_name(&transferer->session.mirror.state, id);
}

static void note_failure(const struct transferer_step *step, struct receive *receive,
                         const struct source *source, const char *what)
{
    (void)snprintf(receive->last.text, sizeof(receive->last.text), "%.100s %.250s",
                   node_name(step->transferer, &source->node_id), what);
}

static void note_lost(const struct transferer_step *step, struct receive *receive,
                      const struct source *source, const char *lost)
{
    if (lost[0])
        (void)snprintf(receive->lost.text, sizeof(receive->lost.text), "%.100s says that %.250s",
                       node_name(step->transferer, &source->node_id), lost);
}

/* It failed us: left, rested, and tried again after a while that doubles. */
static enum status source_failed(struct transferer_step *step, struct receive *receive,
                                 struct source *source, bool is_wrong, const char *what)
{
    note_failure(step, receive, source, what);
    if (receive->manifest_link == source->link)
        receive->manifest_link = 0;
    return sources_fail(step, &receive->sources, source, is_wrong);
}

/* ---- whom ---- */

static bool may_have(const struct transferer *transferer, const struct receive *receive,
                     const struct node_id *id)
{
    const struct model_record *model = receive_model(transferer, receive);
    const struct transfer_record *transfer = receive_transfer(transferer, receive);
    if (!model || !transfer || ID_EQUAL(*id, transferer->session.mirror.node_id))
        return false;
    const struct holder_record *holder = model_find_holder(model, id);
    const struct transfer_target *target = transfer_find_target(transfer, id);
    if (target && (target->phase == TRANSFER_RUNNING || target->phase == TRANSFER_DONE))
        return true;
    return holder && (holder->has_weights || holder->held.count > 0) &&
           (ID_IS_ZERO(transfer->source_node_id) || ID_EQUAL(transfer->source_node_id, *id));
}

/* Those that receive too, one.  Those that have the model, two, so that a chunk comes while another
 * is stored; but a single one, a connection for each thread that opens and checks. */
static uint32_t connections_wanted(const struct transferer *transferer,
                                   const struct receive *receive, const struct node_id *id)
{
    const struct model_record *model = receive_model(transferer, receive);
    uint32_t whole = 0;
    bool is_whole = false;
    for (uint32_t i = 0; model && i < model->holders.count; i++) {
        const struct holder_record *holder = &model->holders.items[i];
        if (!holder->has_weights || !may_have(transferer, receive, &holder->node_id))
            continue;
        whole++;
        is_whole = is_whole || ID_EQUAL(holder->node_id, *id);
    }
    return !is_whole ? 1 : whole == 1 ? BULK_LANES : 2;
}

/* Each once, before any of them again. */
static void connect_more(struct transferer_step *step, struct receive *receive)
{
    struct transferer *transferer = step->transferer;
    struct sources *sources = &receive->sources;
    const struct state *state = &transferer->session.mirror.state;
    for (uint32_t connections = 1; connections <= BULK_LANES; connections++) {
        for (uint32_t i = 0; i < state->nodes.count; i++) {
            const struct node_id *id = &state->nodes.items[i].node_id;
            if (!may_have(transferer, receive, id) ||
                connections_wanted(transferer, receive, id) < connections)
                continue;
            const struct endpoint_record *endpoint = sources_endpoint(
                transferer, sources, id, connections, step->input->now_ms);
            if (endpoint && !sources_connect(step, sources, endpoint))
                return;
        }
    }
}

/* ---- asking ---- */

static enum status ask_source(struct transferer_step *step, struct receive *receive,
                              struct source *source)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_SOURCE_ASKED);
    if (status != STATUS_OK)
        return status;
    struct source_asked *body = message.body;
    body->revision = receive->record.revision;
    body->session = source->session;
    body->key = source->key;
    body->has_aes = seal_has_aes();
    body->doubted = sources_rest(&receive->sources, &source->node_id)->doubted;
    source->is_doubted = body->doubted != 0;
    source->poll_ms = step->input->now_ms + RECEIVE_POLL_MS;
    return source_send(step, source, &message,
                       text_set(&body->model_id, receive->record.model_id));
}

static enum status ask_manifest(struct transferer_step *step, struct receive *receive,
                                struct source *source)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_MANIFEST_ASKED);
    if (status != STATUS_OK)
        return status;
    struct manifest_asked *body = message.body;
    body->revision = receive->record.revision;
    body->offset = receive->manifest_bytes.size;
    receive->manifest_link = source->link;
    source->deadline_ms = step->input->now_ms + RECEIVE_ANSWER_MS;
    return source_send(step, source, &message,
                       text_set(&body->model_id, receive->record.model_id));
}

enum status receive_fill(struct transferer_step *step, struct receive *receive)
{
    connect_more(step, receive);
    if (receive->phase == RECEIVE_RUNNING)
        return sources_ask(step, &receive->sources);
    for (size_t i = 0; i < SOURCES_MAX; i++)
        if (receive->phase == RECEIVE_ASKING && receive->manifest_link == 0 &&
            receive->sources.items[i].phase == SOURCE_OPEN)
            return ask_manifest(step, receive, &receive->sources.items[i]);
    return STATUS_OK;
}

/* ---- what they say ---- */

static enum status take_told(struct transferer_step *step, struct receive *receive,
                             struct source *source, const struct source_told *told)
{
    const char *lost = text_or_empty(told->reason);
    char what[250];
    note_lost(step, receive, source, lost);
    if (told->status != STATUS_OK) {
        (void)snprintf(what, sizeof(what), "sends nothing: %.200s",
                       lost[0] ? lost : status_text((enum status)told->status));
        return source_failed(step, receive, source, false, what);
    }
    const bool is_running = receive->phase == RECEIVE_RUNNING;
    if (is_running && !told->is_whole && !sources_fit(&receive->sources, told))
        return source_failed(step, receive, source, true, "has another number of chunks");
    source->phase = SOURCE_OPEN;
    source->is_whole = told->is_whole;
    enum status status = is_running
                             ? sources_take_told(step, &receive->sources, source, told)
                             : STATUS_OK;
    return status == STATUS_OK ? receive_fill(step, receive) : status;
}

static enum status take_manifest(struct transferer_step *step, struct receive *receive,
                                 struct source *source, const struct manifest_part *part)
{
    if (receive->phase != RECEIVE_ASKING || receive->manifest_link != source->link)
        return STATUS_OK;
    const bool is_first = receive->manifest_bytes.size == 0;
    if (part->status != STATUS_OK || part->part.count == 0 ||
        part->offset != receive->manifest_bytes.size || part->total > CHUNK_MANIFEST_SIZE_MAX ||
        part->part.count > part->total - part->offset ||
        (!is_first && part->total != receive->manifest_total)) {
        receive->manifest_bytes.size = 0;
        return source_failed(step, receive, source, part->status == STATUS_OK,
                             "sent no part of the manifest");
    }
    receive->manifest_total = part->total;
    if (buffer_append(&receive->manifest_bytes, part->part.items, part->part.count) != STATUS_OK)
        return STATUS_NO_MEMORY;
    if (receive->manifest_bytes.size < receive->manifest_total)
        return ask_manifest(step, receive, source);
    struct chunk_manifest manifest;
    struct reason reason = {""};
    enum status status =
        chunk_manifest_decode(receive->manifest_bytes.bytes, receive->manifest_bytes.size,
                              &receive->record, &manifest, &reason);
    if (status != STATUS_OK) {
        receive->manifest_bytes.size = 0;
        status =
            source_failed(step, receive, source, true, "sent a manifest that is not the model's");
        return status == STATUS_OK ? receive_fill(step, receive) : status;
    }
    record_fini(&chunk_manifest_type, &manifest);
    receive->manifest_link = 0;
    return receive_open(step, receive);
}

static enum status take_refused(struct transferer_step *step, struct receive *receive,
                                struct source *source, const struct chunk_refused *refused)
{
    if (receive->phase != RECEIVE_RUNNING ||
        !sources_credit_return(&receive->sources, source, refused->chunk))
        return STATUS_OK;
    note_lost(step, receive, source, text_or_empty(refused->reason));
    enum status status =
        source_failed(step, receive, source, false, "cannot read its chunks any more");
    return status == STATUS_OK ? receive_fill(step, receive) : status;
}

/* It is on the disk, whoever it came from: also when that one was left before we heard of it. */
static void note_stored(struct receive *receive, const struct chunk_told *told, uint64_t now_ms)
{
    receive->bytes_received += told->bytes;
    receive->silent_ms = now_ms + RECEIVE_SILENCE_MS;
    if (chunk_has(receive->have, told->chunk))
        return;
    chunk_add(receive->have, told->chunk);
    receive->chunk_have++;
    receive->bytes_have += told->bytes;
}

enum status receive_chunk(struct transferer_step *step, struct receive *receive,
                          const struct chunk_told *told)
{
    const struct result *result = step->input->result;
    struct source *source = sources_find(&receive->sources, told->link);
    const bool is_chunk = told->chunk != CHUNK_NONE;
    const bool is_wrong =
        result->status == STATUS_HASH_MISMATCH || result->status == STATUS_MALFORMED;
    enum status status = STATUS_OK;
    if (receive->phase != RECEIVE_RUNNING)
        return STATUS_OK;
    if (is_chunk && result->status != STATUS_OK && !is_wrong)
        return receive_end(step, receive, result->status, result->reason.text);
    if (is_chunk && result->status == STATUS_OK && told->chunk < receive->sources.chunk_count) {
        note_stored(receive, told, step->input->now_ms);
        if (source)
            sources_rest(&receive->sources, &source->node_id)->bytes += told->bytes;
    }
    if (!source) {
        status = STATUS_OK;
    } else if (!is_chunk) {
        status = source_failed(step, receive, source, is_wrong, result->reason.text);
    } else if (!sources_credit_return(&receive->sources, source, told->chunk)) {
        status = source_failed(step, receive, source, true, "sent a chunk nobody asked for");
    } else if (result->status != STATUS_OK) {
        /* Asked again it reads that chunk again first, as its disk may have it wrong.  Only what
         * is wrong after that is its fault. */
        sources_rest(&receive->sources, &source->node_id)->doubted = told->chunk + 1;
        status = source_failed(step, receive, source, source->is_doubted, "sent a wrong chunk");
    } else {
        sources_rest(&receive->sources, &source->node_id)->failures = 0;
    }
    return status == STATUS_OK ? receive_go_on(step, receive) : status;
}

enum status receive_input(struct transferer_step *step)
{
    const struct input *input = step->input;
    struct receive *receive = step->transferer->receives;
    struct source *source = sources_find(&receive->sources, input->peer.link);
    enum status status = STATUS_OK;
    for (size_t i = 1; i < RECEIVES_MAX && !source; i++) {
        receive = &step->transferer->receives[i];
        source = sources_find(&receive->sources, input->peer.link);
    }
    if (!source)
        return STATUS_OK;
    if (input->kind == INPUT_LINK_UP && source->phase == SOURCE_CONNECTING) {
        source->phase = SOURCE_ASKED;
        source->deadline_ms = input->now_ms + RECEIVE_ANSWER_MS;
        return ask_source(step, receive, source);
    }
    if (input->kind == INPUT_MESSAGE && message_is(input->message, MESSAGE_LINK, LINK_SOURCE_TOLD))
        return take_told(step, receive, source, input->message->body);
    if (input->kind == INPUT_MESSAGE &&
        message_is(input->message, MESSAGE_LINK, LINK_MANIFEST_PART))
        return take_manifest(step, receive, source, input->message->body);
    if (input->kind == INPUT_MESSAGE &&
        message_is(input->message, MESSAGE_LINK, LINK_CHUNK_REFUSED))
        return take_refused(step, receive, source, input->message->body);
    if (input->kind == INPUT_LINK_REFUSED)
        status = source_failed(step, receive, source, false, input->reason);
    else if (input->kind == INPUT_LINK_DOWN)
        status = source_failed(step, receive, source, false, "went away");
    else if (input->kind == INPUT_SEND_FAILED)
        status = source_failed(step, receive, source, false, "cannot be sent to");
    else if (input->kind == INPUT_MESSAGE)
        status = source_failed(step, receive, source, true, "sent something nobody asked for");
    return status == STATUS_OK ? receive_fill(step, receive) : status;
}

/* ---- whether anybody may still send what lacks ---- */

static bool is_given_up(const struct receive *receive, const struct node_id *id)
{
    for (uint32_t i = 0; i < receive->sources.rest_count; i++)
        if (ID_EQUAL(receive->sources.rests[i].node_id, *id))
            return receive->sources.rests[i].wrong >= RECEIVE_WRONG_MAX;
    return false;
}

/* By what the state says is on its disk. */
static bool may_hold_file(const struct transferer *transferer, const struct receive *receive,
                          const struct model_record *model, const struct node_id *id,
                          uint32_t file)
{
    const struct holder_record *holder = model_find_holder(model, id);
    return holder_has_file(holder, file) && may_have(transferer, receive, id) &&
           !is_given_up(receive, id);
}

/* Another target, that receives it too and has not been heard yet. */
static bool is_unheard(const struct transferer *transferer, const struct receive *receive,
                       const struct node_id *id)
{
    const struct transfer_record *transfer = receive_transfer(transferer, receive);
    const struct transfer_target *target = transfer ? transfer_find_target(transfer, id) : NULL;
    if (!target || target->phase != TRANSFER_RUNNING ||
        ID_EQUAL(*id, transferer->session.mirror.node_id))
        return false;
    for (uint32_t i = 0; i < receive->sources.rest_count; i++)
        if (ID_EQUAL(receive->sources.rests[i].node_id, *id) &&
            receive->sources.rests[i].failures > 0)
            return false;
    for (size_t i = 0; i < SOURCES_MAX; i++)
        if (receive->sources.items[i].phase == SOURCE_OPEN &&
            ID_EQUAL(receive->sources.items[i].node_id, *id))
            return false;
    return true;
}

static bool may_file_come(const struct transferer *transferer, const struct receive *receive,
                          const struct model_record *model, uint32_t file)
{
    const struct state *state = &transferer->session.mirror.state;
    for (uint32_t i = 0; i < state->nodes.count; i++) {
        const struct node_id *id = &state->nodes.items[i].node_id;
        if (may_hold_file(transferer, receive, model, id, file) ||
            is_unheard(transferer, receive, id))
            return true;
    }
    return false;
}

static bool is_offered(const struct sources *sources, uint32_t chunk)
{
    bool is_any = false;
    for (size_t i = 0; i < SOURCES_MAX && !is_any; i++) {
        const struct source *source = &sources->items[i];
        is_any = source->phase == SOURCE_OPEN &&
                 (source->is_whole || (source->held && chunk_has(source->held, chunk)));
    }
    return is_any;
}

bool receive_has_hope(const struct transferer *transferer, const struct receive *receive)
{
    const struct model_record *model = receive_model(transferer, receive);
    const bool is_running = receive->phase == RECEIVE_RUNNING;
    const struct sources *sources = &receive->sources;
    uint64_t chunk = 0;
    bool has_hope = model != NULL;
    for (uint32_t i = 0; has_hope && i < model->files.count; i++) {
        const uint64_t end = chunk + chunks_of_size(model->files.items[i].size);
        bool is_wanted = !is_running;
        for (; is_running && chunk < end && chunk < sources->chunk_count && !is_wanted; chunk++)
            is_wanted = !chunk_has(receive->have, (uint32_t)chunk) &&
                        !is_offered(sources, (uint32_t)chunk);
        chunk = end;
        has_hope = !is_wanted || may_file_come(transferer, receive, model, i);
    }
    return has_hope;
}

/* ---- time ---- */

enum status receive_sources_time(struct transferer_step *step, struct receive *receive)
{
    const uint64_t now_ms = step->input->now_ms;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < SOURCES_MAX && status == STATUS_OK; i++) {
        struct source *source = &receive->sources.items[i];
        if (source->phase == SOURCE_NONE)
            continue;
        if (source_is_late(source, receive->manifest_link == source->link, now_ms)) {
            const bool is_new = source->phase == SOURCE_CONNECTING;
            if (receive->manifest_link == source->link)
                receive->manifest_bytes.size = 0;
            status = source_failed(step, receive, source, false,
                                   is_new ? "cannot be reached" : "fell silent");
            continue;
        }
        const bool is_polled = receive->phase == RECEIVE_RUNNING && source->phase == SOURCE_OPEN &&
                               (!source->is_whole || !source->is_joined);
        if (is_polled && now_ms >= source->poll_ms)
            status = ask_source(step, receive, source);
        outbox_wake(step->outbox, is_polled && source->poll_ms < source->deadline_ms
                                      ? source->poll_ms
                                      : source->deadline_ms);
    }
    return status == STATUS_OK ? receive_fill(step, receive) : status;
}
