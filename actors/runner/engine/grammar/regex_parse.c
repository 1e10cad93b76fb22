/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/grammar/regex.h"
#include "actors/runner/engine/grammar/regex_parts.h"
#include "protocol/memory.h"

#include <utf8proc.h>

#include <string.h>

struct parser {
    const char *text;
    size_t size;
    size_t at;
    struct regex_tree tree;
    uint32_t depth;
    bool is_inverted; /* the class being read */
    enum status status;
    struct reason *reason;
};

static uint32_t fail(struct parser *parser, enum status status, const char *what)
{
    if (parser->status == STATUS_OK)
        parser->status =
            refuse(parser->reason, status, "regular expression, byte %zu: %s", parser->at, what);
    parser->at = parser->size;
    return 0;
}

static uint32_t unsupported(struct parser *parser, const char *what)
{
    return fail(parser, STATUS_UNSUPPORTED, what);
}

static uint32_t malformed(struct parser *parser, const char *what)
{
    return fail(parser, STATUS_MALFORMED, what);
}

static uint32_t add_node(struct parser *parser, enum regex_kind kind)
{
    struct regex_tree *tree = &parser->tree;
    if (tree->count == REGEX_NODES_MAX)
        return fail(parser, STATUS_TOO_LARGE, "the expression is too long");
    if (tree->count == tree->capacity) {
        const uint32_t larger = tree->capacity ? tree->capacity * 2 : 64;
        struct regex_node *grown = memory_resized(tree->nodes, larger, sizeof(*grown));
        if (!grown)
            return fail(parser, STATUS_NO_MEMORY, "no memory");
        tree->nodes = grown;
        tree->capacity = larger;
    }
    tree->nodes[tree->count] = (struct regex_node){.kind = kind};
    return tree->count++;
}

static uint32_t add_set(struct parser *parser, const struct code_set *set)
{
    if (set->is_full)
        return fail(parser, STATUS_TOO_LARGE, "a class has too many ranges");
    const uint32_t node = add_node(parser, REGEX_SET);
    if (node == 0)
        return 0;
    parser->tree.nodes[node].set = memory_copied(set, sizeof(*set));
    return parser->tree.nodes[node].set ? node : fail(parser, STATUS_NO_MEMORY, "no memory");
}

static bool next_is(const struct parser *parser, char wanted)
{
    return parser->at < parser->size && parser->text[parser->at] == wanted;
}

static bool take(struct parser *parser, char wanted)
{
    const bool is = next_is(parser, wanted);
    parser->at += is;
    return is;
}

static uint32_t take_code_point(struct parser *parser)
{
    utf8proc_int32_t point = -1;
    const utf8proc_ssize_t taken =
        utf8proc_iterate((const utf8proc_uint8_t *)parser->text + parser->at,
                         (utf8proc_ssize_t)(parser->size - parser->at), &point);
    if (taken <= 0 || point < 0)
        return malformed(parser, "not UTF-8");
    parser->at += (size_t)taken;
    return (uint32_t)point;
}

/* ---- escapes ---- */

static int hex_digit(char byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte = (char)(byte | 0x20);
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static uint32_t take_hex(struct parser *parser, size_t digits)
{
    uint32_t value = 0;
    for (size_t count = 0; count < digits; count++) {
        const int digit = parser->at < parser->size ? hex_digit(parser->text[parser->at]) : -1;
        if (digit < 0)
            return malformed(parser, "a hexadecimal digit is missing");
        value = value * 16 + (uint32_t)digit;
        parser->at++;
    }
    return value;
}

static uint32_t take_braced_hex(struct parser *parser)
{
    uint32_t value = 0;
    while (parser->at < parser->size && !next_is(parser, '}') && value <= CODE_POINT_LAST) {
        const int digit = hex_digit(parser->text[parser->at++]);
        if (digit < 0)
            return malformed(parser, "\\u{...} holds hexadecimal digits");
        value = value * 16 + (uint32_t)digit;
    }
    if (!take(parser, '}') || value > CODE_POINT_LAST)
        return malformed(parser, "\\u{...} holds a code point");
    return value;
}

/* \d and its kind; false for other letters.  ECMA and Python differ in what is white: what is
 * allowed is white, or not, for both.  `is_inverted`: within [^...]. */
static bool class_of_letter(char letter, bool is_inverted, struct code_set *set_out)
{
    static const struct code_range spaces[] = {
        {9, 13},          {' ', ' '},       {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
        {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};
    static const struct code_range perhaps[] = {{0x1c, 0x1f}, {0x85, 0x85}, {0xfeff, 0xfeff}};
    struct code_set set = {.count = 0};
    switch (letter | 0x20) {
    case 'd':
        code_set_add(&set, '0', '9');
        break;
    case 'w':
        code_set_add(&set, '0', '9');
        code_set_add(&set, 'A', 'Z');
        code_set_add(&set, '_', '_');
        code_set_add(&set, 'a', 'z');
        break;
    case 's':
        for (size_t at = 0; at < COUNT_OF(spaces); at++)
            code_set_add(&set, spaces[at].low, spaces[at].high);
        for (size_t at = 0; (letter == 'S') != is_inverted && at < COUNT_OF(perhaps); at++)
            code_set_add(&set, perhaps[at].low, perhaps[at].high);
        break;
    default:
        return false;
    }
    code_set_normalise(&set);
    if (letter < 'a')
        code_set_invert(&set);
    *set_out = set;
    return true;
}

/* After the backslash: a class, or one character in *set_out. */
static void take_escape(struct parser *parser, bool in_class, struct code_set *set_out)
{
    static const char controls[][2] = {{'n', '\n'}, {'r', '\r'}, {'t', '\t'},
                                       {'f', '\f'}, {'v', '\v'}, {'a', '\a'}};
    *set_out = (struct code_set){.count = 0};
    if (parser->at >= parser->size) {
        (void)malformed(parser, "a backslash ends the expression");
        return;
    }
    const char letter = parser->text[parser->at];
    if (class_of_letter(letter, in_class && parser->is_inverted, set_out)) {
        parser->at++;
        return;
    }
    uint32_t point = 0;
    if ((letter & 0x80) || (!((letter | 0x20) >= 'a' && (letter | 0x20) <= 'z') &&
                            !(letter >= '0' && letter <= '9'))) {
        point = take_code_point(parser);
    } else {
        parser->at++;
        bool is_known = false;
        for (size_t at = 0; at < COUNT_OF(controls); at++) {
            if (controls[at][0] != letter || (letter == 'a' && !in_class))
                continue;
            point = (uint32_t)controls[at][1];
            is_known = true;
        }
        if (letter == 'b' && in_class)
            point = '\b';
        else if (letter == 'x')
            point = take_hex(parser, 2);
        else if (letter == 'u')
            point = take(parser, '{') ? take_braced_hex(parser) : take_hex(parser, 4);
        else if (letter == '0' &&
                 !(parser->at < parser->size && hex_digit(parser->text[parser->at]) >= 0))
            point = 0;
        else if (letter >= '0' && letter <= '9')
            (void)unsupported(parser, "references back (\\1) are not supported");
        else if (letter == 'p' || letter == 'P')
            (void)unsupported(parser, "classes by property (\\p) are not supported; list ranges");
        else if (letter == 'b' || letter == 'B')
            (void)unsupported(parser, "word boundaries (\\b) are not supported");
        else if (letter == 'A' || letter == 'z' || letter == 'Z')
            (void)unsupported(parser, "\\A and \\z are not supported; use ^ and $");
        else if (!is_known)
            (void)unsupported(parser, "this escape is not supported");
    }
    code_set_add(set_out, point, point);
}

/* ---- classes ---- */

static void add_class_item(struct parser *parser, struct code_set *set)
{
    struct code_set item = {.count = 0};
    if (take(parser, '\\')) {
        take_escape(parser, true, &item);
    } else {
        const uint32_t point = take_code_point(parser);
        code_set_add(&item, point, point);
    }
    const bool is_one = item.count == 1 && item.ranges[0].low == item.ranges[0].high;
    const bool is_range = is_one && next_is(parser, '-') && parser->at + 1 < parser->size &&
                          parser->text[parser->at + 1] != ']';
    if (is_range) {
        struct code_set last = {.count = 0};
        parser->at++;
        if (take(parser, '\\')) {
            take_escape(parser, true, &last);
        } else {
            const uint32_t point = take_code_point(parser);
            code_set_add(&last, point, point);
        }
        if (last.count != 1 || last.ranges[0].low != last.ranges[0].high ||
            last.ranges[0].low < item.ranges[0].low) {
            (void)malformed(parser, "a range of a class goes from a character to a later one");
            return;
        }
        item.ranges[0].high = last.ranges[0].high;
    }
    code_set_add_set(set, &item);
}

static uint32_t parse_class(struct parser *parser)
{
    struct code_set set = {.count = 0};
    parser->is_inverted = take(parser, '^');
    if (next_is(parser, ']'))
        return unsupported(parser, "an empty class");
    while (parser->at < parser->size && !next_is(parser, ']')) {
        if (next_is(parser, '[') && parser->at + 1 < parser->size &&
            parser->text[parser->at + 1] == ':')
            return unsupported(parser, "named classes ([:alpha:]) are not supported");
        add_class_item(parser, &set);
    }
    if (!take(parser, ']'))
        return malformed(parser, "a class ([...]) is not closed");
    code_set_normalise(&set);
    if (parser->is_inverted)
        code_set_invert(&set);
    if (set.count == 0)
        return unsupported(parser, "an empty class");
    return add_set(parser, &set);
}

/* ---- groups and quantifiers ---- */

static uint32_t parse_either(struct parser *parser);

static void take_group_kind(struct parser *parser)
{
    if (!take(parser, '?'))
        return;
    const char kind = parser->at < parser->size ? parser->text[parser->at] : '\0';
    const char after = parser->at + 1 < parser->size ? parser->text[parser->at + 1] : '\0';
    const bool is_named =
        (kind == '<' && after != '=' && after != '!') || (kind == 'P' && after == '<');
    if (kind == ':') {
        parser->at++;
    } else if (is_named) {
        while (parser->at < parser->size && !next_is(parser, '>'))
            parser->at++;
        if (!take(parser, '>'))
            (void)malformed(parser, "the name of a group is not closed");
    } else if (kind == '=' || kind == '!' || kind == '<') {
        (void)unsupported(parser, "looking ahead and behind ((?=, (?!, (?<=, (?<!) is not "
                                  "supported");
    } else {
        (void)unsupported(parser, "flags and special groups ((?...) are not supported");
    }
}

static uint32_t parse_group(struct parser *parser)
{
    if (++parser->depth > REGEX_DEPTH_MAX)
        return fail(parser, STATUS_TOO_LARGE, "groups are nested too deeply");
    take_group_kind(parser);
    const uint32_t inner = parse_either(parser);
    parser->depth--;
    if (parser->status == STATUS_OK && !take(parser, ')'))
        return malformed(parser, "a group is not closed");
    return inner;
}

static uint32_t parse_atom(struct parser *parser)
{
    static const struct code_range dots[] = {
        {0, 9}, {11, 12}, {14, 0x2027}, {0x202a, CODE_POINT_LAST}};
    struct code_set set = {.count = 0};
    if (take(parser, '('))
        return parse_group(parser);
    if (take(parser, '['))
        return parse_class(parser);
    if (take(parser, '^'))
        return add_node(parser, REGEX_START);
    if (take(parser, '$'))
        return add_node(parser, REGEX_END);
    if (next_is(parser, '*') || next_is(parser, '+') || next_is(parser, '?'))
        return malformed(parser, "a quantifier has nothing before it");
    if (take(parser, '.')) {
        for (size_t at = 0; at < COUNT_OF(dots); at++)
            code_set_add(&set, dots[at].low, dots[at].high);
    } else if (take(parser, '\\')) {
        take_escape(parser, false, &set);
    } else {
        const uint32_t point = take_code_point(parser);
        code_set_add(&set, point, point);
    }
    return parser->status == STATUS_OK ? add_set(parser, &set) : 0;
}

static bool take_number(struct parser *parser, uint32_t *number_out)
{
    uint32_t number = 0;
    const size_t start = parser->at;
    while (parser->at < parser->size && parser->text[parser->at] >= '0' &&
           parser->text[parser->at] <= '9' && number <= REGEX_COUNT_MAX)
        number = number * 10 + (uint32_t)(parser->text[parser->at++] - '0');
    *number_out = number;
    return parser->at > start;
}

/* {m}, {m,} or {m,n}; anything else after a brace is a literal, as browsers and Python have it. */
static bool take_counts(struct parser *parser, uint32_t *least_out, uint32_t *most_out)
{
    const size_t start = parser->at;
    bool good = take(parser, '{') && take_number(parser, least_out);
    *most_out = *least_out;
    if (good && take(parser, ',') && !take_number(parser, most_out))
        *most_out = REGEX_ENDLESS;
    if (good && take(parser, '}'))
        return true;
    if (parser->status == STATUS_OK)
        parser->at = start;
    return false;
}

static bool take_quantifier(struct parser *parser, uint32_t *least_out, uint32_t *most_out)
{
    *least_out = 0;
    *most_out = REGEX_ENDLESS;
    if (take(parser, '*'))
        return true;
    if (take(parser, '+')) {
        *least_out = 1;
        return true;
    }
    if (take(parser, '?')) {
        *most_out = 1;
        return true;
    }
    return next_is(parser, '{') && take_counts(parser, least_out, most_out);
}

static uint32_t parse_repeat(struct parser *parser)
{
    uint32_t node = parse_atom(parser);
    uint32_t least = 0;
    uint32_t most = 0;
    for (unsigned count = 0; parser->status == STATUS_OK && take_quantifier(parser, &least, &most);
         count++) {
        if (count > 0)
            return malformed(parser, "two quantifiers in a row");
        if (parser->tree.nodes[node].kind >= REGEX_START)
            return unsupported(parser, "a repeated anchor");
        if (least > most)
            return malformed(parser, "a count {m,n} goes from a number to a larger one");
        if (least > REGEX_COUNT_MAX || (most != REGEX_ENDLESS && most > REGEX_COUNT_MAX))
            return fail(parser, STATUS_TOO_LARGE, "counts {m,n} go up to 10000");
        if (next_is(parser, '+'))
            return unsupported(parser, "possessive quantifiers are not supported");
        (void)take(parser, '?'); /* lazy: the same texts */
        const uint32_t repeat = add_node(parser, REGEX_REPEAT);
        if (repeat == 0)
            return 0;
        parser->tree.nodes[repeat].child = node;
        parser->tree.nodes[repeat].least = least;
        parser->tree.nodes[repeat].most = most;
        node = repeat;
    }
    return node;
}

static uint32_t parse_chain(struct parser *parser)
{
    const uint32_t chain = add_node(parser, REGEX_CHAIN);
    uint32_t last = 0;
    while (parser->status == STATUS_OK && parser->at < parser->size && !next_is(parser, '|') &&
           !next_is(parser, ')')) {
        const uint32_t node = parse_repeat(parser);
        if (parser->status != STATUS_OK)
            return 0;
        if (last)
            parser->tree.nodes[last].next = node;
        else
            parser->tree.nodes[chain].child = node;
        last = node;
    }
    return chain;
}

static uint32_t parse_either(struct parser *parser)
{
    const uint32_t first = parse_chain(parser);
    if (parser->status != STATUS_OK || !next_is(parser, '|'))
        return first;
    const uint32_t either = add_node(parser, REGEX_EITHER);
    if (either == 0)
        return 0;
    parser->tree.nodes[either].child = first;
    uint32_t last = first;
    while (take(parser, '|')) {
        const uint32_t next = parse_chain(parser);
        if (parser->status != STATUS_OK)
            return 0;
        parser->tree.nodes[last].next = next;
        last = next;
    }
    return either;
}

enum status regex_parse(const char *pattern, size_t size, struct regex_tree *tree_out,
                        struct reason *reason)
{
    struct parser parser = {.text = pattern, .size = size, .reason = reason};
    if (size > REGEX_SIZE_MAX)
        return refuse(reason, STATUS_TOO_LARGE,
                      "a regular expression of %zu bytes is longer than %d", size, REGEX_SIZE_MAX);
    (void)add_node(&parser, 0); /* none */
    parser.tree.root = parse_either(&parser);
    if (parser.status == STATUS_OK && parser.at < size)
        (void)malformed(&parser, "a group is closed that was not opened");
    if (parser.status != STATUS_OK) {
        regex_tree_fini(&parser.tree);
        return parser.status;
    }
    *tree_out = parser.tree;
    return STATUS_OK;
}

void regex_tree_fini(struct regex_tree *tree)
{
    for (uint32_t at = 0; at < tree->count; at++)
        memory_free(tree->nodes[at].set);
    memory_free(tree->nodes);
    *tree = (struct regex_tree){.nodes = NULL};
}
