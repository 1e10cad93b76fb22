/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chat_template: a model's own template that turns messages into the text of a prompt.
 *
 * A Jinja interpreter of our own, with the meaning transformers gives to chat templates: sandboxed,
 * trim_blocks, lstrip_blocks, loop controls, the `generation` block, raise_exception, strftime_now
 * and Python's ways of printing.  Templates and messages come from strangers: steps, nesting,
 * memory and output have limits.
 *
 * Owner    whoever opened it: a runner, or troupe-engine.
 * Memory   one arena for the parsed template, one for each rendering, given back at its end.
 * Threads  one template may render in many threads at once; a rendering takes up to 2 MiB of stack.
 * Fails    STATUS_NOT_FOUND, STATUS_MALFORMED (the template's text), STATUS_REFUSED (with
 *          the message of the template's raise_exception), STATUS_INVALID (the template does what
 *          Python would refuse), STATUS_UNSUPPORTED, STATUS_TOO_LARGE (a limit), STATUS_NO_MEMORY.
 */
#ifndef TROUPE_ENGINE_TEMPLATE_CHAT_TEMPLATE_H
#define TROUPE_ENGINE_TEMPLATE_CHAT_TEMPLATE_H

#include "actors/runner/engine/dialogue/style.h"
#include "protocol/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct chat_template;

/* What a prompt is made of beside the messages; zeroed members are the defaults. */
struct chat_prompt_options {
    const json_t *tools;     /* a list, or NULL */
    const json_t *arguments; /* an object of further variables (enable_thinking...), or NULL */
    const struct tm *now;    /* for strftime_now; a template that asks without it fails */
    bool add_generation_prompt;
    bool continue_final_message; /* the prompt ends within the last message */
    uint64_t steps_max;          /* 0: 1,000,000 */
    size_t output_size_max;      /* 0: 1 MiB */
    size_t memory_size_max;      /* 0: 256 MiB */
};

/* Reads chat_template.jinja of a model directory, else `chat_template` of its
 * tokenizer_config.json, and the special tokens there. */
MUST_CHECK enum status chat_template_open(const char *directory,
                                          struct chat_template **template_out,
                                          struct reason *reason);
/* From a text; `special_tokens` is an object of strings (bos_token...) or NULL. */
MUST_CHECK enum status chat_template_parse(const char *text, size_t size,
                                           const json_t *special_tokens,
                                           struct chat_template **template_out,
                                           struct reason *reason);
/* Accepts NULL. */
void chat_template_close(struct chat_template *chat_template);
/* How the model it is for writes thinking and calls. */
struct dialogue_style chat_template_style(const struct chat_template *chat_template,
                                          bool has_tools);

/* `messages` is a list of objects, taken as they are save that reasoning is found under each of its
 * names.  The caller frees `text_out`, which a NUL follows, with memory_free. */
MUST_CHECK enum status chat_template_render(const struct chat_template *chat_template,
                                            const json_t *messages,
                                            const struct chat_prompt_options *options,
                                            char **text_out, size_t *size_out,
                                            struct reason *reason);

/* What an API does to the messages of a request before it renders them: joins the text parts of
 * contents, makes null contents "" and tool call arguments objects.  The caller gives
 * `prepared_out` back with json_decref. */
MUST_CHECK enum status chat_messages_prepare(const json_t *messages, json_t **prepared_out,
                                             struct reason *reason);
/* Reasoning under both names templates look for: `thinking`, first, and `reasoning_content`. */
MUST_CHECK enum status chat_messages_alias_reasoning(const json_t *messages,
                                                     json_t **aliased_out,
                                                     struct reason *reason);
/* Puts `mark` behind the text of the last message of a list that the caller owns.  The caller gives
 * `text_out`, that text without it, back with json_decref. */
MUST_CHECK enum status chat_messages_mark_final(json_t *messages, const char *mark,
                                                const json_t **text_out, struct reason *reason);

#endif
