/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema_page: the protocol page, made from the rows.
 */
#ifndef TROUPE_PROTOCOL_SCHEMA_PAGE_H
#define TROUPE_PROTOCOL_SCHEMA_PAGE_H

#include "protocol/buffer.h"

/* Appends the whole page as Markdown. */
MUST_CHECK enum status schema_page(struct buffer *page);

#endif
