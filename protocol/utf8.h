/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utf8: what is well-formed UTF-8 (RFC 3629: nothing overlong, no surrogates, at most U+10FFFF).
 *
 * Memory   none of its own.
 * Threads  any; nothing is kept.
 * Fails    never; what is not well-formed is answered as such.
 */
#ifndef TROUPE_PROTOCOL_UTF8_H
#define TROUPE_PROTOCOL_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Size of a character that starts at `text`, of which `left` bytes, 1 at least, are there:
 * > 0  a whole valid character of that many bytes;
 * 0    the bytes there may become valid with more bytes;
 * < 0  minus the number of bytes that can never be valid (the maximal subpart, one U+FFFD).
 * No byte behind the first that does not belong is read: the end of a C string stops it. */
int utf8_step(const void *text, size_t left);

/* As utf8_step, but 0 wherever no whole valid character starts. */
size_t utf8_length(const void *text, size_t left);

/* How many bytes from the start are whole valid characters: `size` when all of it is. */
size_t utf8_valid_prefix(const void *text, size_t size);

bool utf8_is_valid(const void *text, size_t size);

#endif
