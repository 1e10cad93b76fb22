/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lend: what other transferers take of our models: the manifest, and chunks by credits.
 */
#include "actors/transferer/transferer.h"

#include "protocol/holdings.h"
#include "protocol/memory.h"

#include <stdio.h>
#include <string.h>

void manifest_request_free(void *value)
{
    struct manifest_request *request = value;
    if (!request)
        return;
    record_fini(&manifest_asked_type, &request->asked);
    record_fini(&model_record_type, &request->record);
    record_fini(&manifest_part_type, &request->part_out);
    memory_free(request);
}

static const struct model_record *known_model(const struct transferer *transferer,
                                              const char *model_id, const struct hash *revision)
{
    const struct model_record *model =
        state_find_model(&transferer->session.mirror.state, text_or_empty(model_id));
    return model && ID_EQUAL(model->revision, *revision) ? model : NULL;
}

static bool is_whole(const struct transferer *transferer, const struct model_record *model)
{
    const struct holder_record *holder =
        model_find_holder(model, &transferer->session.mirror.node_id);
    return holder && holder->has_weights;
}

/* Where the model is on its way to us, and chunks of it are here; NULL: nowhere. */
static const struct receive *part_of(const struct transferer *transferer,
                                     const struct model_record *model)
{
    for (size_t i = 0; i < RECEIVES_MAX; i++) {
        const struct receive *receive = &transferer->receives[i];
        if ((receive->phase == RECEIVE_RUNNING || receive->phase == RECEIVE_PLACING) &&
            ID_EQUAL(receive->record.revision, model->revision) &&
            strcmp(text_or_empty(receive->record.model_id), text_or_empty(model->model_id)) == 0)
            return receive;
    }
    return NULL;
}

/* Some weights lie here as they were verified, though not all. */
static const struct holder_record *partial_holder(const struct transferer *transferer,
                                                  const struct model_record *model)
{
    const struct holder_record *holder =
        model_find_holder(model, &transferer->session.mirror.node_id);
    return holder && !holder->has_weights && holder->held.count > 0 ? holder : NULL;
}

static bool has_any(const struct transferer *transferer, const struct model_record *model)
{
    return is_whole(transferer, model) || part_of(transferer, model) ||
           partial_holder(transferer, model);
}

static uint32_t chunks_of(const struct model_record *model)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < model->files.count; i++)
        count += chunks_of_size(model->files.items[i].size);
    return count < CHUNK_COUNT_MAX ? (uint32_t)count : CHUNK_COUNT_MAX;
}

/* The state says so, and so did the disk when it was looked at for that receiver. */
static bool lends_file(const struct transferer *transferer, const struct lent *lent,
                       const struct model_record *model, uint32_t file)
{
    const struct holder_record *holder =
        model_find_holder(model, &transferer->session.mirror.node_id);
    return holder_has_file(holder, file) &&
           (!lent->look.is_made ||
            file_set_has(lent->look.held, sizeof(lent->look.held), file));
}

/* The state says that more is here than is. */
static bool is_lost(const struct transferer *transferer, const struct lent *lent,
                    const struct model_record *model)
{
    const struct holder_record *holder =
        model_find_holder(model, &transferer->session.mirror.node_id);
    bool is_any = holder && lent->look.is_made && !lent->look.has_small_files;
    for (uint32_t i = 0; i < model->files.count && !is_any; i++)
        is_any = model->files.items[i].is_weight && holder_has_file(holder, i) &&
                 !lends_file(transferer, lent, model, i);
    return is_any;
}

static bool lends_all(const struct transferer *transferer, const struct lent *lent,
                      const struct model_record *model)
{
    return is_whole(transferer, model) && !is_lost(transferer, lent, model);
}

/* What was received and what was there before, as a set of chunks; false without memory. */
static bool fill_held(const struct transferer *transferer, const struct lent *lent,
                      const struct model_record *model, struct bytes *held_out)
{
    const struct receive *part = part_of(transferer, model);
    const uint32_t count = part ? part->sources.chunk_count : chunks_of(model);
    uint32_t chunk = 0;
    uint8_t *set = memory_zeroed(count / 8 + 1, 1);
    if (!set)
        return false;
    if (part)
        memcpy(set, part->have, count / 8 + 1);
    for (uint32_t i = 0; i < model->files.count; i++) {
        const uint64_t chunks = chunks_of_size(model->files.items[i].size);
        for (uint64_t k = 0; k < chunks && chunk < count; k++, chunk++)
            if (lends_file(transferer, lent, model, i))
                chunk_add(set, chunk);
    }
    memory_free(held_out->items);
    *held_out = (struct bytes){set, count / 8 + 1};
    return true;
}

static bool lends_chunk(const struct transferer *transferer, const struct lent *lent,
                        const struct model_record *model, uint32_t chunk)
{
    uint64_t first = 0;
    for (uint32_t i = 0; i < model->files.count && first <= chunk; i++) {
        const uint64_t end = first + chunks_of_size(model->files.items[i].size);
        if (chunk < end)
            return lends_file(transferer, lent, model, i);
        first = end;
    }
    return false;
}

static struct lent *find(struct transferer *transferer, const struct peer *peer,
                         const struct request_id *session)
{
    for (size_t i = 0; i < LENDS_MAX; i++) {
        struct lent *lent = &transferer->lents[i];
        if (lent->is_used && ID_EQUAL(lent->session, *session) &&
            (!peer || peer_equal(&lent->peer, peer)))
            return lent;
    }
    return NULL;
}

/* ---- answers ---- */

static enum status tell(struct transferer_step *step, const struct peer *peer,
                        const struct request_id *session, enum status how,
                        const struct lent *lent, bool is_aes)
{
    const struct transferer *transferer = step->transferer;
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_SOURCE_TOLD);
    if (status != STATUS_OK)
        return status;
    struct source_told *body = message.body;
    const struct model_record *model =
        lent ? known_model(transferer, lent->model_id, &lent->revision) : NULL;
    body->session = *session;
    body->status = how == STATUS_OK && !model ? STATUS_STALE : how;
    body->is_aes = is_aes;
    if (model && is_lost(transferer, lent, model) &&
        !text_set(&body->reason, lent->look.reason.text))
        status = STATUS_NO_MEMORY;
    if (status == STATUS_OK && body->status == STATUS_OK) {
        body->is_whole = lends_all(transferer, lent, model);
        if ((!body->is_whole && has_any(transferer, model) &&
             !fill_held(transferer, lent, model, &body->held)) ||
            !text_set(&body->address, transferer->bulk_address))
            status = STATUS_NO_MEMORY;
    }
    if (status == STATUS_OK)
        outbox_send(step->outbox, peer, &message);
    message_fini(&message);
    return status;
}

static enum status refuse_chunk(struct transferer_step *step, const struct peer *peer,
                                const struct request_id *session, uint32_t chunk, enum status how,
                                const char *reason)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_CHUNK_REFUSED);
    if (status != STATUS_OK)
        return status;
    struct chunk_refused *body = message.body;
    body->session = *session;
    body->chunk = chunk;
    body->status = how;
    if (text_set(&body->reason, reason))
        outbox_send(step->outbox, peer, &message);
    else
        status = STATUS_NO_MEMORY;
    message_fini(&message);
    return status;
}

/* ---- questions ---- */

/* For a new stream; NULL: too many, its session was used before, or no bytes can leave yet. */
static struct lent *unused(struct transferer *transferer, const struct request_id *session)
{
    if (find(transferer, NULL, session) || !transferer->bulk_address[0])
        return NULL;
    for (size_t i = 0; i < LENDS_MAX; i++)
        if (!transferer->lents[i].is_used)
            return &transferer->lents[i];
    return NULL;
}

static enum status begin_lend(struct transferer_step *step, const struct source_asked *asked,
                              const struct model_record *model)
{
    struct transferer *transferer = step->transferer;
    struct lent *lent = unused(transferer, &asked->session);
    if (!lent)
        return tell(step, &step->input->peer, &asked->session, STATUS_BUSY, NULL, false);
    struct stream_request *request = memory_zeroed(1, sizeof(*request));
    if (!request || record_copy(&model_record_type, model, &request->record) != STATUS_OK) {
        memory_free(request);
        return STATUS_NO_MEMORY;
    }
    request->session = asked->session;
    request->key = asked->key;
    request->revision = asked->revision;
    request->is_aes = asked->has_aes && seal_has_aes();
    request->doubted = asked->doubted;
    (void)snprintf(request->model_id, sizeof(request->model_id), "%s",
                   text_or_empty(asked->model_id));
    *lent = (struct lent){.is_used = true, .peer = step->input->peer, .session = asked->session,
                          .revision = asked->revision};
    memcpy(lent->model_id, request->model_id, sizeof(lent->model_id));
    outbox_effect(step->outbox, 0, BULK_LEND, request, stream_request_free);
    return STATUS_OK;
}

/* ---- of downloads ---- */

static const struct download_record *known_download(const struct transferer *transferer,
                                                    const char *model_id, const char *commit)
{
    const struct download_record *download =
        state_find_download(&transferer->session.mirror.state, text_or_empty(model_id));
    return download && text_or_empty(commit)[0] &&
                   strcmp(text_or_empty(download->commit), commit) == 0
               ? download
               : NULL;
}

static enum status tell_shared(struct transferer_step *step, const struct lent *lent,
                               enum status how, const struct bytes *held, bool is_aes)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_SOURCE_TOLD);
    if (status != STATUS_OK)
        return status;
    struct source_told *body = message.body;
    body->session = lent->session;
    body->status = how;
    body->is_aes = is_aes;
    if (how == STATUS_OK && (!bytes_set(&body->held, held->items, held->count) ||
                             !text_set(&body->address, step->transferer->bulk_address)))
        status = STATUS_NO_MEMORY;
    if (status == STATUS_OK)
        outbox_send(step->outbox, &lent->peer, &message);
    message_fini(&message);
    return status;
}

static enum status look_again(struct transferer_step *step, struct lent *lent, bool is_strict)
{
    struct share_look *look = memory_zeroed(1, sizeof(*look));
    if (!look)
        return STATUS_NO_MEMORY;
    look->session = lent->session;
    look->is_strict = is_strict;
    lent->is_looking = true;
    outbox_effect(step->outbox, 0, BULK_SHARE_LOOK, look, share_look_free);
    return STATUS_OK;
}

static enum status share_looked(struct transferer_step *step, const struct share_look *look)
{
    const enum status how = step->input->result->status;
    struct lent *lent = look ? find(step->transferer, NULL, &look->session) : NULL;
    if (!lent)
        return STATUS_OK;
    lent->is_looking = false;
    return tell_shared(step, lent, how, &look->held_out, seal_has_aes());
}

static enum status begin_share(struct transferer_step *step, const struct share_asked *asked,
                               const struct download_record *download)
{
    struct transferer *transferer = step->transferer;
    struct lent *lent = unused(transferer, &asked->session);
    if (!lent)
        return tell(step, &step->input->peer, &asked->session, STATUS_BUSY, NULL, false);
    struct stream_request *request = memory_zeroed(1, sizeof(*request));
    if (!request ||
        record_copy(&download_record_type, download, &request->download) != STATUS_OK) {
        memory_free(request);
        return STATUS_NO_MEMORY;
    }
    request->session = asked->session;
    request->key = asked->key;
    request->is_aes = asked->has_aes && seal_has_aes();
    request->is_shared = true;
    request->is_strict = asked->is_strict;
    *lent = (struct lent){.is_used = true, .is_shared = true, .peer = step->input->peer,
                          .session = asked->session};
    (void)snprintf(lent->model_id, sizeof(lent->model_id), "%s", text_or_empty(asked->model_id));
    (void)snprintf(lent->commit, sizeof(lent->commit), "%s", text_or_empty(asked->commit));
    outbox_effect(step->outbox, 0, BULK_LEND, request, stream_request_free);
    return STATUS_OK;
}

static enum status take_share_asked(struct transferer_step *step, const struct share_asked *asked)
{
    struct transferer *transferer = step->transferer;
    struct lent *known = find(transferer, &step->input->peer, &asked->session);
    const struct download_record *download =
        known_download(transferer, asked->model_id, asked->commit);
    if (known && (!known->is_ready || known->is_looking))
        return STATUS_OK; /* answered when it is known */
    if (!download || (known && !known->is_shared))
        return tell(step, &step->input->peer, &asked->session, STATUS_NOT_FOUND, NULL, false);
    return known ? look_again(step, known, asked->is_strict)
                 : begin_share(step, asked, download);
}

static enum status take_source_asked(struct transferer_step *step,
                                     const struct source_asked *asked)
{
    struct transferer *transferer = step->transferer;
    const struct lent *known = find(transferer, &step->input->peer, &asked->session);
    const struct model_record *model =
        known_model(transferer, asked->model_id, &asked->revision);
    if (known && !known->is_ready)
        return STATUS_OK; /* answered when it is */
    if (known)
        return tell(step, &step->input->peer, &asked->session, STATUS_OK, known,
                    asked->has_aes && seal_has_aes());
    if (!model || !has_any(transferer, model))
        return tell(step, &step->input->peer, &asked->session, STATUS_NOT_FOUND, NULL, false);
    return begin_lend(step, asked, model);
}

static bool can_send(const struct transferer *transferer, const struct lent *lent, uint32_t chunk)
{
    if (lent->is_shared)
        return known_download(transferer, lent->model_id, lent->commit) != NULL;
    const struct model_record *model =
        known_model(transferer, lent->model_id, &lent->revision);
    if (!model)
        return false;
    if (lends_all(transferer, lent, model))
        return true; /* whether there is such a chunk is seen where the manifest is */
    const struct receive *part = part_of(transferer, model);
    return (part && chunk < part->sources.chunk_count && chunk_has(part->have, chunk)) ||
           lends_chunk(transferer, lent, model, chunk);
}

static enum status take_chunk_asked(struct transferer_step *step, const struct chunk_asked *asked)
{
    struct lent *lent = find(step->transferer, &step->input->peer, &asked->session);
    if (!lent || !lent->is_ready || lent->asked >= LEND_WINDOW_MAX ||
        !can_send(step->transferer, lent, asked->chunk))
        return refuse_chunk(step, &step->input->peer, &asked->session, asked->chunk,
                            lent && lent->asked >= LEND_WINDOW_MAX ? STATUS_BUSY
                                                                   : STATUS_NOT_FOUND,
                            "");
    struct chunk_request *request = memory_zeroed(1, sizeof(*request));
    if (!request)
        return STATUS_NO_MEMORY;
    *request = (struct chunk_request){asked->session, asked->chunk};
    lent->asked++;
    outbox_effect(step->outbox, 0, BULK_SEND, request, memory_free);
    return STATUS_OK;
}

static enum status end_lend(struct transferer_step *step, struct lent *lent)
{
    struct chunk_request *request = memory_zeroed(1, sizeof(*request));
    if (!request)
        return STATUS_NO_MEMORY;
    request->session = lent->session;
    *lent = (struct lent){.is_used = false};
    outbox_effect(step->outbox, 0, BULK_LEAVE_LENT, request, memory_free);
    return STATUS_OK;
}

static enum status take_manifest_asked(struct transferer_step *step,
                                       const struct manifest_asked *asked)
{
    struct transferer *transferer = step->transferer;
    const struct model_record *model =
        known_model(transferer, asked->model_id, &asked->revision);
    struct manifest_request *request = memory_zeroed(1, sizeof(*request));
    if (!request)
        return STATUS_NO_MEMORY;
    request->peer = step->input->peer;
    enum status status = record_copy(&manifest_asked_type, asked, &request->asked);
    if (status == STATUS_OK && model)
        status = record_copy(&model_record_type, model, &request->record);
    if (status != STATUS_OK) {
        manifest_request_free(request);
        return status;
    }
    if (transferer->reads == SERVE_READS_MAX) {
        manifest_request_free(request);
        return STATUS_OK; /* asked again after a while */
    }
    transferer->reads++;
    outbox_effect(step->outbox, 0, TRANSFERER_MANIFEST, request, manifest_request_free);
    return STATUS_OK;
}

enum status lend_input(struct transferer_step *step, bool *is_taken_out)
{
    const struct input *input = step->input;
    struct transferer *transferer = step->transferer;
    *is_taken_out = true;
    if (input->kind == INPUT_LINK_DOWN) {
        enum status status = STATUS_OK;
        for (size_t i = 0; i < LENDS_MAX && status == STATUS_OK; i++)
            if (transferer->lents[i].is_used &&
                peer_equal(&transferer->lents[i].peer, &input->peer))
                status = end_lend(step, &transferer->lents[i]);
        return status;
    }
    if (input->kind == INPUT_MESSAGE && input->message->head.kind == MESSAGE_LINK) {
        const struct message *message = input->message;
        if (message->head.code == LINK_SOURCE_ASKED)
            return take_source_asked(step, message->body);
        if (message->head.code == LINK_SHARE_ASKED)
            return take_share_asked(step, message->body);
        if (message->head.code == LINK_CHUNK_ASKED)
            return take_chunk_asked(step, message->body);
        if (message->head.code == LINK_MANIFEST_ASKED)
            return take_manifest_asked(step, message->body);
        if (message->head.code == LINK_SOURCE_LEFT) {
            struct lent *lent = find(transferer, &input->peer,
                                     &MESSAGE_BODY(message, source_left)->session);
            return lent ? end_lend(step, lent) : STATUS_OK;
        }
    }
    *is_taken_out = false;
    return STATUS_OK;
}

/* The state was corrected by what the disk has: it is the truth again. */
void lend_state_changed(struct transferer_step *step)
{
    struct transferer *transferer = step->transferer;
    const struct message *event = step->input->message;
    if (step->input->kind != INPUT_MESSAGE ||
        !message_is(event, MESSAGE_EVENT, EVENT_HOLDING_CHANGED))
        return;
    const struct holding_changed *body = event->body;
    for (size_t i = 0; i < LENDS_MAX; i++) {
        struct lent *lent = &transferer->lents[i];
        if (lent->is_used && ID_EQUAL(body->node_id, transferer->session.mirror.node_id) &&
            strcmp(lent->model_id, text_or_empty(body->model_id)) == 0)
            lent->look.is_made = false;
    }
}

/* ---- results ---- */

/* The disk has not what the state says: the state is corrected, and nobody asks us for it again.
 * Whether it was only touched the downloader finds out, and tells. */
static enum status report_lost(struct transferer_step *step, const struct lent *lent,
                               const struct model_record *model)
{
    struct transferer *transferer = step->transferer;
    uint8_t set[FILE_SET_BYTES_MAX];
    struct message message;
    struct holder_record told;
    const struct bytes held = {set, sizeof(set)};
    memcpy(set, lent->look.held, sizeof(set));
    if (!holder_make(model, &transferer->session.mirror.node_id, false, &held, &told))
        return STATUS_NO_MEMORY;
    enum status status = message_init(&message, MESSAGE_REPORT, REPORT_HOLDING_CHANGED);
    if (status == STATUS_OK) {
        struct holding_changed *body = message.body;
        body->node_id = transferer->session.mirror.node_id;
        body->revision = model->revision;
        body->has_small_files = lent->look.has_small_files;
        status = session_report_end(&transferer->session, &message,
                                    text_set(&body->model_id, model->model_id) &&
                                        (told.held.count == 0 ||
                                         bytes_set(&body->held, told.held.items,
                                                   told.held.count)),
                                    step->input->now_ms, step->outbox);
    }
    record_fini(&holder_record_type, &told);
    return status;
}

static enum status take_look(struct transferer_step *step, struct lent *lent,
                             const struct disk_look *look)
{
    const struct transferer *transferer = step->transferer;
    const struct model_record *model = known_model(transferer, lent->model_id, &lent->revision);
    if (!look->is_made || lent->is_shared)
        return STATUS_OK;
    lent->look = *look;
    return model && is_lost(transferer, lent, model) ? report_lost(step, lent, model) : STATUS_OK;
}

static enum status lend_ready(struct transferer_step *step, const struct stream_request *request)
{
    const enum status how = step->input->result->status;
    struct lent *lent = request ? find(step->transferer, NULL, &request->session) : NULL;
    if (!lent)
        return STATUS_OK; /* its receiver left meanwhile */
    lent->is_ready = how == STATUS_OK;
    enum status status = take_look(step, lent, &request->look_out);
    if (status == STATUS_OK)
        status = lent->is_shared ? tell_shared(step, lent, how, &request->held_out, request->is_aes)
                        : tell(step, &lent->peer, &lent->session, how, lent, request->is_aes);
    if (how != STATUS_OK)
        *lent = (struct lent){.is_used = false};
    return status;
}

static enum status chunk_left(struct transferer_step *step, const struct chunk_sent *sent)
{
    const enum status how = step->input->result->status;
    struct lent *lent = sent ? find(step->transferer, NULL, &sent->session) : NULL;
    if (!lent)
        return STATUS_OK;
    lent->asked -= lent->asked > 0;
    if (how == STATUS_OK)
        return STATUS_OK;
    enum status status = take_look(step, lent, &sent->look);
    return status == STATUS_OK ? refuse_chunk(step, &lent->peer, &lent->session, sent->chunk, how,
                                              sent->look.reason.text)
                               : status;
}

static enum status send_manifest(struct transferer_step *step,
                                 const struct manifest_request *request)
{
    struct message message;
    step->transferer->reads--;
    if (!request)
        return STATUS_OK;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_MANIFEST_PART);
    if (status != STATUS_OK)
        return status;
    record_fini(&manifest_part_type, message.body);
    status = record_copy(&manifest_part_type, &request->part_out, message.body);
    if (status == STATUS_OK)
        outbox_send(step->outbox, &request->peer, &message);
    message_fini(&message);
    return status;
}

enum status lend_result(struct transferer_step *step)
{
    const struct result *result = step->input->result;
    struct transferer *transferer = step->transferer;
    if (result->kind == TRANSFERER_MANIFEST)
        return send_manifest(step, result->value);
    if (result->kind == BULK_LEND)
        return lend_ready(step, result->value);
    if (result->kind == BULK_SHARE_LOOK)
        return share_looked(step, result->value);
    if (result->kind == BULK_CHUNK_SENT)
        return chunk_left(step, result->value);
    if (result->kind == BULK_LENDER_BOUND && result->status != STATUS_OK)
        return refuse(step->reason, result->status, "%s", result->reason.text);
    if (result->kind == BULK_LENDER_BOUND)
        transferer_address(result->value, transferer->settings->advertise,
                           transferer->bulk_address);
    return STATUS_OK;
}
