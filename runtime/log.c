/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *process_name = "troupe";
static enum log_level level_max = LOG_LEVEL_NOTICE;

void log_init(const char *name, enum log_level level)
{
    process_name = name;
    level_max = level;
}

/* The journal reads the digit in angle brackets as a syslog priority. */
static const char *prefix_of(enum log_level level)
{
    static const char *const prefixes[] = {"<3>", "<4>", "<5>", "<7>"};
    return getenv("JOURNAL_STREAM") ? prefixes[level] : "";
}

/* The characters of the secret that begins here, `before` being the one before it; 0: none. */
static size_t secret_length(const char *at, char before)
{
    static const char *const prefixes[] = {"troupe1-", "hf_", "sk-", "Bearer "};
    static const char body[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    enum { SECRET_LENGTH_MIN = 16 };
    if (before && strchr(body, before))
        return 0;
    for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
        const size_t prefix = strlen(prefixes[i]);
        if (strncmp(at, prefixes[i], prefix) != 0)
            continue;
        const size_t length = prefix + strspn(at + prefix, body);
        return length >= SECRET_LENGTH_MIN ? length : 0;
    }
    return 0;
}

static void log_line(enum log_level level, const char *format, va_list arguments)
{
    if (level > level_max)
        return;
    char text[1024];
    char line[4400];
    (void)vsnprintf(text, sizeof(text), format, arguments);
    int length = snprintf(line, sizeof(line), "%s%s: ", prefix_of(level), process_name);
    size_t used = (size_t)length;
    for (const char *c = text; *c && used + 32 < sizeof(line); c++) {
        const size_t secret = secret_length(c, c > text ? c[-1] : '\0');
        if (secret > 0) {
            used += (size_t)snprintf(line + used, sizeof(line) - used, "%.4s...(%zu)", c, secret);
            c += secret - 1;
        } else if ((unsigned char)*c < 0x20 || *c == 0x7f)
            used += (size_t)snprintf(line + used, sizeof(line) - used, "\\x%02x",
                                     (unsigned char)*c);
        else
            line[used++] = *c;
    }
    line[used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, used);
    (void)written;
}

#define LOG_FUNCTION(name, LEVEL)                                                                  \
    void log_##name(const char *format, ...)                                                       \
    {                                                                                              \
        va_list arguments;                                                                         \
        va_start(arguments, format);                                                               \
        log_line(LOG_LEVEL_##LEVEL, format, arguments);                                            \
        va_end(arguments);                                                                         \
    }

LOG_FUNCTION(error, ERROR)
LOG_FUNCTION(warning, WARNING)
LOG_FUNCTION(notice, NOTICE)
LOG_FUNCTION(debug, DEBUG)
