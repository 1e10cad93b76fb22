/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of an answer beside its text: thinking and calls of tools. */
#include "actors/gateway/openai.h"

#include <stdio.h>
#include <string.h>

static enum status append_json(struct buffer *out, const char *text)
{
    return json_append_text(out, text, strlen(text));
}

/* The same id each time it is told: the answer's and the number of the call. */
static enum status append_call_id(struct buffer *out, const struct chat_identity *identity,
                                  uint32_t number)
{
    const char *dash = strchr(identity->id, '-');
    return buffer_append_format(out, "\"call_%.24s_%u\"", dash ? dash + 1 : identity->id, number);
}

static enum status append_reasoning(struct buffer *out, const char *text)
{
    enum status status = buffer_append_text(out, "\"reasoning_content\":");
    if (status == STATUS_OK)
        status = append_json(out, text);
    if (status == STATUS_OK)
        status = buffer_append_text(out, ",\"reasoning\":");
    return status == STATUS_OK ? append_json(out, text) : status;
}

enum status openai_chunk_reasoning(struct buffer *out, const struct chat_identity *identity,
                                   const char *text)
{
    enum status status = openai_delta_begin(out, identity);
    if (status == STATUS_OK)
        status = append_reasoning(out, text);
    return status == STATUS_OK ? openai_delta_end(out, identity, NULL) : status;
}

enum status openai_chunk_call(struct buffer *out, const struct chat_identity *identity,
                              const struct call_piece *piece)
{
    const char *name = text_or_empty(piece->name);
    enum status status = openai_delta_begin(out, identity);
    if (status == STATUS_OK)
        status = buffer_append_format(out, "\"tool_calls\":[{\"index\":%u,", piece->number);
    if (status == STATUS_OK && *name) {
        status = buffer_append_text(out, "\"id\":");
        if (status == STATUS_OK)
            status = append_call_id(out, identity, piece->number);
        if (status == STATUS_OK)
            status = buffer_append_text(out, ",\"type\":\"function\",");
    }
    if (status == STATUS_OK)
        status = buffer_append_text(out, "\"function\":{");
    if (status == STATUS_OK && *name) {
        status = buffer_append_text(out, "\"name\":");
        if (status == STATUS_OK)
            status = append_json(out, name);
        if (status == STATUS_OK)
            status = buffer_append_text(out, ",");
    }
    if (status == STATUS_OK)
        status = buffer_append_text(out, "\"arguments\":");
    if (status == STATUS_OK)
        status = append_json(out, text_or_empty(piece->arguments));
    if (status == STATUS_OK)
        status = buffer_append_text(out, "}}]");
    return status == STATUS_OK ? openai_delta_end(out, identity, NULL) : status;
}

static enum status append_call(struct buffer *out, const struct chat_identity *identity,
                               const struct chat_call *call, uint32_t number)
{
    enum status status = buffer_append_text(out, number ? ",{\"id\":" : "{\"id\":");
    if (status == STATUS_OK)
        status = append_call_id(out, identity, number);
    if (status == STATUS_OK)
        status = buffer_append_text(out, ",\"type\":\"function\",\"function\":{\"name\":");
    if (status == STATUS_OK)
        status = append_json(out, text_or_empty(call->name));
    if (status == STATUS_OK)
        status = buffer_append_text(out, ",\"arguments\":");
    if (status == STATUS_OK)
        status =
            json_append_text(out, call->arguments.size ? (const char *)call->arguments.bytes : "",
                             call->arguments.size);
    return status == STATUS_OK ? buffer_append_text(out, "}}") : status;
}

enum status openai_extras(struct buffer *out, const struct chat_identity *identity,
                          const struct chat_extras *extras)
{
    enum status status = STATUS_OK;
    if (extras->reasoning && *extras->reasoning) {
        status = buffer_append_text(out, ",");
        if (status == STATUS_OK)
            status = append_reasoning(out, extras->reasoning);
    }
    if (status == STATUS_OK && extras->call_count > 0)
        status = buffer_append_text(out, ",\"tool_calls\":[");
    for (uint32_t i = 0; status == STATUS_OK && i < extras->call_count; i++)
        status = append_call(out, identity, &extras->calls[i], i);
    if (status == STATUS_OK && extras->call_count > 0)
        status = buffer_append_text(out, "]");
    return status;
}
