/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/holdings.h"

#include "protocol/limits.h"

bool holder_has_file(const struct holder_record *holder, uint32_t file)
{
    return holder && (holder->has_weights ||
                      file_set_has(holder->held.items, holder->held.count, file));
}

uint64_t holder_weight_bytes(const struct model_record *model, const struct holder_record *holder)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < model->files.count; i++)
        if (model->files.items[i].is_weight && holder_has_file(holder, i))
            bytes += model->files.items[i].size;
    return bytes;
}

bool holder_make(const struct model_record *model, const struct node_id *node_id, bool has_weights,
                 const struct bytes *held, struct holder_record *holder_out)
{
    struct holder_record holder = {.node_id = *node_id, .has_weights = has_weights};
    uint8_t set[FILE_SET_BYTES_MAX] = {0};
    uint32_t size = 0;
    for (uint32_t i = 0; held && !has_weights && i < model->files.count; i++) {
        if (!file_set_has(held->items, held->count, i))
            continue;
        set[i / 8] |= (uint8_t)(1u << i % 8);
        size = i / 8 + 1;
    }
    if (size > 0 && !bytes_set(&holder.held, set, size))
        return false;
    *holder_out = holder;
    return true;
}

static bool counts(const struct state *state, const struct holder_record *holder, bool is_here)
{
    const struct node_record *node = state_find_node(state, &holder->node_id);
    return node && (!is_here || node->in_view);
}

bool model_is_held(const struct state *state, const struct model_record *model, bool is_here,
                   uint32_t *unheld_out)
{
    struct holder_record all = {.has_weights = false};
    uint8_t set[FILE_SET_BYTES_MAX] = {0};
    for (uint32_t k = 0; k < model->holders.count; k++) {
        const struct holder_record *holder = &model->holders.items[k];
        if (!counts(state, holder, is_here))
            continue;
        all.has_weights = all.has_weights || holder->has_weights;
        for (uint32_t i = 0; i < holder->held.count && i < FILE_SET_BYTES_MAX; i++)
            set[i] |= holder->held.items[i];
    }
    all.held = (struct bytes){set, FILE_SET_BYTES_MAX};
    for (uint32_t i = 0; i < model->files.count && !all.has_weights; i++) {
        if (!model->files.items[i].is_weight || holder_has_file(&all, i))
            continue;
        if (unheld_out)
            *unheld_out = i;
        return false;
    }
    return all.has_weights || holder_weight_bytes(model, &all) > 0;
}

const char *model_unheld_name(const struct state *state, const struct model_record *model,
                              bool is_here)
{
    uint32_t file = UINT32_MAX;
    bool is_part_held = false;
    for (uint32_t i = 0; i < model->holders.count; i++)
        is_part_held = is_part_held ||
                       (counts(state, &model->holders.items[i], is_here) &&
                        holder_weight_bytes(model, &model->holders.items[i]) > 0);
    if (!is_part_held || model_is_held(state, model, is_here, &file) || file >= model->files.count)
        return "the weights";
    return text_or_empty(model->files.items[file].name);
}

static bool reads_itself(const struct file_source *source, uint32_t rank)
{
    return (source->holders >> rank & 1) != 0;
}

uint32_t file_sources_read(const struct file_source *sources, uint32_t count, uint32_t rank)
{
    uint32_t files = 0;
    for (uint32_t i = 0; i < count; i++)
        files += reads_itself(&sources[i], rank);
    return files;
}

uint32_t file_sources_sent(const struct file_source *sources, uint32_t count, uint32_t from,
                           uint32_t rank)
{
    uint32_t files = 0;
    for (uint32_t i = 0; i < count; i++)
        files += sources[i].rank == from && !reads_itself(&sources[i], rank);
    return files;
}
