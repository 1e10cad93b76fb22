/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grammar: an automaton, a vocabulary, and what was learned of both while answers were given.
 *
 * Answers of one grammar share what they learn.  When its positions are full, new ones are begun:
 * an answer goes over when it runs into the limit, and the old ones go with the last that stands
 * in them.
 *
 * Owner    whoever holds it: a cache, matchers.
 * Memory   the automaton and its newest positions; older ones while answers stand in them.
 * Threads  one at a time.
 * Fails    STATUS_TOO_LARGE (too many ways at once), STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_GRAMMAR_H
#define TROUPE_ENGINE_GRAMMAR_GRAMMAR_H

#include "actors/runner/engine/grammar/positions.h"
#include "actors/runner/engine/grammar/vocabulary.h"

struct grammar {
    uint32_t holders;
    struct automaton automaton;
    const struct vocabulary *vocabulary;
    struct positions *newest;
};

/* With one holder.  Takes the closed automaton, also when it fails; borrows the vocabulary. */
MUST_CHECK enum status grammar_open(struct automaton *automaton,
                                    const struct vocabulary *vocabulary,
                                    struct grammar **grammar_out, struct reason *reason);
void grammar_hold(struct grammar *grammar);
/* Accepts NULL. */
void grammar_release(struct grammar *grammar);
/* Bytes in use, by what new answers use. */
size_t grammar_memory(const struct grammar *grammar);

/* `*positions` ran into a limit: the place goes over into newer ones. */
MUST_CHECK enum status grammar_renew(struct grammar *grammar, struct positions **positions,
                                     uint32_t *position);
/* The sentence for a status of positions. */
enum status grammar_refuse(enum status status, struct reason *reason);

#endif
