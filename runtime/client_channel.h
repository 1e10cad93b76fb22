/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_channel: the ZeroMQ channel of the client library (protocol/client.h).
 *
 * Owner    troupe_client_open takes the channel.
 * Memory   one transport.
 * Threads  one at a time each; libzmq has an I/O thread of its own.
 * Fails    STATUS_UNREACHABLE with the sentence for a person when no node runs there;
 *          STATUS_NO_PERMISSION when the home is another user's.
 */
#ifndef TROUPE_RUNTIME_CLIENT_CHANNEL_H
#define TROUPE_RUNTIME_CLIENT_CHANNEL_H

#include "protocol/client.h"
#include "runtime/link.h"

/* To the node with this home directory (absolute).  Where its supervisor lives but the master is
 * not there yet, waits for it up to `timeout_ms`. */
MUST_CHECK enum status client_channel_open_home(const char *home, uint64_t timeout_ms,
                                                struct troupe_channel *channel_out,
                                                struct reason *reason);

/* To a node over the network: its address "tcp://host:port", its master's key, and a pair that the
 * cluster has admitted (troupe client add). */
MUST_CHECK enum status client_channel_open_remote(const char *address,
                                                  const struct public_key *server_key,
                                                  const struct key_pair *pair,
                                                  struct troupe_channel *channel_out,
                                                  struct reason *reason);

/* Does anybody listen at HOME/run/master.sock? */
bool client_channel_master_listens(const char *home);
/* Does a supervisor hold this home? */
bool client_channel_home_is_held(const char *home);

#endif
