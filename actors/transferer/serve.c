/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve: the parts other transferers ask for, from the manifest of the state and nothing else; and
 * the pieces of files that gateways ask for, who pass them on to their clients.
 */
#include "actors/transferer/transferer.h"

#include "protocol/memory.h"

#include <string.h>

void serve_allow(struct transferer_step *step)
{
    struct transferer *transferer = step->transferer;
    const struct state *state = &transferer->session.mirror.state;
    static const enum actor_kind kinds[] = {ACTOR_TRANSFERER, ACTOR_GATEWAY};
    struct public_key keys[SERVE_KEYS_MAX];
    uint32_t count = 0;
    uint32_t transferers = 0;
    if (!transferer->session.mirror.has_state)
        return;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        for (uint32_t i = 0; i < state->nodes.count && i < NODE_COUNT_MAX; i++) {
            const struct endpoint_record *endpoint =
                state_find_endpoint(state, &state->nodes.items[i].node_id, kinds[k]);
            if (endpoint && !ID_IS_ZERO(endpoint->key))
                keys[count++] = endpoint->key;
        }
        transferers = kinds[k] == ACTOR_TRANSFERER ? count : transferers;
    }
    transferer->allowed_transferers = transferers;
    if (transferer->has_allowed && count == transferer->allowed_count &&
        memcmp(keys, transferer->allowed, count * sizeof(keys[0])) == 0)
        return;
    memcpy(transferer->allowed, keys, count * sizeof(keys[0]));
    transferer->allowed_count = count;
    transferer->has_allowed = true;
    outbox_link_allow(step->outbox, SERVE_LINK, keys, count);
}

/* Gateways of admitted nodes read what they check themselves: the manifest, whose digest stands in
 * the state, and pieces of files by its chunks.  Streams, keys, downloads and small files are
 * between transferers. */
bool serve_may_ask(const struct transferer *transferer, const struct peer *peer,
                   const struct message *message)
{
    for (uint32_t i = 0; i < transferer->allowed_transferers; i++)
        if (ID_EQUAL(transferer->allowed[i], peer->key))
            return true;
    return message_is(message, MESSAGE_LINK, LINK_MANIFEST_ASKED) ||
           (message_is(message, MESSAGE_LINK, LINK_FILE_ASKED) &&
            MESSAGE_BODY(message, file_asked)->size > 0);
}

enum status serve_refuse(struct transferer_step *step)
{
    const uint64_t refused = ++step->transferer->refused;
    if ((refused & (refused - 1)) == 0) /* each time it doubled: nobody fills the log */
        outbox_effect(step->outbox, refused, TRANSFERER_REFUSED, NULL, NULL);
    outbox_peer_drop(step->outbox, &step->input->peer);
    return STATUS_OK;
}

static enum status send_part(struct transferer_step *step, const struct peer *peer,
                             const struct file_part *part)
{
    struct message message;
    enum status status = message_init(&message, MESSAGE_LINK, LINK_FILE_PART);
    if (status != STATUS_OK)
        return status;
    record_fini(&file_part_type, message.body);
    status = record_copy(&file_part_type, part, message.body);
    if (status == STATUS_OK)
        outbox_send(step->outbox, peer, &message);
    message_fini(&message);
    return status;
}

static enum status send_refusal(struct transferer_step *step, const struct file_asked *asked,
                                enum status how)
{
    /* The texts are the question's; send_part copies them. */
    const struct file_part part = {.model_id = asked->model_id, .revision = asked->revision,
                                   .name = asked->name, .offset = asked->offset, .status = how};
    return send_part(step, &step->input->peer, &part);
}

static bool is_within(const struct file_asked *asked, const struct file_entry *file)
{
    if (asked->size == 0)
        return model_file_is_small(file) && asked->offset <= file->size;
    return asked->size <= CHUNK_SIZE && asked->offset <= file->size &&
           asked->size <= file->size - asked->offset;
}

/* OK when the state says that this is of a file of that revision. */
static enum status judge(const struct transferer *transferer, const struct file_asked *asked)
{
    const struct model_record *model =
        state_find_model(&transferer->session.mirror.state, text_or_empty(asked->model_id));
    if (!model)
        return STATUS_NOT_FOUND;
    if (!ID_EQUAL(model->revision, asked->revision))
        return STATUS_STALE;
    for (uint32_t i = 0; i < model->files.count; i++) {
        const struct file_entry *file = &model->files.items[i];
        if (strcmp(text_or_empty(file->name), text_or_empty(asked->name)) == 0)
            return is_within(asked, file) ? STATUS_OK : STATUS_REFUSED;
    }
    return STATUS_REFUSED;
}

enum status serve_asked(struct transferer_step *step)
{
    struct transferer *transferer = step->transferer;
    if (!message_is(step->input->message, MESSAGE_LINK, LINK_FILE_ASKED)) {
        outbox_peer_drop(step->outbox, &step->input->peer);
        return STATUS_OK;
    }
    const struct file_asked *asked = MESSAGE_BODY(step->input->message, file_asked);
    const enum status how = judge(transferer, asked);
    if (how != STATUS_OK)
        return send_refusal(step, asked, how);
    if (transferer->reads == SERVE_READS_MAX ||
        (asked->size > 0 && transferer->pieces == SERVE_PIECES_MAX))
        return send_refusal(step, asked, STATUS_BUSY);
    struct read_request *request = memory_zeroed(1, sizeof(*request));
    if (!request)
        return STATUS_NO_MEMORY;
    request->peer = step->input->peer;
    if (record_copy(&file_asked_type, asked, &request->asked) != STATUS_OK) {
        memory_free(request);
        return STATUS_NO_MEMORY;
    }
    transferer->reads++;
    transferer->pieces += asked->size > 0;
    outbox_effect(step->outbox, 0, TRANSFERER_READ, request, read_request_free);
    return STATUS_OK;
}

/* In parts, oldest first; the texts and bytes are borrowed, send_part copies them. */
static enum status send_piece(struct transferer_step *step, const struct read_request *read)
{
    enum status status = STATUS_OK;
    for (uint32_t at = 0; at < read->piece_out.count && status == STATUS_OK;) {
        const uint32_t left = read->piece_out.count - at;
        struct file_part part = read->part_out;
        part.offset += at;
        part.part.items = read->piece_out.items + at;
        part.part.count = left < FILE_PART_SIZE ? left : (uint32_t)FILE_PART_SIZE;
        status = send_part(step, &read->peer, &part);
        at += part.part.count;
    }
    return status;
}

enum status serve_read(struct transferer_step *step, struct read_request *read)
{
    struct transferer *transferer = step->transferer;
    transferer->reads--;
    if (!read)
        return STATUS_OK;
    transferer->pieces -= read->asked.size > 0;
    return read->asked.size > 0 && read->part_out.status == STATUS_OK
               ? send_piece(step, read)
               : send_part(step, &read->peer, &read->part_out);
}
