/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_head.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

void hub_head_init(struct hub_head *head)
{
    memset(head, 0, sizeof(*head));
}

/* A field's value: blanks around it are no part of it. */
struct field {
    const char *text;
    size_t size;
};

static void copy(char *text_out, size_t room, struct field field)
{
    if (field.size >= room)
        field.size = room - 1;
    for (size_t i = 0; i < field.size; i++)
        text_out[i] = field.text[i] >= ' ' && field.text[i] != 0x7f ? field.text[i] : ' ';
    text_out[field.size] = '\0';
}

/* Digits and nothing else, below 2^53. */
static bool number_read(struct field field, uint64_t *number_out)
{
    uint64_t number = 0;
    if (field.size == 0 || field.size > 15)
        return false;
    for (size_t i = 0; i < field.size; i++) {
        if (field.text[i] < '0' || field.text[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(field.text[i] - '0');
    }
    *number_out = number;
    return true;
}

static struct field strip(struct field field)
{
    while (field.size > 0 && strchr(" \t\r\n", field.text[field.size - 1]))
        field.size--;
    while (field.size > 0 && strchr(" \t", field.text[0])) {
        field.text++;
        field.size--;
    }
    return field;
}

static struct field unquote(struct field field)
{
    if (field.size >= 2 && strncasecmp(field.text, "W/", 2) == 0)
        field = (struct field){field.text + 2, field.size - 2};
    if (field.size >= 2 && field.text[0] == '"' && field.text[field.size - 1] == '"')
        field = (struct field){field.text + 1, field.size - 2};
    return field;
}

static void take_etag(struct hub_head *head, struct field field)
{
    const bool is_weak = field.size >= 2 && strncasecmp(field.text, "W/", 2) == 0;
    if (!is_weak && field.size < sizeof(head->validator))
        copy(head->validator, sizeof(head->validator), field);
    if (!head->has_linked_etag)
        copy(head->etag, sizeof(head->etag), unquote(field));
}

static void take_linked_etag(struct hub_head *head, struct field field)
{
    head->has_linked_etag = true;
    copy(head->etag, sizeof(head->etag), unquote(field));
}

static void take_commit(struct hub_head *head, struct field field)
{
    copy(head->commit, sizeof(head->commit), field);
}

static void take_length(struct hub_head *head, struct field field)
{
    uint64_t size = 0;
    if (!number_read(field, &size))
        head->is_malformed = true;
    else if (!head->has_linked_size)
        head->size = size;
    head->has_size = true;
}

static void take_linked_size(struct hub_head *head, struct field field)
{
    head->has_linked_size = head->has_size = true;
    if (!number_read(field, &head->size))
        head->is_malformed = true;
}

/* "bytes 0-99/200", "bytes 0-99" and an asterisk for the total, or "bytes", asterisk, "/200". */
static void take_range(struct hub_head *head, struct field field)
{
    uint64_t last = 0;
    if (field.size < 6 || strncasecmp(field.text, "bytes ", 6) != 0) {
        head->is_malformed = true;
        return;
    }
    const char *text = field.text + 6;
    const size_t size = field.size - 6;
    const char *slash = memchr(text, '/', size);
    const char *dash = memchr(text, '-', size);
    if (!slash) {
        head->is_malformed = true;
        return;
    }
    const struct field total = {slash + 1, (size_t)(text + size - slash) - 1};
    if (!(total.size == 1 && total.text[0] == '*')) {
        head->has_total = number_read(total, &head->total);
        head->is_malformed = head->is_malformed || !head->has_total;
    }
    if (dash && dash < slash) {
        head->has_range =
            number_read((struct field){text, (size_t)(dash - text)}, &head->range_first) &&
            number_read((struct field){dash + 1, (size_t)(slash - dash) - 1}, &last);
        head->range_end = last + 1;
        head->is_malformed = head->is_malformed || !head->has_range || last < head->range_first;
    }
}

static void take_encoding(struct hub_head *head, struct field field)
{
    head->is_encoded =
        field.size > 0 && !(field.size == 8 && strncasecmp(field.text, "identity", 8) == 0);
    copy(head->encoding, sizeof(head->encoding), field);
}

static void take_location(struct hub_head *head, struct field field)
{
    if (field.size >= sizeof(head->location))
        head->is_malformed = true;
    else
        copy(head->location, sizeof(head->location), field);
}

/* <address>; rel="next", perhaps among others. */
static void take_link(struct hub_head *head, struct field field)
{
    const char *at = field.text;
    const char *end = field.text + field.size;
    while (at < end) {
        const char *open = memchr(at, '<', (size_t)(end - at));
        const char *close = open ? memchr(open, '>', (size_t)(end - open)) : NULL;
        if (!close)
            return;
        const char *rest = memchr(close, '<', (size_t)(end - close));
        if (!rest)
            rest = end;
        bool is_next = false;
        for (const char *c = close; c + 4 <= rest && !is_next; c++)
            is_next = strncasecmp(c, "next", 4) == 0 && c > close && (c[-1] == '"' || c[-1] == '=');
        if (is_next && (size_t)(close - open) < sizeof(head->next)) {
            copy(head->next, sizeof(head->next),
                 (struct field){open + 1, (size_t)(close - open) - 1});
            return;
        }
        if (is_next)
            head->is_malformed = true;
        at = rest;
    }
}

/* "api";r=0;t=55 */
static void take_rate_limit(struct hub_head *head, struct field field)
{
    for (size_t i = 0; i + 2 < field.size; i++) {
        if ((i > 0 && field.text[i - 1] != ';' && field.text[i - 1] != ' ') ||
            field.text[i] != 't' || field.text[i + 1] != '=')
            continue;
        struct field digits = {field.text + i + 2, 0};
        while (i + 2 + digits.size < field.size && digits.text[digits.size] >= '0' &&
               digits.text[digits.size] <= '9')
            digits.size++;
        head->has_reset = number_read(digits, &head->reset_s);
        return;
    }
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" in seconds since 1970; 0: it is none. */
static uint64_t date_read(struct field field)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static const uint16_t days_before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    uint64_t day = 0, year = 0, hour = 0, minute = 0, second = 0;
    size_t month = 0;
    const char *text = field.text;
    if (field.size != 29 || memcmp(text + 25, " GMT", 4) != 0 ||
        !number_read((struct field){text + 5, 2}, &day) ||
        !number_read((struct field){text + 12, 4}, &year) ||
        !number_read((struct field){text + 17, 2}, &hour) ||
        !number_read((struct field){text + 20, 2}, &minute) ||
        !number_read((struct field){text + 23, 2}, &second))
        return 0;
    while (month < 12 && memcmp(text + 8, months + 3 * month, 3) != 0)
        month++;
    if (month == 12 || year < 1970 || day < 1 || day > 31 || hour > 23 || minute > 59)
        return 0;
    /* Leap days of the years that are over, and of this one from March on. */
    const uint64_t leap_years = month < 2 ? year - 1 : year;
    const uint64_t leaps = leap_years / 4 - leap_years / 100 + leap_years / 400 - 477;
    const uint64_t days = (year - 1970) * 365 + leaps + days_before[month] + day - 1;
    return days * 86400 + hour * 3600 + minute * 60 + second;
}

void hub_head_came_at(struct hub_head *head, uint64_t now_s)
{
    head->date_s = head->date_s ? head->date_s : now_s;
    if (!head->retry_at_s || !head->date_s)
        return;
    head->has_retry = true;
    head->retry_s = head->retry_at_s > head->date_s ? head->retry_at_s - head->date_s : 0;
}

static void take_date(struct hub_head *head, struct field field)
{
    head->date_s = date_read(field);
}

/* Seconds: more digits than a number may have are a long time.  Or a date. */
static void take_retry(struct hub_head *head, struct field field)
{
    uint64_t last = 0;
    head->has_retry = number_read(field, &head->retry_s);
    if (field.size > 15 && field.size < 100 &&
        number_read((struct field){field.text + field.size - 15, 15}, &last) &&
        field.text[0] > '0' && field.text[0] <= '9') {
        head->has_retry = true;
        head->retry_s = HUB_RETRY_S_MAX;
    }
    head->retry_at_s = head->has_retry ? 0 : date_read(field);
}

static void take_error_code(struct hub_head *head, struct field field)
{
    copy(head->error_code, sizeof(head->error_code), field);
}

static void take_error_message(struct hub_head *head, struct field field)
{
    copy(head->error_message, sizeof(head->error_message), field);
}

static void status_line(struct hub_head *head, const char *line, size_t size)
{
    const char *space = memchr(line, ' ', size);
    uint64_t status = 0;
    hub_head_init(head);
    if (space && line + size - space >= 4 && number_read((struct field){space + 1, 3}, &status))
        head->status = (uint32_t)status;
    else
        head->is_malformed = true;
}

void hub_head_line(struct hub_head *head, const char *line, size_t size)
{
    static const struct {
        const char *name;
        void (*take)(struct hub_head *head, struct field field);
    } rows[] = {
        {"ETag", take_etag},
        {"X-Linked-Etag", take_linked_etag},
        {"X-Repo-Commit", take_commit},
        {"Content-Length", take_length},
        {"X-Linked-Size", take_linked_size},
        {"Content-Range", take_range},
        {"Content-Encoding", take_encoding},
        {"Location", take_location},
        {"Link", take_link},
        {"RateLimit", take_rate_limit},
        {"Retry-After", take_retry},
        {"Date", take_date},
        {"X-Error-Code", take_error_code},
        {"X-Error-Message", take_error_message},
    };
    if (size >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        status_line(head, line, size);
        return;
    }
    if (++head->lines > HUB_HEAD_LINES_MAX)
        head->is_malformed = true;
    const char *colon = memchr(line, ':', size);
    if (!colon || head->lines > HUB_HEAD_LINES_MAX)
        return;
    const size_t name_size = (size_t)(colon - line);
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (strlen(rows[i].name) == name_size && strncasecmp(rows[i].name, line, name_size) == 0) {
            rows[i].take(head, strip((struct field){colon + 1, size - name_size - 1}));
            return;
        }
}

enum hub_trouble hub_head_trouble(const struct hub_head *head)
{
    if (head->status >= 200 && head->status < 400)
        return HUB_TROUBLE_NONE;
    if (head->status == 429)
        return HUB_TROUBLE_WAIT;
    if (head->status == 503 && head->has_retry)
        return HUB_TROUBLE_WAIT;
    if (head->status == 408 || head->status == 425 || head->status >= 500 || head->status < 200)
        return HUB_TROUBLE_RETRY;
    return HUB_TROUBLE_FINAL;
}

static enum status refusal_of_code(const struct hub_head *head, const struct hub_question *question,
                                   struct reason *reason)
{
    const char *repository = question->repository;
    if (strcmp(head->error_code, "GatedRepo") == 0)
        return refuse(
            reason, STATUS_NO_PERMISSION,
            question->has_token
                ? "%s is gated and this token has no access; ask for it at %s/%s with the "
                  "account of the token, then pull again"
                : "%s is gated; accept its licence at %s/%s, set HF_TOKEN (or run hf auth "
                  "login) and pull again",
            repository, question->authority, repository);
    if (strcmp(head->error_code, "RevisionNotFound") == 0)
        return refuse(reason, STATUS_NOT_FOUND,
                      "%s has no revision %.100s at %s; see %s/%s/commits for those it has",
                      repository, question->revision ? question->revision : "of that name",
                      question->authority, question->authority, repository);
    if (strcmp(head->error_code, "EntryNotFound") == 0)
        return refuse(reason, STATUS_NOT_FOUND, "%s has no file %.100s at %s", repository,
                      question->path ? question->path : "of that name", question->authority);
    return STATUS_OK;
}

enum status hub_head_refusal(const struct hub_head *head, const struct hub_question *question,
                             struct reason *reason)
{
    const enum status status = refusal_of_code(head, question, reason);
    if (status != STATUS_OK)
        return status;
    if (head->status == 403)
        return refuse(reason, STATUS_NO_PERMISSION,
                      "%s refuses %s%s%.100s; accept its licence there if it has one, and check "
                      "HF_TOKEN",
                      question->authority, question->repository, head->error_message[0] ? ": " : "",
                      head->error_message);
    if (head->status == 401 && question->has_token)
        return refuse(reason, STATUS_NO_PERMISSION,
                      "%s does not accept the token; renew HF_TOKEN (or run hf auth login), or "
                      "unset it for what is public",
                      question->authority);
    if (head->status == 401)
        return refuse(reason, STATUS_NOT_FOUND,
                      "%s has no %s, or it is private; check the name, or set HF_TOKEN (or run hf "
                      "auth login)",
                      question->authority, question->repository);
    /* What a token may not read is not told apart from what there is not. */
    if ((head->status == 404 || head->status == 410) && question->has_token && !question->path)
        return refuse(reason, STATUS_NOT_FOUND,
                      "%s has no %s, or the token may not read it; check the name and HF_TOKEN",
                      question->authority, question->repository);
    if (head->status == 404 || head->status == 410)
        return refuse(reason, STATUS_NOT_FOUND, "%s has no %s%s%.100s; check the name",
                      question->authority, question->repository, question->path ? " " : "",
                      question->path ? question->path : "");
    return refuse(reason, STATUS_REFUSED, "%s answered HTTP %u for %s%s%.100s", question->authority,
                  (unsigned)head->status, question->repository, head->error_message[0] ? ": " : "",
                  head->error_message);
}
