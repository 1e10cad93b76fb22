/* SPDX-License-Identifier: Apache-2.0 */
/*
 * code_points: sets of characters, and the bytes they are written with.
 *
 * Owner    the compilers of regular expressions and schemas.
 * Memory   a set of at most CODE_RANGES_MAX ranges, in place.
 * Threads  none of its own.
 * Fails    a set that is too fragmented says so by `is_full`.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_CODE_POINTS_H
#define TROUPE_ENGINE_GRAMMAR_CODE_POINTS_H

#include "actors/runner/engine/grammar/automaton.h"

enum { CODE_RANGES_MAX = 256, CODE_POINT_LAST = 0x10ffff };

struct code_range {
    uint32_t low, high; /* both inclusive */
};

struct code_set {
    struct code_range ranges[CODE_RANGES_MAX]; /* ascending and apart once normalised */
    uint32_t count;
    bool is_full;
};

void code_set_add(struct code_set *set, uint32_t low, uint32_t high);
void code_set_add_set(struct code_set *set, const struct code_set *other);
/* Puts the ranges in order and joins those that touch. */
void code_set_normalise(struct code_set *set);
/* Of a normalised set. */
void code_set_invert(struct code_set *set);

/* How a character stands in the text. */
enum code_form {
    CODE_PLAIN, /* as UTF-8 */
    CODE_JSON,  /* within a JSON string: `"`, `\` and controls as an escape */
};

/* Edges from `from` to `to` for each character of a normalised set.  Surrogates have no bytes. */
void code_set_build(const struct code_set *set, enum code_form form, struct automaton *automaton,
                    uint32_t from, uint32_t to);

#endif
