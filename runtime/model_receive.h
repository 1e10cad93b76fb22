/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_receive: a model on its way into the store, chunk by chunk.
 *
 * Its files lie in a directory ".receiving-HASH" among the blobs of the model (HASH of model and
 * revision), by numbers.  There must be room for all of them at the beginning.  A file of that
 * revision that the store holds already, by its stamp, is here from the beginning and stays where
 * it is.  A chunk is written only after its digest was found right.  Whoever opens it again, after
 * whatever kill, reads what has bytes and keeps the chunks whose digest is right: the manifest is
 * all the ledger there need be, and it cannot lie.  At the end the files are synced, those whose
 * hub's hash the manifest does not say are read for it, and all are placed and linked and the
 * holding is written: then it is a model.
 *
 * Whole blocks are written past the page cache: what runs on this node keeps its weights in memory,
 * and nothing is left to sync at the end.
 *
 * Owner    the transferer's receiving threads.
 * Memory   the receive owns copies of record and manifest, a set of chunks, two descriptors a file.
 * Threads  model_receive_write: several at once, nothing else meanwhile; the rest: one.
 * Fails    NO_SPACE with the bytes needed, HASH_MISMATCH, MALFORMED, IO, NO_MEMORY; one sentence.
 */
#ifndef TROUPE_RUNTIME_MODEL_RECEIVE_H
#define TROUPE_RUNTIME_MODEL_RECEIVE_H

#include "runtime/chunk_manifest.h"
#include "runtime/model_store.h"

#define RECEIVING_NAME_SIZE 48

struct model_receive {
    struct model_store *store;
    struct model_record record;
    struct chunk_manifest manifest;
    char name[RECEIVING_NAME_SIZE];
    int blobs;     /* the directory of the model's blobs */
    int directory; /* ".receiving-HASH" in it */
    uint8_t kept[FILE_SET_BYTES_MAX]; /* files that the store has already: a bit for each */
    int *files;     /* one per file of the record */
    int *direct;    /* the same past the page cache; negative: not on this disk */
    uint8_t *have;  /* a set of chunks */
    uint32_t count; /* chunks in all */
    uint32_t here;  /* chunks in `have` */
    uint64_t bytes_here;
};

/* `manifest_bytes` are checked against the record; `is_cancelled` may be NULL. */
MUST_CHECK enum status model_receive_open(struct model_store *store,
                                          const struct model_record *record,
                                          const struct bytes *manifest_bytes,
                                          bool (*is_cancelled)(void *who), void *who,
                                          struct model_receive *receive_out,
                                          struct reason *reason);
/* Writes the bytes of a chunk, of the size its place has, when their `digest` is that of the
 * manifest; a wrong one changes nothing.  Bytes on a page's beginning are written faster. */
MUST_CHECK enum status model_receive_write(const struct model_receive *receive, uint32_t chunk,
                                           const uint8_t *bytes, const struct hash *digest,
                                           struct reason *reason);
/* It was written. */
void model_receive_note(struct model_receive *receive, uint32_t chunk);
/* Both of them, for one thread alone. */
MUST_CHECK enum status model_receive_put(struct model_receive *receive, uint32_t chunk,
                                         const uint8_t *bytes, struct reason *reason);
/* All chunks are here: makes it a model. */
MUST_CHECK enum status model_receive_place(struct model_receive *receive, struct reason *reason);
/* Keeps what is on the disk, for another time.  Accepts a zeroed receive. */
void model_receive_close(struct model_receive *receive);
/* Closes it and removes all of it. */
void model_receive_drop(struct model_receive *receive);

/* ".receiving-HASH" of a model: the name of its directory in the store. */
void model_receive_name(const char *model_id, const struct hash *revision,
                        char name_out[RECEIVING_NAME_SIZE]);
/* Removes those of no name in `kept`. */
void model_receive_sweep(struct model_store *store, const char (*kept)[RECEIVING_NAME_SIZE],
                         size_t kept_count);
/* What has the chunks of a revision: the model, or a receive of it. */
struct model_source {
    const struct model_store *store;
    char model_id[NAME_SIZE_MAX + 1];
    int directory; /* of what the store holds; negative: nothing */
    uint8_t held[FILE_SET_BYTES_MAX]; /* which files of it are right; others may be on their way */
    struct file_stamp *stamps;        /* of each, as it was verified; NULL: nothing is held */
    struct chunk_manifest manifest;
    int file; /* read last; its number in `file_at` */
    uint32_t file_at;
};

/* Appends the manifest as it is sent to `bytes`, which may be NULL. */
MUST_CHECK enum status model_source_open(const struct model_store *store,
                                         const struct model_record *record,
                                         struct model_source *source_out, struct buffer *bytes,
                                         struct reason *reason);
/* A chunk, or `size` bytes from `offset` in it, as they lie there now; whoever gets them checks.
 * DAMAGED when the file changed since it was verified. */
MUST_CHECK enum status model_source_read(struct model_source *source,
                                         const struct chunk_place *place, uint8_t *bytes_out);
MUST_CHECK enum status model_source_read_part(struct model_source *source,
                                              const struct chunk_place *place, uint32_t offset,
                                              size_t size, uint8_t *bytes_out);
void model_source_close(struct model_source *source);

#endif
