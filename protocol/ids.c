/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/ids.h"

#include <string.h>

const char *hex_print(const void *bytes, size_t size, char *text_out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *from = bytes;
    for (size_t i = 0; i < size; i++) {
        text_out[2 * i] = digits[from[i] >> 4];
        text_out[2 * i + 1] = digits[from[i] & 15];
    }
    text_out[2 * size] = '\0';
    return text_out;
}

static int digit_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

bool hex_parse(const char *text, void *bytes_out, size_t size)
{
    uint8_t parsed[64];
    if (size > sizeof(parsed) || strlen(text) != 2 * size)
        return false;
    for (size_t i = 0; i < size; i++) {
        int high = digit_value(text[2 * i]);
        int low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        parsed[i] = (uint8_t)(high * 16 + low);
    }
    memcpy(bytes_out, parsed, size);
    return true;
}

bool id_is_zero(const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    for (size_t i = 0; i < size; i++)
        if (from[i] != 0)
            return false;
    return true;
}

const char *actor_kind_name(uint32_t kind)
{
    switch (kind) {
#define ACTOR_KIND_NAME(code, NAME, name)                                                          \
    case code:                                                                                     \
        return #name;
        ACTOR_KIND_LIST(ACTOR_KIND_NAME)
#undef ACTOR_KIND_NAME
    default:
        return "unknown";
    }
}

enum actor_kind actor_kind_find(const char *name)
{
#define ACTOR_KIND_MATCH(code, NAME, actor)                                                        \
    if (strcmp(name, #actor) == 0)                                                                 \
        return ACTOR_##NAME;
    ACTOR_KIND_LIST(ACTOR_KIND_MATCH)
#undef ACTOR_KIND_MATCH
    return ACTOR_NONE;
}
