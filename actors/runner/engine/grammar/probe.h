/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe: tries the counted parts of a grammar before an answer begins, so that one whose masks
 * cannot be made is refused with its name and not in the middle of the answer.
 *
 * Each is walked a little from its beginning, the same way every time, and the masks of some places
 * on the way are made and thrown away.
 *
 * Owner    grammar.c.
 * Memory   positions of their own while it is tried.
 * Threads  none of its own.
 * Fails    STATUS_TOO_LARGE (names the expression), STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_PROBE_H
#define TROUPE_ENGINE_GRAMMAR_PROBE_H

#include "actors/runner/engine/grammar/positions.h"
#include "actors/runner/engine/grammar/vocabulary.h"

MUST_CHECK enum status probe_suspects(const struct automaton *automaton,
                                      const struct vocabulary *vocabulary, struct reason *reason);

#endif
