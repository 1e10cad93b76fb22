/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pretokenizer: cuts text into the pieces inside which byte-level BPE merges.
 *
 * A sequence of patterns; each cuts the pieces the one before it left, and what lies between two
 * matches is a piece of its own ("Isolated").  The published patterns have hand-written scanners
 * (linear in the text); any other pattern runs in PCRE2 with limits, if it uses only what means
 * the same there as in Oniguruma, which the model's makers used.
 *
 * Owner    one tokenizer.
 * Memory   patterns at open; splitting grows the caller's list.
 * Threads  split may be called from several threads at once.
 * Fails    STATUS_UNSUPPORTED (a pattern we do not understand), STATUS_TOO_LARGE (a pattern that
 *          needs more steps than its limit), STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ENGINE_PRETOKENIZER_H
#define TROUPE_ENGINE_PRETOKENIZER_H

#include "protocol/status.h"

#include <stddef.h>
#include <stdint.h>

enum { PRETOKENIZER_STEPS_MAX = 8 };

/* GPT-2's own pattern: what a ByteLevel pre-tokeniser with use_regex means. */
extern const char pretokenizer_pattern_gpt2[];
/* Digits one by one, or in runs: what a Digits pre-tokeniser means. */
extern const char pretokenizer_pattern_digit[];
extern const char pretokenizer_pattern_digits[];
/* Before each space: what a Metaspace pre-tokeniser that splits means. */
extern const char pretokenizer_pattern_spaced[];
/* Qwen2, Qwen2.5 and Qwen3: for directories that have no tokenizer.json. */
extern const char pretokenizer_pattern_qwen2[];

struct pretokenizer;

/* Ends of pieces, in bytes from the start of the text; memory is the caller's to free. */
struct piece_ends {
    uint32_t *ends;
    size_t count;
    size_t capacity;
};

MUST_CHECK enum status pretokenizer_open(struct pretokenizer **pretokenizer_out);
/* Accepts NULL. */
void pretokenizer_close(struct pretokenizer *pretokenizer);

/* Adds a step.  `force_pcre2` takes PCRE2 for known patterns too (tests compare the two). */
MUST_CHECK enum status pretokenizer_add(struct pretokenizer *pretokenizer, const char *pattern,
                                        int force_pcre2, struct reason *reason);

/* Replaces the content of `pieces`.  `text` is valid UTF-8, below 4 GiB. */
MUST_CHECK enum status pretokenizer_split(const struct pretokenizer *pretokenizer,
                                          const char *text, size_t length,
                                          struct piece_ends *pieces, struct reason *reason);

void piece_ends_free(struct piece_ends *pieces);

/* The scanner for a published pattern, or NULL: the end of the match that starts exactly at
 * `at`, or `at` when none does. */
typedef size_t pattern_scanner(const char *text, size_t length, size_t at);
pattern_scanner *pattern_scanner_find(const char *pattern);
/* Of those with a scanner: nothing ever lies between two matches. */
int pattern_covers_all(const char *pattern);

/* Refuses, by name, syntax that PCRE2 and Oniguruma read differently. */
MUST_CHECK enum status pattern_check(const char *pattern, struct reason *reason);

#endif
