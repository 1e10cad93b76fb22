/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight_tables: the table of tensors of a model that no rank has whole.
 *
 * Each rank that sends files reads their headers and tells all others of them; every rank puts the
 * parts together, in the order of the ranks, and comes to the same table.
 *
 * Owner    weight_load.c.
 * Memory   the table is the caller's.
 * Threads  as weight_load: every rank of the world calls at the same time.
 * Fails    what reading fails with; CANCELLED when another rank failed; HASH_MISMATCH, MALFORMED,
 *          TOO_LARGE, NO_MEMORY; IO when a sibling is lost.
 */
#ifndef TROUPE_ACTORS_RUNNER_WEIGHT_TABLES_H
#define TROUPE_ACTORS_RUNNER_WEIGHT_TABLES_H

#include "actors/runner/weight_load.h"
#include "protocol/hash.h"

/* What is told before a table. */
struct table_head {
    uint64_t size; /* 0: the sender has none to give */
    struct hash digest;
    struct mac_key key; /* of the checks of this load */
    uint64_t window;    /* of all ranks: their batches are of one size */
};

/* Of a packed table: 262,144 tensors with long names. */
#define TABLE_SIZE_MAX ((uint64_t)128 << 20)

/* True when every rank is well; all ranks call at the same time. */
MUST_CHECK enum status weight_agree(struct collective *collective, enum status own,
                                    struct reason *reason);
/* `head_out`: key and window of the first rank that sends. */
MUST_CHECK enum status weight_tables_gather(const struct weight_load_request *request,
                                            struct tensor_table **table_out,
                                            struct table_head *head_out, struct reason *reason);

#endif
