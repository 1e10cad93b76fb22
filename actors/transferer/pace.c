/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/transferer/pace.h"

static void begin(struct pace *pace, bool is_limited, uint64_t now_us, uint64_t spent_us)
{
    *pace = (struct pace){is_limited, now_us, spent_us, now_us};
}

uint64_t pace_rest_ms(struct pace *pace, bool is_generating, uint64_t now_us, uint64_t spent_us)
{
    if (!is_generating || !pace->is_limited)
        begin(pace, is_generating, now_us, spent_us);
    if (!is_generating)
        return 0;
    const double due_us = (double)(now_us - pace->from_us) * PACE_SHARE;
    const double spent = (double)(spent_us - pace->spent_us);
    if (spent + PACE_SLACK_US < due_us)
        begin(pace, true, now_us, spent_us);
    const uint64_t rested_us = now_us - pace->worked_us;
    if (spent <= due_us + PACE_SLACK_US || rested_us >= PACE_REST_MS_MAX * 1000u) {
        pace->worked_us = now_us;
        return 0;
    }
    const double rest_ms = (spent - PACE_SLACK_US - due_us) / PACE_SHARE / 1000;
    const uint64_t rest_ms_max = PACE_REST_MS_MAX - rested_us / 1000u;
    return rest_ms < (double)rest_ms_max ? (uint64_t)rest_ms + 1 : rest_ms_max;
}
