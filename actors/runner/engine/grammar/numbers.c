/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/numbers.h"

#include "protocol/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = NUMBER_DIGITS_MAX, FRACTION_MAX = 24 };

/* A number of at least 0, digit by digit. */
struct decimal {
    char whole[DIGITS];          /* filled up with zeros from the left */
    char fraction[FRACTION_MAX]; /* and from the right */
};

/* Whether the digits so far are those of a bound. */
enum { AT_LOW = 1, AT_HIGH = 2 };

struct span {
    struct automaton *automaton;
    struct decimal low, high;
    bool excludes_low, excludes_high;
    bool is_integer;
    uint32_t multiple; /* 1: any */
    uint32_t *states;  /* [2][4][multiple] : of this and of the next digit */
    uint32_t to;
};

/* ---- decimals ---- */

/* The shortest digits that are this double; true when some are too small to be kept. */
static bool decimal_of(double value, struct decimal *decimal_out)
{
    char text[64];
    bool is_cut = false;
    value = fabs(value); /* no sign of a negative zero */
    for (int precision = 1; precision <= 17; precision++) {
        (void)snprintf(text, sizeof(text), "%.*e", precision - 1, value);
        if (!(strtod(text, NULL) < value) && !(strtod(text, NULL) > value))
            break;
    }
    memset(decimal_out, '0', sizeof(*decimal_out));
    const char *exponent = strchr(text, 'e');
    long place = exponent ? strtol(exponent + 1, NULL, 10) : 0;
    for (const char *digit = text; digit < exponent; digit++) {
        if (*digit == '.')
            continue;
        if (place >= 0 && place < DIGITS)
            decimal_out->whole[DIGITS - 1 - place] = *digit;
        else if (place < 0 && place >= -FRACTION_MAX)
            decimal_out->fraction[-place - 1] = *digit;
        else if (place < 0)
            is_cut = is_cut || *digit != '0';
        place--;
    }
    return is_cut;
}

static bool is_zero(const char *digits, size_t count)
{
    for (size_t at = 0; at < count; at++)
        if (digits[at] != '0')
            return false;
    return true;
}

/* ---- one length of the whole part ---- */

static unsigned next_tight(unsigned tight, char digit, char low, char high)
{
    unsigned next = 0;
    if ((tight & AT_LOW) && digit == low)
        next |= AT_LOW;
    if ((tight & AT_HIGH) && digit == high)
        next |= AT_HIGH;
    return next;
}

static bool is_outside(unsigned tight, char digit, char low, char high)
{
    return ((tight & AT_LOW) && digit < low) || ((tight & AT_HIGH) && digit > high);
}

/* After `used` digits of the fraction the number may end here. */
static bool may_end(const struct span *span, unsigned tight, size_t used)
{
    if (tight & AT_LOW) {
        const bool is_equal = is_zero(span->low.fraction + used, FRACTION_MAX - used);
        if (!is_equal || span->excludes_low)
            return false;
    }
    if ((tight & AT_HIGH) && span->excludes_high)
        return !is_zero(span->high.fraction + used, FRACTION_MAX - used);
    return true;
}

/* The fraction behind a whole part of `length` digits that ended in `from`.  Fifteen digits in all:
 * more would be rounded by readers, perhaps onto a bound that is excluded. */
static void build_fraction(const struct span *span, unsigned tight, size_t length, uint32_t from)
{
    const size_t digits = length < 15 ? 15 - length : 0;
    struct automaton *automaton = span->automaton;
    uint32_t states[4] = {0};
    uint32_t next[4];
    const uint32_t point = automaton_state(automaton);
    automaton_bytes(automaton, from, '.', '.', point);
    states[tight] = point;
    for (size_t used = 0; used < digits && automaton->failed == STATUS_OK; used++) {
        memset(next, 0, sizeof(next));
        const char low = span->low.fraction[used];
        const char high = span->high.fraction[used];
        for (unsigned now = 0; now < 4; now++) {
            for (char digit = '0'; states[now] && digit <= '9'; digit++) {
                if (is_outside(now, digit, low, high))
                    continue;
                const unsigned then = next_tight(now, digit, low, high);
                if (!next[then])
                    next[then] = automaton_state(automaton);
                automaton_bytes(automaton, states[now], (uint8_t)digit, (uint8_t)digit, next[then]);
            }
        }
        memcpy(states, next, sizeof(states));
        for (unsigned now = 0; now < 4; now++)
            if (states[now] && may_end(span, now, used + 1))
                automaton_skip(automaton, states[now], span->to);
    }
}

static uint32_t *state_of(const struct span *span, size_t digit, unsigned tight, uint32_t rest)
{
    return &span->states[((digit % 2) * 4 + tight) * span->multiple + rest];
}

static void build_digit(const struct span *span, size_t at, bool is_first)
{
    const char low = span->low.whole[at];
    const char high = span->high.whole[at];
    const bool is_last = at + 1 == DIGITS;
    for (unsigned tight = 0; tight < 4; tight++) {
        for (uint32_t rest = 0; rest < span->multiple; rest++) {
            const uint32_t from = *state_of(span, at, tight, rest);
            for (char digit = '0'; from && digit <= '9'; digit++) {
                if (is_outside(tight, digit, low, high) || (is_first && !is_last && digit == '0'))
                    continue;
                uint32_t *to = state_of(span, at + 1, next_tight(tight, digit, low, high),
                                        (rest * 10 + (uint32_t)(digit - '0')) % span->multiple);
                if (!*to)
                    *to = automaton_state(span->automaton);
                automaton_bytes(span->automaton, from, (uint8_t)digit, (uint8_t)digit, *to);
            }
        }
    }
}

/* Whole parts of `length` digits. */
static void build_length(const struct span *span, size_t length, uint32_t from)
{
    const size_t first = DIGITS - length;
    unsigned tight = AT_LOW;
    if (!is_zero(span->low.whole, first))
        return; /* nothing this short reaches the bound */
    if (is_zero(span->high.whole, first))
        tight |= AT_HIGH;
    const size_t row = 4 * (size_t)span->multiple;
    memset(span->states, 0, 2 * row * sizeof(uint32_t));
    *state_of(span, first, tight, 0) = from;
    for (size_t at = first; at < DIGITS && span->automaton->failed == STATUS_OK; at++) {
        memset(state_of(span, at + 1, 0, 0), 0, row * sizeof(uint32_t));
        build_digit(span, at, at == first);
    }
    for (unsigned now = 0; now < 4; now++) {
        const uint32_t end = *state_of(span, DIGITS, now, 0);
        if (!end)
            continue;
        if (may_end(span, now, 0))
            automaton_skip(span->automaton, end, span->to);
        if (!span->is_integer)
            build_fraction(span, now, length, end);
    }
}

/* ---- both signs ---- */

/* Magnitudes between two bounds of at least 0. */
static enum status build_span(const struct number_range *range, double low, double high,
                              bool excludes_low, bool excludes_high, uint32_t from,
                              struct span *span)
{
    const double most = 999999999999999999.0;
    if (low > high)
        return STATUS_OK;
    /* What is kept of a cut bound lies below it. */
    span->excludes_low = decimal_of(low, &span->low) || excludes_low;
    memset(&span->high, '9', sizeof(span->high));
    span->excludes_high = high < most && !decimal_of(high, &span->high) && excludes_high;
    span->is_integer = range->is_integer || range->multiple > 0;
    span->multiple = range->multiple ? range->multiple : 1;
    span->states = memory_zeroed(2 * 4 * (size_t)span->multiple, sizeof(uint32_t));
    if (!span->states)
        return STATUS_NO_MEMORY;
    for (size_t length = 1; length <= DIGITS; length++) {
        const uint32_t begin = automaton_state(span->automaton);
        automaton_skip(span->automaton, from, begin);
        build_length(span, length, begin);
        if (is_zero(span->high.whole, DIGITS - length))
            break;
    }
    memory_free(span->states);
    return STATUS_OK;
}

static void build_any(bool is_integer, struct automaton *automaton, uint32_t from, uint32_t to)
{
    const uint32_t digits = automaton_state(automaton);
    const uint32_t after = automaton_state(automaton);
    automaton_skip(automaton, from, digits);
    automaton_bytes(automaton, from, '-', '-', digits);
    automaton_bytes(automaton, digits, '0', '0', after);
    uint32_t place = automaton_state(automaton);
    automaton_bytes(automaton, digits, '1', '9', place);
    for (int count = 1; count < DIGITS; count++) {
        const uint32_t next = automaton_state(automaton);
        automaton_skip(automaton, place, after);
        automaton_bytes(automaton, place, '0', '9', next);
        place = next;
    }
    automaton_skip(automaton, place, after);
    automaton_skip(automaton, after, to);
    if (is_integer)
        return;
    const uint32_t exponent = automaton_state(automaton);
    place = automaton_state(automaton);
    automaton_bytes(automaton, after, '.', '.', place);
    for (int count = 0; count < DIGITS; count++) {
        const uint32_t next = automaton_state(automaton);
        automaton_bytes(automaton, place, '0', '9', next);
        automaton_skip(automaton, next, exponent);
        place = next;
    }
    automaton_skip(automaton, after, exponent);
    automaton_skip(automaton, exponent, to);
    const uint32_t sign = automaton_state(automaton);
    const uint32_t power = automaton_state(automaton);
    const uint32_t second = automaton_state(automaton);
    automaton_bytes(automaton, exponent, 'e', 'e', sign);
    automaton_bytes(automaton, exponent, 'E', 'E', sign);
    automaton_skip(automaton, sign, power);
    automaton_bytes(automaton, sign, '+', '+', power);
    automaton_bytes(automaton, sign, '-', '-', power);
    automaton_bytes(automaton, power, '0', '9', second);
    automaton_skip(automaton, second, to);
    automaton_bytes(automaton, second, '0', '9', to);
}

/* Whole numbers have whole bounds. */
static void round_bounds(struct number_range *range)
{
    const double low = ceil(range->low);
    const double high = floor(range->high);
    const bool low_was_whole = !(low > range->low);
    const bool high_was_whole = !(high < range->high);
    range->low = range->excludes_low && low_was_whole ? low + 1 : low;
    range->high = range->excludes_high && high_was_whole ? high - 1 : high;
    range->excludes_low = range->excludes_high = false;
}

enum status number_build(const struct number_range *asked, struct automaton *automaton,
                         uint32_t from, uint32_t to, struct reason *reason)
{
    struct number_range range = *asked;
    if (!range.has_low && !range.has_high && range.multiple == 0) {
        build_any(range.is_integer, automaton, from, to);
        return STATUS_OK;
    }
    range.low = range.has_low ? range.low : -1e300;
    range.high = range.has_high ? range.high : 1e300;
    if (range.low > 1e15 || range.high < -1e15)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "numbers beyond 1e15 cannot be counted off digit by digit");
    if (range.is_integer || range.multiple > 0)
        round_bounds(&range);
    if (range.low > range.high ||
        (!(range.low < range.high) && (range.excludes_low || range.excludes_high)))
        return refuse(reason, STATUS_INVALID, "no number lies between the bounds");
    struct span span = {.automaton = automaton, .to = to};
    enum status status = STATUS_OK;
    if (range.high >= 0) {
        const bool is_clipped = range.low < 0;
        status = build_span(&range, is_clipped ? 0 : range.low, range.high,
                            !is_clipped && range.excludes_low, range.excludes_high, from, &span);
    }
    if (range.low < 0 && status == STATUS_OK) {
        const uint32_t minus = automaton_state(automaton);
        const bool is_clipped = range.high >= 0;
        automaton_bytes(automaton, from, '-', '-', minus);
        /* No -0 where 0 was said above: whole numbers begin at -1. */
        const double low = !is_clipped ? -range.high : range.is_integer || range.multiple ? 1 : 0;
        const bool excludes_low = is_clipped ? !(low > 0) : range.excludes_high;
        status =
            build_span(&range, low, -range.low, excludes_low, range.excludes_low, minus, &span);
    }
    return status == STATUS_OK ? status : refuse(reason, status, "no memory for the grammar");
}
