/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unicode_text: code points of UTF-8 text, their general category, and NFC in linear time.
 *
 * Owner    the tokenizer; anything of the engine may use it.
 * Memory   only text_nfc allocates; the caller frees what it gets with memory_free.
 * Threads  any: nothing is kept between calls.
 * Fails    STATUS_NO_MEMORY from text_nfc; decoding never fails on text that text_is_utf8 accepts.
 */
#ifndef TROUPE_ENGINE_UNICODE_TEXT_H
#define TROUPE_ENGINE_UNICODE_TEXT_H

#include "protocol/status.h"

#include <stddef.h>
#include <stdint.h>

/* One bit per general category the pre-tokeniser patterns name; 0 is everything else. */
enum unicode_class {
    CLASS_LU = 1,
    CLASS_LL = 2,
    CLASS_LT = 4,
    CLASS_LM = 8,
    CLASS_LO = 16,
    CLASS_N = 32,
    CLASS_M = 64,
    CLASS_P = 128,
    CLASS_S = 256,
    CLASS_SPACE = 512, /* White_Space; never together with another bit */
    CLASS_L = CLASS_LU | CLASS_LL | CLASS_LT | CLASS_LM | CLASS_LO,
};

/* Writes a space in place of each U+2581, in place; returns the new length. */
size_t text_spaces(char *text, size_t length);

/* Category bits of Unicode 16 (utf8proc's table and what was assigned since). */
unsigned unicode_class(uint32_t code);

/* \w of the pattern that decides whether an added token stands as a word of its own. */
int unicode_is_word(uint32_t code);

/* The code point at `text`, which is valid UTF-8 and has at least one byte left; its size in
 * bytes goes to `size_out`. */
uint32_t utf8_decode(const char *text, size_t *size_out);

/* Writes 1 to 4 bytes for a code point that is no surrogate; returns how many. */
size_t utf8_encode(uint32_t code, char bytes_out[4]);

/* NFC of valid UTF-8 as the reference library makes it, which orders and composes by Unicode 9:
 * characters that came later stay where and as they are.
 * On OK `*normalised_out` is a new text, or NULL when the text is plain ASCII and so unchanged. */
MUST_CHECK enum status text_nfc(const char *text, size_t length, char **normalised_out,
                                size_t *length_out);

#endif
