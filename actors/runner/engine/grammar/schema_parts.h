/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema_parts: what the files of the schema compiler share.
 *
 * Each `schema_*` that builds adds edges from one state to another and says whether it could; a
 * failure is kept in the compiler with its sentence.
 *
 * Owner    schema.c.
 * Memory   the map of rules; merged schemas, until the end.
 * Threads  none of its own.
 * Fails    false; `status` and the reason of the compiler say why.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_SCHEMA_PARTS_H
#define TROUPE_ENGINE_GRAMMAR_SCHEMA_PARTS_H

#include "actors/runner/engine/grammar/schema.h"

struct schema_compiler {
    struct automaton *automaton;
    const json_t *root;
    json_t *rules;  /* text of a reference or of a merged schema -> number of its rule */
    json_t *merged; /* keeps merged schemas alive */
    uint32_t space, colon, text, wide, number, integer, literal, value, object, array; /* rules */
    uint32_t depth;
    uint32_t merges;
    bool without_calls; /* texts are built to meet others */
    char path[320];
    size_t path_size;
    enum status status;
    struct reason *reason;
};

bool schema_fail(struct schema_compiler *compiler, enum status status, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Goes down by a key; gives what schema_up goes back to. */
size_t schema_down(struct schema_compiler *compiler, const char *key);
void schema_up(struct schema_compiler *compiler, size_t path_size);

/* ---- schema.c ---- */
MUST_CHECK bool schema_value(struct schema_compiler *compiler, const json_t *schema, uint32_t from,
                             uint32_t to);
/* As a rule of its own. */
MUST_CHECK bool schema_rule(struct schema_compiler *compiler, const json_t *schema,
                            uint32_t *rule_out);
/* "#/$defs/name" in the document. */
const json_t *schema_resolve(struct schema_compiler *compiler, const char *reference);
/* True for a schema that says nothing. */
bool schema_is_any(const json_t *schema);

/* ---- schema_object.c ---- */
MUST_CHECK bool schema_object(struct schema_compiler *compiler, const json_t *schema, uint32_t from,
                              uint32_t to);

/* ---- schema_array.c ---- */
MUST_CHECK bool schema_array(struct schema_compiler *compiler, const json_t *schema, uint32_t from,
                             uint32_t to);
MUST_CHECK bool schema_count(struct schema_compiler *compiler, const json_t *schema,
                             const char *key, uint32_t otherwise, uint32_t *count_out);

/* ---- schema_text.c ---- */
MUST_CHECK bool schema_text(struct schema_compiler *compiler, const json_t *schema, uint32_t from,
                            uint32_t to);
MUST_CHECK bool schema_number(struct schema_compiler *compiler, const json_t *schema,
                              bool is_integer, uint32_t from, uint32_t to);
MUST_CHECK bool schema_literal(struct schema_compiler *compiler, const json_t *value, uint32_t from,
                               uint32_t to);
/* One character of a JSON string that is not ASCII, or is an escape. */
void schema_wide(struct automaton *automaton, bool all_escapes, uint32_t from, uint32_t to);
/* One character of a JSON string; with `all_escapes` also as \uXXXX. */
void schema_character(struct automaton *automaton, bool all_escapes, uint32_t from, uint32_t to);
/* `"` and the characters no name in `names` (an object's keys) begins to be, then `"`. */
MUST_CHECK bool schema_other_name(struct schema_compiler *compiler, const json_t *names,
                                  uint32_t from, uint32_t to);

/* ---- schema_merge.c ---- */
/* What both say, a new reference; NULL: they cannot be merged, the compiler says why. */
json_t *schema_merge(struct schema_compiler *compiler, const json_t *left, const json_t *right);
/* Without these keys and annotations; a new reference. */
json_t *schema_without(const json_t *schema, const char *key);
/* True for keys that say nothing about values. */
bool schema_is_annotation(const char *key);

#endif
