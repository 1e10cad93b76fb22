/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_ask: one question to the hub and its whole answer, redirects followed, troubles waited out;
 * and what the questions of one pull share.
 *
 * Owner    the thread of a pull.
 * Memory   the answer is the caller's buffer.
 * Threads  one; the gates are shared.
 * Fails    CANCELLED, BUSY (rate limit), NOT_FOUND, NO_PERMISSION, REFUSED, UNREACHABLE, TIMED_OUT,
 *          IO, TOO_LARGE, MALFORMED: one sentence that names host, repository and remedy.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_HUB_ASK_H
#define TROUPE_ACTORS_DOWNLOADER_HUB_ASK_H

#include "actors/downloader/hub_env.h"
#include "actors/downloader/hub_fetch.h"
#include "actors/downloader/hub_gates.h"
#include "protocol/buffer.h"

struct hub_session {
    const struct hub_env *env;
    struct hub_gates *gates;
    struct hub_fetch *fetch;
    const char *repository;
    const char *revision;               /* as asked for */
    char authority[HUB_AUTHORITY_SIZE]; /* of the endpoint */
    uint32_t tries_max;
    uint32_t waits; /* for a rate limit, in a row */
    /* Of the hub, and of the hosts it sends us to: until one answer was good there is one question
     * at a time, so that a limit is met by one and not by all connections. */
    struct {
        bool is_proven;
        uint32_t running;
    } hosts[2];
    bool (*is_cancelled)(void *who);
    void *who;
};

MUST_CHECK enum status hub_session_open(struct hub_session *session, struct reason *reason);
void hub_session_close(struct hub_session *session);
/* NULL for hosts that get none. */
const char *hub_session_token(const struct hub_session *session, const struct hub_url *url);
uint32_t hub_random(void);
/* Rate limited: closes the gate of the host. */
MUST_CHECK enum status hub_session_limited(struct hub_session *session, const struct hub_url *url,
                                           const struct hub_head *head, struct reason *reason);
/* May it be well when tried again? */
bool hub_is_passing(enum status status);

/* GET; `next_out`, when not NULL, is the address of the Link header with rel="next", or has an
 * empty text.  It is of the same origin as the endpoint, or the answer is refused. */
MUST_CHECK enum status hub_ask(struct hub_session *session, const struct hub_url *url,
                               struct buffer *answer, struct hub_url *next_out,
                               struct reason *reason);

#endif
