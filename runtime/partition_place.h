/* SPDX-License-Identifier: Apache-2.0 */
/*
 * partition_place: the table for ranks of given budgets.
 *
 * Pure.  What every rank keeps comes off first.  Mixers are shared by the room that is left, then
 * columns of FFNs and experts and vocabulary rows so that all ranks end up equally full.  A unit
 * goes only where it fits; what a full rank cannot take moves to others, in whole units, then in
 * units of single layers.  Where few units and ranks leave no table that way, all are searched.
 * Every rank is counted again before a table is given out.
 *
 * Memory   the search takes some and frees it.
 * Fails    NO_CAPACITY naming the rank, what it would need and has; INVALID as partition_solve.
 */
#ifndef TROUPE_RUNTIME_PARTITION_PLACE_H
#define TROUPE_RUNTIME_PARTITION_PLACE_H

#include "runtime/partition.h"

#include <stddef.h>

/* Bytes of weights with what they keep in caches. */
struct partition_costs {
    uint64_t unit_bytes[PARTITION_CLASSES_MAX]; /* of a unit in one layer, the most of any */
    uint64_t kv_bytes[PARTITION_CLASSES_MAX];   /* of a key-value head in one layer */
    uint64_t vocab_bytes;                       /* of a row */
    uint64_t whole_bytes;  /* what every rank of a tensor cut keeps */
    uint64_t rank_bytes;   /* what every rank of a pipeline keeps */
    uint64_t first_bytes;  /* on a pipeline's first stage: the embedding, */
    uint64_t last_bytes;   /* on its last: the head, the same table where they are tied; */
    uint64_t both_bytes;   /* on one that is both; vocab_bytes a row */
    const uint64_t *layer_bytes; /* [layers, at most PARTITION_LAYERS_MAX] for a pipeline */
    const uint64_t *layer_whole; /* of these, what each rank of its stage keeps; for stages of
                                  * several ranks */
};

/* What a rank of this table takes. */
uint64_t partition_bytes(const struct partition_units *units, const struct partition_costs *costs,
                         const struct partition *partition);
/* `shares` NULL: by the budgets.  Shares are taken as they are, and refused with the nearest that
 * fit when a rank is over its budget. */
MUST_CHECK enum status partition_place(enum sharding sharding,
                                       const struct partition_units *units,
                                       const struct partition_costs *costs,
                                       const uint64_t *shares, const uint64_t *budgets,
                                       uint32_t rank_count, struct partition *partitions_out,
                                       struct reason *reason);
/* The same for a pipeline of tensor groups: layers by the memory of each stage, then units by that
 * of its ranks. */
MUST_CHECK enum status partition_place_stages(const struct partition_units *units,
                                              const struct partition_costs *costs,
                                              const uint32_t *sizes, uint32_t stage_count,
                                              const uint64_t *shares, const uint64_t *budgets,
                                              struct partition *partitions_out,
                                              struct reason *reason);
/* The least a rank takes that has anything: beside what each keeps a unit in a layer, a vocabulary
 * row, or a layer of a pipeline.  A rank of less is better left out. */
uint64_t partition_least(enum sharding sharding, const struct partition_units *units,
                         const struct partition_costs *costs);
/* What the rank holds: "layers 0 to 13 of 28 with the embedding", "12 of 16 attention heads, 1344
 * of 3072 FFN columns, 75968 of 151936 vocabulary rows"; returns text_out. */
#define PARTITION_SENTENCE_SIZE 384u
const char *partition_explain(const struct partition_units *units,
                              const struct partition *partition,
                              char text_out[PARTITION_SENTENCE_SIZE]);

/* --- the search, for partition_place and its tests --- */

/* At most so many ranks, and so many ways for a rank's units to begin and end: with three classes
 * of 12 units there are 753,571. */
#define PARTITION_SEARCH_RANKS 4u
#define PARTITION_SEARCH_STEPS 8000000u
/* Finds a table that is alike in all layers if there is any; NOT_FOUND else.  UNSUPPORTED: too many
 * to be searched. */
MUST_CHECK enum status partition_search(const struct partition_units *units,
                                        const struct partition_costs *costs,
                                        const uint64_t *budgets, uint32_t rank_count,
                                        struct partition *partitions);

#endif
