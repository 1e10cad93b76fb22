/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/transport.h"

#include "protocol/memory.h"
#include "runtime/clock.h"
#include "runtime/transport_internal.h"

#include <errno.h>
#include <string.h>
#include <zmq.h>

enum status transport_open(const struct transport_options *options,
                           struct transport **transport_out, struct reason *reason)
{
    struct transport *transport = memory_zeroed(1, sizeof(*transport));
    if (!transport)
        return STATUS_NO_MEMORY;
    transport->pair = options->pair;
    transport->jitter = clock_now_us();
    transport->message = memory_zeroed(1, sizeof(zmq_msg_t));
    transport->context = zmq_ctx_new();
    enum status status = STATUS_OK;
    if (!transport->message || !transport->context)
        status = refuse(reason, STATUS_NO_MEMORY, "no memory for sockets");
    else if (zmq_ctx_set(transport->context, ZMQ_IO_THREADS,
                         options->io_threads ? (int)options->io_threads : 1) != 0)
        status = refuse(reason, STATUS_INVALID, "%u I/O threads are not possible",
                        (unsigned)options->io_threads);
    else
        status = zap_open(transport, reason);
    if (status != STATUS_OK) {
        transport_close(transport, 0);
        return status;
    }
    *transport_out = transport;
    return STATUS_OK;
}

static void message_release(struct transport *transport)
{
    if (transport->is_message_open)
        (void)zmq_msg_close(transport->message);
    transport->is_message_open = false;
    transport->is_stashed = false;
}

void transport_close(struct transport *transport, uint32_t linger_ms)
{
    if (!transport)
        return;
    message_release(transport);
    for (size_t i = 0; i < transport->link_count; i++)
        link_free(transport->links[i], (int)linger_ms);
    zap_close(transport);
    if (transport->context)
        (void)zmq_ctx_term(transport->context);
    volatile uint8_t *secret = transport->pair.secret;
    for (size_t i = 0; i < sizeof(transport->pair.secret); i++)
        secret[i] = 0;
    memory_free(transport->message);
    memory_free(transport->events);
    memory_free(transport->poll_items);
    memory_free(transport);
}

void event_push(struct transport *transport, const struct transport_event *event)
{
    if (transport->event_count == transport->event_capacity) {
        size_t capacity = transport->event_capacity ? transport->event_capacity * 2 : 16;
        struct transport_event *events =
            memory_resized(transport->events, capacity, sizeof(*events));
        /* Out of memory for a few bytes: nothing the process could still do would be right. */
        ASSERT(events != NULL);
        transport->events = events;
        transport->event_capacity = capacity;
    }
    transport->events[transport->event_count++] = *event;
}

static void push_down(struct transport *transport, const struct peer *peer)
{
    struct transport_event down = {.kind = TRANSPORT_DOWN, .peer = *peer};
    event_push(transport, &down);
}

void link_announce_down(struct transport *transport, struct link *link)
{
    if (link->is_up) {
        struct peer peer = peer_of_link(link->number);
        peer.key = link->options.server_key;
        push_down(transport, &peer);
    }
    link->is_up = false;
    for (size_t i = 0; i < link->route_count; i++) {
        if (!link->routes[i].is_dropped)
            push_down(transport, &link->routes[i].peer);
    }
    link->route_count = 0;
}

void link_routes_end(struct transport *transport, struct link *link, int fd)
{
    for (size_t i = link->route_count; i-- > 0;) {
        if (link->routes[i].fd != fd)
            continue;
        if (!link->routes[i].is_dropped)
            push_down(transport, &link->routes[i].peer);
        link->routes[i] = link->routes[--link->route_count];
    }
}

static enum status options_check(const struct transport *transport,
                                 const struct link_options *options, bool *is_tcp_out,
                                 struct reason *reason)
{
    const char *endpoint = options->endpoint;
    if (!memchr(endpoint, 0, sizeof(options->endpoint)))
        return refuse(reason, STATUS_INVALID, "an endpoint is longer than %d characters",
                      LINK_ENDPOINT_SIZE - 1);
    bool is_tcp = strncmp(endpoint, "tcp://", 6) == 0;
    const bool is_curve = is_tcp && !options->is_plain;
    if (!is_tcp && strncmp(endpoint, "ipc://", 6) != 0)
        return refuse(reason, STATUS_INVALID,
                      "%s is no address: it must begin with tcp:// or ipc://", endpoint);
    if (is_curve && id_is_zero(transport->pair.secret, 32) && !options->has_own_pair)
        return refuse(reason, STATUS_INVALID, "%s needs a key pair and this process has none",
                      endpoint);
    if (is_curve && options->role == LINK_CONNECT &&
        id_is_zero(options->server_key.bytes, sizeof(options->server_key)))
        return refuse(reason, STATUS_INVALID, "%s: the key of the other side is not known",
                      endpoint);
    *is_tcp_out = is_tcp;
    return STATUS_OK;
}

enum status transport_link_open(struct transport *transport, uint32_t number,
                                const struct link_options *options, struct reason *reason)
{
    bool is_tcp = false;
    if (link_find(transport, number))
        return refuse(reason, STATUS_EXISTS, "link %u is open already", (unsigned)number);
    if (transport->link_count == LINK_COUNT_MAX)
        return refuse(reason, STATUS_TOO_LARGE, "no more than %d links in one process",
                      LINK_COUNT_MAX);
    enum status status = options_check(transport, options, &is_tcp, reason);
    if (status != STATUS_OK)
        return status;
    struct link *link = memory_zeroed(1, sizeof(*link));
    if (!link)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for a link");
    link->number = number;
    link->domain = transport->domain_next++;
    link->options = *options;
    link->is_tcp = is_tcp;
    status = link_socket_open(transport, link, reason);
    if (status != STATUS_OK) {
        link_free(link, 0);
        return status;
    }
    transport->links[transport->link_count++] = link;
    return STATUS_OK;
}

void transport_link_close(struct transport *transport, uint32_t number)
{
    for (size_t i = 0; i < transport->link_count; i++) {
        if (transport->links[i]->number != number)
            continue;
        if (transport->is_stashed && transport->stashed_peer.link == number)
            message_release(transport);
        /* Nothing more is heard of a link its owner has closed. */
        size_t kept = 0;
        for (size_t k = 0; k < transport->event_count; k++) {
            if (transport->events[k].peer.link != number)
                transport->events[kept++] = transport->events[k];
        }
        transport->event_count = kept;
        /* What was sent just before, such as a refusal, may still leave. */
        link_free(transport->links[i], 1000);
        transport->links[i] = transport->links[--transport->link_count];
        return;
    }
}

static bool fd_is_known(const struct link *link, int fd)
{
    for (size_t i = 0; i < link->route_count; i++) {
        if (link->routes[i].fd == fd)
            return true;
    }
    return false;
}

/*
 * Does somebody who may no longer be here hold a connection?  libzmq cannot end one connection of
 * a server; closing the socket ends them all, and those who may come back do so at once.  So it is
 * closed only when needed: a connection is of a removed key, or has not yet said whose it is
 * while a removed key was admitted.
 */
static bool link_has_removed(struct transport *transport, struct link *link)
{
    bool is_removed = false;
    for (size_t i = 0; i < link->admitted.count; i++)
        is_removed |= !key_list_has(&link->allowed, &link->admitted.items[i]);
    if (!is_removed)
        return false;
    monitor_drain(transport, link);
    for (size_t i = 0; i < link->route_count; i++) {
        if (!key_list_has(&link->allowed, &link->routes[i].peer.key))
            return true;
    }
    for (size_t i = 0; i < link->accepted.count; i++) {
        if (!fd_is_known(link, link->accepted.items[i]))
            return true;
    }
    /* Their connections have ended by themselves; nothing need be remembered of them. */
    size_t kept = 0;
    for (size_t i = 0; i < link->admitted.count; i++) {
        if (key_list_has(&link->allowed, &link->admitted.items[i]))
            link->admitted.items[kept++] = link->admitted.items[i];
    }
    link->admitted.count = kept;
    return false;
}

enum status transport_allow(struct transport *transport, uint32_t number,
                            const struct public_key *keys, size_t count)
{
    struct link *link = link_find(transport, number);
    if (!link || link->options.role != LINK_BIND)
        return STATUS_NOT_FOUND;
    struct key_list allowed = {0};
    for (size_t i = 0; i < count; i++) {
        if (key_list_add(&allowed, &keys[i]) != STATUS_OK) {
            key_list_fini(&allowed);
            return STATUS_NO_MEMORY;
        }
    }
    key_list_fini(&link->allowed);
    link->allowed = allowed;
    if (link->socket && link_has_removed(transport, link))
        link_retry(transport, link);
    return STATUS_OK;
}

const char *transport_endpoint(const struct transport *transport, uint32_t number)
{
    const struct link *link = link_find(transport, number);
    return link && link->endpoint[0] ? link->endpoint : NULL;
}

static struct route *route_find(struct link *link, const struct peer *peer)
{
    for (size_t i = 0; i < link->route_count; i++) {
        if (peer_equal(&link->routes[i].peer, peer))
            return &link->routes[i];
    }
    return NULL;
}

void transport_peer_drop(struct transport *transport, const struct peer *peer)
{
    struct link *link = link_find(transport, peer->link);
    struct route *route = link ? route_find(link, peer) : NULL;
    if (route)
        route->is_dropped = true;
}

/* libzmq attaches a new connection to its socket only when it looks at its commands, which a
 * non-blocking send does not do each time: ask it to look before believing "not now". */
static int send_part(void *socket, zmq_msg_t *part, int flags)
{
    int sent = -1;
    for (bool has_looked = false; sent < 0; has_looked = true) {
        do
            sent = zmq_msg_send(part, socket, flags | ZMQ_DONTWAIT);
        while (sent < 0 && errno == EINTR);
        if (sent >= 0 || has_looked || (errno != EAGAIN && errno != EHOSTUNREACH))
            break;
        int events;
        size_t events_size = sizeof(events);
        (void)zmq_getsockopt(socket, ZMQ_EVENTS, &events, &events_size);
    }
    return sent;
}

/* A copy; what is sent needs no zmq_msg_close. */
static enum status part_init(zmq_msg_t *part, const void *bytes, size_t size)
{
    if (zmq_msg_init_size(part, size) != 0)
        return STATUS_NO_MEMORY;
    if (size > 0)
        memcpy(zmq_msg_data(part), bytes, size);
    return STATUS_OK;
}

static enum status send_to_route(struct transport *transport, struct link *link,
                                 const struct peer *peer, zmq_msg_t *body)
{
    zmq_msg_t route;
    enum status status = part_init(&route, peer->route, peer->route_size);
    if (status != STATUS_OK)
        return status;
    if (send_part(link->socket, &route, ZMQ_SNDMORE) < 0) {
        status = errno == EHOSTUNREACH ? STATUS_UNREACHABLE : STATUS_BUSY;
        (void)zmq_msg_close(&route);
        return status;
    }
    if (send_part(link->socket, body, 0) >= 0)
        return STATUS_OK;
    /* The socket waits for the rest of this message and would take the next one for it. */
    link_retry(transport, link);
    return STATUS_UNREACHABLE;
}

/* Takes `body` whatever comes of it. */
static enum status send_body(struct transport *transport, const struct peer *peer,
                             zmq_msg_t *body, size_t size)
{
    struct link *link = link_find(transport, peer->link);
    bool is_bound = link && link->options.role == LINK_BIND;
    enum status status = STATUS_OK;
    if (!link || !link->socket || (!is_bound && !link->is_up) ||
        (is_bound && !route_find(link, peer)))
        status = STATUS_UNREACHABLE;
    else if (is_bound)
        status = send_to_route(transport, link, peer, body);
    else if (send_part(link->socket, body, 0) < 0)
        status = STATUS_BUSY;
    if (status != STATUS_OK) {
        (void)zmq_msg_close(body);
        transport->counters.sends_failed++;
        return status;
    }
    transport->counters.messages_sent++;
    transport->counters.bytes_sent += size;
    return STATUS_OK;
}

enum status transport_send(struct transport *transport, const struct peer *peer,
                           const void *bytes, size_t size)
{
    zmq_msg_t body;
    /* All memory is taken before the first part leaves. */
    enum status status = part_init(&body, bytes, size);
    if (status == STATUS_OK)
        return send_body(transport, peer, &body, size);
    transport->counters.sends_failed++;
    return status;
}

struct block {
    void *bytes;
    bool is_kept; /* by who wanted to send it */
};

/* On a thread of libzmq, or at once when the message is closed unsent. */
static void block_free(void *bytes, void *hint)
{
    struct block *block = hint;
    if (!block->is_kept)
        memory_free(bytes);
    memory_free(block);
}

enum status transport_send_block(struct transport *transport, const struct peer *peer, void *bytes,
                                 size_t size)
{
    zmq_msg_t body;
    zmq_msg_t last;
    struct block *block = memory_zeroed(1, sizeof(*block));
    if (!block || zmq_msg_init_data(&body, bytes, size, block_free, block) != 0) {
        memory_free(block);
        return STATUS_NO_MEMORY;
    }
    /* Kept until it is known to be on its way: a second reference frees it here if it is not. */
    (void)zmq_msg_init(&last);
    (void)zmq_msg_copy(&last, &body);
    enum status status = send_body(transport, peer, &body, size);
    block->is_kept = status != STATUS_OK;
    (void)zmq_msg_close(&last);
    return status;
}

const struct transport_counters *transport_counters(const struct transport *transport)
{
    return &transport->counters;
}
