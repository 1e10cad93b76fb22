/* SPDX-License-Identifier: Apache-2.0 */
/*
 * style: how a model writes what it thinks and which tools it calls.
 *
 * Told from its chat template: every family shows the model its own syntax there.
 *
 * Owner    one model.
 * Memory   a value; texts are constants.
 * Threads  read only.
 * Fails    never: a template that shows nothing gives a style without tools.
 */
#ifndef TROUPE_ENGINE_DIALOGUE_STYLE_H
#define TROUPE_ENGINE_DIALOGUE_STYLE_H

#include <stdbool.h>
#include <stddef.h>

enum tool_syntax {
    TOOLS_NONE = 0,
    TOOLS_JSON,        /* <tool_call>{"name": .., "arguments": {..}}</tool_call>: Qwen 2.5, 3 */
    TOOLS_XML,         /* <tool_call><function=f><parameter=k>v</parameter>..: Qwen 3.5, Step */
    TOOLS_GLM,         /* <tool_call>f<arg_key>k</arg_key><arg_value>v</arg_value>.. */
    TOOLS_LLAMA,       /* {"name": .., "parameters": {..}}, perhaps after <|python_tag|> */
    TOOLS_HARMONY,     /* channels: commentary to=functions.f */
    TOOLS_DEEPSEEK_V3, /* its own tokens, name and fenced JSON after "function" */
    TOOLS_DEEPSEEK,    /* the same tokens, name and bare JSON: since 3.1 */
};

struct dialogue_style {
    enum tool_syntax tools;
    const char *think_open; /* NULL: this model does not think aloud, or in channels */
    const char *think_close;
};

/* The longest text of a marker, with air. */
enum { MARKER_SIZE_MAX = 64 };

#define DEEPSEEK_CALLS_BEGIN                                                                       \
    "<\xef\xbd\x9ctool\xe2\x96\x81"                                                                \
    "calls\xe2\x96\x81"                                                                            \
    "begin\xef\xbd\x9c>"
#define DEEPSEEK_CALLS_END                                                                         \
    "<\xef\xbd\x9ctool\xe2\x96\x81"                                                                \
    "calls\xe2\x96\x81"                                                                            \
    "end\xef\xbd\x9c>"
#define DEEPSEEK_CALL_BEGIN                                                                        \
    "<\xef\xbd\x9ctool\xe2\x96\x81"                                                                \
    "call\xe2\x96\x81"                                                                             \
    "begin\xef\xbd\x9c>"
#define DEEPSEEK_CALL_END                                                                          \
    "<\xef\xbd\x9ctool\xe2\x96\x81"                                                                \
    "call\xe2\x96\x81"                                                                             \
    "end\xef\xbd\x9c>"
#define DEEPSEEK_SEPARATOR                                                                         \
    "<\xef\xbd\x9ctool\xe2\x96\x81"                                                                \
    "sep\xef\xbd\x9c>"

/* `chat_template` may be NULL. */
struct dialogue_style dialogue_style_of(const char *chat_template, size_t size);

/* Whether the prompt that ends in `tail` has opened the thinking, or closed it already. */
enum thinking { THINKING_POSSIBLE, THINKING_OPENED, THINKING_CLOSED };
enum thinking dialogue_thinking_of(const struct dialogue_style *style, const char *tail,
                                   size_t size);

/* A token's text that means something in this style although the token is special. */
bool dialogue_style_has_marker(const struct dialogue_style *style, const char *text, size_t size);

#endif
