/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/probe.h"

#include "actors/runner/engine/grammar/mask.h"

#include <string.h>

/* After so many bytes; ways that pile up have done so by then. */
static const uint32_t stops[] = {0, 60, 384};

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

/* What one mask may take: other places may take more than those that are tried. */
enum { MASK_STEPS_MAX = POSITIONS_STEPS_MAX / 4 };
/* What all that is tried may take together: some hundredths of a second. */
enum { PROBE_STEPS_MAX = 1 << 23 };

/* The mask of a place, as a matcher would make it: in new positions where these are full. */
static enum status try_mask(struct positions **positions, uint32_t *place,
                            const struct vocabulary *vocabulary, uint64_t *steps)
{
    for (unsigned attempt = 0;; attempt++) {
        struct positions *fresh = NULL;
        (*positions)->steps = POSITIONS_STEPS_MAX - MASK_STEPS_MAX;
        (void)mask_of(*positions, vocabulary, *place);
        enum status status = (*positions)->failed;
        *steps += (*positions)->steps - (POSITIONS_STEPS_MAX - MASK_STEPS_MAX);
        if (status != STATUS_TOO_LARGE || attempt > 0 ||
            (*positions)->steps > POSITIONS_STEPS_MAX)
            return status;
        status = positions_open((*positions)->automaton, &fresh);
        if (status != STATUS_OK)
            return status;
        *place = positions_carry(*positions, *place, fresh);
        positions_release(*positions);
        *positions = fresh;
        if (fresh->failed != STATUS_OK)
            return fresh->failed;
    }
}

static enum status try_suspect(const struct automaton *automaton, const struct suspect *suspect,
                               const struct vocabulary *vocabulary, uint64_t *steps)
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
            status = try_mask(&positions, &place, vocabulary, steps);
            if (++stop == COUNT_OF(stops) || *steps > PROBE_STEPS_MAX)
                break;
        }
        positions->steps = 0;
        place = step(positions, place, &random);
        *steps += positions->steps;
        if (status == STATUS_OK)
            status = positions->failed;
    }
    positions_release(positions);
    return status;
}

enum status probe_suspects(const struct automaton *automaton, const struct vocabulary *vocabulary,
                           struct reason *reason)
{
    uint64_t steps = 0;
    for (uint32_t at = 0; at < automaton->suspect_count && steps <= PROBE_STEPS_MAX; at++) {
        const struct suspect *suspect = &automaton->suspects[at];
        const enum status status = try_suspect(automaton, suspect, vocabulary, &steps);
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
