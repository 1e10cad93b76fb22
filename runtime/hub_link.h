/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_link: opens files of a snapshot of the hub's cache, and of any model directory.
 *
 * A symbolic link is followed only when it has one of the two forms of the cache: from a snapshot
 * "../../blobs/NAME" (one "../" more for each directory below the snapshot), and from there
 * "../../blobs/XX/HASH", the files that several models share.  Each step is opened below an open
 * directory without following links, so whatever is swapped meanwhile, nothing outside is read.
 *
 * Memory   none.
 * Threads  any.
 * Fails    as the system call does, with errno; ELOOP: a link that is none of these; EINVAL: no
 *          regular file, or a path that is not sound.
 */
#ifndef TROUPE_RUNTIME_HUB_LINK_H
#define TROUPE_RUNTIME_HUB_LINK_H

#include "protocol/assert.h"

#include <stddef.h>

#define HUB_BLOB_NAME_SIZE 129

/* The file of a path (hub_path_is_sound) below an open directory, for reading; negative: none.
 * `blob_out` may be NULL; it is the name of the blob, empty when a file itself lies there. */
MUST_CHECK int hub_file_open(int directory, const char *path, char blob_out[HUB_BLOB_NAME_SIZE]);
/* The file of a blob in an open directory "blobs" of a model. */
MUST_CHECK int hub_blob_open(int blobs, const char *name);
/* What the link of that path says: the name of the blob; negative: no link of the cache. */
MUST_CHECK int hub_link_read(int directory, const char *name, size_t depth,
                             char blob_out[HUB_BLOB_NAME_SIZE]);

#endif
