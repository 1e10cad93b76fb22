/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs damaged before their acknowledged length: repaired from a peer, or refused with the offset.
 */
#include "protocol/memory.h"
#include "tests/simulation/scenario.h"
#include "tests/support/check_main.h"

#include <stdio.h>
#include <string.h>

#define BY_RECORDS "the event log is whole again: events "
#define BY_STATE "the event log is whole again: it goes on from the state of another node"
#define FIRST_RECORD 128 /* the header of a segment is before it */

/* Everything asked for is known, the log is long enough, and the node lies still. */
static void fill(struct sim *sim, uint32_t asked)
{
    sim_client(sim, asked)->is_quiet = false;
    sim_run(sim, 10000);
    scenario_quiet(sim, asked);
    sim_run(sim, 2000);
    ck_assert_uint_gt(sim_client(sim, asked)->answered, 10);
}

/* The log of the node, read anew from its disk, is whole. */
static void check_whole(struct sim *sim, uint32_t node)
{
    struct event_log *log = NULL;
    struct reason reason = {""};
    if (sim->broken[0])
        return;
    const uint64_t index = sim_master(sim, node)->state.index;
    sim_kill_node(sim, node, false);
    const struct event_log_options options = {.path = "log",
                                              .disk = memory_disk_ops(sim->nodes[node].disk),
                                              .cluster = sim->cluster};
    ck_assert_msg(event_log_open(&options, &log, NULL, &reason) == STATUS_OK, "%s", reason.text);
    ck_assert_uint_eq(event_log_durable(log).index, index);
    event_log_close(log);
    memory_disk_kill(sim->nodes[node].disk);
    for (size_t i = 0; i < memory_disk_file_count(sim->nodes[node].disk); i++)
        if (strncmp(memory_disk_file_path(sim->nodes[node].disk, i), "log/damaged-", 12) == 0)
            return; /* what was damaged is kept */
    ck_abort_msg("nothing was set aside");
}

static void check_repaired(struct sim *sim, uint32_t node, const char *how)
{
    scenario_check_rest(sim);
    if (!sim->broken[0])
        ck_assert_msg(strstr(sim->nodes[node].told, how) != NULL, "%s", sim->nodes[node].told);
    check_whole(sim, node);
    scenario_done(sim);
}

START_TEST(a_damaged_follower_is_repaired_by_the_leader)
{
    struct sim *sim = scenario_joined(21, 2);
    scenario_place(sim, 2);
    scenario_wait_ready(sim, 5000);
    fill(sim, 0);
    const uint32_t follower = 1 - sim_leader(sim);
    sim_kill_node(sim, follower, true);
    sim_run(sim, 3000);
    sim_damage(sim, follower, -3000);
    sim_start_node(sim, follower);
    if (!sim->broken[0])
        ck_assert_msg(strstr(sim->nodes[follower].told, "; asking the other nodes (1)") != NULL &&
                          strstr(sim->nodes[follower].told, "is damaged at byte ") != NULL,
                      "%s", sim->nodes[follower].told);
    check_repaired(sim, follower, BY_RECORDS);
}
END_TEST

/* Neither the state nor the other nodes' logs reach to the beginning. */
START_TEST(a_founder_damaged_in_its_first_event_is_repaired)
{
    struct sim *sim = scenario_joined(22, 3);
    fill(sim, 1);
    sim_kill_node(sim, 0, true);
    sim_run(sim, 5000);
    sim_damage(sim, 0, FIRST_RECORD + 100);
    sim_start_node(sim, 0);
    check_repaired(sim, 0, BY_STATE);
}
END_TEST

START_TEST(a_damaged_node_repairs_itself_after_all_lost_power)
{
    struct sim *sim = scenario_joined(23, 2);
    fill(sim, 0);
    sim_kill_node(sim, 0, true);
    sim_kill_node(sim, 1, true);
    sim_damage(sim, 0, 2000);
    sim_start_node(sim, 0);
    sim_run(sim, 20000); /* it does not lead, and founds nothing */
    if (!sim->broken[0])
        ck_assert_uint_eq(sim_leader(sim), UINT32_MAX);
    sim_start_node(sim, 1);
    check_repaired(sim, 0, BY_STATE);
}
END_TEST

/* Neither the state it began with nor the head of its log can be read: a peer's state helps. */
START_TEST(a_node_that_lost_its_beginning_gets_the_state)
{
    struct sim *sim = scenario_joined(24, 2);
    fill(sim, 0);
    sim_kill_node(sim, 1, true);
    sim_run(sim, 3000);
    const struct memory_disk *disk = sim->nodes[1].disk;
    for (size_t i = 0; i < memory_disk_file_count(disk); i++)
        if (strstr(memory_disk_file_path(disk, i), ".snapshot"))
            memory_disk_flip(sim->nodes[1].disk, memory_disk_file_path(disk, i), 20, 1);
    sim_damage(sim, 1, 20);
    sim_start_node(sim, 1);
    check_repaired(sim, 1, BY_STATE);
}
END_TEST

START_TEST(damage_of_a_single_node_is_refused_with_its_offset)
{
    struct sim *sim = scenario_joined(25, 1);
    fill(sim, 0);
    sim_kill_node(sim, 0, true);
    sim_damage(sim, 0, FIRST_RECORD + 100);
    sim_start_node(sim, 0);
    ck_assert_msg(strstr(sim->broken, "is damaged at byte 128: ") != NULL &&
                      strstr(sim->broken, "must come from a peer or from a copy") != NULL,
                  "%s", sim->broken);
    sim->broken[0] = '\0';
    scenario_done(sim);
}
END_TEST

/* It wrote events that nobody else has, and they are damaged: the leader's log holds. */
START_TEST(what_only_the_damaged_log_held_is_given_up_and_said)
{
    struct sim *sim = scenario_joined(26, 2);
    sim_kill_node(sim, 1, true);
    fill(sim, 0); /* acknowledged by the one node in the view */
    sim->acknowledged_count = 0;
    memset(sim->committed, 0, sizeof(sim->committed));
    memset(sim->hashes, 0, sizeof(sim->hashes));
    sim_kill_node(sim, 0, true);
    sim_start_node(sim, 1);
    sim_run(sim, 8000);
    if (!sim->broken[0])
        ck_assert_uint_eq(sim_leader(sim), 1);
    sim_damage(sim, 0, -2000);
    sim_start_node(sim, 0);
    scenario_check_rest(sim);
    if (!sim->broken[0])
        ck_assert_msg(strstr(sim->nodes[0].told, "the leader's log goes on without them") != NULL,
                      "%s", sim->nodes[0].told);
    check_whole(sim, 0);
    scenario_done(sim);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("damaged logs");
    const TTest *const tests[] = {
        a_damaged_follower_is_repaired_by_the_leader,
        a_founder_damaged_in_its_first_event_is_repaired,
        a_damaged_node_repairs_itself_after_all_lost_power,
        a_node_that_lost_its_beginning_gets_the_state,
        damage_of_a_single_node_is_refused_with_its_offset,
        what_only_the_damaged_log_held_is_given_up_and_said,
    };
    suite_add(suite, "damage", tests, COUNT_OF(tests));
    return suite;
}
