/* SPDX-License-Identifier: Apache-2.0 */
/* One test for each rule of the plan, in their order. */
#include "actors/planner/plan.h"

#include "tests/support/check_main.h"

#include <stdio.h>
#include <string.h>

static struct state state;
static struct in_flight in_flight;
static const struct node_id here = {{1}};
static const struct node_id there = {{2}};
static const struct generation first = {1, {{1}}, 5};

static void setup(void)
{
    state_init(&state);
    memset(&in_flight, 0, sizeof(in_flight));
}

static void teardown(void)
{
    state_fini(&state);
}

static struct planned_task next_at(uint64_t now_ms)
{
    const struct plan_question question = {&state, &here, &in_flight, now_ms};
    return plan_next(&question);
}

static struct instance_record *add_instance(uint32_t ranks)
{
    struct instance_record *instance = record_list_push(
        &instance_record_type, RECORD_LIST(state.instances), NULL, INSTANCE_COUNT_MAX);
    instance->instance_id.bytes[0] = 9;
    instance->generation = first;
    instance->status = INSTANCE_STARTING;
    ck_assert(text_set(&instance->model_id, "m"));
    for (uint32_t i = 0; i < ranks; i++) {
        const struct rank_record rank = {.node_id = i % 2 ? there : here};
        ck_assert_ptr_nonnull(
            record_list_push(&rank_record_type, RECORD_LIST(instance->ranks), &rank, 8));
    }
    return instance;
}

static void add_model(bool is_held)
{
    struct model_record *model = record_list_push(
        &model_record_type, RECORD_LIST(state.models), NULL, MODEL_COUNT_MAX);
    ck_assert(text_set(&model->model_id, "m"));
    model->revision.bytes[0] = 3;
    const struct holder_record holder = {.node_id = here};
    if (is_held)
        ck_assert_ptr_nonnull(
            record_list_push(&holder_record_type, RECORD_LIST(model->holders), &holder, 8));
}

static struct task_in_flight *give(const struct planned_task *task)
{
    struct task_in_flight *given = &in_flight.items[in_flight.count++];
    *given = (struct task_in_flight){.key = planned_task_key(task),
                                     .code = task->code,
                                     .actor = task->actor,
                                     .instance_id = task->instance_id,
                                     .generation = task->generation,
                                     .rank = task->rank};
    (void)snprintf(given->model_id, sizeof(given->model_id), "%s",
                   task->model_id ? task->model_id : "");
    return given;
}

START_TEST(an_empty_state_asks_for_nothing)
{
    ck_assert_int_eq(next_at(0).code, TASK_CODE_NONE);
}
END_TEST

START_TEST(stop_process_of_ended_generation)
{
    struct instance_record *instance = add_instance(1);
    add_model(true);
    const struct planned_task start = next_at(0);
    struct task_in_flight *given = give(&start);
    ck_assert_int_eq(next_at(0).code, TASK_CODE_NONE);
    instance->status = INSTANCE_WAITING;
    const struct planned_task stop = next_at(0);
    ck_assert_int_eq(stop.code, TASK_STOP_PROCESS);
    ck_assert_int_eq(stop.route, ACTOR_SUPERVISOR);
    ck_assert(generation_equal(&stop.generation, &first));
    /* What ended by itself is not stopped; what is being stopped is not stopped twice. */
    given->is_ended = true;
    ck_assert_int_eq(next_at(0).code, TASK_CODE_NONE);
    given->is_ended = false;
    struct task_in_flight *stopping = give(&stop);
    ck_assert_int_eq(next_at(0).code, TASK_CODE_NONE);
    stopping->is_failed = true;
    stopping->retry_at_ms = 100;
    ck_assert_int_eq(next_at(99).code, TASK_CODE_NONE);
    ck_assert_int_eq(next_at(100).code, TASK_STOP_PROCESS);
}
END_TEST

START_TEST(import_requested_model)
{
    struct import_record import = {.node_id = there};
    struct import_record *added = record_list_push(
        &import_record_type, RECORD_LIST(state.imports), &import, IMPORT_COUNT_MAX);
    ck_assert(text_set(&added->model_id, "m") && text_set(&added->path, "/m"));
    ck_assert_int_eq(next_at(0).code, TASK_CODE_NONE); /* another node's */
    added->node_id = here;
    const struct planned_task task = next_at(0);
    ck_assert_int_eq(task.code, TASK_IMPORT_MODEL);
    ck_assert_int_eq(task.route, ACTOR_DOWNLOADER);
    ck_assert_str_eq(task.path, "/m");
    give(&task);
    ck_assert_int_eq(next_at(0).code, TASK_CODE_NONE);
}
END_TEST

START_TEST(fetch_missing_small_files)
{
    add_instance(2);
    add_model(false);
    const struct planned_task task = next_at(0);
    ck_assert_int_eq(task.code, TASK_FETCH_SMALL_FILES);
    ck_assert_int_eq(task.route, ACTOR_TRANSFERER);
    ck_assert_uint_eq(task.revision.bytes[0], 3);
    give(&task);
    ck_assert_int_eq(next_at(0).code, TASK_CODE_NONE); /* nothing starts before they are here */
}
END_TEST

START_TEST(start_missing_rank)
{
    struct instance_record *instance = add_instance(3);
    add_model(true);
    const struct planned_task a = next_at(0);
    ck_assert_int_eq(a.code, TASK_START_PROCESS);
    ck_assert_uint_eq(a.actor, ACTOR_LAUNCHER);
    ck_assert_uint_eq(a.rank, 0);
    struct task_in_flight *given = give(&a);
    const struct planned_task b = next_at(0);
    ck_assert_uint_eq(b.rank, 2); /* rank 1 is on another node */
    give(&b);
    ck_assert_int_eq(next_at(0).code, TASK_CODE_NONE);
    /* A rank that ended is not started again in its generation, but in the next. */
    given->is_ended = true;
    ck_assert_int_eq(next_at(0).code, TASK_CODE_NONE);
    instance->generation.counter++;
    in_flight.count = 0;
    const struct planned_task again = next_at(0);
    ck_assert_int_eq(again.code, TASK_START_PROCESS);
    const struct command_key x = planned_task_key(&a);
    const struct command_key y = planned_task_key(&again);
    ck_assert_mem_ne(&x, &y, sizeof(x));
}
END_TEST

START_TEST(an_instance_of_one_rank_has_no_launcher)
{
    add_instance(1);
    add_model(true);
    ck_assert_uint_eq(next_at(0).actor, ACTOR_RUNNER);
}
END_TEST

START_TEST(gather_shared_download)
{
    const struct download_target targets[] = {{.node_id = there}, {.node_id = here}};
    struct download_record *download = record_list_push(
        &download_record_type, RECORD_LIST(state.downloads), NULL, IMPORT_COUNT_MAX);
    ck_assert(download && text_set(&download->model_id, "m"));
    while (state.nodes.count < 2)
        ck_assert_ptr_nonnull(record_list_push(&node_record_type, RECORD_LIST(state.nodes), NULL,
                                               NODE_COUNT_MAX));
    ck_assert_ptr_nonnull(record_list_push(&download_target_type, RECORD_LIST(download->targets),
                                           &targets[0], NODE_COUNT_MAX));
    ck_assert(text_set(&download->commit, "c"));
    ck_assert_int_eq(next_at(0).code, TASK_CODE_NONE); /* another node's */
    ck_assert_ptr_nonnull(record_list_push(&download_target_type, RECORD_LIST(download->targets),
                                           &targets[1], NODE_COUNT_MAX));
    ck_assert(text_set(&download->commit, ""));
    ck_assert_int_eq(next_at(0).code, TASK_CODE_NONE); /* nobody knows its files */
    ck_assert(text_set(&download->commit, "c"));
    const struct planned_task task = next_at(0);
    ck_assert_int_eq(task.code, TASK_GATHER_FILES);
    ck_assert_int_eq(task.route, ACTOR_TRANSFERER);
    ck_assert_str_eq(task.commit, "c");
    download->no_peers = true;
    ck_assert_int_eq(next_at(0).code, TASK_CODE_NONE);
    download->no_peers = false;
    give(&task);
    ck_assert_int_eq(next_at(0).code, TASK_CODE_NONE);
}
END_TEST

START_TEST(fetch_transferred_model)
{
    const struct transfer_target targets[] = {{.node_id = there, .phase = TRANSFER_ASKED},
                                              {.node_id = here, .phase = TRANSFER_ASKED}};
    struct transfer_record *transfer = record_list_push(
        &transfer_record_type, RECORD_LIST(state.transfers), NULL, TRANSFER_COUNT_MAX);
    ck_assert(transfer && text_set(&transfer->model_id, "m"));
    transfer->transfer_id.bytes[0] = 4;
    transfer->revision.bytes[0] = 3;
    ck_assert_ptr_nonnull(record_list_push(&transfer_target_type, RECORD_LIST(transfer->targets),
                                           &targets[0], 8));
    ck_assert_int_eq(next_at(0).code, TASK_CODE_NONE);
    struct transfer_target *target = record_list_push(
        &transfer_target_type, RECORD_LIST(transfer->targets), &targets[1], 8);
    const struct planned_task task = next_at(0);
    ck_assert_int_eq(task.code, TASK_FETCH_MODEL);
    ck_assert_int_eq(task.route, ACTOR_TRANSFERER);
    ck_assert_str_eq(task.model_id, "m");
    ck_assert_uint_eq(task.transfer_id.bytes[0], 4);
    give(&task)->transfer_id = task.transfer_id;
    ck_assert_int_eq(next_at(0).code, TASK_CODE_NONE);
    in_flight.items[0].is_failed = true;
    in_flight.items[0].retry_at_ms = 500;
    ck_assert_int_eq(next_at(499).code, TASK_CODE_NONE);
    target->phase = TRANSFER_RUNNING; /* by a transferer that died */
    ck_assert_int_eq(next_at(500).code, TASK_FETCH_MODEL);
    target->phase = TRANSFER_STOPPED;
    ck_assert_int_eq(next_at(500).code, TASK_CODE_NONE);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("plan");
    const TTest *const tests[] = {an_empty_state_asks_for_nothing,
                                  stop_process_of_ended_generation,
                                  import_requested_model,
                                  gather_shared_download,
                                  fetch_missing_small_files,
                                  start_missing_rank,
                                  fetch_transferred_model,
                                  an_instance_of_one_rank_has_no_launcher};
    TCase *group = tcase_create("rules");
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
