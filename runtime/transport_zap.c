/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer to libzmq's question "may this key connect?" (ZAP, RFC 27).
 *
 * A CURVE server without a handler admits anyone unless its domain is not empty and
 * ZMQ_ZAP_ENFORCE_DOMAIN is set; so both are set on every server, the handler is bound before the
 * first of them, and whatever is not understood is refused.  When the handler is gone, libzmq
 * refuses by itself.
 */
#include "runtime/transport_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define ZAP_ENDPOINT "inproc://zeromq.zap.01"

enum { ZAP_PARTS_MAX = 8, ZAP_PART_SIZE = 256 };

/* version, request id, domain, address, routing id, mechanism, credentials */
enum { ZAP_VERSION, ZAP_REQUEST, ZAP_DOMAIN, ZAP_ADDRESS, ZAP_ROUTE, ZAP_MECHANISM, ZAP_KEY,
       ZAP_PARTS };

struct zap_part {
    size_t size;
    uint8_t bytes[ZAP_PART_SIZE];
};

enum status zap_open(struct transport *transport, struct reason *reason)
{
    void *socket = zmq_socket(transport->context, ZMQ_REP);
    int none = 0;
    if (!socket)
        return refuse(reason, STATUS_IO, "the key check cannot start: %s", zmq_strerror(errno));
    if (zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof(none)) != 0 ||
        zmq_bind(socket, ZAP_ENDPOINT) != 0) {
        (void)zmq_close(socket);
        return refuse(reason, STATUS_IO, "the key check cannot start: %s", zmq_strerror(errno));
    }
    transport->zap = socket;
    return STATUS_OK;
}

void zap_close(struct transport *transport)
{
    if (transport->zap)
        (void)zmq_close(transport->zap);
    transport->zap = NULL;
}

/* Reads one request whole; the count is ZAP_PARTS + 1 for one that is too long.  0: none waits. */
static size_t zap_read(void *socket, struct zap_part *parts)
{
    size_t count = 0;
    int more = 1;
    while (more) {
        uint8_t bytes[ZAP_PART_SIZE];
        int size = zmq_recv(socket, bytes, sizeof(bytes), count == 0 ? ZMQ_DONTWAIT : 0);
        if (size < 0)
            return count;
        if (count < ZAP_PARTS && (size_t)size <= sizeof(bytes)) {
            parts[count].size = (size_t)size;
            memcpy(parts[count].bytes, bytes, (size_t)size);
            count++;
        } else {
            count = ZAP_PARTS + 1;
        }
        size_t more_size = sizeof(more);
        if (zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &more_size) != 0)
            more = 0;
    }
    return count;
}

static bool part_is(const struct zap_part *part, const char *text)
{
    return part->size == strlen(text) && memcmp(part->bytes, text, part->size) == 0;
}

static struct link *link_of_domain(const struct transport *transport, const struct zap_part *part)
{
    for (size_t i = 0; i < transport->link_count; i++) {
        char domain[16];
        (void)snprintf(domain, sizeof(domain), "link-%u", (unsigned)transport->links[i]->domain);
        if (part_is(part, domain))
            return transport->links[i];
    }
    return NULL;
}

static bool zap_admits(struct transport *transport, const struct zap_part *parts, size_t count,
                       struct public_key *key_out)
{
    if (count != ZAP_PARTS || !part_is(&parts[ZAP_VERSION], "1.0") ||
        !part_is(&parts[ZAP_MECHANISM], "CURVE") || parts[ZAP_KEY].size != sizeof(*key_out))
        return false;
    struct link *link = link_of_domain(transport, &parts[ZAP_DOMAIN]);
    struct public_key key;
    memcpy(key.bytes, parts[ZAP_KEY].bytes, sizeof(key.bytes));
    if (!link || !key_list_has(&link->allowed, &key))
        return false;
    /* Remembered, so that removing the key knows that a connection may have to end. */
    if (!key_list_has(&link->admitted, &key) && key_list_add(&link->admitted, &key) != STATUS_OK)
        return false;
    *key_out = key;
    return true;
}

void zap_answer(struct transport *transport)
{
    struct zap_part parts[ZAP_PARTS] = {0};
    size_t count;
    transport->is_zap_readable = false;
    while (transport->zap && (count = zap_read(transport->zap, parts)) > 0) {
        struct public_key key;
        char user[HEX_SIZE(sizeof(key))] = "";
        bool admits = zap_admits(transport, parts, count, &key);
        if (admits) {
            (void)hex_print(key.bytes, sizeof(key.bytes), user);
            transport->counters.keys_admitted++;
        } else {
            transport->counters.keys_refused++;
        }
        const struct zap_part *request = &parts[ZAP_REQUEST];
        void *zap = transport->zap;
        /* A reply that cannot be sent leaves the peer unanswered, which refuses it. */
        (void)zmq_send(zap, "1.0", 3, ZMQ_SNDMORE);
        (void)zmq_send(zap, request->bytes, count > ZAP_REQUEST ? request->size : 0, ZMQ_SNDMORE);
        (void)zmq_send(zap, admits ? "200" : "400", 3, ZMQ_SNDMORE);
        (void)zmq_send(zap, admits ? "OK" : "not admitted", admits ? 2 : 12, ZMQ_SNDMORE);
        (void)zmq_send(zap, user, strlen(user), ZMQ_SNDMORE);
        (void)zmq_send(zap, "", 0, 0);
    }
}
