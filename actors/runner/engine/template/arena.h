/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena: memory that grows in blocks, has a ceiling and is given back all at once.
 *
 * Owner    a chat template (its parsed form) or one rendering of it.
 * Memory   blocks of at least 16 KiB; never more than the ceiling in all.
 * Threads  none: one arena, one thread.
 * Fails    NULL when the ceiling or the machine's memory is reached.
 */
#ifndef TROUPE_ENGINE_TEMPLATE_ARENA_H
#define TROUPE_ENGINE_TEMPLATE_ARENA_H

#include "protocol/assert.h"

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *newest;
    size_t size_taken;
    size_t size_max;
};

void arena_init(struct arena *arena, size_t size_max);
void arena_fini(struct arena *arena);
/* Zeroed, aligned for every type. */
MUST_CHECK void *arena_take(struct arena *arena, size_t size);

#endif
