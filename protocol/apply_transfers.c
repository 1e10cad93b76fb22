/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/apply_transfers.h"

#include <string.h>

static bool end_target(struct transfer_target *target, enum status status, const char *reason)
{
    target->phase = TRANSFER_FAILED;
    target->status = status;
    return text_set(&target->reason, reason);
}

static bool is_over(const struct transfer_record *transfer)
{
    for (uint32_t i = 0; i < transfer->targets.count; i++)
        if (transfer_target_is_open(&transfer->targets.items[i]))
            return false;
    return true;
}

/* The oldest that is over makes room; the leader refuses when none can. */
static void make_room(struct state *state)
{
    for (uint32_t i = 0;
         i < state->transfers.count && state->transfers.count >= TRANSFER_COUNT_MAX; i++) {
        if (!is_over(&state->transfers.items[i]))
            continue;
        record_list_remove(&transfer_record_type, RECORD_LIST(state->transfers), i--);
    }
}

bool transfers_apply_requested(struct state *state, const struct message *event)
{
    const struct transfer_requested *body = event->body;
    struct transfer_record *known = state_find_transfer(state, &body->transfer.transfer_id);
    if (known) {
        /* A command asks for what a placement asked for: it is wanted for its own sake now. */
        known->is_for_placement = known->is_for_placement && body->transfer.is_for_placement;
        return true;
    }
    make_room(state);
    if (state->transfers.count >= TRANSFER_COUNT_MAX)
        return true;
    struct transfer_record *transfer =
        record_list_push(&transfer_record_type, RECORD_LIST(state->transfers), &body->transfer,
                         TRANSFER_COUNT_MAX);
    if (transfer)
        transfer->requested_index = event->head.index;
    return transfer != NULL;
}

static struct transfer_target *open_target(const struct state *state,
                                           const struct transfer_id *transfer_id,
                                           const struct node_id *node_id)
{
    const struct transfer_record *transfer = state_find_transfer(state, transfer_id);
    struct transfer_target *target =
        transfer ? transfer_find_target(transfer, node_id) : NULL;
    return target && transfer_target_is_open(target) ? target : NULL;
}

bool transfers_apply_started(struct state *state, const struct message *event)
{
    const struct transfer_started *body = event->body;
    struct transfer_target *target = open_target(state, &body->transfer_id, &body->node_id);
    if (target)
        target->phase = TRANSFER_RUNNING;
    return true;
}

bool transfers_apply_ended(struct state *state, const struct transfer_ended *body,
                           bool *is_held_out)
{
    struct transfer_target *target = open_target(state, &body->transfer_id, &body->node_id);
    *is_held_out = target && body->status == STATUS_OK;
    if (!target)
        return true;
    if (body->status != STATUS_OK)
        return end_target(target, (enum status)body->status, text_or_empty(body->reason));
    target->phase = TRANSFER_DONE;
    return true;
}

bool transfers_apply_cancelled(struct state *state, const struct message *event)
{
    const struct transfer_cancelled *body = event->body;
    const struct transfer_record *transfer = state_find_transfer(state, &body->transfer_id);
    for (uint32_t i = 0; transfer && i < transfer->targets.count; i++)
        if (transfer_target_is_open(&transfer->targets.items[i]))
            transfer->targets.items[i].phase = TRANSFER_STOPPED;
    return true;
}

bool transfers_forget_node(struct state *state, const struct node_id *node_id)
{
    for (uint32_t i = 0; i < state->transfers.count; i++) {
        struct transfer_target *target =
            transfer_find_target(&state->transfers.items[i], node_id);
        if (target && transfer_target_is_open(target) &&
            !end_target(target, STATUS_NOT_FOUND, "the node was removed from the cluster"))
            return false;
    }
    return true;
}

bool transfers_forget_model(struct state *state, const char *model_id, const struct hash *kept)
{
    for (uint32_t i = 0; i < state->transfers.count; i++) {
        struct transfer_record *transfer = &state->transfers.items[i];
        if (strcmp(text_or_empty(transfer->model_id), model_id) != 0 ||
            (kept && ID_EQUAL(transfer->revision, *kept)))
            continue;
        for (uint32_t k = 0; k < transfer->targets.count; k++) {
            struct transfer_target *target = &transfer->targets.items[k];
            if (transfer_target_is_open(target) &&
                !end_target(target, kept ? STATUS_STALE : STATUS_NOT_FOUND,
                            kept ? "another revision of the model took its place; distribute it "
                                   "again"
                                 : "the model was removed while it was copied"))
                return false;
        }
    }
    return true;
}
