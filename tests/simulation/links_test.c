/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which nodes reach each other is known at every node, and costs the log nothing.
 */
#include "runtime/link_view.h"
#include "tests/simulation/scenario.h"
#include "tests/support/check_main.h"

#include <string.h>

static struct link_measured told(struct sim *sim, uint32_t at, uint32_t other)
{
    const struct master *master = sim_master(sim, at);
    struct link_measured measured;
    memset(&measured, 0, sizeof(measured));
    for (size_t i = 0; i < NODE_COUNT_MAX; i++)
        if (ID_EQUAL(master->links.measures[i].node_id, sim->nodes[other].identity.node))
            (void)link_measure_tell(&master->links.measures[i], sim->now_ms, &measured);
    return measured;
}

/* Did `at` hear of late what `from` tells of its links? */
static bool heard(struct sim *sim, uint32_t at, uint32_t from)
{
    const struct master *master = sim_master(sim, at);
    for (size_t i = 0; i < NODE_COUNT_MAX; i++) {
        const struct links_heard *place = &master->links.heard[i];
        if (place->heard_ms > 0 && sim->now_ms - place->heard_ms < LINK_ROW_LIFE_MS &&
            ID_EQUAL(place->row.node_id, sim->nodes[from].identity.node))
            return true;
    }
    return false;
}

START_TEST(every_node_knows_whom_every_other_reaches_and_the_log_stays)
{
    struct sim *sim = scenario_joined(401, 3);
    sim_run(sim, 15000);
    const uint64_t index = sim_master(sim, 0)->state.index;
    sim_run(sim, 120000);
    for (uint32_t a = 0; a < 3 && !sim->broken[0]; a++)
        for (uint32_t b = 0; b < 3; b++) {
            if (a == b)
                continue;
            ck_assert_msg(told(sim, a, b).reaches, "%u to %u", a, b);
            ck_assert_uint_gt(told(sim, a, b).latency_us, 0);
            ck_assert_uint_gt(told(sim, a, b).bytes_per_s, 0);
            ck_assert_msg(heard(sim, a, b), "%u of %u", a, b);
        }
    ck_assert_uint_eq(sim_master(sim, 0)->state.index, index);
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(a_node_that_is_cut_off_answers_nobody_until_it_is_back)
{
    struct sim *sim = scenario_joined(402, 3);
    sim_run(sim, 15000);
    sim->is_split = true; /* the node that is alone goes on with a log of its own */
    sim_cut(sim, 0, 2, true);
    sim_cut(sim, 1, 2, true);
    sim_run(sim, 30000);
    if (!sim->broken[0]) {
        ck_assert(!told(sim, 0, 2).reaches);
        ck_assert(!told(sim, 2, 0).reaches);
        ck_assert(told(sim, 0, 1).reaches);
        ck_assert(!heard(sim, 0, 2));
    }
    sim_cut(sim, 0, 2, false);
    sim_cut(sim, 1, 2, false);
    sim_run(sim, 60000);
    if (!sim->broken[0]) {
        ck_assert(told(sim, 0, 2).reaches);
        ck_assert(told(sim, 2, 1).reaches);
        ck_assert(heard(sim, 0, 2));
    }
    scenario_done(sim);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("links");
    const TTest *const tests[] = {every_node_knows_whom_every_other_reaches_and_the_log_stays,
                                  a_node_that_is_cut_off_answers_nobody_until_it_is_back};
    suite_add(suite, "links", tests, COUNT_OF(tests));
    return suite;
}
