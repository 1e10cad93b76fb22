/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placement_pairs: where each two ranks of an instance meet, pair by pair.
 *
 * Pure.  For machines that share no network with all the others, or two of which share a better
 * one.  Two ranks meet at an address of each, in one network both have, each of them proven by the
 * other's node: wired before wireless, then that whose slower end is the faster; without a network
 * of both, at addresses that each has proven of the other's.  Trusted ones alone, as MPI is not
 * encrypted, and IPv4 alone, as Open MPI meets all siblings in one family.  The order of
 * interfaces and offers has no say.
 *
 * Memory   texts and ways in the ranks of a candidate.
 * Threads  one.
 * Fails    STATUS_UNREACHABLE or STATUS_REFUSED with a sentence that names both nodes; NO_MEMORY.
 */
#ifndef TROUPE_ACTORS_MASTER_PLACEMENT_PAIRS_H
#define TROUPE_ACTORS_MASTER_PLACEMENT_PAIRS_H

#include "actors/master/placement_reach.h"

/* Does a pair of them share a network that is better than where the two would meet at the addresses
 * they have, one for all?  Equal ones are not better: the choice for all stays. */
bool placement_pairs_gain(const struct reach_question *question,
                          const struct candidate *candidate);
/* Fills `fabric` and `ways` of all ranks; nothing is changed when a pair has no way. */
MUST_CHECK enum status placement_pairs_choose(const struct reach_question *question,
                                              struct candidate *candidate,
                                              struct reason *reason);

#endif
