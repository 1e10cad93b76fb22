/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/actors/supervisor/supervisor_bench.h"

#include <signal.h>
#include <string.h>

/* ---- tasks ---- */

START_TEST(does_a_repeated_task_once)
{
    bench_open();
    all_ready();
    connect_master();
    ask_start(ACTOR_RUNNER, 4);
    ck_assert_uint_eq(last_phase(), TASK_RUNNING);
    ask_start(ACTOR_RUNNER, 4);
    ck_assert_uint_eq(last_phase(), TASK_RUNNING);
    ck_assert_uint_eq(spawns("runner"), 1);
    ask_start(ACTOR_RUNNER, 5);
    ck_assert_uint_eq(spawns("runner"), 2);
    end("runner", 3, 0, "runner: tensor x is missing");
    const struct message *report = last_sent(MESSAGE_REPORT, REPORT_PROCESS_ENDED);
    const struct process_ended *body = MESSAGE_BODY(report, process_ended);
    ck_assert_str_eq(body->reason, "tensor x is missing");
    ck_assert_uint_eq(body->exit_code, 3);
    ck_assert_uint_eq(body->generation.counter, 5);
    ck_assert(!body->was_asked);
    ck_assert(ID_EQUAL(body->node_id, own_node));
    ask_start(ACTOR_RUNNER, 5);
    ck_assert_uint_eq(last_phase(), TASK_FAILED);
    pass(40000, true);
    ck_assert_uint_eq(spawns("runner"), 2);
    bench_close();
}
END_TEST

START_TEST(stops_a_process_when_asked)
{
    bench_open();
    all_ready();
    connect_master();
    ask_stop(4);
    ck_assert_uint_eq(last_phase(), TASK_DONE);
    ask_start(ACTOR_RUNNER, 4);
    ask_stop(4);
    ck_assert_uint_eq(last_phase(), TASK_RUNNING);
    const uint64_t told_ms = bench.now_ms;
    ck_assert_uint_ne(done_at(SUPERVISOR_TERMINATE, "runner"), 0);
    ask_stop(4);
    pass(310, true);
    ck_assert_uint_eq(done_at(SUPERVISOR_KILL, "runner"), told_ms + 300);
    end("runner", -1, SIGKILL, "");
    const struct message *report = last_sent(MESSAGE_REPORT, REPORT_PROCESS_ENDED);
    ck_assert(MESSAGE_BODY(report, process_ended)->was_asked);
    ask_start(ACTOR_RUNNER, 4);
    ck_assert_uint_eq(last_phase(), TASK_DONE);
    ck_assert_uint_eq(spawns("runner"), 1);
    bench_close();
}
END_TEST

START_TEST(lists_what_it_runs_and_refuses_the_rest)
{
    struct message task;
    bench_open();
    all_ready();
    connect_master();
    ask_start(ACTOR_RUNNER, 4);
    ask_start(ACTOR_LAUNCHER, 6);
    ck_assert_int_eq(message_init(&task, MESSAGE_TASK, TASK_LIST_TASKS), STATUS_OK);
    task.head.key = (struct command_key){{0xaa}};
    say_to_it(&task);
    const struct message *answer = last_sent(MESSAGE_ANSWER, ANSWER_TASKS);
    ck_assert_ptr_nonnull(answer);
    ck_assert_uint_eq(answer->head.key.bytes[0], 0xaa);
    const struct tasks_listed *list = MESSAGE_BODY(answer, tasks_listed);
    ck_assert_uint_eq(list->tasks.count, 2);
    ck_assert_uint_eq(list->tasks.items[1].actor, ACTOR_LAUNCHER);
    ck_assert_uint_eq(list->tasks.items[1].generation.counter, 6);
    ask_start(ACTOR_MASTER, 7);
    answer = last_sent(MESSAGE_ANSWER, ANSWER_DONE);
    ck_assert_ptr_nonnull(answer);
    ck_assert_uint_eq(answer->head.status, STATUS_INVALID);
    ck_assert_uint_eq(spawns("master"), 1);
    bench_close();
}
END_TEST

/* ---- the master comes and goes ---- */

START_TEST(goes_on_without_a_master_and_tells_it_later)
{
    bench_open();
    all_ready();
    connect_master();
    disconnect_master();
    end("planner", -1, SIGSEGV, "planner: just a note");
    pass(200, true);
    ck_assert_uint_eq(spawns("planner"), 2);
    ck_assert_uint_eq(reports_of(REPORT_PROCESS_ENDED), 0);
    connect_master();
    ck_assert_uint_eq(reports_of(REPORT_PROCESS_ENDED), 1);
    const struct message *report = last_sent(MESSAGE_REPORT, REPORT_PROCESS_ENDED);
    ck_assert_uint_eq(MESSAGE_BODY(report, process_ended)->signal, SIGSEGV);
    ck_assert_ptr_nonnull(strstr(MESSAGE_BODY(report, process_ended)->reason, "SIGSEGV"));
    bench_close();
}
END_TEST

START_TEST(stops_what_a_new_connection_does_not_want)
{
    bench_open();
    all_ready();
    connect_master();
    tell_state(10, true, 4, INSTANCE_STARTING, "");
    ask_start(ACTOR_RUNNER, 4);
    ready("runner");
    disconnect_master();
    bench.master_index = 11;
    connect_master();
    tell_state(11, true, 3, INSTANCE_STARTING, ""); /* older than ours: it is late */
    ck_assert_uint_eq(done_at(SUPERVISOR_TERMINATE, "runner"), 0);
    disconnect_master();
    bench.master_index = 12;
    connect_master();
    ck_assert_uint_eq(done_at(SUPERVISOR_TERMINATE, "runner"), 0);
    tell_state(12, true, 5, INSTANCE_STARTING, "");
    ck_assert_uint_ne(done_at(SUPERVISOR_TERMINATE, "runner"), 0);
    bench_close();
}
END_TEST

START_TEST(stops_what_a_deleted_instance_left)
{
    bench_open();
    all_ready();
    connect_master();
    tell_state(10, true, 4, INSTANCE_READY, "");
    ask_start(ACTOR_RUNNER, 4);
    ready("runner");
    tell_state(11, false, 0, 0, ""); /* the planner's business as long as we are connected */
    ck_assert_uint_eq(done_at(SUPERVISOR_TERMINATE, "runner"), 0);
    disconnect_master();
    connect_master();
    ck_assert_uint_ne(done_at(SUPERVISOR_TERMINATE, "runner"), 0);
    bench_close();
}
END_TEST

START_TEST(tells_what_an_earlier_supervisor_left)
{
    bench_open();
    all_ready();
    connect_master();
    tell_state(10, true, 4, INSTANCE_READY, "tcp://127.0.0.1:9");
    ck_assert_uint_eq(reports_of(REPORT_PROCESS_ENDED), 1);
    const struct message *report = last_sent(MESSAGE_REPORT, REPORT_PROCESS_ENDED);
    ck_assert_uint_eq(MESSAGE_BODY(report, process_ended)->actor, ACTOR_RUNNER);
    ck_assert(!MESSAGE_BODY(report, process_ended)->was_asked);
    disconnect_master();
    connect_master();
    tell_state(11, true, 4, INSTANCE_READY, "tcp://127.0.0.1:9");
    ck_assert_uint_eq(reports_of(REPORT_PROCESS_ENDED), 1);
    bench_close();
}
END_TEST

START_TEST(ends_with_a_master_of_another_build)
{
    struct message answer;
    bench_open();
    all_ready();
    feed((struct input){.kind = INPUT_LINK_UP, .peer = peer_of_link(SESSION_LINK)});
    ck_assert_int_eq(message_init(&answer, MESSAGE_ANSWER, ANSWER_DONE), STATUS_OK);
    answer.head.status = STATUS_VERSION;
    ck_assert(text_set(&answer.head.reason, "of another build; restart the node"));
    say_to_it(&answer);
    end("gateway", 0, 0, "");
    end("planner", 0, 0, "");
    end("master", 0, 0, "");
    ck_assert(bench.has_exited);
    ck_assert_int_eq(bench.exit_code, 1);
    bench_close();
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tasks[] = {does_a_repeated_task_once, stops_a_process_when_asked,
                                         lists_what_it_runs_and_refuses_the_rest};
    const TTest *const master[] = {
        goes_on_without_a_master_and_tells_it_later, stops_what_a_new_connection_does_not_want,
        stops_what_a_deleted_instance_left, tells_what_an_earlier_supervisor_left,
        ends_with_a_master_of_another_build};
    Suite *suite = suite_create("supervisor-tasks");
    suite_add(suite, "tasks", tasks, COUNT_OF(tasks));
    suite_add(suite, "the master", master, COUNT_OF(master));
    return suite;
}
