/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grammar_stage: a constraint by its JSON text, over a small vocabulary, for the tests of grammars.
 */
#ifndef TROUPE_TESTS_GRAMMAR_STAGE_H
#define TROUPE_TESTS_GRAMMAR_STAGE_H

#include "actors/runner/engine/grammar/constraint.h"
#include "actors/runner/engine/grammar/matcher.h"

/* Of all single bytes, what JSON is made of, parts of characters, markers; the last id ends. */
size_t stage_token_count(void);
const struct vocabulary *stage_vocabulary(void);

/* A matcher of the demand, or NULL with the reason and the status. */
struct matcher *stage_open(const char *demand, const struct constraint_setting *setting,
                           enum status *status_out, struct reason *reason_out);
/* A fresh matcher takes the whole text and may end there. */
bool stage_accepts(const char *demand, const struct constraint_setting *setting, const char *text,
                   size_t size);
/* "{"type": "json_schema", "schema": ...}" in a static buffer. */
const char *stage_schema(const char *schema);

#endif
