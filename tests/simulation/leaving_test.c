/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of an instance when a node of it leaves, comes back, or has less memory than it was
 * placed with.
 */
#include "tests/simulation/scenario.h"
#include "tests/support/check_main.h"

#include <string.h>

static const struct instance_record *only_instance(struct sim *sim)
{
    const uint32_t leader = sim_leader(sim);
    ck_assert_uint_ne(leader, UINT32_MAX);
    const struct state *state = &sim_master(sim, leader)->state;
    ck_assert_uint_eq(state->instances.count, 1);
    return &state->instances.items[0];
}

static bool runs_on(struct sim *sim, uint32_t node)
{
    const struct instance_record *instance = only_instance(sim);
    for (uint32_t i = 0; i < instance->ranks.count; i++)
        if (ID_EQUAL(instance->ranks.items[i].node_id, sim->nodes[node].identity.node))
            return true;
    return false;
}

/* One that holds a rank and neither leads nor has the model (node 0 does both). */
static uint32_t other_node(struct sim *sim)
{
    for (uint32_t i = 1; i < sim->node_count; i++)
        if (runs_on(sim, i))
            return i;
    ck_abort_msg("the first node has all of it");
}

static void copy_to_all(struct sim *sim)
{
    struct message command;
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_DISTRIBUTE_MODEL), STATUS_OK);
    struct distribute_model *body = command.body;
    body->is_all = true;
    ck_assert(text_set(&body->model_id, only_instance(sim)->model_id));
    ck_assert_int_eq(sim_ask_wait(sim, 0, &command), STATUS_OK);
    sim_run(sim, 2000);
}

static void delete_instance(struct sim *sim)
{
    struct message command;
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_DELETE_INSTANCE), STATUS_OK);
    MESSAGE_BODY(&command, delete_instance)->instance_id = only_instance(sim)->instance_id;
    ck_assert_int_eq(sim_ask_wait(sim, 0, &command), STATUS_OK);
}

START_TEST(a_third_node_takes_over_and_what_runs_stays_when_the_lost_one_is_back)
{
    const uint32_t lost = 1;
    const uint32_t third = 2;
    struct sim *sim = scenario_joined(61, 3);
    sim->nodes[third].memory_free = UINT64_C(20) << 20;
    scenario_place(sim, 2);
    scenario_wait_ready(sim, 5000);
    if (!sim->broken[0]) {
        ck_assert(runs_on(sim, lost) && !runs_on(sim, third));
        sim->nodes[third].memory_free = UINT64_C(4) << 30;
        sim_run(sim, 3000);
        sim_kill_node(sim, lost, true);
        sim_run(sim, 3000);
        scenario_wait_ready(sim, 10000);
        ck_assert(runs_on(sim, third) && !runs_on(sim, lost));
        const struct generation generation = only_instance(sim)->generation;
        sim_start_node(sim, lost);
        sim_run(sim, 15000);
        ck_assert(generation_equal(&only_instance(sim)->generation, &generation));
        /* The next placement may have it. */
        delete_instance(sim);
        scenario_place(sim, 3);
        scenario_wait_ready(sim, 5000);
        ck_assert(runs_on(sim, lost) && runs_on(sim, third));
    }
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(the_rest_holds_all_of_it_when_it_fits_there)
{
    struct sim *sim = scenario_joined(62, 2);
    for (uint32_t i = 0; i < 2; i++) /* nobody has room for the whole beside its own things */
        sim->nodes[i].memory_free = UINT64_C(300) << 20;
    scenario_place(sim, 1);
    scenario_wait_ready(sim, 5000);
    if (!sim->broken[0]) {
        copy_to_all(sim);
        const uint32_t lost = only_instance(sim)->ranks.count > 1 ? other_node(sim) : 1;
        sim->nodes[0].memory_free = UINT64_C(4) << 30;
        sim_run(sim, 3000);
        sim_kill_node(sim, lost, true);
        sim_run(sim, 3000);
        scenario_wait_ready(sim, 10000);
        ck_assert_uint_eq(only_instance(sim)->ranks.count, 1);
        ck_assert(runs_on(sim, 0));
        sim_start_node(sim, lost);
    }
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(memory_that_shrank_after_the_placement_is_named_and_another_node_taken)
{
    struct sim *sim = scenario_joined(63, 3);
    scenario_place(sim, 2);
    if (!sim->broken[0]) {
        const uint32_t poor = other_node(sim);
        const struct generation generation = only_instance(sim)->generation;
        sim->nodes[poor].memory_free = UINT64_C(20) << 20;
        for (int i = 0; i < 400 && generation_equal(&only_instance(sim)->generation, &generation);
             i++)
            sim_run(sim, 20);
        ck_assert_ptr_nonnull(strstr(text_or_empty(only_instance(sim)->last_reason), "memory"));
        scenario_wait_ready(sim, 10000);
        ck_assert(!runs_on(sim, poor));
        ck_assert_uint_eq(only_instance(sim)->failures, 1);
        sim->nodes[poor].memory_free = UINT64_C(4) << 30;
        const struct generation second = only_instance(sim)->generation;
        sim_run(sim, 10000);
        ck_assert(generation_equal(&only_instance(sim)->generation, &second));
    }
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        a_third_node_takes_over_and_what_runs_stays_when_the_lost_one_is_back,
        the_rest_holds_all_of_it_when_it_fits_there,
        memory_that_shrank_after_the_placement_is_named_and_another_node_taken,
    };
    Suite *suite = suite_create("leaving");
    suite_add(suite, "leaving", tests, COUNT_OF(tests));
    return suite;
}
