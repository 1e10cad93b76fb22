/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/dialogue/json_scan.h"

#include <string.h>

static const char *const literals[] = {"true", "false", "null"};

/* Where a number stands; those after which it may end are marked. */
enum number_place {
    NUMBER_MINUS,
    NUMBER_ZERO,  /* may end */
    NUMBER_WHOLE, /* may end */
    NUMBER_POINT,
    NUMBER_FRACTION, /* may end */
    NUMBER_E,
    NUMBER_SIGN,
    NUMBER_EXPONENT, /* may end */
};

void json_scan_init(struct json_scan *scan)
{
    *scan = (struct json_scan){.place = SCAN_VALUE};
}

bool json_is_space(uint8_t byte)
{
    return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
}

bool json_scan_in_string(const struct json_scan *scan)
{
    return scan->place == SCAN_STRING || scan->place == SCAN_ESCAPE || scan->place == SCAN_HEX;
}

static bool is_object(const struct json_scan *scan, uint32_t depth)
{
    return scan->objects[(depth - 1) / 8] >> ((depth - 1) % 8) & 1u;
}

static enum scan_result value_ended(struct json_scan *scan)
{
    scan->place = scan->depth > 0 ? SCAN_AFTER : SCAN_ENDED;
    return scan->depth > 0 ? SCAN_MORE : SCAN_DONE;
}

static enum scan_result open(struct json_scan *scan, bool object)
{
    if (scan->depth == JSON_SCAN_DEPTH_MAX)
        return SCAN_BAD;
    const uint32_t at = scan->depth++;
    scan->objects[at / 8] =
        (uint8_t)((scan->objects[at / 8] & ~(1u << at % 8)) | (unsigned)object << at % 8);
    scan->place = object ? SCAN_FIRST_NAME : SCAN_FIRST;
    return SCAN_MORE;
}

static enum scan_result close(struct json_scan *scan, bool object)
{
    if (scan->depth == 0 || is_object(scan, scan->depth) != object)
        return SCAN_BAD;
    scan->depth--;
    return value_ended(scan);
}

static enum scan_result begin_value(struct json_scan *scan, uint8_t byte)
{
    if (byte == '{' || byte == '[')
        return open(scan, byte == '{');
    if (byte == ']' && scan->place == SCAN_FIRST)
        return close(scan, false);
    if (byte == '"') {
        scan->place = SCAN_STRING;
        scan->is_name = false;
        return SCAN_MORE;
    }
    if (byte == '-' || (byte >= '0' && byte <= '9')) {
        scan->place = SCAN_NUMBER;
        scan->count = byte == '-' ? NUMBER_MINUS : byte == '0' ? NUMBER_ZERO : NUMBER_WHOLE;
        return SCAN_MORE;
    }
    for (uint8_t at = 0; at < COUNT_OF(literals); at++) {
        if (byte != (uint8_t)literals[at][0])
            continue;
        scan->place = SCAN_LITERAL;
        scan->literal = at;
        scan->count = 1;
        return SCAN_MORE;
    }
    return SCAN_BAD;
}

/* False: the byte does not go on with the number. */
static bool number_goes_on(struct json_scan *scan, uint8_t byte)
{
    const bool is_digit = byte >= '0' && byte <= '9';
    const bool is_e = byte == 'e' || byte == 'E';
    switch ((enum number_place)scan->count) {
    case NUMBER_MINUS:
        scan->count = byte == '0' ? NUMBER_ZERO : NUMBER_WHOLE;
        return is_digit;
    case NUMBER_ZERO:
    case NUMBER_WHOLE:
        if (is_digit)
            return scan->count == NUMBER_WHOLE;
        if (byte != '.' && !is_e)
            return false;
        scan->count = byte == '.' ? NUMBER_POINT : NUMBER_E;
        return true;
    case NUMBER_POINT:
        scan->count = is_digit ? NUMBER_FRACTION : NUMBER_POINT;
        return is_digit;
    case NUMBER_FRACTION:
        scan->count = is_e ? NUMBER_E : NUMBER_FRACTION;
        return is_digit || is_e;
    case NUMBER_E:
        if (byte == '+' || byte == '-') {
            scan->count = NUMBER_SIGN;
            return true;
        }
        scan->count = is_digit ? NUMBER_EXPONENT : NUMBER_E;
        return is_digit;
    case NUMBER_SIGN:
        scan->count = is_digit ? NUMBER_EXPONENT : NUMBER_SIGN;
        return is_digit;
    case NUMBER_EXPONENT:
        return is_digit;
    }
    return false;
}

static bool number_may_end(const struct json_scan *scan)
{
    return scan->count == NUMBER_ZERO || scan->count == NUMBER_WHOLE ||
           scan->count == NUMBER_FRACTION || scan->count == NUMBER_EXPONENT;
}

static enum scan_result scan_string(struct json_scan *scan, uint8_t byte)
{
    if (scan->place == SCAN_ESCAPE) {
        if (byte == 0 || !strchr("\"\\/bfnrtu", byte))
            return SCAN_BAD;
        scan->place = byte == 'u' ? SCAN_HEX : SCAN_STRING;
        scan->count = 0;
        return SCAN_MORE;
    }
    if (scan->place == SCAN_HEX) {
        const uint8_t letter = byte | 0x20;
        if (!(byte >= '0' && byte <= '9') && !(letter >= 'a' && letter <= 'f'))
            return SCAN_BAD;
        if (++scan->count == 4)
            scan->place = SCAN_STRING;
        return SCAN_MORE;
    }
    if (byte == '\\')
        scan->place = SCAN_ESCAPE;
    if (byte != '"')
        return SCAN_MORE;
    if (!scan->is_name)
        return value_ended(scan);
    scan->place = SCAN_COLON;
    return SCAN_MORE;
}

static enum scan_result scan_structure(struct json_scan *scan, uint8_t byte)
{
    if (json_is_space(byte))
        return SCAN_MORE;
    switch (scan->place) {
    case SCAN_VALUE:
    case SCAN_ELEMENT:
    case SCAN_FIRST:
        return begin_value(scan, byte);
    case SCAN_FIRST_NAME:
    case SCAN_NAME:
        if (byte == '}' && scan->place == SCAN_FIRST_NAME)
            return close(scan, true);
        if (byte != '"')
            return SCAN_BAD;
        scan->place = SCAN_STRING;
        scan->is_name = true;
        return SCAN_MORE;
    case SCAN_COLON:
        if (byte != ':')
            return SCAN_BAD;
        scan->place = SCAN_VALUE;
        return SCAN_MORE;
    case SCAN_AFTER:
        if (byte == '}' || byte == ']')
            return close(scan, byte == '}');
        if (byte != ',')
            return SCAN_BAD;
        scan->place = is_object(scan, scan->depth) ? SCAN_NAME : SCAN_ELEMENT;
        return SCAN_MORE;
    case SCAN_STRING:
    case SCAN_ESCAPE:
    case SCAN_HEX:
    case SCAN_NUMBER:
    case SCAN_LITERAL:
    case SCAN_ENDED:
        break;
    }
    return SCAN_BAD;
}

enum scan_result json_scan_byte(struct json_scan *scan, uint8_t byte)
{
    if (json_scan_in_string(scan))
        return scan_string(scan, byte);
    if (scan->place == SCAN_LITERAL) {
        const char *text = literals[scan->literal];
        if (byte != (uint8_t)text[scan->count])
            return SCAN_BAD;
        return text[++scan->count] ? SCAN_MORE : value_ended(scan);
    }
    if (scan->place == SCAN_NUMBER) {
        const uint8_t before = scan->count;
        if (number_goes_on(scan, byte))
            return SCAN_MORE;
        scan->count = before;
        if (!number_may_end(scan))
            return SCAN_BAD;
        if (value_ended(scan) == SCAN_DONE)
            return SCAN_DONE_BEFORE;
        const enum scan_result result = scan_structure(scan, byte);
        if (result == SCAN_BAD)
            scan->place = SCAN_AFTER; /* the number stands */
        return result;
    }
    return scan_structure(scan, byte);
}

enum status json_scan_close(const struct json_scan *scan, struct buffer *out)
{
    char text[16 + JSON_SCAN_DEPTH_MAX];
    size_t size = 0;
    if (scan->place == SCAN_ESCAPE)
        text[size++] = '\\';
    for (uint8_t digit = scan->count; scan->place == SCAN_HEX && digit < 4; digit++)
        text[size++] = "0020"[digit]; /* a blank, not a NUL */
    if (json_scan_in_string(scan))
        text[size++] = '"';
    if (scan->place == SCAN_NUMBER && !number_may_end(scan))
        text[size++] = '0';
    if ((json_scan_in_string(scan) && scan->is_name) || scan->place == SCAN_COLON)
        text[size++] = ':';
    const char *rest = "";
    if (scan->place == SCAN_VALUE || scan->place == SCAN_COLON ||
        (json_scan_in_string(scan) && scan->is_name))
        rest = "null";
    else if (scan->place == SCAN_LITERAL)
        rest = literals[scan->literal] + scan->count;
    while (*rest)
        text[size++] = *rest++;
    for (uint32_t depth = scan->depth; depth > 0; depth--)
        text[size++] = is_object(scan, depth) ? '}' : ']';
    return buffer_append(out, text, size);
}
