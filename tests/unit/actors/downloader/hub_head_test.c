/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_gates.h"
#include "actors/downloader/hub_retry.h"

#include "tests/support/check_main.h"

#include <stdio.h>
#include <string.h>

static struct hub_head head;
static struct reason reason;

/* Lines with \n between them. */
static void read_head(const char *text)
{
    hub_head_init(&head);
    while (*text) {
        const size_t size = strcspn(text, "\n");
        hub_head_line(&head, text, size);
        text += size + (text[size] == '\n');
    }
}

START_TEST(a_redirect_to_a_cdn_is_read)
{
    read_head("HTTP/1.1 302 Found\r\n"
              "X-Repo-Commit: 0123456789012345678901234567890123456789\r\n"
              "x-linked-etag: \"aabb\"\r\n"
              "ETag: W/\"other\"\r\n"
              "X-Linked-Size: 1234\r\n"
              "Content-Length: 17\r\n"
              "Location: https://cdn/x?y=z\r\n");
    ck_assert_uint_eq(head.status, 302);
    ck_assert_str_eq(head.etag, "aabb");
    ck_assert_str_eq(head.validator, "");
    ck_assert_uint_eq(head.size, 1234);
    ck_assert_str_eq(head.location, "https://cdn/x?y=z");
    ck_assert_str_eq(head.commit, "0123456789012345678901234567890123456789");
    ck_assert(!head.is_malformed);
}
END_TEST

START_TEST(a_part_is_read)
{
    read_head("HTTP/2 206\nETag: \"v1\"\nContent-Range: bytes 5-9/100\n"
              "Content-Encoding: identity\n");
    ck_assert(head.has_range && head.has_total && !head.is_encoded);
    ck_assert_uint_eq(head.range_first, 5);
    ck_assert_uint_eq(head.range_end, 10);
    ck_assert_uint_eq(head.total, 100);
    ck_assert_str_eq(head.validator, "\"v1\"");
    ck_assert_str_eq(head.etag, "v1");
    read_head("HTTP/1.1 416 X\nContent-Range: bytes */77\n");
    ck_assert(!head.has_range && head.has_total);
    ck_assert_uint_eq(head.total, 77);
    read_head("HTTP/1.1 206 X\nContent-Range: bytes 5-9/*\n");
    ck_assert(head.has_range && !head.has_total);
    read_head("HTTP/1.1 200 X\nContent-Encoding: gzip\n");
    ck_assert(head.is_encoded);
    ck_assert_str_eq(head.encoding, "gzip");
}
END_TEST

START_TEST(lines_that_lie_are_malformed)
{
    static const char *const wrong[] = {
        "HTTP/1.1 200 X\nContent-Length: -1\n",
        "HTTP/1.1 200 X\nContent-Length: 1, 2\n",
        "HTTP/1.1 200 X\nContent-Length: 99999999999999999999\n",
        "HTTP/1.1 206 X\nContent-Range: bytes 9-5/100\n",
        "HTTP/1.1 206 X\nContent-Range: lines 1-5/100\n",
        "HTTP/1.1 206 X\nContent-Range: bytes 1-5\n",
        "HTTP/1.1\n",
        "HTTP/1.1 abc X\n",
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        read_head(wrong[i]);
        ck_assert_msg(head.is_malformed, "%s", wrong[i]);
    }
    hub_head_init(&head);
    for (int i = 0; i <= HUB_HEAD_LINES_MAX; i++)
        hub_head_line(&head, "X: y", 4);
    ck_assert(head.is_malformed);
    /* Bytes of control in a text are no bytes of control in a sentence. */
    read_head("HTTP/1.1 500 X\nX-Error-Message: a\x1b[31mb\n");
    ck_assert_str_eq(head.error_message, "a [31mb");
    /* An interim answer is forgotten. */
    read_head("HTTP/1.1 100 Continue\nX-Error-Code: Early\n\nHTTP/1.1 200 OK\n");
    ck_assert_str_eq(head.error_code, "");
    ck_assert_uint_eq(head.status, 200);
}
END_TEST

START_TEST(the_next_page_is_found)
{
    read_head(
        "HTTP/1.1 200 OK\nLink: <https://h/a>; rel=\"prev\", <https://h/b?c=1>; rel=\"next\"\n");
    ck_assert_str_eq(head.next, "https://h/b?c=1");
    read_head("HTTP/1.1 200 OK\nlink: </api/x>;rel=next\n");
    ck_assert_str_eq(head.next, "/api/x");
    read_head("HTTP/1.1 200 OK\nLink: <https://h/next>; rel=\"xet-auth\"\n");
    ck_assert_str_eq(head.next, "");
    read_head("HTTP/1.1 200 OK\nLink: <https://h/b\n");
    ck_assert_str_eq(head.next, "");
}
END_TEST

START_TEST(troubles_have_their_kind)
{
    static const struct {
        const char *text;
        enum hub_trouble trouble;
    } rows[] = {
        {"HTTP/1.1 200 X\n", HUB_TROUBLE_NONE},
        {"HTTP/1.1 206 X\n", HUB_TROUBLE_NONE},
        {"HTTP/1.1 307 X\n", HUB_TROUBLE_NONE},
        {"HTTP/1.1 429 X\n", HUB_TROUBLE_WAIT},
        {"HTTP/1.1 503 X\n", HUB_TROUBLE_RETRY},
        {"HTTP/1.1 500 X\n", HUB_TROUBLE_RETRY},
        {"HTTP/1.1 408 X\n", HUB_TROUBLE_RETRY},
        {"HTTP/1.1 404 X\n", HUB_TROUBLE_FINAL},
        {"HTTP/1.1 503 X\nRetry-After: 4\n", HUB_TROUBLE_WAIT},
        {"HTTP/1.1 401 X\n", HUB_TROUBLE_FINAL},
        {"HTTP/1.1 416 X\n", HUB_TROUBLE_FINAL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        read_head(rows[i].text);
        ck_assert_msg(hub_head_trouble(&head) == rows[i].trouble, "%s", rows[i].text);
    }
}
END_TEST

START_TEST(refusals_say_what_to_do)
{
    static const struct {
        const char *text;
        bool has_token;
        enum status status;
        const char *word;
    } rows[] = {
        {"HTTP/1.1 401 X\nX-Error-Code: GatedRepo\n", false, STATUS_NO_PERMISSION,
         "accept its licence at hub/org/m"},
        {"HTTP/1.1 403 X\nX-Error-Code: GatedRepo\n", true, STATUS_NO_PERMISSION,
         "this token has no access"},
        {"HTTP/1.1 401 X\nX-Error-Code: RepoNotFound\n", false, STATUS_NOT_FOUND, "HF_TOKEN"},
        {"HTTP/1.1 401 X\n", true, STATUS_NO_PERMISSION, "renew"},
        {"HTTP/1.1 404 X\nX-Error-Code: RepoNotFound\n", true, STATUS_NOT_FOUND,
         "check the name and HF_TOKEN"},
        {"HTTP/1.1 404 X\n", false, STATUS_NOT_FOUND, "has no org/m; check the name"},
        {"HTTP/1.1 404 X\nX-Error-Code: RevisionNotFound\n", false, STATUS_NOT_FOUND, "v9"},
        {"HTTP/1.1 418 X\nX-Error-Message: tea\n", false, STATUS_REFUSED, "418"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct hub_question question = {"org/m", "v9", NULL, "hub", rows[i].has_token};
        read_head(rows[i].text);
        ck_assert_int_eq(hub_head_refusal(&head, &question, &reason), rows[i].status);
        ck_assert_msg(strstr(reason.text, rows[i].word), "%s", reason.text);
    }
}
END_TEST

/* ---- waiting ---- */

START_TEST(the_time_a_limit_names_is_waited)
{
    uint64_t wait_ms = 0;
    read_head("HTTP/1.1 429 X\nRateLimit: \"api\";r=0;t=55\nRetry-After: 3\n");
    ck_assert_int_eq(hub_wait_ms(&head, "hub", 1, 0, &wait_ms, &reason), STATUS_OK);
    ck_assert_uint_eq(wait_ms, 56000);
    read_head("HTTP/1.1 429 X\nRetry-After: 3\n");
    ck_assert_int_eq(hub_wait_ms(&head, "hub", 1, 0, &wait_ms, &reason), STATUS_OK);
    ck_assert_uint_eq(wait_ms, 3000);
    read_head("HTTP/1.1 429 X\nRetry-After: soon\n");
    ck_assert_int_eq(hub_wait_ms(&head, "hub", 1, 0, &wait_ms, &reason), STATUS_OK);
    ck_assert_uint_eq(wait_ms, HUB_BACKOFF_FIRST_MS / 2);
    read_head("HTTP/1.1 429 X\nRetry-After: 99999999999999999999\n");
    ck_assert_int_eq(hub_wait_ms(&head, "hub", 1, 0, &wait_ms, &reason), STATUS_BUSY);
    read_head("HTTP/1.1 429 X\nratelimit: \"a\";r=0;t=601\n");
    ck_assert_int_eq(hub_wait_ms(&head, "hub", 1, 0, &wait_ms, &reason), STATUS_BUSY);
    ck_assert_ptr_nonnull(strstr(reason.text, "601 s"));
    read_head("HTTP/1.1 429 X\nretry-after: 1\n");
    ck_assert_int_eq(hub_wait_ms(&head, "hub", HUB_WAITS_MAX + 1, 0, &wait_ms, &reason),
                     STATUS_BUSY);
}
END_TEST

START_TEST(a_date_a_limit_names_is_waited_for)
{
    static const struct {
        const char *lines;
        uint64_t now_s;
        uint64_t retry_s;
    } rows[] = {
        {"Date: Fri, 31 Dec 1999 23:59:50 GMT\nRetry-After: Sat, 01 Jan 2000 00:00:07 GMT\n", 5,
         17},
        {"Retry-After: Thu, 01 Mar 2012 00:00:00 GMT\nDate: Tue, 28 Feb 2012 23:59:59 GMT\n", 5,
         86401},
        {"Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\n", 784111770, 7},
        {"Retry-After: Fri, 01 Mar 2024 00:00:00 GMT\n", 1709251190, 10},
        {"Retry-After: Sun, 22 Nov 2026 19:28:09 GMT\n", 1795375680, 9},
        {"Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\n", 784111778, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char lines[256];
        (void)snprintf(lines, sizeof(lines), "HTTP/1.1 429 X\n%s", rows[i].lines);
        read_head(lines);
        hub_head_came_at(&head, rows[i].now_s);
        ck_assert(head.has_retry);
        ck_assert_uint_eq(head.retry_s, rows[i].retry_s);
    }
    read_head("HTTP/1.1 429 X\nRetry-After: Sun, 06 Xyz 1994 08:49:37 GMT\n");
    hub_head_came_at(&head, 5);
    ck_assert(!head.has_retry);
}
END_TEST

START_TEST(a_backoff_doubles_with_jitter_and_ends)
{
    uint64_t least = 0;
    for (uint32_t tries = 1; tries < 40; tries++) {
        const uint64_t low = hub_backoff_ms(tries, 0);
        uint64_t highest = 0;
        for (uint32_t random = 0; random < 100000; random += 7)
            if (hub_backoff_ms(tries, random) > highest)
                highest = hub_backoff_ms(tries, random);
        ck_assert_uint_ge(low, least);
        ck_assert_uint_le(highest, 2 * low);
        ck_assert_uint_gt(highest, low);
        ck_assert_uint_le(highest, HUB_BACKOFF_MAX_MS);
        least = low;
    }
    ck_assert_uint_eq(least, HUB_BACKOFF_MAX_MS / 2);
}
END_TEST

START_TEST(a_gate_stays_closed_for_the_longest)
{
    struct hub_gates gates;
    hub_gates_init(&gates);
    ck_assert_uint_eq(hub_gates_open_at(&gates, "hub"), 0);
    hub_gates_close_until(&gates, "hub", 500);
    hub_gates_close_until(&gates, "hub", 300);
    ck_assert_uint_eq(hub_gates_open_at(&gates, "hub"), 500);
    ck_assert_uint_eq(hub_gates_open_at(&gates, "cdn"), 0);
    for (int i = 0; i < 3 * HUB_GATES_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "cdn%d", i);
        hub_gates_close_until(&gates, name, (uint64_t)(100 + i));
    }
    ck_assert_uint_eq(hub_gates_open_at(&gates, "hub"), 500);
    hub_gates_fini(&gates);
}
END_TEST

Suite *suite_of_tests(void)
{
    Suite *suite = suite_create("hub_head");
    const TTest *const tests[] = {
        a_redirect_to_a_cdn_is_read, a_part_is_read,           lines_that_lie_are_malformed,
        the_next_page_is_found,      troubles_have_their_kind, refusals_say_what_to_do,
    };
    const TTest *const waits[] = {
        the_time_a_limit_names_is_waited,
        a_date_a_limit_names_is_waited_for,
        a_backoff_doubles_with_jitter_and_ends,
        a_gate_stays_closed_for_the_longest,
    };
    suite_add(suite, "heads", tests, COUNT_OF(tests));
    suite_add(suite, "waits", waits, COUNT_OF(waits));
    return suite;
}
