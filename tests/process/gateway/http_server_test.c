/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests as inputs, answers and streams as HTTP, over real sockets.  The test is the actor.
 */
#include "actors/gateway/http_server.h"
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "tests/process/gateway/http_client.h"
#include "tests/support/check_main.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST "Host: localhost\r\n"
#define JSON "Content-Type: application/json\r\n"

static struct http_policy policy;
static struct http_server *server;

static void open_server(void)
{
    struct reason reason = {""};
    struct http_guard_limits limits = http_guard_limits_default();
    http_policy_init(&policy);
    enum status status = http_server_open("127.0.0.1", 0, &limits, &policy, &server, &reason);
    ck_assert_msg(status == STATUS_OK, "%s", reason.text);
}

static struct http_input next_input(uint64_t timeout_ms)
{
    struct http_input input = {0};
    uint64_t end_ms = clock_now_ms() + timeout_ms;
    while (!http_server_next(server, &input)) {
        ck_assert_msg(clock_now_ms() < end_ms, "no input came");
        struct pollfd wait = {.fd = http_server_wait_fd(server), .events = POLLIN};
        (void)poll(&wait, 1, 20);
    }
    return input;
}

START_TEST(hands_over_whole_requests_and_keeps_the_connection)
{
    open_server();
    int fd = client_connect(http_server_port(server));
    for (int i = 0; i < 3; i++) {
        ck_assert(client_send_text(fd, "POST /v1/a%20b?since=7&model=x%2Fy HTTP/1.1\r\n" HOST JSON
                                       "Transfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n"));
        ck_assert(client_send_text(fd, "4\r\n\":1}\r\n0\r\n\r\n"));
        struct http_input input = next_input(2000);
        ck_assert_int_eq(input.kind, HTTP_INPUT_REQUEST);
        ck_assert_int_eq(input.method, HTTP_METHOD_POST);
        ck_assert_str_eq(input.path, "/v1/a b");
        ck_assert_str_eq(input.query, "since=7&model=x%2Fy");
        ck_assert_str_eq(input.body, "{\"a\":1}");
        char value[16];
        ck_assert(http_query_value(input.query, "model", value, sizeof(value)));
        ck_assert_str_eq(value, "x/y");
        ck_assert(!http_query_value(input.query, "mode", value, sizeof(value)));
        ck_assert_int_eq(http_server_answer(server, input.exchange, 202, "application/json",
                                            "Retry-After: 2", "{\"ok\":true}", 11),
                         STATUS_OK);
        struct http_reply reply;
        client_read(fd, "{\"ok\":true}", 2000, &reply);
        ck_assert_int_eq(reply.http_status, 202);
        ck_assert_ptr_nonnull(strstr(reply.bytes, "Retry-After: 2"));
        http_input_fini(&input);
    }
    (void)close(fd);
    http_server_close(server);
}
END_TEST

static struct http_file *some_file(uint64_t size, uint64_t first, uint64_t count)
{
    char path[] = "/tmp/troupe-http-file-XXXXXX";
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    (void)unlink(path);
    for (uint64_t at = 0; at < size; at++) {
        const char byte = (char)('a' + at % 23);
        ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
    }
    return http_file_open(fd, first, count);
}

/* Byte ranges and heads of a file on one kept connection, then one that is cut while it is sent. */
START_TEST(sends_files)
{
    open_server();
    int fd = client_connect(http_server_port(server));
    ck_assert(client_send_text(fd, "GET /f HTTP/1.1\r\n" HOST "Range: bytes=10-39\r\n"
                                   "If-Range: \"x\"\r\n\r\n"));
    struct http_input input = next_input(2000);
    struct http_reply reply;
    ck_assert_str_eq(input.host, "localhost");
    ck_assert_str_eq(input.range, "bytes=10-39");
    ck_assert_str_eq(input.if_range, "\"x\"");
    ck_assert_int_eq(http_server_answer_file(server, input.exchange, 206, "text/plain",
                                             "ETag: \"x\"\nContent-Range: bytes 10-39/60",
                                             some_file(60, 10, 30), 30),
                     STATUS_OK);
    client_read(fd, "klmnopqrstuvwabcdefghijklmnopq", 2000, &reply);
    ck_assert_int_eq(reply.http_status, 206);
    ck_assert_ptr_nonnull(strstr(reply.bytes, "Content-Length: 30\r\n"));
    ck_assert_ptr_nonnull(strstr(reply.bytes, "ETag: \"x\"\r\n"));
    ck_assert_ptr_nonnull(strstr(reply.bytes, "Content-Range: bytes 10-39/60\r\n"));
    http_input_fini(&input);
    ck_assert(client_send_text(fd, "HEAD /f HTTP/1.1\r\n" HOST "\r\n"));
    input = next_input(2000);
    ck_assert_str_eq(input.range, "");
    ck_assert_int_eq(http_server_answer_file(server, input.exchange, 200, "text/plain", NULL,
                                             NULL, 123456789012u),
                     STATUS_OK);
    client_read(fd, "\r\n\r\n", 2000, &reply);
    ck_assert_ptr_nonnull(strstr(reply.bytes, "Content-Length: 123456789012\r\n"));
    http_input_fini(&input);
    ck_assert(client_send_text(fd, "GET /f HTTP/1.1\r\n" HOST "\r\n"));
    input = next_input(2000);
    ck_assert_int_eq(http_server_answer_file(server, input.exchange, 200, "text/plain", NULL,
                                             some_file(0, 0, 0), 0),
                     STATUS_OK);
    client_read(fd, "\r\n\r\n", 2000, &reply);
    ck_assert_ptr_nonnull(strstr(reply.bytes, "Content-Length: 0\r\n"));
    http_input_fini(&input);
    ck_assert(client_send_text(fd, "GET /f HTTP/1.1\r\n" HOST "\r\n"));
    input = next_input(2000);
    /* It says 60 bytes and has 50. */
    ck_assert_int_eq(http_server_answer_file(server, input.exchange, 200, "text/plain", NULL,
                                             some_file(50, 0, 60), 60),
                     STATUS_OK);
    client_read(fd, NULL, 5000, &reply);
    ck_assert(reply.is_closed);
    ck_assert_ptr_nonnull(strstr(reply.bytes, "Content-Length: 60\r\n"));
    http_input_fini(&input);
    (void)close(fd);
    http_server_close(server);
}
END_TEST

/* The second request of a connection waits for the answer to the first. */
START_TEST(serves_one_request_of_a_connection_at_a_time)
{
    open_server();
    int fd = client_connect(http_server_port(server));
    ck_assert(
        client_send_text(fd, "GET /a HTTP/1.1\r\n" HOST "\r\nGET /b HTTP/1.1\r\n" HOST "\r\n"));
    struct http_input first = next_input(2000);
    ck_assert_str_eq(first.path, "/a");
    clock_sleep_ms(50);
    struct http_input second = {0};
    ck_assert(!http_server_next(server, &second));
    ck_assert_int_eq(http_server_answer(server, first.exchange, 200, "text/plain", NULL, "A", 1),
                     STATUS_OK);
    second = next_input(2000);
    ck_assert_str_eq(second.path, "/b");
    ck_assert_int_eq(http_server_answer(server, second.exchange, 200, "text/plain", NULL, "B", 1),
                     STATUS_OK);
    struct http_reply reply;
    client_read(fd, "\r\n\r\nB", 2000, &reply);
    ck_assert_ptr_nonnull(strstr(reply.bytes, "\r\n\r\nA"));
    ck_assert_ptr_nonnull(strstr(reply.bytes, "\r\n\r\nB"));
    http_input_fini(&first);
    http_input_fini(&second);
    (void)close(fd);
    http_server_close(server);
}
END_TEST

START_TEST(streams_piece_by_piece)
{
    open_server();
    int fd = client_connect(http_server_port(server));
    ck_assert(client_send_text(fd, "GET /s HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"));
    struct http_input input = next_input(2000);
    struct http_reply reply;
    ck_assert_int_eq(http_server_stream_begin(server, input.exchange), STATUS_OK);
    client_read(fd, "\r\n\r\n", 2000, &reply);
    ck_assert_int_eq(reply.http_status, 200);
    ck_assert_ptr_nonnull(strstr(reply.bytes, "Content-Type: text/event-stream"));
    for (int i = 0; i < 20; i++) {
        char piece[32];
        int size = snprintf(piece, sizeof(piece), "data: %d\n\n", i);
        ck_assert_int_eq(http_server_stream_write(server, input.exchange, piece, (size_t)size),
                         STATUS_OK);
        client_read(fd, piece, 2000, &reply);
        ck_assert_ptr_nonnull(strstr(reply.bytes, piece));
    }
    ck_assert_int_eq(http_server_stream_end(server, input.exchange), STATUS_OK);
    client_read(fd, NULL, 2000, &reply);
    ck_assert(reply.is_closed);
    http_input_fini(&input);
    (void)close(fd);
    http_server_close(server);
}
END_TEST

static void assert_gone_after(bool begins_stream, bool has_memory)
{
    open_server();
    int fd = client_connect(http_server_port(server));
    ck_assert(client_send_text(fd, "GET /s HTTP/1.1\r\n" HOST "\r\n"));
    struct http_input input = next_input(2000);
    struct http_reply reply;
    if (begins_stream) {
        ck_assert_int_eq(http_server_stream_begin(server, input.exchange), STATUS_OK);
        client_read(fd, "\r\n\r\n", 2000, &reply);
    }
    clock_sleep_ms(30);
    if (!has_memory)
        memory_fail_after(0);
    (void)close(fd);
    struct http_input gone = next_input(1000);
    memory_fail_after(UINT64_MAX);
    ck_assert_int_eq(gone.kind, HTTP_INPUT_GONE);
    ck_assert_uint_eq(gone.exchange, input.exchange);
    ck_assert_int_eq(http_server_stream_write(server, input.exchange, "x", 1), STATUS_NOT_FOUND);
    http_input_fini(&gone);
    http_input_fini(&input);
    http_server_close(server);
}

START_TEST(says_that_a_waiting_client_left)
{
    assert_gone_after(false, true);
}
END_TEST

START_TEST(says_it_without_memory)
{
    assert_gone_after(false, false);
    assert_gone_after(true, false);
}
END_TEST

START_TEST(says_that_the_client_of_a_silent_stream_left)
{
    assert_gone_after(true, true);
}
END_TEST

/* A client that takes nothing: the stream fills, then says when it takes bytes again. */
START_TEST(pushes_back_and_goes_on)
{
    open_server();
    int fd = client_connect(http_server_port(server));
    ck_assert(client_send_text(fd, "GET /s HTTP/1.1\r\n" HOST "\r\n"));
    struct http_input input = next_input(2000);
    ck_assert_int_eq(http_server_stream_begin(server, input.exchange), STATUS_OK);
    static char block[65536];
    memset(block, 'x', sizeof(block));
    size_t written = 0;
    while (http_server_stream_pending(server, input.exchange) < 4 * HTTP_STREAM_DRAINED_SIZE) {
        ck_assert_int_eq(http_server_stream_write(server, input.exchange, block, sizeof(block)),
                         STATUS_OK);
        written += sizeof(block);
        ck_assert_uint_lt(written, 64u << 20);
    }
    ck_assert_int_eq(http_server_stream_end(server, input.exchange), STATUS_OK);
    static char taken[65536];
    size_t xs = 0;
    while (xs < written) {
        ssize_t size = recv(fd, taken, sizeof(taken), 0);
        ck_assert_int_gt(size, 0);
        for (ssize_t i = 0; i < size; i++)
            xs += taken[i] == 'x';
    }
    struct http_input drained = next_input(2000);
    ck_assert_int_eq(drained.kind, HTTP_INPUT_DRAINED);
    http_input_fini(&drained);
    http_input_fini(&input);
    (void)close(fd);
    http_server_close(server);
}
END_TEST

START_TEST(cuts_a_stream_whose_client_never_takes_anything)
{
    open_server();
    int fd = client_connect(http_server_port(server));
    ck_assert(client_send_text(fd, "GET /s HTTP/1.1\r\n" HOST "\r\n"));
    struct http_input input = next_input(2000);
    ck_assert_int_eq(http_server_stream_begin(server, input.exchange), STATUS_OK);
    static char block[65536];
    enum status status = STATUS_OK;
    for (int i = 0; i < 2000 && status == STATUS_OK; i++)
        status = http_server_stream_write(server, input.exchange, block, sizeof(block));
    ck_assert_int_eq(status, STATUS_TOO_LARGE);
    struct http_input gone = next_input(2000);
    while (gone.kind == HTTP_INPUT_DRAINED) { /* the socket's own buffer took some on the way */
        http_input_fini(&gone);
        gone = next_input(2000);
    }
    ck_assert_int_eq(gone.kind, HTTP_INPUT_GONE);
    http_input_fini(&gone);
    http_input_fini(&input);
    (void)close(fd);
    http_server_close(server);
}
END_TEST

START_TEST(takes_a_body_of_many_megabytes_after_continue)
{
    open_server();
    int fd = client_connect(http_server_port(server));
    size_t size = 9u << 20;
    char head[256];
    (void)snprintf(head, sizeof(head),
                   "POST /b HTTP/1.1\r\n" HOST JSON
                   "Expect: 100-continue\r\nContent-Length: %zu\r\n\r\n",
                   size);
    ck_assert(client_send_text(fd, head));
    struct http_reply reply;
    client_read(fd, "100 Continue\r\n\r\n", 2000, &reply);
    ck_assert_int_eq(reply.http_status, 100);
    char *body = memory_zeroed(size, 1);
    ck_assert_ptr_nonnull(body);
    memset(body, ' ', size);
    ck_assert(client_send(fd, body, size));
    memory_free(body);
    struct http_input input = next_input(5000);
    ck_assert_uint_eq(input.body_size, size);
    http_input_fini(&input);
    (void)close(fd);
    http_server_close(server);
}
END_TEST

/* Many slow heads do not make another client wait. */
START_TEST(slow_clients_do_not_delay_others)
{
    open_server();
    int slow[31];
    for (int i = 0; i < 31; i++) {
        slow[i] = client_connect(http_server_port(server));
        ck_assert(client_send_text(slow[i], "GET /s HTTP/1.1\r\n"));
    }
    uint64_t worst_us = 0;
    for (int i = 0; i < 50; i++) {
        uint64_t began_us = clock_now_us();
        int fd = client_connect(http_server_port(server));
        ck_assert(client_send_text(fd, "GET /q HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"));
        struct http_input input = next_input(2000);
        ck_assert_int_eq(
            http_server_answer(server, input.exchange, 200, "text/plain", NULL, "A", 1), STATUS_OK);
        struct http_reply reply;
        client_read(fd, "\r\n\r\nA", 2000, &reply);
        uint64_t took_us = clock_now_us() - began_us;
        worst_us = took_us > worst_us ? took_us : worst_us;
        http_input_fini(&input);
        (void)close(fd);
    }
    printf("# slowest of 50 answers beside 31 slow heads: %u us\n", (unsigned)worst_us);
    ck_assert_uint_lt(worst_us, 1000000);
    for (int i = 0; i < 31; i++)
        (void)close(slow[i]);
    http_server_close(server);
}
END_TEST

START_TEST(closes_with_requests_in_flight)
{
    open_server();
    int fds[8];
    for (int i = 0; i < 8; i++) {
        fds[i] = client_connect(http_server_port(server));
        ck_assert(client_send_text(fds[i], "GET /s HTTP/1.1\r\n" HOST "\r\n"));
        struct http_input input = next_input(2000);
        if (i % 2 == 0)
            ck_assert_int_eq(http_server_stream_begin(server, input.exchange), STATUS_OK);
        http_input_fini(&input);
    }
    http_server_close(server);
    struct http_reply reply;
    for (int i = 0; i < 8; i++) {
        client_read(fds[i], NULL, 2000, &reply);
        ck_assert(reply.is_closed);
        (void)close(fds[i]);
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("http server");
    const TTest *const tests[] = {
        hands_over_whole_requests_and_keeps_the_connection,
        sends_files,
        serves_one_request_of_a_connection_at_a_time,
        streams_piece_by_piece,
        says_that_a_waiting_client_left,
        says_it_without_memory,
        says_that_the_client_of_a_silent_stream_left,
        pushes_back_and_goes_on,
        cuts_a_stream_whose_client_never_takes_anything,
        takes_a_body_of_many_megabytes_after_continue,
        slow_clients_do_not_delay_others,
        closes_with_requests_in_flight,
    };
    suite_add(suite, "server", tests, COUNT_OF(tests));
    return suite;
}
