/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_request: what a path of the hub's read protocol asks for.
 *
 *   /MODEL/resolve/REVISION/PATH                 a file
 *   /MODEL/raw/REVISION/PATH                     the same, as git has it: of a large file the few
 *                                                lines that name it
 *   /api/models                                  the list
 *   /api/models/MODEL[/revision/REVISION]        what there is of one
 *   /api/models/MODEL/tree/REVISION[/PATH]       its files
 *   /api/models/MODEL/refs                       its branches
 *   /api/models/MODEL/paths-info/REVISION        some of its files, named in a body
 *   /api/models/MODEL/commits/REVISION           the commits up to it: the one there is
 *   /api/models/MODEL/auth-check                 whether it may be read
 *   /api/whoami-v2                               who asks: nobody in particular
 *   /api/datasets/..., /api/spaces/...           none of those are here
 *
 * MODEL is "name" or "org/name", and may contain the words above: a model of the state counts
 * first.  REVISION is one part, but for refs/pr/N and its like, and the branch a model was pulled
 * by.
 *
 * Memory   a plain value.
 * Threads  any; pure.
 */
#ifndef TROUPE_ACTORS_GATEWAY_HUB_REQUEST_H
#define TROUPE_ACTORS_GATEWAY_HUB_REQUEST_H

#include "protocol/state.h"

enum hub_kind {
    HUB_NOTHING,
    HUB_FILE,
    HUB_RAW,
    HUB_MODELS,
    HUB_MODEL,
    HUB_TREE,
    HUB_REFS,
    HUB_PATHS,
    HUB_COMMITS,
    HUB_AUTH,
    HUB_WHO,
    HUB_OTHER /* no model: a dataset, a space */
};

struct hub_request {
    enum hub_kind kind;
    char model_id[NAME_SIZE_MAX + 1];
    const struct model_record *model; /* NULL: none of that name is known */
    char revision[NAME_SIZE_MAX + 1]; /* empty: none was named */
    char path[NAME_SIZE_MAX + 1];
};

/* `path` is decoded; false: it is none of these, or a part of it is too long for anything. */
MUST_CHECK bool hub_request_read(const char *path, const struct state *state,
                                 struct hub_request *request_out);
/* The cluster has one revision of a model: its commit, whole or from its first 7 digits on, and the
 * branch main, and the branch or tag it was pulled by. */
bool hub_revision_is_known(const struct hub_request *request);
/* `file` is of the model's list. */
bool hub_holder_has(const struct model_record *model, const struct holder_record *holder,
                    const struct file_entry *file);
/* NULL: there is none. */
const struct file_entry *hub_find_file(const struct model_record *model, const char *name);
/* Names of the record that may stand in an answer's head and path. */
bool hub_model_is_sound(const struct model_record *model);

#endif
