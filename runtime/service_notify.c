/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/service_notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool service_notify(const char *lines)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!name || (name[0] != '/' && name[0] != '@'))
        return false;
    size_t length = strlen(name);
    if (length < 2 || length >= sizeof(address.sun_path))
        return false;
    memcpy(address.sun_path, name, length);
    /* An abstract name begins with a NUL and has no NUL after it. */
    if (name[0] == '@')
        address.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0)
        return false;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    const struct sockaddr *target = (const struct sockaddr *)&address;
    size_t lines_size = strlen(lines);
    bool is_sent = sendto(fd, lines, lines_size, 0, target, size) == (ssize_t)lines_size;
    (void)close(fd);
    return is_sent;
}

uint64_t service_watchdog_ms(void)
{
    const char *interval = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    if (!interval || (pid && strtoll(pid, NULL, 10) != (long long)getpid()))
        return 0;
    return strtoull(interval, NULL, 10) / 2000u;
}
