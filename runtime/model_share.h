/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_share: the files of a download as they lie in this node's cache, whole or on their way,
 * seen as one row of chunks: what others can have of it, and where what they give us is written.
 *
 * A file is whole among the blobs, or a partial file with a ledger (chunk_ledger.h), to which the
 * downloader appends as chunks come from the hub.  model_share_look finds what is new.
 *
 * Who writes into a partial file holds a lock on the file itself (flock): the downloader while it
 * fetches it, the transferer while it gathers it.  So what one of them has checked and named cannot
 * be written over by the other.  A partial file is made by the downloader alone.
 *
 * Nothing here makes a file visible: whatever peers sent, the downloader hashes the whole and
 * compares it with the hub's hash before a file gets its name.
 *
 * Owner    the lending and the receiving thread of the transferer, each with its own.
 * Memory   33 bytes per chunk; model_share_close frees all.
 * Threads  one.
 * Fails    MALFORMED, TOO_LARGE, NOT_FOUND, BUSY, HASH_MISMATCH, NO_SPACE, IO, NO_MEMORY.
 */
#ifndef TROUPE_RUNTIME_MODEL_SHARE_H
#define TROUPE_RUNTIME_MODEL_SHARE_H

#include "runtime/chunk_ledger.h"
#include "runtime/chunk_manifest.h"
#include "runtime/model_store.h"

struct share_file {
    struct chunk_ledger ledger;
    uint64_t ledger_read; /* bytes of the ledger file that were taken in */
    uint32_t first;       /* its first chunk, counted over all files */
    bool is_placed;
    bool is_in_place; /* in a directory that is used in place */
    bool was_reset; /* its ledger began anew: what had come was wrong */
    int partial;    /* while we write into it; else -1 */
    int ledger_file;
};

struct model_share {
    const struct model_store *store;
    char model_id[NAME_SIZE_MAX + 1];
    struct share_file *files;
    uint32_t file_count;
    uint32_t count; /* chunks of all files */
    uint8_t *have;  /* a set of chunks: placed, or named by a ledger */
    struct file_stamp holding; /* as it was read last, for what is used in place */
    int opened;                /* the file used in place that was read last; else -1 */
    uint32_t opened_file;
};

/* `download` is resolved; nothing in it is trusted. */
MUST_CHECK enum status model_share_open(const struct model_store *store,
                                        const struct download_record *download,
                                        struct model_share *share_out, struct reason *reason);
/* Accepts a zeroed one. */
void model_share_close(struct model_share *share);

/* Looks what lies there now. */
void model_share_look(struct model_share *share);
/* The same, and what of it lies in a directory that is used in place: for lending. */
void model_share_look_everywhere(struct model_share *share);
bool model_share_place(const struct model_share *share, uint32_t chunk,
                       struct chunk_place *place_out);
/* Copies `have`; strictly: only chunks of files that are placed. */
void model_share_held(const struct model_share *share, bool is_strict, uint8_t *set_out);
/* Bytes of a chunk, as they lie there now. */
MUST_CHECK enum status model_share_read_part(struct model_share *share, uint32_t chunk,
                                             uint32_t offset, uint32_t size, uint8_t *bytes_out);
/* The digest it had when it came; false: nobody kept it, as of a file that is placed. */
bool model_share_digest(const struct model_share *share, uint32_t chunk, struct hash *digest_out);

/* From here on chunks of that file may be put, until _yield; NOT_FOUND: the downloader does not
 * want it, BUSY: it writes itself. */
MUST_CHECK enum status model_share_begin(struct model_share *share, uint32_t file,
                                         struct reason *reason);
void model_share_yield(struct model_share *share, uint32_t file);
/* `told` is the digest its sender has of it. */
MUST_CHECK enum status model_share_put(struct model_share *share, uint32_t chunk,
                                       const uint8_t *bytes, const struct hash *told,
                                       struct reason *reason);

#endif
