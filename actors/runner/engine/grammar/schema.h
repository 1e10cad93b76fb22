/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema: a JSON schema as part of an automaton.
 *
 * What is written validates; not all that validates can be written: members come in the order of
 * `properties`, an object with `properties` that says nothing of `additionalProperties` has no
 * others, and white space is a blank or a line break with an indentation.
 *
 * Understood: type, properties, required, additionalProperties, propertyNames, maxProperties,
 * minProperties (beside members that are not listed only up to the required ones), items,
 * prefixItems, additionalItems, minItems, maxItems, enum, const, anyOf, oneOf of alternatives that
 * exclude each other, allOf by merging, $ref into the same document, pattern, format, minLength and
 * maxLength, all of them together, minimum, maximum, their exclusive forms, multipleOf of whole
 * numbers, nullable.
 * Annotations are passed over; every other keyword is refused by its name and path.
 *
 * Owner    constraint.c.
 * Memory   the rules known so far while compiling.
 * Threads  none of its own.
 * Fails    STATUS_UNSUPPORTED, STATUS_INVALID, STATUS_TOO_LARGE, STATUS_NO_MEMORY, with the path.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_SCHEMA_H
#define TROUPE_ENGINE_GRAMMAR_SCHEMA_H

#include "actors/runner/engine/grammar/automaton.h"

#include <jansson.h>

enum { SCHEMA_DEPTH_MAX = 100, SCHEMA_MERGES_MAX = 20000 };

/* A rule for values of `schema`, which is `root` or a part of it: $ref looks from there.  `name`
 * begins the paths of sentences. */
MUST_CHECK enum status schema_build(const json_t *root, const json_t *schema, const char *name,
                                    struct automaton *automaton, uint32_t *rule_out,
                                    struct reason *reason);
/* A rule for any object. */
MUST_CHECK enum status schema_build_object(struct automaton *automaton, uint32_t *rule_out,
                                           struct reason *reason);

#endif
