/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_store: the models on a node's disk.
 *
 * One directory per model ("org/name" lies in "org--name") with its files and a manifest
 * (runtime/model_manifest.h).  A model is made in a directory ".partial-OWNER-N", synced, read back
 * and renamed to its place, so that half a model is never seen as one; what a kill left behind is
 * removed when the same owner opens the store again.  No name from outside is used as a path:
 * names are checked, files are opened below an open directory, links are not followed.
 *
 * Owner    downloader and transferer, each with a name of its own; the runner only reads.
 * Memory   a model_store is a plain value with one descriptor; records are the caller's.
 * Threads  any, also at once; the two owners may work at the same time.
 * Fails    NO_SPACE with the bytes needed, NO_PERMISSION, IO, HASH_MISMATCH, DAMAGED, STALE (the
 *          source changed while it was read), CANCELLED, and what model_card_read says.
 */
#ifndef TROUPE_RUNTIME_MODEL_STORE_H
#define TROUPE_RUNTIME_MODEL_STORE_H

#include "runtime/model_card.h"
#include "runtime/model_manifest.h"

#include <stdatomic.h>

#define MODEL_STORE_PATH_SIZE 1088
#define FILE_PART_SIZE ((size_t)512 << 10)

struct model_store {
    char path[MODEL_STORE_PATH_SIZE];
    char owner[32];
    int directory;
    atomic_uint counter;
};

/* Makes the directory when it is absent and removes what this owner left half-made. */
MUST_CHECK enum status model_store_open(struct model_store *store, const char *path,
                                        const char *owner, struct reason *reason);
void model_store_close(struct model_store *store);

/* "<store>/<org--name>": where the files of a model lie. */
MUST_CHECK enum status model_store_path(const char *store_path, const char *model_id,
                                        char *path_out, size_t path_size, struct reason *reason);

enum model_holding {
    MODEL_ABSENT,
    MODEL_DAMAGED,     /* a small file or the manifest is not what it was; `reason` names it */
    MODEL_SMALL_FILES, /* all but the weights; `reason` says which weight is wrong, if one is */
    MODEL_WHOLE
};

/* By stamps alone, fast enough for each load.  `record_out` may be NULL; it is filled unless the
 * model is absent or has no readable manifest. */
MUST_CHECK enum model_holding model_store_check(const struct model_store *store,
                                                const char *model_id,
                                                struct model_record *record_out,
                                                struct reason *reason);
/* The same for a directory of the store that is known by its path (the runner's first step). */
MUST_CHECK enum model_holding model_directory_check(const char *path,
                                                    struct model_record *record_out,
                                                    struct reason *reason);
/* Like model_store_check, but a file whose stamp differs and whose size does not (a store that was
 * copied to another disk) is read again; when its digest is right its stamp is renewed. */
MUST_CHECK enum model_holding model_store_verify(const struct model_store *store,
                                                 const char *model_id,
                                                 struct model_record *record_out,
                                                 struct reason *reason);
/* Calls `visit` with each model that has a readable manifest. */
MUST_CHECK enum status model_store_list(const struct model_store *store,
                                        enum status (*visit)(void *who, const char *model_id),
                                        void *who, struct reason *reason);

struct model_import {
    const char *model_id;
    const char *source; /* absolute path of a directory in the MLX layout */
    void (*progress)(void *who, uint64_t bytes_have, uint64_t bytes_total); /* or NULL */
    bool (*is_cancelled)(void *who);                                        /* or NULL */
    void *who;
};

/* What the state keeps of a card. */
MUST_CHECK enum status model_record_fill(const struct model_card *card, struct model_record *record,
                                         struct reason *reason);
/* Copies a model into the store, verified; an older copy is replaced in one stroke. */
MUST_CHECK enum status model_store_import(struct model_store *store,
                                          const struct model_import *import,
                                          struct model_record *record_out, struct reason *reason);

/* Stores the small files of a record got from a peer: `contents` has one entry per file of the
 * record, in its order; those of weights are not looked at.  Each is checked against its digest.
 * Weights of the same revision that are here already stay. */
MUST_CHECK enum status model_store_put_small(struct model_store *store,
                                             const struct model_record *record,
                                             const struct bytes *contents, struct reason *reason);
/* One part of a small file of that revision, at most FILE_PART_SIZE bytes; `total_out` is the size
 * of the file. */
MUST_CHECK enum status model_store_read_small(const struct model_store *store,
                                              const char *model_id, const struct hash *revision,
                                              const char *name, uint64_t offset,
                                              uint8_t *part_out, uint32_t *size_out,
                                              uint64_t *total_out, struct reason *reason);

/* Nothing there is fine. */
MUST_CHECK enum status model_store_delete(struct model_store *store, const char *model_id,
                                          struct reason *reason);

/* ---- between the files of the store alone ---- */

/* Makes an empty ".partial-OWNER-N"; the descriptor is open. */
MUST_CHECK enum status store_partial_make(struct model_store *store, char name_out[64],
                                          int *directory_out, struct reason *reason);
/* Puts a finished directory in its place and removes what was there. */
MUST_CHECK enum status store_partial_place(struct model_store *store, const char *name,
                                           int directory, const char *model_id,
                                           struct reason *reason);
/* Gives up: removes it, whatever is in it. */
void store_partial_drop(struct model_store *store, const char *name, int directory);
/* Room for so many bytes, or NO_SPACE with both numbers. */
MUST_CHECK enum status store_room_check(const struct model_store *store, const char *model_id,
                                        uint64_t bytes, struct reason *reason);
/* BLAKE2b of an open file, from the disk. */
MUST_CHECK enum status store_file_digest(int file, const char *name, uint64_t size,
                                         struct hash *digest_out, struct reason *reason);

#endif
