/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hello: what every hello says, whoever speaks: who it is, of which build, in which versions.
 *
 * Owner    whoever speaks.
 * Memory   the build's name is the record's.
 * Threads  any.
 * Fails    STATUS_NO_MEMORY.
 */
#ifndef TROUPE_PROTOCOL_HELLO_H
#define TROUPE_PROTOCOL_HELLO_H

#include "protocol/message.h"

/* Into a zeroed body; the rest of the fields is the caller's to add.  `build` may be NULL. */
MUST_CHECK enum status hello_fill(struct hello *hello, enum actor_kind actor, uint64_t incarnation,
                                  const char *build);

#endif
