/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/transport.h"

#include "runtime/clock.h"
#include "runtime/identity.h"
#include "runtime/transport_internal.h"
#include "tests/support/check_main.h"
#include "tests/support/scratch.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

/* Two processes' transports in one, turned by hand; waits are for events, never for time. */

enum { SERVER_LINK = 7, CLIENT_LINK = 3, PATIENCE_MS = 10000 };

struct side {
    struct transport *transport;
    struct key_pair pair;
};

static struct side side_open(void)
{
    struct side side;
    struct reason reason = {""};
    ck_assert_int_eq(key_pair_make(&side.pair), STATUS_OK);
    struct transport_options options = {.pair = side.pair};
    ck_assert_msg(transport_open(&options, &side.transport, &reason) == STATUS_OK, "%s",
                  reason.text);
    return side;
}

static struct link_options bind_to(const char *endpoint)
{
    struct link_options options = {.role = LINK_BIND};
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%s", endpoint);
    return options;
}

static struct link_options connect_to(const struct side *server)
{
    struct link_options options = {.role = LINK_CONNECT, .server_key = server->pair.public_key};
    (void)snprintf(options.endpoint, sizeof(options.endpoint), "%s",
                   transport_endpoint(server->transport, SERVER_LINK));
    return options;
}

static void server_bind(struct side *server, const char *endpoint, uint64_t size_max)
{
    struct link_options options = bind_to(endpoint);
    struct reason reason = {""};
    options.message_size_max = size_max;
    ck_assert_msg(transport_link_open(server->transport, SERVER_LINK, &options, &reason) ==
                  STATUS_OK, "%s", reason.text);
}

static void client_connect(struct side *client, const struct link_options *options)
{
    struct reason reason = {""};
    ck_assert_msg(transport_link_open(client->transport, CLIENT_LINK, options, &reason) ==
                  STATUS_OK, "%s", reason.text);
}

static void allow(struct side *server, const struct public_key *keys, size_t count)
{
    ck_assert_int_eq(transport_allow(server->transport, SERVER_LINK, keys, count), STATUS_OK);
}

/* Turns both until `side` has an event of that kind; false when patience ends. */
static bool turn_until(struct side *one, struct side *other, enum transport_event_kind kind,
                       struct transport_event *event_out, uint64_t patience_ms)
{
    uint64_t end_ms = clock_now_ms() + patience_ms;
    struct transport_event event;
    while (clock_now_ms() < end_ms) {
        while (transport_next(one->transport, &event)) {
            if (event.kind == kind) {
                *event_out = event;
                return true;
            }
        }
        transport_wait(one->transport, NULL, 0, 2);
        while (other && transport_next(other->transport, &event))
            continue;
        if (other)
            transport_wait(other->transport, NULL, 0, 2);
    }
    return false;
}

static bool turn_until_counted(struct side *one, struct side *other, const uint64_t *counter,
                               uint64_t least)
{
    uint64_t end_ms = clock_now_ms() + PATIENCE_MS;
    struct transport_event event;
    while (*counter < least && clock_now_ms() < end_ms)
        (void)turn_until(one, other, TRANSPORT_NOTHING, &event, 10);
    return *counter >= least;
}

static struct peer client_up(struct side *client, struct side *server)
{
    struct transport_event event;
    ck_assert(turn_until(client, server, TRANSPORT_UP, &event, PATIENCE_MS));
    ck_assert_int_eq(event.peer.link, CLIENT_LINK);
    return event.peer;
}

static void say(struct side *side, const struct peer *peer, const char *text)
{
    ck_assert_int_eq(transport_send(side->transport, peer, text, strlen(text)), STATUS_OK);
}

static struct peer hear(struct side *side, struct side *other, const char *text)
{
    struct transport_event event;
    ck_assert(turn_until(side, other, TRANSPORT_MESSAGE, &event, PATIENCE_MS));
    ck_assert_uint_eq(event.size, strlen(text));
    ck_assert_mem_eq(event.bytes, text, event.size);
    return event.peer;
}

START_TEST(admitted_key_talks_both_ways)
{
    struct side server = side_open();
    struct side client = side_open();
    server_bind(&server, "tcp://127.0.0.1:0", 0);
    ck_assert_str_ne(transport_endpoint(server.transport, SERVER_LINK), "tcp://127.0.0.1:0");
    allow(&server, &client.pair.public_key, 1);
    struct link_options options = connect_to(&server);
    client_connect(&client, &options);
    struct peer to_server = client_up(&client, &server);
    ck_assert(ID_EQUAL(to_server.key, server.pair.public_key));
    say(&client, &to_server, "hello");
    struct transport_event event;
    ck_assert(turn_until(&server, &client, TRANSPORT_UP, &event, PATIENCE_MS));
    ck_assert(ID_EQUAL(event.peer.key, client.pair.public_key));
    struct peer to_client = hear(&server, &client, "hello");
    ck_assert(peer_equal(&to_client, &event.peer));
    ck_assert(ID_EQUAL(to_client.key, client.pair.public_key));
    say(&server, &to_client, "welcome");
    (void)hear(&client, &server, "welcome");
    transport_close(client.transport, 0);
    ck_assert(turn_until(&server, NULL, TRANSPORT_DOWN, &event, PATIENCE_MS));
    ck_assert(peer_equal(&to_client, &event.peer));
    ck_assert_int_eq(transport_send(server.transport, &to_client, "x", 1), STATUS_UNREACHABLE);
    transport_close(server.transport, 0);
}
END_TEST

START_TEST(no_list_means_nobody)
{
    struct side server = side_open();
    struct side client = side_open();
    server_bind(&server, "tcp://127.0.0.1:0", 0);
    struct link_options options = connect_to(&server);
    client_connect(&client, &options);
    const struct transport_counters *counters = transport_counters(server.transport);
    ck_assert(turn_until_counted(&client, &server, &counters->keys_refused, 1));
    ck_assert_uint_eq(counters->keys_admitted, 0);
    transport_close(client.transport, 0);
    transport_close(server.transport, 0);
}
END_TEST

START_TEST(unknown_key_is_refused_until_allowed)
{
    struct side server = side_open();
    struct side client = side_open();
    struct side other = side_open();
    server_bind(&server, "tcp://127.0.0.1:0", 0);
    allow(&server, &other.pair.public_key, 1);
    struct link_options options = connect_to(&server);
    client_connect(&client, &options);
    const struct transport_counters *seen = transport_counters(client.transport);
    /* More than once: libzmq by itself would have given up after the first. */
    ck_assert(turn_until_counted(&client, &server, &seen->handshakes_failed, 2));
    ck_assert_uint_ge(seen->links_reopened, 2);
    ck_assert_uint_ge(transport_counters(server.transport)->keys_refused, 2);
    allow(&server, &client.pair.public_key, 1);
    struct peer peer = client_up(&client, &server);
    say(&client, &peer, "at last");
    (void)hear(&server, &client, "at last");
    transport_close(client.transport, 0);
    transport_close(other.transport, 0);
    transport_close(server.transport, 0);
}
END_TEST

START_TEST(dead_key_check_refuses_everybody)
{
    struct side server = side_open();
    struct side client = side_open();
    server_bind(&server, "tcp://127.0.0.1:0", 0);
    allow(&server, &client.pair.public_key, 1);
    zap_close(server.transport);
    struct link_options options = connect_to(&server);
    client_connect(&client, &options);
    const struct transport_counters *seen = transport_counters(client.transport);
    ck_assert(turn_until_counted(&client, &server, &seen->handshakes_failed, 1));
    ck_assert_uint_eq(transport_counters(server.transport)->messages_received, 0);
    /* And nothing new is bound without it. */
    struct link_options second = bind_to("tcp://127.0.0.1:0");
    struct reason reason = {""};
    ck_assert_int_ne(transport_link_open(server.transport, 99, &second, &reason), STATUS_OK);
    transport_close(client.transport, 0);
    transport_close(server.transport, 0);
}
END_TEST

START_TEST(removal_ends_the_connection)
{
    struct side server = side_open();
    struct side client = side_open();
    struct side friend = side_open();
    struct public_key keys[] = {client.pair.public_key, friend.pair.public_key};
    struct transport_event event;
    char endpoint[LINK_ENDPOINT_SIZE];
    server_bind(&server, "tcp://127.0.0.1:0", 0);
    (void)snprintf(endpoint, sizeof(endpoint), "%s",
                   transport_endpoint(server.transport, SERVER_LINK));
    allow(&server, keys, 2);
    struct link_options options = connect_to(&server);
    client_connect(&client, &options);
    client_connect(&friend, &options);
    struct peer from_client = client_up(&client, &server);
    struct peer from_friend = client_up(&friend, &server);
    say(&client, &from_client, "one");
    struct peer gone = hear(&server, &client, "one");
    say(&friend, &from_friend, "two");
    (void)hear(&server, &friend, "two");
    uint64_t start_ms = clock_now_ms();
    allow(&server, &friend.pair.public_key, 1);
    ck_assert(turn_until(&client, &server, TRANSPORT_DOWN, &event, PATIENCE_MS));
    ck_assert_uint_le(clock_now_ms() - start_ms, 2000);
    ck_assert_int_eq(transport_send(server.transport, &gone, "x", 1), STATUS_UNREACHABLE);
    ck_assert_uint_eq(transport_counters(server.transport)->links_rebound, 1);
    ck_assert_str_eq(transport_endpoint(server.transport, SERVER_LINK), endpoint);
    /* The other one loses its connection too, and is back by itself. */
    from_friend = client_up(&friend, &server);
    say(&friend, &from_friend, "three");
    (void)hear(&server, &friend, "three");
    uint64_t refused = transport_counters(server.transport)->keys_refused;
    ck_assert(turn_until_counted(&client, &server,
                                 &transport_counters(server.transport)->keys_refused,
                                 refused + 1));
    transport_close(client.transport, 0);
    transport_close(friend.transport, 0);
    transport_close(server.transport, 0);
}
END_TEST

START_TEST(removal_of_an_ended_peer_disturbs_nobody)
{
    struct side server = side_open();
    struct side client = side_open();
    struct side friend = side_open();
    struct public_key keys[] = {client.pair.public_key, friend.pair.public_key};
    struct transport_event event;
    server_bind(&server, "tcp://127.0.0.1:0", 0);
    allow(&server, keys, 2);
    struct link_options options = connect_to(&server);
    client_connect(&client, &options);
    client_connect(&friend, &options);
    struct peer from_client = client_up(&client, &server);
    struct peer from_friend = client_up(&friend, &server);
    say(&client, &from_client, "one");
    (void)hear(&server, &client, "one");
    say(&friend, &from_friend, "two");
    (void)hear(&server, &friend, "two");
    transport_close(client.transport, 0);
    ck_assert(turn_until(&server, &friend, TRANSPORT_DOWN, &event, PATIENCE_MS));
    allow(&server, &friend.pair.public_key, 1);
    ck_assert_uint_eq(transport_counters(server.transport)->links_rebound, 0);
    say(&friend, &from_friend, "three");
    (void)hear(&server, &friend, "three");
    transport_close(friend.transport, 0);
    transport_close(server.transport, 0);
}
END_TEST

START_TEST(plaintext_client_is_refused)
{
    struct side server = side_open();
    struct transport_event event;
    server_bind(&server, "tcp://127.0.0.1:0", 0);
    void *context = zmq_ctx_new();
    void *plain = zmq_socket(context, ZMQ_DEALER);
    int none = 0;
    ck_assert_int_eq(zmq_setsockopt(plain, ZMQ_LINGER, &none, sizeof(none)), 0);
    ck_assert_int_eq(zmq_socket_monitor(plain, "inproc://seen",
                                        ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                                        ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                                        ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED), 0);
    void *monitor = zmq_socket(context, ZMQ_PAIR);
    ck_assert_int_eq(zmq_connect(monitor, "inproc://seen"), 0);
    ck_assert_int_eq(zmq_connect(plain, transport_endpoint(server.transport, SERVER_LINK)), 0);
    ck_assert_int_eq(zmq_send(plain, "hello", 5, ZMQ_DONTWAIT), 5);
    uint8_t frame[6];
    uint64_t end_ms = clock_now_ms() + PATIENCE_MS;
    int size = -1;
    while (size < 0 && clock_now_ms() < end_ms) {
        (void)turn_until(&server, NULL, TRANSPORT_NOTHING, &event, 5);
        size = zmq_recv(monitor, frame, sizeof(frame), ZMQ_DONTWAIT);
    }
    uint16_t happened = 0;
    ck_assert_int_eq(size, 6);
    memcpy(&happened, frame, sizeof(happened));
    ck_assert_int_ne(happened, ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    ck_assert_uint_eq(transport_counters(server.transport)->messages_received, 0);
    (void)zmq_close(monitor);
    (void)zmq_close(plain);
    (void)zmq_ctx_term(context);
    transport_close(server.transport, 0);
}
END_TEST

START_TEST(oversize_message_ends_its_connection_only)
{
    struct side server = side_open();
    struct side client = side_open();
    struct transport_event event;
    static char large[4096];
    server_bind(&server, "tcp://127.0.0.1:0", 1024);
    allow(&server, &client.pair.public_key, 1);
    struct link_options options = connect_to(&server);
    client_connect(&client, &options);
    struct peer peer = client_up(&client, &server);
    ck_assert_int_eq(transport_send(client.transport, &peer, large, sizeof(large)), STATUS_OK);
    ck_assert(turn_until(&client, &server, TRANSPORT_DOWN, &event, PATIENCE_MS));
    ck_assert_uint_eq(transport_counters(server.transport)->messages_received, 0);
    peer = client_up(&client, &server);
    say(&client, &peer, "small");
    (void)hear(&server, &client, "small");
    transport_close(client.transport, 0);
    transport_close(server.transport, 0);
}
END_TEST

START_TEST(ipc_is_plain_and_relative)
{
    struct scratch scratch;
    struct transport_event event;
    struct transport_options none = {.io_threads = 1};
    struct side server = {0};
    struct side client = {0};
    struct link_options options = {.role = LINK_CONNECT, .endpoint = "ipc://master.sock"};
    scratch_open(&scratch);
    ck_assert_int_eq(chdir(scratch.path), 0);
    ck_assert_int_eq(transport_open(&none, &server.transport, NULL), STATUS_OK);
    ck_assert_int_eq(transport_open(&none, &client.transport, NULL), STATUS_OK);
    /* Connecting before anyone listens is fine. */
    client_connect(&client, &options);
    server_bind(&server, "ipc://master.sock", 0);
    struct peer peer = client_up(&client, &server);
    say(&client, &peer, "hello");
    struct peer back = hear(&server, &client, "hello");
    ck_assert(ID_IS_ZERO(back.key));
    say(&server, &back, "hello yourself");
    (void)hear(&client, &server, "hello yourself");
    /* A server that comes again is found again. */
    transport_close(server.transport, 0);
    ck_assert(turn_until(&client, NULL, TRANSPORT_DOWN, &event, PATIENCE_MS));
    ck_assert_int_eq(transport_send(client.transport, &peer, "x", 1), STATUS_UNREACHABLE);
    ck_assert_int_eq(transport_open(&none, &server.transport, NULL), STATUS_OK);
    server_bind(&server, "ipc://master.sock", 0);
    peer = client_up(&client, &server);
    say(&client, &peer, "again");
    (void)hear(&server, &client, "again");
    transport_close(client.transport, 0);
    transport_close(server.transport, 0);
    ck_assert_int_eq(chdir("/"), 0);
    scratch_close(&scratch);
}
END_TEST

/* No memory for it, as its size says; the next one must not be taken for its rest. */
START_TEST(a_message_without_memory_leaves_nothing_behind)
{
    struct scratch scratch;
    struct transport_options none = {.io_threads = 1};
    struct side server = {0};
    struct side client = {0};
    struct link_options options = {.role = LINK_CONNECT, .endpoint = "ipc://master.sock"};
    scratch_open(&scratch);
    ck_assert_int_eq(chdir(scratch.path), 0);
    ck_assert_int_eq(transport_open(&none, &server.transport, NULL), STATUS_OK);
    ck_assert_int_eq(transport_open(&none, &client.transport, NULL), STATUS_OK);
    server_bind(&server, "ipc://master.sock", 0);
    client_connect(&client, &options);
    const struct peer peer = client_up(&client, &server);
    say(&client, &peer, "hello");
    const struct peer back = hear(&server, &client, "hello");
    ck_assert_int_eq(transport_send(server.transport, &back, "x", SIZE_MAX), STATUS_NO_MEMORY);
    ck_assert_int_eq(transport_send(client.transport, &peer, "x", SIZE_MAX), STATUS_NO_MEMORY);
    say(&server, &back, "after");
    (void)hear(&client, &server, "after");
    transport_close(client.transport, 0);
    transport_close(server.transport, 0);
    ck_assert_int_eq(chdir("/"), 0);
    scratch_close(&scratch);
}
END_TEST

START_TEST(a_dropped_peer_is_not_heard)
{
    struct side server = side_open();
    struct side client = side_open();
    server_bind(&server, "tcp://127.0.0.1:0", 0);
    allow(&server, &client.pair.public_key, 1);
    struct link_options options = connect_to(&server);
    client_connect(&client, &options);
    struct peer peer = client_up(&client, &server);
    say(&client, &peer, "one");
    struct peer back = hear(&server, &client, "one");
    transport_peer_drop(server.transport, &back);
    say(&client, &peer, "two");
    ck_assert(turn_until_counted(&server, &client,
                                 &transport_counters(server.transport)->messages_dropped, 1));
    ck_assert_uint_eq(transport_counters(server.transport)->messages_received, 1);
    transport_close(client.transport, 0);
    transport_close(server.transport, 0);
}
END_TEST

START_TEST(order_and_number_hold_under_load)
{
    enum { MESSAGES = 5000 };
    struct side server = side_open();
    struct side client = side_open();
    struct transport_event event;
    server_bind(&server, "tcp://127.0.0.1:0", 0);
    allow(&server, &client.pair.public_key, 1);
    struct link_options options = connect_to(&server);
    client_connect(&client, &options);
    struct peer peer = client_up(&client, &server);
    for (uint32_t i = 0; i < MESSAGES; i++)
        ck_assert_int_eq(transport_send(client.transport, &peer, &i, sizeof(i)), STATUS_OK);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        uint32_t number;
        ck_assert(turn_until(&server, &client, TRANSPORT_MESSAGE, &event, PATIENCE_MS));
        ck_assert_uint_eq(event.size, sizeof(number));
        memcpy(&number, event.bytes, sizeof(number));
        ck_assert_uint_eq(number, i);
    }
    transport_close(client.transport, 0);
    transport_close(server.transport, 0);
}
END_TEST

START_TEST(bad_links_are_refused_with_a_sentence)
{
    struct side server = side_open();
    struct transport_options none = {0};
    struct transport *keyless;
    struct reason reason = {""};
    struct link_options options = bind_to("udp://127.0.0.1:1");
    ck_assert_int_eq(transport_link_open(server.transport, 1, &options, &reason), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "tcp://"));
    server_bind(&server, "tcp://127.0.0.1:0", 0);
    options = bind_to(transport_endpoint(server.transport, SERVER_LINK));
    ck_assert_int_eq(transport_link_open(server.transport, 1, &options, &reason), STATUS_IN_USE);
    ck_assert_ptr_nonnull(strstr(reason.text, "in use"));
    ck_assert_int_eq(transport_link_open(server.transport, SERVER_LINK, &options, &reason),
                     STATUS_EXISTS);
    options = bind_to("tcp://127.0.0.1:0");
    options.role = LINK_CONNECT;
    ck_assert_int_eq(transport_link_open(server.transport, 1, &options, &reason), STATUS_INVALID);
    ck_assert_int_eq(transport_open(&none, &keyless, NULL), STATUS_OK);
    options = bind_to("tcp://127.0.0.1:0");
    ck_assert_int_eq(transport_link_open(keyless, 1, &options, &reason), STATUS_INVALID);
    transport_close(keyless, 0);
    transport_close(server.transport, 0);
    transport_close(NULL, 0);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("transport");
    const TTest *const trust[] = {
        admitted_key_talks_both_ways,     no_list_means_nobody,
        unknown_key_is_refused_until_allowed, dead_key_check_refuses_everybody,
        removal_ends_the_connection,      removal_of_an_ended_peer_disturbs_nobody,
        plaintext_client_is_refused,
    };
    const TTest *const links[] = {
        oversize_message_ends_its_connection_only, ipc_is_plain_and_relative,
        a_dropped_peer_is_not_heard,               order_and_number_hold_under_load,
        a_message_without_memory_leaves_nothing_behind, bad_links_are_refused_with_a_sentence,
    };
    suite_add(suite, "trust", trust, COUNT_OF(trust));
    suite_add(suite, "links", links, COUNT_OF(links));
    return suite;
}
