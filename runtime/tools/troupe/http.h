/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http: one blocking HTTP/1.1 exchange with the node's own gateway, its body given out in pieces as
 * it comes.
 *
 * Own, since all it needs is one request over loopback and two ways of framing an answer; a
 * library would bring TLS, proxies and redirects that must not happen here.
 *
 * Memory   one buffer of 16 KiB.
 * Threads  one at a time each.
 * Fails    STATUS_UNREACHABLE; STATUS_MALFORMED: no HTTP, or more than its bounds;
 *          STATUS_ENDED: the answer was cut; STATUS_CANCELLED: `stop` said so.
 */
#ifndef TROUPE_RUNTIME_TOOLS_TROUPE_HTTP_H
#define TROUPE_RUNTIME_TOOLS_TROUPE_HTTP_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_KEY_SIZE_MAX = 1024 };

struct http_request {
    const char *address; /* "127.0.0.1:52414", "[::1]:52414" */
    const char *method;
    const char *path;
    const char *key;     /* sent as a bearer token; NULL or empty: none */
    const char *body;    /* JSON; NULL: none */
    size_t body_size;
    uint64_t silence_ms; /* the longest pause between pieces */
    /* Called with each piece of the body; anything but OK ends the exchange with it. */
    enum status (*take)(void *self, const char *bytes, size_t size);
    /* Asked while waiting; may be NULL. */
    bool (*stop)(void);
    void *self;
};

/* `code_out` is the status code, known before the first piece is taken. */
MUST_CHECK enum status http_exchange(const struct http_request *request, int *code_out,
                                     struct reason *reason);

#endif
