/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placement_senders: nodes beside the ranks of a candidate that send what none of these holds.
 *
 * Any node that is heard may be one, whatever nodes the request names for the ranks: it keeps
 * nothing and leaves when all is sent.  It needs room for the load window, a network for MPI that
 * the operator trusts, and the build of the ranks.
 *
 * Pure.
 */
#ifndef TROUPE_ACTORS_MASTER_PLACEMENT_SENDERS_H
#define TROUPE_ACTORS_MASTER_PLACEMENT_SENDERS_H

#include "actors/master/placement.h"

/* Appends those that have to send to the ranks of the candidate, which are on `chosen[count]`;
 * nobody when no node has to, or when even with all of them something would be missing. */
MUST_CHECK enum status placement_senders_add(const struct placement_question *question,
                                             const struct model_record *model,
                                             const struct placement_node *const *chosen,
                                             uint32_t count, struct candidate *candidate);
/* What those of a candidate take of the memory of a machine. */
uint64_t placement_senders_taken(const struct state *state, const struct candidate *candidate,
                                 const struct machine_id *machine_id);

#endif
