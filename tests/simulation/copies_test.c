/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a placement needs on a disk comes there first, whoever leads, whatever dies meanwhile.
 */
#include "tests/simulation/scenario.h"
#include "tests/support/check_main.h"

#include <stdio.h>
#include <string.h>

static const struct state *truth(struct sim *sim)
{
    const uint32_t leader = sim_leader(sim);
    ck_assert_uint_ne(leader, UINT32_MAX);
    return &sim_master(sim, leader)->state;
}

static const struct instance_record *only_instance(struct sim *sim)
{
    ck_assert_uint_eq(truth(sim)->instances.count, 1);
    return &truth(sim)->instances.items[0];
}

static bool holds(struct sim *sim, uint32_t node)
{
    const struct model_record *model = &truth(sim)->models.items[0];
    const struct holder_record *holder =
        model_find_holder(model, &sim->nodes[node].identity.node);
    return holder && holder->has_weights;
}

static void wait_status(struct sim *sim, enum instance_status status)
{
    for (int i = 0; i < 3000 && !sim->broken[0]; i++) {
        if (sim_leader(sim) != UINT32_MAX && truth(sim)->instances.count == 1 &&
            truth(sim)->instances.items[0].status == (uint32_t)status)
            return;
        sim_run(sim, 20);
    }
    ck_abort_msg("it is %s, not %s: %s", instance_status_name(only_instance(sim)->status),
                 instance_status_name(status), sim->broken);
}

static enum transfer_phase phase(struct sim *sim)
{
    ck_assert_uint_eq(truth(sim)->transfers.count, 1);
    return transfer_phase_of(&truth(sim)->transfers.items[0]);
}

static void wait_phase(struct sim *sim, enum transfer_phase wanted)
{
    for (int i = 0; i < 500 && !sim->broken[0]; i++) {
        if (sim_leader(sim) != UINT32_MAX && truth(sim)->transfers.count > 0 &&
            phase(sim) == wanted)
            return;
        sim_run(sim, 20);
    }
    ck_abort_msg("no transfer is %s: %s", transfer_phase_name(wanted), sim->broken);
}

static void copy_to_all(struct sim *sim)
{
    struct message command;
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_DISTRIBUTE_MODEL), STATUS_OK);
    struct distribute_model *body = command.body;
    body->is_all = true;
    ck_assert(text_set(&body->model_id, truth(sim)->models.items[0].model_id));
    ck_assert_int_eq(sim_ask_wait(sim, 0, &command), STATUS_OK);
    wait_phase(sim, TRANSFER_DONE);
}

static uint32_t node_of(const struct sim *sim, const struct node_id *id)
{
    for (uint32_t i = 0; i < sim->node_count; i++)
        if (ID_EQUAL(sim->nodes[i].identity.node, *id))
            return i;
    ck_abort_msg("a rank on a node that is not here");
}

static void delete_instance(struct sim *sim)
{
    struct message command;
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_DELETE_INSTANCE), STATUS_OK);
    MESSAGE_BODY(&command, delete_instance)->instance_id = only_instance(sim)->instance_id;
    ck_assert_int_eq(sim_ask_wait(sim, 0, &command), STATUS_OK);
}

START_TEST(an_instance_on_a_node_without_the_model_gets_a_copy_first)
{
    struct sim *sim = scenario_joined(21, 2);
    scenario_place_on(sim, 1);
    scenario_wait_ready(sim, 5000);
    if (!sim->broken[0]) {
        ck_assert(holds(sim, 1));
        ck_assert_uint_eq(phase(sim), TRANSFER_DONE);
        ck_assert_uint_eq(only_instance(sim)->ranks.count, 1);
        ck_assert(ID_EQUAL(only_instance(sim)->ranks.items[0].node_id,
                           sim->nodes[1].identity.node));
        ck_assert(only_instance(sim)->ranks.items[0].has_weights);
    }
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(a_node_of_several_needs_no_copy_when_another_holds_the_model)
{
    struct sim *sim = scenario_joined(22, 2);
    scenario_place(sim, 2);
    scenario_wait_ready(sim, 5000);
    if (!sim->broken[0]) {
        ck_assert(!holds(sim, 1));
        ck_assert_uint_eq(truth(sim)->transfers.count, 0);
    }
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

/* Node 0 alone has the model, and leads. */
START_TEST(a_node_beside_the_ranks_sends_the_model_and_is_not_missed_after)
{
    struct sim *sim = scenario_joined(23, 3);
    scenario_place_on_two(sim, 1, 2);
    scenario_wait_ready(sim, 5000);
    if (!sim->broken[0]) {
        const struct instance_record *instance = only_instance(sim);
        const struct generation generation = instance->generation;
        ck_assert(!holds(sim, 1) && !holds(sim, 2));
        ck_assert_uint_eq(truth(sim)->transfers.count, 0);
        ck_assert_uint_eq(instance_computing(instance), 2);
        ck_assert_uint_eq(instance->ranks.count, 3);
        ck_assert(ID_EQUAL(instance->ranks.items[2].node_id, sim->nodes[0].identity.node));
        ck_assert_uint_eq(instance->ranks.items[2].status, RANK_RELEASED);
        ck_assert_uint_eq(instance->sources.items[0].rank, 2);
        sim_kill(sim, 0, SIM_PLANNER); /* which then asks what runs: no source, and none is due */
        sim_start(sim, 0, SIM_PLANNER);
        sim_run(sim, 3000);
        sim_kill_node(sim, 0, true);
        sim_run(sim, 10000);
        instance = only_instance(sim);
        ck_assert_uint_eq(instance->status, INSTANCE_READY);
        ck_assert(generation_equal(&instance->generation, &generation));
        sim_start_node(sim, 0);
        sim_run(sim, 5000);
        ck_assert(generation_equal(&only_instance(sim)->generation, &generation));
    }
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

/* Two have the model.  The one that sends it dies before all have it: the other does it. */
START_TEST(another_node_sends_the_model_when_the_first_dies_before_all_is_sent)
{
    struct sim *sim = scenario_joined(24, 4);
    scenario_place(sim, 1);
    scenario_wait_ready(sim, 5000);
    copy_to_all(sim);
    delete_instance(sim);
    sim->nodes[1].lost = sim->nodes[2].lost = 0xf;
    for (uint32_t node = 1; node < 3; node++) {
        sim_kill(sim, node, SIM_DOWNLOADER);
        sim_start(sim, node, SIM_DOWNLOADER);
    }
    sim_run(sim, 1000);
    scenario_place_on_two(sim, 1, 2);
    struct node_id first = {{0}};
    for (int i = 0; i < 100 && !sim->broken[0]; i++) {
        const struct instance_record *instance = only_instance(sim);
        if (instance->ranks.count == 3 && instance->ranks.items[2].launcher_address) {
            first = instance->ranks.items[2].node_id;
            break;
        }
        sim_run(sim, 10);
    }
    if (!sim->broken[0]) {
        ck_assert(!ID_IS_ZERO(first));
        sim_kill_node(sim, node_of(sim, &first), true);
        sim_run(sim, 3000);
        wait_status(sim, INSTANCE_READY);
        const struct instance_record *instance = only_instance(sim);
        ck_assert_uint_eq(instance->ranks.count, 3);
        ck_assert(!ID_EQUAL(instance->ranks.items[2].node_id, first));
        sim_start_node(sim, node_of(sim, &first));
    }
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(a_deleted_instance_cancels_the_copy_that_only_it_wanted)
{
    struct sim *sim = scenario_joined(23, 2);
    sim->nodes[1].copy_status = STATUS_BUSY;
    scenario_place_on(sim, 1);
    wait_phase(sim, TRANSFER_RUNNING);
    ck_assert_uint_eq(only_instance(sim)->status, INSTANCE_COPYING);
    delete_instance(sim);
    wait_phase(sim, TRANSFER_STOPPED);
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(a_copy_that_a_command_asked_for_too_goes_on_without_the_instance)
{
    struct sim *sim = scenario_joined(24, 2);
    struct message command;
    sim->nodes[1].copy_status = STATUS_BUSY;
    scenario_place_on(sim, 1);
    wait_phase(sim, TRANSFER_RUNNING);
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_DISTRIBUTE_MODEL), STATUS_OK);
    struct distribute_model *body = command.body;
    ck_assert(text_set(&body->model_id, truth(sim)->models.items[0].model_id) &&
              bytes_set(&body->node_ids, &sim->nodes[1].identity.node, 16));
    ck_assert_int_eq(sim_ask_wait(sim, 0, &command), STATUS_OK);
    delete_instance(sim);
    sim_run(sim, 3000);
    ck_assert_uint_eq(phase(sim), TRANSFER_RUNNING);
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(a_copy_without_room_fails_the_instance_with_its_reason)
{
    struct sim *sim = scenario_joined(25, 2);
    sim->nodes[1].copy_status = STATUS_NO_SPACE;
    scenario_place_on(sim, 1);
    wait_status(sim, INSTANCE_FAILED);
    ck_assert_msg(strstr(only_instance(sim)->last_reason, "98 bytes are lacking") != NULL, "%s",
                  only_instance(sim)->last_reason);
    sim->nodes[1].copy_status = STATUS_OK;
    struct message command;
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_RETRY_INSTANCE), STATUS_OK);
    MESSAGE_BODY(&command, retry_instance)->instance_id = only_instance(sim)->instance_id;
    ck_assert_int_eq(sim_ask_wait(sim, 0, &command), STATUS_OK);
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(the_next_leader_goes_on_with_a_copy)
{
    struct sim *sim = scenario_joined(26, 3);
    sim->nodes[2].copy_status = STATUS_BUSY;
    scenario_place_on(sim, 2);
    wait_phase(sim, TRANSFER_RUNNING);
    const uint32_t leader = sim_leader(sim);
    sim_kill(sim, leader, SIM_MASTER);
    sim->nodes[2].copy_status = STATUS_OK;
    sim_run(sim, 3000);
    sim_start(sim, leader, SIM_MASTER);
    sim_settle(sim, 20000);
    sim_kill(sim, 2, SIM_PLANNER); /* which then asks the transferer what it holds: nothing */
    sim_start(sim, 2, SIM_PLANNER);
    scenario_check_rest(sim);
    if (!sim->broken[0])
        ck_assert(holds(sim, 2));
    scenario_done(sim);
}
END_TEST

START_TEST(a_node_that_leaves_while_it_is_copied_to_is_waited_for)
{
    struct sim *sim = scenario_joined(27, 3);
    sim->nodes[2].copy_status = STATUS_BUSY;
    scenario_place_on(sim, 2);
    wait_phase(sim, TRANSFER_RUNNING);
    sim_kill_node(sim, 2, true);
    wait_status(sim, INSTANCE_WAITING);
    wait_phase(sim, TRANSFER_STOPPED);
    sim->nodes[2].copy_status = STATUS_OK;
    sim_start_node(sim, 2);
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

static void command_model(struct sim *sim, uint32_t node, enum command_code code)
{
    struct message command;
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, code), STATUS_OK);
    if (code == COMMAND_REMOVE_MODEL)
        ck_assert(text_set(&MESSAGE_BODY(&command, remove_model)->model_id, "toy"));
    else
        ck_assert(text_set(&MESSAGE_BODY(&command, add_model)->model_id, "toy") &&
                  text_set(&MESSAGE_BODY(&command, add_model)->path, "/models/toy"));
    ck_assert_int_eq(sim_ask_wait(sim, node, &command), STATUS_OK);
    sim_run(sim, 500);
}

static void check_models(struct sim *sim, uint32_t count)
{
    if (!sim->broken[0])
        ck_assert_uint_eq(truth(sim)->models.count, count);
}

static enum status place_unknown(struct sim *sim, const char *model_id)
{
    struct message command;
    sim_run(sim, 3000); /* loads of all nodes are told */
    ck_assert_int_eq(message_init(&command, MESSAGE_COMMAND, COMMAND_PLACE_INSTANCE), STATUS_OK);
    struct place_instance *body = command.body;
    ck_assert(text_set(&body->model_id, model_id));
    body->any_sharding = true;
    body->may_download = true;
    return sim_ask_wait(sim, 0, &command);
}

START_TEST(a_model_nobody_holds_is_downloaded_by_one_node_and_runs)
{
    struct sim *sim = scenario_joined(29, 3);
    ck_assert_int_eq(place_unknown(sim, "typo"), STATUS_NOT_FOUND);
    ck_assert_int_eq(place_unknown(sim, "org/toy"), STATUS_OK);
    scenario_wait_ready(sim, 10000);
    check_models(sim, 1);
    if (!sim->broken[0]) {
        ck_assert_uint_eq(holds(sim, 0) + holds(sim, 1) + holds(sim, 2), 1);
        ck_assert_uint_eq(only_instance(sim)->revision.bytes[0], 7);
    }
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(what_the_hub_has_not_fails_the_instance_with_its_sentence)
{
    struct sim *sim = scenario_joined(30, 2);
    sim->nodes[0].import_status = sim->nodes[1].import_status = STATUS_NOT_FOUND;
    ck_assert_int_eq(place_unknown(sim, "org/toy"), STATUS_OK);
    wait_status(sim, INSTANCE_FAILED);
    ck_assert_str_eq(only_instance(sim)->last_reason, "the hub has none");
    delete_instance(sim);
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

START_TEST(another_node_downloads_when_the_first_leaves)
{
    struct sim *sim = scenario_joined(31, 3);
    for (uint32_t i = 0; i < 3; i++)
        sim->nodes[i].import_status = STATUS_BUSY;
    ck_assert_int_eq(place_unknown(sim, "org/toy"), STATUS_OK);
    wait_status(sim, INSTANCE_DOWNLOADING);
    sim_run(sim, 500);
    ck_assert_uint_eq(truth(sim)->imports.count, 1);
    const struct node_id first = only_instance(sim)->ranks.items[0].node_id;
    uint32_t away = 0;
    for (uint32_t i = 0; i < 3; i++) {
        sim->nodes[i].import_status = STATUS_OK;
        if (ID_EQUAL(sim->nodes[i].identity.node, first))
            away = i;
    }
    sim_kill_node(sim, away, true);
    wait_status(sim, INSTANCE_READY);
    if (!sim->broken[0])
        ck_assert(!ID_EQUAL(only_instance(sim)->ranks.items[0].node_id, first));
    sim_start_node(sim, away);
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

/* The toy's downloader keeps its files and tells of them at every start. */
START_TEST(a_model_removed_while_its_holder_is_away_stays_removed)
{
    struct sim *sim = scenario_joined(28, 3);
    command_model(sim, 0, COMMAND_ADD_MODEL);
    check_models(sim, 1);
    sim_kill_node(sim, 0, true);
    sim_run(sim, 5000);
    command_model(sim, 1, COMMAND_REMOVE_MODEL);
    sim_start_node(sim, 0);
    sim_settle(sim, 20000);
    sim_kill(sim, 0, SIM_DOWNLOADER);
    sim_start(sim, 0, SIM_DOWNLOADER);
    scenario_check_rest(sim);
    check_models(sim, 0);
    command_model(sim, 0, COMMAND_ADD_MODEL); /* taken in anew */
    check_models(sim, 1);
    scenario_check_rest(sim);
    scenario_done(sim);
}
END_TEST

/* Files that lie on no disk any more. */
static uint8_t lost_everywhere(const struct sim *sim)
{
    uint8_t lost = 0x0f;
    for (uint32_t i = 0; i < sim->node_count; i++)
        if (sim->nodes[i].held_count > 0)
            lost &= sim->nodes[i].lost;
    return lost;
}

/* Whatever was lost: it runs from what is there, or says which file is nowhere. */
static void check_outcome(struct sim *sim)
{
    const uint8_t gone = lost_everywhere(sim);
    char sentence[64];
    wait_status(sim, gone ? INSTANCE_FAILED : INSTANCE_READY);
    const struct instance_record *instance = only_instance(sim);
    if (gone) {
        (void)snprintf(sentence, sizeof(sentence), "no node holds part-%u",
                       gone & 1 ? 1u : gone & 2 ? 2u : gone & 4 ? 3u : 4u);
        ck_assert_msg(strstr(instance->last_reason, sentence) != NULL, "%s, not %s",
                      instance->last_reason, sentence);
        return;
    }
    ck_assert_uint_eq(instance->sources.count, 4);
    for (uint32_t i = 0; i < instance->sources.count; i++) {
        const struct file_source *source = &instance->sources.items[i];
        ck_assert((source->holders >> source->rank & 1) != 0);
        for (uint32_t rank = 0; rank < instance->ranks.count; rank++)
            ck_assert((source->holders >> rank & 1) == 0 ||
                      (sim->nodes[node_of(sim, &instance->ranks.items[rank].node_id)].lost >> i &
                       1) == 0);
    }
}

/* Files go from disks at random, unseen until something is loaded or a store is looked at. */
START_TEST(files_that_are_lost_are_found_and_the_rest_is_used)
{
    uint32_t parted = 0;
    uint32_t failed = 0;
    for (uint64_t seed = 40; seed < 46; seed++) {
        struct sim *sim = scenario_joined(seed, 3);
        scenario_place(sim, 2);
        scenario_wait_ready(sim, 5000);
        copy_to_all(sim);
        for (uint32_t turn = 0; turn < 9 && !sim->broken[0]; turn++) {
            const uint32_t node = (uint32_t)seeded_below(&sim->seeded, 3);
            sim->nodes[node].lost |= (uint8_t)(1u << seeded_below(&sim->seeded, 4));
            if (seeded_below(&sim->seeded, 3) == 0) {
                sim_kill(sim, node, SIM_DOWNLOADER);
                sim_start(sim, node, SIM_DOWNLOADER);
            }
            sim_run(sim, 2000);
            for (uint32_t i = 0; i < 3; i++)
                sim_kill_runners(sim, i);
            sim_run(sim, 200);
            check_outcome(sim);
            failed += only_instance(sim)->status == INSTANCE_FAILED;
            parted += only_instance(sim)->status == INSTANCE_READY && !holds(sim, 0) &&
                      !holds(sim, 1) && !holds(sim, 2);
            if (only_instance(sim)->status == INSTANCE_FAILED)
                break;
        }
        for (uint32_t i = 0; i < 3; i++) {
            sim->nodes[i].lost = 0;
            sim_kill(sim, i, SIM_DOWNLOADER);
            sim_start(sim, i, SIM_DOWNLOADER);
        }
        scenario_check_rest(sim);
        scenario_done(sim);
    }
    ck_assert_uint_gt(parted, 0);
    ck_assert_uint_gt(failed, 0);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("copies");
    const TTest *const tests[] = {
        an_instance_on_a_node_without_the_model_gets_a_copy_first,
        a_node_of_several_needs_no_copy_when_another_holds_the_model,
        a_node_beside_the_ranks_sends_the_model_and_is_not_missed_after,
        another_node_sends_the_model_when_the_first_dies_before_all_is_sent,
        a_deleted_instance_cancels_the_copy_that_only_it_wanted,
        a_copy_that_a_command_asked_for_too_goes_on_without_the_instance,
        a_copy_without_room_fails_the_instance_with_its_reason,
        the_next_leader_goes_on_with_a_copy,
        a_node_that_leaves_while_it_is_copied_to_is_waited_for,
        a_model_removed_while_its_holder_is_away_stays_removed,
        a_model_nobody_holds_is_downloaded_by_one_node_and_runs,
        what_the_hub_has_not_fails_the_instance_with_its_sentence,
        another_node_downloads_when_the_first_leaves,
        files_that_are_lost_are_found_and_the_rest_is_used,
    };
    suite_add(suite, "scenarios", tests, COUNT_OF(tests));
    return suite;
}
