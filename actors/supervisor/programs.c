/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/supervisor/programs.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

enum status programs_directory(char directory_out[PATH_SIZE], struct reason *reason)
{
#ifdef __APPLE__
    uint32_t size = PATH_SIZE;
    ssize_t length = _NSGetExecutablePath(directory_out, &size) == 0
                         ? (ssize_t)strlen(directory_out)
                         : -1;
#else
    ssize_t length = readlink("/proc/self/exe", directory_out, PATH_SIZE - 1);
#endif
    if (length <= 0 || length >= PATH_SIZE - 1)
        return refuse(reason, STATUS_NOT_FOUND, "the path of this program cannot be read: %s",
                      strerror(errno));
    directory_out[length] = '\0';
    char *slash = strrchr(directory_out, '/');
    if (!slash)
        return refuse(reason, STATUS_NOT_FOUND, "this program has no path");
    *slash = '\0';
    return STATUS_OK;
}

enum status program_find(const char *directory, const char *name,
                         char path_out[PROGRAM_PATH_SIZE], struct reason *reason)
{
    (void)snprintf(path_out, PROGRAM_PATH_SIZE, "%s/troupe-%.40s", directory, name);
    if (access(path_out, F_OK) == 0)
        return STATUS_OK;
    (void)snprintf(path_out, PROGRAM_PATH_SIZE, "%s/../%.40s/troupe-%.40s", directory, name,
                   name);
    if (access(path_out, F_OK) == 0)
        return STATUS_OK;
    return refuse(reason, STATUS_NOT_FOUND,
                  "%.200s/troupe-%.40s is missing; install all of troupe's programs together",
                  directory, name);
}
