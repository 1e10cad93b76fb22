/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

_Noreturn void assert_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr, "%s:%d: broken invariant: %s\n", file, line, expression);
    abort();
}

const char *status_text(enum status status)
{
    switch (status) {
#define STATUS_TEXT(code, NAME, text)                                                              \
    case STATUS_##NAME:                                                                            \
        return text;
        STATUS_LIST(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "unknown status";
}

const char *status_name(enum status status)
{
    switch (status) {
#define STATUS_NAME(code, NAME, text)                                                              \
    case STATUS_##NAME:                                                                            \
        return #NAME;
        STATUS_LIST(STATUS_NAME)
#undef STATUS_NAME
    }
    return "UNKNOWN";
}

const char *status_code_name(uint32_t code)
{
    return status_name((enum status)code);
}

enum status status_from_errno(int error)
{
    switch (error) {
    case 0:
        return STATUS_OK;
    case ENOMEM:
        return STATUS_NO_MEMORY;
    case ENOSPC:
    case EDQUOT:
        return STATUS_NO_SPACE;
    case EACCES:
    case EPERM:
    case EROFS:
        return STATUS_NO_PERMISSION;
    case ENOENT:
    case ENOTDIR:
        return STATUS_NOT_FOUND;
    case EEXIST:
        return STATUS_EXISTS;
    case EADDRINUSE:
        return STATUS_IN_USE;
    case ETIMEDOUT:
        return STATUS_TIMED_OUT;
    case EFBIG:
    case E2BIG:
    case ENAMETOOLONG:
        return STATUS_TOO_LARGE;
    default:
        return STATUS_IO;
    }
}

enum status refuse(struct reason *reason, enum status status, const char *format, ...)
{
    if (reason) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(reason->text, sizeof(reason->text), format, arguments);
        va_end(arguments);
    }
    return status;
}
