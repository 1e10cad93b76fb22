/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/process.h"
#include "tests/unit/actors/supervisor/supervisor_bench.h"

#include <signal.h>
#include <string.h>

/* ---- readiness ---- */

START_TEST(starts_all_that_are_always_there)
{
    bench_open();
    start();
    ck_assert_uint_eq(spawns("master"), 1);
    ck_assert_uint_eq(spawns("planner"), 1);
    ck_assert_uint_eq(spawns("gateway"), 1);
    ck_assert_uint_eq(spawns("runner"), 0);
    ck_assert_str_eq(bench.done[0].name, "master");
    ck_assert_uint_ne(last_spawn("master")->incarnation, last_spawn("planner")->incarnation);
    ck_assert_str_eq(bench.status, "waiting for master planner gateway");
    ready("planner");
    ready("master");
    ck_assert_uint_eq(bench.ready_count, 0);
    ready("gateway");
    ck_assert_uint_eq(bench.ready_count, 1);
    ck_assert_str_eq(bench.status, "serving");
    end("planner", -1, SIGKILL, "");
    ck_assert_str_eq(bench.status, "waiting for planner");
    pass(300, true);
    ready("planner");
    ck_assert_str_eq(bench.status, "serving");
    ck_assert_uint_eq(bench.ready_count, 1);
    bench_close();
}
END_TEST

START_TEST(kills_what_is_not_ready_in_time)
{
    bench_open();
    start();
    const uint64_t began_ms = bench.now_ms;
    ready("master");
    ready("planner");
    pass(790, true);
    ck_assert_uint_eq(done_at(SUPERVISOR_KILL, "gateway"), 0);
    pass(20, true);
    ck_assert_uint_eq(done_at(SUPERVISOR_KILL, "gateway"), began_ms + 800);
    end("gateway", -1, SIGKILL, "");
    ck_assert_ptr_nonnull(strstr(bench.said, "not ready within 800 ms"));
    pass(200, true);
    ck_assert_uint_eq(spawns("gateway"), 2);
    bench_close();
}
END_TEST

/* ---- deaths ---- */

START_TEST(waits_longer_each_time_up_to_a_ceiling)
{
    bench_open();
    bench.settings.deaths_max = 1000;
    all_ready();
    uint64_t whole_ms = 200;
    for (unsigned i = 0; i < 12; i++) {
        const uint64_t died_ms = bench.now_ms;
        end("planner", 1, 0, "planner: it broke");
        pass(whole_ms, true);
        ck_assert_uint_eq(spawns("planner"), i + 2);
        const uint64_t waited_ms = last_spawn("planner")->at_ms - died_ms;
        ck_assert_uint_ge(waited_ms, whole_ms / 2);
        ck_assert_uint_le(waited_ms, whole_ms);
        ready("planner");
        whole_ms = whole_ms * 2 < 30000 ? whole_ms * 2 : 30000;
    }
    bench_close();
}
END_TEST

/* The time it served counts as waited; one that dies while it begins still waits. */
START_TEST(starts_at_once_what_had_served_longer_than_its_wait)
{
    bench_open();
    bench.settings.deaths_max = 1000;
    all_ready();
    for (unsigned i = 0; i < 5; i++) {
        pass(6500, true); /* 200 ms doubled four times is 3200 */
        const uint64_t died_ms = bench.now_ms;
        end("gateway", -1, SIGKILL, "");
        pass(0, true);
        ck_assert_uint_eq(spawns("gateway"), i + 2);
        ck_assert_uint_eq(last_spawn("gateway")->at_ms, died_ms);
        ready("gateway");
    }
    pass(1000, true);
    end("gateway", -1, SIGKILL, "");
    pass(2199, true); /* 6400 ms at most, 3200 at least, less the second it served */
    ck_assert_uint_eq(spawns("gateway"), 6);
    pass(3201, true);
    ck_assert_uint_eq(spawns("gateway"), 7);
    bench_close();
}
END_TEST

START_TEST(begins_anew_after_a_healthy_time)
{
    bench_open();
    bench.settings.deaths_max = 1000;
    all_ready();
    for (unsigned i = 0; i < 5; i++) {
        end("planner", 1, 0, "");
        pass_until_back("planner");
    }
    pass(60000, true);
    end("planner", 1, 0, "");
    pass(200, true);
    ck_assert_uint_eq(spawns("planner"), 7);
    bench_close();
}
END_TEST

START_TEST(gives_up_after_too_many_deaths)
{
    bench_open();
    all_ready();
    connect_master();
    for (unsigned i = 0; i < 4; i++) {
        end("gateway", 1, 0, "gateway: the port is odd");
        pass_until_back("gateway");
    }
    ck_assert_uint_eq(spawns("gateway"), 5);
    ck_assert_uint_eq(done_at(SUPERVISOR_TERMINATE, "planner"), 0);
    end("gateway", 1, 0, "gateway: the port is odd");
    ck_assert_uint_eq(reports_of(REPORT_PROCESS_GIVEN_UP), 1);
    const struct message *report = last_sent(MESSAGE_REPORT, REPORT_PROCESS_GIVEN_UP);
    const struct given_up_record *given_up = &MESSAGE_BODY(report, process_given_up)->process;
    ck_assert_uint_eq(given_up->actor, ACTOR_GATEWAY);
    ck_assert_ptr_nonnull(strstr(given_up->reason, "the port is odd"));
    ck_assert_uint_ne(done_at(SUPERVISOR_TERMINATE, "planner"), 0);
    end("planner", 0, 0, "");
    end("master", 0, 0, "");
    ck_assert(bench.has_exited);
    ck_assert_int_eq(bench.exit_code, 1);
    ck_assert_ptr_nonnull(strstr(bench.said, "the port is odd"));
    ck_assert_uint_eq(spawns("gateway"), 5);
    bench_close();
}
END_TEST

/* A master that was cut ends to read its log again: no failure, and so no death and no wait. */
START_TEST(one_that_asks_is_started_again_at_once_and_not_counted)
{
    bench_open();
    bench.settings.deaths_max = 2;
    all_ready();
    for (unsigned i = 0; i < 4; i++) {
        const uint64_t died_ms = bench.now_ms;
        end("master", EXIT_CODE_AGAIN, 0, "");
        pass(1, true);
        ck_assert_uint_eq(spawns("master"), i + 2);
        ck_assert_uint_le(last_spawn("master")->at_ms - died_ms, 1);
        ck_assert_ptr_nonnull(strstr(bench.said, "master starts again, as it asked"));
        ready("master");
        pass(30000, true);
    }
    ck_assert(!bench.has_exited);
    /* One that asks all the time is not well: that is a death, with its wait. */
    end("master", EXIT_CODE_AGAIN, 0, "");
    pass(1, true);
    ready("master");
    end("master", EXIT_CODE_AGAIN, 0, "");
    pass(1, true);
    ck_assert_uint_eq(spawns("master"), 6);
    ck_assert_ptr_nonnull(strstr(bench.said, "(death 1 of 2)"));
    bench_close();
}
END_TEST

START_TEST(forgets_deaths_outside_the_window)
{
    bench_open();
    all_ready();
    for (unsigned i = 0; i < 20; i++) {
        end("gateway", 1, 0, "");
        pass_until_back("gateway");
        pass(16000, true);
    }
    ck_assert_uint_eq(spawns("gateway"), 21);
    ck_assert(!bench.has_exited);
    bench_close();
}
END_TEST

START_TEST(gives_up_at_once_on_a_configuration_exit)
{
    bench_open();
    start();
    ready("planner");
    ready("gateway");
    end("master", 78, 0, "<3>troupe-master: port 80 is in use; choose another");
    end("gateway", 0, 0, "");
    end("planner", 0, 0, "");
    ck_assert(bench.has_exited);
    ck_assert_int_eq(bench.exit_code, 78);
    ck_assert_str_eq(bench.said, "master: port 80 is in use; choose another");
    ck_assert_uint_eq(spawns("master"), 1);
    bench_close();
}
END_TEST

START_TEST(gives_up_on_a_program_that_is_missing)
{
    bench_open();
    start();
    struct result result = {.id = last_spawn("planner")->id,
                            .kind = SUPERVISOR_SPAWN,
                            .status = STATUS_NOT_FOUND,
                            .reason = {"troupe-planner is missing"}};
    feed((struct input){.kind = INPUT_RESULT, .result = &result});
    end("gateway", 0, 0, "");
    end("master", 0, 0, "");
    ck_assert(bench.has_exited);
    ck_assert_int_eq(bench.exit_code, 78);
    ck_assert_ptr_nonnull(strstr(bench.said, "is missing"));
    bench_close();
}
END_TEST

START_TEST(counts_a_spawn_that_fails_as_a_death)
{
    bench_open();
    start();
    struct result result = {.id = last_spawn("planner")->id,
                            .kind = SUPERVISOR_SPAWN,
                            .status = STATUS_NO_MEMORY,
                            .reason = {"no process"}};
    feed((struct input){.kind = INPUT_RESULT, .result = &result});
    pass(200, true);
    ck_assert_uint_eq(spawns("planner"), 2);
    bench_close();
}
END_TEST

/* ---- pings ---- */

START_TEST(kills_what_answers_no_ping)
{
    bench_open();
    all_ready();
    pass(5000, true);
    ck_assert_uint_eq(done_at(SUPERVISOR_KILL, "planner"), 0);
    const uint64_t silent_ms = bench.now_ms;
    pass(1000, false);
    ck_assert_uint_ne(done_at(SUPERVISOR_KILL, "planner"), 0);
    ck_assert_uint_le(done_at(SUPERVISOR_KILL, "planner"), silent_ms + 1000);
    end("planner", -1, SIGKILL, "");
    ck_assert_ptr_nonnull(strstr(bench.said, "answered no ping for 1000 ms"));
    bench_close();
}
END_TEST

START_TEST(forgives_silence_while_it_slept_itself)
{
    bench_open();
    all_ready();
    pass(500, true);
    bench.now_ms += 3600000; /* the lid was closed */
    feed((struct input){.kind = INPUT_WAKE});
    pass(900, true);
    ck_assert_uint_eq(done_at(SUPERVISOR_KILL, "master"), 0);
    ck_assert_uint_eq(done_at(SUPERVISOR_KILL, "planner"), 0);
    bench_close();
}
END_TEST

/* ---- stopping ---- */

START_TEST(stops_ranks_first_and_the_master_last)
{
    bench_open();
    all_ready();
    connect_master();
    ask_start(ACTOR_RUNNER, 1);
    ask_start(ACTOR_LAUNCHER, 2);
    feed((struct input){.kind = INPUT_STOP});
    ck_assert_uint_ne(done_at(SUPERVISOR_TERMINATE, "runner"), 0);
    ck_assert_uint_ne(done_at(SUPERVISOR_TERMINATE, "launcher"), 0);
    ck_assert_uint_eq(done_at(SUPERVISOR_TERMINATE, "gateway"), 0);
    ask_start(ACTOR_RUNNER, 3); /* too late */
    ck_assert_uint_eq(spawns("runner"), 1);
    end("runner", 0, 0, "");
    /* Nobody asked for it in the cluster: the others must hear of it. */
    const struct message *report = last_sent(MESSAGE_REPORT, REPORT_PROCESS_ENDED);
    ck_assert_ptr_nonnull(report);
    ck_assert(!MESSAGE_BODY(report, process_ended)->was_asked);
    ck_assert_uint_eq(done_at(SUPERVISOR_TERMINATE, "gateway"), 0);
    end("launcher", 0, 0, "");
    ck_assert_uint_ne(done_at(SUPERVISOR_TERMINATE, "gateway"), 0);
    ck_assert_uint_eq(done_at(SUPERVISOR_TERMINATE, "planner"), 0);
    end("gateway", 0, 0, "");
    ck_assert_uint_ne(done_at(SUPERVISOR_TERMINATE, "planner"), 0);
    ck_assert_uint_eq(done_at(SUPERVISOR_TERMINATE, "master"), 0);
    const uint64_t told_ms = bench.now_ms;
    pass(299, true);
    ck_assert_uint_eq(done_at(SUPERVISOR_KILL, "planner"), 0);
    pass(10, true);
    ck_assert_uint_eq(done_at(SUPERVISOR_KILL, "planner"), told_ms + 300);
    end("planner", -1, SIGKILL, "");
    ck_assert(!bench.has_exited);
    end("master", 0, 0, "");
    ck_assert(bench.has_exited);
    ck_assert_int_eq(bench.exit_code, 0);
    bench_close();
}
END_TEST

START_TEST(does_not_start_again_while_stopping)
{
    bench_open();
    all_ready();
    end("gateway", 1, 0, "");
    feed((struct input){.kind = INPUT_STOP});
    ck_assert_uint_ne(done_at(SUPERVISOR_TERMINATE, "planner"), 0);
    pass(250, true);
    ck_assert_uint_eq(spawns("gateway"), 1);
    end("master", 1, 0, "");
    end("planner", 1, 0, "");
    ck_assert(bench.has_exited);
    ck_assert_int_eq(bench.exit_code, 0);
    bench_close();
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const readiness[] = {starts_all_that_are_always_there,
                                             kills_what_is_not_ready_in_time};
    const TTest *const deaths[] = {
        waits_longer_each_time_up_to_a_ceiling,
        starts_at_once_what_had_served_longer_than_its_wait, begins_anew_after_a_healthy_time,
        gives_up_after_too_many_deaths,         forgets_deaths_outside_the_window,
        one_that_asks_is_started_again_at_once_and_not_counted,
        gives_up_at_once_on_a_configuration_exit,
        gives_up_on_a_program_that_is_missing,  counts_a_spawn_that_fails_as_a_death};
    const TTest *const pings[] = {kills_what_answers_no_ping,
                                         forgives_silence_while_it_slept_itself};
    const TTest *const stopping[] = {stops_ranks_first_and_the_master_last,
                                            does_not_start_again_while_stopping};
    Suite *suite = suite_create("supervisor");
    suite_add(suite, "readiness", readiness, COUNT_OF(readiness));
    suite_add(suite, "deaths", deaths, COUNT_OF(deaths));
    suite_add(suite, "pings", pings, COUNT_OF(pings));
    suite_add(suite, "stopping", stopping, COUNT_OF(stopping));
    return suite;
}
