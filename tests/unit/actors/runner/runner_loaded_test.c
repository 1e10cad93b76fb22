/* SPDX-License-Identifier: Apache-2.0 */
/* The step of a runner alone: when it may say that its shard is loaded. */
#include "actors/runner/runner.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/step_bench.h"

#include <stdio.h>
#include <string.h>

static const struct node_id own = {{2}};
static struct runner_settings settings = {
    .session = {.actor = ACTOR_RUNNER, .incarnation = 5, .build = "test", .key = {{51}},
                .wants_events = true},
    .instance_id = {{7}},
    .generation = {.epoch = 1, .leader = {{1}}, .counter = 4},
    .bind = "tcp://127.0.0.1:0"};
static struct step_bench bench;

/* A generation of two ranks, both addressed. */
static void fill_state(struct state *state, enum sharding sharding)
{
    state_init(state);
    struct instance_record *instance =
        record_list_push(&instance_record_type, RECORD_LIST(state->instances), NULL, 4);
    ck_assert(instance && text_set(&instance->model_id, "m"));
    instance->instance_id = settings.instance_id;
    instance->generation = settings.generation;
    instance->sharding = sharding;
    instance->status = INSTANCE_STARTING;
    for (uint8_t i = 0; i < 2; i++) {
        char address[32];
        struct rank_record *rank =
            record_list_push(&rank_record_type, RECORD_LIST(instance->ranks), NULL, 4);
        (void)snprintf(address, sizeof(address), "tcp://127.0.0.1:%u", 4000u + i);
        ck_assert(rank && text_set(&rank->runner_address, address));
        rank->node_id.bytes[0] = (uint8_t)(i + 1);
        rank->runner_key.bytes[0] = (uint8_t)(50 + i);
        rank->status = RANK_ADDRESSED;
    }
}

static void begin(uint32_t rank, enum sharding sharding)
{
    struct state state;
    settings.rank = rank;
    step_bench_open(&bench, &runner_ops, &settings);
    bench_feed(&bench, (struct input){.kind = INPUT_START});
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_BOUND,
                                      .peer = peer_of_link(RUNNER_LINK_BOUND),
                                      .endpoint = "tcp://127.0.0.1:4001"});
    if (rank == 0)
        bench_feed(&bench, (struct input){.kind = INPUT_LINK_BOUND,
                                          .peer = peer_of_link(RUNNER_LINK_GATEWAYS),
                                          .endpoint = "tcp://127.0.0.1:4009"});
    bench_welcome(&bench, &own);
    fill_state(&state, sharding);
    bench_state(&bench, &state);
    state_fini(&state);
    ck_assert_ptr_nonnull(bench_effect(&bench, EFFECT_ENGINE_START));
}

/* The engine thread says so. */
static void engine_says(enum rank_status status)
{
    struct rank_status_told *told = memory_zeroed(1, sizeof(*told));
    ck_assert_ptr_nonnull(told);
    told->status = status;
    const struct effect unasked = {.kind = RESULT_RANK_STATUS};
    bench_result(&bench, &unasked, STATUS_OK, "", told, memory_free);
    ck_assert_int_eq(bench.failed, STATUS_OK);
}

static bool has_told(enum rank_status status)
{
    const struct message *report = bench_sent(&bench, MESSAGE_REPORT,
                                              REPORT_RUNNER_STATUS_CHANGED);
    return report && MESSAGE_BODY(report, runner_status_changed)->status == status;
}

static void sibling_up(uint32_t rank)
{
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_UP,
                                      .peer = peer_of_link(RUNNER_LINK_SIBLING + rank)});
}

START_TEST(last_stage_is_loaded_once_it_reaches_the_first)
{
    begin(1, SHARDING_PIPELINE);
    engine_says(RANK_JOINED);
    engine_says(RANK_LOADING);
    engine_says(RANK_LOADED);
    ck_assert(!has_told(RANK_LOADED));
    sibling_up(0);
    ck_assert(has_told(RANK_LOADED));
    step_bench_close(&bench);
}
END_TEST

/* Its address leads to another, or to nobody. */
START_TEST(stage_that_does_not_reach_the_first_says_so)
{
    begin(1, SHARDING_PIPELINE);
    engine_says(RANK_JOINED);
    engine_says(RANK_LOADED);
    bench_pass(&bench, RUNNER_REACH_MS - 1);
    ck_assert(!has_told(RANK_FAILED));
    bench_pass(&bench, 1);
    ck_assert(has_told(RANK_FAILED));
    const struct message *report =
        bench_sent(&bench, MESSAGE_REPORT, REPORT_RUNNER_STATUS_CHANGED);
    ck_assert_ptr_nonnull(strstr(MESSAGE_BODY(report, runner_status_changed)->reason,
                                 "rank 0 was not reached at tcp://127.0.0.1:4000"));
    step_bench_close(&bench);
}
END_TEST

START_TEST(connected_stage_is_loaded_at_once)
{
    begin(1, SHARDING_PIPELINE);
    engine_says(RANK_JOINED);
    sibling_up(0);
    ck_assert(!has_told(RANK_LOADED));
    engine_says(RANK_LOADED);
    ck_assert(has_told(RANK_LOADED));
    step_bench_close(&bench);
}
END_TEST

START_TEST(tensor_rank_that_sends_to_nobody_is_loaded_at_once)
{
    begin(1, SHARDING_TENSOR);
    engine_says(RANK_LOADED);
    ck_assert(has_told(RANK_LOADED));
    step_bench_close(&bench);
}
END_TEST

/* The state, in which rank 1 is a source, with these statuses. */
static void tell_state(enum rank_status first, enum rank_status second)
{
    struct state state;
    fill_state(&state, SHARDING_TENSOR);
    state.instances.items[0].ranks.items[0].status = first;
    state.instances.items[0].ranks.items[1].status = second;
    state.instances.items[0].ranks.items[1].is_source = true;
    bench_state(&bench, &state);
    state_fini(&state);
}

START_TEST(a_source_is_released_when_all_others_are_loaded_and_then_ends)
{
    begin(1, SHARDING_TENSOR);
    tell_state(RANK_LOADING, RANK_ADDRESSED);
    engine_says(RANK_JOINED);
    engine_says(RANK_LOADING);
    engine_says(RANK_LOADED);
    ck_assert(has_told(RANK_LOADED));
    tell_state(RANK_LOADING, RANK_LOADED);
    ck_assert(!has_told(RANK_RELEASED));
    tell_state(RANK_LOADED, RANK_LOADED);
    ck_assert(has_told(RANK_RELEASED));
    ck_assert(!bench.has_exited);
    tell_state(RANK_READY, RANK_RELEASED);
    ck_assert(bench.has_exited);
    step_bench_close(&bench);
}
END_TEST

START_TEST(nobody_connects_to_a_source)
{
    for (uint32_t sharding = SHARDING_PIPELINE; sharding <= SHARDING_TENSOR; sharding++) {
        begin(0, (enum sharding)sharding);
        tell_state(RANK_LOADING, RANK_LOADING);
        engine_says(RANK_JOINED);
        engine_says(RANK_LOADED); /* which waits for no connection */
        ck_assert(has_told(RANK_LOADED));
        step_bench_close(&bench);
    }
}
END_TEST

START_TEST(failure_is_told_without_any_connection)
{
    begin(1, SHARDING_PIPELINE);
    engine_says(RANK_LOADED);
    engine_says(RANK_FAILED);
    ck_assert(has_told(RANK_FAILED));
    sibling_up(0);
    ck_assert(has_told(RANK_FAILED));
    step_bench_close(&bench);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("runner-loaded");
    TCase *tests = tcase_create("loaded");
    tcase_add_test(tests, last_stage_is_loaded_once_it_reaches_the_first);
    tcase_add_test(tests, stage_that_does_not_reach_the_first_says_so);
    tcase_add_test(tests, connected_stage_is_loaded_at_once);
    tcase_add_test(tests, tensor_rank_that_sends_to_nobody_is_loaded_at_once);
    tcase_add_test(tests, a_source_is_released_when_all_others_are_loaded_and_then_ends);
    tcase_add_test(tests, nobody_connects_to_a_source);
    tcase_add_test(tests, failure_is_told_without_any_connection);
    suite_add_tcase(suite, tests);
    return suite;
}
