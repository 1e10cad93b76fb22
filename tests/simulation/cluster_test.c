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
 * or lost), all nodes lose power, a leader or follower sleeps through leases, connections break, a
 * disk is full, runners die.
 *
 * TROUPE_SEED repeats one run; TROUPE_SIMULATIONS sets how many.
 */
#include "protocol/memory.h"
#include "tests/simulation/sim.h"
#include "tests/support/check_main.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INSTANCE_MODEL "toy"

static struct sim *found(uint64_t seed, uint32_t nodes)
{
    struct sim *sim = sim_create(seed, nodes);
    sim_start_node(sim, 0);
    sim_run(sim, 500);
    for (uint32_t i = 0; i < nodes; i++)
        if (sim_client(sim, i))
            sim_client(sim, i)->is_quiet = true;
    return sim;
}

static enum status make_token(struct sim *sim, uint32_t asked, uint32_t node, uint64_t life_ms)
{
    struct message command;
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_CREATE_TOKEN), STATUS_OK);
    struct create_token *body = command.body;
    body->key = sim->nodes[node].token.pair.public_key;
    body->expires_ms = SIM_WALL_MS + sim->now_ms + life_ms;
    return sim_ask_wait(sim, asked, &command);
}

static void quiet(struct sim *sim, uint32_t node)
{
    sim_client(sim, node)->is_quiet = true;
}

/* A cluster of so many nodes, joined by tokens, that holds together. */
static struct sim *joined(uint64_t seed, uint32_t nodes)
{
    struct sim *sim = found(seed, nodes);
    for (uint32_t i = 1; i < nodes && !sim->broken[0]; i++) {
        enum status status = make_token(sim, 0, i, 60000);
        if (status != STATUS_OK)
            sim_break(sim, "no token: %s", status_text(status));
        sim_start_node(sim, i);
        quiet(sim, i);
        for (int turn = 0; turn < 500 && !sim->broken[0]; turn++) {
            struct master *leader = sim_master(sim, 0);
            const struct node_record *node =
                state_find_node(&leader->state, &sim->nodes[i].identity.node);
            if (node && node->in_view)
                break;
            sim_run(sim, 20);
        }
    }
    sim_settle(sim, 20000);
    return sim;
}

static void done(struct sim *sim)
{
    char broken[sizeof(sim->broken)];
    memcpy(broken, sim->broken, sizeof(broken));
    sim_free(sim);
    ck_assert_msg(broken[0] == '\0', "%s", broken);
}

static void place_model(struct sim *sim, uint32_t nodes_min)
{
    struct message command;
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_ADD_MODEL), STATUS_OK);
    struct add_model *add = command.body;
    ck_assert(text_set(&add->model_id, INSTANCE_MODEL) && text_set(&add->path, "/models/toy"));
    enum status status = sim_ask_wait(sim, 0, &command);
    if (status != STATUS_OK)
        sim_break(sim, "the model was not taken: %s", status_text(status));
    for (int i = 0; i < 200 && sim_master(sim, 0)->state.models.count == 0; i++)
        sim_run(sim, 20);
    sim_run(sim, 3000); /* loads of all nodes are told */
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_PLACE_INSTANCE), STATUS_OK);
    struct place_instance *place = command.body;
    ck_assert(text_set(&place->model_id, INSTANCE_MODEL));
    place->any_sharding = true;
    place->nodes_min = nodes_min;
    status = sim_ask_wait(sim, sim->node_count - 1, &command);
    if (status != STATUS_OK)
        sim_break(sim, "the instance was not placed: %s", status_text(status));
}

static bool is_ready(struct sim *sim)
{
    uint32_t leader = sim_leader(sim);
    if (leader == UINT32_MAX)
        return false;
    const struct state *state = &sim_master(sim, leader)->state;
    for (uint32_t i = 0; i < state->instances.count; i++)
        if (state->instances.items[i].status != INSTANCE_READY)
            return false;
    return true;
}

static void wait_ready(struct sim *sim, uint64_t ms)
{
    const uint64_t end_ms = sim->now_ms + ms;
    while (!sim->broken[0] && sim->now_ms < end_ms && !is_ready(sim))
        sim_run(sim, 50);
    if (is_ready(sim))
        return;
    uint32_t leader = sim_leader(sim);
    const struct state *state = leader == UINT32_MAX ? NULL : &sim_master(sim, leader)->state;
    sim_break(sim, "the instance did not come back within %" PRIu64 " ms: %s: %s", ms,
              state ? instance_status_name(state->instances.items[0].status) : "no leader",
              state ? text_or_empty(state->instances.items[0].last_reason) : "");
}

/* What must hold when nothing happens any more. */
static void check_rest(struct sim *sim)
{
    sim_settle(sim, 20000);
    wait_ready(sim, 60000);
    for (uint32_t i = 0; i < sim->node_count && !sim->broken[0]; i++)
        if (sim_client(sim, i))
            quiet(sim, i);
    sim_run(sim, 8000);
    if (sim->broken[0])
        return;
    uint64_t index = sim_master(sim, 0)->state.index;
    sim_run(sim, 20000);
    for (uint32_t i = 0; i < sim->node_count && !sim->broken[0]; i++) {
        const struct master *master = sim_master(sim, i);
        if (master->state.index != index || master->committed != index)
            sim_break(sim, "node %u is at %" PRIu64 " of %" PRIu64 " (committed %" PRIu64 ")", i,
                      master->state.index, index, master->committed);
        for (uint32_t k = 0; k < sim->acknowledged_count; k++) {
            const struct sim_acknowledged *known = &sim->acknowledged[k];
            uint64_t at = state_find_command(&master->state, &known->key);
            if (at != known->index)
                sim_break(sim, "command acknowledged at %" PRIu64 " is at %" PRIu64 " on node %u",
                          known->index, at, i);
        }
    }
}

/* ---- named scenarios ---- */

START_TEST(one_node_leads_alone_and_answers)
{
    struct sim *sim = joined(1, 1);
    sim_client(sim, 0)->is_quiet = false;
    sim_run(sim, 3000);
    ck_assert_uint_gt(sim_client(sim, 0)->answered, 5);
    ck_assert_uint_lt(sim->slowest_answer_ms, 100);
    check_rest(sim);
    done(sim);
}
END_TEST

START_TEST(nodes_join_by_token)
{
    struct sim *sim = joined(2, 3);
    if (!sim->broken[0])
        ck_assert_uint_eq(sim_master(sim, 2)->state.nodes.count, 3);
    check_rest(sim);
    done(sim);
}
END_TEST

START_TEST(an_instance_over_two_nodes_becomes_ready)
{
    struct sim *sim = joined(3, 2);
    place_model(sim, 2);
    wait_ready(sim, 5000);
    if (!sim->broken[0])
        ck_assert_uint_eq(sim_master(sim, 0)->state.instances.items[0].ranks.count, 2);
    check_rest(sim);
    done(sim);
}
END_TEST

/* The sentence with which a joining node's master ended. */
static void check_refused(struct sim *sim, const char *sentence)
{
    sim_run(sim, 3000);
    ck_assert_msg(strstr(sim->broken, sentence) != NULL, "%s", sim->broken);
    sim->broken[0] = '\0';
    done(sim);
}

START_TEST(a_token_admits_one_node)
{
    struct sim *sim = found(4, 3);
    ck_assert_int_eq(make_token(sim, 0, 1, 60000), STATUS_OK);
    sim_start_node(sim, 1);
    sim_run(sim, 3000);
    sim->nodes[2].token = sim->nodes[1].token;
    sim_start_node(sim, 2);
    check_refused(sim, "this token was used by another node");
}
END_TEST

START_TEST(an_expired_token_admits_nobody)
{
    struct sim *sim = found(5, 2);
    ck_assert_int_eq(make_token(sim, 0, 1, 900), STATUS_OK);
    sim_start_node(sim, 1);
    sim_kill_node(sim, 1, false);
    sim_run(sim, 1000);
    sim_start_node(sim, 1);
    check_refused(sim, "this token has expired");
}
END_TEST

START_TEST(a_follower_far_behind_catches_up_from_the_disk)
{
    struct sim *sim = joined(6, 2);
    sim_kill_node(sim, 1, true);
    sim_client(sim, 0)->is_quiet = false;
    sim_run(sim, 30000);
    ck_assert_uint_gt(sim_client(sim, 0)->answered, 50);
    sim_kill(sim, 0, SIM_MASTER); /* forgets the records in memory */
    sim_run(sim, 50);
    sim_start(sim, 0, SIM_MASTER);
    sim_run(sim, 2000);
    sim_start_node(sim, 1);
    check_rest(sim);
    done(sim);
}
END_TEST

START_TEST(a_leader_that_sleeps_beyond_its_lease_is_replaced_and_follows)
{
    struct sim *sim = joined(7, 3);
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
    check_rest(sim);
    if (!sim->broken[0]) {
        ck_assert_uint_ne(sim_leader(sim), leader);
        ck_assert_uint_gt(sim_master(sim, leader)->epoch.number, number);
    }
    done(sim);
}
END_TEST

START_TEST(a_follower_whose_disk_is_full_leaves_the_view_and_returns)
{
    struct sim *sim = joined(8, 2);
    uint32_t leader = sim_leader(sim);
    uint32_t follower = 1 - leader;
    memory_disk_limit(sim->nodes[follower].disk, 0);
    sim_client(sim, leader)->is_quiet = false;
    sim_run(sim, 5000);
    uint64_t answered = sim_client(sim, leader)->answered;
    sim_run(sim, 5000);
    ck_assert_uint_gt(sim_client(sim, leader)->answered, answered + 10);
    memory_disk_limit(sim->nodes[follower].disk, UINT64_MAX);
    check_rest(sim);
    done(sim);
}
END_TEST

START_TEST(an_instance_waits_for_the_only_holder)
{
    struct sim *sim = joined(9, 2);
    place_model(sim, 1);
    wait_ready(sim, 5000);
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
    check_rest(sim);
    done(sim);
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
    struct sim *sim = joined(seed, 2 + (uint32_t)(seed % 2));
    if (!sim->broken[0])
        place_model(sim, 1 + (uint32_t)(seed / 2 % 2));
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
    check_rest(sim);
    if (sim->broken[0])
        printf("# TROUPE_SEED=%" PRIu64 " repeats this\n", seed);
    done(sim);
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
