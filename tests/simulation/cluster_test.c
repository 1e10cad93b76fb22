/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole clusters under chaos, over virtual time.
 *
 * Invariants, after every step
 *   one log       what two masters commit at an index is the same event, for ever
 *   one state     the same index has the same state hash on every node
 *   one leader    no two masters lead in one epoch
 *   no failure    no step, effect or recovery fails; no message is malformed
 *   answers       a command is answered within 4.5 s of being sent to a living master
 * and when chaos rests
 *   nothing lost  every command answered OK is in every log, at the index it was told, once
 *   recovery      one leader with all nodes in its view, within 20 s
 *   desired       an instance asked for is ready again
 *   idle          nothing is appended any more
 *
 * Chaos, one failure at a time: any process is killed, a node loses power (unsynced writes are torn
 * or lost, and at times a bit of its log flips), all nodes lose power, a leader or follower sleeps
 * through leases, connections break, a disk is full, runners die.
 *
 * TROUPE_SEED repeats one run; TROUPE_SIMULATIONS sets how many.
 */
#include "protocol/memory.h"
#include "tests/simulation/scenario.h"
#include "tests/support/check_main.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- named scenarios ---- */

START_TEST(one_node_leads_alone_and_answers)
{
    struct sim *sim = scenario_joined(1, 1);
    sim_client(sim, 0)->is_quiet = false;
    sim_run(sim, 3000);
    ck_assert_uint_gt(sim_client(sim, 0)->answered, 5);
    ck_assert_uint_lt(sim->slowest_answer_ms, 100);
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(nodes_join_by_token)
{
    struct sim *sim = scenario_joined(2, 3);
    if (!sim->broken[0])
        ck_assert_uint_eq(sim_master(sim, 2)->state.nodes.count, 3);
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(an_instance_over_two_nodes_becomes_ready)
{
    struct sim *sim = scenario_joined(3, 2);
    scenario_place(sim, 2);
    scenario_wait_ready(sim, 5000);
    if (!sim->broken[0])
        ck_assert_uint_eq(sim_master(sim, 0)->state.instances.items[0].ranks.count, 2);
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

/* The sentence with which a joining node's master ended. */
static void check_refused(struct sim *sim, const char *sentence)
{
    sim_run(sim, 3000);
    ck_assert_msg(strstr(sim->broken, sentence) != NULL, "%s", sim->broken);
    sim->broken[0] = '\0';
    scenario_done(sim);
}

START_TEST(a_token_admits_one_node)
{
    struct sim *sim = scenario_found(4, 3);
    ck_assert_int_eq(scenario_token(sim, 0, 1, 60000), STATUS_OK);
    sim_start_node(sim, 1);
    sim_run(sim, 3000);
    sim->nodes[2].token = sim->nodes[1].token;
    sim_start_node(sim, 2);
    check_refused(sim, "this token was used by another node");
}
END_TEST

START_TEST(an_expired_token_admits_nobody)
{
    struct sim *sim = scenario_found(5, 2);
    ck_assert_int_eq(scenario_token(sim, 0, 1, 900), STATUS_OK);
    sim_start_node(sim, 1);
    sim_kill_node(sim, 1, false);
    sim_run(sim, 1000);
    sim_start_node(sim, 1);
    check_refused(sim, "this token has expired");
}
END_TEST

START_TEST(a_follower_far_behind_catches_up_from_the_disk)
{
    struct sim *sim = scenario_joined(6, 2);
    sim_kill_node(sim, 1, true);
    sim_client(sim, 0)->is_quiet = false;
    sim_run(sim, 30000);
    ck_assert_uint_gt(sim_client(sim, 0)->answered, 50);
    sim_kill(sim, 0, SIM_MASTER); /* forgets the records in memory */
    sim_run(sim, 50);
    sim_start(sim, 0, SIM_MASTER);
    sim_run(sim, 2000);
    sim_start_node(sim, 1);
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(a_leader_that_sleeps_beyond_its_lease_is_replaced_and_follows)
{
    struct sim *sim = scenario_joined(7, 3);
    uint32_t leader = sim_leader(sim);
    ck_assert_uint_ne(leader, UINT32_MAX);
    uint64_t number = sim_master(sim, leader)->epoch.number;
    for (uint32_t i = 0; i < 3; i++)
        sim_client(sim, i)->is_quiet = false;
    sim_freeze(sim, leader, SIM_MASTER, 4000);
    sim_run(sim, 3000);
    uint64_t answered = sim_client(sim, (leader + 1) % 3)->answered;
    sim_run(sim, 2500);
    ck_assert_uint_gt(sim_client(sim, (leader + 1) % 3)->answered, answered);
    scenario_check_rest(sim);
    if (!sim->broken[0]) {
        ck_assert_uint_ne(sim_leader(sim), leader);
        ck_assert_uint_gt(sim_master(sim, leader)->epoch.number, number);
    }
    scenario_done(sim);
}
END_TEST

START_TEST(a_follower_whose_disk_is_full_leaves_the_view_and_returns)
{
    struct sim *sim = scenario_joined(8, 2);
    uint32_t leader = sim_leader(sim);
    uint32_t follower = 1 - leader;
    memory_disk_limit(sim->nodes[follower].disk, 0);
    sim_client(sim, leader)->is_quiet = false;
    sim_run(sim, 5000);
    uint64_t answered = sim_client(sim, leader)->answered;
    sim_run(sim, 5000);
    ck_assert_uint_gt(sim_client(sim, leader)->answered, answered + 10);
    memory_disk_limit(sim->nodes[follower].disk, UINT64_MAX);
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(an_instance_waits_for_the_only_holder)
{
    struct sim *sim = scenario_joined(9, 2);
    scenario_place(sim, 1);
    scenario_wait_ready(sim, 5000);
    sim_kill_node(sim, 0, true);
    sim_run(sim, 40000);
    ck_assert_uint_eq(sim_leader(sim), 1);
    const struct instance_record *instance = &sim_master(sim, 1)->state.instances.items[0];
    ck_assert_uint_eq(instance->status, INSTANCE_WAITING);
    uint64_t index = sim_master(sim, 1)->state.index;
    sim_run(sim, 60000);
    ck_assert_uint_eq(sim_master(sim, 1)->state.index, index); /* said once */
    sim_start_node(sim, 0);
    sim_run(sim, 50);
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

/* ---- chaos ---- */

static void power_all(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->node_count; i++)
        sim_kill_node(sim, i, true);
    for (uint32_t i = 0; i < sim->node_count; i++) {
        sim_run(sim, seeded_below(&sim->seeded, 200));
        sim_start_node(sim, i);
    }
}

static void one_failure(struct sim *sim)
{
    uint32_t node = (uint32_t)seeded_below(&sim->seeded, sim->node_count);
    uint32_t other = (node + 1) % sim->node_count;
    const uint64_t pause_ms = 20 + seeded_below(&sim->seeded, 2500);
    switch (seeded_below(&sim->seeded, 9)) {
    case 0:
    case 1: { /* the master, or any process of the node */
        enum sim_role role = (enum sim_role)seeded_below(&sim->seeded, SIM_ROLE_COUNT);
        if (seeded_below(&sim->seeded, 2) == 0)
            role = SIM_MASTER;
        sim_kill(sim, node, role);
        sim_run(sim, pause_ms);
        sim_start(sim, node, role);
        break;
    }
    case 2:
    case 3:
        sim_kill_node(sim, node, true);
        if (seeded_below(&sim->seeded, 3) == 0)
            sim_damage(sim, node, (int64_t)(seeded_next(&sim->seeded) >> 1));
        sim_run(sim, pause_ms);
        sim_start_node(sim, node);
        break;
    case 4:
        power_all(sim);
        break;
    case 5:
        sim_freeze(sim, node, SIM_MASTER, 500 + pause_ms);
        sim_run(sim, 500 + pause_ms);
        break;
    case 6: /* shorter than a lease, so that nobody is given up */
        sim_cut(sim, node, other, true);
        sim_run(sim, pause_ms % 300);
        sim_cut(sim, node, other, false);
        break;
    case 7:
        memory_disk_limit(sim->nodes[node].disk, memory_disk_used(sim->nodes[node].disk) + 100);
        sim_run(sim, pause_ms);
        memory_disk_limit(sim->nodes[node].disk, UINT64_MAX);
        break;
    default:
        sim_kill_runners(sim, node);
        break;
    }
}

static void chaos(uint64_t seed)
{
    struct sim *sim = scenario_joined(seed, 2 + (uint32_t)(seed % 2));
    if (!sim->broken[0] && seed % 5 == 4)
        scenario_place_on(sim, sim->node_count - 1); /* which holds nothing */
    else if (!sim->broken[0])
        scenario_place(sim, 1 + (uint32_t)(seed / 2 % 2));
    for (int turn = 0; turn < 6 && !sim->broken[0]; turn++) {
        sim_settle(sim, 20000);
        for (uint32_t i = 0; i < sim->node_count && !sim->broken[0]; i++) {
            sim_client(sim, i)->is_quiet = false;
            sim_client(sim, i)->is_repeating = seed % 3 == 0;
        }
        sim_run(sim, seeded_below(&sim->seeded, 1500));
        if (!sim->broken[0] && sim_is_stable(sim))
            one_failure(sim);
        for (uint32_t i = 0; i < sim->node_count && !sim->broken[0]; i++)
            if (!sim_client(sim, i))
                sim_start(sim, i, SIM_CLIENT);
    }
    scenario_check_rest(sim);
    if (sim->broken[0])
        printf("# TROUPE_SEED=%" PRIu64 " repeats this\n", seed);
    scenario_done(sim);
}

START_TEST(a_cluster_outlives_chaos)
{
    const char *count = getenv("TROUPE_SIMULATIONS");
    const char *seed = getenv("TROUPE_SEED");
    uint64_t first = seed ? strtoull(seed, NULL, 0) : 1000;
    uint64_t runs = seed ? 1 : count ? strtoull(count, NULL, 10) : 100;
    printf("# seeds %" PRIu64 " to %" PRIu64 "\n", first, first + runs - 1);
    (void)fflush(stdout);
    for (uint64_t i = 0; i < runs; i++)
        chaos(first + i);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("clusters");
    const TTest *const tests[] = {
        one_node_leads_alone_and_answers,
        nodes_join_by_token,
        an_instance_over_two_nodes_becomes_ready,
        a_token_admits_one_node,
        an_expired_token_admits_nobody,
        a_follower_far_behind_catches_up_from_the_disk,
        a_leader_that_sleeps_beyond_its_lease_is_replaced_and_follows,
        a_follower_whose_disk_is_full_leaves_the_view_and_returns,
        an_instance_waits_for_the_only_holder,
    };
    suite_add(suite, "scenarios", tests, COUNT_OF(tests));
    TCase *group = tcase_create("chaos");
    tcase_set_timeout(group, 3600);
    tcase_add_test(group, a_cluster_outlives_chaos);
    suite_add_tcase(suite, group);
    return suite;
}
