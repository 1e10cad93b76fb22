/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/http_connection.h"

#include "protocol/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef POLLRDHUP
#define POLLRDHUP 0 /* elsewhere the end is seen by reading */
#endif

#define READ_SIZE (64u * 1024u)

static void set_state(struct http_connection *connection, enum http_connection_state state,
                      uint64_t now_ms)
{
    connection->state = state;
    connection->began_ms = now_ms;
}

void http_connection_begin(struct http_connection *connection, struct http_connections *shared,
                           int fd, uint64_t id, struct http_address address, uint64_t now_ms)
{
    *connection = (struct http_connection){
        .shared = shared, .id = id, .fd = fd, .inner_fd = -1, .address = address};
    buffer_init(&connection->in, HTTP_HEAD_SIZE_MAX + READ_SIZE);
    buffer_init(&connection->out, HTTP_OUT_SIZE_MAX + READ_SIZE);
    buffer_init(&connection->head, HTTP_HEAD_SIZE_MAX + 1024);
    buffer_init(&connection->body, HTTP_BODY_SIZE_MAX);
    set_state(connection, HTTP_CONNECTION_HEAD, now_ms);
}

static void forget_body(struct http_connection *connection)
{
    connection->shared->bodies_size -= connection->body.size;
    buffer_fini(&connection->body);
    buffer_init(&connection->body, HTTP_BODY_SIZE_MAX);
}

void http_connection_end(struct http_connection *connection)
{
    if (connection->state == HTTP_CONNECTION_FREE)
        return;
    bool in_flight = connection->state == HTTP_CONNECTION_SERVING && !connection->answer_written;
    if (in_flight)
        connection->shared->hooks.gone(connection->shared->hooks.owner, connection->id);
    forget_body(connection);
    buffer_fini(&connection->in);
    buffer_fini(&connection->out);
    buffer_fini(&connection->head);
    if (connection->inner_fd >= 0)
        (void)close(connection->inner_fd);
    (void)close(connection->fd);
    connection->inner_fd = -1;
    connection->fd = -1;
    connection->state = HTTP_CONNECTION_FREE;
}

void http_connection_refuse(struct http_connection *connection, const struct http_fault *fault,
                            uint64_t now_ms)
{
    char body[HTTP_FAULT_BODY_SIZE_MAX];
    size_t size = http_fault_body(fault, body);
    char retry[64] = "";
    if (fault->retry_after_s > 0)
        (void)snprintf(retry, sizeof(retry), "Retry-After: %u\r\n", fault->retry_after_s);
    struct buffer *out = &connection->out;
    enum status status = buffer_append_format(
        out,
        "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n%s%s\r\n%s",
        fault->http_status, http_reason_phrase(fault->http_status), size,
        fault->http_status == 401 ? "WWW-Authenticate: Bearer\r\n" : "", retry,
        connection->is_head_method ? "" : body);
    atomic_fetch_add(&connection->shared->refused, 1);
    if (status != STATUS_OK) {
        http_connection_end(connection);
        return;
    }
    forget_body(connection);
    connection->moved_ms = now_ms;
    set_state(connection, HTTP_CONNECTION_CLOSING, now_ms);
}

static void refuse_with(struct http_connection *connection, int http_status, const char *code,
                        const char *sentence, uint64_t now_ms)
{
    struct http_fault fault;
    (void)http_fault_set(&fault, http_status, code, "%s", sentence);
    http_connection_refuse(connection, &fault, now_ms);
}

/* ---- keys that were tried in vain ---- */

static struct http_key_failures *failures_of(struct http_connections *shared,
                                             const struct http_address *address, uint64_t now_ms)
{
    struct http_key_failures *oldest = &shared->failures[0];
    for (size_t i = 0; i < HTTP_KEY_FAILURE_ADDRESSES; i++) {
        struct http_key_failures *row = &shared->failures[i];
        if (memcmp(&row->address, address, sizeof(*address)) == 0) {
            if (now_ms - row->since_ms > HTTP_KEY_FAILURE_WINDOW_MS) {
                row->since_ms = now_ms;
                row->count = 0;
            }
            return row;
        }
        if (row->since_ms < oldest->since_ms)
            oldest = row;
    }
    *oldest = (struct http_key_failures){.address = *address, .since_ms = now_ms};
    return oldest;
}

static bool admit(struct http_connection *connection, const struct http_head *head,
                  struct http_fault *fault, uint64_t now_ms)
{
    struct http_connections *shared = connection->shared;
    struct http_key_failures *failures = NULL;
    if (shared->policy->key_count > 0 && !http_policy_is_open(head)) {
        failures = failures_of(shared, &connection->address, now_ms);
        if (failures->count >= HTTP_KEY_FAILURE_COUNT_MAX) {
            (void)http_fault_set(fault, 429, "too_many_failed_keys",
                                 "Too many wrong API keys came from this address; wait a minute.");
            fault->retry_after_s = HTTP_KEY_FAILURE_WINDOW_MS / 1000;
            return false;
        }
    }
    bool is_admitted = http_policy_admit(shared->policy, head, fault);
    /* A request without any is no guess: some clients ask first without, or for what needs none. */
    const bool has_key = head->authorization.size > 0 || head->api_key.size > 0;
    if (!is_admitted && failures && has_key && fault->http_status == 401)
        failures->count++;
    return is_admitted;
}

/* ---- from the client ---- */

/* One that is absent, or longer than any that could be meant, is left out. */
static bool write_header(struct buffer *out, const char *name, struct http_text value)
{
    if (value.size == 0 || value.size >= 1024)
        return true;
    return buffer_append_format(out, "%s: %.*s\r\n", name, (int)value.size, value.bytes) ==
           STATUS_OK;
}

static bool write_head(struct http_connection *connection, const struct http_head *head)
{
    struct buffer *out = &connection->head;
    bool is_written =
        buffer_append_format(
            out, "%s %.*s HTTP/1.%u\r\nHost: %.*s\r\n" HTTP_CONNECTION_HEADER ": %" PRIu64 "\r\n",
            http_method_name(head->method), (int)head->target.size, head->target.bytes,
            head->minor_version, (int)head->host.size, head->host.bytes,
            connection->id) == STATUS_OK;
    is_written = is_written && write_header(out, "Accept", head->accept) &&
                 write_header(out, "Range", head->range) &&
                 write_header(out, "If-Range", head->if_range) &&
                 write_header(out, "If-None-Match", head->if_none_match);
    if (is_written && head->wants_close)
        is_written = buffer_append_text(out, "Connection: close\r\n") == STATUS_OK;
    return is_written;
}

static void take_head(struct http_connection *connection, size_t size, uint64_t now_ms)
{
    struct http_head head;
    struct http_fault fault;
    bool is_good = http_head_parse((const char *)connection->in.bytes, size, &head, &fault);
    connection->is_head_method = is_good && head.method == HTTP_METHOD_HEAD;
    if (!is_good || !admit(connection, &head, &fault, now_ms)) {
        http_connection_refuse(connection, &fault, now_ms);
        return;
    }
    connection->passed = 0;
    connection->wants_close = head.wants_close;
    connection->is_chunked = head.is_chunked;
    connection->body_left = head.length;
    connection->chunked = (struct http_chunked){0};
    bool has_body = head.is_chunked || head.length > 0;
    bool is_written = write_head(connection, &head);
    if (is_written && head.wants_continue && has_body && connection->in.size == size)
        is_written =
            buffer_append_text(&connection->out, "HTTP/1.1 100 Continue\r\n\r\n") == STATUS_OK;
    if (!is_written) {
        refuse_with(connection, 503, "no_memory", "There is no memory for this request.", now_ms);
        return;
    }
    buffer_consume(&connection->in, size);
    connection->moved_ms = now_ms;
    set_state(connection, HTTP_CONNECTION_BODY, now_ms);
}

static bool keep_piece(struct http_connection *connection, const char *bytes, size_t size,
                       uint64_t now_ms)
{
    struct http_connections *shared = connection->shared;
    bool is_kept = shared->bodies_size + size <= HTTP_BODIES_SIZE_MAX &&
                   buffer_append(&connection->body, bytes, size) == STATUS_OK;
    if (is_kept)
        shared->bodies_size += size;
    else
        refuse_with(connection, 503, "too_many_bodies",
                    "Too many request bodies are being received; try again soon.", now_ms);
    return is_kept;
}

/* The body is whole: gives libmicrohttpd its end of the pair, if it has none yet. */
static void pass_on(struct http_connection *connection, uint64_t now_ms)
{
    struct http_connections *shared = connection->shared;
    bool is_ready = buffer_append_format(&connection->head,
                                         "Content-Type: application/json\r\n"
                                         "Content-Length: %zu\r\n\r\n",
                                         connection->body.size) == STATUS_OK;
    if (is_ready && connection->inner_fd < 0) {
        int ends[2];
        is_ready = socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0;
        for (int i = 0; is_ready && i < 2; i++)
            (void)(fcntl(ends[i], F_SETFL, O_NONBLOCK), fcntl(ends[i], F_SETFD, FD_CLOEXEC));
        if (is_ready) {
            connection->inner_fd = ends[0];
            is_ready = shared->hooks.adopt(shared->hooks.owner, ends[1]);
        }
    }
    if (!is_ready) {
        refuse_with(connection, 503, "no_capacity", "The server cannot take this request now.",
                    now_ms);
        return;
    }
    atomic_fetch_add(&shared->admitted, 1);
    connection->answer_written = false;
    set_state(connection, HTTP_CONNECTION_SERVING, now_ms);
}

static void take_body(struct http_connection *connection, uint64_t now_ms)
{
    enum http_read read = HTTP_READ_MORE;
    struct http_fault fault;
    while (connection->is_chunked && read == HTTP_READ_MORE && connection->in.size > 0) {
        size_t taken = 0;
        struct http_text piece;
        read = http_chunked_read(&connection->chunked, (const char *)connection->in.bytes,
                                 connection->in.size, &taken, &piece, &fault);
        if (piece.size > 0 && !keep_piece(connection, piece.bytes, piece.size, now_ms))
            return;
        buffer_consume(&connection->in, taken);
    }
    if (!connection->is_chunked) {
        size_t size = connection->in.size < connection->body_left ? connection->in.size
                                                                  : (size_t)connection->body_left;
        if (size > 0 && !keep_piece(connection, (const char *)connection->in.bytes, size, now_ms))
            return;
        buffer_consume(&connection->in, size);
        connection->body_left -= size;
        read = connection->body_left == 0 ? HTTP_READ_WHOLE : HTTP_READ_MORE;
    }
    if (read == HTTP_READ_BAD)
        http_connection_refuse(connection, &fault, now_ms);
    else if (read == HTTP_READ_WHOLE)
        pass_on(connection, now_ms);
}

static void take_input(struct http_connection *connection, uint64_t now_ms)
{
    if (connection->state == HTTP_CONNECTION_HEAD && connection->in.size > 0) {
        struct http_fault fault;
        size_t size = 0;
        enum http_read read = http_head_scan(&connection->scan, (const char *)connection->in.bytes,
                                             connection->in.size, &size, &fault);
        if (read == HTTP_READ_BAD)
            http_connection_refuse(connection, &fault, now_ms);
        else if (read == HTTP_READ_WHOLE)
            take_head(connection, size, now_ms);
    }
    if (connection->state == HTTP_CONNECTION_BODY)
        take_body(connection, now_ms);
}

/* False: the client is gone and the slot free. */
static bool receive(struct http_connection *connection, uint64_t now_ms)
{
    struct buffer *in = &connection->in;
    bool was_empty = in->size == 0;
    if (buffer_reserve(in, READ_SIZE) != STATUS_OK) {
        http_connection_end(connection);
        return false;
    }
    ssize_t size = recv(connection->fd, in->bytes + in->size, READ_SIZE, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (size <= 0) {
        http_connection_end(connection);
        return false;
    }
    if (connection->state == HTTP_CONNECTION_LINGERING ||
        connection->state == HTTP_CONNECTION_CLOSING)
        return true;
    in->size += (size_t)size;
    if (connection->state == HTTP_CONNECTION_HEAD && was_empty && connection->is_kept)
        connection->began_ms = now_ms;
    take_input(connection, now_ms);
    return connection->state != HTTP_CONNECTION_FREE;
}

/* ---- to and from libmicrohttpd ---- */

static void pass_bytes(struct http_connection *connection)
{
    size_t total = connection->head.size + connection->body.size;
    while (connection->passed < total) {
        bool in_head = connection->passed < connection->head.size;
        const uint8_t *bytes =
            in_head ? connection->head.bytes + connection->passed
                    : connection->body.bytes + (connection->passed - connection->head.size);
        size_t left =
            in_head ? connection->head.size - connection->passed : total - connection->passed;
        ssize_t sent = send(connection->inner_fd, bytes, left, MSG_NOSIGNAL);
        if (sent <= 0)
            return; /* full, or ended: the reading side sees that */
        connection->passed += (size_t)sent;
    }
    if (connection->body.size > 0) {
        connection->passed -= connection->body.size; /* so that passed == head.size: all gone */
        forget_body(connection);
    }
}

static bool is_all_passed(const struct http_connection *connection)
{
    return connection->passed == connection->head.size + connection->body.size;
}

static void next_request(struct http_connection *connection, uint64_t now_ms)
{
    buffer_clear(&connection->head);
    connection->passed = 0;
    connection->scan = (struct http_head_scan){0};
    connection->is_kept = true;
    set_state(connection, HTTP_CONNECTION_HEAD, now_ms);
    take_input(connection, now_ms);
}

static void carry_answer(struct http_connection *connection, uint64_t now_ms)
{
    struct buffer *out = &connection->out;
    bool is_drained = false;
    while (out->size < HTTP_OUT_SIZE_MAX && !is_drained) {
        if (buffer_reserve(out, 16384) != STATUS_OK) {
            http_connection_end(connection);
            return;
        }
        ssize_t size = recv(connection->inner_fd, out->bytes + out->size, 16384, 0);
        if (size > 0) {
            if (out->size == 0)
                connection->moved_ms = now_ms;
            out->size += (size_t)size;
        } else if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
            is_drained = true;
        } else {
            (void)close(connection->inner_fd);
            connection->inner_fd = -1;
            connection->answer_written = true; /* the other side ended it, and knows */
            set_state(connection, HTTP_CONNECTION_CLOSING, now_ms);
            return;
        }
    }
    if (is_drained && out->size == 0 && connection->answer_written && !connection->wants_close) {
        if (is_all_passed(connection))
            next_request(connection, now_ms);
        else
            set_state(connection, HTTP_CONNECTION_CLOSING, now_ms);
    }
}

/* ---- to the client ---- */

static bool send_out(struct http_connection *connection, uint64_t now_ms)
{
    struct buffer *out = &connection->out;
    while (out->size > 0) {
        ssize_t sent = send(connection->fd, out->bytes, out->size, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        if (sent < 0) {
            http_connection_end(connection);
            return false;
        }
        buffer_consume(out, (size_t)sent);
        connection->moved_ms = now_ms;
    }
    if (connection->state == HTTP_CONNECTION_CLOSING) {
        (void)shutdown(connection->fd, SHUT_WR);
        buffer_clear(&connection->in);
        set_state(connection, HTTP_CONNECTION_LINGERING, now_ms);
    }
    return true;
}

bool http_connection_is_idle(const struct http_connection *connection)
{
    return connection->state == HTTP_CONNECTION_HEAD && connection->is_kept &&
           connection->in.size == 0 && connection->out.size == 0;
}

static void check_clock(struct http_connection *connection, uint64_t now_ms)
{
    const struct http_guard_limits *limits = &connection->shared->limits;
    uint64_t age_ms = now_ms - connection->began_ms;
    uint64_t received =
        connection->is_chunked ? connection->chunked.received : connection->body.size;
    if (connection->out.size > 0 && now_ms - connection->moved_ms > limits->write_stall_ms) {
        http_connection_end(connection);
    } else if (connection->state == HTTP_CONNECTION_HEAD && connection->in.size == 0 &&
               connection->is_kept) {
        if (age_ms > limits->idle_ms)
            http_connection_end(connection);
    } else if (connection->state == HTTP_CONNECTION_HEAD && age_ms > limits->head_deadline_ms) {
        refuse_with(connection, 408, "head_too_slow", "The request head did not come in time.",
                    now_ms);
    } else if (connection->state == HTTP_CONNECTION_BODY &&
               age_ms > limits->body_grace_ms + received * 1000 / limits->body_floor) {
        refuse_with(connection, 408, "body_too_slow", "The request body comes too slowly.", now_ms);
    } else if (connection->state == HTTP_CONNECTION_LINGERING && age_ms > HTTP_LINGER_MS) {
        http_connection_end(connection);
    }
}

void http_connection_poll(const struct http_connection *connection, struct pollfd *client_out,
                          struct pollfd *inner_out)
{
    *client_out = (struct pollfd){.fd = -1};
    *inner_out = (struct pollfd){.fd = -1};
    if (connection->state == HTTP_CONNECTION_FREE)
        return;
    client_out->fd = connection->fd;
    client_out->events = POLLRDHUP;
    if (connection->state != HTTP_CONNECTION_SERVING || connection->in.size < HTTP_HEAD_SIZE_MAX)
        client_out->events |= POLLIN;
    if (connection->out.size > 0)
        client_out->events |= POLLOUT;
    if (connection->inner_fd < 0)
        return;
    inner_out->fd = connection->inner_fd;
    if (connection->state == HTTP_CONNECTION_SERVING) {
        if (connection->out.size < HTTP_OUT_SIZE_MAX)
            inner_out->events |= POLLIN;
        if (!is_all_passed(connection))
            inner_out->events |= POLLOUT;
    }
}

void http_connection_pump(struct http_connection *connection, short client_events,
                          short inner_events, uint64_t now_ms)
{
    if (connection->state == HTTP_CONNECTION_FREE)
        return;
    bool is_ended =
        (client_events & (POLLERR | POLLNVAL)) != 0 || (client_events & POLLHUP) != 0 ||
        (connection->state == HTTP_CONNECTION_SERVING && (client_events & POLLRDHUP) != 0);
    if (is_ended) {
        http_connection_end(connection);
        return;
    }
    if ((client_events & POLLIN) && !receive(connection, now_ms))
        return;
    if (connection->state == HTTP_CONNECTION_SERVING) {
        pass_bytes(connection);
        if ((inner_events & (POLLIN | POLLHUP | POLLERR)) || connection->answer_written)
            carry_answer(connection, now_ms);
    }
    if (connection->state == HTTP_CONNECTION_FREE)
        return;
    if ((connection->out.size > 0 || connection->state == HTTP_CONNECTION_CLOSING) &&
        !send_out(connection, now_ms))
        return;
    check_clock(connection, now_ms);
}
