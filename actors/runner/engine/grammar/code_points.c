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

/* One chain: ranges of equal length that differ in a way a sequence of byte ranges can say. */
static void build_chain(struct automaton *automaton, const uint8_t *low, const uint8_t *high,
                        size_t size, uint32_t from, uint32_t to)
{
    for (size_t at = 0; at < size; at++) {
        const uint32_t next = at + 1 == size ? to : automaton_state(automaton);
        automaton_bytes(automaton, from, low[at], high[at], next);
        from = next;
    }
}

/* Splits [low, high] until its low and high bytes span a box, as every UTF-8 compiler does. */
static void build_range(struct automaton *automaton, uint32_t low, uint32_t high, uint32_t from,
                        uint32_t to)
{
    static const uint32_t lasts[] = {0x7f, 0x7ff, 0xffff};
    for (size_t at = 0; at < COUNT_OF(lasts); at++) {
        if (low <= lasts[at] && high > lasts[at]) {
            build_range(automaton, low, lasts[at], from, to);
            build_range(automaton, lasts[at] + 1, high, from, to);
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
            build_range(automaton, low, low | mask, from, to);
            build_range(automaton, (low | mask) + 1, high, from, to);
            return;
        }
        if ((high & mask) != mask) {
            build_range(automaton, low, (high & ~mask) - 1, from, to);
            build_range(automaton, high & ~mask, high, from, to);
            return;
        }
    }
    build_chain(automaton, first, last, size, from, to);
}

static void build_plain(struct automaton *automaton, uint32_t low, uint32_t high, uint32_t from,
                        uint32_t to)
{
    if (low < 0xd800 && high >= 0xd800)
        build_range(automaton, low, 0xd7ff, from, to);
    else if (high < 0xd800 || low > 0xdfff)
        build_range(automaton, low, high, from, to);
    if (low <= 0xdfff && high > 0xdfff)
        build_range(automaton, 0xe000, high, from, to);
}

static void build_escape(struct automaton *automaton, uint32_t point, uint32_t from, uint32_t to)
{
    static const char named[][2] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                                    {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};
    char text[8];
    (void)snprintf(text, sizeof(text), "\\u%04x", point & 0xff);
    for (size_t at = 0; at < COUNT_OF(named); at++)
        if (named[at][0] == (char)point)
            (void)snprintf(text, sizeof(text), "\\%c", named[at][1]);
    const size_t size = strlen(text);
    const uint32_t last = automaton_text(automaton, from, text, size - 1);
    automaton_bytes(automaton, last, (uint8_t)text[size - 1], (uint8_t)text[size - 1], to);
}

static bool contains(const struct code_set *set, uint32_t point)
{
    for (uint32_t at = 0; at < set->count; at++)
        if (point >= set->ranges[at].low && point <= set->ranges[at].high)
            return true;
    return false;
}

void code_set_build(const struct code_set *set, enum code_form form, struct automaton *automaton,
                    uint32_t from, uint32_t to)
{
    static const struct code_range unescaped[] = {
        {0x20, 0x21}, {0x23, 0x5b}, {0x5d, CODE_POINT_LAST}};
    for (uint32_t at = 0; at < set->count; at++) {
        const struct code_range *range = &set->ranges[at];
        if (form == CODE_PLAIN) {
            build_plain(automaton, range->low, range->high, from, to);
            continue;
        }
        for (size_t part = 0; part < COUNT_OF(unescaped); part++) {
            const struct code_range *allowed = &unescaped[part];
            const uint32_t low = range->low > allowed->low ? range->low : allowed->low;
            const uint32_t high = range->high < allowed->high ? range->high : allowed->high;
            if (low <= high)
                build_plain(automaton, low, high, from, to);
        }
    }
    for (uint32_t point = 0; form == CODE_JSON && point <= '\\'; point++)
        if ((point < 0x20 || point == '"' || point == '\\') && contains(set, point))
            build_escape(automaton, point, from, to);
}
