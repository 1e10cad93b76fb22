/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection: the file with which a client reaches a node elsewhere: address, the node's key, and a
 * pair of its own that the cluster has admitted.
 *
 *     {"address": "tcp://10.0.0.2:40123", "server_key": HEX, "public_key": HEX, "secret_key": HEX}
 *
 * Memory   none is kept.
 * Fails    STATUS_NOT_FOUND, STATUS_NO_PERMISSION (others can read it), STATUS_MALFORMED.
 */
#ifndef TROUPE_RUNTIME_TOOLS_TROUPE_CONNECTION_H
#define TROUPE_RUNTIME_TOOLS_TROUPE_CONNECTION_H

#include "runtime/client_channel.h"

struct connection {
    char address[LINK_ENDPOINT_SIZE];
    struct public_key server_key;
    struct key_pair pair;
};

MUST_CHECK enum status connection_read(const char *path, struct connection *connection_out,
                                       struct reason *reason);
/* Refuses a file that exists. */
MUST_CHECK enum status connection_write(const char *path, const struct connection *connection,
                                        struct reason *reason);
MUST_CHECK enum status connection_open(const char *path, struct troupe_channel *channel_out,
                                       struct reason *reason);

#endif
