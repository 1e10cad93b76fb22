/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/kv_cache.h"

#include "protocol/memory.h"

#include <sys/mman.h>

struct sequence {
    bool is_open;
    uint32_t length;
    uint32_t page_count;
    uint8_t **pages; /* room for every page of the cache */
};

struct kv_cache {
    struct kv_shape shape;
    uint8_t *memory;
    uint64_t page_bytes;
    uint32_t page_count;
    uint8_t **free_pages;
    uint32_t free_count;
    struct sequence *sequences;
    uint32_t sequence_count;
};

static size_t element_size(const struct kv_shape *shape)
{
    return shape->is_half ? 2 : 4;
}

uint64_t kv_cache_page_bytes(const struct kv_shape *shape)
{
    return (uint64_t)2 * shape->layers * shape->heads * shape->head_dim * KV_PAGE_POSITIONS *
           element_size(shape);
}

static enum status allocate(struct kv_cache *cache, struct reason *reason)
{
    uint64_t bytes = cache->page_bytes * cache->page_count;
    cache->free_pages = memory_zeroed(cache->page_count, sizeof *cache->free_pages);
    cache->sequences = memory_zeroed(cache->sequence_count, sizeof *cache->sequences);
    if (!cache->free_pages || !cache->sequences)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the tables of the KV cache");
    void *memory = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a KV cache of %llu bytes; promise "
                      "a shorter context", (unsigned long long)bytes);
    cache->memory = memory;
    for (uint32_t i = 0; i < cache->page_count; i++)
        cache->free_pages[cache->page_count - 1 - i] = cache->memory + i * cache->page_bytes;
    cache->free_count = cache->page_count;
    return STATUS_OK;
}

enum status kv_cache_open(const struct kv_shape *shape, uint64_t positions, uint32_t sequences,
                          struct kv_cache **cache_out, struct reason *reason)
{
    uint64_t pages = positions / KV_PAGE_POSITIONS + (positions % KV_PAGE_POSITIONS != 0);
    uint64_t page_bytes = kv_cache_page_bytes(shape);
    if (pages == 0 || pages > UINT32_MAX || sequences == 0 || sequences > KV_SEQUENCES_MAX ||
        page_bytes == 0 || pages > (uint64_t)INT64_MAX / page_bytes)
        return refuse(reason, STATUS_INVALID, "a KV cache of %llu positions for %u sequences "
                      "cannot be", (unsigned long long)positions, sequences);
    struct kv_cache *cache = memory_zeroed(1, sizeof *cache);
    if (!cache)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a KV cache");
    cache->shape = *shape;
    cache->page_bytes = page_bytes;
    cache->page_count = (uint32_t)pages;
    cache->sequence_count = sequences;
    enum status status = allocate(cache, reason);
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
    for (uint32_t i = 0; cache->sequences && i < cache->sequence_count; i++)
        memory_free(cache->sequences[i].pages);
    if (cache->memory)
        munmap(cache->memory, (size_t)(cache->page_bytes * cache->page_count));
    memory_free(cache->sequences);
    memory_free(cache->free_pages);
    memory_free(cache);
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

enum status kv_sequence_open(struct kv_cache *cache, uint32_t *sequence_out,
                             struct reason *reason)
{
    for (uint32_t i = 0; i < cache->sequence_count; i++) {
        struct sequence *sequence = &cache->sequences[i];
        if (sequence->is_open)
            continue;
        if (!sequence->pages)
            sequence->pages = memory_zeroed(cache->page_count, sizeof *sequence->pages);
        if (!sequence->pages)
            return refuse(reason, STATUS_NO_MEMORY, "no memory for a sequence's pages");
        sequence->is_open = true;
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
    uint32_t pages = length / KV_PAGE_POSITIONS + (length % KV_PAGE_POSITIONS != 0);
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
}

void kv_sequence_truncate(struct kv_cache *cache, uint32_t sequence, uint32_t length)
{
    struct sequence *s = find(cache, sequence);
    uint32_t pages = length / KV_PAGE_POSITIONS + (length % KV_PAGE_POSITIONS != 0);
    while (s->page_count > pages)
        cache->free_pages[cache->free_count++] = s->pages[--s->page_count];
    if (s->length > length)
        s->length = length;
}

uint64_t kv_cache_positions_free(const struct kv_cache *cache)
{
    return (uint64_t)cache->free_count * KV_PAGE_POSITIONS;
}

uint8_t *const *kv_sequence_pages(const struct kv_cache *cache, uint32_t sequence)
{
    return find(cache, sequence)->pages;
}

size_t kv_key_offset(const struct kv_cache *cache, uint32_t layer, uint32_t head)
{
    size_t block = (size_t)KV_PAGE_POSITIONS * cache->shape.head_dim * element_size(&cache->shape);
    return ((size_t)layer * cache->shape.heads + head) * 2 * block;
}

size_t kv_value_offset(const struct kv_cache *cache, uint32_t layer, uint32_t head)
{
    return kv_key_offset(cache, layer, head) +
           (size_t)KV_PAGE_POSITIONS * cache->shape.head_dim * element_size(&cache->shape);
}

const struct kv_shape *kv_cache_shape(const struct kv_cache *cache)
{
    return &cache->shape;
}
