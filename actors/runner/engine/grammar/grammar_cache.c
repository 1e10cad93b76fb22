/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/grammar_cache.h"

#include "protocol/memory.h"

#include <string.h>

void grammar_cache_init(struct grammar_cache *cache)
{
    *cache = (struct grammar_cache){.clock = 0};
}

static void clear_row(struct grammar_cache *cache, size_t row)
{
    grammar_release(cache->rows[row].grammar);
    memory_free(cache->rows[row].key);
    cache->rows[row].grammar = NULL;
    cache->rows[row].key = NULL;
}

void grammar_cache_fini(struct grammar_cache *cache)
{
    for (size_t row = 0; row < GRAMMAR_CACHE_COUNT; row++)
        clear_row(cache, row);
}

size_t grammar_cache_memory(const struct grammar_cache *cache)
{
    size_t bytes = 0;
    for (size_t row = 0; row < GRAMMAR_CACHE_COUNT; row++)
        if (cache->rows[row].grammar)
            bytes += grammar_memory(cache->rows[row].grammar) + cache->rows[row].key_size;
    return bytes;
}

/* The row that was used longest ago; with `idle` only of those no answer uses. */
static size_t oldest_row(const struct grammar_cache *cache, bool idle)
{
    size_t oldest = GRAMMAR_CACHE_COUNT;
    for (size_t row = 0; row < GRAMMAR_CACHE_COUNT; row++) {
        const struct grammar *grammar = cache->rows[row].grammar;
        if (grammar && (!idle || grammar->holders == 1) &&
            (oldest == GRAMMAR_CACHE_COUNT || cache->rows[row].used < cache->rows[oldest].used))
            oldest = row;
    }
    return oldest;
}

struct grammar *grammar_cache_find(struct grammar_cache *cache, const char *key, size_t key_size)
{
    for (size_t row = 0; row < GRAMMAR_CACHE_COUNT; row++) {
        if (!cache->rows[row].grammar || cache->rows[row].key_size != key_size ||
            memcmp(cache->rows[row].key, key, key_size) != 0)
            continue;
        cache->rows[row].used = ++cache->clock;
        return cache->rows[row].grammar;
    }
    return NULL;
}

/* Rows go, oldest first, until all take at most so many bytes. */
static void shrink(struct grammar_cache *cache, size_t most, bool idle)
{
    size_t bytes = grammar_cache_memory(cache);
    while (bytes > most) {
        const size_t row = oldest_row(cache, idle);
        if (row == GRAMMAR_CACHE_COUNT)
            return;
        bytes -= grammar_memory(cache->rows[row].grammar) + cache->rows[row].key_size;
        clear_row(cache, row);
    }
}

void grammar_cache_trim(struct grammar_cache *cache)
{
    shrink(cache, GRAMMAR_CACHE_BYTES, true);
}

void grammar_cache_add(struct grammar_cache *cache, const char *key, size_t key_size,
                       struct grammar *grammar)
{
    const size_t bytes = grammar_memory(grammar) + key_size;
    shrink(cache, bytes < GRAMMAR_CACHE_BYTES ? GRAMMAR_CACHE_BYTES - bytes : 0, false);
    size_t row = 0;
    while (row < GRAMMAR_CACHE_COUNT && cache->rows[row].grammar)
        row++;
    if (row == GRAMMAR_CACHE_COUNT)
        row = oldest_row(cache, false);
    clear_row(cache, row);
    cache->rows[row].key = memory_copied(key, key_size);
    if (!cache->rows[row].key)
        return;
    grammar_hold(grammar);
    cache->rows[row].key_size = key_size;
    cache->rows[row].grammar = grammar;
    cache->rows[row].used = ++cache->clock;
}
