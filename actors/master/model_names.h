/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_names: whether a name for a model is another than all there are, on every file system.
 *
 * Names are directories of stores, and some file systems do not tell letters by their case: there
 * two models would lie in one directory, and each would take the other's files for its own.  Any
 * node may get any model, so the cluster as a whole has one of such names.
 *
 * Memory   none.
 * Threads  any; pure.
 * Fails    EXISTS with both names and the remedy.
 */
#ifndef TROUPE_ACTORS_MASTER_MODEL_NAMES_H
#define TROUPE_ACTORS_MASTER_MODEL_NAMES_H

#include "protocol/state.h"

/* A name that is known exactly so is fine. */
MUST_CHECK enum status model_name_check(const struct state *state, const char *model_id,
                                        struct reason *reason);

#endif
