/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/gateway/openai.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static enum status append_all(struct buffer *out, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        enum status status = buffer_append_text(out, texts[i]);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status append_string(struct buffer *out, const char *text)
{
    return json_append_text(out, text, strlen(text));
}

/* A probability of zero has no logarithm JSON could carry; OpenAI sends -9999. */
static double finite_logprob(double logprob)
{
    return isfinite(logprob) ? logprob : -9999.0;
}

static enum status append_token(struct buffer *json, const struct bytes *piece, double logprob)
{
    enum status status = buffer_append_text(json, "{\"token\":");
    if (status == STATUS_OK)
        status =
            json_append_text(json, piece->count ? (const char *)piece->items : "", piece->count);
    if (status == STATUS_OK)
        status =
            buffer_append_format(json, ",\"logprob\":%.9g,\"bytes\":[", finite_logprob(logprob));
    for (uint32_t i = 0; status == STATUS_OK && i < piece->count; i++)
        status = buffer_append_format(json, i ? ",%u" : "%u", piece->items[i]);
    if (status == STATUS_OK)
        status = buffer_append_text(json, "]");
    return status;
}

enum status openai_logprob(struct buffer *json, const struct token_streamed *token)
{
    enum status status = append_token(json, &token->piece, token->logprob);
    if (status == STATUS_OK)
        status = buffer_append_text(json, ",\"top_logprobs\":[");
    for (uint32_t i = 0; status == STATUS_OK && i < token->top.count; i++) {
        if (i > 0)
            status = buffer_append_text(json, ",");
        if (status == STATUS_OK)
            status = append_token(json, &token->top.items[i].piece, token->top.items[i].logprob);
        if (status == STATUS_OK)
            status = buffer_append_text(json, "}");
    }
    if (status == STATUS_OK)
        status = buffer_append_text(json, "]}");
    return status;
}

static enum status append_identity(struct buffer *out, const struct chat_identity *identity,
                                   const char *object)
{
    enum status status = buffer_append_format(
        out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%" PRIu64 ",\"model\":", identity->id,
        object, identity->created_s);
    if (status == STATUS_OK)
        status = append_string(out, identity->model);
    if (status == STATUS_OK)
        status = buffer_append_format(out, ",\"system_fingerprint\":\"%s\"", identity->fingerprint);
    return status;
}

static enum status chunk_begin(struct buffer *out, const struct chat_identity *identity)
{
    enum status status = buffer_append_text(out, "data: ");
    if (status == STATUS_OK)
        status = append_identity(out, identity, "chat.completion.chunk");
    return status;
}

static enum status chunk_end(struct buffer *out, const struct chat_identity *identity)
{
    return buffer_append_text(out, identity->has_usage ? ",\"usage\":null}\n\n" : "}\n\n");
}

static enum status append_logprobs(struct buffer *out, const char *logprobs)
{
    if (!logprobs || !*logprobs)
        return buffer_append_text(out, "null");
    const char *const texts[] = {"{\"content\":[", logprobs, "],\"refusal\":null}"};
    return append_all(out, texts, COUNT_OF(texts));
}

enum status openai_delta_begin(struct buffer *out, const struct chat_identity *identity)
{
    enum status status = chunk_begin(out, identity);
    return status == STATUS_OK ? buffer_append_text(out, ",\"choices\":[{\"index\":0,\"delta\":{")
                               : status;
}

enum status openai_delta_end(struct buffer *out, const struct chat_identity *identity,
                             const char *logprobs)
{
    enum status status = buffer_append_text(out, "},\"logprobs\":");
    if (status == STATUS_OK)
        status = append_logprobs(out, logprobs);
    if (status == STATUS_OK)
        status = buffer_append_text(out, ",\"finish_reason\":null}]");
    return status == STATUS_OK ? chunk_end(out, identity) : status;
}

enum status openai_chunk_role(struct buffer *out, const struct chat_identity *identity)
{
    enum status status = openai_delta_begin(out, identity);
    if (status == STATUS_OK)
        status = buffer_append_text(out, "\"role\":\"assistant\",\"content\":\"\"");
    return status == STATUS_OK ? openai_delta_end(out, identity, NULL) : status;
}

enum status openai_chunk_text(struct buffer *out, const struct chat_identity *identity,
                              const char *text, size_t size, const char *logprobs)
{
    enum status status = openai_delta_begin(out, identity);
    if (status == STATUS_OK)
        status = buffer_append_text(out, "\"content\":");
    if (status == STATUS_OK)
        status = json_append_text(out, text, size);
    return status == STATUS_OK ? openai_delta_end(out, identity, logprobs) : status;
}

enum status openai_chunk_finish(struct buffer *out, const struct chat_identity *identity,
                                const char *finish_reason)
{
    enum status status = chunk_begin(out, identity);
    if (status == STATUS_OK)
        status = buffer_append_format(out,
                                      ",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
                                      "\"finish_reason\":\"%s\"}]",
                                      finish_reason);
    return status == STATUS_OK ? chunk_end(out, identity) : status;
}

static enum status append_usage(struct buffer *out, const struct chat_usage *usage)
{
    return buffer_append_format(
        out,
        ",\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u,"
        "\"completion_tokens_details\":{\"reasoning_tokens\":%u}}",
        usage->prompt_tokens, usage->answer_tokens, usage->prompt_tokens + usage->answer_tokens,
        usage->thinking_tokens);
}

enum status openai_chunk_usage(struct buffer *out, const struct chat_identity *identity,
                               const struct chat_usage *usage)
{
    enum status status = chunk_begin(out, identity);
    if (status == STATUS_OK)
        status = buffer_append_text(out, ",\"choices\":[]");
    if (status == STATUS_OK)
        status = append_usage(out, usage);
    return status == STATUS_OK ? buffer_append_text(out, "}\n\n") : status;
}

enum status openai_chunk_error(struct buffer *out, const struct http_fault *fault)
{
    char body[HTTP_FAULT_BODY_SIZE_MAX];
    (void)http_fault_body(fault, body);
    const char *const texts[] = {"data: ", body, "\n\n"};
    return append_all(out, texts, COUNT_OF(texts));
}

enum status openai_done(struct buffer *out)
{
    return buffer_append_text(out, "data: [DONE]\n\n");
}

enum status openai_comment(struct buffer *out, const char *text)
{
    const char *const texts[] = {": ", text, "\n\n"};
    return append_all(out, texts, COUNT_OF(texts));
}

enum status openai_completion(struct buffer *out, const struct chat_identity *identity,
                              const char *text, size_t size, const char *logprobs,
                              const char *finish_reason, const struct chat_usage *usage,
                              const struct chat_extras *extras)
{
    const bool is_empty = size == 0 && extras->call_count > 0;
    enum status status = append_identity(out, identity, "chat.completion");
    if (status == STATUS_OK)
        status = buffer_append_text(
            out, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    if (status == STATUS_OK)
        status =
            is_empty ? buffer_append_text(out, "null") : json_append_text(out, text, size);
    if (status == STATUS_OK)
        status = openai_extras(out, identity, extras);
    if (status == STATUS_OK)
        status = buffer_append_text(out, ",\"refusal\":null},\"logprobs\":");
    if (status == STATUS_OK)
        status = append_logprobs(out, logprobs);
    if (status == STATUS_OK)
        status = buffer_append_format(out, ",\"finish_reason\":\"%s\"}]", finish_reason);
    if (status == STATUS_OK)
        status = append_usage(out, usage);
    return status == STATUS_OK ? buffer_append_text(out, "}") : status;
}

const char *openai_finish_reason(uint32_t finish)
{
    return finish == FINISH_LENGTH ? "length" : "stop";
}
