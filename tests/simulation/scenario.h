/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenario: clusters as the tests of the simulator want them, and what must hold at the end.
 *
 * Owner    the tests of this folder.
 * Memory   a cluster until scenario_done.
 * Threads  one.
 * Fails    by sim_break; scenario_done then fails the test.
 */
#ifndef TROUPE_TESTS_SIMULATION_SCENARIO_H
#define TROUPE_TESTS_SIMULATION_SCENARIO_H

#include "tests/simulation/sim.h"

/* The first node runs and leads; its client asks nothing. */
struct sim *scenario_found(uint64_t seed, uint32_t nodes);
/* A token for `node`, asked of `asked`. */
enum status scenario_token(struct sim *sim, uint32_t asked, uint32_t node, uint64_t life_ms);
void scenario_quiet(struct sim *sim, uint32_t node);
/* A cluster of so many nodes, joined by tokens, that holds together. */
struct sim *scenario_joined(uint64_t seed, uint32_t nodes);
/* The same, where events are committed by a majority of all. */
struct sim *scenario_joined_by_majority(uint64_t seed, uint32_t nodes);
/* Adds the model and places an instance of it on at least so many nodes. */
void scenario_place(struct sim *sim, uint32_t nodes_min);
/* The same on one named node; the first node holds the model. */
void scenario_place_on(struct sim *sim, uint32_t node);
void scenario_place_on_two(struct sim *sim, uint32_t first, uint32_t second);
bool scenario_is_ready(struct sim *sim);
void scenario_wait_ready(struct sim *sim, uint64_t ms);
/* What must hold when nothing happens any more. */
void scenario_check_rest(struct sim *sim);
/* Frees it; fails the test when an invariant was broken. */
void scenario_done(struct sim *sim);

#endif
