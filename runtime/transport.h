/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport: every socket of a process; the only face of ZeroMQ.
 *
 * Actors do not call this: they put sends and link operations in their outbox and the loop calls.
 * ipc links are plain and admit the same user only; tcp links are CURVE, and a bound one admits
 * the keys of its allow-list and nobody else, also when no list was ever set.
 *
 * Owner    the loop.
 * Memory   the transport owns its sockets; an event's bytes are valid until the next call.
 * Threads  the loop's only (libzmq has an I/O thread of its own).
 * Fails    STATUS_IN_USE, STATUS_NO_PERMISSION, STATUS_INVALID at open; BUSY, UNREACHABLE and
 *          NO_MEMORY at send.  A connected link is opened again with backoff for ever; the
 *          counters tell.
 */
#ifndef TROUPE_RUNTIME_TRANSPORT_H
#define TROUPE_RUNTIME_TRANSPORT_H

#include "protocol/status.h"
#include "runtime/link.h"

struct transport;

struct transport_options {
    struct key_pair pair;  /* this process's; copied.  Zero: no tcp links */
    uint32_t io_threads;   /* 0: 1 */
};

struct transport_counters {
    uint64_t messages_received;
    uint64_t messages_sent;
    uint64_t bytes_received;
    uint64_t bytes_sent;
    uint64_t keys_refused;       /* ZAP said no */
    uint64_t keys_admitted;
    uint64_t handshakes_failed;  /* seen from our connecting side */
    uint64_t links_reopened;     /* closed and opened anew after a failed handshake */
    uint64_t links_rebound;      /* bound again because a key was removed */
    uint64_t messages_dropped;   /* of peers no longer allowed, or of ended connections */
    uint64_t sends_failed;
};

enum transport_event_kind {
    TRANSPORT_NOTHING,
    TRANSPORT_MESSAGE,
    TRANSPORT_BOUND,
    TRANSPORT_REFUSED,
    TRANSPORT_UP,
    TRANSPORT_DOWN
};

struct transport_event {
    enum transport_event_kind kind;
    struct peer peer;
    const uint8_t *bytes;   /* MESSAGE */
    size_t size;
    const char *endpoint;   /* BOUND: with the true port */
    enum status status;     /* REFUSED */
    struct reason reason;
};

/* A descriptor of somebody else to wait for beside the sockets. */
struct transport_watch {
    int fd;
    bool is_ready;
};

MUST_CHECK enum status transport_open(const struct transport_options *options,
                                      struct transport **transport_out, struct reason *reason);
/* Accepts NULL; gives what is unsent `linger_ms`. */
void transport_close(struct transport *transport, uint32_t linger_ms);

/* Opens link `number`, which must be free.  Binding happens here and now; on a port of 0 ask
 * transport_endpoint.  Connecting succeeds at once and is announced by TRANSPORT_UP. */
MUST_CHECK enum status transport_link_open(struct transport *transport, uint32_t number,
                                           const struct link_options *options,
                                           struct reason *reason);
/* A number that is not open is ignored. */
void transport_link_close(struct transport *transport, uint32_t number);
/* The whole list; removing a key that has connected ends its connection. */
MUST_CHECK enum status transport_allow(struct transport *transport, uint32_t number,
                                       const struct public_key *keys, size_t count);
/* "tcp://127.0.0.1:40123"; NULL when not bound. */
const char *transport_endpoint(const struct transport *transport, uint32_t number);
/* Messages of this connection are dropped from now on. */
void transport_peer_drop(struct transport *transport, const struct peer *peer);

/* Never blocks: BUSY when the peer's queue is full, UNREACHABLE when it is not connected. */
MUST_CHECK enum status transport_send(struct transport *transport, const struct peer *peer,
                                      const void *bytes, size_t size);
/* The same without a copy: on OK `block`, of memory_zeroed, is the transport's; else it stays. */
MUST_CHECK enum status transport_send_block(struct transport *transport, const struct peer *peer,
                                            void *block, size_t size);

/* Sleeps until there is something, or `timeout_ms` (-1: for ever).  Sets `is_ready` of the
 * watches.  Returns early without cause at times. */
void transport_wait(struct transport *transport, struct transport_watch *watches,
                    size_t watch_count, int64_t timeout_ms);
/* The next event, links in turn; false when there is none.  Answers ZAP on the way. */
bool transport_next(struct transport *transport, struct transport_event *event_out);

const struct transport_counters *transport_counters(const struct transport *transport);

#endif
