/* SPDX-License-Identifier: Apache-2.0 */
/* The leases of a rank of two until it is ready, by the runner's step alone. */
#include "actors/runner/runner.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/step_bench.h"

#include <string.h>

static const struct node_id own = {{1}};
static struct runner_settings settings = {
    .session = {.actor = ACTOR_RUNNER, .incarnation = 5, .build = "test", .key = {{51}},
                .wants_events = true},
    .instance_id = {{7}},
    .generation = {.epoch = 1, .leader = {{1}}, .counter = 4},
    .bind = "tcp://127.0.0.1:0"};
static struct step_bench bench;

static void begin(uint64_t weight_bytes)
{
    struct state state;
    step_bench_open(&bench, &runner_ops, &settings);
    bench_feed(&bench, (struct input){.kind = INPUT_START});
    bench_welcome(&bench, &own);
    state_init(&state);
    struct instance_record *instance =
        record_list_push(&instance_record_type, RECORD_LIST(state.instances), NULL, 4);
    ck_assert(instance && text_set(&instance->model_id, "m"));
    instance->instance_id = settings.instance_id;
    instance->generation = settings.generation;
    instance->sharding = SHARDING_TENSOR;
    instance->status = INSTANCE_STARTING;
    for (uint8_t i = 0; i < 2; i++) {
        struct rank_record *rank =
            record_list_push(&rank_record_type, RECORD_LIST(instance->ranks), NULL, 4);
        ck_assert_ptr_nonnull(rank);
        rank->node_id.bytes[0] = (uint8_t)(i + 1);
        rank->weight_bytes = weight_bytes;
    }
    bench_state(&bench, &state);
    state_fini(&state);
    ck_assert_ptr_nonnull(bench_effect(&bench, EFFECT_ENGINE_START));
}

static void engine_says(enum rank_status status)
{
    struct rank_status_told *told = memory_zeroed(1, sizeof(*told));
    ck_assert_ptr_nonnull(told);
    told->status = status;
    const struct effect unasked = {.kind = RESULT_RANK_STATUS};
    bench_result(&bench, &unasked, STATUS_OK, "", told, memory_free);
    ck_assert_int_eq(bench.failed, STATUS_OK);
}

static void begin_loading(uint64_t weight_bytes)
{
    begin(weight_bytes);
    engine_says(RANK_JOINED);
    engine_says(RANK_LOADING);
}

static const struct runner_status_changed *last_status(void)
{
    const struct message *report =
        bench_sent(&bench, MESSAGE_REPORT, REPORT_RUNNER_STATUS_CHANGED);
    return report ? MESSAGE_BODY(report, runner_status_changed) : NULL;
}

static bool has_failed(void)
{
    const struct runner_status_changed *last = last_status();
    return last && last->status == RANK_FAILED;
}

/* Passes the time to the next look and answers it, if there was one. */
static bool answer_look(struct engine_beat beat)
{
    step_bench_forget(&bench);
    bench_pass(&bench, RUNNER_LOOK_MS);
    if (bench_effect_count(&bench, EFFECT_ENGINE_LOOK) == 0)
        return false;
    struct engine_beat *value = memory_copied(&beat, sizeof(beat));
    ck_assert_ptr_nonnull(value);
    const struct effect look = {.kind = RESULT_ENGINE_BEAT};
    bench_result(&bench, &look, STATUS_OK, "", value, memory_free);
    return true;
}

static uint64_t sibling_works;

static void beat_comes(uint32_t rank, const struct generation *generation, uint64_t entered,
                       uint64_t finished)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_SIGNAL, SIGNAL_HEARTBEAT), STATUS_OK);
    struct heartbeat *body = message.body;
    body->instance_id = settings.instance_id;
    body->generation = *generation;
    body->rank = rank;
    body->entered = entered;
    body->finished = finished;
    body->works = sibling_works;
    bench_message(&bench, peer_of_link(SESSION_LINK), &message);
}

static void sibling_beats(uint32_t rank, uint64_t entered, uint64_t finished)
{
    beat_comes(rank, &settings.generation, entered, finished);
}

/* Looks at the same beat until the rank has failed: so many. */
static unsigned looks_until_failed(const struct engine_beat *beat, unsigned limit)
{
    unsigned looks = 0;
    for (; !has_failed() && looks < limit; looks++)
        ck_assert(answer_look(*beat));
    return looks;
}

/* As one that works but comes to nothing, or is inside MPI, which asks again and again. */
static unsigned asks_until_failed(struct engine_beat *beat, unsigned limit)
{
    unsigned looks = 0;
    for (; !has_failed() && looks < limit; looks++) {
        beat->spent_ns++;
        ck_assert(answer_look(*beat));
    }
    return looks;
}

START_TEST(gives_a_large_shard_the_time_to_be_read)
{
    begin_loading((uint64_t)RUNNER_LOAD_BYTES_PER_MS * 20000u);
    struct engine_beat beat = {.is_busy = true, .marks = 1};
    const unsigned looks = asks_until_failed(&beat, 60000 / RUNNER_LOOK_MS);
    ck_assert_uint_ge(looks, 50000 / RUNNER_LOOK_MS);
    ck_assert_uint_le(looks, 50000 / RUNNER_LOOK_MS + 1);
    ck_assert_ptr_nonnull(strstr(last_status()->reason, "own work for 50 s"));
    step_bench_close(&bench);
}
END_TEST

START_TEST(ends_a_load_that_stands_still_in_its_own_work)
{
    begin_loading(UINT64_C(64) << 30);
    struct engine_beat beat = {
        .is_busy = true, .entered = 2, .finished = 2, .step = "planned who gets what"};
    for (unsigned i = 0; i < 400; i++) { /* nothing is counted, but it computes */
        beat.spent_ns += i % 8 == 0;
        ck_assert(answer_look(beat));
        ck_assert(!has_failed());
    }
    bench.now_ms += 3600000; /* the machine slept */
    const unsigned limit = RUNNER_WORK_STILL_MS / RUNNER_LOOK_MS;
    const unsigned looks = looks_until_failed(&beat, 2 * limit);
    ck_assert_uint_le(looks, limit);
    ck_assert_uint_ge(looks, limit - 8);
    ck_assert(has_failed());
    ck_assert_ptr_nonnull(strstr(last_status()->reason, "while it planned who gets what"));
    step_bench_close(&bench);
}
END_TEST

START_TEST(waits_in_a_collective_as_long_as_a_sibling_is_at_work)
{
    begin_loading(UINT64_C(64) << 30);
    struct engine_beat beat = {.is_busy = true, .entered = 5, .finished = 4};
    for (unsigned i = 0; i < 4 * RUNNER_STILL_MS / RUNNER_LOOK_MS; i++) {
        if (i % 8 == 0)
            sibling_beats(1, 4, 4);
        beat.spent_ns++;
        ck_assert(answer_look(beat));
        ck_assert(!has_failed());
    }
    sibling_beats(1, 5, 4); /* now both are in it */
    const unsigned limit = RUNNER_MEETING_STILL_MS / RUNNER_LOOK_MS;
    ck_assert_uint_eq(asks_until_failed(&beat, 2 * limit), limit);
    ck_assert(has_failed());
    ck_assert_ptr_nonnull(strstr(last_status()->reason, "collective 5"));
    ck_assert_ptr_nonnull(strstr(last_status()->reason, "rank 1 was not heard"));
    step_bench_close(&bench);
}
END_TEST

START_TEST(names_the_rank_that_finished_the_fewest_collectives)
{
    begin_loading(UINT64_C(64) << 30);
    struct engine_beat beat = {.is_busy = true, .entered = 5, .finished = 4};
    sibling_beats(1, 6, 3);
    sibling_beats(0, 1, 1);  /* our own word, which came back, */
    beat_comes(1, &(struct generation){.epoch = 9}, 1, 1); /* and an older one are nobody's */
    const unsigned limit = RUNNER_MEETING_STILL_MS / RUNNER_LOOK_MS;
    for (unsigned i = 0; i < 10 * limit; i++) { /* as long as pieces of it come */
        sibling_beats(1, 6, 3);
        beat.pieces += i % 8 == 0;
        beat.spent_ns++;
        ck_assert(answer_look(beat));
        ck_assert(!has_failed());
    }
    for (unsigned i = 0; !has_failed() && i < 2 * limit; i++) {
        sibling_beats(1, 6, 3);
        beat.spent_ns++;
        ck_assert(answer_look(beat));
    }
    ck_assert(has_failed());
    ck_assert_ptr_nonnull(strstr(last_status()->reason, "rank 1 has finished the fewest (3)"));
    step_bench_close(&bench);
}
END_TEST

START_TEST(does_not_wait_for_ever_for_a_sibling_that_is_not_heard)
{
    begin_loading(0);
    struct engine_beat beat = {.is_busy = true, .entered = 5, .finished = 4};
    sibling_beats(1, 4, 4);
    const unsigned limit = (RUNNER_STILL_MS + RUNNER_SIBLING_STILL_MS) / RUNNER_LOOK_MS;
    ck_assert_uint_le(asks_until_failed(&beat, 2 * limit), limit + 2);
    ck_assert(has_failed());
    step_bench_close(&bench);
}
END_TEST

/* How one of the ranks gets on with MPI's start, while all are in it. */
struct start_of_mpi {
    uint64_t spent_ns;   /* in each look */
    uint64_t delayed_ns;
    uint64_t runs;
    bool is_heard;       /* the sibling, */
    bool is_one_at_work; /* which computes */
};

static unsigned looks_at_start(const struct start_of_mpi *start, unsigned limit)
{
    unsigned looks = 0;
    begin(0);
    struct engine_beat beat = {.is_busy = true, .entered = 1};
    sibling_beats(1, 1, 0);
    for (; !has_failed() && looks < limit; looks++) {
        beat.spent_ns += 1 + start->spent_ns;
        beat.delayed_ns += start->delayed_ns;
        beat.runs += start->runs;
        sibling_works += start->is_one_at_work;
        if (start->is_heard)
            sibling_beats(1, 1, 0);
        ck_assert(answer_look(beat));
    }
    ck_assert(has_failed());
    ck_assert_ptr_nonnull(strstr(last_status()->reason, "the start of MPI"));
    step_bench_close(&bench);
    return looks;
}

/* Nothing is counted while MPI starts, but who computes is not stalled. */
START_TEST(gives_mpi_the_time_to_start)
{
    const uint64_t most_ns = RUNNER_LOOK_MS * UINT64_C(1000000) * 3 / 5;
    const struct start_of_mpi starts[] = {{.is_heard = true, .spent_ns = most_ns},
                                          {.is_heard = true, .delayed_ns = most_ns},
                                          {.is_heard = true, .is_one_at_work = true},
                                          {.is_heard = false}};
    const unsigned limit = RUNNER_JOIN_STILL_MS / RUNNER_LOOK_MS;
    for (size_t i = 0; i < COUNT_OF(starts); i++) {
        const unsigned looks = looks_at_start(&starts[i], 2 * limit);
        ck_assert_uint_ge(looks, limit);
        ck_assert_uint_le(looks, limit + 1);
    }
}
END_TEST

START_TEST(ends_a_start_of_mpi_in_which_nobody_computes)
{
    const struct start_of_mpi starts[] = {
        {.is_heard = true, .spent_ns = RUNNER_LOOK_MS * 200000u},
        /* It asks, and waits long for a core each time. */
        {.is_heard = true, .spent_ns = 5000000u, .delayed_ns = 200000000u, .runs = 100}};
    const unsigned limit = RUNNER_MEETING_STILL_MS / RUNNER_LOOK_MS;
    for (size_t i = 0; i < COUNT_OF(starts); i++) {
        const unsigned looks = looks_at_start(&starts[i], 4 * limit);
        ck_assert_uint_ge(looks, limit);
        ck_assert_uint_le(looks, limit + 1);
    }
}
END_TEST

/* Ready, it has no less to fear. */
START_TEST(ends_a_step_in_which_its_engine_stands_still_or_all_do)
{
    const unsigned works = RUNNER_WORK_STILL_MS / RUNNER_LOOK_MS;
    const unsigned meets = RUNNER_MEETING_STILL_MS / RUNNER_LOOK_MS;
    struct engine_beat beat = {.is_busy = true, .entered = 9, .finished = 9};
    begin_loading(0);
    engine_says(RANK_READY);
    ck_assert_uint_le(looks_until_failed(&beat, 2 * works), works + 1);
    ck_assert_ptr_nonnull(strstr(last_status()->reason, "stood still for 3000 ms"));
    step_bench_close(&bench);

    begin_loading(0);
    engine_says(RANK_READY);
    beat.entered++;
    beat.bytes = RUNNER_MEETING_BYTES_PER_MS * 10000u; /* ten seconds, at the least it may */
    sibling_beats(1, 10, 9);
    const unsigned looks = asks_until_failed(&beat, 100 * meets);
    ck_assert_uint_ge(looks, meets + 10000 / RUNNER_LOOK_MS);
    ck_assert_uint_le(looks, meets + 10000 / RUNNER_LOOK_MS + 1);
    ck_assert_ptr_nonnull(strstr(last_status()->reason, "rank 1 was not heard for 2000 ms"));
    step_bench_close(&bench);
}
END_TEST

START_TEST(names_itself_when_it_stands_still_inside_a_collective)
{
    begin_loading(UINT64_C(64) << 30);
    const struct engine_beat beat = {.is_busy = true, .entered = 5, .finished = 4};
    sibling_beats(1, 5, 4);
    const unsigned limit = RUNNER_WORK_STILL_MS / RUNNER_LOOK_MS;
    ck_assert_uint_le(looks_until_failed(&beat, 2 * limit), limit + 1);
    ck_assert(has_failed());
    ck_assert_ptr_nonnull(strstr(last_status()->reason, "stood still for 3000 ms inside "
                                                        "collective 5"));
    step_bench_close(&bench);
}
END_TEST

/* Its last look at a disk that stalls would hold up the word, or another would come. */
START_TEST(tells_a_failure_though_the_disk_stalls)
{
    begin_loading(0);
    struct reason *why = memory_zeroed(1, sizeof(*why));
    ck_assert_ptr_nonnull(why);
    (void)refuse(why, STATUS_TIMED_OUT, "rank 1 was silent");
    const struct effect unasked = {.kind = RESULT_RANK_FAILING};
    bench_result(&bench, &unasked, STATUS_OK, "", why, memory_free);
    const struct engine_beat beat = {.is_busy = true};
    ck_assert_uint_eq(looks_until_failed(&beat, 20), RUNNER_FAILING_MS / RUNNER_LOOK_MS);
    ck_assert_str_eq(last_status()->reason, "rank 1 was silent");
    step_bench_close(&bench);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        gives_a_large_shard_the_time_to_be_read,
        ends_a_load_that_stands_still_in_its_own_work,
        waits_in_a_collective_as_long_as_a_sibling_is_at_work,
        names_the_rank_that_finished_the_fewest_collectives,
        does_not_wait_for_ever_for_a_sibling_that_is_not_heard,
        gives_mpi_the_time_to_start,
        ends_a_start_of_mpi_in_which_nobody_computes,
        ends_a_step_in_which_its_engine_stands_still_or_all_do,
        names_itself_when_it_stands_still_inside_a_collective,
        tells_a_failure_though_the_disk_stalls,
    };
    Suite *suite = suite_create("runner-watch");
    suite_add(suite, "load", tests, COUNT_OF(tests));
    return suite;
}
