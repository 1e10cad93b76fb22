/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_pull: a model from a hub into the cache of this node: revision to commit, list of files, the
 * small files, the weights their index names, then the links and the ref.
 *
 * What is in the cache already, from whomever, is not fetched: its hash is checked.  What a pull
 * before left half-done is gone on with.  Two commits never mix: everything after the first
 * question names the commit.
 *
 * Owner    a thread of the downloader's pool; one call for each pull.
 * Memory   its own; all freed at the end.
 * Threads  any; pulls of one process share the gates alone.
 * Fails    UNREACHABLE with the remedy when offline, NO_SPACE with the bytes needed, and what
 *          hub_ask, hub_tree and hub_download say.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_HUB_PULL_H
#define TROUPE_ACTORS_DOWNLOADER_HUB_PULL_H

#include "actors/downloader/hub_download.h"

struct hub_pull {
    const struct hub_env *env;
    struct hub_gates *gates;
    const struct hub_cache *cache;
    const char *ledgers;  /* directory of this node alone, for the chunk ledgers */
    const char *model_id; /* the name of the repository */
    const char *revision; /* NULL or empty: main */
    uint32_t connections;
    uint32_t tries_max;
    void (*progress)(void *who, const struct hub_progress *progress); /* or NULL */
    bool (*is_cancelled)(void *who);
    bool (*is_unwanted)(void *who); /* cancelled for good: nothing is kept; or NULL */
    void *who;
};

struct hub_pulled {
    char commit[HUB_COMMIT_SIZE];
    uint32_t file_count;
    uint32_t passed_over; /* files of the repository that are not fetched */
    uint32_t programs;    /* of those, *.py */
    uint64_t bytes;
    struct hub_counts counts;
};

MUST_CHECK enum status hub_pull_run(const struct hub_pull *pull, struct hub_pulled *pulled_out,
                                    struct reason *reason);
#endif
