/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport_internal: what the transport_*.c files share; included by them and by their tests.
 */
#ifndef TROUPE_RUNTIME_TRANSPORT_INTERNAL_H
#define TROUPE_RUNTIME_TRANSPORT_INTERNAL_H

#include "runtime/transport.h"

enum {
    ROUTES_MAX = 4096,          /* connections of one bound link */
    HANDSHAKE_MS = 3000,
    HEARTBEAT_MS = 1000,
    HEARTBEAT_TIMEOUT_MS = 5000,
    REOPEN_MIN_MS = 100,
    REOPEN_MAX_MS = 2000,
    REBIND_RETRY_MS = 5,
    FIRST_BIND_WAIT_MS = 500
};

/* One connection of a bound link, from its first message on. */
struct route {
    struct peer peer;
    int fd;          /* the connection's descriptor, by which the monitor names it */
    bool is_dropped; /* the actor wants to hear no more */
};

struct key_list {
    struct public_key *items;
    size_t count;
    size_t capacity;
};

struct fd_list {
    int *items;
    size_t count;
    size_t capacity;
};

struct link {
    uint32_t number;
    uint32_t domain; /* number of this opening, the ZAP domain in text; never used twice */
    struct link_options options;
    bool is_tcp;
    void *socket;    /* NULL while waiting to be opened again */
    void *monitor;
    bool is_readable;
    bool is_monitor_readable;
    bool is_up;                     /* connected links */
    char endpoint[LINK_ENDPOINT_SIZE]; /* bound links: with the true port */
    struct key_list allowed;
    struct key_list admitted;       /* keys ZAP let in since the socket was bound */
    struct fd_list accepted;        /* connections that live now */
    struct route *routes;
    size_t route_count;
    size_t route_capacity;
    uint64_t retry_at_ms;           /* valid while socket is NULL */
    uint32_t backoff_ms;
};

struct transport {
    void *context;
    void *zap; /* bound before any server socket */
    bool is_zap_readable;
    struct key_pair pair;
    struct link *links[LINK_COUNT_MAX];
    size_t link_count;
    size_t cursor;
    uint32_t domain_next;
    uint64_t jitter;
    struct transport_event *events; /* waiting to be taken */
    size_t event_count;
    size_t event_capacity;
    void *poll_items;
    size_t poll_capacity;
    void *message;                  /* zmq_msg_t of the last event */
    bool is_message_open;
    bool is_stashed;                /* `message` goes out after TRANSPORT_UP of its peer */
    struct peer stashed_peer;
    struct transport_counters counters;
};

/* transport_zap.c */
MUST_CHECK enum status zap_open(struct transport *transport, struct reason *reason);
void zap_close(struct transport *transport);
/* Answers every waiting request. */
void zap_answer(struct transport *transport);

/* transport_keys.c */
bool key_list_has(const struct key_list *list, const struct public_key *key);
MUST_CHECK enum status key_list_add(struct key_list *list, const struct public_key *key);
void key_list_fini(struct key_list *list);
MUST_CHECK enum status fd_list_add(struct fd_list *list, int fd);
bool fd_list_remove(struct fd_list *list, int fd);
bool fd_list_has(const struct fd_list *list, int fd);
void fd_list_fini(struct fd_list *list);

/* transport_link.c */
struct link *link_find(const struct transport *transport, uint32_t number);
MUST_CHECK enum status link_socket_open(struct transport *transport, struct link *link,
                                        struct reason *reason);
void link_socket_close(struct link *link, int linger_ms);
void link_free(struct link *link, int linger_ms);
/* Closes the socket and plans to open it again. */
void link_retry(struct transport *transport, struct link *link);
/* Opens it again when it is time. */
void link_retry_due(struct transport *transport, struct link *link, uint64_t now_ms);

/* transport_monitor.c */
MUST_CHECK enum status monitor_open(struct transport *transport, struct link *link);
void monitor_close(struct link *link);
/* Takes every waiting happening of the socket. */
void monitor_drain(struct transport *transport, struct link *link);

/* transport.c */
void event_push(struct transport *transport, const struct transport_event *event);
/* Tells of the end of each connection of a bound link, or of the one of a connected link. */
void link_announce_down(struct transport *transport, struct link *link);
/* Those whose descriptor is `fd`. */
void link_routes_end(struct transport *transport, struct link *link, int fd);

#endif
