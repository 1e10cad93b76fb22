/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_pull: a model from a hub into the cache of this node: revision to commit, list of files, the
 * small files, the weights their index names, then the links and the ref.
 *
 * What is in the cache already, from whomever, is not fetched: its hash is checked.  What a pull
 * before left half-done is gone on with.  Two commits never mix: everything after the first
 * question names the commit.
 *
 * With a company, other nodes pull the same: one asks the hub of which files the model is made,
 * each file is fetched by one of them, and the chunks of the others' files come into the partial
 * files from elsewhere (hub_incoming.h).  What is whose may change while it runs.  A node to which
 * the hub gives nothing says so and takes all from the others.
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
#include "actors/downloader/hub_plan.h"

struct hub_pull {
    const struct hub_env *env;
    struct hub_gates *gates;
    const struct hub_cache *cache;
    const char *ledgers;  /* directory of this node alone, for the chunk ledgers */
    const char *model_id; /* the name of the repository */
    const char *revision; /* NULL or empty: main */
    const char *commit_in_use; /* that of an instance: no other is fetched; NULL or empty: none */
    uint32_t connections;
    uint32_t tries_max;
    struct hub_company *company; /* NULL: none */
    /* With a company: what the others must know of. */
    void (*resolved)(void *who, const char *commit, const struct hub_tree *tree);
    void (*placed)(void *who, const char *commit, const char *path);
    void (*hindered)(void *who, enum status status, const struct reason *reason);
    void (*progress)(void *who, const struct hub_progress *progress); /* or NULL */
    /* Whether those files of that commit lie whole elsewhere on this machine: then nothing is
     * fetched.  Leaves the weights that its index names.  Or NULL. */
    bool (*is_elsewhere)(void *who, const char *commit, struct hub_tree *tree);
    /* Before files of so many bytes are fetched, `there` of them on the disk already; or NULL. */
    enum status (*make_room)(void *who, uint64_t bytes, uint64_t there, struct reason *reason);
    bool (*is_cancelled)(void *who);
    bool (*is_unwanted)(void *who); /* cancelled for good: nothing is kept; or NULL */
    void *who;
};

struct hub_pulled {
    char commit[HUB_COMMIT_SIZE];
    bool is_elsewhere; /* as the pull was told; the cache has nothing of it */
    uint32_t file_count;
    uint32_t passed_over; /* files of the repository that are not fetched */
    uint32_t programs;    /* of those, *.py */
    uint64_t bytes;
    struct hub_counts counts;
    struct known_blob *known; /* the caller frees: hub_known_free */
    uint32_t known_count;
};

MUST_CHECK enum status hub_pull_run(const struct hub_pull *pull, struct hub_pulled *pulled_out,
                                    struct reason *reason);
#endif
