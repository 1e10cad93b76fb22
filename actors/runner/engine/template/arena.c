/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/template/arena.h"

#include "protocol/memory.h"

#include <stdalign.h>

struct arena_block {
    struct arena_block *older;
    size_t used;
    size_t capacity;
    alignas(max_align_t) unsigned char bytes[];
};

enum { BLOCK_SIZE_MIN = 16 * 1024, BLOCK_SIZE_GROWN = 256 * 1024 };

void arena_init(struct arena *arena, size_t size_max)
{
    *arena = (struct arena){.size_max = size_max};
}

void arena_fini(struct arena *arena)
{
    struct arena_block *block = arena->newest;
    while (block) {
        struct arena_block *older = block->older;
        memory_free(block);
        block = older;
    }
    *arena = (struct arena){.size_max = arena->size_max};
}

void *arena_take(struct arena *arena, size_t size)
{
    if (size > arena->size_max)
        return NULL;
    size_t rounded = (size + alignof(max_align_t) - 1) / alignof(max_align_t) *
                     alignof(max_align_t);
    struct arena_block *block = arena->newest;
    if (!block || block->capacity - block->used < rounded) {
        size_t capacity = arena->size_taken == 0 ? BLOCK_SIZE_MIN : BLOCK_SIZE_GROWN;
        if (capacity < rounded)
            capacity = rounded;
        if (capacity > arena->size_max - arena->size_taken)
            capacity = arena->size_max - arena->size_taken;
        if (capacity < rounded)
            return NULL;
        block = memory_zeroed(1, sizeof(*block) + capacity);
        if (!block)
            return NULL;
        block->capacity = capacity;
        block->older = arena->newest;
        arena->newest = block;
        arena->size_taken += capacity;
    }
    void *taken = block->bytes + block->used;
    block->used += rounded;
    return taken;
}
