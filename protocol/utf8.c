/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/utf8.h"

#include <stdint.h>

int utf8_step(const void *text, size_t left)
{
    const uint8_t *bytes = text;
    const uint8_t lead = bytes[0];
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return -1;
    const int size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    /* Only the second byte's range depends on the lead: overlong forms, surrogates, the end. */
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    for (int at = 1; at < size; at++) {
        if ((size_t)at >= left)
            return 0;
        if (bytes[at] < low || bytes[at] > high)
            return -at;
        low = 0x80;
        high = 0xbf;
    }
    return size;
}

size_t utf8_length(const void *text, size_t left)
{
    const int step = utf8_step(text, left);
    return step > 0 ? (size_t)step : 0;
}

size_t utf8_valid_prefix(const void *text, size_t size)
{
    const uint8_t *bytes = text;
    size_t at = 0;
    for (size_t length; at < size; at += length) {
        length = utf8_length(bytes + at, size - at);
        if (length == 0)
            break;
    }
    return at;
}

bool utf8_is_valid(const void *text, size_t size)
{
    return utf8_valid_prefix(text, size) == size;
}
