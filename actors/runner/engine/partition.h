/* SPDX-License-Identifier: Apache-2.0 */
/*
 * partition: the tables the engine cuts by.  They live in runtime/ because the placement makes
 * them, and no actor includes another's files.
 */
#ifndef TROUPE_ACTORS_RUNNER_ENGINE_PARTITION_H
#define TROUPE_ACTORS_RUNNER_ENGINE_PARTITION_H

#include "runtime/partition.h" /* IWYU pragma: export */

#include "runtime/model_layout.h"

/* The units of a model for the solver and the checks. */
static inline struct partition_units partition_units_of(const struct model_config *config,
                                                        const struct model_layout *layout)
{
    (void)config;
    return layout->units;
}

#endif
