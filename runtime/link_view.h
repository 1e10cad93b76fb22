/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link_view: what the rows that nodes told of their links say of two of them.
 *
 * An address is proven when each of the two reached the other by it: what one of them says alone
 * is "one way", and what neither says is not known.
 *
 * Pure.
 *
 * Memory   borrows the rows.
 * Threads  any.
 * Fails    printing: without memory.
 */
#ifndef TROUPE_RUNTIME_LINK_VIEW_H
#define TROUPE_RUNTIME_LINK_VIEW_H

#include "protocol/buffer.h"
#include "protocol/state.h"

#include <stdbool.h>
#include <stddef.h>

#define LINK_ROW_LIFE_MS 15000u /* told each 5 s */

enum link_state {
    LINK_STATE_UNKNOWN,  /* one of them has not told of late */
    LINK_STATE_NONE,     /* neither reaches the other */
    LINK_STATE_ONE_WAY,  /* the first reaches the second, which does not reach it */
    LINK_STATE_BACKWARD, /* the other way round */
    LINK_STATE_PROVEN    /* each reaches the other */
};

const char *link_state_name(enum link_state state);
enum link_state link_view_state(const struct links_listed *listed, const struct node_id *from,
                                const struct node_id *to);
/* What that node told of late; NULL: nothing. */
const struct links_measured *link_view_row(const struct links_listed *listed,
                                           const struct node_id *node);
/* "tcp://HOST:PORT" is an address of `host`. */
bool link_view_address_is(const char *address, const char *host);
enum proof {
    PROOF_NONE,    /* it was tried and does not answer */
    PROOF_UNKNOWN, /* not tried yet, or nothing told of late */
    PROOF_GIVEN
};
/* Does the one that told of that link reach the other at that host?  NULL: nobody told. */
enum proof link_view_proof(const struct link_measured *link, const char *host);
/* At one address at least. */
bool link_view_reaches(const struct link_measured *link);
/* Of that row, the link to `to`; NULL: there is none, or no row. */
const struct link_measured *link_view_of(const struct links_measured *row,
                                         const struct node_id *to);
/* What `from` measured towards `to`; NULL: it has not told of late. */
const struct link_measured *link_view_find(const struct links_listed *listed,
                                           const struct node_id *from, const struct node_id *to);

/* {"nodes": [what carries the address of each], "links": [one for each ordered pair]}, of all nodes
 * of the state; what is not known is null. */
MUST_CHECK enum status link_view_print(const struct links_listed *listed,
                                       const struct state *state, struct buffer *json);

#endif
