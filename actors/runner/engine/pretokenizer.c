/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/pretokenizer.h"

#include "actors/runner/engine/unicode_text.h"
#include "protocol/memory.h"
#include "runtime/clock.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

enum {
    PATTERN_SIZE_MAX = 4096,
    /* Per match; a run of 1 MB of spaces needs about as many steps as it has characters. */
    PATTERN_STEPS_MAX = 20 * 1000 * 1000,
    PATTERN_DEPTH_MAX = 1000 * 1000,
    PATTERN_HEAP_KIB_MAX = 64 * 1024,
    /* All matches of one text together: a pattern may need few steps at each place and yet look far
     * ahead from all of them. */
    PATTERN_TIME_MS_MAX = 5 * 1000,
};

struct step {
    pattern_scanner *scanner; /* NULL: PCRE2 */
    pcre2_code *code;
    pcre2_match_context *limits;
};

struct pretokenizer {
    struct step steps[PRETOKENIZER_STEPS_MAX];
    size_t count;
};

enum status pretokenizer_open(struct pretokenizer **pretokenizer_out)
{
    struct pretokenizer *pretokenizer = memory_zeroed(1, sizeof(*pretokenizer));
    if (!pretokenizer)
        return STATUS_NO_MEMORY;
    *pretokenizer_out = pretokenizer;
    return STATUS_OK;
}

void pretokenizer_close(struct pretokenizer *pretokenizer)
{
    if (!pretokenizer)
        return;
    for (size_t at = 0; at < pretokenizer->count; at++) {
        pcre2_code_free(pretokenizer->steps[at].code);
        pcre2_match_context_free(pretokenizer->steps[at].limits);
    }
    memory_free(pretokenizer);
}

static enum status step_compile(struct step *step, const char *pattern, struct reason *reason)
{
    int error;
    PCRE2_SIZE offset;
    step->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                               NULL);
    if (!step->code) {
        PCRE2_UCHAR text[160] = "";
        pcre2_get_error_message(error, text, sizeof(text));
        return refuse(reason, STATUS_UNSUPPORTED, "the pre-tokeniser pattern does not compile at "
                      "byte %zu: %s; use a tokenizer whose pattern is regular", (size_t)offset,
                      (const char *)text);
    }
    step->limits = pcre2_match_context_create(NULL);
    if (!step->limits) {
        pcre2_code_free(step->code);
        return refuse(reason, STATUS_NO_MEMORY, "no memory for the pre-tokeniser pattern");
    }
    pcre2_set_match_limit(step->limits, PATTERN_STEPS_MAX);
    pcre2_set_depth_limit(step->limits, PATTERN_DEPTH_MAX);
    pcre2_set_heap_limit(step->limits, PATTERN_HEAP_KIB_MAX);
    return STATUS_OK;
}

enum status pretokenizer_add(struct pretokenizer *pretokenizer, const char *pattern,
                             int force_pcre2, struct reason *reason)
{
    if (pretokenizer->count == PRETOKENIZER_STEPS_MAX)
        return refuse(reason, STATUS_UNSUPPORTED, "the pre-tokeniser has more than %d patterns",
                      PRETOKENIZER_STEPS_MAX);
    struct step step = {.scanner = force_pcre2 ? NULL : pattern_scanner_find(pattern)};
    if (!step.scanner) {
        enum status status = pattern_check(pattern, reason);
        if (status == STATUS_OK)
            status = step_compile(&step, pattern, reason);
        if (status != STATUS_OK)
            return status;
    }
    pretokenizer->steps[pretokenizer->count++] = step;
    return STATUS_OK;
}

static enum status end_add(struct piece_ends *pieces, size_t end)
{
    if (pieces->count == pieces->capacity) {
        size_t capacity = pieces->capacity == 0 ? 64 : pieces->capacity * 2;
        uint32_t *ends = memory_resized(pieces->ends, capacity, sizeof(*ends));
        if (!ends)
            return STATUS_NO_MEMORY;
        pieces->ends = ends;
        pieces->capacity = capacity;
    }
    pieces->ends[pieces->count++] = (uint32_t)end;
    return STATUS_OK;
}

/* PCRE2 at work on one text. */
struct matching {
    const struct step *step;
    pcre2_match_data *match;
    uint64_t end_ms;
};

/* `text` is one piece, which begins `base` bytes into the whole text. */
static enum status piece_scan(const struct step *step, const char *text, size_t length,
                              size_t base, struct piece_ends *pieces)
{
    size_t gap = 0; /* start of what no match has covered yet */
    enum status status = STATUS_OK;
    for (size_t at = 0; at < length && status == STATUS_OK;) {
        size_t end = step->scanner(text, length, at);
        if (end == at) {
            size_t size;
            utf8_decode(text + at, &size);
            at += size;
            continue;
        }
        if (gap < at)
            status = end_add(pieces, base + at);
        if (status == STATUS_OK)
            status = end_add(pieces, base + end);
        at = gap = end;
    }
    if (status == STATUS_OK && gap < length)
        status = end_add(pieces, base + length);
    return status;
}

static enum status refuse_slow(size_t place, struct reason *reason)
{
    return refuse(reason, STATUS_TOO_LARGE, "the pre-tokeniser pattern went over its limits at "
                  "byte %zu of the text; send less text", place);
}

/* Each place is tried by itself, so that the limits hold for it and not for all that follow. */
static enum status piece_match(const struct matching *matching, const char *text, size_t length,
                               size_t base, struct piece_ends *pieces, struct reason *reason)
{
    size_t gap = 0;
    enum status status = STATUS_OK;
    for (size_t at = 0; at < length && status == STATUS_OK;) {
        int code = pcre2_match(matching->step->code, (PCRE2_SPTR)text, length, at,
                               PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY | PCRE2_ANCHORED,
                               matching->match, matching->step->limits);
        if (clock_now_ms() > matching->end_ms)
            return refuse_slow(base + at, reason);
        if (code == PCRE2_ERROR_NOMATCH) {
            size_t size;
            utf8_decode(text + at, &size);
            at += size;
            continue;
        }
        if (code < 0)
            return refuse_slow(base + at, reason);
        const size_t end = pcre2_get_ovector_pointer(matching->match)[1];
        if (at > gap)
            status = end_add(pieces, base + at);
        if (status == STATUS_OK)
            status = end_add(pieces, base + end);
        at = gap = end;
    }
    if (status == STATUS_OK && gap < length)
        status = end_add(pieces, base + length);
    return status;
}

static enum status step_split(const struct step *step, const char *text,
                              const struct piece_ends *before, struct piece_ends *after,
                              struct reason *reason)
{
    struct matching matching = {.step = step};
    if (!step->scanner) {
        matching.match = pcre2_match_data_create_from_pattern(step->code, NULL);
        if (!matching.match)
            return STATUS_NO_MEMORY;
        matching.end_ms = clock_now_ms() + PATTERN_TIME_MS_MAX;
    }
    enum status status = STATUS_OK;
    size_t start = 0;
    after->count = 0;
    for (size_t at = 0; at < before->count && status == STATUS_OK; at++) {
        size_t length = before->ends[at] - start;
        status = step->scanner
                     ? piece_scan(step, text + start, length, start, after)
                     : piece_match(&matching, text + start, length, start, after, reason);
        start = before->ends[at];
    }
    pcre2_match_data_free(matching.match);
    return status;
}

enum status pretokenizer_split(const struct pretokenizer *pretokenizer, const char *text,
                               size_t length, struct piece_ends *pieces, struct reason *reason)
{
    ASSERT(length < UINT32_MAX);
    struct piece_ends spare = {NULL, 0, 0};
    enum status status = STATUS_OK;
    pieces->count = 0;
    if (length > 0)
        status = end_add(pieces, length);
    for (size_t at = 0; at < pretokenizer->count && status == STATUS_OK; at++) {
        status = step_split(&pretokenizer->steps[at], text, pieces, &spare, reason);
        const struct piece_ends swap = *pieces;
        *pieces = spare;
        spare = swap;
    }
    piece_ends_free(&spare);
    if (status == STATUS_NO_MEMORY)
        return refuse(reason, status, "no memory to cut %zu bytes of text into pieces", length);
    return status;
}

void piece_ends_free(struct piece_ends *pieces)
{
    memory_free(pieces->ends);
    *pieces = (struct piece_ends){NULL, 0, 0};
}

/* An escape that means the same in both engines; returns its size, 0 when it does not. */
static size_t escape_size(const char *at)
{
    if (at[1] == '\0')
        return 0;
    if (strchr("sSdDrnt", at[1]))
        return 2;
    if ((unsigned char)at[1] < 0x80 && !strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTU"
                                               "VWXYZ0123456789", at[1]))
        return 2;
    if ((at[1] == 'p' || at[1] == 'P') && at[2] == '{') {
        size_t size = 3;
        while (size < 32 && (at[size] == '_' || (at[size] >= 'A' && at[size] <= 'Z') ||
                             (at[size] >= 'a' && at[size] <= 'z')))
            size++;
        return at[size] == '}' && size > 3 ? size + 1 : 0;
    }
    return 0;
}

static int is_known_group(const char *at)
{
    static const char *const groups[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!"};
    if (at[0] != '(' || at[1] != '?')
        return 1;
    for (size_t group = 0; group < COUNT_OF(groups); group++) {
        if (strncmp(at, groups[group], strlen(groups[group])) == 0)
            return 1;
    }
    return 0;
}

/* What stands at `at` and is read differently by the two engines, as a name; NULL when fine. */
static const char *foreign_syntax(const char *at, int in_class)
{
    if (in_class && at[0] == '[')
        return "a '[' inside brackets";
    if (in_class && at[0] == '&' && at[1] == '&')
        return "'&&' inside brackets";
    if (!in_class && at[0] == '}' && at[1] == '+')
        return "'}+'";
    if (!in_class && !is_known_group(at))
        return "a group that begins with '(?'";
    if (!in_class && at[0] == '(' && at[1] == '*')
        return "a verb '(*'";
    if (!in_class && (at[0] == '^' || at[0] == '$'))
        return "an anchor '^' or '$'";
    return NULL;
}

enum status pattern_check(const char *pattern, struct reason *reason)
{
    size_t size = strlen(pattern);
    if (size == 0 || size > PATTERN_SIZE_MAX)
        return refuse(reason, STATUS_UNSUPPORTED,
                      "a pre-tokeniser pattern of %zu bytes is not supported (1 to %d are)", size,
                      PATTERN_SIZE_MAX);
    int in_class = 0;
    for (size_t at = 0; at < size;) {
        if (pattern[at] == '\\') {
            size_t escape = escape_size(pattern + at);
            if (escape == 0)
                return refuse(reason, STATUS_UNSUPPORTED,
                              "the pre-tokeniser pattern uses the escape at byte %zu, which is "
                              "not supported", at);
            at += escape;
            continue;
        }
        const char *foreign = foreign_syntax(pattern + at, in_class);
        if (foreign)
            return refuse(reason, STATUS_UNSUPPORTED,
                          "the pre-tokeniser pattern uses %s at byte %zu, which is not "
                          "supported", foreign, at);
        if (!in_class && pattern[at] == '[') {
            in_class = 1;
            at += pattern[at + 1] == '^' ? 2 : 1;
            continue;
        }
        if (in_class && pattern[at] == ']')
            in_class = 0;
        at++;
    }
    return STATUS_OK;
}
