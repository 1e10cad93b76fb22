/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for sockets and taking what came, one event at a time, links in turn.
 */
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "runtime/transport_internal.h"

#include <errno.h>
#include <string.h>
#include <zmq.h>

enum { RECEIVE_TURN = 64 };

static bool is_quiet(const struct transport *transport)
{
    if (transport->event_count > 0 || transport->is_stashed || transport->is_zap_readable)
        return false;
    for (size_t i = 0; i < transport->link_count; i++) {
        if (transport->links[i]->is_readable || transport->links[i]->is_monitor_readable)
            return false;
    }
    return true;
}

static int64_t timeout_until_retry(const struct transport *transport, int64_t timeout_ms)
{
    uint64_t now_ms = 0;
    for (size_t i = 0; i < transport->link_count; i++) {
        const struct link *link = transport->links[i];
        if (link->socket)
            continue;
        if (now_ms == 0)
            now_ms = clock_now_ms();
        int64_t left = link->retry_at_ms > now_ms ? (int64_t)(link->retry_at_ms - now_ms) : 0;
        if (timeout_ms < 0 || left < timeout_ms)
            timeout_ms = left;
    }
    return timeout_ms;
}

static zmq_pollitem_t *poll_items(struct transport *transport, size_t watch_count)
{
    size_t needed = 1 + 2 * transport->link_count + watch_count;
    if (needed > transport->poll_capacity) {
        void *items = memory_resized(transport->poll_items, needed, sizeof(zmq_pollitem_t));
        ASSERT(items != NULL);
        transport->poll_items = items;
        transport->poll_capacity = needed;
    }
    return transport->poll_items;
}

void transport_wait(struct transport *transport, struct transport_watch *watches,
                    size_t watch_count, int64_t timeout_ms)
{
    zmq_pollitem_t *items = poll_items(transport, watch_count);
    size_t count = 0;
    timeout_ms = is_quiet(transport) ? timeout_until_retry(transport, timeout_ms) : 0;
    if (transport->zap)
        items[count++] = (zmq_pollitem_t){.socket = transport->zap, .events = ZMQ_POLLIN};
    for (size_t i = 0; i < transport->link_count; i++) {
        const struct link *link = transport->links[i];
        if (!link->socket)
            continue;
        items[count++] = (zmq_pollitem_t){.socket = link->socket, .events = ZMQ_POLLIN};
        items[count++] = (zmq_pollitem_t){.socket = link->monitor, .events = ZMQ_POLLIN};
    }
    size_t watch_first = count;
    for (size_t i = 0; i < watch_count; i++)
        items[count++] = (zmq_pollitem_t){.fd = watches[i].fd, .events = ZMQ_POLLIN};
    int ready = zmq_poll(items, (int)count, (long)timeout_ms);
    for (size_t i = 0; i < watch_count; i++)
        watches[i].is_ready = ready > 0 && items[watch_first + i].revents != 0;
    if (ready <= 0)
        return;
    size_t k = 0;
    if (transport->zap)
        transport->is_zap_readable |= items[k++].revents != 0;
    for (size_t i = 0; i < transport->link_count; i++) {
        struct link *link = transport->links[i];
        if (!link->socket)
            continue;
        link->is_readable |= items[k++].revents != 0;
        link->is_monitor_readable |= items[k++].revents != 0;
    }
}

static bool has_more(void *socket)
{
    int more = 0;
    size_t size = sizeof(more);
    return zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size) == 0 && more;
}

static void discard_rest(void *socket)
{
    while (has_more(socket)) {
        zmq_msg_t rest;
        (void)zmq_msg_init(&rest);
        (void)zmq_msg_recv(&rest, socket, ZMQ_DONTWAIT);
        (void)zmq_msg_close(&rest);
    }
}

/* The routing id libzmq puts before each message of a server. */
static bool read_route(struct link *link, struct peer *peer_out)
{
    int size = zmq_recv(link->socket, peer_out->route, sizeof(peer_out->route), ZMQ_DONTWAIT);
    if (size < 0)
        return false;
    /* Ids are 5 bytes of libzmq's making; one that a peer chose itself may be longer. */
    peer_out->route_size = (uint32_t)size <= LINK_ROUTE_SIZE ? (uint32_t)size : 0;
    return true;
}

/* The key ZAP gave as user id: who really sent it.  Checked against the list of this moment. */
static bool read_key(const struct link *link, zmq_msg_t *message, struct public_key *key_out)
{
    if (!link->is_tcp || link->options.is_plain)
        return true;
    const char *user = zmq_msg_gets(message, "User-Id");
    return user && hex_parse(user, key_out->bytes, sizeof(key_out->bytes)) &&
           key_list_has(&link->allowed, key_out);
}

static struct route *route_take(struct transport *transport, struct link *link,
                                const struct peer *peer, int fd, bool *is_new_out)
{
    *is_new_out = false;
    for (size_t i = 0; i < link->route_count; i++) {
        if (peer_equal(&link->routes[i].peer, peer))
            return &link->routes[i];
    }
    /* What libzmq told of connections comes before their messages; whoever is not among the living
     * afterwards has gone already. */
    monitor_drain(transport, link);
    if (!fd_list_has(&link->accepted, fd) || link->route_count == ROUTES_MAX)
        return NULL;
    if (link->route_count == link->route_capacity) {
        size_t capacity = link->route_capacity ? link->route_capacity * 2 : 16;
        struct route *routes = memory_resized(link->routes, capacity, sizeof(*routes));
        if (!routes)
            return NULL;
        link->routes = routes;
        link->route_capacity = capacity;
    }
    struct route *route = &link->routes[link->route_count++];
    *route = (struct route){.peer = *peer, .fd = fd};
    *is_new_out = true;
    return route;
}

/* False when the message is dropped. */
static bool bound_message(struct transport *transport, struct link *link, struct peer *peer)
{
    zmq_msg_t *message = transport->message;
    bool is_new;
    if (peer->route_size == 0 || !read_key(link, message, &peer->key))
        return false;
    struct route *route = route_take(transport, link, peer, zmq_msg_get(message, ZMQ_SRCFD),
                                     &is_new);
    if (!route || route->is_dropped || !ID_EQUAL(route->peer.key, peer->key))
        return false;
    if (is_new) {
        struct transport_event up = {.kind = TRANSPORT_UP, .peer = *peer};
        event_push(transport, &up);
    }
    return true;
}

static bool connected_message(struct transport *transport, struct link *link)
{
    /* A message before the news of its connection: hear the news first.  If the link is not up
     * even then, the message is of a connection that has ended. */
    if (!link->is_up)
        monitor_drain(transport, link);
    return link->is_up;
}

/* Receives one message into the stash.  False: none waits. */
static bool link_receive(struct transport *transport, struct link *link)
{
    zmq_msg_t *message = transport->message;
    bool is_bound = link->options.role == LINK_BIND;
    struct peer peer = peer_of_link(link->number);
    if (is_bound && !read_route(link, &peer))
        return false;
    (void)zmq_msg_init(message);
    if (zmq_msg_recv(message, link->socket, ZMQ_DONTWAIT) < 0) {
        (void)zmq_msg_close(message);
        return is_bound;
    }
    transport->is_message_open = true;
    bool is_whole = !has_more(link->socket);
    discard_rest(link->socket);
    if (!is_bound)
        peer.key = link->options.server_key;
    if (!is_whole || !(is_bound ? bound_message(transport, link, &peer)
                                : connected_message(transport, link))) {
        transport->counters.messages_dropped++;
        (void)zmq_msg_close(message);
        transport->is_message_open = false;
        return link->socket != NULL;
    }
    transport->is_stashed = true;
    transport->stashed_peer = peer;
    return true;
}

static bool take_event(struct transport *transport, struct transport_event *event_out)
{
    if (transport->event_count > 0) {
        *event_out = transport->events[0];
        transport->event_count--;
        memmove(transport->events, transport->events + 1,
                transport->event_count * sizeof(*transport->events));
        return true;
    }
    if (!transport->is_stashed)
        return false;
    transport->is_stashed = false;
    *event_out = (struct transport_event){.kind = TRANSPORT_MESSAGE,
                                          .peer = transport->stashed_peer,
                                          .bytes = zmq_msg_data(transport->message),
                                          .size = zmq_msg_size(transport->message)};
    transport->counters.messages_received++;
    transport->counters.bytes_received += event_out->size;
    return true;
}

bool transport_next(struct transport *transport, struct transport_event *event_out)
{
    if (transport->is_message_open && !transport->is_stashed) {
        (void)zmq_msg_close(transport->message);
        transport->is_message_open = false;
    }
    if (transport->is_zap_readable)
        zap_answer(transport);
    if (take_event(transport, event_out))
        return true;
    uint64_t now_ms = clock_now_ms();
    for (size_t visited = 0; visited < transport->link_count; visited++) {
        transport->cursor = (transport->cursor + 1) % transport->link_count;
        struct link *link = transport->links[transport->cursor];
        link_retry_due(transport, link, now_ms);
        /* Dropped messages must not keep the others waiting. */
        for (int taken = 0; taken < RECEIVE_TURN && link->is_readable; taken++) {
            if (transport->is_stashed)
                break;
            link->is_readable = link_receive(transport, link) && link->socket;
        }
        if (link->is_monitor_readable && !transport->is_stashed)
            monitor_drain(transport, link);
        if (take_event(transport, event_out))
            return true;
    }
    return false;
}
