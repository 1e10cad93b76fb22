/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve: the parts other transferers ask for, from the manifest of the state and nothing else.
 */
#include "actors/transferer/transferer.h"

#include "protocol/memory.h"

#include <string.h>

void serve_allow(struct transferer_step *step)
{
    struct transferer *transferer = step->transferer;
    const struct state *state = &transferer->session.mirror.state;
    struct public_key keys[NODE_COUNT_MAX];
    uint32_t count = 0;
    if (!transferer->session.mirror.has_state)
        return;
    for (uint32_t i = 0; i < state->nodes.count && count < NODE_COUNT_MAX; i++) {
        const struct endpoint_record *endpoint =
            state_find_endpoint(state, &state->nodes.items[i].node_id, ACTOR_TRANSFERER);
        if (endpoint && !ID_IS_ZERO(endpoint->key))
            keys[count++] = endpoint->key;
    }
    if (transferer->has_allowed && count == transferer->allowed_count &&
        memcmp(keys, transferer->allowed, count * sizeof(keys[0])) == 0)
        return;
    memcpy(transferer->allowed, keys, count * sizeof(keys[0]));
    transferer->allowed_count = count;
    transferer->has_allowed = true;
    outbox_link_allow(step->outbox, SERVE_LINK, keys, count);
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

/* OK when the state says that this is a small file of that revision. */
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
            return !model_file_is_small(file) || asked->offset > file->size ? STATUS_REFUSED
                                                                            : STATUS_OK;
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
    if (transferer->reads == SERVE_READS_MAX)
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
    outbox_effect(step->outbox, 0, TRANSFERER_READ, request, read_request_free);
    return STATUS_OK;
}

enum status serve_read(struct transferer_step *step, struct read_request *read)
{
    step->transferer->reads--;
    if (!read)
        return STATUS_OK;
    return send_part(step, &read->peer, &read->part_out);
}
