/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_manifest: what a node knows of a model on its disk: the record of the cluster, where its
 * directory is, the digest of every chunk, and one stamp per file, by which a load sees in a moment
 * whether a file is still the one that was verified.
 *
 * File "models--ORG--NAME.holding" in HOME/holdings, numbers little-endian:
 *
 *   offset  bytes        what
 *   0       8            "TROUPEHO"
 *   8       4            version, 2
 *   12      4            size of the record
 *   16      4            size of the location; 0: a snapshot of the store
 *   20      4            chunk digests of all files together
 *   24      1            flags: 1 pinned, 2 made by this node and removed with the model's files
 *   25      7            zero
 *   32      8            last use, ms since 1970; 0: never
 *   40      40           commit: of the hub, else the first 40 hex digits of the revision
 *   80      size         model_record as a msgpack map (protocol/schema_state.h), without holders
 *           size         location: absolute path of a directory that is used in place
 *           64 per file  see below
 *           32 per chunk digests (runtime/chunk_digest.h) of each CHUNK_SIZE bytes, the last
 *                        shorter; file by file
 *           32           BLAKE2b-256 of everything before
 *
 *   of a file: 8 inode, 8 size, 8 time of change in ns since 1970, all zero when it is not here;
 *   1 kind of its etag (runtime/crypto_hash.h), 1 whether its chunks are known, 6 zero, 32 etag.
 *
 * Owner    the model store.
 * Memory   the record and all lists are the manifest's; model_manifest_fini frees them.
 * Threads  none of its own.
 * Fails    NOT_FOUND (no holding), DAMAGED (hash, version, names), IO, NO_MEMORY; one sentence.
 */
#ifndef TROUPE_RUNTIME_MODEL_MANIFEST_H
#define TROUPE_RUNTIME_MODEL_MANIFEST_H

#include "protocol/schema.h"
#include "protocol/status.h"
#include "runtime/crypto_hash.h"
#include "runtime/hub_names.h"

#include <stdbool.h>
#include <sys/stat.h>

#define HOLDING_END ".holding"
#define HOLDING_NEW_END ".new" /* "NAME.OWNER.new": what a kill left */
#define HOLDING_NAME_SIZE (HUB_NAME_SIZE + 64)
#define CHUNK_SIZE ((uint64_t)8 << 20)
/* The largest tokenizer.json of today has 34 MB. */
#define SMALL_FILE_SIZE_MAX ((uint64_t)128 << 20)

struct file_stamp {
    uint64_t inode;
    uint64_t size;
    uint64_t changed_ns;
};

struct file_facts {
    struct file_stamp stamp; /* all zero: not here */
    char etag[ETAG_SIZE];    /* empty: not known */
    struct hash *chunks;     /* chunk_count of its size; NULL: not known */
};

struct model_manifest {
    struct model_record record;
    struct file_facts *files; /* one per file of the record */
    char commit[HUB_COMMIT_SIZE];
    char *location; /* NULL: the snapshot of the commit in the store */
    bool is_pinned;
    bool is_made;
    uint64_t used_ms;
};

/* A path of a kind we read, every part checked: *.safetensors, *.json, *.jinja, *.txt, *.model. */
bool model_file_name_is_sound(const char *name);
bool model_file_is_weight_kind(const char *name);
/* What a node that computes without the weights keeps: neither weights nor their index. */
bool model_file_is_small(const struct file_entry *file);
/* BLAKE2b over (name, NUL, size, digest) of the sorted files. */
struct hash model_revision(const struct model_record *record);
/* The first 40 hex digits of a revision: the commit of a model that came from no hub. */
void model_commit(const struct hash *revision, char commit_out[HUB_COMMIT_SIZE]);
/* The commit a record names, else the one of its revision. */
void model_record_commit(const struct model_record *record, char commit_out[HUB_COMMIT_SIZE]);

uint64_t chunk_count(uint64_t size);
struct file_stamp file_stamp_of(const struct stat *facts);
bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b);

/* BLAKE2b over the revision and, of every file, (name, NUL, size, digest, chunk count, chunks);
 * false when the chunks of a file are not known. */
bool model_manifest_digest(const struct model_manifest *manifest, struct hash *digest_out);

/* Room for the facts of the record's files. */
MUST_CHECK enum status model_manifest_make_files(struct model_manifest *manifest,
                                                 struct reason *reason);
/* "models--org--name.holding". */
MUST_CHECK enum status model_holding_name(const char *model_id, char name_out[HOLDING_NAME_SIZE],
                                          struct reason *reason);
/* In one stroke: written beside, under a name of its owner, synced, renamed over. */
MUST_CHECK enum status model_manifest_write(int holdings, const char *owner,
                                            const struct model_manifest *manifest,
                                            struct reason *reason);
MUST_CHECK enum status model_manifest_read(int holdings, const char *model_id,
                                           struct model_manifest *manifest_out,
                                           struct reason *reason);
/* The record is the caller's from here on; the manifest keeps nothing of it. */
void model_manifest_take_record(struct model_manifest *manifest, struct model_record *record_out);
/* Accepts a zeroed manifest. */
void model_manifest_fini(struct model_manifest *manifest);
/* A file of the holdings in one stroke; `name` names it in refusals. */
MUST_CHECK enum status holding_file_put(int holdings, const char *owner, const char *name,
                                        const void *bytes, size_t size, struct reason *reason);
/* All of it, NUL after it; free with memory_free.  NOT_FOUND when there is none. */
MUST_CHECK enum status holding_file_read(int holdings, const char *name, uint8_t **bytes_out,
                                         size_t *size_out, struct reason *reason);

#endif
