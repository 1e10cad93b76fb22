/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transferer_shell: the transferer's hands: reads parts and stores small files on threads of the
 * loop.
 *
 * Owner    main.
 * Memory   requests while they are worked on; they come back as the values of the results.
 * Threads  perform on the loop's; the work on its pool.
 * Fails    into results.
 */
#ifndef TROUPE_ACTORS_TRANSFERER_TRANSFERER_SHELL_H
#define TROUPE_ACTORS_TRANSFERER_TRANSFERER_SHELL_H

#include "actors/transferer/transferer.h"
#include "runtime/loop.h"

struct transferer_shell {
    struct model_store *store;
    const char *listen; /* of the streams */
    uint64_t rate;      /* bytes a second; 0: no limit */
    struct bulk *bulk;
};

/* The store is open and stays the caller's. */
struct shell transferer_shell(struct transferer_shell *self);

/* What a thread does for each effect; fills what the request has for the answer. */
void transferer_check(const struct model_store *store, struct check_request *request);
void transferer_manifest(const struct model_store *store, struct manifest_request *request);
void transferer_read(const struct model_store *store, struct read_request *request);

#endif
