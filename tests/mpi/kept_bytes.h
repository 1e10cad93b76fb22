/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kept_bytes: what a load put into a rank's memory against what the files hold.
 */
#ifndef TROUPE_TESTS_MPI_KEPT_BYTES_H
#define TROUPE_TESTS_MPI_KEPT_BYTES_H

#include "actors/runner/weight_load.h"

/* For weight_load_request.opened: fills the memory with a pattern before anything comes. */
void kept_bytes_poison(void *context, const struct shard_plan *plan, struct shard *shard);
/* Ends the process unless every slice the rank keeps is what the files in `model` hold. */
void kept_bytes_compare(const char *model, const struct weight_load *load);

#endif
