/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_retry: when a question to a hub may be asked again.
 *
 * 429 (and 503 with a time): t + 1 s of the header `ratelimit`, else Retry-After, else the backoff.
 * Every wait has a limit: a hub that asks for more ends the pull with the time it named.  Other
 * troubles: a backoff that doubles, with jitter, so many times in a row; bytes that come begin the
 * count anew.
 *
 * Memory   plain values.
 * Threads  any; pure: the random number is an input.
 * Fails    BUSY (a wait beyond the limit), or the trouble's own status when the tries are spent.
 */
#ifndef TROUPE_ACTORS_DOWNLOADER_HUB_RETRY_H
#define TROUPE_ACTORS_DOWNLOADER_HUB_RETRY_H

#include "actors/downloader/hub_head.h"

#define HUB_BACKOFF_FIRST_MS 500u
#define HUB_BACKOFF_MAX_MS 30000u
/* The windows of the hub's limits are 5 minutes. */
#define HUB_WAIT_MAX_MS (10u * 60 * 1000)
#define HUB_WAITS_MAX 10u

/* The wait before try `tries` + 1, tries counted from 1: half of it to all of it. */
uint64_t hub_backoff_ms(uint32_t tries, uint32_t random);
/* The wait that an answer of HUB_TROUBLE_WAIT asks for. */
MUST_CHECK enum status hub_wait_ms(const struct hub_head *head, const char *authority,
                                   uint32_t tries, uint32_t random, uint64_t *wait_ms_out,
                                   struct reason *reason);

#endif
