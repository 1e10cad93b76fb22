/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/client_channel.h"

#include "protocol/memory.h"
#include "runtime/clock.h"
#include "runtime/paths.h"
#include "runtime/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CHANNEL_LINK = 1 };

struct client_channel {
    struct transport *transport;
    struct peer peer;
    int directory_fd; /* HOME/run, when its path is too long for a socket's name; else -1 */
};

/* ---- the calls of the client ---- */

static enum status channel_send(void *self, const void *bytes, size_t size)
{
    struct client_channel *channel = self;
    return transport_send(channel->transport, &channel->peer, bytes, size);
}

static enum troupe_news channel_receive(void *self, uint64_t timeout_ms, const uint8_t **bytes_out,
                                        size_t *size_out, struct reason *reason)
{
    struct client_channel *channel = self;
    struct transport_event event;
    const uint64_t deadline_ms = clock_now_ms() + timeout_ms;
    for (;;) {
        const uint64_t now_ms = clock_now_ms();
        if (!transport_next(channel->transport, &event)) {
            if (now_ms >= deadline_ms)
                return TROUPE_NEWS_NONE;
            transport_wait(channel->transport, NULL, 0, (int64_t)(deadline_ms - now_ms));
            continue;
        }
        switch (event.kind) {
        case TRANSPORT_MESSAGE:
            *bytes_out = event.bytes;
            *size_out = event.size;
            return TROUPE_NEWS_MESSAGE;
        case TRANSPORT_UP:
            return TROUPE_NEWS_UP;
        case TRANSPORT_DOWN:
            return TROUPE_NEWS_DOWN;
        case TRANSPORT_REFUSED:
            (void)refuse(reason, event.status, "%s", event.reason.text);
            return TROUPE_NEWS_FAILED;
        case TRANSPORT_NOTHING:
        case TRANSPORT_BOUND:
            break;
        }
    }
}

static uint64_t channel_now_ms(void *self)
{
    (void)self;
    return clock_now_ms();
}

static void channel_close(void *self)
{
    struct client_channel *channel = self;
    transport_close(channel->transport, 200);
    if (channel->directory_fd >= 0)
        (void)close(channel->directory_fd);
    memory_free(channel);
}

static enum status channel_open(const struct link_options *link, const struct key_pair *pair,
                                int directory_fd, struct troupe_channel *channel_out,
                                struct reason *reason)
{
    struct transport_options options = {.io_threads = 1};
    struct client_channel *channel = memory_zeroed(1, sizeof(*channel));
    if (!channel) {
        if (directory_fd >= 0)
            (void)close(directory_fd);
        return STATUS_NO_MEMORY;
    }
    if (pair)
        options.pair = *pair;
    channel->directory_fd = directory_fd;
    channel->peer = peer_of_link(CHANNEL_LINK);
    enum status status = transport_open(&options, &channel->transport, reason);
    if (status == STATUS_OK)
        status = transport_link_open(channel->transport, CHANNEL_LINK, link, reason);
    if (status != STATUS_OK) {
        channel_close(channel);
        return status;
    }
    *channel_out = (struct troupe_channel){channel, channel_send, channel_receive, channel_now_ms,
                                           channel_close};
    return STATUS_OK;
}

/* ---- a node of this machine ---- */

/* The path of the socket, short enough for a socket's name; a long one goes by way of a descriptor
 * of the directory, where the system has /proc. */
static enum status socket_path(const char *home, char path_out[108], int *fd_out,
                               struct reason *reason)
{
    char run[PATH_SIZE + 8];
    *fd_out = -1;
    int length = snprintf(path_out, 100, "%s/run/master.sock", home);
    if (length > 0 && length < 100)
        return STATUS_OK;
    length = snprintf(run, sizeof(run), "%s/run", home);
    if (length > 0 && (size_t)length < sizeof(run))
        *fd_out = open(run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd_out < 0)
        return refuse(reason, STATUS_UNREACHABLE, "no node runs in %.200s; start it with troupe up",
                      home);
    (void)snprintf(path_out, 100, "/proc/self/fd/%d/master.sock", *fd_out);
    return STATUS_OK;
}

static int socket_probe(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int error =
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : errno;
    (void)close(fd);
    return error;
}

bool client_channel_master_listens(const char *home)
{
    char path[108];
    int fd = -1;
    struct reason reason;
    if (socket_path(home, path, &fd, &reason) != STATUS_OK)
        return false;
    int error = socket_probe(path);
    if (fd >= 0)
        (void)close(fd);
    return error == 0;
}

bool client_channel_home_is_held(const char *home)
{
    char path[PATH_SIZE + 8];
    (void)snprintf(path, sizeof(path), "%.1020s/lock", home);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool is_held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    (void)close(fd);
    return is_held;
}

enum status client_channel_open_home(const char *home, uint64_t timeout_ms,
                                     struct troupe_channel *channel_out, struct reason *reason)
{
    struct link_options link = {.role = LINK_CONNECT};
    char path[108];
    int fd = -1;
    const uint64_t deadline_ms = clock_now_ms() + timeout_ms;
    enum status status = socket_path(home, path, &fd, reason);
    if (status != STATUS_OK)
        return status;
    for (int error = socket_probe(path); error != 0; error = socket_probe(path)) {
        const bool is_held = error != EACCES && client_channel_home_is_held(home);
        if (is_held && clock_now_ms() < deadline_ms) {
            clock_sleep_ms(10);
            continue;
        }
        if (fd >= 0)
            (void)close(fd);
        if (error == EACCES)
            return refuse(reason, STATUS_NO_PERMISSION, "%.200s belongs to another user", home);
        if (is_held)
            return refuse(reason, STATUS_UNREACHABLE,
                          "the node in %.200s runs, but its master does not answer; see %.100s/"
                          "supervisor.log", home, home);
        return refuse(reason, STATUS_UNREACHABLE, "no node runs in %.200s; start it with troupe up",
                      home);
    }
    (void)snprintf(link.endpoint, sizeof(link.endpoint), "ipc://%s", path);
    return channel_open(&link, NULL, fd, channel_out, reason);
}

/* ---- a remote node ---- */

enum status client_channel_open_remote(const char *address, const struct public_key *server_key,
                                       const struct key_pair *pair,
                                       struct troupe_channel *channel_out, struct reason *reason)
{
    struct link_options link = {.role = LINK_CONNECT, .server_key = *server_key};
    int length = snprintf(link.endpoint, sizeof(link.endpoint), "%s%s",
                          strncmp(address, "tcp://", 6) == 0 ? "" : "tcp://", address);
    if (length < 0 || (size_t)length >= sizeof(link.endpoint))
        return refuse(reason, STATUS_TOO_LARGE, "the address %.60s... is too long", address);
    return channel_open(&link, pair, -1, channel_out, reason);
}
