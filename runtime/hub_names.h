/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_names: what may be the name of a model, a commit, a branch or a file, before any of them
 * comes near a disk.  Pure.
 *
 * Memory   the caller's.
 * Threads  any.
 * Fails    INVALID, TOO_LARGE; one sentence that names the name.
 */
#ifndef TROUPE_RUNTIME_HUB_NAMES_H
#define TROUPE_RUNTIME_HUB_NAMES_H

#include "protocol/status.h"

#include <stdbool.h>

#define HUB_NAME_SIZE 512 /* models--org--name: a name of NAME_SIZE_MAX may be all slashes */
#define HUB_COMMIT_SIZE 41
#define HUB_DEPTH_MAX 16 /* parts of a path */

/* "org/name": letters, digits, '.', '_', '-'; no "..", no "--", no empty part. */
bool model_id_is_sound(const char *model_id);
/* "models--org--name"; INVALID for a name that is not sound. */
MUST_CHECK enum status hub_model_name(const char *model_id, char name_out[HUB_NAME_SIZE],
                                      struct reason *reason);
/* The other way; false for a directory that is no model's. */
bool hub_model_id(const char *name, char model_id_out[HUB_NAME_SIZE]);
/* 40 lower-case hex digits. */
bool hub_commit_is_sound(const char *commit);
/* "a/b.json": parts of letters, digits and "._-+@=", beginning with neither '.' nor '-'. */
bool hub_path_is_sound(const char *path);
/* The name of a blob that others wrote: hashes mostly, any word of letters, digits, '_', '-', '.'
 * that begins with no '.'. */
bool hub_blob_name_is_sound(const char *name, size_t length);

#endif
