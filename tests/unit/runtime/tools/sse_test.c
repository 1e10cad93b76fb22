/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/sse.h"

#include "tests/support/check_main.h"

#include <string.h>

struct heard {
    char text[256]; /* events with '|' after each */
    enum status answer;
};

static enum status hear(void *self, const char *value, size_t size)
{
    struct heard *heard = self;
    ck_assert_uint_eq(strlen(value), size);
    ck_assert_uint_lt(strlen(heard->text) + size + 2, sizeof(heard->text));
    memcpy(heard->text + strlen(heard->text), value, size + 1);
    memcpy(heard->text + strlen(heard->text), "|", 2);
    return heard->answer;
}

/* The same events whatever the pieces. */
static void expect(const char *stream, const char *events)
{
    const size_t size = strlen(stream);
    for (size_t piece = 1; piece <= size; piece++) {
        struct heard heard = {.answer = STATUS_OK};
        struct sse_reader reader;
        sse_init(&reader, hear, &heard);
        for (size_t at = 0; at < size; at += piece)
            ck_assert_int_eq(
                sse_feed(&reader, stream + at, size - at < piece ? size - at : piece), STATUS_OK);
        ck_assert_str_eq(heard.text, events);
        sse_fini(&reader);
    }
}

START_TEST(gives_events_whole_whatever_the_pieces)
{
    expect("data: one\n\ndata:two\n\n", "one|two|");
    expect("data: one\r\n\r\ndata: two\r\n\r\n", "one|two|");
    expect("data: a\ndata: b\n\n", "a\nb|");
    expect("data:  two spaces\n\n", " two spaces|");
}
END_TEST

START_TEST(passes_over_comments_and_other_fields)
{
    expect(": keep-alive\n\nevent: x\nid: 7\ndata: one\n\n: more\n\n", "one|");
    expect("data\n\ndatax: y\n\n", "");
    expect("data: not ended\n", "");
}
END_TEST

START_TEST(stops_when_told_to)
{
    struct heard heard = {.answer = STATUS_CANCELLED};
    struct sse_reader reader;
    sse_init(&reader, hear, &heard);
    ck_assert_int_eq(sse_feed(&reader, "data: a\n\ndata: b\n\n", 18), STATUS_CANCELLED);
    ck_assert_str_eq(heard.text, "a|");
    sse_fini(&reader);
}
END_TEST

START_TEST(bounds_an_event)
{
    struct heard heard = {.answer = STATUS_OK};
    struct sse_reader reader;
    char piece[4096];
    enum status status = STATUS_OK;
    memset(piece, 'x', sizeof(piece));
    sse_init(&reader, hear, &heard);
    for (size_t i = 0; i <= SSE_EVENT_SIZE_MAX / sizeof(piece) && status == STATUS_OK; i++)
        status = sse_feed(&reader, piece, sizeof(piece));
    ck_assert_int_eq(status, STATUS_TOO_LARGE);
    sse_fini(&reader);
}
END_TEST

Suite *suite_of_tests(void)
{
    const TTest *const tests[] = {
        gives_events_whole_whatever_the_pieces,
        passes_over_comments_and_other_fields,
        stops_when_told_to,
        bounds_an_event,
    };
    Suite *suite = suite_create("tools/sse");
    suite_add(suite, "sse", tests, COUNT_OF(tests));
    return suite;
}
