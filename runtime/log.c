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

static void log_line(enum log_level level, const char *format, va_list arguments)
{
    if (level > level_max)
        return;
    char text[1024];
    char line[4400];
    (void)vsnprintf(text, sizeof(text), format, arguments);
    int length = snprintf(line, sizeof(line), "%s%s: ", prefix_of(level), process_name);
    size_t used = (size_t)length;
    for (const char *c = text; *c && used + 6 < sizeof(line); c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
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
