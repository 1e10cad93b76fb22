/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_store: the models on a node's disk.
 *
 * The files lie in a cache in the layout of the hub (runtime/hub_cache.h), which others read and
 * write too, or in a directory that is used in place and never written.  What this node knows of
 * them, a holding for each model (runtime/model_manifest.h), lies in HOME/holdings; two nodes may
 * share a cache.  A model is this node's when its holding is there, which is written last: half a
 * model is never seen as one.  Before anything of a model becomes visible or is removed, a journal
 * says what; when the same owner opens the store again after a kill, what is half-done is undone.
 *
 * Owner    downloader and transferer, each with a name of its own; the runner only reads.
 * Memory   a model_store is a plain value with two descriptors; records are the caller's.
 * Threads  any, also at once; the two owners may work at the same time.
 * Fails    NO_SPACE with the bytes needed, NO_PERMISSION, IO, HASH_MISMATCH, DAMAGED, STALE (the
 *          source changed while it was read), CANCELLED, and what model_card_read says.
 */
#ifndef TROUPE_RUNTIME_MODEL_STORE_H
#define TROUPE_RUNTIME_MODEL_STORE_H

#include "runtime/hub_cache.h"
#include "runtime/model_card.h"
#include "runtime/model_manifest.h"
#include "runtime/paths.h"

#include <stdatomic.h>

#define MODEL_STORE_PATH_SIZE 2048
#define FILE_PART_SIZE ((size_t)512 << 10)

struct model_store_places {
    const char *store;       /* root of the cache */
    const char *holdings;    /* HOME/holdings */
    const char *directories; /* setting model_directories: "DIR:DIR", used in place; or NULL */
};

/* Of a node; the texts are those of `paths`. */
struct model_store_places model_store_places_of(const struct paths *paths);

struct model_store {
    struct hub_cache cache;
    const char *directories; /* borrowed */
    char owner[32];
    char tag[9]; /* of the holdings: nodes that share a cache have each their own */
    int holdings;
    atomic_uint counter;
};

/* Makes the directories when they are absent and undoes what this owner left half-done.  The
 * places' texts stay the caller's and must outlive the store. */
MUST_CHECK enum status model_store_open(struct model_store *store,
                                        const struct model_store_places *places, const char *owner,
                                        struct reason *reason);
/* Writes nothing. */
MUST_CHECK enum status model_store_open_read(struct model_store *store,
                                             const struct model_store_places *places,
                                             struct reason *reason);
void model_store_close(struct model_store *store);

enum model_holding {
    MODEL_ABSENT,
    MODEL_DAMAGED,     /* a small file or the holding is not what it was; `reason` names it */
    MODEL_SMALL_FILES, /* all but weights and index; `reason` names a weight that is wrong */
    MODEL_WHOLE
};

/* By stamps alone, fast enough for each load.  `record_out` may be NULL; it is filled unless the
 * model is absent or has no readable holding. */
MUST_CHECK enum model_holding model_store_check(const struct model_store *store,
                                                const char *model_id,
                                                struct model_record *record_out,
                                                struct reason *reason);
/* The same, and the directory where the files lie: a runner's first step. */
MUST_CHECK enum model_holding model_store_locate(const struct model_store *store,
                                                 const char *model_id, char *path_out,
                                                 size_t path_size,
                                                 struct model_record *record_out,
                                                 struct reason *reason);
/* The same, and which files are right: a bit for each of the record, as protocol/holdings.h has
 * it; all zero when the model is absent or damaged. */
MUST_CHECK enum model_holding model_store_held(const struct model_store *store,
                                               const char *model_id, char *path_out,
                                               size_t path_size, struct model_record *record_out,
                                               uint8_t held_out[FILE_SET_BYTES_MAX],
                                               struct reason *reason);
/* Like model_store_check, but a file whose stamp differs and whose size does not (a store that was
 * copied to another disk) is read again; when its digest is right its stamp is renewed.  So is a
 * file that is lacking and lies among the blobs by its hub's name. */
MUST_CHECK enum model_holding model_store_verify(const struct model_store *store,
                                                 const char *model_id,
                                                 struct model_record *record_out,
                                                 struct reason *reason);
/* Calls `visit` with each model that has a readable holding. */
MUST_CHECK enum status model_store_list(const struct model_store *store,
                                        enum status (*visit)(void *who, const char *model_id),
                                        void *who, struct reason *reason);
/* A model of that name that others put there, whole: the snapshot of the store that `revision`
 * names (a branch or a commit; NULL: main), or a directory below model_directories. */
MUST_CHECK enum status model_store_find(const struct model_store *store, const char *model_id,
                                        const char *revision, char *path_out, size_t path_size,
                                        struct reason *reason);
/* That commit of it, whole, in a cache among model_directories. */
bool model_store_find_commit(const struct model_store *store, const char *model_id,
                             const char *commit, char *path_out, size_t path_size);

/* A blob that its writer read a moment ago and found to have the hash it is named by: with the same
 * stamp it is not read again. */
struct known_blob {
    char etag[ETAG_SIZE];
    struct file_stamp stamp;
    struct hash digest;
    struct hash *chunks; /* of each 8 MiB */
};

struct model_import {
    const char *model_id;
    const char *source; /* absolute path of a directory in the MLX layout */
    void (*progress)(void *who, uint64_t bytes_have, uint64_t bytes_total); /* or NULL */
    bool (*is_cancelled)(void *who);                                        /* or NULL */
    /* Before so many bytes are copied; or NULL. */
    enum status (*make_room)(void *who, uint64_t bytes, struct reason *reason);
    void *who;
    const struct hash *revision_in_use; /* no other takes its place; NULL or zero: any may */
    const struct known_blob *known; /* of a snapshot of the store; may be NULL */
    uint32_t known_count;
};

/* What the state keeps of a card. */
MUST_CHECK enum status model_record_fill(const struct model_card *card, struct model_record *record,
                                         struct reason *reason);
/* Takes a model in, verified; an older one of that name is replaced in one stroke.  A snapshot of
 * the store and what lies below model_directories stays where it is and is read once, its files
 * against the hashes that name them; anything else is copied into the store. */
MUST_CHECK enum status model_store_import(struct model_store *store,
                                          const struct model_import *import,
                                          struct model_record *record_out, struct reason *reason);

/* Stores the small files of a record got from a peer: `contents` has one entry per file of the
 * record, in its order; only those of small files are looked at.  Each is checked against its
 * digest.  Weights of the same revision that are here already stay. */
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

/* A file of that revision as it was verified, by its stamp, open for reading. */
MUST_CHECK enum status model_store_open_file(const struct model_store *store, const char *model_id,
                                             const struct hash *revision, const char *name,
                                             int *file_out, struct reason *reason);

/* A file of a model that is used in place, by its hub's name, as it was verified. */
MUST_CHECK enum status model_store_open_in_place(const struct model_store *store,
                                                 const char *model_id, const char *etag,
                                                 int *file_out, struct reason *reason);

/* What goes when it is removed: nothing of a directory that is used in place. */
struct model_usage {
    uint64_t bytes;
    uint64_t used_ms;
    bool is_pinned;
};
MUST_CHECK enum status model_store_usage(const struct model_store *store, const char *model_id,
                                         struct model_usage *usage_out, struct reason *reason);

/* Forgets a model and removes its files from the store, except those that other snapshots have; a
 * directory that was used in place stays.  Nothing there is fine. */
MUST_CHECK enum status model_store_delete(struct model_store *store, const char *model_id,
                                          struct reason *reason);
/* A pinned model is never removed to make room; `used_ms` is its last use, an earlier one changes
 * nothing. */
MUST_CHECK enum status model_store_note(struct model_store *store, const char *model_id,
                                        bool is_pinned, uint64_t used_ms, struct reason *reason);

/* A peer got other bytes of that chunk (of all files, in the record's order) than the manifest
 * says.  It is read again; when the disk has it wrong, its file is none as it was stored from here
 * on, for every look at the stamps. */
MUST_CHECK enum status model_store_doubt(struct model_store *store, const char *model_id,
                                         const struct hash *revision, uint32_t chunk,
                                         bool *is_wrong_out, struct reason *reason);

/* ---- between the files of the store alone ---- */

/* One change of a model at a time, of whichever owner and thread: waits, at most `timeout_ms` and
 * while `import`, which may be NULL, is not cancelled; then BUSY. */
#define STORE_WAIT_MS 2000u
#define STORE_WAIT_LONG_MS 600000u
MUST_CHECK enum status store_lock_model(const struct model_store *store, const char *model_id,
                                        uint64_t timeout_ms, const struct model_import *import,
                                        struct hub_lock *lock_out, struct reason *reason);

/* What is about to be seen or removed; an empty commit: none. */
struct store_journal {
    const char *model_id;
    char made[HUB_COMMIT_SIZE];    /* snapshot that is being made */
    bool was_there;                /* it was there before, of others or of an earlier time */
    const struct model_manifest *blobs; /* whose files become blobs; NULL: none yet */
    char removed[HUB_COMMIT_SIZE]; /* snapshot that goes when the holding is another or none */
    const struct model_manifest *gone; /* whose files it has; NULL when nothing is removed */
};
MUST_CHECK enum status store_journal_put(struct model_store *store,
                                         const struct store_journal *journal,
                                         struct reason *reason);
/* Makes good what a journal says of this model, forwards when its holding was written, else
 * backwards, and removes it; none there is fine.  The model is locked. */
MUST_CHECK enum status store_journal_settle(struct model_store *store, const char *model_id,
                                            struct reason *reason);
MUST_CHECK enum status store_journals_settle(struct model_store *store, struct reason *reason);

/* A file of ours on its way, not yet named by its hash. */
#define STORE_PARTIAL_SIZE 128
MUST_CHECK enum status store_partial_make(struct model_store *store, const char *model_id,
                                          int blobs, char name_out[STORE_PARTIAL_SIZE],
                                          int *file_out, struct reason *reason);
/* True when what lies among the blobs under the etag of `facts` is this file; its stamp is filled.
 */
bool store_blob_is_there(int blobs, const struct file_entry *entry, struct file_facts *facts);
/* Its place among the blobs; one that is there and right stays instead.  `facts` has the etag; its
 * stamp is filled. */
MUST_CHECK enum status store_partial_place(const struct model_store *store, const char *model_id,
                                           int blobs, const char *name,
                                           const struct file_entry *entry,
                                           struct file_facts *facts, struct reason *reason);
/* The directory of the files. */
MUST_CHECK enum status store_open_model(const struct model_store *store,
                                        const struct model_manifest *manifest,
                                        int *directory_out, struct reason *reason);
/* BLAKE2b of an open file, from the disk. */
MUST_CHECK enum status store_file_digest(int file, const char *name, uint64_t size,
                                         struct hash *digest_out, struct reason *reason);
/* What of a record's files becomes blobs is linked, then the branch main is set when there is none
 * or it stands at `old_commit`; small files alone get no branch. */
MUST_CHECK enum status store_link_all(struct model_store *store,
                                      const struct model_manifest *manifest,
                                      struct reason *reason);
MUST_CHECK enum status store_set_main(struct model_store *store,
                                      const struct model_manifest *manifest,
                                      const char *old_commit, struct reason *reason);

#endif
