/* SPDX-License-Identifier: Apache-2.0 */
/*
 * receive_sources: whom chunks are asked of, and which.
 */
#include "actors/transferer/transferer.h"

#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

static const char *node_name(const struct transferer *transferer, const struct node_id *id)
{
    const struct node_record *node = state_find_node(&transferer->session.mirror.state, id);
    return node ? text_or_empty(node->name) : "a removed node";
}

static struct receive_source *source_of_link(struct receive *receive, uint32_t link)
{
    for (size_t i = 0; i < RECEIVE_SOURCES_MAX; i++)
        if (receive->sources[i].phase != SOURCE_NONE && receive->sources[i].link == link)
            return &receive->sources[i];
    return NULL;
}

static struct source_rest *rest_of(struct receive *receive, const struct node_id *node_id)
{
    for (uint32_t i = 0; i < receive->rest_count; i++)
        if (ID_EQUAL(receive->rests[i].node_id, *node_id))
            return &receive->rests[i];
    if (receive->rest_count == NODE_COUNT_MAX)
        return &receive->rests[0];
    receive->rests[receive->rest_count] = (struct source_rest){.node_id = *node_id};
    return &receive->rests[receive->rest_count++];
}

/* ---- leaving ---- */

static enum status leave(struct transferer_step *step, struct receive_source *source)
{
    struct receive *receive = &step->transferer->receive;
    for (uint32_t i = 0; i < source->window_count; i++)
        chunk_remove(receive->asked, source->window[i]);
    if (receive->manifest_link == source->link)
        receive->manifest_link = 0;
    if (source->is_joined) {
        struct stream_request *request = memory_zeroed(1, sizeof(*request));
        if (!request)
            return STATUS_NO_MEMORY;
        request->link = source->link;
        outbox_effect(step->outbox, receive->number, BULK_LEAVE, request, stream_request_free);
    }
    outbox_link_close(step->outbox, source->link);
    memory_free(source->held);
    memset(source, 0, sizeof(*source));
    return STATUS_OK;
}

void sources_close(struct transferer_step *step)
{
    struct receive *receive = &step->transferer->receive;
    for (size_t i = 0; i < RECEIVE_SOURCES_MAX; i++)
        if (receive->sources[i].phase != SOURCE_NONE &&
            leave(step, &receive->sources[i]) != STATUS_OK)
            step->outbox->failed = STATUS_NO_MEMORY;
}

/* It failed us: left, rested, and tried again after a while that doubles. */
static enum status source_failed(struct transferer_step *step, struct receive_source *source,
                                 bool is_wrong, const char *what)
{
    struct receive *receive = &step->transferer->receive;
    struct source_rest *rest = rest_of(receive, &source->node_id);
    uint64_t wait_ms = RECEIVE_REST_MS;
    for (uint32_t i = 0; i < rest->failures && wait_ms < RECEIVE_REST_MS_MAX; i++)
        wait_ms *= 2;
    rest->failures++;
    rest->wrong += is_wrong;
    rest->until_ms = step->input->now_ms + wait_ms;
    (void)snprintf(receive->last.text, sizeof(receive->last.text), "%.100s %.250s",
                   node_name(step->transferer, &source->node_id), what);
    return leave(step, source);
}

/* ---- whom ---- */

static bool may_have(const struct transferer *transferer, const struct node_id *id)
{
    const struct model_record *model = receive_model(transferer);
    const struct transfer_record *transfer = receive_transfer(transferer);
    if (!model || !transfer || ID_EQUAL(*id, transferer->session.mirror.node_id))
        return false;
    const struct holder_record *holder = model_find_holder(model, id);
    const struct transfer_target *target = transfer_find_target(transfer, id);
    if (target && (target->phase == TRANSFER_RUNNING || target->phase == TRANSFER_DONE))
        return true;
    return holder && holder->has_weights &&
           (ID_IS_ZERO(transfer->source_node_id) || ID_EQUAL(transfer->source_node_id, *id));
}

/* One; but if a single one has the model, a connection for each thread that opens and checks. */
static uint32_t connections_wanted(const struct transferer *transferer, const struct node_id *id)
{
    const struct model_record *model = receive_model(transferer);
    uint32_t whole = 0;
    bool is_whole = false;
    for (uint32_t i = 0; model && i < model->holders.count; i++) {
        const struct holder_record *holder = &model->holders.items[i];
        if (!holder->has_weights || !may_have(transferer, &holder->node_id))
            continue;
        whole++;
        is_whole = is_whole || ID_EQUAL(holder->node_id, *id);
    }
    return is_whole && whole == 1 ? BULK_LANES : 1;
}

static bool is_free(const struct transferer *transferer, const struct node_id *id,
                    uint64_t now_ms)
{
    const struct receive *receive = &transferer->receive;
    uint32_t connections = 0;
    for (size_t i = 0; i < RECEIVE_SOURCES_MAX; i++)
        connections += receive->sources[i].phase != SOURCE_NONE &&
                       ID_EQUAL(receive->sources[i].node_id, *id);
    if (connections >= connections_wanted(transferer, id))
        return false;
    for (uint32_t i = 0; i < receive->rest_count; i++)
        if (ID_EQUAL(receive->rests[i].node_id, *id))
            return receive->rests[i].wrong < RECEIVE_WRONG_MAX &&
                   now_ms >= receive->rests[i].until_ms;
    return true;
}

static void connect_source(struct transferer_step *step, struct receive_source *source,
                           const struct endpoint_record *endpoint)
{
    struct transferer *transferer = step->transferer;
    const struct hash session = transferer_draw(transferer);
    *source = (struct receive_source){
        .phase = SOURCE_CONNECTING,
        .node_id = endpoint->node_id,
        .link = RECEIVE_LINK_FIRST + transferer->receive_links++ % RECEIVE_LINK_COUNT,
        .key = transferer_draw(transferer),
        .deadline_ms = step->input->now_ms + RECEIVE_CONNECT_MS};
    memcpy(&source->session, &session, sizeof(source->session));
    (void)snprintf(source->host, sizeof(source->host), "%s", endpoint->address);
    source_connect(step, source->link, endpoint);
}

/* Where it can be asked; NULL: nowhere, or not now. */
static const struct endpoint_record *endpoint_of(const struct transferer *transferer,
                                                 const struct node_id *id, uint64_t now_ms)
{
    const struct endpoint_record *endpoint =
        state_find_endpoint(&transferer->session.mirror.state, id, ACTOR_TRANSFERER);
    return source_has_address(endpoint) && may_have(transferer, id) &&
                   is_free(transferer, id, now_ms)
               ? endpoint
               : NULL;
}

static void connect_more(struct transferer_step *step)
{
    struct transferer *transferer = step->transferer;
    struct receive *receive = &transferer->receive;
    const struct state *state = &transferer->session.mirror.state;
    const struct endpoint_record *endpoint;
    for (uint32_t i = 0; i < state->nodes.count; i++) {
        const struct node_id *id = &state->nodes.items[i].node_id;
        while ((endpoint = endpoint_of(transferer, id, step->input->now_ms)) != NULL) {
            struct receive_source *source = NULL;
            for (size_t k = 0; k < RECEIVE_SOURCES_MAX && !source; k++)
                if (receive->sources[k].phase == SOURCE_NONE)
                    source = &receive->sources[k];
            if (!source)
                return;
            connect_source(step, source, endpoint);
        }
    }
}

/* ---- asking ---- */

static enum status ask_source(struct transferer_step *step, struct receive_source *source)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_SOURCE_ASKED);
    if (status != STATUS_OK)
        return status;
    struct source_asked *body = message.body;
    body->revision = step->transferer->receive.record.revision;
    body->session = source->session;
    body->key = source->key;
    body->has_aes = seal_has_aes();
    source->poll_ms = step->input->now_ms + RECEIVE_POLL_MS;
    return source_send(step, source->link, &message,
                       text_set(&body->model_id, step->transferer->receive.record.model_id));
}

static enum status ask_manifest(struct transferer_step *step, struct receive_source *source)
{
    struct receive *receive = &step->transferer->receive;
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_MANIFEST_ASKED);
    if (status != STATUS_OK)
        return status;
    struct manifest_asked *body = message.body;
    body->revision = receive->record.revision;
    body->offset = receive->manifest_bytes.size;
    receive->manifest_link = source->link;
    source->deadline_ms = step->input->now_ms + RECEIVE_ANSWER_MS;
    return source_send(step, source->link, &message,
                       text_set(&body->model_id, receive->record.model_id));
}

static enum status ask_chunk(struct transferer_step *step, struct receive_source *source,
                             uint32_t chunk)
{
    chunk_add(step->transferer->receive.asked, chunk);
    if (source->window_count == 0)
        source->deadline_ms = step->input->now_ms + RECEIVE_CHUNK_MS;
    source->window[source->window_count++] = chunk;
    return source_ask_chunk(step, source->link, &source->session, chunk);
}

static void count_available(struct receive *receive)
{
    memset(receive->available, 0, receive->chunk_count);
    for (size_t i = 0; i < RECEIVE_SOURCES_MAX; i++) {
        const struct receive_source *source = &receive->sources[i];
        if (source->phase != SOURCE_OPEN)
            continue;
        for (uint32_t k = 0; k < receive->chunk_count; k++)
            receive->available[k] =
                (uint8_t)(receive->available[k] +
                          (source->is_whole || (source->held && chunk_has(source->held, k))));
    }
}

static uint32_t choose(const struct transferer *transferer, const struct receive_source *source)
{
    const struct receive *receive = &transferer->receive;
    const struct chunk_question question = {
        .count = receive->chunk_count,
        .start = source_first_chunk(transferer, receive->chunk_count),
        .have = receive->have,
        .asked = receive->asked,
        .held = source->is_whole ? NULL : source->held,
        .available = receive->available};
    return source->is_whole || source->held ? chunk_choose(&question) : CHUNK_NONE;
}

/* One credit for each source in turn, so that none takes what another could send as soon. */
static enum status ask_chunks(struct transferer_step *step)
{
    struct receive *receive = &step->transferer->receive;
    bool is_more = true;
    for (uint32_t turn = 0; turn < RECEIVE_WINDOW && is_more; turn++) {
        is_more = false;
        for (size_t i = 0; i < RECEIVE_SOURCES_MAX; i++) {
            struct receive_source *source = &receive->sources[i];
            if (source->phase != SOURCE_OPEN || !source->is_joined ||
                source->window_count == RECEIVE_WINDOW)
                continue;
            const uint32_t chunk = choose(step->transferer, source);
            if (chunk == CHUNK_NONE)
                continue;
            enum status status = ask_chunk(step, source, chunk);
            if (status != STATUS_OK)
                return status;
            is_more = true;
        }
    }
    return STATUS_OK;
}

enum status sources_fill(struct transferer_step *step)
{
    struct receive *receive = &step->transferer->receive;
    connect_more(step);
    if (receive->phase == RECEIVE_RUNNING && receive->chunk_count > 0)
        return ask_chunks(step);
    for (size_t i = 0; i < RECEIVE_SOURCES_MAX; i++)
        if (receive->phase == RECEIVE_ASKING && receive->manifest_link == 0 &&
            receive->sources[i].phase == SOURCE_OPEN)
            return ask_manifest(step, &receive->sources[i]);
    return STATUS_OK;
}

/* ---- what they say ---- */

static enum status join_stream(struct transferer_step *step, struct receive_source *source,
                               const struct source_told *told)
{
    struct stream_request *request = memory_zeroed(1, sizeof(*request));
    if (!request)
        return STATUS_NO_MEMORY;
    request->link = source->link;
    request->session = source->session;
    request->key = source->key;
    request->is_aes = told->is_aes;
    /* Its port, at the host the state knows: nobody sends us elsewhere. */
    transferer_address(text_or_empty(told->address), source->host, request->address);
    source->is_joined = true;
    outbox_effect(step->outbox, step->transferer->receive.number, BULK_JOIN, request,
                  stream_request_free);
    return STATUS_OK;
}

static enum status take_told(struct transferer_step *step, struct receive_source *source,
                             const struct source_told *told)
{
    struct receive *receive = &step->transferer->receive;
    char what[200];
    if (told->status != STATUS_OK) {
        (void)snprintf(what, sizeof(what), "sends nothing: %s",
                       status_text((enum status)told->status));
        return source_failed(step, source, false, what);
    }
    const bool is_running = receive->phase == RECEIVE_RUNNING;
    if (is_running && !told->is_whole && told->held.count != receive->chunk_count / 8 + 1)
        return source_failed(step, source, true, "has another number of chunks");
    source->phase = SOURCE_OPEN;
    source->is_whole = told->is_whole;
    if (is_running && !told->is_whole) {
        if (!source->held)
            source->held = memory_zeroed(told->held.count, 1);
        if (!source->held)
            return STATUS_NO_MEMORY;
        memcpy(source->held, told->held.items, told->held.count);
    }
    if (is_running && !source->is_joined) {
        enum status status = join_stream(step, source, told);
        if (status != STATUS_OK)
            return status;
    }
    if (is_running)
        count_available(receive);
    return sources_fill(step);
}

static enum status take_manifest(struct transferer_step *step, struct receive_source *source,
                                 const struct manifest_part *part)
{
    struct receive *receive = &step->transferer->receive;
    if (receive->phase != RECEIVE_ASKING || receive->manifest_link != source->link)
        return STATUS_OK;
    const bool is_first = receive->manifest_bytes.size == 0;
    if (part->status != STATUS_OK || part->part.count == 0 ||
        part->offset != receive->manifest_bytes.size || part->total > CHUNK_MANIFEST_SIZE_MAX ||
        part->part.count > part->total - part->offset ||
        (!is_first && part->total != receive->manifest_total)) {
        receive->manifest_bytes.size = 0;
        return source_failed(step, source, part->status == STATUS_OK,
                             "sent no part of the manifest");
    }
    receive->manifest_total = part->total;
    if (buffer_append(&receive->manifest_bytes, part->part.items, part->part.count) != STATUS_OK)
        return STATUS_NO_MEMORY;
    if (receive->manifest_bytes.size < receive->manifest_total)
        return ask_manifest(step, source);
    struct chunk_manifest manifest;
    struct reason reason = {""};
    enum status status =
        chunk_manifest_decode(receive->manifest_bytes.bytes, receive->manifest_bytes.size,
                              &receive->record, &manifest, &reason);
    if (status != STATUS_OK) {
        receive->manifest_bytes.size = 0;
        status = source_failed(step, source, true, "sent a manifest that is not the model's");
        return status == STATUS_OK ? sources_fill(step) : status;
    }
    record_fini(&chunk_manifest_type, &manifest);
    receive->manifest_link = 0;
    return receive_open(step);
}

static bool credit_return(struct receive *receive, struct receive_source *source, uint32_t chunk)
{
    return source_credit_return(source->window, &source->window_count, receive->asked, chunk);
}

static enum status take_refused(struct transferer_step *step, struct receive_source *source,
                                const struct chunk_refused *refused)
{
    struct receive *receive = &step->transferer->receive;
    if (receive->phase != RECEIVE_RUNNING || !credit_return(receive, source, refused->chunk))
        return STATUS_OK;
    enum status status = source_failed(step, source, false, "cannot read its chunks any more");
    return status == STATUS_OK ? sources_fill(step) : status;
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

enum status sources_chunk(struct transferer_step *step, const struct chunk_told *told)
{
    struct receive *receive = &step->transferer->receive;
    const struct result *result = step->input->result;
    struct receive_source *source = source_of_link(receive, told->link);
    const bool is_chunk = told->chunk != CHUNK_NONE;
    const bool is_wrong =
        result->status == STATUS_HASH_MISMATCH || result->status == STATUS_MALFORMED;
    enum status status = STATUS_OK;
    if (receive->phase != RECEIVE_RUNNING)
        return STATUS_OK;
    if (is_chunk && result->status != STATUS_OK && !is_wrong)
        return receive_end(step, result->status, result->reason.text);
    if (is_chunk && result->status == STATUS_OK && told->chunk < receive->chunk_count) {
        note_stored(receive, told, step->input->now_ms);
        if (source)
            rest_of(receive, &source->node_id)->bytes += told->bytes;
    }
    if (!source) {
        status = STATUS_OK;
    } else if (!is_chunk) {
        status = source_failed(step, source, is_wrong, result->reason.text);
    } else if (!credit_return(receive, source, told->chunk)) {
        status = source_failed(step, source, true, "sent a chunk nobody asked for");
    } else if (result->status != STATUS_OK) {
        status = source_failed(step, source, true, "sent a wrong chunk");
    } else {
        source->deadline_ms = step->input->now_ms + RECEIVE_CHUNK_MS;
        rest_of(receive, &source->node_id)->failures = 0;
    }
    return status == STATUS_OK ? receive_go_on(step) : status;
}

enum status receive_input(struct transferer_step *step)
{
    const struct input *input = step->input;
    struct receive *receive = &step->transferer->receive;
    struct receive_source *source = source_of_link(receive, input->peer.link);
    enum status status = STATUS_OK;
    if (!source)
        return STATUS_OK;
    if (input->kind == INPUT_LINK_UP && source->phase == SOURCE_CONNECTING) {
        source->phase = SOURCE_ASKED;
        source->deadline_ms = input->now_ms + RECEIVE_ANSWER_MS;
        return ask_source(step, source);
    }
    if (input->kind == INPUT_MESSAGE && message_is(input->message, MESSAGE_LINK, LINK_SOURCE_TOLD))
        return take_told(step, source, input->message->body);
    if (input->kind == INPUT_MESSAGE &&
        message_is(input->message, MESSAGE_LINK, LINK_MANIFEST_PART))
        return take_manifest(step, source, input->message->body);
    if (input->kind == INPUT_MESSAGE &&
        message_is(input->message, MESSAGE_LINK, LINK_CHUNK_REFUSED))
        return take_refused(step, source, input->message->body);
    if (input->kind == INPUT_LINK_REFUSED)
        status = source_failed(step, source, false, input->reason);
    else if (input->kind == INPUT_LINK_DOWN)
        status = source_failed(step, source, false, "went away");
    else if (input->kind == INPUT_SEND_FAILED)
        status = source_failed(step, source, false, "cannot be sent to");
    else if (input->kind == INPUT_MESSAGE)
        status = source_failed(step, source, true, "sent something nobody asked for");
    return status == STATUS_OK ? sources_fill(step) : status;
}

/* ---- time ---- */

static bool is_late(const struct receive *receive, const struct receive_source *source,
                    uint64_t now_ms)
{
    const bool is_waited_for = source->phase != SOURCE_OPEN || source->window_count > 0 ||
                               receive->manifest_link == source->link;
    return is_waited_for && now_ms >= source->deadline_ms;
}

enum status sources_time(struct transferer_step *step)
{
    struct receive *receive = &step->transferer->receive;
    const uint64_t now_ms = step->input->now_ms;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < RECEIVE_SOURCES_MAX && status == STATUS_OK; i++) {
        struct receive_source *source = &receive->sources[i];
        if (source->phase == SOURCE_NONE)
            continue;
        if (is_late(receive, source, now_ms)) {
            const bool is_new = source->phase == SOURCE_CONNECTING;
            if (receive->manifest_link == source->link)
                receive->manifest_bytes.size = 0;
            status = source_failed(step, source, false,
                                   is_new ? "cannot be reached" : "fell silent");
            continue;
        }
        const bool is_polled = receive->phase == RECEIVE_RUNNING && source->phase == SOURCE_OPEN &&
                               (!source->is_whole || !source->is_joined);
        if (is_polled && now_ms >= source->poll_ms)
            status = ask_source(step, source);
        outbox_wake(step->outbox, is_polled && source->poll_ms < source->deadline_ms
                                      ? source->poll_ms
                                      : source->deadline_ms);
    }
    return status == STATUS_OK ? sources_fill(step) : status;
}
