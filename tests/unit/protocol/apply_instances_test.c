/* SPDX-License-Identifier: Apache-2.0 */
/* What the events about instances, their generations and ranks mean. */
#include "tests/support/check_main.h"
#include "tests/unit/protocol/apply_stage.h"

#include <string.h>

static void all_ready(const struct generation *generation)
{
    for (uint32_t rank = 0; rank < STAGE_RANKS; rank++)
        stage_rank_status(generation, rank, RANK_READY);
    ck_assert_uint_eq(stage_instance()->status, INSTANCE_READY);
}

START_TEST(instance_placed_is_remembered_with_its_event)
{
    struct instance_placed *body = stage_event(EVENT_INSTANCE_PLACED);
    body->instance.instance_id = instance_id;
    ck_assert(text_set(&body->instance.model_id, "m"));
    stage_apply();
    ck_assert_str_eq(stage_instance()->model_id, "m");
    ck_assert_uint_eq(stage_instance()->changed_index, 1);
    ck_assert_uint_gt(stage.state.time_ms, 0);
    ck_assert_uint_eq(stage_instance()->started_ms, stage.state.time_ms);
}
END_TEST

START_TEST(instance_placed_twice_leaves_the_first)
{
    stage_start_instance();
    struct instance_placed *body = stage_event(EVENT_INSTANCE_PLACED);
    body->instance.instance_id = instance_id;
    ck_assert(text_set(&body->instance.model_id, "other"));
    stage_apply_in_vain();
}
END_TEST

START_TEST(instance_deleted_forgets_it)
{
    stage_start_instance();
    struct instance_deleted *body = stage_event(EVENT_INSTANCE_DELETED);
    body->instance_id = instance_id;
    stage_apply();
    ck_assert_uint_eq(stage.state.instances.count, 0);
}
END_TEST

START_TEST(generation_started_places_the_ranks_anew)
{
    struct instance_record *instance = stage_start_instance();
    ck_assert_uint_eq(instance->status, INSTANCE_STARTING);
    ck_assert_uint_eq(instance->ranks.count, STAGE_RANKS);
    ck_assert_uint_eq(instance->sharding, SHARDING_PIPELINE);
    ck_assert_uint_eq(instance->context, 4096);
    ck_assert_str_eq(instance->why, "two nodes");
    all_ready(&generation_one);
    stage_fail(&generation_one, stage.now_ms + 200);
    stage_start_generation(&generation_two);
    instance = stage_instance();
    ck_assert(generation_equal(&instance->generation, &generation_two));
    ck_assert_uint_eq(instance->status, INSTANCE_STARTING);
    ck_assert_uint_eq(instance->retry_at_ms, 0);
    ck_assert_uint_eq(instance->ranks.count, STAGE_RANKS);
    ck_assert_uint_eq(instance->sources.count, 1);
    for (uint32_t i = 0; i < STAGE_RANKS; i++)
        ck_assert_uint_eq(instance->ranks.items[i].status, RANK_PLACED);
    ck_assert_uint_eq(instance->changed_index, stage.state.index);
}
END_TEST

static void address(uint32_t rank, enum actor_kind actor, const char *text, uint8_t key)
{
    struct rank_addressed *body = stage_event(EVENT_RANK_ADDRESSED);
    body->instance_id = instance_id;
    body->generation = generation_one;
    body->rank = rank;
    body->actor = actor;
    body->key.bytes[0] = key;
    ck_assert(text_set(&body->address, text));
}

START_TEST(rank_addressed_tells_launcher_and_runner_apart)
{
    stage_start_instance();
    address(1, ACTOR_LAUNCHER, "tcp://l:1", 5);
    stage_apply();
    const struct rank_record *rank = &stage_instance()->ranks.items[1];
    ck_assert_str_eq(rank->launcher_address, "tcp://l:1");
    ck_assert_uint_eq(rank->launcher_key.bytes[0], 5);
    ck_assert_uint_eq(rank->status, RANK_PLACED);
    address(1, ACTOR_RUNNER, "tcp://r:1", 6);
    ck_assert(text_set(&MESSAGE_BODY(&stage.event, rank_addressed)->gateway_address, "tcp://g:1"));
    stage_apply();
    ck_assert_str_eq(rank->runner_address, "tcp://r:1");
    ck_assert_str_eq(rank->gateway_address, "tcp://g:1");
    ck_assert_str_eq(rank->launcher_address, "tcp://l:1");
    ck_assert_uint_eq(rank->runner_key.bytes[0], 6);
    ck_assert_uint_eq(rank->status, RANK_ADDRESSED);
    ck_assert_uint_eq(stage_instance()->ranks.items[0].status, RANK_PLACED);
}
END_TEST

/* Rank 1 only sends. */
static void make_source(void)
{
    stage_start_instance();
    stage_instance()->ranks.items[1].is_source = true;
}

static void end_process(uint32_t rank)
{
    struct process_ended *body = stage_event(EVENT_PROCESS_ENDED);
    body->node_id = node_two;
    body->actor = ACTOR_LAUNCHER;
    body->instance_id = instance_id;
    body->generation = generation_one;
    body->rank = rank;
    stage_apply();
}

START_TEST(an_instance_with_a_source_is_ready_when_that_is_released)
{
    make_source();
    ck_assert_uint_eq(instance_computing(stage_instance()), 1);
    stage_rank_status(&generation_one, 1, RANK_LOADED);
    stage_rank_status(&generation_one, 0, RANK_READY);
    ck_assert_uint_eq(stage_instance()->status, INSTANCE_STARTING);
    stage_rank_status(&generation_one, 1, RANK_RELEASED);
    ck_assert_uint_eq(stage_instance()->status, INSTANCE_READY);
    end_process(1);
    ck_assert_uint_eq(stage_instance()->ranks.items[1].status, RANK_RELEASED);
    ck_assert_uint_eq(stage_instance()->status, INSTANCE_READY);
    end_process(0);
    ck_assert_uint_eq(stage_instance()->ranks.items[0].status, RANK_FAILED);
}
END_TEST

START_TEST(a_source_that_ends_before_it_is_released_is_lost)
{
    make_source();
    stage_rank_status(&generation_one, 1, RANK_LOADED);
    end_process(1);
    ck_assert_uint_eq(stage_instance()->ranks.items[1].status, RANK_FAILED);
}
END_TEST

START_TEST(rank_addressed_late_does_not_set_a_rank_back)
{
    stage_start_instance();
    stage_rank_status(&generation_one, 0, RANK_LOADING);
    address(0, ACTOR_RUNNER, "tcp://r:1", 6);
    stage_apply();
    ck_assert_uint_eq(stage_instance()->ranks.items[0].status, RANK_LOADING);
}
END_TEST

START_TEST(generation_addressed_tells_all_addresses_and_keys)
{
    stage_start_instance();
    struct generation_addressed *body = stage_event(EVENT_GENERATION_ADDRESSED);
    body->instance_id = instance_id;
    body->generation = generation_one;
    for (uint32_t i = 0; i < STAGE_RANKS + 1; i++) {
        struct rank_record *rank = record_list_push(&rank_record_type, RECORD_LIST(body->ranks),
                                                    NULL, RANK_COUNT_MAX);
        ck_assert(rank && text_set(&rank->runner_address, i ? "tcp://r:1" : "tcp://r:0") &&
                  text_set(&rank->launcher_address, i ? "tcp://l:1" : "tcp://l:0") &&
                  text_set(&rank->gateway_address, i ? "" : "tcp://g:0"));
        rank->runner_key.bytes[0] = (uint8_t)(10 + i);
        rank->launcher_key.bytes[0] = (uint8_t)(20 + i);
    }
    stage_apply();
    const struct instance_record *instance = stage_instance();
    ck_assert_uint_eq(instance->ranks.count, STAGE_RANKS);
    ck_assert_str_eq(instance->ranks.items[0].runner_address, "tcp://r:0");
    ck_assert_str_eq(instance->ranks.items[0].gateway_address, "tcp://g:0");
    ck_assert_str_eq(instance->ranks.items[1].launcher_address, "tcp://l:1");
    ck_assert_uint_eq(instance->ranks.items[1].runner_key.bytes[0], 11);
    ck_assert_uint_eq(instance->ranks.items[1].launcher_key.bytes[0], 21);
    ck_assert(ID_EQUAL(instance->ranks.items[1].node_id, node_two));
}
END_TEST

START_TEST(generation_started_with_a_transfer_copies_first)
{
    stage_start_instance();
    struct generation_started *body = stage_event(EVENT_GENERATION_STARTED);
    body->instance_id = instance_id;
    body->generation = generation_two;
    body->transfer_id.bytes[0] = 3;
    stage_apply();
    ck_assert_uint_eq(stage_instance()->status, INSTANCE_COPYING);
    ck_assert_uint_eq(stage_instance()->transfer_id.bytes[0], 3);
    stage_fail(&generation_two, stage.now_ms + 200);
    ck_assert_uint_eq(stage_instance()->status, INSTANCE_WAITING);
    ck_assert(ID_IS_ZERO(stage_instance()->transfer_id));
    stage_start_generation(&generation_one);
    ck_assert_uint_eq(stage_instance()->status, INSTANCE_STARTING);
}
END_TEST

START_TEST(runner_status_changed_makes_it_ready_when_all_ranks_are)
{
    stage_start_instance();
    stage_rank_status(&generation_one, 1, RANK_READY);
    ck_assert_uint_eq(stage_instance()->status, INSTANCE_STARTING);
    ck_assert_uint_eq(stage_instance()->ready_ms, 0);
    stage.now_ms += 500;
    stage_rank_status(&generation_one, 0, RANK_READY);
    ck_assert_uint_eq(stage_instance()->status, INSTANCE_READY);
    ck_assert_uint_eq(stage_instance()->ready_ms, stage.now_ms);
}
END_TEST

START_TEST(runner_status_changed_after_a_failure_does_not_make_it_ready)
{
    stage_start_instance();
    stage_fail(&generation_one, stage.now_ms + 200);
    for (uint32_t rank = 0; rank < STAGE_RANKS; rank++)
        stage_rank_status(&generation_one, rank, RANK_READY);
    ck_assert_uint_eq(stage_instance()->status, INSTANCE_WAITING);
}
END_TEST

START_TEST(generation_failed_waits_for_its_retry)
{
    stage_start_instance();
    stage_fail(&generation_one, stage.now_ms + 200);
    const struct instance_record *instance = stage_instance();
    ck_assert_uint_eq(instance->status, INSTANCE_WAITING);
    ck_assert_uint_eq(instance->retry_at_ms, stage.now_ms + 200);
    ck_assert_uint_eq(instance->failures, 1);
    ck_assert_str_eq(instance->last_reason, "it fell over");
    for (uint32_t i = 0; i < STAGE_RANKS; i++)
        ck_assert_uint_eq(instance->ranks.items[i].status, RANK_FAILED);
}
END_TEST

START_TEST(generation_failed_by_rdma_goes_on_over_tcp)
{
    struct instance_record *instance = stage_start_instance();
    stage_fail(&generation_one, stage.now_ms + 200);
    ck_assert_str_eq(text_or_empty(stage_instance()->transport), "");
    stage_start_generation(&generation_two);
    instance = stage_instance();
    ck_assert(text_set(&instance->ranks.items[0].rdma, "mlx5_0"));
    stage_rank_status(&generation_two, 0, RANK_JOINED);
    stage_fail(&generation_two, stage.now_ms + 200);
    ck_assert_msg(strncmp(stage_instance()->transport,
                          "TCP, because the ranks did not meet by RDMA (mlx5_0): ", 54) == 0,
                  "%s", stage_instance()->transport);
}
END_TEST

START_TEST(generation_failed_after_it_was_ready_by_rdma_tries_that_again)
{
    struct instance_record *instance = stage_start_instance();
    ck_assert(text_set(&instance->ranks.items[0].rdma, "mlx5_0"));
    all_ready(&generation_one);
    stage_fail(&generation_one, stage.now_ms + 200);
    ck_assert_str_eq(text_or_empty(stage_instance()->transport), "");
}
END_TEST

START_TEST(generation_failed_without_a_retry_gives_up)
{
    stage_start_instance();
    stage_fail(&generation_one, UINT64_MAX);
    ck_assert_uint_eq(stage_instance()->status, INSTANCE_FAILED);
}
END_TEST

/* Generation after generation fails; the time between two failures. */
static uint32_t failures_after(uint32_t count, uint64_t between_ms)
{
    stage_start_instance();
    for (uint32_t i = 1; i <= count; i++) {
        const struct generation generation = {1, {{1}}, i};
        if (i > 1)
            stage_start_generation(&generation);
        stage.now_ms += between_ms;
        stage_fail(&generation, stage.now_ms + 200);
    }
    return stage_instance()->failures;
}

START_TEST(generation_failed_counts_within_its_window)
{
    ck_assert_uint_eq(failures_after(4, GENERATION_FAILURE_WINDOW_MS / 4), 4);
}
END_TEST

START_TEST(generation_failed_forgives_what_lies_before_the_window)
{
    ck_assert_uint_eq(failures_after(4, GENERATION_FAILURE_WINDOW_MS + 1), 1);
    ck_assert_uint_eq(stage_instance()->window_ms, stage.now_ms);
}
END_TEST

static uint32_t failures_when_served(uint64_t for_ms)
{
    failures_after(3, 10);
    const struct generation next = {1, {{1}}, 4};
    stage_start_generation(&next);
    all_ready(&next);
    stage.now_ms += for_ms;
    stage_fail(&next, stage.now_ms + 200);
    return stage_instance()->failures;
}

START_TEST(generation_failed_that_had_served_begins_a_new_window)
{
    ck_assert_uint_eq(failures_when_served(GENERATION_SERVED_MS), 1);
    ck_assert_uint_eq(stage_instance()->window_ms, stage.now_ms);
    ck_assert_uint_eq(stage_instance()->ready_ms, 0);
}
END_TEST

/* A leader's clock may be behind that of the one before. */
START_TEST(generation_failed_with_a_clock_that_went_back_counts_on)
{
    failures_after(3, 10);
    const struct generation next = {1, {{1}}, 4};
    stage_start_generation(&next);
    all_ready(&next);
    ck_assert_uint_gt(stage.now_ms, 20);
    stage.now_ms -= 20;
    stage_fail(&next, stage.now_ms + 200);
    ck_assert_uint_eq(stage_instance()->failures, 4);
}
END_TEST

START_TEST(generation_failed_right_after_ready_counts_on)
{
    ck_assert_uint_eq(failures_when_served(GENERATION_SERVED_MS - 1), 4);
}
END_TEST

START_TEST(instance_retried_forgives_and_lets_it_start)
{
    stage_start_instance();
    stage_fail(&generation_one, UINT64_MAX);
    stage.now_ms += 5;
    struct instance_retried *body = stage_event(EVENT_INSTANCE_RETRIED);
    body->instance_id = instance_id;
    stage_apply();
    const struct instance_record *instance = stage_instance();
    ck_assert_uint_eq(instance->status, INSTANCE_WAITING);
    ck_assert_uint_eq(instance->failures, 0);
    ck_assert_uint_eq(instance->retry_at_ms, 0);
    ck_assert_uint_eq(instance->window_ms, stage.now_ms);
}
END_TEST

START_TEST(instance_retried_leaves_a_ready_one_ready)
{
    stage_start_instance();
    all_ready(&generation_one);
    struct instance_retried *body = stage_event(EVENT_INSTANCE_RETRIED);
    body->instance_id = instance_id;
    stage_apply();
    ck_assert_uint_eq(stage_instance()->status, INSTANCE_READY);
}
END_TEST

static void end_rank(enum actor_kind actor, const struct generation *generation, uint32_t rank,
                     bool was_asked)
{
    struct process_ended *body = stage_event(EVENT_PROCESS_ENDED);
    body->node_id = node_two;
    body->actor = actor;
    body->incarnation = 7;
    body->instance_id = instance_id;
    body->generation = *generation;
    body->rank = rank;
    body->was_asked = was_asked;
}

START_TEST(process_ended_of_a_rank_fails_that_rank)
{
    stage_start_instance();
    end_rank(ACTOR_RUNNER, &generation_one, 1, false);
    stage_apply();
    ck_assert_uint_eq(stage_instance()->ranks.items[1].status, RANK_FAILED);
    ck_assert_uint_eq(stage_instance()->ranks.items[0].status, RANK_PLACED);
    end_rank(ACTOR_LAUNCHER, &generation_one, 0, false);
    stage_apply();
    ck_assert_uint_eq(stage_instance()->ranks.items[0].status, RANK_FAILED);
}
END_TEST

START_TEST(process_ended_fails_no_rank_when_asked_or_of_another_generation)
{
    stage_start_instance();
    end_rank(ACTOR_RUNNER, &generation_one, 1, true);
    stage_apply_in_vain();
    end_rank(ACTOR_RUNNER, &generation_two, 1, false);
    stage_apply_in_vain();
    end_rank(ACTOR_RUNNER, &generation_one, STAGE_RANKS, false);
    stage_apply_in_vain();
    end_rank(ACTOR_GATEWAY, &generation_one, 1, false);
    stage_apply_in_vain();
}
END_TEST

/* ---- about what is gone ---- */

static void tell_of(const struct instance_id *id, const struct generation *generation,
                    uint32_t rank)
{
    struct rank_addressed *addressed = stage_event(EVENT_RANK_ADDRESSED);
    addressed->instance_id = *id;
    addressed->generation = *generation;
    addressed->rank = rank;
    addressed->actor = ACTOR_RUNNER;
    ck_assert(text_set(&addressed->address, "tcp://late:1"));
    stage_apply_in_vain();
    struct runner_status_changed *changed = stage_event(EVENT_RUNNER_STATUS_CHANGED);
    changed->instance_id = *id;
    changed->generation = *generation;
    changed->rank = rank;
    changed->status = RANK_READY;
    stage_apply_in_vain();
}

static void tell_of_generation(const struct instance_id *id, const struct generation *generation)
{
    tell_of(id, generation, 0);
    struct generation_addressed *all = stage_event(EVENT_GENERATION_ADDRESSED);
    all->instance_id = *id;
    all->generation = *generation;
    ck_assert_ptr_nonnull(record_list_push(&rank_record_type, RECORD_LIST(all->ranks), NULL, 1));
    stage_apply_in_vain();
    struct generation_failed *failed = stage_event(EVENT_GENERATION_FAILED);
    failed->instance_id = *id;
    failed->generation = *generation;
    stage_apply_in_vain();
}

START_TEST(events_of_a_generation_that_is_over_change_nothing)
{
    stage_start_instance();
    stage_start_generation(&generation_two);
    tell_of_generation(&instance_id, &generation_one);
}
END_TEST

START_TEST(events_of_an_instance_that_is_gone_change_nothing)
{
    const struct instance_id gone = {{77}};
    stage_start_instance();
    tell_of_generation(&gone, &generation_one);
    struct instance_deleted *deleted = stage_event(EVENT_INSTANCE_DELETED);
    deleted->instance_id = gone;
    stage_apply_in_vain();
    struct instance_retried *retried = stage_event(EVENT_INSTANCE_RETRIED);
    retried->instance_id = gone;
    stage_apply_in_vain();
    struct generation_started *started = stage_event(EVENT_GENERATION_STARTED);
    started->instance_id = gone;
    stage_apply_in_vain();
}
END_TEST

START_TEST(events_of_a_rank_that_is_not_there_change_no_rank)
{
    stage_start_instance();
    stage_rank_status(&generation_one, STAGE_RANKS, RANK_READY);
    address(STAGE_RANKS, ACTOR_RUNNER, "tcp://r:9", 1);
    stage_apply();
    for (uint32_t i = 0; i < STAGE_RANKS; i++)
        ck_assert_uint_eq(stage_instance()->ranks.items[i].status, RANK_PLACED);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const placing[] = {
        instance_placed_is_remembered_with_its_event, instance_placed_twice_leaves_the_first,
        instance_deleted_forgets_it, generation_started_places_the_ranks_anew,
        generation_started_with_a_transfer_copies_first,
        rank_addressed_tells_launcher_and_runner_apart,
        rank_addressed_late_does_not_set_a_rank_back,
        an_instance_with_a_source_is_ready_when_that_is_released,
        a_source_that_ends_before_it_is_released_is_lost,
        generation_addressed_tells_all_addresses_and_keys,
        runner_status_changed_makes_it_ready_when_all_ranks_are};
    const TTest *const failing[] = {
        runner_status_changed_after_a_failure_does_not_make_it_ready,
        generation_failed_waits_for_its_retry, generation_failed_without_a_retry_gives_up,
        generation_failed_by_rdma_goes_on_over_tcp,
        generation_failed_after_it_was_ready_by_rdma_tries_that_again,
        generation_failed_counts_within_its_window,
        generation_failed_forgives_what_lies_before_the_window,
        generation_failed_that_had_served_begins_a_new_window,
        generation_failed_with_a_clock_that_went_back_counts_on,
        generation_failed_right_after_ready_counts_on,
        instance_retried_forgives_and_lets_it_start, instance_retried_leaves_a_ready_one_ready,
        process_ended_of_a_rank_fails_that_rank,
        process_ended_fails_no_rank_when_asked_or_of_another_generation};
    const TTest *const gone[] = {events_of_a_generation_that_is_over_change_nothing,
                                        events_of_an_instance_that_is_gone_change_nothing,
                                        events_of_a_rank_that_is_not_there_change_no_rank};
    Suite *suite = suite_create("protocol/apply_instances");
    stage_suite_add(suite, "placing", placing, COUNT_OF(placing));
    stage_suite_add(suite, "failing", failing, COUNT_OF(failing));
    stage_suite_add(suite, "gone", gone, COUNT_OF(gone));
    return suite;
}
