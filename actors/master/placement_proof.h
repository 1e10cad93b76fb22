/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placement_proof: which addresses of a node another has proven, and what they are worth.
 *
 * Pure; reads what the nodes told of their links.
 *
 * Memory   none.
 * Threads  one.
 * Fails    never: what nobody told is unknown.
 */
#ifndef TROUPE_ACTORS_MASTER_PLACEMENT_PROOF_H
#define TROUPE_ACTORS_MASTER_PLACEMENT_PROOF_H

#include "actors/master/placement_reach.h"
#include "runtime/link_view.h"

/* Does `from` reach `to` at that host?  NULL links: nobody told anything. */
enum proof proof_of(const struct links_listed *links, const struct node_id *from,
                    const struct node_id *to, const char *host);
/* May ranks talk unencrypted there? */
bool proof_is_trusted(const struct reach_question *question, const char *host);
/* What a network is worth to those that meet in it: wired before wireless, then the speed of the
 * slowest; above 0. */
uint64_t proof_worth(bool is_wired, uint64_t slowest_mbit);
bool proof_is_wired(const struct address_offered *offer);

#endif
