/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/template/lexer.h"

#include "actors/runner/engine/template/unicode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BRACKETS_MAX = 200 };

struct lexer {
    struct arena *arena;
    struct text source; /* ends of line are \n already */
    size_t at;
    unsigned line;
    bool line_starting; /* what was read last ended a line */
    struct token_list tokens;
    char brackets[BRACKETS_MAX];
    unsigned bracket_count;
    struct reason *reason;
};

static enum status lexer_refuse(struct lexer *lexer, const char *what)
{
    return refuse(lexer->reason, STATUS_MALFORMED, "chat template, line %u: %s", lexer->line,
                  what);
}

static enum status no_room(struct lexer *lexer)
{
    return refuse(lexer->reason, STATUS_TOO_LARGE, "the chat template is too large");
}

static enum status token_add(struct lexer *lexer, struct token token)
{
    struct token_list *list = &lexer->tokens;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 256 : list->capacity * 2;
        struct token *tokens = arena_take(lexer->arena, capacity * sizeof(*tokens));
        if (!tokens)
            return no_room(lexer);
        if (list->count > 0)
            memcpy(tokens, list->tokens, list->count * sizeof(*tokens));
        list->tokens = tokens;
        list->capacity = capacity;
    }
    token.line = lexer->line;
    list->tokens[list->count++] = token;
    return STATUS_OK;
}

static bool looking_at(const struct lexer *lexer, size_t offset, const char *literal)
{
    size_t size = strlen(literal);
    return offset <= lexer->source.size && lexer->source.size - offset >= size &&
           memcmp(lexer->source.bytes + offset, literal, size) == 0;
}

static void lexer_advance(struct lexer *lexer, size_t end)
{
    for (size_t at = lexer->at; at < end; at++)
        lexer->line += lexer->source.bytes[at] == '\n';
    if (end > lexer->at)
        lexer->line_starting = lexer->source.bytes[end - 1] == '\n';
    lexer->at = end;
}

static size_t after_spaces(const struct lexer *lexer, size_t offset)
{
    while (offset < lexer->source.size && letter_is_space(text_letter(lexer->source, offset)))
        offset += text_step(lexer->source, offset);
    return offset;
}

/* After "%}" or "#}" at `offset`: trim_blocks takes one end of line. */
static size_t after_block_suffix(const struct lexer *lexer, size_t offset)
{
    return looking_at(lexer, offset, "\n") ? offset + 1 : offset;
}

/* If an end tag, with its sign, stands at `offset`, returns what is after it; else 0. */
static size_t after_end_tag(const struct lexer *lexer, size_t offset, const char *tag,
                            bool is_block)
{
    char signed_tag[4] = {'-', tag[0], tag[1], 0};
    if (looking_at(lexer, offset, signed_tag))
        return after_spaces(lexer, offset + 3);
    if (looking_at(lexer, offset, tag))
        return is_block ? after_block_suffix(lexer, offset + 2) : offset + 2;
    signed_tag[0] = '+';
    if (is_block && looking_at(lexer, offset, signed_tag))
        return offset + 3;
    return 0;
}

/* Plain text before a tag whose sign follows: '-' strips all white space, none strips the blanks of
 * the tag's own line (blocks and comments only), '+' nothing. */
static struct text data_before(const struct lexer *lexer, size_t end, char sign, bool may_strip)
{
    struct text plain = text_part(lexer->source, lexer->at, end);
    if (sign == '-')
        return text_stripped(plain, (struct text){0}, false, true);
    if (sign == '+' || !may_strip)
        return plain;
    size_t line_begin = plain.size;
    while (line_begin > 0 && plain.bytes[line_begin - 1] != '\n')
        line_begin--;
    if (line_begin == 0 && !lexer->line_starting)
        return plain;
    struct text blanks = text_part(plain, line_begin, plain.size);
    if (text_stripped(blanks, (struct text){0}, true, false).size == 0)
        plain.size = line_begin;
    return plain;
}

static enum status data_add(struct lexer *lexer, struct text plain)
{
    if (plain.size == 0)
        return STATUS_OK;
    return token_add(lexer, (struct token){.kind = TOKEN_DATA, .text = plain});
}

static char sign_at(const struct lexer *lexer, size_t offset)
{
    if (looking_at(lexer, offset, "-"))
        return '-';
    return looking_at(lexer, offset, "+") ? '+' : 0;
}

static enum status read_comment(struct lexer *lexer, size_t begin)
{
    char sign = sign_at(lexer, begin + 2);
    enum status status = data_add(lexer, data_before(lexer, begin, sign, true));
    if (status != STATUS_OK)
        return status;
    size_t body = begin + 2 + (sign ? 1 : 0);
    if (body == lexer->source.size) { /* where nothing follows, Jinja misses no end */
        lexer_advance(lexer, body);
        return STATUS_OK;
    }
    for (size_t at = body; at < lexer->source.size; at++) {
        size_t after = after_end_tag(lexer, at, "#}", true);
        if (after) {
            lexer_advance(lexer, after);
            return STATUS_OK;
        }
    }
    return lexer_refuse(lexer, "a comment has no end");
}

/* The end of "{% raw %}" when it stands at `begin`, else 0. */
static size_t after_raw_begin(const struct lexer *lexer, size_t begin, const char *word)
{
    size_t at = begin + 2;
    if (sign_at(lexer, at))
        at++;
    at = after_spaces(lexer, at);
    if (!looking_at(lexer, at, word))
        return 0;
    at = after_spaces(lexer, at + strlen(word));
    if (looking_at(lexer, at, "-%}"))
        return after_spaces(lexer, at + 3);
    if (looking_at(lexer, at, "%}"))
        return at + 2;
    return 0;
}

static enum status read_raw(struct lexer *lexer, size_t begin, size_t body)
{
    enum status status = data_add(
        lexer, data_before(lexer, begin, sign_at(lexer, begin + 2), true));
    if (status != STATUS_OK)
        return status;
    lexer_advance(lexer, body);
    for (size_t at = body; at < lexer->source.size; at++) {
        if (!looking_at(lexer, at, "{%"))
            continue;
        size_t word = at + 2 + (sign_at(lexer, at + 2) ? 1 : 0);
        word = after_spaces(lexer, word);
        if (!looking_at(lexer, word, "endraw"))
            continue;
        size_t after = after_end_tag(lexer, after_spaces(lexer, word + 6), "%}", true);
        if (!after)
            continue;
        status = data_add(lexer, data_before(lexer, at, sign_at(lexer, at + 2), true));
        lexer_advance(lexer, after);
        return status;
    }
    return lexer_refuse(lexer, "a raw block has no end");
}

static int hex_digit(char letter)
{
    if (letter >= '0' && letter <= '9')
        return letter - '0';
    if (letter >= 'a' && letter <= 'f')
        return letter - 'a' + 10;
    if (letter >= 'A' && letter <= 'F')
        return letter - 'A' + 10;
    return -1;
}

/* \x41, \u00e9, \U0001f600; `at` is after the letter. */
static enum status read_hex_escape(struct lexer *lexer, struct text body, size_t *at,
                                   unsigned digit_count, char *bytes, size_t *size)
{
    uint32_t letter = 0;
    for (unsigned digit = 0; digit < digit_count; digit++, (*at)++) {
        int value = *at < body.size ? hex_digit(body.bytes[*at]) : -1;
        if (value < 0)
            return lexer_refuse(lexer, "an escape of a string has too few digits");
        letter = letter * 16 + (uint32_t)value;
    }
    if (letter > 0x10ffff || (letter >= 0xd800 && letter <= 0xdfff))
        return lexer_refuse(lexer, "an escape of a string names no character");
    *size += letter_encode(letter, bytes + *size);
    return STATUS_OK;
}

static size_t read_octal_escape(struct text body, size_t at, char *bytes, size_t *size)
{
    uint32_t letter = 0;
    size_t end = at + 3;
    while (at < end && at < body.size && body.bytes[at] >= '0' && body.bytes[at] <= '7')
        letter = letter * 8 + (uint32_t)(body.bytes[at++] - '0');
    *size += letter_encode(letter, bytes + *size);
    return at;
}

/* The text between the quotes with its escapes resolved; unknown escapes stay as they are. */
static enum status unescape(struct lexer *lexer, struct text body, struct text *text_out)
{
    static const char letters[] = "ntrabfv\\'\"";
    static const char meanings[] = "\n\t\r\a\b\f\v\\'\"";
    /* An octal escape of three bytes may become two; no escape grows. */
    char *bytes = arena_take(lexer->arena, body.size + 8);
    if (!bytes)
        return no_room(lexer);
    size_t size = 0;
    for (size_t at = 0; at < body.size;) {
        if (body.bytes[at] != '\\' || at + 1 == body.size) {
            bytes[size++] = body.bytes[at++];
            continue;
        }
        char letter = body.bytes[at + 1];
        const char *known = letter ? strchr(letters, letter) : NULL;
        enum status status = STATUS_OK;
        at += 2;
        if (known) {
            bytes[size++] = meanings[known - letters];
        } else if (letter == 'x' || letter == 'u' || letter == 'U') {
            unsigned count = letter == 'x' ? 2 : letter == 'u' ? 4 : 8;
            status = read_hex_escape(lexer, body, &at, count, bytes, &size);
        } else if (letter >= '0' && letter <= '7') {
            at = read_octal_escape(body, at - 1, bytes, &size);
        } else if (letter != '\n') {
            bytes[size++] = '\\';
            bytes[size++] = letter;
        }
        if (status != STATUS_OK)
            return status;
    }
    *text_out = (struct text){bytes, size};
    return STATUS_OK;
}

static enum status read_string(struct lexer *lexer)
{
    char quote = lexer->source.bytes[lexer->at];
    size_t at = lexer->at + 1;
    bool has_escape = false;
    while (at < lexer->source.size && lexer->source.bytes[at] != quote) {
        has_escape = has_escape || lexer->source.bytes[at] == '\\';
        at += lexer->source.bytes[at] == '\\' ? 2 : 1;
    }
    if (at >= lexer->source.size)
        return lexer_refuse(lexer, "a string has no end");
    struct token token = {.kind = TOKEN_STRING,
                          .text = text_part(lexer->source, lexer->at + 1, at)};
    enum status status = STATUS_OK;
    if (has_escape)
        status = unescape(lexer, token.text, &token.text);
    if (status == STATUS_OK)
        status = token_add(lexer, token);
    lexer_advance(lexer, at + 1);
    return status;
}

static size_t after_digits(const struct lexer *lexer, size_t at)
{
    while (at < lexer->source.size) {
        char letter = lexer->source.bytes[at];
        bool joins = letter == '_' && at + 1 < lexer->source.size &&
                     lexer->source.bytes[at + 1] >= '0' && lexer->source.bytes[at + 1] <= '9';
        if ((letter < '0' || letter > '9') && !joins)
            break;
        at++;
    }
    return at;
}

static bool digit_at(const struct lexer *lexer, size_t at)
{
    return at < lexer->source.size && lexer->source.bytes[at] >= '0' &&
           lexer->source.bytes[at] <= '9';
}

/* The end of a float's fraction and exponent after the digits, or `at` when it has none. */
static size_t after_float_part(const struct lexer *lexer, size_t at)
{
    size_t end = at;
    if (looking_at(lexer, end, ".") && digit_at(lexer, end + 1))
        end = after_digits(lexer, end + 1);
    if (looking_at(lexer, end, "e") || looking_at(lexer, end, "E")) {
        size_t exponent = end + 1;
        if (looking_at(lexer, exponent, "-") || looking_at(lexer, exponent, "+"))
            exponent++;
        if (digit_at(lexer, exponent))
            end = after_digits(lexer, exponent);
    }
    return end;
}

static enum status read_integer(struct lexer *lexer, const char *digits, int base,
                                struct token *token)
{
    errno = 0;
    long long integer = strtoll(digits, NULL, base);
    if (errno != 0)
        return lexer_refuse(lexer, "a number is beyond 64 bits");
    token->integer = integer;
    return STATUS_OK;
}

static enum status read_number(struct lexer *lexer)
{
    size_t begin = lexer->at;
    struct token token = {.kind = TOKEN_INTEGER};
    int base = 10;
    size_t end = after_digits(lexer, begin);
    bool after_dot = begin > 0 && lexer->source.bytes[begin - 1] == '.';
    if (end == begin + 1 && lexer->source.bytes[begin] == '0' && end < lexer->source.size) {
        char mark = (char)(lexer->source.bytes[end] | 0x20);
        base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
    }
    if (base != 10) {
        begin = ++end;
        while (end < lexer->source.size && hex_digit(lexer->source.bytes[end]) >= 0 &&
               hex_digit(lexer->source.bytes[end]) < base)
            end++;
    } else if (!after_dot && after_float_part(lexer, end) > end) {
        end = after_float_part(lexer, end);
        token.kind = TOKEN_FLOAT;
    }
    char digits[400];
    size_t size = 0;
    for (size_t at = begin; at < end; at++) {
        if (size + 1 >= sizeof(digits))
            return lexer_refuse(lexer, "a number is too long");
        if (lexer->source.bytes[at] != '_')
            digits[size++] = lexer->source.bytes[at];
    }
    digits[size] = 0;
    enum status status = STATUS_OK;
    if (size == 0)
        status = lexer_refuse(lexer, "a number has no digits");
    else if (token.kind == TOKEN_FLOAT)
        token.number = strtod(digits, NULL);
    else
        status = read_integer(lexer, digits, base, &token);
    if (status == STATUS_OK)
        status = token_add(lexer, token);
    lexer_advance(lexer, end);
    return status;
}

static enum status read_operator(struct lexer *lexer)
{
    static const char *const signs[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                        "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                        ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    for (size_t index = 0; index < sizeof(signs) / sizeof(signs[0]); index++) {
        const char *sign = signs[index];
        if (!looking_at(lexer, lexer->at, sign))
            continue;
        if (strchr("([{", sign[0])) {
            if (lexer->bracket_count == BRACKETS_MAX)
                return lexer_refuse(lexer, "brackets nest too deeply");
            lexer->brackets[lexer->bracket_count++] =
                sign[0] == '(' ? ')' : sign[0] == '[' ? ']' : '}';
        } else if (strchr(")]}", sign[0])) {
            if (lexer->bracket_count == 0 ||
                lexer->brackets[--lexer->bracket_count] != sign[0])
                return lexer_refuse(lexer, "a closing bracket does not match");
        }
        size_t end = lexer->at + strlen(sign);
        struct token token = {.kind = TOKEN_OPERATOR,
                              .text = text_part(lexer->source, lexer->at, end)};
        lexer_advance(lexer, end);
        return token_add(lexer, token);
    }
    return lexer_refuse(lexer, "a character does not belong there");
}

static enum status read_name(struct lexer *lexer)
{
    size_t end = lexer->at;
    while (end < lexer->source.size && letter_is_word(text_letter(lexer->source, end)))
        end += text_step(lexer->source, end);
    struct token token = {.kind = TOKEN_NAME, .text = text_part(lexer->source, lexer->at, end)};
    enum status status = token_add(lexer, token);
    lexer_advance(lexer, end);
    return status;
}

/* What stands between the begin and end marks of a tag. */
static enum status read_tag(struct lexer *lexer, const char *end_tag, bool is_block)
{
    unsigned begin_line = lexer->line;
    lexer->bracket_count = 0;
    while (lexer->at < lexer->source.size) {
        size_t after = lexer->bracket_count > 0
                           ? 0
                           : after_end_tag(lexer, lexer->at, end_tag, is_block);
        if (after) {
            enum token_kind kind = is_block ? TOKEN_BLOCK_END : TOKEN_VARIABLE_END;
            enum status status = token_add(lexer, (struct token){.kind = kind});
            lexer_advance(lexer, after);
            return status;
        }
        uint32_t letter = text_letter(lexer->source, lexer->at);
        enum status status = STATUS_OK;
        if (letter_is_space(letter))
            lexer_advance(lexer, after_spaces(lexer, lexer->at));
        else if (letter >= '0' && letter <= '9')
            status = read_number(lexer);
        else if (letter_is_word(letter))
            status = read_name(lexer);
        else if (letter == '"' || letter == '\'')
            status = read_string(lexer);
        else
            status = read_operator(lexer);
        if (status != STATUS_OK)
            return status;
    }
    lexer->line = begin_line;
    return lexer_refuse(lexer, "a tag has no end");
}

static enum status read_block(struct lexer *lexer, size_t begin)
{
    size_t raw = after_raw_begin(lexer, begin, "raw");
    if (raw)
        return read_raw(lexer, begin, raw);
    char sign = sign_at(lexer, begin + 2);
    enum status status = data_add(lexer, data_before(lexer, begin, sign, true));
    lexer_advance(lexer, begin + 2 + (sign ? 1 : 0));
    if (status == STATUS_OK)
        status = token_add(lexer, (struct token){.kind = TOKEN_BLOCK_BEGIN});
    return status == STATUS_OK ? read_tag(lexer, "%}", true) : status;
}

static enum status read_variable(struct lexer *lexer, size_t begin)
{
    char sign = sign_at(lexer, begin + 2);
    enum status status = data_add(lexer, data_before(lexer, begin, sign, false));
    lexer_advance(lexer, begin + 2 + (sign ? 1 : 0));
    if (status == STATUS_OK)
        status = token_add(lexer, (struct token){.kind = TOKEN_VARIABLE_BEGIN});
    return status == STATUS_OK ? read_tag(lexer, "}}", false) : status;
}

static size_t next_tag(const struct lexer *lexer)
{
    size_t at = lexer->at;
    while (at < lexer->source.size && !looking_at(lexer, at, "{{") &&
           !looking_at(lexer, at, "{%") && !looking_at(lexer, at, "{#"))
        at++;
    return at;
}

/* One \n for every end of line, and none at the very end. */
static enum status normalise(struct lexer *lexer, struct text source)
{
    char *bytes = arena_take(lexer->arena, source.size + 1);
    if (!bytes)
        return no_room(lexer);
    size_t size = 0;
    for (size_t at = 0; at < source.size; at++) {
        char letter = source.bytes[at];
        if (letter == '\r') {
            letter = '\n';
            if (at + 1 < source.size && source.bytes[at + 1] == '\n')
                at++;
        }
        bytes[size++] = letter;
    }
    if (size > 0 && bytes[size - 1] == '\n')
        size--;
    lexer->source = (struct text){bytes, size};
    return STATUS_OK;
}

enum status lexer_tokens(struct arena *arena, struct text source,
                         struct token_list *tokens_out, struct reason *reason)
{
    struct lexer lexer = {
        .arena = arena, .line = 1, .line_starting = true, .reason = reason};
    enum status status = normalise(&lexer, source);
    while (status == STATUS_OK && lexer.at < lexer.source.size) {
        size_t begin = next_tag(&lexer);
        if (begin == lexer.source.size) {
            status = data_add(&lexer, text_part(lexer.source, lexer.at, begin));
            lexer_advance(&lexer, begin);
        } else if (lexer.source.bytes[begin + 1] == '#') {
            status = read_comment(&lexer, begin);
        } else if (lexer.source.bytes[begin + 1] == '%') {
            status = read_block(&lexer, begin);
        } else {
            status = read_variable(&lexer, begin);
        }
    }
    if (status == STATUS_OK)
        status = token_add(&lexer, (struct token){.kind = TOKEN_END});
    if (status == STATUS_OK)
        *tokens_out = lexer.tokens;
    return status;
}
