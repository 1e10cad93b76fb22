/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scanners of the published patterns.  Each alternative below is written in the order of the
 * pattern, and backtracking is done by hand where it can change the match.
 */
#include "actors/runner/engine/pretokenizer.h"
#include "actors/runner/engine/unicode_text.h"

#include <string.h>

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

const char pretokenizer_pattern_gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char pretokenizer_pattern_digit[] = "\\p{N}";
const char pretokenizer_pattern_digits[] = "\\p{N}+";
const char pretokenizer_pattern_spaced[] = " [^ ]*|[^ ]+";
const char pretokenizer_pattern_qwen2[] =
    CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" SPACES;
static const char pattern_qwen35[] =
    CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
                "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" SPACES;
static const char pattern_llama3[] =
    CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" SPACES;
static const char pattern_o200k[] =
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" CONTRACTION "?|[^\\r\\n\\p{L}\\p{N}]?" UPPER
    "+" LOWER "*" CONTRACTION "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" SPACES;
static const char pattern_numbers[] = "\\p{N}{1,3}";
/* U+4E00-9FA5, U+3040-309F, U+30A0-30FF. */
static const char pattern_cjk[] =
    "[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-\xe3\x83\xbf]+";
static const char pattern_deepseek3[] =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
    "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*" SPACES;

enum { CLASS_UPPER = CLASS_LU | CLASS_LT | CLASS_LM | CLASS_LO | CLASS_M };
enum { CLASS_LOWER = CLASS_LL | CLASS_LM | CLASS_LO | CLASS_M };

struct scan {
    const char *text;
    size_t length;
};

/* Class of the character at `at`, 0 for "other"; its end goes to `next_out`.  At the end of the
 * text: -1, which is in no class and is told apart from "other" by being negative. */
static int class_at(const struct scan *scan, size_t at, size_t *next_out)
{
    if (at >= scan->length) {
        *next_out = at;
        return -1;
    }
    size_t size;
    uint32_t code = utf8_decode(scan->text + at, &size);
    *next_out = at + size;
    return (int)unicode_class(code);
}

static int has(int class, int bits)
{
    return class > 0 && (class & bits) != 0;
}

/* End of the run of characters in `bits`, at most `count_max` of them. */
static size_t run_in(const struct scan *scan, size_t at, int bits, size_t count_max)
{
    size_t next;
    for (size_t count = 0; count < count_max && has(class_at(scan, at, &next), bits); count++)
        at = next;
    return at;
}

/* End of the run of characters in none of `bits`. */
static size_t run_outside(const struct scan *scan, size_t at, int bits)
{
    size_t next;
    for (;;) {
        int class = class_at(scan, at, &next);
        if (class < 0 || has(class, bits))
            return at;
        at = next;
    }
}

static int is_line_end(const struct scan *scan, size_t at)
{
    return at < scan->length && (scan->text[at] == '\r' || scan->text[at] == '\n');
}

static size_t line_ends(const struct scan *scan, size_t at)
{
    while (is_line_end(scan, at))
        at++;
    return at;
}

static int is_space_char(const struct scan *scan, size_t at)
{
    return at < scan->length && scan->text[at] == ' ';
}

/* 's 't 'm 'd 're 've 'll; without regard to case when `fold`, and then U+017F folds to s. */
static size_t contraction(const struct scan *scan, size_t at, int fold)
{
    const char *text = scan->text + at;
    size_t left = scan->length - at;
    if (left < 2 || text[0] != '\'')
        return at;
    int first = fold && text[1] >= 'A' && text[1] <= 'Z' ? text[1] | 0x20 : text[1];
    if (first == 's' || first == 't' || first == 'm' || first == 'd')
        return at + 2;
    if (left < 3)
        return at;
    if (fold && text[1] == '\xc5' && text[2] == '\xbf')
        return at + 3;
    int second = fold && text[2] >= 'A' && text[2] <= 'Z' ? text[2] | 0x20 : text[2];
    if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
        (first == 'l' && second == 'l'))
        return at + 3;
    return at;
}

/* \s+(?!\S)|\s+ : a run without its last character when something follows and more than one is
 * there, else the run. */
static size_t spaces_plain(const struct scan *scan, size_t at)
{
    size_t last = at;
    size_t next;
    size_t end = at;
    while (class_at(scan, end, &next) == CLASS_SPACE) {
        last = end;
        end = next;
    }
    return end < scan->length && last > at ? last : end;
}

/* \s*[\r\n]+ before those: up to the last line end of the run, if it has one. */
static size_t spaces_lines(const struct scan *scan, size_t at)
{
    size_t line = at;
    size_t next;
    for (size_t end = at; class_at(scan, end, &next) == CLASS_SPACE; end = next) {
        if (is_line_end(scan, end))
            line = next;
    }
    return line > at ? line : spaces_plain(scan, at);
}

/* [^\r\n EXCLUDED]?[WORD]+ where no word character that is not a mark may be the prefix. */
static size_t word(const struct scan *scan, size_t at, int bits, int excluded)
{
    size_t next;
    int class = class_at(scan, at, &next);
    if (has(class, bits))
        return run_in(scan, at, bits, SIZE_MAX);
    if (class < 0 || is_line_end(scan, at) || has(class, excluded))
        return at;
    size_t end = run_in(scan, next, bits, SIZE_MAX);
    return end > next ? end : at;
}

/* " ?[^\s OUTSIDE]+[\r\n]*" */
static size_t symbols(const struct scan *scan, size_t at, int outside)
{
    size_t start = is_space_char(scan, at) ? at + 1 : at;
    size_t end = run_outside(scan, start, outside | CLASS_SPACE);
    return end > start ? line_ends(scan, end) : at;
}

/* Qwen2, Qwen3.5 and Llama 3 differ in what a letter is and how many digits go together. */
static size_t scan_words(const struct scan *scan, size_t at, int letters, size_t digits)
{
    size_t end = contraction(scan, at, 1);
    if (end == at)
        end = word(scan, at, letters, CLASS_L | CLASS_N);
    if (end == at)
        end = run_in(scan, at, CLASS_N, digits);
    if (end == at)
        end = symbols(scan, at, letters | CLASS_N);
    if (end == at)
        end = spaces_lines(scan, at);
    return end;
}

static size_t scan_qwen2(const char *text, size_t length, size_t at)
{
    return scan_words(&(struct scan){text, length}, at, CLASS_L, 1);
}

static size_t scan_qwen35(const char *text, size_t length, size_t at)
{
    return scan_words(&(struct scan){text, length}, at, CLASS_L | CLASS_M, 1);
}

static size_t scan_llama3(const char *text, size_t length, size_t at)
{
    return scan_words(&(struct scan){text, length}, at, CLASS_L, 3);
}

static size_t scan_gpt2(const char *text, size_t length, size_t at)
{
    const struct scan scan = {text, length};
    size_t end = contraction(&scan, at, 0);
    if (end > at)
        return end;
    size_t start = is_space_char(&scan, at) ? at + 1 : at;
    static const int kinds[] = {CLASS_L, CLASS_N};
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
        end = run_in(&scan, start, kinds[kind], SIZE_MAX);
        if (end > start)
            return end;
    }
    end = run_outside(&scan, start, CLASS_SPACE | CLASS_L | CLASS_N);
    return end > start ? end : spaces_plain(&scan, at);
}

/* UPPER*LOWER+ from `start`: greedy, then giving characters of the run back until one of them is
 * also LOWER.  Returns `start` when there is no match. */
static size_t upper_lower(const struct scan *scan, size_t start)
{
    size_t next;
    size_t shared_end = start;
    size_t at = start;
    for (int class = class_at(scan, at, &next); has(class, CLASS_UPPER);
         class = class_at(scan, at, &next)) {
        if (has(class, CLASS_LOWER))
            shared_end = next;
        at = next;
    }
    size_t end = run_in(scan, at, CLASS_LOWER, SIZE_MAX);
    return end > at ? end : shared_end;
}

static size_t o200k_word(const struct scan *scan, size_t at)
{
    size_t after_prefix;
    int class = class_at(scan, at, &after_prefix);
    int may_prefix = class >= 0 && !is_line_end(scan, at) && !has(class, CLASS_L | CLASS_N);
    if (may_prefix) {
        size_t end = upper_lower(scan, after_prefix);
        if (end > after_prefix)
            return end;
    }
    size_t end = upper_lower(scan, at);
    if (end > at)
        return end;
    if (may_prefix) {
        end = run_in(scan, after_prefix, CLASS_UPPER, SIZE_MAX);
        if (end > after_prefix)
            return end;
    }
    return run_in(scan, at, CLASS_UPPER, SIZE_MAX);
}

static size_t scan_o200k(const char *text, size_t length, size_t at)
{
    const struct scan scan = {text, length};
    size_t end = o200k_word(&scan, at);
    if (end > at)
        return contraction(&scan, end, 1);
    end = run_in(&scan, at, CLASS_N, 3);
    if (end > at)
        return end;
    size_t start = is_space_char(&scan, at) ? at + 1 : at;
    end = run_outside(&scan, start, CLASS_SPACE | CLASS_L | CLASS_N);
    if (end > start) {
        while (is_line_end(&scan, end) || (end < length && text[end] == '/'))
            end++;
        return end;
    }
    return spaces_lines(&scan, at);
}

static size_t scan_numbers(const char *text, size_t length, size_t at)
{
    return run_in(&(struct scan){text, length}, at, CLASS_N, 3);
}

static size_t scan_digit(const char *text, size_t length, size_t at)
{
    return run_in(&(struct scan){text, length}, at, CLASS_N, 1);
}

static size_t scan_digits(const char *text, size_t length, size_t at)
{
    return run_in(&(struct scan){text, length}, at, CLASS_N, SIZE_MAX);
}

/* A space and what follows it up to the next one. */
static size_t scan_spaced(const char *text, size_t length, size_t at)
{
    size_t end = at + 1;
    while (end < length && text[end] != ' ')
        end++;
    return end;
}

static size_t scan_cjk(const char *text, size_t length, size_t at)
{
    while (at < length) {
        size_t size;
        uint32_t code = utf8_decode(text + at, &size);
        if (!((code >= 0x4e00 && code <= 0x9fa5) || (code >= 0x3040 && code <= 0x30ff)))
            break;
        at += size;
    }
    return at;
}

static int is_ascii_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t scan_deepseek3(const char *text, size_t length, size_t at)
{
    const struct scan scan = {text, length};
    unsigned char first = (unsigned char)text[at];
    if (first > ' ' && first < 0x7f && has((int)unicode_class(first), CLASS_P | CLASS_S)) {
        size_t end = at + 1;
        while (end < length && is_ascii_letter(text[end]))
            end++;
        if (end > at + 1)
            return end;
    }
    size_t end = word(&scan, at, CLASS_L | CLASS_M, CLASS_L | CLASS_P | CLASS_S);
    if (end > at)
        return end;
    size_t start = is_space_char(&scan, at) ? at + 1 : at;
    end = run_in(&scan, start, CLASS_P | CLASS_S, SIZE_MAX);
    return end > start ? line_ends(&scan, end) : spaces_lines(&scan, at);
}

int pattern_covers_all(const char *pattern)
{
    pattern_scanner *scanner = pattern_scanner_find(pattern);
    return scanner == scan_qwen2 || scanner == scan_qwen35 || scanner == scan_llama3 ||
           scanner == scan_o200k || scanner == scan_gpt2;
}

pattern_scanner *pattern_scanner_find(const char *pattern)
{
    static const struct {
        const char *pattern;
        pattern_scanner *scanner;
    } rows[] = {
        {pretokenizer_pattern_qwen2, scan_qwen2}, {pattern_qwen35, scan_qwen35},
        {pattern_llama3, scan_llama3},            {pattern_o200k, scan_o200k},
        {pattern_numbers, scan_numbers},          {pattern_cjk, scan_cjk},
        {pattern_deepseek3, scan_deepseek3},      {pretokenizer_pattern_gpt2, scan_gpt2},
        {pretokenizer_pattern_digit, scan_digit}, {pretokenizer_pattern_digits, scan_digits},
        {pretokenizer_pattern_spaced, scan_spaced},
    };
    for (size_t row = 0; row < COUNT_OF(rows); row++) {
        if (strcmp(rows[row].pattern, pattern) == 0)
            return rows[row].scanner;
    }
    return NULL;
}
