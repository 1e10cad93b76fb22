/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_range: which bytes of a file a request asks for (RFC 9110, 14), and whether it has them
 * (RFC 9110, 13.1.2).
 *
 * One range is served: "bytes=0-99", "bytes=100-", "bytes=-100".  What is not understood, and
 * several ranges at once, mean the whole file, as the RFC allows.
 *
 * Memory   none.
 * Threads  any; pure.
 */
#ifndef TROUPE_ACTORS_GATEWAY_HTTP_RANGE_H
#define TROUPE_ACTORS_GATEWAY_HTTP_RANGE_H

#include "protocol/assert.h"

#include <stdbool.h>
#include <stdint.h>

enum http_range {
    HTTP_RANGE_ALL,   /* 200 */
    HTTP_RANGE_PART,  /* 206 */
    HTTP_RANGE_BEYOND /* 416: no byte of it is there */
};

/* `range` is the header's value, NULL or empty when there is none; `if_range` likewise, and
 * `validator` what it must be for the range to count.  `first_out` and `end_out`, one past the
 * last, are 0 and `size` unless it is a part. */
MUST_CHECK enum http_range http_range_read(const char *range, const char *if_range,
                                           const char *validator, uint64_t size,
                                           uint64_t *first_out, uint64_t *end_out);

/* `list` is the value of If-None-Match, NULL or empty when there is none: entity tags in quotes,
 * weak ones too, or "*". */
bool http_etag_is_among(const char *list, const char *etag);

#endif
