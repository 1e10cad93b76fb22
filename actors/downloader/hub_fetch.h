/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_fetch: HTTP questions to a hub, many at once on one thread.
 *
 * It follows no redirect, retries nothing and stores nothing: that is decided by who asks.  Answers
 * are asked for unencoded; certificates are checked; proxies are those of the environment.  Without
 * progress for the limit of a question it ends.  Once the endpoint has been found at a public
 * address, no other host may lie in a private network.
 *
 * Owner    the thread of a pull.
 * Memory   one heap object and one for each running question; the library's own allocations.
 * Threads  one; hub_fetch_library_open once per process, before any other thread.
 * Fails    into `done`: UNREACHABLE, TIMED_OUT (silent too long), REFUSED (certificate, address),
 *          TOO_LARGE, IO (the connection was cut), NO_MEMORY.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_HUB_FETCH_H
#define TROUPE_ACTORS_DOWNLOADER_HUB_FETCH_H

#include "actors/downloader/hub_head.h"

#include <stddef.h>

struct hub_fetch;
struct hub_question_running;

struct hub_request {
    const struct hub_url *url; /* copied */
    const char *token;         /* NULL or empty: none; copied */
    const char *ca_file;       /* NULL or empty: the system's certificates; copied */
    bool is_endpoint;          /* of the hub itself, not of a host it sends us to */
    bool has_range;
    uint64_t range_first, range_end;
    const char *if_range; /* NULL: no condition; copied */
    uint32_t silent_ms;   /* without progress so long it ends */
    uint64_t body_size_max;
    /* Once, before the body; false ends the question, as CANCELLED. */
    bool (*head)(void *who, const struct hub_head *head);
    /* Only of a 2xx; false ends the question, as CANCELLED. */
    bool (*body)(void *who, const uint8_t *bytes, size_t size);
    /* The last call, never from within hub_fetch_start.  OK: the whole body has come. */
    void (*done)(void *who, enum status status, const struct hub_head *head,
                 const struct reason *reason);
    void *who;
};

MUST_CHECK enum status hub_fetch_library_open(struct reason *reason);
void hub_fetch_library_close(void);

MUST_CHECK enum status hub_fetch_open(struct hub_fetch **fetch_out, struct reason *reason);
/* Accepts NULL; what runs ends without a word. */
void hub_fetch_close(struct hub_fetch *fetch);
MUST_CHECK enum status hub_fetch_start(struct hub_fetch *fetch, const struct hub_request *request,
                                       struct hub_question_running **running_out,
                                       struct reason *reason);
/* Ends it without a word. */
void hub_fetch_cancel(struct hub_fetch *fetch, struct hub_question_running *running);
/* Lets bytes flow; returns after something happened, or after `timeout_ms`. */
MUST_CHECK enum status hub_fetch_wait(struct hub_fetch *fetch, uint32_t timeout_ms,
                                      struct reason *reason);

#endif
