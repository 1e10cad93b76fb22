/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_rules: an instance of a model that nobody holds, or that came from a hub and was lost by all:
 * one chosen node downloads it first.
 *
 * Pure, from the state and what the nodes told of their load.  The instance is `downloading`; its
 * only rank names the node and has no bytes yet.  That node stores the whole model, whatever part
 * of it is to run there: every later placement has a source in it, and ranks elsewhere store no
 * weights.  When the model is there, it is placed as any other; what the hub said instead is its
 * reason.
 *
 * Owner    the leading master.
 * Memory   records are the caller's.
 * Threads  none.
 * Fails    NOT_FOUND: the name is none of a hub's, or nobody asked to download; NO_CAPACITY.
 */
#ifndef TROUPE_ACTORS_MASTER_HUB_RULES_H
#define TROUPE_ACTORS_MASTER_HUB_RULES_H

#include "actors/master/placement.h"

/* ORG/NAME, as every repository of a hub is called. */
bool hub_rules_is_repository(const char *model_id);

/* Fills status, rank and why.  The node: one that downloads it already, else of those named or of
 * all that are heard the one with most room on its disk, the lowest id first of several. */
MUST_CHECK enum status hub_rules_place(const struct placement_question *question,
                                       struct instance_record *instance_out,
                                       struct reason *reason);

enum hub_step {
    HUB_WAITS,
    HUB_BEGINS,  /* nobody asked that node yet */
    HUB_IS_THERE /* somebody holds it: it can be placed */
};
enum hub_step hub_rules_next(const struct state *state, const struct instance_record *instance);

/* It came from a hub, and no node holds its weights any more. */
bool hub_rules_is_lost(const struct state *state, const char *model_id);

/* The command that makes the node of the instance download it: what was lost at the same commit. */
MUST_CHECK enum status hub_rules_command(const struct state *state,
                                         const struct instance_record *instance,
                                         struct message *command_out);
/* The download_requested that came of it is for an instance alone. */
void hub_rules_mark(struct message *event);

#endif
