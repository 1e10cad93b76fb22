/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One link: its socket with every limit set, opened, closed and opened again.
 */
#include "protocol/memory.h"
#include "runtime/clock.h"
#include "runtime/transport_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

/* A draft option in the header of 4.3.4, but at work in its stable build. */
#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
#define ZMQ_ZAP_ENFORCE_DOMAIN 93
#endif

struct link *link_find(const struct transport *transport, uint32_t number)
{
    for (size_t i = 0; i < transport->link_count; i++) {
        if (transport->links[i]->number == number)
            return transport->links[i];
    }
    return NULL;
}

struct int_option {
    int option;
    int value;
};

static bool set_ints(void *socket, const struct int_option *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (zmq_setsockopt(socket, options[i].option, &options[i].value, sizeof(int)) != 0)
            return false;
    }
    return true;
}

static bool set_limits(const struct link *link)
{
    const struct link_options *options = &link->options;
    int64_t size_max = (int64_t)(options->message_size_max ? options->message_size_max
                                                           : LINK_MESSAGE_SIZE);
    int queue = (int)(options->queue_max ? options->queue_max : LINK_QUEUE_MAX);
    const struct int_option common[] = {
        {ZMQ_LINGER, 0},
        {ZMQ_SNDHWM, queue},
        {ZMQ_RCVHWM, queue},
        {ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS},
        {ZMQ_RECONNECT_IVL, link->is_tcp ? 100 : 20},
        {ZMQ_RECONNECT_IVL_MAX, link->is_tcp ? REOPEN_MAX_MS : 500},
        {ZMQ_IPV6, strchr(options->endpoint, '[') != NULL},
    };
    if (zmq_setsockopt(link->socket, ZMQ_MAXMSGSIZE, &size_max, sizeof(size_max)) != 0 ||
        !set_ints(link->socket, common, COUNT_OF(common)))
        return false;
    /* Over ipc the kernel tells of a dead peer; beats would only wake idle processes. */
    const struct int_option beats[] = {
        {ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS},
        {ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS},
        {ZMQ_HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS},
    };
    return !link->is_tcp || set_ints(link->socket, beats, COUNT_OF(beats));
}

/*
 * Routing ids are made by libzmq, one for each connection: nobody can claim another's, so there is
 * nothing to hand over, and the key comes from ZAP with each message.
 */
static bool set_bound(const struct link *link, const struct transport *transport)
{
    const struct int_option mandatory = {ZMQ_ROUTER_MANDATORY, 1};
    if (!set_ints(link->socket, &mandatory, 1))
        return false;
    if (!link->is_tcp) {
        uid_t user = getuid();
        return zmq_setsockopt(link->socket, ZMQ_IPC_FILTER_UID, &user, sizeof(user)) == 0;
    }
    if (link->options.is_plain)
        return true;
    char domain[16];
    int length = snprintf(domain, sizeof(domain), "link-%u", (unsigned)link->domain);
    const struct int_option curve[] = {{ZMQ_CURVE_SERVER, 1}, {ZMQ_ZAP_ENFORCE_DOMAIN, 1}};
    return transport->zap != NULL &&
           zmq_setsockopt(link->socket, ZMQ_ZAP_DOMAIN, domain, (size_t)length) == 0 &&
           set_ints(link->socket, curve, COUNT_OF(curve)) &&
           zmq_setsockopt(link->socket, ZMQ_CURVE_SECRETKEY, transport->pair.secret, 32) == 0;
}

static bool set_connected(const struct link *link, const struct transport *transport)
{
    const struct int_option immediate = {ZMQ_IMMEDIATE, 1};
    if (!set_ints(link->socket, &immediate, 1))
        return false;
    if (!link->is_tcp || link->options.is_plain)
        return true;
    const struct key_pair *pair = link->options.has_own_pair ? &link->options.own_pair
                                                             : &transport->pair;
    void *socket = link->socket;
    const uint8_t *server = link->options.server_key.bytes;
    return zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server, 32) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, pair->public_key.bytes, 32) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, pair->secret, 32) == 0;
}

/* A first bind waits a moment for its port: libzmq's own thread closes a listener only after
 * zmq_close, and a caller may have bound the port before to learn its number. */
static int bind_patiently(const struct link *link, const char *wanted)
{
    uint64_t end_ms = clock_now_ms() + (link->endpoint[0] ? 0 : FIRST_BIND_WAIT_MS);
    while (zmq_bind(link->socket, wanted) != 0) {
        int error = errno;
        if (error != EADDRINUSE || clock_now_ms() >= end_ms)
            return error;
        clock_sleep_ms(5);
    }
    return 0;
}

/* Binding again uses the endpoint of the first time, so that the port stays. */
static enum status link_bind(struct link *link, struct reason *reason)
{
    const char *wanted = link->endpoint[0] ? link->endpoint : link->options.endpoint;
    char bound[LINK_ENDPOINT_SIZE * 2];
    size_t size = sizeof(bound);
    int error = bind_patiently(link, wanted);
    if (error != 0) {
        if (error == EADDRINUSE)
            return refuse(reason, STATUS_IN_USE,
                          "%s is in use by another process; choose another address or port 0",
                          wanted);
        return refuse(reason, error == EINVAL || error == ENODEV || error == EADDRNOTAVAIL
                                  ? STATUS_INVALID : status_from_errno(error),
                      "cannot listen on %s: %s", wanted, zmq_strerror(error));
    }
    if (zmq_getsockopt(link->socket, ZMQ_LAST_ENDPOINT, bound, &size) != 0 ||
        size > LINK_ENDPOINT_SIZE)
        return refuse(reason, STATUS_IO, "%s: the bound address cannot be read", wanted);
    memcpy(link->endpoint, bound, size);
    return STATUS_OK;
}

enum status link_socket_open(struct transport *transport, struct link *link, struct reason *reason)
{
    bool is_bound = link->options.role == LINK_BIND;
    enum status status = STATUS_OK;
    link->socket = zmq_socket(transport->context, is_bound ? ZMQ_ROUTER : ZMQ_DEALER);
    if (!link->socket)
        return refuse(reason, STATUS_IO, "cannot make a socket: %s", zmq_strerror(errno));
    /* A server that could not be locked must not be bound at all. */
    if (!set_limits(link) ||
        !(is_bound ? set_bound(link, transport) : set_connected(link, transport)))
        status = refuse(reason, STATUS_UNSUPPORTED, "%s: this libzmq lacks a needed setting: %s",
                        link->options.endpoint, zmq_strerror(errno));
    if (status == STATUS_OK && monitor_open(transport, link) != STATUS_OK)
        status = refuse(reason, STATUS_IO, "%s cannot be watched: %s", link->options.endpoint,
                        zmq_strerror(errno));
    if (status == STATUS_OK && is_bound)
        status = link_bind(link, reason);
    else if (status == STATUS_OK && zmq_connect(link->socket, link->options.endpoint) != 0)
        status = refuse(reason, STATUS_INVALID, "cannot connect to %s: %s",
                        link->options.endpoint, zmq_strerror(errno));
    if (status != STATUS_OK) {
        link_socket_close(link, 0);
        return status;
    }
    if (is_bound) {
        struct transport_event bound = {.kind = TRANSPORT_BOUND,
                                        .peer = peer_of_link(link->number),
                                        .endpoint = link->endpoint};
        event_push(transport, &bound);
    }
    return STATUS_OK;
}

void link_socket_close(struct link *link, int linger_ms)
{
    monitor_close(link);
    if (link->socket) {
        (void)zmq_setsockopt(link->socket, ZMQ_LINGER, &linger_ms, sizeof(linger_ms));
        (void)zmq_close(link->socket);
    }
    link->socket = NULL;
    link->is_readable = false;
    link->is_monitor_readable = false;
}

void link_free(struct link *link, int linger_ms)
{
    link_socket_close(link, linger_ms);
    key_list_fini(&link->allowed);
    key_list_fini(&link->admitted);
    fd_list_fini(&link->accepted);
    memory_free(link->routes);
    volatile uint8_t *secret = link->options.own_pair.secret;
    for (size_t i = 0; i < sizeof(link->options.own_pair.secret); i++)
        secret[i] = 0;
    memory_free(link);
}

/* splitmix64; only to spread the retries of many. */
static uint32_t jitter(struct transport *transport, uint32_t below)
{
    uint64_t z = (transport->jitter += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)((z ^ (z >> 27)) >> 32) % below;
}

void link_retry(struct transport *transport, struct link *link)
{
    bool is_bound = link->options.role == LINK_BIND;
    link_announce_down(transport, link);
    link_socket_close(link, 0);
    uint64_t now_ms = clock_now_ms();
    if (is_bound) {
        link->admitted.count = 0;
        link->accepted.count = 0;
        link->retry_at_ms = now_ms;
        transport->counters.links_rebound++;
        return;
    }
    link->backoff_ms = link->backoff_ms == 0 ? REOPEN_MIN_MS : link->backoff_ms * 2;
    if (link->backoff_ms > REOPEN_MAX_MS)
        link->backoff_ms = REOPEN_MAX_MS;
    link->retry_at_ms = now_ms + link->backoff_ms / 2 + jitter(transport, link->backoff_ms / 2);
    transport->counters.links_reopened++;
}

void link_retry_due(struct transport *transport, struct link *link, uint64_t now_ms)
{
    if (link->socket || now_ms < link->retry_at_ms)
        return;
    enum status status = link_socket_open(transport, link, NULL);
    /* The old listener is closed by libzmq's own thread a moment after zmq_close. */
    if (status != STATUS_OK)
        link->retry_at_ms =
            now_ms + (link->options.role == LINK_BIND ? REBIND_RETRY_MS : REOPEN_MAX_MS);
}
