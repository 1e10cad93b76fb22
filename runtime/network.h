/* SPDX-License-Identifier: Apache-2.0 */
/*
 * network: is an address inside one of the networks an operator named?
 *
 * Pure.  MPI is not encrypted: ranks may only talk over networks named in `trusted_networks`.
 *
 * Memory   none.
 * Fails    INVALID with the entry that is no network.
 */
#ifndef TROUPE_RUNTIME_NETWORK_H
#define TROUPE_RUNTIME_NETWORK_H

#include "protocol/status.h"

#include <stdbool.h>
#include <stdint.h>

#define NETWORKS_MAX 32

struct network {
    bool is_six;
    uint8_t address[16]; /* network order; the first 4 of a v4 one */
    uint32_t bits;
};

struct networks {
    struct network items[NETWORKS_MAX];
    uint32_t count;
};

/* "127.0.0.0/8, ::1/128, 192.168.7.4": an address alone is itself. */
MUST_CHECK enum status networks_parse(const char *text, struct networks *networks_out,
                                      struct reason *reason);
/* `address` is a plain v4 or v6 address, with or without brackets; a name is in no network. */
bool networks_contain(const struct networks *networks, const char *address);

#endif
