/* SPDX-License-Identifier: Apache-2.0 */
/* The planner's step: what it asks, gives, gives again and frees, and when it wakes. */
#include "actors/planner/planner.h"

#include "tests/support/check_main.h"
#include "tests/support/step_bench.h"

#include <string.h>

static const struct node_id own = {{1}};
static const struct instance_id instance_id = {{9}};
static const struct generation first = {1, {{1}}, 1};
static const struct generation second = {1, {{1}}, 2};
static const struct session_settings settings = {.actor = ACTOR_PLANNER, .incarnation = 5,
                                                 .build = "test", .wants_events = true};
static const enum actor_kind asked[] = {ACTOR_SUPERVISOR, ACTOR_DOWNLOADER, ACTOR_TRANSFERER};
static struct step_bench bench;
static struct state state; /* told by begin */

static void setup(void)
{
    state_init(&state);
    step_bench_open(&bench, &planner_ops, &settings);
    bench_feed(&bench, (struct input){.kind = INPUT_START});
}

static void teardown(void)
{
    step_bench_close(&bench);
    state_fini(&state);
}

static struct planner *planner(void)
{
    return bench.actor;
}

/* Steps with nothing to do must not ask for a time that is not to come. */
static void check_wake(void)
{
    ck_assert_msg(bench.outbox.wake_ms > bench.now_ms, "it would spin");
}

static unsigned given(enum task_code code)
{
    return bench_sent_count(&bench, MESSAGE_TASK, code);
}

static const struct message *task(enum task_code code)
{
    const struct message *sent = bench_sent(&bench, MESSAGE_TASK, code);
    ck_assert_ptr_nonnull(sent);
    return sent;
}

static void add_model(bool is_held)
{
    const struct holder_record holder = {.node_id = own};
    struct model_record *model =
        record_list_push(&model_record_type, RECORD_LIST(state.models), NULL, 4);
    ck_assert(model && text_set(&model->model_id, "m"));
    model->revision.bytes[0] = 3;
    if (is_held)
        ck_assert_ptr_nonnull(
            record_list_push(&holder_record_type, RECORD_LIST(model->holders), &holder, 4));
}

static void add_instance(void)
{
    const struct rank_record rank = {.node_id = own, .threads = 6};
    struct instance_record *instance =
        record_list_push(&instance_record_type, RECORD_LIST(state.instances), NULL, 4);
    ck_assert(instance && text_set(&instance->model_id, "m"));
    instance->instance_id = instance_id;
    instance->generation = first;
    instance->status = INSTANCE_STARTING;
    ck_assert_ptr_nonnull(
        record_list_push(&rank_record_type, RECORD_LIST(instance->ranks), &rank, 4));
}

static void add_import(void)
{
    struct import_record *import =
        record_list_push(&import_record_type, RECORD_LIST(state.imports), NULL, 4);
    ck_assert(import && text_set(&import->model_id, "m") && text_set(&import->path, "/there"));
    import->node_id = own;
}

/* The list of an actor that was asked for it, with at most one task in it. */
static void list_of(enum actor_kind actor, const struct task_held *held)
{
    struct message answer;
    ck_assert_int_eq(message_init(&answer, MESSAGE_ANSWER, ANSWER_TASKS), STATUS_OK);
    for (size_t i = 0; i < bench.sent_count; i++)
        if (message_is(&bench.sent[i].message, MESSAGE_TASK, TASK_LIST_TASKS) &&
            bench.sent[i].message.head.route == (uint32_t)actor)
            answer.head.key = bench.sent[i].message.head.key;
    ck_assert(!ID_IS_ZERO(answer.head.key));
    struct tasks_listed *body = answer.body;
    if (held)
        ck_assert_ptr_nonnull(
            record_list_push(&task_held_type, RECORD_LIST(body->tasks), held, 4));
    bench_message(&bench, peer_of_link(SESSION_LINK), &answer);
}

/* Welcomed, told the state, and told that nothing runs. */
static void begin(void)
{
    bench_welcome(&bench, &own);
    bench_state(&bench, &state);
    for (size_t i = COUNT_OF(asked); i-- > 0;) /* the supervisor last: then it plans */
        list_of(asked[i], NULL);
    check_wake();
}

static void answer(const struct message *to, enum status status, enum task_phase phase)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_ANSWER, ANSWER_TASK_HELD), STATUS_OK);
    message.head.key = to->head.key;
    message.head.status = status;
    MESSAGE_BODY(&message, task_held)->phase = phase;
    bench_message(&bench, peer_of_link(SESSION_LINK), &message);
    check_wake();
}

static void end_process(enum actor_kind actor, const struct generation *generation)
{
    struct message event;
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_PROCESS_ENDED), STATUS_OK);
    struct process_ended *body = event.body;
    body->node_id = own;
    body->actor = actor;
    body->incarnation = 77;
    body->instance_id = instance_id;
    body->generation = *generation;
    bench_event(&bench, &event);
    check_wake();
}

static void fail_generation(void)
{
    struct message event;
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_GENERATION_FAILED), STATUS_OK);
    struct generation_failed *body = event.body;
    body->instance_id = instance_id;
    body->generation = first;
    body->retry_at_ms = 1;
    bench_event(&bench, &event);
}

static void start_generation(const struct generation *generation)
{
    const struct rank_record rank = {.node_id = own};
    struct message event;
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_GENERATION_STARTED), STATUS_OK);
    struct generation_started *body = event.body;
    body->instance_id = instance_id;
    body->generation = *generation;
    ck_assert_ptr_nonnull(
        record_list_push(&rank_record_type, RECORD_LIST(body->ranks), &rank, 4));
    bench_event(&bench, &event);
}

/* ---- lists first ---- */

START_TEST(it_asks_every_actor_what_it_holds)
{
    bench_welcome(&bench, &own);
    ck_assert_uint_eq(given(TASK_LIST_TASKS), COUNT_OF(asked));
    ck_assert_uint_eq(bench.ready_count, 1);
    check_wake();
}
END_TEST

START_TEST(it_plans_nothing_before_the_supervisor_has_told)
{
    add_model(true);
    add_instance();
    bench_welcome(&bench, &own);
    bench_state(&bench, &state);
    list_of(ACTOR_DOWNLOADER, NULL);
    list_of(ACTOR_TRANSFERER, NULL);
    ck_assert_uint_eq(given(TASK_START_PROCESS), 0);
    list_of(ACTOR_SUPERVISOR, NULL);
    ck_assert_uint_eq(given(TASK_START_PROCESS), 1);
}
END_TEST

START_TEST(it_asks_again_only_those_that_have_not_told)
{
    bench_welcome(&bench, &own);
    bench_state(&bench, &state);
    list_of(ACTOR_DOWNLOADER, NULL);
    step_bench_forget(&bench);
    bench_pass(&bench, 499);
    ck_assert_uint_eq(given(TASK_LIST_TASKS), 0);
    bench_pass(&bench, 1);
    ck_assert_uint_eq(given(TASK_LIST_TASKS), 2);
    check_wake();
    bench_pass(&bench, 5000);
    ck_assert_uint_eq(given(TASK_LIST_TASKS), 22);
    list_of(ACTOR_SUPERVISOR, NULL);
    list_of(ACTOR_TRANSFERER, NULL);
    step_bench_forget(&bench);
    bench_pass(&bench, 5000);
    ck_assert_uint_eq(given(TASK_LIST_TASKS), 0);
}
END_TEST

START_TEST(what_the_supervisor_runs_is_not_started_again)
{
    const struct task_held runs = {.key = {{4}}, .code = TASK_START_PROCESS,
                                   .phase = TASK_RUNNING, .instance_id = instance_id,
                                   .generation = first, .actor = ACTOR_RUNNER};
    add_model(true);
    add_instance();
    bench_welcome(&bench, &own);
    bench_state(&bench, &state);
    list_of(ACTOR_SUPERVISOR, &runs);
    ck_assert_uint_eq(given(TASK_START_PROCESS), 0);
    ck_assert_uint_eq(given(TASK_STOP_PROCESS), 0);
}
END_TEST

START_TEST(what_runs_of_no_instance_is_stopped)
{
    const struct task_held runs = {.key = {{4}}, .code = TASK_START_PROCESS,
                                   .phase = TASK_RUNNING, .instance_id = instance_id,
                                   .generation = first, .actor = ACTOR_RUNNER};
    bench_welcome(&bench, &own);
    bench_state(&bench, &state);
    list_of(ACTOR_SUPERVISOR, &runs);
    ck_assert_uint_eq(given(TASK_STOP_PROCESS), 1);
}
END_TEST

/* ---- tasks ---- */

START_TEST(a_start_names_the_rank_and_is_given_once)
{
    add_model(true);
    add_instance();
    begin();
    const struct message *start = task(TASK_START_PROCESS);
    const struct start_process *body = MESSAGE_BODY(start, start_process);
    ck_assert_uint_eq(start->head.route, ACTOR_SUPERVISOR);
    ck_assert_uint_eq(body->actor, ACTOR_RUNNER);
    ck_assert_uint_eq(body->threads, 6);
    ck_assert(ID_EQUAL(body->instance_id, instance_id));
    ck_assert(generation_equal(&body->generation, &first));
    answer(start, STATUS_OK, TASK_RUNNING);
    bench_pass(&bench, 60000);
    ck_assert_uint_eq(given(TASK_START_PROCESS), 1);
}
END_TEST

START_TEST(a_failed_task_is_given_again_after_its_time_and_not_before)
{
    add_import();
    begin();
    const struct message *import = task(TASK_IMPORT_MODEL);
    ck_assert_uint_eq(import->head.route, ACTOR_DOWNLOADER);
    ck_assert_str_eq(MESSAGE_BODY(import, import_model)->path, "/there");
    answer(import, STATUS_BUSY, TASK_FAILED);
    ck_assert_uint_le(bench.outbox.wake_ms, bench.now_ms + 1000);
    bench_pass(&bench, 999);
    ck_assert_uint_eq(given(TASK_IMPORT_MODEL), 1);
    bench_pass(&bench, 1);
    ck_assert_uint_eq(given(TASK_IMPORT_MODEL), 2);
    check_wake();
    bench_pass(&bench, 60000); /* given, not answered: it is on its way */
    ck_assert_uint_eq(given(TASK_IMPORT_MODEL), 2);
}
END_TEST

START_TEST(a_task_done_whose_event_never_comes_is_given_again_late)
{
    add_import();
    begin();
    answer(task(TASK_IMPORT_MODEL), STATUS_OK, TASK_RUNNING);
    answer(task(TASK_IMPORT_MODEL), STATUS_OK, TASK_DONE);
    bench_pass(&bench, 9999);
    ck_assert_uint_eq(given(TASK_IMPORT_MODEL), 1);
    bench_pass(&bench, 1);
    ck_assert_uint_eq(given(TASK_IMPORT_MODEL), 2);
}
END_TEST

START_TEST(the_event_of_an_import_frees_its_task)
{
    struct message event;
    add_import();
    begin();
    ck_assert_uint_eq(planner()->in_flight.count, 1);
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_MODEL_IMPORTED), STATUS_OK);
    struct model_imported *body = event.body;
    body->node_id = own;
    ck_assert(text_set(&body->model.model_id, "m"));
    bench_event(&bench, &event);
    ck_assert_uint_eq(planner()->in_flight.count, 0);
}
END_TEST

START_TEST(small_files_are_fetched_before_the_rank_starts)
{
    struct message event;
    add_model(false);
    add_instance();
    begin();
    ck_assert_uint_eq(task(TASK_FETCH_SMALL_FILES)->head.route, ACTOR_TRANSFERER);
    ck_assert_uint_eq(given(TASK_START_PROCESS), 0);
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_SMALL_FILES_STORED), STATUS_OK);
    struct small_files_stored *body = event.body;
    body->node_id = own;
    body->revision.bytes[0] = 3;
    ck_assert(text_set(&body->model_id, "m"));
    bench_event(&bench, &event);
    ck_assert_uint_eq(given(TASK_START_PROCESS), 1);
    ck_assert_uint_eq(given(TASK_FETCH_SMALL_FILES), 1);
}
END_TEST

START_TEST(the_work_of_a_dead_actor_is_given_to_its_successor)
{
    add_import();
    begin();
    answer(task(TASK_IMPORT_MODEL), STATUS_OK, TASK_RUNNING);
    end_process(ACTOR_DOWNLOADER, &second);
    bench_pass(&bench, 1000);
    ck_assert_uint_eq(given(TASK_IMPORT_MODEL), 2);
}
END_TEST

/* The link to the master broke with the task in it; the downloader never got it. */
START_TEST(work_lost_with_the_link_is_given_again)
{
    const struct peer master = peer_of_link(SESSION_LINK);
    add_import();
    begin();
    ck_assert_uint_eq(given(TASK_IMPORT_MODEL), 1);
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_DOWN, .peer = master});
    step_bench_forget(&bench);
    begin();
    bench_pass(&bench, 1000);
    ck_assert_uint_eq(given(TASK_IMPORT_MODEL), 1);
    check_wake();
}
END_TEST

START_TEST(work_whose_answer_was_lost_with_the_link_is_given_again)
{
    const struct peer master = peer_of_link(SESSION_LINK);
    add_import();
    begin();
    answer(task(TASK_IMPORT_MODEL), STATUS_OK, TASK_RUNNING);
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_DOWN, .peer = master});
    step_bench_forget(&bench);
    begin();
    bench_pass(&bench, 999);
    ck_assert_uint_eq(given(TASK_IMPORT_MODEL), 0);
    bench_pass(&bench, 1);
    ck_assert_uint_eq(given(TASK_IMPORT_MODEL), 1);
}
END_TEST

START_TEST(work_still_held_after_a_broken_link_is_not_given_again)
{
    const struct peer master = peer_of_link(SESSION_LINK);
    add_import();
    begin();
    const struct task_held held = {.key = task(TASK_IMPORT_MODEL)->head.key,
                                   .code = TASK_IMPORT_MODEL, .phase = TASK_RUNNING};
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_DOWN, .peer = master});
    step_bench_forget(&bench);
    bench_welcome(&bench, &own);
    list_of(ACTOR_DOWNLOADER, &held);
    list_of(ACTOR_SUPERVISOR, NULL);
    list_of(ACTOR_TRANSFERER, NULL);
    bench_pass(&bench, 60000);
    ck_assert_uint_eq(given(TASK_IMPORT_MODEL), 0);
}
END_TEST

/* ---- ends ---- */

START_TEST(the_process_of_an_ended_generation_is_stopped_once)
{
    add_model(true);
    add_instance();
    begin();
    answer(task(TASK_START_PROCESS), STATUS_OK, TASK_RUNNING);
    fail_generation();
    const struct stop_process *stop = MESSAGE_BODY(task(TASK_STOP_PROCESS), stop_process);
    ck_assert(generation_equal(&stop->generation, &first));
    ck_assert(ID_EQUAL(stop->instance_id, instance_id));
    answer(task(TASK_STOP_PROCESS), STATUS_OK, TASK_RUNNING);
    bench_pass(&bench, 60000);
    ck_assert_uint_eq(given(TASK_STOP_PROCESS), 1);
}
END_TEST

START_TEST(a_stop_that_failed_is_given_again)
{
    add_model(true);
    add_instance();
    begin();
    fail_generation();
    answer(task(TASK_STOP_PROCESS), STATUS_BUSY, TASK_FAILED);
    bench_pass(&bench, 999);
    ck_assert_uint_eq(given(TASK_STOP_PROCESS), 1);
    bench_pass(&bench, 1);
    ck_assert_uint_eq(given(TASK_STOP_PROCESS), 2);
}
END_TEST

START_TEST(process_ended_frees_the_stop_and_keeps_the_rank_from_starting_again)
{
    add_model(true);
    add_instance();
    begin();
    end_process(ACTOR_RUNNER, &first);
    bench_pass(&bench, 60000);
    ck_assert_uint_eq(given(TASK_START_PROCESS), 1);
    ck_assert_uint_eq(given(TASK_STOP_PROCESS), 0);
    fail_generation();
    start_generation(&second);
    ck_assert_uint_eq(given(TASK_START_PROCESS), 2);
    ck_assert_uint_eq(given(TASK_STOP_PROCESS), 0);
    ck_assert_uint_eq(planner()->in_flight.count, 1);
}
END_TEST

START_TEST(process_ended_after_a_stop_frees_both)
{
    add_model(true);
    add_instance();
    begin();
    fail_generation();
    ck_assert_uint_eq(planner()->in_flight.count, 2);
    end_process(ACTOR_RUNNER, &first);
    start_generation(&second);
    ck_assert_uint_eq(planner()->in_flight.count, 1);
    ck_assert(generation_equal(&planner()->in_flight.items[0].generation, &second));
}
END_TEST

START_TEST(a_dead_supervisor_is_asked_again)
{
    begin();
    step_bench_forget(&bench);
    end_process(ACTOR_SUPERVISOR, &second);
    bench_pass(&bench, 500);
    ck_assert_uint_eq(given(TASK_LIST_TASKS), 1);
    ck_assert_uint_eq(task(TASK_LIST_TASKS)->head.route, ACTOR_SUPERVISOR);
}
END_TEST

START_TEST(it_ends_when_told_to)
{
    begin();
    bench_feed(&bench, (struct input){.kind = INPUT_STOP});
    ck_assert(bench.has_exited);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        it_asks_every_actor_what_it_holds, it_plans_nothing_before_the_supervisor_has_told,
        it_asks_again_only_those_that_have_not_told, what_the_supervisor_runs_is_not_started_again,
        what_runs_of_no_instance_is_stopped, a_start_names_the_rank_and_is_given_once,
        a_failed_task_is_given_again_after_its_time_and_not_before,
        a_task_done_whose_event_never_comes_is_given_again_late,
        the_event_of_an_import_frees_its_task, small_files_are_fetched_before_the_rank_starts,
        the_work_of_a_dead_actor_is_given_to_its_successor,
        work_lost_with_the_link_is_given_again,
        work_whose_answer_was_lost_with_the_link_is_given_again,
        work_still_held_after_a_broken_link_is_not_given_again,
        the_process_of_an_ended_generation_is_stopped_once, a_stop_that_failed_is_given_again,
        process_ended_frees_the_stop_and_keeps_the_rank_from_starting_again,
        process_ended_after_a_stop_frees_both, a_dead_supervisor_is_asked_again,
        it_ends_when_told_to};
    Suite *suite = suite_create("planner");
    TCase *group = tcase_create("step");
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
