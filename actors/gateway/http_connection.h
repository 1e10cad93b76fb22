/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_connection: one client connection of the guard, from its first byte to its close.
 *
 *   HEAD -> BODY -> SERVING -> HEAD ...      a request, its answer, the next request
 *   any  -> CLOSING -> LINGERING -> FREE     last bytes to the client, then unread input drained
 *
 * Owner    http_guard's table.
 * Memory   buffers grow with what arrived and are given back between requests.
 * Threads  the guard's only.
 * Fails    never to the caller: faults are answered to the client, broken sockets free the slot.
 */
#ifndef TROUPE_ACTORS_GATEWAY_HTTP_CONNECTION_H
#define TROUPE_ACTORS_GATEWAY_HTTP_CONNECTION_H

#include "actors/gateway/http_guard.h"
#include "protocol/buffer.h"

#include <poll.h>
#include <stdatomic.h>

enum http_connection_state {
    HTTP_CONNECTION_FREE,
    HTTP_CONNECTION_HEAD,
    HTTP_CONNECTION_BODY,
    HTTP_CONNECTION_SERVING,
    HTTP_CONNECTION_CLOSING,
    HTTP_CONNECTION_LINGERING,
};

struct http_address {
    unsigned char bytes[16]; /* IPv6, or IPv4 mapped into it */
};

/* Wrong keys of one address within a minute. */
struct http_key_failures {
    struct http_address address;
    uint64_t since_ms;
    unsigned count;
};

#define HTTP_KEY_FAILURE_COUNT_MAX 10u
#define HTTP_KEY_FAILURE_WINDOW_MS 60000u
#define HTTP_KEY_FAILURE_ADDRESSES 64

/* What the connections of a guard share. */
struct http_connections {
    struct http_guard_limits limits;
    const struct http_policy *policy;
    struct http_guard_hooks hooks;
    size_t bodies_size;
    struct http_key_failures failures[HTTP_KEY_FAILURE_ADDRESSES];
    _Atomic uint64_t refused;
    _Atomic uint64_t admitted;
};

struct http_connection {
    struct http_connections *shared;
    enum http_connection_state state;
    uint64_t id;
    int fd;
    int inner_fd; /* -1 until the first request is passed on */
    struct http_address address;
    uint64_t began_ms;  /* of the present state */
    uint64_t moved_ms;  /* last time the client took a byte, while it has some to take */
    struct buffer in;   /* from the client, not yet used */
    struct buffer out;  /* to the client */
    struct buffer head; /* canonical, to libmicrohttpd */
    struct buffer body; /* follows it */
    size_t passed;      /* bytes of head and body passed on */
    struct http_head_scan scan;
    struct http_chunked chunked;
    uint64_t body_left;
    bool is_chunked;
    bool is_kept; /* an earlier request was served */
    bool is_head_method;
    bool wants_close;
    bool answer_written;
};

void http_connection_begin(struct http_connection *connection, struct http_connections *shared,
                           int fd, uint64_t id, struct http_address address, uint64_t now_ms);
/* Answers with an error and closes. */
void http_connection_refuse(struct http_connection *connection, const struct http_fault *fault,
                            uint64_t now_ms);
/* What to wait for; fd -1 where nothing. */
void http_connection_poll(const struct http_connection *connection, struct pollfd *client_out,
                          struct pollfd *inner_out);
/* Does what the sockets allow, and what the clock demands. */
void http_connection_pump(struct http_connection *connection, short client_events,
                          short inner_events, uint64_t now_ms);
/* Kept open between two requests, with nothing on its way: it may be closed at any time. */
bool http_connection_is_idle(const struct http_connection *connection);
/* Drops it at once; tells the hook when a request was in flight. */
void http_connection_end(struct http_connection *connection);

#endif
