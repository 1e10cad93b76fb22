/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_manifest: what stands beside the files of a stored model: its record and one stamp per
 * file, by which a load sees in a moment whether a file is still the one that was verified.
 *
 * File ".troupe-manifest" in the directory of the model, numbers little-endian:
 *
 *   bytes        what
 *   8            "TROUPEMF"
 *   4            version, 1
 *   4            size of the record
 *   size         model_record as a msgpack map (protocol/schema_state.h), without holders
 *   24 per file  stamp: inode, size, time of change in ns since 1970; all zero: file not here
 *   32           BLAKE2b-256 of everything before
 *
 * Owner    the model store.
 * Memory   the record and the stamps are the manifest's; model_manifest_fini frees them.
 * Threads  none of its own.
 * Fails    NOT_FOUND (no manifest), DAMAGED (hash, version, names), IO, NO_MEMORY; one sentence.
 */
#ifndef TROUPE_RUNTIME_MODEL_MANIFEST_H
#define TROUPE_RUNTIME_MODEL_MANIFEST_H

#include "protocol/schema.h"
#include "protocol/status.h"
#include "runtime/hub_names.h"

#include <stdbool.h>
#include <sys/stat.h>

#define MODEL_MANIFEST_NAME ".troupe-manifest"
#define MODEL_DIRECTORY_NAME_SIZE 256
/* The largest tokenizer.json of today has 34 MB. */
#define SMALL_FILE_SIZE_MAX ((uint64_t)128 << 20)

struct file_stamp {
    uint64_t inode;
    uint64_t size;
    uint64_t changed_ns;
};

struct model_manifest {
    struct model_record record;
    struct file_stamp *stamps; /* one per file of the record */
};

/* "org/name" -> "org--name"; INVALID for a name that is not sound. */
MUST_CHECK enum status model_directory_name(const char *model_id,
                                            char name_out[MODEL_DIRECTORY_NAME_SIZE],
                                            struct reason *reason);
/* A plain name of a kind we read: *.safetensors, *.json, *.jinja, *.txt, *.model. */
bool model_file_name_is_sound(const char *name);
bool model_file_is_weight_kind(const char *name);
/* BLAKE2b over (name, NUL, size, digest) of the sorted files. */
struct hash model_revision(const struct model_record *record);

struct file_stamp file_stamp_of(const struct stat *facts);
bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b);

/* In one stroke: written beside, synced, renamed over. */
MUST_CHECK enum status model_manifest_write(int directory, const struct model_manifest *manifest,
                                            struct reason *reason);
MUST_CHECK enum status model_manifest_read(int directory, struct model_manifest *manifest_out,
                                           struct reason *reason);
/* Accepts a zeroed manifest. */
void model_manifest_fini(struct model_manifest *manifest);

#endif
