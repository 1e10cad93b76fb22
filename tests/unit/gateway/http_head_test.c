/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/http_head.h"
#include "tests/support/check_main.h"

#include <stdio.h>
#include <string.h>

#define HOST "Host: localhost:8080\r\n"

/* Scans and parses a whole head; 0 when it is good, else the status of the fault. */
static int verdict(const char *text, struct http_head *head_out)
{
    struct http_head_scan scan = {0};
    struct http_fault fault = {0};
    size_t size = 0;
    enum http_read read = http_head_scan(&scan, text, strlen(text), &size, &fault);
    ck_assert_msg(read != HTTP_READ_MORE, "no end in %s", text);
    if (read == HTTP_READ_BAD)
        return fault.http_status;
    ck_assert_uint_eq(size, strlen(text));
    return http_head_parse(text, size, head_out, &fault) ? 0 : fault.http_status;
}

START_TEST(reads_what_clients_send)
{
    struct http_head head;
    const char *text = "POST /v1/chat%20x?a=b&c HTTP/1.1\r\n" HOST
                       "content-type: application/json; charset=utf-8\r\n"
                       "Authorization:Bearer k\r\nContent-Length: 0012\r\nAccept: */*\t \r\n"
                       "Connection: keep-alive, Close\r\nExpect: 100-Continue\r\n\r\n";
    ck_assert_int_eq(verdict(text, &head), 0);
    ck_assert_int_eq(head.method, HTTP_METHOD_POST);
    ck_assert(http_text_is(head.path, "/v1/chat%20x"));
    ck_assert(http_text_is(head.query, "a=b&c"));
    ck_assert(http_text_is(head.host, "localhost:8080"));
    ck_assert(http_text_is(head.authorization, "Bearer k"));
    ck_assert(http_text_is(head.accept, "*/*"));
    ck_assert(head.has_length && head.length == 12);
    ck_assert(head.wants_close && head.wants_continue && !head.is_chunked);
    ck_assert_int_eq(verdict("GET / HTTP/1.0\r\nHost: [::1]:80\r\n\r\n", &head), 0);
    ck_assert(head.wants_close);
    ck_assert_int_eq(verdict("DELETE /instance/ab HTTP/1.1\r\nHost: a-b.c_d\r\n"
                             "Transfer-Encoding: Chunked\r\n\r\n",
                             &head),
                     0);
    ck_assert(head.is_chunked);
}
END_TEST

START_TEST(refuses_by_the_right_status)
{
    static const struct {
        const char *text;
        int http_status;
    } rows[] = {
        {"\r\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "host: localhost:8080\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST ": x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "nocolon\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "A\tB: x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "A\xc3\xa9: x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "A: x\x01\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n " HOST "\r\n", 400},
        {"GET /%zz HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /%0d%0a HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /a#b HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /./x HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /a/.. HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET / HTTP/1.1 \r\n" HOST "\r\n", 400},
        {"GET /\r\n" HOST "\r\n", 400},
        {"GET / http/1.1\r\n" HOST "\r\n", 400},
        {"GET / HTTP/1.2\r\n" HOST "\r\n", 505},
        {"CONNECT /a HTTP/1.1\r\n" HOST "\r\n", 501},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 0x4\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551617\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 33554433\r\n\r\n", 413},
        {"POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, gzip\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n"
         "Transfer-Encoding: chunked\r\n\r\n",
         400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Type: a/b\r\ncontent-type: a/b\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Expect: tea\r\n\r\n", 417},
    };
    struct http_head head;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        ck_assert_msg(verdict(rows[i].text, &head) == rows[i].http_status, "%s: %d", rows[i].text,
                      verdict(rows[i].text, &head));
}
END_TEST

/* The scan gives the same verdict however the bytes are cut. */
START_TEST(scans_the_same_in_pieces)
{
    const char *text = "GET /a HTTP/1.1\r\n" HOST "A: b\r\n\r\nrest";
    struct http_head_scan scan = {0};
    struct http_fault fault;
    size_t size = 0;
    for (size_t i = 1; i <= strlen(text) - 5; i++)
        ck_assert_int_eq(http_head_scan(&scan, text, i, &size, &fault), HTTP_READ_MORE);
    ck_assert_int_eq(http_head_scan(&scan, text, strlen(text), &size, &fault), HTTP_READ_WHOLE);
    ck_assert_uint_eq(size, strlen(text) - 4);
}
END_TEST

START_TEST(limits_the_number_of_headers)
{
    char text[8192];
    for (int count = 99; count <= 100; count++) {
        int size = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" HOST);
        for (int i = 0; i < count; i++)
            size += snprintf(text + size, sizeof(text) - (size_t)size, "A%d: b\r\n", i);
        (void)snprintf(text + size, sizeof(text) - (size_t)size, "\r\n");
        struct http_head head;
        ck_assert_int_eq(verdict(text, &head), count == 99 ? 0 : 431);
    }
}
END_TEST

/* Reads a chunked body with pieces of at most `step` bytes. */
static enum http_read read_chunks(const char *text, size_t step, char *body, size_t *taken_out)
{
    struct http_chunked chunked = {0};
    struct http_fault fault;
    enum http_read read = HTTP_READ_MORE;
    size_t at = 0;
    size_t size = strlen(text);
    size_t length = 0;
    while (read == HTTP_READ_MORE && at < size) {
        size_t taken = 0;
        struct http_text piece;
        size_t given = size - at < step ? size - at : step;
        read = http_chunked_read(&chunked, text + at, given, &taken, &piece, &fault);
        memcpy(body + length, piece.bytes, piece.size);
        length += piece.size;
        ck_assert_uint_gt(taken, 0);
        at += taken;
    }
    body[length] = '\0';
    *taken_out = at;
    return read;
}

START_TEST(reads_chunks_in_any_pieces)
{
    const char *text = "5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\nGET";
    for (size_t step = 1; step <= strlen(text); step++) {
        char body[64];
        size_t taken = 0;
        ck_assert_int_eq(read_chunks(text, step, body, &taken), HTTP_READ_WHOLE);
        ck_assert_str_eq(body, "hello0123456789");
        ck_assert_uint_eq(taken, strlen(text) - 3);
    }
}
END_TEST

START_TEST(refuses_bad_chunks)
{
    static const char *const bodies[] = {
        "\r\n",          "+4\r\nabcd\r\n",  "-4\r\nabcd\r\n",        "4 \r\nabcd\r\n",
        "0x4\r\nabcd",   "4\nabcd\r\n",     "4\r\nabcdX\r\n",        "4\r\nabcd\n",
        "4;e=1\r\nabcd", "0\r\nA: b\r\n",   "000000004\r\nabcd",     "0\r\n\n",
        "2000001\r\n",   "ffffffff\r\nabc", "fffffffffffffffff\r\n",
    };
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        char body[64];
        size_t taken = 0;
        ck_assert_msg(read_chunks(bodies[i], 64, body, &taken) == HTTP_READ_BAD, "%s", bodies[i]);
    }
}
END_TEST

START_TEST(writes_faults_as_clean_json)
{
    struct http_fault fault;
    char body[HTTP_FAULT_BODY_SIZE_MAX];
    (void)http_fault_set_param(&fault, 400, "invalid_value", "a\"b", "bad \\ \n\xff value");
    size_t size = http_fault_body(&fault, body);
    ck_assert_uint_eq(size, strlen(body));
    ck_assert_str_eq(body, "{\"error\":{\"message\":\"bad \\\\ \\u000a\xef\xbf\xbd value\","
                           "\"type\":\"invalid_request_error\",\"param\":\"a\\\"b\","
                           "\"code\":\"invalid_value\"}}");
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("http head");
    const TTest *const tests[] = {
        reads_what_clients_send,      refuses_by_the_right_status, scans_the_same_in_pieces,
        limits_the_number_of_headers, reads_chunks_in_any_pieces,  refuses_bad_chunks,
        writes_faults_as_clean_json,
    };
    suite_add(suite, "head", tests, COUNT_OF(tests));
    return suite;
}
