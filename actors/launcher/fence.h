/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fence: matches the blobs that the launchers of one generation give to one PMIx fence.
 *
 * A fence is named by its signature ("*" for the whole world, else the ranks in ascending order,
 * "0,2") and a sequence that each launcher counts for each signature.  A sibling's blob may come
 * before the own rank has entered the fence; it is kept.  Rank i lives on node i.
 *
 * Owner    pmix_host; pure, no PMIx in it.
 * Memory   copies of the blobs until the fence is taken; bounded by the limits below.
 * Threads  one.
 * Fails    STATUS_INVALID, STATUS_TOO_LARGE, STATUS_EXISTS for a blob that came twice.
 */
#ifndef TROUPE_ACTORS_LAUNCHER_FENCE_H
#define TROUPE_ACTORS_LAUNCHER_FENCE_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* Three digits and a comma for each rank of the largest world. */
    FENCE_SIGNATURE_SIZE = 512,
    FENCE_RANKS_MAX = 100,
    /* Measured blobs have 48 to 69 bytes for each node. */
    FENCE_BLOB_SIZE_MAX = 1 << 20,
    /* MPI has one fence open at a time; a sibling may be one ahead. */
    FENCE_PENDING_MAX = 16
};

struct fence_table;

MUST_CHECK enum status fence_table_open(uint32_t rank_count, struct fence_table **table_out);
/* Accepts NULL. */
void fence_table_close(struct fence_table *table);

/* Writes the signature of `ranks`; a `count` of 0 means the whole world. */
MUST_CHECK enum status fence_signature(const uint32_t *ranks, size_t count,
                                       char signature_out[FENCE_SIGNATURE_SIZE]);

/* Keeps a copy of the blob of `rank`. */
MUST_CHECK enum status fence_table_add(struct fence_table *table, const char *signature,
                                       uint64_t sequence, uint32_t rank, const void *bytes,
                                       size_t size, struct reason *reason);

/* True when every participant's blob is there: the blobs in rank order, one after another, which
 * the caller frees with memory_free, and the fence is forgotten. */
bool fence_table_take(struct fence_table *table, const char *signature, uint64_t sequence,
                      void **bytes_out, size_t *size_out);

#endif
