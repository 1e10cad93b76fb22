/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fabric_ways: where a rank meets those siblings that it does not meet at the one address by which
 * all of its world know it.
 *
 * Pure.  Open MPI is told of one address for each rank, its fabric; where two ranks share no
 * network with all the others, they meet at two addresses of their own.  As a text, from the task
 * that starts a rank to its environment: "KNOWN/OWN/PEER" for each such sibling, with commas
 * between: it is known by KNOWN, and is met from our address OWN at its address PEER.  IPv4 only.
 *
 * Memory   none.
 * Fails    STATUS_INVALID with the entry that is none; STATUS_TOO_LARGE for too many.
 */
#ifndef TROUPE_RUNTIME_FABRIC_WAYS_H
#define TROUPE_RUNTIME_FABRIC_WAYS_H

#include "protocol/limits.h"
#include "protocol/state.h"
#include "protocol/status.h"

#include <stdint.h>

/* Addresses in the order of the network. */
struct fabric_way {
    uint8_t known[4];
    uint8_t own[4];
    uint8_t peer[4];
};

struct fabric_ways {
    struct fabric_way items[RANK_COUNT_MAX];
    uint32_t count;
};

/* NULL and an empty text are no ways. */
MUST_CHECK enum status fabric_ways_parse(const char *text, struct fabric_ways *ways_out,
                                         struct reason *reason);
/* Of that rank, from where its placement says its siblings meet. */
MUST_CHECK enum status fabric_ways_write(const struct state *state,
                                         const struct instance_record *instance, uint32_t rank,
                                         char text_out[WAYS_SIZE_MAX]);

/* Where ranks on that node reach the rank. */
const char *fabric_host(const struct state *state, const struct rank_record *rank,
                        const struct node_id *from);
/* "tcp://HOST:PORT", as the rank told it, for ranks on that node: with the host of theirs. */
void fabric_address(const struct rank_record *rank, const struct node_id *from,
                    const char *address, char address_out[ADDRESS_SIZE_MAX]);
/* The same the other way: what was bound to all addresses, as the siblings are told of it. */
void fabric_told(const char *bound, const char *fabric, char address_out[ADDRESS_SIZE_MAX]);

#endif
