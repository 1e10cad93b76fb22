/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link: the words in which actors speak of connections, free of any socket.
 *
 * A link is one socket of a process, named by a number the actor chooses: a bound one has many
 * peers, a connected one has one.  Memory: plain values, copied freely.
 */
#ifndef TROUPE_RUNTIME_LINK_H
#define TROUPE_RUNTIME_LINK_H

#include "protocol/ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LINK_ENDPOINT_SIZE = 128,   /* "tcp://[...]:65535", "ipc://NAME.sock", NUL included */
    LINK_ROUTE_SIZE = 16,       /* routing ids are the 5 bytes libzmq makes; room to spare */
    LINK_MESSAGE_SIZE = 16 << 20, /* default limit of a message: MESSAGE_SIZE_MAX */
    LINK_QUEUE_MAX = 16384,     /* default limit of messages waiting per peer */
    LINK_COUNT_MAX = 256        /* sockets of one process */
};

enum link_role { LINK_BIND, LINK_CONNECT };

struct key_pair {
    struct public_key public_key;
    uint8_t secret[32];
};

/* Zeroed fields mean the defaults above. */
struct link_options {
    enum link_role role;
    char endpoint[LINK_ENDPOINT_SIZE]; /* ipc: plain; tcp: always CURVE; a port of 0 when binding
                                          takes any free one and keeps it while the link lives */
    struct public_key server_key;      /* connecting over tcp: whom to expect there */
    bool is_plain;                     /* tcp without CURVE: all that passes is sealed by its
                                          owner, and whoever connects may be anyone */
    bool has_own_pair;                 /* connect with `own_pair`, not the process's (join) */
    struct key_pair own_pair;
    uint64_t message_size_max;
    uint32_t queue_max;
};

/*
 * Who is at the other end.  On a bound link `route` names one connection and dies with it; on a
 * connected link it is empty and `key` is the server's.  Over ipc the key is zero: the kernel has
 * vouched for the user instead.
 */
struct peer {
    uint32_t link;
    uint32_t route_size;
    uint8_t route[LINK_ROUTE_SIZE];
    struct public_key key;
};

/* The same connection. */
bool peer_equal(const struct peer *a, const struct peer *b);
/* The only peer of a connected link. */
struct peer peer_of_link(uint32_t link);

#endif
