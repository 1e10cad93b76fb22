/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_tree: the files of a commit as the hub lists them, page by page, and which of them are
 * fetched.
 *
 * Fetched is what a model is read from, and data alone: in the top directory *.json, *.jinja,
 * *.txt, *.model and the weights, *.safetensors; if the repository has an index of weights, those
 * it names (hub_tree_keep_weights).  Never a program: *.py is not fetched, whatever config.json
 * says.  Every path is checked before it is anything else; one that could leave a directory refuses
 * the whole listing.
 *
 * Owner    the pull.
 * Memory   hub_tree_fini frees all; at most HUB_TREE_FILES_MAX files are kept.
 * Threads  one at a time; pure.
 * Fails    MALFORMED, TOO_LARGE, UNSUPPORTED (a file whose hash the hub does not tell), NO_MEMORY.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_HUB_TREE_H
#define TROUPE_ACTORS_DOWNLOADER_HUB_TREE_H

#include "actors/downloader/hub_head.h"
#include "protocol/limits.h"

#define HUB_INDEX_NAME "model.safetensors.index.json"
#define HUB_INDEX_SIZE_MAX ((uint64_t)64 << 20)
#define HUB_TREE_ENTRIES_MAX 200000u
#define HUB_TREE_PAGES_MAX 400u
#define HUB_TREE_PAGE_SIZE_MAX ((size_t)16 << 20)
#define HUB_FILE_SIZE_MAX ((uint64_t)1 << 43)

struct hub_file {
    char path[NAME_SIZE_MAX + 1];
    char etag[65]; /* 64 digits: SHA-256 of the content; 40: git's SHA-1 */
    uint64_t size;
    bool is_weight;
};

struct hub_tree {
    struct hub_file *files;
    uint32_t count;
    uint32_t entries;     /* seen, of all kinds */
    uint32_t passed_over; /* files that are not fetched */
    uint32_t programs;    /* of those, *.py */
};

void hub_tree_init(struct hub_tree *tree);
void hub_tree_fini(struct hub_tree *tree);
MUST_CHECK enum status hub_tree_page(struct hub_tree *tree, const char *json, size_t size,
                                     struct reason *reason);
/* After the last page: is there what a model needs?  Sorts by name. */
MUST_CHECK enum status hub_tree_check(struct hub_tree *tree, const char *repository,
                                      struct reason *reason);
/* Of the weights only those that `json`, model.safetensors.index.json, names; all of these must be
 * there. */
MUST_CHECK enum status hub_tree_keep_weights(struct hub_tree *tree, const char *json, size_t size,
                                             const char *repository, struct reason *reason);
/* A file from a list that another node made: judged like one of the hub's own list. */
MUST_CHECK enum status hub_tree_add(struct hub_tree *tree, const struct hub_file *file,
                                    struct reason *reason);
const struct hub_file *hub_tree_find(const struct hub_tree *tree, const char *path);
uint64_t hub_tree_bytes(const struct hub_tree *tree);

/* `sha` of the answer about a revision. */
MUST_CHECK enum status hub_revision_commit(const char *json, size_t size, char commit_out[41],
                                           struct reason *reason);

#endif
