/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/http_range.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define UNIT "bytes="

/* Digits from `*at` on, which moves behind them; more than fits counts as the most that does. */
static bool read_number(const char **at, uint64_t *number_out)
{
    uint64_t number = 0;
    const char *digit = *at;
    for (; *digit >= '0' && *digit <= '9'; digit++) {
        const uint64_t value = (uint64_t)(*digit - '0');
        number = number > (UINT64_MAX - value) / 10 ? UINT64_MAX : number * 10 + value;
    }
    const bool is_number = digit != *at;
    *at = digit;
    *number_out = number;
    return is_number;
}

enum http_range http_range_read(const char *range, const char *if_range, const char *validator,
                                uint64_t size, uint64_t *first_out, uint64_t *end_out)
{
    uint64_t first = 0;
    uint64_t last = UINT64_MAX;
    *first_out = 0;
    *end_out = size;
    if (!range || strncasecmp(range, UNIT, strlen(UNIT)) != 0 ||
        (if_range && *if_range && strcmp(if_range, validator) != 0))
        return HTTP_RANGE_ALL;
    const char *at = range + strlen(UNIT);
    const bool has_first = read_number(&at, &first);
    if (*at++ != '-')
        return HTTP_RANGE_ALL;
    const bool has_last = read_number(&at, &last);
    if (*at || (!has_first && !has_last) || (has_first && has_last && last < first))
        return HTTP_RANGE_ALL;
    if (has_first ? first >= size : last == 0 || size == 0)
        return HTTP_RANGE_BEYOND;
    if (!has_first) {
        *first_out = last < size ? size - last : 0;
        return HTTP_RANGE_PART;
    }
    *first_out = first;
    if (has_last && last < size)
        *end_out = last + 1;
    return HTTP_RANGE_PART;
}

bool http_etag_is_among(const char *list, const char *etag)
{
    const size_t size = strlen(etag);
    const char *at = list ? list : "";
    while (*at) {
        at += strspn(at, " \t,");
        if (*at == '*')
            return true;
        if (strncmp(at, "W/", 2) == 0)
            at += 2;
        if (*at != '"')
            return false; /* no tag: what follows is none either */
        const char *end = strchr(++at, '"');
        if (!end)
            return false;
        if ((size_t)(end - at) == size && strncmp(at, etag, size) == 0)
            return true;
        at = end + 1;
    }
    return false;
}
