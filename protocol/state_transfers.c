/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_transfers: reading of the transfers in a state.
 */
#include "protocol/state.h"

#include <string.h>

struct transfer_record *state_find_transfer(const struct state *state,
                                            const struct transfer_id *id)
{
    for (uint32_t i = 0; i < state->transfers.count; i++)
        if (ID_EQUAL(state->transfers.items[i].transfer_id, *id))
            return &state->transfers.items[i];
    return NULL;
}

struct transfer_target *transfer_find_target(const struct transfer_record *transfer,
                                             const struct node_id *node)
{
    for (uint32_t i = 0; i < transfer->targets.count; i++)
        if (ID_EQUAL(transfer->targets.items[i].node_id, *node))
            return &transfer->targets.items[i];
    return NULL;
}

bool transfer_target_is_open(const struct transfer_target *target)
{
    return target->phase == TRANSFER_ASKED || target->phase == TRANSFER_RUNNING;
}

static bool brings_to(const struct transfer_record *transfer, const struct bytes *node_ids)
{
    struct node_id id;
    for (uint32_t at = 0; at + sizeof(id) <= node_ids->count; at += (uint32_t)sizeof(id)) {
        memcpy(&id, node_ids->items + at, sizeof(id));
        const struct transfer_target *target = transfer_find_target(transfer, &id);
        if (!target || (!transfer_target_is_open(target) && target->phase != TRANSFER_DONE))
            return false;
    }
    return true;
}

struct transfer_record *state_find_transfer_to(const struct state *state, const char *model_id,
                                               const struct hash *revision,
                                               const struct bytes *node_ids)
{
    for (uint32_t i = state->transfers.count; i-- > 0;) {
        struct transfer_record *transfer = &state->transfers.items[i];
        const enum transfer_phase phase = transfer_phase_of(transfer);
        if ((phase == TRANSFER_ASKED || phase == TRANSFER_RUNNING) &&
            strcmp(text_or_empty(transfer->model_id), model_id) == 0 &&
            ID_EQUAL(transfer->revision, *revision) && brings_to(transfer, node_ids))
            return transfer;
    }
    return NULL;
}

enum transfer_phase transfer_phase_of(const struct transfer_record *transfer)
{
    uint32_t counts[TRANSFER_PHASE_END + 1] = {0};
    for (uint32_t i = 0; i < transfer->targets.count; i++) {
        const uint32_t phase = transfer->targets.items[i].phase;
        counts[phase < TRANSFER_PHASE_END ? phase : TRANSFER_PHASE_END]++;
    }
    if (counts[TRANSFER_RUNNING] > 0 ||
        (counts[TRANSFER_ASKED] > 0 && counts[TRANSFER_ASKED] < transfer->targets.count))
        return TRANSFER_RUNNING;
    if (counts[TRANSFER_ASKED] > 0)
        return TRANSFER_ASKED;
    if (counts[TRANSFER_STOPPED] > 0)
        return TRANSFER_STOPPED;
    return counts[TRANSFER_FAILED] > 0 ? TRANSFER_FAILED : TRANSFER_DONE;
}

const char *transfer_phase_name(uint32_t phase)
{
    static const char *const names[] = {"asked", "running", "done", "failed", "cancelled"};
    return phase < COUNT_OF(names) ? names[phase] : "unknown";
}
