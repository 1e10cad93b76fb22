/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/process/gateway/http_client.h"

#include "protocol/assert.h"
#include "runtime/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int client_connect(unsigned port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT(fd >= 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ASSERT(connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

bool client_send(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        at += sent;
        size -= (size_t)sent;
    }
    return true;
}

bool client_send_text(int fd, const char *text)
{
    return client_send(fd, text, strlen(text));
}

void client_read(int fd, const char *wanted, uint64_t timeout_ms, struct http_reply *reply_out)
{
    memset(reply_out, 0, sizeof(*reply_out));
    uint64_t end_ms = clock_now_ms() + timeout_ms;
    for (;;) {
        if (wanted && strstr(reply_out->bytes, wanted))
            break;
        uint64_t now_ms = clock_now_ms();
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (now_ms >= end_ms || poll(&wait, 1, (int)(end_ms - now_ms)) <= 0)
            break;
        size_t room = sizeof(reply_out->bytes) - 1 - reply_out->size;
        ssize_t size = recv(fd, reply_out->bytes + reply_out->size, room, 0);
        if (size <= 0) {
            reply_out->is_closed = true;
            break;
        }
        reply_out->size += (size_t)size;
    }
    if (reply_out->size > 12 && memcmp(reply_out->bytes, "HTTP/1.", 7) == 0)
        reply_out->http_status = (int)strtol(reply_out->bytes + 9, NULL, 10);
}
