/* SPDX-License-Identifier: Apache-2.0 */
/*
 * constraint: what a request demands of the form of its answer, as an automaton.
 *
 *     {"type": "json_object"}
 *     {"type": "json_schema", "schema": {...}}
 *     {"type": "regex", "pattern": "..."}           the whole answer
 *     {"type": "choice", "choices": ["...", ...]}
 *     {"type": "tools", "name": "f", "parallel": false}    a call of f, or without name of any tool
 *     {"type": "auto", "parallel": false}    any answer, but its calls are of tools that are given
 *
 * Arguments keep to the schema of their tool.  Where a call is not the only answer, a schema that
 * is not supported allows any arguments, unless its tool is "strict".
 *
 * Where tools are given to a model that can write calls, a call may stand in place of each of the
 * first four; "parallel": false holds for it too.  A model that thinks aloud may do so before; the
 * form is demanded of what follows.
 *
 * Owner    a chat.
 * Memory   the automaton, which the caller finishes or gives to a matcher.
 * Threads  none of its own.
 * Fails    STATUS_UNSUPPORTED, STATUS_INVALID, STATUS_MALFORMED, STATUS_TOO_LARGE with a sentence
 *          for the client; STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_CONSTRAINT_H
#define TROUPE_ENGINE_GRAMMAR_CONSTRAINT_H

#include "actors/runner/engine/dialogue/style.h"
#include "actors/runner/engine/grammar/automaton.h"

#include <jansson.h>

struct tokenizer;

struct constraint_setting {
    struct dialogue_style style;
    enum thinking thinking;            /* at the end of the prompt */
    bool thinks_not;                   /* the client switched it off: none may begin */
    const struct tokenizer *tokenizer; /* which markers are tokens; NULL: none */
    const json_t *tools;               /* as the client gave them; NULL: none */
};

MUST_CHECK enum status constraint_build(const json_t *demand,
                                        const struct constraint_setting *setting,
                                        struct automaton *automaton_out, struct reason *reason);

#endif
