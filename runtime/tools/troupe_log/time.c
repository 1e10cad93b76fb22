/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times as people write them, in UTC.
 */
#include "runtime/tools/troupe_log/inspect.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

const char *time_print(uint64_t time_ms, char *text_out)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    if (time_ms / 1000 > 253402300799 || !gmtime_r(&seconds, &parts)) { /* year 9999 */
        (void)snprintf(text_out, 32, "%llu ms", (unsigned long long)time_ms);
        return text_out;
    }
    size_t length = strftime(text_out, 32, "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(text_out + length, 32 - length, ".%03uZ", (unsigned)(time_ms % 1000));
    return text_out;
}

static bool unit_ms(char unit, uint64_t *ms_out)
{
    switch (unit) {
    case 's':
        *ms_out = 1000;
        return true;
    case 'm':
        *ms_out = 60 * 1000;
        return true;
    case 'h':
        *ms_out = 60 * 60 * 1000;
        return true;
    case 'd':
        *ms_out = 24 * 60 * 60 * 1000;
        return true;
    default:
        return false;
    }
}

bool time_parse(const char *text, uint64_t now_ms, uint64_t *time_ms_out)
{
    uint64_t number = 0;
    size_t digits = strspn(text, "0123456789");
    if (digits > 0 && digits < 18) {
        for (size_t i = 0; i < digits; i++)
            number = number * 10 + (uint64_t)(text[i] - '0');
        uint64_t unit = 0;
        if (text[digits] == '\0') {
            *time_ms_out = number;
            return true;
        }
        if (text[digits + 1] == '\0' && digits < 8 && unit_ms(text[digits], &unit)) {
            *time_ms_out = number * unit < now_ms ? now_ms - number * unit : 0;
            return true;
        }
    }
    static const char *const shapes[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S",
                                         "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M", "%Y-%m-%d"};
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        struct tm parts = {0};
        const char *end = strptime(text, shapes[i], &parts);
        if (!end || *end != '\0')
            continue;
        time_t seconds = timegm(&parts);
        if (seconds < 0)
            return false;
        *time_ms_out = (uint64_t)seconds * 1000;
        return true;
    }
    return false;
}
