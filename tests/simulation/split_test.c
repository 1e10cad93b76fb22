/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clusters that fall apart and meet again, and those that demand a majority.
 */
#include "protocol/memory.h"
#include "tests/simulation/scenario.h"
#include "tests/support/check_main.h"

#include <stdio.h>
#include <string.h>

/* Cuts node `alone` off from all others, or brings it back. */
static void part(struct sim *sim, uint32_t alone, bool is_cut)
{
    for (uint32_t i = 0; i < sim->node_count; i++)
        if (i != alone)
            sim_cut(sim, alone, i, is_cut);
}

static enum status add_model(struct sim *sim, uint32_t node, const char *name)
{
    struct message command;
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_ADD_MODEL), STATUS_OK);
    struct add_model *add = command.body;
    ck_assert(text_set(&add->model_id, name) && text_set(&add->path, "/models/toy"));
    return sim_ask_wait(sim, node, &command);
}

/* A file of the node's log directory whose name begins like this; NULL: none. */
static const char *log_file(struct sim *sim, uint32_t node, const char *begin)
{
    const struct memory_disk *disk = sim->nodes[node].disk;
    for (size_t i = 0; i < memory_disk_file_count(disk); i++) {
        const char *path = memory_disk_file_path(disk, i);
        if (strncmp(path, begin, strlen(begin)) == 0)
            return path;
    }
    return NULL;
}

/* What each actor of a node holds of the state is what its master holds. */
static void check_mirrors(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->node_count && !sim->broken[0]; i++) {
        struct master *master = sim_master(sim, i);
        struct hash ours;
        ck_assert_int_eq(state_hash(&master->state, &ours), STATUS_OK);
        for (uint32_t role = SIM_SUPERVISOR; role < SIM_CLIENT; role++) {
            struct hash theirs;
            struct state *state = sim_mirror(sim, i, (enum sim_role)role);
            ck_assert_uint_eq(state->index, master->state.index);
            ck_assert_int_eq(state_hash(state, &theirs), STATUS_OK);
            ck_assert_msg(ID_EQUAL(ours, theirs), "role %u of node %u has another state", role, i);
        }
    }
}

/* Both halves acknowledge events of their own for a while.  Gives the node that led. */
static uint32_t fall_apart(struct sim *sim, uint32_t alone)
{
    const uint32_t leader = sim_leader(sim);
    part(sim, alone, true);
    sim->is_split = true;
    sim_run(sim, 4000);
    const uint64_t before[] = {sim_client(sim, alone)->answered,
                               sim_client(sim, (alone + 1) % sim->node_count)->answered};
    sim_client(sim, alone)->is_quiet = false;
    sim_client(sim, (alone + 1) % sim->node_count)->is_quiet = false;
    sim_run(sim, 5000);
    if (!sim->broken[0]) {
        ck_assert_uint_gt(sim_client(sim, alone)->answered, before[0] + 5);
        ck_assert_uint_gt(sim_client(sim, (alone + 1) % sim->node_count)->answered, before[1] + 5);
    }
    return leader;
}

/* They meet.  What the half that gave way acknowledged is not in the log: nothing is checked of it
 * but that it is kept aside and said. */
static void meet(struct sim *sim, uint32_t alone)
{
    for (uint32_t i = 0; i < sim->node_count && !sim->broken[0]; i++)
        scenario_quiet(sim, i);
    sim_run(sim, 500);
    sim->acknowledged_count = 0;
    part(sim, alone, false);
    sim_settle(sim, 20000);
    sim->is_split = false;
    memset(sim->committed, 0, sizeof(sim->committed));
    memset(sim->hashes, 0, sizeof(sim->hashes));
    scenario_check_rest(sim);
    check_mirrors(sim);
}

static void check_branch(struct sim *sim, uint32_t node, bool is_kept)
{
    if (sim->broken[0])
        return;
    ck_assert_msg((log_file(sim, node, "log/branch-") != NULL) == is_kept,
                  "node %u keeps a branch aside: %d", node, !is_kept);
    if (is_kept)
        ck_assert_msg(strstr(sim->nodes[node].told, "are not in the leader's log; they are kept in "
                                                    "branch-") != NULL,
                      "%s", sim->nodes[node].told);
}

START_TEST(two_halves_go_on_and_the_higher_epoch_wins)
{
    struct sim *sim = scenario_joined(31, 2);
    scenario_place(sim, 1);
    scenario_wait_ready(sim, 5000);
    const uint32_t leader = fall_apart(sim, 0);
    meet(sim, 0);
    /* The other half began an epoch; the old leader went on in its own. */
    if (!sim->broken[0])
        ck_assert_uint_eq(sim_leader(sim), 1 - leader);
    check_branch(sim, leader, true);
    check_branch(sim, 1 - leader, false);
    scenario_done(sim);
}
END_TEST

START_TEST(a_follower_cut_off_from_two_leads_alone_and_gives_way_or_wins)
{
    for (uint64_t seed = 40; seed < 46; seed++) {
        struct sim *sim = scenario_joined(seed, 3);
        const uint32_t alone = (sim_leader(sim) + 1 + (uint32_t)(seed % 2)) % 3;
        (void)fall_apart(sim, alone);
        meet(sim, alone);
        uint32_t kept = 0;
        for (uint32_t i = 0; i < 3 && !sim->broken[0]; i++)
            kept += log_file(sim, i, "log/branch-") != NULL;
        if (!sim->broken[0])
            ck_assert_uint_ge(kept, 1);
        scenario_done(sim);
    }
}
END_TEST

/* A node's disk says what it holds: the model that only the lost branch knew is told again. */
START_TEST(what_a_node_holds_is_told_again_when_its_branch_is_cut)
{
    struct sim *sim = scenario_joined(33, 2);
    const uint32_t leader = fall_apart(sim, 0);
    ck_assert_int_eq(add_model(sim, leader, "branch-model"), STATUS_OK);
    sim_run(sim, 1000);
    if (!sim->broken[0])
        ck_assert_ptr_nonnull(state_find_model(&sim_master(sim, leader)->state, "branch-model"));
    meet(sim, 0);
    for (uint32_t i = 0; i < 2 && !sim->broken[0]; i++) {
        struct model_record *model =
            state_find_model(&sim_master(sim, i)->state, "branch-model");
        ck_assert_ptr_nonnull(model);
        ck_assert_ptr_nonnull(
            model_find_holder(model, &sim->nodes[leader].identity.node));
    }
    scenario_done(sim);
}
END_TEST

START_TEST(a_lone_leader_of_two_refuses_under_quorum)
{
    struct sim *sim = scenario_joined_by_majority(34, 2);
    const uint32_t leader = sim_leader(sim);
    if (!sim->broken[0])
        ck_assert_uint_ne(leader, UINT32_MAX);
    sim_kill_node(sim, 1 - leader, false);
    sim_run(sim, 3000);
    const uint64_t committed = sim_master(sim, leader)->committed;
    ck_assert_int_eq(add_model(sim, leader, "one"), STATUS_NO_LEADER);
    ck_assert_msg(strstr(sim_client(sim, leader)->last_reason, "quorum") != NULL, "%s",
                  sim_client(sim, leader)->last_reason);
    ck_assert_uint_eq(sim_master(sim, leader)->committed, committed);
    sim_start_node(sim, 1 - leader);
    scenario_check_rest(sim);
    ck_assert_int_eq(add_model(sim, leader, "two"), STATUS_OK);
    scenario_done(sim);
}
END_TEST

START_TEST(the_majority_goes_on_and_the_smaller_half_waits)
{
    struct sim *sim = scenario_joined_by_majority(35, 3);
    const uint32_t leader = sim_leader(sim);
    part(sim, leader, true);
    sim_run(sim, 6000);
    const uint64_t committed = sim_master(sim, leader)->committed;
    ck_assert_int_eq(add_model(sim, leader, "few"), STATUS_NO_LEADER);
    ck_assert_int_eq(add_model(sim, (leader + 1) % 3, "many"), STATUS_OK);
    ck_assert_uint_eq(sim_master(sim, leader)->committed, committed);
    part(sim, leader, false);
    scenario_check_rest(sim);
    check_mirrors(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(a_follower_behind_what_is_kept_gets_the_state_and_the_rest)
{
    struct sim *sim = scenario_joined(37, 2);
    sim_kill_node(sim, 1, true);
    sim_run(sim, 2000);
    const uint64_t behind = sim_master(sim, 0)->state.index;
    /* What was in memory is forgotten, and what is on the disk is retired. */
    sim_kill(sim, 0, SIM_MASTER);
    sim->nodes[0].keeps_little = true;
    sim_start(sim, 0, SIM_MASTER);
    sim_client(sim, 0)->is_quiet = false;
    sim_run(sim, 60000);
    scenario_quiet(sim, 0);
    sim_run(sim, 1000);
    ck_assert_uint_gt(event_log_first_index(sim->nodes[0].shell.log), behind + 20);
    sim_kill(sim, 0, SIM_MASTER);
    sim_start(sim, 0, SIM_MASTER);
    sim_client(sim, 0)->is_quiet = false;
    sim_run(sim, 2000);
    sim_start_node(sim, 1);
    sim_run(sim, 3000); /* with events on their way meanwhile */
    scenario_check_rest(sim);
    if (!sim->broken[0])
        ck_assert_uint_gt(event_log_first_index(sim->nodes[1].shell.log), behind + 20);
    check_mirrors(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(nodes_join_one_that_demands_a_majority)
{
    struct sim *sim = scenario_joined_by_majority(36, 3);
    scenario_check_rest(sim);
    if (!sim->broken[0])
        ck_assert_uint_eq(sim_master(sim, 0)->state.nodes.count, 3);
    scenario_done(sim);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("splits and majorities");
    const TTest *const tests[] = {
        two_halves_go_on_and_the_higher_epoch_wins,
        a_follower_cut_off_from_two_leads_alone_and_gives_way_or_wins,
        what_a_node_holds_is_told_again_when_its_branch_is_cut,
        a_lone_leader_of_two_refuses_under_quorum,
        the_majority_goes_on_and_the_smaller_half_waits,
        nodes_join_one_that_demands_a_majority,
        a_follower_behind_what_is_kept_gets_the_state_and_the_rest,
    };
    suite_add(suite, "splits", tests, COUNT_OF(tests));
    return suite;
}
