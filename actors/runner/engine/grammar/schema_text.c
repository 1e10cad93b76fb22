/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/meet.h"
#include "actors/runner/engine/grammar/numbers.h"
#include "actors/runner/engine/grammar/regex.h"
#include "actors/runner/engine/grammar/schema_parts.h"
#include "protocol/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- characters ---- */

/* The bytes after the first of a character that is not ASCII, up to one state. */
struct tail {
    uint32_t one, two, three;                        /* so many bytes follow */
    uint32_t after_e0, after_ed, after_f0, after_f4; /* the next is bounded */
};

static void build_tail(struct automaton *automaton, uint32_t to, struct tail *tail_out)
{
    const struct tail tail = {automaton_state(automaton), automaton_state(automaton),
                              automaton_state(automaton), automaton_state(automaton),
                              automaton_state(automaton), automaton_state(automaton),
                              automaton_state(automaton)};
    automaton_bytes(automaton, tail.one, 0x80, 0xbf, to);
    automaton_bytes(automaton, tail.two, 0x80, 0xbf, tail.one);
    automaton_bytes(automaton, tail.three, 0x80, 0xbf, tail.two);
    automaton_bytes(automaton, tail.after_e0, 0xa0, 0xbf, tail.one);
    automaton_bytes(automaton, tail.after_ed, 0x80, 0x9f, tail.one);
    automaton_bytes(automaton, tail.after_f0, 0x90, 0xbf, tail.two);
    automaton_bytes(automaton, tail.after_f4, 0x80, 0x8f, tail.two);
    *tail_out = tail;
}

static void build_lead(struct automaton *automaton, uint32_t from, const struct tail *tail)
{
    automaton_bytes(automaton, from, 0xc2, 0xdf, tail->one);
    automaton_bytes(automaton, from, 0xe0, 0xe0, tail->after_e0);
    automaton_bytes(automaton, from, 0xe1, 0xec, tail->two);
    automaton_bytes(automaton, from, 0xed, 0xed, tail->after_ed);
    automaton_bytes(automaton, from, 0xee, 0xef, tail->two);
    automaton_bytes(automaton, from, 0xf0, 0xf0, tail->after_f0);
    automaton_bytes(automaton, from, 0xf1, 0xf3, tail->three);
    automaton_bytes(automaton, from, 0xf4, 0xf4, tail->after_f4);
}

static void build_hex(struct automaton *automaton, const char *ranges, uint32_t from, uint32_t to)
{
    for (; *ranges; ranges += 2)
        automaton_bytes(automaton, from, (uint8_t)ranges[0], (uint8_t)ranges[1], to);
}

/* What follows \u: a character below 0x10000, or two halves of one above. */
static void build_unicode_escape(struct automaton *automaton, uint32_t from, uint32_t to)
{
    static const char any[] = "09afAF";
    const uint32_t third = automaton_state(automaton);
    const uint32_t fourth = automaton_state(automaton);
    const uint32_t second = automaton_state(automaton);
    const uint32_t after_d = automaton_state(automaton);
    build_hex(automaton, "09acACefEF", from, second);
    build_hex(automaton, any, second, third);
    build_hex(automaton, any, third, fourth);
    build_hex(automaton, any, fourth, to);
    build_hex(automaton, "ddDD", from, after_d);
    build_hex(automaton, "07", after_d, third);
    const uint32_t high_third = automaton_state(automaton);
    const uint32_t high_fourth = automaton_state(automaton);
    const uint32_t between = automaton_state(automaton);
    build_hex(automaton, "89abAB", after_d, high_third);
    build_hex(automaton, any, high_third, high_fourth);
    build_hex(automaton, any, high_fourth, between);
    const uint32_t low = automaton_text(automaton, between, "\\u", 2);
    const uint32_t low_second = automaton_state(automaton);
    build_hex(automaton, "ddDD", low, low_second);
    build_hex(automaton, "cfCF", low_second, third);
}

static void build_ascii(struct automaton *automaton, uint32_t from, uint32_t to)
{
    automaton_bytes(automaton, from, ' ', '!', to);
    automaton_bytes(automaton, from, '#', '[', to);
    automaton_bytes(automaton, from, ']', 0x7f, to);
}

void schema_wide(struct automaton *automaton, bool all_escapes, uint32_t from, uint32_t to)
{
    struct tail tail;
    build_tail(automaton, to, &tail);
    build_lead(automaton, from, &tail);
    const uint32_t escape = automaton_state(automaton);
    automaton_bytes(automaton, from, '\\', '\\', escape);
    for (const char *named = "\"\\/bfnrt"; *named; named++)
        automaton_bytes(automaton, escape, (uint8_t)*named, (uint8_t)*named, to);
    if (!all_escapes)
        return;
    const uint32_t unicode = automaton_state(automaton);
    automaton_bytes(automaton, escape, 'u', 'u', unicode);
    build_unicode_escape(automaton, unicode, to);
}

void schema_character(struct automaton *automaton, bool all_escapes, uint32_t from, uint32_t to)
{
    build_ascii(automaton, from, to);
    schema_wide(automaton, all_escapes, from, to);
}

/* ---- names that are not in a list ---- */

/* Names as they are written in JSON, sorted; each ends in its NUL. */
struct other_names {
    struct automaton *automaton;
    struct tail tail; /* of a character that leads to `apart` */
    uint32_t apart;   /* no name begins so */
    uint32_t end;     /* after the closing quote */
};

/* What the next byte is: the first of a character, the letter of an escape, or a further byte. */
struct expected {
    bool is_escape;
    unsigned pending;  /* bytes that follow until the character ends */
    uint8_t low, high; /* of the next of them */
};

static void part_bytes(const struct other_names *others, const bool *taken, unsigned low,
                       unsigned high, uint32_t from, uint32_t to)
{
    for (unsigned byte = low; byte <= high; byte++) {
        const unsigned first = byte;
        if (taken[byte])
            continue;
        while (byte < high && !taken[byte + 1])
            byte++;
        automaton_bytes(others->automaton, from, (uint8_t)first, (uint8_t)byte, to);
    }
}

/* What a name that is in no list may be where it leaves those that are. */
static void build_parting(const struct other_names *others, const bool *taken,
                          const struct expected *expected, uint32_t from)
{
    const struct tail *tail = &others->tail;
    if (expected->pending > 0) {
        const uint32_t after[] = {others->apart, tail->one, tail->two};
        part_bytes(others, taken, expected->low, expected->high, from,
                   after[expected->pending - 1]);
        return;
    }
    if (expected->is_escape) { /* not `/` and `u`: they could spell one of the names */
        for (const char *letter = "\"\\bfnrt"; *letter; letter++)
            part_bytes(others, taken, (uint8_t)*letter, (uint8_t)*letter, from, others->apart);
        return;
    }
    if (!taken[0])
        automaton_bytes(others->automaton, from, '"', '"', others->end);
    part_bytes(others, taken, ' ', '!', from, others->apart);
    part_bytes(others, taken, '#', '[', from, others->apart);
    part_bytes(others, taken, ']', 0x7f, from, others->apart);
    part_bytes(others, taken, 0xc2, 0xdf, from, tail->one);
    part_bytes(others, taken, 0xe0, 0xe0, from, tail->after_e0);
    part_bytes(others, taken, 0xe1, 0xec, from, tail->two);
    part_bytes(others, taken, 0xed, 0xed, from, tail->after_ed);
    part_bytes(others, taken, 0xee, 0xef, from, tail->two);
    part_bytes(others, taken, 0xf0, 0xf0, from, tail->after_f0);
    part_bytes(others, taken, 0xf1, 0xf3, from, tail->three);
    part_bytes(others, taken, 0xf4, 0xf4, from, tail->after_f4);
}

static struct expected after_byte(const struct expected *before, uint8_t byte)
{
    struct expected next = {.low = 0x80, .high = 0xbf};
    if (before->pending > 0) {
        next.pending = before->pending - 1;
    } else if (!before->is_escape && byte == '\\') {
        next.is_escape = true;
    } else if (!before->is_escape && byte >= 0xc0) {
        next.pending = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
        next.low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
        next.high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
    }
    return next;
}

/* The `names` share their first `size` bytes. */
static void build_branch(const struct other_names *others, char *const *names, size_t count,
                         size_t size, const struct expected *expected, uint32_t from)
{
    struct automaton *automaton = others->automaton;
    bool taken[256] = {false};
    for (size_t at = 0; at < count; at++)
        taken[(uint8_t)names[at][size]] = true;
    if (!expected->is_escape && expected->pending == 0 && !taken['\\']) {
        const struct expected letter = {.is_escape = true};
        const bool none[256] = {false};
        const uint32_t escape = automaton_state(automaton);
        automaton_bytes(automaton, from, '\\', '\\', escape);
        build_parting(others, none, &letter, escape);
    }
    build_parting(others, taken, expected, from);
    for (size_t at = 0; at < count && automaton->failed == STATUS_OK;) {
        size_t last = at + 1;
        const uint8_t byte = (uint8_t)names[at][size];
        while (last < count && (uint8_t)names[last][size] == byte)
            last++;
        if (byte != 0 && !(expected->is_escape && byte == 'u')) {
            const struct expected after = after_byte(expected, byte);
            const uint32_t next = automaton_state(automaton);
            automaton_bytes(automaton, from, byte, byte, next);
            build_branch(others, names + at, last - at, size + 1, &after, next);
        }
        at = last;
    }
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

enum { NAMES_MAX = 1000, NAME_BYTES_MAX = 256 };

/* `list` without quotes; false: there are too many. */
static bool list_names(const json_t *names, char **list, size_t *count_out)
{
    *count_out = 0;
    for (void *at = json_object_iter((json_t *)(uintptr_t)names); at;
         at = json_object_iter_next((json_t *)(uintptr_t)names, at)) {
        json_t *name = json_string(json_object_iter_key(at));
        char *text = json_dumps(name, JSON_ENCODE_ANY);
        json_decref(name);
        const size_t size = text ? strlen(text) : 0;
        char *bare = size >= 2 && *count_out < NAMES_MAX && size <= NAME_BYTES_MAX
                         ? memory_text(text + 1, size - 2)
                         : NULL;
        free(text); /* style allows free: jansson allocated it */
        if (!bare)
            return false;
        list[(*count_out)++] = bare;
    }
    return true;
}

bool schema_other_name(struct schema_compiler *compiler, const json_t *names, uint32_t from,
                       uint32_t to)
{
    struct automaton *automaton = compiler->automaton;
    char *list[NAMES_MAX];
    size_t count = 0;
    const bool good = list_names(names, list, &count);
    if (good) {
        struct other_names others = {
            .automaton = automaton, .apart = automaton_state(automaton), .end = to};
        const uint32_t begin = automaton_text(automaton, from, "\"", 1);
        build_tail(automaton, others.apart, &others.tail);
        if (count > 1)
            qsort(list, count, sizeof(list[0]), compare_names);
        schema_character(automaton, true, others.apart, others.apart);
        automaton_bytes(automaton, others.apart, '"', '"', to);
        if (count > 0)
            build_branch(&others, list, count, 0, &(struct expected){.low = 0x80}, begin);
        else
            automaton_skip(automaton, begin, others.apart);
    }
    for (size_t at = 0; at < count; at++)
        memory_free(list[at]);
    return good || schema_fail(compiler, STATUS_UNSUPPORTED,
                               "additionalProperties beside more than %d properties, or with names "
                               "longer than %d bytes",
                               NAMES_MAX, NAME_BYTES_MAX);
}

/* ---- strings ---- */

#define DATE_YEAR "[1-9][0-9]{3}"
#define DATE_31 "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
#define DATE_30 "(0[469]|11)-(0[1-9]|[12][0-9]|30)"
#define DATE_28 "02-(0[1-9]|1[0-9]|2[0-8])"
#define DATE_LEAP "([1-9][0-9](0[48]|[2468][048]|[13579][26])|([2468][048]|[13579][26])00)-02-29"
#define DATE "(" DATE_YEAR "-(" DATE_31 "|" DATE_30 "|" DATE_28 ")|" DATE_LEAP ")"
#define TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?"
#define ZONE "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define COUNT "[0-9]{1,4}"
#define SPAN "T(" COUNT "H(" COUNT "M(" COUNT "S)?)?|" COUNT "M(" COUNT "S)?|" COUNT "S)"
#define LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,60}[A-Za-z0-9])?" /* four of them: at most 253 */
#define OCTET "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define HEX4 "[0-9A-Fa-f]{1,4}"

static const char *pattern_of_format(const char *format)
{
    static const char *const rows[][2] = {
        {"date", DATE},
        {"time", TIME ZONE},
        {"date-time", DATE "T" TIME ZONE},
        {"duration", "P((" COUNT "Y(" COUNT "M(" COUNT "D)?)?|" COUNT "M(" COUNT "D)?|" COUNT
                     "D)(" SPAN ")?|" SPAN "|" COUNT "W)"},
        {"email",
         "[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,16}){0,3}@" LABEL "(\\." LABEL "){1,3}"},
        {"hostname", LABEL "(\\." LABEL "){0,3}"},
        {"ipv4", OCTET "(\\." OCTET "){3}"},
        {"ipv6", "((" HEX4 ":){7}" HEX4 "|::(" HEX4 "(:" HEX4 "){0,6})?|(" HEX4 ":){1,6}:" HEX4
                 "|(" HEX4 ":){1,7}:)"},
        {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"},
        {"uri", "[a-z][a-z0-9+.-]{1,15}://" LABEL "(\\." LABEL "){0,3}(:[0-9]{1,4})?"
                "(/[A-Za-z0-9._~-]{0,64}){0,16}(\\?[A-Za-z0-9._~=&-]{0,256})?"
                "(#[A-Za-z0-9._~-]{0,64})?"},
    };
    for (size_t at = 0; at < COUNT_OF(rows); at++)
        if (strcmp(format, rows[at][0]) == 0)
            return rows[at][1];
    return NULL;
}

static bool build_pattern(struct schema_compiler *compiler, const char *pattern,
                          enum regex_match match, uint32_t from, uint32_t to)
{
    struct automaton *automaton = compiler->automaton;
    struct reason why = {""};
    const uint32_t begin = automaton_text(automaton, from, "\"", 1);
    const uint32_t end = automaton_state(automaton);
    automaton_bytes(automaton, end, '"', '"', to);
    const enum status status =
        regex_build(pattern, strlen(pattern), match, CODE_JSON, automaton, begin, end, &why);
    return status == STATUS_OK ||
           schema_fail(compiler, status, "pattern %.48s: %s", pattern, why.text);
}

static bool build_format(struct schema_compiler *compiler, const char *format, uint32_t from,
                         uint32_t to)
{
    const char *known = pattern_of_format(format);
    if (!known)
        return schema_fail(compiler, STATUS_UNSUPPORTED, "the format %.32s is not supported",
                           format);
    compiler->automaton->is_trusted = true;
    const bool is_built = build_pattern(compiler, known, REGEX_WHOLE, from, to);
    compiler->automaton->is_trusted = false;
    return is_built;
}

/* `all_escapes` where a pattern asks for them too. */
static void build_length(struct schema_compiler *compiler, uint32_t least, uint32_t most,
                         bool all_escapes, uint32_t from, uint32_t to)
{
    struct automaton *automaton = compiler->automaton;
    uint32_t place = automaton_text(automaton, from, "\"", 1);
    const uint32_t counted = most == UINT32_MAX ? least : most;
    for (uint32_t count = 0; count < counted && automaton->failed == STATUS_OK; count++) {
        const uint32_t next = automaton_state(automaton);
        if (count >= least)
            automaton_bytes(automaton, place, '"', '"', to);
        if (all_escapes) {
            schema_character(automaton, true, place, next);
        } else { /* by a call: few states and edges for each of perhaps many */
            build_ascii(automaton, place, next);
            automaton_call(automaton, place, compiler->wide, next);
        }
        place = next;
    }
    automaton_bytes(automaton, place, '"', '"', to);
    if (most == UINT32_MAX)
        schema_character(automaton, true, place, place);
}

/* What several keywords say of one text: the parts so far meet the next. */
struct texts {
    struct part all;
    size_t count;
};

static struct part begin_text(struct automaton *automaton)
{
    const uint32_t from = automaton_state(automaton);
    return (struct part){from, automaton_state(automaton)};
}

static bool meet_text(struct schema_compiler *compiler, struct texts *texts, struct part part)
{
    const struct part before = texts->all;
    texts->all = texts->count == 0 ? part : begin_text(compiler->automaton);
    if (texts->count++ == 0)
        return true;
    const enum status status =
        meet_build(compiler->automaton, before, part, texts->all.from, texts->all.to);
    return status == STATUS_OK || schema_fail(compiler, status, "no memory");
}

/* The one of `key`, or the list merging made of several, which begins with null. */
static bool meet_all(struct schema_compiler *compiler, const json_t *schema, const char *key,
                     struct texts *texts)
{
    const json_t *value = json_object_get(schema, key);
    const bool is_list = json_is_null(json_array_get(value, 0));
    for (size_t at = is_list; value && at < (is_list ? json_array_size(value) : 1); at++) {
        const char *text = json_string_value(is_list ? json_array_get(value, at) : value);
        const struct part part = begin_text(compiler->automaton);
        if (!text)
            return schema_fail(compiler, STATUS_INVALID, "%s must be a string", key);
        if (!(key[0] == 'p' ? build_pattern(compiler, text, REGEX_SEARCH, part.from, part.to)
                            : build_format(compiler, text, part.from, part.to)) ||
            !meet_text(compiler, texts, part))
            return false;
    }
    return true;
}

bool schema_text(struct schema_compiler *compiler, const json_t *schema, uint32_t from, uint32_t to)
{
    struct automaton *automaton = compiler->automaton;
    struct texts texts = {.count = 0};
    uint32_t least = 0;
    uint32_t most = UINT32_MAX;
    if (!schema_count(compiler, schema, "minLength", 0, &least) ||
        !schema_count(compiler, schema, "maxLength", UINT32_MAX, &most) ||
        !meet_all(compiler, schema, "pattern", &texts) ||
        !meet_all(compiler, schema, "format", &texts))
        return false;
    if (least > most)
        return schema_fail(compiler, STATUS_INVALID, "no text has %u to %u characters", least,
                           most);
    if (least > 0 || most != UINT32_MAX) {
        const struct part part = begin_text(automaton);
        build_length(compiler, least, most, texts.count > 0 || compiler->without_calls, part.from,
                     part.to);
        if (!meet_text(compiler, &texts, part))
            return false;
    }
    if (texts.count == 0) {
        automaton_call(automaton, from, compiler->text, to);
        return true;
    }
    automaton_skip(automaton, from, texts.all.from);
    automaton_skip(automaton, texts.all.to, to);
    return true;
}

/* ---- numbers ---- */

static bool take_bound(struct schema_compiler *compiler, const json_t *schema, const char *key,
                       const char *exclusive, bool is_low, struct number_range *range)
{
    const json_t *plain = json_object_get(schema, key);
    const json_t *other = json_object_get(schema, exclusive);
    const bool is_flag = json_is_boolean(other); /* as in draft 4 */
    if ((plain && !json_is_number(plain)) || (other && !json_is_number(other) && !is_flag))
        return schema_fail(compiler, STATUS_INVALID, "%s must be a number", key);
    bool has = plain != NULL;
    bool excludes = has && json_is_true(other);
    double bound = has ? json_number_value(plain) : 0;
    if (json_is_number(other)) {
        const double second = json_number_value(other);
        if (!has || (is_low ? second >= bound : second <= bound)) {
            bound = second;
            excludes = true;
        }
        has = true;
    }
    *(is_low ? &range->has_low : &range->has_high) = has;
    *(is_low ? &range->excludes_low : &range->excludes_high) = excludes;
    *(is_low ? &range->low : &range->high) = bound;
    return true;
}

bool schema_number(struct schema_compiler *compiler, const json_t *schema, bool is_integer,
                   uint32_t from, uint32_t to)
{
    struct number_range range = {.is_integer = is_integer};
    struct reason why = {""};
    if (!take_bound(compiler, schema, "minimum", "exclusiveMinimum", true, &range) ||
        !take_bound(compiler, schema, "maximum", "exclusiveMaximum", false, &range))
        return false;
    const json_t *multiple = json_object_get(schema, "multipleOf");
    if (multiple) {
        const double value = json_number_value(multiple);
        if (!(value >= 1 && value <= NUMBER_MULTIPLE_MAX) || floor(value) < value)
            return schema_fail(compiler, STATUS_UNSUPPORTED,
                               "multipleOf is supported for whole numbers from 1 to %d",
                               NUMBER_MULTIPLE_MAX);
        range.multiple = (uint32_t)value;
    }
    const enum status status = number_build(&range, compiler->automaton, from, to, &why);
    return status == STATUS_OK || schema_fail(compiler, status, "%s", why.text);
}

/* ---- values as they are ---- */

static bool build_scalar(struct schema_compiler *compiler, const json_t *value, uint32_t from,
                         uint32_t to)
{
    char *text = NULL;
    /* The fewest digits that read as the same number. */
    for (size_t digits = 15; digits <= 17 && !text; digits++) {
        text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        json_t *again = text ? json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
        if (text && digits < 17 && !json_equal(again, value)) {
            free(text); /* style allows free: jansson allocated it */
            text = NULL;
        }
        json_decref(again);
    }
    if (!text)
        return schema_fail(compiler, STATUS_NO_MEMORY, "no memory");
    automaton_skip(compiler->automaton,
                   automaton_text(compiler->automaton, from, text, strlen(text)), to);
    free(text); /* style allows free: jansson allocated it */
    return true;
}

/* Before an element: the comma of the one before, and white space. */
static uint32_t begin_element(struct schema_compiler *compiler, bool is_first, uint32_t from)
{
    const uint32_t begin = automaton_state(compiler->automaton);
    const uint32_t place = is_first ? from : automaton_text(compiler->automaton, from, ",", 1);
    automaton_call(compiler->automaton, place, compiler->space, begin);
    return begin;
}

static bool build_literal(struct schema_compiler *compiler, const json_t *value, unsigned depth,
                          uint32_t from, uint32_t to)
{
    struct automaton *automaton = compiler->automaton;
    const bool is_object = json_is_object(value);
    const size_t count = is_object ? json_object_size(value) : json_array_size(value);
    if (!is_object && !json_is_array(value))
        return build_scalar(compiler, value, from, to);
    if (depth > SCHEMA_DEPTH_MAX)
        return schema_fail(compiler, STATUS_TOO_LARGE, "a value is nested more than %d deep",
                           SCHEMA_DEPTH_MAX);
    uint32_t place = automaton_text(automaton, from, is_object ? "{" : "[", 1);
    void *member = json_object_iter((json_t *)(uintptr_t)value);
    bool good = true;
    for (size_t at = 0; at < count && good && automaton->failed == STATUS_OK; at++) {
        const json_t *inner = json_array_get(value, at);
        place = begin_element(compiler, at == 0, place);
        if (is_object) {
            json_t *name = json_string(json_object_iter_key(member));
            const uint32_t named = automaton_state(automaton);
            good = name && build_scalar(compiler, name, place, named);
            place = automaton_state(automaton);
            automaton_call(automaton, named, compiler->colon, place);
            inner = json_object_iter_value(member);
            member = json_object_iter_next((json_t *)(uintptr_t)value, member);
            json_decref(name);
        }
        const uint32_t next = automaton_state(automaton);
        good = good && build_literal(compiler, inner, depth + 1, place, next);
        place = next;
    }
    const uint32_t last = automaton_state(automaton);
    automaton_call(automaton, place, compiler->space, last);
    automaton_skip(automaton, automaton_text(automaton, last, is_object ? "}" : "]", 1), to);
    return good;
}

bool schema_literal(struct schema_compiler *compiler, const json_t *value, uint32_t from,
                    uint32_t to)
{
    return build_literal(compiler, value, 0, from, to);
}
