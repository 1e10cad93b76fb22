/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_guard: the only thing that listens for HTTP clients.  It reads a whole request, head and
 * body, judges it (http_head, http_policy), and only then passes a canonical copy on.
 *
 * Behind it stands libmicrohttpd, which never sees a byte a client chose freely: each client
 * connection gets a socket pair; the guard writes "METHOD target HTTP/1.1", the few headers that
 * are used, an exact Content-Length and the body into it, and carries the answer back.  Deadlines
 * are absolute, so a client that sends a byte now and then gains nothing.  One request is in flight
 * per connection; the next is read when http_guard_finished was told of the last.
 *
 * Owner    http_server.
 * Memory   a fixed table of connections; buffers grow with what really arrived, all bodies
 *          together up to HTTP_BODIES_SIZE_MAX.
 * Threads  one of its own.  open, finished and close are called by others; the hooks run on the
 *          guard's thread and must not call back into the guard, save for http_guard_finished.
 * Fails    STATUS_IN_USE, STATUS_NO_PERMISSION, STATUS_INVALID at open.  A client's faults are
 *          answered with a JSON error and a close.
 */
#ifndef TROUPE_ACTORS_GATEWAY_HTTP_GUARD_H
#define TROUPE_ACTORS_GATEWAY_HTTP_GUARD_H

#include "actors/gateway/http_policy.h"

struct http_guard_limits {
    unsigned connections;
    unsigned connections_per_address;
    unsigned head_deadline_ms;
    unsigned body_grace_ms;
    unsigned body_floor; /* bytes a second */
    unsigned write_stall_ms;
    unsigned idle_ms;
};

/* The values of http_limits.h. */
struct http_guard_limits http_guard_limits_default(void);

struct http_guard_hooks {
    void *owner;
    /* Takes the inner end of a connection and owns it from then on.  False: not taken. */
    bool (*adopt)(void *owner, int inner_fd);
    /* The client of this connection is gone while a request of it is in flight. */
    void (*gone)(void *owner, uint64_t connection);
};

/* What the canonical head carries the connection's number in. */
#define HTTP_CONNECTION_HEADER "X-Troupe-Connection"

struct http_guard_counts {
    uint64_t accepted;
    uint64_t refused;  /* requests answered by the guard itself */
    uint64_t admitted; /* requests passed on */
};

struct http_guard;

/* `address` is an IPv4 or IPv6 address ("127.0.0.1", "::1"), port 0 picks a free one.  `policy` is
 * borrowed until close. */
MUST_CHECK enum status http_guard_open(const char *address, unsigned port,
                                       const struct http_guard_limits *limits,
                                       const struct http_policy *policy,
                                       const struct http_guard_hooks *hooks,
                                       struct http_guard **guard_out, struct reason *reason);
/* The port it listens on. */
unsigned http_guard_port(const struct http_guard *guard);
/* The answer to the request in flight on this connection has been written in full. */
void http_guard_finished(struct http_guard *guard, uint64_t connection);
struct http_guard_counts http_guard_counts(struct http_guard *guard);
/* Stops listening, drops all connections, ends the thread.  Accepts NULL. */
void http_guard_close(struct http_guard *guard);

#endif
