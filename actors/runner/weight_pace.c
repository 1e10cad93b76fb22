/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/weight_pace.h"

void weight_pace_begin(struct weight_pace *pace, uint64_t rate, uint64_t grain, uint64_t now_ms)
{
    *pace = (struct weight_pace){.looked_ms = now_ms, .window_ms = PACE_WINDOW_MS};
    if (rate == 0)
        return;
    const uint64_t two_batches_ms = 2 * grain * 1000 / rate;
    if (two_batches_ms > pace->window_ms)
        pace->window_ms = two_batches_ms;
    pace->needed = rate * pace->window_ms / 1000 - grain;
}

bool weight_pace_holds(struct weight_pace *pace, uint64_t bytes, uint64_t now_ms)
{
    const uint64_t passed_ms = now_ms > pace->looked_ms ? now_ms - pace->looked_ms : 0;
    const uint64_t part_ms = pace->window_ms / PACE_SAMPLES;
    pace->looked_ms = now_ms;
    pace->time_ms += passed_ms < PACE_LOOK_MAX_MS ? passed_ms : PACE_LOOK_MAX_MS;
    if (pace->time_ms - pace->sampled_ms < part_ms)
        return true;
    pace->sampled_ms = pace->time_ms;
    uint64_t *oldest = &pace->samples[pace->taken % PACE_SAMPLES];
    const uint64_t before = *oldest; /* 0 in the first window: what was there at the begin */
    *oldest = bytes;
    pace->taken++;
    return pace->taken < PACE_SAMPLES || bytes - before >= pace->needed;
}

uint64_t weight_pace_time(const struct weight_pace *pace)
{
    return pace->time_ms;
}
