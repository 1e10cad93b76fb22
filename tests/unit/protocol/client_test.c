/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client library over a channel that plays a node: news come from a script, time is virtual.
 */
#include "protocol/client.h"

#include "tests/support/check_main.h"

#include <string.h>

enum { NEWS_MAX = 64, SENT_MAX = 64 };

struct stage {
    struct {
        enum troupe_news news;
        struct buffer bytes;
    } script[NEWS_MAX];
    size_t script_count;
    size_t at;
    struct message sent[SENT_MAX];
    size_t sent_count;
    uint64_t now_ms;
    bool is_closed;
    bool answers; /* every command is answered with OK as it is sent */
    enum status answer_status;
};

static struct stage stage;

static void play(enum troupe_news news, const struct message *message)
{
    ck_assert_uint_lt(stage.script_count, NEWS_MAX);
    buffer_init(&stage.script[stage.script_count].bytes, 1u << 20);
    if (message)
        ck_assert_int_eq(
            message_encode(message, &stage.script[stage.script_count].bytes), STATUS_OK);
    stage.script[stage.script_count++].news = news;
}

static struct message message_of(enum message_kind kind, uint32_t code)
{
    struct message message;
    ck_assert_int_eq(message_init(&message, kind, code), STATUS_OK);
    return message;
}

static void play_welcome(uint64_t index)
{
    struct message message = message_of(MESSAGE_LINK, LINK_WELCOME);
    MESSAGE_BODY(&message, welcome)->index = index;
    MESSAGE_BODY(&message, welcome)->node_id.bytes[0] = 7;
    play(TROUPE_NEWS_MESSAGE, &message);
    message_fini(&message);
}

static void play_answer(const struct command_key *key, enum status status, const char *sentence)
{
    struct message message = message_of(MESSAGE_ANSWER, ANSWER_DONE);
    message.head.key = *key;
    message.head.status = status;
    message.head.index = 42;
    ck_assert(text_set(&message.head.reason, sentence));
    play(TROUPE_NEWS_MESSAGE, &message);
    message_fini(&message);
}

static void play_token_event(uint64_t index)
{
    struct message message = message_of(MESSAGE_EVENT, EVENT_TOKEN_CREATED);
    message.head.index = index;
    MESSAGE_BODY(&message, token_created)->token.key.bytes[0] = (uint8_t)index;
    play(TROUPE_NEWS_MESSAGE, &message);
    message_fini(&message);
}

static enum status stage_send(void *self, const void *bytes, size_t size)
{
    struct reason reason;
    (void)self;
    ck_assert_uint_lt(stage.sent_count, SENT_MAX);
    struct message *message = &stage.sent[stage.sent_count++];
    ck_assert_int_eq(message_decode(bytes, size, message, &reason), STATUS_OK);
    if (stage.answers && message->head.kind == MESSAGE_COMMAND)
        play_answer(&message->head.key, stage.answer_status, "no such thing");
    return STATUS_OK;
}

static enum troupe_news stage_receive(void *self, uint64_t timeout_ms, const uint8_t **bytes_out,
                                      size_t *size_out, struct reason *reason)
{
    (void)self;
    (void)reason;
    if (stage.at == stage.script_count) {
        stage.now_ms += timeout_ms;
        return TROUPE_NEWS_NONE;
    }
    *bytes_out = stage.script[stage.at].bytes.bytes;
    *size_out = stage.script[stage.at].bytes.size;
    return stage.script[stage.at++].news;
}

static uint64_t stage_now_ms(void *self)
{
    (void)self;
    return stage.now_ms;
}

static void stage_close(void *self)
{
    (void)self;
    stage.is_closed = true;
}

static const struct troupe_channel channel = {NULL, stage_send, stage_receive, stage_now_ms,
                                              stage_close};
static const struct troupe_client_options options = {
    .build = "test", .seed = {1, 2, 3}, .wants_state = true, .wants_messages = true};

static void stage_begin(void)
{
    memset(&stage, 0, sizeof(stage));
}

static void stage_end(struct troupe_client *client)
{
    troupe_client_close(client);
    ck_assert(stage.is_closed);
    for (size_t i = 0; i < stage.script_count; i++)
        buffer_fini(&stage.script[i].bytes);
    for (size_t i = 0; i < stage.sent_count; i++)
        message_fini(&stage.sent[i]);
}

static struct troupe_client *open_client(void)
{
    struct troupe_client *client = NULL;
    struct reason reason = {""};
    play(TROUPE_NEWS_UP, NULL);
    play_welcome(0);
    ck_assert_int_eq(troupe_client_open(&channel, &options, &client, &reason), STATUS_OK);
    return client;
}

START_TEST(says_hello_when_connected)
{
    stage_begin();
    struct troupe_client *client = open_client();
    ck_assert_uint_eq(stage.sent_count, 1);
    ck_assert(message_is(&stage.sent[0], MESSAGE_LINK, LINK_HELLO));
    const struct hello *hello = MESSAGE_BODY(&stage.sent[0], hello);
    ck_assert_uint_eq(hello->actor, ACTOR_CLIENT);
    ck_assert_uint_ne(hello->incarnation, 0);
    ck_assert(hello->wants_events);
    ck_assert_uint_eq(troupe_client_welcome(client)->node_id.bytes[0], 7);
    stage_end(client);
}
END_TEST

START_TEST(gives_up_on_a_silent_node_and_closes)
{
    struct troupe_client *client = NULL;
    struct reason reason = {""};
    stage_begin();
    play(TROUPE_NEWS_UP, NULL);
    ck_assert_int_eq(troupe_client_open(&channel, &options, &client, &reason), STATUS_UNREACHABLE);
    ck_assert_uint_eq(stage.now_ms, 5000);
    ck_assert_ptr_null(client);
    stage_end(NULL);
}
END_TEST

START_TEST(tells_why_its_hello_is_refused)
{
    struct troupe_client *client = NULL;
    struct reason reason = {""};
    const struct command_key none = {{0}};
    stage_begin();
    play(TROUPE_NEWS_UP, NULL);
    play_answer(&none, STATUS_VERSION, "update the older");
    ck_assert_int_eq(troupe_client_open(&channel, &options, &client, &reason), STATUS_VERSION);
    ck_assert_str_eq(reason.text, "update the older");
    stage_end(NULL);
}
END_TEST

START_TEST(brings_the_answer_to_its_command)
{
    struct message answer;
    struct reason reason = {""};
    stage_begin();
    stage.answers = true;
    struct troupe_client *client = open_client();
    struct message command = message_of(MESSAGE_COMMAND, COMMAND_REMOVE_MODEL);
    ck_assert_int_eq(troupe_client_command(client, &command, 100, &answer, &reason), STATUS_OK);
    ck_assert_uint_eq(answer.head.index, 42);
    message_fini(&answer);
    stage.answer_status = STATUS_NOT_FOUND;
    struct message second = message_of(MESSAGE_COMMAND, COMMAND_REMOVE_MODEL);
    ck_assert_int_eq(troupe_client_command(client, &second, 100, NULL, &reason),
                     STATUS_NOT_FOUND);
    ck_assert_str_eq(reason.text, "no such thing");
    /* Two commands never share a key. */
    ck_assert(!ID_IS_ZERO(command.head.key));
    ck_assert_mem_ne(&command.head.key, &second.head.key, sizeof(command.head.key));
    message_fini(&command);
    message_fini(&second);
    stage_end(client);
}
END_TEST

START_TEST(sends_a_command_again_under_its_key_after_the_connection_ended)
{
    struct message answer;
    struct reason reason = {""};
    stage_begin();
    struct troupe_client *client = open_client();
    struct message command = message_of(MESSAGE_COMMAND, COMMAND_REMOVE_MODEL);
    command.head.key.bytes[0] = 9;
    play(TROUPE_NEWS_DOWN, NULL);
    play(TROUPE_NEWS_UP, NULL);
    play_welcome(0);
    play_answer(&command.head.key, STATUS_OK, "");
    ck_assert_int_eq(troupe_client_command(client, &command, 100, &answer, &reason), STATUS_OK);
    ck_assert_uint_eq(stage.sent_count, 4); /* hello, command, hello, command */
    ck_assert(message_is(&stage.sent[3], MESSAGE_COMMAND, COMMAND_REMOVE_MODEL));
    ck_assert_mem_eq(&stage.sent[1].head.key, &stage.sent[3].head.key, 16);
    message_fini(&answer);
    message_fini(&command);
    stage_end(client);
}
END_TEST

START_TEST(does_not_wait_for_an_answer_for_ever)
{
    struct reason reason = {""};
    const struct command_key other = {{5}};
    stage_begin();
    struct troupe_client *client = open_client();
    struct message command = message_of(MESSAGE_COMMAND, COMMAND_REMOVE_MODEL);
    play_answer(&other, STATUS_OK, ""); /* of somebody else's command */
    ck_assert_int_eq(troupe_client_command(client, &command, 300, NULL, &reason),
                     STATUS_TIMED_OUT);
    ck_assert_uint_eq(stage.now_ms, 300);
    message_fini(&command);
    stage_end(client);
}
END_TEST

START_TEST(mirrors_the_state_and_keeps_events_in_order)
{
    const struct state *state = NULL;
    struct message message;
    struct reason reason = {""};
    stage_begin();
    struct troupe_client *client = open_client();
    ck_assert_int_eq(troupe_client_state(client, 10, &state, &reason), STATUS_TIMED_OUT);
    for (uint64_t index = 1; index <= 3; index++)
        play_token_event(index);
    ck_assert_int_eq(troupe_client_state_at(client, 3, 10, &state, &reason), STATUS_OK);
    ck_assert_uint_eq(state->index, 3);
    ck_assert_uint_eq(state->tokens.count, 3);
    for (uint64_t index = 1; index <= 3; index++) {
        ck_assert_int_eq(troupe_client_next(client, 0, &message, &reason), STATUS_OK);
        ck_assert_uint_eq(message.head.index, index);
        message_fini(&message);
    }
    ck_assert_int_eq(troupe_client_next(client, 10, &message, &reason), STATUS_TIMED_OUT);
    stage_end(client);
}
END_TEST

START_TEST(begins_again_with_the_whole_state_after_a_gap)
{
    const struct state *state = NULL;
    struct reason reason = {""};
    stage_begin();
    struct troupe_client *client = open_client();
    play_token_event(1);
    play_token_event(3);
    play_token_event(4);
    ck_assert_int_eq(troupe_client_state_at(client, 3, 10, &state, &reason), STATUS_TIMED_OUT);
    ck_assert_uint_eq(stage.sent_count, 2); /* one hello for one gap */
    ck_assert(message_is(&stage.sent[1], MESSAGE_LINK, LINK_HELLO));
    ck_assert_uint_eq(MESSAGE_BODY(&stage.sent[1], hello)->index, 0);
    stage_end(client);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        says_hello_when_connected,
        gives_up_on_a_silent_node_and_closes,
        tells_why_its_hello_is_refused,
        brings_the_answer_to_its_command,
        sends_a_command_again_under_its_key_after_the_connection_ended,
        does_not_wait_for_an_answer_for_ever,
        mirrors_the_state_and_keeps_events_in_order,
        begins_again_with_the_whole_state_after_a_gap,
    };
    Suite *suite = suite_create("protocol/client");
    suite_add(suite, "client", tests, COUNT_OF(tests));
    return suite;
}
