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

enum status programs_directory(char *directory_out, size_t size, struct reason *reason)
{
#ifdef __APPLE__
    uint32_t room = (uint32_t)size;
    ssize_t length = _NSGetExecutablePath(directory_out, &room) == 0
                         ? (ssize_t)strlen(directory_out)
                         : -1;
#else
    ssize_t length = readlink("/proc/self/exe", directory_out, size - 1);
#endif
    if (length <= 0 || (size_t)length >= size - 1)
        return refuse(reason, STATUS_NOT_FOUND, "the path of this program cannot be read: %s",
                      strerror(errno));
    directory_out[length] = '\0';
    char *slash = strrchr(directory_out, '/');
    if (!slash)
        return refuse(reason, STATUS_NOT_FOUND, "this program has no path");
    *slash = '\0';
    return STATUS_OK;
}

enum status program_find(const char *directory, const char *name, char *path_out, size_t size,
                         struct reason *reason)
{
    char path[PROGRAM_PATH_SIZE];
    int length = snprintf(path, sizeof(path), "%s/troupe-%.40s", directory, name);
    if (access(path, F_OK) != 0)
        length = snprintf(path, sizeof(path), "%s/../%.40s/troupe-%.40s", directory, name, name);
    if (access(path, F_OK) != 0)
        length = snprintf(path, sizeof(path), "%s/../runner/%.40s/troupe-%.40s", directory, name,
                          name);
    if (length < 0 || (size_t)length >= sizeof(path) || (size_t)length >= size ||
        access(path, F_OK) != 0)
        return refuse(reason, STATUS_NOT_FOUND,
                      "%.200s/troupe-%.40s is missing; install all of troupe's programs together",
                      directory, name);
    memcpy(path_out, path, (size_t)length + 1);
    return STATUS_OK;
}
