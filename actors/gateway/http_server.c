/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/http_server.h"

#include "protocol/buffer.h"
#include "protocol/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum answer_state { ANSWER_NONE, ANSWER_WHOLE, ANSWER_FILE, ANSWER_PIPE, ANSWER_STREAM };

/* One request, from its first byte at libmicrohttpd to the last of its answer. */
struct queued_input {
    struct queued_input *next;
    struct http_input input;
};

struct exchange {
    struct exchange *next;
    struct http_server *server;
    struct MHD_Connection *mhd;
    uint64_t id;
    uint64_t connection;
    char *target; /* path and query as sent */
    struct buffer body;
    bool is_begun;
    bool is_asked; /* the actor has it */
    bool is_suspended;
    bool is_gone;
    enum answer_state answer;
    bool is_queued; /* libmicrohttpd has the response */
    int http_status;
    char content_type[64];
    char *extra;            /* header lines, or NULL */
    struct http_file *file; /* until the response has it; NULL for a HEAD */
    uint64_t file_size;
    struct http_pipe pipe;  /* its words are queued inputs, so that none is ever lost */
    struct buffer out; /* the whole answer, or what of a stream was not taken yet */
    bool is_ended;
    bool was_full;
    struct queued_input *gone; /* kept from the beginning: that its client left is always told */
};

struct http_server {
    struct http_guard *guard;
    struct MHD_Daemon *daemon;
    pthread_mutex_t mutex; /* guards all below */
    struct exchange *exchanges;
    struct queued_input *first;
    struct queued_input **last;
    int wake_fds[2];
    uint64_t id_next;
    bool is_closing;
};

/* ---- inputs ---- */

void http_input_fini(struct http_input *input)
{
    memory_free(input->path);
    memory_free(input->query);
    memory_free(input->body);
    memory_free(input->host);
    memory_free(input->range);
    memory_free(input->if_range);
    memory_free(input->if_none_match);
    *input = (struct http_input){0};
}

/* Takes it.  The mutex is held. */
static void push_queued(struct http_server *server, struct queued_input *queued)
{
    *server->last = queued;
    server->last = &queued->next;
    ssize_t written = write(server->wake_fds[1], "", 1);
    (void)written; /* a full pipe wakes as well */
}

static bool push_input(struct http_server *server, const struct http_input *input)
{
    struct queued_input *queued = memory_zeroed(1, sizeof(*queued));
    if (!queued)
        return false;
    queued->input = *input;
    push_queued(server, queued);
    return true;
}

bool http_server_next(struct http_server *server, struct http_input *input_out)
{
    pthread_mutex_lock(&server->mutex);
    struct queued_input *queued = server->first;
    if (queued) {
        server->first = queued->next;
        if (!server->first)
            server->last = &server->first;
        *input_out = queued->input;
        memory_free(queued);
    }
    if (!server->first) {
        char drained[256];
        while (read(server->wake_fds[0], drained, sizeof(drained)) > 0)
            continue;
    }
    pthread_mutex_unlock(&server->mutex);
    return queued != NULL;
}

int http_server_wait_fd(const struct http_server *server)
{
    return server->wake_fds[0];
}

/* ---- exchanges; the mutex is held ---- */

static struct exchange *find(struct http_server *server, uint64_t id)
{
    struct exchange *exchange = server->exchanges;
    while (exchange && exchange->id != id)
        exchange = exchange->next;
    return exchange;
}

static void resume(struct exchange *exchange)
{
    if (!exchange->is_suspended)
        return;
    exchange->is_suspended = false;
    MHD_resume_connection(exchange->mhd);
}

static void suspend(struct exchange *exchange)
{
    exchange->is_suspended = true;
    MHD_suspend_connection(exchange->mhd);
}

static void report_gone(struct exchange *exchange)
{
    if (exchange->is_gone)
        return;
    exchange->is_gone = true;
    if (exchange->is_asked && !exchange->is_ended) {
        exchange->gone->input =
            (struct http_input){.kind = HTTP_INPUT_GONE, .exchange = exchange->id};
        push_queued(exchange->server, exchange->gone);
        exchange->gone = NULL;
    }
}

static void exchange_free(struct exchange *exchange)
{
    struct exchange **link = &exchange->server->exchanges;
    while (*link && *link != exchange)
        link = &(*link)->next;
    if (*link)
        *link = exchange->next;
    buffer_fini(&exchange->body);
    buffer_fini(&exchange->out);
    memory_free(exchange->target);
    memory_free(exchange->extra);
    memory_free(exchange->gone);
    http_file_close(exchange->file);
    http_pipe_fini(&exchange->pipe, memory_free);
    memory_free(exchange);
}

/* ---- what libmicrohttpd calls ---- */

/* The first thing of a request: its target as it came.  Escapes are undone once, by us, after the
 * query was cut off. */
static void *on_target(void *owner, const char *target, struct MHD_Connection *mhd)
{
    struct http_server *server = owner;
    struct exchange *exchange = memory_zeroed(1, sizeof(*exchange));
    char *copy = exchange ? memory_text(target, strlen(target)) : NULL;
    struct queued_input *gone = copy ? memory_zeroed(1, sizeof(*gone)) : NULL;
    if (!gone) {
        memory_free(copy);
        memory_free(exchange);
        return NULL;
    }
    exchange->gone = gone;
    exchange->server = server;
    exchange->mhd = mhd;
    exchange->target = copy;
    buffer_init(&exchange->body, HTTP_BODY_SIZE_MAX + 1);
    buffer_init(&exchange->out, SIZE_MAX / 2);
    pthread_mutex_lock(&server->mutex);
    exchange->id = ++server->id_next;
    exchange->next = server->exchanges;
    server->exchanges = exchange;
    pthread_mutex_unlock(&server->mutex);
    return exchange;
}

/* The head is read: which connection of the guard is it? */
static bool exchange_begin(struct exchange *exchange)
{
    const char *number =
        MHD_lookup_connection_value(exchange->mhd, MHD_HEADER_KIND, HTTP_CONNECTION_HEADER);
    if (!number)
        return false;
    pthread_mutex_lock(&exchange->server->mutex);
    exchange->connection = strtoull(number, NULL, 10);
    exchange->is_begun = true;
    pthread_mutex_unlock(&exchange->server->mutex);
    return true;
}

static char *decoded(const char *text)
{
    size_t size = strlen(text);
    char *target = memory_zeroed(size + 1, 1);
    size_t length = 0;
    if (target && !http_percent_decode((struct http_text){text, size}, target, &length)) {
        memory_free(target);
        return NULL;
    }
    return target;
}

static char *header_copy(struct MHD_Connection *mhd, const char *name)
{
    const char *value = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, name);
    return memory_text(value ? value : "", value ? strlen(value) : 0);
}

/* The request is whole: it becomes an input, and the connection sleeps until the answer. */
static enum MHD_Result ask(struct exchange *exchange, const char *method)
{
    const char *url = exchange->target;
    struct http_input input = {.kind = HTTP_INPUT_REQUEST, .exchange = exchange->id};
    const char *mark = strchr(url, '?');
    char *path = mark ? memory_text(url, (size_t)(mark - url)) : memory_text(url, strlen(url));
    input.query = memory_text(mark ? mark + 1 : "", mark ? strlen(mark + 1) : 0);
    input.path = path ? decoded(path) : NULL;
    memory_free(path);
    input.body_size = exchange->body.size;
    input.host = header_copy(exchange->mhd, MHD_HTTP_HEADER_HOST);
    input.range = header_copy(exchange->mhd, MHD_HTTP_HEADER_RANGE);
    input.if_range = header_copy(exchange->mhd, MHD_HTTP_HEADER_IF_RANGE);
    input.if_none_match = header_copy(exchange->mhd, MHD_HTTP_HEADER_IF_NONE_MATCH);
    bool is_good = http_method_find(method, strlen(method), &input.method) && input.path &&
                   input.query && input.host && input.range && input.if_range &&
                   input.if_none_match;
    if (is_good) {
        input.body = buffer_take_text(&exchange->body);
        pthread_mutex_lock(&exchange->server->mutex);
        is_good = input.body && !exchange->server->is_closing && !exchange->is_gone &&
                  push_input(exchange->server, &input);
        if (is_good) {
            exchange->is_asked = true;
            suspend(exchange);
        }
        pthread_mutex_unlock(&exchange->server->mutex);
    }
    if (!is_good)
        http_input_fini(&input);
    return is_good ? MHD_YES : MHD_NO;
}

static ssize_t read_stream(void *argument, uint64_t position, char *target, size_t size)
{
    struct exchange *exchange = argument;
    (void)position;
    ssize_t result = 0;
    pthread_mutex_lock(&exchange->server->mutex);
    struct buffer *out = &exchange->out;
    if (exchange->is_gone || exchange->server->is_closing) {
        result = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (out->size > 0) {
        size_t taken = out->size < size ? out->size : size;
        memcpy(target, out->bytes, taken);
        buffer_consume(out, taken);
        result = (ssize_t)taken;
        if (exchange->was_full && out->size < HTTP_STREAM_DRAINED_SIZE) {
            struct http_input input = {.kind = HTTP_INPUT_DRAINED, .exchange = exchange->id};
            exchange->was_full = !push_input(exchange->server, &input);
        }
    } else if (exchange->is_ended) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        suspend(exchange);
    }
    pthread_mutex_unlock(&exchange->server->mutex);
    return result;
}

static ssize_t read_pipe(void *argument, uint64_t position, char *target, size_t size)
{
    struct exchange *exchange = argument;
    struct http_server *server = exchange->server;
    void *word = NULL;
    ssize_t result = MHD_CONTENT_READER_END_WITH_ERROR;
    (void)position;
    pthread_mutex_lock(&server->mutex);
    if (!exchange->is_gone && !server->is_closing) {
        result = (ssize_t)http_pipe_take(&exchange->pipe, target, size, &word);
        if (word)
            push_queued(server, word);
        if (result == 0 && exchange->is_ended) /* cut: libmicrohttpd asks for no byte too many */
            result = MHD_CONTENT_READER_END_WITH_ERROR;
        else if (result == 0)
            suspend(exchange);
    }
    pthread_mutex_unlock(&server->mutex);
    return result;
}

/* The response has the file, and the exchange outlives the response's bytes. */
struct sending {
    struct exchange *exchange;
    struct http_file *file;
};

static ssize_t read_file(void *argument, uint64_t position, char *target, size_t size)
{
    const struct sending *sending = argument;
    struct http_server *server = sending->exchange->server;
    pthread_mutex_lock(&server->mutex);
    const bool goes_on = !sending->exchange->is_gone && !server->is_closing;
    pthread_mutex_unlock(&server->mutex);
    const int64_t count =
        goes_on && sending->file ? http_file_read(sending->file, position, target, size) : -1;
    return count > 0 ? (ssize_t)count : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void end_sending(void *argument)
{
    struct sending *sending = argument;
    http_file_close(sending->file);
    memory_free(sending);
}

static struct MHD_Response *file_response(struct exchange *exchange)
{
    const struct sending of_exchange = {exchange, exchange->file};
    if (exchange->file_size == 0)
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    struct sending *sending = memory_copied(&of_exchange, sizeof(of_exchange));
    struct MHD_Response *response =
        sending ? MHD_create_response_from_callback(exchange->file_size, HTTP_FILE_BLOCK_SIZE,
                                                    read_file, sending, end_sending)
                : NULL;
    if (response)
        exchange->file = NULL;
    else
        memory_free(sending);
    return response;
}

static void add_lines(struct MHD_Response *response, char *lines)
{
    for (char *line = lines; line && *line;) {
        char *end = line + strcspn(line, "\n");
        char *next = *end ? end + 1 : end;
        *end = '\0';
        char *colon = strchr(line, ':');
        if (colon) {
            *colon = '\0';
            (void)MHD_add_response_header(response, line, colon + 2);
        }
        line = next;
    }
}

/* An answer is there.  The mutex is not held: libmicrohttpd takes its own locks here, and holds
 * them where it calls read_stream.  What is read stays as it is once the answer is there. */
static enum MHD_Result queue_answer(struct exchange *exchange)
{
    struct MHD_Response *response = NULL;
    if (exchange->answer == ANSWER_STREAM)
        response =
            MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_stream, exchange, NULL);
    else if (exchange->answer == ANSWER_FILE)
        response = file_response(exchange);
    else if (exchange->answer == ANSWER_PIPE)
        response = MHD_create_response_from_callback(exchange->pipe.size, HTTP_FILE_BLOCK_SIZE,
                                                     read_pipe, exchange, NULL);
    else
        response = MHD_create_response_from_buffer(exchange->out.size, exchange->out.bytes,
                                                   MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, exchange->content_type);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL,
                                  exchange->answer == ANSWER_STREAM ? "no-cache" : "no-store");
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    add_lines(response, exchange->extra);
    enum MHD_Result result =
        MHD_queue_response(exchange->mhd, (unsigned)exchange->http_status, response);
    MHD_destroy_response(response);
    exchange->is_queued = result == MHD_YES;
    return result;
}

static enum MHD_Result on_request(void *owner, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *bytes,
                                  size_t *size, void **slot)
{
    struct http_server *server = owner;
    struct exchange *exchange = *slot;
    (void)mhd;
    (void)url;
    (void)version;
    if (!exchange)
        return MHD_NO;
    if (!exchange->is_begun)
        return exchange_begin(exchange) ? MHD_YES : MHD_NO;
    if (*size > 0) {
        enum status status = buffer_append(&exchange->body, bytes, *size);
        *size = 0;
        return status == STATUS_OK ? MHD_YES : MHD_NO;
    }
    if (!exchange->is_asked)
        return ask(exchange, method);
    pthread_mutex_lock(&server->mutex);
    bool goes_on = !exchange->is_gone && !server->is_closing;
    bool has_answer = exchange->answer != ANSWER_NONE;
    if (goes_on && !has_answer)
        suspend(exchange);
    pthread_mutex_unlock(&server->mutex);
    if (!goes_on)
        return MHD_NO;
    return has_answer ? queue_answer(exchange) : MHD_YES;
}

static void on_completed(void *owner, struct MHD_Connection *mhd, void **slot,
                         enum MHD_RequestTerminationCode code)
{
    struct http_server *server = owner;
    struct exchange *exchange = *slot;
    (void)mhd;
    if (!exchange)
        return;
    *slot = NULL;
    uint64_t connection = exchange->connection;
    pthread_mutex_lock(&server->mutex);
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK)
        report_gone(exchange);
    exchange_free(exchange);
    pthread_mutex_unlock(&server->mutex);
    if (code == MHD_REQUEST_TERMINATED_COMPLETED_OK)
        http_guard_finished(server->guard, connection);
}

/* ---- what the guard calls ---- */

static bool on_adopt(void *owner, int inner_fd)
{
    struct http_server *server = owner;
    struct sockaddr_in loopback = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return MHD_add_connection(server->daemon, inner_fd, (const struct sockaddr *)&loopback,
                              sizeof(loopback)) == MHD_YES;
}

static void on_gone(void *owner, uint64_t connection)
{
    struct http_server *server = owner;
    pthread_mutex_lock(&server->mutex);
    for (struct exchange *exchange = server->exchanges; exchange; exchange = exchange->next) {
        if (exchange->connection == connection) {
            report_gone(exchange);
            resume(exchange);
        }
    }
    pthread_mutex_unlock(&server->mutex);
}

/* ---- opening and closing ---- */

static enum status start_daemon(struct http_server *server, const struct http_guard_limits *limits,
                                struct reason *reason)
{
    server->daemon = MHD_start_daemon(
        MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC |
            MHD_ALLOW_SUSPEND_RESUME,
        0, NULL, NULL, on_request, server, MHD_OPTION_URI_LOG_CALLBACK, on_target, server,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_CONNECTION_LIMIT,
        limits->connections + HTTP_REFUSAL_COUNT_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)(64 * 1024), MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_END);
    if (!server->daemon)
        return refuse(reason, STATUS_INTERNAL, "libmicrohttpd did not start.");
    return STATUS_OK;
}

static void server_free(struct http_server *server)
{
    struct http_input input;
    while (http_server_next(server, &input))
        http_input_fini(&input);
    for (int i = 0; i < 2; i++)
        if (server->wake_fds[i] >= 0)
            (void)close(server->wake_fds[i]);
    pthread_mutex_destroy(&server->mutex);
    memory_free(server);
}

enum status http_server_open(const char *address, unsigned port,
                             const struct http_guard_limits *limits,
                             const struct http_policy *policy, struct http_server **server_out,
                             struct reason *reason)
{
    struct http_server *server = memory_zeroed(1, sizeof(*server));
    if (!server)
        return refuse(reason, STATUS_NO_MEMORY, "No memory for the HTTP server.");
    pthread_mutex_init(&server->mutex, NULL);
    server->last = &server->first;
    enum status status = STATUS_OK;
    if (pipe(server->wake_fds) != 0) {
        server->wake_fds[0] = server->wake_fds[1] = -1;
        status = refuse(reason, status_from_errno(errno), "No pipe: %s.", strerror(errno));
    }
    for (int i = 0; i < 2 && status == STATUS_OK; i++) {
        (void)fcntl(server->wake_fds[i], F_SETFL, O_NONBLOCK);
        (void)fcntl(server->wake_fds[i], F_SETFD, FD_CLOEXEC);
    }
    if (status == STATUS_OK)
        status = start_daemon(server, limits, reason);
    struct http_guard_hooks hooks = {.owner = server, .adopt = on_adopt, .gone = on_gone};
    if (status == STATUS_OK)
        status = http_guard_open(address, port, limits, policy, &hooks, &server->guard, reason);
    if (status != STATUS_OK) {
        if (server->daemon)
            MHD_stop_daemon(server->daemon);
        server_free(server);
        return status;
    }
    *server_out = server;
    return STATUS_OK;
}

unsigned http_server_port(const struct http_server *server)
{
    return http_guard_port(server->guard);
}

struct http_guard_counts http_server_counts(struct http_server *server)
{
    return http_guard_counts(server->guard);
}

void http_server_close(struct http_server *server)
{
    if (!server)
        return;
    pthread_mutex_lock(&server->mutex);
    server->is_closing = true;
    for (struct exchange *exchange = server->exchanges; exchange; exchange = exchange->next)
        resume(exchange);
    pthread_mutex_unlock(&server->mutex);
    /* libmicrohttpd first: its last words go to a guard that still listens to them. */
    MHD_stop_daemon(server->daemon);
    http_guard_close(server->guard);
    server_free(server);
}

/* ---- answers ---- */

static void copy_text(char *target, size_t size, const char *text)
{
    size_t length = strlen(text);
    ASSERT(length < size);
    memcpy(target, text, length + 1);
}

/* The mutex is held.  NULL when nothing can be answered any more. */
static struct exchange *answerable(struct http_server *server, uint64_t id)
{
    struct exchange *exchange = find(server, id);
    if (!exchange || exchange->is_gone || !exchange->is_asked || exchange->is_ended)
        return NULL;
    return exchange;
}

/* The head; the mutex is held.  Without memory for its lines it says 503. */
static enum status begin_answer(struct exchange *exchange, enum answer_state answer,
                                int http_status, const char *content_type, const char *extra)
{
    ASSERT(exchange->answer == ANSWER_NONE);
    exchange->extra = extra && *extra ? memory_text(extra, strlen(extra)) : NULL;
    const bool is_whole = exchange->extra || !extra || !*extra;
    exchange->answer = is_whole ? answer : ANSWER_WHOLE;
    exchange->http_status = is_whole ? http_status : 503;
    exchange->is_ended = true;
    copy_text(exchange->content_type, sizeof(exchange->content_type), content_type);
    resume(exchange);
    return is_whole ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status http_server_answer(struct http_server *server, uint64_t id, int http_status,
                               const char *content_type, const char *extra, const void *body,
                               size_t size)
{
    pthread_mutex_lock(&server->mutex);
    struct exchange *exchange = answerable(server, id);
    enum status status = STATUS_NOT_FOUND;
    if (exchange) {
        status = buffer_append(&exchange->out, body, size);
        const enum status begun =
            begin_answer(exchange, ANSWER_WHOLE, status == STATUS_OK ? http_status : 503,
                         content_type, extra);
        status = status == STATUS_OK ? begun : status;
    }
    pthread_mutex_unlock(&server->mutex);
    return status;
}

enum status http_server_answer_file(struct http_server *server, uint64_t id, int http_status,
                                    const char *content_type, const char *extra,
                                    struct http_file *file, uint64_t size)
{
    pthread_mutex_lock(&server->mutex);
    struct exchange *exchange = answerable(server, id);
    enum status status = STATUS_NOT_FOUND;
    if (exchange) {
        exchange->file = file;
        exchange->file_size = size;
        status = begin_answer(exchange, ANSWER_FILE, http_status, content_type, extra);
    }
    pthread_mutex_unlock(&server->mutex);
    if (!exchange)
        http_file_close(file);
    return status;
}

enum status http_server_pipe_begin(struct http_server *server, uint64_t id, int http_status,
                                   const char *content_type, const char *extra, uint64_t size)
{
    pthread_mutex_lock(&server->mutex);
    struct exchange *exchange = answerable(server, id);
    enum status status = STATUS_NOT_FOUND;
    if (exchange) {
        http_pipe_init(&exchange->pipe, size);
        status = begin_answer(exchange, ANSWER_PIPE, http_status, content_type, extra);
        exchange->is_ended = false;
        if (status != STATUS_OK)
            report_gone(exchange);
    }
    pthread_mutex_unlock(&server->mutex);
    return status;
}

enum status http_server_pipe_write(struct http_server *server, uint64_t id, struct buffer *bytes)
{
    struct queued_input *drained = memory_zeroed(1, sizeof(*drained));
    pthread_mutex_lock(&server->mutex);
    struct exchange *exchange = answerable(server, id);
    enum status status = exchange ? STATUS_NO_MEMORY : STATUS_NOT_FOUND;
    if (exchange && drained) {
        ASSERT(exchange->answer == ANSWER_PIPE);
        drained->input = (struct http_input){.kind = HTTP_INPUT_DRAINED, .exchange = id};
        status = http_pipe_put(&exchange->pipe, bytes, drained);
    }
    if (exchange && status != STATUS_OK)
        report_gone(exchange);
    if (exchange) {
        exchange->is_ended = exchange->pipe.given == exchange->pipe.size;
        resume(exchange);
    }
    pthread_mutex_unlock(&server->mutex);
    if (status != STATUS_OK)
        memory_free(drained);
    return status;
}

enum status http_server_answer_fault(struct http_server *server, uint64_t exchange,
                                     const struct http_fault *fault)
{
    char body[HTTP_FAULT_BODY_SIZE_MAX];
    size_t size = http_fault_body(fault, body);
    char retry[32];
    (void)snprintf(retry, sizeof(retry), "Retry-After: %u", fault->retry_after_s);
    return http_server_answer(server, exchange, fault->http_status, "application/json",
                              fault->retry_after_s > 0 ? retry : NULL, body, size);
}

enum status http_server_stream_begin(struct http_server *server, uint64_t id)
{
    pthread_mutex_lock(&server->mutex);
    struct exchange *exchange = answerable(server, id);
    if (exchange) {
        ASSERT(exchange->answer == ANSWER_NONE);
        exchange->answer = ANSWER_STREAM;
        exchange->http_status = 200;
        copy_text(exchange->content_type, sizeof(exchange->content_type), "text/event-stream");
        resume(exchange);
    }
    pthread_mutex_unlock(&server->mutex);
    return exchange ? STATUS_OK : STATUS_NOT_FOUND;
}

enum status http_server_stream_write(struct http_server *server, uint64_t id, const void *bytes,
                                     size_t size)
{
    pthread_mutex_lock(&server->mutex);
    struct exchange *exchange = answerable(server, id);
    enum status status = STATUS_NOT_FOUND;
    if (exchange) {
        ASSERT(exchange->answer == ANSWER_STREAM);
        status = STATUS_TOO_LARGE;
        if (exchange->out.size + size <= HTTP_STREAM_PENDING_SIZE_MAX)
            status = buffer_append(&exchange->out, bytes, size);
        if (status != STATUS_OK)
            report_gone(exchange);
        else if (exchange->out.size >= HTTP_STREAM_DRAINED_SIZE)
            exchange->was_full = true;
        resume(exchange);
    }
    pthread_mutex_unlock(&server->mutex);
    return status;
}

enum status http_server_stream_end(struct http_server *server, uint64_t id)
{
    pthread_mutex_lock(&server->mutex);
    struct exchange *exchange = answerable(server, id);
    if (exchange) {
        exchange->is_ended = true;
        resume(exchange);
    }
    pthread_mutex_unlock(&server->mutex);
    return exchange ? STATUS_OK : STATUS_NOT_FOUND;
}

size_t http_server_stream_pending(struct http_server *server, uint64_t id)
{
    pthread_mutex_lock(&server->mutex);
    struct exchange *exchange = answerable(server, id);
    size_t size = exchange ? exchange->out.size : 0;
    pthread_mutex_unlock(&server->mutex);
    return size;
}
