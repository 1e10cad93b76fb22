/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/placement_bytes.h"

#include <string.h>

/* Measured by the bar 04-unequal: a runner without its buffers, and of rank 0's tokenizer each
 * entry with its merge. */
#define PROCESS_BYTES ((uint64_t)7 << 20)
#define TOKEN_BYTES 120u
/* As the runner's load window is by default (runtime/config_keys.h). */
#define WINDOW_BYTES ((uint64_t)256 << 20)
/* Of each element of a row's hidden state, or FFN middle: f32 in two buffers or three, bytes in
 * two orders, and their scales. */
#define HIDDEN_BYTES 16u
#define MIDDLE_BYTES 12u

/* Runs of more classes than there is room for say so themselves. */
static bool are_classes_whole(const struct model_shape *shape)
{
    struct partition_units units = {.layers = shape->layers};
    for (uint32_t i = 0; i < shape->runs.count; i++) {
        const struct layer_run *run = &shape->runs.items[i];
        const struct partition_run added = partition_run_add(&units, run);
        const uint32_t wanted[PARTITION_PARTS] = {run->units, run->ffn_units, run->shared_units};
        for (uint32_t part = 0; part < PARTITION_PARTS; part++)
            if (added.classes[part] != PARTITION_NO_CLASS &&
                units.classes[added.classes[part]].units != wanted[part])
                return false;
    }
    return true;
}

bool placement_shape_is_whole(const struct model_shape *shape)
{
    uint64_t layers = 0;
    for (uint32_t i = 0; i < shape->runs.count; i++) {
        const struct layer_run *run = &shape->runs.items[i];
        const bool is_ffn = run->ffn == PARTITION_FFN || run->ffn == PARTITION_EXPERTS;
        if (run->layers == 0 || run->units == 0 || run->mixer < PARTITION_ATTENTION ||
            run->mixer > PARTITION_DELTA || (run->ffn_units > 0 && !is_ffn) ||
            (run->per_kv > 0 && run->units * run->unit_heads < run->per_kv))
            return false;
        layers += run->layers;
    }
    return layers > 0 && layers == shape->layers && shape->vocab > 0 && are_classes_whole(shape);
}

/* What a rank holds of one layer. */
struct held {
    uint32_t units;
    uint32_t kv_heads; /* or units, where these are not counted */
    uint32_t kv_all;
    uint32_t ffn;
    uint32_t shared;
};

static uint32_t held_in(const struct partition *cut, const struct partition_run *run,
                        uint32_t part, uint32_t layer)
{
    const uint32_t class = run->classes[part];
    if (class == PARTITION_NO_CLASS)
        return 0;
    const struct partition_span span =
        partition_cut_in(&cut->cuts[class], run->ordinals[part] + layer);
    return span.end - span.first;
}

/* `layer` counts from the first of the run. */
static struct held hold(const struct partition_units *units, const struct partition *cut,
                        const struct partition_run *run, uint32_t layer)
{
    const struct partition_class *mixer = &units->classes[run->classes[0]];
    const struct partition_span kv = partition_kv_of(
        mixer, partition_cut_in(&cut->cuts[run->classes[0]], run->ordinals[0] + layer));
    return (struct held){
        .units = held_in(cut, run, 0, layer),
        .kv_heads = kv.end - kv.first,
        .kv_all = mixer->per_kv ? mixer->units * mixer->unit_heads / mixer->per_kv : mixer->units,
        .ffn = held_in(cut, run, 1, layer),
        .shared = held_in(cut, run, 2, layer),
    };
}

static uint64_t part_of(uint64_t bytes, uint32_t held, uint32_t all)
{
    return all > 0 ? bytes / all * held : 0;
}

typedef void layers_taker(void *taker, const struct layer_run *run, const struct held *held,
                          uint32_t layers);

/* The cut of a class lies alike in all its layers. */
static bool is_even(const struct partition *cut, const struct partition_run *run)
{
    for (uint32_t i = 0; i < PARTITION_PARTS; i++) {
        if (run->classes[i] == PARTITION_NO_CLASS)
            continue;
        const struct partition_cut *one = &cut->cuts[run->classes[i]];
        if (one->first % one->layers != 0 || one->end % one->layers != 0)
            return false;
    }
    return true;
}

/* Calls for the layers of the rank, those together that are alike. */
static void each_layer(const struct model_shape *shape, const struct partition *cut,
                       layers_taker *take, void *taker)
{
    struct partition_units units = {.layers = shape->layers};
    const struct partition_units all = partition_units_of_shape(shape);
    uint32_t before = 0;
    for (uint32_t i = 0; i < shape->runs.count; i++) {
        const struct layer_run *run = &shape->runs.items[i];
        const struct partition_run added = partition_run_add(&units, run);
        const uint32_t first = cut->layer_first > before ? cut->layer_first - before : 0;
        const uint32_t end = cut->layer_end < before + run->layers
                                 ? cut->layer_end > before ? cut->layer_end - before : 0
                                 : run->layers;
        const uint32_t step = is_even(cut, &added) && end > first ? end - first : 1;
        for (uint32_t layer = first; layer < end; layer += step) {
            const struct held held = hold(&all, cut, &added, layer);
            take(taker, run, &held, step);
        }
        before += run->layers;
    }
}

static void take_weights(void *taker, const struct layer_run *run, const struct held *held,
                         uint32_t layers)
{
    uint64_t *bytes = taker;
    *bytes += layers * (part_of(run->mixer_bytes, held->units, run->units) +
                        part_of(run->kv_bytes, held->kv_heads, held->kv_all) +
                        part_of(run->ffn_bytes, held->ffn, run->ffn_units) +
                        part_of(run->shared_bytes, held->shared, run->shared_units) +
                        run->whole_bytes);
}

static void take_used(void *taker, const struct layer_run *run, const struct held *held,
                      uint32_t layers)
{
    uint64_t *bytes = taker;
    struct held without = *held;
    uint64_t ffn = part_of(run->ffn_bytes, held->ffn, run->ffn_units);
    without.ffn = 0;
    take_weights(taker, run, &without, layers);
    if (run->experts > 0)
        ffn = (uint64_t)((double)ffn * run->experts_used / run->experts);
    *bytes += layers * ffn;
}

/* A table that serves both ends is the head. */
static uint64_t head_of(const struct model_shape *shape)
{
    return shape->tied ? shape->embedding_bytes : shape->head_bytes;
}

/* Of tables of so many bytes, those of the rank's rows. */
static uint64_t rows_of(const struct model_shape *shape, const struct partition *cut,
                        uint64_t bytes)
{
    return cut->vocab_end - cut->vocab_first == shape->vocab
               ? bytes
               : bytes / shape->vocab * (cut->vocab_end - cut->vocab_first);
}

uint64_t placement_token_bytes(const struct model_shape *shape, const struct partition *cut,
                               bool has_head)
{
    uint64_t bytes = 0;
    each_layer(shape, cut, take_used, &bytes);
    return bytes + (has_head && cut->has_head ? rows_of(shape, cut, head_of(shape)) : 0);
}

struct attended {
    uint64_t positions;
    double products;
};

static void take_attended(void *taker, const struct layer_run *run, const struct held *held,
                          uint32_t layers)
{
    struct attended *attended = taker;
    const uint64_t seen = run->window > 0 && run->window < attended->positions
                              ? run->window
                              : attended->positions;
    const uint32_t heads = run->mixer == PARTITION_DELTA ? 0 : run->unit_heads + !run->unit_heads;
    const uint32_t width = run->key_dim + (run->value_dim ? run->value_dim : run->key_dim);
    attended->products += (double)layers * held->units * heads * width * (double)seen;
}

double placement_attended(const struct model_shape *shape, const struct partition *cut,
                          uint64_t positions)
{
    struct attended attended = {positions, 0};
    each_layer(shape, cut, take_attended, &attended);
    return attended.products;
}

uint64_t placement_weight_bytes(const struct model_shape *shape, const struct partition *cut)
{
    /* In a pipeline the first stage and the last each hold a table that serves both. */
    const bool is_once = shape->tied && cut->has_embedding;
    uint64_t bytes = shape->norm_bytes;
    each_layer(shape, cut, take_weights, &bytes);
    return bytes + rows_of(shape, cut, (cut->has_embedding ? shape->embedding_bytes : 0) +
                                           (cut->has_head && !is_once ? head_of(shape) : 0));
}

struct cache_taker {
    struct kv_sizes *sizes;
    enum kv_format format;
};

static void take_cache(void *taker, const struct layer_run *run, const struct held *held,
                       uint32_t layers)
{
    const struct cache_taker *t = taker;
    const uint32_t units = run->is_shared ? 1 : held->kv_heads;
    const struct kv_layer layer = {.heads = run->heads * units,
                                   .key_dim = run->key_dim,
                                   .value_dim = run->value_dim,
                                   .window = run->window,
                                   .state_floats = run->state_floats * held->units +
                                                   run->key_floats * held->kv_heads};
    kv_sizes_add(t->sizes, &layer, layers, t->format);
}

void placement_cache_sizes(const struct model_shape *shape, const struct partition *cut,
                           enum kv_format format, struct kv_sizes *sizes_out)
{
    struct cache_taker taker = {sizes_out, format};
    memset(sizes_out, 0, sizeof(*sizes_out));
    each_layer(shape, cut, take_cache, &taker);
}

uint64_t placement_cache_bytes(const struct model_shape *shape, const struct partition *cut,
                               const struct placement_cache *cache)
{
    struct kv_sizes sizes;
    placement_cache_sizes(shape, cut, cache->format, &sizes);
    return kv_total_bytes(&sizes, cache->positions, cache->requests, KV_STEP_ROWS);
}

/* Of the columns of the FFN, what a layer of this rank has: the most of any class, all of them
 * where none is cut. */
static uint64_t middle_columns(const struct model_shape *shape, const struct partition *cut)
{
    const uint64_t layers = cut->layer_end - cut->layer_first;
    uint64_t most = 0;
    bool is_cut = false;
    for (uint32_t i = 0; i < cut->cut_count && layers > 0; i++) {
        const struct partition_cut *one = &cut->cuts[i];
        const uint64_t total = (uint64_t)partition_cut_total(one) * layers;
        if (one->kind < PARTITION_FFN || total == 0)
            continue;
        const uint64_t own = (uint64_t)(one->end - one->first) * shape->layers;
        const uint64_t columns = own < total ? shape->intermediate * own / total
                                             : shape->intermediate;
        most = columns > most ? columns : most;
        is_cut = true;
    }
    return is_cut ? most : shape->intermediate;
}

uint64_t placement_scratch_bytes(const struct model_shape *shape, const struct partition *cut,
                                 uint32_t requests)
{
    const bool is_first = cut->rank == 0;
    const uint64_t row = (uint64_t)shape->hidden * HIDDEN_BYTES +
                         middle_columns(shape, cut) * MIDDLE_BYTES;
    const uint64_t rows = !cut->has_head ? 0
                          : is_first     ? shape->vocab
                                         : cut->vocab_end - cut->vocab_first;
    return PROCESS_BYTES + KV_STEP_ROWS * row + requests * rows * sizeof(float) +
           (is_first ? (uint64_t)shape->vocab * TOKEN_BYTES : 0);
}

uint64_t placement_source_bytes(const struct model_shape *shape)
{
    return PROCESS_BYTES + PLACEMENT_HEAD_ROOM +
           (shape->weight_bytes < WINDOW_BYTES ? shape->weight_bytes : WINDOW_BYTES);
}

/* Bytes that `heads` of a layer's cache, or its state, take in all. */
static uint64_t cache_of(const struct layer_run *run, const struct placement_cache *cache,
                         uint64_t pages, uint64_t ring_pages, uint32_t units)
{
    const struct kv_layer layer = {.heads = run->heads * units, .key_dim = run->key_dim,
                                   .value_dim = run->value_dim};
    const uint64_t page = layer.heads * kv_head_bytes(&layer, cache->format);
    return run->window ? page * ring_pages * cache->requests : page * pages;
}

static void raise_to(uint64_t *bytes, uint64_t least)
{
    *bytes = *bytes > least ? *bytes : least;
}

void placement_costs(const struct model_shape *shape, const struct placement_cache *cache,
                     struct placement_layers *layers, struct partition_costs *costs_out)
{
    struct partition_units units = {.layers = shape->layers};
    struct kv_sizes sizes = {.window = 0};
    const uint64_t pages = kv_page_count(cache->positions);
    const uint64_t head = shape->tied ? 0 : shape->head_bytes;
    uint32_t layer = 0;
    for (uint32_t i = 0; i < shape->runs.count; i++)
        if (shape->runs.items[i].window > sizes.window)
            sizes.window = shape->runs.items[i].window;
    const uint64_t ring_pages = kv_ring_pages(&sizes, pages, KV_STEP_ROWS);
    memset(costs_out, 0, sizeof(*costs_out));
    for (uint32_t i = 0; i < shape->runs.count; i++) {
        const struct layer_run *run = &shape->runs.items[i];
        const struct partition_run added = partition_run_add(&units, run);
        const uint32_t kv_all = run->per_kv ? run->units * run->unit_heads / run->per_kv
                                            : run->units;
        const uint64_t one = cache_of(run, cache, pages, ring_pages, 1) +
                             (uint64_t)run->key_floats * sizeof(float) * cache->requests;
        const uint64_t kv = part_of(run->kv_bytes, 1, kv_all) + (run->is_shared ? 0 : one);
        const uint64_t mixer = part_of(run->mixer_bytes, 1, run->units) +
                               (uint64_t)run->state_floats * sizeof(float) * cache->requests;
        uint64_t *unit_bytes = costs_out->unit_bytes;
        raise_to(&unit_bytes[added.classes[0]], run->per_kv ? mixer : mixer + kv);
        if (run->per_kv)
            raise_to(&costs_out->kv_bytes[added.classes[0]], kv);
        if (added.classes[1] != PARTITION_NO_CLASS)
            raise_to(&unit_bytes[added.classes[1]], part_of(run->ffn_bytes, 1, run->ffn_units));
        if (added.classes[2] != PARTITION_NO_CLASS)
            raise_to(&unit_bytes[added.classes[2]],
                     part_of(run->shared_bytes, 1, run->shared_units));
        const uint64_t kept = run->whole_bytes + (run->is_shared ? one : 0);
        costs_out->whole_bytes += kept * run->layers;
        for (uint32_t k = 0; k < run->layers && layer < LAYER_COUNT_MAX; k++, layer++) {
            layers->whole[layer] = kept;
            layers->bytes[layer] = kept + mixer * run->units + kv * kv_all + run->ffn_bytes +
                                   run->shared_bytes;
        }
    }
    const uint64_t lists = 1 + (uint64_t)cache->requests * (sizes.window ? 2 : 1);
    /* As much for each rank as for the one that takes most. */
    const struct partition whole = {
        .layer_end = shape->layers, .vocab_end = shape->vocab, .has_head = true};
    costs_out->rank_bytes = shape->norm_bytes +
                            placement_scratch_bytes(shape, &whole, cache->requests) +
                            pages * lists * sizeof(void *);
    costs_out->whole_bytes += costs_out->rank_bytes;
    costs_out->vocab_bytes = (shape->embedding_bytes + head) / shape->vocab;
    costs_out->first_bytes = shape->embedding_bytes;
    costs_out->last_bytes = head_of(shape);
    costs_out->both_bytes = shape->embedding_bytes + head;
    costs_out->layer_bytes = layers->bytes;
    costs_out->layer_whole = layers->whole;
}

enum status placement_place(const struct model_shape *shape, const struct placement_cache *cache,
                            enum sharding sharding, const uint64_t *shares,
                            const uint64_t *budgets, uint32_t count, struct partition *cuts_out,
                            struct reason *reason)
{
    const struct partition_units units = partition_units_of_shape(shape);
    struct placement_layers layers;
    struct partition_costs costs;
    placement_costs(shape, cache, &layers, &costs);
    return partition_place(sharding, &units, &costs, shares, budgets, count, cuts_out, reason);
}

enum status placement_place_stages(const struct model_shape *shape,
                                   const struct placement_cache *cache, const uint32_t *sizes,
                                   uint32_t stage_count, const uint64_t *shares,
                                   const uint64_t *budgets, struct partition *cuts_out,
                                   struct reason *reason)
{
    const struct partition_units units = partition_units_of_shape(shape);
    struct placement_layers layers;
    struct partition_costs costs;
    placement_costs(shape, cache, &layers, &costs);
    return partition_place_stages(&units, &costs, sizes, stage_count, shares, budgets, cuts_out,
                                  reason);
}
