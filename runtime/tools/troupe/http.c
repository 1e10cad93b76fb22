/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/http.h"

#include "runtime/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_SIZE_MAX = 16384 };

struct http_stream {
    const struct http_request *request;
    int fd;
    char bytes[HEAD_SIZE_MAX + 1];
    size_t start; /* first byte not taken */
    size_t end;
    bool is_chunked;
    bool has_length;
    uint64_t length;
    struct reason *reason;
};

static enum status cannot_reach(const struct http_request *request, struct reason *reason,
                                const char *why)
{
    return refuse(reason, STATUS_UNREACHABLE,
                  "the node's HTTP interface at %.100s cannot be reached: %s", request->address,
                  why);
}

static enum status stream_connect(struct http_stream *stream)
{
    const struct http_request *request = stream->request;
    char host[128];
    const char *colon = strrchr(request->address, ':');
    const char *start = request->address[0] == '[' ? request->address + 1 : request->address;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (!colon || colon <= start || (size_t)(colon - start) >= sizeof(host))
        return refuse(stream->reason, STATUS_MALFORMED, "%.100s is no address of an HTTP interface",
                      request->address);
    const size_t length = (size_t)(colon - start) - (start != request->address ? 1 : 0);
    memcpy(host, start, length);
    host[length] = '\0';
    int result = getaddrinfo(host, colon + 1, &hints, &found);
    if (result != 0)
        return cannot_reach(request, stream->reason, gai_strerror(result));
    int error = ECONNREFUSED;
    for (const struct addrinfo *at = found; at && stream->fd < 0; at = at->ai_next) {
        stream->fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
        if (stream->fd >= 0 && connect(stream->fd, at->ai_addr, at->ai_addrlen) != 0) {
            error = errno;
            (void)close(stream->fd);
            stream->fd = -1;
        }
    }
    freeaddrinfo(found);
    return stream->fd >= 0 ? STATUS_OK : cannot_reach(request, stream->reason, strerror(error));
}

static enum status send_all(struct http_stream *stream, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(stream->fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return cannot_reach(stream->request, stream->reason, strerror(errno));
        bytes += sent;
        size -= (size_t)sent;
    }
    return STATUS_OK;
}

static enum status send_request(struct http_stream *stream)
{
    const struct http_request *request = stream->request;
    char head[1024 + HTTP_KEY_SIZE_MAX];
    const bool has_key = request->key && request->key[0];
    int length = snprintf(head, sizeof(head),
                          "%s %s HTTP/1.1\r\nHost: %s\r\nAccept: application/json, "
                          "text/event-stream\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\nConnection: close\r\n%s%s%s\r\n",
                          request->method, request->path, request->address,
                          request->body ? request->body_size : 0,
                          has_key ? "Authorization: Bearer " : "", has_key ? request->key : "",
                          has_key ? "\r\n" : "");
    if (length < 0 || (size_t)length >= sizeof(head))
        return refuse(stream->reason, STATUS_TOO_LARGE, "the path of the request is too long");
    enum status status = send_all(stream, head, (size_t)length);
    if (status == STATUS_OK && request->body)
        status = send_all(stream, request->body, request->body_size);
    return status;
}

/* More bytes behind those that are there; ENDED at the end of the connection. */
static enum status stream_fill(struct http_stream *stream)
{
    const struct http_request *request = stream->request;
    const uint64_t deadline_ms = clock_now_ms() + request->silence_ms;
    if (stream->start > 0) {
        memmove(stream->bytes, stream->bytes + stream->start, stream->end - stream->start);
        stream->end -= stream->start;
        stream->start = 0;
    }
    if (stream->end == HEAD_SIZE_MAX)
        return refuse(stream->reason, STATUS_MALFORMED, "the gateway's answer has too long a line");
    for (;;) {
        struct pollfd item = {.fd = stream->fd, .events = POLLIN};
        if (request->stop && request->stop())
            return STATUS_CANCELLED;
        if (clock_now_ms() >= deadline_ms)
            return refuse(stream->reason, STATUS_TIMED_OUT, "the gateway is silent for %" PRIu64
                          " s", request->silence_ms / 1000);
        if (poll(&item, 1, 200) <= 0)
            continue;
        ssize_t got =
            recv(stream->fd, stream->bytes + stream->end, HEAD_SIZE_MAX - stream->end, 0);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            return STATUS_ENDED;
        stream->end += (size_t)got;
        stream->bytes[stream->end] = '\0';
        return STATUS_OK;
    }
}

/* A line without its end; borrowed until the next call. */
static enum status stream_line(struct http_stream *stream, char **line_out)
{
    for (;;) {
        char *start = stream->bytes + stream->start;
        char *feed = memchr(start, '\n', stream->end - stream->start);
        if (feed) {
            *feed = '\0';
            if (feed > start && feed[-1] == '\r')
                feed[-1] = '\0';
            stream->start = (size_t)(feed - stream->bytes) + 1;
            *line_out = start;
            return STATUS_OK;
        }
        enum status status = stream_fill(stream);
        if (status != STATUS_OK)
            return status;
    }
}

static enum status read_head(struct http_stream *stream, int *code_out)
{
    char *line = NULL;
    char *end = NULL;
    enum status status = stream_line(stream, &line);
    if (status != STATUS_OK)
        return status;
    long code = strncmp(line, "HTTP/1.", 7) == 0 && strlen(line) > 9 ? strtol(line + 9, &end, 10)
                                                                     : 0;
    if (code < 100 || code > 999)
        return refuse(stream->reason, STATUS_MALFORMED,
                      "what answers at %.100s is no HTTP interface", stream->request->address);
    for (;;) {
        status = stream_line(stream, &line);
        if (status != STATUS_OK)
            return status;
        if (line[0] == '\0')
            break;
        if (strncasecmp(line, "Transfer-Encoding:", 18) == 0)
            stream->is_chunked = strstr(line, "chunked") != NULL;
        if (strncasecmp(line, "Content-Length:", 15) == 0) {
            stream->has_length = true;
            stream->length = strtoull(line + 15, NULL, 10);
        }
    }
    *code_out = (int)code;
    return STATUS_OK;
}

/* Gives out `size` bytes of the body. */
static enum status take_bytes(struct http_stream *stream, uint64_t size)
{
    while (size > 0) {
        enum status status = STATUS_OK;
        if (stream->start == stream->end)
            status = stream_fill(stream);
        if (status != STATUS_OK)
            return status;
        size_t piece = stream->end - stream->start;
        if (piece > size)
            piece = (size_t)size;
        status = stream->request->take(stream->request->self, stream->bytes + stream->start, piece);
        if (status != STATUS_OK)
            return status;
        stream->start += piece;
        size -= piece;
    }
    return STATUS_OK;
}

static enum status take_chunks(struct http_stream *stream)
{
    for (;;) {
        char *line = NULL;
        char *end = NULL;
        enum status status = stream_line(stream, &line);
        if (status != STATUS_OK)
            return status;
        errno = 0;
        unsigned long long size = strtoull(line, &end, 16);
        if (errno != 0 || end == line || size > (1ull << 30))
            return refuse(stream->reason, STATUS_MALFORMED, "the gateway's answer is malformed");
        if (size == 0)
            return STATUS_OK;
        status = take_bytes(stream, size);
        if (status == STATUS_OK)
            status = stream_line(stream, &line);
        if (status != STATUS_OK)
            return status;
    }
}

enum status http_exchange(const struct http_request *request, int *code_out,
                          struct reason *reason)
{
    struct http_stream stream = {.request = request, .fd = -1, .reason = reason};
    enum status status = stream_connect(&stream);
    if (status == STATUS_OK)
        status = send_request(&stream);
    if (status == STATUS_OK)
        status = read_head(&stream, code_out);
    if (status == STATUS_OK && stream.is_chunked)
        status = take_chunks(&stream);
    else if (status == STATUS_OK && stream.has_length)
        status = take_bytes(&stream, stream.length);
    else if (status == STATUS_OK) {
        status = take_bytes(&stream, UINT64_MAX);
        status = status == STATUS_ENDED ? STATUS_OK : status;
    }
    if (stream.fd >= 0)
        (void)close(stream.fd);
    if (status == STATUS_ENDED)
        return refuse(reason, status, "the gateway closed the connection in the middle of its "
                                      "answer; ask again");
    return status;
}
