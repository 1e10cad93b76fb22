/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grammar_cache: grammars by the texts that demanded them, so that an application that always asks
 * for the same form compiles it once and finds its masks made.
 *
 * Owner    a model.
 * Memory   GRAMMAR_CACHE_COUNT grammars of together GRAMMAR_CACHE_BYTES; they grow while they are
 *          used, and beyond that those used longest ago go, when another is kept or asked for.
 * Threads  one at a time.
 * Fails    never: what cannot be kept is not kept.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_GRAMMAR_CACHE_H
#define TROUPE_ENGINE_GRAMMAR_GRAMMAR_CACHE_H

#include "actors/runner/engine/grammar/grammar.h"

enum { GRAMMAR_CACHE_COUNT = 32, GRAMMAR_CACHE_BYTES = 32 << 20 };

struct grammar_cache {
    struct {
        char *key;
        size_t key_size;
        struct grammar *grammar; /* held; NULL: free */
        uint64_t used;
    } rows[GRAMMAR_CACHE_COUNT];
    uint64_t clock;
};

void grammar_cache_init(struct grammar_cache *cache);
void grammar_cache_fini(struct grammar_cache *cache);
/* Borrowed until the next call; NULL: not known. */
struct grammar *grammar_cache_find(struct grammar_cache *cache, const char *key, size_t key_size);
void grammar_cache_add(struct grammar_cache *cache, const char *key, size_t key_size,
                       struct grammar *grammar);
/* An answer ended: what it made grammars grow to beyond the limit is given back, unless it is in
 * use. */
void grammar_cache_trim(struct grammar_cache *cache);
size_t grammar_cache_memory(const struct grammar_cache *cache);

#endif
