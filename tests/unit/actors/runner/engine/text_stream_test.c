/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/text_stream.h"
#include "protocol/memory.h"
#include "tests/support/check_main.h"
#include "tests/support/seeded.h"

#include <string.h>

struct heard {
    char text[512];
    size_t length;
};

static void hear(struct text_stream *stream, struct heard *heard)
{
    size_t length;
    const char *text = text_stream_text(stream, &length);
    ck_assert_uint_le(heard->length + length, sizeof(heard->text));
    memcpy(heard->text + heard->length, text, length);
    heard->length += length;
    text_stream_take(stream);
}

static struct text_stream *stream_of(const char *const *stops, size_t count)
{
    struct stop_string list[STOP_STRINGS_MAX];
    for (size_t at = 0; at < count; at++)
        list[at] = (struct stop_string){stops[at], strlen(stops[at])};
    struct text_stream *stream = NULL;
    ck_assert_int_eq(text_stream_open(list, count, &stream, NULL), STATUS_OK);
    return stream;
}

static void push(struct text_stream *stream, const char *bytes)
{
    ck_assert_int_eq(text_stream_push(stream, bytes, strlen(bytes)), STATUS_OK);
}

/* What may be handed out now, and no more, is `wanted`. */
static void expect_now(struct text_stream *stream, const char *wanted)
{
    struct heard heard = {.length = 0};
    hear(stream, &heard);
    ck_assert_uint_eq(heard.length, strlen(wanted));
    ck_assert(memcmp(heard.text, wanted, heard.length) == 0);
}

START_TEST(holds_an_unfinished_character_back)
{
    struct text_stream *stream = stream_of(NULL, 0);
    push(stream, "a\xf0\x9f");
    expect_now(stream, "a");
    push(stream, "\x98");
    expect_now(stream, "");
    push(stream, "\x80z");
    expect_now(stream, "\xf0\x9f\x98\x80z");
    text_stream_close(stream);
}
END_TEST

/* A text ends at its NUL wherever it is kept as one, and the rest would be lost. */
START_TEST(replaces_a_nul)
{
    struct text_stream *stream = stream_of(NULL, 0);
    ck_assert_int_eq(text_stream_push(stream, "a\0b\0", 4), STATUS_OK);
    expect_now(stream, "a\xef\xbf\xbd"
                       "b\xef\xbf\xbd");
    ck_assert_int_eq(text_stream_push(stream, "\xf0\x9f\0z", 4), STATUS_OK);
    expect_now(stream, "\xef\xbf\xbd\xef\xbf\xbdz");
    text_stream_close(stream);
}
END_TEST

START_TEST(replaces_bytes_that_can_never_be_a_character)
{
    static const struct {
        const char *bytes;
        const char *text;
    } rows[] = {
        {"\x80", "\xef\xbf\xbd"},
        {"\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                       /* overlong */
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},       /* surrogate */
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe2\x82" "a", "\xef\xbf\xbd" "a"},                           /* maximal subpart: one */
        {"\xe2\x82\xe2\x82\xac", "\xef\xbf\xbd\xe2\x82\xac"},
        {"\xf0\x9f\x98\xc3\xa9", "\xef\xbf\xbd\xc3\xa9"},
    };
    for (size_t row = 0; row < COUNT_OF(rows); row++) {
        struct text_stream *stream = stream_of(NULL, 0);
        push(stream, rows[row].bytes);
        expect_now(stream, rows[row].text);
        ck_assert_int_eq(text_stream_finish(stream), STATUS_OK);
        expect_now(stream, "");
        text_stream_close(stream);
    }
}
END_TEST

START_TEST(finishing_gives_what_was_held_back)
{
    const char *stops[] = {"STOP"};
    struct text_stream *stream = stream_of(stops, 1);
    push(stream, "go STO\xe2\x82");
    expect_now(stream, "go ");
    ck_assert_int_eq(text_stream_finish(stream), STATUS_OK);
    expect_now(stream, "STO\xef\xbf\xbd");
    ck_assert_int_eq(text_stream_stopped(stream), -1);
    text_stream_close(stream);
}
END_TEST

START_TEST(stops_before_the_stop_string)
{
    const char *stops[] = {"\n\nUser:", "END"};
    struct text_stream *stream = stream_of(stops, 2);
    push(stream, "hello\n");
    expect_now(stream, "hello");
    push(stream, "\nUs");
    expect_now(stream, "");
    push(stream, "er: more");
    expect_now(stream, "");
    ck_assert_int_eq(text_stream_stopped(stream), 0);
    push(stream, "ignored");
    ck_assert_int_eq(text_stream_finish(stream), STATUS_OK);
    expect_now(stream, "");
    text_stream_close(stream);
}
END_TEST

START_TEST(releases_a_partial_match_that_fails)
{
    const char *stops[] = {"aab"};
    struct text_stream *stream = stream_of(stops, 1);
    push(stream, "aa");
    expect_now(stream, "");
    push(stream, "a");
    expect_now(stream, "a"); /* the last two may still begin it */
    push(stream, "c");
    expect_now(stream, "aac");
    push(stream, "xaaab");
    expect_now(stream, "xa");
    ck_assert_int_eq(text_stream_stopped(stream), 0);
    text_stream_close(stream);
}
END_TEST

START_TEST(of_two_that_end_together_the_longer_counts)
{
    const char *stops[] = {"b", "aab"};
    struct text_stream *stream = stream_of(stops, 2);
    push(stream, "xaab");
    expect_now(stream, "x");
    ck_assert_int_eq(text_stream_stopped(stream), 1);
    text_stream_close(stream);
}
END_TEST

START_TEST(never_cuts_a_character_for_a_stop_string_of_half_of_one)
{
    const char *stops[] = {"\xa9!"};
    struct text_stream *stream = stream_of(stops, 1);
    push(stream, "\xc3\xa9");
    expect_now(stream, "");
    push(stream, "?");
    expect_now(stream, "\xc3\xa9?");
    text_stream_close(stream);
}
END_TEST

START_TEST(refuses_stop_strings_beyond_the_limits)
{
    static char long_text[STOP_STRING_SIZE_MAX + 2];
    memset(long_text, 'x', STOP_STRING_SIZE_MAX + 1);
    const struct stop_string empty = {"", 0};
    const struct stop_string longer = {long_text, STOP_STRING_SIZE_MAX + 1};
    const struct stop_string many[STOP_STRINGS_MAX + 1] = {{"a", 1}};
    struct text_stream *stream = NULL;
    struct reason reason = {""};
    ck_assert_int_eq(text_stream_open(&empty, 1, &stream, &reason), STATUS_INVALID);
    ck_assert_int_eq(text_stream_open(&longer, 1, &stream, &reason), STATUS_INVALID);
    ck_assert_int_eq(text_stream_open(many, COUNT_OF(many), &stream, &reason), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(reason.text, "stop"));
    ck_assert_ptr_null(stream);
}
END_TEST

START_TEST(survives_every_allocation_that_fails)
{
    const char *stops[] = {"stop"};
    for (uint64_t calls = 0; calls < 8; calls++) {
        struct stop_string list = {stops[0], 4};
        struct text_stream *stream = NULL;
        memory_fail_after(calls);
        enum status status = text_stream_open(&list, 1, &stream, NULL);
        if (status == STATUS_OK)
            status = text_stream_push(stream, "some text", 9);
        memory_fail_after(UINT64_MAX);
        ck_assert(status == STATUS_OK || status == STATUS_NO_MEMORY);
        ck_assert(status == STATUS_OK || calls < 4);
        text_stream_close(stream);
    }
}
END_TEST

/* Bytes full of near matches, cut at every kind of place, always give the same text. */
START_TEST(any_cut_gives_the_same_text)
{
    static const char *const stops[] = {"abab!", "\xc3\xa9\xc3\xa9", "ba?"};
    static const char *const parts[] = {"a", "b", "ab", "\xc3", "\xa9", "\xc3\xa9", "!", "?",
                                        "\xf0\x9f", "\x98\x80", "\xff", "x"};
    struct seeded seeded = seeded_open(7);
    for (int round = 0; round < 3000; round++) {
        char bytes[64];
        size_t size = 0;
        while (size < 40) {
            const char *part = parts[seeded_below(&seeded, COUNT_OF(parts))];
            memcpy(bytes + size, part, strlen(part));
            size += strlen(part);
        }
        struct heard whole = {.length = 0};
        struct heard cut = {.length = 0};
        struct text_stream *one = stream_of(stops, COUNT_OF(stops));
        struct text_stream *many = stream_of(stops, COUNT_OF(stops));
        ck_assert_int_eq(text_stream_push(one, bytes, size), STATUS_OK);
        for (size_t at = 0; at < size;) {
            size_t step = 1 + seeded_below(&seeded, 5);
            step = step < size - at ? step : size - at;
            ck_assert_int_eq(text_stream_push(many, bytes + at, step), STATUS_OK);
            hear(many, &cut);
            at += step;
        }
        ck_assert_int_eq(text_stream_finish(one), STATUS_OK);
        ck_assert_int_eq(text_stream_finish(many), STATUS_OK);
        hear(one, &whole);
        hear(many, &cut);
        ck_assert_uint_eq(whole.length, cut.length);
        ck_assert(memcmp(whole.text, cut.text, cut.length) == 0);
        ck_assert_int_eq(text_stream_stopped(one), text_stream_stopped(many));
        text_stream_close(one);
        text_stream_close(many);
    }
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("text stream");
    const TTest *const tests[] = {holds_an_unfinished_character_back,
                                  replaces_a_nul,
                                  replaces_bytes_that_can_never_be_a_character,
                                  finishing_gives_what_was_held_back,
                                  stops_before_the_stop_string,
                                  releases_a_partial_match_that_fails,
                                  of_two_that_end_together_the_longer_counts,
                                  never_cuts_a_character_for_a_stop_string_of_half_of_one,
                                  refuses_stop_strings_beyond_the_limits,
                                  survives_every_allocation_that_fails,
                                  any_cut_gives_the_same_text};
    suite_add(suite, "text_stream", tests, COUNT_OF(tests));
    return suite;
}
