/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/room_state.h"

#include <string.h>

bool room_is_kept(const struct state *state, const char *model_id)
{
    const struct model_record *model = state_find_model(state, model_id);
    bool is_kept = !model || model->is_pinned;
    for (uint32_t i = 0; i < state->instances.count && !is_kept; i++)
        is_kept = strcmp(text_or_empty(state->instances.items[i].model_id), model_id) == 0;
    for (uint32_t i = 0; i < state->imports.count && !is_kept; i++)
        is_kept = strcmp(text_or_empty(state->imports.items[i].model_id), model_id) == 0;
    for (uint32_t i = 0; i < state->downloads.count && !is_kept; i++)
        is_kept = strcmp(text_or_empty(state->downloads.items[i].model_id), model_id) == 0;
    for (uint32_t i = 0; i < state->transfers.count && !is_kept; i++) {
        const enum transfer_phase phase = transfer_phase_of(&state->transfers.items[i]);
        is_kept = (phase == TRANSFER_ASKED || phase == TRANSFER_RUNNING) &&
                  strcmp(text_or_empty(state->transfers.items[i].model_id), model_id) == 0;
    }
    return is_kept;
}

const struct model_record *room_in_use(const struct state *state, const char *model_id)
{
    for (uint32_t i = 0; i < state->instances.count; i++)
        if (strcmp(text_or_empty(state->instances.items[i].model_id), model_id) == 0)
            return state_find_model(state, model_id);
    return NULL;
}

uint64_t room_promised(const struct state *state, const struct node_id *node_id,
                       const char *but_for)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < state->transfers.count; i++) {
        const struct transfer_record *transfer = &state->transfers.items[i];
        const struct transfer_target *target = transfer_find_target(transfer, node_id);
        const struct model_record *model =
            state_find_model(state, text_or_empty(transfer->model_id));
        if (!target || !transfer_target_is_open(target) || !model ||
            strcmp(model->model_id, but_for) == 0)
            continue;
        for (uint32_t k = 0; k < model->files.count; k++)
            bytes += model->files.items[k].size;
    }
    return bytes;
}
