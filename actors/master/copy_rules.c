/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/copy_rules.h"

#include "protocol/hash.h"

#include <string.h>

static bool is_open(const struct transfer_record *transfer)
{
    const enum transfer_phase phase = transfer_phase_of(transfer);
    return phase == TRANSFER_ASKED || phase == TRANSFER_RUNNING;
}

struct transfer_id copy_rules_transfer(const struct state *state, const char *model_id,
                                       const struct instance_id *instance_id,
                                       const struct node_id *node_id)
{
    const struct model_record *model = state_find_model(state, model_id);
    struct node_id target = *node_id;
    const struct bytes wanted = {target.bytes, sizeof(target.bytes)};
    const struct transfer_record *running =
        model ? state_find_transfer_to(state, model_id, &model->revision, &wanted) : NULL;
    struct transfer_id id;
    struct hash_stream stream;
    struct hash hash;
    if (running)
        return running->transfer_id;
    hash_init(&stream);
    hash_update(&stream, instance_id, sizeof(*instance_id));
    hash_update(&stream, node_id, sizeof(*node_id));
    hash_update(&stream, &state->cluster_id, sizeof(state->cluster_id));
    hash_update(&stream, &state->index, sizeof(state->index));
    hash_final(&stream, &hash);
    memcpy(&id, &hash, sizeof(id));
    return id;
}

static bool has_room(const struct state *state)
{
    for (uint32_t i = 0; i < state->transfers.count; i++)
        if (!is_open(&state->transfers.items[i]))
            return true;
    return state->transfers.count < TRANSFER_COUNT_MAX;
}

static enum copy_step judge_end(const struct state *state, const struct transfer_target *target,
                                const struct node_id *node_id, bool *is_hopeless_out,
                                struct reason *reason)
{
    const bool is_stopped = !target || target->phase == TRANSFER_STOPPED;
    *is_hopeless_out = is_stopped || target->status == STATUS_NO_SPACE;
    if (is_stopped)
        (void)refuse(reason, STATUS_CANCELLED, "the copy of the model to %.60s was cancelled",
                     state_node_name(state, node_id));
    else
        (void)refuse(reason, target->status, "the model could not be copied to %.60s: %.300s",
                     state_node_name(state, node_id), text_or_empty(target->reason));
    return COPY_FAILED;
}

enum copy_step copy_rules_next(const struct state *state, const struct instance_record *instance,
                               bool *is_hopeless_out, struct reason *reason)
{
    const struct model_record *model =
        state_find_model(state, text_or_empty(instance->model_id));
    const struct transfer_record *transfer = state_find_transfer(state, &instance->transfer_id);
    *is_hopeless_out = false;
    if (instance->ranks.count == 0 || !model)
        return COPY_IS_THERE; /* to be placed again, which says why it cannot be */
    const struct node_id *node_id = &instance->ranks.items[0].node_id;
    const struct holder_record *holder = model_find_holder(model, node_id);
    if (holder && holder->has_weights)
        return COPY_IS_THERE;
    if (!transfer && has_room(state))
        return COPY_BEGINS;
    if (!transfer) {
        (void)refuse(reason, STATUS_BUSY, "too many transfers run; cancel one first");
        return COPY_FAILED;
    }
    const struct transfer_target *target = transfer_find_target(transfer, node_id);
    if (target && target->phase == TRANSFER_DONE)
        return COPY_IS_THERE;
    return target && transfer_target_is_open(target)
               ? COPY_WAITS
               : judge_end(state, target, node_id, is_hopeless_out, reason);
}

enum status copy_rules_request(const struct state *state, const struct instance_record *instance,
                               struct message *event_out)
{
    const struct model_record *model =
        state_find_model(state, text_or_empty(instance->model_id));
    ASSERT(model != NULL && instance->ranks.count > 0);
    enum status status = message_init(event_out, MESSAGE_EVENT, EVENT_TRANSFER_REQUESTED);
    if (status != STATUS_OK)
        return status;
    struct transfer_record *transfer = &MESSAGE_BODY(event_out, transfer_requested)->transfer;
    const struct transfer_target target = {.node_id = instance->ranks.items[0].node_id,
                                           .phase = TRANSFER_ASKED};
    transfer->transfer_id = instance->transfer_id;
    transfer->revision = model->revision;
    transfer->is_for_placement = true;
    if (!text_set(&transfer->model_id, model->model_id) ||
        !record_list_push(&transfer_target_type, RECORD_LIST(transfer->targets), &target,
                          NODE_COUNT_MAX)) {
        message_fini(event_out);
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

static bool is_waited_for(const struct state *state, const struct transfer_record *transfer)
{
    for (uint32_t i = 0; i < state->instances.count; i++) {
        const struct instance_record *instance = &state->instances.items[i];
        if (instance->status == INSTANCE_COPYING &&
            ID_EQUAL(instance->transfer_id, transfer->transfer_id))
            return true;
    }
    return false;
}

const struct transfer_record *copy_rules_unwanted(const struct state *state)
{
    for (uint32_t i = 0; i < state->transfers.count; i++) {
        const struct transfer_record *transfer = &state->transfers.items[i];
        if (transfer->is_for_placement && is_open(transfer) && !is_waited_for(state, transfer))
            return transfer;
    }
    return NULL;
}
