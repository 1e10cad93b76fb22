/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_downloads: reading of the downloads in a state.
 */
#include "protocol/state.h"

#include <string.h>

struct download_record *state_find_download(const struct state *state, const char *model_id)
{
    for (uint32_t i = 0; i < state->downloads.count; i++)
        if (strcmp(text_or_empty(state->downloads.items[i].model_id), model_id) == 0)
            return &state->downloads.items[i];
    return NULL;
}

struct download_target *download_find_target(const struct download_record *download,
                                             const struct node_id *node)
{
    for (uint32_t i = 0; i < download->targets.count; i++)
        if (ID_EQUAL(download->targets.items[i].node_id, *node))
            return &download->targets.items[i];
    return NULL;
}

struct download_file *download_find_file(const struct download_record *download, const char *path)
{
    for (uint32_t i = 0; i < download->files.count; i++)
        if (strcmp(text_or_empty(download->files.items[i].path), text_or_empty(path)) == 0)
            return &download->files.items[i];
    return NULL;
}

bool download_target_rests(const struct state *state, const struct download_record *download,
                           const struct download_target *target)
{
    const struct model_record *model = state_find_model(state, text_or_empty(download->model_id));
    return target->is_paused && target->is_for_placement && !(model && model->is_pinned);
}

const struct download_end *state_find_download_end(const struct state *state,
                                                   const char *model_id,
                                                   const struct node_id *node_id)
{
    for (uint32_t i = state->download_ends.count; i-- > 0;) {
        const struct download_end *end = &state->download_ends.items[i];
        if (ID_EQUAL(end->node_id, *node_id) &&
            strcmp(text_or_empty(end->model_id), model_id) == 0)
            return end;
    }
    return NULL;
}
