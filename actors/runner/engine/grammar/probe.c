/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/probe.h"

#include "actors/runner/engine/grammar/mask.h"

#include <string.h>

/* After so many bytes; ways that pile up have done so by then. */
static const uint32_t stops[] = {0, 6, 12, 24, 48, 96, 192, 384};

static uint32_t most_ways(const struct positions *positions, const uint32_t *places, uint32_t count)
{
    uint32_t most = places[0];
    for (uint32_t at = 1; at < count; at++)
        if (positions->list[places[at]].count > positions->list[most].count)
            most = places[at];
    return most;
}

/* Where a byte of plain text leads, or where none leads on, any byte: to the most ways or, every
 * other time, anywhere. */
static uint32_t step(struct positions *positions, uint32_t from, uint32_t *random)
{
    const uint8_t *classes = positions->automaton->classes;
    for (unsigned wide = 0; wide < 2; wide++) {
        bool seen[256] = {false};
        uint32_t places[256];
        uint32_t count = 0;
        for (unsigned byte = wide ? 0 : ' '; byte <= (wide ? 0xf4u : '~'); byte++) {
            if (seen[classes[byte]] || (!wide && (byte == '"' || byte == '\\')))
                continue; /* escapes of JSON take many bytes and add no way */
            seen[classes[byte]] = true;
            const uint32_t place = positions_next(positions, from, (uint8_t)byte);
            if (place != POSITION_DEAD && positions->list[place].count > 0)
                places[count++] = place;
        }
        *random = *random * 1664525u + 1013904223u;
        if (count > 0)
            return *random >> 31 ? most_ways(positions, places, count)
                                 : places[(*random >> 8) % count];
    }
    return POSITION_DEAD;
}

/* The mask of a place, as a matcher in new positions would make it. */
static enum status try_mask(const struct positions *walked, uint32_t place,
                            const struct vocabulary *vocabulary)
{
    struct positions *fresh = NULL;
    enum status status = positions_open(walked->automaton, &fresh);
    if (status != STATUS_OK)
        return status;
    const uint32_t carried = positions_carry(walked, place, fresh);
    fresh->steps = POSITIONS_STEPS_MAX / 4 * 3; /* other places may take more than this one */
    if (fresh->failed == STATUS_OK)
        (void)mask_of(fresh, vocabulary, carried);
    status = fresh->failed;
    positions_release(fresh);
    return status;
}

static enum status try_suspect(const struct automaton *automaton, const struct suspect *suspect,
                               const struct vocabulary *vocabulary)
{
    struct positions *positions = NULL;
    uint32_t random = 1;
    enum status status = positions_open(automaton, &positions);
    if (status != STATUS_OK)
        return status;
    positions->steps = 0;
    uint32_t place = positions_at_state(positions, suspect->state);
    status = positions->failed;
    for (uint32_t bytes = 0, stop = 0; status == STATUS_OK && place != POSITION_DEAD; bytes++) {
        if (bytes == stops[stop]) {
            status = try_mask(positions, place, vocabulary);
            if (++stop == COUNT_OF(stops))
                break;
        }
        positions->steps = 0;
        place = step(positions, place, &random);
        if (status == STATUS_OK)
            status = positions->failed;
    }
    positions_release(positions);
    return status;
}

enum status probe_suspects(const struct automaton *automaton, const struct vocabulary *vocabulary,
                           struct reason *reason)
{
    for (uint32_t at = 0; at < automaton->suspect_count; at++) {
        const struct suspect *suspect = &automaton->suspects[at];
        const enum status status = try_suspect(automaton, suspect, vocabulary);
        if (status == STATUS_TOO_LARGE)
            return refuse(reason, status,
                          "the regular expression %s explodes: too many ways of its repeated parts "
                          "are open at one place; make its alternatives differ sooner or its "
                          "counts smaller",
                          suspect->text);
        if (status != STATUS_OK)
            return refuse(reason, status, "no memory for the grammar");
    }
    return STATUS_OK;
}
