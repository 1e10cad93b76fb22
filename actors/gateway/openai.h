/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai: the chat completions interface as OpenAI clients know it, in both directions.
 *
 * A body becomes a `generate` message: every field is checked for its type and range; a field we
 * know and cannot honour is refused by name, never ignored.  What the runner says becomes chunks:
 * one id and time in all, `role` in the first delta only, `finish_reason` null until the last,
 * usage once, in a chunk without choices, when it was asked for.
 *
 * Owner    the gateway; pure.
 * Memory   a request owns its texts; output goes to the caller's buffer.
 * Threads  none.
 * Fails    false with a fault that names the field and what is allowed.
 */
#ifndef TROUPE_ACTORS_GATEWAY_OPENAI_H
#define TROUPE_ACTORS_GATEWAY_OPENAI_H

#include "actors/gateway/http_fault.h"
#include "protocol/buffer.h"
#include "protocol/schema.h"

struct chat_request {
    char *model;
    struct generate generate; /* all but request id, attempt, and a seed nobody gave */
    const char *demand_field; /* which asked for a form of the answer; NULL: none */
    bool has_seed;
    bool is_stream;
    bool wants_usage; /* stream_options.include_usage */
};

/* The caller finishes `request_out`, which is written only when true. */
MUST_CHECK bool openai_parse_chat(const char *body, size_t size, struct chat_request *request_out,
                                  struct http_fault *fault_out);
void chat_request_fini(struct chat_request *request);

/* What all chunks of one answer share. */
struct chat_identity {
    char id[48]; /* "chatcmpl-..." */
    uint64_t created_s;
    const char *model;
    char fingerprint[48]; /* tells the build and the seed */
    bool has_usage;       /* chunks carry "usage": null until the one that tells it */
};

struct chat_usage {
    uint32_t prompt_tokens;
    uint32_t answer_tokens;
    uint32_t thinking_tokens; /* of those */
};

/* One entry of logprobs.content. */
MUST_CHECK enum status openai_logprob(struct buffer *json, const struct token_streamed *token);

/* Each appends one whole `data: ...` event. */
MUST_CHECK enum status openai_chunk_role(struct buffer *out, const struct chat_identity *identity);
/* `logprobs` are entries separated by commas; NULL or empty: none. */
MUST_CHECK enum status openai_chunk_text(struct buffer *out, const struct chat_identity *identity,
                                         const char *text, size_t size, const char *logprobs);
/* Of the thinking, under both names clients look for. */
MUST_CHECK enum status openai_chunk_reasoning(struct buffer *out,
                                              const struct chat_identity *identity,
                                              const char *text);
/* `name` begins the call; then `arguments` go on with it. */
MUST_CHECK enum status openai_chunk_call(struct buffer *out, const struct chat_identity *identity,
                                         const struct call_piece *piece);
MUST_CHECK enum status openai_chunk_finish(struct buffer *out, const struct chat_identity *identity,
                                           const char *finish_reason);
MUST_CHECK enum status openai_chunk_usage(struct buffer *out, const struct chat_identity *identity,
                                          const struct chat_usage *usage);
MUST_CHECK enum status openai_chunk_error(struct buffer *out, const struct http_fault *fault);
MUST_CHECK enum status openai_done(struct buffer *out);
/* ": text" */
MUST_CHECK enum status openai_comment(struct buffer *out, const char *text);

/* One call of a tool, whole. */
struct chat_call {
    char *name;
    struct buffer arguments;
};

/* What an answer in one piece has beside its text. */
struct chat_extras {
    const char *reasoning; /* NULL: none */
    const struct chat_call *calls;
    uint32_t call_count;
};

/* The message's fields of them, each with a comma before it. */
MUST_CHECK enum status openai_extras(struct buffer *out, const struct chat_identity *identity,
                                     const struct chat_extras *extras);

/* The answer in one piece. */
MUST_CHECK enum status openai_completion(struct buffer *out, const struct chat_identity *identity,
                                         const char *text, size_t size, const char *logprobs,
                                         const char *finish_reason, const struct chat_usage *usage,
                                         const struct chat_extras *extras);

/* What a chunk of one delta begins and ends with; `logprobs` may be NULL. */
MUST_CHECK enum status openai_delta_begin(struct buffer *out,
                                          const struct chat_identity *identity);
MUST_CHECK enum status openai_delta_end(struct buffer *out, const struct chat_identity *identity,
                                        const char *logprobs);

/* "stop", "length"; "stop" for what has no word. */
const char *openai_finish_reason(uint32_t finish);

#endif
