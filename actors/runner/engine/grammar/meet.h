/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meet: the texts two parts of an automaton have in common, as a third part.
 *
 * The parts may not call rules; their states stay, reached by nothing.
 *
 * Owner    the schema compiler.
 * Memory   16 bytes a pair of states reached, while it runs.
 * Threads  none of its own.
 * Fails    STATUS_UNSUPPORTED (a call), STATUS_NO_MEMORY; what explodes is told by automaton_close.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_MEET_H
#define TROUPE_ENGINE_GRAMMAR_MEET_H

#include "actors/runner/engine/grammar/automaton.h"

struct part {
    uint32_t from;
    uint32_t to;
};

MUST_CHECK enum status meet_build(struct automaton *automaton, struct part left, struct part right,
                                  uint32_t from, uint32_t to);

#endif
