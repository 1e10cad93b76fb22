/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regex: a regular expression as part of an automaton.
 *
 * The syntax ECMA-262 and Python share: literals, `.`, classes, \d \w \s and their opposites,
 * groups, alternatives, * + ? {m,n}, lazy forms (the same language), ^ and $ at the ends of the
 * expression or of its outermost alternatives.  \d, \w are of ASCII.  Look-around, references back,
 * word boundaries, \p and inline flags are refused by name.
 *
 * Owner    constraint.c and schema_text.c.
 * Memory   a tree of at most REGEX_NODES_MAX nodes while compiling.
 * Threads  none of its own.
 * Fails    STATUS_UNSUPPORTED (names the syntax and the byte), STATUS_MALFORMED, STATUS_TOO_LARGE,
 *          STATUS_NO_MEMORY; what explodes while building is told by automaton_close.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_REGEX_H
#define TROUPE_ENGINE_GRAMMAR_REGEX_H

#include "actors/runner/engine/grammar/code_points.h"

enum {
    REGEX_SIZE_MAX = 16384,
    REGEX_NODES_MAX = 16384,
    REGEX_DEPTH_MAX = 100,
    REGEX_COUNT_MAX = 10000, /* of {m,n} */
};

enum regex_match {
    REGEX_WHOLE,  /* the text is what the expression says; ^ and $ say nothing more */
    REGEX_SEARCH, /* the text contains it, unless anchors say more: a JSON schema's pattern */
};

/* Builds between two states. */
MUST_CHECK enum status regex_build(const char *pattern, size_t size, enum regex_match match,
                                   enum code_form form, struct automaton *automaton, uint32_t from,
                                   uint32_t to, struct reason *reason);

#endif
