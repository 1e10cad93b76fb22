/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/downloader/hub_retry.h"

#include <inttypes.h>

uint64_t hub_backoff_ms(uint32_t tries, uint32_t random)
{
    uint64_t wait_ms = HUB_BACKOFF_FIRST_MS;
    for (uint32_t i = 1; i < tries && wait_ms < HUB_BACKOFF_MAX_MS; i++)
        wait_ms *= 2;
    if (wait_ms > HUB_BACKOFF_MAX_MS)
        wait_ms = HUB_BACKOFF_MAX_MS;
    return wait_ms / 2 + random % (wait_ms / 2 + 1);
}

enum status hub_wait_ms(const struct hub_head *head, const char *authority, uint32_t tries,
                        uint32_t random, uint64_t *wait_ms_out, struct reason *reason)
{
    uint64_t wait_ms = hub_backoff_ms(tries, random);
    if (head->has_reset)
        wait_ms = head->reset_s > HUB_WAIT_MAX_MS ? UINT64_MAX : (head->reset_s + 1) * 1000;
    else if (head->has_retry)
        wait_ms = head->retry_s > HUB_WAIT_MAX_MS ? UINT64_MAX : head->retry_s * 1000;
    if (wait_ms > HUB_WAIT_MAX_MS)
        return refuse(reason, STATUS_BUSY,
                      "%s limits the rate and asks to come again in %" PRIu64
                      " s; pull again then, what is here is kept",
                      authority, head->has_reset ? head->reset_s : head->retry_s);
    if (tries > HUB_WAITS_MAX)
        return refuse(reason, STATUS_BUSY,
                      "%s limits the rate and did so %u times in a row; pull again later, what is "
                      "here is kept",
                      authority, (unsigned)HUB_WAITS_MAX);
    *wait_ms_out = wait_ms;
    return STATUS_OK;
}
