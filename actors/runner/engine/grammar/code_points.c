/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/code_points.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void code_set_add(struct code_set *set, uint32_t low, uint32_t high)
{
    if (low > high)
        return;
    if (set->count == CODE_RANGES_MAX)
        code_set_normalise(set);
    if (set->count == CODE_RANGES_MAX) {
        set->is_full = true;
        return;
    }
    set->ranges[set->count++] = (struct code_range){low, high};
}

void code_set_add_set(struct code_set *set, const struct code_set *other)
{
    for (uint32_t at = 0; at < other->count; at++)
        code_set_add(set, other->ranges[at].low, other->ranges[at].high);
    set->is_full = set->is_full || other->is_full;
}

static int compare(const void *left, const void *right)
{
    const uint32_t a = ((const struct code_range *)left)->low;
    const uint32_t b = ((const struct code_range *)right)->low;
    return a < b ? -1 : a > b;
}

void code_set_normalise(struct code_set *set)
{
    qsort(set->ranges, set->count, sizeof(set->ranges[0]), compare);
    uint32_t kept = 0;
    for (uint32_t at = 0; at < set->count; at++) {
        struct code_range *last = kept ? &set->ranges[kept - 1] : NULL;
        if (last && set->ranges[at].low <= last->high + 1) {
            if (set->ranges[at].high > last->high)
                last->high = set->ranges[at].high;
        } else {
            set->ranges[kept++] = set->ranges[at];
        }
    }
    set->count = kept;
}

void code_set_invert(struct code_set *set)
{
    struct code_set inverted = {.count = 0, .is_full = set->is_full};
    uint32_t next = 0;
    for (uint32_t at = 0; at < set->count; at++) {
        if (set->ranges[at].low > next)
            code_set_add(&inverted, next, set->ranges[at].low - 1);
        next = set->ranges[at].high + 1;
    }
    if (next <= CODE_POINT_LAST)
        code_set_add(&inverted, next, CODE_POINT_LAST);
    *set = inverted;
}

/* ---- bytes ---- */

static size_t encode(uint32_t point, uint8_t bytes_out[4])
{
    if (point < 0x80) {
        bytes_out[0] = (uint8_t)point;
        return 1;
    }
    size_t size = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t at = size; at-- > 1; point >>= 6)
        bytes_out[at] = (uint8_t)(0x80 | (point & 0x3f));
    static const uint8_t leads[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    bytes_out[0] = (uint8_t)(leads[size] | point);
    return size;
}

/* Edges under way: what follows a lead byte is shared by all leads that ask for the same. */
struct code_build {
    struct automaton *automaton;
    uint32_t from;
    uint32_t tails[4]; /* states from which so many bytes 80..bf lead to the end; 0: none yet */
};

static uint32_t tail_of(struct code_build *build, size_t bytes)
{
    for (size_t at = 1; at <= bytes; at++) {
        if (build->tails[at])
            continue;
        build->tails[at] = automaton_state(build->automaton);
        automaton_bytes(build->automaton, build->tails[at], 0x80, 0xbf, build->tails[at - 1]);
    }
    return build->tails[bytes];
}

/* One chain: ranges of equal length that differ in a way a sequence of byte ranges can say. */
static void build_chain(struct code_build *build, const uint8_t *low, const uint8_t *high,
                        size_t size)
{
    size_t own = size; /* bytes before the tail */
    while (own > 1 && low[own - 1] == 0x80 && high[own - 1] == 0xbf)
        own--;
    uint32_t from = build->from;
    for (size_t at = 0; at < own; at++) {
        const uint32_t next =
            at + 1 == own ? tail_of(build, size - own) : automaton_state(build->automaton);
        automaton_bytes(build->automaton, from, low[at], high[at], next);
        from = next;
    }
}

/* Splits [low, high] until its low and high bytes span a box, as every UTF-8 compiler does. */
static void build_range(struct code_build *build, uint32_t low, uint32_t high)
{
    static const uint32_t lasts[] = {0x7f, 0x7ff, 0xffff};
    for (size_t at = 0; at < COUNT_OF(lasts); at++) {
        if (low <= lasts[at] && high > lasts[at]) {
            build_range(build, low, lasts[at]);
            build_range(build, lasts[at] + 1, high);
            return;
        }
    }
    uint8_t first[4];
    uint8_t last[4];
    const size_t size = encode(low, first);
    (void)encode(high, last);
    for (unsigned bits = 6; bits < 6 * size; bits += 6) {
        const uint32_t mask = (1u << bits) - 1;
        if ((low & ~mask) == (high & ~mask))
            continue;
        if (low & mask) {
            build_range(build, low, low | mask);
            build_range(build, (low | mask) + 1, high);
            return;
        }
        if ((high & mask) != mask) {
            build_range(build, low, (high & ~mask) - 1);
            build_range(build, high & ~mask, high);
            return;
        }
    }
    build_chain(build, first, last, size);
}

static void build_plain(struct code_build *build, uint32_t low, uint32_t high)
{
    if (low < 0xd800 && high >= 0xd800)
        build_range(build, low, 0xd7ff);
    else if (high < 0xd800 || low > 0xdfff)
        build_range(build, low, high);
    if (low <= 0xdfff && high > 0xdfff)
        build_range(build, 0xe000, high);
}

static bool contains(const struct code_set *set, uint32_t point)
{
    for (uint32_t at = 0; at < set->count; at++)
        if (point >= set->ranges[at].low && point <= set->ranges[at].high)
            return true;
    return false;
}

/* The letter of a short escape; '\0': it has none. */
static char escape_letter(uint32_t point)
{
    static const char named[][2] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                                    {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};
    for (size_t at = 0; at < COUNT_OF(named); at++)
        if (named[at][0] == (char)point)
            return named[at][1];
    return '\0';
}

static bool has_escape_u(const struct code_set *set, uint32_t point)
{
    return escape_letter(point) == '\0' && contains(set, point);
}

/* \u0000 to \u001f, their last digits side by side. */
static void build_escapes_u(const struct code_set *set, struct automaton *automaton,
                            uint32_t backslash, uint32_t to)
{
    uint32_t head = 0;
    for (uint32_t row = 0; row < 0x20; row += 0x10) {
        uint32_t digits = 0;
        for (uint32_t point = row; point < row + 0x10; point++) {
            if (!has_escape_u(set, point))
                continue;
            if (!head)
                head = automaton_text(automaton, backslash, "u00", 3);
            if (!digits)
                digits = automaton_text(automaton, head, row ? "1" : "0", 1);
            const uint8_t digit = (uint8_t)"0123456789abcdef"[point % 0x10];
            automaton_bytes(automaton, digits, digit, digit, to);
        }
    }
}

static void build_escapes(const struct code_set *set, struct automaton *automaton, uint32_t from,
                          uint32_t to)
{
    uint32_t backslash = 0;
    for (uint32_t point = 0; point <= '\\'; point++) {
        if ((point >= 0x20 && point != '"' && point != '\\') || !contains(set, point))
            continue;
        if (!backslash)
            backslash = automaton_text(automaton, from, "\\", 1);
        const uint8_t letter = (uint8_t)escape_letter(point);
        if (letter)
            automaton_bytes(automaton, backslash, letter, letter, to);
    }
    if (backslash)
        build_escapes_u(set, automaton, backslash, to);
}

void code_set_build(const struct code_set *set, enum code_form form, struct automaton *automaton,
                    uint32_t from, uint32_t to)
{
    static const struct code_range unescaped[] = {
        {0x20, 0x21}, {0x23, 0x5b}, {0x5d, CODE_POINT_LAST}};
    struct code_build build = {.automaton = automaton, .from = from, .tails = {to}};
    for (uint32_t at = 0; at < set->count; at++) {
        const struct code_range *range = &set->ranges[at];
        if (form == CODE_PLAIN) {
            build_plain(&build, range->low, range->high);
            continue;
        }
        for (size_t part = 0; part < COUNT_OF(unescaped); part++) {
            const struct code_range *allowed = &unescaped[part];
            const uint32_t low = range->low > allowed->low ? range->low : allowed->low;
            const uint32_t high = range->high < allowed->high ? range->high : allowed->high;
            if (low <= high)
                build_plain(&build, low, high);
        }
    }
    if (form == CODE_JSON)
        build_escapes(set, automaton, from, to);
}
