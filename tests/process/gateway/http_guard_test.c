/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sixteen ways to abuse an HTTP server, and the limits, against the real guard with the real
 * libmicrohttpd behind it.  A request that passes would be answered 200 by the thread below.
 */
#include "actors/gateway/http_server.h"
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "tests/process/gateway/http_client.h"
#include "tests/support/check_main.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HOST "Host: localhost\r\n"
#define JSON "Content-Type: application/json\r\n"

static struct http_policy policy;
static struct http_server *server;
static pthread_t answering;
static atomic_bool is_stopping;
static atomic_uint answered;

static void *answer_all(void *argument)
{
    (void)argument;
    while (!atomic_load(&is_stopping)) {
        struct pollfd wait = {.fd = http_server_wait_fd(server), .events = POLLIN};
        (void)poll(&wait, 1, 20);
        struct http_input input;
        while (http_server_next(server, &input)) {
            char text[512];
            int size = snprintf(text, sizeof(text), "{\"path\":\"%.200s\",\"body_size\":%zu}",
                                input.path ? input.path : "", input.body_size);
            if (input.kind == HTTP_INPUT_REQUEST) {
                atomic_fetch_add(&answered, 1);
                (void)http_server_answer(server, input.exchange, 200, "application/json", NULL,
                                         text, (size_t)size);
            }
            http_input_fini(&input);
        }
    }
    return NULL;
}

static void open_server(const struct http_guard_limits *limits)
{
    struct reason reason = {""};
    atomic_store(&is_stopping, false);
    atomic_store(&answered, 0);
    enum status status = http_server_open("127.0.0.1", 0, limits, &policy, &server, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
    ck_assert_int_eq(pthread_create(&answering, NULL, answer_all, NULL), 0);
}

static void open_with_defaults(void)
{
    http_policy_init(&policy);
    struct http_guard_limits limits = http_guard_limits_default();
    open_server(&limits);
}

static void close_server(void)
{
    atomic_store(&is_stopping, true);
    pthread_join(answering, NULL);
    http_server_close(server);
    server = NULL;
}

struct abuse {
    const char *name;
    const char *bytes;
    size_t size; /* 0: as a text */
    int http_status;
};

#define TEXT_WITH_NUL(text) text, sizeof(text) - 1

static const struct abuse abuses[] = {
    {"length and coding together",
     "POST /x HTTP/1.1\r\n" HOST JSON "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
     "0\r\n\r\nGET /smuggled HTTP/1.1\r\n" HOST "\r\n",
     0, 400},
    {"two lengths",
     "POST /x HTTP/1.1\r\n" HOST JSON "Content-Length: 4\r\nContent-Length: 9\r\n\r\nabcdefghi", 0,
     400},
    {"a length with plus", "POST /x HTTP/1.1\r\n" HOST JSON "Content-Length: +4\r\n\r\nabcd", 0,
     400},
    {"a negative length", "POST /x HTTP/1.1\r\n" HOST JSON "Content-Length: -1\r\n\r\nabcd", 0,
     400},
    {"an unknown coding", "POST /x HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: gzip\r\n\r\nabcd", 0,
     400},
    {"space before the colon",
     "POST /x HTTP/1.1\r\n" HOST JSON "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 0, 400},
    {"a folded header", "GET /x HTTP/1.1\r\n" HOST "X-A: b\r\n c\r\n\r\n", 0, 400},
    {"a bare CR", "GET /x HTTP/1.1\r\n" HOST "X-A: b\rc\r\n\r\n", 0, 400},
    {"a NUL", TEXT_WITH_NUL("GET /x HTTP/1.1\r\n" HOST "X-A: b\0c\r\n\r\n"), 400},
    {"two hosts", "GET /x HTTP/1.1\r\n" HOST "Host: other\r\n\r\n", 0, 400},
    {"no host", "GET /x HTTP/1.1\r\nX-A: b\r\n\r\n", 0, 400},
    {"a chunk size that overflows",
     "POST /x HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: chunked\r\n\r\n"
     "fffffffffffffffff\r\nabc",
     0, 400},
    {"a negative chunk size",
     "POST /x HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: chunked\r\n\r\n-4\r\nabcd\r\n0\r\n\r\n",
     0, 400},
    /* Further ambiguities, beyond the sixteen. */
    {"a bare LF", "GET /x HTTP/1.1\nHost: localhost\n\n", 0, 400},
    {"a list of lengths", "POST /x HTTP/1.1\r\n" HOST JSON "Content-Length: 4, 4\r\n\r\nabcd", 0,
     400},
    {"an absolute target", "GET http://evil/x HTTP/1.1\r\n" HOST "\r\n", 0, 400},
    {"dot segments", "GET /a/%2e%2E/x HTTP/1.1\r\n" HOST "\r\n", 0, 400},
    {"two spaces", "GET  /x HTTP/1.1\r\n" HOST "\r\n", 0, 400},
    {"a chunk extension",
     "POST /x HTTP/1.1\r\n" HOST JSON
     "Transfer-Encoding: chunked\r\n\r\n4;a=b\r\nabcd\r\n0\r\n\r\n",
     0, 400},
    {"trailers",
     "POST /x HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\r\n\r\n", 0,
     400},
    {"a body with GET", "GET /x HTTP/1.1\r\n" HOST JSON "Content-Length: 4\r\n\r\nabcd", 0, 400},
    {"HTTP/2 by hand", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 505},
    {"an unknown method", "BREW /x HTTP/1.1\r\n" HOST "\r\n", 0, 501},
    {"a body too large", "POST /x HTTP/1.1\r\n" HOST JSON "Content-Length: 999999999\r\n\r\n", 0,
     413},
    {"a strange host", "GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n", 0, 421},
    {"a foreign origin", "GET /x HTTP/1.1\r\n" HOST "Origin: http://evil.example\r\n\r\n", 0, 403},
    {"a cross-site fetch", "GET /x HTTP/1.1\r\n" HOST "Sec-Fetch-Site: cross-site\r\n\r\n", 0, 403},
    {"a form body",
     "POST /x HTTP/1.1\r\n" HOST "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 0, 415},
};

/* Nothing was let through: one answer, an error in our shape, then the close. */
static void assert_refused(int fd, const char *name, int http_status)
{
    struct http_reply reply;
    client_read(fd, NULL, 4000, &reply);
    ck_assert_msg(reply.http_status == http_status, "%s: %d %s", name, reply.http_status,
                  reply.bytes);
    ck_assert_msg(reply.is_closed, "%s: left open", name);
    ck_assert_msg(strstr(reply.bytes, "{\"error\":{\"message\":") != NULL, "%s", reply.bytes);
    ck_assert_msg(strstr(reply.bytes, "}HTTP/1.1") == NULL, "%s: two answers", name);
    ck_assert_uint_eq(atomic_load(&answered), 0);
    (void)close(fd);
}

START_TEST(refuses_every_ambiguity)
{
    open_with_defaults();
    for (size_t i = 0; i < COUNT_OF(abuses); i++) {
        const struct abuse *abuse = &abuses[i];
        int fd = client_connect(http_server_port(server));
        (void)client_send(fd, abuse->bytes, abuse->size ? abuse->size : strlen(abuse->bytes));
        assert_refused(fd, abuse->name, abuse->http_status);
    }
    close_server();
}
END_TEST

/* The same when every byte comes alone. */
START_TEST(refuses_every_ambiguity_byte_by_byte)
{
    open_with_defaults();
    for (size_t i = 0; i < COUNT_OF(abuses); i++) {
        const struct abuse *abuse = &abuses[i];
        size_t size = abuse->size ? abuse->size : strlen(abuse->bytes);
        int fd = client_connect(http_server_port(server));
        for (size_t j = 0; j < size && client_send(fd, abuse->bytes + j, 1); j++)
            if (j % 16 == 15)
                clock_sleep_ms(1);
        assert_refused(fd, abuse->name, abuse->http_status);
    }
    close_server();
}
END_TEST

START_TEST(refuses_a_huge_header)
{
    open_with_defaults();
    int fd = client_connect(http_server_port(server));
    (void)client_send_text(fd, "GET /x HTTP/1.1\r\n" HOST "X-A: ");
    char block[1024];
    memset(block, 'a', sizeof(block));
    for (int i = 0; i < 64 && client_send(fd, block, sizeof(block)); i++)
        continue;
    assert_refused(fd, "64 KiB header", 431);
    close_server();
}
END_TEST

START_TEST(refuses_ten_thousand_headers)
{
    open_with_defaults();
    int fd = client_connect(http_server_port(server));
    (void)client_send_text(fd, "GET /x HTTP/1.1\r\n" HOST);
    for (int i = 0; i < 10000 && client_send_text(fd, "A:b\r\n"); i++)
        continue;
    assert_refused(fd, "10,000 headers", 431);
    close_server();
}
END_TEST

START_TEST(refuses_a_long_request_line)
{
    open_with_defaults();
    int fd = client_connect(http_server_port(server));
    (void)client_send_text(fd, "GET /");
    char block[1024];
    memset(block, 'a', sizeof(block));
    for (int i = 0; i < 9 && client_send(fd, block, sizeof(block)); i++)
        continue;
    assert_refused(fd, "9 KiB request line", 414);
    close_server();
}
END_TEST

/* A header line now and then does not move the deadline. */
START_TEST(ends_a_slow_head_at_its_deadline)
{
    http_policy_init(&policy);
    struct http_guard_limits limits = http_guard_limits_default();
    ck_assert_uint_eq(limits.head_deadline_ms, 10000);
    limits.head_deadline_ms = 1000;
    open_server(&limits);
    int fd = client_connect(http_server_port(server));
    uint64_t began_ms = clock_now_ms();
    (void)client_send_text(fd, "GET /x HTTP/1.1\r\n" HOST);
    struct http_reply reply = {0};
    while (reply.http_status == 0 && !reply.is_closed && clock_now_ms() - began_ms < 5000) {
        (void)client_send_text(fd, "X-A: b\r\n");
        client_read(fd, "\r\n\r\n", 200, &reply);
    }
    uint64_t took_ms = clock_now_ms() - began_ms;
    ck_assert_int_eq(reply.http_status, 408);
    ck_assert_uint_ge(took_ms, 900);
    ck_assert_uint_le(took_ms, 3000);
    (void)close(fd);
    close_server();
}
END_TEST

START_TEST(ends_a_body_below_the_floor)
{
    http_policy_init(&policy);
    struct http_guard_limits limits = http_guard_limits_default();
    limits.body_grace_ms = 500;
    open_server(&limits);
    int fd = client_connect(http_server_port(server));
    (void)client_send_text(fd, "POST /x HTTP/1.1\r\n" HOST JSON "Content-Length: 5000\r\n\r\n{");
    struct http_reply reply = {0};
    for (int i = 0; i < 40 && reply.http_status == 0 && !reply.is_closed; i++) {
        (void)client_send_text(fd, " ");
        client_read(fd, "\r\n\r\n", 100, &reply);
    }
    ck_assert_int_eq(reply.http_status, 408);
    (void)close(fd);
    close_server();
}
END_TEST

START_TEST(limits_connections_and_recovers)
{
    http_policy_init(&policy);
    struct http_guard_limits limits = http_guard_limits_default();
    ck_assert_uint_eq(limits.connections, 256);
    ck_assert_uint_eq(limits.connections_per_address, 192);
    limits.connections_per_address = 32;
    open_server(&limits);
    int fds[32];
    for (int i = 0; i < 32; i++) {
        fds[i] = client_connect(http_server_port(server));
        (void)client_send_text(fds[i], "GET /x HTTP/1.1\r\n");
    }
    struct http_reply reply;
    int fd = client_connect(http_server_port(server));
    (void)client_send_text(fd, "GET /x HTTP/1.1\r\n" HOST "\r\n");
    client_read(fd, NULL, 3000, &reply);
    ck_assert_int_eq(reply.http_status, 429);
    ck_assert_ptr_nonnull(strstr(reply.bytes, "Retry-After: "));
    (void)close(fd);
    for (int i = 0; i < 32; i++)
        (void)close(fds[i]);
    clock_sleep_ms(100);
    fd = client_connect(http_server_port(server));
    (void)client_send_text(fd, "GET /x HTTP/1.1\r\n" HOST "\r\n");
    client_read(fd, "body_size", 3000, &reply);
    ck_assert_int_eq(reply.http_status, 200);
    (void)close(fd);
    close_server();
}
END_TEST

START_TEST(closes_idle_connections_before_it_refuses)
{
    http_policy_init(&policy);
    struct http_guard_limits limits = http_guard_limits_default();
    limits.connections_per_address = 4;
    open_server(&limits);
    int fds[5];
    struct http_reply reply;
    for (int i = 0; i < 5; i++) {
        fds[i] = client_connect(http_server_port(server));
        (void)client_send_text(fds[i], "GET /x HTTP/1.1\r\n" HOST "\r\n");
        client_read(fds[i], "body_size", 3000, &reply);
        ck_assert_int_eq(reply.http_status, 200);
    }
    client_read(fds[0], NULL, 3000, &reply); /* the one that was idle longest */
    ck_assert(reply.is_closed);
    (void)client_send_text(fds[1], "GET /x HTTP/1.1\r\n" HOST "\r\n");
    client_read(fds[1], "body_size", 3000, &reply);
    ck_assert_int_eq(reply.http_status, 200);
    for (int i = 0; i < 5; i++)
        (void)close(fds[i]);
    close_server();
}
END_TEST

static void hash_by_adding(const char *key, size_t size, struct http_key_hash *hash_out)
{
    memset(hash_out, 0, sizeof(*hash_out));
    for (size_t i = 0; i < size; i++)
        hash_out->bytes[i % HTTP_KEY_HASH_SIZE] =
            (unsigned char)(hash_out->bytes[i % HTTP_KEY_HASH_SIZE] * 31 + key[i]);
}

static int status_of(const char *request)
{
    int fd = client_connect(http_server_port(server));
    (void)client_send_text(fd, request);
    struct http_reply reply;
    client_read(fd, "}", 3000, &reply);
    (void)close(fd);
    return reply.http_status;
}

START_TEST(asks_for_the_key_on_every_route_but_two)
{
    http_policy_init(&policy);
    policy.hash = hash_by_adding;
    policy.key_count = 1;
    hash_by_adding("right", 5, &policy.keys[0]);
    struct http_guard_limits limits = http_guard_limits_default();
    open_server(&limits);
    ck_assert_int_eq(status_of("GET /livez HTTP/1.1\r\n" HOST "\r\n"), 200);
    ck_assert_int_eq(status_of("GET /health HTTP/1.1\r\n" HOST "\r\n"), 200);
    ck_assert_int_eq(status_of("GET /anything HTTP/1.1\r\n" HOST "\r\n"), 401);
    ck_assert_int_eq(status_of("DELETE /livez HTTP/1.1\r\n" HOST "\r\n"), 401);
    ck_assert_int_eq(status_of("GET /x HTTP/1.1\r\n" HOST "Authorization: Bearer right\r\n\r\n"),
                     200);
    ck_assert_int_eq(status_of("GET /x HTTP/1.1\r\n" HOST "x-api-key: right\r\n\r\n"), 200);
    /* Clients of a hub ask some things without their key: these are no guesses. */
    for (int i = 0; i < 12; i++)
        ck_assert_int_eq(status_of("GET /api/x HTTP/1.1\r\n" HOST "\r\n"), 401);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(
            status_of("GET /x HTTP/1.1\r\n" HOST "Authorization: Bearer wrong\r\n\r\n"), 401);
    ck_assert_int_eq(status_of("GET /x HTTP/1.1\r\n" HOST "Authorization: Bearer right\r\n\r\n"),
                     429);
    /* Whoever looks whether the node is alive is not told to wait, with a key or without. */
    ck_assert_int_eq(status_of("GET /livez HTTP/1.1\r\n" HOST "\r\n"), 200);
    ck_assert_int_eq(
        status_of("GET /health HTTP/1.1\r\n" HOST "Authorization: Bearer wrong\r\n\r\n"), 200);
    ck_assert_int_eq(status_of("DELETE /livez HTTP/1.1\r\n" HOST "\r\n"), 429);
    close_server();
}
END_TEST

START_TEST(refuses_to_listen_for_others_without_a_key)
{
    http_policy_init(&policy);
    struct http_guard_limits limits = http_guard_limits_default();
    struct reason reason = {""};
    ck_assert_int_eq(http_server_open("0.0.0.0", 0, &limits, &policy, &server, &reason),
                     STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "0.0.0.0"));
    open_with_defaults();
    struct http_server *second = NULL;
    ck_assert_int_eq(
        http_server_open("127.0.0.1", http_server_port(server), &limits, &policy, &second, &reason),
        STATUS_IN_USE);
    close_server();
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("http guard");
    const TTest *const tests[] = {
        refuses_every_ambiguity,
        refuses_every_ambiguity_byte_by_byte,
        refuses_a_huge_header,
        refuses_ten_thousand_headers,
        refuses_a_long_request_line,
        ends_a_slow_head_at_its_deadline,
        ends_a_body_below_the_floor,
        limits_connections_and_recovers,
                                  closes_idle_connections_before_it_refuses,
        asks_for_the_key_on_every_route_but_two,
        refuses_to_listen_for_others_without_a_key,
    };
    suite_add(suite, "guard", tests, COUNT_OF(tests));
    return suite;
}
