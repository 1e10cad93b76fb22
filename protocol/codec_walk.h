/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec_walk: looks over msgpack bytes without allocating anything.
 *
 * Refuses what is deeper than MESSAGE_DEPTH_MAX, has more than MESSAGE_ENTRIES_MAX entries in all,
 * declares a count or size that cannot fit into what is left, uses extension types, or does not end
 * exactly at the end.  (msgpack specification, "Formats"; without the walk one flipped bit makes
 * the unpacker ask for gigabytes.)
 */
#ifndef TROUPE_PROTOCOL_CODEC_WALK_H
#define TROUPE_PROTOCOL_CODEC_WALK_H

#include "protocol/status.h"

#include <stddef.h>

MUST_CHECK enum status codec_walk(const void *bytes, size_t size, struct reason *reason);

#endif
