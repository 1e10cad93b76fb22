/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unicode: strings as Python sees them, over UTF-8 bytes.
 *
 * Positions and counts are of code points unless the name says bytes.
 *
 * Memory   results lie in the argument's bytes; changed texts in the rendering's arena.
 * Threads  any for what takes no rendering.
 * Fails    false after rendering_fail.
 */
#ifndef TROUPE_ENGINE_TEMPLATE_UNICODE_H
#define TROUPE_ENGINE_TEMPLATE_UNICODE_H

#include "actors/runner/engine/template/value.h"

/* Bytes of the code point at a byte offset below the size; at least 1, never beyond the end. */
size_t text_step(struct text text, size_t offset);
/* The code point there; U+FFFD for a byte that begins none. */
uint32_t text_letter(struct text text, size_t offset);
size_t text_count(struct text text);
/* Byte offset of a position; the size for one at or beyond the end. */
size_t text_offset(struct text text, size_t position);
struct text text_part(struct text text, size_t offset, size_t end);
/* Byte offset of the first `needle` at or after `offset`, or SIZE_MAX. */
size_t text_find(struct text text, struct text needle, size_t offset);
size_t text_find_last(struct text text, struct text needle);
/* Counts what text_find_last may take: the product of both sizes. */
bool text_charge_last(struct rendering *rendering, struct text text, struct text needle);
bool text_starts(struct text text, struct text prefix);
bool text_ends(struct text text, struct text suffix);
bool letter_is_space(uint32_t letter);
/* What Python's \w matches. */
bool letter_is_word(uint32_t letter);
bool letter_is_alphabetic(uint32_t letter);
bool letter_is_upper(uint32_t letter);
bool letter_is_lower(uint32_t letter);
bool letter_is_title(uint32_t letter);

/* Strips from the chosen ends; `letters` with a NULL pointer means white space. */
struct text text_stripped(struct text text, struct text letters, bool left, bool right);

enum text_case { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_CAPITAL, CASE_SWAP };
bool text_recased(struct rendering *rendering, struct text text, enum text_case to,
                  struct text *text_out);
bool text_replaced(struct rendering *rendering, struct text text, struct text old,
                   struct text fresh, int64_t count_max, struct text *text_out);
/* Without the trailing empty line; ends of line kept when asked. */
bool text_lines(struct rendering *rendering, struct text text, bool keep_ends,
                struct list **list_out);

/* A text that grows in the arena. */
bool output_add(struct rendering *rendering, struct output *output, struct text text);
bool output_add_bytes(struct rendering *rendering, struct output *output, const char *bytes,
                      size_t size);
bool output_add_literal(struct rendering *rendering, struct output *output,
                        const char *literal);
bool output_add_letter(struct rendering *rendering, struct output *output, uint32_t letter);
/* `count` times the same. */
bool output_fill(struct rendering *rendering, struct output *output, struct text text,
                 size_t count);
struct text output_text(const struct output *output);
/* Writes 1 to 4 bytes. */
size_t letter_encode(uint32_t letter, char *bytes_out);

#endif
