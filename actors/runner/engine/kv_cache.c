/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/kv_cache.h"

#include "protocol/memory.h"

#include <string.h>
#include <sys/mman.h>

struct sequence {
    bool is_open;
    uint32_t length;
    uint32_t written; /* the most positions it ever had since it was empty */
    uint32_t page_count;
    uint8_t **pages; /* room for every page of the cache */
    uint8_t **ring;  /* as many, over and over the pages of its ring; NULL without windows */
};

struct kv_cache {
    struct kv_layer *layers;
    size_t *offsets; /* [layer]: of its first key in a page, or of its state among a sequence's */
    uint32_t layer_count;
    uint32_t rows;
    enum kv_format format;
    struct kv_sizes sizes;
    uint8_t *memory;
    uint32_t page_count;
    uint8_t **free_pages;
    uint32_t free_count;
    uint8_t *own_memory; /* [sequence][ring pages, states] */
    uint64_t own_bytes;
    uint32_t ring_pages; /* 0: no layer has a window */
    struct sequence *sequences;
    uint32_t sequence_count;
};

/* Where everything lies in pages, rings and states. */
static void lay_out(struct kv_cache *cache)
{
    for (uint32_t i = 0; i < cache->layer_count; i++) {
        const struct kv_layer *layer = &cache->layers[i];
        cache->offsets[i] = (size_t)(layer->state_floats ? cache->sizes.state_bytes
                                     : layer->window     ? cache->sizes.ring_page_bytes
                                                         : cache->sizes.page_bytes);
        kv_sizes_add(&cache->sizes, layer, 1, cache->format);
    }
    cache->ring_pages = (uint32_t)kv_ring_pages(&cache->sizes, cache->page_count, cache->rows);
    cache->own_bytes = kv_own_bytes(&cache->sizes, cache->page_count, cache->rows);
}

static void *reserve(uint64_t bytes)
{
    void *memory = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static enum status allocate(struct kv_cache *cache, struct reason *reason)
{
    const uint64_t bytes = cache->sizes.page_bytes * cache->page_count;
    if (kv_cache_bytes(cache) > INT64_MAX)
        return refuse(reason, STATUS_INVALID, "a KV cache of %u pages for %u sequences cannot be",
                      cache->page_count, cache->sequence_count);
    cache->free_pages = memory_zeroed(cache->page_count, sizeof *cache->free_pages);
    cache->sequences = memory_zeroed(cache->sequence_count, sizeof *cache->sequences);
    if (!cache->free_pages || !cache->sequences)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the tables of the KV cache");
    if (bytes)
        cache->memory = reserve(bytes);
    if (cache->own_bytes)
        cache->own_memory = reserve(cache->own_bytes * cache->sequence_count);
    if ((bytes && !cache->memory) || (cache->own_bytes && !cache->own_memory))
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a KV cache of %llu bytes; promise "
                      "a shorter context", (unsigned long long)kv_cache_bytes(cache));
    for (uint32_t i = 0; i < cache->page_count; i++)
        cache->free_pages[cache->page_count - 1 - i] =
            bytes ? cache->memory + i * cache->sizes.page_bytes : NULL;
    cache->free_count = cache->page_count;
    return STATUS_OK;
}

enum status kv_cache_open(const struct kv_shape *shape, uint64_t positions, uint32_t sequences,
                          struct kv_cache **cache_out, struct reason *reason)
{
    const uint64_t pages = kv_page_count(positions);
    if (pages == 0 || pages > UINT32_MAX || sequences == 0 || sequences > KV_SEQUENCES_MAX)
        return refuse(reason, STATUS_INVALID, "a KV cache of %llu positions for %u sequences "
                      "cannot be", (unsigned long long)positions, sequences);
    struct kv_cache *cache = memory_zeroed(1, sizeof *cache);
    if (!cache)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a KV cache");
    cache->layers = memory_zeroed(shape->layer_count, sizeof *cache->layers);
    cache->offsets = memory_zeroed(shape->layer_count, sizeof *cache->offsets);
    cache->layer_count = shape->layer_count;
    cache->format = shape->format;
    cache->rows = shape->rows;
    cache->page_count = (uint32_t)pages;
    cache->sequence_count = sequences;
    enum status status = STATUS_OK;
    if (!cache->layers || !cache->offsets) {
        status = refuse(reason, STATUS_NO_MEMORY, "no memory for a KV cache");
    } else {
        memcpy(cache->layers, shape->layers, shape->layer_count * sizeof *cache->layers);
        lay_out(cache);
        status = allocate(cache, reason);
    }
    if (status != STATUS_OK) {
        kv_cache_close(cache);
        return status;
    }
    *cache_out = cache;
    return STATUS_OK;
}

void kv_cache_close(struct kv_cache *cache)
{
    if (!cache)
        return;
    for (uint32_t i = 0; cache->sequences && i < cache->sequence_count; i++) {
        memory_free(cache->sequences[i].pages);
        memory_free(cache->sequences[i].ring);
    }
    if (cache->memory)
        munmap(cache->memory, (size_t)(cache->sizes.page_bytes * cache->page_count));
    if (cache->own_memory)
        munmap(cache->own_memory, (size_t)(cache->own_bytes * cache->sequence_count));
    memory_free(cache->sequences);
    memory_free(cache->free_pages);
    memory_free(cache->layers);
    memory_free(cache->offsets);
    memory_free(cache);
}

uint64_t kv_cache_bytes(const struct kv_cache *cache)
{
    return kv_total_bytes(&cache->sizes, (uint64_t)cache->page_count * KV_PAGE_POSITIONS,
                          cache->sequence_count, cache->rows);
}

static struct sequence *find(const struct kv_cache *cache, uint32_t sequence)
{
    ASSERT(kv_sequence_is_open(cache, sequence));
    return &cache->sequences[sequence];
}

bool kv_sequence_is_open(const struct kv_cache *cache, uint32_t sequence)
{
    return sequence < cache->sequence_count && cache->sequences[sequence].is_open;
}

static uint8_t *own_memory(const struct kv_cache *cache, uint32_t sequence)
{
    return cache->own_memory + sequence * cache->own_bytes;
}

static uint8_t *states(const struct kv_cache *cache, uint32_t sequence)
{
    return own_memory(cache, sequence) + cache->ring_pages * cache->sizes.ring_page_bytes;
}

static void forget_states(const struct kv_cache *cache, uint32_t sequence)
{
    if (cache->sizes.state_bytes)
        memset(states(cache, sequence), 0, (size_t)cache->sizes.state_bytes);
}

static bool make_tables(const struct kv_cache *cache, uint32_t index)
{
    struct sequence *sequence = &cache->sequences[index];
    if (!sequence->pages)
        sequence->pages = memory_zeroed(cache->page_count, sizeof *sequence->pages);
    if (!sequence->ring && cache->ring_pages) {
        sequence->ring = memory_zeroed(cache->page_count, sizeof *sequence->ring);
        for (uint32_t i = 0; sequence->ring && i < cache->page_count; i++)
            sequence->ring[i] = own_memory(cache, index) +
                                i % cache->ring_pages * cache->sizes.ring_page_bytes;
    }
    return sequence->pages && (sequence->ring || !cache->ring_pages);
}

enum status kv_sequence_open(struct kv_cache *cache, uint32_t *sequence_out,
                             struct reason *reason)
{
    for (uint32_t i = 0; i < cache->sequence_count; i++) {
        struct sequence *sequence = &cache->sequences[i];
        if (sequence->is_open)
            continue;
        if (!make_tables(cache, i))
            return refuse(reason, STATUS_NO_MEMORY, "no memory for a sequence's pages");
        forget_states(cache, i);
        sequence->is_open = true;
        sequence->written = 0;
        *sequence_out = i;
        return STATUS_OK;
    }
    return refuse(reason, STATUS_NO_CAPACITY, "all %u sequences are in use",
                  cache->sequence_count);
}

void kv_sequence_close(struct kv_cache *cache, uint32_t sequence)
{
    kv_sequence_truncate(cache, sequence, 0);
    find(cache, sequence)->is_open = false;
}

uint32_t kv_sequence_length(const struct kv_cache *cache, uint32_t sequence)
{
    return find(cache, sequence)->length;
}

enum status kv_sequence_reserve(struct kv_cache *cache, uint32_t sequence, uint32_t length,
                                struct reason *reason)
{
    struct sequence *s = find(cache, sequence);
    const uint32_t pages = (uint32_t)kv_page_count(length);
    if (pages > s->page_count && pages - s->page_count > cache->free_count)
        return refuse(reason, STATUS_NO_CAPACITY, "the KV cache has %u free pages of %u positions, "
                      "%u are needed", cache->free_count, KV_PAGE_POSITIONS,
                      pages - s->page_count);
    while (s->page_count < pages)
        s->pages[s->page_count++] = cache->free_pages[--cache->free_count];
    return STATUS_OK;
}

void kv_sequence_extend(struct kv_cache *cache, uint32_t sequence, uint32_t length)
{
    struct sequence *s = find(cache, sequence);
    ASSERT(length >= s->length && length <= (uint64_t)s->page_count * KV_PAGE_POSITIONS);
    s->length = length;
    if (length > s->written)
        s->written = length;
}

/* Whether what follows position `length` can be computed again from what is remembered. */
static bool can_go_back(const struct kv_cache *cache, const struct sequence *s, uint32_t length)
{
    if (cache->sizes.state_bytes)
        return false;
    uint64_t kept = (uint64_t)cache->ring_pages * KV_PAGE_POSITIONS;
    return cache->sizes.window == 0 ||
           (uint64_t)length + kept + 1 >= (uint64_t)s->written + cache->sizes.window;
}

uint32_t kv_sequence_truncate(struct kv_cache *cache, uint32_t sequence, uint32_t length)
{
    struct sequence *s = find(cache, sequence);
    if (length < s->length && !can_go_back(cache, s, length))
        length = 0;
    const uint32_t pages = (uint32_t)kv_page_count(length);
    while (s->page_count > pages)
        cache->free_pages[cache->free_count++] = s->pages[--s->page_count];
    if (s->length > length)
        s->length = length;
    if (s->length == 0) {
        s->written = 0;
        forget_states(cache, sequence);
    }
    return s->length;
}

uint64_t kv_cache_positions_free(const struct kv_cache *cache)
{
    return (uint64_t)cache->free_count * KV_PAGE_POSITIONS;
}

uint8_t *const *kv_sequence_pages(const struct kv_cache *cache, uint32_t sequence, uint32_t layer)
{
    const struct sequence *s = find(cache, sequence);
    return cache->layers[layer].window ? s->ring : s->pages;
}

size_t kv_key_offset(const struct kv_cache *cache, uint32_t layer, uint32_t head)
{
    return cache->offsets[layer] +
           head * (size_t)kv_head_bytes(&cache->layers[layer], cache->format);
}

size_t kv_value_offset(const struct kv_cache *cache, uint32_t layer, uint32_t head)
{
    const struct kv_layer *l = &cache->layers[layer];
    const size_t keys = kv_key_offset(cache, layer, head);
    return l->value_dim ? keys + (size_t)kv_block_bytes(l->key_dim, cache->format) : keys;
}

size_t kv_key_scale_offset(const struct kv_cache *cache, uint32_t layer, uint32_t head)
{
    return kv_key_offset(cache, layer, head) +
           (size_t)KV_PAGE_POSITIONS * cache->layers[layer].key_dim;
}

size_t kv_value_scale_offset(const struct kv_cache *cache, uint32_t layer, uint32_t head)
{
    if (cache->layers[layer].value_dim == 0)
        return kv_key_scale_offset(cache, layer, head);
    return kv_value_offset(cache, layer, head) +
           (size_t)KV_PAGE_POSITIONS * cache->layers[layer].value_dim;
}

float *kv_state(const struct kv_cache *cache, uint32_t sequence, uint32_t layer)
{
    ASSERT(cache->layers[layer].state_floats > 0);
    return (float *)(void *)(states(cache, sequence) + cache->offsets[layer]);
}
