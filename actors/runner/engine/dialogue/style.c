/* SPDX-License-Identifier: Apache-2.0 */
#include "actors/runner/engine/dialogue/style.h"

#include "protocol/assert.h"

#include <string.h>

static bool has(const char *text, size_t size, const char *part)
{
    return memmem(text, size, part, strlen(part)) != NULL;
}

struct dialogue_style dialogue_style_of(const char *chat_template, size_t size)
{
    struct dialogue_style style = {TOOLS_NONE, NULL, NULL};
    if (!chat_template)
        return style;
    if (has(chat_template, size, "<|channel|>") && has(chat_template, size, "<|message|>")) {
        style.tools = TOOLS_HARMONY;
        return style;
    }
    if (has(chat_template, size, "</think>") || has(chat_template, size, "<think>")) {
        style.think_open = "<think>";
        style.think_close = "</think>";
    }
    if (has(chat_template, size, DEEPSEEK_CALLS_BEGIN))
        style.tools = has(chat_template, size, "```json") ? TOOLS_DEEPSEEK_V3 : TOOLS_DEEPSEEK;
    else if (has(chat_template, size, "<arg_key>"))
        style.tools = TOOLS_GLM;
    else if (has(chat_template, size, "<function=") && has(chat_template, size, "<parameter="))
        style.tools = TOOLS_XML;
    else if (has(chat_template, size, "<tool_call>"))
        style.tools = TOOLS_JSON;
    else if (has(chat_template, size, "<|python_tag|>") ||
             (has(chat_template, size, "<|start_header_id|>") &&
              has(chat_template, size, "\"parameters\"")))
        style.tools = TOOLS_LLAMA;
    return style;
}

static bool ends_with(const char *text, size_t size, const char *end)
{
    const size_t length = strlen(end);
    return size >= length && memcmp(text + size - length, end, length) == 0;
}

enum thinking dialogue_thinking_of(const struct dialogue_style *style, const char *tail,
                                   size_t size)
{
    while (size > 0 && (tail[size - 1] == '\n' || tail[size - 1] == ' '))
        size--;
    if (!style->think_open)
        return THINKING_CLOSED;
    if (ends_with(tail, size, style->think_open))
        return THINKING_OPENED;
    return ends_with(tail, size, style->think_close) ? THINKING_CLOSED : THINKING_POSSIBLE;
}

bool dialogue_style_has_marker(const struct dialogue_style *style, const char *text, size_t size)
{
    static const char *const harmony[] = {"<|start|>", "<|channel|>", "<|message|>",   "<|end|>",
                                          "<|call|>",  "<|return|>",  "<|constrain|>", NULL};
    static const char *const tags[] = {"<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>",
                                       "<arg_value>", "</arg_value>", NULL};
    static const char *const llama[] = {"<|python_tag|>", NULL};
    static const char *const deepseek[] = {DEEPSEEK_CALLS_BEGIN, DEEPSEEK_CALLS_END,
                                           DEEPSEEK_CALL_BEGIN,  DEEPSEEK_CALL_END,
                                           DEEPSEEK_SEPARATOR,   NULL};
    static const char *const *const sets[] = {
        [TOOLS_JSON] = tags,         [TOOLS_XML] = tags,        [TOOLS_GLM] = tags,
        [TOOLS_LLAMA] = llama,       [TOOLS_HARMONY] = harmony, [TOOLS_DEEPSEEK_V3] = deepseek,
        [TOOLS_DEEPSEEK] = deepseek,
    };
    const char *const thinks[] = {style->think_open, style->think_close};
    for (size_t at = 0; at < COUNT_OF(thinks); at++)
        if (thinks[at] && strlen(thinks[at]) == size && memcmp(thinks[at], text, size) == 0)
            return true;
    for (const char *const *one = sets[style->tools]; one && *one; one++)
        if (strlen(*one) == size && memcmp(*one, text, size) == 0)
            return true;
    return false;
}
