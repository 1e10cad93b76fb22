/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/gateway.h"
#include "protocol/memory.h"

#include <inttypes.h>
#include <string.h>

#define CHUNK_SIZE_MAX (64u << 20) /* what a call held back may become, with escapes */

static void failed_if(struct gateway *gateway, enum status status)
{
    if (status != STATUS_OK)
        gateway->outbox->failed = status;
}

static void write_out(struct gateway *gateway, struct chat *chat, struct buffer *out)
{
    chat->written_ms = gateway->input->now_ms;
    stream_write(gateway, chat->exchange, out);
}

void chat_open_stream(struct gateway *gateway, struct chat *chat)
{
    if (!chat->request.is_stream || chat->is_begun)
        return;
    chat->is_begun = true;
    chat->written_ms = gateway->input->now_ms;
    stream_begin(gateway, chat->exchange);
}

static enum status add_role(struct chat *chat, struct buffer *out)
{
    if (chat->has_role)
        return STATUS_OK;
    chat->has_role = true;
    return openai_chunk_role(out, &chat->identity);
}

void chat_comment(struct gateway *gateway, struct chat *chat, const char *text)
{
    if (!chat->is_begun)
        return;
    struct buffer out;
    buffer_init(&out, CHUNK_SIZE_MAX);
    failed_if(gateway, openai_comment(&out, text));
    write_out(gateway, chat, &out);
}

/* Text the client has not seen, and the logprobs collected with it. */
void chat_text(struct gateway *gateway, struct chat *chat, const char *text, size_t size)
{
    if (!chat->request.is_stream) {
        failed_if(gateway, buffer_append(&chat->text, text, size));
        return;
    }
    if (size == 0 && chat->logprobs.size == 0 && chat->has_role)
        return;
    chat_open_stream(gateway, chat);
    struct buffer out;
    buffer_init(&out, CHUNK_SIZE_MAX);
    enum status status = add_role(chat, &out);
    if (status == STATUS_OK && (size > 0 || chat->logprobs.size > 0)) {
        status = buffer_append(&chat->logprobs, "", 1);
        if (status == STATUS_OK)
            status = openai_chunk_text(&out, &chat->identity, text, size,
                                       (const char *)chat->logprobs.bytes);
        buffer_clear(&chat->logprobs);
    }
    failed_if(gateway, status);
    write_out(gateway, chat, &out);
}

/* A piece of a call of an answer in one piece. */
static enum status keep_call(struct chat *chat, const struct call_piece *piece)
{
    if (piece->number >= chat->call_count)
        return STATUS_OK; /* its name never came */
    struct chat_call *call = &chat->calls[piece->number];
    const char *arguments = text_or_empty(piece->arguments);
    return buffer_append(&call->arguments, arguments, strlen(arguments));
}

static enum status begin_call(struct chat *chat, const struct call_piece *piece)
{
    if (!text_or_empty(piece->name)[0] || piece->number != chat->call_count)
        return STATUS_OK;
    struct chat_call *calls =
        memory_resized(chat->calls, (size_t)chat->call_count + 1, sizeof(*calls));
    if (!calls)
        return STATUS_NO_MEMORY;
    chat->calls = calls;
    struct chat_call *call = &calls[chat->call_count++];
    *call = (struct chat_call){.name = memory_text(piece->name, strlen(piece->name))};
    buffer_init(&call->arguments, CHUNK_SIZE_MAX);
    return call->name ? STATUS_OK : STATUS_NO_MEMORY;
}

void chat_extras(struct gateway *gateway, struct chat *chat, const char *reasoning,
                 const struct call_piece *calls, uint32_t count)
{
    struct buffer out;
    if (!*reasoning && count == 0)
        return;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < count; i++)
        status = begin_call(chat, &calls[i]);
    if (!chat->request.is_stream) {
        if (status == STATUS_OK)
            status = buffer_append(&chat->reasoning, reasoning, strlen(reasoning));
        for (uint32_t i = 0; status == STATUS_OK && i < count; i++)
            status = keep_call(chat, &calls[i]);
        failed_if(gateway, status);
        return;
    }
    chat_open_stream(gateway, chat);
    buffer_init(&out, CHUNK_SIZE_MAX);
    if (status == STATUS_OK)
        status = add_role(chat, &out);
    if (status == STATUS_OK && *reasoning)
        status = openai_chunk_reasoning(&out, &chat->identity, reasoning);
    for (uint32_t i = 0; status == STATUS_OK && i < count; i++)
        status = openai_chunk_call(&out, &chat->identity, &calls[i]);
    failed_if(gateway, status);
    write_out(gateway, chat, &out);
}

static void finish_stream(struct gateway *gateway, struct chat *chat, const char *finish_reason,
                          const struct chat_usage *usage)
{
    chat_text(gateway, chat, "", 0);
    chat_open_stream(gateway, chat);
    struct buffer out;
    buffer_init(&out, CHUNK_SIZE_MAX);
    enum status status = add_role(chat, &out);
    if (status == STATUS_OK)
        status = openai_chunk_finish(&out, &chat->identity, finish_reason);
    if (status == STATUS_OK && chat->request.wants_usage)
        status = openai_chunk_usage(&out, &chat->identity, usage);
    if (status == STATUS_OK)
        status = openai_done(&out);
    failed_if(gateway, status);
    write_out(gateway, chat, &out);
    stream_end(gateway, chat->exchange);
}

void chat_finish(struct gateway *gateway, struct chat *chat, const char *finish_reason)
{
    struct chat_usage usage = {.prompt_tokens = chat->request.generate.prompt_ids.count,
                               .answer_tokens = chat->token_count,
                               .thinking_tokens = chat->thinking_count};
    if (chat->request.is_stream) {
        finish_stream(gateway, chat, finish_reason, &usage);
    } else {
        struct buffer out;
        buffer_init(&out, SIZE_MAX / 2);
        enum status status = buffer_append(&chat->logprobs, "", 1);
        if (status == STATUS_OK)
            status = buffer_append(&chat->reasoning, "", 1);
        const struct chat_extras extras = {(const char *)chat->reasoning.bytes, chat->calls,
                                           chat->call_count};
        if (status == STATUS_OK)
            status = openai_completion(
                &out, &chat->identity, chat->text.size ? (const char *)chat->text.bytes : "",
                chat->text.size, (const char *)chat->logprobs.bytes, finish_reason, &usage,
                &extras);
        failed_if(gateway, status);
        reply(gateway, chat->exchange, 200, &out);
    }
    chat_journal(gateway, chat, finish_reason, 200);
}

void chat_error(struct gateway *gateway, struct chat *chat, const struct http_fault *fault)
{
    if (chat->is_begun) {
        struct buffer out;
        buffer_init(&out, CHUNK_SIZE_MAX);
        enum status status = openai_chunk_error(&out, fault);
        if (status == STATUS_OK)
            status = openai_done(&out);
        failed_if(gateway, status);
        write_out(gateway, chat, &out);
        stream_end(gateway, chat->exchange);
    } else {
        reply_fault(gateway, chat->exchange, fault);
    }
    chat_journal(gateway, chat, fault->code, fault->http_status);
}

/* Facts of a request, never its text. */
void chat_journal(struct gateway *gateway, const struct chat *chat, const char *finish,
                  int http_status)
{
    uint64_t now_ms = gateway->input->now_ms;
    struct buffer line;
    buffer_init(&line, 8192);
    char id[HEX_SIZE(16)];
    enum status status = buffer_append_format(
        &line, "{\"time_ms\":%" PRIu64 ",\"request_id\":\"%s\",\"model\":", chat->began_wall_ms,
        hex_print(&chat->id, sizeof(chat->id), id));
    if (status == STATUS_OK)
        status = json_append_text(&line, chat->request.model, strlen(chat->request.model));
    if (status == STATUS_OK)
        status = buffer_append_format(
            &line,
            ",\"stream\":%s,\"http_status\":%d,\"finish\":\"%s\",\"prompt_tokens\":%u,"
            "\"answer_tokens\":%u,\"attempts\":%u,\"first_token_ms\":%" PRIu64
            ",\"total_ms\":%" PRIu64 "}\n",
            chat->request.is_stream ? "true" : "false", http_status, finish,
            chat->request.generate.prompt_ids.count, chat->token_count, chat->attempt,
            chat->first_token_ms ? chat->first_token_ms - chat->began_ms : 0,
            now_ms - chat->began_ms);
    failed_if(gateway, status);
    journal_write(gateway, &line);
}
