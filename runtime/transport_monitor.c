/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libzmq tells of its connections, turned into LINK_UP and LINK_DOWN.
 *
 * libzmq does not retry every lost connection: not one whose handshake was refused by ZAP, nor one
 * ended by a protocol error (an oversize message).  A connected link that lost its connection is
 * therefore always closed and opened anew by us, with backoff.
 */
#include "runtime/transport_internal.h"

#include <stdio.h>
#include <string.h>
#include <zmq.h>

enum { MONITORED = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
                   ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                   ZMQ_EVENT_HANDSHAKE_FAILED_AUTH };

enum status monitor_open(struct transport *transport, struct link *link)
{
    char endpoint[64];
    int none = 0;
    (void)snprintf(endpoint, sizeof(endpoint), "inproc://monitor-%u",
                   (unsigned)transport->domain_next++);
    if (zmq_socket_monitor(link->socket, endpoint, MONITORED) != 0)
        return STATUS_IO;
    void *monitor = zmq_socket(transport->context, ZMQ_PAIR);
    if (!monitor)
        return STATUS_IO;
    if (zmq_setsockopt(monitor, ZMQ_LINGER, &none, sizeof(none)) != 0 ||
        zmq_setsockopt(monitor, ZMQ_RCVHWM, &none, sizeof(none)) != 0 ||
        zmq_connect(monitor, endpoint) != 0) {
        (void)zmq_close(monitor);
        return STATUS_IO;
    }
    link->monitor = monitor;
    return STATUS_OK;
}

void monitor_close(struct link *link)
{
    if (link->socket)
        (void)zmq_socket_monitor(link->socket, NULL, 0);
    if (link->monitor)
        (void)zmq_close(link->monitor);
    link->monitor = NULL;
}

/* First frame: 16 bits of event, 32 bits of value, in the host's order; second: the address. */
static bool monitor_read(void *monitor, uint16_t *event_out, uint32_t *value_out)
{
    uint8_t frame[6];
    uint8_t address[LINK_ENDPOINT_SIZE];
    if (zmq_recv(monitor, frame, sizeof(frame), ZMQ_DONTWAIT) != (int)sizeof(frame))
        return false;
    (void)zmq_recv(monitor, address, sizeof(address), 0);
    memcpy(event_out, frame, sizeof(*event_out));
    memcpy(value_out, frame + 2, sizeof(*value_out));
    return true;
}

static void bound_happened(struct transport *transport, struct link *link, uint16_t event,
                           uint32_t value)
{
    /* Without memory for a descriptor its messages are dropped as of an ended connection. */
    if (event == ZMQ_EVENT_ACCEPTED)
        (void)!fd_list_add(&link->accepted, (int)value);
    if (event == ZMQ_EVENT_DISCONNECTED) {
        (void)fd_list_remove(&link->accepted, (int)value);
        link_routes_end(transport, link, (int)value);
    }
}

/* False when the socket is gone. */
static bool connected_happened(struct transport *transport, struct link *link, uint16_t event)
{
    switch (event) {
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        link->is_up = true;
        link->backoff_ms = 0;
        struct transport_event up = {.kind = TRANSPORT_UP, .peer = peer_of_link(link->number)};
        up.peer.key = link->options.server_key;
        event_push(transport, &up);
        return true;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        transport->counters.handshakes_failed++;
        link_retry(transport, link);
        return false;
    case ZMQ_EVENT_DISCONNECTED:
        link_retry(transport, link);
        return false;
    default:
        return true;
    }
}

void monitor_drain(struct transport *transport, struct link *link)
{
    uint16_t event;
    uint32_t value;
    link->is_monitor_readable = false;
    while (link->monitor && monitor_read(link->monitor, &event, &value)) {
        if (link->options.role == LINK_BIND)
            bound_happened(transport, link, event, value);
        else if (!connected_happened(transport, link, event))
            return;
    }
}
