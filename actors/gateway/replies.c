/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/gateway.h"
#include "protocol/memory.h"

#include <string.h>

#define REPLY_SIZE_MAX (64u << 20)

void http_output_free(void *argument)
{
    struct http_output *made = argument;
    if (!made)
        return;
    buffer_fini(&made->bytes);
    memory_free(made->lines);
    http_file_close(made->file);
    memory_free(made);
}

/* Without memory the outbox is marked as failed, and the loop ends the process. */
static void emit(struct gateway *gateway, enum gateway_effect kind, struct http_output output_copy,
                 struct buffer *bytes)
{
    struct http_output *made = memory_copied(&output_copy, sizeof(output_copy));
    if (!made) {
        memory_free(output_copy.lines);
        http_file_close(output_copy.file);
        gateway->outbox->failed = STATUS_NO_MEMORY;
        return;
    }
    if (bytes) {
        made->bytes = *bytes;
        size_t ceiling = bytes->ceiling;
        buffer_init(bytes, ceiling);
    }
    outbox_effect(gateway->outbox, made->exchange, (uint32_t)kind, made, http_output_free);
}

void reply(struct gateway *gateway, uint64_t exchange, int http_status, struct buffer *bytes)
{
    struct http_output made = {
        .exchange = exchange, .http_status = http_status, .content_type = "application/json"};
    emit(gateway, GATEWAY_ANSWER, made, bytes);
}

void reply_text(struct gateway *gateway, uint64_t exchange, int http_status, const char *json)
{
    struct buffer bytes;
    buffer_init(&bytes, REPLY_SIZE_MAX);
    if (buffer_append_text(&bytes, json) != STATUS_OK)
        gateway->outbox->failed = STATUS_NO_MEMORY;
    reply(gateway, exchange, http_status, &bytes);
}

void reply_fault(struct gateway *gateway, uint64_t exchange, const struct http_fault *fault)
{
    reply_fault_with(gateway, exchange, fault, NULL);
}

void reply_fault_with(struct gateway *gateway, uint64_t exchange, const struct http_fault *fault,
                      const char *header)
{
    char body[HTTP_FAULT_BODY_SIZE_MAX];
    (void)http_fault_body(fault, body);
    struct buffer bytes;
    buffer_init(&bytes, sizeof(body));
    if (buffer_append_text(&bytes, body) != STATUS_OK)
        gateway->outbox->failed = STATUS_NO_MEMORY;
    struct http_output made = {.exchange = exchange,
                               .http_status = fault->http_status,
                               .retry_after_s = fault->retry_after_s,
                               .extra = header,
                               .content_type = "application/json"};
    emit(gateway, GATEWAY_ANSWER, made, &bytes);
}

void reply_lines(struct gateway *gateway, uint64_t exchange, int http_status, char *lines,
                 struct buffer *bytes)
{
    struct http_output made = {.exchange = exchange,
                               .http_status = http_status,
                               .lines = lines,
                               .content_type = "application/json"};
    emit(gateway, GATEWAY_ANSWER, made, bytes);
}

void reply_plain(struct gateway *gateway, uint64_t exchange, char *lines, struct buffer *bytes)
{
    struct http_output made = {.exchange = exchange,
                               .http_status = 200,
                               .lines = lines,
                               .content_type = "text/plain; charset=utf-8"};
    emit(gateway, GATEWAY_ANSWER, made, bytes);
}

void reply_file(struct gateway *gateway, struct http_output output)
{
    emit(gateway, GATEWAY_FILE, output, NULL);
}

void pipe_begin(struct gateway *gateway, struct http_output output)
{
    emit(gateway, GATEWAY_PIPE_BEGIN, output, NULL);
}

void pipe_write(struct gateway *gateway, uint64_t exchange, struct buffer *bytes)
{
    struct http_output made = {.exchange = exchange};
    emit(gateway, GATEWAY_PIPE_WRITE, made, bytes);
}

void stream_begin(struct gateway *gateway, uint64_t exchange)
{
    struct http_output made = {.exchange = exchange};
    emit(gateway, GATEWAY_STREAM_BEGIN, made, NULL);
}

void stream_write(struct gateway *gateway, uint64_t exchange, struct buffer *bytes)
{
    struct http_output made = {.exchange = exchange};
    emit(gateway, GATEWAY_STREAM_WRITE, made, bytes);
}

void stream_end(struct gateway *gateway, uint64_t exchange)
{
    struct http_output made = {.exchange = exchange};
    emit(gateway, GATEWAY_STREAM_END, made, NULL);
}

void journal_write(struct gateway *gateway, struct buffer *line)
{
    struct http_output made = {.exchange = 0};
    emit(gateway, GATEWAY_JOURNAL, made, line);
}

void fault_of_status(struct http_fault *fault_out, uint32_t status, const char *reason)
{
    static const struct {
        enum status status;
        int http_status;
        const char *code;
        const char *param; /* NULL: none for sure */
    } rows[] = {
        {STATUS_NOT_FOUND, 404, "not_found", NULL},
        {STATUS_EXISTS, 409, "exists", NULL},
        {STATUS_STALE, 409, "stale", NULL},
        {STATUS_REFUSED, 409, "refused", NULL},
        {STATUS_INVALID, 400, "invalid_value", NULL},
        {STATUS_MALFORMED, 400, "malformed", NULL},
        {STATUS_UNSUPPORTED, 400, "unsupported", NULL},
        {STATUS_CONTEXT_LENGTH, 400, "context_length_exceeded", "messages"},
        {STATUS_TOO_LARGE, 413, "too_large", NULL},
        {STATUS_BUSY, 429, "busy", NULL},
        {STATUS_NO_LEADER, 503, "no_leader", NULL},
        {STATUS_NO_HOLDER, 503, "no_holder", NULL},
        {STATUS_NO_CAPACITY, 503, "no_capacity", NULL},
        {STATUS_NO_MEMORY, 503, "no_memory", NULL},
        {STATUS_NO_SPACE, 507, "no_space", NULL},
        {STATUS_NOT_READY, 503, "not_ready", NULL},
        {STATUS_TIMED_OUT, 503, "timed_out", NULL},
        {STATUS_UNREACHABLE, 503, "unreachable", NULL},
    };
    const char *text = reason && *reason ? reason : status_text((enum status)status);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (rows[i].status == (enum status)status) {
            (void)http_fault_set_param(fault_out, rows[i].http_status, rows[i].code,
                                       text_or_empty(rows[i].param), "%s", text);
            return;
        }
    }
    (void)http_fault_set(fault_out, 500, "internal", "%s", text);
}
