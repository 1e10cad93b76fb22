/* SPDX-License-Identifier: Apache-2.0 */
/*
 * partition_table: tables given by hand.
 *
 *     {"attention heads": [[0, 7], [7, 16]], "FFN columns": [[0, 1344], [1344, 3072]]}
 *
 * Of each thing named, what every rank holds: [first, end), rank 0 first, alike in all layers.
 * Heads, columns and vocabulary rows are counted as config.json does, one layer's; "layers" are
 * what a pipeline shares.  Where a model has two kinds of one name, the number tells them apart:
 * "attention heads of 64".  What is not named stays as it is shared otherwise.
 *
 * With stages ([2, 1]: two ranks, then one) the ranks of a stage hold the same layers, and what
 * they hold of anything else tiles it among them alone:
 *
 *     {"layers": [[0, 3], [0, 3], [3, 5]], "FFN columns": [[0, 256], [256, 512], [0, 512]]}
 *
 * Of what no layer of a stage has, and of vocabulary rows in a stage without an end of the model,
 * its ranks hold [0, 0].
 *
 * Memory   what is read is the record's.
 * Threads  none.
 * Fails    INVALID: one sentence on the first rank that is wrong, with the nearest table that is
 *          right.
 */
#ifndef TROUPE_RUNTIME_PARTITION_TABLE_H
#define TROUPE_RUNTIME_PARTITION_TABLE_H

#include "protocol/state.h"
#include "runtime/partition.h"

#include <jansson.h>

/* Fills the table of a request from this form. */
MUST_CHECK enum status partition_table_read(json_t *root, struct place_instance *request,
                                            struct reason *reason);
/* The same from a file. */
MUST_CHECK enum status partition_table_read_file(const char *path, struct place_instance *request,
                                                 struct reason *reason);
/* How many ranks the table is for; 0: it names nothing. */
uint32_t partition_table_ranks(const struct place_instance *request);
/* With stages it is a pipeline's of tensor groups; else a table of layers is a pipeline's, any
 * other a tensor cut's. */
enum sharding partition_table_sharding(const struct place_instance *request);
/* Puts what is named in the place of what `partitions` say, and checks the whole.  `shares`, or
 * NULL for equal ones, are those of the units of stages whose layers are named. */
MUST_CHECK enum status partition_table_apply(const struct place_instance *request,
                                             const struct partition_units *units,
                                             const uint64_t *shares, struct partition *partitions,
                                             uint32_t rank_count, struct reason *reason);

#endif
