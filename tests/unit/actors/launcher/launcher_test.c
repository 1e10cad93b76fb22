/* SPDX-License-Identifier: Apache-2.0 */
/* The launcher's step, fed by hand: what it says, when it starts its rank, why it ends it. */
#include "actors/launcher/launcher.h"

#include "protocol/memory.h"
#include "tests/support/check_main.h"

#include <stdio.h>
#include <string.h>

enum { RANKS = 2, OWN = 0, SIBLING = 1 };

struct bench {
    struct launcher_settings settings;
    struct launcher *launcher;
    struct outbox outbox;
    struct state state; /* of the master that is played */
    uint64_t now_ms;
    int32_t exit_code; /* -1: it has not left */
    unsigned effects[RESULT_PMIX + 1];
};

static struct public_key key_of(int number)
{
    struct public_key key;
    memset(key.bytes, number + 1, sizeof(key.bytes));
    return key;
}

static void bench_open(struct bench *bench)
{
    *bench = (struct bench){.now_ms = 1000, .exit_code = -1};
    memset(bench->settings.instance_id.bytes, 7, 16);
    bench->settings.generation = (struct generation){.epoch = 2, .counter = 5};
    bench->settings.incarnation = 77;
    bench->settings.rank = OWN;
    bench->settings.key = key_of(OWN);
    (void)snprintf(bench->settings.bind, sizeof(bench->settings.bind), "tcp://127.0.0.1:0");
    (void)snprintf(bench->settings.build, sizeof(bench->settings.build), "build-a");
    outbox_init(&bench->outbox);
    state_init(&bench->state);
    bench->launcher = memory_zeroed(1, launcher_ops.memory_size);
    ck_assert_ptr_nonnull(bench->launcher);
    ck_assert_int_eq(launcher_ops.init(bench->launcher, &bench->settings, NULL), STATUS_OK);
}

static void bench_close(struct bench *bench)
{
    launcher_ops.fini(bench->launcher);
    memory_free(bench->launcher);
    outbox_fini(&bench->outbox);
    state_fini(&bench->state);
}

/* One step; counts the effects asked for. */
static void step(struct bench *bench, struct input input)
{
    input.now_ms = bench->now_ms;
    outbox_clear(&bench->outbox);
    bench->outbox.wake_ms = UINT64_MAX;
    ck_assert_int_eq(launcher_ops.step(bench->launcher, &input, &bench->outbox, NULL), STATUS_OK);
    for (size_t i = 0; i < bench->outbox.count; i++) {
        const struct outbox_item *item = &bench->outbox.items[i];
        if (item->kind == OUTBOX_EFFECT)
            bench->effects[item->effect.kind]++;
        if (item->kind == OUTBOX_EXIT)
            bench->exit_code = item->exit_code;
    }
}

static void say(struct bench *bench, const struct message *message, uint32_t link,
                const struct public_key *key)
{
    struct input input = {.kind = INPUT_MESSAGE, .peer = {.link = link}, .message = message};
    if (key)
        input.peer.key = *key;
    step(bench, input);
}

static void link_event(struct bench *bench, enum input_kind kind, uint32_t link)
{
    step(bench, (struct input){.kind = kind, .peer = {.link = link},
                               .endpoint = "tcp://127.0.0.1:4000"});
}

/* True when the last step sent such a message over that link. */
static bool has_sent(const struct bench *bench, uint32_t link, enum message_kind kind,
                     uint32_t code)
{
    bool found = false;
    for (size_t i = 0; i < bench->outbox.count && !found; i++) {
        const struct outbox_item *item = &bench->outbox.items[i];
        struct message message;
        if (item->kind != OUTBOX_SEND || item->peer.link != link)
            continue;
        ck_assert_int_eq(message_decode(item->bytes, item->size, &message, NULL), STATUS_OK);
        found = message_is(&message, kind, code);
        message_fini(&message);
    }
    return found;
}

/* An event of the played master: applied there and told. */
static void publish(struct bench *bench, struct message *event)
{
    event->head.index = bench->state.index + 1;
    ck_assert_int_eq(state_apply(&bench->state, event), STATUS_OK);
    say(bench, event, LAUNCHER_LINK_MASTER, NULL);
    message_fini(event);
}

static void place(struct bench *bench)
{
    struct message event;
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_INSTANCE_PLACED), STATUS_OK);
    struct instance_record *instance = &MESSAGE_BODY(&event, instance_placed)->instance;
    instance->instance_id = bench->settings.instance_id;
    instance->generation = bench->settings.generation;
    ck_assert(text_set(&instance->model_id, "m"));
    for (int i = 0; i < RANKS; i++)
        ck_assert_ptr_nonnull(record_list_push(&rank_record_type, RECORD_LIST(instance->ranks),
                                               NULL, RANK_COUNT_MAX));
    publish(bench, &event);
}

static void address(struct bench *bench, uint32_t rank)
{
    struct message event;
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_RANK_ADDRESSED), STATUS_OK);
    struct rank_addressed *body = event.body;
    body->instance_id = bench->settings.instance_id;
    body->generation = bench->settings.generation;
    body->rank = rank;
    body->actor = ACTOR_LAUNCHER;
    body->key = key_of((int)rank);
    ck_assert(text_set(&body->address, "tcp://127.0.0.1:4001"));
    publish(bench, &event);
}

static void sibling_hello_of(struct bench *bench, const struct generation *generation,
                             const char *build, uint32_t world_size)
{
    struct message hello;
    struct public_key key = key_of(SIBLING);
    ck_assert_int_eq(message_init(&hello, MESSAGE_LINK, LINK_HELLO), STATUS_OK);
    struct hello *body = hello.body;
    body->actor = ACTOR_LAUNCHER;
    body->instance_id = bench->settings.instance_id;
    body->generation = *generation;
    body->rank = SIBLING;
    body->world_size = world_size;
    body->schema = schema_hash();
    ck_assert(text_set(&body->build, build));
    say(bench, &hello, LAUNCHER_LINK_BOUND, &key);
    message_fini(&hello);
}

static void sibling_hello(struct bench *bench, const char *build, uint32_t world_size)
{
    sibling_hello_of(bench, &bench->settings.generation, build, world_size);
}

static void welcome(struct bench *bench)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_WELCOME), STATUS_OK);
    MESSAGE_BODY(&message, welcome)->node_id.bytes[0] = 1;
    say(bench, &message, LAUNCHER_LINK_MASTER, NULL);
    message_fini(&message);
}

/* The master, why the rank was never started. */
static void expect_told(const struct bench *bench, const char *why)
{
    ck_assert_ptr_nonnull(strstr(bench->launcher->why, why));
    ck_assert(has_sent(bench, LAUNCHER_LINK_MASTER, MESSAGE_REPORT, REPORT_PROCESS_ENDED));
    ck_assert_uint_eq(bench->effects[EFFECT_RANK_START], 0);
}

/* The master takes all that was reported so far. */
static void answer_reports(struct bench *bench, enum status how)
{
    struct message answer;
    ck_assert_int_eq(message_init(&answer, MESSAGE_ANSWER, ANSWER_DONE), STATUS_OK);
    answer.head.incarnation = bench->settings.incarnation;
    answer.head.status = how;
    for (uint64_t sequence = 1; sequence <= bench->launcher->session.sequence; sequence++) {
        answer.head.sequence = sequence;
        say(bench, &answer, LAUNCHER_LINK_MASTER, NULL);
    }
    message_fini(&answer);
}

/* As far as the moment when only the sibling's hello is lacking. */
static void bring_to_addresses(struct bench *bench)
{
    step(bench, (struct input){.kind = INPUT_START});
    link_event(bench, INPUT_LINK_BOUND, LAUNCHER_LINK_BOUND);
    link_event(bench, INPUT_LINK_UP, LAUNCHER_LINK_MASTER);
    ck_assert(has_sent(bench, LAUNCHER_LINK_MASTER, MESSAGE_LINK, LINK_HELLO));
    welcome(bench);
    place(bench);
    ck_assert(has_sent(bench, LAUNCHER_LINK_MASTER, MESSAGE_REPORT, REPORT_RANK_ADDRESSED));
    address(bench, OWN);
    ck_assert_uint_eq(bench->effects[EFFECT_HOST_OPEN], 0);
    address(bench, SIBLING);
    ck_assert_uint_eq(bench->effects[EFFECT_HOST_OPEN], 1);
}

static void bring_to_meeting(struct bench *bench)
{
    bring_to_addresses(bench);
    link_event(bench, INPUT_LINK_UP, LAUNCHER_LINK_SIBLING + SIBLING);
    ck_assert(has_sent(bench, LAUNCHER_LINK_SIBLING + SIBLING, MESSAGE_LINK, LINK_HELLO));
    ck_assert_uint_eq(bench->effects[EFFECT_RANK_START], 0);
}

static void bring_to_running(struct bench *bench)
{
    bring_to_meeting(bench);
    sibling_hello(bench, "build-a", RANKS);
    ck_assert_uint_eq(bench->effects[EFFECT_RANK_START], 1);
    ck_assert_int_eq(bench->launcher->phase, LAUNCHER_STARTING);
}

static void child_ended(struct bench *bench, int32_t exit_code, int32_t signal)
{
    step(bench, (struct input){.kind = INPUT_CHILD_ENDED,
                               .child = {.id = 1, .exit_code = exit_code, .signal = signal}});
}

START_TEST(starts_its_rank_when_every_sibling_said_hello)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_running(&bench);
    bench_close(&bench);
}
END_TEST

START_TEST(a_sibling_of_another_build_starts_nothing)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_meeting(&bench);
    sibling_hello(&bench, "build-b", RANKS);
    expect_told(&bench, "the node of rank 1 runs build build-b, this one build-a");
    bench.now_ms += 10000;
    step(&bench, (struct input){.kind = INPUT_WAKE});
    ck_assert_int_eq(bench.exit_code, LAUNCHER_EXIT_FAILED);
    bench_close(&bench);
}
END_TEST

START_TEST(a_sibling_with_another_world_starts_nothing)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_meeting(&bench);
    sibling_hello(&bench, "build-a", RANKS + 1);
    expect_told(&bench, "the launcher of rank 1 counts 3 ranks, this one 2");
    bench_close(&bench);
}
END_TEST

START_TEST(a_sibling_that_never_comes_ends_the_wait)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_meeting(&bench);
    ck_assert_uint_le(bench.outbox.wake_ms, 1000 + 40000);
    bench.now_ms += 39999;
    step(&bench, (struct input){.kind = INPUT_WAKE});
    ck_assert_str_eq(bench.launcher->why, "");
    bench.now_ms += 1;
    step(&bench, (struct input){.kind = INPUT_WAKE});
    ck_assert_ptr_nonnull(strstr(bench.launcher->why, "not all launchers"));
    ck_assert_ptr_nonnull(strstr(bench.launcher->why, "that of rank 1 is missing"));
    bench_close(&bench);
}
END_TEST

/* What answers at its address is another, or nobody: the connection never is up. */
START_TEST(a_sibling_whose_address_leads_elsewhere_is_named_within_two_seconds)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_addresses(&bench);
    ck_assert_uint_le(bench.outbox.wake_ms, bench.now_ms + 2000);
    sibling_hello(&bench, "build-a", RANKS); /* it reaches us */
    bench.now_ms += 1999;
    step(&bench, (struct input){.kind = INPUT_WAKE});
    ck_assert_str_eq(bench.launcher->why, "");
    bench.now_ms += 1;
    step(&bench, (struct input){.kind = INPUT_WAKE});
    expect_told(&bench, "the launcher of rank 1 was not reached at tcp://127.0.0.1:4001 within "
                        "2000 ms");
    bench_close(&bench);
}
END_TEST

START_TEST(a_sibling_of_another_generation_starts_nothing)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_meeting(&bench);
    struct generation other = bench.settings.generation;
    other.counter++;
    sibling_hello_of(&bench, &other, "build-a", RANKS);
    expect_told(&bench, "the launcher of rank 1 is of another generation");
    bench_close(&bench);
}
END_TEST

START_TEST(a_rank_that_does_not_join_is_killed)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_running(&bench);
    bench.now_ms += 30000;
    step(&bench, (struct input){.kind = INPUT_WAKE});
    ck_assert_uint_eq(bench.effects[EFFECT_RANK_KILL], 1);
    child_ended(&bench, -1, 9);
    ck_assert(has_sent(&bench, LAUNCHER_LINK_MASTER, MESSAGE_REPORT, REPORT_PROCESS_ENDED));
    ck_assert(has_sent(&bench, LAUNCHER_LINK_SIBLING + SIBLING, MESSAGE_LINK, LINK_RANK_ENDED));
    bench_close(&bench);
}
END_TEST

START_TEST(a_rank_that_joined_is_left_alone)
{
    struct bench bench;
    struct message event;
    bench_open(&bench);
    bring_to_running(&bench);
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_RUNNER_STATUS_CHANGED), STATUS_OK);
    struct runner_status_changed *body = event.body;
    body->instance_id = bench.settings.instance_id;
    body->generation = bench.settings.generation;
    body->rank = OWN;
    body->status = RANK_JOINED;
    publish(&bench, &event);
    ck_assert_int_eq(bench.launcher->phase, LAUNCHER_RUNNING);
    bench.now_ms += 3600000;
    step(&bench, (struct input){.kind = INPUT_WAKE});
    ck_assert_uint_eq(bench.effects[EFFECT_RANK_KILL], 0);
    ck_assert_uint_eq(bench.effects[EFFECT_RANK_PING], 1);
    bench_close(&bench);
}
END_TEST

static void publish_status(struct bench *bench, uint32_t rank, enum rank_status status)
{
    struct message event;
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_RUNNER_STATUS_CHANGED), STATUS_OK);
    struct runner_status_changed *body = event.body;
    body->instance_id = bench->settings.instance_id;
    body->generation = bench->settings.generation;
    body->rank = rank;
    body->status = status;
    publish(bench, &event);
}

START_TEST(a_sibling_that_was_released_may_go)
{
    struct bench bench;
    struct message ended;
    struct public_key key = key_of(SIBLING);
    bench_open(&bench);
    bring_to_running(&bench);
    publish_status(&bench, OWN, RANK_READY);
    publish_status(&bench, SIBLING, RANK_RELEASED);
    link_event(&bench, INPUT_LINK_DOWN, LAUNCHER_LINK_SIBLING + SIBLING);
    ck_assert_int_eq(message_init(&ended, MESSAGE_LINK, LINK_RANK_ENDED), STATUS_OK);
    say(&bench, &ended, LAUNCHER_LINK_BOUND, &key);
    message_fini(&ended);
    bench.now_ms += 60000;
    step(&bench, (struct input){.kind = INPUT_WAKE});
    ck_assert_uint_eq(bench.effects[EFFECT_RANK_KILL], 0);
    ck_assert_int_eq(bench.launcher->phase, LAUNCHER_RUNNING);
    bench_close(&bench);
}
END_TEST

START_TEST(a_rank_that_was_released_ends_nobody_else)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_running(&bench);
    publish_status(&bench, OWN, RANK_RELEASED);
    child_ended(&bench, -1, 9);
    ck_assert(has_sent(&bench, LAUNCHER_LINK_MASTER, MESSAGE_REPORT, REPORT_PROCESS_ENDED));
    ck_assert(!has_sent(&bench, LAUNCHER_LINK_SIBLING + SIBLING, MESSAGE_LINK, LINK_RANK_ENDED));
    bench_close(&bench);
}
END_TEST

/* Beats once, then answers so many pings of a second each with nothing; a launcher that got no time
 * itself has asked fewer. */
static void expect_killed_after(struct bench *bench, unsigned pings, const char *when)
{
    bench->now_ms += 9000;
    step(bench, (struct input){.kind = INPUT_WAKE}); /* one ping after a long sleep */
    ck_assert_uint_eq(bench->effects[EFFECT_RANK_KILL], 0);
    step(bench, (struct input){.kind = INPUT_CHILD_BEAT});
    for (unsigned i = 0; i < pings; i++) {
        ck_assert_uint_eq(bench->effects[EFFECT_RANK_KILL], 0);
        bench->now_ms += 1000;
        step(bench, (struct input){.kind = INPUT_WAKE});
    }
    ck_assert_uint_eq(bench->effects[EFFECT_RANK_KILL], 0);
    bench->now_ms += 1;
    step(bench, (struct input){.kind = INPUT_WAKE});
    ck_assert_uint_eq(bench->effects[EFFECT_RANK_KILL], 1);
    ck_assert_ptr_nonnull(strstr(bench->launcher->why, when));
}

START_TEST(a_rank_that_answers_no_ping_is_killed)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_running(&bench);
    publish_status(&bench, OWN, RANK_READY);
    expect_killed_after(&bench, 4, "answered nothing for 4000 ms");
    bench_close(&bench);
}
END_TEST

START_TEST(a_rank_that_answers_no_ping_while_it_loads_is_killed_sooner)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_running(&bench);
    publish_status(&bench, OWN, RANK_LOADING);
    expect_killed_after(&bench, 3, "while it was loading");
    bench_close(&bench);
}
END_TEST

START_TEST(a_rank_that_shows_no_life_before_it_joined_is_killed_as_soon)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_running(&bench);
    expect_killed_after(&bench, 3, "before it had joined");
    bench_close(&bench);
}
END_TEST

START_TEST(a_sibling_away_for_two_seconds_is_lost_one_that_comes_back_is_not)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_running(&bench);
    link_event(&bench, INPUT_LINK_DOWN, LAUNCHER_LINK_SIBLING + SIBLING);
    bench.now_ms += 1999;
    step(&bench, (struct input){.kind = INPUT_WAKE});
    link_event(&bench, INPUT_LINK_UP, LAUNCHER_LINK_SIBLING + SIBLING);
    bench.now_ms += 1999;
    step(&bench, (struct input){.kind = INPUT_WAKE});
    ck_assert_uint_eq(bench.effects[EFFECT_RANK_KILL], 0);
    link_event(&bench, INPUT_LINK_DOWN, LAUNCHER_LINK_SIBLING + SIBLING);
    bench.now_ms += 2000;
    step(&bench, (struct input){.kind = INPUT_WAKE});
    ck_assert_uint_eq(bench.effects[EFFECT_RANK_KILL], 1);
    bench_close(&bench);
}
END_TEST

START_TEST(own_fence_blobs_are_repeated_to_a_sibling_that_connects_anew)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_running(&bench);
    char blob[] = "blob";
    struct pmix_host_event fence = {.kind = PMIX_HOST_FENCE, .sequence = 1, .signature = "*",
                                    .bytes = blob, .size = 4};
    struct result result = {.kind = RESULT_PMIX, .value = &fence};
    step(&bench, (struct input){.kind = INPUT_RESULT, .result = &result});
    uint32_t link = LAUNCHER_LINK_SIBLING + SIBLING;
    ck_assert(has_sent(&bench, link, MESSAGE_LINK, LINK_FENCE_CONTRIBUTED));
    link_event(&bench, INPUT_LINK_DOWN, link);
    link_event(&bench, INPUT_LINK_UP, link);
    ck_assert(has_sent(&bench, link, MESSAGE_LINK, LINK_HELLO));
    ck_assert(has_sent(&bench, link, MESSAGE_LINK, LINK_FENCE_CONTRIBUTED));
    bench_close(&bench);
}
END_TEST

START_TEST(passes_the_end_of_its_rank_on_and_ends_like_it)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_running(&bench);
    child_ended(&bench, -1, 11);
    ck_assert(has_sent(&bench, LAUNCHER_LINK_MASTER, MESSAGE_REPORT, REPORT_PROCESS_ENDED));
    ck_assert_int_eq(bench.exit_code, -1);
    answer_reports(&bench, STATUS_OK);
    ck_assert_int_eq(bench.exit_code, 128 + 11);
    bench_close(&bench);
}
END_TEST

START_TEST(a_refused_report_ends_it)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_running(&bench);
    answer_reports(&bench, STATUS_STALE);
    ck_assert_uint_eq(bench.effects[EFFECT_RANK_KILL], 1);
    ck_assert_ptr_nonnull(strstr(bench.launcher->why, "the master refuses"));
    bench_close(&bench);
}
END_TEST

/* What comes before the whole state is told anew is passed over: one hello, however many come. */
START_TEST(says_hello_once_when_events_are_missing)
{
    struct bench bench;
    struct message event;
    unsigned hellos = 0;
    bench_open(&bench);
    bring_to_running(&bench);
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_INSTANCE_DELETED), STATUS_OK);
    for (unsigned i = 0; i < 3; i++) {
        event.head.index = bench.state.index + 2 + i;
        say(&bench, &event, LAUNCHER_LINK_MASTER, NULL);
        hellos += has_sent(&bench, LAUNCHER_LINK_MASTER, MESSAGE_LINK, LINK_HELLO);
    }
    message_fini(&event);
    ck_assert_uint_eq(hellos, 1);
    ck_assert_uint_eq(bench.effects[EFFECT_RANK_KILL], 0);
    bench_close(&bench);
}
END_TEST

START_TEST(a_stranger_on_the_bound_link_is_not_heard)
{
    struct bench bench;
    struct message ended;
    struct public_key stranger = key_of(9);
    bench_open(&bench);
    bring_to_running(&bench);
    ck_assert_int_eq(message_init(&ended, MESSAGE_LINK, LINK_RANK_ENDED), STATUS_OK);
    say(&bench, &ended, LAUNCHER_LINK_BOUND, &stranger);
    ck_assert_uint_eq(bench.effects[EFFECT_RANK_KILL], 0);
    struct public_key sibling = key_of(SIBLING);
    say(&bench, &ended, LAUNCHER_LINK_BOUND, &sibling);
    ck_assert_uint_eq(bench.effects[EFFECT_RANK_KILL], 1);
    message_fini(&ended);
    bench_close(&bench);
}
END_TEST

START_TEST(stop_is_gentle_first)
{
    struct bench bench;
    bench_open(&bench);
    bring_to_running(&bench);
    step(&bench, (struct input){.kind = INPUT_STOP});
    ck_assert_uint_eq(bench.effects[EFFECT_RANK_STOP], 1);
    ck_assert_uint_eq(bench.effects[EFFECT_RANK_KILL], 0);
    bench.now_ms += 1000;
    step(&bench, (struct input){.kind = INPUT_WAKE});
    ck_assert_uint_eq(bench.effects[EFFECT_RANK_KILL], 1);
    child_ended(&bench, -1, 9);
    bench.now_ms += 1000;
    step(&bench, (struct input){.kind = INPUT_WAKE});
    ck_assert_int_eq(bench.exit_code, 0);
    bench_close(&bench);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("launcher");
    const TTest *const tests[] = {
        starts_its_rank_when_every_sibling_said_hello,
        a_sibling_of_another_build_starts_nothing,
        a_sibling_with_another_world_starts_nothing,
        a_sibling_that_never_comes_ends_the_wait,
        a_sibling_whose_address_leads_elsewhere_is_named_within_two_seconds,
        a_sibling_of_another_generation_starts_nothing,
        a_rank_that_does_not_join_is_killed,
        a_rank_that_joined_is_left_alone,
                                  a_sibling_that_was_released_may_go,
                                  a_rank_that_was_released_ends_nobody_else,
        a_rank_that_answers_no_ping_is_killed,
        a_rank_that_answers_no_ping_while_it_loads_is_killed_sooner,
        a_rank_that_shows_no_life_before_it_joined_is_killed_as_soon,
        a_sibling_away_for_two_seconds_is_lost_one_that_comes_back_is_not,
        own_fence_blobs_are_repeated_to_a_sibling_that_connects_anew,
        passes_the_end_of_its_rank_on_and_ends_like_it,
        a_refused_report_ends_it,
        says_hello_once_when_events_are_missing,
        a_stranger_on_the_bound_link_is_not_heard,
        stop_is_gentle_first};
    suite_add(suite, "launcher", tests, COUNT_OF(tests));
    return suite;
}
