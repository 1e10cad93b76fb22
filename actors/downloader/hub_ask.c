/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_ask.h"

#include "actors/downloader/hub_retry.h"
#include "runtime/clock.h"
#include "runtime/identity.h"

#include <string.h>

#define NAP_MS 50u

enum status hub_session_open(struct hub_session *session, struct reason *reason)
{
    hub_url_authority(&session->env->endpoint, session->authority, sizeof(session->authority));
    return hub_fetch_open(&session->fetch, reason);
}

void hub_session_close(struct hub_session *session)
{
    hub_fetch_close(session->fetch);
    session->fetch = NULL;
}

const char *hub_session_token(const struct hub_session *session, const struct hub_url *url)
{
    return hub_url_is_same_origin(url, &session->env->endpoint) ? session->env->token : NULL;
}

uint32_t hub_random(void)
{
    uint32_t random = 0;
    return identity_random(&random, sizeof(random)) == STATUS_OK ? random : 0;
}

bool hub_is_passing(enum status status)
{
    return status == STATUS_IO || status == STATUS_TIMED_OUT || status == STATUS_UNREACHABLE;
}

enum status hub_session_limited(struct hub_session *session, const struct hub_url *url,
                                const struct hub_head *head, struct reason *reason)
{
    char authority[HUB_AUTHORITY_SIZE];
    uint64_t wait_ms = 0;
    hub_url_authority(url, authority, sizeof(authority));
    const enum status status =
        hub_wait_ms(head, authority, ++session->waits, hub_random(), &wait_ms, reason);
    if (status == STATUS_OK)
        hub_gates_close_until(session->gates, authority, clock_now_ms() + wait_ms);
    return status;
}

struct answer {
    struct buffer *body;
    struct hub_head head;
    enum status status;
    struct reason reason;
    bool is_done;
    bool is_full; /* the body has no room */
};

static bool take_head(void *who, const struct hub_head *head)
{
    struct answer *answer = who;
    answer->head = *head;
    return !head->is_encoded;
}

static bool take_body(void *who, const uint8_t *bytes, size_t size)
{
    struct answer *answer = who;
    answer->is_full = buffer_append(answer->body, bytes, size) != STATUS_OK;
    return !answer->is_full;
}

static void take_end(void *who, enum status status, const struct hub_head *head,
                     const struct reason *reason)
{
    struct answer *answer = who;
    answer->head = *head;
    answer->status = status;
    answer->reason = *reason;
    answer->is_done = true;
}

static enum status nap_until(struct hub_session *session, uint64_t until_ms, struct reason *reason)
{
    for (;;) {
        const uint64_t now_ms = clock_now_ms();
        if (session->is_cancelled(session->who))
            return refuse(reason, STATUS_CANCELLED, "the pull of %s was cancelled",
                          session->repository);
        if (now_ms >= until_ms)
            return STATUS_OK;
        clock_sleep_ms(until_ms - now_ms < NAP_MS ? until_ms - now_ms : NAP_MS);
    }
}

static enum status ask_once(struct hub_session *session, const struct hub_url *url,
                            struct answer *answer, struct reason *reason)
{
    char authority[HUB_AUTHORITY_SIZE];
    struct hub_question_running *running = NULL;
    const bool is_endpoint = hub_url_is_same_origin(url, &session->env->endpoint);
    const struct hub_request request = {.url = url,
                                        .token = hub_session_token(session, url),
                                        .ca_file = session->env->ca_file,
                                        .is_endpoint = is_endpoint,
                                        .silent_ms = session->env->answer_timeout_ms,
                                        .body_size_max = answer->body->ceiling,
                                        .head = take_head,
                                        .body = take_body,
                                        .done = take_end,
                                        .who = answer};
    hub_url_authority(url, authority, sizeof(authority));
    answer->is_done = answer->is_full = false;
    buffer_clear(answer->body);
    enum status status = nap_until(session, hub_gates_open_at(session->gates, authority), reason);
    if (status == STATUS_OK)
        status = hub_fetch_start(session->fetch, &request, &running, reason);
    while (status == STATUS_OK && !answer->is_done) {
        status = hub_fetch_wait(session->fetch, NAP_MS, reason);
        if (status == STATUS_OK && !answer->is_done && session->is_cancelled(session->who))
            status = refuse(reason, STATUS_CANCELLED, "the pull of %s was cancelled",
                            session->repository);
    }
    if (!answer->is_done)
        hub_fetch_cancel(session->fetch, running);
    if (status != STATUS_OK)
        return status;
    if (answer->is_full)
        return refuse(reason, STATUS_TOO_LARGE, "%s answers with more than %zu bytes", authority,
                      answer->body->ceiling);
    if (answer->status == STATUS_CANCELLED)
        return refuse(reason, STATUS_IO,
                      "%s sends its answer in the encoding %s, though none was asked for",
                      authority, answer->head.encoding);
    *reason = answer->reason;
    return answer->status;
}

/* With redirects; not OK and passing: try again. */
static enum status ask_following(struct hub_session *session, const struct hub_url *first,
                                 struct answer *answer, struct reason *reason)
{
    struct hub_url url = *first;
    enum status status = STATUS_OK;
    for (uint32_t hops = 0;; hops++) {
        struct hub_url next;
        status = ask_once(session, &url, answer, reason);
        if (status != STATUS_OK || answer->head.status < 300 || answer->head.status > 399)
            break;
        status = hub_url_redirect(&url, answer->head.location, hops, &next, reason);
        if (status != STATUS_OK)
            return status;
        url = next;
    }
    if (status != STATUS_OK)
        return status;
    const struct hub_question question = {.repository = session->repository,
                                          .revision = session->revision,
                                          .authority = session->authority,
                                          .has_token = session->env->token[0] != '\0'};
    switch (hub_head_trouble(&answer->head)) {
    case HUB_TROUBLE_NONE:
        session->waits = 0;
        return STATUS_OK;
    case HUB_TROUBLE_WAIT:
        status = hub_session_limited(session, &url, &answer->head, reason);
        return status == STATUS_OK ? STATUS_NOT_READY : status;
    case HUB_TROUBLE_RETRY:
        (void)hub_head_refusal(&answer->head, &question, reason);
        return STATUS_IO;
    case HUB_TROUBLE_FINAL:
        break;
    }
    return hub_head_refusal(&answer->head, &question, reason);
}

static enum status check_next(struct hub_session *session, const struct hub_url *url,
                              const struct hub_head *head, struct hub_url *next_out,
                              struct reason *reason)
{
    struct reason why = {""};
    next_out->text[0] = '\0';
    if (!head->next[0])
        return STATUS_OK;
    if (hub_url_follow(url, head->next, next_out, &why) != STATUS_OK)
        return refuse(reason, STATUS_MALFORMED, "%s: the address of the next page: %s",
                      session->authority, why.text);
    if (!hub_url_is_same_origin(next_out, &session->env->endpoint))
        return refuse(reason, STATUS_REFUSED,
                      "%s says that the rest of its list of files is at another host; it is not "
                      "asked there",
                      session->authority);
    return STATUS_OK;
}

enum status hub_ask(struct hub_session *session, const struct hub_url *url, struct buffer *body,
                    struct hub_url *next_out, struct reason *reason)
{
    struct answer answer = {.body = body};
    for (uint32_t tries = 1;; tries++) {
        enum status status = ask_following(session, url, &answer, reason);
        if (status == STATUS_NOT_READY) {
            tries = 0; /* a limit is no failure; hub_wait_ms counts them */
            continue;
        }
        if (status == STATUS_OK)
            return next_out ? check_next(session, url, &answer.head, next_out, reason) : STATUS_OK;
        if (!hub_is_passing(status) || tries > session->tries_max)
            return status;
        struct reason why;
        status = nap_until(session, clock_now_ms() + hub_backoff_ms(tries, hub_random()), &why);
        if (status != STATUS_OK) {
            *reason = why;
            return status;
        }
    }
}
