/* SPDX-License-Identifier: Apache-2.0 */
/* The runner's step, fed by hand: master, gateways, siblings, engine thread and time are the
 * test's. */
#include "actors/runner/rank_memory.h"
#include "actors/runner/runner.h"

#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/step_bench.h"

#include <stdio.h>
#include <string.h>

enum { GATEWAY = 50, STRANGER = 60 };

static struct step_bench bench;
static struct runner_settings settings;
static struct node_id node_id;
static struct state state;

static struct public_key key_of(int number)
{
    struct public_key key;
    memset(key.bytes, number + 1, sizeof(key.bytes));
    return key;
}

static struct instance_record *instance(void)
{
    return &state.instances.items[0];
}

static void add_gateway(int number)
{
    struct endpoint_record *endpoint = record_list_push(
        &endpoint_record_type, RECORD_LIST(state.endpoints), NULL, ENDPOINT_COUNT_MAX);
    ck_assert_ptr_nonnull(endpoint);
    endpoint->node_id = node_id;
    endpoint->actor = ACTOR_GATEWAY;
    endpoint->key = key_of(number);
}

static void open_runner(uint32_t rank, uint32_t ranks, enum sharding sharding)
{
    memset(&settings, 0, sizeof(settings));
    memset(&node_id, 3, sizeof(node_id));
    memset(&settings.instance_id, 7, sizeof(settings.instance_id));
    settings.generation = (struct generation){.epoch = 2, .counter = 5};
    settings.rank = rank;
    settings.requests_waiting = 40;
    settings.session = (struct session_settings){.actor = ACTOR_RUNNER,
                                                 .incarnation = 9,
                                                 .key = key_of((int)rank),
                                                 .build = "test",
                                                 .wants_events = true};
    (void)snprintf(settings.bind, sizeof(settings.bind), "tcp://127.0.0.1:0");
    state_init(&state);
    struct node_record *node =
        record_list_push(&node_record_type, RECORD_LIST(state.nodes), NULL, NODE_COUNT_MAX);
    ck_assert_ptr_nonnull(node);
    node->node_id = node_id;
    add_gateway(GATEWAY);
    struct instance_record *placed = record_list_push(
        &instance_record_type, RECORD_LIST(state.instances), NULL, INSTANCE_COUNT_MAX);
    ck_assert_ptr_nonnull(placed);
    placed->instance_id = settings.instance_id;
    placed->generation = settings.generation;
    placed->sharding = sharding;
    placed->mode = MODE_EXACT;
    placed->context = 512;
    ck_assert(text_set(&placed->model_id, "m"));
    for (uint32_t i = 0; i < ranks; i++) {
        struct rank_record *record =
            record_list_push(&rank_record_type, RECORD_LIST(placed->ranks), NULL, RANK_COUNT_MAX);
        ck_assert_ptr_nonnull(record);
        record->node_id = node_id;
        record->weight_bytes = 1000;
    }
    step_bench_open(&bench, &runner_ops, &settings);
    bench_feed(&bench, (struct input){.kind = INPUT_START});
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_BOUND,
                                      .peer = peer_of_link(RUNNER_LINK_BOUND),
                                      .endpoint = "tcp://127.0.0.1:4000"});
    if (rank == 0)
        bench_feed(&bench, (struct input){.kind = INPUT_LINK_BOUND,
                                          .peer = peer_of_link(RUNNER_LINK_GATEWAYS),
                                          .endpoint = "tcp://127.0.0.1:4009"});
    bench_welcome(&bench, &node_id);
    bench_state(&bench, &state);
}

static void close_runner(void)
{
    step_bench_close(&bench);
    state_fini(&state);
}

/* Every rank has told its address. */
static void address_all(void)
{
    for (uint32_t i = 0; i < instance()->ranks.count; i++) {
        instance()->ranks.items[i].runner_key = key_of((int)i);
        ck_assert(text_set(&instance()->ranks.items[i].runner_address, "tcp://127.0.0.1:4001"));
    }
    bench_state(&bench, &state);
}

static void result(uint32_t kind, uint64_t id, void *value, void (*value_free)(void *))
{
    const struct effect effect = {.id = id, .kind = kind};
    bench_result(&bench, &effect, STATUS_OK, "", value, value_free);
    ck_assert_int_eq(bench.failed, STATUS_OK);
}

static void engine_says(enum rank_status status, const char *sentence)
{
    struct rank_status_told *told = memory_zeroed(1, sizeof(*told));
    ck_assert_ptr_nonnull(told);
    told->status = status;
    (void)snprintf(told->reason.text, sizeof(told->reason.text), "%s", sentence);
    result(RESULT_RANK_STATUS, 0, told, memory_free);
}

static void make_ready(void)
{
    engine_says(RANK_JOINED, "");
    engine_says(RANK_LOADING, "");
    engine_says(RANK_LOADED, "");
    engine_says(RANK_READY, "");
}

static struct peer peer_of(int key)
{
    struct peer peer = {.link = key < GATEWAY ? RUNNER_LINK_BOUND : RUNNER_LINK_GATEWAYS,
                        .route_size = 5,
                        .key = key_of(key)};
    peer.route[0] = (uint8_t)key;
    return peer;
}

static void ask(int gateway, uint8_t request, uint32_t attempt)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_GENERATE), STATUS_OK);
    struct generate *body = message.body;
    body->request_id.bytes[0] = request;
    body->attempt = attempt;
    ck_assert(text_set(&body->prompt, "x"));
    bench_message(&bench, peer_of(gateway), &message);
}

static void cancel(int gateway, uint8_t request, uint32_t attempt)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_CANCEL_GENERATION), STATUS_OK);
    struct cancel_generation *body = message.body;
    body->request_id.bytes[0] = request;
    body->attempt = attempt;
    bench_message(&bench, peer_of(gateway), &message);
}

static void beat_of(int gateway)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_SIGNAL, SIGNAL_HEARTBEAT), STATUS_OK);
    bench_message(&bench, peer_of(gateway), &message);
}

static void word(uint64_t number, uint32_t code)
{
    struct message *message = memory_zeroed(1, sizeof(*message));
    ck_assert_ptr_nonnull(message);
    ck_assert_int_eq(message_init(message, MESSAGE_LINK, code), STATUS_OK);
    result(RESULT_REQUEST_WORD, number, message, runner_message_free);
}

static const struct runner_status_changed *last_status(void)
{
    const struct message *report =
        bench_sent(&bench, MESSAGE_REPORT, REPORT_RUNNER_STATUS_CHANGED);
    ck_assert_ptr_nonnull(report);
    return MESSAGE_BODY(report, runner_status_changed);
}

/* The master has made events of all reports: they are not sent again. */
static void answer_reports(void)
{
    for (uint64_t sequence = 1; sequence <= 16; sequence++) {
        struct message answer;
        ck_assert_int_eq(message_init(&answer, MESSAGE_ANSWER, ANSWER_DONE), STATUS_OK);
        answer.head.incarnation = settings.session.incarnation;
        answer.head.sequence = sequence;
        bench_message(&bench, peer_of_link(SESSION_LINK), &answer);
    }
    step_bench_forget(&bench);
}

static bool has_failed(void)
{
    const struct message *report =
        bench_sent(&bench, MESSAGE_REPORT, REPORT_RUNNER_STATUS_CHANGED);
    return report && MESSAGE_BODY(report, runner_status_changed)->status == RANK_FAILED;
}

/* ---- beginning ---- */

START_TEST(reports_its_address_and_begins)
{
    open_runner(0, 1, SHARDING_NONE);
    const struct message *report = bench_sent(&bench, MESSAGE_REPORT, REPORT_RANK_ADDRESSED);
    ck_assert_ptr_nonnull(report);
    const struct rank_addressed *body = MESSAGE_BODY(report, rank_addressed);
    ck_assert_str_eq(body->address, "tcp://127.0.0.1:4000");
    ck_assert_str_eq(body->gateway_address, "tcp://127.0.0.1:4009");
    ck_assert(ID_EQUAL(body->key, settings.session.key));
    ck_assert_uint_eq(body->actor, ACTOR_RUNNER);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_REPORT, REPORT_RANK_ADDRESSED), 1);
    ck_assert_uint_eq(bench_effect_count(&bench, EFFECT_ENGINE_START), 1);
    const struct engine_start *start = bench_effect(&bench, EFFECT_ENGINE_START)->request;
    ck_assert_uint_eq(start->rank, 0);
    ck_assert_str_eq(start->instance.model_id, "m");
    bench_state(&bench, &state); /* told again: nothing is done twice */
    ck_assert_uint_eq(bench_effect_count(&bench, EFFECT_ENGINE_START), 1);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_REPORT, REPORT_RANK_ADDRESSED), 1);
    close_runner();
}
END_TEST

/* The last list set for this link. */
static const struct outbox_item *allowed_on(uint32_t link)
{
    for (size_t i = bench.link_count; i-- > 0;)
        if (bench.links[i].kind == OUTBOX_LINK_ALLOW && bench.links[i].peer.link == link)
            return &bench.links[i];
    return NULL;
}

START_TEST(allows_gateways_of_members_and_its_siblings)
{
    open_runner(0, 2, SHARDING_PIPELINE);
    const struct outbox_item *allow = allowed_on(RUNNER_LINK_GATEWAYS);
    ck_assert_ptr_nonnull(allow);
    ck_assert_uint_eq(allow->key_count, 1);
    struct public_key gateway = key_of(GATEWAY);
    ck_assert(ID_EQUAL(allow->keys[0], gateway));
    ck_assert_ptr_null(allowed_on(RUNNER_LINK_BOUND));
    address_all();
    allow = allowed_on(RUNNER_LINK_BOUND);
    ck_assert_ptr_nonnull(allow);
    ck_assert_uint_eq(allow->key_count, 1);
    struct public_key sibling = key_of(1);
    ck_assert(ID_EQUAL(allow->keys[0], sibling));
    const size_t links = bench.link_count;
    bench_state(&bench, &state); /* nothing changed: nothing is said */
    ck_assert_uint_eq(bench.link_count, links);
    memset(&state.endpoints.items[0].node_id, 99, sizeof(node_id)); /* of no member */
    bench_state(&bench, &state);
    ck_assert_uint_eq(allowed_on(RUNNER_LINK_GATEWAYS)->key_count, 0);
    ck_assert_uint_eq(bench.link_count, links + 1); /* the siblings' socket is left alone */
    close_runner();
}
END_TEST

static unsigned links_opened(uint32_t link)
{
    unsigned count = 0;
    for (size_t i = 0; i < bench.link_count; i++)
        count += bench.links[i].kind == OUTBOX_LINK_OPEN && bench.links[i].peer.link == link;
    return count;
}

START_TEST(connects_to_those_it_sends_to)
{
    open_runner(1, 3, SHARDING_PIPELINE);
    ck_assert_uint_eq(links_opened(RUNNER_LINK_SIBLING + 2), 0);
    address_all();
    address_all();
    ck_assert_uint_eq(links_opened(RUNNER_LINK_SIBLING + 2), 1); /* the next stage, once */
    ck_assert_uint_eq(links_opened(RUNNER_LINK_SIBLING), 0);
    close_runner();
    open_runner(2, 3, SHARDING_PIPELINE); /* the last closes the ring */
    address_all();
    ck_assert_uint_eq(links_opened(RUNNER_LINK_SIBLING), 1);
    close_runner();
    open_runner(0, 3, SHARDING_TENSOR); /* rank 0 opens busy periods of all */
    address_all();
    ck_assert_uint_eq(links_opened(RUNNER_LINK_SIBLING + 1), 1);
    ck_assert_uint_eq(links_opened(RUNNER_LINK_SIBLING + 2), 1);
    close_runner();
    open_runner(1, 3, SHARDING_TENSOR); /* the others only listen */
    address_all();
    ck_assert_uint_eq(links_opened(RUNNER_LINK_SIBLING) + links_opened(RUNNER_LINK_SIBLING + 2), 0);
    close_runner();
}
END_TEST

static void sibling_link(uint32_t rank, enum input_kind kind)
{
    bench_feed(&bench, (struct input){.kind = kind,
                                      .peer = peer_of_link(RUNNER_LINK_SIBLING + rank)});
    ck_assert_int_eq(bench.failed, STATUS_OK);
}

START_TEST(sends_the_canary_when_all_are_loaded_and_connected)
{
    open_runner(0, 2, SHARDING_PIPELINE);
    address_all();
    engine_says(RANK_JOINED, "");
    ck_assert_uint_eq(bench.ready_count, 1);
    engine_says(RANK_LOADED, "");
    ck_assert_uint_eq(bench_effect_count(&bench, EFFECT_ENGINE_CANARY), 0);
    sibling_link(1, INPUT_LINK_UP);
    ck_assert_uint_eq(bench_effect_count(&bench, EFFECT_ENGINE_CANARY), 0);
    instance()->ranks.items[1].status = RANK_LOADED;
    bench_state(&bench, &state);
    ck_assert_uint_eq(bench_effect_count(&bench, EFFECT_ENGINE_CANARY), 1);
    bench_state(&bench, &state);
    ck_assert_uint_eq(bench_effect_count(&bench, EFFECT_ENGINE_CANARY), 1);
    close_runner();
    open_runner(1, 2, SHARDING_PIPELINE); /* only rank 0 sends it */
    address_all();
    instance()->ranks.items[0].status = RANK_LOADED;
    bench_state(&bench, &state);
    sibling_link(0, INPUT_LINK_UP);
    engine_says(RANK_LOADED, "");
    ck_assert_uint_eq(bench_effect_count(&bench, EFFECT_ENGINE_CANARY), 0);
    close_runner();
}
END_TEST

START_TEST(reports_each_status_and_exits_after_a_failure)
{
    open_runner(0, 1, SHARDING_NONE);
    make_ready();
    ck_assert_uint_eq(last_status()->status, RANK_READY);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_REPORT, REPORT_RUNNER_STATUS_CHANGED), 4);
    engine_says(RANK_FAILED, "the disk burns");
    ck_assert_uint_eq(last_status()->status, RANK_FAILED);
    ck_assert_str_eq(last_status()->reason, "the disk burns");
    ck_assert(!bench.has_exited); /* the report is on its way */
    engine_says(RANK_READY, "");  /* too late */
    ck_assert_uint_eq(last_status()->status, RANK_FAILED);
    bench_pass(&bench, 1100);
    ck_assert(bench.has_exited);
    close_runner();
}
END_TEST

START_TEST(exits_when_its_generation_is_over)
{
    open_runner(0, 1, SHARDING_NONE);
    instance()->generation.counter++;
    bench_state(&bench, &state);
    ck_assert(bench.has_exited);
    close_runner();
    open_runner(0, 1, SHARDING_NONE);
    instance()->status = INSTANCE_WAITING;
    bench_state(&bench, &state);
    ck_assert(bench.has_exited);
    close_runner();
    open_runner(0, 1, SHARDING_NONE);
    record_list_remove(&instance_record_type, RECORD_LIST(state.instances), 0);
    bench_state(&bench, &state);
    ck_assert(bench.has_exited);
    close_runner();
}
END_TEST

/* ---- requests ---- */

static unsigned submitted(void)
{
    return bench_effect_count(&bench, EFFECT_ENGINE_SUBMIT);
}

static unsigned cancelled(void)
{
    return bench_effect_count(&bench, EFFECT_ENGINE_CANCEL);
}

/* The next placement shall know before it is made. */
START_TEST(tells_what_the_disk_has_not_before_it_fails)
{
    open_runner(0, 1, SHARDING_NONE);
    struct rank_status_told *told = memory_zeroed(1, sizeof(*told));
    ck_assert_ptr_nonnull(told);
    *told = (struct rank_status_told){.status = RANK_FAILED,
                                      .reason = {"model.safetensors is gone"},
                                      .is_holding_lost = true,
                                      .has_small_files = true,
                                      .held = {5},
                                      .held_size = 1};
    result(RESULT_RANK_STATUS, 0, told, memory_free);
    const struct message *lost = bench_sent(&bench, MESSAGE_REPORT, REPORT_HOLDING_CHANGED);
    const struct message *failed =
        bench_sent(&bench, MESSAGE_REPORT, REPORT_RUNNER_STATUS_CHANGED);
    ck_assert(lost && failed);
    ck_assert_uint_lt(lost->head.sequence, failed->head.sequence);
    ck_assert_str_eq(MESSAGE_BODY(lost, holding_changed)->model_id, instance()->model_id);
    ck_assert(MESSAGE_BODY(lost, holding_changed)->has_small_files);
    ck_assert(!MESSAGE_BODY(lost, holding_changed)->has_weights);
    ck_assert_uint_eq(MESSAGE_BODY(lost, holding_changed)->held.count, 1);
    ck_assert_uint_eq(MESSAGE_BODY(lost, holding_changed)->held.items[0], 5);
    ck_assert_str_eq(MESSAGE_BODY(failed, runner_status_changed)->reason,
                     "model.safetensors is gone");
    close_runner();
    open_runner(0, 1, SHARDING_NONE); /* what fails for another reason says nothing of the disk */
    engine_says(RANK_FAILED, "no memory");
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_REPORT, REPORT_HOLDING_CHANGED), 0);
    close_runner();
}
END_TEST

START_TEST(refuses_requests_until_it_is_ready)
{
    open_runner(0, 1, SHARDING_NONE);
    engine_says(RANK_LOADED, "");
    ask(GATEWAY, 1, 1);
    ck_assert_uint_eq(submitted(), 0);
    const struct message *answer = bench_sent(&bench, MESSAGE_LINK, LINK_GENERATION_REFUSED);
    ck_assert_ptr_nonnull(answer);
    ck_assert_uint_eq(MESSAGE_BODY(answer, generation_refused)->status, STATUS_NOT_READY);
    engine_says(RANK_READY, "");
    ask(GATEWAY, 1, 2);
    ck_assert_uint_eq(submitted(), 1);
    close_runner();
    open_runner(1, 2, SHARDING_PIPELINE); /* only rank 0 serves */
    make_ready();
    ask(GATEWAY, 1, 1);
    ck_assert_uint_eq(submitted(), 0);
    close_runner();
}
END_TEST

START_TEST(keeps_the_newest_attempt_only)
{
    open_runner(0, 1, SHARDING_NONE);
    make_ready();
    ask(GATEWAY, 1, 2);
    const uint64_t first = bench_effect(&bench, EFFECT_ENGINE_SUBMIT)->id;
    ask(GATEWAY, 1, 2); /* the same again */
    ask(GATEWAY, 1, 1); /* an older one, late */
    ck_assert_uint_eq(submitted(), 1);
    ask(GATEWAY, 1, 3);
    ck_assert_uint_eq(submitted(), 2);
    ck_assert_uint_eq(cancelled(), 1);
    ck_assert_uint_eq(bench_effect(&bench, EFFECT_ENGINE_CANCEL)->id, first);
    const uint64_t second = bench_effect(&bench, EFFECT_ENGINE_SUBMIT)->id;
    word(first, LINK_TOKEN_STREAMED); /* what the old one still says goes nowhere */
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_LINK, LINK_TOKEN_STREAMED), 0);
    word(second, LINK_TOKEN_STREAMED);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_LINK, LINK_TOKEN_STREAMED), 1);
    cancel(GATEWAY, 1, 2); /* of an older attempt: not of this one */
    cancel(STRANGER, 1, 3);
    ck_assert_uint_eq(cancelled(), 1);
    cancel(GATEWAY, 1, 3);
    ck_assert_uint_eq(cancelled(), 2);
    close_runner();
}
END_TEST

START_TEST(forgets_a_request_with_its_last_word)
{
    open_runner(0, 1, SHARDING_NONE);
    make_ready();
    ask(GATEWAY, 1, 1);
    const uint64_t number = bench_effect(&bench, EFFECT_ENGINE_SUBMIT)->id;
    word(number, LINK_GENERATION_ACCEPTED);
    word(number, LINK_GENERATION_FINISHED);
    word(number, LINK_TOKEN_STREAMED);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_LINK, LINK_TOKEN_STREAMED), 0);
    bench_pass(&bench, 10000); /* nobody is missed */
    ck_assert_uint_eq(cancelled(), 0);
    close_runner();
}
END_TEST

START_TEST(drops_the_requests_of_a_gateway_that_is_silent_or_gone)
{
    open_runner(0, 1, SHARDING_NONE);
    add_gateway(GATEWAY + 1);
    bench_state(&bench, &state);
    make_ready();
    ask(GATEWAY, 1, 1);
    ask(GATEWAY + 1, 2, 1);
    for (unsigned i = 0; i < 3; i++) {
        bench_pass(&bench, 1000);
        beat_of(GATEWAY + 1);
    }
    ck_assert_uint_eq(cancelled(), 1);
    ck_assert_uint_eq(bench_effect(&bench, EFFECT_ENGINE_CANCEL)->id, 1);
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_DOWN, .peer = peer_of(GATEWAY + 1)});
    ck_assert_uint_eq(cancelled(), 2);
    ask(GATEWAY, 3, 1);
    bench_feed(&bench, (struct input){.kind = INPUT_SEND_FAILED, .peer = peer_of(GATEWAY),
                                      .status = STATUS_BUSY}); /* a token is lost */
    ck_assert_uint_eq(cancelled(), 3);
    close_runner();
}
END_TEST

/* One gateway after another asks and falls silent, without a word of its connection's end. */
START_TEST(silent_gateways_leave_their_places)
{
    open_runner(0, 1, SHARDING_NONE);
    make_ready();
    for (int i = 0; i < 2 * NODE_COUNT_MAX; i++) {
        ask(GATEWAY + i, (uint8_t)(i + 1), 1);
        bench.now_ms += RUNNER_GATEWAY_SILENT_MS;
        beat_of(STRANGER + 2 * NODE_COUNT_MAX); /* time passes with any message */
        ck_assert_uint_eq(cancelled(), 1);
        step_bench_forget(&bench);
    }
    ask(GATEWAY, 200, 1); /* a table that had filled would drop it here */
    beat_of(GATEWAY);
    ck_assert_uint_eq(cancelled(), 0);
    close_runner();
}
END_TEST

/* What a gateway may send on the siblings' socket, if ever it came there, is not heard. */
START_TEST(gateways_are_heard_on_their_own_socket_only)
{
    open_runner(0, 2, SHARDING_PIPELINE);
    address_all();
    make_ready();
    ask(1, 1, 1);
    ck_assert_uint_eq(bench_effect_count(&bench, EFFECT_ENGINE_SUBMIT), 0);
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_BOUND, /* bound again */
                                      .peer = peer_of_link(RUNNER_LINK_GATEWAYS),
                                      .endpoint = "tcp://127.0.0.1:4009"});
    bench_feed(&bench, (struct input){.kind = INPUT_LINK_DOWN, .peer = peer_of(GATEWAY)});
    ck_assert(!has_failed());
    ask(GATEWAY, 1, 1);
    ck_assert_uint_eq(bench_effect_count(&bench, EFFECT_ENGINE_SUBMIT), 1);
    close_runner();
}
END_TEST

START_TEST(refuses_more_requests_than_it_keeps)
{
    open_runner(0, 1, SHARDING_NONE);
    make_ready();
    for (unsigned i = 0; i < settings.requests_waiting; i++) {
        struct message message;
        ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_GENERATE), STATUS_OK);
        struct generate *body = message.body;
        body->request_id.bytes[0] = (uint8_t)i;
        body->request_id.bytes[1] = (uint8_t)(i >> 8) + 1;
        bench_message(&bench, peer_of(GATEWAY), &message);
        step_bench_forget(&bench);
    }
    ask(GATEWAY, 9, 1);
    const struct message *answer = bench_sent(&bench, MESSAGE_LINK, LINK_GENERATION_REFUSED);
    ck_assert_ptr_nonnull(answer);
    ck_assert_uint_eq(MESSAGE_BODY(answer, generation_refused)->status, STATUS_BUSY);
    ck_assert_ptr_nonnull(
        strstr(MESSAGE_BODY(answer, generation_refused)->reason, "requests_waiting"));
    ck_assert_uint_eq(bench_effect_count(&bench, EFFECT_ENGINE_SUBMIT), 0);
    word(3, LINK_GENERATION_FINISHED); /* one is over: the next is taken */
    ask(GATEWAY, 9, 2);
    ck_assert_uint_eq(bench_effect_count(&bench, EFFECT_ENGINE_SUBMIT), 1);
    close_runner();
}
END_TEST

/* ---- siblings ---- */

static void send_step(int key)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_LINK, LINK_STEP_PLANNED), STATUS_OK);
    bench_message(&bench, peer_of(key), &message);
}

START_TEST(takes_steps_of_siblings_only)
{
    open_runner(1, 2, SHARDING_TENSOR);
    address_all();
    send_step(GATEWAY);
    ck_assert_uint_eq(bench_effect_count(&bench, EFFECT_ENGINE_STEP), 0);
    send_step(0);
    ck_assert_uint_eq(bench_effect_count(&bench, EFFECT_ENGINE_STEP), 1);
    close_runner();
}
END_TEST

START_TEST(fails_when_a_sibling_cannot_be_reached)
{
    open_runner(0, 2, SHARDING_PIPELINE);
    address_all();
    sibling_link(1, INPUT_LINK_UP);
    engine_says(RANK_LOADED, "");
    sibling_link(1, INPUT_LINK_DOWN); /* nothing was said yet: it may come back */
    ck_assert_uint_eq(last_status()->status, RANK_LOADED);
    sibling_link(1, INPUT_LINK_UP);
    struct sibling_word *step = memory_zeroed(1, sizeof(*step));
    ck_assert_ptr_nonnull(step);
    step->rank = RANK_COUNT_MAX;
    ck_assert_int_eq(message_init(&step->message, MESSAGE_LINK, LINK_STEP_PLANNED), STATUS_OK);
    const struct effect effect = {.kind = RESULT_SIBLING_WORD};
    bench_result(&bench, &effect, STATUS_OK, "", step, NULL);
    message_fini(&step->message);
    memory_free(step);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_LINK, LINK_STEP_PLANNED), 1);
    sibling_link(1, INPUT_LINK_DOWN);
    ck_assert_uint_eq(last_status()->status, RANK_FAILED);
    ck_assert_ptr_nonnull(strstr(last_status()->reason, "rank 1"));
    close_runner();
    open_runner(0, 2, SHARDING_PIPELINE);
    address_all();
    make_ready();
    bench_feed(&bench, (struct input){.kind = INPUT_SEND_FAILED, .status = STATUS_BUSY,
                                      .peer = peer_of_link(RUNNER_LINK_SIBLING + 1)});
    ck_assert_uint_eq(last_status()->status, RANK_FAILED);
    close_runner();
}
END_TEST

/* ---- the engine thread's lease ---- */

/* Passes the time to the next look and answers it, if there was one. */
static bool answer_look(struct engine_beat beat)
{
    step_bench_forget(&bench);
    bench_pass(&bench, RUNNER_LOOK_MS);
    if (bench_effect_count(&bench, EFFECT_ENGINE_LOOK) == 0)
        return false;
    struct engine_beat *value = memory_copied(&beat, sizeof(beat));
    ck_assert_ptr_nonnull(value);
    result(RESULT_ENGINE_BEAT, 0, value, memory_free);
    return true;
}

/* Whoever is to hold back does so from the first token on. */
START_TEST(says_that_it_computes_when_it_begins)
{
    open_runner(0, 1, SHARDING_NONE);
    make_ready();
    answer_reports();
    while (answer_look((struct engine_beat){.is_busy = false}))
        ;
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_SIGNAL, SIGNAL_HEARTBEAT), 0);
    ask(GATEWAY, 1, 1);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_SIGNAL, SIGNAL_HEARTBEAT), 1);
    close_runner();
}
END_TEST

START_TEST(ends_an_engine_that_gets_nowhere)
{
    open_runner(0, 1, SHARDING_NONE);
    make_ready();
    answer_reports();
    ask(GATEWAY, 1, 1);
    struct engine_beat beat = {.is_busy = true, .marks = 4, .entered = 12, .finished = 12};
    for (unsigned i = 0; i < 100; i++) { /* as long as anything moves */
        beat.marks += i % 3 == 0;
        ck_assert(answer_look(beat));
        ck_assert(!has_failed());
    }
    const struct message *signal = bench_sent(&bench, MESSAGE_SIGNAL, SIGNAL_HEARTBEAT);
    ck_assert_ptr_nonnull(signal);
    ck_assert_uint_eq(MESSAGE_BODY(signal, heartbeat)->entered, 12);
    ck_assert_uint_eq(MESSAGE_BODY(signal, heartbeat)->finished, 12);
    bench.now_ms += 3600000; /* the machine slept: that is no lease */
    unsigned looks = 0;
    for (; !has_failed(); looks++) {
        ck_assert_uint_lt(looks, 2 * RUNNER_STILL_MS / RUNNER_LOOK_MS);
        beat.spent_ns++; /* it computes, and comes to nothing */
        ck_assert(answer_look(beat));
    }
    ck_assert_uint_ge(looks, RUNNER_STILL_MS / RUNNER_LOOK_MS);
    ck_assert_uint_eq(last_status()->status, RANK_FAILED);
    ck_assert_ptr_nonnull(strstr(last_status()->reason, "stuck in its own work for 30 s"));
    ck_assert_ptr_nonnull(strstr(last_status()->reason, "finished 12"));
    bench_pass(&bench, 1500);
    ck_assert(bench.has_exited);
    close_runner();
}
END_TEST

/* Ends once `moves`, which is in `beat`, stood still for the limit, and not while it is slow. */
static void check_short_lease(struct engine_beat *beat, uint64_t *moves, uint64_t limit_ms,
                              const char *said)
{
    open_runner(0, 1, SHARDING_NONE);
    make_ready();
    answer_reports();
    ask(GATEWAY, 1, 1);
    for (unsigned i = 0; i < 100; i++) {
        *moves += i % 3 == 0;
        beat->marks++;
        ck_assert(answer_look(*beat));
        ck_assert(!has_failed());
    }
    for (unsigned looks = 0; !has_failed(); looks++) {
        ck_assert_uint_le(looks * RUNNER_LOOK_MS, limit_ms);
        beat->marks++;
        ck_assert(answer_look(*beat));
    }
    ck_assert_ptr_nonnull(strstr(last_status()->reason, said));
    close_runner();
}

/* Whatever else goes on: what others send may still come while the own disk stalls. */
START_TEST(ends_an_engine_whose_disk_stalls)
{
    struct engine_beat beat = {.is_busy = true, .file = "model-00002-of-00003.safetensors"};
    check_short_lease(&beat, &beat.reads, RUNNER_READ_STILL_MS, beat.file);
}
END_TEST

START_TEST(ends_an_engine_that_carries_no_weights_while_it_should)
{
    struct engine_beat beat = {.is_busy = true, .is_turning = true};
    check_short_lease(&beat, &beat.turns, RUNNER_TURN_STILL_MS, "carried no weights for 3000 ms");
}
END_TEST

START_TEST(looks_no_more_at_an_idle_engine)
{
    open_runner(0, 1, SHARDING_NONE);
    make_ready();
    answer_reports();
    ck_assert(answer_look((struct engine_beat){.is_busy = true}));
    ck_assert(answer_look((struct engine_beat){.is_busy = false}));
    ck_assert(answer_look((struct engine_beat){.is_busy = false}));
    ck_assert(!answer_look((struct engine_beat){.is_busy = false}));
    bench_pass(&bench, 60000);
    ck_assert(!answer_look((struct engine_beat){.is_busy = false}));
    ask(GATEWAY, 1, 1);
    ck_assert(answer_look((struct engine_beat){.is_busy = true}));
    for (unsigned i = 0; i < 100; i++) /* it waits for a sibling's message: not its fault */
        ck_assert(answer_look((struct engine_beat){.is_busy = true, .is_waiting = true}));
    ck_assert(!has_failed());
    close_runner();
}
END_TEST

START_TEST(memory_that_is_gone_is_named_with_need_and_have)
{
    const struct rank_record rank = {.weight_bytes = 700, .cache_bytes = 200, .scratch_bytes = 100};
    const struct rank_record absurd = {.weight_bytes = UINT64_MAX, .cache_bytes = 2};
    struct reason reason = {""};
    ck_assert_uint_eq(rank_memory_need(&rank), 1000);
    ck_assert_int_eq(rank_memory_check(&rank, 1000, &reason), STATUS_OK);
    ck_assert_int_eq(rank_memory_check(&rank, 999, &reason), STATUS_NO_CAPACITY);
    ck_assert_msg(strstr(reason.text, "needs 1000 bytes of memory (weights 700, KV cache 200, "
                                      "scratch 100) and 999 are free, fewer than when it was "
                                      "placed; free 1 more") != NULL, "%s", reason.text);
    ck_assert_uint_eq(rank_memory_need(&absurd), UINT64_MAX);
    ck_assert_int_eq(rank_memory_check(&absurd, UINT64_MAX - 1, &reason), STATUS_NO_CAPACITY);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const beginning[] = {
        reports_its_address_and_begins,
        allows_gateways_of_members_and_its_siblings,
        connects_to_those_it_sends_to,
        sends_the_canary_when_all_are_loaded_and_connected,
        reports_each_status_and_exits_after_a_failure,
        exits_when_its_generation_is_over,
        memory_that_is_gone_is_named_with_need_and_have,
    };
    const TTest *const requests[] = {
        tells_what_the_disk_has_not_before_it_fails,
        refuses_requests_until_it_is_ready,
        keeps_the_newest_attempt_only,
        forgets_a_request_with_its_last_word,
        drops_the_requests_of_a_gateway_that_is_silent_or_gone,
        silent_gateways_leave_their_places,
        gateways_are_heard_on_their_own_socket_only,
        refuses_more_requests_than_it_keeps,
    };
    const TTest *const siblings[] = {
        takes_steps_of_siblings_only,
        fails_when_a_sibling_cannot_be_reached,
    };
    const TTest *const lease[] = {
        says_that_it_computes_when_it_begins,
        ends_an_engine_that_gets_nowhere,
        ends_an_engine_whose_disk_stalls,
        ends_an_engine_that_carries_no_weights_while_it_should,
        looks_no_more_at_an_idle_engine,
    };
    Suite *suite = suite_create("runner");
    suite_add(suite, "beginning", beginning, COUNT_OF(beginning));
    suite_add(suite, "requests", requests, COUNT_OF(requests));
    suite_add(suite, "siblings", siblings, COUNT_OF(siblings));
    suite_add(suite, "lease", lease, COUNT_OF(lease));
    return suite;
}
