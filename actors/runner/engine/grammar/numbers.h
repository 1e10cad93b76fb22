/* SPDX-License-Identifier: Apache-2.0 */
/*
 * numbers: JSON numbers within bounds, as part of an automaton.
 *
 * Numbers have at most NUMBER_DIGITS_MAX digits before the point and as many after it, so that
 * every reader takes them for what they are.  With bounds, or a multiple, they are written without
 * an exponent.
 *
 * Owner    schema.c.
 * Memory   the caller's.
 * Threads  none of its own.
 * Fails    STATUS_UNSUPPORTED for bounds that cannot be counted, STATUS_INVALID where no number
 *          lies between them.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_NUMBERS_H
#define TROUPE_ENGINE_GRAMMAR_NUMBERS_H

#include "actors/runner/engine/grammar/automaton.h"

enum { NUMBER_DIGITS_MAX = 18, NUMBER_MULTIPLE_MAX = 1000 };

struct number_range {
    bool is_integer;
    bool has_low, has_high;
    bool excludes_low, excludes_high;
    double low, high;
    uint32_t multiple; /* 0: any */
};

MUST_CHECK enum status number_build(const struct number_range *range, struct automaton *automaton,
                                    uint32_t from, uint32_t to, struct reason *reason);

#endif
