/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_scan: follows a JSON value byte by byte, and can always say how to end it.
 *
 * Line breaks and other controls within strings pass, as models write them; whoever keeps the bytes
 * escapes them.
 *
 * Owner    whoever reads calls of tools.
 * Memory   a value; nesting up to JSON_SCAN_DEPTH_MAX.
 * Threads  none of its own.
 * Fails    SCAN_BAD: the byte cannot follow; the scan stays where it was.
 */
#ifndef TROUPE_ENGINE_DIALOGUE_JSON_SCAN_H
#define TROUPE_ENGINE_DIALOGUE_JSON_SCAN_H

#include "protocol/buffer.h"

#include <stdbool.h>
#include <stdint.h>

enum { JSON_SCAN_DEPTH_MAX = 128 };

enum scan_place {
    SCAN_VALUE,      /* a value begins here: the first of all, or after a colon */
    SCAN_ELEMENT,    /* or after a comma of a list */
    SCAN_FIRST,      /* or the list ends */
    SCAN_FIRST_NAME, /* a name, or the object ends */
    SCAN_NAME,       /* a name, after a comma */
    SCAN_COLON,
    SCAN_AFTER, /* a comma or an end */
    SCAN_STRING,
    SCAN_ESCAPE, /* after the backslash */
    SCAN_HEX,    /* after \u */
    SCAN_NUMBER,
    SCAN_LITERAL,
    SCAN_ENDED,
};

enum scan_result {
    SCAN_MORE,
    SCAN_DONE,        /* the value ends with this byte */
    SCAN_DONE_BEFORE, /* it ended before this byte, which does not belong to it */
    SCAN_BAD,
};

struct json_scan {
    enum scan_place place;
    uint32_t depth;
    uint8_t objects[JSON_SCAN_DEPTH_MAX / 8]; /* a bit for each depth */
    bool is_name;                             /* the string is one */
    uint8_t count;                            /* digits of \u; bytes of a literal; of a number: */
    uint8_t literal;                          /* which */
};

void json_scan_init(struct json_scan *scan);
enum scan_result json_scan_byte(struct json_scan *scan, uint8_t byte);
bool json_scan_in_string(const struct json_scan *scan);
/* What makes the value whole; a comma that was the last byte is taken not to be written. */
MUST_CHECK enum status json_scan_close(const struct json_scan *scan, struct buffer *out);
bool json_is_space(uint8_t byte);

#endif
