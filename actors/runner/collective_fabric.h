/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collective_fabric: where Open MPI's TCP transport listens, and where it meets its siblings.
 *
 * The program exports this file's `bind`, `listen`, `accept`, `connect` and `getpeername`
 * (-rdynamic), so that the transport calls them in place of the C library's.  It would listen on
 * all addresses; it gets the placement's (TROUPE_FABRIC_ADDRESS).  It knows each sibling by one
 * address; those of TROUPE_FABRIC_WAYS are met elsewhere, without it seeing that: the listener
 * stands for one at each address of ours that a way has, a connection is made between the two
 * addresses of its way, and one that comes is seen to come from where the sibling is known.  Given
 * lists of addresses, the transport itself would pair each of ours with one of the sibling's,
 * whether they reach each other or not, and share the bytes among all.
 *
 * Owner    the engine thread; other callers than the transport are passed on, but for the wildcard
 *          of `bind` where there are no ways.
 * Memory   one listener per address, which the end of the process closes.
 * Fails    as the calls do, through errno.
 */
#ifndef TROUPE_ACTORS_RUNNER_COLLECTIVE_FABRIC_H
#define TROUPE_ACTORS_RUNNER_COLLECTIVE_FABRIC_H

#include "protocol/status.h"

/* Before MPI starts: are the ways such that they can be gone here? */
MUST_CHECK enum status collective_fabric_check(struct reason *reason);

#endif
