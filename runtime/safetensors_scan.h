/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors_scan: a walk over a header's JSON before a parser allocates by it.
 *
 * Memory   none.
 * Fails    TOO_LARGE and MALFORMED: deeper than three levels, more values than a table may have,
 *          numbers with a sign.
 */
#ifndef TROUPE_RUNTIME_SAFETENSORS_SCAN_H
#define TROUPE_RUNTIME_SAFETENSORS_SCAN_H

#include "protocol/status.h"

/* Also used for the index file, whose depth is two. */
MUST_CHECK enum status safetensors_scan(const char *text, size_t size, const char *label,
                                        struct reason *reason);

#endif
