/* SPDX-License-Identifier: Apache-2.0 */
/*
 * downloader_shell: the downloader's hands: looks, copies and deletes on threads of the loop.
 *
 * Owner    main.
 * Memory   the store; requests while they are worked on.
 * Threads  perform on the loop's; the work on its pool; an import that runs when the loop ends
 *          gives up at the next window and leaves nothing.
 * Fails    into results.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_DOWNLOADER_SHELL_H
#define TROUPE_ACTORS_DOWNLOADER_DOWNLOADER_SHELL_H

#include "runtime/loop.h"
#include "runtime/model_store.h"

struct downloader_shell {
    struct model_store *store;
};

/* The store is open and stays the caller's. */
struct shell downloader_shell(struct downloader_shell *self);

#endif
