/* SPDX-License-Identifier: Apache-2.0 */
/*
 * constraint_parts: what constraint.c and tool_syntax.c share.
 *
 * Owner    constraint.c.
 * Memory   none of its own.
 * Threads  none of its own.
 * Fails    as constraint.h says.
 */
#ifndef TROUPE_ENGINE_GRAMMAR_CONSTRAINT_PARTS_H
#define TROUPE_ENGINE_GRAMMAR_CONSTRAINT_PARTS_H

#include "actors/runner/engine/grammar/constraint.h"

struct constraint_builder {
    const struct constraint_setting *setting;
    struct automaton *automaton;
    bool is_lenient; /* a tool's schema that is not understood allows any arguments */
    struct reason *reason;
};

uint32_t constraint_text(const struct constraint_builder *builder, uint32_t from, const char *text);
/* A marker: one token where the tokenizer has it, else its text. */
uint32_t constraint_marker(const struct constraint_builder *builder, uint32_t from,
                           const char *text);
/* Any text up to and with the marker. */
uint32_t constraint_until(const struct constraint_builder *builder, uint32_t from,
                          const char *marker);
/* Up to `most` line breaks. */
uint32_t constraint_breaks(const struct constraint_builder *builder, uint32_t from, unsigned most);

/* Calls of the tool `name`, or of any when it is NULL; gives the state after them. */
MUST_CHECK enum status constraint_tools(const struct constraint_builder *builder, const char *name,
                                        bool may_repeat, uint32_t from, uint32_t *end_out);

#endif
