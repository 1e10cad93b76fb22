/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/transfer_rules.h"

#include "protocol/hash.h"
#include "protocol/holdings.h"

#include <string.h>

struct request {
    const struct state *state;
    const struct distribute_model *body;
    const struct model_record *model;
    struct reason *reason;
};

static const char *name_of(const struct node_record *node)
{
    return text_or_empty(node->name);
}

static bool holds_weights(const struct model_record *model, const struct node_id *node_id)
{
    const struct holder_record *holder = model_find_holder(model, node_id);
    return holder && holder->has_weights;
}

static enum status check_model(struct request *request)
{
    const char *name = text_or_empty(request->body->model_id);
    request->model = state_find_model(request->state, name);
    if (!request->model)
        return refuse(request->reason, STATUS_NOT_FOUND,
                      "there is no model %.100s; GET /v1/models or `troupe models` lists them",
                      name);
    if (ID_IS_ZERO(request->model->manifest))
        return refuse(request->reason, STATUS_REFUSED,
                      "%.100s was taken in by an older build and never cut into chunks; take it "
                      "in again with `troupe add`", name);
    return STATUS_OK;
}

/* Somebody must have it, or several together; when a source is named, it must be that one. */
static enum status check_source(const struct request *request)
{
    const struct state *state = request->state;
    const char *name = text_or_empty(request->body->model_id);
    if (!model_is_held(state, request->model, false, NULL))
        return refuse(request->reason, STATUS_NOT_FOUND,
                      "no node holds %.100s of %.100s; take it in with `troupe add`",
                      model_unheld_name(state, request->model, false), name);
    if (!model_is_held(state, request->model, true, NULL))
        return refuse(request->reason, STATUS_NOT_FOUND,
                      "every node that holds %.100s of %.100s is away; start one of them and ask "
                      "again",
                      model_unheld_name(state, request->model, true), name);
    if (ID_IS_ZERO(request->body->source_node_id))
        return STATUS_OK;
    const struct node_record *source = state_find_node(state, &request->body->source_node_id);
    if (!source)
        return refuse(request->reason, STATUS_NOT_FOUND,
                      "the source is no node of this cluster; `troupe nodes` lists them");
    if (!holds_weights(request->model, &source->node_id))
        return refuse(request->reason, STATUS_INVALID,
                      "%.60s does not hold the weights of %.100s; name another source, or none",
                      name_of(source), name);
    return source->in_view ? STATUS_OK
                           : refuse(request->reason, STATUS_REFUSED,
                                    "%.60s is away; name another source, or none",
                                    name_of(source));
}

static enum status add_target(const struct request *request, const struct node_record *node,
                              struct transfer_record *transfer)
{
    const bool is_source = ID_EQUAL(node->node_id, request->body->source_node_id);
    if (is_source || transfer_find_target(transfer, &node->node_id))
        return STATUS_OK;
    const bool is_done = holds_weights(request->model, &node->node_id);
    const struct transfer_target target = {.node_id = node->node_id,
                                           .phase = is_done ? TRANSFER_DONE : TRANSFER_ASKED};
    if (!is_done && !node->in_view)
        return refuse(request->reason, STATUS_REFUSED,
                      "%.60s is away; leave it out, or start it and ask again", name_of(node));
    return record_list_push(&transfer_target_type, RECORD_LIST(transfer->targets), &target,
                            NODE_COUNT_MAX)
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

static enum status add_named(const struct request *request, struct transfer_record *transfer)
{
    const struct bytes *ids = &request->body->node_ids;
    enum status status = STATUS_OK;
    struct node_id id;
    if (ids->count == 0 || ids->count % sizeof(id) != 0)
        return refuse(request->reason, STATUS_INVALID,
                      "there are no nodes to copy to; name some, or all");
    for (uint32_t at = 0; at < ids->count && status == STATUS_OK; at += (uint32_t)sizeof(id)) {
        memcpy(&id, ids->items + at, sizeof(id));
        const struct node_record *node = state_find_node(request->state, &id);
        char hex[HEX_SIZE(sizeof(id))];
        if (!node)
            return refuse(request->reason, STATUS_NOT_FOUND,
                          "there is no node %s; `troupe nodes` lists them",
                          hex_print(&id, sizeof(id), hex));
        status = add_target(request, node, transfer);
    }
    return status;
}

/* All that are here: who is away now gets it when asked for again. */
static enum status add_all(const struct request *request, struct transfer_record *transfer)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < request->state->nodes.count && status == STATUS_OK; i++)
        if (request->state->nodes.items[i].in_view)
            status = add_target(request, &request->state->nodes.items[i], transfer);
    return status;
}

/* One that runs and brings all that is wanted; NULL: none. */
static const struct transfer_record *joined(const struct request *request,
                                            const struct transfer_record *transfer)
{
    uint8_t ids[NODE_COUNT_MAX * sizeof(struct node_id)];
    uint32_t size = 0;
    bool is_work = false;
    for (uint32_t i = 0; i < transfer->targets.count; i++) {
        const struct transfer_target *target = &transfer->targets.items[i];
        if (target->phase != TRANSFER_ASKED)
            continue;
        memcpy(ids + size, &target->node_id, sizeof(target->node_id));
        size += (uint32_t)sizeof(target->node_id);
        is_work = true;
    }
    const struct bytes wanted = {ids, size};
    return is_work ? state_find_transfer_to(request->state,
                                            text_or_empty(request->model->model_id),
                                            &request->model->revision, &wanted)
                   : NULL;
}

static bool has_room(const struct state *state)
{
    if (state->transfers.count < TRANSFER_COUNT_MAX)
        return true;
    for (uint32_t i = 0; i < state->transfers.count; i++) {
        const enum transfer_phase phase = transfer_phase_of(&state->transfers.items[i]);
        if (phase != TRANSFER_ASKED && phase != TRANSFER_RUNNING)
            return true;
    }
    return false;
}

static struct transfer_id own_id(const struct state *state, const struct message *command)
{
    struct transfer_id id = MESSAGE_BODY(command, distribute_model)->transfer_id;
    struct hash hash;
    struct hash_stream stream;
    if (!ID_IS_ZERO(id))
        return id;
    hash_init(&stream);
    hash_update(&stream, &command->head.key, sizeof(command->head.key));
    hash_update(&stream, &state->cluster_id, sizeof(state->cluster_id));
    hash_update(&stream, &state->index, sizeof(state->index));
    hash_final(&stream, &hash);
    memcpy(&id, &hash, sizeof(id));
    return id;
}

static enum status fill(const struct request *request, struct transfer_record *transfer)
{
    transfer->revision = request->model->revision;
    transfer->source_node_id = request->body->source_node_id;
    if (!text_set(&transfer->model_id, request->model->model_id))
        return STATUS_NO_MEMORY;
    return request->body->is_all ? add_all(request, transfer) : add_named(request, transfer);
}

enum status transfer_rules_distribute(const struct state *state, const struct message *command,
                                      struct message *event_out, struct reason *reason)
{
    struct request request = {state, MESSAGE_BODY(command, distribute_model), NULL, reason};
    struct transfer_record transfer = {.model_id = NULL};
    const struct transfer_id id = own_id(state, command);
    if (!request.body->is_all && request.body->node_ids.count == 0)
        return refuse(reason, STATUS_INVALID, "there are no nodes to copy to; name some, or all");
    enum status status = check_model(&request);
    if (status == STATUS_OK)
        status = check_source(&request);
    if (status == STATUS_OK && state_find_transfer(state, &id))
        status = refuse(reason, STATUS_EXISTS, "a transfer has that id already; draw another");
    if (status == STATUS_OK)
        status = fill(&request, &transfer);
    const struct transfer_record *known =
        status == STATUS_OK ? joined(&request, &transfer) : NULL;
    /* One that a placement asked for outlives the placement from now on. */
    if (status == STATUS_OK && (!known || known->is_for_placement)) {
        transfer.transfer_id = known ? known->transfer_id : id;
        if (!known && !has_room(state))
            status = refuse(reason, STATUS_BUSY, "too many transfers run; cancel one first");
        if (status == STATUS_OK)
            status = message_init(event_out, MESSAGE_EVENT, EVENT_TRANSFER_REQUESTED);
        if (status == STATUS_OK)
            status = record_copy(&transfer_record_type, &transfer,
                                 &MESSAGE_BODY(event_out, transfer_requested)->transfer);
    }
    record_fini(&transfer_record_type, &transfer);
    return status;
}

enum status transfer_rules_cancel(const struct state *state, const struct message *command,
                                  struct message *event_out, struct reason *reason)
{
    const struct cancel_transfer *body = MESSAGE_BODY(command, cancel_transfer);
    const struct transfer_record *transfer = state_find_transfer(state, &body->transfer_id);
    if (!transfer)
        return refuse(reason, STATUS_NOT_FOUND,
                      "there is no such transfer; `troupe transfers` lists them");
    const enum transfer_phase phase = transfer_phase_of(transfer);
    if (phase != TRANSFER_ASKED && phase != TRANSFER_RUNNING)
        return STATUS_OK;
    enum status status = message_init(event_out, MESSAGE_EVENT, EVENT_TRANSFER_CANCELLED);
    if (status == STATUS_OK)
        MESSAGE_BODY(event_out, transfer_cancelled)->transfer_id = body->transfer_id;
    return status;
}
