/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rank_memory: whether the memory a rank was placed with is still there when loading begins.
 *
 * Another program may have taken it since the placement.  A rank that began all the same would be
 * ended by the system in the middle of an answer, or slow the whole machine down.
 *
 * Memory   none.
 * Threads  any; pure.
 * Fails    NO_CAPACITY with need and have in bytes.
 */
#ifndef TROUPE_ACTORS_RUNNER_RANK_MEMORY_H
#define TROUPE_ACTORS_RUNNER_RANK_MEMORY_H

#include "protocol/state.h"

/* Weights, all of the KV cache, and scratch. */
uint64_t rank_memory_need(const struct rank_record *rank);
MUST_CHECK enum status rank_memory_check(const struct rank_record *rank, uint64_t bytes_free,
                                         struct reason *reason);

#endif
