/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chat: one request at rank 0, from messages to the last token.
 *
 * Owner    serving.h.
 * Memory   its ids, its text stream, what is not sent yet.
 * Threads  the engine thread's.
 * Fails    STATUS_INVALID, STATUS_CONTEXT_LENGTH, STATUS_REFUSED (the template's own words)...: the
 *          request is refused with the sentence.
 */
#ifndef TROUPE_ACTORS_RUNNER_CHAT_H
#define TROUPE_ACTORS_RUNNER_CHAT_H

#include "actors/runner/chat_speech.h"
#include "actors/runner/engine/grammar/matcher.h"
#include "actors/runner/engine/sampler.h"
#include "actors/runner/engine/template/chat_template.h"
#include "actors/runner/engine/text_stream.h"
#include "actors/runner/engine/tokenizer.h"
#include "actors/runner/rank_sampling.h"
#include "protocol/message.h"

struct grammar_cache;

/* What every chat of a model shares. */
struct chat_model {
    struct tokenizer *tokenizer;
    struct chat_template *chat_template; /* NULL: plain prompts only */
    struct sampler *sampler;
    struct sampling defaults;
    struct vocabulary *vocabulary;  /* made for the first demand */
    struct grammar_cache *grammars; /* of demands before */
    size_t rows; /* logits of a position */
    uint32_t context;
};

MUST_CHECK enum status chat_model_open(const char *directory, size_t rows, uint32_t context,
                                       struct chat_model *model_out, struct reason *reason);
void chat_model_close(struct chat_model *model);

struct chat {
    uint64_t number;
    struct request_id request_id;
    uint32_t attempt;
    struct token_list ids; /* prompt, then answer */
    size_t prompt_count;
    size_t computed; /* ids whose keys and values are in the cache */
    bool has_sequence;
    uint32_t sequence;
    struct sampling sampling;
    uint32_t tokens_max;
    bool ignore_eos;
    struct text_stream *stream;
    struct chat_speech *speech; /* NULL: a plain prompt, whose answer is text */
    struct matcher *matcher;    /* NULL: any answer will do */
    uint32_t *mask;             /* of the next token, with a matcher */
    bool is_begun;      /* something was said */
    bool calls_once;            /* it ends with the first call of a tool */
    uint64_t text_end;  /* bytes of text so far */
    uint64_t text_sent; /* a resumed client has so many already */
    struct chat *next;  /* oldest first */
};

/* From a generate message; `accepted_out` is the answer to send.  When it fails `is_demand_out`
 * tells whether the form asked of the answer is at fault. */
MUST_CHECK enum status chat_open(const struct chat_model *model, const struct generate *body,
                                 uint64_t number, struct chat **chat_out,
                                 struct message *accepted_out, bool *is_demand_out,
                                 struct reason *reason);
void chat_close(struct chat *chat);
size_t chat_answer_count(const struct chat *chat);
/* FINISH_NONE while the answer goes on; a resumed one may be over before anything is drawn. */
enum finish chat_finished(const struct chat *chat);

/* How the next token is drawn; good until the answer goes on. */
MUST_CHECK enum status chat_ask(const struct chat_model *model, struct chat *chat,
                                struct rank_ask *ask_out, struct reason *reason);
/* Takes the token that was drawn and makes the word for it; `finish_out` is FINISH_NONE while the
 * answer goes on.  A finishing token of the end set makes no token word: `word_out` is then the
 * generation_finished. */
MUST_CHECK enum status chat_advance(const struct chat_model *model, struct chat *chat,
                                    const struct sampled *sampled, struct message *word_out,
                                    enum finish *finish_out, struct reason *reason);
/* The last word. */
MUST_CHECK enum status chat_finish(struct chat *chat, enum finish how, enum status status,
                                   const char *sentence, struct message *word_out);

#endif
