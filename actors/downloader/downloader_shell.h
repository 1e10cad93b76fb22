/* SPDX-License-Identifier: Apache-2.0 */
/*
 * downloader_shell: the downloader's hands: looks, copies and deletes on threads of the loop.
 *
 * Owner    main.
 * Memory   the store; requests while they are worked on.
 * Threads  perform on the loop's; the work on its pool; an import or pull that runs when the loop
 *          ends, or that is cancelled, gives up at the next window and leaves nothing, a pull its
 *          partial files and ledgers, but not when it is cancelled.
 * Fails    into results.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_DOWNLOADER_SHELL_H
#define TROUPE_ACTORS_DOWNLOADER_DOWNLOADER_SHELL_H

#include "actors/downloader/hub_gates.h"
#include "runtime/hub_cache.h"
#include "runtime/loop.h"
#include "runtime/model_store.h"

#include <stdbool.h>

struct work;

struct downloader_shell {
    struct model_store *store;
    const struct hub_cache *cache; /* of the store */
    const char *ledgers; /* directory of this node alone */
    uint32_t connections;
    uint32_t tries_max;
    uint64_t quota; /* of the store; 0: none */
    struct hub_gates gates;
    pthread_mutex_t mutex;
    struct work *works; /* imports and pulls that run or wait; guarded by the mutex */
};

void downloader_shell_init(struct downloader_shell *self);
void downloader_shell_fini(struct downloader_shell *self);
/* The store and the cache are open and stay the caller's. */
struct shell downloader_shell(struct downloader_shell *self);

#endif
