/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pace_view: how fast instances were, as their rank 0 told last, beside what was predicted.
 *
 * What was told holds for the generation that told it, however long ago; the time of the load
 * stands in the state.
 *
 * Pure.
 *
 * Memory   plain.
 * Threads  any.
 * Fails    printing: without memory.
 */
#ifndef TROUPE_RUNTIME_PACE_VIEW_H
#define TROUPE_RUNTIME_PACE_VIEW_H

#include "protocol/buffer.h"
#include "protocol/message.h"
#include "protocol/state.h"

#include <stdbool.h>

struct pace_table {
    struct pace_measured items[INSTANCE_COUNT_MAX];
    uint32_t count;
};

/* Another message than the signal is left alone, as is one about what the state has not, or not of
 * the node of its rank 0. */
void pace_table_take(struct pace_table *table, const struct state *state,
                     const struct message *message);
/* Of the present generation; NULL: it told nothing yet. */
const struct pace_measured *pace_find(const struct pace_measured *items, uint32_t count,
                                      const struct instance_record *instance);
/* From the beginning of the present generation until it was ready; 0: it is not. */
double pace_load_s(const struct instance_record *instance);
/* {"tokens_per_s": ...} with null for what was not got yet; `pace` may be NULL. */
MUST_CHECK enum status pace_print(const struct instance_record *instance,
                                  const struct pace_measured *pace, struct buffer *json);
/* The same with instance, model and prediction, in a list: of those of a model, or, where that is
 * NULL, of all. */
MUST_CHECK enum status pace_print_all(const struct state *state, const char *model_id,
                                      const struct pace_measured *items, uint32_t count,
                                      struct buffer *json);

#endif
