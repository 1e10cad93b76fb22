/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placement_order: candidates of a placement among one another.
 *
 * Pure.
 */
#ifndef TROUPE_ACTORS_MASTER_PLACEMENT_ORDER_H
#define TROUPE_ACTORS_MASTER_PLACEMENT_ORDER_H

#include "actors/master/placement.h"

/* Nodes of like memory get from both ways of sharing the same cut: one candidate, not two.  Drops
 * the last when it is the one before it again. */
void candidates_drop_twin(struct candidates_listed *listed);
/* Best first; where none is possible, first the one that lacks the least memory. */
void candidates_sort(const struct placement_question *question, struct candidates_listed *listed);

#endif
