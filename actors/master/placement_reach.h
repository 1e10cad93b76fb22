/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placement_reach: which nodes can be ranks of one instance, who leads them, at which addresses.
 *
 * Pure.  From what the nodes told of their links: two nodes can take part together when each
 * reaches the other; a link of one way only is none.  What is not known (nobody told, or not of
 * late) is no obstacle.  Each rank gets the best address of its node that all the others have
 * proven, of a network that is trusted with MPI: first of one network that all of them share, wired
 * before wireless, then that whose slowest is the fastest.  Where there is no such address, or two
 * of them share a better network than all, they meet pair by pair: placement_pairs.h.  The order in
 * which a system lists its interfaces has no say.
 *
 * Memory   texts in the ranks of a candidate.
 * Threads  one.
 * Fails    STATUS_UNREACHABLE, STATUS_REFUSED with a sentence that names the nodes; NO_MEMORY.
 */
#ifndef TROUPE_ACTORS_MASTER_PLACEMENT_REACH_H
#define TROUPE_ACTORS_MASTER_PLACEMENT_REACH_H

#include "actors/master/placement.h"
#include "runtime/network.h"

/* What addresses are chosen from. */
struct reach_question {
    const struct state *state;
    const struct placement_node *nodes;
    uint32_t node_count;
    const struct links_listed *links; /* what the nodes told of them; NULL: nothing */
    const struct networks *trusted;   /* where MPI may travel; NULL: anywhere */
    bool may_rdma; /* MPI may go past TCP where every rank's interface has a device for it */
};

/* Can ranks of the two talk?  NULL links: nothing is known. */
MUST_CHECK enum status placement_reach_pair(const struct links_listed *links,
                                            const struct node_record *a,
                                            const struct node_record *b, struct reason *reason);
/* Is there a link of which its node told that it does not reach?  Where not, no pair hinders, and
 * need not be asked: one look at each link instead of one at each pair for each set of nodes. */
bool placement_reach_has_gaps(const struct links_listed *links);
/* Can `node` take part with all that are chosen?  The sentence names the first that hinders. */
MUST_CHECK enum status placement_reach_joins(const struct links_listed *links,
                                             const struct placement_node *const *chosen,
                                             uint32_t count, const struct placement_node *node,
                                             struct reason *reason);
/* The first `count` of those sorted that can all take part together, each joining those before it;
 * where there are none, the first `count` as they are. */
void placement_reach_pick(const struct links_listed *links,
                          const struct placement_node *const *sorted, uint32_t sorted_count,
                          const struct placement_node **chosen_out, uint32_t count);
/* Rank 0: the one of most free memory that every other reaches, the first of equals (nodes of
 * one machine share its memory and are); `count` when there is none. */
uint32_t placement_reach_first(const struct links_listed *links,
                               const struct placement_node *const *chosen, uint32_t count);
/* Moves that one to the front; the others keep their order.  REFUSED when there is none. */
MUST_CHECK enum status placement_reach_order(const struct links_listed *links,
                                             const struct placement_node **chosen,
                                             uint32_t count, struct reason *reason);
/* Fills `fabric`, `ways` and `rdma` of all ranks and `front` of rank 0, senders of weights
 * included. */
MUST_CHECK enum status placement_reach_addresses(const struct reach_question *question,
                                                 struct candidate *candidate,
                                                 struct reason *reason);

#endif
