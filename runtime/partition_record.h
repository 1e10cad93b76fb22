/* SPDX-License-Identifier: Apache-2.0 */
/*
 * partition_record: tables as they stand in the state, and the units of a model as its record has
 * them: the same classes in the same order as the layout of its files gives.
 *
 * Memory   what is written into a record is the record's.
 * Fails    NO_MEMORY.
 */
#ifndef TROUPE_RUNTIME_PARTITION_RECORD_H
#define TROUPE_RUNTIME_PARTITION_RECORD_H

#include "protocol/state.h"
#include "runtime/partition.h"

#define PARTITION_PARTS 3u /* of a layer: mixer, FFN or experts, shared expert */
#define PARTITION_NO_CLASS UINT32_MAX

/* The classes of a run of like layers, PARTITION_NO_CLASS for a part it has not, and the ordinal of
 * its first layer in each. */
struct partition_run {
    uint32_t classes[PARTITION_PARTS];
    uint32_t ordinals[PARTITION_PARTS];
};

/* Adds the next run of a shape to the units, which begin as all zero. */
struct partition_run partition_run_add(struct partition_units *units, const struct layer_run *run);
/* All runs. */
struct partition_units partition_units_of_shape(const struct model_shape *shape);
/* Stage, layers, cuts and vocabulary rows of a rank; others of its fields are left alone. */
MUST_CHECK enum status partition_to_record(const struct partition *partition,
                                           struct rank_record *rank);
/* Not checked against any model. */
struct partition partition_of_record(const struct instance_record *instance, uint32_t rank);

#endif
