/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_address: may a hub send us to this machine?  A redirect must not make the node ask machines
 * of its own network on somebody's behalf.
 *
 * Memory   none.
 * Threads  any; pure.
 * Fails    never.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_HUB_ADDRESS_H
#define TROUPE_ACTORS_DOWNLOADER_HUB_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

/* False for loopback, private, link-local, shared, multicast and unspecified addresses, and for
 * those of v4 in the clothes of v6. */
bool hub_address_is_global(const struct sockaddr *address, size_t size);

#endif
