/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_bytes.h"

#include <string.h>

/* Measured: a runner of a small model with a tokenizer of 150,000 tokens takes 35 MB. */
#define PROCESS_BYTES ((uint64_t)64 << 20)
/* As the runner's load window is by default (runtime/config_keys.h). */
#define WINDOW_BYTES ((uint64_t)256 << 20)
/* Of each element of a row's hidden state, or FFN middle: f32 in two buffers or three, bytes in
 * two orders, and their scales. */
#define HIDDEN_BYTES 16u
#define MIDDLE_BYTES 12u

bool placement_shape_is_whole(const struct model_shape *shape)
{
    uint64_t layers = 0;
    for (uint32_t i = 0; i < shape->runs.count; i++) {
        if (shape->runs.items[i].units == 0)
            return false;
        layers += shape->runs.items[i].layers;
    }
    return layers > 0 && layers == shape->layers;
}

/* Layers of a run that begins at layer `first` and that the rank holds. */
static uint32_t layers_held(const struct layer_run *run, uint32_t first,
                            const struct partition *cut)
{
    const uint32_t begin = first > cut->layer_first ? first : cut->layer_first;
    const uint32_t end = first + run->layers < cut->layer_end ? first + run->layers
                                                              : cut->layer_end;
    return begin < end ? end - begin : 0;
}

/* Of a layer's units those the rank holds. */
static uint32_t units_held(const struct model_shape *shape, const struct layer_run *run,
                           const struct partition *cut)
{
    if (cut->sharding != SHARDING_TENSOR)
        return run->units;
    return (uint32_t)(partition_edge(cut->kv_end, shape->kv_heads, run->units) -
                      partition_edge(cut->kv_first, shape->kv_heads, run->units));
}

uint64_t placement_weight_bytes(const struct model_shape *shape, const struct partition *cut)
{
    const bool is_tensor = cut->sharding == SHARDING_TENSOR;
    const uint64_t head = shape->tied ? 0 : shape->head_bytes;
    uint64_t bytes = shape->norm_bytes;
    uint32_t first = 0;
    for (uint32_t i = 0; i < shape->runs.count; i++) {
        const struct layer_run *run = &shape->runs.items[i];
        const uint64_t layers = layers_held(run, first, cut);
        uint64_t ffn = run->ffn_bytes;
        if (is_tensor)
            ffn = ffn * (cut->ffn_end - cut->ffn_first) / shape->intermediate;
        bytes += layers * (run->mixer_bytes / run->units * units_held(shape, run, cut) + ffn +
                           run->whole_bytes);
        first += run->layers;
    }
    if (is_tensor)
        return bytes + (shape->embedding_bytes + head) / shape->vocab *
                           (cut->vocab_end - cut->vocab_first);
    return bytes + (cut->has_embedding ? shape->embedding_bytes : 0) + (cut->has_head ? head : 0);
}

void placement_cache_sizes(const struct model_shape *shape, const struct partition *cut,
                           enum kv_format format, struct kv_sizes *sizes_out)
{
    uint32_t first = 0;
    memset(sizes_out, 0, sizeof(*sizes_out));
    for (uint32_t i = 0; i < shape->runs.count; i++) {
        const struct layer_run *run = &shape->runs.items[i];
        const uint32_t units = run->is_shared ? 1 : units_held(shape, run, cut);
        const struct kv_layer layer = {.heads = run->heads * units,
                                       .key_dim = run->key_dim,
                                       .value_dim = run->value_dim,
                                       .window = run->window,
                                       .state_floats = run->state_floats * units};
        const uint32_t layers = layers_held(run, first, cut);
        if (layers > 0)
            kv_sizes_add(sizes_out, &layer, layers, format);
        first += run->layers;
    }
}

uint64_t placement_cache_bytes(const struct model_shape *shape, const struct partition *cut,
                               const struct placement_cache *cache)
{
    struct kv_sizes sizes;
    placement_cache_sizes(shape, cut, cache->format, &sizes);
    return kv_total_bytes(&sizes, cache->positions, cache->requests, KV_STEP_ROWS);
}

uint64_t placement_scratch_bytes(const struct model_shape *shape, uint32_t requests)
{
    const uint64_t row = (uint64_t)shape->hidden * HIDDEN_BYTES +
                         (uint64_t)shape->intermediate * MIDDLE_BYTES;
    return PROCESS_BYTES + KV_STEP_ROWS * row + (uint64_t)requests * shape->vocab * sizeof(float);
}

uint64_t placement_source_bytes(const struct model_shape *shape)
{
    return PROCESS_BYTES +
           (shape->weight_bytes < WINDOW_BYTES ? shape->weight_bytes : WINDOW_BYTES);
}
