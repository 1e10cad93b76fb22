/* SPDX-License-Identifier: Apache-2.0 */
/*
 * constraint_parts: what constraint.c, free_text.c and tool_syntax.c share.
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
/* The tokenizer has it as one token of its own. */
bool constraint_is_token(const struct constraint_builder *builder, const char *text);
/* A marker: one token where the tokenizer has it, else its text. */
uint32_t constraint_marker(const struct constraint_builder *builder, uint32_t from,
                           const char *text);
/* What a text may not say without meaning it: where that leads, or 0 when it may not be said. */
struct text_marker {
    const char *text;
    uint32_t target;
};

enum { TEXT_MARKERS_MAX = 4 };

/* Any text that says none of the markers, then one of them, or its end wherever `end` is not 0.
 * Gives the state of the text's beginning. */
uint32_t constraint_free(const struct constraint_builder *builder,
                         const struct text_marker *markers, size_t count, uint32_t end);
/* Such a text whose first character, spaces aside, is not `not_first`. */
uint32_t constraint_free_not(const struct constraint_builder *builder,
                             const struct text_marker *markers, size_t count, uint32_t end,
                             char not_first);
/* Any text up to and with the marker. */
uint32_t constraint_until(const struct constraint_builder *builder, uint32_t from,
                          const char *marker);
/* Up to `most` line breaks. */
uint32_t constraint_breaks(const struct constraint_builder *builder, uint32_t from, unsigned most);

/* What of calls is there already. */
enum call_opening {
    CALL_UNOPENED,
    CALL_OPENED, /* the marker with which calls begin */
};

/* Calls of the tool `name`, or of any when it is NULL; gives the state after them. */
MUST_CHECK enum status constraint_tools(const struct constraint_builder *builder, const char *name,
                                        bool may_repeat, enum call_opening opening, uint32_t from,
                                        uint32_t *end_out);
/* Any answer, in which calls are good ones. */
MUST_CHECK enum status constraint_auto(const struct constraint_builder *builder, bool may_repeat,
                                       uint32_t from, uint32_t to);

#endif
