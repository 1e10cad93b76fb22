/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_store_record: what the state keeps of a model's card.
 */
#include "runtime/model_store.h"

static enum status no_memory(struct reason *reason)
{
    return refuse(reason, STATUS_NO_MEMORY, "no memory for the shape of a model");
}

static bool run_holds(const struct layer_run *run, const struct layer_run *next)
{
    struct layer_run one = *run;
    one.layers = next->layers;
    return record_equal(&layer_run_type, &one, next);
}

static bool add_layer(struct model_shape *shape, const struct model_card_layer *cost)
{
    const struct layer_run next = {.layers = 1,
                                   .mixer = (uint32_t)cost->mixer.kind,
                                   .units = cost->mixer.units,
                                   .unit_heads = cost->mixer.unit_heads,
                                   .per_kv = cost->mixer.per_kv,
                                   .heads = cost->cache.heads,
                                   .key_dim = cost->cache.key_dim,
                                   .value_dim = cost->cache.value_dim,
                                   .window = cost->cache.window,
                                   .state_floats = cost->cache.state_floats,
                                   .is_shared = cost->is_shared,
                                   .mixer_bytes = cost->mixer_bytes,
                                   .kv_bytes = cost->kv_bytes,
                                   .ffn = (uint32_t)cost->ffn.kind,
                                   .ffn_units = cost->ffn.units,
                                   .ffn_bytes = cost->ffn_bytes,
                                   .shared_units = cost->shared.units,
                                   .shared_bytes = cost->shared_bytes,
                                   .whole_bytes = cost->whole_bytes,
                                   .key_floats = cost->key_floats,
                                   .ffn_columns = cost->ffn.parts,
                                   .shared_columns = cost->shared.parts,
                                   .experts = cost->experts,
                                   .experts_used = cost->experts_used};
    struct layer_run *last =
        shape->runs.count ? &shape->runs.items[shape->runs.count - 1] : NULL;
    if (!last || !run_holds(last, &next))
        return record_list_push(&layer_run_type, RECORD_LIST(shape->runs), &next,
                                LAYER_COUNT_MAX) != NULL;
    last->layers++;
    return true;
}

enum status model_record_fill(const struct model_card *card, struct model_record *record,
                              struct reason *reason)
{
    struct model_shape *shape = &record->shape;
    if (card->layers > LAYER_COUNT_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "%u layers; at most %d", card->layers,
                      LAYER_COUNT_MAX);
    shape->layers = card->layers;
    shape->hidden = card->hidden;
    shape->heads = card->heads;
    shape->kv_heads = card->kv_heads;
    shape->intermediate = card->middle_most;
    shape->vocab = card->vocab;
    shape->tied = card->tied;
    shape->context = card->context;
    shape->embedding_bytes = card->embedding_bytes;
    shape->head_bytes = card->head_bytes;
    shape->norm_bytes = card->other_bytes;
    shape->weight_bytes = card->weight_bytes;
    shape->products = card->products;
    for (uint32_t i = 0; i < card->layers; i++)
        if (!add_layer(shape, &card->costs[i]))
            return no_memory(reason);
    return text_set(&shape->model_type, card->model_type) ? STATUS_OK : no_memory(reason);
}
