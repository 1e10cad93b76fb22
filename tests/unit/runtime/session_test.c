/* SPDX-License-Identifier: Apache-2.0 */
/* An actor's talk with its master, over a step that does nothing else. */
#include "runtime/session.h"

#include "tests/support/check_main.h"
#include "tests/support/step_bench.h"

#include <string.h>

#define OWN_INCARNATION 5u

struct talker {
    struct session session;
    enum mirror_change change; /* of the last input */
};

static const struct node_id own = {{1}};
static const struct session_settings settings = {.actor = ACTOR_SUPERVISOR,
                                                 .incarnation = OWN_INCARNATION,
                                                 .key = {{3}},
                                                 .build = "test",
                                                 .wants_events = true};
static struct step_bench bench;

static enum status talker_init(void *actor, const void *given, struct reason *reason)
{
    struct talker *talker = actor;
    (void)reason;
    session_init(&talker->session, given);
    return STATUS_OK;
}

static enum status talker_step(void *actor, const struct input *input, struct outbox *outbox,
                               struct reason *reason)
{
    struct talker *talker = actor;
    if (input->kind == INPUT_START)
        session_open(&talker->session, outbox);
    return session_take(&talker->session, input, outbox, &talker->change, reason);
}

static void talker_fini(void *actor)
{
    struct talker *talker = actor;
    session_fini(&talker->session);
}

static const struct actor_ops talker_ops = {.name = "talker",
                                            .memory_size = sizeof(struct talker),
                                            .init = talker_init,
                                            .step = talker_step,
                                            .fini = talker_fini};

static struct session *session(void)
{
    return &((struct talker *)bench.actor)->session;
}

static void setup(void)
{
    step_bench_open(&bench, &talker_ops, &settings);
    bench_feed(&bench, (struct input){.kind = INPUT_START});
}

static void teardown(void)
{
    step_bench_close(&bench);
}

static void feed_link(enum input_kind kind)
{
    bench_feed(&bench, (struct input){.kind = kind, .peer = peer_of_link(SESSION_LINK)});
    ck_assert_int_eq(bench.failed, STATUS_OK);
}

static void report(void)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_REPORT, REPORT_PROCESS_ENDED), STATUS_OK);
    ck_assert_int_eq(session_report(session(), &message, bench.now_ms, &bench.outbox), STATUS_OK);
    message_fini(&message);
    bench_feed(&bench, (struct input){.kind = INPUT_WAKE}); /* what lies in the outbox goes */
}

static unsigned reports_sent(void)
{
    return bench_sent_count(&bench, MESSAGE_REPORT, REPORT_PROCESS_ENDED);
}

static void answer(uint64_t incarnation, uint64_t sequence, enum status status)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_ANSWER, ANSWER_DONE), STATUS_OK);
    message.head.incarnation = incarnation;
    message.head.sequence = sequence;
    message.head.status = status;
    ck_assert(text_set(&message.head.reason, "because"));
    bench_message(&bench, peer_of_link(SESSION_LINK), &message);
}

START_TEST(it_connects_to_its_own_master)
{
    const struct outbox_item *link = bench_link(&bench, OUTBOX_LINK_OPEN);
    ck_assert_ptr_nonnull(link);
    ck_assert_uint_eq(link->peer.link, SESSION_LINK);
    ck_assert_int_eq(link->options->role, LINK_CONNECT);
    ck_assert_uint_eq(bench.sent_count, 0);
}
END_TEST

START_TEST(it_says_hello_when_the_link_is_up)
{
    feed_link(INPUT_LINK_UP);
    ck_assert_uint_eq(bench.sent_count, 1);
    const struct message *message = bench_sent(&bench, MESSAGE_LINK, LINK_HELLO);
    ck_assert_ptr_nonnull(message);
    const struct hello *hello = MESSAGE_BODY(message, hello);
    const struct hash schema = schema_hash();
    ck_assert_uint_eq(hello->actor, ACTOR_SUPERVISOR);
    ck_assert_uint_eq(hello->incarnation, OWN_INCARNATION);
    ck_assert_uint_eq(hello->index, 0);
    ck_assert_uint_eq(hello->protocol_min, PROTOCOL_MIN);
    ck_assert_uint_eq(hello->protocol_max, PROTOCOL_MAX);
    ck_assert(hello->wants_events);
    ck_assert(ID_EQUAL(hello->schema, schema));
    ck_assert(ID_EQUAL(hello->key, settings.key));
    ck_assert_str_eq(hello->build, "test");
}
END_TEST

static void tell_state(void)
{
    struct state state;
    state_init(&state);
    bench_state(&bench, &state);
    state_fini(&state);
}

START_TEST(a_later_hello_names_the_last_event_it_has)
{
    bench_welcome(&bench, &own);
    tell_state();
    feed_link(INPUT_LINK_DOWN);
    step_bench_forget(&bench);
    feed_link(INPUT_LINK_UP);
    const struct message *message = bench_sent(&bench, MESSAGE_LINK, LINK_HELLO);
    ck_assert_uint_eq(MESSAGE_BODY(message, hello)->index, bench.index);
}
END_TEST

START_TEST(a_report_waits_for_the_welcome_and_is_named_then)
{
    report();
    feed_link(INPUT_LINK_UP);
    ck_assert_uint_eq(reports_sent(), 0);
    bench_welcome(&bench, &own);
    ck_assert_uint_eq(reports_sent(), 1);
    const struct message *message =
        bench_sent(&bench, MESSAGE_REPORT, REPORT_PROCESS_ENDED);
    ck_assert(ID_EQUAL(message->head.node_id, own));
    ck_assert_uint_eq(message->head.actor, ACTOR_SUPERVISOR);
    ck_assert_uint_eq(message->head.incarnation, OWN_INCARNATION);
    ck_assert_uint_eq(message->head.sequence, 1);
}
END_TEST

START_TEST(a_report_is_kept_until_it_is_answered)
{
    bench_welcome(&bench, &own);
    report();
    report();
    ck_assert_uint_eq(reports_sent(), 2);
    answer(OWN_INCARNATION, 1, STATUS_OK);
    ck_assert_uint_eq(session()->report_count, 1);
    ck_assert_uint_eq(session()->reports[0].sequence, 2);
    step_bench_forget(&bench);
    bench_pass(&bench, 6000);
    ck_assert_uint_eq(reports_sent(), 1);
    ck_assert_uint_eq(
        bench_sent(&bench, MESSAGE_REPORT, REPORT_PROCESS_ENDED)->head.sequence, 2);
    answer(OWN_INCARNATION, 2, STATUS_OK);
    step_bench_forget(&bench);
    bench_pass(&bench, 20000);
    ck_assert_uint_eq(reports_sent(), 0);
}
END_TEST

START_TEST(a_report_is_repeated_at_once_after_a_reconnect)
{
    bench_welcome(&bench, &own);
    report();
    feed_link(INPUT_LINK_DOWN);
    step_bench_forget(&bench);
    bench_pass(&bench, 20000);
    ck_assert_uint_eq(reports_sent(), 0);
    bench_welcome(&bench, &own);
    ck_assert_uint_eq(reports_sent(), 1);
}
END_TEST

START_TEST(a_report_refused_for_good_is_dropped)
{
    bench_welcome(&bench, &own);
    report();
    answer(OWN_INCARNATION, 1, STATUS_STALE);
    ck_assert_uint_eq(session()->report_count, 0);
}
END_TEST

START_TEST(a_report_is_kept_without_a_leader)
{
    bench_welcome(&bench, &own);
    report();
    answer(OWN_INCARNATION, 1, STATUS_NO_LEADER);
    answer(OWN_INCARNATION, 1, STATUS_BUSY);
    ck_assert_uint_eq(session()->report_count, 1);
    step_bench_forget(&bench);
    bench_pass(&bench, 6000);
    ck_assert_uint_eq(reports_sent(), 1);
}
END_TEST

START_TEST(an_answer_to_another_life_is_not_its_own)
{
    bench_welcome(&bench, &own);
    report();
    answer(OWN_INCARNATION + 1, 1, STATUS_OK);
    answer(OWN_INCARNATION, 9, STATUS_OK);
    ck_assert_uint_eq(session()->report_count, 1);
}
END_TEST

START_TEST(too_many_waiting_reports_are_refused)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_REPORT, REPORT_PROCESS_ENDED), STATUS_OK);
    for (unsigned i = 0; i < SESSION_REPORTS_MAX; i++)
        ck_assert_int_eq(session_report(session(), &message, bench.now_ms, &bench.outbox),
                         STATUS_OK);
    ck_assert_int_eq(session_report(session(), &message, bench.now_ms, &bench.outbox),
                     STATUS_BUSY);
    message_fini(&message);
}
END_TEST

START_TEST(a_gap_makes_it_say_hello_again_from_nothing)
{
    struct message event;
    bench_welcome(&bench, &own);
    tell_state();
    step_bench_forget(&bench);
    ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_VIEW_CHANGED), STATUS_OK);
    bench.index++; /* one is lost */
    bench_event(&bench, &event);
    ck_assert_int_eq(((struct talker *)bench.actor)->change, MIRROR_UNTOUCHED);
    const struct message *message = bench_sent(&bench, MESSAGE_LINK, LINK_HELLO);
    ck_assert_ptr_nonnull(message);
    ck_assert_uint_eq(MESSAGE_BODY(message, hello)->index, 0);
    ck_assert(!session()->mirror.has_state);
    /* What was on its way already changes nothing and is not asked for again. */
    step_bench_forget(&bench);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(message_init(&event, MESSAGE_EVENT, EVENT_VIEW_CHANGED), STATUS_OK);
        bench_event(&bench, &event);
    }
    tell_state();
    ck_assert_ptr_null(bench_sent(&bench, MESSAGE_LINK, LINK_HELLO));
    ck_assert(!session()->mirror.has_state);
    bench_welcome(&bench, &own);
    tell_state();
    ck_assert_int_eq(((struct talker *)bench.actor)->change, MIRROR_REPLACED);
}
END_TEST

START_TEST(a_refused_version_ends_it_with_the_reason)
{
    struct message message;
    feed_link(INPUT_LINK_UP);
    ck_assert_int_eq(message_init(&message, MESSAGE_ANSWER, ANSWER_DONE), STATUS_OK);
    message.head.status = STATUS_VERSION;
    ck_assert(text_set(&message.head.reason, "install the same build"));
    bench_feed(&bench, (struct input){.kind = INPUT_MESSAGE,
                                      .peer = peer_of_link(SESSION_LINK),
                                      .message = &message});
    message_fini(&message);
    ck_assert_int_eq(bench.failed, STATUS_VERSION);
    ck_assert_str_eq(bench.reason.text, "install the same build");
}
END_TEST

START_TEST(what_is_sent_while_the_link_is_down_is_dropped)
{
    struct message task;
    ck_assert_int_eq(message_init(&task, MESSAGE_TASK, TASK_LIST_TASKS), STATUS_OK);
    ck_assert_int_eq(session_answer(session(), &task, STATUS_OK, NULL, &bench.outbox), STATUS_OK);
    bench_welcome(&bench, &own);
    ck_assert_uint_eq(bench_sent_count(&bench, MESSAGE_ANSWER, ANSWER_DONE), 0);
    task.head.key.bytes[0] = 4;
    ck_assert_int_eq(session_answer(session(), &task, STATUS_BUSY, "later", &bench.outbox),
                     STATUS_OK);
    message_fini(&task);
    bench_feed(&bench, (struct input){.kind = INPUT_WAKE});
    const struct message *sent = bench_sent(&bench, MESSAGE_ANSWER, ANSWER_DONE);
    ck_assert_ptr_nonnull(sent);
    ck_assert_uint_eq(sent->head.key.bytes[0], 4);
    ck_assert_uint_eq(sent->head.status, STATUS_BUSY);
    ck_assert_str_eq(sent->head.reason, "later");
    ck_assert(ID_EQUAL(sent->head.node_id, own));
}
END_TEST

/* The master's row: it reaches node 2 at that one of 10.1.0.2 and 10.2.0.2. */
static void tell_links(const char *reached)
{
    static const char *const hosts[] = {"10.1.0.2", "10.2.0.2"};
    struct message message;
    ck_assert_int_eq(message_init(&message, MESSAGE_SIGNAL, SIGNAL_LINKS_MEASURED), STATUS_OK);
    struct links_measured *row = message.body;
    struct link_measured *link = record_list_push(&link_measured_type, RECORD_LIST(row->links),
                                                  NULL, NODE_COUNT_MAX);
    ck_assert_ptr_nonnull(link);
    link->node_id.bytes[0] = 2;
    ck_assert(text_set(&link->address, "tcp://10.1.0.2:7"));
    link->reaches = strcmp(reached, hosts[0]) == 0;
    struct way_measured *way = record_list_push(&way_measured_type, RECORD_LIST(link->ways), NULL,
                                                ADDRESS_OFFER_COUNT_MAX);
    ck_assert(way && text_set(&way->host, hosts[1]));
    way->reaches = strcmp(reached, hosts[1]) == 0;
    bench_message(&bench, peer_of_link(SESSION_LINK), &message);
}

static const char *address_of_endpoint(const char *told)
{
    static char address[ADDRESS_SIZE_MAX];
    struct endpoint_record endpoint = {.node_id = {{2}}, .actor = ACTOR_TRANSFERER};
    ck_assert(text_set(&endpoint.address, told));
    session_endpoint_address(session(), &endpoint, address);
    record_fini(&endpoint_record_type, &endpoint);
    return address;
}

START_TEST(another_node_is_met_where_its_own_reaches_it)
{
    struct state state;
    feed_link(INPUT_LINK_UP);
    state_init(&state);
    struct node_record *node = record_list_push(&node_record_type, RECORD_LIST(state.nodes), NULL,
                                                NODE_COUNT_MAX);
    ck_assert_ptr_nonnull(node);
    node->node_id.bytes[0] = 2;
    ck_assert(text_set(&node->fabric, "10.1.0.2") && text_set(&node->hosts, "10.1.0.2 10.2.0.2"));
    bench_state(&bench, &state);
    state_fini(&state);
    ck_assert_str_eq(address_of_endpoint("tcp://10.1.0.2:9"), "tcp://10.1.0.2:9");
    tell_links("10.1.0.2");
    ck_assert_str_eq(address_of_endpoint("tcp://10.2.0.2:9"), "tcp://10.1.0.2:9");
    tell_links("10.2.0.2");
    ck_assert_str_eq(address_of_endpoint("tcp://10.1.0.2:9"), "tcp://10.2.0.2:9");
    ck_assert_str_eq(address_of_endpoint("tcp://192.0.2.1:9"), "tcp://192.0.2.1:9"); /* its own */
    tell_links("nowhere");
    ck_assert_str_eq(address_of_endpoint("tcp://10.1.0.2:9"), "tcp://10.1.0.2:9");
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {it_connects_to_its_own_master,
                                         it_says_hello_when_the_link_is_up,
                                         a_later_hello_names_the_last_event_it_has,
                                         a_report_waits_for_the_welcome_and_is_named_then,
                                         a_report_is_kept_until_it_is_answered,
                                         a_report_is_repeated_at_once_after_a_reconnect,
                                         a_report_refused_for_good_is_dropped,
                                         a_report_is_kept_without_a_leader,
                                         an_answer_to_another_life_is_not_its_own,
                                         too_many_waiting_reports_are_refused,
                                         a_gap_makes_it_say_hello_again_from_nothing,
                                         a_refused_version_ends_it_with_the_reason,
                                         what_is_sent_while_the_link_is_down_is_dropped,
                                         another_node_is_met_where_its_own_reaches_it};
    Suite *suite = suite_create("runtime/session");
    TCase *group = tcase_create("session");
    tcase_add_checked_fixture(group, setup, teardown);
    for (size_t i = 0; i < COUNT_OF(tests); i++)
        tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);
    return suite;
}
