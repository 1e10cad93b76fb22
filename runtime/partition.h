/* SPDX-License-Identifier: Apache-2.0 */
/*
 * partition: which integer units of a model each rank holds.
 *
 * Pure: the placement makes tables with it, a runner checks with it the table it was given, and the
 * engine cuts by it.  No ratio ever reaches a tensor.
 *
 * Memory   none.
 * Fails    INVALID with the unit that does not add up; NO_CAPACITY when there are more ranks than
 *          units.
 */
#ifndef TROUPE_RUNTIME_PARTITION_H
#define TROUPE_RUNTIME_PARTITION_H

#include "protocol/sharding.h"
#include "protocol/status.h"

#include <stdbool.h>
#include <stdint.h>

#define PARTITION_RANKS_MAX 64u

/* What there is to share. */
struct partition_units {
    uint32_t layers;
    uint32_t kv_groups;   /* a kv head with its query heads */
    uint32_t kv_unit;     /* groups cut only at its multiples; 1 in stock models */
    uint32_t ffn_columns; /* of down_proj: the intermediate size */
    uint32_t ffn_unit;    /* columns cut only at its multiples: the largest group of down_proj */
    uint32_t vocab;       /* rows */
};

/* One rank; every range is [first, end). */
struct partition {
    uint32_t rank;
    uint32_t rank_count;
    enum sharding sharding;
    uint32_t layer_first;
    uint32_t layer_end;
    uint32_t kv_first;
    uint32_t kv_end;
    uint32_t ffn_first;
    uint32_t ffn_end;
    uint32_t vocab_first;
    uint32_t vocab_end;
    bool has_embedding;
    bool has_head;
};

/* Where a share's edge at `at` of `total` falls among `units`, the nearest: how a layer of other
 * units than the table counts in is cut. */
uint64_t partition_edge(uint32_t at, uint32_t total, uint32_t units);
/* Shares `total` units by `shares[count]` (any scale, each above 0): largest remainder, ties to the
 * lower rank, at least one unit each.  False when there are fewer units than ranks. */
bool partition_share(uint32_t total, const uint64_t *shares, uint32_t count, uint32_t *units_out);

/* `shares` NULL means equal ones.  Writes `rank_count` partitions. */
MUST_CHECK enum status partition_solve(enum sharding sharding,
                                       const struct partition_units *units,
                                       const uint64_t *shares, uint32_t rank_count,
                                       struct partition *partitions_out, struct reason *reason);
/* All ranks together hold every unit exactly once, and each table is what its sharding allows. */
MUST_CHECK enum status partition_check(const struct partition *partitions, uint32_t rank_count,
                                       const struct partition_units *units,
                                       struct reason *reason);
/* One table alone lies within the model and its units. */
MUST_CHECK enum status partition_check_one(const struct partition *partition,
                                           const struct partition_units *units,
                                           struct reason *reason);

#endif
