/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/master/link_measure.h"

#include <string.h>

void link_measure_begin(struct link_measure *measure, const struct node_id *node_id,
                        uint64_t now_ms)
{
    memset(measure, 0, sizeof(*measure));
    measure->since_ms = now_ms;
    measure->node_id = *node_id;
}

static uint64_t latency_of(const struct link_measure *measure)
{
    const uint64_t newest = measure->latency_us[0];
    const uint64_t before = measure->latency_us[1];
    return before > 0 && before < newest ? before : newest;
}

static uint64_t rate_of(const struct link_measure *measure)
{
    const uint64_t newest = measure->bytes_per_s[0];
    const uint64_t before = measure->bytes_per_s[1];
    return before > newest ? before : newest;
}

uint32_t link_measure_ask(struct link_measure *measure, uint64_t number, uint64_t now_ms,
                          uint64_t now_us, bool may_burst)
{
    if (!may_burst || measure->number != 0) {
        measure->is_bursting = false; /* also when its answer does not come */
    } else if (!measure->is_bursting && measure->burst_at_ms > 0 &&
               now_ms >= measure->burst_at_ms) {
        measure->is_bursting = true;
        measure->load = LINK_LOAD_MIN;
        measure->tried_us = 0;
        measure->burst_at_ms = now_ms + LINK_BURST_MS;
    }
    if (!measure->is_bursting)
        measure->load = 0;
    measure->number = number;
    measure->sent_us = now_us;
    return measure->load;
}

/* The load's own time is what it took beyond an empty echo.  Below a microsecond for each KiB no
 * clock here tells more than "at least". */
static bool burst_told(struct link_measure *measure, uint64_t took_us, uint64_t now_ms)
{
    const uint64_t latency_us = latency_of(measure);
    uint64_t spent_us = took_us > latency_us ? took_us - latency_us : 0;
    if (spent_us < measure->load / 1024u)
        spent_us = measure->load / 1024u;
    if (measure->tried_us > 0 && measure->tried_us < spent_us)
        spent_us = measure->tried_us;
    if (spent_us < LINK_LOAD_LONG_US && measure->load < LINK_LOAD_MAX) {
        measure->load *= 4;
        measure->tried_us = 0;
        return true;
    }
    if (measure->tried_us == 0) {
        measure->tried_us = spent_us;
        return true;
    }
    /* The second soon, so that a node that was busy at its start is not long taken for slow. */
    if (measure->bytes_per_s[0] == 0)
        measure->burst_at_ms = now_ms + LINK_BURST_FIRST_MS;
    measure->bytes_per_s[1] = measure->bytes_per_s[0];
    measure->bytes_per_s[0] = (uint64_t)measure->load * 1000000u / spent_us;
    measure->burst_ms = now_ms;
    measure->is_bursting = false;
    return false;
}

bool link_measure_told(struct link_measure *measure, const struct echo_told *told,
                       uint64_t now_ms, uint64_t now_us)
{
    if (measure->number == 0 || told->number != measure->number || told->size != measure->load)
        return false; /* of another life, or too late */
    const uint64_t took_us = now_us > measure->sent_us ? now_us - measure->sent_us : 1;
    measure->number = 0;
    if (measure->answered_ms == 0)
        measure->burst_at_ms = now_ms + LINK_BURST_FIRST_MS;
    measure->answered_ms = now_ms;
    if (measure->load > 0)
        return measure->is_bursting && burst_told(measure, took_us, now_ms);
    measure->latency_us[1] = measure->latency_us[0];
    measure->latency_us[0] = took_us;
    return false;
}

void link_measure_lost(struct link_measure *measure, uint64_t now_ms)
{
    if (measure->answered_ms > 0)
        measure->since_ms = now_ms;
    measure->number = 0;
    measure->is_bursting = false;
    measure->answered_ms = 0;
}

bool link_measure_heard(struct link_measure *measure, uint64_t now_ms)
{
    const bool was_away = now_ms - measure->heard_ms >= LINK_AWAY_MS;
    measure->heard_ms = now_ms;
    if (!was_away)
        return false;
    measure->back_ms = now_ms;
    if (measure->answered_ms == 0 || now_ms - measure->answered_ms >= LINK_SILENT_MS) {
        measure->answered_ms = 0;
        measure->since_ms = now_ms;
    }
    return true;
}

bool link_measure_tell(const struct link_measure *measure, uint64_t now_ms,
                       struct link_measured *told_out)
{
    told_out->node_id = measure->node_id;
    told_out->reaches =
        measure->answered_ms > 0 && now_ms - measure->answered_ms < LINK_SILENT_MS;
    told_out->latency_us = told_out->reaches ? latency_of(measure) : 0;
    told_out->bytes_per_s = rate_of(measure);
    told_out->bytes_age_ms = told_out->bytes_per_s > 0 ? now_ms - measure->burst_ms : 0;
    return measure->answered_ms > 0 || now_ms - measure->since_ms >= LINK_SILENT_MS;
}
