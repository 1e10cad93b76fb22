/* SPDX-License-Identifier: Apache-2.0 */
/*
 * partition_internal: what the files of the partition share with each other.
 *
 * Pure.  Memory: partition_lay takes some and frees it.
 */
#ifndef TROUPE_RUNTIME_PARTITION_INTERNAL_H
#define TROUPE_RUNTIME_PARTITION_INTERNAL_H

#include "runtime/partition_place.h"

/* Bytes that are too many to count are the most there are. */
static inline uint64_t partition_times(uint64_t a, uint64_t b)
{
    return b && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

static inline uint64_t partition_plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Whether vocabulary rows are anything to it. */
static inline bool partition_has_rows(const struct partition *p)
{
    return p->has_embedding || p->has_head;
}

/* The ends of a model on a stage that is the first, the last or both. */
static inline uint64_t partition_ends_bytes(const struct partition_costs *costs, bool is_first,
                                            bool is_last)
{
    return is_first && is_last ? costs->both_bytes
           : is_first          ? costs->first_bytes
           : is_last           ? costs->last_bytes
                               : 0;
}

/* --- checking --- */

/* Gaps and overlaps, with the edge that would be right. */
MUST_CHECK enum status partition_check_joint(const struct partition *p, const char *what,
                                             uint32_t first, uint32_t due, struct reason *reason);
/* Of one table alone: its stage, and classes its layers have not. */
MUST_CHECK enum status partition_check_stage(const struct partition *p,
                                             const struct partition_units *units,
                                             struct reason *reason);
MUST_CHECK enum status partition_check_stages(const struct partition *partitions,
                                              uint32_t rank_count,
                                              const struct partition_units *units,
                                              struct reason *reason);

/* --- stages --- */

/* What the layers [first, end) have, as if they were the model, with `vocab` rows: all of them in
 * the first stage and the last, else none. */
struct partition_stage {
    struct partition_units units;
    uint32_t classes[PARTITION_CLASSES_MAX]; /* of the model, by that of the stage */
    uint32_t before[PARTITION_CLASSES_MAX];  /* layers of the class before the stage's */
};

MUST_CHECK enum status partition_stage_make(const struct partition_units *units, uint32_t first,
                                            uint32_t end, uint32_t vocab,
                                            struct partition_stage *stage_out,
                                            struct reason *reason);
/* A rank's table of the model, from that of its stage, and the other way round. */
void partition_stage_spread(const struct partition_units *units,
                            const struct partition_stage *stage, const struct partition *local,
                            struct partition *partition_out);
void partition_stage_gather(const struct partition_units *units,
                            const struct partition_stage *stage,
                            const struct partition *partition, struct partition *local_out);
/* Rank `rank` in stage `at` of these sizes, with that stage's layers and nothing else yet. */
struct partition partition_stage_rank(const struct partition_units *units, const uint32_t *sizes,
                                      uint32_t stage_count, uint32_t at, uint32_t rank,
                                      struct partition_span layers);
uint32_t partition_stage_total(const uint32_t *sizes, uint32_t stage_count);
/* partition_solve_stages with so many layers for each stage; all together are the model's. */
MUST_CHECK enum status partition_solve_layers(const struct partition_units *units,
                                              const uint32_t *sizes, uint32_t stage_count,
                                              const uint32_t *layers, const uint64_t *shares,
                                              struct partition *partitions_out,
                                              struct reason *reason);
MUST_CHECK enum status partition_check_ranks(const struct partition_stage *stage, uint32_t at,
                                             uint32_t ranks, struct reason *reason);
MUST_CHECK enum status partition_check_sizes(const struct partition_units *units,
                                             const uint32_t *sizes, uint32_t stage_count,
                                             struct reason *reason);
/* What a rank of a stage takes. */
uint64_t partition_stage_bytes(const struct partition_units *units,
                               const struct partition_costs *costs, const struct partition *p);

/* --- placing --- */

enum status partition_lacks(uint32_t rank, uint64_t need, uint64_t have, struct reason *reason);
/* The rank that is furthest over its budget; the count when all fit. */
uint32_t partition_most_over(const struct partition_units *units,
                             const struct partition_costs *costs, const uint64_t *budgets,
                             uint32_t count, const struct partition *partitions);
/* `is_thorough`: all tables are searched, where they are few, if nothing else finds one. */
MUST_CHECK enum status partition_place_tensor(const struct partition_units *units,
                                              const struct partition_costs *costs,
                                              const uint64_t *budgets, uint32_t count,
                                              bool is_thorough, struct partition *partitions,
                                              struct reason *reason);
MUST_CHECK enum status partition_place_pipeline(const struct partition_units *units,
                                                const struct partition_costs *costs,
                                                const uint64_t *budgets, uint32_t count,
                                                struct partition *partitions,
                                                struct reason *reason);

/* Layers in their order over ranks, or over stages. */
struct partition_laying {
    uint32_t layers;
    uint32_t count;              /* of ranks or stages */
    const uint64_t *layer_bytes; /* [layers] */
    const uint64_t *layer_whole; /* [layers], of which a stage keeps `copies` more; NULL: none */
    const uint32_t *copies;      /* [count] */
    const uint64_t *rooms;       /* [count] */
};

/* So that the fullest is as little full as can be; NOT_FOUND: there is no way; NO_MEMORY. */
MUST_CHECK enum status partition_lay(const struct partition_laying *laying,
                                     struct partition_span *spans_out);

#endif
